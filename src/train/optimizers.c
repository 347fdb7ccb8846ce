/* optimizers.c - the table of optimisers, and what a training asks of those of its parts. */
#include "train/internal.h"

#define OPTIMIZER(name) &vn_##name##_optimizer,
static const vn_optimizer_row *const rows[] = {VN_OPTIMIZERS(OPTIMIZER)};
static const vn_word words[] = {{"adam", "adamw"}, {NULL, NULL}};
const vn_table vn_optimizers = {"optimizer", rows, 0, VN_COUNT(rows), words, NULL};

vn_choice vn_optimizer_of(const vn_train_part *part) {
    vn_choice choice = {0};
    if (part->optimizer) return *part->optimizer;
    vn_choice_parse("adamw", &vn_optimizers, &choice, NULL); /* a name that there is */
    return choice;
}

const vn_optimizer_row *vn_optimizer_row_of(const vn_train_part *part) {
    return part->optimizer ? (const vn_optimizer_row *)part->optimizer->row : rows[0];
}

vn_status vn_optimizer_second(const vn_train_part *part, vn_weights **out, vn_err *err) {
    const vn_optimizer_row *row = vn_optimizer_row_of(part);
    *out = NULL;
    return row->takes ? vn_weights_without(vn_net_weights(part->net), row->takes, out, err) : VN_OK;
}

bool vn_optimizer_takes(const vn_train_part *part, const vn_weight *w) {
    const vn_optimizer_row *row = vn_optimizer_row_of(part);
    return row->takes && row->takes(w);
}

/* Floats of an array of the weights that the optimiser takes by its own rule, gaps included. */
static size_t floats_taken(const vn_train_part *part) {
    const vn_optimizer_row *row = vn_optimizer_row_of(part);
    const vn_weights *w = vn_net_weights(part->net);
    const size_t count = vn_weights_count(w);
    size_t sum = 0;
    for (size_t i = 0; row->takes && i < count; i++) {
        const size_t end = i + 1 < count ? vn_weights_at(w, i + 1)->offset : vn_weights_floats(w);
        if (vn_optimizer_takes(part, vn_weights_at(w, i))) sum += end - vn_weights_at(w, i)->offset;
    }
    return sum;
}

vn_status vn_optimizers_check(const vn_train_setup *s, vn_err *err) {
    const vn_optimizer_row *idle = NULL;
    for (int i = 0; i < s->parts; i++) {
        const vn_train_part *part = &s->part[i];
        if (part->frozen || !vn_optimizer_row_of(part)->takes) continue;
        if (floats_taken(part) > 0) return VN_OK;
        idle = vn_optimizer_row_of(part);
    }
    if (!idle) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "the optimizer %s would do what adamw does: %s has no matrix between its first "
                   "layer and its last",
                   idle->row.name, vn_net_get_row(s->part[0].net)->row.name);
}
