/* layer: train; uses: nothing below */
#include "train/verdict.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The table in the header is the ground of these. */
#define TRIVIAL_GONE 1e-4   /* targets of a position are the same for all images: below every run, 12 times below the collapsed one */
#define TRIVIAL_FALLEN 0.25 /* of the first look's; collapsed .05, the lowest of the others .45 */
#define COSINE_ONE 0.999    /* collapsed .9996, before training up to .9934, the lowest run that learnt something .997 */
#define LOSS_AS_TRIVIAL 0.9 /* loss / trivial at which a fallen trivial loss is collapse: learning runs end at .55 to .82 */
#define LOSS_NO_BETTER 1.0
#define STILL_MOVING 0.9 /* a ratio that fell by a tenth from one window to the next is on its way */
#define TRIVIAL_SINKING 0.5
#define COSINE_HIGH 0.99
#define PREDICTION_VARIANCE 0.01 /* collapsed 4e-5, learning runs .05 from 4,800 images on */

const char *ij_verdict_name(ij_verdict verdict) {
    static const char *const names[] = {"healthy", "warning", "collapsed"};
    return names[verdict];
}

static double middle(double a, double b, double c) {
    return fmax(fmin(a, b), fmin(fmax(a, b), c));
}

typedef enum sign { LOSS_RATIO, TRIVIAL, COSINE, VARIANCE } sign;

static double sign_of(const ij_monitor_sample *s, sign which) {
    switch (which) {
    case LOSS_RATIO: return s->loss / fmax(s->trivial_loss, 1e-30);
    case TRIVIAL: return s->trivial_loss;
    case COSINE: return s->cosine_target;
    default: return s->position_variance_prediction;
    }
}

/* Median of the newest window, or of the one before it. */
static double median(const ij_verdict_history *h, sign which, int windows_ago) {
    const ij_monitor_sample *s = h->samples + (1 - windows_ago) * VERDICT_WINDOW;
    return middle(sign_of(&s[0], which), sign_of(&s[1], which), sign_of(&s[2], which));
}

/* What the newest window says by itself. */
static ij_verdict propose(const ij_verdict_history *h, char *reason, size_t bytes) {
    double ratio = median(h, LOSS_RATIO, 0), trivial = median(h, TRIVIAL, 0), cosine = median(h, COSINE, 0),
           variance = median(h, VARIANCE, 0);
    double fallen = h->first_trivial > 0 ? trivial / h->first_trivial : 1;
    bool both = h->count >= 2 * VERDICT_WINDOW; /* is there a window before? */
    if (trivial < TRIVIAL_GONE) {
        snprintf(reason, bytes, "targets no longer depend on the image: knowing the position alone predicts them with loss %.2g", trivial);
        return IJ_VERDICT_COLLAPSED;
    }
    bool settled = both && ratio > STILL_MOVING * median(h, LOSS_RATIO, 1);
    if (ratio >= LOSS_AS_TRIVIAL && (fallen <= TRIVIAL_FALLEN || (settled && cosine >= COSINE_ONE))) {
        snprintf(reason, bytes,
                 "targets hardly depend on the image: mean cosine between images %.4f, the loss of knowing the position alone fell to %.0f "
                 "%% of the start, and the predictor's is %.2f times that",
                 cosine, 100 * fallen, ratio);
        return IJ_VERDICT_COLLAPSED;
    }
    if (settled && ratio >= LOSS_NO_BETTER) {
        snprintf(
            reason, bytes,
            "the predictor is no better than the mean target of each position: loss %.2f times the trivial predictor's, and not falling",
            ratio);
        return IJ_VERDICT_WARNING;
    }
    if (fallen <= TRIVIAL_SINKING && cosine >= COSINE_HIGH) {
        snprintf(
            reason, bytes,
            "images are becoming alike: mean cosine of their features %.4f, their difference at the same position %.0f %% of the start",
            cosine, 100 * fallen);
        return IJ_VERDICT_WARNING;
    }
    if (both && variance < PREDICTION_VARIANCE && STILL_MOVING * variance <= median(h, VARIANCE, 1)) {
        snprintf(reason, bytes, "predictions are nearly the same for all images: %.2g of their variance is across images", variance);
        return IJ_VERDICT_WARNING;
    }
    if (ratio < 1)
        snprintf(reason, bytes, "the predictor uses the context: loss %.2f of the trivial predictor's, mean cosine between images %.2f",
                 ratio, cosine);
    else
        snprintf(reason, bytes, "loss %.2f times the trivial predictor's%s", ratio, both ? " and falling" : "; too early to say more");
    return IJ_VERDICT_HEALTHY;
}

ij_verdict ij_verdict_judge(ij_verdict_history *h, int64_t step, const ij_monitor_sample *sample, char *reason, size_t reason_bytes) {
    if (!isfinite(sample->loss) || !isfinite(sample->trivial_loss) || !isfinite(sample->cosine_target)) {
        snprintf(reason, reason_bytes, "not judged at step %" PRId64 ": a batch of one image, or numbers that are not finite", step);
        return h->verdict;
    }
    memmove(h->samples, h->samples + 1, sizeof h->samples - sizeof h->samples[0]);
    h->samples[2 * VERDICT_WINDOW - 1] = *sample;
    if (h->count++ == 0) h->first_trivial = sample->trivial_loss;
    if (h->count < VERDICT_WINDOW) {
        snprintf(reason, reason_bytes, "too early: %" PRId64 " of %d looks", h->count, VERDICT_WINDOW);
        return h->verdict;
    }
    ij_verdict mine = propose(h, reason, reason_bytes);
    if (mine == h->proposed) h->verdict = mine;
    h->proposed = mine;
    if (h->verdict != mine) {
        size_t used = strlen(reason);
        snprintf(reason + used, reason_bytes - used, " (%s if the next look agrees)", ij_verdict_name(mine));
    }
    return h->verdict;
}
