/* Attention as its formulas say, row by row.       layer: ops (reference); uses: nothing */
#include "ops/attention.h"

#include <math.h>

static double dot(const double *a, const double *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

/* Row `row` of q, k or v (which: 0, 1, 2) of a head in a tensor [rows, 3, heads, head_dim]. */
static int64_t at(int64_t row, int64_t which, int64_t head, int64_t heads, int64_t head_dim) {
    return ((row * 3 + which) * heads + head) * head_dim;
}

/* log sum_j exp(score[row, j]) over the rows begin .. end - 1. */
static double log_sum(const double *qkv, int64_t row, int64_t begin, int64_t end, int64_t head, int64_t heads, int64_t head_dim) {
    double peak = -INFINITY, total = 0, scale = 1 / sqrt((double)head_dim);
    const double *q = qkv + at(row, 0, head, heads, head_dim);
    for (int64_t j = begin; j < end; j++) peak = fmax(peak, scale * dot(q, qkv + at(j, 1, head, heads, head_dim), head_dim));
    for (int64_t j = begin; j < end; j++) total += exp(scale * dot(q, qkv + at(j, 1, head, heads, head_dim), head_dim) - peak);
    return peak + log(total);
}

void ref_attention(const double *qkv, const uint32_t *offsets, int64_t sequences, int64_t heads, int64_t head_dim, double *out,
                   double *lse) {
    double scale = 1 / sqrt((double)head_dim);
    for (int64_t s = 0; s < sequences; s++)
        for (int64_t i = offsets[s]; i < offsets[s + 1]; i++)
            for (int64_t h = 0; h < heads; h++) {
                const double *q = qkv + at(i, 0, h, heads, head_dim);
                double *o = out + (i * heads + h) * head_dim;
                double row_lse = log_sum(qkv, i, offsets[s], offsets[s + 1], h, heads, head_dim);
                if (lse) lse[i * heads + h] = row_lse;
                for (int64_t d = 0; d < head_dim; d++) o[d] = 0;
                for (int64_t j = offsets[s]; j < offsets[s + 1]; j++) {
                    const double *k = qkv + at(j, 1, h, heads, head_dim), *v = qkv + at(j, 2, h, heads, head_dim);
                    double p = exp(scale * dot(q, k, head_dim) - row_lse);
                    for (int64_t d = 0; d < head_dim; d++) o[d] += p * v[d];
                }
            }
}

/* What query row i adds to the gradients of one sequence and head; out may be NULL. */
static void ref_query_bwd(const double *qkv, int64_t i, int64_t begin, int64_t end, int64_t h, int64_t heads, int64_t head_dim,
                          const double *out, const double *dout, double *dqkv) {
    double scale = 1 / sqrt((double)head_dim), row_lse = log_sum(qkv, i, begin, end, h, heads, head_dim), delta = 0;
    const double *q = qkv + at(i, 0, h, heads, head_dim), *d_out = dout + (i * heads + h) * head_dim;
    double *dq = dqkv + at(i, 0, h, heads, head_dim);
    if (out) delta = dot(d_out, out + (i * heads + h) * head_dim, head_dim);
    for (int pass = out ? 1 : 0; pass < 2; pass++) /* delta = sum_j p dp first, then what needs it */
        for (int64_t j = begin; j < end; j++) {
            const double *k = qkv + at(j, 1, h, heads, head_dim), *v = qkv + at(j, 2, h, heads, head_dim);
            double *dk = dqkv + at(j, 1, h, heads, head_dim), *dv = dqkv + at(j, 2, h, heads, head_dim);
            double p = exp(scale * dot(q, k, head_dim) - row_lse), dp = dot(d_out, v, head_dim);
            if (pass == 0) delta += p * dp;
            for (int64_t d = 0; d < head_dim && pass == 1; d++) {
                dq[d] += scale * p * (dp - delta) * k[d];
                dk[d] += scale * p * (dp - delta) * q[d];
                dv[d] += p * d_out[d];
            }
        }
}

void ref_attention_bwd_from(const double *qkv, const uint32_t *offsets, int64_t sequences, int64_t heads, int64_t head_dim,
                            const double *out, const double *dout, double *dqkv) {
    for (int64_t s = 0; s < sequences; s++) {
        for (int64_t e = at(offsets[s], 0, 0, heads, head_dim); e < at(offsets[s + 1], 0, 0, heads, head_dim); e++) dqkv[e] = 0;
        for (int64_t i = offsets[s]; i < offsets[s + 1]; i++)
            for (int64_t h = 0; h < heads; h++) ref_query_bwd(qkv, i, offsets[s], offsets[s + 1], h, heads, head_dim, out, dout, dqkv);
    }
}

void ref_attention_bwd(const double *qkv, const uint32_t *offsets, int64_t sequences, int64_t heads, int64_t head_dim, const double *dout,
                       double *dqkv) {
    ref_attention_bwd_from(qkv, offsets, sequences, heads, head_dim, NULL, dout, dqkv);
}
