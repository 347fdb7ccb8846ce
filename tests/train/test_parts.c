/* test_parts.c - networks that are trained together, with losses of their own, beside a frozen one
 * and the average of what is trained: numbers of a linear network by closed forms in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"
#include "train/support_parts.h"

/* ---- closed forms ---------------------------------------------------------------------------- */

static void save_pair(const char *path, const vn_net *net, float a, float b) {
    float values[16] = {a, b};
    vn_err err = {0};
    if (vn_store_save_weights(path, vn_net_weights(net), values, -1, &err))
        fail_msg("%s", err.text);
}

/* The same in bfloat16, as a teacher may be kept, for numbers that it has. */
static void save_halves(const char *path, uint16_t a, uint16_t b) {
    const uint16_t values[] = {a, b};
    const vn_array array = {"a", VN_BF16, VN_SHAPE(2), values};
    vn_err err = {0};
    if (vn_safetensors_write(path, &array, 1, NULL, &err)) fail_msg("%s", err.text);
}

/* The gradient of |a x - b x|^2 by a alone, with x as the scorer had it. */
static void no_gradient_goes_to_an_average(void **state) {
    (void)state;
    job j;
    vn_err err = {0};
    vn_scorer c = {0};
    job_open(&j, "to_average", 0, 1);
    j.part[0] = (vn_train_part){.net = product()};
    j.setup.parts = 1;
    if (vn_scorer_open(&c, &j.setup, 0, 8, true, &err)) fail_msg("%s", err.text);
    const vn_weights *w = vn_net_weights(j.part[0].net);
    float own[16] = {0.75f, -0.5f}, average[16] = {0.25f, 0.125f}, grads[16] = {0}, loss = 0;
    vn_values *values[2];
    assert_int_equal(vn_values_over(w, &j.device, own, &values[0], &err), VN_OK);
    assert_int_equal(vn_values_over(w, &j.device, average, &values[1], &err), VN_OK);
    const vn_values *const sets[VN_SETS] = {values[0], values[1]};
    const vn_scored which = {.part = VN_DATA_TRAIN, .draw = 2};
    if (vn_scorer_run(&c, &which, sets, grads, &loss, &err)) fail_msg("%s", err.text);
    const float *x = vn_program_map(c.program, c.parts.x);
    double expected = 0, by[2] = {0};
    for (int i = 0; i < 16; i++) {
        const double off = (double)(own[i % 2] - average[i % 2]), xi = (double)x[i];
        expected += off * off * xi * xi / 16;
        by[i % 2] += 2 * off * xi * xi / 16;
    }
    print_message("loss %.9f of %.9f, gradient %.9f %.9f of %.9f %.9f\n", (double)loss, expected,
                  (double)grads[0], (double)grads[1], by[0], by[1]);
    assert_true(expected > 0.05);
    expect_small(fabs((double)loss - expected), 1e-8);
    for (int i = 0; i < 2; i++) expect_small(fabs((double)grads[i] - by[i]), 1e-8);
    vn_values_close(&values[0]);
    vn_values_close(&values[1]);
    vn_scorer_close(&c);
    job_close(&j);
}

/* AdamW without decay on two numbers, clipped by the norm of both. */
typedef struct adam {
    double value[2], m[2], v[2];
    int made;
} adam;

static void adam_step(adam *a, const double gradient[2], double lr, double clip) {
    const double norm = hypot(gradient[0], gradient[1]), scale = norm > clip ? clip / norm : 1;
    a->made++;
    for (int i = 0; i < 2; i++) {
        const double g = scale * gradient[i];
        a->m[i] += 0.1 * (g - a->m[i]);
        a->v[i] += 0.001 * (g * g - a->v[i]);
        const double root = sqrt(a->v[i] / (1 - pow(0.999, a->made)));
        a->value[i] -= lr * a->m[i] / (1 - pow(0.9, a->made)) / (root + 1e-8);
    }
}

static void open_pull(job *j, int64_t microbatches) {
    job_open(j, "pull", 0, microbatches);
    j->part[0] = (vn_train_part){.net = product(), .weights = "first.safetensors"};
    j->part[1] = (vn_train_part){.name = "teacher",
                                 .net = product(),
                                 .frozen = true,
                                 .weights = vn_strdup("teacher.safetensors")};
    j->part[2] = (vn_train_part){.name = "follower",
                                 .net = product(),
                                 .weights = "second.safetensors",
                                 .lr = 0.5,
                                 .no_average = true};
    j->setup.parts = 3;
    save_pair("first.safetensors", j->part[0].net, 1, -1);
    save_halves("teacher.safetensors", 0x4040, 0x4000); /* 3 and 2 */
    save_pair("second.safetensors", j->part[2].net, 0.5f, 0.25f);
}

/* Twelve steps in double: a to its average and the teacher, the follower to a in steps 0, 3, 6, 9,
 * at half the rate, each clipped by the norm of its own gradient. */
static void parts_teacher_and_average_are_as_computed(void **state) {
    (void)state;
    for (int64_t microbatches = 1; microbatches <= 4; microbatches *= 4) {
        adam a = {.value = {1, -1}}, f = {.value = {0.5, 0.25}};
        double average[2] = {1, -1};
        const double teacher[2] = {3, 2};
        for (int step = 0; step < STEPS; step++) {
            double by_a[2], by_f[2];
            for (int i = 0; i < 2; i++) {
                by_a[i] = a.value[i] - 0.5 * average[i] - 0.5 * teacher[i];
                by_f[i] = f.value[i] - a.value[i];
            }
            if (step % 3 == 0) adam_step(&f, by_f, 0.025, 0.5);
            adam_step(&a, by_a, 0.05, 0.5);
            const double n = step + 1, decay = fmin(0.9, (1 + n) / (10 + n));
            for (int i = 0; i < 2; i++) average[i] += (1 - decay) * (a.value[i] - average[i]);
        }
        job j;
        vn_err err = {0};
        vn_trained result;
        open_pull(&j, microbatches);
        job_create(&j);
        if (vn_train_run(&j.setup, &result, &err)) fail_msg("%s", err.text);
        float shown[16], follows[16];
        const vn_weights *w = vn_net_weights(j.part[0].net);
        assert_int_equal(vn_store_load_weights("run/model/diffusion_pytorch_model.safetensors", w,
                                               shown, NULL, &err),
                         VN_OK);
        assert_int_equal(vn_store_load_weights("run/follower/diffusion_pytorch_model.safetensors",
                                               w, follows, NULL, &err),
                         VN_OK);
        print_message("average %.7f %.7f of %.7f %.7f, follower %.7f %.7f of %.7f %.7f\n",
                      (double)shown[0], (double)shown[1], average[0], average[1],
                      (double)follows[0], (double)follows[1], f.value[0], f.value[1]);
        for (int i = 0; i < 2; i++) {
            /* the roundings of 12 updates */
            expect_small(fabs((double)shown[i] - average[i]), 4e-7);
            expect_small(fabs((double)follows[i] - f.value[i]), 4e-7);
        }
        assert_false(vn_is_dir("run/teacher"));
        job_close(&j);
    }
}

/* The log has the losses of parts beside the first. */
static void the_log_has_every_loss(void **state) {
    (void)state;
    job j;
    vn_err err = {0};
    size_t size;
    open_pull(&j, 1);
    job_create(&j);
    if (vn_train_run(&j.setup, NULL, &err)) fail_msg("%s", err.text);
    char *log = scratch_read("run/log.jsonl", &size);
    /* at first (0.5 - 1)^2 and (0.25 + 1)^2, their mean; in steps that it is not taken it stays */
    const char *line = strstr(log, "\"loss_follower\": 0.90625,");
    assert_non_null(line);
    assert_non_null(strstr(line + 1, "\"loss_follower\": 0.90625,"));
    free(log);
    job_close(&j);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void expect(job *j, vn_status status, const char *text) {
    vn_err err = {0};
    double bytes;
    assert_int_equal(vn_train_measure(&j->setup, &bytes, &err), status);
    if (!strstr(err.text, text)) fail_msg("%s", err.text);
}

static void what_cannot_be_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *objective, *text;
        vn_status status;
    } losses[] = {
        {"unknown", "the loss calls a part \"nobody\", and there is none", VN_BAD_ARGUMENT},
        {"no_average", "follower: no average of its weights is kept", VN_BAD_ARGUMENT},
        {"no_output", "model: has no output \"logits\"", VN_UNSUPPORTED},
    };
    for (size_t i = 0; i < VN_COUNT(losses); i++) {
        job j;
        open_pull(&j, 1);
        vn_objective_close(&j.objective);
        vn_err err = {0};
        const vn_objective_options o = {.table = &part_losses,
                                        .path = j.path,
                                        .prediction = &j.prediction,
                                        .objective = losses[i].objective,
                                        .null_label = -1};
        assert_int_equal(vn_objective_open(&o, &j.objective, &err), VN_OK);
        j.setup.objective = j.objective;
        expect(&j, losses[i].status, losses[i].text);
        job_close(&j);
    }
    job j;
    open_pull(&j, 1);
    const vn_train_part good[MAX_PARTS] = {j.part[0], j.part[1], j.part[2]};
    j.part[2].name = "teacher";
    expect(&j, VN_BAD_ARGUMENT, "two parts are called teacher");
    j.part[2].name = "model";
    expect(&j, VN_BAD_ARGUMENT, "two parts are called model");
    j.part[2].name = "state";
    expect(&j, VN_BAD_ARGUMENT, "a part cannot be called state");
    j.part[2].name = "../up";
    expect(&j, VN_BAD_ARGUMENT, "part 2 is called \"../up\"");
    j.part[2].name = "other";
    expect(&j, VN_BAD_ARGUMENT, "the objective trains a part follower, and there is none");
    j.part[2] = good[2];
    j.part[1].weights = NULL;
    expect(&j, VN_BAD_ARGUMENT, "teacher is frozen and has no file of weights");
    j.part[1] = good[1];
    j.part[0].frozen = true;
    expect(&j, VN_BAD_ARGUMENT, "the first part is what is trained");
    j.part[0] = good[0];
    j.setup.parts = 0;
    expect(&j, VN_BAD_ARGUMENT, "a training of 0 parts");
    j.setup.parts = 3;
    job_close(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_gradient_goes_to_an_average),
        cmocka_unit_test(parts_teacher_and_average_are_as_computed),
        cmocka_unit_test(the_log_has_every_loss),
        cmocka_unit_test(what_cannot_be_is_refused_by_name),
    };
    return run_under_each_kernel_set(tests, scratch_enter, scratch_leave);
}
