/* options_table.c - the options of every struct, a row each. What is said of an option here is all
 * that vane knows of it: vn_NAME_init, the checks, vane.json, the flags of the program with their
 * help and `vane list options` are made from the rows. */
#include "api/options.h"

#include <math.h>

#include "sample/sample.h"

/* Members of the struct OF. A flag's default is 0; the numbers are default, what is used where that
 * stands for "not given" (else the same), least and most. */
#define TEXT(member) .name = #member, .type = VN_OPTION_TEXT, .offset = offsetof(OF, member)
#define FLAG(member)                                                                               \
    .name = #member, .type = VN_OPTION_FLAG, .offset = offsetof(OF, member), .word = "", .max = 1
#define NUMBER(member, of_type, initial, used, least, most)                                        \
    .name = #member, .type = VN_OPTION_##of_type, .offset = offsetof(OF, member),                  \
    .value = (initial), .fallback = (used), .min = (least), .max = (most)

#define MAX_STEPS 16000000.0 /* of training: random streams number 2^24 steps */
#define MAX_SEED  18446744073709551615.0

/* clang-format off */

#define OF vn_context_options
static const vn_option context_rows[] = {
    {NUMBER(threads, INT, 0, 0, 0, 1024), .unit = "threads", .word = "N",
     .help = "threads to compute with, 0: one per core; the result does not depend on it"},
    {TEXT(cpu), .word = "NAME", .otherwise = "auto",
     .help = "kernels to use: auto, avx512, avx2 or portable"},
    {TEXT(precision), .word = "TYPE", .otherwise = "float32",
     .help = "numbers that networks multiply: float32, bf16 (in linear layers, other matrix "
             "products and attention; all else is in float32), or auto: bf16 where this processor "
             "is faster at it"},
    {FLAG(distributed),
     .help = "share the work with the processes that mpirun or srun started with this one"},
    {NUMBER(timeout, DOUBLE, 0, 600, 0.1, 1e6), .unit = "seconds", .word = "S",
     .help = "of several processes (mpirun, srun): give up one that does not answer for so long"},
};
#undef OF

#define OF vn_model_options
static const vn_option model_rows[] = {
    {NUMBER(null_class, INT64, -1, -1, 0, INT32_MAX), .word = "ROW", .otherwise = "none",
     .help = "of a diffusers model: the row of its class table that stands for no class, where no "
             "file says it"},
    {TEXT(size), .word = "S", .otherwise = "the model's own",
     .help = "pixels of the images: a side, or HxW; of a pipeline, or a network of any size"},
};
#undef OF

#define OF vn_sample_options
static const vn_option sample_rows[] = {
    {NUMBER(count, INT64, 0, 0, 1, INT32_MAX), .unit = "samples", .word = "N",
     .otherwise = "16, or as many as noise_file holds",
     .help = "samples for each guidance value"},
    {NUMBER(label, LABEL, VN_LABEL_ALL, VN_LABEL_ALL, 0, INT32_MAX), .word = "C",
     .help = "a class by number, null for none, or all in turn"},
    {NUMBER(guidance, DOUBLE, (double)NAN, (double)NAN, -HUGE_VAL, HUGE_VAL), .word = "G",
     .otherwise = "what the run says, 1 where nothing does",
     .help = "strength of the condition: 0 none, 1 as trained, more: amplified"},
    {NUMBER(steps, INT, 0, 0, 1, VN_MAX_STEPS), .unit = "steps", .word = "N",
     .otherwise = "what the run says, else 32", .help = "steps from noise to data"},
    {TEXT(guide), .table = "guides", .word = "NAME",
     .otherwise = "cfg, and the clipping of the model's scheduler",
     .help = "the rule, or several that act together with commas"},
    {TEXT(sampler), .table = "samplers", .word = "NAME",
     .otherwise = "the model's scheduler's, else the path's own",
     .help = "how one step is made"},
    {TEXT(grid), .table = "grids", .word = "NAME",
     .otherwise = "the model's scheduler's, else the path's own", .help = "where the steps are"},
    {TEXT(begin), .choices = "scaled|unit", .word = "KIND",
     .otherwise = "the model's scheduler's, else scaled",
     .help = "scaled: the noise times sigma of the first level; unit: of unit variance, as "
             "diffusers' pipelines"},
    {TEXT(cache), .table = "caches", .word = "NAME", .otherwise = "every pass is run",
     .help = "leave out passes that those of steps before nearly say: branch, the null pass of "
             "every other step; easy, steps in which little changes"},
    {TEXT(path), .table = "paths", .word = "NAME", .otherwise = "rectified",
     .help = "for what was trained on none, such as worlds, which know every path; a run knows its "
             "own"},
    {NUMBER(seed, UINT64, 0, 0, 0, MAX_SEED), .word = "S",
     .help = "sample i depends on S and i only"},
    {NUMBER(first, UINT64, 0, 0, 0, MAX_SEED), .word = "N",
     .help = "index of the first sample: after -n 10, --first 10 draws others"},
    {TEXT(noise_file), .word = "FILE",
     .help = "begin with the tensor `noise` [N,...] of this .safetensors, of unit variance"},
    {NUMBER(batch, INT64, 0, 0, 1, INT32_MAX), .unit = "samples", .word = "N",
     .otherwise = "chosen", .help = "samples in one forward pass; they do not depend on it"},
    {TEXT(restore), .table = "restorers", .word = "RULE", .otherwise = "nothing is restored",
     .help = "draw samples of p(x|y), y = A x + noise: how the observation changes predictions"},
    {TEXT(observed_file), .word = "Y",
     .help = "what was observed: a picture, or a .safetensors with `observed` [N or 1,...]"},
    {TEXT(forward_operator), .table = "operators", .word = "NAME",
     .help = "A, what is observed of a sample: mask:file=M.png, downsample:factor=4, ..."},
    {NUMBER(noise_level, DOUBLE, 0, 0, 0, 1e6), .word = "S",
     .help = "standard deviation of the observation's noise (black is -1, white 1)"},
    {TEXT(init_file), .word = "X",
     .help = "begin with this, noised to t = strength (SDEdit): a picture, or a .safetensors with "
             "`samples` [N or 1,...]"},
    {NUMBER(strength, DOUBLE, 0, 0.6, 1e-6, 1), .word = "T",
     .help = "t to begin at, of 0 (it stays as it is) to 1 (noise alone); 1 with invert"},
    {NUMBER(invert, INT64, 0, 0, 1, 1000), .unit = "evaluations", .word = "K",
     .otherwise = "noise is drawn",
     .help = "find the noise of the init by DDIM inversion, with K evaluations at each level: more "
             "of them come nearer to its exact inverse"},
    {FLAG(trace),
     .help = "keep the states at all levels: in a .safetensors as trace [levels,N,...] and "
             "trace_t, in a picture of points as lines"},
    {TEXT(negative), .word = "TEXT", .otherwise = "none, the empty text",
     .help = "a prompt that takes the place of none in guidance, to move away from"},
    {NUMBER(embedded_guidance, DOUBLE, (double)NAN, (double)NAN, -HUGE_VAL, HUGE_VAL),
     .word = "E", .otherwise = "3.5",
     .help = "what a network that takes guidance as an input is told beside guides from outside "
             "(--guide cfg)"},
    {NUMBER(scale, INT, 0, 0, 1, 64), .unit = "pixels", .word = "K",
     .otherwise = "1 in a folder, in one picture so that small images show",
     .help = "each pixel becomes K x K in a PNG"},
    {NUMBER(temperature, DOUBLE, 1, 1, 0, 1e6), .word = "T",
     .help = "of a sequence model: its logits are divided by T; 0: always the likeliest token"},
    {NUMBER(top_k, INT64, 0, 0, 1, INT32_MAX), .unit = "tokens", .word = "K", .otherwise = "all",
     .help = "of a sequence model: tokens are drawn of the K likeliest alone"},
    {NUMBER(top_p, DOUBLE, 1, 1, 0, 1), .word = "P",
     .help = "of a sequence model: of the fewest likeliest tokens that have the probability P"},
};
#undef OF

/* The order is that of vane.json. */
#define OF vn_train_options
static const vn_option train_rows[] = {
    {TEXT(model), .table = "models", .word = "NAME",
     .otherwise = "unet2d for images, text-dit for those with captions, mlp for points",
     .help = "a model with parameters (unet2d:channels=32), or a config.json of diffusers"},
    {TEXT(path), .table = "paths", .word = "NAME", .otherwise = "rectified",
     .help = "how data becomes noise"},
    {TEXT(predict), .table = "predictions", .word = "NAME", .otherwise = "the path's own",
     .help = "what the network's output means"},
    {TEXT(objective), .table = "objectives", .word = "NAME", .otherwise = "the prediction's own",
     .help = "what is minimised"},
    {TEXT(times), .table = "times", .word = "NAME", .otherwise = "the path's own",
     .help = "how t is drawn"},
    {NUMBER(drop, DOUBLE, -1, 0.1, 0, 1), .word = "P",
     .help = "probability of training without the class or caption, which guidance needs"},
    {NUMBER(batch, INT64, -1, 64, 1, 65536), .unit = "samples", .word = "N",
     .otherwise = "64; 32 for unet2d and text-dit, 16 for autoencoders",
     .help = "samples in a step"},
    {TEXT(optimizer), .table = "optimizers", .word = "NAME",
     .otherwise = "adamw; muon for unet2d, text-dit and autoencoders",
     .help = "how gradients change weights"},
    {NUMBER(lr, DOUBLE, -1, 1e-3, 0, 1e6), .word = "X",
     .otherwise = "0.001; 0.004 for unet2d, text-dit and autoencoders; a quarter of it for what "
                  "goes on from a run's weights",
     .help = "highest learning rate"},
    {TEXT(schedule), .choices = "cosine|constant", .word = "NAME",
     .otherwise = "cosine with --minutes; constant with --steps, so that more of them may follow",
     .help = "of the learning rate: cosine (to 0) or constant"},
    {NUMBER(warmup, INT64, -1, 50, 0, MAX_STEPS), .unit = "steps", .word = "N",
     .help = "steps of linear warm-up"},
    {NUMBER(weight_decay, DOUBLE, -1, 0, 0, 1e6), .word = "X", .help = "decoupled weight decay"},
    {NUMBER(clip, DOUBLE, -1, 1, 0, 1e30), .word = "X",
     .help = "bound on the norm of the whole gradient; 0: none"},
    {NUMBER(ema, DOUBLE, -1, -1, 0, 1), .word = "X",
     .otherwise = "a share of the run so far, the power function of EDM2",
     .help = "decay of the weights' moving average, which is what is saved for sampling"},
    {NUMBER(ema_snapshots, INT64, 0, 0, 2, 256), .unit = "snapshots", .word = "N",
     .otherwise = "none",
     .help = "keep at most N snapshots of two averages, each twice the size of the weights, of "
             "which vane ema makes averages of any width"},
    {NUMBER(dropout, DOUBLE, -1, -1, 0, 1), .word = "P", .otherwise = "the model's own",
     .help = "dropout inside the network"},
    {NUMBER(seed, UINT64, -1, 0, 0, 9.2e18), .word = "S",
     .help = "of weights, data order, noise and all else"},
    {NUMBER(steps, INT64, 0, 0, 1, MAX_STEPS), .unit = "steps", .word = "N", .otherwise = "",
     .help = "training steps; with --resume in all"},
    {NUMBER(minutes, DOUBLE, 0, 0, 0, 1e7), .unit = "minutes", .word = "M", .otherwise = "",
     .help = "or as many steps as fit in this time; with --resume in all"},
    {NUMBER(size, INT64, 0, 0, -1, 4096), .unit = "pixels", .word = "S",
     .otherwise = "as the files are if they all have one size of up to 64 pixels a side, else 32",
     .help = "class folders: resize and crop to S x S; -1: as the files are"},
    {FLAG(grey), .help = "class folders: read as grey"},
    {FLAG(flip), .help = "flip images left-right at random"},
    {NUMBER(shift, INT64, 0, 0, 1, 4096), .unit = "pixels", .word = "N", .otherwise = "",
     .help = "move images by up to N pixels at random, edges repeated"},
    {FLAG(skip_bad), .help = "class folders: go on without pictures that cannot be read"},
    {TEXT(captions), .table = "captions", .word = "KIND",
     .otherwise = "what is found beside the pictures",
     .help = "where captions of the data are; none: leave them aside"},
    {TEXT(text_encoder), .word = "DIR", .otherwise = "one is trained with the model",
     .help = "a pretrained text encoder, which is not trained: a folder of transformers' with its "
             "tokenizer, or of a pipeline; the run holds a copy"},
    {TEXT(latents), .word = "AE",
     .otherwise = "the model sees the pictures; a sequence model has patches of them as tokens",
     .help = "train on what this autoencoder encodes pictures to, a run's or diffusers'; the run "
             "holds a copy, which decodes what is drawn; of a sequence model, its codes"},
    {TEXT(perceptual), .word = "F", .otherwise = "pictures are compared by their numbers alone",
     .help = "autoencoders: compare pictures by features too: random, or a run of "
             "classifier:time=no"},
    {NUMBER(validate, DOUBLE, -1, 0.02, 0, 0.5), .word = "P",
     .help = "part of the data that is held out for the validation loss"},
    {NUMBER(log_every, INT64, -1, 10, 1, MAX_STEPS), .unit = "steps", .word = "N",
     .help = "steps between lines of RUN/log.jsonl"},
    {NUMBER(save_every, INT64, 0, 0, 1, MAX_STEPS), .unit = "steps", .word = "N",
     .otherwise = "about once a minute", .help = "steps between checkpoints"},
    {NUMBER(preview_every, INT64, 0, 0, -1, MAX_STEPS), .unit = "steps", .word = "N",
     .otherwise = "after 20 seconds, then every minute",
     .help = "steps between pictures in RUN/previews; -1: none"},
    {NUMBER(microbatches, INT64, 0, 1, 1, 65536), .unit = "parts", .word = "N",
     .otherwise = "2 of an even batch of 16 or more, else 1",
     .help = "pass a step's samples through the network in N equal parts: at the same time, as "
             "many as there are threads; one after another takes less memory"},
    {TEXT(init_from), .word = "RUN", .otherwise = "the network begins by chance",
     .help = "the network and the weights of a finished run are gone on from, on its path"},
    {TEXT(teacher), .word = "TEACHER", .otherwise = "",
     .help = "a model that is learned from: objective is then a method"},
    {FLAG(recompute),
     .help = "less memory, for more time: blocks of the network are computed again in the "
             "backward pass; the result is the same"},
    {FLAG(resume), .help = "go on with the run in RUN, exactly where it was"},
    {FLAG(overwrite), .help = "replace the run in RUN"},
    {FLAG(dry_run),
     .help = "write nothing: say what would be trained, how long a step takes and what the time "
             "would give"},
};
#undef OF

#define OF vn_likelihood_settings
static const vn_option likelihood_rows[] = {
    {TEXT(path), .table = "paths", .word = "NAME", .otherwise = "rectified",
     .help = "for what was trained on none, such as worlds"},
    {FLAG(exact),
     .help = "compute the divergence, a pass for each coordinate; so it is up to 16 dimensions "
             "anyway"},
    {NUMBER(probes, INT, -1, -1, 1, INT32_MAX), .unit = "vectors", .word = "N",
     .otherwise = "1 above 16 dimensions",
     .help = "or estimate it with N random vectors (Hutchinson)"},
    {NUMBER(rtol, DOUBLE, 1e-5, 1e-5, 1e-7, 0.1), .word = "X",
     .help = "relative tolerance of the integration"},
    {NUMBER(atol, DOUBLE, 1e-5, 1e-5, 1e-9, 0.1), .word = "X",
     .help = "absolute tolerance of the integration"},
    {NUMBER(seed, UINT64, 0, 0, 0, MAX_SEED), .word = "S", .help = "of the probes"},
};
#undef OF

#define OF vn_eval_options
static const vn_option eval_rows[] = {
    {TEXT(metric), .table = "metrics", .word = "NAME",
     .help = "what is measured; several with commas"},
    {TEXT(data), .word = "DATA", .otherwise = "exact draws, for a world",
     .help = "what `vane train` reads (.npz, points:NAME, a folder, ...), or a .safetensors with "
             "samples, a .npy of them, or a run: what was held out of its data"},
    {NUMBER(count, INT64, 0, 0, 1, INT32_MAX), .unit = "samples", .word = "N",
     .otherwise = "at most 1000; of sets that exist, all",
     .help = "how many: drawn by the seed, of each class its share"},
    {NUMBER(label, LABEL, VN_LABEL_ALL, VN_LABEL_ALL, 0, INT32_MAX), .word = "C",
     .help = "a class by number for all samples, null for none, all for each sample's own"},
    {NUMBER(seed, UINT64, 0, 0, 0, MAX_SEED), .word = "S",
     .help = "of draws, probes and the bootstrap"},
    {TEXT(samples), .word = "SET",
     .otherwise = "drawn from the model",
     .help = "samples that exist: a .safetensors, a .npy, a folder, or a run to draw from, or an "
             "autoencoder: its reconstructions of the data"},
    {TEXT(features), .table = "features", .word = "F",
     .otherwise = "raw for points, random for images",
     .help = "what samples are compared by: a name, or the directory of a classifier"},
    {NUMBER(data_count, INT64, 0, 0, -1, INT32_MAX), .unit = "samples", .word = "N",
     .otherwise = "as many as samples", .help = "how many of the data; -1: all"},
    {NUMBER(resamples, INT64, 200, 200, 0, 100000), .unit = "resamples", .word = "N",
     .help = "of the bootstrap, for 95% intervals; 0: none"},
    {FLAG(per_class), .help = "each class by itself too"},
    {TEXT(training), .word = "DATA", .otherwise = "",
     .help = "memorisation: the data that the model was trained on, no part of `data`"},
    {TEXT(cache), .word = "DIR", .otherwise = "",
     .help = "folder in which features of the data are kept"},
};
#undef OF

#define OF vn_bench_options
static const vn_option bench_rows[] = {
    {FLAG(train), .value = 1, .fallback = 1, .help = "forward, backward and AdamW; else forward"},
    {NUMBER(batch, INT64, 64, 64, 1, 65536), .unit = "images", .word = "N",
     .help = "images in one step"},
    {NUMBER(steps, INT64, 10, 10, 1, 1000000), .unit = "steps", .word = "K",
     .help = "timed steps, after some that are not"},
    {FLAG(recompute), .help = "train: as vane train --recompute, beside what it costs and saves"},
    {NUMBER(microbatches, INT64, 0, 0, 1, 65536), .unit = "parts", .word = "N",
     .otherwise = "as vane train has them", .help = "train: as vane train --microbatches"},
};
#undef OF

#define OF vn_bench_sampling_options
static const vn_option bench_sampling_rows[] = {
    {TEXT(sampler), .table = "samplers", .word = "NAME", .otherwise = "the path's own",
     .help = "or all: each in turn"},
    {TEXT(guide), .table = "guides", .word = "NAME", .otherwise = "cfg",
     .help = "or all: each in turn"},
    {TEXT(path), .table = "paths", .word = "NAME", .otherwise = "rectified",
     .help = "for a config.json, which has none"},
    {NUMBER(guidance, DOUBLE, 2, 2, -HUGE_VAL, HUGE_VAL), .word = "G",
     .help = "strength of the condition"},
    {NUMBER(steps, INT, 10, 10, 1, VN_MAX_STEPS), .unit = "steps", .word = "K",
     .help = "steps of a sampling run"},
    {NUMBER(batch, INT64, 64, 64, 1, 65536), .unit = "samples", .word = "N",
     .help = "samples of a sampling run"},
    {TEXT(restore), .table = "restorers", .word = "RULE", .otherwise = "nothing is restored",
     .help = "with a rule of restoration, of whole samples that were observed"},
    {TEXT(classifier), .word = "CLF", .otherwise = "one that costs nothing",
     .help = "a classifier's run for guides that follow one: what it costs is measured too"},
};
#undef OF

#define OF vn_token_options
static const vn_option token_rows[] = {
    {NUMBER(length, INT64, 0, 0, 1, 1048576), .unit = "tokens", .word = "L",
     .otherwise = "as many as the longest text has, and none is cut",
     .help = "ids of each text: padded, or truncated with the end token kept"},
};
#undef OF

#define OF vn_sweep_options
static const vn_option sweep_rows[] = {
    {TEXT(data), .word = "DATA", .otherwise = "exact draws, for a world",
     .help = "what samples are compared with: what `vane train` reads, or a .safetensors with "
             "samples"},
    {TEXT(metric), .table = "metrics", .word = "NAME",
     .otherwise = "fd,precision,recall, and accuracy by a classifier",
     .help = "what is measured; several with commas"},
    {TEXT(features), .table = "features", .word = "F", .otherwise = "as vane eval",
     .help = "what samples are compared by; a classifier's folder measures accuracy too"},
    {NUMBER(count, INT64, 0, 1000, 1, INT32_MAX), .unit = "samples", .word = "N",
     .help = "samples of a point"},
    {NUMBER(seed, UINT64, 0, 0, 0, MAX_SEED), .word = "S",
     .help = "of the noise, the same for all points, and of draws of the data"},
    {NUMBER(resamples, INT64, 200, 200, 0, 100000), .unit = "resamples", .word = "N",
     .help = "of the bootstrap, for 95% intervals; 0: none"},
    {NUMBER(batch, INT64, 0, 0, 1, INT32_MAX), .unit = "samples", .word = "N",
     .otherwise = "chosen", .help = "samples in one forward pass; they do not depend on it"},
    {TEXT(path), .table = "paths", .word = "NAME", .otherwise = "rectified",
     .help = "for what was trained on none, such as worlds; a run knows its own"},
    {TEXT(objective), .word = "METRIC", .otherwise = "the first that is measured",
     .help = "the metric that is to be best"},
    {TEXT(search), .choices = "auto|grid|halving", .word = "KIND",
     .otherwise = "auto: halving of more than 16 points",
     .help = "grid: every point from all samples; halving: from few, and the best quarter go on to "
             "four times as many"},
    {FLAG(keep), .help = "leave the run's own settings as they are"},
    {TEXT(negative), .word = "TEXT", .otherwise = "none, the empty text",
     .help = "a prompt that takes the place of none in guidance, at all points"},
};
#undef OF

#define OF vn_autoencoder_options
static const vn_option autoencoder_rows[] = {
    {NUMBER(tile, INT64, 0, 0, -1, 1 << 20), .unit = "pixels", .word = "S",
     .otherwise = "by memory: whole, or parts of the autoencoder's own size",
     .help = "pixels on a side of the parts that a large image is run in, -1: none"},
    {FLAG(scaled), .help = "latents are as a diffusion model sees them"},
    {FLAG(draw), .help = "latents are drawn from what the encoder gives, not its mean"},
    {NUMBER(seed, UINT64, 0, 0, 0, MAX_SEED), .word = "S",
     .help = "latents of image i are drawn by S and i only"},
    {NUMBER(first, UINT64, 0, 0, 0, MAX_SEED), .word = "N", .help = "index of the first image"},
};
#undef OF

#define ROWS(rows) rows, VN_COUNT(rows)
const vn_option_table vn_option_tables[] = {
    [VN_OPTIONS_CONTEXT] = {"context", "vn_context_options", ROWS(context_rows)},
    [VN_OPTIONS_MODEL] = {"model", "vn_model_options", ROWS(model_rows)},
    [VN_OPTIONS_SAMPLE] = {"sample", "vn_sample_options", ROWS(sample_rows)},
    [VN_OPTIONS_TRAIN] = {"train", "vn_train_options", ROWS(train_rows)},
    [VN_OPTIONS_LIKELIHOOD] = {"likelihood", "vn_likelihood_settings", ROWS(likelihood_rows)},
    [VN_OPTIONS_EVAL] = {"eval", "vn_eval_options", ROWS(eval_rows)},
    [VN_OPTIONS_BENCH] = {"bench", "vn_bench_options", ROWS(bench_rows)},
    [VN_OPTIONS_BENCH_SAMPLING] = {"bench-sampling", "vn_bench_sampling_options",
                                   ROWS(bench_sampling_rows)},
    [VN_OPTIONS_TOKEN] = {"tokens", "vn_token_options", ROWS(token_rows)},
    [VN_OPTIONS_SWEEP] = {"sweep", "vn_sweep_options", ROWS(sweep_rows)},
    [VN_OPTIONS_AUTOENCODER] = {"autoencoder", "vn_autoencoder_options", ROWS(autoencoder_rows)},
};
const size_t vn_option_table_count = VN_COUNT(vn_option_tables);
/* clang-format on */
