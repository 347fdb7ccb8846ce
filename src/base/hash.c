/* hash.c - FNV-1a, 64 bits (draft-eastlake-fnv), over words of 32 bits or bytes of a text. */
#include "base/base.h"

#include <string.h>

const uint64_t vn_hash_begin = 0xcbf29ce484222325u;
static const uint64_t fnv_prime = 0x100000001b3u;

uint64_t vn_hash_words(uint64_t hash, const void *words, size_t n) {
    const unsigned char *at = words;
    for (size_t i = 0; i < n; i++) {
        uint32_t word;
        memcpy(&word, at + i * sizeof word, sizeof word);
        hash = (hash ^ word) * fnv_prime;
    }
    return hash;
}

uint64_t vn_hash_text(uint64_t hash, const char *text) {
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * fnv_prime;
    return hash;
}
