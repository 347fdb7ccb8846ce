/* train_net.c - see the header. */
#include "api/train_net.h"

#include "objective/objective.h"

#include <string.h>

static const char *name_of(const vn_train_net *t) {
    return t->name ? t->name : vn_net_get_row(t->net)->row.name;
}

/* Kind and size of the samples. */
static vn_status check_sample(const vn_train_net *t, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(t->net);
    const vn_shape sample = vn_net_sample(io), *data = &t->data->sample;
    if (sample.rank != data->rank)
        return vn_fail(err, VN_BAD_ARGUMENT, "model %s is for %s, %s holds %s", name_of(t),
                       vn_shape_is_image(&sample) ? "images" : "points", t->source,
                       vn_shape_is_image(data) ? "images" : "points");
    if (vn_shape_is_image(data) && io->packing &&
        (data->dim[1] % io->packing || data->dim[2] % io->packing))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "model %s takes images as patches of %lldx%lld pixels, %s has %lldx%lld",
                       name_of(t), (long long)io->packing, (long long)io->packing, t->source,
                       (long long)data->dim[1], (long long)data->dim[2]);
    if (vn_shape_is_image(data) && io->height && !io->packing && /* else it is only the usual */
        (io->height != data->dim[1] || io->width != data->dim[2]))
        return vn_fail(err, VN_BAD_ARGUMENT, "model %s is for %lldx%lld images, %s has %lldx%lld",
                       name_of(t), (long long)io->height, (long long)io->width, t->source,
                       (long long)data->dim[1], (long long)data->dim[2]);
    return VN_OK;
}

/* Inputs that the data do not have. */
static vn_status check_inputs(const vn_train_net *t, vn_err *err) {
    static const char *const made[] = {"sample", "timestep", "class_labels"};
    const vn_net_io *io = vn_net_get_io(t->net);
    for (int i = 0; i < io->inputs; i++) {
        const char *name = io->input[i].name;
        bool known =
            io->input[i].optional || (t->texts && (!strcmp(name, "encoder_hidden_states") ||
                                                   !strcmp(name, "pooled_projections")));
        known = known || ((t->gives & VN_GIVES_STEP_END) && !strcmp(name, VN_STEP_END)) ||
                ((t->gives & VN_GIVES_GUIDANCE) && !strcmp(name, "guidance"));
        for (size_t k = 0; k < VN_COUNT(made); k++)
            known = known || !strcmp(io->input[i].name, made[k]);
        if (!known)
            return vn_fail(err, VN_UNSUPPORTED,
                           "model %s takes %s, which %s does not have: it can be sampled, not "
                           "trained",
                           name_of(t), io->input[i].name, t->source);
    }
    return VN_OK;
}

/* Inputs that the objective gives and that the network has to take. */
static vn_status check_given(const vn_train_net *t, vn_err *err) {
    static const struct {
        unsigned gives;
        const char *input, *what;
    } all[] = {{VN_GIVES_STEP_END, VN_STEP_END, "the end of a step"},
               {VN_GIVES_GUIDANCE, "guidance", "guidance"}};
    for (size_t i = 0; i < VN_COUNT(all); i++)
        if ((t->gives & all[i].gives) && !vn_net_input(vn_net_get_io(t->net), all[i].input))
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "model %s does not take %s as an input, which this objective gives; "
                           "unet2d, dit and mlp do",
                           name_of(t), all[i].what);
    return VN_OK;
}

static vn_status check_denoiser(const vn_train_net *t, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(t->net);
    const int64_t rows = t->data->classes ? t->data->classes + 1 : 0;
    const int64_t takes = vn_net_sample(io).dim[0], gives = vn_net_out_channels(io),
                  channels = t->data->sample.dim[0], out = (t->variance ? 2 : 1) * channels;
    if (takes != channels || gives != out)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "model %s takes %lld channels and gives %lld; %s has %lld, of which this "
                       "objective wants %lld%s",
                       name_of(t), (long long)takes, (long long)gives, t->source,
                       (long long)channels, (long long)out,
                       t->variance ? ", for a variance too"
                       : vn_net_output(io, "variance")
                           ? "; hybrid is the one that learns a variance"
                           : "");
    if (t->variance && !vn_net_output(io, "variance"))
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "model %s gives no variance, which this objective wants", name_of(t));
    const vn_port *labels = vn_net_input(io, "class_labels");
    if (vn_net_input(io, "encoder_hidden_states") && !t->texts)
        return vn_fail(err, VN_BAD_ARGUMENT, "model %s takes texts, and %s has no captions",
                       name_of(t), t->source);
    if (vn_net_labels(io) != rows || (labels && !labels->below))
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "model %s has rows for %lld classes, %s needs %lld (its %d classes and null)",
            name_of(t), (long long)vn_net_labels(io), t->source, (long long)rows,
            (int)t->data->classes);
    return VN_OK;
}

/* ---- classifiers ----------------------------------------------------------------------------- */

static vn_status check_classifier(const vn_train_net *t, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(t->net);
    const int64_t takes = vn_net_sample(io).dim[0], channels = t->data->sample.dim[0],
                  tells = vn_net_output(io, "logits")->shape.dim[1];
    if (takes != channels)
        return vn_fail(err, VN_BAD_ARGUMENT, "model %s takes %lld channels; %s has %lld",
                       name_of(t), (long long)takes, t->source, (long long)channels);
    if (tells != t->data->classes)
        return vn_fail(err, VN_BAD_ARGUMENT, "model %s tells %lld classes, %s has %d", name_of(t),
                       (long long)tells, t->source, (int)t->data->classes);
    return VN_OK;
}

bool vn_train_is_classifier(const char *row) {
    size_t index;
    return row && vn_table_find(&vn_models[VN_ROLE_CLASSIFIER], row, &index);
}

vn_status vn_train_classifier_options(const vn_train_options *o, vn_err *err) {
    if (o->drop > 0)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "`drop`: a classifier learns the classes; none is hidden from it");
    return VN_OK;
}

vn_status vn_train_classifier_times(vn_train_options *o, const vn_net *net, vn_err *err) {
    const bool takes = vn_net_input(vn_net_get_io(net), "timestep") != NULL;
    if (!takes && !o->times) o->times = "clean";
    const bool clean = o->times && vn_times_are_clean(o->times);
    if (clean != takes) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   takes ? "`times` %s: this classifier takes a noise level, and there is none "
                           "(time=no makes one that takes none)"
                         : "`times` %s: this classifier takes no noise level, so it sees clean "
                           "samples alone",
                   o->times);
}

/* ---- autoencoders ---------------------------------------------------------------------------- */

static vn_status check_autoencoder(const vn_train_net *t, vn_err *err) {
    const vn_net_io *io = vn_net_get_io(t->net);
    const vn_shape *data = &t->data->sample;
    const vn_port *decoded = vn_net_output(io, "decoded");
    const int64_t takes = vn_net_sample(io).dim[0], gives = decoded->shape.dim[1],
                  channels = data->dim[0], reduced = decoded->reduced ? decoded->reduced : 1,
                  enlarged = decoded->enlarged ? decoded->enlarged : 1;
    if (takes != channels || gives != channels)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "model %s takes %lld channels and gives %lld; %s has %lld", name_of(t),
                       (long long)takes, (long long)gives, t->source, (long long)channels);
    if (reduced != enlarged)
        return vn_fail(
            err, VN_BAD_ARGUMENT,
            "model %s makes pictures %lld times smaller, and its latents %lld times larger",
            name_of(t), (long long)reduced, (long long)enlarged);
    if (data->dim[1] % io->multiple == 0 && data->dim[2] % io->multiple == 0) return VN_OK;
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "model %s needs images whose sides are multiples of %lld; %s has %lldx%lld",
                   name_of(t), (long long)io->multiple, t->source, (long long)data->dim[2],
                   (long long)data->dim[1]);
}

bool vn_train_is_autoencoder(const char *row) {
    size_t index;
    return row && vn_table_find(&vn_models[VN_ROLE_AUTOENCODER], row, &index);
}

vn_status vn_train_autoencoder_options(const vn_train_options *o, vn_err *err) {
    const struct {
        const char *name, *why;
        bool given;
    } refused[] = {
        {"path", "it sees pictures without noise", o->path},
        {"predict", "it answers with the picture", o->predict},
        {"times", "it sees pictures without noise", o->times},
        {"drop", "it is told no class, and none is hidden from it", o->drop > 0},
    };
    for (size_t i = 0; i < VN_COUNT(refused); i++)
        if (refused[i].given)
            return vn_fail(err, VN_BAD_ARGUMENT, "`%s` has no effect on an autoencoder: %s",
                           refused[i].name, refused[i].why);
    return VN_OK;
}

/* ---- sequence models ------------------------------------------------------------------------- */

vn_status vn_train_sequence_options(vn_train_options *o, vn_err *err) {
    const struct {
        const char *name;
        bool given;
    } refused[] = {{"path", o->path}, {"predict", o->predict}, {"times", o->times}};
    for (size_t i = 0; i < VN_COUNT(refused); i++)
        if (refused[i].given)
            return vn_fail(err, VN_BAD_ARGUMENT,
                           "`%s` has no effect on a sequence model, whose tokens have no noise",
                           refused[i].name);
    o->times = "clean";
    return VN_OK;
}

static vn_status check_sequence(const vn_train_net *t, vn_err *err) {
    const int64_t knows = vn_net_output(vn_net_get_io(t->net), "logits")->shape.dim[2],
                  needs = t->codes + (t->texts ? t->words : t->data->classes + 1);
    if (knows == needs) return VN_OK;
    if (t->texts)
        return vn_fail(err, VN_BAD_ARGUMENT,
                       "model %s knows %lld tokens, %s needs %lld (%lld codes, %lld tokens of "
                       "texts)",
                       name_of(t), (long long)knows, t->source, (long long)needs,
                       (long long)t->codes, (long long)t->words);
    return vn_fail(err, VN_BAD_ARGUMENT,
                   "model %s knows %lld tokens, %s needs %lld (%lld codes, %d classes and null)",
                   name_of(t), (long long)knows, t->source, (long long)needs, (long long)t->codes,
                   (int)t->data->classes);
}

vn_status vn_train_check_net(const vn_train_net *t, vn_err *err) {
    const vn_role role = vn_net_get_row(t->net)->role;
    if (role == VN_ROLE_SEQUENCE) return check_sequence(t, err);
    vn_status status = role == VN_ROLE_DENOISER ? check_inputs(t, err) : VN_OK;
    if (!status) status = check_sample(t, err);
    if (!status) status = check_given(t, err);
    if (status) return status;
    if (role == VN_ROLE_AUTOENCODER) return check_autoencoder(t, err);
    return role == VN_ROLE_CLASSIFIER ? check_classifier(t, err) : check_denoiser(t, err);
}
