/* kernel_conv.h - where a convolution reads: windows of an image, in groups whose parts inside the
 * image have one shape. */
#ifndef VN_CPU_KERNEL_CONV_H
#define VN_CPU_KERNEL_CONV_H

#include "cpu/kernel_gemm.h"

/* Every instruction set has its own of these. */
#define vn_conv_windows    VN_PASTE(vn_conv_windows, VN_ISA)
#define vn_conv_cut        VN_PASTE(vn_conv_cut, VN_ISA)
#define vn_conv_strip      VN_PASTE(vn_conv_strip, VN_ISA)
#define vn_conv_next_group VN_PASTE(vn_conv_next_group, VN_ISA)
#define vn_conv_reach      VN_PASTE(vn_conv_reach, VN_ISA)
#define vn_conv_gather     VN_PASTE(vn_conv_gather, VN_ISA)

/* Windows of kh x kw pixels of an input [n,h,w,c]: window (y, x) of the oh x ow of an image begins
 * at pixel (y * stride - top, x * stride - left); what lies outside the image is zero. top and left
 * may be negative. */
typedef struct vn_windows {
    int64_t n, h, w, c;
    int64_t kh, kw, stride, top, left;
    int64_t oh, ow;
} vn_windows;

/* Rows [begin, end) of the windows of images [image, last): a task's worth. */
typedef struct vn_strip {
    int64_t image, last, begin, end;
} vn_strip;

/* Windows [begin, end) along one axis have `count` pixels inside the image, from the kernel's
 * `first` on. */
typedef struct vn_overlap {
    int64_t begin, end, first, count;
} vn_overlap;

/* The windows of a strip with the same part inside the image. */
typedef struct vn_group {
    vn_overlap y, x;
} vn_group;

/* The windows of a forward convolution x [N,H,W,I], w [kh,kw,I,O] -> out [N,oh,ow,O]. */
vn_windows vn_conv_windows(const vn_node *conv, const vn_shape *x, const vn_shape *w,
                           const vn_shape *out);

/* How all windows are cut into strips: `images` whole images make one, or an image is cut into
 * `parts`. */
typedef struct vn_strips {
    int64_t images, parts, count;
    int64_t windows; /* the most in one */
} vn_strips;

/* Strips of at most so many floats of input and so many windows, as far as that goes, and at least
 * so many strips. */
vn_strips vn_conv_cut(const vn_windows *v, int64_t floats, int64_t windows, int64_t least);
vn_strip vn_conv_strip(const vn_windows *v, const vn_strips *s, int64_t i);

/* Steps to the strip's next group; false after the last. Begin with a group of zeros. */
bool vn_conv_next_group(const vn_windows *v, const vn_strip *s, vn_group *g);
/* How the group's windows are read, and which rows of the weights [kh * kw * c, ..] they meet. */
vn_reach vn_conv_reach(const vn_windows *v, const vn_group *g);
/* Points to the group's windows, image by image and row by row; returns how many. */
int64_t vn_conv_gather(const vn_windows *v, const vn_strip *s, const vn_group *g, const float *in,
                       const float **window);

/* Where the results for a list of windows go: window (y, x) of image i to out[from + i * image + y
 * * row + x * pixel]. */
typedef struct vn_target {
    int64_t from, image, row, pixel;
} vn_target;

/* The weights of one convolution as a matrix [kh * kw * c, n]: tap (i, j)'s rows begin at w[from +
 * i * down + j * across], its element (c, o) is c * row + o * column further. */
typedef struct vn_taps {
    int64_t n, from, down, across, row, column;
} vn_taps;

/* One convolution: its geometry, and (but for the workspace's size) its arrays. */
typedef struct vn_convolution {
    vn_windows windows; /* with h and w of the enlarged image */
    vn_taps taps;
    vn_target target;
    bool enlarged; /* in has a pixel for 2 x 2 of the windows' */
    const float *in, *w, *bias;
    const float *plus; /* is added, and lies as out does, which it may be; or NULL */
    float *out;
} vn_convolution;

#endif
