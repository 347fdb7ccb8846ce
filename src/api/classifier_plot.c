/* classifier_plot.c - see the header. A run of clean samples has one curve in each panel, of the
 * first quarter of t. */
#include "api/classifier_plot.h"
#include "report/report.h"

#include <math.h>

enum { MEASURES = 3, QUARTERS = 4 };

static const struct {
    const char *key, *title;
    double high; /* the least that the panel shows */
} measures[MEASURES] = {
    {"accuracy", "accuracy", 1},
    {"nll", "-log p(class|x), nats", 0},
    {"ece", "calibration error", 0.1},
};
static const char *const names[QUARTERS] = {"t below 1/4", "1/4 to 1/2", "1/2 to 3/4",
                                            "t above 3/4"};

static bool has_point(const vn_column *c, size_t lines) {
    for (size_t i = 0; c && i < lines; i++)
        if (isfinite(c->value[i])) return true;
    return false;
}

/* The curves of one measure that have points; returns how many. */
static size_t find_curves(const vn_history *h, const char *key, vn_curve *out) {
    const vn_column *step = vn_history_find(h, "step");
    size_t count = 0;
    for (int q = 0; q < QUARTERS; q++) {
        char column[64];
        snprintf(column, sizeof column, "%s_by_quarter/%d", key, q);
        const vn_column *c = vn_history_find(h, column);
        if (step && has_point(c, h->lines))
            out[count++] = (vn_curve){names[q], h->lines, step->value, c->value};
    }
    return count;
}

static vn_status draw(const char *run, const vn_history *h, const char *path, vn_err *err) {
    vn_curve curve[MEASURES][QUARTERS];
    vn_curve_panel panel[MEASURES];
    for (int m = 0; m < MEASURES; m++)
        panel[m] = (vn_curve_panel){.title = measures[m].title,
                                    .high = measures[m].high,
                                    .count = find_curves(h, measures[m].key, curve[m]),
                                    .curve = curve[m]};
    if (panel[0].count == 0) return VN_OK;
    vn_image image = {0};
    json_t *name = vn_json_string(run); /* of any bytes, as UTF-8 */
    vn_status status =
        name ? vn_show_curves(panel, MEASURES, "training step", &image, err) : vn_no_memory(err);
    if (!status) {
        const vn_setting settings[] = {{"vane", vn_version()}, {"source", json_string_value(name)}};
        status = vn_png_write(path, &image, settings, VN_COUNT(settings), err);
    }
    json_decref(name);
    vn_image_free(&image);
    return status;
}

vn_status vn_classifier_plot(void *run, vn_values *const *values, int64_t step, const char *path,
                             vn_err *err) {
    vn_history h = {0};
    char *log = vn_path_join(run, "log.jsonl");
    (void)values, (void)step;
    vn_status status = log ? vn_history_read(&h, log, err) : vn_no_memory(err);
    if (!status) status = draw(run, &h, path, err);
    vn_history_close(&h);
    vn_free(log);
    return status;
}
