/* preview_write.c - a preview as a PNG, whose text chunks have the settings that vn_sample's
 * pictures have. */
#include <stdio.h>

#include "api/preview.h"

enum { SETTINGS = 13 };

/* The texts as vn_sample's settings have them: new string, NULL: out of memory. */
static char *texts_of(const vn_preview_words *w) {
    json_t *list = json_array();
    bool ok = list != NULL;
    for (int i = 0; i < w->texts && ok; i++)
        ok = json_array_append_new(list, json_string(w->text[i])) == 0;
    char *text = ok ? vn_json_text(list, JSON_COMPACT) : NULL;
    json_decref(list);
    return text;
}

vn_status vn_preview_write(const vn_preview_words *w, const vn_image *image, const char *path,
                           vn_err *err) {
    char seed[24], count[24], guidance[32], steps[16], trained[24];
    char *texts = w->texts ? texts_of(w) : NULL;
    json_t *run = vn_json_string(w->run); /* a name of any bytes, as UTF-8 */
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)w->seed);
    snprintf(count, sizeof count, "%lld", (long long)w->count);
    vn_snprintf(guidance, sizeof guidance, "%.15g", w->guidance);
    snprintf(steps, sizeof steps, "%d", w->steps);
    snprintf(trained, sizeof trained, "%lld", (long long)w->step);
    const vn_setting all[SETTINGS] = {{"vane", vn_version()},
                                      {"source", json_string_value(run)},
                                      {"training_step", trained},
                                      {"seed", seed},
                                      {"first", "0"},
                                      {"count", count},
                                      {"guidance", guidance},
                                      {"guide", w->guide && w->guide[0] ? w->guide : "cfg"},
                                      {"sampler", w->sampler},
                                      {"path", w->path},
                                      {"steps", w->steps ? steps : NULL},
                                      {"grid", w->grid},
                                      {texts ? "prompts-in-turn" : "class", texts        ? texts
                                                                            : w->classes ? "all"
                                                                                         : "null"}};
    vn_setting has[SETTINGS];
    size_t n = 0;
    for (size_t i = 0; i < SETTINGS; i++)
        if (all[i].value) has[n++] = all[i];
    const vn_status status =
        run && !texts == !w->texts ? vn_png_write(path, image, has, n, err) : vn_no_memory(err);
    vn_free(texts);
    json_decref(run);
    return status;
}
