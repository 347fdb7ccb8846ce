#include "api/support_api.h"

#include <stdio.h>
#include <sys/stat.h>

#include "support/idx.h"
#include "support/kernels.h"

void make_data(const char *folder, int count) {
    enum { SIDE = 8, MAX_COUNT = 256 };
    static unsigned char images[MAX_COUNT * SIDE * SIDE], labels[MAX_COUNT];
    char prefix[256];
    assert_true(count <= MAX_COUNT);
    for (int i = 0; i < count; i++) {
        labels[i] = (unsigned char)(i % 2);
        for (int p = 0; p < SIDE * SIDE; p++) { /* class 0: upper half bright; class 1: left half */
            const bool bright = i % 2 ? p % SIDE < SIDE / 2 : p / SIDE < SIDE / 2;
            images[i * SIDE * SIDE + p] =
                (unsigned char)(bright ? 200 + (i * 7 + p) % 50 : (i * 5 + p) % 40);
        }
    }
    mkdir(folder, 0777);
    snprintf(prefix, sizeof prefix, "%s/train", folder);
    idx_write(prefix, "", (int[]){count, SIDE, SIDE}, images, labels, scratch_write);
}

void make_world(const char *file) {
    scratch_write_text(
        file,
        "{\"classes\": [{\"name\": \"a\", \"components\": [{\"weight\": 1, \"mean\": [-1, 0], "
        "\"std\": 0.3}]}, {\"name\": \"b\", \"components\": [{\"weight\": 1, \"mean\": [1, 0.5], "
        "\"cov\": [[0.1, 0.02], [0.02, 0.2]]}]}], \"class_weights\": [0.5, 0.5]}");
}

vn_train_options tiny_options(int64_t steps) {
    vn_train_options o = vn_train_options_default();
    o.model = "unet2d:channels=8,levels=2";
    o.batch = 6;
    o.steps = steps;
    o.validate = 0.2;
    o.preview_every = -1;
    o.save_every = 1000;
    o.log_every = 1000;
    return o;
}

vn_status open_tested(vn_context **vn) {
    vn_context_options o = vn_context_options_default();
    o.cpu = kernels->name;
    return vn_context_open(vn, &o);
}

void expect_ok(const vn_context *vn, vn_status status) {
    if (status) fail_msg("%s: %s", vn_status_name(status), vn_error_text(vn));
}
