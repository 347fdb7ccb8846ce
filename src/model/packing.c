/* packing.c - images as the rows of patches that some networks take, as diffusers' FluxPipeline
 * packs them: samplers and guides see images [n,C,H,W], the network [n,P,C p^2], in which patch
 * (i, j) has the numbers of channel c, row p i + a and column p j + b at (c p + a) p + b. */
#include "model/internal.h"

/* copies each number of an image from one order to the other. */
static void repack(float *packed, float *image, const vn_shape *sample, int64_t p, bool pack) {
    const int64_t channels = sample->dim[0], height = sample->dim[1], width = sample->dim[2];
    for (int64_t c = 0; c < channels; c++)
        for (int64_t y = 0; y < height; y++)
            for (int64_t x = 0; x < width; x++) {
                const int64_t patch = y / p * (width / p) + x / p;
                float *in_patch = packed + (patch * channels + c) * p * p + y % p * p + x % p,
                      *in_image = image + (c * height + y) * width + x;
                if (pack)
                    *in_patch = *in_image;
                else
                    *in_image = *in_patch;
            }
}

/* Where the numbers come from is not written to. */
static void repack_all(const vn_net_denoiser *d, float *packed, float *image, int64_t n,
                       bool pack) {
    for (int64_t i = 0; i < n; i++)
        repack(packed + i * d->size, image + i * d->size, &d->sample, d->io->packing, pack);
}

void vn_pack_images(const vn_net_denoiser *d, const float *images, int64_t n, float *packed) {
    repack_all(d, packed, (float *)(uintptr_t)images, n, true);
}

void vn_unpack_images(const vn_net_denoiser *d, const float *packed, int64_t n, float *images) {
    repack_all(d, (float *)(uintptr_t)packed, images, n, false);
}
