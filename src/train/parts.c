/* parts.c - the networks of a training: what a setup may say of them, and the frozen ones, which
 * are opened from model directories and only read. */
#include "train/internal.h"

#include <string.h>

const char *vn_part_folder(const vn_train_part *part, int i) {
    return i == 0 ? vn_net_get_row(part->net)->folder : part->name;
}

int vn_part_find(const vn_train_setup *s, const char *name) {
    if (!name) return 0;
    for (int i = 0; i < s->parts; i++)
        if (s->part[i].name && strcmp(s->part[i].name, name) == 0) return i;
    return -1;
}

int vn_part_loss_of(const vn_train_setup *s, int i) {
    return s->part[i].frozen ? -1 : vn_objective_loss_of(s->objective, s->part[i].name);
}

size_t vn_part_base(const vn_train_setup *s, int i) {
    size_t base = 0;
    for (int k = 0; k < i; k++)
        if (!s->part[k].frozen) base += vn_weights_floats(vn_net_weights(s->part[k].net));
    return base;
}

double vn_parts_bytes(const vn_train_setup *s, int sums) {
    double bytes = s->text && s->text->frozen ? (double)s->text->frozen->bytes : 0;
    for (int i = 0; i < s->parts; i++) {
        const vn_train_part *p = &s->part[i];
        const vn_weights *w = vn_net_weights(p->net);
        bytes += p->frozen ? (double)vn_weights_bytes(w)
                           : sizeof(float) * (1.0 + sums) * (double)vn_weights_floats(w);
    }
    return bytes;
}

/* ---- what may be said ------------------------------------------------------------------------ */

/* A name is a folder's too. */
static bool is_name(const char *text) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    const size_t n = text ? strlen(text) : 0;
    return n >= 1 && n <= 40 && strspn(text, letters) == n;
}

static vn_status check_part(const vn_train_setup *s, int i, vn_err *err) {
    static const char *const taken[] = {"state", "scheduler", "previews"};
    const vn_train_part *p = &s->part[i];
    if ((i > 0 || p->name) && !is_name(p->name))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "part %d is called \"%.60s\": a name is of 1 to 40 small letters, digits, _ "
                       "and -",
                       i, p->name ? p->name : "");
    for (size_t k = 0; k < VN_COUNT(taken) && i > 0; k++)
        if (strcmp(taken[k], p->name) == 0)
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "a part cannot be called %s: a run has a folder of this name", p->name);
    for (int k = 0; k < i; k++)
        if (strcmp(vn_part_folder(&s->part[k], k), p->name) == 0 || vn_part_find(s, p->name) < i)
            return vn_fail(err, VN_BAD_ARGUMENT, "two parts are called %s", p->name);
    if (p->frozen && i == 0)
        return vn_fail(err, VN_BAD_ARGUMENT, "the first part is what is trained: it is not frozen");
    if (p->frozen && !p->weights && !p->values && !p->random)
        return vn_fail(err, VN_BAD_ARGUMENT, "%s is frozen and has no file of weights", p->name);
    if (p->lr < 0)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "the learning rate of %s is %g times the run's: less "
                       "than 0",
                       p->name ? p->name : "the first part", p->lr);
    return VN_OK;
}

/* Every loss has something to train. */
static vn_status check_losses(const vn_train_setup *s, vn_err *err) {
    const int losses = vn_objective_losses(s->objective);
    bool trains[VN_OBJECTIVE_LOSSES] = {false};
    for (int i = 0; i < s->parts; i++)
        if (!s->part[i].frozen) trains[vn_part_loss_of(s, i)] = true;
    for (int k = 0; k < losses; k++) {
        if (trains[k]) continue;
        if (k == 0) return vn_fail(err, VN_BAD_ARGUMENT, "the first loss trains no part");
        return vn_fail(err, VN_BAD_ARGUMENT, "the objective trains a part %s, and there is none",
                       vn_objective_loss_part(s->objective, k));
    }
    return VN_OK;
}

/* What the network takes of a text is what is made of one: so many numbers a token, and so many for
 * the whole, 0: none. */
static vn_status check_widths(const vn_net *first, int64_t width, int64_t pooled,
                              const char *encoder, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(first);
    const vn_port *states = vn_net_input(io, VN_TEXT_STATES),
                  *whole = vn_net_input(io, VN_TEXT_POOLED);
    const char *name = vn_net_get_row(first)->row.name;
    if (states->shape.dim[2] != width)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s takes texts of %lld numbers a token, and %s gives %lld", name,
                       (long long)states->shape.dim[2], encoder, (long long)width);
    if (whole && whole->shape.dim[1] != pooled)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "%s takes %lld numbers for a text as a whole, and %s gives %lld", name,
                       (long long)whole->shape.dim[1], encoder, (long long)pooled);
    return VN_OK;
}

/* A sequence model takes the tokens of texts themselves. */
static vn_status check_tokens(const vn_train_text *text, const vn_net *first, vn_err *err) {
    const char *name = vn_net_get_row(first)->row.name;
    const int64_t knows = vn_net_input(vn_net_get_io(first), "input_ids")->below;
    if (text->frozen || text->part)
        return vn_fail(err, VN_UNSUPPORTED, "%s takes the tokens of texts, and no encoder of them",
                       name);
    if (vn_text_size(text->tokenizer) < knows) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "the tokenizer has %d tokens, and %s knows %lld, those of codes among them",
                   (int)vn_text_size(text->tokenizer), name, (long long)knows);
}

/* The encoder and the network that it works for fit together. */
static vn_status check_text(const vn_train_setup *s, vn_err *err) {
    const vn_train_text *text = s->text;
    const vn_net *first = s->part[0].net;
    if (vn_net_get_row(first)->role == VN_ROLE_SEQUENCE) return check_tokens(text, first, err);
    const vn_port *takes = vn_net_input(vn_net_get_io(first), VN_TEXT_STATES);
    if (text->frozen && takes)
        return check_widths(first, text->frozen->width, text->frozen->pooled, "the text encoder",
                            err);
    if (text->frozen)
        return vn_fail(err, VN_UNSUPPORTED, "%s takes no texts", vn_net_get_row(first)->row.name);
    if (text->part < 1 || text->part >= s->parts)
        return vn_fail(err, VN_BAD_ARGUMENT, "the text encoder is no part beside the first");
    const vn_net *encoder = s->part[text->part].net;
    const vn_net_io *io = vn_net_get_io(encoder);
    const char *name = vn_net_get_row(encoder)->row.name;
    const vn_port *ids = vn_net_input(io, "input_ids"),
                  *gives = vn_net_output(io, "last_hidden_state"),
                  *whole = vn_net_output(io, "pooler_output");
    if (!takes || !ids || !gives)
        return vn_fail(err, VN_UNSUPPORTED, "%s takes no texts, or %s makes nothing of them",
                       vn_net_get_row(first)->row.name, name);
    if (vn_text_size(text->tokenizer) > ids->below)
        return vn_fail(err, VN_BAD_ARGUMENT, "the tokenizer has %d tokens, and %s knows %lld",
                       (int)vn_text_size(text->tokenizer), name, (long long)ids->below);
    return check_widths(first, gives->shape.dim[2], whole ? whole->shape.dim[1] : 0, name, err);
}

vn_status vn_parts_check(const vn_train_setup *s, vn_err *err) {
    vn_status status = VN_OK;
    if (s->parts < 1 || s->parts > VN_TRAIN_PARTS)
        return vn_fail(err, VN_BAD_ARGUMENT, "a training of %d parts: there may be 1 to %d",
                       s->parts, VN_TRAIN_PARTS);
    for (int i = 0; i < s->parts && !status; i++) status = check_part(s, i, err);
    if (!status && s->text) status = check_text(s, err);
    if (!status) status = check_losses(s, err);
    return status ? status : vn_optimizers_check(s, err);
}

/* ---- frozen parts ---------------------------------------------------------------------------- */

vn_status vn_parts_read_types(const vn_train_setup *s, vn_err *err) {
    vn_status status = VN_OK;
    for (int i = 0; i < s->parts && !status; i++)
        if (s->part[i].frozen && s->part[i].weights)
            status = vn_store_read_types(s->part[i].weights, vn_net_weights(s->part[i].net),
                                         s->device->row, err);
    return status;
}

static vn_status open_frozen(const vn_model_dir *d, vn_train_part *out, vn_err *err) {
    const char *path = NULL;
    vn_status status = vn_model_dir_weights(d, &path, err);
    if (!status && (status = vn_net_open(d->config, &out->net, err)) != VN_OK)
        vn_fail_in(err, "%s", d->path);
    if (status) return status;
    out->weights = vn_strdup(path);
    return out->weights ? VN_OK : vn_no_memory(err);
}

vn_status vn_train_open_frozen(const char *dir, const char *name, vn_train_part *out, vn_err *err) {
    vn_model_dir d;
    *out = (vn_train_part){.name = name, .frozen = true};
    vn_status status = vn_model_dir_open(dir, &d, err);
    if (status) return status;
    status = open_frozen(&d, out, err);
    vn_model_dir_close(&d);
    if (status) vn_train_close_frozen(out);
    return status;
}

void vn_train_close_frozen(vn_train_part *part) {
    vn_net_close(&part->net);
    vn_free((char *)part->weights);
    *part = (vn_train_part){0};
}
