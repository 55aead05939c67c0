/* layer: train; uses: nothing */
#include "train/schedule.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

int64_t ij_schedule_steps(const ij_schedule *s) { return s->steps > 0 ? s->steps : s->epochs * s->steps_per_epoch; }

/* T_max; the released code truncates it and the warm-up to whole steps. */
static int64_t steps_total(const ij_schedule *s) { return (int64_t)(s->ipe_scale * (double)ij_schedule_steps(s)); }

static double backed_off(const ij_schedule *s, int64_t step) {
    int64_t times = s->backoffs > 0 && step < s->backoff_since ? s->backoffs - 1 : s->backoffs;
    return ldexp(1, -(int)times);
}

static double planned_lr(const ij_schedule *s, int64_t step) {
    int64_t warmup = (int64_t)(s->warmup_epochs * (double)s->steps_per_epoch), at = step + 1;
    if (at < warmup) return s->start_lr + (double)at / (double)(warmup > 1 ? warmup : 1) * (s->lr - s->start_lr);
    int64_t rest = steps_total(s) - warmup;
    double progress = (double)(at - warmup) / (double)(rest > 1 ? rest : 1);
    double lr = s->final_lr + (s->lr - s->final_lr) * 0.5 * (1 + cos(pi * progress));
    return lr > s->final_lr ? lr : s->final_lr;
}

double ij_schedule_lr(const ij_schedule *s, int64_t step) { return planned_lr(s, step) * backed_off(s, step); }

double ij_schedule_weight_decay(const ij_schedule *s, int64_t step) {
    int64_t total = steps_total(s);
    double progress = (double)(step + 1) / (double)(total > 1 ? total : 1);
    double value = s->final_weight_decay + (s->weight_decay - s->final_weight_decay) * 0.5 * (1 + cos(pi * progress));
    if (s->final_weight_decay <= s->weight_decay) return value > s->final_weight_decay ? value : s->final_weight_decay;
    return value < s->final_weight_decay ? value : s->final_weight_decay;
}

double ij_schedule_momentum(const ij_schedule *s, int64_t step) {
    double total = (double)ij_schedule_steps(s) * s->ipe_scale;
    double planned = s->ema + (double)step * (s->final_ema - s->ema) / (total > 1 ? total : 1), part = backed_off(s, step);
    return part < 1 ? 1 - (1 - planned) * part : planned;
}
