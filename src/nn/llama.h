/* llama.h - the parts that a decoder-only transformer is made of, for the whole network (llama.c)
 * and for one token at a time (decoder.c), which build the same ops, so that they give the same
 * bits. */
#ifndef VN_LLAMA_H
#define VN_LLAMA_H

#include "nn/transformer.h"

/* By the names of the config's keys. */
typedef struct vn_llama_keys {
    int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads,
        num_key_value_heads, head_dim, max_position_embeddings, hidden_act;
    double rms_norm_eps, attention_dropout;
    bool attention_bias, mlp_bias;
} vn_llama_keys;

extern const vn_llama_keys vn_llama_defaults;
extern const vn_field vn_llama_fields[];
extern const size_t vn_llama_field_count;
/* llama_preset.c */
extern const vn_param vn_llama_presets[];
json_t *vn_llama_config(const vn_choice *preset, const vn_net_data *data, vn_err *err);

typedef struct vn_llama {
    vn_llama_keys config;
    int64_t head_dim, key_heads;
    double theta, stretch; /* of rotary positions, which are divided by `stretch` */
    bool tied;             /* the embedding is the output layer too */
} vn_llama;

/* The opened llama of a net; NULL: it is another network. */
const vn_llama *vn_llama_of(const vn_net *net);

/* The embedding [vocab,C], a node of the graph once. */
vn_node *vn_llama_table(const vn_scope *s, const vn_llama *l);
/* The rotation of T tokens at positions 0, 1, ..; and the cosines and sines of one position, each
 * [head_dim]. */
vn_rope vn_llama_rope(const vn_scope *s, const vn_llama *l, int64_t tokens);
void vn_llama_angles(const vn_llama *l, int64_t position, float *cosine, float *sine);

typedef struct vn_llama_heads {
    vn_node *q, *k, *v; /* [N,T,heads head_dim], and of the heads of keys; rotated */
    vn_node *bias;      /* of keys, which says what is seen; NULL: attention is causal */
} vn_llama_heads;

/* The scope of a layer; what it attends with; and the rest of it on x [N,T,C], given what it
 * attends to. */
vn_scope vn_llama_layer(const vn_scope *s, int layer);
vn_llama_heads vn_llama_project(const vn_scope *layer, const vn_llama *l, vn_node *x,
                                const vn_rope *rope);
vn_node *vn_llama_attend(const vn_scope *layer, const vn_llama *l, vn_node *x, vn_llama_heads h);
/* Of x [N,T,C]: [N,T,vocab]. */
vn_node *vn_llama_logits(const vn_scope *s, const vn_llama *l, vn_node *table, vn_node *x);

#endif
