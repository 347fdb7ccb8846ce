/* like.c - see like.h. A setting is named like the flag it belongs to. A file may hold anything:
 * only settings in the table below become flags (never --out, say), and what else is in it is
 * named. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/like.h"

static const char *const taken[] = {"source",      "seed",     "first",      "guidance",
                                    "sampler",     "path",     "steps",      "grid",
                                    "sigmas",      "class",    "noise",      "weak",
                                    "scale",       "batch",    "null-class", "begin",
                                    "restore",     "operator", "observe",    "noise-level",
                                    "init",        "strength", "invert",     "classifier",
                                    "prompt",      "negative", "size",       "embedded-guidance",
                                    "temperature", "top-k",    "top-p",      "cache"};
/* Settings that are no flag's, or are taken in a way of their own (count, guide). */
static const char *const known[] = {"vane",  "model", "index", "trace",   "training_step",
                                    "bands", "count", "guide", "prompts", "prompts-in-turn"};

/* A setting that would contradict a flag that was typed. */
static const struct {
    const char *setting, *typed;
} beside[] = {
    {"steps", "sigmas"}, {"grid", "sigmas"}, {"sigmas", "steps"},
    {"sigmas", "grid"},  {"noise", "count"}, {"noise", "first"},
};

static const char *text_of(const json_t *settings, const char *key) {
    return json_string_value(json_object_get(settings, key));
}

static bool among(const char *key, const char *const *keys, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i], key) == 0) return true;
    return false;
}

static bool is_taken(const char *key) {
    return among(key, taken, sizeof taken / sizeof taken[0]);
}

static bool is_known(const char *key) {
    return among(key, known, sizeof known / sizeof known[0]);
}

static bool contradicted(const cli_parser *p, const char *key) {
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++)
        if (strcmp(beside[i].setting, key) == 0 && cli_given(p, beside[i].typed)) return true;
    return false;
}

/* Whether what to draw was typed: another class or prompt. */
static bool asks_otherwise(const cli_parser *p) {
    return cli_given(p, "class") || cli_given(p, "prompt") || cli_given(p, "prompts");
}

static const char *flag_of(const char *key) {
    return strcmp(key, "source") == 0 ? "SOURCE" : key;
}

/* How many parts `between` divides the text into. */
static int64_t parts(const char *text, const char *between) {
    int64_t n = 1;
    for (; text != NULL && (text = strstr(text, between)); text += strlen(between)) n++;
    return n;
}

/* Guides stand with " | " between them; they are cut apart in a copy that `settings` keeps. */
static bool give_guides(cli_parser *p, const char *file, json_t *settings) {
    static const char between[] = " | ";
    if (cli_given(p, "guide")) return true;
    for (const char *at = text_of(settings, "guide"); at;) {
        const char *end = strstr(at, between);
        json_t *one = end ? json_stringn(at, (size_t)(end - at)) : json_string(at),
               *kept = json_object_get(settings, "guides");
        if (!kept) {
            json_object_set_new(settings, "guides", json_array());
            kept = json_object_get(settings, "guides");
        }
        if (json_array_append_new(kept, one) != 0 ||
            !cli_give(p, "guide", json_string_value(one), file))
            return false;
        at = end ? end + strlen(between) : NULL;
    }
    return true;
}

/* Several prompts are a list of JSON, which `settings` keeps. */
static bool give_prompts(cli_parser *p, const char *file, json_t *settings) {
    const char *text = text_of(settings, "prompts-in-turn");
    if (!text || asks_otherwise(p)) return true;
    json_t *list = json_loads(text, 0, NULL), *one;
    if (json_object_set_new(settings, "prompt-list", list) != 0 || !json_is_array(list))
        return cli_misuse("sample", "--like %s: its prompts are no list", file);
    for (size_t i = 0; i < json_array_size(list); i++) {
        one = json_array_get(list, i);
        if (!json_is_string(one) || !cli_give(p, "prompt", json_string_value(one), file))
            return cli_misuse("sample", "--like %s: its prompts are no texts", file);
    }
    return true;
}

/* Of all bands together, where --count is of each. */
static bool give_count(cli_parser *p, const char *file, json_t *settings) {
    const char *text = text_of(settings, "count");
    const int64_t bands =
        parts(text_of(settings, "guidance"), ",") * parts(text_of(settings, "guide"), " | ");
    const int64_t all = text ? strtoll(text, NULL, 10) : 0;
    if (!text || cli_given(p, "count") ||
        (text_of(settings, "noise") != NULL && !cli_given(p, "noise")))
        return true;
    if (all < 1 || all % bands != 0)
        return cli_misuse("sample", "%s: its %s samples are not as many in each of %lld bands",
                          file, text, (long long)bands);
    json_t *each = json_sprintf("%lld", (long long)(all / bands));
    return json_object_set_new(settings, "count", each) == 0 &&
           cli_give(p, "count", json_string_value(each), file);
}

static bool give_all(cli_parser *p, const char *file, json_t *settings) {
    const char *key;
    json_t *value;
    json_object_foreach(settings, key, value) {
        if (!is_taken(key) || contradicted(p, key)) continue;
        if ((!strcmp(key, "prompt") || !strcmp(key, "class")) && asks_otherwise(p)) continue;
        if (!json_is_string(value) || !cli_give(p, flag_of(key), json_string_value(value), file))
            return false;
    }
    return give_guides(p, file, settings) && give_prompts(p, file, settings) &&
           give_count(p, file, settings);
}

/* "taken from x.png: source runs/x, seed 7, ...; not taken: Software" */
static void say(const cli_parser *p, const char *file, const json_t *settings, const bool *typed) {
    const char *key, *before = "";
    json_t *value;
    size_t i = 0;
    cli_print(stderr, "taken from %s: ", file);
    json_object_foreach((json_t *)(uintptr_t)settings, key, value) {
        const bool flag = is_taken(key) || strcmp(key, "count") == 0 || strcmp(key, "guide") == 0 ||
                          strcmp(key, "prompts-in-turn") == 0;
        if (typed[i++] || !flag || contradicted(p, key)) continue;
        cli_print(stderr, "%s%s %s", before, key, json_string_value(value));
        before = ", ";
    }
    fputs(before[0] != '\0' ? "" : "nothing, for all of it was given", stderr);
    before = "; not taken: ";
    json_object_foreach((json_t *)(uintptr_t)settings, key, value) {
        if (is_taken(key) || is_known(key) || !json_is_string(value)) continue;
        cli_print(stderr, "%s%s", before, key);
        before = ", ";
    }
    fputc('\n', stderr);
}

/* The file's settings as an object of strings. */
static vn_status read_settings(const char *file, json_t **settings) {
    vn_context *vn = NULL;
    char *text = NULL, unopened[256] = "";
    json_t *all = NULL;
    vn_context_options o = vn_context_options_default();
    o.error = unopened;
    o.error_size = sizeof unopened;
    vn_status status = vn_context_open(&vn, &o);
    if (status) {
        cli_error("sample", status, "%s", unopened);
        *settings = NULL;
        return status;
    }
    status = vn_describe(vn, file, &text);
    if (!status) status = cli_take_json(&text, &all);
    if (status == VN_UNSUPPORTED)
        cli_error(
            "sample", status,
            "--like %s: vane sample did not write it; --like takes a picture or a tensor file",
            file);
    else if (status)
        cli_error("sample", status,
                  "--like: %s; it takes a picture or a tensor file that vane sample wrote",
                  vn_error_text(vn));
    json_t *found = json_object_get(all, "text") ? json_object_get(all, "text")
                                                 : json_object_get(all, "metadata");
    if (!status && !text_of(found, "source")) {
        cli_misuse("sample", "--like %s: vane sample did not write it, so it holds no settings",
                   file);
        status = VN_BAD_ARGUMENT;
    }
    *settings = !status ? json_incref(found) : NULL;
    json_decref(all);
    vn_context_close(&vn);
    return status;
}

/* Of a file whose settings have been read. */
static bool take(cli_parser *p, const char *file, bool quiet, json_t *settings) {
    enum { most = 64 };
    bool typed[most] = {false};
    const char *key;
    json_t *value;
    size_t i = 0;
    if (json_object_size(settings) >= most)
        return cli_misuse("sample", "--like %s: too many settings", file);
    if (!text_of(settings, "class") && !text_of(settings, "prompt") &&
        !text_of(settings, "prompts-in-turn") && !asks_otherwise(p))
        return cli_misuse(
            "sample", "--like %s: it does not hold the classes of its samples; give --class", file);
    json_object_foreach(settings, key, value) typed[i++] = cli_given(p, flag_of(key));
    if (!give_all(p, file, settings)) return false;
    if (!quiet) say(p, file, settings, typed);
    return true;
}

vn_status cli_like(cli_parser *p, const char *file, bool quiet, json_t **settings) {
    const vn_status status = read_settings(file, settings);
    if (status) return status;
    return take(p, file, quiet, *settings) ? VN_OK : VN_BAD_ARGUMENT;
}

bool cli_like_fits(const json_t *settings, const char *file, const char *source,
                   const char *fingerprint, int64_t steps) {
    const char *model = text_of(settings, "model"), *step = text_of(settings, "training_step");
    if (model && (!fingerprint || strcmp(model, fingerprint) != 0))
        return cli_misuse("sample", "--like %s: another model drew it (%s) than %s is now (%s)",
                          file, model, source, fingerprint ? fingerprint : "a callback");
    if (!model && step && strtoll(step, NULL, 10) != steps)
        return cli_misuse("sample",
                          "--like %s: it was drawn after %s training steps, and %s has %lld", file,
                          step, source, (long long)steps);
    return true;
}
