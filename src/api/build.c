/* build.c - vn_describe_build: what the library was built with and what it runs with here, for
 * reports of faults. Versions are those of the libraries that are loaded, which may be newer than
 * their headers were; libjpeg says its own in its header alone, and libarchive is not loaded. */
#include "api/internal.h"
#include "data/data.h"

#include <jansson.h>
#include <stdio.h> /* for jpeglib.h */

#include <jpeglib.h>
#include <png.h>
#include <utf8proc.h>
#include <webp/decode.h>
#include <zip.h>
#include <zlib.h>

#define TEXT_EXPANDED(x) #x
#define TEXT(x)          TEXT_EXPANDED(x)

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

#if defined(LIBJPEG_TURBO_VERSION)
#define JPEG_VERSION "turbo " TEXT(LIBJPEG_TURBO_VERSION)
#else
#define JPEG_VERSION TEXT(JPEG_LIB_VERSION)
#endif

/* The sets of kernels that were compiled in; this machine may run fewer. */
static json_t *kernel_sets(void) {
    static const char *const sets[] = {"avx512", "avx2", "portable"};
    json_t *list = json_array();
    for (size_t i = 0; list && i < VN_COUNT(sets); i++) {
        vn_err err = {0};
        /* not known to this build */
        if (!vn_cpu_row(sets[i], &err) && err.status == VN_BAD_ARGUMENT) continue;
        if (json_array_append_new(list, json_string(sets[i])) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *libraries(void) {
    const int webp = WebPGetDecoderVersion();
    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:s}", "libpng", png_get_libpng_ver(NULL),
                     "libjpeg", JPEG_VERSION, "libwebp",
                     json_sprintf("%d.%d.%d", webp >> 16 & 255, webp >> 8 & 255, webp & 255),
                     "zlib", zlibVersion(), "libzip", zip_libzip_version(), "libarchive",
                     vn_data_archive_version(), "jansson", jansson_version_str(), "utf8proc",
                     utf8proc_version());
}

vn_status vn_describe_build(vn_context *vn, char **json) {
    if (!vn) return VN_BAD_ARGUMENT;
    vn_err *err = vn_begin(vn);
    if (!json) return vn_fail(err, VN_BAD_ARGUMENT, "vn_describe_build: json is needed");
    json_t *all =
        json_pack("{s:s, s:s, s:o, s:s, s:s*, s:s*, s:i, s:o}", "vane", vn_version(), "compiler",
                  COMPILER, "kernels", kernel_sets(), "used", vn->device.row->name, "precision",
                  vn->device.row->precision, "unit", vn->device.row->unit, "cores", vn_cpu_cores(),
                  "libraries", libraries());
    *json = all ? vn_json_text(all, JSON_INDENT(2)) : NULL;
    json_decref(all);
    return *json ? VN_OK : vn_no_memory(err);
}
