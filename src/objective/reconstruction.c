/* reconstruction.c - the objectives of autoencoders: x^ = D(E(x)) near x, and what keeps the
 * latents between them tame. Samples are clean. With |.| of all numbers of a picture, d of them, a
 * loss is the mean over samples of
 *
 *     reconstruction  |x - x^| / d  (l1), or |x - x^|^2 / d  (l2); with features, and perceptual
 *                     times the squared distance of the directions that the maps of these have,
 *                     means over pixels, summed over maps (1801.03924 without its weights)
 *     vae             the same of z ~ N(mean, exp(logvar)), and kl times the divergence of that
 *                     from N(0, 1), over d (1312.6114): 1e-6 as in latent diffusion (2112.10752),
 *                     where all is d times as much
 *     vq-vae          the same of the codebook's rows e nearest to z, with the gradient straight
 *                     through, and the means over numbers of codebook (sg z - e)^2 and
 *                     commitment (z - sg e)^2 (1711.00937)
 *
 * On held-out samples it measures the signal-to-noise ratio of pictures as they are shown, within
 * -1 .. 1, and how many codes are in use. Codes that no latent is near to are moved
 * (codebook.c). */
#include "objective/internal.h"

#include <math.h>

enum { L1, L2 };
/* clang-format off */
#define DISTANCE \
    {"distance", "of a picture and its reconstruction: of each number, or its square", \
     L1, 0, 1, 1, "l1|l2"}
#define PERCEPTUAL \
    {"perceptual", "weight of the distance of their features (--perceptual)", \
     0.1, 0, 1e6, 0, NULL}
static const vn_param params[] = {DISTANCE, PERCEPTUAL, VN_DISCRIMINATOR_PARAMS, {0}};
static const vn_param vae_params[] = {
    DISTANCE,
    PERCEPTUAL,
    VN_DISCRIMINATOR_PARAMS,
    {"kl", "weight of the divergence of a picture's latents from N(0, 1)", 1e-6, 0, 1e6, 0, NULL},
    {0},
};
static const vn_param vq_params[] = {
    DISTANCE,
    PERCEPTUAL,
    VN_DISCRIMINATOR_PARAMS,
    {"codebook", "weight that draws rows of the codebook to latents", 1, 0, 1e6, 0, NULL},
    {"commitment", "weight that draws latents to rows of the codebook", 0.25, 0, 1e6, 0, NULL},
    {"revive", "steps between looks for codes that are not used, to be moved; 0: none is moved",
     VN_REVIVE_STEPS, 0, 1e6, 1, NULL},
    {0},
};
/* clang-format on */
enum { KL = VN_RECONSTRUCTION_PARAMS };
enum { CODEBOOK = VN_RECONSTRUCTION_PARAMS, COMMITMENT };
_Static_assert((int)COMMITMENT + 1 == (int)VN_REVIVE, "codebook.c reads it");

/* ---- the losses ------------------------------------------------------------------------------ */

static vn_node *encoded(vn_loss *l, const char *output) {
    return l->network(l->self, &(vn_loss_call){.half = VN_LOSS_ENCODER, .output = output});
}

static vn_node *decoded(vn_loss *l, vn_node *z) {
    const vn_given given = {"sample", z};
    return l->network(
        l->self,
        &(vn_loss_call){.half = VN_LOSS_DECODER, .output = "decoded", .n = 1, .given = &given});
}

static vn_node *mean_square(vn_graph *g, vn_node *a, vn_node *b) {
    return vn_mean(g, vn_unary(g, vn_sub(g, a, b), VN_FN_SQUARE));
}

/* x [N,H,W,C] / sqrt(sum over C of x^2): the features of a pixel as a direction. */
static vn_node *direction(vn_graph *g, vn_node *x) {
    vn_shape one = x ? x->shape : VN_SHAPE(1);
    one.dim[one.rank - 1] = 1;
    vn_node *square = vn_affine(g, vn_sum_product_to(g, x, x, one), 1, 1e-10);
    return x ? vn_mul(g, x, vn_unary(g, square, VN_FN_RSQRT)) : NULL;
}

/* The mean over pixels of the squared distance of directions, summed over maps of the features. */
static vn_node *perceptual(vn_loss *l, vn_node *x) {
    static const char *const maps[] = {"map0", "map1", "map2", "map3"};
    vn_graph *g = l->g;
    vn_node *of[2][VN_COUNT(maps)] = {{NULL}}, *sum = NULL;
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < VN_COUNT(maps); i++) {
            const vn_given given = {"sample", k ? x : l->x};
            const vn_loss_call call = {
                .part = VN_LOSS_FEATURES, .output = maps[i], .n = 1, .given = &given};
            if (!l->has(l->self, VN_LOSS_FEATURES, maps[i])) continue;
            of[k][i] = direction(g, l->network(l->self, &call));
        }
    for (size_t i = 0; i < VN_COUNT(maps); i++) {
        if (!of[0][i] || !of[1][i]) continue;
        const int64_t channels = of[0][i]->shape.dim[of[0][i]->shape.rank - 1];
        vn_node *apart = vn_affine(g, mean_square(g, of[1][i], vn_stop_gradient(g, of[0][i])),
                                   (double)channels, 0);
        sum = sum ? vn_add(g, sum, apart) : apart;
    }
    return sum;
}

/* And how real x looks, where a discriminator says so. */
static vn_node *distance(const vn_choice *c, vn_loss *l, vn_node *x) {
    vn_graph *g = l->g;
    const double weight = c->value[VN_PERCEPTUAL];
    const bool features = l->has && l->has(l->self, VN_LOSS_FEATURES, "map0");
    vn_node *apart = c->value[VN_DISTANCE] == L2
                         ? mean_square(g, x, l->x)
                         : vn_mean(g, vn_unary(g, vn_sub(g, x, l->x), VN_FN_ABS));
    if (c->given[VN_PERCEPTUAL] && weight > 0 && !features)
        return vn_graph_fail(g, VN_BAD_ARGUMENT,
                             "perceptual=%g has no effect without features, which `perceptual` "
                             "names",
                             weight);
    if (features && weight != 0)
        apart = vn_add(g, apart, vn_affine(g, perceptual(l, x), weight, 0));
    return vn_adversarial_loss(c, l, apart, x);
}

/* [N,numbers]: the mean square error of each sample that is cut to -1 .. 1, then its codes [N,h,w],
 * if there are any. */
static vn_node *to_measure(vn_loss *l, vn_node *x, vn_node *codes) {
    vn_graph *g = l->g;
    if (!x) return NULL;
    const int64_t n = x->shape.dim[0];
    vn_node *above = vn_unary(g, vn_affine(g, x, 1, -1), VN_FN_RELU),
            *below = vn_unary(g, vn_affine(g, x, -1, -1), VN_FN_RELU);
    vn_node *shown = vn_add(g, vn_sub(g, x, above), below), *error = vn_sub(g, shown, l->x);
    const int64_t size = vn_shape_count(&x->shape) / n;
    vn_node *sum = vn_sum_product_to(g, error, error, vn_sample_shape(&x->shape));
    vn_node *part[2] = {vn_reshape(g, vn_affine(g, sum, 1 / (double)size, 0), VN_SHAPE(n, 1)),
                        NULL};
    if (!codes) return part[0];
    part[1] = vn_reshape(g, codes, VN_SHAPE(n, vn_shape_count(&codes->shape) / n));
    return vn_concat(g, 1, 2, part);
}

static vn_node *reconstructed(vn_loss *l) {
    return l->network(l->self, &(vn_loss_call){.output = "decoded"});
}

static vn_node *reconstruction_loss(const vn_choice *c, vn_loss *l) {
    vn_node *x = reconstructed(l);
    l->measured = to_measure(l, x, NULL);
    return distance(c, l, x);
}

static void fill_noise(const vn_loss_sample *s, float *row) {
    vn_random_normal(row, (size_t)s->row, s->seed, VN_STREAM_LATENT, s->sample, s->step);
}

/* Of latents that are drawn. */
static vn_node *redrawn(vn_loss *l, vn_node *mean, vn_node *logvar) {
    vn_graph *g = l->g;
    if (!mean || !logvar) return NULL;
    vn_node *noise = vn_loss_filled(l, "noise", mean->shape, fill_noise);
    vn_node *deviation = vn_unary(g, vn_affine(g, logvar, 0.5, 0), VN_FN_EXP);
    return decoded(l, vn_add(g, mean, vn_mul(g, deviation, noise)));
}

static vn_node *vae_loss(const vn_choice *c, vn_loss *l) {
    vn_graph *g = l->g;
    vn_node *mean = encoded(l, "mean"), *logvar = encoded(l, "logvar"),
            *x = redrawn(l, mean, logvar);
    if (!x) return NULL;
    l->measured = to_measure(l, x, NULL);
    /* twice the divergence of each number of the latents */
    vn_node *square = vn_unary(g, mean, VN_FN_SQUARE), *variance = vn_unary(g, logvar, VN_FN_EXP);
    vn_node *twice = vn_affine(g, vn_sub(g, vn_add(g, square, variance), logvar), 1, -1);
    const double share =
        (double)vn_shape_count(&mean->shape) / (double)vn_shape_count(&l->x->shape);
    return vn_add(g, distance(c, l, x),
                  vn_affine(g, vn_mean(g, twice), 0.5 * c->value[KL] * share, 0));
}

static vn_node *vq_loss(const vn_choice *c, vn_loss *l) {
    vn_graph *g = l->g;
    vn_node *z = encoded(l, "latents"), *rows = encoded(l, "quantised"),
            *codes = encoded(l, "codes");
    vn_node *x = z ? decoded(l, z) : NULL; /* which rounds it to the same rows */
    l->measured = to_measure(l, x, codes);
    vn_node *follow = mean_square(g, rows, vn_stop_gradient(g, z)),
            *commit = mean_square(g, z, vn_stop_gradient(g, rows));
    vn_node *both = vn_add(g, vn_affine(g, follow, c->value[CODEBOOK], 0),
                           vn_affine(g, commit, c->value[COMMITMENT], 0));
    return vn_add(g, distance(c, l, x), both);
}

/* ---- of the discriminator -------------------------------------------------------------------- */

static vn_node *judge_reconstruction(const vn_choice *c, vn_loss *l) {
    (void)c;
    return vn_discriminator_loss(l, reconstructed(l));
}

static vn_node *judge_vae(const vn_choice *c, vn_loss *l) {
    (void)c;
    return vn_discriminator_loss(l, redrawn(l, encoded(l, "mean"), encoded(l, "logvar")));
}

static vn_node *judge_vq(const vn_choice *c, vn_loss *l) {
    (void)c;
    vn_node *z = encoded(l, "latents");
    return vn_discriminator_loss(l, z ? decoded(l, z) : NULL);
}

#define JUDGE(name)                                                                                \
    static const vn_part_loss name##_judges[] = {                                                  \
        {VN_LOSS_DISCRIMINATOR, 1, judge_##name, vn_adversarial_from}, {0}}
JUDGE(reconstruction);
JUDGE(vae);
JUDGE(vq);
#undef JUDGE

/* ---- what is measured ------------------------------------------------------------------------ */

enum { MEASURED_SAMPLES = 512, MOST_CODES = 65536 };

typedef struct quality {
    double decibels;
    int64_t samples, codes; /* how many were measured */
    bool unknown;           /* a code past those that are counted */
    uint32_t used[MOST_CODES];
} quality;

double vn_picture_psnr(double mean_square_error) {
    return 10 * log10(4 / fmax(mean_square_error, 1e-12));
}

static void measure(void *state, const float *numbers, int64_t size, int32_t label,
                    const vn_level *level) {
    quality *q = state;
    (void)label, (void)level;
    q->decibels += vn_picture_psnr((double)numbers[0]);
    q->samples++;
    for (int64_t i = 1; i < size; i++, q->codes++)
        if (numbers[i] >= 0 && numbers[i] < MOST_CODES)
            q->used[(int32_t)numbers[i]]++;
        else
            q->unknown = true;
}

vn_code_usage vn_count_codes(const uint32_t *used, int64_t codes) {
    vn_code_usage u = {0};
    double all = 0, entropy = 0;
    for (int64_t i = 0; i < codes; i++) all += used[i];
    for (int64_t i = 0; i < codes; i++) {
        if (!used[i]) continue;
        u.used++;
        entropy -= used[i] / all * log(used[i] / all);
    }
    u.perplexity = all > 0 ? exp(entropy) : 0;
    return u;
}

static void write_measures(const void *state, FILE *to) {
    const quality *q = state;
    if (!q->samples) return;
    vn_fprintf(to, ", \"held_psnr\": %.6g", q->decibels / (double)q->samples);
    if (!q->codes || q->unknown) return;
    const vn_code_usage u = vn_count_codes(q->used, MOST_CODES);
    vn_fprintf(to, ", \"codes_used\": %lld, \"code_perplexity\": %.6g", (long long)u.used,
               u.perplexity);
}

static const vn_held_measure measures = {
    .bytes = sizeof(quality),
    .samples = MEASURED_SAMPLES,
    .add = measure,
    .write = write_measures,
};

/* ---- rows ------------------------------------------------------------------------------------ */

const vn_objective_row vn_reconstruction_objective = {
    {"reconstruction", "of autoencoders: pictures near to what they are decoded to", "2309.15505",
     params},
    .predictions = "x0",
    .trains = VN_TRAINS_AUTOENCODERS,
    .networks = "autoencoder-tiny|autoencoder-fsq",
    .check = vn_adversarial_check,
    .loss = reconstruction_loss,
    .adversary = vn_adversarial_part,
    .more = reconstruction_judges,
    .measure = &measures,
};

const vn_objective_row vn_vae_objective = {
    {"vae", "of autoencoders whose latents are drawn: reconstruction, and latents near N(0, 1)",
     "1312.6114", vae_params},
    .predictions = "x0",
    .trains = VN_TRAINS_AUTOENCODERS,
    .networks = "autoencoder-kl",
    .check = vn_adversarial_check,
    .loss = vae_loss,
    .adversary = vn_adversarial_part,
    .more = vae_judges,
    .measure = &measures,
};

const vn_objective_row vn_vq_vae_objective = {
    {"vq-vae",
     "of autoencoders with a codebook: reconstruction, and latents and codes near each "
     "other",
     "1711.00937", vq_params},
    .predictions = "x0",
    .trains = VN_TRAINS_AUTOENCODERS,
    .networks = "autoencoder-vq",
    .check = vn_adversarial_check,
    .loss = vq_loss,
    .adversary = vn_adversarial_part,
    .more = vq_judges,
    .measure = &measures,
    .tending = &vn_codebook_tending,
};
