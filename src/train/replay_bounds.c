/* Derivation of the bounds.       layer: train; uses: ops
 *
 * f32: what different orders of summation leave, 1e-4 (1e-5 in the loss, a mean); 1e-3 after several steps, because AdamW divides by
 * sqrt(v) and rounding of small gradients shows. Measured: below 1e-6.
 *
 * 16 bits: storing a number multiplies it with 1 + r, |r| <= u (2^-11 in f16, 2^-8 in bf16), r like a uniform random number, so its
 * root mean square is at most q = u / sqrt 3. Roundings are independent, their squares add up. On the way through a block at most six
 * stand one behind the other: attention's branch has norm1's output, the weights of qkv, qkv, exp(score - lse), attended, the weights of
 * proj; the MLP's has four. The residual stream is f32, and later blocks pass an error on with a gain of about 1 (the final LayerNorm
 * takes a common factor out). So after L blocks, with the patch rows, the weights of the embedding and the last output:
 *     features:     2 q sqrt(6 L + 3)
 *     predictions:  2 q sqrt(6 (L + P) + 8)              P: blocks of the predictor; two more linear layers
 * 2: a gain of up to 2 on the whole way. The loss's gradient is a function of predictions - targets; where these are close, their
 * errors are not smaller, so their share grows by `cancellation`. Backward a block rounds ten more numbers one behind the other (dx, weights,
 * dhidden, the kept pre-activation, dnormed, dout, p, ds, qkv, dqkv):
 *     gradients:    sqrt((cancellation x predictions)^2 + (2 q)^2 10 (L + P))
 * The loss is a mean over rows of a function that is quadratic near 0: e = cancellation x predictions moves it by e^2 always and by 2 e,
 * with either sign, row by row:
 *     loss:         e^2 + 2 e / sqrt(target rows)
 * AdamW's first step is lr g / (|g| + tiny), the sign of g and no more. An error of relative size e turns the sign of a gradient
 * element with probability atan(e) / pi, and moves the parameter by twice the step then: relative to the whole movement sqrt(4 e / pi),
 * relative to the parameter that times `moved`. In later steps m / sqrt(v) depends on g less sharply; errors of the steps add up at
 * most. 1.5: elements are not normally distributed.
 * Key biases are a case apart: a softmax does not change when all its scores do, so their gradient is zero but for rounding, and in 16 bits
 * that rounding is far above AdamW's eps: it walks by whole steps where f32 hardly moves. They are a third of a qkv bias; the other two
 * thirds make up `moved`: an error of sqrt(1/2) of it comes on top, in quadrature. */
#include "train/replay_bounds.h"
#include "ops/op.h"

#include <math.h>

#define PI 3.14159265358979324

replay_bounds replay_bounds_of(gpu_element element, const replay_facts *facts) {
    if (element == GPU_WORD) return (replay_bounds){.features = 1e-4, .predictions = 1e-4, .gradients = 1e-4, .loss = 1e-5};
    double q = op_rounding(op_dtype_of(element)) / sqrt(3.0), encoder = facts->encoder_depth, both = encoder + facts->predictor_depth;
    double predictions = 2 * q * sqrt(6 * both + 8), difference = facts->cancellation * predictions;
    return (replay_bounds){.features = 2 * q * sqrt(6 * encoder + 3),
                           .predictions = predictions,
                           .gradients = sqrt(difference * difference + 4 * q * q * 10 * both),
                           .loss = difference * difference + 2 * difference / sqrt(facts->target_rows)};
}

double replay_bound_after(gpu_element element, const replay_bounds *bounds, int steps, double moved, bool qkv_bias) {
    if (element == GPU_WORD) return steps > 1 ? 1e-3 : 1e-4;
    return sqrt(2.25 * 4 * bounds->gradients / PI + (qkv_bias ? 0.5 : 0)) * moved + 1e-6;
}
