/* Pipelines sampled as their schedulers say, against diffusers: golden/schedulers/samples.json
 * holds, for every scheduler class that starts from noise, its saved form, what is changed in it, a
 * number of steps and diffusers' samples. The network here is the one of golden/schedulers.py:
 * exact for data from N(mean, variance), but knowing no more than its input and the time that it is
 * told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "sample/sample.h"
#include "support/alloc.h"
#include "support/bound.h"

#define GOLDEN VN_SOURCE_DIR "/tests/golden/schedulers/samples.json"
#define ROWS   2
#define SIZE   4
/* Largest error, relative to the largest number of the answer or 1: 1.03e-4 where the cosine
 * schedule's first level, alpha = 5e-5, is visited, else 3e-5; and 5.4e-4 of UnCLIP's, whose last
 * step divides two float32 of 4e-5 that it has rounded apart. */
#define TOLERANCE        2.4e-4
#define TOLERANCE_UNCLIP 1.2e-3

static json_t *golden;
static float noise[ROWS * SIZE];
static double mean[SIZE], variance;

static int read_golden(void **state) {
    (void)state;
    vn_err err;
    if (vn_json_read(GOLDEN, &golden, &err)) return -1;
    for (size_t i = 0; i < ROWS * SIZE; i++)
        noise[i] = (float)json_number_value(
            json_array_get(json_array_get(json_object_get(golden, "noise"), i / SIZE), i % SIZE));
    for (size_t i = 0; i < SIZE; i++)
        mean[i] = json_number_value(json_array_get(json_object_get(golden, "mean"), i));
    variance = json_number_value(json_object_get(golden, "variance"));
    return 0;
}

static int close_golden(void **state) {
    (void)state;
    json_decref(golden);
    return 0;
}

/* ---- the network ----------------------------------------------------------------------------- */

/* The level that it takes the told time for. */
static vn_level level_of_told(const vn_path *p, double told) {
    if (p->steps) return vn_path_level_of_step(p, told);
    if (p->row->straight_k) return vn_path_level(p, told / 1000);
    return (vn_level){.alpha = 1, .sigma = exp(4 * told)};
}

static vn_status predict(void *self, const vn_query *q, float *raw, vn_err *err) {
    const vn_denoiser *d = self;
    (void)err;
    for (int64_t i = 0; i < q->n * SIZE; i++) {
        const vn_level *level = &q->level[i / SIZE];
        const vn_level l = level_of_told(d->path, vn_path_network_time(d->path, level));
        const vn_coefficients here = vn_prediction_coefficients(&d->prediction, level);
        const vn_coefficients told = vn_prediction_coefficients(&d->prediction, &l);
        const double a = l.alpha, s = l.sigma, x = (double)q->x[i] * here.input / told.input,
                     m = mean[i % SIZE];
        const double x0 = m + a * variance / (a * a * variance + s * s) * (x - a * m);
        const double eps = s > 0 ? (x - a * x0) / s : 0;
        raw[i] = (float)(told.raw_x0 * x0 + told.raw_eps * eps);
    }
    return VN_OK;
}

/* ---- a pipeline at work ---------------------------------------------------------------------- */

typedef struct pipeline {
    vn_path *path;
    vn_denoiser denoiser;
    vn_scheduler scheduler;
    vn_sampling_setup setup;
} pipeline;

static vn_status open_pipeline(const json_t *config, pipeline *p, vn_err *err) {
    const vn_scheduler_use use = {.tokens = json_integer_value(json_object_get(golden, "tokens"))};
    *p = (pipeline){.denoiser = {.sample = VN_SHAPE(SIZE),
                                 .size = SIZE,
                                 .conditions = {.has_null = true},
                                 .predict = predict}};
    vn_status status = vn_path_from_scheduler(config, &p->path, &p->denoiser.prediction, err);
    p->denoiser.path = p->path;
    p->denoiser.self = &p->denoiser;
    if (!status) status = vn_scheduler_read(config, p->path, &use, &p->scheduler, err);
    return status ? status : vn_scheduler_apply(&p->scheduler, p->path, &p->setup, err);
}

static void close_pipeline(pipeline *p) {
    vn_free(p->setup.made_guide);
    vn_path_close(&p->path);
}

static vn_status draw(const pipeline *p, int steps, float *x, vn_err *err) {
    const vn_trajectory_options o = {.denoiser = &p->denoiser,
                                     .sampler = p->setup.sampler,
                                     .grid = p->setup.grid,
                                     .guide = p->setup.guide,
                                     .begin = p->setup.begin,
                                     .guidance = 1,
                                     .steps = steps,
                                     .capacity = ROWS};
    const int32_t labels[ROWS] = {VN_CONDITION_NULL, VN_CONDITION_NULL};
    vn_trajectory *trajectory = NULL;
    vn_status status = vn_trajectory_open(&o, &trajectory, err);
    if (!status)
        status = vn_trajectory_run(
            trajectory,
            &(vn_trajectory_batch){.n = ROWS, .condition = labels, .noise = noise, .x = x}, NULL, 0,
            1, err);
    vn_trajectory_close(&trajectory);
    return status;
}

static json_t *config_of(const json_t *class, const json_t *c) {
    json_t *config = vn_json_copy(json_object_get(class, "config"));
    assert_non_null(config);
    assert_int_equal(json_object_update(config, json_object_get(c, "change")), 0);
    return config;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static double error_of(const json_t *c, const float *x) {
    double worst = 0, size = 1;
    for (size_t i = 0; i < ROWS * SIZE; i++) {
        const double want = json_number_value(json_array_get(json_object_get(c, "x"), i));
        worst = fmax(worst, fabs((double)x[i] - want));
        size = fmax(size, fabs(want));
    }
    return worst / size;
}

static double run(const json_t *class, const json_t *c, int *wrong) {
    float x[ROWS * SIZE];
    pipeline p;
    vn_err err = {0};
    json_t *config = config_of(class, c);
    const int steps = (int)json_integer_value(json_object_get(c, "steps"));
    vn_status status = open_pipeline(config, &p, &err);
    if (!status) status = draw(&p, steps, x, &err);
    const double error = status ? 0 : error_of(c, x);
    const bool unclip = strcmp(p.scheduler.name, "UnCLIPScheduler") == 0;
    if (status || !(error < (unclip ? TOLERANCE_UNCLIP : TOLERANCE))) {
        char *change = vn_json_text(json_object_get(c, "change"), JSON_COMPACT);
        print_error("%s %s, %d steps: %s %.2e (%s, %s, %s)\n",
                    json_string_value(json_object_get(config, "_class_name")), change, steps,
                    status ? err.text : "error", error, p.setup.sampler, p.setup.grid,
                    p.setup.guide);
        vn_free(change);
        ++*wrong;
    }
    close_pipeline(&p);
    json_decref(config);
    return error;
}

static void schedulers_of_diffusers_give_its_samples(void **state) {
    (void)state;
    const json_t *classes = json_object_get(golden, "classes"), *class, *c;
    size_t i, k;
    int cases = 0, wrong = 0;
    double worst[2] = {0}; /* of all others, of UnCLIPScheduler */
    json_array_foreach(classes, i, class)
        json_array_foreach(json_object_get(class, "cases"), k, c) {
        const char *name =
            json_string_value(json_object_get(json_object_get(class, "config"), "_class_name"));
        const bool unclip = strcmp(name, "UnCLIPScheduler") == 0;
        worst[unclip] = fmax(worst[unclip], run(class, c, &wrong));
        cases++;
    }
    print_message("%d cases\n", cases);
    expect_below("samples", worst[0], TOLERANCE);
    expect_below("samples of UnCLIPScheduler", worst[1], TOLERANCE_UNCLIP);
    assert_int_equal(wrong, 0);
}

/* What a class asks for and we cannot do: named, unless the user names that part himself. */
static void what_cannot_be_honoured_is_named(void **state) {
    (void)state;
    static const struct {
        const char *config, *words;
        bool grid; /* the part that it is of; else the sampler */
    } refused[] = {
        {"'DDPMScheduler', 'variance_type': 'fixed_large_log'", "variance_type fixed_large_log",
         false},
        {"'DDPMScheduler', 'timestep_spacing': 'odd'",
         "timestep_spacing odd is not supported; name another grid", true},
        {"'DDPMScheduler', 'timestep_spacing': 'leading', 'steps_offset': -1",
         "offset=-1, which is outside what leading takes, is not supported", true},
        {"'PNDMScheduler', 'prediction_type': 'v_prediction'", "prediction_type v_prediction",
         false},
        {"'EulerDiscreteScheduler', 'interpolation_type': 'log_linear'",
         "interpolation_type log_linear", true},
        {"'EulerDiscreteScheduler', 'final_sigmas_type': 'one'", "final_sigmas_type one", true},
        {"'DPMSolverMultistepScheduler', 'algorithm_type': 'sde-dpmsolver'",
         "algorithm_type sde-dpmsolver", false},
        {"'DPMSolverMultistepScheduler', 'algorithm_type': 'sde-dpmsolver++', 'solver_order': 3",
         "solver_order 3", false},
        {"'DPMSolverMultistepScheduler', 'solver_order': 4", "order=4, which is outside", false},
        {"'DPMSolverMultistepScheduler', 'lambda_min_clipped': -3, 'timestep_spacing': 'trailing'",
         "lambda_min_clipped", true},
        {"'DPMSolverMultistepScheduler', 'lambda_min_clipped': Infinity", "leaves no step", true},
        {"'DPMSolverMultistepScheduler', 'lambda_min_clipped': NaN", "leaves no step", true},
        {"'DPMSolverMultistepScheduler', 'use_flow_sigmas': true, 'prediction_type': "
         "'flow_prediction',"
         " 'use_karras_sigmas': true",
         "karras sigmas with use_flow_sigmas", true},
        {"'DPMSolverMultistepScheduler', 'use_flow_sigmas': true, 'prediction_type': "
         "'flow_prediction',"
         " 'final_sigmas_type': 'sigma_min'",
         "final_sigmas_type sigma_min", true},
        {"'DPMSolverSinglestepScheduler', 'algorithm_type': 'sde-dpmsolver++'",
         "algorithm_type sde-dpmsolver++", false},
        {"'UniPCMultistepScheduler', 'predict_x0': false", "predict_x0 false", false},
        {"'UniPCMultistepScheduler', 'disable_corrector': [0]", "disable_corrector", false},
        {"'UniPCMultistepScheduler', 'solver_p': {}", "solver_p", false},
        {"'UniPCMultistepScheduler', 'use_flow_sigmas': true, 'prediction_type': 'flow_prediction',"
         " 'use_dynamic_shifting': true",
         "use_dynamic_shifting", true},
        {"'SASolverScheduler', 'algorithm_type': 'noise_prediction'",
         "algorithm_type noise_prediction", false},
        {"'FlowMatchLCMScheduler', 'scale_factors': [1, 2]", "scale_factors", false},
        {"'FlowMatchEulerDiscreteScheduler', 'use_karras_sigmas': true, 'use_dynamic_shifting': "
         "true",
         "karras sigmas with use_dynamic_shifting", true},
        {"'EDMEulerScheduler', 'sigma_schedule': 'linear'", "sigma_schedule linear", true},
        {"'DDIMInverseScheduler'",
         "a run from data to noise is not supported; name another sampler", false},
        {"'DPMSolverMultistepInverseScheduler'", "from data to noise", false},
        {"'RePaintScheduler'", "a picture and a mask", false},
    };
    for (size_t i = 0; i < VN_COUNT(refused); i++) {
        pipeline p;
        vn_err err = {0};
        json_t *config;
        char *text = vn_format("{'_class_name': %s}", refused[i].config);
        for (char *c = text; *c; c++)
            if (*c == '\'') *c = '"';
        assert_int_equal(vn_json_parse(text, strlen(text), "config", &config, &err), VN_OK);
        if (open_pipeline(config, &p, &err) != VN_UNSUPPORTED ||
            !strstr(err.text, refused[i].words))
            fail_msg("%s: %s", text, err.text);
        vn_sampling_setup setup = {.sampler = "ddim", .grid = refused[i].grid ? "uniform" : NULL};
        assert_int_equal(vn_scheduler_apply(&p.scheduler, p.path, &setup, &err), VN_OK);
        assert_string_equal(setup.sampler, "ddim");
        vn_free(setup.made_guide);
        close_pipeline(&p);
        json_decref(config);
        vn_free(text);
    }
}

/* Where the noise begins is diffusers' init_noise_sigma, of the class that goes with the
 * sampler. */
static void noise_begins_as_in_the_class_of_the_sampler(void **state) {
    (void)state;
    static const struct {
        const char *config, *sampler, *grid;
        vn_first_noise begin;
    } cases[] = {
        {"'DDIMScheduler'", NULL, NULL, VN_FIRST_UNIT},
        {"'DDIMScheduler'", "euler", NULL, VN_FIRST_UNIT}, /* leading */
        {"'DDIMScheduler'", "euler", "trailing", VN_FIRST_SCALED},
        {"'EulerDiscreteScheduler'", NULL, NULL, VN_FIRST_SCALED},
        {"'EulerDiscreteScheduler'", "dpmpp-2m", NULL, VN_FIRST_UNIT},
        {"'EulerDiscreteScheduler', 'timestep_spacing': 'leading', 'use_karras_sigmas': true", NULL,
         NULL, VN_FIRST_UNIT},
        {"'DPMSolverMultistepScheduler'", NULL, "karras", VN_FIRST_UNIT},
        {"'FlowMatchEulerDiscreteScheduler'", NULL, NULL, VN_FIRST_UNIT},
        {"'EDMEulerScheduler'", NULL, NULL, VN_FIRST_UNIT},
    };
    for (size_t i = 0; i < VN_COUNT(cases); i++) {
        pipeline p;
        vn_err err = {0};
        json_t *config;
        char *text = vn_format("{'_class_name': %s}", cases[i].config);
        for (char *c = text; *c; c++)
            if (*c == '\'') *c = '"';
        assert_int_equal(vn_json_parse(text, strlen(text), "config", &config, &err), VN_OK);
        assert_int_equal(open_pipeline(config, &p, &err), VN_OK);
        vn_sampling_setup setup = {.sampler = cases[i].sampler, .grid = cases[i].grid};
        assert_int_equal(vn_scheduler_apply(&p.scheduler, p.path, &setup, &err), VN_OK);
        if (setup.begin != cases[i].begin)
            fail_msg("%s with %s on %s", text, setup.sampler, setup.grid);
        vn_free(setup.made_guide);
        close_pipeline(&p);
        json_decref(config);
        vn_free(text);
    }
}

/* The numbers of a config's grid, checked where a value of the wrong type would be read. */
static void values_that_make_no_sense_are_bad_files(void **state) {
    (void)state;
    static const char *const bad[] = {
        "{\"_class_name\": \"DDIMScheduler\", \"clip_sample\": 1}",
        "{\"_class_name\": \"DDIMScheduler\", \"clip_sample_range\": NaN}",
        "{\"_class_name\": \"HeunDiscreteScheduler\", \"clip_sample\": true, "
        "\"clip_sample_range\": 0}",
        "{\"_class_name\": \"DDIMScheduler\", \"thresholding\": true, "
        "\"dynamic_thresholding_ratio\": 2}",
        "{\"_class_name\": \"DDIMScheduler\", \"thresholding\": true, \"sample_max_value\": -1}",
        "{\"_class_name\": \"DDIMScheduler\", \"timestep_spacing\": 3}",
        "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"solver_order\": \"two\"}",
        "{\"_class_name\": \"FlowMatchEulerDiscreteScheduler\", \"shift\": [3]}",
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        pipeline p;
        vn_err err = {0};
        json_t *config;
        assert_int_equal(vn_json_parse(bad[i], strlen(bad[i]), "config", &config, &err), VN_OK);
        if (open_pipeline(config, &p, &err) != VN_BAD_FILE) fail_msg("%s: %s", bad[i], err.text);
        close_pipeline(&p);
        json_decref(config);
    }
}

/* T/N steps down from levels of the user's own would lead nowhere near them. */
static void even_steps_are_for_the_own_grid(void **state) {
    (void)state;
    const char *text = "{\"_class_name\": \"DDIMScheduler\", \"timestep_spacing\": \"linspace\"}";
    json_t *config;
    vn_err err = {0};
    pipeline p;
    assert_int_equal(vn_json_parse(text, strlen(text), "config", &config, &err), VN_OK);
    assert_int_equal(open_pipeline(config, &p, &err), VN_OK);
    assert_string_equal(p.setup.sampler, "ddim:spacing=even");
    vn_sampling_setup ways[] = {{.sigmas = true}, {.grid = "karras"}};
    for (size_t i = 0; i < VN_COUNT(ways); i++) {
        assert_int_equal(vn_scheduler_apply(&p.scheduler, p.path, &ways[i], &err), VN_OK);
        assert_string_equal(ways[i].sampler, "ddim");
        vn_free(ways[i].made_guide);
    }
    close_pipeline(&p);
    json_decref(config);
}

static void failed_allocations_are_reported(void **state) {
    (void)state;
    const char *text = "{\"_class_name\": \"DDIMScheduler\", \"clip_sample_range\": 2, "
                       "\"set_alpha_to_one\": false}";
    json_t *config;
    vn_err err = {0};
    vn_path *path;
    assert_int_equal(vn_json_parse(text, strlen(text), "config", &config, &err), VN_OK);
    assert_int_equal(vn_path_open("ddpm", &path, &err), VN_OK);
    const vn_scheduler_use use = {.tokens = 1};
    for (alloc_turn t = {.once = true}; alloc_next(&t);) {
        vn_scheduler s;
        vn_sampling_setup setup = {.guide = "cfg,rescale"};
        vn_status status = vn_scheduler_read(config, path, &use, &s, &err);
        if (!status) status = vn_scheduler_apply(&s, path, &setup, &err);
        alloc_hit(&t, status);
        vn_free(setup.made_guide);
    }
    vn_path_close(&path);
    json_decref(config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedulers_of_diffusers_give_its_samples),
        cmocka_unit_test(what_cannot_be_honoured_is_named),
        cmocka_unit_test(noise_begins_as_in_the_class_of_the_sampler),
        cmocka_unit_test(values_that_make_no_sense_are_bad_files),
        cmocka_unit_test(even_steps_are_for_the_own_grid),
        cmocka_unit_test(failed_allocations_are_reported),
    };
    return cmocka_run_group_tests(tests, read_golden, close_golden);
}
