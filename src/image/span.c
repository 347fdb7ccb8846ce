/* span.c - bytes of a picture file at a place, without reading the rest of it. */
#include "image/internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

bool vn_span_read(const vn_span *s, uint64_t at, void *to, size_t n) {
    if (at > s->size || n > s->size - at) return false;
    if (s->bytes) {
        memcpy(to, s->bytes + at, n);
        return true;
    }
    ssize_t got;
    do got = pread(s->fd, to, n, (off_t)(s->begin + at));
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)n;
}
