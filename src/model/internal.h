/* internal.h - what the files of model share. */
#ifndef VN_MODEL_INTERNAL_H
#define VN_MODEL_INTERNAL_H

#include "model/model.h"
#include "text/text.h"

extern const vn_model_row vn_network_model, vn_text_model, vn_pipeline_model,
    vn_class_pipeline_model, vn_classifier_model, vn_sequence_model, vn_text_sequence_model,
    vn_chains_model, vn_world_model, vn_callback_model_row;

/* What opens a network as a part of something larger says of it. */
typedef struct vn_network_setup {
    const vn_model_source *source;
    int64_t height, width;   /* of a sample; 0: as the files have it */
    const json_t *scheduler; /* in the place of the directory's; NULL: that one */
    bool own_times;          /* vn_scheduler_use */
} vn_network_setup;

/* Opens the network and all that its files say of it. */
vn_status vn_network_open(vn_model *m, const vn_network_setup *setup, vn_err *err);
/* What the same row does, for rows whose denoiser is such a network and something more. */
vn_status vn_network_denoiser(vn_model *m, const vn_path *path, vn_denoiser *out, vn_err *err);
void vn_network_close_denoiser(vn_model *m);
int64_t vn_network_batch(const vn_model *m);
void vn_network_set_batch(vn_model *m, int64_t requested);
void vn_network_set_guidance(vn_model *m, double guidance);
bool vn_network_fingerprint(vn_model *m, uint64_t *out);
void vn_network_close(vn_model *m);
/* "S" or "HxW", each from 1 to VN_MAX_SIDE. */
vn_status vn_model_read_size(const char *text, int64_t *height, int64_t *width, vn_err *err);

/* names[i] = name(from, i), or its number where that is NULL. */
vn_status vn_model_copy_names(vn_model *m, int32_t classes,
                              const char *(*name)(const void *from, int32_t i), const void *from,
                              vn_err *err);
/* The classes of a network that is being opened; null_class: the row that the user calls null, or
 * -1. */
vn_status vn_model_read_classes(vn_model *m, const vn_model_dir *dir, int32_t null_class,
                                vn_err *err);
/* An empty model of this row, to be closed with vn_model_close. */
vn_status vn_model_new(vn_context *vn, const vn_engine *engine, const vn_model_row *row,
                       const char *source, vn_model **out, vn_err *err);

/* ---- parts (parts.c) ------------------------------------------------------------------------- */

/* Opens the network in a folder of the model's directory, of this role. *part is to be closed,
 * after a failure too, unless it is added. */
vn_status vn_model_open_part(const vn_model *m, const char *name, vn_role role, vn_model_part *part,
                             vn_err *err);
/* The part becomes the model's: its index. */
int vn_model_add_part(vn_model *m, vn_model_part *part);
void vn_model_close_part(vn_model_part *part); /* safe on one that was added */

/* ---- latents of an autoencoder (latents.c) --------------------------------------------------- */

/* Opens the network of a model whose samples are latents of this autoencoder, and what they are
 * shown as; setup->source->size is in pixels. The autoencoder is added as a part when the others
 * are there. */
vn_status vn_latents_open(vn_model *m, const vn_network_setup *setup, const vn_net *autoencoder,
                          vn_err *err);
/* The same of a run that was trained with `latents`, with the autoencoder that it has; of another
 * source opens the network alone. *autoencoder is to be closed, after a failure too. */
vn_status vn_latents_open_run(vn_model *m, const vn_model_source *source,
                              vn_model_part *autoencoder, vn_err *err);
/* The part, unless it is empty, becomes the model's, which decodes by it from then on. */
void vn_latents_add_autoencoder(vn_model *m, vn_model_part *part);
/* Opens m->autoencoder where it is not open; and a row's `decode`, `encode` and their
 * derivatives. */
vn_status vn_latents_open_autoencoder(vn_model *m, vn_err *err);
vn_status vn_latents_decode(vn_model *m, int64_t n, const float *x, float *shown, vn_err *err);
vn_status vn_latents_encode(vn_model *m, int64_t n, const float *shown, float *x, vn_err *err);
vn_status vn_latents_decode_vjp(vn_model *m, const float *x, const float *direction, float *out,
                                vn_err *err);
vn_status vn_latents_encode_vjp(vn_model *m, const float *shown, const float *direction, float *out,
                                vn_err *err);
/* All of these, in a row. */
#define VN_LATENTS_CODING                                                                          \
    .decode = vn_latents_decode, .encode = vn_latents_encode, .decode_vjp = vn_latents_decode_vjp, \
    .encode_vjp = vn_latents_encode_vjp

/* ---- arrays of conditions in a batch (condition_feeds.c) ------------------------------------- */

/* How many tokens the condition's arrays have; 0: none has tokens. */
int64_t vn_condition_tokens(const vn_net_denoiser *d, vn_condition c);
/* How many tokens row i of a query is fed: of its own text, and of the one that it is led away
 * from, which lies behind (VN_ATTENTION_NORMALIZED; 0: of none). */
typedef struct vn_row_tokens {
    int64_t own, negative;
} vn_row_tokens;
vn_row_tokens vn_tokens_of(const vn_net_denoiser *d, const vn_query *q, int64_t i);
/* Feeds for the ports of conditions, of n rows of a query from `first` on, with the same numbers of
 * tokens: out [VN_MAX_PORTS], *count of them. */
vn_status vn_condition_feeds(vn_net_denoiser *d, const vn_query *q, int64_t first, int64_t n,
                             vn_feed *out, int *count, vn_err *err);
void vn_condition_feeds_close(vn_net_denoiser *d);

/* ---- noise on conditions (anneal.c) ---------------------------------------------------------- */

/* How much of the condition is left at t, g of vn_anneal. */
double vn_anneal_kept(const vn_anneal *a, double t);
/* Whether what the port is fed gets noise: tokens and vectors of conditions, but no sizes, masks
 * and classes. */
bool vn_is_annealed(const vn_port *p);
/* The array y [n] of one condition becomes what vn_anneal says; noise [n] of N(0,1). */
void vn_anneal_array(const vn_anneal *a, double kept, const float *noise, size_t n, float *y);

/* ---- images as rows of patches (packing.c) --------------------------------------------------- */

/* n images of the denoiser's samples, in the order that its network takes them, and back. */
void vn_pack_images(const vn_net_denoiser *d, const float *images, int64_t n, float *packed);
void vn_unpack_images(const vn_net_denoiser *d, const float *packed, int64_t n, float *images);

/* ---- conditions (conditions.c) --------------------------------------------------------------- */

/* Whether the port is a table of classes, which labels are rows of. */
bool vn_is_class_table(const vn_port *p);
/* Whether the port takes arrays of conditions: not the sample, its level or how to guide, and not
 * what is the same for a whole batch. */
bool vn_is_condition(const vn_port *p);
/* vn_model_keep_condition where a name may be any text; null: it is what the null condition is. */
vn_status vn_model_keep_as(vn_model *m, const char *name, bool null, int n, const vn_array *arrays,
                           vn_condition *out, vn_err *err);
/* Begins a model without conditions and names with those of another. */
vn_status vn_model_take_conditions(vn_model *m, const vn_model *of, vn_err *err);
/* The condition that was added under this name, but for the null one. */
bool vn_model_find_added(const vn_model *m, const char *name, vn_condition *out);

/* ---- texts (prompts.c) ----------------------------------------------------------------------- */

/* A text's ids and mask [length], as vn_text_fill. */
vn_status vn_prompter_tokens(vn_prompter *p, const char *text, int32_t *ids, int32_t *mask,
                             int64_t *whole, vn_err *err);
/* A text's ids [length], filled up or cut, which the log says; with its words in an error. */
vn_status vn_prompt_fill(vn_text *text, const vn_watch *watch, const char *prompt, int64_t length,
                         int32_t *ids, vn_err *err);
/* vn_prompter_encode with a text's words in an error; the log says where it is cut. who: the
 * encoder's folder, for messages; NULL: there is one alone. */
vn_status vn_prompter_answer(vn_prompter *p, const vn_watch *watch, const char *who,
                             const char *text, vn_array out[VN_PROMPT_ARRAYS], vn_err *err);
/* What the encoder makes of n texts: states [n,length,width], pooled [n,pooled]. */
vn_status vn_prompter_run(vn_prompter *p, int64_t n, int32_t *ids, int32_t *mask, float *states,
                          float *pooled, vn_err *err);

/* fingerprint.c: goes on with *hash by a part's weights as floats, one array after another; false:
 * no memory. */
bool vn_hash_part(const vn_model_part *part, uint64_t *hash);
/* The hash of a world's JSON, whatever its layout; false: out of memory. */
bool vn_hash_world(const json_t *world, uint64_t *out);

/* Of files that are kept beside a run (cache_file.c): the bytes at a position, false: they are not
 * there; and the hash of all that follows `from` in a file of `size` bytes. */
bool vn_cache_read_at(int fd, void *to, size_t size, uint64_t at);
bool vn_cache_hash(int fd, uint64_t from, uint64_t size, uint64_t *hash);
/* Sets the model's fingerprint; without memory it has none. */
void vn_model_keep_fingerprint(vn_model *m, uint64_t hash);

/* The row's `denoiser` of models of sequences, which have none: likelihoods by an ODE, restoration
 * and timing ask for one. */
vn_status vn_sequence_refuse_denoiser(vn_model *m, const vn_path *path, vn_denoiser *out,
                                      vn_err *err);

/* ---- large images in parts (tiles.c) --------------------------------------------------------- */

/* Parts of an array [n,channels,rows,columns], squares of `tile`, to those of another. */
typedef struct vn_tiles {
    int64_t n, channels, rows, columns, out_channels;
    int64_t tile;              /* of the input */
    int64_t reduced, enlarged; /* sides of the output: those of the input, divided and times */
    bool ramps;
    /* Runs a part [n,channels,rows,columns]; its output is out_channels. */
    vn_status (*run)(void *self, int64_t rows, int64_t columns, const float *in, float *out,
                     vn_err *err);
    void *self;
} vn_tiles;

vn_status vn_tiles_run(const vn_tiles *t, const float *in, float *out, vn_err *err);

#endif
