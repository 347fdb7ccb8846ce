/* kernel_winograd.h - 3x3 convolutions of stride 1 with fewer multiplications: Winograd's F(2x2,
 * 3x3), after Lavin & Gray (arXiv 1509.09308).
 *
 * A tile Y of 2x2 results comes from a window d of 4x4 pixels and the kernel g by
 *   Y = A^T [U . V] A,  U = G g G^T,  V = B^T d B,
 * with A, B, G below and . point by point: 16 multiplications instead of 36. Summed over channels,
 * each of the 16 points is a matrix product of its own. The gradient of g is G^T [sum over tiles of
 * V . (A dY A^T)] G.
 *
 * Of an image whose pixels are each repeated 2 x 2 times, padded by one, the window of a tile has
 * the rows (a, b, b, c), and so has B^T the rows (a - b, 2 b, 0, b - c): of the 16 points 7 are
 * zero, and the products of the other 9 are all there is. */
#ifndef VN_CPU_KERNEL_WINOGRAD_H
#define VN_CPU_KERNEL_WINOGRAD_H

#include "cpu/kernel_conv.h"

/* Every instruction set has its own of these. */
#define vn_winograd_suits        VN_PASTE(vn_winograd_suits, VN_ISA)
#define vn_winograd_reads_small  VN_PASTE(vn_winograd_reads_small, VN_ISA)
#define vn_winograd_bytes        VN_PASTE(vn_winograd_bytes, VN_ISA)
#define vn_winograd_convolve     VN_PASTE(vn_winograd_convolve, VN_ISA)
#define vn_winograd_grad_w_bytes VN_PASTE(vn_winograd_grad_w_bytes, VN_ISA)
#define vn_winograd_grad_w       VN_PASTE(vn_winograd_grad_w, VN_ISA)
#define vn_winograd_windows      VN_PASTE(vn_winograd_windows, VN_ISA)

/* Whether this way is the faster one for windows times weights [.., n]. The number of images does
 * not matter, so that a sample's bits do not depend on how many others there are. */
bool vn_winograd_suits(const vn_windows *v, int64_t n);

/* Whether the convolution of an enlarged image is computed this way from the small one. */
bool vn_winograd_reads_small(const vn_convolution *c);

/* A convolution that suits, and its workspace. */
size_t vn_winograd_bytes(const vn_convolution *c, int threads);
void vn_winograd_convolve(const vn_convolution *c, void *work, vn_thread_pool *pool);

/* The gradient with respect to the weights out [3,3,c,n], from x and dy [n,oh,ow,n]. */
size_t vn_winograd_grad_w_bytes(const vn_windows *v, int64_t n, int threads);
void vn_winograd_grad_w(const vn_windows *v, int64_t n, const float *x, const float *dy, float *out,
                        void *work, vn_thread_pool *pool);

/* ---- tiles: of all images, row by row -------------------------------------------------------- */

#define VN_POINTS 16

/* From the floats of a point to those of the next: never a multiple of 4 kB, or a tile's points
 * would all want the same few lines of the first cache. */
static inline int64_t vn_winograd_step(int64_t floats) {
    return vn_ceil_div(floats, 1024) * 1024 + 16;
}

static inline int64_t vn_winograd_tiles(const vn_windows *v) {
    return v->n * vn_ceil_div(v->oh, 2) * vn_ceil_div(v->ow, 2);
}

/* Where a tile's results begin. */
typedef struct vn_winograd_place {
    int64_t image, y, x;
} vn_winograd_place;

static inline vn_winograd_place vn_winograd_tile(const vn_windows *v, int64_t i) {
    const int64_t high = vn_ceil_div(v->oh, 2), wide = vn_ceil_div(v->ow, 2);
    return (vn_winograd_place){i / (high * wide), 2 * (i / wide % high), 2 * (i % wide)};
}

/* V of the first `channels` channels of tiles [begin, end): channel c of point p of tile t to to[p
 * * step + (t - begin) * channels + c]. zeros: a pixel's worth, for what is outside the image. */
void vn_winograd_windows(const vn_windows *v, const float *in, int64_t channels, int64_t begin,
                         int64_t end, const float *zeros, float *to, int64_t step);

/* Point p, and row or column i of points, of an enlarged image's window that is always zero. */
static inline bool vn_winograd_is_zero(int64_t i) {
    return i == 2;
}

static inline bool vn_winograd_skips(bool enlarged, int64_t p) {
    return enlarged && (vn_winograd_is_zero(p / 4) || vn_winograd_is_zero(p % 4));
}

/* ---- element i of the products with a column [a, b, ..]; i is a constant to the compiler ----- */

VN_INLINE vn_vec vn_winograd_bt(const int i, vn_vec a, vn_vec b, vn_vec c, vn_vec d) {
    return i == 0 ? a - c : i == 1 ? b + c : i == 2 ? c - b : b - d;
}

VN_INLINE vn_vec vn_winograd_g(const int i, vn_vec a, vn_vec b, vn_vec c) {
    return i == 0 ? a : i == 1 ? ((a + c) + b) * 0.5f : i == 2 ? ((a + c) - b) * 0.5f : c;
}

VN_INLINE vn_vec vn_winograd_gt(const int i, vn_vec a, vn_vec b, vn_vec c, vn_vec d) {
    return i == 0 ? a + (b + c) * 0.5f : i == 1 ? (b - c) * 0.5f : (b + c) * 0.5f + d;
}

VN_INLINE vn_vec vn_winograd_a(const int i, vn_vec a, vn_vec b) {
    return i == 0 ? a : i == 1 ? a + b : i == 2 ? a - b : -b;
}

VN_INLINE vn_vec vn_winograd_at(const int i, vn_vec a, vn_vec b, vn_vec c, vn_vec d) {
    return i == 0 ? a + b + c : b - c - d;
}

#endif
