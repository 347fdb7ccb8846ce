/* log.c - log.jsonl: what a run was like, one JSON object a line, for people's plots and scripts. */
#include "train/internal.h"

#include <math.h>
#include <string.h>

/* Copies the lines whose step is at most `last`: a run that was killed may have logged more than it saved. */
static vn_status keep_lines(const char *path, int64_t last, vn_err *err) {
    char *text = NULL;
    size_t size = 0;
    vn_status status = vn_read_file(path, (size_t)1 << 30, &text, &size, err);
    if (status != VN_OK) return status;
    vn_writer w;
    status = vn_writer_open(&w, path, err);
    for (char *line = text, *end; status == VN_OK && (end = strchr(line, '\n')); line = end + 1) {
        long long step = 0;
        if (sscanf(line, "{\"step\": %lld", &step) == 1 && step <= last)
            fwrite(line, 1, (size_t)(end - line) + 1, w.file);
    }
    if (status == VN_OK) status = vn_writer_commit(&w, err);
    vn_free(text);
    return status;
}

vn_status vn_train_log_open(vn_trainer *t, vn_err *err) {
    char *path = vn_path_join(t->s->run, "log.jsonl");
    if (!path) return vn_no_memory(err);
    vn_status status = VN_OK;
    if (vn_is_file(path)) status = keep_lines(path, t->at.step, err);
    if (status == VN_OK && !(t->log = fopen(path, "a"))) status = vn_fail_errno(err, "%s", path);
    vn_free(path);
    return status;
}

static void put(FILE *to, const char *key, double value) {
    if (isfinite(value)) vn_fprintf(to, ", \"%s\": %.9g", key, value);
}

vn_status vn_train_log_line(vn_trainer *t, double rate, vn_err *err) {
    const double seconds = vn_trainer_seconds(t);
    const double here = seconds - t->before;
    fprintf(t->log, "{\"step\": %lld", (long long)t->at.step);
    put(t->log, "loss", t->loss);
    put(t->log, "loss_mean", t->smooth);
    put(t->log, "held_loss", t->held_loss);
    put(t->log, "learning_rate", rate);
    put(t->log, "grad_norm", t->grad_norm);
    put(t->log, "images_per_s", here > 0 ? (double)((t->at.step - t->first) * t->s->batch) / here : (double)NAN);
    put(t->log, "seconds", seconds);
    fputs("}\n", t->log);
    if (fflush(t->log) != 0) return vn_fail_errno(err, "%s/log.jsonl", t->s->run);
    return VN_OK;
}
