/* webp.c - WebP through libwebp: lossy and lossless, with or without transparency. Of an animation
 * the first frame is read, on the white that shows wherever it covers nothing.
 *
 * The picture's memory is taken before libwebp takes its own, so where there is too little the
 * large piece is refused here. */
#include "image/internal.h"

#include <errno.h>
#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

enum { MAX_CHUNKS = 1 << 16 };

bool vn_webp_is(vn_bytes bytes) {
    return bytes.left >= 12 && memcmp(bytes.at, "RIFF", 4) == 0 &&
           memcmp(bytes.at + 8, "WEBP", 4) == 0;
}

/* A chunk is four letters, its length and its data, filled up to an even number of bytes. */
bool vn_webp_find_exif(const vn_span *file, vn_part *exif) {
    uint8_t head[8];
    uint64_t at = 12;
    for (int chunks = 0; chunks < MAX_CHUNKS && vn_span_read(file, at, head, sizeof head);
         chunks++) {
        const uint32_t size =
            (uint32_t)head[7] << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[5] << 8 | head[4];
        *exif = (vn_part){at + 8, size};
        if (memcmp(head, "EXIF", 4) == 0) return true;
        at += 8 + (uint64_t)size + (size & 1);
    }
    return false;
}

/* libwebp tells some failed allocations as damaged data; malloc's errno, cleared before the call,
 * gives them away. */
static vn_status failed(VP8StatusCode code, vn_err *err) {
    if (errno == ENOMEM) return vn_no_memory(err);
    switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY: return vn_no_memory(err);
    case VP8_STATUS_NOT_ENOUGH_DATA:
        return vn_fail(err, VN_BAD_FILE, "WebP: the file ends too early");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return vn_fail(err, VN_UNSUPPORTED, "WebP: a feature that libwebp does not know");
    default: return vn_fail(err, VN_BAD_FILE, "WebP: damaged data");
    }
}

/* Decodes one still picture into [height, width, channels + alpha] at `to`, rows `stride` bytes
 * apart. */
static vn_status decode_into(vn_bytes bytes, bool alpha, int width, int height, size_t stride,
                             uint8_t *to, vn_err *err) {
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return vn_fail(err, VN_UNSUPPORTED, "WebP: libwebp is of another version");
    config.output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.width = width;
    config.output.height = height;
    config.output.u.RGBA =
        (WebPRGBABuffer){.rgba = to,
                         .stride = (int)stride,
                         .size = stride * (size_t)(height - 1) + (size_t)width * (alpha ? 4 : 3)};
    errno = 0;
    const VP8StatusCode code = WebPDecode(bytes.at, bytes.left, &config);
    WebPFreeDecBuffer(&config.output);
    return code == VP8_STATUS_OK ? VN_OK : failed(code, err);
}

/* pixels: the whole picture, clear where no frame is. */
static vn_status decode_first_frame(vn_bytes bytes, const vn_image *image, vn_err *err) {
    WebPIterator frame = {0};
    const WebPData data = {bytes.at, bytes.left};
    errno = 0;
    WebPDemuxer *demuxer = WebPDemux(&data);
    if (!demuxer) return failed(VP8_STATUS_BITSTREAM_ERROR, err);
    vn_status status = VN_OK;
    if (!WebPDemuxGetFrame(demuxer, 1, &frame) || frame.x_offset < 0 || frame.y_offset < 0 ||
        frame.width < 1 || frame.height < 1 || frame.x_offset > image->width - frame.width ||
        frame.y_offset > image->height - frame.height) {
        status = vn_fail(err, VN_BAD_FILE, "WebP: an animation without a first frame");
    } else {
        const size_t stride = (size_t)image->width * 4;
        status = decode_into(
            (vn_bytes){frame.fragment.bytes, frame.fragment.size}, true, frame.width, frame.height,
            stride, image->pixels + (size_t)frame.y_offset * stride + (size_t)frame.x_offset * 4,
            err);
    }
    WebPDemuxReleaseIterator(&frame);
    WebPDemuxDelete(demuxer);
    return status;
}

vn_status vn_webp_decode(vn_bytes bytes, bool header_only, vn_image *image, vn_err *err) {
    WebPBitstreamFeatures features;
    errno = 0;
    const VP8StatusCode code = WebPGetFeatures(bytes.at, bytes.left, &features);
    if (code != VP8_STATUS_OK) return failed(code, err);
    const double own = 4.0 * features.width * features.height; /* lossless ones are kept as words */
    vn_status status = vn_image_check_size(features.width, features.height, 3, own, err);
    if (status) return status;
    *image = (vn_image){features.width, features.height, 3, NULL};
    if (header_only) return VN_OK;
    const bool alpha = features.has_alpha || features.has_animation;
    const size_t stride = (size_t)features.width * (alpha ? 4 : 3);
    image->pixels = vn_calloc((size_t)features.height, stride);
    status = !image->pixels           ? vn_no_memory(err)
             : features.has_animation ? decode_first_frame(bytes, image, err)
                                      : decode_into(bytes, alpha, features.width, features.height,
                                                    stride, image->pixels, err);
    if (!status && alpha) vn_image_flatten(image);
    if (status) vn_image_free(image);
    return status;
}
