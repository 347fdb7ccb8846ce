/* joined.c - arrays for a network's ports that are put together of what several encoders give, as
 * the rows of pipelines do it. */
#include "model/pipeline.h"

#include <string.h>

float *vn_joined_add(vn_joined *j, const char *port, vn_shape shape) {
    float *data = j->failed ? NULL : vn_calloc((size_t)vn_shape_count(&shape) + 1, sizeof *data);
    j->failed = j->failed || !data;
    if (data) j->array[j->count++] = (vn_array){port, VN_F32, shape, data};
    return data;
}

void vn_joined_free(vn_joined *j) {
    for (int i = 0; i < j->count; i++) vn_free((void *)(uintptr_t)j->array[i].data);
    *j = (vn_joined){0};
}

void vn_place_columns(float *to, int64_t stride, int64_t column, const float *from, int64_t n,
                      int64_t width) {
    for (int64_t i = 0; i < n && from; i++)
        memcpy(to + i * stride + column, from + i * width, (size_t)width * sizeof *to);
}

int64_t vn_pipeline_text_width(const vn_model *m) {
    const vn_port *port = vn_net_input(vn_net_get_io(vn_model_net(m)), "encoder_hidden_states");
    return port ? port->shape.dim[2] : 0;
}
