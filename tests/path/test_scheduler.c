/* scheduler_config.json: what vane writes comes back, diffusers' own files mean what they say, the
 * rest is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "path/path.h"
#include "support/alloc.h"

static vn_status read(const char *text, vn_path **path, vn_prediction *p, vn_err *err) {
    json_t *json = NULL;
    assert_int_equal(vn_json_parse(text, strlen(text), "config", &json, err), VN_OK);
    vn_status status = vn_path_from_scheduler(json, path, p, err);
    json_decref(json);
    return status;
}

static void round_trips(void **state) {
    (void)state;
    static const char *const paths[] = {"rectified",
                                        "ddpm:cosine,T=500",
                                        "ddpm:linear",
                                        "ddpm:scaled-linear,beta_end=0.02",
                                        "edm:sigma_max=40",
                                        "vp:beta_max=15",
                                        "ve",
                                        "trigonometric",
                                        "ddpm:sigmoid,beta_start=0.001",
                                        "ddpm:sigmoid-bar,tau=0.7",
                                        "ddpm:exp",
                                        "ddpm:laplace",
                                        "ddpm:scaled-linear,zero_snr=1",
                                        "ddpm:cosine,zero_snr=1",
                                        "sub-vp",
                                        "polynomial:n=3,of=alpha"};
    static const char *const predictions[] = {
        "x0", "eps", "v", "score", "velocity", "edm", "edm:sigma_data=0.7"};
    for (size_t i = 0; i < VN_COUNT(paths); i++)
        for (size_t k = 0; k < VN_COUNT(predictions); k++) {
            vn_path *a, *b;
            vn_prediction p, q;
            vn_err err = {0};
            assert_int_equal(vn_path_open(paths[i], &a, &err), VN_OK);
            assert_int_equal(vn_prediction_parse(predictions[k], &p, &err), VN_OK);
            json_t *config = vn_path_scheduler(a, &p, false);
            assert_non_null(config);
            vn_status status = vn_path_from_scheduler(config, &b, &q, &err);
            if (vn_path_allows(a, &p, NULL)) { /* eps or score with zero_snr */
                assert_int_equal(status, VN_BAD_FILE);
                assert_non_null(strstr(err.text, "pure noise"));
                json_decref(config);
                vn_path_close(&a);
                continue;
            }
            if (status) fail_msg("%s, %s: %s", paths[i], predictions[k], err.text);
            assert_ptr_equal(a->row, b->row);
            assert_ptr_equal(p.row, q.row);
            assert_memory_equal(a->choice.value, b->choice.value, sizeof a->choice.value);
            assert_memory_equal(p.choice.value, q.choice.value, sizeof p.choice.value);
            json_decref(config);
            vn_path_close(&a);
            vn_path_close(&b);
        }
}

static const char *class_of(const char *path, const char *prediction) {
    static char name[64];
    vn_path *p;
    vn_prediction q;
    vn_err err;
    assert_int_equal(vn_path_open(path, &p, &err), VN_OK);
    assert_int_equal(vn_prediction_parse(prediction, &q, &err), VN_OK);
    json_t *config = vn_path_scheduler(p, &q, false);
    snprintf(name, sizeof name, "%s", json_string_value(json_object_get(config, "_class_name")));
    json_decref(config);
    vn_path_close(&p);
    return name;
}

/* A class of diffusers only where it means the same. */
static void classes_are_honest(void **state) {
    (void)state;
    assert_string_equal(class_of("rectified", "velocity"), "FlowMatchEulerDiscreteScheduler");
    assert_string_equal(class_of("rectified", "x0"), "VaneScheduler");
    assert_string_equal(class_of("ddpm:cosine", "v"), "DDIMScheduler");
    assert_string_equal(class_of("ddpm", "velocity"), "VaneScheduler");
    assert_string_equal(class_of("edm", "edm"), "EDMEulerScheduler");
    assert_string_equal(class_of("edm", "eps"), "VaneScheduler");
    assert_string_equal(class_of("vp", "eps"), "VaneScheduler");
    assert_string_equal(class_of("ddpm:sigmoid", "eps"), "DDPMScheduler");
    assert_string_equal(class_of("ddpm:sigmoid-bar", "eps"), "VaneScheduler");
    assert_string_equal(class_of("ddpm:zero_snr=1", "v"), "DDIMScheduler");
    assert_string_equal(class_of("polynomial:n=1", "velocity"), "VaneScheduler");
}

/* A learned variance is said, and only then. */
static void a_learned_variance_is_written(void **state) {
    (void)state;
    vn_path *p, *again;
    vn_prediction q;
    vn_err err;
    assert_int_equal(vn_path_open("ddpm:cosine", &p, &err), VN_OK);
    assert_int_equal(vn_prediction_parse("eps", &q, &err), VN_OK);
    for (int learns = 0; learns < 2; learns++) {
        json_t *config = vn_path_scheduler(p, &q, learns != 0);
        const char *type = json_string_value(json_object_get(config, "variance_type"));
        const char *class = json_string_value(json_object_get(config, "_class_name"));
        assert_string_equal(class, learns ? "DDPMScheduler" : "DDIMScheduler"); /* who can say it */
        assert_true(learns ? type && strcmp(type, "learned_range") == 0 : !type);
        assert_int_equal(vn_path_from_scheduler(config, &again, &q, &err), VN_OK);
        vn_path_close(&again);
        json_decref(config);
    }
    vn_path_close(&p);
}

static void files_of_diffusers_are_read(void **state) {
    (void)state;
    static const struct {
        const char *config, *path, *prediction;
    } known[] = {
        {"{\"_class_name\": \"PNDMScheduler\", \"beta_end\": 0.012, \"beta_schedule\": "
         "\"scaled_linear\", "
         "\"beta_start\": 0.00085,"
         " \"num_train_timesteps\": 1000, \"set_alpha_to_one\": false, \"skip_prk_steps\": true, "
         "\"steps_offset\": 1,"
         " \"trained_betas\": null, \"clip_sample\": false}",
         "ddpm:scaled-linear", "eps"},
        {"{\"_class_name\": \"DDPMScheduler\", \"beta_schedule\": \"squaredcos_cap_v2\", "
         "\"prediction_type\": "
         "\"sample\","
         " \"variance_type\": \"fixed_small\"}",
         "ddpm:cosine", "x0"},
        {"{\"_class_name\": \"HeunDiscreteScheduler\", \"prediction_type\": \"v_prediction\"}",
         "ddpm:linear,beta_start=0.00085,beta_end=0.012", "v"},
        {"{\"_class_name\": \"FlowMatchEulerDiscreteScheduler\", \"shift\": 3.0, "
         "\"num_train_timesteps\": 1000}",
         "rectified", "velocity"},
        {"{\"_class_name\": \"EulerDiscreteScheduler\", \"timestep_type\": \"continuous\"}",
         "ddpm:linear", "eps"},
        {"{\"_class_name\": \"LCMScheduler\"}", "ddpm:scaled-linear", "eps"},
        {"{\"_class_name\": \"UnCLIPScheduler\", \"prediction_type\": \"sample\"}", "ddpm:cosine",
         "x0"},
        {"{\"_class_name\": \"EDMEulerScheduler\", \"sigma_max\": 120.0, \"prediction_type\": "
         "\"epsilon\"}",
         "edm:sigma_max=120", "edm"},
        {"{\"_class_name\": \"DDPMScheduler\", \"beta_schedule\": \"sigmoid\", \"beta_end\": 0.01}",
         "ddpm:sigmoid,beta_end=0.01", "eps"},
        {"{\"_class_name\": \"DDIMScheduler\", \"beta_schedule\": \"scaled_linear\", "
         "\"beta_start\": 0.00085,"
         " \"beta_end\": 0.012, \"rescale_betas_zero_snr\": true, \"prediction_type\": "
         "\"v_prediction\"}",
         "ddpm:scaled-linear,zero_snr=1", "v"},
        {"{\"_class_name\": \"UniPCMultistepScheduler\", \"use_karras_sigmas\": true, "
         "\"use_beta_sigmas\": false}",
         "ddpm:linear", "eps"},
        {"{\"_class_name\": \"DPMSolverMultistepScheduler\", \"use_flow_sigmas\": true, "
         "\"flow_shift\": 3.0,"
         " \"prediction_type\": \"flow_prediction\"}",
         "rectified", "velocity"},
        {"{\"_class_name\": \"UniPCMultistepScheduler\", \"use_flow_sigmas\": true, "
         "\"prediction_type\": \"sample\"}",
         "rectified", "x0"},
    };
    for (size_t i = 0; i < VN_COUNT(known); i++) {
        vn_path *path, *want;
        vn_prediction p;
        vn_err err = {0};
        if (read(known[i].config, &path, &p, &err)) fail_msg("%zu: %s", i, err.text);
        assert_int_equal(vn_path_open(known[i].path, &want, &err), VN_OK);
        assert_ptr_equal(path->row, want->row);
        assert_memory_equal(path->choice.value, want->choice.value, sizeof path->choice.value);
        assert_string_equal(p.row->row.name, known[i].prediction);
        vn_path_close(&path);
        vn_path_close(&want);
    }
}

static void what_is_unknown_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *config, *word;
        vn_status status;
    } bad[] = {
        {"[]", "object", VN_BAD_FILE},
        {"{}", "_class_name", VN_UNSUPPORTED},
        {"{\"_class_name\": 3}", "_class_name", VN_BAD_FILE},
        {"{\"_class_name\": \"CMStochasticIterativeScheduler\"}",
         "CMStochasticIterativeScheduler' gives its network", VN_UNSUPPORTED},
        {"{\"_class_name\": \"AmusedScheduler\"}", "'AmusedScheduler' is for discrete tokens",
         VN_UNSUPPORTED},
        {"{\"_class_name\": \"CogVideoXDPMScheduler\"}", "'CogVideoXDPMScheduler' is for video",
         VN_UNSUPPORTED},
        {"{\"_class_name\": \"PiflowScheduler\"}", "more than a denoiser does", VN_UNSUPPORTED},
        {"{\"_class_name\": \"NewScheduler\"}",
         "'NewScheduler' is not a scheduler that vane knows; if the network", VN_UNSUPPORTED},
        {"{\"_class_name\": \"DDIMScheduler\", \"rescale_betas_zero_snr\": true}",
         "eps says nothing of the data at the last step", VN_BAD_FILE},
        {"{\"_class_name\": \"DDIMScheduler\", \"trained_betas\": [0.1]}", "trained_betas",
         VN_UNSUPPORTED},
        {"{\"_class_name\": \"DDPMScheduler\", \"variance_type\": \"learned\"}", "learned",
         VN_UNSUPPORTED},
        {"{\"_class_name\": \"DDPMScheduler\", \"beta_schedule\": \"quadratic\"}", "quadratic",
         VN_UNSUPPORTED},
        {"{\"_class_name\": \"DDPMScheduler\", \"beta_schedule\": \"sigmoid-bar\"}", "sigmoid-bar",
         VN_UNSUPPORTED},
        {"{\"_class_name\": \"DDPMScheduler\", \"beta_start\": 0}", "beta_start 0", VN_BAD_FILE},
        {"{\"_class_name\": \"FlowMatchEulerDiscreteScheduler\", \"invert_sigmas\": true}",
         "invert_sigmas", VN_UNSUPPORTED},
        {"{\"_class_name\": \"DDPMScheduler\", \"prediction_type\": \"flow\"}", "flow",
         VN_UNSUPPORTED},
        {"{\"_class_name\": \"DDPMScheduler\", \"beta_start\": \"small\"}", "beta_start",
         VN_BAD_FILE},
        {"{\"_class_name\": \"DDPMScheduler\", \"num_train_timesteps\": 1e9}", "T=", VN_BAD_FILE},
        {"{\"_class_name\": \"DDPMScheduler\", \"num_train_timesteps\": 10.5}", "T=", VN_BAD_FILE},
        {"{\"_class_name\": \"UniPCMultistepScheduler\", \"use_flow_sigmas\": true, "
         "\"prediction_type\": "
         "\"v_prediction\"}",
         "v_prediction", VN_UNSUPPORTED},
        {"{\"_class_name\": \"EulerDiscreteScheduler\", \"timestep_type\": \"continuous\","
         " \"prediction_type\": \"v_prediction\"}",
         "continuous", VN_UNSUPPORTED},
        {"{\"_class_name\": \"FlowMatchEulerDiscreteScheduler\", \"num_train_timesteps\": 500}",
         "500", VN_UNSUPPORTED},
        {"{\"_class_name\": \"EDMEulerScheduler\", \"prediction_type\": \"v_prediction\"}",
         "v_prediction", VN_UNSUPPORTED},
        {"{\"_class_name\": \"EDMEulerScheduler\", \"sigma_min\": 90}", "sigma_min", VN_BAD_FILE},
        {"{\"_class_name\": \"VaneScheduler\", \"path\": \"vq\", \"prediction_type\": \"eps\"}",
         "vp", VN_BAD_FILE},
        {"{\"_class_name\": \"VaneScheduler\", \"path\": \"vp\"}", "prediction", VN_BAD_FILE},
    };
    for (size_t i = 0; i < VN_COUNT(bad); i++) {
        vn_path *path = (void *)1;
        vn_prediction p;
        vn_err err = {0};
        vn_status status = read(bad[i].config, &path, &p, &err);
        if (status != bad[i].status || !strstr(err.text, bad[i].word))
            fail_msg("%s: %d %s", bad[i].config, status, err.text);
        assert_int_equal(err.status, status);
        assert_null(path);
    }
}

static void failed_allocations_are_reported(void **state) {
    (void)state;
    vn_path *p;
    vn_prediction q;
    vn_err err;
    assert_int_equal(vn_path_open("ddpm", &p, &err), VN_OK);
    assert_int_equal(vn_prediction_parse("velocity", &q, &err), VN_OK);
    for (alloc_turn t = {.once = true}; alloc_next(&t);) {
        json_t *config = vn_path_scheduler(p, &q, false);
        alloc_hit(&t, config ? VN_OK : VN_NO_MEMORY);
        json_decref(config);
    }
    vn_path_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(classes_are_honest),
        cmocka_unit_test(a_learned_variance_is_written),
        cmocka_unit_test(files_of_diffusers_are_read),
        cmocka_unit_test(what_is_unknown_is_refused_by_name),
        cmocka_unit_test(failed_allocations_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
