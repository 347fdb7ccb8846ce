/* prompts.c - a text as a condition: a tokenizer and a text encoder make of it the arrays that a
 * denoiser takes, its tokens' states and which of them are there. All texts are filled up to one
 * length, so that those of a batch run together. What a text became is kept as a condition of the
 * model by the text itself (conditions.c), and so computed once. */
#include "model/internal.h"

#include "text/text.h"

#include <string.h>

struct vn_prompter {
    vn_text *text;
    const vn_net *net;
    vn_runner *runner;
    const char *output;    /* the one that is the states of tokens */
    bool sees_all;         /* tokens that fill up are not hidden from the encoder */
    const vn_port *pooled; /* the output that stands for a text as a whole; NULL: it has none */
    int64_t length, width, pooled_width;
    int32_t *ids, *mask;   /* [length] */
    float *states, *whole; /* [length,width], [pooled_width] */
};

static const vn_port *find_pooled(const vn_net_io *io) {
    const vn_port *embeds = vn_net_output(io, "text_embeds");
    return embeds ? embeds : vn_net_output(io, "pooler_output");
}

/* Whether the encoder takes what the tokenizer gives. */
static vn_status check(vn_prompter *p, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(p->net);
    const vn_port *ids = vn_net_input(io, "input_ids"),
                  *states = vn_net_output(io, "last_hidden_state");
    if (!ids || !states)
        return vn_fail(err, VN_UNSUPPORTED, "%s is no text encoder",
                       vn_net_get_row(p->net)->row.name);
    if (vn_text_size(p->text) > ids->below)
        return vn_fail(err, VN_BAD_FILE,
                       "the tokenizer has %d tokens, and the text encoder knows %lld",
                       (int)vn_text_size(p->text), (long long)ids->below);
    const int64_t most = io->max_tokens ? io->max_tokens : VN_PROMPT_LONGEST;
    if (p->length < vn_text_framing(p->text) || p->length > most)
        return vn_fail(err, VN_BAD_FILE,
                       "texts of %lld tokens; from %lld, which begin and end them, to %lld are "
                       "possible",
                       (long long)p->length, (long long)vn_text_framing(p->text), (long long)most);
    p->width = states->shape.dim[2];
    p->pooled = find_pooled(io);
    p->pooled_width = p->pooled ? p->pooled->shape.dim[1] : p->width;
    return VN_OK;
}

vn_status vn_prompter_open(const vn_engine *engine, const char *tokenizer, const vn_net *encoder,
                           vn_values *values, int64_t length, vn_prompter **out, vn_err *err) {
    vn_prompter *p = *out = vn_calloc(1, sizeof *p);
    if (!p) return vn_no_memory(err);
    p->net = encoder;
    p->length = length;
    p->output = "last_hidden_state";
    vn_status status = vn_text_open(tokenizer, &p->text, err);
    if (!status) status = check(p, err);
    if (!status) status = vn_runner_open(encoder, engine->device, values, &p->runner, err);
    if (!status) {
        const size_t n = (size_t)length;
        p->ids = vn_alloc(n, sizeof *p->ids);
        p->mask = vn_alloc(n, sizeof *p->mask);
        p->states = vn_alloc(n * (size_t)p->width, sizeof *p->states);
        p->whole = vn_alloc((size_t)p->pooled_width, sizeof *p->whole);
        if (!p->ids || !p->mask || !p->states || !p->whole) status = vn_no_memory(err);
    }
    if (status) vn_prompter_close(out);
    return status;
}

vn_status vn_prompter_take(vn_prompter *p, const char *states, vn_err *err) {
    const vn_port *port = vn_net_output(vn_net_get_io(p->net), states);
    if (!port)
        return vn_fail(err, VN_BAD_FILE, "%s gives no %s", vn_net_get_row(p->net)->row.name,
                       states);
    p->output = port->name;
    p->sees_all = true;
    return VN_OK;
}

void vn_prompter_close(vn_prompter **prompter) {
    vn_prompter *p = *prompter;
    if (!p) return;
    vn_runner_close(&p->runner);
    vn_text_close(&p->text);
    vn_free(p->ids);
    vn_free(p->mask);
    vn_free(p->states);
    vn_free(p->whole);
    vn_free(p);
    *prompter = NULL;
}

int64_t vn_prompter_length(const vn_prompter *p) {
    return p->length;
}

int64_t vn_prompter_width(const vn_prompter *p) {
    return p->width;
}

int64_t vn_prompter_pooled(const vn_prompter *p) {
    return p->pooled_width;
}

/* The mean of the tokens that are there. */
static void take_mean(const int32_t *mask, const float *states, int64_t length, int64_t width,
                      float *mean) {
    for (int64_t k = 0; k < width; k++) {
        double sum = 0;
        int64_t count = 0;
        for (int64_t t = 0; t < length; t++) {
            if (mask[t]) sum += (double)states[t * width + k];
            count += mask[t];
        }
        mean[k] = (float)(sum / (double)(count ? count : 1));
    }
}

vn_status vn_prompter_tokens(vn_prompter *p, const char *text, int32_t *ids, int32_t *mask,
                             int64_t *whole, vn_err *err) {
    return vn_text_fill(p->text, text, p->length, ids, mask, whole, err);
}

vn_status vn_prompter_run(vn_prompter *p, int64_t n, int32_t *ids, int32_t *mask, float *states,
                          float *pooled, vn_err *err) {
    const vn_shape rows = VN_SHAPE(n, p->length);
    vn_feed in[2] = {{.array = {"input_ids", VN_I32, rows, ids}},
                     {.array = {"attention_mask", VN_I32, rows, mask}}};
    const vn_net_spec spec = {.extent = {.batch = n, .tokens = p->length}};
    const vn_fetch fetch[2] = {{p->output, states}, {p->pooled ? p->pooled->name : NULL, pooled}};
    const bool masked = !p->sees_all && vn_net_input(vn_net_get_io(p->net), "attention_mask");
    const int feeds = masked ? 2 : 1;
    const vn_status status =
        vn_runner_run(p->runner, &spec, feeds, in, p->pooled ? 2 : 1, fetch, err);
    for (int64_t i = 0; i < n && !status && !p->pooled; i++)
        take_mean(mask + i * p->length, states + i * p->length * p->width, p->length, p->width,
                  pooled + i * p->width);
    return status;
}

vn_status vn_prompter_encode(vn_prompter *p, const char *text, vn_array out[VN_PROMPT_ARRAYS],
                             int64_t *whole, vn_err *err) {
    vn_status status = vn_prompter_tokens(p, text, p->ids, p->mask, whole, err);
    if (!status) status = vn_prompter_run(p, 1, p->ids, p->mask, p->states, p->whole, err);
    out[VN_PROMPT_STATES] =
        (vn_array){"encoder_hidden_states", VN_F32, VN_SHAPE(p->length, p->width), p->states};
    out[VN_PROMPT_MASK] =
        (vn_array){"encoder_attention_mask", VN_I32, VN_SHAPE(p->length), p->mask};
    out[VN_PROMPT_POOLED] =
        (vn_array){"pooled_projections", VN_F32, VN_SHAPE(p->pooled_width), p->whole};
    return status;
}

/* ---- conditions of a model ------------------------------------------------------------------- */

enum { PROMPT_SHOWN = 64 };

/* The text, or its beginning, for a message. */
static const char *shown(const char *text, char out[PROMPT_SHOWN]) {
    size_t n = strlen(text);
    if (n >= PROMPT_SHOWN) {
        n = PROMPT_SHOWN - 4;
        while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80) n--;
        snprintf(out, PROMPT_SHOWN, "%.*s...", (int)n, text);
    } else {
        snprintf(out, PROMPT_SHOWN, "%s", text);
    }
    return out;
}

/* What is said of a text that was made tokens of, `whole` of them. */
static vn_status tell(vn_status status, const vn_watch *watch, const char *who, const char *text,
                      int64_t whole, int64_t length, vn_err *err) {
    char begins[PROMPT_SHOWN];
    if (status == VN_BAD_ARGUMENT && vn_is_utf8(text))
        return vn_fail_in(err, "\"%s\"", shown(text, begins));
    if (!status && whole > length)
        vn_log(watch, VN_LOG_WARNING,
               "prompt \"%s\": %lld tokens, of which the first %lld count%s%s", shown(text, begins),
               (long long)whole, (long long)length, who ? " for the " : "", who ? who : "");
    return status;
}

vn_status vn_prompter_answer(vn_prompter *p, const vn_watch *watch, const char *who,
                             const char *text, vn_array out[VN_PROMPT_ARRAYS], vn_err *err) {
    int64_t whole = 0;
    const vn_status status = vn_prompter_encode(p, text, out, &whole, err);
    return tell(status, watch, who, text, whole, p->length, err);
}

vn_status vn_prompt_fill(vn_text *text, const vn_watch *watch, const char *prompt, int64_t length,
                         int32_t *ids, vn_err *err) {
    int64_t whole = 0;
    const vn_status status = vn_text_fill(text, prompt, length, ids, NULL, &whole, err);
    return tell(status, watch, NULL, prompt, whole, length, err);
}

vn_status vn_prompter_keep(vn_prompter *p, vn_model *m, const char *text, vn_condition *out,
                           vn_err *err) {
    vn_array arrays[VN_PROMPT_ARRAYS], taken[VN_PROMPT_ARRAYS];
    int count = 0;
    const vn_status status = vn_prompter_answer(p, m->engine.watch, NULL, text, arrays, err);
    if (status) return status;
    for (int i = 0; i < VN_PROMPT_ARRAYS; i++)
        if (vn_net_input(vn_net_get_io(vn_model_net(m)), arrays[i].name))
            taken[count++] = arrays[i];
    return vn_model_keep_as(m, text, !text[0], count, taken, out, err);
}

vn_status vn_model_prompt(vn_model *m, const char *text, vn_condition *out, vn_err *err) {
    *out = VN_CONDITION_NULL;
    if (!m->row->prompt)
        return vn_fail(err, VN_UNSUPPORTED, "%s: takes no prompts%s", m->source,
                       m->classes ? "; its samples are of classes" : "");
    if ((!text[0] && !m->empty_text) || vn_model_find_added(m, text, out)) return VN_OK;
    return m->row->prompt(m, text, out, err);
}
