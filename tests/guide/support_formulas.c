/* support_formulas.c - see support_formulas.h. */
#include "support_formulas.h"

const char formulas_world[] =
    "{\"classes\": [{\"components\": [{\"mean\": [-1, 0.4, 0], \"std\": 0.5}, {\"mean\": [1, 1, "
    "0], \"std\": 0.2}]},"
    " {\"components\": [{\"mean\": [1.1, 0.9, -0.3], \"std\": 0.3}]}, {\"components\": [{\"mean\": "
    "[0, 0, 1], \"std\": "
    "0.6}]}],"
    " \"weak\": {\"classes\": [{\"components\": [{\"mean\": [0, 0, 0], \"std\": 1}]},"
    "   {\"components\": [{\"mean\": [1, 1, 0], \"std\": 1}]}, {\"components\": [{\"mean\": [0, 1, "
    "1], \"std\": "
    "1}]}]}}";

static bench exact;
vn_path *path;
vn_denoiser denoiser;
vn_level level, next;
float x[F];
const int32_t labels[N] = {0, 1, 2, VN_CONDITION_NULL, 0, 1};
const int32_t none[N] = {-1, -1, -1, -1, -1, -1};

int set_up(void **state) {
    (void)state;
    exact = bench_open(formulas_world, "vp", "v");
    path = exact.path;
    denoiser = exact.denoiser;
    level = vn_path_level(path, 0.5);
    next = vn_path_level(path, 0.4);
    for (int i = 0; i < N; i++) vn_random_normal(x + i * D, D, 3, VN_STREAM_TEST, (uint64_t)i, 0);
    return 0;
}

int tear_down(void **state) {
    (void)state;
    bench_close(&exact);
    return 0;
}

vn_estimate pair_of(rows *r) {
    return (vn_estimate){r->x0, r->eps};
}

double run(const char *list, double gamma, rows *out) {
    return guided(list, gamma, &denoiser, N, labels, x, &level, &next, pair_of(out));
}

rows ask_at(vn_network network, const int32_t *condition, const float *at, const vn_level *l) {
    rows r;
    unguided(&denoiser, (vn_query){.n = N, .network = network, .x = at, .condition = condition}, l,
             pair_of(&r));
    return r;
}

rows ask(const int32_t *condition) {
    return ask_at(VN_NETWORK_MAIN, condition, x, &level);
}

rows ask_class(int32_t label) {
    int32_t condition[N];
    for (int i = 0; i < N; i++)
        condition[i] = labels[i] == VN_CONDITION_NULL ? VN_CONDITION_NULL : label;
    return ask(condition);
}

void same_rows(const char *what, const rows *got, const rows *want) {
    near(what, F, got->x0, want->x0, TOLERANCE);
    near(what, F, got->eps, want->eps, TOLERANCE);
}

void consistent(const char *what, const rows *r) {
    float back[F];
    for (int i = 0; i < F; i++)
        back[i] = (float)level.alpha * r->x0[i] + (float)level.sigma * r->eps[i];
    near(what, F, back, x, TOLERANCE);
}

rows mix(const rows *a, const rows *b, double w) {
    rows r;
    for (int i = 0; i < F; i++) {
        r.x0[i] = (float)((double)a->x0[i] + w * ((double)b->x0[i] - (double)a->x0[i]));
        r.eps[i] = (float)((double)a->eps[i] + w * ((double)b->eps[i] - (double)a->eps[i]));
    }
    return r;
}
