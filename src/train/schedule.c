/* schedule.c - the numbers that change over a run: learning rate, the decay of the weights'
 * average, the time that it has taken; and what is due in a step. */
#include "train/internal.h"

#include <math.h>

/* Of a run by minutes the warm-up ends here at the latest: on a slow machine it may only make so
 * many steps. */
#define MAX_WARM 0.05

/* Linear warm-up, then constant or half a cosine down to 0. progress: part of the run that is done,
 * in [0, 1]. */
double vn_train_rate(const vn_train_setup *s, int64_t step, double progress) {
    double warm = s->warmup > step ? (double)(step + 1) / (double)(s->warmup + 1) : 1;
    if (!s->steps) warm = fmin(fmax(warm, progress / MAX_WARM), 1);
    const double fall =
        s->rate == VN_RATE_COSINE ? 0.5 * (1 + cos(3.141592653589793 * fmin(progress, 1))) : 1;
    return s->lr * warm * fall;
}

/* A constant decay begins smaller, min(decay, (1+n)/(10+n)), so that the first weights do not stay
 * in the average. Without one it is EDM2's power function, (1 - 1/n)^(gamma+1), whose width is a
 * fixed part of the run so far: sigma_rel = 0.1 corresponds to gamma = 6.94 (2312.02696,
 * equation 127). */
double vn_train_ema(const vn_train_setup *s, int64_t step) {
    const double n = (double)step + 1;
    if (s->ema >= 0) return fmin(s->ema, (1 + n) / (10 + n));
    return vn_ema_decay(VN_EMA_USUAL, n);
}

double vn_trainer_seconds(const vn_trainer *t) {
    return t->before + (vn_now() - t->started);
}

bool vn_trainer_loss_due(const vn_trainer *t, int loss) {
    return vn_objective_loss_due(t->s->objective, loss, t->at.step);
}

bool vn_trainer_part_due(const vn_trainer *t, int part) {
    return t->part[part].saved_as && vn_trainer_loss_due(t, t->part[part].loss);
}
