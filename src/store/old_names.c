/* old_names.c - names that weights had in earlier versions of diffusers and transformers, and
 * tensors that were written beside them. Self-attention over pixels
 * was once a class of its own (AttentionBlock), whose four layers were called otherwise; diffusers
 * 0.42.1 renames them as it loads (modeling_utils.py, _fix_state_dict_keys_on_load), and some
 * thousand published U-Nets still have them. CLIPTextModel had its parts within another one until
 * transformers 5. Shapes and meaning are the same. */
#include "store/internal.h"

#include <string.h>

static const struct {
    const char *now, *old;
} renamed[] = {
    {"to_q", "query"},
    {"to_k", "key"},
    {"to_v", "value"},
    {"to_out.0", "proj_attn"},
};

/* Where the layer's name begins in "...layer.weight"; NULL: the tensor is none of such a layer. */
static const char *find_layer(const char *name, const char *layer) {
    const char *end = strrchr(name, '.');
    const size_t n = strlen(layer);
    if (!end || (size_t)(end - name) < n || memcmp(end - n, layer, n) != 0) return NULL;
    return end - n == name || end[-(ptrdiff_t)n - 1] == '.' ? end - n : NULL;
}

static char *with_layer(const char *name, const char *from, const char *to) {
    const char *at = find_layer(name, from);
    return vn_format("%.*s%s%s", (int)(at - name), name, to, at + strlen(from));
}

#define OUTER "text_model."

/* Whether the tensor was within another module. */
static bool was_within(const char *name) {
    static const char *const parts[] = {"embeddings.", "encoder.layers.", "final_layer_norm."};
    for (size_t i = 0; i < VN_COUNT(parts); i++)
        if (!strncmp(name, parts[i], strlen(parts[i]))) return true;
    return false;
}

bool vn_store_is_surplus(const char *name, char weight[VN_SURPLUS]) {
    static const char positions[] = "embeddings.position_ids",
                      table[] = "position_embedding.weight";
    const size_t n = strlen(name), ending = sizeof "position_ids" - 1;
    if (!strcmp(name, "encoder.embed_tokens.weight")) {
        snprintf(weight, VN_SURPLUS, "shared.weight");
        return true;
    }
    if (!vn_ends_with(name, positions) || n - ending + sizeof table > VN_SURPLUS) return false;
    snprintf(weight, VN_SURPLUS, "%.*s%s", (int)(n - ending), name, table);
    return true;
}

vn_status vn_store_old_name(const char *name, bool to_old, char **out, vn_err *err) {
    *out = NULL;
    for (size_t i = 0; i < VN_COUNT(renamed); i++) {
        const char *from = to_old ? renamed[i].now : renamed[i].old,
                   *to = to_old ? renamed[i].old : renamed[i].now;
        if (!find_layer(name, from)) continue;
        *out = with_layer(name, from, to);
        return *out ? VN_OK : vn_no_memory(err);
    }
    const size_t outer = sizeof OUTER - 1;
    if (to_old && was_within(name))
        *out = vn_format(OUTER "%s", name);
    else if (!to_old && !strncmp(name, OUTER, outer) && was_within(name + outer))
        *out = vn_strdup(name + outer);
    else
        return VN_OK;
    return *out ? VN_OK : vn_no_memory(err);
}
