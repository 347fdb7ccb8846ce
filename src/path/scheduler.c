/* scheduler.c - a path and a prediction as diffusers' scheduler_config.json, both ways.
 *
 * What diffusers has a class for is written under that class; anything else as "VaneScheduler" with
 * the texts of path and prediction, so that no file claims a class that it does not fit. Reading
 * takes every class whose path is one of vane's. A key that changes the path or the prediction in a
 * way not known here is refused by name (use_flow_sigmas is known: a ddpm class is then on the
 * rectified path); keys that only affect sampling (timestep_spacing, clip_sample,
 * use_karras_sigmas, shift, ...) are read by sample/scheduler.c. */
#include "path/internal.h"

#include <math.h>
#include <string.h>

#define OURS "VaneScheduler"

#define CLASS(name, path, beta_start, beta_end, schedule, sampling)                                \
    {#name, path, beta_start, beta_end, schedule},
static const struct {
    const char *name, *path;
    double beta_start, beta_end;
    const char *schedule; /* NULL: linear */
} classes[] = {VN_SCHEDULER_CLASSES(CLASS)};
#undef CLASS

/* Classes whose steps or networks are of another kind, and which. */
static const struct {
    const char *kind, *names[8];
} others[] = {
    {"is for discrete tokens",
     {"AmusedScheduler", "VQDiffusionScheduler", "BlockRefinementScheduler",
      "DiscreteDDIMScheduler", "EntropyBoundScheduler"}},
    {"is for video",
     {"CogVideoXDDIMScheduler", "CogVideoXDPMScheduler", "HeliosScheduler", "HeliosDMDScheduler",
      "LTXEulerAncestralRFScheduler", "MiniMaxH3Scheduler"}},
    {"gives its network the noise level in another way than any path here",
     {"CMStochasticIterativeScheduler", "SCMScheduler", "CosineDPMSolverMultistepScheduler",
      "IPNDMScheduler", "ScoreSdeVeScheduler", "ScoreSdeVpScheduler", "KarrasVeScheduler",
      "DDPMWuerstchenScheduler"}},
    {"is for networks that answer with more than a denoiser does",
     {"ConsistencyDecoderScheduler", "FlowMapEulerDiscreteScheduler", "PiflowScheduler",
      "RFD4ProteinaScheduler"}},
};

/* variance_type of a network that learned a variance */
#define LEARNED_RANGE "learned_range"
#define FLOW_SIGMAS   "use_flow_sigmas" /* puts a ddpm class on the rectified path */

/* beta_schedule by VN_LINEAR, ..., and ours; NULL: diffusers has none such. */
static const struct {
    const char *diffusers, *ours;
    bool has_betas;
} schedules[] = {
    {"linear", "linear", true},
    {"scaled_linear", "scaled-linear", true},
    {"squaredcos_cap_v2", "cosine", false},
    {"sigmoid", "sigmoid", true},
    {NULL, "sigmoid-bar", false},
    {"exp", "exp", false},
    {"laplace", "laplace", false},
};

static bool same(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

/* ---- keys that are written ------------------------------------------------------------------- */

/* Adds `value`, which it owns; false when memory runs out, here or where value was made. */
static bool put(json_t *config, const char *key, json_t *value) {
    return json_object_set_new(config, key, value) == 0;
}

static bool put_edm(json_t *config, const vn_path *p, const vn_prediction *predict) {
    const double *v = p->choice.value;
    return put(config, "sigma_min", json_real(v[VN_SIGMA_MIN])) &&
           put(config, "sigma_max", json_real(v[VN_SIGMA_MAX])) &&
           put(config, "sigma_data", json_real(predict->choice.value[VN_EDM_SIGMA_DATA]));
}

static bool put_ddpm(json_t *config, const vn_path *p, const vn_prediction *predict) {
    const double *v = p->choice.value;
    (void)predict;
    return put(config, "num_train_timesteps", json_integer(p->steps)) &&
           put(config, "beta_schedule",
               json_string(schedules[(int)v[VN_DDPM_SCHEDULE]].diffusers)) &&
           put(config, "beta_start", json_real(v[VN_DDPM_BETA_START])) &&
           put(config, "beta_end", json_real(v[VN_DDPM_BETA_END])) &&
           put(config, "rescale_betas_zero_snr", json_boolean(v[VN_DDPM_ZERO_SNR] != 0)) &&
           put(config, "timestep_spacing", json_string("trailing")) &&
           put(config, "clip_sample", json_false());
}

static bool put_rectified(json_t *config, const vn_path *p, const vn_prediction *predict) {
    (void)p, (void)predict;
    return put(config, "num_train_timesteps", json_integer(1000)) &&
           put(config, "shift", json_real(1));
}

/* DDIM's, the path's own sampler, except for a learned variance or the sigmoid schedule, which
 * diffusers' DDIMScheduler lacks; NULL for schedules that no class has. */
static const char *class_of_ddpm(const vn_path *p, bool learns_variance) {
    const int schedule = (int)p->choice.value[VN_DDPM_SCHEDULE];
    if (!schedules[schedule].diffusers) return NULL;
    return learns_variance || schedule > VN_COSINE ? "DDPMScheduler" : "DDIMScheduler";
}

static const char *class_of_rectified(const vn_path *p, bool learns_variance) {
    (void)p, (void)learns_variance;
    return "FlowMatchEulerDiscreteScheduler";
}

static const char *class_of_edm(const vn_path *p, bool learns_variance) {
    (void)p, (void)learns_variance;
    return "EDMEulerScheduler";
}

static bool put_ours(json_t *config, const vn_path *p, const vn_prediction *predict) {
    char *path = vn_path_text(p), *prediction = vn_choice_text(&predict->choice);
    bool ok = path && prediction && put(config, "_class_name", json_string(OURS)) &&
              put(config, "path", json_string(path)) &&
              put(config, "prediction_type", json_string(prediction));
    vn_free(path);
    vn_free(prediction);
    return ok;
}

/* ---- keys that are read ---------------------------------------------------------------------- */

static vn_status get_number(const json_t *config, const char *key, double missing, double *out,
                            vn_err *err) {
    const json_t *value = json_object_get(config, key);
    *out = missing;
    if (!value || json_is_null(value)) return VN_OK;
    if (!json_is_number(value)) return vn_fail(err, VN_BAD_FILE, "%s is not a number", key);
    *out = json_number_value(value);
    return VN_OK;
}

static bool is_on(const json_t *config, const char *key) {
    return json_is_true(json_object_get(config, key));
}

static vn_status get_text(const json_t *config, const char *key, const char *missing,
                          const char **out, vn_err *err) {
    const json_t *value = json_object_get(config, key);
    *out = missing;
    if (!value || json_is_null(value)) return VN_OK;
    if (!json_is_string(value)) return vn_fail(err, VN_BAD_FILE, "%s is not a string", key);
    *out = json_string_value(value);
    return VN_OK;
}

/* Refuses keys that would make it another path or another prediction. */
static vn_status refuse_unknown(const json_t *config, vn_err *err) {
    if (is_on(config, "invert_sigmas"))
        return vn_fail(err, VN_UNSUPPORTED, "invert_sigmas is not supported");
    const json_t *betas = json_object_get(config, "trained_betas");
    if (betas && !json_is_null(betas))
        return vn_fail(err, VN_UNSUPPORTED, "trained_betas are not supported");
    const char *variance, *type, *output;
    vn_status status = get_text(config, "variance_type", "fixed_small", &variance, err);
    if (!status && strncmp(variance, "learned", 7) == 0 && !same(variance, LEARNED_RANGE))
        return vn_fail(err, VN_UNSUPPORTED, "variance_type %.40s is not supported", variance);
    if (!status) status = get_text(config, "timestep_type", "discrete", &type, err);
    if (!status) status = get_text(config, "prediction_type", "", &output, err);
    /* with other predictions the class ignores it */
    if (!status && !same(type, "discrete") && same(output, "v_prediction"))
        return vn_fail(err, VN_UNSUPPORTED, "timestep_type %.40s is not supported", type);
    return status;
}

static vn_status find_schedule(const char *name, size_t *schedule, vn_err *err) {
    for (size_t i = 0; i < VN_COUNT(schedules); i++) {
        if (!schedules[i].diffusers || !same(schedules[i].diffusers, name)) continue;
        *schedule = i;
        return VN_OK;
    }
    return vn_fail(err, VN_UNSUPPORTED, "beta_schedule %.40s is not supported", name);
}

static vn_status read_ddpm(const json_t *config, size_t class, vn_path **path, char text[64],
                           vn_err *err) {
    const char *name;
    (void)text;
    size_t schedule = VN_LINEAR;
    double steps, start, end;
    const char *missing =
        classes[class].schedule ? classes[class].schedule : schedules[VN_LINEAR].diffusers;
    vn_status status = get_text(config, "beta_schedule", missing, &name, err);
    if (!status) status = get_number(config, "num_train_timesteps", 1000, &steps, err);
    if (!status) status = get_number(config, "beta_start", classes[class].beta_start, &start, err);
    if (!status) status = get_number(config, "beta_end", classes[class].beta_end, &end, err);
    if (!status) status = find_schedule(name, &schedule, err);
    if (!status && (start <= 0 || end <= 0)) /* 0 is the default in our text */
        status =
            vn_fail(err, VN_BAD_FILE, "beta_start %g and beta_end %g are not above 0", start, end);
    if (status) return status;
    char whole[160];
    int n = vn_snprintf(whole, sizeof whole, "ddpm:%s,T=%.17g,zero_snr=%d",
                        schedules[schedule].ours, steps, is_on(config, "rescale_betas_zero_snr"));
    if (schedules[schedule].has_betas)
        vn_snprintf(whole + n, sizeof whole - (size_t)n, ",beta_start=%.17g,beta_end=%.17g", start,
                    end);
    return vn_path_open(whole, path, err);
}

static vn_status read_rectified(const json_t *config, size_t class, vn_path **path, char text[64],
                                vn_err *err) {
    double steps;
    (void)class, (void)text;
    vn_status status = get_number(config, "num_train_timesteps", 1000, &steps, err);
    if (!status && steps != 1000) /* the network is given 1000 t */
        status = vn_fail(err, VN_UNSUPPORTED,
                         "num_train_timesteps %g of a flow is not supported, only 1000", steps);
    return status ? status : vn_path_open("rectified", path, err);
}

static vn_status read_edm(const json_t *config, size_t class, vn_path **path, char text[64],
                          vn_err *err) {
    double min, max, data;
    (void)class;
    vn_status status = get_number(config, "sigma_min", 0.002, &min, err);
    if (!status) status = get_number(config, "sigma_max", 80, &max, err);
    if (!status) status = get_number(config, "sigma_data", 0.5, &data, err);
    if (status) return status;
    char name[96];
    vn_snprintf(name, sizeof name, "edm:sigma_min=%.17g,sigma_max=%.17g", min, max);
    vn_snprintf(text, 64, "edm:sigma_data=%.17g", data);
    return vn_path_open(name, path, err);
}

/* ---- paths in diffusers ---------------------------------------------------------------------- */

/* How classes of diffusers have a path. */
typedef struct form {
    const char *path;
    /* prediction_type of each prediction, the default first; type NULL: there is no such key */
    struct {
        const char *prediction, *type;
    } types[3];
    /* the class that is written; NULL: none has the path with these parameters */
    const char *(*class_of)(const vn_path *p, bool learns_variance);
    bool (*put)(json_t *config, const vn_path *p, const vn_prediction *predict);
    vn_status (*read)(const json_t *config, size_t class, vn_path **path, char text[64],
                      vn_err *err);
    const struct form *with_flow_sigmas; /* what that key makes of it; NULL: it has no effect */
} form;

static const form flow_of_ddpm = {
    .path = "rectified",
    .types = {{"eps", "epsilon"}, {"x0", "sample"}, {"velocity", "flow_prediction"}},
    .read = read_rectified,
};

static const form forms[] = {
    {"ddpm",
     {{"eps", "epsilon"}, {"x0", "sample"}, {"v", "v_prediction"}},
     class_of_ddpm,
     put_ddpm,
     read_ddpm,
     &flow_of_ddpm},
    {"rectified", {{"velocity", NULL}}, class_of_rectified, put_rectified, read_rectified, NULL},
    {"edm", {{"edm", "epsilon"}}, class_of_edm, put_edm, read_edm, NULL},
};

static const form *form_of(const char *path) {
    for (size_t i = 0; i < VN_COUNT(forms); i++)
        if (same(forms[i].path, path)) return &forms[i];
    return NULL;
}

/* Where in its types a form has a prediction, or where both are NULL. */
static size_t find_prediction(const form *f, const char *prediction) {
    size_t i = 0;
    while (i < VN_COUNT(f->types) && f->types[i].prediction &&
           !same(f->types[i].prediction, prediction))
        i++;
    return i;
}

static bool put_all(json_t *config, const vn_path *p, const vn_prediction *predict,
                    bool learns_variance) {
    const form *f = form_of(p->row->row.name);
    const char *class_name = f ? f->class_of(p, learns_variance) : NULL;
    const size_t i = f ? find_prediction(f, predict->row->row.name) : 0;
    if (!class_name || i == VN_COUNT(f->types) || !f->types[i].prediction)
        return put_ours(config, p, predict);
    const char *type = f->types[i].type;
    return put(config, "_class_name", json_string(class_name)) && f->put(config, p, predict) &&
           (!type || put(config, "prediction_type", json_string(type)));
}

json_t *vn_path_scheduler(const vn_path *p, const vn_prediction *predict, bool learns_variance) {
    json_t *config = json_object();
    if (config && put_all(config, p, predict, learns_variance) &&
        (!learns_variance || put(config, "variance_type", json_string(LEARNED_RANGE))))
        return config;
    json_decref(config);
    return NULL;
}

/* A class of diffusers: *text becomes the prediction's. */
static vn_status read_class(const json_t *config, size_t class, vn_path **path, char text[64],
                            vn_err *err) {
    const form *f = form_of(classes[class].path);
    const char *type;
    size_t i = 0;
    if (f->with_flow_sigmas && is_on(config, FLOW_SIGMAS)) f = f->with_flow_sigmas;
    vn_status status = refuse_unknown(config, err);
    if (!status) status = get_text(config, "prediction_type", f->types[0].type, &type, err);
    if (status) return status;
    while (i < VN_COUNT(f->types) && f->types[i].prediction && f->types[i].type &&
           !same(f->types[i].type, type))
        i++;
    if (i == VN_COUNT(f->types) || !f->types[i].prediction)
        return vn_fail(err, VN_UNSUPPORTED, "prediction_type %.40s of %s is not supported", type,
                       classes[class].name);
    vn_snprintf(text, 64, "%s", f->types[i].prediction);
    return f->read(config, class, path, text, err);
}

static vn_status read_ours(const json_t *config, vn_path **path, char text[64], vn_err *err) {
    const char *name, *prediction;
    vn_status status = get_text(config, "path", "", &name, err);
    if (!status) status = get_text(config, "prediction_type", "", &prediction, err);
    if (status) return status;
    vn_snprintf(text, 64, "%s", prediction);
    return vn_path_open(name, path, err);
}

/* The advice is the same for all: a user who knows the path can name it once the scheduler's file
 * is removed. */
static vn_status refuse_class(const char *name, vn_err *err) {
    const char *kind = "is not a scheduler that vane knows";
    for (size_t i = 0; i < VN_COUNT(others); i++)
        for (size_t k = 0; k < VN_COUNT(others[i].names) && others[i].names[k]; k++)
            if (same(others[i].names[k], name)) kind = others[i].kind;
    return vn_fail(err, VN_UNSUPPORTED,
                   "_class_name '%.60s' %s; if the network was trained on a path of vane's, remove "
                   "this file and name it "
                   "(`path=ddpm:linear`, `sampler=ddim`, `grid=trailing`)",
                   name, kind);
}

static vn_status read_any(const json_t *config, vn_path **path, char text[64], vn_err *err) {
    const char *name;
    if (!json_is_object(config)) return vn_fail(err, VN_BAD_FILE, "not a JSON object");
    vn_status status = get_text(config, "_class_name", "", &name, err);
    if (status) return status;
    if (same(name, OURS)) return read_ours(config, path, text, err);
    for (size_t i = 0; i < VN_COUNT(classes); i++)
        if (same(classes[i].name, name)) return read_class(config, i, path, text, err);
    return refuse_class(name, err);
}

vn_status vn_path_from_scheduler(const json_t *config, vn_path **path, vn_prediction *predict,
                                 vn_err *err) {
    char text[64];
    *path = NULL;
    vn_status status = read_any(config, path, text, err);
    if (!status) status = vn_prediction_parse(text, predict, err);
    if (!status) status = vn_path_allows(*path, predict, err);
    if (status) vn_path_close(path);
    if (status != VN_BAD_ARGUMENT) return status;
    if (err) err->status = VN_BAD_FILE; /* the numbers came from a file, not from the caller */
    return VN_BAD_FILE;
}
