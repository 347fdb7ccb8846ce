/* setup.c - how a pipeline is sampled: what the user named, and what its scheduler says of all
 * else. A named sampler leaves grid and clipping to the scheduler, and a guide leaves clipping to
 * it unless the guide itself clips.
 *
 * Two things depend on the sampler that is used in the end, as in diffusers when a scheduler of
 * another class is made from the same config: DDIM keeps the noise where x0 is clipped, and
 * samplers of k-diffusion's kind begin with noise times sigma, except on `leading`. */
#include "sample/internal.h"

static vn_status choose_begin(const vn_path *path, const vn_sampler_row *row,
                              vn_sampling_setup *setup, vn_err *err) {
    vn_choice grid;
    setup->begin = VN_FIRST_UNIT;
    if (!path->steps || row->spacing != VN_SPACING_BETWEEN) return VN_OK;
    setup->begin = VN_FIRST_SCALED;
    if (!setup->grid) return VN_OK;
    const vn_status status = vn_choice_parse(setup->grid, &vn_grids, &grid, err);
    if (status) return status;
    const vn_grid_row *of = (const vn_grid_row *)grid.row;
    if (of->begins_unit && of->begins_unit(&grid)) setup->begin = VN_FIRST_UNIT;
    return VN_OK;
}

/* The scheduler's clipping as the text of a guide; NULL where it has none. Numbers are written as
 * those of a choice, whatever the locale. */
static vn_status clipping(const vn_scheduler *s, const vn_sampler_row *row, char **out,
                          vn_err *err) {
    vn_choice c;
    *out = NULL;
    if (!s->thresholds && !(s->clip_range > 0)) return VN_OK;
    vn_status status =
        vn_choice_parse(s->thresholds ? "dynamic-threshold" : "clip", &vn_guides, &c, err);
    if (status) return status;
    const double value[] = {s->thresholds ? s->percentile : s->clip_range, row->keeps_eps, 1,
                            s->sample_max};
    for (size_t i = 0; i < VN_COUNT(value) && c.row->params[i].name; i++) {
        c.value[i] = value[i];
        c.given[i] = value[i] != c.row->params[i].value;
    }
    *out = vn_choice_text(&c);
    return *out ? VN_OK : vn_no_memory(err);
}

static vn_status refuse(const vn_scheduler *s, vn_scheduler_aspect aspect, vn_err *err) {
    static const struct {
        const char *name, *example;
    } named[VN_SCHEDULER_ASPECTS] = {{"sampler", "ddim"}, {"grid", "trailing"}};
    return vn_fail(err, VN_UNSUPPORTED, "%s: %s is not supported; name another %s, such as `%s=%s`",
                   s->name, s->unsupported[aspect], named[aspect].name, named[aspect].name,
                   named[aspect].example);
}

vn_status vn_scheduler_apply(const vn_scheduler *s, const vn_path *path, vn_sampling_setup *setup,
                             vn_err *err) {
    char *last = NULL;
    if (!s->name[0]) return VN_OK;
    if (!setup->sampler && s->unsupported[VN_SCHEDULER_SAMPLER][0])
        return refuse(s, VN_SCHEDULER_SAMPLER, err);
    if (!setup->grid && !setup->sigmas && s->unsupported[VN_SCHEDULER_GRID][0])
        return refuse(s, VN_SCHEDULER_GRID, err);
    if (!setup->sampler)
        setup->sampler = setup->grid || setup->sigmas ? s->sampler_on_other_levels : s->sampler;
    if (!setup->grid && !setup->sigmas) setup->grid = s->grid;
    vn_choice sampler;
    vn_status status = vn_choice_parse(setup->sampler, &vn_samplers, &sampler, err);
    if (status) return status;
    const vn_sampler_row *row = (const vn_sampler_row *)sampler.row;
    status = choose_begin(path, row, setup, err);
    if (!status) status = clipping(s, row, &last, err);
    if (!status && last && !(setup->made_guide = vn_guides_finish(setup->guide, last)))
        status = vn_no_memory(err);
    if (setup->made_guide) setup->guide = setup->made_guide;
    vn_free(last);
    return status;
}
