/* What an operation needs to know of a whole picture before it can change a pixel: smallest and largest value, histogram, mean of the
 * grey picture (src/ops/augment.h has the formulas). One workgroup a picture; pictures whose operation needs nothing return at once.
 *
 * table[picture, channel, 256]: autocontrast: [0] lowest value, [1] factor (0: leave the channel); equalize: a value for each of 256;
 * contrast: [0] of channel 0 is the mean. Counting is in integers, so its order does not matter. */
//! variant augment_stats
#version 460
#extension GL_GOOGLE_include_directive : require
#include "augment.h"
#include "group_sum.h"

layout(local_size_x = AUGMENT_LANES) in;
layout(push_constant) uniform Push { augment_push push; };

layout(binding = 0) readonly restrict buffer Pixels { float pixels[]; };      /* [batch, height, width, channels] */
layout(binding = 1) readonly restrict buffer Steps { augment_step steps[]; }; /* [batch, AUGMENT_STEPS] */
layout(binding = 2) writeonly restrict buffer Table { float table[]; };       /* [batch, channels, AUGMENT_TABLE] */

shared uint counts[AUGMENT_TABLE];
shared float lows[AUGMENT_LANES], highs[AUGMENT_LANES];

void autocontrast(uint first, uint area, uint at, uint c) {
    uint lane = gl_LocalInvocationID.x;
    float low = 3.4e38, high = -3.4e38;
    for (uint i = lane; i < area; i += AUGMENT_LANES) {
        float v = pixels[first + i * push.channels + c];
        low = min(low, v), high = max(high, v);
    }
    lows[lane] = low, highs[lane] = high;
    barrier();
    if (lane == 0) {
        for (uint i = 1; i < AUGMENT_LANES; i++) low = min(low, lows[i]), high = max(high, highs[i]);
        table[at] = low;
        table[at + 1] = high > low ? 255.0 / (high - low) : 0.0;
    }
    barrier();
}

/* The lookup table of PIL.ImageOps.equalize, made by one lane: 256 additions. */
void equalize(uint first, uint area, uint at, uint c) {
    uint lane = gl_LocalInvocationID.x;
    counts[lane] = 0;
    barrier();
    for (uint i = lane; i < area; i += AUGMENT_LANES)
        atomicAdd(counts[uint(clamp(floor(pixels[first + i * push.channels + c] + 0.5), 0.0, 255.0))], 1);
    barrier();
    if (lane == 0) {
        uint last = 0;
        for (uint i = 0; i < AUGMENT_TABLE; i++)
            if (counts[i] != 0) last = counts[i];
        uint per_value = (area - last) / 255, sum = per_value / 2;
        for (uint i = 0; i < AUGMENT_TABLE; i++) {
            table[at + i] = float(per_value == 0 ? i : min(sum / per_value, 255u));
            sum += counts[i];
        }
    }
    barrier();
}

void contrast(uint first, uint area, uint at) {
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < area; i += AUGMENT_LANES) {
        uint p = first + i * push.channels;
        sum += push.channels == 3 ? dot(vec3(pixels[p], pixels[p + 1], pixels[p + 2]), vec3(0.299, 0.587, 0.114)) : pixels[p];
    }
    sum = group_sum(sum);
    if (gl_LocalInvocationID.x == 0) table[at] = sum / float(area);
}

void main() {
    uint image = gl_WorkGroupID.x, area = push.height * push.width, first = image * area * push.channels;
    uint kind = steps[image * AUGMENT_STEPS + push.step].kind, at = image * push.channels * AUGMENT_TABLE;
    if (kind == AUGMENT_CONTRAST) contrast(first, area, at);
    for (uint c = 0; c < push.channels; c++) {
        if (kind == AUGMENT_AUTOCONTRAST) autocontrast(first, area, at + c * AUGMENT_TABLE, c);
        if (kind == AUGMENT_EQUALIZE) equalize(first, area, at + c * AUGMENT_TABLE, c);
    }
}
