/* support_parts.h - small trainings of several networks: losses that call them, and all that a run
 * is made of. */
#ifndef SUPPORT_PARTS_H
#define SUPPORT_PARTS_H

#include "cpu/cpu.h"
#include "train/internal.h"

/* Objectives of the tests: "to_average", "pull" (with a part "follower" and a frozen "teacher"),
 * "generator" (with a "critic" and a "teacher"), "images" (with a classifier "judge"), and some
 * that call what is not there. */
extern const vn_table part_losses;

enum { MAX_PARTS = 3, STEPS = 12 };

typedef struct job {
    vn_device_row row;
    vn_device device;
    vn_data *data;
    vn_path *path;
    vn_prediction prediction;
    vn_objective *objective;
    vn_watch watch;
    vn_train_part part[MAX_PARTS];
    vn_train_setup setup;
} job;

/* Points (of "images": images) of two classes, or without classes; no parts yet, which job_close
 * closes too. */
void job_open(job *j, const char *objective, int32_t classes, int64_t microbatches);
void job_close(job *j);
/* row NULL: by the config's class. */
vn_net *open_net(const vn_net_row *row, const char *config);
/* y = a x, a [2] */
vn_net *product(void);
/* The run of what is trained, at step 0. */
void job_create(const job *j);

#endif
