/* codebook.c - a codebook of patches for pictures without an autoencoder: levels of a grey pixel,
 * or the means that k-means (Lloyd 1982) finds of the data's own patches. */
#include "train/train.h"

#include <string.h>

enum { PICTURES = 2048, SLICE = 64, ROUNDS = 8 };

/* ---- patches of the data --------------------------------------------------------------------- */

typedef struct patches {
    int64_t width, count;
    float *x; /* [count,width] */
} patches;

static void cut(const vn_shape *sample, int64_t k, const float *picture, float *to) {
    const int64_t channels = sample->dim[0], w = sample->dim[2];
    for (int64_t i = 0; i < sample->dim[1] / k; i++)
        for (int64_t j = 0; j < w / k; j++)
            for (int64_t r = 0; r < k; r++, to += k * channels)
                memcpy(to, picture + ((i * k + r) * w + j * k) * channels,
                       (size_t)(k * channels) * sizeof *to);
}

static vn_status read_patches(vn_data *data, int64_t k, patches *p, vn_err *err) {
    const vn_data_info *info = vn_data_get_info(data);
    const vn_shape *sample = &info->sample;
    const int64_t size = vn_shape_count(sample), each = size / (k * k * sample->dim[0]),
                  pictures = info->train < PICTURES ? info->train : PICTURES;
    p->width = k * k * sample->dim[0];
    p->count = pictures * each;
    p->x = vn_alloc((size_t)p->count, (size_t)p->width * sizeof(float));
    float *slice = vn_alloc(SLICE, (size_t)size * sizeof(float));
    vn_status status = p->x && slice ? VN_OK : vn_no_memory(err);
    for (int64_t i = 0; i < pictures && !status; i += SLICE) {
        const int64_t n = pictures - i < SLICE ? pictures - i : SLICE;
        status = vn_data_batch(data, VN_DATA_TRAIN, (uint64_t)i, n, slice, NULL, err);
        for (int64_t s = 0; s < n && !status; s++)
            cut(sample, k, slice + s * size, p->x + (i + s) * size);
    }
    vn_free(slice);
    return status;
}

/* ---- k-means --------------------------------------------------------------------------------- */

/* Which code is nearest to each of n rows, as a program. */
typedef struct nearest {
    vn_graph *graph;
    vn_program *program;
    vn_node *x, *table, *index;
} nearest;

static vn_status open_nearest(nearest *s, const vn_device *device, int64_t n, int64_t codes,
                              int64_t width, vn_err *err) {
    vn_status status = vn_graph_open(&s->graph, err);
    if (status) return status;
    s->x = vn_input(s->graph, VN_F32, VN_SHAPE(n, width));
    s->table = vn_input(s->graph, VN_F32, VN_SHAPE(codes, width));
    s->index = vn_nearest_row(s->graph, s->x, s->table);
    status = vn_graph_status(s->graph, err);
    const vn_program_options options = {.device = device, .n_outputs = 1, .outputs = &s->index};
    return status ? status : vn_program_open(s->graph, &options, &s->program, err);
}

static vn_status find_nearest(const nearest *s, const float *x, const float *table, int32_t *index,
                              vn_err *err) {
    vn_program_write(s->program, s->x, x);
    vn_program_write(s->program, s->table, table);
    vn_program_run(s->program, &(vn_run){0});
    const vn_status status = vn_program_wait(s->program, err);
    if (!status) vn_program_read(s->program, s->index, index);
    return status;
}

/* A patch by a number in [0,1). */
static const float *draw(const patches *p, uint64_t seed, int64_t code, int64_t round) {
    const double u =
        vn_random_double(seed, VN_STREAM_WEIGHTS, (uint64_t)code, (uint64_t)(round + 1));
    return p->x + (int64_t)(u * (double)p->count) * p->width;
}

/* The means of what is nearest to each code; a code that nothing is nearest to begins anew. */
static void move(const patches *p, const int32_t *index, int64_t codes, uint64_t seed, int round,
                 double *sum, int64_t *count, float *table) {
    memset(sum, 0, (size_t)(codes * p->width) * sizeof *sum);
    memset(count, 0, (size_t)codes * sizeof *count);
    for (int64_t i = 0; i < p->count; i++) {
        count[index[i]]++;
        for (int64_t k = 0; k < p->width; k++)
            sum[index[i] * p->width + k] += (double)p->x[i * p->width + k];
    }
    for (int64_t c = 0; c < codes; c++)
        for (int64_t k = 0; k < p->width; k++)
            table[c * p->width + k] = count[c] ? (float)(sum[c * p->width + k] / (double)count[c])
                                               : draw(p, seed, c, round + 1)[k];
}

static vn_status find_means(const vn_device *device, const patches *p, int64_t codes, uint64_t seed,
                            float *table, vn_err *err) {
    nearest s = {0};
    int32_t *index = vn_alloc((size_t)p->count, sizeof *index);
    double *sum = vn_alloc((size_t)codes, (size_t)p->width * sizeof *sum);
    int64_t *count = vn_alloc((size_t)codes, sizeof *count);
    vn_status status = index && sum && count ? VN_OK : vn_no_memory(err);
    if (!status) status = open_nearest(&s, device, p->count, codes, p->width, err);
    for (int64_t c = 0; c < codes && !status; c++)
        memcpy(table + c * p->width, draw(p, seed, c, 0), (size_t)p->width * sizeof *table);
    for (int i = 0; i < ROUNDS && !status; i++) {
        status = find_nearest(&s, p->x, table, index, err);
        if (!status) move(p, index, codes, seed, i, sum, count, table);
    }
    vn_program_close(&s.program);
    vn_graph_close(&s.graph);
    vn_free(index);
    vn_free(sum);
    vn_free(count);
    return status;
}

vn_status vn_train_codebook(const vn_device *device, vn_data *data, int64_t patch, int64_t codes,
                            uint64_t seed, float *table, vn_err *err) {
    const vn_shape *sample = &vn_data_get_info(data)->sample;
    patches p = {0};
    if (patch == 1 && sample->dim[0] == 1) {
        for (int64_t i = 0; i < codes; i++)
            table[i] = codes > 1 ? (float)(2 * (double)i / (double)(codes - 1) - 1) : 0;
        return VN_OK;
    }
    vn_status status = read_patches(data, patch, &p, err);
    if (!status) status = find_means(device, &p, codes, seed, table, err);
    vn_free(p.x);
    return status;
}
