/* Autoencoders that are trained against a discriminator: every kind is, it begins at its step, a
 * run that stopped goes on to the same bits, as does one on other threads, and what has no effect
 * is refused. */
#include "api/support_context.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/bound.h"
#include "support/kernels.h"
#include "support/scratch.h"

static int enter(void **state) {
    context_enter(state);
    make_data("data", 60);
    return 0;
}

#define KL "autoencoder:kind=kl,channels=8,factor=2"

static vn_train_options options_of(const char *model, const char *objective, int64_t steps) {
    vn_train_options o = tiny_options(steps);
    o.model = model;
    o.objective = objective;
    o.batch = 8;
    o.lr = 5e-3;
    o.warmup = 2;
    o.ema = 0.9;
    o.microbatches = 2;
    o.log_every = 1;
    return o;
}

static void expect_same_part(const char *a, const char *b, const char *folder) {
    char one[128], other[128];
    snprintf(one, sizeof one, "%s/%s/diffusion_pytorch_model.safetensors", a, folder);
    snprintf(other, sizeof other, "%s/%s/diffusion_pytorch_model.safetensors", b, folder);
    expect_same_file(one, other);
}

/* A loss in the line of a step of the log; NaN: it has none. */
static double loss_of(const char *run, int step, const char *name) {
    char path[128], mark[32], key[32];
    size_t size;
    snprintf(path, sizeof path, "%s/log.jsonl", run);
    snprintf(mark, sizeof mark, "{\"step\": %d,", step);
    snprintf(key, sizeof key, "\"%s\": ", name);
    char *log = scratch_read(path, &size);
    const char *line = strstr(log, mark), *end = line ? strchr(line, '\n') : NULL,
               *at = line ? strstr(line, key) : NULL;
    assert_non_null(line);
    const double loss = at && at < end ? strtod(strchr(at, ':') + 1, NULL) : (double)NAN;
    free(log);
    return loss;
}

/* Until it begins the loss is that of a run without it; its own first one is that of hinges at
 * answers near 0, and training makes it less. */
static void it_begins_at_its_step_and_learns(void **state) {
    (void)state;
    static const struct {
        const char *model, *plain, *against, *folder;
    } kinds[] = {
        {KL, "vae", "vae:adversarial=1e-3,disc_start=5,disc_channels=8", "vae"},
        {"autoencoder:kind=tiny,channels=8,factor=2,latents=3", "reconstruction",
         "reconstruction:adversarial=1e-3,disc_start=5,disc_channels=8", "vae"},
        {"autoencoder:kind=vq,channels=8,factor=2,codes=16,latents=2", "vq-vae",
         "vq-vae:adversarial=1e-3,disc_start=5,disc_channels=8", "vqvae"},
        {"autoencoder:kind=fsq,channels=8,factor=2,codes=256", "reconstruction",
         "reconstruction:adversarial=1e-3,disc_start=5,disc_channels=8,disc_adaptive=no", "vqvae"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char plain[32], against[32];
        snprintf(plain, sizeof plain, "plain-%zu", i);
        snprintf(against, sizeof against, "against-%zu", i);
        vn_train_options o = options_of(kinds[i].model, kinds[i].plain, 6);
        expect_ok(vn, vn_train(vn, "data", plain, &o, NULL));
        o = options_of(kinds[i].model, kinds[i].against, 40);
        expect_ok(vn, vn_train(vn, "data", against, &o, NULL));
        assert_true(isnan(loss_of(against, 5, "loss_discriminator")));
        double least = (double)NAN;
        const double first = loss_of(against, 6, "loss_discriminator");
        for (int step = 7; step <= 40; step++)
            least = fmin(least, loss_of(against, step, "loss_discriminator"));
        print_message("%s: the discriminator's loss %.4f, at least %.4f\n", kinds[i].model, first,
                      least);
        assert_true(fabs(first - 1) < 0.1);
        assert_true(least < 0.9);
        for (int step = 1; step <= 5; step++)
            assert_true(loss_of(against, step, "loss") == loss_of(plain, step, "loss"));
        assert_true(loss_of(against, 6, "loss") != loss_of(plain, 6, "loss"));
    }
}

/* The same bits whether a run is stopped or not, and on another number of threads. */
static void a_resumed_run_ends_in_the_same_bits(void **state) {
    (void)state;
    const char *const objective = "vae:adversarial=0.5,disc_start=5,disc_channels=8";
    vn_train_options o = options_of(KL, objective, 10);
    expect_ok(vn, vn_train(vn, "data", "whole", &o, NULL));
    vn_train_options stopped = o, on = vn_train_options_default();
    stopped.steps = 7;
    on.resume = 1;
    on.steps = 10;
    expect_ok(vn, vn_train(vn, "data", "stopped", &stopped, NULL));
    expect_ok(vn, vn_train(vn, "data", "stopped", &on, NULL));
    expect_same_part("whole", "stopped", "vae");
    expect_same_part("whole", "stopped", "discriminator");
    vn_context_options threads = vn_context_options_default();
    vn_context *other = NULL;
    threads.cpu = kernels->name;
    threads.threads = 3;
    assert_int_equal(vn_context_open(&other, &threads), VN_OK);
    expect_ok(other, vn_train(other, "data", "threads", &o, NULL));
    vn_context_close(&other);
    expect_same_part("whole", "threads", "vae");
    expect_same_part("whole", "threads", "discriminator");
}

static void what_has_no_effect_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *model, *objective, *word;
    } cases[] = {
        {KL, "vae:disc_start=5", "disc_start has no effect without a weight"},
        {KL, "vae:disc_adaptive=no", "disc_adaptive has no effect without a weight"},
        {KL, "vae:adversarial=0.5",
         "begins at step 2000 (disc_start of the objective), and the "
         "run has 10"},
        {KL, "vae:adversarial=0.5,disc_start=1,disc_layers=4", "4 layers (disc_layers) leave"},
        {"unet2d:channels=8,levels=2", "cfm:adversarial=1", "adversarial"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const vn_train_options o = options_of(cases[i].model, cases[i].objective, 10);
        expect_refused(vn_train(vn, "data", "refused", &o, NULL), VN_BAD_ARGUMENT, cases[i].word);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_begins_at_its_step_and_learns),
        cmocka_unit_test(a_resumed_run_ends_in_the_same_bits),
        cmocka_unit_test(what_has_no_effect_is_refused),
    };
    return run_under_each_kernel_set(tests, enter, context_leave);
}
