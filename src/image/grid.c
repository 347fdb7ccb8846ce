/* grid.c - samples as one picture: bands (guidance values) of rows (classes) of columns (samples),
 * with names beside the rows and titles over the bands.
 *
 * Layout first, drawing second. Every band has the same rows, so that the same noise under another
 * guidance stands at the same place in its band; where a class has more samples than columns, its
 * rows go on below. */
#include "image/internal.h"

#include <math.h>
#include <string.h>

enum {
    MARGIN = 16,
    GAP = 2,
    BAND_GAP = 24,
    ROW_GAP = 6,
    NAME_GAP = 10,
    NAME_MAX_WIDTH = 220,
    LINE = 17, /* of a name's lines */
    AUTO_SIDE = 56,
    AUTO_COLUMNS = 8
};
static const double name_size = 10, title_size = 13; /* heights of a capital */
static const vn_ink dark = {34, 38, 46};
static const double pleasant = 1.5; /* width : height */

/* The samples of one class: `rows` rows in every band. */
typedef struct grid_class {
    int32_t label;
    int64_t most;      /* samples in the band that has most */
    int64_t rows, top; /* top: y of its first row from the band's first row, in pixels */
} grid_class;

typedef struct layout {
    const vn_show *show;
    const vn_band *bands;
    size_t band_count;
    vn_band whole; /* stands in when no bands are given */
    grid_class *groups;
    size_t group_count;
    int64_t *next; /* [groups] samples of each class placed so far in the band being drawn */
    int64_t columns, scale;
    int64_t cell_w, cell_h, name_w, title_h, band_w, band_h;
    bool side_by_side;
    bool named;
} layout;

/* ---- layout ---------------------------------------------------------------------------------- */

static int32_t label_of(const vn_show *show, int64_t i) {
    return !show->labels || show->labels[i] < 0 ? -1 : show->labels[i];
}

vn_status vn_show_check(const vn_show *show, vn_err *err) {
    if (show->count < 1) return vn_fail(err, VN_BAD_ARGUMENT, "no samples to show");
    for (size_t b = 0; b < show->band_count; b++) {
        const vn_band *band = &show->bands[b];
        if (band->first < 0 || band->count < 1 || band->first > show->count - band->count)
            return vn_fail(err, VN_BAD_ARGUMENT, "a band of the picture lies outside the samples");
    }
    for (int64_t i = 0; show->labels != NULL && i < show->count; i++)
        if (show->labels[i] >= show->classes)
            return vn_fail(err, VN_BAD_ARGUMENT, "label %d of a sample is not below %d",
                           (int)show->labels[i], (int)show->classes);
    return VN_OK;
}

static void choose_bands(layout *l) {
    l->whole = (vn_band){NULL, 0, l->show->count};
    l->bands = l->show->band_count > 0 ? l->show->bands : &l->whole;
    l->band_count = l->show->band_count > 0 ? l->show->band_count : 1;
}

/* One group for each label that occurs, in the labels' order, samples without a class last. */
static vn_status find_groups(layout *l, vn_err *err) {
    const size_t slots = (size_t)l->show->classes + 1;
    int64_t *most = vn_calloc(slots, sizeof *most), *here = vn_alloc(slots, sizeof *here);
    l->groups = vn_calloc(slots, sizeof *l->groups);
    l->next = vn_alloc(slots, sizeof *l->next);
    const bool ok = most != NULL && here && l->groups && l->next;
    for (size_t b = 0; ok && b < l->band_count; b++) {
        memset(here, 0, slots * sizeof *here);
        for (int64_t i = 0; i < l->bands[b].count; i++) {
            const int32_t label = label_of(l->show, l->bands[b].first + i);
            const size_t slot = label < 0 ? slots - 1 : (size_t)label;
            if (++here[slot] > most[slot]) most[slot] = here[slot];
        }
    }
    for (size_t slot = 0; ok && slot < slots; slot++)
        if (most[slot] > 0)
            l->groups[l->group_count++] =
                (grid_class){.label = slot == slots - 1 ? -1 : (int32_t)slot, .most = most[slot]};
    vn_free(most);
    vn_free(here);
    return ok ? VN_OK : vn_no_memory(err);
}

/* As many columns as the largest class needs, while the band stays about as wide as high. */
static int64_t choose_columns(const layout *l) {
    if (l->show->columns > 0) return l->show->columns;
    int64_t most = 1, total = 0;
    for (size_t g = 0; g < l->group_count; g++) {
        total += l->groups[g].most;
        if (l->groups[g].most > most) most = l->groups[g].most;
    }
    const int64_t square = (int64_t)ceil(sqrt((double)total)),
                  bound = square > AUTO_COLUMNS ? square : AUTO_COLUMNS;
    return most < bound ? most : bound;
}

static int64_t choose_scale(const vn_show *show) {
    if (show->scale > 0) return show->scale;
    const int side = show->width > show->height ? show->width : show->height;
    return side >= AUTO_SIDE ? 1 : (AUTO_SIDE + side - 1) / side;
}

static const char *group_name(const layout *l, const grid_class *g, char number[16]) {
    if (g->label < 0) return l->show->texts ? "no text" : "no class";
    return vn_show_name(l->show, g->label, number);
}

static int64_t names_width(const layout *l) {
    double widest = 0;
    char number[16];
    for (size_t g = 0; l->named && g < l->group_count; g++)
        widest = fmax(widest, vn_font_width(group_name(l, &l->groups[g], number), name_size));
    if (widest <= 0) return 0;
    return (int64_t)ceil(fmin(widest, NAME_MAX_WIDTH)) + NAME_GAP;
}

/* 0: no band has a title. */
static int64_t titles_width(const layout *l) {
    double widest = 0;
    for (size_t b = 0; b < l->band_count; b++)
        if (l->bands[b].title) widest = fmax(widest, vn_font_width(l->bands[b].title, title_size));
    return (int64_t)ceil(widest);
}

static void picture_size(const layout *l, bool side_by_side, int64_t *width, int64_t *height) {
    const int64_t n = (int64_t)l->band_count;
    *width =
        2 * MARGIN + l->name_w + l->band_w + (side_by_side ? (n - 1) * (l->band_w + BAND_GAP) : 0);
    *height = 2 * MARGIN + l->band_h + (side_by_side ? 0 : (n - 1) * (l->band_h + BAND_GAP));
}

static double badness(const layout *l, bool side_by_side) {
    int64_t width, height;
    picture_size(l, side_by_side, &width, &height);
    return fabs(log((double)width / (double)height / pleasant));
}

static void place(layout *l) {
    const vn_show *show = l->show;
    l->columns = choose_columns(l);
    l->scale = choose_scale(show);
    l->cell_w = (int64_t)show->width * l->scale + GAP;
    l->cell_h = (int64_t)show->height * l->scale + GAP;
    l->named = l->group_count > 1 || l->groups[0].label >= 0;
    l->name_w = names_width(l);
    const int64_t title_w = titles_width(l);
    l->title_h = title_w > 0 ? (int64_t)(2 * title_size) : 0;
    l->band_w = l->columns * l->cell_w - GAP;
    if (l->band_w < title_w) l->band_w = title_w;
    /* and some class has several rows: then space between the classes */
    const bool spread = l->group_count > 1;
    bool several = false;
    for (size_t g = 0; g < l->group_count; g++) {
        l->groups[g].rows = (l->groups[g].most + l->columns - 1) / l->columns;
        several = several || l->groups[g].rows > 1;
    }
    int64_t y = 0;
    for (size_t g = 0; g < l->group_count; g++) {
        l->groups[g].top = y;
        y += l->groups[g].rows * l->cell_h + (spread && several ? ROW_GAP : 0);
    }
    l->band_h = l->title_h + y - GAP - (spread && several ? ROW_GAP : 0);
    l->side_by_side = l->band_count > 1 && badness(l, true) <= badness(l, false);
}

static void layout_close(layout *l) {
    vn_free(l->groups);
    vn_free(l->next);
}

/* ---- drawing --------------------------------------------------------------------------------- */

typedef struct text_line {
    char text[256];
} text_line;

/* The longest beginning of the text that ends at a space and is not too wide, or its first word.
 * Returns what is left of the text; NULL: nothing. */
static const char *take_line(const char *text, double width, text_line *out) {
    const size_t most = sizeof out->text - 1;
    size_t used = 0;
    for (size_t end = 0; text[end];) {
        end += strspn(text + end, " ");
        end += strcspn(text + end, " ");
        if (end > most) break;
        memcpy(out->text, text, end);
        out->text[end] = 0;
        if (used && vn_font_width(out->text, name_size) > width) break;
        used = end;
    }
    if (!used) used = strlen(text) < most ? strlen(text) : most;
    while (text[used] && ((unsigned char)text[used] & 0xC0) == 0x80) used--;
    memcpy(out->text, text, used);
    out->text[used] = 0;
    text += used + strspn(text + used, " ");
    return *text ? text : NULL;
}

/* A text beside its row, around `middle`, in as many lines as the row has space for, of which the
 * last is cut. */
static void draw_lines(const layout *l, vn_canvas *canvas, const char *text, int64_t middle) {
    enum { MOST = 16 };
    text_line lines[MOST];
    const double width = (double)(l->name_w - NAME_GAP);
    const int64_t space = (l->cell_h - GAP) / LINE, most = space < 1      ? 1
                                                           : space < MOST ? space
                                                                          : MOST;
    const char *last = text;
    int64_t count = 0;
    for (const char *rest = text; rest && count < most; count++) {
        last = rest;
        rest = take_line(rest, width, &lines[count]);
    }
    for (int64_t i = 0; i < count; i++)
        vn_font_draw(canvas, MARGIN,
                     (double)middle + name_size / 2 + LINE * ((double)i - (double)(count - 1) / 2),
                     i == count - 1 ? last : lines[i].text, name_size, width, dark);
}

static void draw_names(const layout *l, vn_canvas *canvas, int64_t top) {
    char number[16];
    for (size_t g = 0; l->named && g < l->group_count; g++) {
        const int64_t middle = top + l->title_h + l->groups[g].top + (l->cell_h - GAP) / 2;
        const char *name = group_name(l, &l->groups[g], number);
        if (l->show->texts)
            draw_lines(l, canvas, name, middle);
        else
            vn_font_draw(canvas, MARGIN, (double)middle + name_size / 2, name, name_size,
                         (double)(l->name_w - NAME_GAP), dark);
    }
}

static size_t group_of(const layout *l, int32_t label) {
    size_t g = 0;
    while (l->groups[g].label != label) g++;
    return g;
}

static vn_status draw_band(layout *l, const vn_band *band, int64_t left, int64_t top,
                           vn_canvas *canvas, vn_err *err) {
    const vn_show *show = l->show;
    const size_t size = (size_t)show->channels * (size_t)show->height * (size_t)show->width;
    if (band->title)
        vn_font_draw(canvas, (double)left, (double)top + title_size, band->title, title_size,
                     (double)l->band_w, dark);
    memset(l->next, 0, l->group_count * sizeof *l->next);
    for (int64_t i = band->first; i < band->first + band->count; i++) {
        vn_image tile;
        const vn_status status =
            vn_image_from_sample(show->samples + (size_t)i * size, show->channels, show->height,
                                 show->width, &tile, err);
        if (status) return status;
        const size_t g = group_of(l, label_of(show, i));
        const int64_t k = l->next[g]++;
        vn_paint_tile(canvas, left + k % l->columns * l->cell_w,
                      top + l->title_h + l->groups[g].top + k / l->columns * l->cell_h, &tile,
                      (int)l->scale);
        vn_image_free(&tile);
    }
    return VN_OK;
}

static vn_status draw(layout *l, vn_image *out, vn_err *err) {
    int64_t width, height, x = MARGIN + l->name_w, y = MARGIN;
    picture_size(l, l->side_by_side, &width, &height);
    vn_canvas canvas;
    vn_status status = vn_canvas_open(&canvas, width, height, l->show->channels, err);
    if (status) return status;
    for (size_t b = 0; !status && b < l->band_count; b++) {
        if (b == 0 || !l->side_by_side) draw_names(l, &canvas, y);
        status = draw_band(l, &l->bands[b], x, y, &canvas, err);
        if (l->side_by_side)
            x += l->band_w + BAND_GAP;
        else
            y += l->band_h + BAND_GAP;
    }
    if (!status) return vn_canvas_take(&canvas, out, err);
    vn_canvas_close(&canvas);
    return status;
}

static vn_status open_layout(layout *l, const vn_show *show, vn_err *err) {
    *l = (layout){.show = show};
    vn_status status = vn_show_check(show, err);
    if (status) return status;
    choose_bands(l);
    status = find_groups(l, err);
    if (!status) place(l);
    return status;
}

vn_status vn_show_grid_size(const vn_show *show, int64_t *width, int64_t *height, vn_err *err) {
    layout l;
    const vn_status status = open_layout(&l, show, err);
    if (!status) picture_size(&l, l.side_by_side, width, height);
    layout_close(&l);
    return status;
}

vn_status vn_show_grid(const vn_show *show, vn_image *out, vn_err *err) {
    layout l;
    *out = (vn_image){0};
    vn_status status = open_layout(&l, show, err);
    if (!status) status = draw(&l, out, err);
    layout_close(&l);
    return status;
}
