/* describe_run.c - what a person wants to know of a run first: what was trained, on what, for how
 * long, how well, and how it is sampled. From vane.json, and from the end of log.jsonl, which may
 * be missing or damaged: then that much is left out. */
#include "api/internal.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

/* ---- the log --------------------------------------------------------------------------------- */

/* bytes at the log's end that are read: more than a minute's lines, and so a held-out loss */
enum { TAIL = 1 << 18 };

/* In the words of log.jsonl: of a classifier, how well it told held-out samples, all of them and by
 * quarter of t from data to noise; of an autoencoder, how well it reconstructed them. */
static const char *const told[] = {"held_accuracy",       "held_nll",       "held_ece",
                                   "accuracy_by_quarter", "nll_by_quarter", "ece_by_quarter",
                                   "held_psnr",           "codes_used",     "code_perplexity"};

typedef struct history {
    double loss, held_loss, seconds; /* NaN: not known */
    json_t *told[VN_COUNT(told)];    /* the latest; NULL: none */
} history;

/* The last bytes of the file, ended by 0; NULL where there is none that can be read. */
static vn_status read_tail(const char *path, char **text, vn_err *err) {
    vn_err ignored = {0};
    int fd;
    *text = NULL;
    if (vn_file_open(path, &fd, &ignored) != VN_OK) return VN_OK;
    const off_t end = lseek(fd, 0, SEEK_END);
    *text = vn_alloc(TAIL + 1, 1);
    const ssize_t n = *text ? pread(fd, *text, TAIL, end > TAIL ? end - TAIL : 0) : -1;
    close(fd);
    if (!*text) return vn_no_memory(err);
    (*text)[n > 0 ? n : 0] = 0;
    return VN_OK;
}

static void take(const json_t *line, const char *key, double *value) {
    const json_t *found = json_object_get(line, key);
    if (json_is_number(found)) *value = json_number_value(found);
}

/* What the log says of the run up to this step: a killed run may have logged more than it saved. */
static vn_status read_history(const char *run, int64_t step, history *h, vn_err *err) {
    *h = (history){.loss = (double)NAN, .held_loss = (double)NAN, .seconds = (double)NAN};
    char *path = vn_path_join(run, "log.jsonl"), *text = NULL;
    vn_status status = path ? read_tail(path, &text, err) : vn_no_memory(err);
    for (char *line = text, *end; !status && line && (end = strchr(line, '\n')); line = end + 1) {
        vn_err damaged = {0};
        json_t *object = NULL;
        if (vn_json_parse(line, (size_t)(end - line), "log.jsonl", &object, &damaged) ==
            VN_NO_MEMORY)
            status = vn_no_memory(err);
        if (json_is_object(object) && json_integer_value(json_object_get(object, "step")) <= step) {
            take(object, "loss_mean", &h->loss);
            take(object, "held_loss", &h->held_loss);
            take(object, "seconds", &h->seconds);
            for (size_t i = 0; i < VN_COUNT(told); i++) {
                json_t *found = json_object_get(object, told[i]);
                if (!found) continue;
                json_decref(h->told[i]);
                h->told[i] = json_incref(found);
            }
        }
        json_decref(object);
    }
    vn_free(text);
    vn_free(path);
    return status;
}

/* ---- the object ------------------------------------------------------------------------------ */

static bool put(json_t *to, const char *key, json_t *value) {
    return json_object_set_new(to, key, value) == 0;
}

/* Left out where it is not known. */
static bool put_number(json_t *to, const char *key, double value) {
    return !isfinite(value) || put(to, key, json_real(value));
}

static json_t *trained(const vn_run_facts *r, const json_t *vane, const history *h) {
    const json_t *data = json_object_get(vane, "data");
    const double count = json_number_value(json_object_get(data, "count")) -
                         json_number_value(json_object_get(data, "held"));
    const json_int_t batch =
        json_integer_value(json_object_get(json_object_get(vane, "train"), "batch"));
    json_t *out = json_object();
    bool ok = out && put(out, "model", json_string(r->kind)) &&
              put(out, "parameters", json_integer((json_int_t)r->parameters));
    static const char *const of_data[][2] = {{"source", "data"},
                                             {"name", "data"},
                                             {"kind", "kind"},
                                             {"count", "samples"},
                                             {"held", "held"}};
    for (size_t i = 0; ok && i < VN_COUNT(of_data); i++) {
        json_t *value = json_object_get(data, of_data[i][0]);
        ok = !value || json_object_set(out, of_data[i][1], value) == 0;
    }
    ok = ok && (r->classes < 0 || put(out, "classes", json_integer(r->classes))) &&
         put(out, "steps", json_integer((json_int_t)r->steps)) &&
         put(out, "batch", json_integer(batch)) &&
         put_number(out, "epochs",
                    count > 0 ? (double)r->steps * (double)batch / count : (double)NAN) &&
         put_number(out, "minutes", h->seconds / 60) && put_number(out, "loss", h->loss) &&
         put_number(out, "held_loss", h->held_loss);
    for (size_t i = 0; ok && i < VN_COUNT(told); i++)
        ok = !h->told[i] || json_object_set(out, told[i], h->told[i]) == 0;
    if (ok) return out;
    json_decref(out);
    return NULL;
}

char *vn_shell_word(const char *word) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=:@,%";
    if (word[0] && word[0] != '-' && !word[strspn(word, plain)]) return vn_strdup(word);
    char *quoted = vn_strdup(word[0] == '-' ? "'./" : "'");
    for (const char *c = word; quoted && *c; c++) {
        char *longer = *c == '\'' ? vn_format("%s'\\''", quoted) : vn_format("%s%c", quoted, *c);
        vn_free(quoted);
        quoted = longer;
    }
    char *closed = quoted ? vn_format("%s'", quoted) : NULL;
    vn_free(quoted);
    return closed;
}

/* A command that follows the classifier; one of clean samples is for measuring. */
static json_t *classifier_command(const vn_model *m) {
    const bool noisy = vn_net_input(vn_net_get_io(vn_model_net(m)), "timestep") != NULL;
    char *source = vn_shell_word(m->source), *text = NULL;
    if (source)
        text = vn_format(noisy ? "vane sample RUN --classifier %s --guide classifier --guidance 2 "
                                 "--out samples.png"
                               : "vane eval --samples samples.safetensors --features %s --metric "
                                 "accuracy",
                         source);
    json_t *out = text ? vn_json_string(text) : NULL;
    vn_free(text);
    vn_free(source);
    return out;
}

/* A command that draws what was trained, in a form that can hold it. */
static json_t *command(const vn_model *m) {
    const vn_shape *shown = vn_model_shown(m);
    const bool shows =
        vn_shape_is_image(shown) ? shown->dim[0] == 1 || shown->dim[0] == 3 : shown->dim[0] <= 2;
    const bool asks = m->row->prompt && vn_model_pipeline(m);
    char *source = vn_shell_word(m->source);
    char *text =
        source ? vn_format("vane sample %s%s --out samples.%s", source,
                           asks ? " --prompt \"a red fox in the snow\"" : "", shows ? "png" : "npy")
               : NULL;
    json_t *out = text ? vn_json_string(text) : NULL; /* names may be any bytes */
    vn_free(text);
    vn_free(source);
    return out;
}

/* How it is sampled; a classifier is not. */
static json_t *sampling_of(const vn_model *m) {
    json_t *out = m->row->classifies ? json_object() : vn_sampling_defaults_to_json(&m->sampling);
    if (m->row->sequence) json_object_del(out, "steps"); /* it has tokens */
    if (out && put(out, "command", m->row->classifies ? classifier_command(m) : command(m)))
        return out;
    json_decref(out);
    return NULL;
}

vn_status vn_describe_training(const vn_run_facts *r, const json_t *vane, json_t *out,
                               vn_err *err) {
    history h = {0};
    if (!json_is_object(json_object_get(vane, "train"))) return VN_OK;
    vn_status status = read_history(r->source, r->steps, &h, err);
    if (!status && !put(out, "trained", trained(r, vane, &h))) status = vn_no_memory(err);
    for (size_t i = 0; i < VN_COUNT(told); i++) json_decref(h.told[i]);
    return status;
}

vn_status vn_describe_run(const vn_model *m, const json_t *vane, json_t *out, vn_err *err) {
    json_t *sampling = sampling_of(m);
    const vn_net *net = vn_model_net(m);
    const vn_run_facts facts = {.source = m->source,
                                .kind = m->kind,
                                .parameters = net ? vn_weights_parameters(vn_net_weights(net)) : 0,
                                .classes = m->classes,
                                .steps = m->steps};
    vn_status status = sampling ? VN_OK : vn_no_memory(err);
    if (!status) status = vn_describe_training(&facts, vane, out, err);
    const char *key = m->row->classifies ? "use" : "sampling";
    if (!status && json_object_set(out, key, sampling) != 0) status = vn_no_memory(err);
    json_decref(sampling);
    return status;
}
