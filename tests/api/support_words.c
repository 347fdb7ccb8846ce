/* support_words.c - see support_words.h. */
#include "api/support_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "nn/nn.h"
#include "store/store.h"
#include "support/scratch.h"

/* FOLDER/part with its config and weights that are none of them zero. */
static void make_part(const char *folder, const char *part, const char *text, uint64_t seed) {
    vn_err err = {0};
    vn_net *net = NULL;
    json_t *config = json_loads(text, 0, NULL);
    char path[256];
    assert_non_null(config);
    if (vn_net_open(config, &net, &err)) fail_msg("%s", err.text);
    const vn_weights *w = vn_net_weights(net);
    const size_t n = vn_weights_floats(w);
    float *values = vn_alloc(n, sizeof *values);
    assert_non_null(values);
    vn_random_normal(values, n, seed, VN_STREAM_TEST, 0, 0);
    for (size_t i = 0; i < n; i++) values[i] *= 0.3F;
    snprintf(path, sizeof path, "%s/%s", folder, part);
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/%s/diffusion_pytorch_model.safetensors", folder, part);
    if (vn_store_save_weights(path, w, values, -1, &err)) fail_msg("%s", err.text);
    snprintf(path, sizeof path, "%s/%s/config.json", folder, part);
    scratch_write_text(path, text);
    vn_free(values);
    vn_net_close(&net);
    json_decref(config);
}

void make_words_run(const char *folder) {
    char path[256];
    assert_int_equal(mkdir(folder, 0777), 0);
    make_part(folder, "transformer",
              "{\"_class_name\": \"VaneTextTransformer2DModel\", \"num_attention_heads\": 2, "
              "\"attention_head_dim\": 8, \"in_channels\": 1, \"num_layers\": 2, \"sample_size\": "
              "8, \"patch_size\": 4, \"joint_attention_dim\": 8}",
              1);
    make_part(folder, "text_encoder",
              "{\"_class_name\": \"VaneTextEncoder\", \"width\": 8, \"layers\": 1, \"heads\": 2, "
              "\"max_length\": 24}",
              2);
    snprintf(path, sizeof path, "%s/model_index.json", folder);
    scratch_write_text(path, "{\"_class_name\": \"VaneTextPipeline\", \"transformer\": [\"vane\", "
                             "\"VaneTextTransformer2DModel\"], \"text_encoder\": [\"vane\", "
                             "\"VaneTextEncoder\"]}");
    snprintf(path, sizeof path, "%s/vane.json", folder);
    scratch_write_text(path,
                       "{\"vane\": \"0.1\", \"path\": \"rectified\", \"predict\": \"velocity\", "
                       "\"data\": {\"shape\": [1, 8, 8]}, \"text\": {\"tokenizer\": \"bytes\", "
                       "\"length\": 24, \"examples\": [\"a boat\", \"two boats\"]}}");
}
