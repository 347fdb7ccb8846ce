/* store.h - files: safetensors, .npy, model directories in diffusers' layout, and checkpoints.
 * Every file that is read is untrusted; every file that is written appears whole or not at all
 * (vn_writer).
 *
 * A model directory, as diffusers writes it and as `vane train` does:
 *
 *     model_index.json                   names the parts and their classes
 *     unet/ or transformer/              a network's folder: config.json and
 *                                        diffusion_pytorch_model.safetensors, or of a network
 *                                        of transformers model.safetensors
 *     scheduler/scheduler_config.json
 *     vane.json                          vane's own: data, objective, path, seed, class names,
 *                                        version
 *     state/train.safetensors            what resuming needs
 *     state/ema/STEP.safetensors         averages of weights, where snapshots were asked for
 *
 * Why a kill at any instant does no harm. Each file is replaced by one rename, so each is always a
 * whole one. All that training needs is in one of them, state/train.safetensors: live weights,
 * average (EMA), optimiser and counters of one step, of all networks that are trained together.
 * vn_store_save_checkpoint writes it first and then, network by network, the weights, which are a
 * copy of its average; all carry the step (metadata "vane.step"). Killed before the first rename,
 * all are the last checkpoint. Killed after it, some weights are whole but of the last checkpoint:
 * they load and sample, and vn_store_load_checkpoint sees that their step is not the state's and
 * writes them again from the state. There is no third case. */
#ifndef VN_STORE_H
#define VN_STORE_H

#include "base/base.h"
#include "nn/nn.h"
#include "tensor/tensor.h"

/* ---- safetensors ----------------------------------------------------------------------------- */

typedef struct vn_safetensors vn_safetensors;

/* Maps a file and checks all of its header: sizes, types, offsets without holes or overlaps, no
 * duplicates. Tensors of more than VN_MAX_RANK axes are VN_UNSUPPORTED. Everything that it returns
 * is valid until it is closed. */
vn_status vn_safetensors_open(const char *path, vn_safetensors **out, vn_err *err);
void vn_safetensors_close(vn_safetensors **st);
const char *vn_safetensors_path(const vn_safetensors *st);
size_t vn_safetensors_count(const vn_safetensors *st);
/* in the order of their data */
const vn_array *vn_safetensors_at(const vn_safetensors *st, size_t i);
/* NULL if absent */
const vn_array *vn_safetensors_find(const vn_safetensors *st, const char *name);
/* Like find, but absent is VN_BAD_FILE, naming file, tensor and the nearest that is there. */
vn_status vn_safetensors_get(const vn_safetensors *st, const char *name, const vn_array **out,
                             vn_err *err);
/* The object "__metadata__" of strings; NULL if there is none. Owned by the file. */
const json_t *vn_safetensors_metadata(const vn_safetensors *st);
/* NULL if absent */
const char *vn_safetensors_metadata_text(const vn_safetensors *st, const char *key);

/* Writes tensors in the order, alignment and bytes of the reference writer, atomically. metadata:
 * an object of strings, or NULL. Names must be unique and not "__metadata__" (VN_BAD_ARGUMENT). */
vn_status vn_safetensors_write(const char *path, const vn_array *tensors, size_t count,
                               const json_t *metadata, vn_err *err);

/* numpy's format for one array, atomically. F32, F64, I32, I64 and U8. */
vn_status vn_npy_write(const char *path, vn_dtype dtype, const vn_shape *shape, const void *data,
                       vn_err *err);

/* The same two kinds of file written piece by piece, for tensors that are larger than memory. Begin
 * writes the header (data of the tensors is not looked at) and refuses what the disk has no space
 * for; put takes pieces in any order, as many in all as the tensors have; commit makes the file
 * appear, and without it there is none. to: the file is one in memory, which outlives it, and path
 * its name in messages; NULL: at path. */
typedef struct vn_tensor_file vn_tensor_file;
vn_status vn_safetensors_begin(const char *path, vn_memory_file *to, const vn_array *tensors,
                               size_t count, const json_t *metadata, vn_tensor_file **out,
                               vn_err *err);
vn_status vn_npy_begin(const char *path, vn_memory_file *to, vn_dtype dtype, const vn_shape *shape,
                       vn_tensor_file **out, vn_err *err);
/* Elements [first, first + n) of the tensor at this place of `tensors` (.npy: 0). */
vn_status vn_tensor_file_put(vn_tensor_file *f, size_t tensor, size_t first, size_t n,
                             const void *data, vn_err *err);
vn_status vn_tensor_file_commit(vn_tensor_file **f, vn_err *err); /* closes, whatever comes of it */
/* closes and removes; safe on NULL */
void vn_tensor_file_abandon(vn_tensor_file **f);

/* ---- a network's weights --------------------------------------------------------------------- */

/* Reads `path`, a .safetensors or the .safetensors.index.json of a sharded one, into
 * values[vn_weights_floats(w)], repacked. Every weight must be there in its file shape, of any
 * float type, and nothing else; else VN_BAD_FILE with file, tensor, found and expected shape. The
 * gaps between weights become zero. On failure values is undefined. watch (or NULL) hears of the
 * progress of large ones, and may stop it: VN_CANCELLED. */
vn_status vn_store_load_weights(const char *path, const vn_weights *w, float *values,
                                const vn_watch *watch, vn_err *err);
/* Sets w's number types to those of the file, where the device's programs can read them, else to
 * F32. Fails as loading does. */
vn_status vn_store_read_types(const char *path, vn_weights *w, const vn_device_row *row,
                              vn_err *err);
/* The same weights for programs of a device that only read them, in the number types that
 * vn_store_read_types sets: read from the mapped file itself where the host's memory is the
 * device's and the tensor lies there as it does inside, else repacked into memory of the values'
 * own. Nothing else may shorten the file meanwhile. */
vn_status vn_store_open_values(const char *path, vn_weights *w, const vn_device *d,
                               const vn_watch *watch, vn_values **out, vn_err *err);
/* Writes F32 in PyTorch's shapes; step >= 0 goes into the metadata. */
vn_status vn_store_save_weights(const char *path, const vn_weights *w, const float *values,
                                int64_t step, vn_err *err);
/* The step that save_weights was given, or -1. VN_IO, VN_BAD_FILE as opening does. */
vn_status vn_store_weights_step(const char *path, int64_t *step, vn_err *err);

/* ---- model directories ----------------------------------------------------------------------- */

/* What a directory holds. JSON objects are owned by it; those that are absent are NULL. */
typedef struct vn_model_dir {
    char *path; /* the directory */
    /* the network's, "unet"; "" in a plain folder that holds config.json itself */
    char *folder;
    /* file to load the weights from, or NULL: there is only a config, or several variants */
    char *weights;
    bool variant;      /* weights is not the plain file but the only variant of it that is there */
    json_t *index;     /* model_index.json */
    json_t *config;    /* the network's config.json; never NULL */
    json_t *scheduler; /* scheduler_config.json */
    json_t *vane;      /* vane.json */
} vn_model_dir;

/* path: a run or diffusers directory, a plain folder with config.json, a config.json, or one of
 * several files of weights beside it. A folder inside a pipeline whose index does not name it
 * (unet_ema) has the pipeline's scheduler, and so has such a file. Fails with VN_IO, VN_BAD_FILE or
 * VN_UNSUPPORTED (a pipeline without a network that nn knows the folder of). */
vn_status vn_model_dir_open(const char *path, vn_model_dir *out, vn_err *err);
/* The directory of the model that the file or folder is a part of, by the model_index.json or
 * config.json in those above it; new string, NULL: none (or no memory). For messages: the directory
 * was meant. */
char *vn_model_dir_around(const char *part);
void vn_model_dir_close(vn_model_dir *d); /* safe on a zeroed one */
/* Whether the path is a file of weights with a config.json beside it. */
bool vn_model_dir_is_weights(const char *path);
/* Like d->weights, but NULL is VN_BAD_FILE, or VN_UNSUPPORTED where they are pickled: says what
 * there is in their place. */
vn_status vn_model_dir_weights(const vn_model_dir *d, const char **path, vn_err *err);

/* A network beside the model's own: its folder, which is its name in model_index.json too. */
typedef struct vn_model_other {
    const char *folder;
    const json_t *config;
} vn_model_other;

/* What vn_store_save_model writes. Each part's class is its JSON's _class_name; a part with
 * _diffusers_version is listed as diffusers', any other as vane's own. */
typedef struct vn_model_parts {
    const char *pipeline;    /* diffusers' class for the whole, "DDPMPipeline" */
    const char *folder;      /* the network's: vn_net_row.folder */
    const json_t *config;    /* vn_net_config */
    const json_t *scheduler; /* or NULL */
    const json_t *vane;      /* or NULL */
    int others;
    const vn_model_other *other; /* [others] */
} vn_model_parts;

/* Makes the directory and all its JSON files, model_index.json last, so that it says the others are
 * there. */
vn_status vn_store_save_model(const char *dir, const vn_model_parts *parts, vn_err *err);
/* Copies a file of weights into a folder, under its name, and if it is an index the shards too. */
vn_status vn_store_copy_weights(const char *file, const char *folder, vn_err *err);
/* Where a folder's weights are written: dir/folder/diffusion_pytorch_model.safetensors or, of a
 * network whose config is transformers' (it has no _class_name), model.safetensors. config NULL:
 * the former. New string or NULL. */
char *vn_store_weights_path(const char *dir, const char *folder, const json_t *config);

/* ---- checkpoints ----------------------------------------------------------------------------- */

#define VN_CHECKPOINT_PARTS 8

/* A network that is trained. Arrays are flat, vn_weights_floats(weights) long, owned by the
 * caller. */
typedef struct vn_checkpoint_part {
    const char *folder; /* of its weights in the directory, unlike any other's */
    /* the network's, by which the file of its weights is called (vn_store_weights_path); or NULL */
    const json_t *config;
    const vn_weights *weights;
    float *live;    /* the weights being trained */
    float *average; /* their EMA; NULL: none is kept */
    float *narrow;  /* a second one, for snapshots; NULL: none is kept */
    float *moment1; /* Adam's m and v */
    float *moment2;
    const vn_weights *second; /* those that moment2 is of; NULL: all */
    /* whose moments they are, of the table of optimisers; loading refuses another's. NULL: adamw */
    const char *optimizer;
} vn_checkpoint_part;

/* The list that moment2 is of. */
static inline const vn_weights *vn_checkpoint_second(const vn_checkpoint_part *p) {
    return p->second ? p->second : p->weights;
}

typedef enum vn_state_array {
    VN_STATE_LIVE,
    VN_STATE_AVERAGE,
    VN_STATE_NARROW,
    VN_STATE_MOMENT1,
    VN_STATE_MOMENT2,
    VN_STATE_ARRAYS
} vn_state_array;

/* Of arrays that are in memory one at a time, or whose pointers are all to the same memory, as many
 * processes have a piece of each. */
typedef struct vn_state_pieces {
    void *self;
    /* An array comes to where the part says, before it is written. */
    vn_status (*bring)(void *self, int part, vn_state_array which, vn_err *err);
    /* One that was read is there, and may be overwritten afterwards. */
    void (*keep)(void *self, int part, vn_state_array which);
    bool repairs; /* loading writes the weights again that a kill left behind the state */
} vn_state_pieces;

/* All that training needs to go on from `step`. The state's tensors are "live.NAME",
 * "average.NAME", "narrow.NAME", "moment1.NAME" and "moment2.NAME" of the first part's weights, and
 * "FOLDER/live.NAME", .. of the others'. */
typedef struct vn_checkpoint {
    int64_t step;
    int parts; /* at least one */
    vn_checkpoint_part part[VN_CHECKPOINT_PARTS];
    const vn_state_pieces *pieces; /* NULL: all arrays are there at once */
    /* an object of the trainer's own: counters, losses; real numbers come back bit for bit */
    json_t *info;
} vn_checkpoint;

/* Snapshots of the averages: files of their own, state/ema/STEP.safetensors, whose tensors are
 * called as in the state. Saving writes that of c->step. The steps that there are, in order: a new
 * array, NULL where there is none. */
#define VN_STATE_FILE       "state/train.safetensors"
#define VN_SNAPSHOTS_FOLDER "state/ema"
char *vn_store_snapshot_path(const char *dir, int64_t step); /* new string or NULL */
vn_status vn_store_save_snapshot(const char *dir, const vn_checkpoint *c, vn_err *err);
vn_status vn_store_list_snapshots(const char *dir, int64_t **steps, size_t *n, vn_err *err);
vn_status vn_store_remove_snapshot(const char *dir, int64_t step, vn_err *err);

bool vn_store_has_checkpoint(const char *dir);
/* The step of the checkpoint that is there; -1 where the file does not say. */
vn_status vn_store_checkpoint_step(const char *dir, int64_t *step, vn_err *err);
/* Writes the state, then the weights of each part (the average, or live if there is none), into
 * folders that are there. */
vn_status vn_store_save_checkpoint(const char *dir, const vn_checkpoint *c, vn_err *err);
/* Fills the arrays, step and info (a new reference) of c, whose parts are set as they were when
 * saved: an average must be NULL if and only if it was then. Repairs the weights of parts that a
 * kill left behind the state. */
vn_status vn_store_load_checkpoint(const char *dir, vn_checkpoint *c, vn_err *err);
/* Removes state and weights of the parts, the first step of overwriting a run: no instant must pair
 * a config with another's weights. */
vn_status vn_store_remove_checkpoint(const char *dir, const vn_checkpoint *c, vn_err *err);

#endif
