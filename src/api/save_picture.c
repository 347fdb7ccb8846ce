/* save_picture.c - samples as one PNG: images as a grid, points as a plot, the settings of all in
 * its text chunks. */
#include "api/save.h"

#include <math.h>
#include <string.h>

vn_status vn_picture_write(const vn_image *image, const json_t *settings, const char *path,
                           bool fresh, vn_memory_file *to, vn_err *err) {
    vn_setting list[32];
    size_t count = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)settings, key, value) {
        if (count < VN_COUNT(list)) list[count++] = (vn_setting){key, json_string_value(value)};
    }
    if (to) return vn_png_encode(to, image, list, count, err);
    return (fresh ? vn_png_write_new : vn_png_write)(path, image, list, count, err);
}

/* Bands with their titles, and what is shown in them. */
typedef struct picture {
    vn_show show;
    vn_band *bands;
    char **titles;
    size_t count;
} picture;

/* What stands over the band: what it has of its own. */
static char *band_title(const vn_samples_band *band, vn_differences differ) {
    const char *guide = vn_band_setting(band, "guide"),
               *guidance = vn_band_setting(band, "guidance");
    if (!differ.guide) return vn_format("guidance %s", guidance);
    return differ.guidance ? vn_format("%s, guidance %s", guide, guidance) : vn_format("%s", guide);
}

static bool make_bands(picture *p, const vn_samples *s) {
    const vn_differences differ = vn_bands_differ(s);
    p->count = s->band_count;
    p->bands = vn_calloc(p->count, sizeof *p->bands);
    p->titles = vn_calloc(p->count, sizeof *p->titles);
    for (size_t i = 0; i < p->count; i++) {
        const vn_samples_band *band = &s->bands[i];
        if (!p->bands || !p->titles || !(p->titles[i] = band_title(band, differ))) return false;
        p->bands[i] = (vn_band){.title = p->titles[i], .first = band->first, .count = band->count};
    }
    return true;
}

static void describe(picture *p, const vn_samples *s) {
    p->show = (vn_show){.count = s->count,
                        .labels = s->labels,
                        .names = (const char *const *)s->names,
                        .classes = s->classes,
                        .texts = s->texts,
                        .bands = p->bands,
                        .band_count = p->count};
    if (vn_shape_is_image(&s->sample)) {
        p->show.channels = (int)s->sample.dim[0];
        p->show.height = (int)s->sample.dim[1];
        p->show.width = (int)s->sample.dim[2];
        p->show.scale = s->scale;
    } else {
        p->show.dimension = (int)s->size;
        p->show.trace_times = s->trace_t;
        p->show.trace_levels = s->levels;
    }
}

static vn_status open_picture(vn_saver *s, vn_err *err) {
    const vn_samples *of = s->of;
    picture *p = s->self = vn_calloc(1, sizeof *p);
    if (!p || !make_bands(p, of)) return vn_no_memory(err);
    describe(p, of);
    if (vn_show_fits(&p->show, err) != VN_OK) {
        vn_fail_in(err, "%s", s->path);
        return vn_fail_after(err, vn_shape_is_image(&of->sample)
                                      ? "draw fewer, or save .safetensors, .npy or a folder"
                                      : "draw fewer bands, or save .safetensors or .npy");
    }
    return s->to ? VN_OK : vn_check_file(s->path, err);
}

/* A world's density behind its samples. */
typedef struct density {
    const vn_world *world;
    double *work;
} density;

static double density_at(void *self, int32_t label, const double *x) {
    const density *d = self;
    return exp(vn_world_log_density(d->world, VN_NETWORK_MAIN, label, 1, 0, x, d->work));
}

static vn_status show_points(const vn_samples *of, vn_show *show, vn_image *image, vn_err *err) {
    density d = {.world = of->world};
    if (of->world) {
        d.work = vn_alloc(vn_world_work(of->world), sizeof *d.work);
        if (!d.work) return vn_no_memory(err);
        show->density = density_at;
        show->self = &d;
    }
    const vn_status status = vn_show_points(show, image, err);
    vn_free(d.work);
    return status;
}

static vn_status put_picture(vn_saver *s, int64_t first, int64_t n, const vn_drawn_rows *rows,
                             vn_err *err) {
    (void)first;
    (void)n; /* all */
    picture *p = s->self;
    p->show.samples = rows->data;
    p->show.labels = rows->labels;
    p->show.trace = !vn_shape_is_image(&s->of->sample) ? rows->trace : NULL;
    vn_image image = {0};
    vn_status status = vn_shape_is_image(&s->of->sample)
                           ? vn_show_grid(&p->show, &image, err)
                           : show_points(s->of, &p->show, &image, err);
    if (!status) status = vn_picture_write(&image, s->of->settings, s->path, false, s->to, err);
    vn_image_free(&image);
    return status;
}

static void close_picture(vn_saver *s) {
    picture *p = s->self;
    for (size_t i = 0; p && p->titles && i < p->count; i++) vn_free(p->titles[i]);
    if (p) vn_free(p->titles);
    if (p) vn_free(p->bands);
    vn_free(p);
}

const vn_form vn_form_picture = {
    .ending = ".png",
    .dimensions = 2,
    .whole = true,
    .point_traces = true,
    .open = open_picture,
    .put = put_picture,
    .close = close_picture,
};
