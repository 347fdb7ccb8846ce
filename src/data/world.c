/* world.c - points drawn from a world file, an exact mixture of Gaussians (path/path.h):
 * "world.json", or "world.json:count=50000". What a network learns from them can be compared with
 * the truth, which the data hands on.
 *
 * Point i and its class are a function of (seed, i) alone. */
#include "data/internal.h"

#include <string.h>

static const char ending[] = ".json";

const vn_param vn_world_data_params[] = {
    {"count", "number of points", 10000, 1, 1e7, 1, NULL},
    {0},
};

/* Length of the file's name in "FILE.json" or "FILE.json:key=value"; 0: neither. */
static size_t file_length(const char *source) {
    const size_t n = sizeof ending - 1;
    for (const char *at = source; (at = strstr(at, ending)); at += n)
        if (at[n] == '\0' || at[n] == ':') return (size_t)(at - source) + n;
    return 0;
}

bool vn_world_data_detect(const char *source) {
    return file_length(source) > 0;
}

static vn_status parse(const char *source, char **file, vn_choice *choice, vn_err *err) {
    static const vn_row row = {"world", "", "", vn_world_data_params};
    const size_t length = file_length(source);
    char *text = vn_format("%s%s", row.name, source + length);
    *file = vn_format("%.*s", (int)length, source);
    const vn_status status = text != NULL && *file
                                 ? vn_choice_parse(text, VN_TABLE("data", &row, 1), choice, err)
                                 : vn_no_memory(err);
    vn_free(text);
    return status;
}

/* By the weights of the classes; vn_world_draw takes the steps up to the dimension of the same
 * stream. */
static int32_t draw_label(const vn_world *w, uint64_t seed, uint64_t i) {
    double u = vn_random_double(seed, VN_STREAM_DATA, i, (uint64_t)vn_world_size(w) + 1);
    int32_t label = 0;
    for (; label + 1 < vn_world_classes(w); label++)
        if ((u -= vn_world_prior(w, label)) < 0) break;
    return label;
}

static vn_status draw(vn_source *out, int64_t count, uint64_t seed, const vn_watch *watch,
                      vn_err *err) {
    const vn_world *w = out->world;
    const size_t size = (size_t)vn_world_size(w);
    vn_status status = vn_source_room_for_names(out, vn_world_classes(w), err);
    for (int32_t k = 0; !status && k < out->classes; k++) {
        const char *name = vn_world_class_name(w, k);
        status = vn_source_set_name(out, k, name, strlen(name), err);
    }
    if (status) return status;
    if (vn_source_fits(count, (double)(size * sizeof(float)), err) != VN_OK)
        return err->status = VN_BAD_ARGUMENT;
    vn_reading reading;
    vn_reading_begin(&reading, watch, (uint64_t)count * size * sizeof(float));
    out->sample.rank = 1;
    out->sample.dim[0] = (int64_t)size;
    out->count = count;
    out->points = vn_alloc((size_t)count * size, sizeof *out->points);
    out->labels = vn_alloc((size_t)count, sizeof *out->labels);
    if (!out->points || !out->labels) return vn_no_memory(err);
    for (int64_t i = 0; !status && i < count; i++) {
        out->labels[i] = draw_label(w, seed, (uint64_t)i);
        vn_world_draw(w, out->labels[i], seed, (uint64_t)i, out->points + (size_t)i * size);
        status = vn_reading_advance(&reading, size * sizeof(float), err);
    }
    return status;
}

vn_status vn_world_data_open(const char *source, const vn_data_options *options, vn_source *out,
                             vn_err *err) {
    vn_choice choice = {0};
    char *file = NULL;
    vn_status status = parse(source, &file, &choice, err);
    if (!status) status = vn_world_open(file, &out->world, err);
    if (!status) {
        status = draw(out, (int64_t)choice.value[0], options->seed, options->watch, err);
        if (status) vn_fail_in(err, "%s", file);
    }
    vn_free(file);
    return status;
}
