/* log.c - log.jsonl: what a run was like, one JSON object a line, for people's plots and
 * scripts. */
#include "train/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- opening --------------------------------------------------------------------------------- */

static bool is_kept(const char *line, int64_t last) {
    long long step = 0;
    return strchr(line, '\n') && sscanf(line, "{\"step\": %lld", &step) == 1 && step <= last;
}

/* Keeps the whole lines whose step is at most `last`: a run that was killed may have logged more
 * than it saved. */
static vn_status keep_lines(const char *path, FILE *from, int64_t last, vn_err *err) {
    char line[4096]; /* ours are shorter */
    bool dropped = false;
    vn_writer w;
    vn_status status = vn_writer_open(&w, path, err);
    if (status) return status;
    while (fgets(line, sizeof line, from)) {
        if (is_kept(line, last))
            fputs(line, w.file);
        else
            dropped = true;
    }
    if (ferror(from)) status = vn_fail_errno(err, "%s", path);
    if (!status && dropped) return vn_writer_commit(&w, err);
    vn_writer_abandon(&w);
    return status;
}

/* The log is not followed to where a link leads: a run may be a stranger's. */
static vn_status trim(const char *path, int64_t last, vn_err *err) {
    struct stat info;
    if (lstat(path, &info) != 0) return errno == ENOENT ? VN_OK : vn_fail_errno(err, "%s", path);
    if (S_ISLNK(info.st_mode))
        return vn_fail(err, VN_IO, "%s: is a link, which is not followed", path);
    int fd;
    const vn_status status = vn_file_open(path, &fd, err);
    if (status) return status;
    FILE *from = fdopen(fd, "rb");
    if (!from) {
        vn_fail_errno(err, "%s", path);
        close(fd);
        return err->status;
    }
    const vn_status kept = keep_lines(path, from, last, err);
    fclose(from);
    return kept;
}

vn_status vn_train_log_open(vn_trainer *t, vn_err *err) {
    vn_train_log *log = &t->log;
    char *path = vn_path_join(t->s->run, "log.jsonl");
    if (!path) return vn_no_memory(err);
    vn_status status = trim(path, t->at.step, err);
    if (!status) {
        log->fd =
            open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
        if (log->fd < 0 || (log->end = lseek(log->fd, 0, SEEK_END)) < 0)
            status = vn_fail_errno(err, "%s", path);
    }
    if (!status && !(log->line = fmemopen(log->text, sizeof log->text, "w")))
        status = vn_no_memory(err);
    vn_free(path);
    return status;
}

void vn_train_log_close(vn_trainer *t) {
    if (t->log.line) fclose(t->log.line);
    if (t->log.fd >= 0) close(t->log.fd);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* All of it, or nothing. Tried twice, as a signal or a file system far away can fail a write that
 * then succeeds. */
static bool append(vn_train_log *log, size_t size) {
    for (int tries = 0; tries < 2; tries++) {
        size_t done = 0;
        ssize_t n = 0;
        for (; done < size && n >= 0; done += n > 0 ? (size_t)n : 0) do
                n = write(log->fd, log->text + done, size - done);
            while (n < 0 && errno == EINTR);
        if (done == size) {
            log->end += (int64_t)size;
            return true;
        }
        const int code = errno;
        /* the part that is there stays one line with what follows */
        if (ftruncate(log->fd, log->end) != 0) tries = 2;
        errno = code;
    }
    return false;
}

static bool make_durable(int fd) {
    return fdatasync(fd) == 0 || errno == EINVAL || errno == ENOTSUP ||
           (errno == EINTR && fdatasync(fd) == 0);
}

static void put(FILE *to, const char *key, double value) {
    if (isfinite(value)) vn_fprintf(to, ", \"%s\": %.9g", key, value);
}

vn_status vn_train_log_line(vn_trainer *t, double rate, bool durable, vn_err *err) {
    const double seconds = vn_trainer_seconds(t);
    const double here = seconds - t->before;
    FILE *line = t->log.line;
    rewind(line);
    fprintf(line, "{\"step\": %lld", (long long)t->at.step);
    put(line, "loss", t->loss);
    put(line, "loss_mean", t->smooth);
    for (int i = 1; i < t->losses; i++) {
        char key[64];
        snprintf(key, sizeof key, "loss_%.40s", vn_objective_loss_part(t->s->objective, i));
        put(line, key, t->more[i]);
    }
    put(line, "held_loss", t->held_loss);
    if (t->held_state && isfinite(t->held_loss))
        vn_objective_measure(t->s->objective)->write(t->held_state, line);
    put(line, "learning_rate", rate);
    put(line, "grad_norm", t->grad_norm);
    put(line, "images_per_s",
        here > 0 ? (double)((t->at.step - t->first) * t->s->batch) / here : (double)NAN);
    put(line, "seconds", seconds);
    fputs("}\n", line);
    const long size = ftell(line);
    if (fflush(line) != 0 || !append(&t->log, (size_t)size) ||
        (durable && !make_durable(t->log.fd)))
        return vn_fail_errno(err, "%s/log.jsonl: cannot be written", t->s->run);
    return VN_OK;
}
