#include "api/support_api.h"

#include <stdio.h>
#include <sys/stat.h>

#include "support/scratch.h"

static void put_u32(unsigned char *to, uint32_t x) {
    for (int i = 0; i < 4; i++) to[i] = (unsigned char)(x >> (24 - 8 * i));
}

void make_data(const char *folder, int count) {
    enum { SIDE = 8, MOST = 256 };
    static unsigned char images[16 + MOST * SIDE * SIDE], labels[8 + MOST];
    char path[256];
    assert_true(count <= MOST);
    put_u32(images, 0x803);
    put_u32(images + 4, (uint32_t)count);
    put_u32(images + 8, SIDE);
    put_u32(images + 12, SIDE);
    put_u32(labels, 0x801);
    put_u32(labels + 4, (uint32_t)count);
    for (int i = 0; i < count; i++) {
        labels[8 + i] = (unsigned char)(i % 2);
        for (int p = 0; p < SIDE * SIDE; p++) { /* class 0: upper half bright; class 1: left half */
            const bool bright = i % 2 ? p % SIDE < SIDE / 2 : p / SIDE < SIDE / 2;
            images[16 + i * SIDE * SIDE + p] = (unsigned char)(bright ? 200 + (i * 7 + p) % 50 : (i * 5 + p) % 40);
        }
    }
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s/train-images-idx3-ubyte", folder);
    scratch_write(path, images, 16 + (size_t)count * SIDE * SIDE);
    snprintf(path, sizeof path, "%s/train-labels-idx1-ubyte", folder);
    scratch_write(path, labels, 8 + (size_t)count);
}

void make_world(const char *file) {
    scratch_write_text(file, "{\"classes\": [{\"name\": \"a\", \"components\": [{\"weight\": 1, \"mean\": [-1, 0], "
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

void expect_ok(const vn_context *vn, vn_status status) {
    if (status != VN_OK) fail_msg("%s: %s", vn_status_name(status), vn_error_text(vn));
}
