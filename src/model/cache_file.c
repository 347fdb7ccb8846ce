/* cache_file.c - how the files of text_cache.c and latent_cache.c are read: by position, so that
 * one that is cut short fails a read, and hashed in pieces. */
#include "model/internal.h"

#include <errno.h>
#include <unistd.h>

enum { PIECE = 1 << 18 };

bool vn_cache_read_at(int fd, void *to, size_t size, uint64_t at) {
    char *bytes = to;
    while (size > 0) {
        const ssize_t n = pread(fd, bytes, size, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes += n;
        size -= (size_t)n;
        at += (uint64_t)n;
    }
    return true;
}

bool vn_cache_hash(int fd, uint64_t from, uint64_t size, uint64_t *hash) {
    char *piece = vn_alloc(PIECE, 1);
    bool ok = piece != NULL;
    *hash = vn_hash_begin;
    for (uint64_t at = from; at < size && ok; at += PIECE) {
        const size_t n = size - at < PIECE ? (size_t)(size - at) : PIECE;
        ok = vn_cache_read_at(fd, piece, n, at);
        if (ok) *hash = vn_hash_words(*hash, piece, n / sizeof(uint32_t));
    }
    vn_free(piece);
    return ok;
}
