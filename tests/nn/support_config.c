#include "support_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "support/mutate.h"

vn_status open_text(const char *config, vn_net **net, vn_err *err) {
    json_error_t where;
    json_t *json = json_loads(config, 0, &where);
    if (!json) fail_msg("%s: %s", config, where.text);
    *net = NULL;
    vn_status status = vn_net_open(json, net, err);
    json_decref(json);
    return status;
}

vn_net *must_open(const char *config) {
    vn_err err = {0};
    vn_net *net = NULL;
    if (open_text(config, &net, &err) != VN_OK) fail_msg("%s", err.text);
    return net;
}

static int opened; /* how many damaged configs were still good */

static void open_damaged(const char *path) {
    json_t *config = json_load_file(path, 0, NULL);
    if (!config) return;
    vn_err err = {0};
    vn_net *net = NULL;
    vn_status status = vn_net_open(config, &net, &err);
    if (!status)
        opened++;
    else
        assert_true(err.text[0] && !net);
    vn_net_close(&net);
    json_decref(config);
}

void damaged_configs(const char *config) {
    scratch_write_text("config.json", config);
    opened = 0;
    mutate_each("config.json", "damaged.json", 1000, open_damaged);
    assert_true(opened > 0 && opened < 1000);
}
