#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "nn/internal.h"
#include "support/kernels.h"
#include "support/scratch.h"
#include "train/support_parts.h"

enum { IMAGES = 80 };

/* ---- a network that is a product: y = a x, a [2] --------------------------------------------- */

static vn_status open_product(const json_t *config, void **self, vn_net_io *io, vn_err *err) {
    (void)config, (void)err;
    *io = (vn_net_io){.multiple = 1};
    vn_net_add_sample(io, false, 2);
    vn_net_add_time(io, 0);
    vn_net_add_denoised(io, 2);
    *self = NULL;
    return VN_OK;
}

static void build_product(const void *self, const vn_scope *s) {
    (void)self;
    vn_node *a =
        vn_param_node(s->g, s->w, "a", VN_SHAPE(2), VN_LAYOUT_PLAIN, (vn_init){VN_INIT_UNIFORM, 1});
    vn_scope_denoised(s, vn_mul(s->g, vn_scope_input(s, "sample"), a));
}

static const vn_net_row product_row = {
    .row = {.name = "product"},
    .role = VN_ROLE_DENOISER,
    .class_name = "TestProduct",
    .folder = "model",
    .open = open_product,
    .close = vn_free,
    .build = build_product,
};

/* ---- losses ---------------------------------------------------------------------------------- */

static vn_node *square(vn_graph *g, vn_node *a, vn_node *b) {
    return vn_mean(g, vn_unary(g, vn_sub(g, a, b), VN_FN_SQUARE));
}

/* |a x - avg(a) x|^2: without stopping a gradient, none goes to the average. */
static vn_node *loss_to_average(const vn_choice *c, vn_loss *l) {
    (void)c;
    return square(l->g, vn_loss_output(l), l->network(l->self, &(vn_loss_call){.average = true}));
}

/* Of ones, which a network answers with its a: |a - avg(a)/2 - teacher/2|^2. */
static vn_node *loss_pull(const vn_choice *c, vn_loss *l) {
    vn_graph *g = l->g;
    const vn_given ones = {"sample", vn_fill(g, l->x->shape, 1)};
    (void)c;
    vn_node *own = l->network(l->self, &(vn_loss_call){.n = 1, .given = &ones});
    vn_node *average =
        l->network(l->self, &(vn_loss_call){.average = true, .n = 1, .given = &ones});
    vn_node *teacher =
        l->network(l->self, &(vn_loss_call){.part = "teacher", .n = 1, .given = &ones});
    return square(g, own, vn_affine(g, vn_add(g, average, teacher), 0.5, 0));
}

/* Of the part that follows: |f - a|^2. */
static vn_node *loss_follow(const vn_choice *c, vn_loss *l) {
    vn_graph *g = l->g;
    const vn_given ones = {"sample", vn_fill(g, l->x->shape, 1)};
    (void)c;
    return square(g,
                  l->network(l->self, &(vn_loss_call){.part = "follower", .n = 1, .given = &ones}),
                  l->network(l->self, &(vn_loss_call){.n = 1, .given = &ones}));
}

static void fill_velocity(const vn_loss_sample *s, float *row) {
    for (int64_t i = 0; i < s->size; i++)
        row[i] =
            (float)(s->level->dalpha * (double)s->x0[i] + s->level->dsigma * (double)s->eps[i]);
}

static void fill_x0(const vn_loss_sample *s, float *row) {
    memcpy(row, s->x0, (size_t)s->size * sizeof *row);
}

static vn_node *critic_of(vn_loss *l, vn_node *x) {
    const vn_given given = {"sample", x};
    return l->network(l->self, &(vn_loss_call){.part = "critic", .n = 1, .given = &given});
}

/* The velocity, with some of the teacher's and the average's, and what the critic says of it, to
 * whose weights nothing goes, but through it to the network. */
static vn_node *loss_generator(const vn_choice *c, vn_loss *l) {
    vn_graph *g = l->g;
    (void)c;
    vn_node *v = vn_loss_output(l);
    vn_node *teacher = l->network(l->self, &(vn_loss_call){.part = "teacher"});
    vn_node *average = vn_stop_gradient(
        g, l->network(l->self, &(vn_loss_call){.average = true, .same_dropout = true}));
    vn_node *target = vn_loss_filled(l, "velocity", l->x->shape, fill_velocity);
    vn_node *sum = vn_add(g, square(g, v, target), vn_affine(g, square(g, v, teacher), 0.5, 0));
    sum = vn_add(g, sum, vn_affine(g, square(g, v, average), 0.5, 0));
    vn_node *judged = vn_mean(g, critic_of(l, vn_sub(g, l->x, v)));
    return vn_add(g, sum, vn_affine(g, judged, -0.1, 0));
}

/* Least squares: 1 for data, 0 for what the network makes. */
static vn_node *loss_critic(const vn_choice *c, vn_loss *l) {
    vn_graph *g = l->g;
    (void)c;
    vn_node *made = vn_stop_gradient(g, vn_sub(g, l->x, vn_loss_output(l)));
    vn_node *data = vn_loss_filled(l, "data", l->x->shape, fill_x0);
    return vn_add(g, square(g, critic_of(l, data), vn_fill(g, l->x->shape, 1)),
                  square(g, critic_of(l, made), vn_fill(g, l->x->shape, 0)));
}

/* The logits that a part "judge" gives images of half the sides, in twice as many rows: those of
 * two batches one after the other. */
static vn_node *judge_of(vn_loss *l, vn_node *a, vn_node *b) {
    vn_graph *g = l->g;
    vn_node *both[] = {vn_avg_pool(g, a, 2), vn_avg_pool(g, b, 2)}, *times[] = {l->time, l->time};
    const vn_given given[] = {{"sample", vn_concat(g, 0, 2, both)},
                              {"timestep", vn_concat(g, 0, 2, times)}};
    return l->network(l->self,
                      &(vn_loss_call){.part = "judge", .output = "logits", .n = 2, .given = given});
}

/* Images: the velocity, and to look like data to the judge. */
static vn_node *loss_images(const vn_choice *c, vn_loss *l) {
    vn_graph *g = l->g;
    (void)c;
    vn_node *v = vn_loss_output(l), *made = vn_sub(g, l->x, v);
    vn_node *target = vn_loss_filled(l, "velocity", l->x->shape, fill_velocity);
    return vn_add(g, square(g, v, target),
                  vn_affine(g, vn_mean(g, judge_of(l, made, made)), -1, 0));
}

/* Over half the rows, the data's, 1, and 0 over the others, what is made. */
static vn_node *loss_judge(const vn_choice *c, vn_loss *l) {
    vn_graph *g = l->g;
    (void)c;
    const int64_t n = l->x->shape.dim[0];
    vn_node *data = vn_loss_filled(l, "data", l->x->shape, fill_x0);
    vn_node *made = vn_stop_gradient(g, vn_sub(g, l->x, vn_loss_output(l)));
    vn_node *logits = judge_of(l, data, made);
    vn_node *targets[] = {vn_fill(g, VN_SHAPE(n, 1), 1), vn_fill(g, VN_SHAPE(n, 1), 0)};
    return square(g, logits, vn_concat(g, 0, 2, targets));
}

static vn_node *loss_unknown(const vn_choice *c, vn_loss *l) {
    (void)c;
    return vn_mean(l->g, l->network(l->self, &(vn_loss_call){.part = "nobody"}));
}

static vn_node *loss_no_average(const vn_choice *c, vn_loss *l) {
    (void)c;
    vn_node *y = l->network(l->self, &(vn_loss_call){.part = "follower", .average = true});
    return vn_mean(l->g, vn_add(l->g, y, vn_loss_output(l)));
}

static vn_node *loss_no_output(const vn_choice *c, vn_loss *l) {
    (void)c;
    return vn_mean(l->g, l->network(l->self, &(vn_loss_call){.output = "logits"}));
}

static const vn_part_loss follower[] = {{.part = "follower", .every = 3, .loss = loss_follow}, {0}},
                          critic[] = {{.part = "critic", .every = 2, .loss = loss_critic}, {0}},
                          judge[] = {{.part = "judge", .every = 2, .loss = loss_judge}, {0}};
#define ROW(NAME, ...)                                                                             \
    { .row = {.name = #NAME}, .predictions = "velocity", .loss = loss_##NAME, __VA_ARGS__ }
static const vn_objective_row row_to_average = ROW(to_average, .averages = true),
                              row_pull = ROW(pull, .averages = true, .more = follower),
                              row_generator = ROW(generator, .averages = true, .more = critic),
                              row_images = ROW(images, .more = judge),
                              row_unknown = ROW(unknown, .more = NULL),
                              row_no_average = ROW(no_average, .averages = true),
                              row_no_output = ROW(no_output, .more = NULL);
static const vn_objective_row *const rows[] = {&row_to_average, &row_pull,    &row_generator,
                                               &row_images,     &row_unknown, &row_no_average,
                                               &row_no_output};
const vn_table part_losses = {"objective", rows, 0, VN_COUNT(rows), NULL, NULL};

/* ---- a training ------------------------------------------------------------------------------ */

/* Pictures of 8x8 in two classes, bright above or on the left, each a bit different. */
static vn_status open_images(const vn_data_options *options, vn_data **out, vn_err *err) {
    static float images[IMAGES * 64];
    static int32_t labels[IMAGES];
    for (int i = 0; i < IMAGES * 64; i++) {
        const int n = i / 64, y = i / 8 % 8, x = i % 8;
        images[i] = ((n % 2 ? x : y) < 4 ? 0.7f : -0.8f) + 0.2f * (float)((n * 7 + i) % 11) / 11;
        labels[n] = n % 2;
    }
    const vn_train_data d = {.struct_size = sizeof d,
                             .count = IMAGES,
                             .sample = {3, {1, 8, 8}},
                             .samples = images,
                             .labels = labels,
                             .classes = 2};
    return vn_data_open_rows(&d, options, out, err);
}

void job_open(job *j, const char *objective, int32_t classes, int64_t microbatches) {
    vn_err err = {0};
    *j = (job){.row = *kernels};
    vn_status status = vn_device_open(&j->row, NULL, NULL, &j->device, &err);
    const vn_data_options options = {.seed = 3, .validate = 0.1};
    const bool images = strcmp(objective, "images") == 0;
    if (!status && images) status = open_images(&options, &j->data, &err);
    if (!status && !images)
        status = vn_data_open("points:moons:count=400", &options, &j->data, &err);
    if (!status) status = vn_path_open("rectified", &j->path, &err);
    if (!status) status = vn_prediction_parse("velocity", &j->prediction, &err);
    const vn_objective_options o = {.table = &part_losses,
                                    .path = j->path,
                                    .prediction = &j->prediction,
                                    .objective = objective,
                                    .times = "stratified",
                                    .drop = classes ? 0.2 : 0,
                                    .null_label = classes ? classes : -1,
                                    .seed = 9};
    if (!status) status = vn_objective_open(&o, &j->objective, &err);
    if (status) fail_msg("%s", err.text);
    j->setup = (vn_train_setup){.device = &j->device,
                                .watch = &j->watch,
                                .part = j->part,
                                .data = j->data,
                                .objective = j->objective,
                                .run = "run",
                                .seed = 4,
                                .batch = 32,
                                .microbatches = microbatches,
                                .steps = STEPS,
                                .lr = 0.05,
                                .clip = 0.5,
                                .ema = 0.9,
                                .log_every = 1,
                                .preview_every = -1};
}

void job_close(job *j) {
    for (int i = 0; i < j->setup.parts; i++)
        if (j->part[i].frozen)
            vn_train_close_frozen(&j->part[i]);
        else
            vn_net_close(&j->part[i].net);
    vn_objective_close(&j->objective);
    vn_path_close(&j->path);
    vn_data_close(&j->data);
    vn_device_close(&j->device);
}

vn_net *open_net(const vn_net_row *row, const char *text) {
    vn_err err = {0};
    json_t *config = NULL;
    vn_net *net = NULL;
    vn_status status = vn_json_parse(text, strlen(text), "config", &config, &err);
    if (!status && row) status = vn_net_open_row(row, config, &net, &err);
    if (!status && !row) status = vn_net_open(config, &net, &err);
    if (status) fail_msg("%s", err.text);
    json_decref(config);
    return net;
}

vn_net *product(void) {
    return open_net(&product_row, "{\"_class_name\": \"TestProduct\"}");
}

/* A run of what is trained. */
void job_create(const job *j) {
    vn_err err = {0};
    vn_model_other other[MAX_PARTS];
    vn_model_parts parts = {.pipeline = "DDPMPipeline",
                            .folder = vn_net_get_row(j->part[0].net)->folder,
                            .config = vn_net_config(j->part[0].net),
                            .other = other};
    for (int i = 1; i < j->setup.parts; i++)
        if (!j->part[i].frozen)
            other[parts.others++] =
                (vn_model_other){j->part[i].name, vn_net_config(j->part[i].net)};
    scratch_remove("run");
    vn_status status = vn_store_save_model("run", &parts, &err);
    if (!status) status = vn_train_create("run", j->setup.parts, j->part, false, 5, &err);
    if (status) fail_msg("%s", err.text);
}
