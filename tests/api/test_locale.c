/* test_locale.c - a program that has called setlocale(LC_ALL, "de_DE.UTF-8"), where one and a half
 * is "1,5": all that the library writes, says and reads is the same as in the C locale, byte for
 * byte, and the program's own printing stays as it chose. Both are computed
 * under the same kernel set, whichever it is; the best one is used. */
#include "api/support_api.h"
#include "support/scratch.h"

#include <locale.h>
#include <time.h>

#define COMMA "de_DE.UTF-8"

/* ---- a clock that only the test moves: files say how long things took ------------------------ */

static double seconds = 1000;

int clock_gettime(clockid_t clock, struct timespec *t) {
    (void)clock;
    t->tv_sec = (time_t)seconds;
    t->tv_nsec = (long)((seconds - (double)t->tv_sec) * 1e9);
    return 0;
}

/* ---- what the library says ------------------------------------------------------------------- */

static FILE *said;
static const char *point; /* that of the program's locale */

static void keep(const char *what, const char *text) {
    fputs(what, said);
    fputs(": ", said);
    fputs(text, said);
    fputs("\n", said);
}

static void on_log(void *user, vn_log_level level, const char *text) {
    (void)user, (void)level;
    keep("log", text);
}

/* Callbacks are the program's: they see its locale. */
static int on_progress(void *user, const vn_progress *p) {
    (void)user, (void)p;
    seconds += 0.0625;
    char text[8];
    snprintf(text, sizeof text, "%.1f", 1.5);
    assert_true(text[1] == *point);
    return 0;
}

static void refused(vn_context *vn, vn_status status) {
    assert_int_not_equal(status, VN_OK);
    keep(vn_status_name(status), vn_error_text(vn));
}

static void describe(vn_context *vn, const char *path) {
    char *json = NULL;
    expect_ok(vn, vn_describe(vn, path, &json));
    keep(path, json);
    vn_text_free(&json);
}

/* ---- the interface, from data to files ------------------------------------------------------- */

static const char world[] =
    "{\"classes\": [{\"name\": \"a\", \"components\": [{\"weight\": 0.25, \"mean\": [-1.5, 0.125], "
    "\"std\": 0.3}]}, {\"name\": \"b\", \"components\": [{\"weight\": 7.5e-1, \"mean\": [1.25, "
    "0.5], "
    "\"cov\": [[0.1, 0.02], [0.02, 0.2]]}]}], \"class_weights\": [0.4, 0.6]}";

static void train(vn_context *vn) {
    make_data("data", 24);
    vn_train_options o = tiny_options(6);
    o.path = "edm:sigma_min=0.0025,sigma_max=77.5";
    o.predict = "edm:sigma_data=0.45";
    o.times = "edm:mean=-1.1,std=1.25";
    o.drop = 0.15;
    o.lr = 1.5e-3;
    o.log_every = 1;
    o.preview_every = 3;
    expect_ok(vn, vn_train(vn, "data", "run", &o, NULL));
    o.steps = 9;
    o.resume = 1;
    expect_ok(vn, vn_train(vn, "data", "run", &o, NULL));
    o.lr = 2.5e-3;
    o.steps = 12;
    refused(vn, vn_train(vn, "data", "run", &o, NULL));
    o = tiny_options(4);
    o.path = "ddpm:linear,beta_start=0.00015,beta_end=0.025";
    expect_ok(vn, vn_train(vn, "data", "discrete", &o, NULL));
}

static void sample(vn_context *vn, const char *source, const char *const *files) {
    vn_model *model = NULL;
    vn_samples *out = NULL;
    expect_ok(vn, vn_model_open(vn, source, &model));
    vn_sample_options o = vn_sample_options_default();
    o.count = 4;
    o.steps = 3;
    o.guidance = 1.5;
    o.guide = "interval:lo=0.05,hi=12.5,rescale:phi=0.7";
    expect_ok(vn, vn_sample(model, &o, &out));
    for (; *files; files++) expect_ok(vn, vn_samples_save(out, *files));
    vn_samples_close(&out);
    o.guide = "interval:lo=2.5,hi=0.5";
    refused(vn, vn_sample(model, &o, &out));
    o.guide = NULL;
    o.steps = 0;
    o.sigmas = (double[]){0.5, 0.75, 0};
    o.sigma_count = 3;
    refused(vn, vn_sample(model, &o, &out));
    vn_model_close(&model);
}

static void measure(vn_context *vn, const char *source, const char *data) {
    vn_model *model = NULL;
    vn_eval_result result = vn_eval_result_default();
    expect_ok(vn, vn_model_open(vn, source, &model));
    vn_eval_options o = vn_eval_options_default();
    vn_likelihood_settings likelihood = vn_likelihood_settings_default();
    o.metric = "nll";
    o.data = data;
    o.count = 2;
    likelihood.rtol = likelihood.atol = 1e-2;
    likelihood.probes = 1;
    o.likelihood = &likelihood;
    expect_ok(vn, vn_eval(model, &o, &result));
    for (size_t i = 0; i < result.measures; i++)
        fwrite(&result.measure[i].value, sizeof(double), 1, said);
    likelihood.rtol = 0.5;
    refused(vn, vn_eval(model, &o, &result));
    vn_model_close(&model);
}

/* All of it in the folder, in the locale that is set. */
static void use_everything(const char *folder) {
    assert_int_equal(mkdir(folder, 0777), 0);
    assert_int_equal(chdir(folder), 0);
    said = fopen("said.txt", "w");
    assert_non_null(said);
    seconds = 1000;
    point = localeconv()->decimal_point;
    vn_context *vn = NULL;
    vn_context_options o = {
        .struct_size = sizeof o, .threads = 1, .log = on_log, .progress = on_progress};
    assert_int_equal(vn_context_open(&vn, &o), VN_OK);
    train(vn);
    scratch_write_text("world.json", world);
    sample(vn, "run", (const char *[]){"run.png", "run.safetensors", "run.npy", "pictures", NULL});
    sample(vn, "discrete", (const char *[]){"discrete.safetensors", NULL});
    sample(vn, "world.json", (const char *[]){"world.png", "world.safetensors", NULL});
    measure(vn, "run", "data");
    measure(vn, "world.json", "world.json");
    describe(vn, "run");
    describe(vn, "run/unet");
    describe(vn, "run.png");
    describe(vn, "run.safetensors");
    describe(vn, "world.json");
    refused(vn, vn_describe(vn, "nothing", &(char *){NULL}));
    vn_context_close(&vn);
    assert_int_equal(fclose(said), 0);
    assert_int_equal(chdir(".."), 0);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static int compared;

static void expect_same_folders(const char *a, const char *b) {
    assert_int_equal(scratch_count(a), scratch_count(b));
    DIR *d = opendir(a);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char one[600], other[600];
        struct stat info;
        if (e->d_name[0] == '.') continue;
        snprintf(one, sizeof one, "%s/%s", a, e->d_name);
        snprintf(other, sizeof other, "%s/%s", b, e->d_name);
        assert_int_equal(stat(one, &info), 0);
        if (S_ISDIR(info.st_mode))
            expect_same_folders(one, other);
        else
            expect_same_file(one, other), compared++;
    }
    closedir(d);
}

/* The locale, made here where the system has none: its sources are in Debian's `locales`. */
static bool set_comma(void) {
    if (setlocale(LC_ALL, COMMA)) return true;
    if (system("mkdir -p locales && localedef -i de_DE -f UTF-8 locales/" COMMA
               " >locales/log 2>&1"))
        return false;
    return setenv("LOCPATH", "locales", 1) == 0 && setlocale(LC_ALL, COMMA);
}

static void files_and_words_are_those_of_the_c_locale(void **state) {
    (void)state;
    use_everything("point");
    if (!set_comma()) {
        if (getenv("VANE_TEST_COMMA"))
            fail_msg("the locale " COMMA " cannot be made; VANE_TEST_COMMA asks for it");
        print_message("skipped: no locale " COMMA
                      ", and localedef cannot make it (Debian's package is `locales`)\n");
        skip();
    }
    assert_string_equal(localeconv()->decimal_point, ",");
    use_everything("comma");
    assert_string_equal(setlocale(LC_ALL, NULL), COMMA); /* the program's choice stays */
    setlocale(LC_ALL, "C");
    expect_same_folders("point", "comma");
    assert_true(compared > 25);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_and_words_are_those_of_the_c_locale, scratch_enter,
                                        scratch_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
