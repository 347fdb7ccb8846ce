/* sweep_page.c - the page of a sweep: what is recommended and why, the plots that it was chosen by,
 * samples side by side, all points in a table, and what was measured how. */
#include "report/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PICTURES = 24, MAX_PICTURE_BYTES = 4 << 20, TEXT = 256 };

/* ---- the recommendation ---------------------------------------------------------------------- */

static void put_value(FILE *to, const vn_point_number *n) {
    char value[32], low[32], high[32];
    vn_html_number(value, n->value);
    fputs(value, to);
    if (!isfinite(n->low) || !isfinite(n->high)) return;
    vn_html_number(low, n->low);
    vn_html_number(high, n->high);
    fprintf(to, " <small>%s to %s</small>", low, high);
}

static void put_term(FILE *to, const char *name) {
    vn_html_element(to, "dt", name);
    fputs("<dd>", to);
}

static void put_reason(FILE *to, const vn_sweep_page *page) {
    char text[2 * TEXT], best[TEXT];
    vn_point_text(&page->best->point, best, sizeof best);
    if (page->best == page->chosen)
        vn_snprintf(text, sizeof text, "It has the best %s of all points.", page->objective);
    else
        vn_snprintf(text, sizeof text,
                    "The best %s is that of %s. This point is within its 95%% interval, and takes "
                    "%.4g network passes a sample instead of %.4g.",
                    page->objective, best, page->chosen->passes, page->best->passes);
    vn_html_element(to, "p class=note", text);
}

static void put_recommendation(FILE *to, const vn_sweep_page *page) {
    const vn_point_result *r = page->chosen;
    char text[TEXT];
    fputs("<section class=\"best\">\n", to);
    if (!r) {
        vn_html_element(to, "strong", "No point could be measured");
        fputs("</section>\n", to);
        return;
    }
    vn_point_text(&r->point, text, sizeof text);
    fputs("Recommended: ", to);
    vn_html_element(to, "strong", text);
    fputs("<dl>\n", to);
    for (size_t i = 0; i < r->numbers; i++) {
        fputs("<div>", to);
        put_term(to, vn_metric_title(r->number[i].metric));
        put_value(to, &r->number[i]);
        fputs("</dd></div>\n", to);
    }
    if (isfinite(r->seconds)) {
        fputs("<div>", to);
        put_term(to, "Seconds a sample");
        vn_fprintf(to, "%.3g</dd></div>\n", r->seconds);
    }
    fputs("</dl>\n", to);
    put_reason(to, page);
    if (page->command) {
        fputs("<pre><code>", to);
        vn_html_text(to, page->command);
        fputs("</code></pre>\n", to);
    }
    fputs("</section>\n", to);
}

/* ---- plots ----------------------------------------------------------------------------------- */

static bool has_metric(const vn_sweep_view *v, const char *key) {
    for (size_t i = 0; i < v->metrics; i++)
        if (!strcmp(v->metric[i], key)) return true;
    return false;
}

static bool has_seconds(const vn_sweep_view *v) {
    for (size_t i = 0; i < v->points; i++)
        if (isfinite(v->point[i]->seconds)) return true;
    return false;
}

/* Quality against diversity, and against cost. */
static bool put_scatters(FILE *to, vn_sweep_view *v) {
    const char *objective = v->page->objective;
    const char *const pairs[][2] = {
        {"precision", "recall"}, {"accuracy", "fd"}, {"density", "coverage"}};
    vn_plot p;
    for (size_t i = 0; i < VN_COUNT(pairs); i++) {
        if (!has_metric(v, pairs[i][0]) || !has_metric(v, pairs[i][1])) continue;
        if (!vn_sweep_scatter(v, pairs[i][0], pairs[i][1], &p)) return false;
        vn_plot_write(to, &p);
    }
    if (!has_seconds(v)) return true;
    if (!vn_sweep_scatter(v, "seconds", objective, &p)) return false;
    vn_plot_write(to, &p);
    return true;
}

static vn_status put_plots(FILE *to, vn_sweep_view *v, vn_err *err) {
    vn_plot p;
    if (v->points == 0) return VN_OK;
    fputs(
        "<h2>What the choice was made by</h2>\n<p class=\"note\">Bars are 95% intervals; the ring "
        "is around the recommended point. Dashed: points that no other betters in both "
        "numbers; the numbers beside marks are those of the line's own axis.</p>\n"
        "<div class=\"plots\">\n",
        to);
    for (size_t i = 0; i < v->metrics; i++) {
        if (!vn_sweep_curves(v, v->metric[i], &p)) return vn_no_memory(err);
        vn_plot_write(to, &p);
    }
    if (!put_scatters(to, v)) return vn_no_memory(err);
    fputs("</div>\n", to);
    return VN_OK;
}

static void put_training(FILE *to, const vn_history *h) {
    static const char *const keys[] = {"loss_mean", "held_loss"},
                             *const names[] = {"training loss, mean of the latest steps",
                                               "held-out loss"};
    const vn_column *step = h ? vn_history_find(h, "step") : NULL;
    vn_series series[2];
    size_t count = 0;
    for (size_t i = 0; step && i < 2; i++) {
        const vn_column *c = vn_history_find(h, keys[i]);
        if (c)
            series[count++] = (vn_series){.name = names[i],
                                          .count = h->lines,
                                          .x = step->value,
                                          .y = c->value,
                                          .plain = i == 0};
    }
    if (!count) return;
    const vn_plot p = {.title = "Loss against steps of training",
                       .x_name = "steps",
                       .y_name = "loss",
                       .series = series,
                       .count = count,
                       .mark_x = (double)NAN,
                       .mark_y = (double)NAN};
    fputs("<h2>How the model was trained</h2>\n<div class=\"plots\">\n", to);
    vn_plot_write(to, &p);
    fputs("</div>\n", to);
}

/* ---- pictures -------------------------------------------------------------------------------- */

static bool same_point(const vn_point *a, const vn_point *b) {
    char x[TEXT], y[TEXT];
    vn_point_text(a, x, sizeof x);
    vn_point_text(b, y, sizeof y);
    return !strcmp(x, y);
}

/* Those that can be compared: with the recommended sampler and steps, each point once. */
static bool is_shown(const vn_sweep_page *page, size_t i) {
    const vn_sweep_folder *s = page->sweep;
    const vn_point_result *r = &s->result[i], *chosen = page->chosen;
    if (!r->example || r->error) return false;
    if (chosen &&
        (r->point.steps != chosen->point.steps || !r->point.sampler != !chosen->point.sampler ||
         (r->point.sampler && strcmp(r->point.sampler, chosen->point.sampler) != 0)))
        return false;
    for (size_t k = 0; k < i; k++)
        if (s->result[k].example && same_point(&s->result[k].point, &r->point)) return false;
    return true;
}

static vn_status put_picture(FILE *to, const vn_sweep_page *page, const vn_point_result *r,
                             size_t *shown, vn_err *err) {
    char text[TEXT], *png = NULL;
    size_t size = 0;
    vn_err ignored = {0};
    char *path = vn_path_join(page->sweep->dir, r->example);
    if (!path) return vn_no_memory(err);
    vn_status status = vn_read_file(path, MAX_PICTURE_BYTES, &png, &size, &ignored);
    vn_free(path);
    if (status == VN_NO_MEMORY) return vn_no_memory(err);
    if (status) return VN_OK;
    if (!(*shown)++)
        fputs("<h2>Samples</h2>\n<p class=\"note\">Each from the same noise, with the recommended "
              "sampler and steps.</p>\n<div class=\"pictures\">\n",
              to);
    const bool chosen = page->chosen && same_point(&r->point, &page->chosen->point);
    vn_point_text(&r->point, text, sizeof text);
    fprintf(to, "<figure%s><figcaption>", chosen ? " class=\"chosen\"" : "");
    vn_html_text(to, text);
    fputs("</figcaption><img alt=\"samples with ", to);
    vn_html_text(to, text);
    fputs("\" src=\"", to);
    vn_html_png(to, png, size);
    fputs("\"></figure>\n", to);
    vn_free(png);
    return VN_OK;
}

static vn_status put_pictures(FILE *to, const vn_sweep_page *page, vn_err *err) {
    size_t shown = 0;
    vn_status status = VN_OK;
    for (size_t i = 0; !status && i < page->sweep->count && shown < MAX_PICTURES; i++)
        if (is_shown(page, i)) status = put_picture(to, page, &page->sweep->result[i], &shown, err);
    if (shown) fputs("</div>\n", to);
    return status;
}

/* ---- the table ------------------------------------------------------------------------------- */

/* A row's place: more samples first, then the better. */
typedef struct table_line {
    const vn_point_result *result;
    double value;
} table_line;

static int compare(const void *a, const void *b) {
    const table_line *x = a, *y = b;
    if (x->result->count != y->result->count) return x->result->count > y->result->count ? -1 : 1;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return x->result < y->result ? -1 : x->result > y->result;
}

static double rank_value(const vn_point_result *r, const char *objective) {
    const vn_point_number *n = r->error ? NULL : vn_point_find(r, objective);
    if (!n || !isfinite(n->value)) return HUGE_VAL;
    return vn_metric_higher_is_better(objective) ? -n->value : n->value;
}

static void put_row(FILE *to, const vn_sweep_view *v, const vn_point_result *r) {
    char text[TEXT];
    fprintf(to, "<tr%s><td>", r == v->page->chosen ? " class=\"chosen\"" : "");
    vn_point_text(&r->point, text, sizeof text);
    vn_html_text(to, text);
    fprintf(to, "</td><td>%lld</td>", (long long)r->count);
    if (r->error) {
        fprintf(to, "<td colspan=\"%zu\" style=\"text-align:left\">", v->metrics + 2);
        vn_html_text(to, r->error);
        fputs("</td></tr>\n", to);
        return;
    }
    for (size_t i = 0; i < v->metrics; i++) {
        const vn_point_number *n = vn_point_find(r, v->metric[i]);
        fputs("<td>", to);
        if (n)
            put_value(to, n);
        else
            fputc('-', to);
        fputs("</td>", to);
    }
    vn_html_number(text, r->passes);
    fprintf(to, "<td>%s</td>", text);
    vn_html_number(text, r->seconds);
    fprintf(to, "<td>%s</td></tr>\n", text);
}

static vn_status put_table(FILE *to, vn_sweep_view *v, vn_err *err) {
    const vn_sweep_folder *s = v->page->sweep;
    table_line *rows = vn_arena_alloc(&v->arena, (s->count + 1) * sizeof *rows);
    if (!rows) return vn_no_memory(err);
    for (size_t i = 0; i < s->count; i++)
        rows[i] = (table_line){&s->result[i], rank_value(&s->result[i], v->page->objective)};
    qsort(rows, s->count, sizeof *rows, compare);
    fputs("<h2>All points</h2>\n<div class=\"wide\"><table>\n<tr><th>point</th><th>samples</th>",
          to);
    for (size_t i = 0; i < v->metrics; i++) vn_html_element(to, "th", v->metric[i]);
    fputs("<th>passes</th><th>seconds a sample</th></tr>\n", to);
    for (size_t i = 0; i < s->count; i++) put_row(to, v, rows[i].result);
    fputs("</table></div>\n", to);
    return VN_OK;
}

/* ---- settings -------------------------------------------------------------------------------- */

static vn_status put_settings(FILE *to, const vn_sweep_page *page, vn_err *err) {
    const char *key;
    json_t *value;
    fputs("<h2>How it was measured</h2>\n<dl class=\"settings\">\n", to);
    json_object_foreach(page->sweep->settings, key, value) {
        char *other = json_is_string(value) ? NULL : vn_json_text(value, JSON_ENCODE_ANY);
        if (!json_is_string(value) && !other) return vn_no_memory(err);
        put_term(to, key);
        vn_html_text(to, other ? other : json_string_value(value));
        fputs("</dd>\n", to);
        vn_free(other);
    }
    fputs("</dl>\n", to);
    return VN_OK;
}

/* ---- the page -------------------------------------------------------------------------------- */

static vn_status put_page(FILE *to, vn_sweep_view *v, vn_err *err) {
    const vn_sweep_page *page = v->page;
    char *title = vn_format("Sweep of %s", page->source);
    if (!title) return vn_no_memory(err);
    vn_html_begin(to, title);
    vn_html_element(to, "h1", title);
    vn_free(title);
    fprintf(to,
            "<p class=\"note\">Which settings of sampling are best, by %zu measurement%s.</p>\n",
            page->sweep->count, VN_S(page->sweep->count));
    put_recommendation(to, page);
    vn_status status = put_plots(to, v, err);
    if (!status) status = put_pictures(to, page, err);
    if (!status) put_training(to, page->history);
    if (!status) status = put_table(to, v, err);
    if (!status) status = put_settings(to, page, err);
    vn_html_end(to);
    return status;
}

vn_status vn_sweep_page_write(const char *path, const vn_sweep_page *page, vn_err *err) {
    vn_sweep_view v;
    vn_writer w;
    vn_status status = vn_sweep_view_open(&v, page, err);
    if (!status) status = vn_writer_open(&w, path, err);
    if (!status) {
        status = put_page(w.file, &v, err);
        if (!status)
            status = vn_writer_commit(&w, err);
        else
            vn_writer_abandon(&w);
    }
    vn_sweep_view_close(&v);
    return status;
}
