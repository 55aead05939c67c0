/* layer: train; uses: nothing below */
#include "train/verdict.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The table in the header is the ground of these. */
#define TRIVIAL_GONE 1e-4     /* targets of a position are the same for all images: 12 times below the first collapsed run */
#define TRIVIAL_FALLEN 0.25   /* of the first look's; .05 in the first collapsed run */
#define RATIO_OF_COLLAPSE 0.9 /* at which a fallen trivial loss is collapse; learning runs end at .55 to .69 */
#define RANK_FALLEN 0.5       /* of the first look's; .20 and .41 in the collapsed runs, never below .89 in the others */
#define RANK_SINKING 0.8
/* A rank below the first of these is collapse on its way, where the second or the third says so too; learning runs are never below .89, .87,
 * .88. */
#define RANK_LEFT 0.7    /* of the first look's rank */
#define TRIVIAL_LEFT 0.4 /* of the first look's trivial loss */
#define HEIGHT_LEFT 0.6  /* of the highest rank */
#define COSINE_ONE 0.999
/* A learning run (sigreg, seed 4) had .97 after 11,000 images; runs that collapse to the position have .997 and more. */
#define COSINE_HIGH 0.98
/* .01: 4e-5 in the first collapsed run, learning runs are above .012 from 4,800 images on; before the ratio has settled they are at .001
 * to .008, and are not judged. */
#define PREDICTION_VARIANCE 0.01
#define STILL_MOVING 0.9 /* what fell by a tenth from one window to the next is on its way */

const char *ij_verdict_name(ij_verdict verdict) {
    static const char *const names[] = {"healthy", "warning", "collapsed"};
    return names[verdict];
}

static double middle(double a, double b, double c) { return fmax(fmin(a, b), fmin(fmax(a, b), c)); }

typedef enum sign { RATIO, TRIVIAL, RANK, COSINE, VARIANCE } sign;

static double sign_of(const ij_monitor_sample *s, sign which) {
    switch (which) {
    case RATIO: return s->loss / fmax(s->trivial_loss, 1e-30);
    case TRIVIAL: return s->trivial_loss;
    case RANK: return s->rankme_target;
    case COSINE: return s->cosine_target;
    default: return s->position_variance_prediction;
    }
}

/* Median of the newest window, or of the one before it. */
static double median(const ij_verdict_history *h, sign which, int windows_ago) {
    const ij_monitor_sample *s = h->samples + (1 - windows_ago) * VERDICT_WINDOW;
    return middle(sign_of(&s[0], which), sign_of(&s[1], which), sign_of(&s[2], which));
}

/* The newest window's signs, and what they are compared with. */
typedef struct signs {
    double ratio, trivial, rank, cosine, variance;
    double fallen;    /* trivial, as a part of the first look's */
    double rank_part; /* rank, as a part of the first look's */
    double rank_lost; /* rank, as a part of the highest window's */
    bool two_windows; /* is there a window before? */
    bool settled;     /* and the ratio does not fall any more */
} signs;

static signs read_signs(const ij_verdict_history *h) {
    signs s = {.ratio = median(h, RATIO, 0),
               .trivial = median(h, TRIVIAL, 0),
               .rank = median(h, RANK, 0),
               .cosine = median(h, COSINE, 0),
               .variance = median(h, VARIANCE, 0),
               .two_windows = h->count >= 2 * VERDICT_WINDOW};
    s.fallen = h->first_trivial > 0 ? s.trivial / h->first_trivial : 1;
    s.rank_part = h->first_rank > 0 ? s.rank / h->first_rank : 1;
    s.rank_lost = h->highest_rank > 0 ? s.rank / h->highest_rank : 1;
    s.settled = s.two_windows && s.ratio > STILL_MOVING * median(h, RATIO, 1);
    return s;
}

/* What the newest window says by itself. */
static ij_verdict propose(const ij_verdict_history *h, const signs *s, char *reason, size_t bytes) {
    if (s->trivial < TRIVIAL_GONE && h->first_trivial < TRIVIAL_GONE) {
        snprintf(
            reason, bytes,
            "the pictures of a batch are alike: even the fresh network's targets depended on the position alone (loss %.2g of knowing it); "
            "look at the data",
            h->first_trivial);
        return IJ_VERDICT_COLLAPSED;
    }
    if (s->trivial < TRIVIAL_GONE) {
        snprintf(reason, bytes, "targets no longer depend on the image: knowing the position alone predicts them with loss %.2g",
                 s->trivial);
        return IJ_VERDICT_COLLAPSED;
    }
    if (s->two_windows && s->rank_part < RANK_FALLEN) {
        snprintf(reason, bytes, "the targets' rank fell from %.1f to %.1f: features collapse into few directions", h->first_rank, s->rank);
        return IJ_VERDICT_COLLAPSED;
    }
    if (s->two_windows && s->rank_part < RANK_LEFT && (s->fallen < TRIVIAL_LEFT || s->rank_lost < HEIGHT_LEFT)) {
        snprintf(
            reason, bytes,
            "the targets' rank fell to %.1f, from %.1f at the start and %.1f at its highest; what differs between images is %.0f %% of the "
            "start's",
            s->rank, h->first_rank, h->highest_rank, 100 * s->fallen);
        return IJ_VERDICT_COLLAPSED;
    }
    if (s->ratio >= RATIO_OF_COLLAPSE && (s->fallen <= TRIVIAL_FALLEN || (s->settled && s->cosine >= COSINE_ONE))) {
        snprintf(reason, bytes,
                 "targets hardly depend on the image: mean cosine between images %.4f, loss of knowing the position alone %.2g (%.0f %% of "
                 "the start), loss %.2f times that",
                 s->cosine, s->trivial, 100 * s->fallen, s->ratio);
        return IJ_VERDICT_COLLAPSED;
    }
    if (s->two_windows && (s->rank_part < RANK_SINKING || s->rank_lost < RANK_FALLEN)) {
        snprintf(reason, bytes, "the targets' rank is sinking: %.1f, %.1f at the start, %.1f at its highest", s->rank, h->first_rank,
                 h->highest_rank);
        return IJ_VERDICT_WARNING;
    }
    if (s->settled && s->ratio >= 1) {
        snprintf(
            reason, bytes,
            "the predictor is no better than the mean target of each position: loss %.2f times the trivial predictor's, and not falling",
            s->ratio);
        return IJ_VERDICT_WARNING;
    }
    if (s->settled && s->cosine >= COSINE_HIGH) {
        snprintf(reason, bytes, "features of different images are nearly alike: mean cosine %.4f", s->cosine);
        return IJ_VERDICT_WARNING;
    }
    if (s->settled && s->variance < PREDICTION_VARIANCE && STILL_MOVING * s->variance <= median(h, VARIANCE, 1)) {
        snprintf(reason, bytes, "predictions are nearly the same for all images: %.2g of their variance is across images", s->variance);
        return IJ_VERDICT_WARNING;
    }
    if (s->ratio < 1)
        snprintf(reason, bytes,
                 "the predictor uses the context: loss %.2f of the trivial predictor's; rank %.1f (%.1f at the start), mean cosine between "
                 "images %.2f",
                 s->ratio, s->rank, h->first_rank, s->cosine);
    else
        snprintf(reason, bytes, "loss %.2f times the trivial predictor's%s", s->ratio,
                 s->two_windows ? " and falling" : "; too early to say more");
    return IJ_VERDICT_HEALTHY;
}

ij_verdict ij_verdict_judge(ij_verdict_history *h, int64_t step, const ij_monitor_sample *sample, char *reason, size_t reason_bytes) {
    if (!isfinite(sample->loss) || !isfinite(sample->trivial_loss) || !isfinite(sample->cosine_target)) {
        snprintf(reason, reason_bytes, "not judged at step %" PRId64 ": a batch of one image, or numbers that are not finite", step);
        return h->verdict;
    }
    memmove(h->samples, h->samples + 1, sizeof h->samples - sizeof h->samples[0]);
    h->samples[2 * VERDICT_WINDOW - 1] = *sample;
    if (h->count++ == 0) h->first_trivial = sample->trivial_loss, h->first_rank = sample->rankme_target;
    if (h->count < VERDICT_WINDOW) {
        snprintf(reason, reason_bytes, "too early: %" PRId64 " of %d looks", h->count, VERDICT_WINDOW);
        return h->verdict;
    }
    signs s = read_signs(h);
    h->highest_rank = fmax(h->highest_rank, s.rank);
    ij_verdict mine = propose(h, &s, reason, reason_bytes);
    if (mine == h->proposed) h->verdict = mine;
    h->proposed = mine;
    if (h->verdict != mine) {
        size_t used = strlen(reason);
        snprintf(reason + used, reason_bytes - used, " (%s if the next look agrees)", ij_verdict_name(mine));
    }
    return h->verdict;
}
