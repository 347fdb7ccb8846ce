/* trajectory.h - what a sampling run consists of, for the two files that move one: trajectory.c
 * from noise to data, invert.c the way back. */
#ifndef VN_TRAJECTORY_H
#define VN_TRAJECTORY_H

#include "sample/internal.h"

struct vn_trajectory {
    const vn_denoiser *denoiser;
    const vn_sampler_row *row;
    vn_choice choice;
    vn_route route;
    vn_guidance *guidance;
    const vn_between *between; /* or NULL */
    vn_first_noise begin;
    uint64_t seed;
    int64_t capacity;
    vn_trajectory_batch batch;
    vn_step step;          /* slots and history */
    int restarts;          /* how often it has gone back to more noise */
    double inverted;       /* passes that an inversion took */
    int64_t *ancestor;     /* [capacity] */
    float *spare;          /* [capacity,size] */
    const vn_watch *watch; /* NULL: progress is reported to nobody */
    int64_t done, total;   /* of the progress: steps before this batch, and in all */
    double began;          /* when vn_trajectory_watch was called */
};

/* VN_BAD_ARGUMENT: more samples than it was opened for, or a condition that the denoiser does not
 * know. */
vn_status vn_trajectory_check(const vn_trajectory *trajectory, const vn_trajectory_batch *b,
                              vn_err *err);

#endif
