/* test_parts_resumed.c - two networks that are trained against each other beside a frozen one:
 * killed at any step, on another device, or by several ranks, the training ends in the same
 * bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/wait.h>

#include "support/guarded.h"
#include "support/kernels.h"
#include "support/scratch.h"
#include "train/support_parts.h"
#include "train/support_ranks.h"

/* ---- a kill at any step ---------------------------------------------------------------------- */

static const char generator_text[] =
    "{\"_class_name\": \"VaneMLP\", \"dimension\": 2, \"width\": 16, \"layers\": 2, "
    "\"time_features\": 8, \"num_class_embeds\": 3, \"dropout\": 0.3}";
static const char critic_text[] =
    "{\"_class_name\": \"VaneMLP\", \"dimension\": 2, \"width\": 8, \"layers\": 1, "
    "\"time_features\": 4, \"dropout\": 0.2}";

/* A model directory for the teacher, of a network like the generator's. */
static void make_teacher(void) {
    vn_err err = {0};
    vn_net *net = open_net(NULL, generator_text);
    const vn_train_part part = {.net = net};
    const vn_model_parts parts = {
        .pipeline = "DDPMPipeline", .folder = "model", .config = vn_net_config(net)};
    vn_status status = vn_store_save_model("taught", &parts, &err);
    if (!status) status = vn_train_create("taught", 1, &part, false, 77, &err);
    if (status) fail_msg("%s", err.text);
    vn_net_close(&net);
}

static const char unet_text[] =
    "{\"_class_name\": \"UNet2DModel\", \"sample_size\": 8, \"in_channels\": 1, "
    "\"out_channels\": 1, \"block_out_channels\": [8, 16], \"layers_per_block\": 1, "
    "\"down_block_types\": [\"DownBlock2D\", \"AttnDownBlock2D\"], "
    "\"up_block_types\": [\"AttnUpBlock2D\", \"UpBlock2D\"], \"norm_num_groups\": 4, "
    "\"dropout\": 0.1, \"num_class_embeds\": 3}";
static const char judge_text[] =
    "{\"_class_name\": \"VaneClassifier\", \"in_channels\": 1, \"num_classes\": 1, "
    "\"block_out_channels\": [8, 8], \"layers_per_block\": 1, \"norm_num_groups\": 4, "
    "\"attention_levels\": 0, \"dropout\": 0.2}";

static bool on_images;
static vn_choice muon; /* of the U-Net and the judge, and of the critic beside AdamW */

static void open_generator(job *j, int64_t microbatches) {
    vn_err err = {0};
    assert_int_equal(vn_choice_parse("muon", &vn_optimizers, &muon, &err), VN_OK);
    if (on_images) {
        job_open(j, "images", 2, microbatches);
        j->part[0] = (vn_train_part){.net = open_net(NULL, unet_text), .optimizer = &muon};
        j->part[1] =
            (vn_train_part){.name = "judge", .net = open_net(NULL, judge_text), .optimizer = &muon};
        j->setup.parts = 2;
        j->setup.batch = 8;
        j->setup.lr = 0.01;
        j->setup.save_every = 3;
        return;
    }
    if (!vn_is_dir("taught")) make_teacher();
    job_open(j, "generator", 2, microbatches);
    j->part[0] = (vn_train_part){.net = open_net(NULL, generator_text)};
    j->part[1] = (vn_train_part){
        .name = "critic", .net = open_net(NULL, critic_text), .lr = 2, .optimizer = &muon};
    if (vn_train_open_frozen("taught", "teacher", &j->part[2], &err)) fail_msg("%s", err.text);
    j->setup.parts = 3;
    j->setup.lr = 0.01;
    j->setup.save_every = 3;
}

static char *state_of(size_t *size) {
    return scratch_read("run/state/train.safetensors", size);
}

/* Whether two states have the same numbers; what they say of seconds is another each time. */
static void assert_same_state(const char *a, size_t size_a, const char *b, size_t size_b) {
    uint64_t head_a, head_b;
    memcpy(&head_a, a, sizeof head_a);
    memcpy(&head_b, b, sizeof head_b);
    const char *numbers_a = a + 8 + head_a, *numbers_b = b + 8 + head_b;
    const size_t n = size_a - 8 - head_a;
    assert_int_equal(n, size_b - 8 - head_b);
    assert_true(n > 4096);
    assert_memory_equal(numbers_a, numbers_b, n);
}

static int dies_at;

static int die(void *user, const vn_progress *p) {
    (void)user;
    if (p->done >= (int64_t)dies_at * (on_images ? 8 : 32)) _exit(9);
    return 0;
}

/* In a process that dies after so many steps, without a word. */
static void train_and_die(int64_t microbatches, int steps) {
    int status = 0;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        job j;
        vn_err err = {0};
        dies_at = steps;
        open_generator(&j, microbatches);
        j.watch.progress = die;
        _exit(vn_train_run(&j.setup, NULL, &err) ? 1 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 9);
}

static vn_status agree_of_one(void *self, int64_t *least, vn_err *err) {
    (void)self, (void)least, (void)err;
    return VN_OK;
}

/* row NULL: on the CPU; else on such a device, as one rank of one. */
static char *train_generator(int64_t microbatches, const vn_device_row *row, size_t *size) {
    job j;
    vn_err err = {0};
    vn_trained result;
    const vn_ranks ranks = {.count = 1, .agree = agree_of_one};
    open_generator(&j, microbatches);
    if (row) {
        vn_device_close(&j.device);
        assert_int_equal(vn_device_open(row, NULL, NULL, &j.device, &err), VN_OK);
        j.setup.ranks = &ranks;
    }
    if (vn_train_run(&j.setup, &result, &err)) fail_msg("%s", err.text);
    assert_int_equal(result.step, STEPS);
    job_close(&j);
    return state_of(size);
}

static void create_generator(int64_t microbatches) {
    job j;
    open_generator(&j, microbatches);
    job_create(&j);
    job_close(&j);
}

static void a_killed_training_ends_in_the_same_bits(void **state) {
    (void)state;
    static const int kills[] = {1, 4, 5, 9, 11};
    for (int64_t microbatches = 1; microbatches <= 4; microbatches *= 4) {
        size_t size, other;
        create_generator(microbatches);
        char *whole = train_generator(microbatches, NULL, &size);
        for (size_t i = 0; i < VN_COUNT(kills); i++) {
            create_generator(microbatches);
            train_and_die(microbatches, kills[i]);
            char *resumed = train_generator(microbatches, NULL, &other);
            assert_same_state(whole, size, resumed, other);
            free(resumed);
        }
        /* twice in a run */
        create_generator(microbatches);
        train_and_die(microbatches, 4);
        train_and_die(microbatches, 10);
        char *resumed = train_generator(microbatches, NULL, &other);
        assert_same_state(whole, size, resumed, other);
        free(resumed);
        free(whole);
    }
}

/* A U-Net and a classifier of images half as large. */
static void so_it_does_on_images(void **state) {
    (void)state;
    size_t size, other;
    on_images = true;
    create_generator(2);
    char *whole = train_generator(2, NULL, &size);
    create_generator(2);
    train_and_die(2, 5);
    char *resumed = train_generator(2, NULL, &other);
    assert_same_state(whole, size, resumed, other);
    on_images = false;
    free(resumed);
    free(whole);
}

static void another_device_has_the_same_bits(void **state) {
    (void)state;
    const vn_device_row row = guarded_row(kernels, 0, NULL);
    size_t size, other;
    create_generator(2);
    char *here = train_generator(2, NULL, &size);
    create_generator(2);
    char *there = train_generator(2, &row, &other);
    assert_same_state(here, size, there, other);
    free(here);
    free(there);
}

/* One process of a training. */
static vn_status train_as(void *microbatches, const vn_ranks *r) {
    job j;
    vn_err err = {0};
    open_generator(&j, *(const int64_t *)microbatches);
    j.setup.ranks = r;
    const vn_status status = vn_train_run(&j.setup, NULL, &err);
    job_close(&j);
    return status;
}

/* Ranks 1, 2, .. up to `most` against one process alone, in as many microbatches. */
static void check_ranks(int most, int64_t microbatches) {
    size_t size, other;
    create_generator(microbatches);
    char *alone = train_generator(microbatches, NULL, &size);
    for (int ranks = 1; ranks <= most; ranks *= 2) {
        create_generator(microbatches);
        train_by_ranks(ranks, train_as, &microbatches);
        char *together = state_of(&other);
        assert_same_state(alone, size, together, other);
        free(together);
    }
    free(alone);
}

/* Losses of both parts, of which the critic's is taken in each second step, are added over the
 * ranks as their gradients are; the frozen teacher is every rank's own. */
static void several_ranks_have_the_same_bits(void **state) {
    (void)state;
    check_ranks(MAX_RANKS, 4);
    check_ranks(2, 8);
    on_images = true;
    check_ranks(2, 2);
    on_images = false;
}

/* The first part was Muon's, or the second; or neither is now. */
static void another_optimizer_is_refused(void **state) {
    (void)state;
    for (int part = 0; part < 2; part++) {
        job j;
        vn_err err = {0};
        on_images = true;
        create_generator(1);
        open_generator(&j, 1);
        j.part[part].optimizer = NULL;
        assert_int_equal(vn_train_run(&j.setup, NULL, &err), VN_BAD_ARGUMENT);
        assert_non_null(strstr(err.text,
                               "run/state/train.safetensors: is a training by muon, which "
                               "adamw cannot go on with"));
        on_images = false;
        job_close(&j);
    }
}

/* Each part's folder is a network's, and what trains is what is in it. */
static void each_part_has_a_folder(void **state) {
    (void)state;
    static const char *const folders[] = {"run/model", "run/critic"};
    size_t size, first;
    create_generator(1);
    char *before = scratch_read("run/critic/diffusion_pytorch_model.safetensors", &first);
    free(train_generator(1, NULL, &size));
    char *after = scratch_read("run/critic/diffusion_pytorch_model.safetensors", &size);
    assert_true(size != first || memcmp(before, after, size) != 0);
    free(before);
    free(after);
    for (size_t i = 0; i < VN_COUNT(folders); i++) {
        vn_model_dir d;
        vn_net *net;
        vn_err err = {0};
        const char *weights;
        if (vn_model_dir_open(folders[i], &d, &err)) fail_msg("%s", err.text);
        assert_int_equal(vn_net_open(d.config, &net, &err), VN_OK);
        assert_int_equal(vn_model_dir_weights(&d, &weights, &err), VN_OK);
        float *values = vn_alloc(vn_weights_floats(vn_net_weights(net)), sizeof *values);
        assert_int_equal(vn_store_load_weights(weights, vn_net_weights(net), values, NULL, &err),
                         VN_OK);
        vn_free(values);
        vn_net_close(&net);
        vn_model_dir_close(&d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_training_ends_in_the_same_bits),
        cmocka_unit_test(so_it_does_on_images),
        cmocka_unit_test(another_device_has_the_same_bits),
        cmocka_unit_test(several_ranks_have_the_same_bits),
        cmocka_unit_test(another_optimizer_is_refused),
        cmocka_unit_test(each_part_has_a_folder),
    };
    return run_under_each_kernel_set(tests, scratch_enter, scratch_leave);
}
