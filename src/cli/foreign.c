/* foreign.c - what other programs call it: the words of PyTorch and diffusers scripts, EDM,
 * StyleGAN, DiT, guided-diffusion, Stable Diffusion's front ends and image programs. None is taken
 * for vane's own, because few mean exactly the same (an epoch is no step, the w of a paper is not
 * gamma): each leads to vane's word in one line, with what has to be known to translate the value.
 *
 * The first row counts that is of the verb, has the word, and names a flag which the verb has. A
 * word here never stands in the way of a flag: it is looked up only when it is none. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/suggest.h"

typedef struct foreign {
    const char *verbs; /* NULL: all */
    const char *flag;  /* vane's, or an argument in capitals; NULL: vane has no such thing */
    const char *words; /* with blanks between them; small letters and dashes */
    const char *remark;
} foreign;

/* clang-format off */
static const foreign table[] = {
    /* ---- guidance ---- */
    {NULL, "guidance", "w guidance-w", "the w of (1+w)c - wu is guidance - 1"},
    {NULL, "guidance",
     "cfg cfg-scale guidance-scale scale-guidance cond-scale cfg-weight cfg-strength "
     "guidance-weight guidance-strength gamma g gs unconditional-guidance-scale uncond-scale "
     "classifier-free-guidance true-cfg-scale text-guidance-scale",
     "1 as trained, above 1 amplified; the w of (1+w)c - wu is guidance - 1"},
    {NULL, "guide",
     "classifier-scale classifier-path guidance-type guidance-mode guidance-method "
     "guidance-rescale pag-scale sag-scale guidance-interval guidance-rule",
     "a rule with its parameters, as vane list guides shows them"},
    {"sample", "guide",
     "clip-denoised clip-sample clip thresholding dynamic-thresholding",
     "x0 is clipped by --guide cfg,clip, or cfg,dynamic-threshold"},
    {NULL, "weak",
     "gnet guidance-net guiding-net weak-model bad-model autoguidance",
     "with --guide autoguidance"},

    /* ---- how much is drawn, and of what ---- */
    {"sample eval", "count",
     "num num-samples n-samples nsamples samples num-images n-images images number amount "
     "num-fid-samples num-sample sample-count batch-count num-images-per-prompt n-iter "
     "max-samples limit",
     "-n for short"},
    {"sample eval", "class",
     "label labels class-label class-labels classes class-id class-ids class-idx class-name "
     "class-names y cond condition target category",
     "a name, an index, all or null"},
    {"sample eval", "null-class",
     "null-index null-label null-token null-id uncond-class uncond-label uncond-id uncond-index "
     "unconditional-class unconditional-label",
     "the row of a foreign model's class table that means no class"},
    {"sample eval forward info bench", NULL,
     "variant subfolder weight-name weights-name ema-weights",
     "name the folder or the file itself: DIR/unet_ema, "
     "DIR/unet/diffusion_pytorch_model.fp16.safetensors"},
    {"sample", "prompt", "text caption captions sentence description", "again for several in turn"},
    {"sample", "prompts", "prompt-file prompts-file from-file prompts-from", "one a line"},
    {"sample", "negative", "negative-prompt neg-prompt uncond-prompt n-prompt negative-text",
     "a text in the place of none"},
    {"sample", "size", "width height image-size img-size resolution res h",
     "S or HxW in pixels, of a model of any size; --scale K makes a picture's pixels larger"},
    {"sample", "scale",
     "upscale zoom magnify magnification enlarge pixel-size upsample",
     "each pixel becomes K x K"},
    {"sample", "seed",
     "seeds random-seed manual-seed rng-seed generator",
     "sample i depends on the seed and i only"},
    {"sample", "first",
     "start start-index offset begin first-index index-offset skip",
     "the index of the first sample"},
    {"sample", "noise",
     "latents latent init-noise x-t xt x-init start-noise noise-file z",
     "unit variance, in a .safetensors"},
    {"sample", "like",
     "from-image settings params settings-from metadata reproduce same-as",
     "a picture that vane sample wrote"},

    /* ---- restoration and editing ---- */
    {"sample", "observe",
     "measurement measurements observed observation degraded corrupted",
     "what was observed"},
    {"sample", "operator",
     "forward-operator degradation corruption deg task inpaint inpainting mask mask-image "
     "super-resolution deblur blur",
     "vane list operators; a mask is mask:file=M.png"},
    {"sample", "noise-level",
     "sigma-y noise-std measurement-noise sigma-noise observation-noise",
     "the standard deviation of the observation's noise"},
    {"sample", "restore",
     "restorer rule posterior inverse-problem conditioning-method",
     "vane list restorers"},
    {"sample", "init",
     "init-image init-img image input-image img2img source-image",
     "sampling begins with it, noised to t = --strength"},
    {"sample", "strength",
     "denoising-strength denoise-strength noising-strength",
     "t to begin at"},

    /* ---- how it is drawn ---- */
    {"sample", "steps",
     "num-inference-steps inference-steps num-sampling-steps sampling-steps num-sample-steps "
     "ddim-steps sample-steps timesteps num-timesteps timestep-respacing nfe num-steps n-steps "
     "iterations iters diffusion-steps",
     "steps from noise to data; a step of some samplers asks the network more than once"},
    {"sample bench", "sampler",
     "scheduler sampling-method sample-method method solver sampler-name sampler-type "
     "ode-solver integrator",
     "vane list samplers"},
    {"sample", "sampler",
     "eta ddim-eta ddim use-ddim churn s-churn s-noise s-tmin s-tmax order solver-order",
     "a sampler's parameters stand behind its name: --sampler ddim:eta=0.5"},
    {"sample", "grid",
     "timestep-spacing spacing sigma-schedule schedule discretization noise-schedule karras "
     "use-karras-sigmas rho shift",
     "vane list grids"},
    {"sample", "grid",
     "sigma-min sigma-max",
     "where a grid has them, its parameters: --grid NAME:key=value"},
    {"sample", NULL,
     "nrow nrows ncol ncols rows columns cols grid-size",
     "a picture has a row for each class and a band for each guidance value"},
    {"sample", NULL,
     "truncation trunc truncation-psi trunc-psi psi",
     "it trades variety for clarity; --guidance above 1 does"},
    {"sample", "trace",
     "trajectory intermediates progressive log-every-t save-intermediate return-trajectory",
     ""},

    /* ---- how long ---- */
    {"train", "steps",
     "epoch epochs num-epochs n-epochs max-epochs num-train-epochs train-epochs total-epochs "
     "nb-epochs",
     "an epoch is images / --batch steps; --minutes M trains for a time"},
    {"train", "steps",
     "iterations iteration iters iter max-iter max-iters num-iters niter n-iter num-iterations "
     "total-iters max-steps max-train-steps train-steps num-steps num-train-steps n-steps "
     "nsteps total-steps train-num-steps lr-anneal-steps updates",
     "or --minutes M"},
    {"train", "steps",
     "kimg total-kimg duration total-images num-images train-images",
     "a step sees --batch images"},
    {"train", "minutes",
     "time max-time time-limit hours seconds max-minutes train-time max-duration",
     "in minutes"},

    /* ---- where from and where to ---- */
    {"train", "DATA",
     "data data-dir data-path data-root dataroot dataset dataset-dir dataset-path dataset-name "
     "train-data train-data-dir train-dir train-path images image-dir image-folder "
     "instance-data-dir folder input input-dir in i",
     NULL},
    {"eval", "data",
     "dataset ref reference reference-images real real-images data-dir data-path ref-path "
     "ref-batch",
     "what vane train reads"},
    {"sample eval", "SOURCE",
     "model model-path model-dir model-id checkpoint checkpoint-path ckpt ckpt-path network "
     "network-pkl weights run run-dir pretrained pretrained-model-name-or-path load resume "
     "model-name m in input i",
     NULL},
    {"forward bench", "DIR",
     "model model-path model-dir checkpoint ckpt network weights run config m",
     NULL},
    {"info", "PATH", "model checkpoint ckpt file input in i dir data dataset", NULL},
    {"train", "out",
     "output output-dir output-folder out-folder output-path outdir out-dir save-dir save-path "
     "savedir logdir log-dir "
     "results-dir results-folder result-dir workdir work-dir run run-dir run-name exp-name "
     "experiment name exp exp-dir checkpoint-dir ckpt-dir model-dir project dest o",
     "the run directory"},
    {"sample", "out",
     "output output-dir output-folder out-folder output-path outdir out-dir save save-dir "
     "save-path savedir sample-dir "
     "samples-dir results-folder image-dir outfile out-file output-file filename file dest o",
     "its ending says what is written: .png, .npy, .safetensors or a folder"},
    {"forward", "out", "output output-file outfile o", ""},
    {"forward", "in", "input input-file infile i", ""},
    {"sample", NULL,
     "format output-format output-type image-format ext extension",
     "the ending of --out says it; to stdout, --out png:-, npy:- or safetensors:-"},
    {"train", "resume",
     "resume-from resume-from-checkpoint resume-checkpoint resume-path continue continue-from "
     "restart ckpt checkpoint load load-checkpoint init-from auto-resume",
     "it goes on with the run in --out"},
    {"train", "overwrite",
     "force clobber force-overwrite overwrite-output-dir f y yes exist-ok",
     ""},
    {"sample", "overwrite", "force clobber force-overwrite f y yes exist-ok", ""},

    /* ---- the data ---- */
    {"train", "size",
     "image-size img-size imgsz imsize im-size resolution res image-resolution image-res "
     "crop-size resize width height dim load-size",
     "images become S x S"},
    {"train", "flip",
     "hflip random-flip random-horizontal-flip horizontal-flip mirror xflip augment "
     "augmentation",
     "left and right, at random"},
    {"train", "grey", "gray grayscale greyscale gray-scale mono monochrome", ""},
    {"train", "validate",
     "val val-split validation validation-split val-fraction val-size test-split test-size "
     "holdout valid",
     "a part of the data, 0 to 0.5"},
    {"train", "skip-bad", "ignore-errors skip-corrupt skip-broken ignore-bad skip-errors", ""},
    {"train", NULL,
     "class-cond cond conditional use-labels num-classes n-classes n-class class-conditional "
     "label-dim",
     "classes are what the data says: its folders or labels"},

    /* ---- what is trained ---- */
    {"train", "model",
     "arch architecture network net backbone model-name model-type model-config config "
     "cfg-file unet-config m",
     "vane list models"},
    {"train", "model",
     "channels model-channels base-channels num-channels dim-mults channel-mult depth "
     "num-layers num-heads num-res-blocks hidden-size patch-size width-mult",
     "a model's parameters stand behind its name: --model dit:depth=12,width=384"},
    {"train", "path",
     "diffusion-steps timesteps num-timesteps num-diffusion-steps ddpm-num-steps "
     "num-diffusion-timesteps beta-start beta-end",
     "parameters of a path stand behind its name: --path ddpm:T=1000"},
    {"train", "path",
     "noise-schedule beta-schedule noise-scheduler diffusion schedule-name sde interpolant "
     "path-type forward-process",
     "vane list paths"},
    {"train", "predict",
     "precond prediction-type prediction parameterization parametrization predict-type param "
     "target "
     "pred-type objective-type v-prediction",
     "vane list predictions"},
    {"train", "objective",
     "loss loss-type loss-fn criterion loss-weighting weighting snr-gamma min-snr-gamma "
     "learn-sigma",
     "vane list objectives"},
    {"train", "times",
     "timestep-sampling time-sampler time-sampling schedule-sampler weighting-scheme "
     "t-sampling p-mean p-std",
     "vane list times"},
    {"train", "drop",
     "p-uncond puncond uncond-prob prob-uncond cond-drop-prob cond-drop class-dropout-prob "
     "class-dropout drop-prob label-dropout label-drop-prob cfg-dropout cfg-drop cfg-prob "
     "unconditional-prob uncond-p drop-rate cond-drop-rate cfg guidance-dropout cfg-scale "
     "guidance-scale guidance",
     "the probability of hiding the class in training, without which sampling has no "
     "--guidance"},
    {"train", "dropout",
     "drop-out p-dropout dropout-rate dropout-prob",
     "in the network; --drop hides the class"},

    /* ---- optimisation ---- */
    {NULL, "batch",
     "batch-size batchsize bs b bsz train-batch-size per-device-train-batch-size "
     "per-gpu-batch-size global-batch-size micro-batch batch-gpu minibatch mini-batch "
     "minibatch-size sample-batch-size eval-batch-size n-batch",
     ""},
    {"train", "lr",
     "learning-rate learningrate base-lr max-lr peak-lr initial-lr init-lr lr-rate rate alpha "
     "lr-max",
     "the highest learning rate"},
    {"train", "schedule",
     "lr-scheduler lr-schedule lr-scheduler-type scheduler lr-decay lr-policy lr-decay-style "
     "anneal cosine lr-min min-lr decay",
     "of the learning rate: cosine or constant"},
    {"train", "warmup",
     "lr-warmup-steps lr-warmup warmup-steps num-warmup-steps warmup-iters lr-rampup rampup "
     "lr-rampup-kimg warmup-ratio warm-up",
     "in steps"},
    {"train", "weight-decay",
     "wd decay-weight adam-weight-decay l2 weightdecay",
     "decoupled, as AdamW's"},
    {"train", "clip",
     "grad-clip clip-grad clip-grad-norm max-grad-norm gradient-clip gradient-clipping "
     "gradient-clip-val grad-norm clip-norm",
     "the bound on the whole gradient's norm"},
    {"train", "ema",
     "ema-decay ema-rate use-ema ema-max-decay ema-beta ema-halflife ema-half-life ema-kimg "
     "ema-std",
     "the decay of the moving average, 0 to 1"},
    {"train", "recompute",
     "gradient-checkpointing grad-checkpointing activation-checkpointing use-checkpoint "
     "checkpointing grad-checkpoint remat",
     ""},
    {"train", "microbatches",
     "gradient-accumulation-steps grad-accumulation accumulate accumulation accum-iter "
     "grad-accum gradient-accumulate-every microbatch",
     "the whole of --batch is one step, in so many parts"},
    {"train", "optimizer",
     "optimiser optim opt optimizer-type adam adamw muon use-muon use-8bit-adam beta1 beta2 "
     "adam-beta1 adam-beta2 adam-epsilon momentum",
     "adamw:beta1=0.9,beta2=0.95 or muon:momentum=0.95; vane list optimizers"},

    /* ---- what is written while it runs ---- */
    {"train", "log-every",
     "log-interval log-freq logging-steps log-steps print-freq print-every print-interval tick "
     "log-rate",
     "in steps"},
    {"train", "save-every",
     "save-interval save-freq save-steps checkpointing-steps checkpoint-every "
     "checkpoint-interval ckpt-every ckpt-interval snap snapshot save-model-epochs "
     "save-and-sample-every",
     "in steps"},
    {"train", "preview-every",
     "preview sample-every sample-interval sample-freq preview-interval save-images-epochs "
     "eval-every eval-interval eval-steps validation-steps validation-epochs sample-steps "
     "image-every",
     "in steps; -1: none"},
    {"train", NULL,
     "metrics metric eval evaluate fid", "vane eval measures what was trained"},
    {"train", NULL,
     "wandb use-wandb tensorboard report-to tracker logger log-with wandb-project",
     "vane log RUN --tensorboard DIR writes event files; the log itself is RUN/log.jsonl"},

    /* ---- the machine ---- */
    {NULL, "threads",
     "workers num-workers n-workers num-threads n-threads nthreads thread "
     "dataloader-num-workers num-proc nproc jobs j cores num-cores cpus num-cpus t",
     "threads read and compute; the result does not depend on how many"},
    {NULL, "cpu",
     "device devices gpu gpus gpu-ids gpu-id num-gpus ngpu n-gpu cuda use-cuda use-gpu mps "
     "accelerator no-cuda backend d",
     "vane computes on the processor, and --cpu says with which of its instructions"},
    {NULL, "precision",
     "fp16 fp32 bf16 tf32 amp half float16 float32 bfloat16 dtype mixed-precision "
     "use-fp16 allow-tf32 use-amp autocast torch-dtype",
     "it computes in float32, or with matrix products of bfloat16 numbers"},
    {NULL, NULL,
     "compile torch-compile xformers use-xformers enable-xformers-memory-efficient-attention "
     "flash-attention cudnn-benchmark deterministic seed-everything",
     "every network is planned before it runs, and every result is deterministic"},
    {NULL, "quiet", "silent q no-progress disable-progress-bar no-verbose", ""},
    {NULL, NULL,
     "verbose v vv debug progress log-level loglevel",
     "progress is shown unless --quiet"},
    {NULL, "json", "json-output machine-readable output-json", ""},

    /* ---- measuring ---- */
    {"eval", "metric", "metrics measure fid fd is score m", "vane list metrics"},
    {"eval", NULL,
     "guidance guidance-scale cfg cfg-scale w steps sampler num-steps",
     "what it measures is of the model, not of samples: none are drawn"},
    {"bench", "steps", "iterations iters repeat repeats runs n num-iters num-steps", ""},
    {"bench", "mode",
     "train infer inference training forward backward sample sampling",
     "infer, train or sample"},
};

static const struct {
    const char *verb, *words;
} verbs[] = {
    {"train", "fit learn finetune fine-tune training"},
    {"sample", "generate gen draw infer inference predict synthesize synthesise create txt2img "
     "run sampling denoise"},
    {"eval", "evaluate evaluation test measure score fid metrics validate nll likelihood"},
    {"list", "ls models samplers guides paths grids objectives"},
    {"info", "show describe inspect details about cat"},
    {"bench", "benchmark profile time speed perf"},
    {"forward", "forward-pass apply call"},
};
/* clang-format on */

/* Whether `word` is one of the words with blanks between them. */
static bool among(const char *word, const char *words) {
    const size_t n = strlen(word);
    while (*words != '\0') {
        const size_t length = strcspn(words, " ");
        if (length == n && strncmp(words, word, n) == 0) return true;
        words += length;
        words += strspn(words, " ");
    }
    return false;
}

static bool has_name(const char *name, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

/* Of "--Batch_Size" "batch-size". */
static void bare_word(const char *shown, char *out, size_t size) {
    shown += strspn(shown, "-");
    size_t n = 0;
    for (; shown[n] != '\0' && n + 1 < size; n++)
        out[n] = (char)(shown[n] == '_' ? '-' : tolower((unsigned char)shown[n]));
    out[n] = '\0';
}

static void say(const foreign *f, const char *verb, const char *shown, char *out, size_t size) {
    const char *remark = f->remark ? f->remark : "", *between = remark[0] != '\0' ? "; " : "";
    if (!f->flag)
        snprintf(out, size, "vane has no %s: %s", shown, remark);
    else if (f->flag[0] >= 'A' && f->flag[0] <= 'Z')
        snprintf(out, size, "%s needs no flag: write vane %s %s", shown, verb, f->flag);
    else
        snprintf(out, size, "vane says --%s for %s%s%s", f->flag, shown, between, remark);
}

bool cli_foreign(const char *verb, const char *shown, const char *const *names, size_t count,
                 char *out, size_t size) {
    char word[64];
    bare_word(shown, word, sizeof word);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const foreign *f = &table[i];
        if ((f->verbs != NULL && !among(verb, f->verbs)) || !among(word, f->words)) continue;
        if (f->flag && !has_name(f->flag, names, count)) continue;
        say(f, verb, shown, out, size);
        return true;
    }
    return false;
}

const char *cli_foreign_verb(const char *word) {
    char bare[64];
    bare_word(word, bare, sizeof bare);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (among(bare, verbs[i].words)) return verbs[i].verb;
    return NULL;
}
