/* internal.h - what the files of store/ share. */
#ifndef VN_STORE_INTERNAL_H
#define VN_STORE_INTERNAL_H

#include "store/store.h"

#define VN_WEIGHTS_FILE "diffusion_pytorch_model.safetensors"
/* metadata of weights and state: the training step they belong to */
#define VN_STEP_KEY "vane.step"

/* path: a new string, which is freed, or NULL: no memory. That there is none is no error. */
vn_status vn_store_remove_file(char *path, vn_err *err);

/* Pages of the mapped file leave this process's memory, until they are read again. */
void vn_safetensors_let_go(const vn_safetensors *st);

/* Like vn_safetensors_write, but each tensor's bytes are asked for when it is its turn (i: its
 * place in `tensors`, whose data is not looked at); they may lie in one buffer that the next call
 * reuses. NULL: that failed, and so does the call, with VN_IO. */
typedef const void *(*vn_tensor_source)(void *user, size_t i);
vn_status vn_safetensors_stream(const char *path, const vn_array *tensors, size_t count,
                                const json_t *metadata, vn_tensor_source source, void *user,
                                vn_err *err);

/* A file whose header is written; tensors follow at their places. */
typedef struct vn_tensor_place {
    uint64_t offset; /* in the file */
    size_t element;  /* bytes of one */
} vn_tensor_place;
struct vn_tensor_file {
    vn_writer w;
    vn_tensor_place *place; /* [tensors] */
    uint64_t at;            /* where the next byte would go */
};
/* Opens the file for `bytes` in all, with uncleared places. */
vn_status vn_tensor_file_open(const char *path, vn_memory_file *to, size_t tensors, uint64_t bytes,
                              vn_tensor_file **out, vn_err *err);

/* ---- weights --------------------------------------------------------------------------------- */

/* The files of a network's weights: one, or an index's. */
typedef struct vn_shards {
    vn_safetensors **file; /* [count] */
    size_t count;
} vn_shards;
/* path: a .safetensors, or an index .json. */
vn_status vn_shards_open(const char *path, vn_shards *out, vn_err *err);
void vn_shards_close(vn_shards *s);

/* The tensor of this name in any of the files, and the path of the last that was looked in. */
const vn_array *vn_store_find_in(vn_safetensors *const *files, size_t file_count, const char *name,
                                 const char **path);
/* The tensor prefix + name in any of the files, or where there is none under the name that it once
 * had; VN_BAD_FILE: missing. */
vn_status vn_store_find_tensor(vn_safetensors *const *files, size_t file_count, const char *prefix,
                               const char *name, const vn_array **out, const char **path,
                               vn_err *err);
/* It has the weight's shape in files, and a float type. */
vn_status vn_store_check_tensor(const vn_array *t, const vn_weight *w, const char *path,
                                vn_err *err);
/* Reports how many numbers are read, of large networks; loading can be stopped there. */
vn_status vn_store_report(const vn_watch *watch, const vn_weights *w, size_t numbers, vn_err *err);
size_t vn_store_largest_weight(const vn_weights *w); /* numbers */

/* A flat array of a network's weights, whose tensors are called prefix + the weight's name. */
typedef struct vn_weight_array {
    const char *prefix;
    const vn_weights *weights;
    float *values;
    const vn_state_pieces *pieces; /* NULL: they are there; else of this array: */
    int part;
    vn_state_array which;
} vn_weight_array;

/* All arrays out of the files together: every tensor there, of the right shape, and nothing
 * else. */
vn_status vn_store_load_arrays(vn_safetensors *const *files, size_t file_count,
                               const vn_weight_array *arrays, size_t array_count,
                               const vn_watch *watch, vn_err *err);
/* One of a file that holds others too. */
vn_status vn_store_load_array(vn_safetensors *file, const vn_weight_array *array, vn_err *err);
vn_status vn_store_save_arrays(const char *path, const vn_weight_array *arrays, size_t array_count,
                               const json_t *metadata, vn_err *err);
/* A network's weights, as vn_store_save_weights writes them. */
vn_status vn_store_save_network(const char *path, const vn_weight_array *array, int64_t step,
                                vn_err *err);
/* Once all that is wanted has been found: is there more? */
vn_status vn_store_refuse_extras(vn_safetensors *const *files, size_t file_count,
                                 const vn_weight_array *arrays, size_t array_count, vn_err *err);
/* The name that diffusers once had for a tensor (to_old), or the name today of one that is called
 * so; NULL: it has one name. New string. */
vn_status vn_store_old_name(const char *name, bool to_old, char **out, vn_err *err);

/* Whether a tensor is one that earlier versions wrote beside a weight, whose name is then in
 * `weight`: numbers of positions, or an embedding that another one is. */
#define VN_SURPLUS 128
bool vn_store_is_surplus(const char *name, char weight[VN_SURPLUS]);

/* ---- which file holds a network's weights (weights_file.c) ----------------------------------- */

/* The file in a folder to load them from: the plain one, else the only variant that there is
 * (*variant); NULL: none, or several variants. New string. */
vn_status vn_store_find_weights(const char *folder, const json_t *config, char **file,
                                bool *variant, vn_err *err);
/* Why vn_store_find_weights found none, with what is there. */
vn_status vn_store_refuse_weights(const char *folder, const json_t *config, vn_err *err);
/* Whether a file's name says that it is one network's whole weights, or their index. */
bool vn_store_is_weights(const char *name);

/* The step in a file's metadata, -1 if there is none. */
int64_t vn_store_step_of(const vn_safetensors *st);

#endif
