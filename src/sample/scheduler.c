/* scheduler.c - how a pipeline is sampled by its own scheduler_config.json: diffusers' class and
 * keys as a sampler, a grid and a guide that clips x0, each a row of vane's tables with its
 * parameters. Its path is read by path/scheduler.c.
 *
 * A class of diffusers is a row here; the grids of one kind of class differ from another's in small
 * ways that change numbers. A key that a class does not have has no effect in diffusers, and none
 * here. What a class does and vane cannot do is kept as text (vn_scheduler.unsupported), and
 * refused when samples are drawn and the user names no other. Source: diffusers 0.42.1. */
#include "sample/scheduler_reader.h"

#include <math.h>
#include <string.h>

static bool same(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

/* ---- what several kinds have in common ------------------------------------------------------- */

#define MAX_RANGE 1e9 /* of clip's and dynamic-threshold's rows */

/* A number that must be above 0 and at most `max`. */
static double bounded(vn_scheduler_reader *r, const char *key, double missing, double max) {
    const double value = vn_key_number(r, key, missing);
    if (!r->status && !(value > 0 && value <= max))
        r->status =
            vn_fail(r->err, VN_BAD_FILE, "%s %g is not above 0 and up to %g", key, value, max);
    return value;
}

/* clip_sample, or thresholding, which takes precedence. */
static void read_clip(vn_scheduler_reader *r, bool clips, bool thresholds) {
    vn_scheduler *s = r->out;
    if (clips && vn_key_flag(r, "clip_sample", true))
        s->clip_range = bounded(r, "clip_sample_range", 1, MAX_RANGE);
    s->thresholds = thresholds && vn_key_flag(r, "thresholding", false);
    if (!s->thresholds) return;
    s->percentile = bounded(r, "dynamic_thresholding_ratio", 0.995, 1);
    s->sample_max = bounded(r, "sample_max_value", 1, MAX_RANGE);
}

/* clip_sample of classes that do not clip unless they say so. */
static void read_clip_if_said(vn_scheduler_reader *r) {
    if (vn_key_flag(r, "clip_sample", false))
        r->out->clip_range = bounded(r, "clip_sample_range", 1, MAX_RANGE);
}

/* timestep_spacing, its offset and where it ends. */
static void use_spacing(vn_scheduler_reader *r, const char *missing, bool clean) {
    const char *spacing = vn_key_text(r, "timestep_spacing", missing);
    if (!same(spacing, "leading") && !same(spacing, "linspace") && !same(spacing, "trailing")) {
        vn_scheduler_refuse(r, VN_SCHEDULER_GRID, "timestep_spacing %.40s", spacing);
        spacing = "linspace";
    }
    vn_scheduler_use_grid(r, spacing);
    vn_scheduler_set(r, &r->grid, "end", clean ? VN_END_ZERO : VN_END_FIRST);
    if (same(spacing, "leading"))
        vn_scheduler_set(r, &r->grid, "offset", vn_key_number(r, "steps_offset", 0));
}

/* final_sigmas_type. */
static bool ends_clean(vn_scheduler_reader *r) {
    const char *type = vn_key_text(r, "final_sigmas_type", "zero");
    if (!same(type, "zero") && !same(type, "sigma_min"))
        vn_scheduler_refuse(r, VN_SCHEDULER_GRID, "final_sigmas_type %.40s", type);
    return same(type, "zero");
}

/* use_karras_sigmas and its kind; false: none of them. */
static bool use_noise_grid(vn_scheduler_reader *r, bool has_lu) {
    const char *const keys[] = {"use_karras_sigmas", "use_lu_lambdas", "use_exponential_sigmas",
                                "use_beta_sigmas"};
    const char *const grids[] = {"karras", "lu-lambda", "exponential", "beta"};
    for (size_t i = 0; i < VN_COUNT(keys); i++) {
        if ((i == 1 && !has_lu) || !vn_key_flag(r, keys[i], false)) continue;
        vn_scheduler_use_grid(r, grids[i]);
        return true;
    }
    return false;
}

/* Of the paths that classes of diffusers have, the flow alone is straight in alpha + sigma. */
static bool is_flow(const vn_scheduler_reader *r) {
    return r->path->row->straight_k != 0;
}

/* ---- on whole steps: DDPM, DDIM, PNDM -------------------------------------------------------- */

enum { DDPM_SMALL = 1, DDPM_LARGE, DDPM_LEARNED }; /* of the row's variance */

static void read_variance(vn_scheduler_reader *r) {
    const char *type = vn_key_text(r, "variance_type", "fixed_small");
    const bool small = same(type, "fixed_small") || same(type, "fixed_small_log");
    const bool learned = same(type, "learned_range");
    if (!small && !learned && !same(type, "fixed_large"))
        vn_scheduler_refuse(r, VN_SCHEDULER_SAMPLER, "variance_type %.40s%s", type,
                            same(type, "fixed_large_log") ? " (of which diffusers makes NaN)" : "");
    vn_scheduler_set(r, &r->sampler, "variance",
                     small     ? DDPM_SMALL
                     : learned ? DDPM_LEARNED
                               : DDPM_LARGE);
    if (!small) vn_scheduler_set(r, &r->sampler, "last", 1);
}

static void read_ddpm(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "ddpm");
    read_variance(r);
    use_spacing(r, "leading", true);
    read_clip(r, true, true);
}

/* Evenly over all steps, both ends included, whatever the config says. */
static void read_unclip(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "ddpm");
    read_variance(r);
    vn_scheduler_use_grid(r, "linspace");
    read_clip(r, true, false);
}

/* The steps of these classes are T/N apart whatever timestep_spacing is; on levels that the user
 * lists, they follow those. */
static void step_evenly(vn_scheduler_reader *r) {
    vn_scheduler_write(r, &r->sampler, r->out->sampler_on_other_levels,
                       sizeof r->out->sampler_on_other_levels);
    if (!same(vn_key_text(r, "timestep_spacing", "leading"), "leading"))
        vn_scheduler_set(r, &r->sampler, "spacing", VN_TARGET_EVEN);
}

static void read_ddim(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "ddim");
    use_spacing(r, "leading", vn_key_flag(r, "set_alpha_to_one", true));
    step_evenly(r);
    read_clip(r, true, true);
}

static void read_pndm(vn_scheduler_reader *r) {
    if (same(vn_key_text(r, "prediction_type", "epsilon"), "v_prediction"))
        vn_scheduler_refuse(
            r, VN_SCHEDULER_SAMPLER,
            "prediction_type v_prediction (whose sums over several steps are not those of noise)");
    vn_scheduler_use_sampler(r, vn_key_flag(r, "skip_prk_steps", false) ? "plms" : "pndm");
    use_spacing(r, "leading", vn_key_flag(r, "set_alpha_to_one", false));
    step_evenly(r);
}

/* ---- latent consistency models --------------------------------------------------------------- */

static void use_levels_of_lcm(vn_scheduler_reader *r) {
    vn_scheduler_use_grid(r, "trailing");
    vn_scheduler_set(r, &r->grid, "of", vn_key_number(r, "original_inference_steps", 50));
}

static void read_lcm(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "lcm");
    vn_scheduler_set(r, &r->sampler, "scaling", vn_key_number(r, "timestep_scaling", 10));
    use_levels_of_lcm(r);
    read_clip(r, false, true);
    read_clip_if_said(r);
}

static void read_tcd(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "tcd");
    use_levels_of_lcm(r);
    vn_scheduler_set(r, &r->grid, "end", 1);
}

/* ---- k-diffusion's kind: Euler, Heun, LMS, DPM2, DPM-Solver++(SDE) --------------------------- */

/* Noise grids lie between the first and the last level that timestep_spacing gives. */
static void use_grid_between(vn_scheduler_reader *r, bool clean) {
    const char *spacing = vn_key_text(r, "timestep_spacing", "linspace");
    if (!use_noise_grid(r, false)) {
        use_spacing(r, "linspace", clean);
        return;
    }
    if (same(spacing, "leading")) {
        vn_scheduler_set(r, &r->grid, "over", 1);
        vn_scheduler_set(r, &r->grid, "offset", vn_key_number(r, "steps_offset", 0));
    } else if (same(spacing, "trailing")) {
        vn_scheduler_set(r, &r->grid, "over", 2);
    } else if (!same(spacing, "linspace")) {
        vn_scheduler_refuse(r, VN_SCHEDULER_GRID, "timestep_spacing %.40s", spacing);
    }
    /* whether the grid ends elsewhere than at the first step */
    const bool elsewhere = !same(spacing, "linspace") || vn_key_number(r, "sigma_min", 0) > 0;
    if (!clean) vn_scheduler_set(r, &r->grid, "end", elsewhere ? VN_END_FIRST : VN_END_LAST);
}

/* sigma_min and sigma_max have an effect on noise grids alone. */
static void set_span(vn_scheduler_reader *r) {
    if (!vn_scheduler_grid_is(r, "karras") && !vn_scheduler_grid_is(r, "exponential") &&
        !vn_scheduler_grid_is(r, "beta"))
        return;
    vn_scheduler_set(r, &r->grid, "sigma_min", vn_key_number(r, "sigma_min", 0));
    vn_scheduler_set(r, &r->grid, "sigma_max", vn_key_number(r, "sigma_max", 0));
}

static void read_euler(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "euler");
    const bool clean = ends_clean(r);
    use_grid_between(r, clean);
    set_span(r);
    const char *how = vn_key_text(r, "interpolation_type", "linear");
    if (!same(how, "linear") &&
        (vn_scheduler_grid_is(r, "linspace") || vn_scheduler_grid_is(r, "leading") ||
         vn_scheduler_grid_is(r, "trailing")))
        vn_scheduler_refuse(r, VN_SCHEDULER_GRID,
                            "interpolation_type %.40s (which gives the network the times of other "
                            "steps than it visits)",
                            how);
}

static void read_euler_ancestral(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "euler-a");
    use_spacing(r, "linspace", true);
}

static void read_heun(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "heun");
    use_grid_between(r, true);
    read_clip_if_said(r);
}

static void read_lms(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "lms");
    use_grid_between(r, true);
}

enum { TIME_ROUNDED = 2, TIME_CUT }; /* of noise grids */

/* They round the timesteps of karras, which the other classes of k-diffusion's kind do not. */
static void read_dpm2(vn_scheduler_reader *r, const char *sampler) {
    vn_scheduler_use_sampler(r, sampler);
    use_grid_between(r, true);
    if (vn_scheduler_grid_is(r, "karras")) vn_scheduler_set(r, &r->grid, "timestep", TIME_ROUNDED);
}

static void read_k_dpm2(vn_scheduler_reader *r) {
    read_dpm2(r, "dpm2");
}

static void read_k_dpm2_ancestral(vn_scheduler_reader *r) {
    read_dpm2(r, "dpm2-a");
}

static void read_dpm_sde(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "dpmpp-sde");
    use_grid_between(r, true);
}

/* ---- DPM-Solver's kind ----------------------------------------------------------------------- */

/* lambda_min_clipped: steps that are noisier are left out. */
static void set_top(vn_scheduler_reader *r) {
    const double lambda_min = vn_key_number(r, "lambda_min_clipped", -(double)INFINITY);
    int noisier = 0;
    for (int k = r->path->steps - 1; k >= 0; k--, noisier++) {
        const vn_level l = vn_path_level_of_step(r->path, k);
        if (!(vn_level_lambda(&l) < lambda_min)) break;
    }
    if (noisier == 0 && !isnan(lambda_min)) return;
    if (noisier == r->path->steps || isnan(lambda_min))
        vn_scheduler_refuse(r, VN_SCHEDULER_GRID, "lambda_min_clipped %g, which leaves no step,",
                            lambda_min);
    else if (vn_scheduler_grid_is(r, "trailing"))
        vn_scheduler_refuse(r, VN_SCHEDULER_GRID,
                            "lambda_min_clipped with timestep_spacing trailing");
    else
        vn_scheduler_set(r, &r->grid, "top", r->path->steps - noisier);
}

/* The levels of use_flow_sigmas, of which the noisiest is (T - 1)/T, shifted; the network's time is
 * in whole thousandths. */
static void use_flow_levels(vn_scheduler_reader *r, int end) {
    vn_scheduler_use_grid(r, "uniform");
    vn_scheduler_set(r, &r->grid, "most", 0.999);
    vn_scheduler_set(r, &r->grid, "shift", vn_key_number(r, "flow_shift", 1));
    vn_scheduler_set(r, &r->grid, "timestep", VN_TIME_CUT);
    vn_scheduler_set(r, &r->grid, "end", end == VN_END_LAST ? 1 : 0);
    if (end == VN_END_FIRST)
        vn_scheduler_refuse(r, VN_SCHEDULER_GRID,
                            "final_sigmas_type sigma_min with use_flow_sigmas");
}

/* clean: the grid ends at sigma 0. Else a noise grid ends at its own last level, and so does a flow
 * if `stays`, which is refused if not; other grids end at the first step. */
static void use_solver_grid(vn_scheduler_reader *r, bool has_lu, bool has_top, bool clean,
                            bool stays) {
    const bool noise = use_noise_grid(r, has_lu);
    if (r->status) return;
    if (noise && is_flow(r))
        vn_scheduler_refuse(r, VN_SCHEDULER_GRID, "%s sigmas with use_flow_sigmas",
                            r->grid.row->name);
    else if (noise)
        vn_scheduler_set(r, &r->grid, "end", clean ? VN_END_ZERO : VN_END_LAST);
    else if (is_flow(r))
        use_flow_levels(r, clean ? VN_END_ZERO : stays ? VN_END_LAST : VN_END_FIRST);
    else
        use_spacing(r, "linspace", clean);
    if (!noise && !is_flow(r) && has_top && !r->status) set_top(r);
}

static void read_solver_type(vn_scheduler_reader *r) {
    const char *type = vn_key_text(r, "solver_type", "midpoint");
    if (vn_key_number(r, "solver_order", 2) > 1)
        vn_scheduler_set(r, &r->sampler, "solver", same(type, "heun") ? 1 : 0);
}

static void set_lower_final(vn_scheduler_reader *r) {
    const bool lower = vn_key_flag(r, "lower_order_final", true),
               euler = vn_key_flag(r, "euler_at_final", false);
    vn_scheduler_set(r, &r->sampler, "lower_final",
                     lower ? (euler ? VN_LOWER_BOTH : VN_LOWER_FEW)
                           : (euler ? VN_LOWER_LAST : VN_LOWER_NO));
}

/* algorithm_type and what goes with it; single: one of the singlestep rows. */
static void read_algorithm(vn_scheduler_reader *r, bool single) {
    const char *type = vn_key_text(r, "algorithm_type", "dpmsolver++");
    const double order = vn_key_number(r, "solver_order", 2);
    const bool sde = same(type, "sde-dpmsolver++"), noise = same(type, "dpmsolver");
    vn_scheduler_use_sampler(r, sde && !single ? "dpmpp-2m-sde"
                                : single       ? (noise ? "dpm-s" : "dpmpp-s")
                                : noise        ? "dpm"
                                               : "dpmpp");
    if ((sde && single) || same(type, "sde-dpmsolver")) {
        vn_scheduler_refuse(r, VN_SCHEDULER_SAMPLER, "algorithm_type %.40s", type);
    } else if (sde) {
        if (order != 2)
            vn_scheduler_refuse(r, VN_SCHEDULER_SAMPLER, "solver_order %g of algorithm_type %.40s",
                                order, type);
        vn_scheduler_set(r, &r->sampler, "solver",
                         same(vn_key_text(r, "solver_type", "midpoint"), "heun") ? 1 : 0);
    } else {
        vn_scheduler_set(r, &r->sampler, "order", order);
        read_solver_type(r);
    }
}

static void read_dpm_multistep(vn_scheduler_reader *r) {
    read_algorithm(r, false);
    set_lower_final(r);
    use_solver_grid(r, true, true, ends_clean(r), false);
    read_clip(r, false, true);
    const bool cuts =
        same(vn_key_text(r, "beta_schedule", "linear"), "squaredcos_cap_v2") && !is_flow(r);
    if (cuts && (vn_scheduler_grid_is(r, "karras") || vn_scheduler_grid_is(r, "lu-lambda")))
        vn_scheduler_set(r, &r->grid, "timestep", TIME_CUT);
}

static void read_dpm_singlestep(vn_scheduler_reader *r) {
    const bool clean = ends_clean(r);
    read_algorithm(r, true);
    use_solver_grid(r, false, true, clean, false);
    if (vn_scheduler_grid_is(r, "leading") ||
        vn_scheduler_grid_is(r, "trailing")) { /* it has no timestep_spacing */
        vn_scheduler_use_grid(r, "linspace");
        vn_scheduler_set(r, &r->grid, "end", clean ? VN_END_ZERO : VN_END_FIRST);
        set_top(r);
    }
    vn_scheduler_set(r, &r->sampler, "lower_final",
                     !clean && vn_key_flag(r, "lower_order_final", false) ? 1 : 0);
    read_clip(r, false, true);
}

static void read_deis(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "deis");
    vn_scheduler_set(r, &r->sampler, "order", vn_key_number(r, "solver_order", 2));
    vn_scheduler_set(r, &r->sampler, "lower_final",
                     vn_key_flag(r, "lower_order_final", true) ? VN_LOWER_FEW : VN_LOWER_NO);
    use_solver_grid(r, false, false, false, true);
    read_clip(r, false, true);
}

static void read_unipc_flow(vn_scheduler_reader *r, bool clean) {
    vn_scheduler_use_grid(r, "linspace");
    vn_scheduler_set(r, &r->grid, "extra", 1);
    vn_scheduler_set(r, &r->grid, "least", 1);
    vn_scheduler_set(r, &r->grid, "shift", vn_key_number(r, "flow_shift", 1));
    vn_scheduler_set(r, &r->grid, "terminal", vn_key_number(r, "shift_terminal", 0));
    vn_scheduler_set(r, &r->grid, "timestep", VN_TIME_CUT);
    vn_scheduler_set(r, &r->grid, "end", clean ? VN_END_ZERO : VN_END_LAST);
    if (vn_key_flag(r, "use_dynamic_shifting", false))
        vn_scheduler_refuse(
            r, VN_SCHEDULER_GRID,
            "use_dynamic_shifting (by a number that only the pipeline's program knows)");
}

static void read_unipc(vn_scheduler_reader *r) {
    const bool clean = ends_clean(r);
    vn_scheduler_use_sampler(r, "unipc");
    vn_scheduler_set(r, &r->sampler, "order", vn_key_number(r, "solver_order", 2));
    vn_scheduler_set(r, &r->sampler, "variant",
                     same(vn_key_text(r, "solver_type", "bh2"), "bh1") ? 0 : 1);
    vn_scheduler_set(r, &r->sampler, "lower_final",
                     vn_key_flag(r, "lower_order_final", true) ? 0 : 1);
    if (!vn_key_flag(r, "predict_x0", true))
        vn_scheduler_refuse(r, VN_SCHEDULER_SAMPLER, "predict_x0 false");
    if (json_array_size(vn_key_value(r, "disable_corrector")))
        vn_scheduler_refuse(r, VN_SCHEDULER_SAMPLER, "disable_corrector");
    if (vn_key_value(r, "solver_p")) vn_scheduler_refuse(r, VN_SCHEDULER_SAMPLER, "solver_p");
    use_solver_grid(r, false, false, clean, true);
    if (vn_scheduler_grid_is(r, "uniform")) read_unipc_flow(r, clean);
    set_span(r);
    read_clip(r, false, true);
}

/* The largest t for which a network is given this step. */
static double time_from(const vn_scheduler_reader *r, double step) {
    const bool cut = vn_scheduler_grid_is(r, "uniform") || vn_scheduler_grid_is(r, "exponential") ||
                     vn_scheduler_grid_is(r, "beta");
    const double at = cut ? step - 1e-3 : step - 0.5;
    return is_flow(r) ? at / 1000 : (at + 1) / r->path->steps;
}

/* diffusers' tau_func, which no config can hold, is 1 from step 200 to 800 unless a program gives
 * another. */
static void set_tau(vn_scheduler_reader *r) {
    const double first = time_from(r, 200), end = time_from(r, 801);
    const vn_level low = vn_path_level(r->path, fmin(first, 1)),
                   high = vn_path_level(r->path, fmin(end, 1));
    vn_scheduler_set(r, &r->sampler, "tau", first < 1 ? 1 : 0);
    if (first < 1) vn_scheduler_set(r, &r->sampler, "tmin", vn_level_ratio(&low));
    if (end < 1) vn_scheduler_set(r, &r->sampler, "tmax", vn_level_ratio(&high));
}

static void read_sa_solver(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "sa-solver");
    vn_scheduler_set(r, &r->sampler, "predictor_order", vn_key_number(r, "predictor_order", 2));
    vn_scheduler_set(r, &r->sampler, "corrector_order", vn_key_number(r, "corrector_order", 2));
    vn_scheduler_set(r, &r->sampler, "lower_final",
                     vn_key_flag(r, "lower_order_final", true) ? 0 : 1);
    if (!same(vn_key_text(r, "algorithm_type", "data_prediction"), "data_prediction"))
        vn_scheduler_refuse(r, VN_SCHEDULER_SAMPLER, "algorithm_type %.40s",
                            vn_key_text(r, "algorithm_type", ""));
    use_solver_grid(r, false, true, false, true);
    set_tau(r);
    read_clip(r, false, true);
}

/* ---- flow matching --------------------------------------------------------------------------- */

/* The shift e^mu or mu, where mu is linear in the number of tokens, of the levels that
 * set_timesteps spreads. */
static void use_dynamic_grid(vn_scheduler_reader *r) {
    const bool linear = same(vn_key_text(r, "time_shift_type", "exponential"), "linear");
    vn_scheduler_use_grid(r, "dynamic");
    vn_scheduler_set(r, &r->grid, "tokens", (double)r->use->tokens);
    vn_scheduler_set(r, &r->grid, "base_tokens", vn_key_number(r, "base_image_seq_len", 256));
    vn_scheduler_set(r, &r->grid, "max_tokens", vn_key_number(r, "max_image_seq_len", 4096));
    vn_scheduler_set(r, &r->grid, "base_shift", vn_key_number(r, "base_shift", 0.5));
    vn_scheduler_set(r, &r->grid, "max_shift", vn_key_number(r, "max_shift", 1.15));
    vn_scheduler_set(r, &r->grid, "type", linear ? 1 : 0);
    vn_scheduler_set(r, &r->grid, "over", r->use->own_times ? 0 : 1);
    vn_scheduler_set(r, &r->grid, "terminal", vn_key_number(r, "shift_terminal", 0));
}

/* Noise grids reach from 1 to the smallest t, shifted twice as linspace does. */
static void use_noise_grid_of_flow(vn_scheduler_reader *r) {
    const double shift = vn_key_number(r, "shift", 1),
                 min_t = vn_shifted(r->path->row->min_time(r->path), shift);
    const double terminal = vn_key_number(r, "shift_terminal", 0);
    if (vn_key_flag(r, "use_dynamic_shifting", false))
        vn_scheduler_refuse(r, VN_SCHEDULER_GRID, "%s sigmas with use_dynamic_shifting",
                            r->grid.row->name);
    if (shift != 1 || terminal > 0)
        vn_scheduler_set(r, &r->grid, "sigma_min",
                         terminal > 0 ? terminal : vn_shifted(min_t, shift));
}

/* The pipeline's own levels, shifted. */
static void use_own_times(vn_scheduler_reader *r) {
    vn_scheduler_use_grid(r, "uniform");
    vn_scheduler_set(r, &r->grid, "shift", vn_key_number(r, "shift", 1));
    if (vn_key_number(r, "shift_terminal", 0) > 0)
        vn_scheduler_refuse(r, VN_SCHEDULER_GRID,
                            "shift_terminal without use_dynamic_shifting, on the pipeline's own "
                            "levels,");
}

static void use_flow_match_grid(vn_scheduler_reader *r) {
    if (use_noise_grid(r, false) && r->use->own_times) {
        vn_scheduler_refuse(r, VN_SCHEDULER_GRID, "%s sigmas of the pipeline's own levels",
                            r->grid.row->name);
    } else if (use_noise_grid(r, false)) {
        use_noise_grid_of_flow(r);
    } else if (vn_key_flag(r, "use_dynamic_shifting", false)) {
        use_dynamic_grid(r);
    } else if (r->use->own_times) {
        use_own_times(r);
    } else {
        vn_scheduler_use_grid(r, "linspace");
        vn_scheduler_set(r, &r->grid, "shift", vn_key_number(r, "shift", 1));
        vn_scheduler_set(r, &r->grid, "terminal", vn_key_number(r, "shift_terminal", 0));
    }
}

static void read_flow_euler(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, vn_key_flag(r, "stochastic_sampling", false) ? "scm" : "euler");
    use_flow_match_grid(r);
}

static void read_flow_heun(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "heun");
    vn_scheduler_use_grid(r, "linspace");
    vn_scheduler_set(r, &r->grid, "shift", vn_key_number(r, "shift", 1));
}

static void read_flow_lcm(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "lcm");
    if (json_array_size(vn_key_value(r, "scale_factors")))
        vn_scheduler_refuse(r, VN_SCHEDULER_SAMPLER, "scale_factors");
    use_flow_match_grid(r);
}

/* ---- EDM ------------------------------------------------------------------------------------- */

static void use_edm_grid(vn_scheduler_reader *r) {
    const char *schedule = vn_key_text(r, "sigma_schedule", "karras");
    const bool karras = same(schedule, "karras"), clean = ends_clean(r);
    if (!karras && !same(schedule, "exponential"))
        vn_scheduler_refuse(r, VN_SCHEDULER_GRID, "sigma_schedule %.40s", schedule);
    vn_scheduler_use_grid(r, karras ? "karras" : "exponential");
    if (karras) vn_scheduler_set(r, &r->grid, "rho", vn_key_number(r, "rho", 7));
    vn_scheduler_set(r, &r->grid, "end", clean ? VN_END_ZERO : VN_END_LAST);
}

static void read_edm_euler(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "euler");
    use_edm_grid(r);
}

static void read_edm_dpm(vn_scheduler_reader *r) {
    read_algorithm(r, false);
    set_lower_final(r);
    use_edm_grid(r);
    read_clip(r, false, true);
}

/* ---- schedulers that do not sample from noise ------------------------------------------------ */

static void read_inverse(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "ddim");
    use_spacing(r, "leading", true);
    vn_scheduler_refuse(r, VN_SCHEDULER_SAMPLER, "a run from data to noise");
}

static void read_repaint(vn_scheduler_reader *r) {
    vn_scheduler_use_sampler(r, "ddpm");
    vn_scheduler_use_grid(r, "leading");
    vn_scheduler_set(r, &r->grid, "offset", 0);
    vn_scheduler_set(r, &r->grid, "end", 0);
    vn_scheduler_refuse(r, VN_SCHEDULER_SAMPLER, "a run that takes a picture and a mask");
    read_clip(r, true, false);
}

/* ---- the classes ----------------------------------------------------------------------------- */

#define CLASS(name, path, beta_start, beta_end, schedule, sampling) {#name, read_##sampling},
static const struct {
    const char *name;
    void (*read)(vn_scheduler_reader *r);
} classes[] = {VN_SCHEDULER_CLASSES(CLASS)};
#undef CLASS

vn_status vn_scheduler_read(const json_t *config, const vn_path *path, const vn_scheduler_use *use,
                            vn_scheduler *out, vn_err *err) {
    *out = (vn_scheduler){0};
    vn_scheduler_reader r = {.config = config, .path = path, .use = use, .out = out, .err = err};
    r.name = vn_key_text(&r, "_class_name", "");
    for (size_t i = 0; i < VN_COUNT(classes); i++) {
        if (!same(classes[i].name, r.name)) continue;
        snprintf(out->name, sizeof out->name, "%s", r.name);
        classes[i].read(&r);
        vn_scheduler_write(&r, &r.sampler, out->sampler, sizeof out->sampler);
        if (!out->sampler_on_other_levels[0])
            snprintf(out->sampler_on_other_levels, sizeof out->sampler_on_other_levels, "%s",
                     out->sampler);
        vn_scheduler_write(&r, &r.grid, out->grid, sizeof out->grid);
    }
    return r.status;
}
