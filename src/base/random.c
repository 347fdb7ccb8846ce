/* random.c - random numbers without state: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel
 * random numbers: as easy as 1, 2, 3", 2011) turns a counter and a key into 128 random bits, so
 * that each number can be computed independently of all others.
 *
 * Key: the seed. Counter: its 128 bits are the block index (32), the step (24), the stream (8) and
 * the sample (64), side by side, so that no two uses can meet, whatever their order or number:
 *
 *     counter[0]  block: number i of a draw is word i % 4 of block i / 4, hence at most 2^34
 *                 numbers in one draw
 *     counter[1]  stream << 24 | step
 *     counter[2]  sample, low half
 *     counter[3]  sample, high half
 *
 * Normals are Box-Muller's, with log, sine and cosine as polynomials of our own (minimax fits):
 * libm's differ in the last bit from one system to the next, and cannot be vectorised. Only exact
 * IEEE operations are used, in one order and never fused, so every machine gets the same bits. The
 * loops run over LANES blocks side by side for the compiler to vectorise. */
#include "base/base.h"

#include <math.h>
#include <string.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF /* gcc does not contract under -std=c17 */
#endif

#define LANES 16 /* blocks made together */

/* One of the ten rounds, on the words of one counter. */
static inline void philox_round(uint32_t *c0, uint32_t *c1, uint32_t *c2, uint32_t *c3, uint32_t k0,
                                uint32_t k1) {
    uint64_t p0 = (uint64_t)0xD2511F53 * *c0, p1 = (uint64_t)0xCD9E8D57 * *c2;
    *c0 = (uint32_t)(p1 >> 32) ^ *c1 ^ k0;
    *c1 = (uint32_t)p1;
    *c2 = (uint32_t)(p0 >> 32) ^ *c3 ^ k1;
    *c3 = (uint32_t)p0;
}

static inline void next_key(uint32_t *k0, uint32_t *k1) {
    *k0 += 0x9E3779B9; /* the golden ratio */
    *k1 += 0xBB67AE85; /* sqrt(3) - 1 */
}

void vn_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++, next_key(&k0, &k1))
        philox_round(&c[0], &c[1], &c[2], &c[3], k0, k1);
    memcpy(out, c, sizeof c);
}

/* One draw: everything but the block index. */
typedef struct draw {
    uint32_t key[2], counter[4];
} draw;

static draw draw_of(uint64_t seed, vn_stream stream, uint64_t sample, uint64_t step) {
    return (draw){
        .key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
        .counter = {0, (uint32_t)stream << 24 | (uint32_t)(step & 0xFFFFFF), (uint32_t)sample,
                    (uint32_t)(sample >> 32)},
    };
}

/* Words 0..3 of blocks first .. first+LANES-1: word[w][lane]. */
static void draw_lanes(const draw *d, uint32_t first, uint32_t word[4][LANES]) {
    for (uint32_t lane = 0; lane < LANES; lane++) {
        word[0][lane] = first + lane;
        for (int w = 1; w < 4; w++) word[w][lane] = d->counter[w];
    }
    uint32_t k0 = d->key[0], k1 = d->key[1];
    for (int round = 0; round < 10; round++, next_key(&k0, &k1))
        for (int lane = 0; lane < LANES; lane++)
            philox_round(&word[0][lane], &word[1][lane], &word[2][lane], &word[3][lane], k0, k1);
}

/* The draw's words from `first` (a multiple of 4 * LANES) on, at most 4 * LANES of them; returns
 * how many. */
static size_t draw_words(const draw *d, size_t first, size_t n, uint32_t *out) {
    uint32_t word[4][LANES];
    draw_lanes(d, (uint32_t)(first / 4), word);
    size_t count = n - first < 4 * LANES ? n - first : 4 * LANES;
    for (size_t i = 0; i < count; i++) out[i] = word[i % 4][i / 4];
    return count;
}

void vn_random_bits(uint32_t *out, size_t n, uint64_t seed, vn_stream stream, uint64_t sample,
                    uint64_t step) {
    draw d = draw_of(seed, stream, sample, step);
    for (size_t i = 0; i < n;) i += draw_words(&d, i, n, out + i);
}

void vn_random_uniform(float *out, size_t n, uint64_t seed, vn_stream stream, uint64_t sample,
                       uint64_t step) {
    draw d = draw_of(seed, stream, sample, step);
    uint32_t bits[4 * LANES];
    for (size_t i = 0; i < n;) {
        size_t count = draw_words(&d, i, n, bits);
        for (size_t j = 0; j < count; j++) out[i + j] = (float)(int32_t)(bits[j] >> 8) * 0x1p-24f;
        i += count;
    }
}

double vn_random_double(uint64_t seed, vn_stream stream, uint64_t sample, uint64_t step) {
    draw d = draw_of(seed, stream, sample, step);
    uint32_t out[4];
    vn_philox(d.counter, d.key, out);
    return (double)(((uint64_t)out[1] << 32 | out[0]) >> 11) * 0x1p-53;
}

/* ---- normals --------------------------------------------------------------------------------- */

/* sqrt(-2 ln u) for u = (odd multiple of 2^-31) in (0, 1]. ln u = e ln 2 + ln m with m in
 * [sqrt(1/2), sqrt(2)). */
static inline float radius(uint32_t bits) {
    float u = (float)(int32_t)(bits >> 1 | 1) * 0x1p-31f;
    uint32_t ix;
    memcpy(&ix, &u, sizeof ix);
    const uint32_t sqrt_half = 0x3F3504F3, one = 0x3F800000;
    ix += one - sqrt_half;
    float e = (float)((int32_t)(ix >> 23) - 127);
    ix = (ix & 0x7FFFFF) + sqrt_half;
    float m;
    memcpy(&m, &ix, sizeof m);
    float f = m - 1.0f;
    float p = -0.07859606625f; /* (ln(1+f) - f + f^2/2) / f^3, error of ln: 6e-9 */
    p = p * f + 0.1288164368f;
    p = p * f - 0.1312875514f;
    p = p * f + 0.1418119268f;
    p = p * f - 0.1662455409f;
    p = p * f + 0.2000228623f;
    p = p * f - 0.2500081040f;
    p = p * f + 0.3333331673f;
    float ln = f - (0.5f * f * f - f * f * f * p) + e * 0.69314718056f;
    return sqrtf(-2.0f * ln);
}

/* cos and sin of 2 pi bits / 2^32: the two highest bits name the quarter turn, the rest an angle in
 * [-pi/4, pi/4). */
static inline void direction(uint32_t bits, float *cosine, float *sine) {
    float a = (float)(int32_t)(bits << 2) * (1.57079632679f * 0x1p-32f);
    float a2 = a * a;
    float s = a + a * a2 * (-0.16666655f + a2 * (0.008332180857f + a2 * -0.0001951759284f));
    float c = 1.0f - 0.5f * a2 +
              a2 * a2 * (0.04166664712f + a2 * (-0.001388737791f + a2 * 2.443948309e-5f));
    bool odd = bits >> 30 & 1, half = bits >> 31;
    float x = odd ? -s : c, y = odd ? c : s;
    *cosine = half ? -x : x;
    *sine = half ? -y : y;
}

/* Box-Muller on words 0 and 1, and on words 2 and 3, of each block; normals[4 * lane + word]. */
static void draw_normals(const draw *d, uint32_t first, float normals[4 * LANES]) {
    uint32_t word[4][LANES];
    float r[2][LANES], c[2][LANES], s[2][LANES];
    draw_lanes(d, first, word);
    for (int pair = 0; pair < 2; pair++) {
        for (int lane = 0; lane < LANES; lane++) r[pair][lane] = radius(word[2 * pair][lane]);
        for (int lane = 0; lane < LANES; lane++)
            direction(word[2 * pair + 1][lane], &c[pair][lane], &s[pair][lane]);
    }
    for (int lane = 0; lane < LANES; lane++)
        for (int pair = 0; pair < 2; pair++) {
            normals[4 * lane + 2 * pair] = r[pair][lane] * c[pair][lane];
            normals[4 * lane + 2 * pair + 1] = r[pair][lane] * s[pair][lane];
        }
}

void vn_random_normal(float *out, size_t n, uint64_t seed, vn_stream stream, uint64_t sample,
                      uint64_t step) {
    draw d = draw_of(seed, stream, sample, step);
    size_t whole = n - n % (4 * LANES);
    for (size_t i = 0; i < whole; i += 4 * LANES) draw_normals(&d, (uint32_t)(i / 4), out + i);
    if (whole < n) {
        float rest[4 * LANES];
        draw_normals(&d, (uint32_t)(whole / 4), rest);
        memcpy(out + whole, rest, (n - whole) * sizeof *out);
    }
}

/* ---- order ----------------------------------------------------------------------------------- */

/* Fisher-Yates from the end; the bias of 64 random bits modulo i + 1 is below n / 2^64. */
void vn_random_permutation(int64_t *out, int64_t n, uint64_t seed, vn_stream stream,
                           uint64_t epoch) {
    vn_random_permute(out, n, seed, stream, epoch, 0, n);
}

void vn_random_permute(int64_t *out, int64_t n, uint64_t seed, vn_stream stream, uint64_t epoch,
                       int64_t first, int64_t last) {
    draw d = draw_of(seed, stream, epoch, 0);
    for (int64_t i = 0; first == 0 && i < n; i++) out[i] = i;
    uint32_t word[4][LANES];
    const int64_t chunk = 2 * LANES; /* indices that one call gives bits for */
    for (int64_t k = first; k < last && k < n - 1; k++) {
        if (k % chunk == 0) draw_lanes(&d, (uint32_t)(k / 2), word);
        int64_t lane = k % chunk / 2, half = 2 * (k % 2);
        uint64_t bits = (uint64_t)word[half + 1][lane] << 32 | word[half][lane];
        int64_t i = n - 1 - k, j = (int64_t)(bits % (uint64_t)(i + 1)), t = out[i];
        out[i] = out[j];
        out[j] = t;
    }
}
