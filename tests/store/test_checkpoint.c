/* Checkpoints: bit for bit what was saved, and always one that loads, wherever a kill, a full disk
 * or missing memory stopped the saving. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "store/support_network.h"
#include "support/alloc.h"
#include "support/mutate.h"

#define STATE "run/state/train.safetensors"
#define SHOWN "run/unet/diffusion_pytorch_model.safetensors"

static vn_weights *network, *smaller; /* of parts 0 and 1 */
static int parts;                     /* of a checkpoint, 1 or 2 */

static const char *const folders[] = {"unet", "adversary"};

static int open_all(void **state) {
    const vn_init init = {VN_INIT_ZEROS, 0};
    vn_graph *g;
    scratch_enter(state);
    network = open_network();
    assert_int_equal(vn_weights_open(&smaller, NULL), VN_OK);
    assert_int_equal(vn_graph_open(&g, NULL), VN_OK);
    vn_param_node(g, smaller, "linear.weight", VN_SHAPE(2, 2), VN_LAYOUT_PLAIN, init);
    vn_graph_close(&g);
    return 0;
}

static int close_all(void **state) {
    vn_weights_close(&network);
    vn_weights_close(&smaller);
    return scratch_leave(state);
}

static int fresh_run(void **state) {
    (void)state;
    scratch_remove("run");
    parts = 1;
    return vn_make_dirs("run/unet", NULL);
}

static int fresh_run_of_two(void **state) {
    const int failed = fresh_run(state);
    parts = 2;
    return failed ? failed : (int)vn_make_dirs("run/adversary", NULL);
}

/* What a training would hold after `step` steps: every number tells the step it is of. */
static vn_checkpoint checkpoint_at(int64_t step) {
    vn_checkpoint c = {.step = step,
                       .parts = parts,
                       .info = json_pack("{sI sf}", "images", (json_int_t)(step * 64), "loss",
                                         1.0 / 3 + (double)step)};
    for (int i = 0; i < parts; i++) {
        const vn_weights *w = i ? smaller : network;
        const float first = (float)(1000 * step + 100000 * i);
        c.part[i] = (vn_checkpoint_part){.folder = folders[i],
                                         .weights = w,
                                         .live = number_values(w, first + 0.1F),
                                         .average = number_values(w, first + 0.2F),
                                         .moment1 = number_values(w, first + 0.3F),
                                         .moment2 = number_values(w, first + 0.4F)};
    }
    return c;
}

static void free_checkpoint(vn_checkpoint *c) {
    for (int i = 0; i < c->parts; i++) {
        vn_free(c->part[i].live);
        vn_free(c->part[i].average);
        vn_free(c->part[i].moment1);
        vn_free(c->part[i].moment2);
    }
    json_decref(c->info);
}

/* A checkpoint to load into, full of something else. */
static vn_checkpoint empty_checkpoint(void) {
    vn_checkpoint c = checkpoint_at(77);
    json_decref(c.info);
    c.info = NULL;
    c.step = -5;
    return c;
}

static void assert_equal_checkpoints(const vn_checkpoint *a, const vn_checkpoint *b) {
    assert_int_equal(a->step, b->step);
    for (int i = 0; i < a->parts; i++) {
        const vn_checkpoint_part *p = &a->part[i], *q = &b->part[i];
        size_t bytes = vn_weights_floats(p->weights) * sizeof(float);
        assert_memory_equal(p->live, q->live, bytes);
        assert_memory_equal(p->moment1, q->moment1, bytes);
        assert_memory_equal(p->moment2, q->moment2, bytes);
        if (p->average) assert_memory_equal(p->average, q->average, bytes);
    }
    assert_true(json_equal(a->info, b->info));
}

/* The weights that people sample from are c's, of c's step. */
static void assert_shown(const vn_checkpoint *c) {
    for (int i = 0; i < c->parts; i++) {
        const vn_checkpoint_part *p = &c->part[i];
        int64_t step;
        float *shown = number_values(p->weights, 0);
        char *path = vn_store_weights_path("run", p->folder, NULL);
        assert_int_equal(vn_store_weights_step(path, &step, NULL), VN_OK);
        assert_int_equal(step, c->step);
        assert_int_equal(vn_store_load_weights(path, p->weights, shown, NULL, NULL), VN_OK);
        assert_memory_equal(shown, p->average ? p->average : p->live,
                            vn_weights_floats(p->weights) * sizeof *shown);
        vn_free(shown);
        vn_free(path);
    }
}

static void assert_loads(const vn_checkpoint *expected) {
    vn_checkpoint c = empty_checkpoint();
    vn_err err = {0};
    vn_status status = vn_store_load_checkpoint("run", &c, &err);
    if (status) print_error("%s\n", err.text);
    assert_int_equal(status, VN_OK);
    assert_equal_checkpoints(&c, expected);
    assert_shown(expected);
    free_checkpoint(&c);
}

/* ---- saving and loading ---------------------------------------------------------------------- */

static void checkpoints_come_back(void **state) {
    (void)state;
    assert_false(vn_store_has_checkpoint("run"));
    for (int64_t step = 0; step < 3; step++) {
        vn_checkpoint c = checkpoint_at(step);
        assert_int_equal(vn_store_save_checkpoint("run", &c, NULL), VN_OK);
        assert_true(vn_store_has_checkpoint("run"));
        assert_loads(&c);
        free_checkpoint(&c);
    }
}

static void the_average_may_be_absent(void **state) {
    (void)state;
    vn_checkpoint c = checkpoint_at(4), back = empty_checkpoint();
    vn_free(c.part[0].average);
    c.part[0].average = NULL;
    assert_int_equal(vn_store_save_checkpoint("run", &c, NULL), VN_OK);
    assert_shown(&c);
    vn_err err = {0};
    assert_int_equal(vn_store_load_checkpoint("run", &back, &err), VN_BAD_FILE);
    assert_string_equal(err.text, STATE ": tensor 'average.conv.weight' is missing");
    assert_null(back.info);
    vn_free(back.part[0].average);
    back.part[0].average = NULL;
    assert_int_equal(vn_store_load_checkpoint("run", &back, NULL), VN_OK);
    assert_equal_checkpoints(&back, &c);
    free_checkpoint(&c);
    free_checkpoint(&back);
}

static void weights_behind_the_state_are_repaired(void **state) {
    (void)state;
    vn_checkpoint old = checkpoint_at(1), new = checkpoint_at(2);
    assert_int_equal(vn_store_save_checkpoint("run", &new, NULL), VN_OK);
    const char *const damages[] = {"behind", "damaged", "missing"};
    for (size_t i = 0; i < VN_COUNT(damages); i++) {
        if (i == 0)
            assert_int_equal(
                vn_store_save_weights(SHOWN, network, old.part[0].average, old.step, NULL), VN_OK);
        if (i == 1) scratch_write_text(SHOWN, "damaged");
        if (i == 2) assert_int_equal(unlink(SHOWN), 0);
        assert_loads(&new);
    }
    free_checkpoint(&old);
    free_checkpoint(&new);
}

static void checkpoints_are_removed(void **state) {
    (void)state;
    vn_checkpoint c = checkpoint_at(1);
    assert_int_equal(vn_store_save_checkpoint("run", &c, NULL), VN_OK);
    assert_int_equal(vn_store_remove_checkpoint("run", &c, NULL), VN_OK);
    assert_false(vn_store_has_checkpoint("run") || vn_is_file(SHOWN));
    assert_int_equal(vn_store_remove_checkpoint("run", &c, NULL), VN_OK);
    free_checkpoint(&c);
}

static void other_files_are_no_states(void **state) {
    (void)state;
    vn_checkpoint c = checkpoint_at(1), back = empty_checkpoint();
    vn_err err = {0};
    assert_int_equal(vn_store_load_checkpoint("run", &back, &err), VN_IO);
    assert_string_equal(err.text, STATE ": No such file or directory");
    assert_int_equal(vn_make_dirs("run/state", NULL), VN_OK);
    assert_int_equal(vn_store_save_weights(STATE, network, c.part[0].live, 3, NULL), VN_OK);
    assert_int_equal(vn_store_load_checkpoint("run", &back, &err), VN_BAD_FILE);
    assert_string_equal(err.text, STATE ": tensor 'live.conv.weight' is missing");
    free_checkpoint(&c);
    free_checkpoint(&back);
}

/* ---- what can happen while saving ------------------------------------------------------------ */

/* The two calls that make a file last, interposed: the process is killed just before or just after
 * one of them. What comes between, test_file covers. */
static int calls_to_live = -1; /* < 0: for ever */

static void die_when_due(void) {
    if (calls_to_live >= 0 && calls_to_live-- == 0) raise(SIGKILL);
}

int fsync(int fd) {
    die_when_due();
    int failed = (int)syscall(SYS_fsync, fd);
    die_when_due();
    return failed;
}

int rename(const char *from, const char *to) {
    die_when_due();
    int failed = renameat(AT_FDCWD, from, AT_FDCWD, to);
    die_when_due();
    return failed;
}

/* Saves c in a child that dies after so many calls; false if it lived to the end. */
static bool save_and_die(const vn_checkpoint *c, int calls) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        calls_to_live = calls;
        _exit(vn_store_save_checkpoint("run", c, NULL) == VN_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) assert_int_equal(WEXITSTATUS(status), 0);
    return WIFSIGNALED(status);
}

static void a_kill_leaves_a_checkpoint(void **state) {
    (void)state;
    /* before and after: the file's fsync, its rename, the directory's fsync, of state, weights */
    const int total = 6 * (1 + parts);
    vn_checkpoint old = checkpoint_at(1), new = checkpoint_at(2);
    for (int calls = 0; calls <= total; calls++) {
        int64_t shown_step;
        float *shown = number_values(network, 0);
        vn_checkpoint c = empty_checkpoint();
        assert_int_equal(vn_store_save_checkpoint("run", &old, NULL), VN_OK);
        assert_int_equal(save_and_die(&new, calls), calls < total);
        assert_int_equal(vn_store_weights_step(SHOWN, &shown_step, NULL), VN_OK);
        assert_int_equal(shown_step, calls < 9 ? 1 : 2); /* whole before any repair */
        assert_int_equal(vn_store_load_weights(SHOWN, network, shown, NULL, NULL), VN_OK);
        assert_int_equal(vn_store_load_checkpoint("run", &c, NULL), VN_OK);
        assert_equal_checkpoints(&c, calls < 3 ? &old : &new);
        assert_shown(&c);
        vn_free(shown);
        free_checkpoint(&c);
    }
    assert_int_equal(vn_store_save_checkpoint("run", &new, NULL), VN_OK);
    vn_remove_stale("run/state");
    vn_remove_stale("run/unet");
    if (parts > 1) vn_remove_stale("run/adversary");
    const int rest = parts > 1 ? scratch_count("run/adversary") : 0;
    assert_int_equal(scratch_count("run/state") + scratch_count("run/unet") + rest,
                     1 + parts); /* what the killed left is known as such */
    free_checkpoint(&old);
    free_checkpoint(&new);
}

static void a_full_disk_leaves_the_checkpoint(void **state) {
    (void)state;
    vn_checkpoint old = checkpoint_at(1), new = checkpoint_at(2);
    assert_int_equal(vn_store_save_checkpoint("run", &old, NULL), VN_OK);
    size_t state_size, shown_size;
    free(scratch_read(STATE, &state_size));
    free(scratch_read(SHOWN, &shown_size));
    signal(SIGXFSZ, SIG_IGN);
    for (size_t room = 0; room < state_size; room += 97) {
        struct rlimit limit, kept;
        getrlimit(RLIMIT_FSIZE, &kept);
        limit = kept;
        limit.rlim_cur = room;
        vn_err err = {0};
        setrlimit(RLIMIT_FSIZE, &limit);
        vn_status status = vn_store_save_checkpoint("run", &new, &err);
        setrlimit(RLIMIT_FSIZE, &kept);
        assert_int_equal(status, VN_IO);
        assert_non_null(strstr(err.text, "train.safetensors: cannot be written: File too large"));
        assert_loads(&old);
        assert_int_equal(scratch_count("run/state"), 1);
        assert_int_equal(scratch_count("run/unet"), 1);
    }
    free_checkpoint(&old);
    free_checkpoint(&new);
}

static void failed_allocations_leave_a_checkpoint(void **state) {
    (void)state;
    vn_checkpoint old = checkpoint_at(1), new = checkpoint_at(2);
    assert_int_equal(vn_store_save_checkpoint("run", &old, NULL), VN_OK);
    for (alloc_turn t = {.recovers = true}; alloc_next(&t);) {
        alloc_hit(&t, vn_store_save_checkpoint("run", &new, NULL));
        vn_checkpoint c = empty_checkpoint();
        assert_int_equal(vn_store_load_checkpoint("run", &c, NULL), VN_OK);
        assert_equal_checkpoints(&c, c.step == 1 ? &old : &new);
        assert_shown(&c);
        free_checkpoint(&c);
        assert_int_equal(vn_store_save_checkpoint("run", &old, NULL), VN_OK);
    }
    free_checkpoint(&old);
    free_checkpoint(&new);
}

/* Weights to show that loading must repair. */
static vn_status save_older(const vn_checkpoint *old) {
    return vn_store_save_weights(SHOWN, network, old->part[0].average, old->step, NULL);
}

static void failed_allocations_do_not_hurt_loading(void **state) {
    (void)state;
    vn_checkpoint old = checkpoint_at(1), new = checkpoint_at(2), c = empty_checkpoint();
    assert_int_equal(vn_store_save_checkpoint("run", &new, NULL), VN_OK);
    assert_int_equal(save_older(&old), VN_OK);
    for (alloc_turn t = {.recovers = true}; alloc_next(&t);) {
        vn_status status = vn_store_load_checkpoint("run", &c, NULL);
        alloc_hit(&t, status);
        if (!status) assert_equal_checkpoints(&c, &new);
        json_decref(c.info);
        c.info = NULL;
        assert_int_equal(save_older(&old), VN_OK);
    }
    free_checkpoint(&old);
    free_checkpoint(&new);
    free_checkpoint(&c);
}

static void check_damaged(const char *path) {
    vn_checkpoint c = empty_checkpoint();
    vn_err err = {0};
    vn_status status = vn_store_load_checkpoint("run", &c, &err);
    assert_true(!status || status == VN_BAD_FILE || status == VN_UNSUPPORTED);
    if (status) assert_memory_equal(err.text, path, strlen(path));
    if (status) assert_null(c.info);
    free_checkpoint(&c);
}

static void damaged_states_are_refused_or_whole(void **state) {
    (void)state;
    vn_checkpoint c = checkpoint_at(1);
    assert_int_equal(vn_store_save_checkpoint("run", &c, NULL), VN_OK);
    assert_int_equal(rename(STATE, "valid"), 0);
    mutate_each("valid", STATE, 1000, check_damaged);
    mutate_truncations("valid", STATE, check_damaged);
    free_checkpoint(&c);
}

/* The state's tensors are told apart by the part's folder, but for the first's. */
static void names_of_a_second_part_say_its_folder(void **state) {
    (void)state;
    vn_checkpoint c = checkpoint_at(3);
    vn_safetensors *st;
    assert_int_equal(vn_store_save_checkpoint("run", &c, NULL), VN_OK);
    assert_int_equal(vn_safetensors_open(STATE, &st, NULL), VN_OK);
    assert_int_equal(vn_safetensors_count(st), 4 * (3 + 1));
    assert_non_null(vn_safetensors_find(st, "live.linear.weight"));
    assert_non_null(vn_safetensors_find(st, "moment2.conv.weight"));
    assert_non_null(vn_safetensors_find(st, "adversary/live.linear.weight"));
    assert_non_null(vn_safetensors_find(st, "adversary/average.linear.weight"));
    vn_safetensors_close(&st);
    /* it is not one network's state, nor the other way round */
    vn_checkpoint one = empty_checkpoint();
    one.parts = 1;
    assert_int_equal(vn_store_load_checkpoint("run", &one, NULL), VN_BAD_FILE);
    one.parts = 2;
    free_checkpoint(&one);
    free_checkpoint(&c);
}

#define EACH(test)        cmocka_unit_test_setup(test, fresh_run)
#define EACH_OF_TWO(test) cmocka_unit_test_setup(test, fresh_run_of_two)

int main(void) {
    const struct CMUnitTest tests[] = {
        EACH(checkpoints_come_back),
        EACH(the_average_may_be_absent),
        EACH(weights_behind_the_state_are_repaired),
        EACH(checkpoints_are_removed),
        EACH(other_files_are_no_states),
        EACH(a_kill_leaves_a_checkpoint),
        EACH(a_full_disk_leaves_the_checkpoint),
        EACH(failed_allocations_leave_a_checkpoint),
        EACH(failed_allocations_do_not_hurt_loading),
        EACH(damaged_states_are_refused_or_whole),
        EACH_OF_TWO(checkpoints_come_back),
        EACH_OF_TWO(checkpoints_are_removed),
        EACH_OF_TWO(a_kill_leaves_a_checkpoint),
        EACH_OF_TWO(failed_allocations_leave_a_checkpoint),
        EACH_OF_TWO(damaged_states_are_refused_or_whole),
        EACH_OF_TWO(names_of_a_second_part_say_its_folder),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
