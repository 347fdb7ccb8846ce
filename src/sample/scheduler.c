/* scheduler.c - how a pipeline is sampled by its own scheduler_config.json: diffusers' class and
 * keys as a sampler, a grid and a guide that clips x0, each a row of vane's tables with its
 * parameters. Its path is read by path/scheduler.c.
 *
 * A class of diffusers is a row here; the grids of one kind of class differ from another's in small
 * ways that change numbers. A key that a class does not have has no effect in diffusers, and none
 * here. What a class does and vane cannot do is kept as text (vn_scheduler.lacks), and refused when
 * samples are drawn without naming that part. Source: diffusers 0.42.1. */
#include "sample/internal.h"

#include <math.h>
#include <string.h>

/* ---- a config at work ------------------------------------------------------------------------ */

typedef struct scheduler_reader {
    const json_t *config;
    const vn_path *path;
    int64_t tokens;
    const char *name; /* of the class */
    vn_scheduler *out;
    vn_choice sampler, grid; /* as read so far */
    vn_err *err;
    vn_status status; /* of the first failure */
} scheduler_reader;

static const json_t *value_of(const scheduler_reader *r, const char *key) {
    const json_t *value = json_object_get(r->config, key);
    return value && !json_is_null(value) ? value : NULL;
}

static void wrong_type(scheduler_reader *r, const char *key, const char *expected) {
    if (!r->status) r->status = vn_fail(r->err, VN_BAD_FILE, "%s is not %s", key, expected);
}

static double number(scheduler_reader *r, const char *key, double missing) {
    const json_t *value = value_of(r, key);
    double out = missing;
    if (value && !vn_json_number(value, &out)) wrong_type(r, key, "a number");
    return out;
}

static bool flag(scheduler_reader *r, const char *key, bool missing) {
    const json_t *value = value_of(r, key);
    if (value && !json_is_boolean(value)) wrong_type(r, key, "true or false");
    return value ? json_is_true(value) : missing;
}

static const char *text(scheduler_reader *r, const char *key, const char *missing) {
    const json_t *value = value_of(r, key);
    if (value && !json_is_string(value)) wrong_type(r, key, "a string");
    return json_is_string(value) ? json_string_value(value) : missing;
}

static bool same(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

/* Notes something of a part that vane cannot do; the first is kept. */
static void lack(scheduler_reader *r, vn_scheduler_part part, const char *format, ...)
    VN_PRINTF(3, 4);
static void lack(scheduler_reader *r, vn_scheduler_part part, const char *format, ...) {
    char *to = r->out->lacks[part];
    if (*to) return;
    va_list args;
    va_start(args, format);
    vn_vsnprintf(to, sizeof r->out->lacks[part], format, args);
    va_end(args);
}

static void begin(scheduler_reader *r, vn_choice *c, const vn_table *table, const char *name) {
    if (!r->status) r->status = vn_choice_parse(name, table, c, r->err);
}

/* Sets a parameter of a row from the key's value, unless that is the parameter's default. */
static void set(scheduler_reader *r, vn_choice *c, const char *param, double value) {
    if (r->status) return;
    size_t i = 0;
    while (strcmp(c->row->params[i].name, param) != 0) i++;
    const vn_param *p = &c->row->params[i];
    c->value[i] = value;
    c->given[i] = value != p->value;
    if (value >= p->min && value <= p->max && (p->kind != VN_PARAM_WHOLE || value == floor(value)))
        return;
    lack(r, c == &r->sampler ? VN_SCHEDULER_SAMPLER : VN_SCHEDULER_GRID,
         "%s=%g, which is outside what %s takes,", param, value, c->row->name);
}

static void use_sampler(scheduler_reader *r, const char *name) {
    begin(r, &r->sampler, &vn_samplers, name);
}

static void use_grid(scheduler_reader *r, const char *name) {
    begin(r, &r->grid, &vn_grids, name);
}

static void write_text(scheduler_reader *r, const vn_choice *c, char *to, size_t size) {
    char *row = r->status ? NULL : vn_choice_text(c);
    if (!r->status && !row) r->status = vn_no_memory(r->err);
    if (row) snprintf(to, size, "%s", row);
    vn_free(row);
}

static bool grid_is(const scheduler_reader *r, const char *name) {
    return !r->status && same(r->grid.row->name, name);
}

/* ---- what several kinds have in common ------------------------------------------------------- */

#define MOST_RANGE 1e9 /* of clip's and dynamic-threshold's rows */

/* A number that must be above 0 and at most `most`. */
static double bounded(scheduler_reader *r, const char *key, double missing, double most) {
    const double value = number(r, key, missing);
    if (!r->status && !(value > 0 && value <= most))
        r->status =
            vn_fail(r->err, VN_BAD_FILE, "%s %g is not above 0 and up to %g", key, value, most);
    return value;
}

/* clip_sample, or thresholding, which takes precedence. */
static void read_clip(scheduler_reader *r, bool clips, bool thresholds) {
    vn_scheduler *s = r->out;
    if (clips && flag(r, "clip_sample", true))
        s->clip_range = bounded(r, "clip_sample_range", 1, MOST_RANGE);
    s->thresholds = thresholds && flag(r, "thresholding", false);
    if (!s->thresholds) return;
    s->percentile = bounded(r, "dynamic_thresholding_ratio", 0.995, 1);
    s->most = bounded(r, "sample_max_value", 1, MOST_RANGE);
}

/* clip_sample of classes that do not clip unless they say so. */
static void read_clip_if_said(scheduler_reader *r) {
    if (flag(r, "clip_sample", false))
        r->out->clip_range = bounded(r, "clip_sample_range", 1, MOST_RANGE);
}

/* timestep_spacing, its offset and where it ends. */
static void use_spacing(scheduler_reader *r, const char *missing, bool clean) {
    const char *spacing = text(r, "timestep_spacing", missing);
    if (!same(spacing, "leading") && !same(spacing, "linspace") && !same(spacing, "trailing")) {
        lack(r, VN_SCHEDULER_GRID, "timestep_spacing %.40s", spacing);
        spacing = "linspace";
    }
    use_grid(r, spacing);
    set(r, &r->grid, "end", clean ? VN_END_ZERO : VN_END_FIRST);
    if (same(spacing, "leading")) set(r, &r->grid, "offset", number(r, "steps_offset", 0));
}

/* final_sigmas_type. */
static bool ends_clean(scheduler_reader *r) {
    const char *type = text(r, "final_sigmas_type", "zero");
    if (!same(type, "zero") && !same(type, "sigma_min"))
        lack(r, VN_SCHEDULER_GRID, "final_sigmas_type %.40s", type);
    return same(type, "zero");
}

/* use_karras_sigmas and its kind; false: none of them. */
static bool use_noise_grid(scheduler_reader *r, bool has_lu) {
    const char *const keys[] = {"use_karras_sigmas", "use_lu_lambdas", "use_exponential_sigmas",
                                "use_beta_sigmas"};
    const char *const grids[] = {"karras", "lu-lambda", "exponential", "beta"};
    for (size_t i = 0; i < VN_COUNT(keys); i++) {
        if ((i == 1 && !has_lu) || !flag(r, keys[i], false)) continue;
        use_grid(r, grids[i]);
        return true;
    }
    return false;
}

static bool is_flow(const scheduler_reader *r) {
    return same(r->path->row->row.name, "rectified");
}

/* ---- on whole steps: DDPM, DDIM, PNDM -------------------------------------------------------- */

enum { DDPM_SMALL = 1, DDPM_LARGE, DDPM_LEARNED }; /* of the row's variance */

static void read_variance(scheduler_reader *r) {
    const char *type = text(r, "variance_type", "fixed_small");
    const bool small = same(type, "fixed_small") || same(type, "fixed_small_log");
    const bool learned = same(type, "learned_range");
    if (!small && !learned && !same(type, "fixed_large"))
        lack(r, VN_SCHEDULER_SAMPLER, "variance_type %.40s%s", type,
             same(type, "fixed_large_log") ? " (of which diffusers makes NaN)" : "");
    set(r, &r->sampler, "variance", small ? DDPM_SMALL : learned ? DDPM_LEARNED : DDPM_LARGE);
    if (!small) set(r, &r->sampler, "last", 1);
}

static void read_ddpm(scheduler_reader *r) {
    use_sampler(r, "ddpm");
    read_variance(r);
    use_spacing(r, "leading", true);
    read_clip(r, true, true);
}

/* Evenly over all steps, both ends included, whatever the config says. */
static void read_unclip(scheduler_reader *r) {
    use_sampler(r, "ddpm");
    read_variance(r);
    use_grid(r, "linspace");
    read_clip(r, true, false);
}

/* These classes step evenly whatever timestep_spacing is; on levels that the user lists, they do
 * not. */
static void land_evenly(scheduler_reader *r) {
    write_text(r, &r->sampler, r->out->sampler_elsewhere, sizeof r->out->sampler_elsewhere);
    if (!same(text(r, "timestep_spacing", "leading"), "leading"))
        set(r, &r->sampler, "spacing", VN_SPACING_EVEN);
}

static void read_ddim(scheduler_reader *r) {
    use_sampler(r, "ddim");
    use_spacing(r, "leading", flag(r, "set_alpha_to_one", true));
    land_evenly(r);
    read_clip(r, true, true);
}

static void read_pndm(scheduler_reader *r) {
    if (same(text(r, "prediction_type", "epsilon"), "v_prediction"))
        lack(r, VN_SCHEDULER_SAMPLER,
             "prediction_type v_prediction (whose sums over several steps are not those of noise)");
    use_sampler(r, flag(r, "skip_prk_steps", false) ? "plms" : "pndm");
    use_spacing(r, "leading", flag(r, "set_alpha_to_one", false));
    land_evenly(r);
}

/* ---- latent consistency models --------------------------------------------------------------- */

static void use_levels_of_lcm(scheduler_reader *r) {
    use_grid(r, "trailing");
    set(r, &r->grid, "of", number(r, "original_inference_steps", 50));
}

static void read_lcm(scheduler_reader *r) {
    use_sampler(r, "lcm");
    set(r, &r->sampler, "scaling", number(r, "timestep_scaling", 10));
    use_levels_of_lcm(r);
    read_clip(r, false, true);
    read_clip_if_said(r);
}

static void read_tcd(scheduler_reader *r) {
    use_sampler(r, "tcd");
    use_levels_of_lcm(r);
    set(r, &r->grid, "end", 1);
}

/* ---- k-diffusion's kind: Euler, Heun, LMS, DPM2, DPM-Solver++(SDE) --------------------------- */

/* Its noise grids lie between the ends that timestep_spacing gives. */
static void use_grid_between(scheduler_reader *r, bool clean) {
    const char *spacing = text(r, "timestep_spacing", "linspace");
    if (!use_noise_grid(r, false)) {
        use_spacing(r, "linspace", clean);
        return;
    }
    if (same(spacing, "leading")) {
        set(r, &r->grid, "over", 1);
        set(r, &r->grid, "offset", number(r, "steps_offset", 0));
    } else if (same(spacing, "trailing")) {
        set(r, &r->grid, "over", 2);
    } else if (!same(spacing, "linspace")) {
        lack(r, VN_SCHEDULER_GRID, "timestep_spacing %.40s", spacing);
    }
    /* than at the first step */
    const bool elsewhere = !same(spacing, "linspace") || number(r, "sigma_min", 0) > 0;
    if (!clean) set(r, &r->grid, "end", elsewhere ? VN_END_FIRST : VN_END_LAST);
}

/* sigma_min and sigma_max bound noise grids alone. */
static void set_span(scheduler_reader *r) {
    if (!grid_is(r, "karras") && !grid_is(r, "exponential") && !grid_is(r, "beta")) return;
    set(r, &r->grid, "sigma_min", number(r, "sigma_min", 0));
    set(r, &r->grid, "sigma_max", number(r, "sigma_max", 0));
}

static void read_euler(scheduler_reader *r) {
    use_sampler(r, "euler");
    const bool clean = ends_clean(r);
    use_grid_between(r, clean);
    set_span(r);
    const char *how = text(r, "interpolation_type", "linear");
    if (!same(how, "linear") &&
        (grid_is(r, "linspace") || grid_is(r, "leading") || grid_is(r, "trailing")))
        lack(r, VN_SCHEDULER_GRID,
             "interpolation_type %.40s (which tells the network of other steps than it visits)",
             how);
}

static void read_euler_ancestral(scheduler_reader *r) {
    use_sampler(r, "euler-a");
    use_spacing(r, "linspace", true);
}

static void read_heun(scheduler_reader *r) {
    use_sampler(r, "heun");
    use_grid_between(r, true);
    read_clip_if_said(r);
}

static void read_lms(scheduler_reader *r) {
    use_sampler(r, "lms");
    use_grid_between(r, true);
}

enum { TIME_ROUNDED = 2, TIME_CUT }; /* of noise grids */

/* They round the steps of karras, which the others of their kind do not. */
static void read_dpm2(scheduler_reader *r, const char *sampler) {
    use_sampler(r, sampler);
    use_grid_between(r, true);
    if (grid_is(r, "karras")) set(r, &r->grid, "timestep", TIME_ROUNDED);
}

static void read_k_dpm2(scheduler_reader *r) {
    read_dpm2(r, "dpm2");
}

static void read_k_dpm2_ancestral(scheduler_reader *r) {
    read_dpm2(r, "dpm2-a");
}

static void read_dpm_sde(scheduler_reader *r) {
    use_sampler(r, "dpmpp-sde");
    use_grid_between(r, true);
}

/* ---- DPM-Solver's kind ----------------------------------------------------------------------- */

/* lambda_min_clipped: steps that are noisier are left out. */
static void set_top(scheduler_reader *r) {
    const double least = number(r, "lambda_min_clipped", -(double)INFINITY);
    int noisier = 0;
    for (int k = r->path->steps - 1; k >= 0; k--, noisier++) {
        const vn_level l = vn_path_level_of_step(r->path, k);
        if (!(vn_level_lambda(&l) < least)) break;
    }
    if (noisier == 0 && !isnan(least)) return;
    if (noisier == r->path->steps || isnan(least))
        lack(r, VN_SCHEDULER_GRID, "lambda_min_clipped %g, which leaves no step,", least);
    else if (grid_is(r, "trailing"))
        lack(r, VN_SCHEDULER_GRID, "lambda_min_clipped with timestep_spacing trailing");
    else
        set(r, &r->grid, "top", r->path->steps - noisier);
}

/* The levels of use_flow_sigmas, of which the noisiest is (T - 1)/T, shifted; the network's time is
 * in whole thousandths. */
static void use_flow_levels(scheduler_reader *r, int end) {
    use_grid(r, "uniform");
    set(r, &r->grid, "most", 0.999);
    set(r, &r->grid, "shift", number(r, "flow_shift", 1));
    set(r, &r->grid, "timestep", VN_TIME_CUT);
    set(r, &r->grid, "end", end == VN_END_LAST ? 1 : 0);
    if (end == VN_END_FIRST)
        lack(r, VN_SCHEDULER_GRID, "final_sigmas_type sigma_min with use_flow_sigmas");
}

/* clean: to sigma 0; else to the first step, or of noise grids and flows to their own last level,
 * if `stays` in the latter. */
static void use_solver_grid(scheduler_reader *r, bool has_lu, bool has_top, bool clean,
                            bool stays) {
    const bool noise = use_noise_grid(r, has_lu);
    if (r->status) return;
    if (noise && is_flow(r))
        lack(r, VN_SCHEDULER_GRID, "%s sigmas with use_flow_sigmas", r->grid.row->name);
    else if (noise)
        set(r, &r->grid, "end", clean ? VN_END_ZERO : VN_END_LAST);
    else if (is_flow(r))
        use_flow_levels(r, clean ? VN_END_ZERO : stays ? VN_END_LAST : VN_END_FIRST);
    else
        use_spacing(r, "linspace", clean);
    if (!noise && !is_flow(r) && has_top && !r->status) set_top(r);
}

static void read_solver_type(scheduler_reader *r) {
    const char *type = text(r, "solver_type", "midpoint");
    if (number(r, "solver_order", 2) > 1) set(r, &r->sampler, "solver", same(type, "heun") ? 1 : 0);
}

static void set_fall(scheduler_reader *r) {
    const bool lower = flag(r, "lower_order_final", true), euler = flag(r, "euler_at_final", false);
    set(r, &r->sampler, "lower_final",
        lower ? (euler ? VN_FALL_BOTH : VN_FALL_FEW) : (euler ? VN_FALL_LAST : VN_FALL_NO));
}

/* algorithm_type and what goes with it; single: one of the singlestep rows. */
static void read_algorithm(scheduler_reader *r, bool single) {
    const char *type = text(r, "algorithm_type", "dpmsolver++");
    const double order = number(r, "solver_order", 2);
    const bool sde = same(type, "sde-dpmsolver++"), noise = same(type, "dpmsolver");
    use_sampler(r, sde && !single ? "dpmpp-2m-sde"
                   : single       ? (noise ? "dpm-s" : "dpmpp-s")
                   : noise        ? "dpm"
                                  : "dpmpp");
    if ((sde && single) || same(type, "sde-dpmsolver")) {
        lack(r, VN_SCHEDULER_SAMPLER, "algorithm_type %.40s", type);
    } else if (sde) {
        if (order != 2)
            lack(r, VN_SCHEDULER_SAMPLER, "solver_order %g of algorithm_type %.40s", order, type);
        set(r, &r->sampler, "solver", same(text(r, "solver_type", "midpoint"), "heun") ? 1 : 0);
    } else {
        set(r, &r->sampler, "order", order);
        read_solver_type(r);
    }
}

static void read_dpm_multistep(scheduler_reader *r) {
    read_algorithm(r, false);
    set_fall(r);
    use_solver_grid(r, true, true, ends_clean(r), false);
    read_clip(r, false, true);
    const bool cuts = same(text(r, "beta_schedule", "linear"), "squaredcos_cap_v2") && !is_flow(r);
    if (cuts && (grid_is(r, "karras") || grid_is(r, "lu-lambda")))
        set(r, &r->grid, "timestep", TIME_CUT);
}

static void read_dpm_singlestep(scheduler_reader *r) {
    const bool clean = ends_clean(r);
    read_algorithm(r, true);
    use_solver_grid(r, false, true, clean, false);
    if (grid_is(r, "leading") || grid_is(r, "trailing")) { /* it has no timestep_spacing */
        use_grid(r, "linspace");
        set(r, &r->grid, "end", clean ? VN_END_ZERO : VN_END_FIRST);
        set_top(r);
    }
    set(r, &r->sampler, "lower_final", !clean && flag(r, "lower_order_final", false) ? 1 : 0);
    read_clip(r, false, true);
}

static void read_deis(scheduler_reader *r) {
    use_sampler(r, "deis");
    set(r, &r->sampler, "order", number(r, "solver_order", 2));
    set(r, &r->sampler, "lower_final",
        flag(r, "lower_order_final", true) ? VN_FALL_FEW : VN_FALL_NO);
    use_solver_grid(r, false, false, false, true);
    read_clip(r, false, true);
}

static void read_unipc_flow(scheduler_reader *r, bool clean) {
    use_grid(r, "linspace");
    set(r, &r->grid, "extra", 1);
    set(r, &r->grid, "least", 1);
    set(r, &r->grid, "shift", number(r, "flow_shift", 1));
    set(r, &r->grid, "terminal", number(r, "shift_terminal", 0));
    set(r, &r->grid, "timestep", VN_TIME_CUT);
    set(r, &r->grid, "end", clean ? VN_END_ZERO : VN_END_LAST);
    if (flag(r, "use_dynamic_shifting", false))
        lack(r, VN_SCHEDULER_GRID,
             "use_dynamic_shifting (by a number that only the pipeline's program knows)");
}

static void read_unipc(scheduler_reader *r) {
    const bool clean = ends_clean(r);
    use_sampler(r, "unipc");
    set(r, &r->sampler, "order", number(r, "solver_order", 2));
    set(r, &r->sampler, "variant", same(text(r, "solver_type", "bh2"), "bh1") ? 0 : 1);
    set(r, &r->sampler, "lower_final", flag(r, "lower_order_final", true) ? 0 : 1);
    if (!flag(r, "predict_x0", true)) lack(r, VN_SCHEDULER_SAMPLER, "predict_x0 false");
    if (json_array_size(value_of(r, "disable_corrector")))
        lack(r, VN_SCHEDULER_SAMPLER, "disable_corrector");
    if (value_of(r, "solver_p")) lack(r, VN_SCHEDULER_SAMPLER, "solver_p");
    use_solver_grid(r, false, false, clean, true);
    if (grid_is(r, "uniform")) read_unipc_flow(r, clean);
    set_span(r);
    read_clip(r, false, true);
}

/* The largest t for which a network is given this step. */
static double time_from(const scheduler_reader *r, double step) {
    const bool cut = grid_is(r, "uniform") || grid_is(r, "exponential") || grid_is(r, "beta");
    const double at = cut ? step - 1e-3 : step - 0.5;
    return is_flow(r) ? at / 1000 : (at + 1) / r->path->steps;
}

/* diffusers' tau_func, which no config can hold, is 1 from step 200 to 800 unless a program gives
 * another. */
static void set_tau(scheduler_reader *r) {
    const double first = time_from(r, 200), end = time_from(r, 801);
    const vn_level low = vn_path_level(r->path, fmin(first, 1)),
                   high = vn_path_level(r->path, fmin(end, 1));
    set(r, &r->sampler, "tau", first < 1 ? 1 : 0);
    if (first < 1) set(r, &r->sampler, "tmin", vn_level_ratio(&low));
    if (end < 1) set(r, &r->sampler, "tmax", vn_level_ratio(&high));
}

static void read_sa_solver(scheduler_reader *r) {
    use_sampler(r, "sa-solver");
    set(r, &r->sampler, "predictor_order", number(r, "predictor_order", 2));
    set(r, &r->sampler, "corrector_order", number(r, "corrector_order", 2));
    set(r, &r->sampler, "lower_final", flag(r, "lower_order_final", true) ? 0 : 1);
    if (!same(text(r, "algorithm_type", "data_prediction"), "data_prediction"))
        lack(r, VN_SCHEDULER_SAMPLER, "algorithm_type %.40s", text(r, "algorithm_type", ""));
    use_solver_grid(r, false, true, false, true);
    set_tau(r);
    read_clip(r, false, true);
}

/* ---- flow matching --------------------------------------------------------------------------- */

/* e^mu or mu, mu straight in the number of tokens, over the levels that set_timesteps spreads. */
static void use_dynamic_grid(scheduler_reader *r) {
    const bool linear = same(text(r, "time_shift_type", "exponential"), "linear");
    use_grid(r, "dynamic");
    set(r, &r->grid, "tokens", (double)r->tokens);
    set(r, &r->grid, "base_tokens", number(r, "base_image_seq_len", 256));
    set(r, &r->grid, "max_tokens", number(r, "max_image_seq_len", 4096));
    set(r, &r->grid, "base_shift", number(r, "base_shift", 0.5));
    set(r, &r->grid, "max_shift", number(r, "max_shift", 1.15));
    set(r, &r->grid, "type", linear ? 1 : 0);
    set(r, &r->grid, "over", 1);
    set(r, &r->grid, "terminal", number(r, "shift_terminal", 0));
}

/* Noise grids reach from 1 to the least t, shifted twice as linspace does. */
static void use_noise_grid_of_flow(scheduler_reader *r) {
    const double shift = number(r, "shift", 1),
                 least = vn_shifted(r->path->row->least(r->path), shift);
    const double terminal = number(r, "shift_terminal", 0);
    if (flag(r, "use_dynamic_shifting", false))
        lack(r, VN_SCHEDULER_GRID, "%s sigmas with use_dynamic_shifting", r->grid.row->name);
    if (shift != 1 || terminal > 0)
        set(r, &r->grid, "sigma_min", terminal > 0 ? terminal : vn_shifted(least, shift));
}

static void use_flow_match_grid(scheduler_reader *r) {
    if (use_noise_grid(r, false)) {
        use_noise_grid_of_flow(r);
    } else if (flag(r, "use_dynamic_shifting", false)) {
        use_dynamic_grid(r);
    } else {
        use_grid(r, "linspace");
        set(r, &r->grid, "shift", number(r, "shift", 1));
        set(r, &r->grid, "terminal", number(r, "shift_terminal", 0));
    }
}

static void read_flow_euler(scheduler_reader *r) {
    use_sampler(r, flag(r, "stochastic_sampling", false) ? "scm" : "euler");
    use_flow_match_grid(r);
}

static void read_flow_heun(scheduler_reader *r) {
    use_sampler(r, "heun");
    use_grid(r, "linspace");
    set(r, &r->grid, "shift", number(r, "shift", 1));
}

static void read_flow_lcm(scheduler_reader *r) {
    use_sampler(r, "lcm");
    if (json_array_size(value_of(r, "scale_factors")))
        lack(r, VN_SCHEDULER_SAMPLER, "scale_factors");
    use_flow_match_grid(r);
}

/* ---- EDM ------------------------------------------------------------------------------------- */

static void use_edm_grid(scheduler_reader *r) {
    const char *schedule = text(r, "sigma_schedule", "karras");
    const bool karras = same(schedule, "karras"), clean = ends_clean(r);
    if (!karras && !same(schedule, "exponential"))
        lack(r, VN_SCHEDULER_GRID, "sigma_schedule %.40s", schedule);
    use_grid(r, karras ? "karras" : "exponential");
    if (karras) set(r, &r->grid, "rho", number(r, "rho", 7));
    set(r, &r->grid, "end", clean ? VN_END_ZERO : VN_END_LAST);
}

static void read_edm_euler(scheduler_reader *r) {
    use_sampler(r, "euler");
    use_edm_grid(r);
}

static void read_edm_dpm(scheduler_reader *r) {
    read_algorithm(r, false);
    set_fall(r);
    use_edm_grid(r);
    read_clip(r, false, true);
}

/* ---- schedulers that do not sample from noise ------------------------------------------------ */

static void read_inverse(scheduler_reader *r) {
    use_sampler(r, "ddim");
    use_spacing(r, "leading", true);
    lack(r, VN_SCHEDULER_SAMPLER, "a run from data to noise");
}

static void read_repaint(scheduler_reader *r) {
    use_sampler(r, "ddpm");
    use_grid(r, "leading");
    set(r, &r->grid, "offset", 0);
    set(r, &r->grid, "end", 0);
    lack(r, VN_SCHEDULER_SAMPLER, "a run that takes a picture and a mask");
    read_clip(r, true, false);
}

/* ---- the classes ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*read)(scheduler_reader *r);
} classes[] = {
    {"DDPMScheduler", read_ddpm},
    {"DDPMParallelScheduler", read_ddpm},
    {"DDIMScheduler", read_ddim},
    {"DDIMParallelScheduler", read_ddim},
    {"PNDMScheduler", read_pndm},
    {"UnCLIPScheduler", read_unclip},
    {"LCMScheduler", read_lcm},
    {"TCDScheduler", read_tcd},
    {"EulerDiscreteScheduler", read_euler},
    {"EulerAncestralDiscreteScheduler", read_euler_ancestral},
    {"HeunDiscreteScheduler", read_heun},
    {"LMSDiscreteScheduler", read_lms},
    {"KDPM2DiscreteScheduler", read_k_dpm2},
    {"KDPM2AncestralDiscreteScheduler", read_k_dpm2_ancestral},
    {"DPMSolverSDEScheduler", read_dpm_sde},
    {"DPMSolverMultistepScheduler", read_dpm_multistep},
    {"DPMSolverSinglestepScheduler", read_dpm_singlestep},
    {"DEISMultistepScheduler", read_deis},
    {"UniPCMultistepScheduler", read_unipc},
    {"SASolverScheduler", read_sa_solver},
    {"FlowMatchEulerDiscreteScheduler", read_flow_euler},
    {"FlowMatchHeunDiscreteScheduler", read_flow_heun},
    {"FlowMatchLCMScheduler", read_flow_lcm},
    {"EDMEulerScheduler", read_edm_euler},
    {"EDMDPMSolverMultistepScheduler", read_edm_dpm},
    {"DDIMInverseScheduler", read_inverse},
    {"DPMSolverMultistepInverseScheduler", read_inverse},
    {"RePaintScheduler", read_repaint},
};

vn_status vn_scheduler_read(const json_t *config, const vn_path *path, int64_t tokens,
                            vn_scheduler *out, vn_err *err) {
    *out = (vn_scheduler){0};
    scheduler_reader r = {.config = config, .path = path, .tokens = tokens, .out = out, .err = err};
    r.name = text(&r, "_class_name", "");
    for (size_t i = 0; i < VN_COUNT(classes); i++) {
        if (!same(classes[i].name, r.name)) continue;
        snprintf(out->name, sizeof out->name, "%s", r.name);
        classes[i].read(&r);
        write_text(&r, &r.sampler, out->sampler, sizeof out->sampler);
        if (!out->sampler_elsewhere[0])
            snprintf(out->sampler_elsewhere, sizeof out->sampler_elsewhere, "%s", out->sampler);
        write_text(&r, &r.grid, out->grid, sizeof out->grid);
    }
    return r.status;
}
