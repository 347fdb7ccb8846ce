/* autoencoder_kinds.c - `--model autoencoder:kind=...`: a config.json for the data at hand, of one
 * of the networks in autoencoder_*.c. The default has 0.7 million weights and takes pictures of 32
 * to 64 pixels to latents of 8 to 16; the autoencoders of Stable Diffusion, of the same kind, have
 * channels=128,layers=2,factor=8. */
#include "nn/autoencoder.h"

#include <string.h>

enum { KL, TINY, VQ, FSQ };
enum { LATENTS = 4, CODES = 512, FSQ_CODES = 1024, TINY_BLOCKS = 2 };

/* clang-format off */
static const vn_param presets[] = {
    {"kind", "kl: a normal distribution of latents; tiny: plain convolutions; vq: rows of a "
             "codebook; fsq: numbers of a few levels",
     KL, 0, 3, 1, "kl|tiny|vq|fsq"},
    {"channels", "channels at the size of the picture, doubled in each level; of tiny: in all",
     16, 4, 1024, VN_PARAM_WHOLE, NULL},
    {"factor", "how many times smaller latents are on each side: 1, 2, 4, 8, 16 or 32",
     4, 1, 32, VN_PARAM_WHOLE, NULL},
    {"latents", "numbers in a pixel of the latents; fsq has as many as its codes need",
     LATENTS, 1, 1024, VN_PARAM_WHOLE, NULL},
    {"codes", "of vq: rows of the codebook; of fsq, 1024 there: 256, 1024, 4096, 16384 or 65536, "
              "of which it has about as many",
     CODES, 2, 65536, VN_PARAM_WHOLE, NULL},
    {"layers", "residual blocks a level, one more in the decoder; of tiny: 2 there, in both",
     1, 1, 16, VN_PARAM_WHOLE, NULL},
    {"attention", "whether the pixels of the smallest level attend to each other; tiny has none",
     1, 0, 1, 1, "no|yes"},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
/* clang-format on */

/* The levels that 2309.15505 recommends for about so many codes (its table 1). */
static const struct {
    int64_t codes;
    vn_config_ints levels;
} recommended[] = {
    {256, {3, {8, 6, 5}}},         {1024, {4, {8, 5, 5, 5}}},        {4096, {5, {7, 5, 5, 5, 5}}},
    {16384, {5, {8, 8, 8, 6, 5}}}, {65536, {6, {8, 8, 8, 5, 5, 5}}},
};

static int64_t number(const vn_choice *preset, const char *name) {
    return (int64_t)vn_preset(preset, name, NULL);
}

/* The preset's number, or `otherwise` where the user gave none. */
static int64_t number_or(const vn_choice *preset, const char *name, int64_t otherwise) {
    bool given = false;
    const double value = vn_preset(preset, name, &given);
    return given ? (int64_t)value : otherwise;
}

/* ---- what may be asked for ------------------------------------------------------------------- */

/* What has an effect on which kinds: bit k of kind k. */
static const struct {
    const char *name;
    unsigned kinds;
} effects[] = {
    {"latents", 1 << KL | 1 << TINY | 1 << VQ},
    {"codes", 1 << VQ | 1 << FSQ},
    {"attention", 1 << KL | 1 << VQ | 1 << FSQ},
};

static vn_status check_effects(const vn_choice *preset, int64_t kind, vn_err *err) {
    static const char *const names[] = {"kl", "tiny", "vq", "fsq"};
    for (size_t i = 0; i < VN_COUNT(effects); i++) {
        const vn_param *p = presets;
        while (strcmp(p->name, effects[i].name) != 0) p++;
        if (number(preset, effects[i].name) != (int64_t)p->value &&
            !(effects[i].kinds & 1U << kind))
            return vn_fail(err, VN_BAD_ARGUMENT, "autoencoder: %s has no effect with kind=%s",
                           effects[i].name, names[kind]);
    }
    return VN_OK;
}

/* As many levels as halve `factor` times. */
static vn_status count_levels(const vn_choice *preset, const vn_net_data *data, int64_t *levels,
                              vn_err *err) {
    const int64_t factor = number(preset, "factor"), height = data->sample.dim[1],
                  width = data->sample.dim[2];
    for (*levels = 1; (int64_t)1 << (*levels - 1) < factor;) ++*levels;
    if ((int64_t)1 << (*levels - 1) != factor)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "autoencoder: factor=%lld is no power of 2: 1, 2, 4, 8, 16 and 32 are",
                       (long long)factor);
    if (height % factor == 0 && width % factor == 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "autoencoder: factor=%lld does not divide images of %lldx%lld",
                   (long long)factor, (long long)width, (long long)height);
}

static vn_status choose_scalars(const vn_choice *preset, vn_config_ints *out, vn_err *err) {
    const int64_t codes = number_or(preset, "codes", FSQ_CODES);
    for (size_t i = 0; i < VN_COUNT(recommended); i++)
        if (recommended[i].codes == codes) {
            *out = recommended[i].levels;
            return VN_OK;
        }
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "autoencoder: fsq has codes=256, 1024, 4096, 16384 or 65536, not %lld",
                   (long long)codes);
}

/* ---- configs --------------------------------------------------------------------------------- */

static vn_coder_keys coder_of(const vn_choice *preset, const vn_net_data *data, int64_t levels) {
    const vn_shape *sample = &data->sample;
    vn_coder_keys k = vn_coder_defaults;
    k.in_channels = k.out_channels = sample->dim[0];
    k.down_block_types.count = k.up_block_types.count = (size_t)levels;
    for (int64_t i = 0; i < levels; i++) {
        k.down_block_types.at[i] = "DownEncoderBlock2D";
        k.up_block_types.at[i] = "UpDecoderBlock2D";
    }
    k.block_out_channels = vn_config_growing(levels, number(preset, "channels"), 2);
    k.layers_per_block = number(preset, "layers");
    k.latent_channels = number(preset, "latents");
    /* groups that divide the first level divide those that are its doubles */
    k.norm_num_groups = vn_preset_groups(k.block_out_channels.at[0]);
    k.sample_size[0] = sample->dim[1];
    k.sample_size[1] = sample->dim[2];
    k.scaling_factor = 1; /* until it is measured */
    k.mid_block_add_attention = number(preset, "attention") != 0;
    return k;
}

static json_t *kl_config(const vn_choice *preset, const vn_net_data *data, int64_t levels,
                         vn_err *err) {
    const vn_kl_keys k = {.keys = coder_of(preset, data, levels),
                          .use_quant_conv = true,
                          .use_post_quant_conv = true};
    return vn_config_write(vn_autoencoder_kl_net.class_name, true, vn_kl_fields, vn_kl_field_count,
                           &k, err);
}

static json_t *tiny_config(const vn_choice *preset, const vn_net_data *data, int64_t levels,
                           vn_err *err) {
    const int64_t blocks = number_or(preset, "layers", TINY_BLOCKS);
    vn_tiny_keys k = vn_tiny_defaults;
    k.in_channels = k.out_channels = data->sample.dim[0];
    k.encoder_block_out_channels = vn_config_growing(levels, number(preset, "channels"), 1);
    k.decoder_block_out_channels = k.block_out_channels = k.encoder_block_out_channels;
    k.num_encoder_blocks = k.num_decoder_blocks = vn_config_growing(levels, blocks, 1);
    k.num_encoder_blocks.at[0] = k.num_decoder_blocks.at[levels - 1] = 1;
    k.latent_channels = number(preset, "latents");
    return vn_config_write(vn_autoencoder_tiny_net.class_name, true, vn_tiny_fields,
                           vn_tiny_field_count, &k, err);
}

static json_t *vq_config(const vn_choice *preset, const vn_net_data *data, int64_t levels,
                         vn_err *err) {
    vn_vq_keys k = {.keys = coder_of(preset, data, levels),
                    .num_vq_embeddings = number(preset, "codes")};
    k.vq_embed_dim = k.keys.latent_channels;
    return vn_config_write(vn_autoencoder_vq_net.class_name, true, vn_vq_fields, vn_vq_field_count,
                           &k, err);
}

static json_t *fsq_config(const vn_choice *preset, const vn_net_data *data, int64_t levels,
                          vn_err *err) {
    vn_vq_keys k = {.keys = coder_of(preset, data, levels)};
    if (choose_scalars(preset, &k.levels, err)) return NULL;
    k.keys.latent_channels = (int64_t)k.levels.count;
    return vn_config_write(vn_autoencoder_fsq_net.class_name, false, vn_fsq_fields,
                           vn_fsq_field_count, &k, err);
}

static json_t *config(const vn_choice *preset, const vn_net_data *data, vn_err *err) {
    static json_t *(*const kinds[])(const vn_choice *, const vn_net_data *, int64_t,
                                    vn_err *) = {kl_config, tiny_config, vq_config, fsq_config};
    const int64_t kind = number(preset, "kind");
    int64_t levels = 0;
    vn_status status = VN_OK;
    if (!vn_shape_is_image(&data->sample))
        status = vn_fail(err, VN_BAD_ARGUMENT, "autoencoder: is for images; these are points");
    else if (data->dropout >= 0)
        status = vn_fail(err, VN_BAD_ARGUMENT, "dropout: autoencoders have none");
    if (!status) status = check_effects(preset, kind, err);
    if (!status) status = count_levels(preset, data, &levels, err);
    return !status ? kinds[kind](preset, data, levels, err) : NULL;
}

const vn_net_row vn_any_autoencoder_net = {
    .row = {.name = "autoencoder",
            .summary = "images to smaller latents or codes, and back; `kind` says which network",
            .source = "arXiv 1312.6114, 1711.00937, 2112.10752, 2309.15505",
            .params = presets},
    .role = VN_ROLE_AUTOENCODER,
    .folder = "vae",
    .habits = VN_AUTOENCODER_HABITS,
    .config = config,
};
