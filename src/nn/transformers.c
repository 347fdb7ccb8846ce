/* transformers.c - what the networks of Hugging Face's transformers share: their configs, which
 * hold every key that some model there has, and their activations, by name. */
#include "nn/transformer.h"

#include <string.h>

/* ---- configs --------------------------------------------------------------------------------- */

/* Keys of every config there that do not change what an encoder computes: how texts are generated,
 * names of tokens and labels, what is returned, number types, how weights begin. */
static const char *const general[] = {
    "architectures",
    "attn_implementation",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "is_encoder_decoder",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "model_type",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_word_embeddings",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
};

/* Keys that would change it unless they are off: null, false, or empty. */
static const char *const off[] = {"is_decoder", "add_cross_attention",
                                  "cross_attention_hidden_size", "pruned_heads"};

static bool is_off(const json_t *value) {
    return json_is_null(value) || json_is_false(value) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

vn_status vn_config_read_transformers(const json_t *config, const char *net, const char *const *own,
                                      const vn_field *fields, size_t count, void *into,
                                      vn_err *err) {
    json_t *rest = vn_json_copy(config);
    if (!rest) return vn_no_memory(err);
    for (size_t i = 0; i < VN_COUNT(general); i++) json_object_del(rest, general[i]);
    for (size_t i = 0; own[i]; i++) json_object_del(rest, own[i]);
    vn_status status = VN_OK;
    for (size_t i = 0; i < VN_COUNT(off) && !status; i++) {
        const json_t *value = json_object_get(rest, off[i]);
        if (value && !is_off(value))
            status = vn_fail(err, VN_UNSUPPORTED, "%s: with %s it is another network", net, off[i]);
        json_object_del(rest, off[i]);
    }
    if (!status) status = vn_config_read(rest, net, fields, count, into, err);
    json_decref(rest);
    return status;
}

/* ---- activations ----------------------------------------------------------------------------- */

/* In the order of VN_ACTIVATION_... and the table below. */
const char *const vn_activation_names[] = {
    "gelu",      "gelu_python",   "gelu_new",   "gelu_pytorch_tanh",
    "gelu_fast", "gelu_accurate", "quick_gelu", "relu",
    "silu",      "swish",         "mish",       "tanh",
    "sigmoid",   "linear",        NULL};

/* f(slope x) / slope */
static const struct {
    vn_fn fn;
    double slope;
} activations[] = {{VN_FN_GELU, 1},      {VN_FN_GELU, 1},      {VN_FN_GELU_TANH, 1},
                   {VN_FN_GELU_TANH, 1}, {VN_FN_GELU_TANH, 1}, {VN_FN_GELU_TANH, 1},
                   {VN_FN_SILU, 1.702},  {VN_FN_RELU, 1},      {VN_FN_SILU, 1},
                   {VN_FN_SILU, 1},      {VN_FN_MISH, 1},      {VN_FN_TANH, 1},
                   {VN_FN_SIGMOID, 1},   {VN_FN_IDENTITY, 1}};
_Static_assert(VN_COUNT(activations) + 1 == VN_COUNT(vn_activation_names), "one for each name");

vn_node *vn_activation(const vn_scope *s, vn_node *x, int64_t activation) {
    const double slope = activations[activation].slope;
    if (slope != 1) x = vn_affine(s->g, x, slope, 0);
    x = vn_unary(s->g, x, activations[activation].fn);
    return slope != 1 ? vn_affine(s->g, x, 1 / slope, 0) : x;
}
