/* needs.c - refuses guides that need what a model does not have. The message names it and, where
 * the model has no conditions or no null condition, the guides that work without. */
#include "guide/internal.h"

#include <string.h>

/* What `row` needs and there is not, in words; NULL: nothing. met: needs that are taken as met. */
static const char *lacking(const vn_guide_provided *m, const vn_guide_row *row, unsigned met) {
    const vn_denoiser *d = m->denoiser;
    const unsigned needs = row->needs & ~met;
    /* the conditions that there are, are the classes of its classifier */
    const bool borrowed = d->unconditional && !(needs & VN_NEEDS_CLASSIFIER);
    if ((needs & VN_NEEDS_CONDITION) && (borrowed || !vn_conditions_count(&d->conditions)))
        return borrowed ? "conditions of its own, beside those of its classifier" : "conditions";
    if ((needs & VN_NEEDS_NULL) && !d->conditions.has_null) return "the null condition";
    if ((needs & VN_NEEDS_WEAK) && !(d->can & VN_CAN_WEAK)) return "a weak model";
    if ((needs & VN_NEEDS_VJP) && !(d->can & VN_CAN_VJP)) return "derivatives";
    if ((needs & VN_NEEDS_CLASSIFIER) && !d->classify) return "a classifier";
    if ((needs & VN_NEEDS_REWARD) && !m->reward && !d->classify)
        return "a reward, or a classifier in its place";
    if ((needs & VN_NEEDS_EMBEDDED) && !(d->can & VN_TAKES_GUIDANCE))
        return "a network that takes guidance as an input";
    if ((needs & VN_NEEDS_ANNEAL) && !(d->can & VN_CAN_ANNEAL))
        return "conditions that noise can be added to (texts and vectors; a class is a row of a "
               "table inside the network)";
    if (row->perturbations & ~d->perturbations & VN_ATTENTION_NORMALIZED)
        return "attention to a text";
    if (row->perturbations & ~d->perturbations & VN_ANSWER_EXTRAPOLATED)
        return "an internal head (`--model unet2d:internal=1` trains one)";
    if (row->perturbations & ~d->perturbations) return "layers that can be perturbed";
    return NULL;
}

/* Needs that a user can meet by an option, whatever the model is. */
#define USER_CAN_MEET (VN_NEEDS_WEAK | VN_NEEDS_REWARD)

/* The kinds of guide that the message lists: rules, which use G; guides that act at G = 1 too; and
 * those that only change what others do. */
typedef enum use { AS_RULE, AT_ONE, BESIDE } use;

static use use_of(const vn_guide_row *row) {
    if (row->stage == VN_GUIDE_RULE) return AS_RULE;
    return row->stage == VN_GUIDE_NETWORK || row->stage == VN_GUIDE_ADDITION || row->select
               ? AT_ONE
               : BESIDE;
}

/* Whether the guide, with its defaults, can guide this model. */
static bool can_guide(const vn_guide_provided *m, const vn_guide_row *row) {
    vn_choice c;
    return !lacking(m, row, USER_CAN_MEET) && !vn_choice_parse(row->row.name, m->table, &c, NULL) &&
           (!row->check || !row->check(&c, m->denoiser, NULL));
}

/* Appends "; before: a, b (with a weak model), c" to text. */
static void list_guides(const vn_guide_provided *m, use as, const char *before, char *text,
                        size_t size) {
    const char *comma = before;
    for (size_t i = 0; i < m->table->count; i++) {
        const vn_guide_row *row = (const vn_guide_row *)vn_table_row(m->table, i);
        if (use_of(row) != as || !can_guide(m, row)) continue;
        const unsigned beside = row->needs & USER_CAN_MEET &
                                ~((m->denoiser->can & VN_CAN_WEAK) ? VN_NEEDS_WEAK : 0) &
                                ~(m->reward || m->denoiser->classify ? VN_NEEDS_REWARD : 0);
        const size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%s%s", comma, row->row.name,
                 beside & VN_NEEDS_WEAK     ? " (with a weak model)"
                 : beside & VN_NEEDS_REWARD ? " (with a reward)"
                                            : "");
        comma = ", ";
    }
}

vn_status vn_guide_check_needs(const vn_guide_provided *m, const vn_guide_row *row, double gamma,
                               vn_err *err) {
    const vn_denoiser *d = m->denoiser;
    const char *lacks = lacking(m, row, 0);
    char able[600] = "";
    if (!lacks) return VN_OK;
    vn_fail(err, VN_BAD_ARGUMENT, "guidance %g by %s needs %s, which this model does not have",
            gamma, row->row.name, lacks);
    if ((row->needs & VN_NEEDS_WEAK) && !(d->can & VN_CAN_WEAK))
        vn_fail_after(err, "`weak` names one");
    if ((!(row->needs & VN_NEEDS_CONDITION) || vn_conditions_count(&d->conditions)) &&
        (!(row->needs & VN_NEEDS_NULL) || d->conditions.has_null))
        return VN_BAD_ARGUMENT; /* no list: nearly all guides work without what is missing */
    list_guides(m, AS_RULE, "", able, sizeof able);
    list_guides(m, AT_ONE, able[0] ? "; at guidance 1: " : "at guidance 1: ", able, sizeof able);
    if (able[0]) list_guides(m, BESIDE, "; beside them: ", able, sizeof able);
    if (able[0]) vn_fail_after(err, "guides that do without: %s", able);
    return VN_BAD_ARGUMENT;
}
