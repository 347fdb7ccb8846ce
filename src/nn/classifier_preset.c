/* classifier_preset.c - `--model classifier:channels=...`: a config.json for the data at hand. The
 * light one has 1.2 million weights on 28x28 pictures, with attention where at most 8 x 8 pixels
 * are left; guided-diffusion's are those of its classifiers of 64 to 512 pixels. */
#include "nn/classifier.h"
#include "nn/unet.h"

enum { KIND_LIGHT, KIND_GUIDED_DIFFUSION };
enum { HEAD = 64, GROUPS = 8, SMALL = 8, MIN_SIDE = 2 };

/* clang-format off */
const vn_param vn_classifier_presets[] = {
    {"kind", "light, for 28 to 64 pixels; or as guided-diffusion has it for 64 to 512",
     KIND_LIGHT, 0, 1, 1, "light|guided-diffusion"},
    {"channels", "channels of the first level, doubled in each; guided-diffusion: 128 times its "
                 "own factors; points: units, 64",
     32, 4, 4096, 1, NULL},
    {"levels", "sizes of the image, each half of the one before; guided-diffusion: by the size",
     3, 1, 8, 1, NULL},
    {"layers", "residual blocks a level; guided-diffusion: 2, of 64 pixels 4; points: 3",
     1, 0, VN_UNET_MAX_LAYERS, 1, NULL},
    {"attention", "levels with attention, from the smallest image up; default: those of at most 8 "
                  "pixels a side, guided-diffusion 3",
     1, 0, VN_CONFIG_MAX_LIST, 1, NULL},
    {"pool", "how pixels become one: attention pooling, or their mean",
     VN_CLASSIFIER_POOL_ATTENTION, 0, 1, 1, "attention|mean"},
    {"time", "whether it takes the noise level of its input; no: for clean samples",
     1, 0, 1, 1, "no|yes"},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
/* clang-format on */

/* guided-diffusion's factors of the channels, in halves, by the side of the image. */
typedef struct published_size {
    int64_t side, layers, levels, halves[7];
} published_size;

static const published_size sizes[] = {
    {64, 4, 4, {2, 4, 6, 8}},
    {128, 2, 5, {2, 2, 4, 6, 8}},
    {256, 2, 6, {2, 2, 4, 4, 8, 8}},
    {512, 2, 7, {1, 2, 2, 4, 4, 8, 8}},
};

static int64_t least_side(const vn_net_data *data) {
    const int64_t h = data->sample.dim[1], w = data->sample.dim[2];
    return h < w ? h : w;
}

/* The preset's number, or `otherwise` where the user gave none. */
static int64_t number(const vn_choice *preset, const char *name, int64_t otherwise) {
    bool given = false;
    const double value = vn_preset(preset, name, &given);
    return given ? (int64_t)value : otherwise;
}

static vn_status set_light(const vn_choice *preset, const vn_net_data *data, vn_classifier_keys *c,
                           vn_err *err) {
    const int64_t side = least_side(data);
    bool given = false;
    int64_t levels = (int64_t)vn_preset(preset, "levels", &given), most = 1, small = 0;
    while (most < levels && side >> most >= MIN_SIDE) most++;
    if (most < levels && given)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "classifier: levels=%lld would leave less than %d pixels of %lld; "
                       "levels=%lld is possible",
                       (long long)levels, MIN_SIDE, (long long)side, (long long)most);
    levels = most;
    for (int64_t i = 0; i < levels; i++) small += side >> i <= SMALL;
    c->block_out_channels = vn_config_growing(levels, number(preset, "channels", 32), 2);
    c->layers_per_block = number(preset, "layers", 1);
    c->attention_levels = number(preset, "attention", small);
    return VN_OK;
}

static vn_status set_published(const vn_choice *preset, const vn_net_data *data,
                               vn_classifier_keys *c, vn_err *err) {
    const published_size *p = NULL;
    bool given = false;
    for (size_t i = 0; i < VN_COUNT(sizes); i++)
        if (sizes[i].side == data->sample.dim[1] && sizes[i].side == data->sample.dim[2])
            p = &sizes[i];
    vn_preset(preset, "levels", &given);
    if (given)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "classifier: levels has no effect with guided-diffusion, which has them by "
                       "the size");
    if (!p)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "classifier: guided-diffusion is for images of 64, 128, 256 or 512 pixels a "
                       "side, not %lldx%lld; `light` is for any",
                       (long long)data->sample.dim[2], (long long)data->sample.dim[1]);
    const int64_t channels = number(preset, "channels", 128);
    c->block_out_channels.count = (size_t)p->levels;
    for (int64_t i = 0; i < p->levels; i++)
        c->block_out_channels.at[i] = channels * p->halves[i] / 2;
    c->layers_per_block = number(preset, "layers", p->layers);
    c->attention_levels = number(preset, "attention", 3);
    return VN_OK;
}

static void set_points(const vn_choice *preset, vn_classifier_keys *c) {
    c->input = VN_CLASSIFIER_POINTS;
    c->block_out_channels = vn_config_growing(1, number(preset, "channels", 64), 1);
    c->layers_per_block = number(preset, "layers", 3);
    c->pool = VN_CLASSIFIER_POOL_MEAN;
}

/* Groups of at least four channels, 32 at most, that divide all levels. */
static int64_t groups_of(const vn_classifier_keys *c, bool published) {
    int64_t groups = published ? 32 : GROUPS;
    for (size_t i = 0; i < c->block_out_channels.count; i++)
        while (c->block_out_channels.at[i] % groups) groups--;
    return groups;
}

/* Heads that divide the channels of all levels that attend, of at most 64. */
static int64_t head_of(const vn_classifier_keys *c) {
    const size_t levels = c->block_out_channels.count, attend = (size_t)c->attention_levels;
    int64_t head = HEAD;
    for (size_t i = attend < levels ? levels - attend : 0; i < levels; i++)
        while (c->block_out_channels.at[i] % head) head--;
    while (c->block_out_channels.at[levels - 1] % head) head--;
    return head;
}

json_t *vn_classifier_config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    const bool image = vn_shape_is_image(&data->sample);
    const bool published = vn_preset(preset, "kind", NULL) == KIND_GUIDED_DIFFUSION;
    vn_status status = VN_OK;
    if (data->labels < 3) { /* the null row is not a class */
        vn_fail(err, VN_BAD_ARGUMENT, "classifier: needs data with labels of two classes or more");
        return NULL;
    }
    vn_classifier_keys c = {
        .in_channels = data->sample.dim[0],
        .sample_size = {image ? data->sample.dim[1] : 0, image ? data->sample.dim[2] : 0},
        .num_classes = data->labels - 1,
        .pool = (int64_t)vn_preset(preset, "pool", NULL),
        .dropout = data->dropout < 0 ? 0 : data->dropout,
        .time = number(preset, "time", !data->clean) != 0};
    if (!image && published)
        status = vn_fail(err, VN_BAD_ARGUMENT, "classifier: guided-diffusion is for images");
    else if (!image)
        set_points(preset, &c);
    else
        status =
            published ? set_published(preset, data, &c, err) : set_light(preset, data, &c, err);
    if (status) return NULL;
    c.norm_num_groups = groups_of(&c, published);
    c.attention_head_dim = head_of(&c);
    return vn_config_write(vn_classifier_net.class_name, false, vn_classifier_fields,
                           vn_classifier_field_count, &c, err);
}
