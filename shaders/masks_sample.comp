/* Masks of one image an invocation (src/ops/masks.h has the modes, src/ops/ref/masks.c the same in plain C):
 *   targets_m = a rectangle (random: a subset); context = a rectangle without the targets, thinned to `budget` patches.
 * Everything is integer: sizes come from a table made on the host, positions and subsets from philox.
 * The thinning is selection sampling (Knuth, volume 2, 3.4.2, algorithm S): of `left` candidates still to come take the next
 * with probability need / left. One pass, exactly `need` are taken, all subsets equally likely.
 * A serial loop over the patches an image: images are many, patches few, and the work is tiny beside a training step. */
//! variant masks_sample
#version 460
#extension GL_GOOGLE_include_directive : require
#include "masks.h"
#include "philox.h"

layout(local_size_x = MASKS_SAMPLE_LANES) in;
layout(push_constant) uniform Push { masks_push push; };

layout(binding = 0) readonly restrict buffer Params { masks_params params; };
layout(binding = 1) readonly restrict buffer SampleIds { uint sample_ids[]; }; /* [batch] */
layout(binding = 2) readonly restrict buffer Table { uint table[]; };          /* [2 MASKS_SIZES] */
layout(binding = 3) writeonly restrict buffer Bits { uint bits[]; };           /* [batch, 1 + blocks, words] */

uint sample_id;
uint rects[MASKS_BLOCKS_MAX]; /* top, left, height, width: a byte each */
uint context_rect;
uint kept; /* the context leaves out the first `kept` targets */

uvec4 draw(uint number) {
    return philox(params.seed_low, params.seed_high, PHILOX_STREAM_MASK, sample_id, params.epoch, number);
}

uint rect(uint top, uint left, uint h, uint w) { return top << 24 | left << 16 | h << 8 | w; }

/* spare: how many positions more than the free rows (columns) there are: 1, and 0 as released. */
uint place(uint size, uvec4 d, uint spare) {
    uint h = size >> 16, w = size & 0xffffu;
    return rect(philox_below(d.y, push.grid_h - h + spare), philox_below(d.z, push.grid_w - w + spare), h, w);
}

bool inside(uint r, uint y, uint x) { return y - (r >> 24) < (r >> 8 & 0xffu) && x - (r >> 16 & 0xffu) < (r & 0xffu); }

bool candidate(uint y, uint x) {
    bool yes = inside(context_rect, y, x);
    for (uint m = 0; m < kept; m++) yes = yes && !inside(rects[m], y, x);
    return yes;
}

uint count_candidates() {
    uint count = 0;
    for (uint y = 0; y < push.grid_h; y++)
        for (uint x = 0; x < push.grid_w; x++) count += uint(candidate(y, x));
    return count;
}

uint sample_multiblock() {
    uint count = 0;
    kept = push.allow_overlap != 0 ? 0 : push.blocks;
    for (uint attempt = 0; attempt < MASKS_ATTEMPTS && count < push.min_keep; attempt++) {
        uint first = attempt * (push.blocks + 1);
        for (uint m = 0; m < push.blocks; m++) {
            uvec4 d = draw(first + m);
            rects[m] = place(table[philox_below(d.x, MASKS_SIZES)], d, 1);
        }
        uvec4 d = draw(first + push.blocks);
        context_rect = place(table[MASKS_SIZES + philox_below(d.x, MASKS_SIZES)], d, 1);
        count = count_candidates();
    }
    if (count == 0) {
        context_rect = rect(0, 0, push.grid_h, push.grid_w);
        count = count_candidates();
    }
    for (uint m = 1; m < push.blocks && count == 0; m++) {
        rects[m] = rects[0];
        count = count_candidates();
    }
    return count;
}

uint sample_official() {
    uvec4 sizes = philox(params.seed_low, params.seed_high, PHILOX_STREAM_MASK_SIZE, params.step, 0, 0);
    uint target_size = table[philox_below(sizes.x, MASKS_SIZES)], context_size = table[MASKS_SIZES + philox_below(sizes.y, MASKS_SIZES)];
    for (uint m = 0; m < push.blocks; m++) rects[m] = place(target_size, draw(m), 0);
    uint count = 0;
    for (uint k = 0; k == 0 || (count <= push.min_keep && kept > 0); k++) {
        kept = push.allow_overlap != 0 ? 0 : push.blocks - k / MASKS_TRIES;
        context_rect = place(context_size, draw(push.blocks + k), 0);
        count = count_candidates();
    }
    return count;
}

uint quadrant(uint k) {
    uint h = push.grid_h / 2, w = push.grid_w / 2;
    bool low = k >= 2, right = (k & 1) != 0;
    return rect(low ? h : 0, right ? w : 0, low ? push.grid_h - h : h, right ? push.grid_w - w : w);
}

uint sample_rasterized() {
    uint chosen = philox_below(draw(0).x, 4);
    context_rect = quadrant(chosen);
    for (uint m = 0; m < 3; m++) rects[m] = quadrant(m < chosen ? m : m + 1);
    kept = 3;
    return count_candidates();
}

void main() {
    uint image = gl_GlobalInvocationID.x;
    if (image >= push.batch) return;
    sample_id = sample_ids[image];
    uint patches = push.grid_h * push.grid_w, left = 0, need_targets = 0;
    bool random = push.mode == MASKS_MODE_RANDOM;
    if (push.mode == MASKS_MODE_MULTIBLOCK) left = sample_multiblock();
    else if (push.mode == MASKS_MODE_OFFICIAL) left = sample_official();
    else if (push.mode == MASKS_MODE_RASTERIZED) left = sample_rasterized();
    else {
        need_targets = push.targets;
        left = patches - need_targets;
    }
    uint need = min(left, push.budget);

    uint words[1 + MASKS_BLOCKS_MAX];
    uvec4 d = uvec4(0), target_draw = uvec4(0);
    uint y = 0, x = 0, base = image * (1 + push.blocks) * push.words;
    for (uint p = 0; p < patches; p++) {
        uint lane = p & 3, bit = p & 31;
        if (bit == 0)
            for (uint m = 0; m <= push.blocks; m++) words[m] = 0;
        if (lane == 0 && need < left) d = draw(MASKS_DRAW_SUBSET + p / 4);
        bool possible;
        if (random) {
            if (lane == 0) target_draw = draw(MASKS_DRAW_TARGETS + p / 4);
            bool target = philox_below(target_draw[lane], patches - p) < need_targets;
            need_targets -= uint(target);
            words[1] |= uint(target) << bit;
            possible = !target;
        } else {
            for (uint m = 0; m < push.blocks; m++) words[1 + m] |= uint(inside(rects[m], y, x)) << bit;
            possible = candidate(y, x);
        }
        if (possible) {
            bool take = philox_below(d[lane], left) < need;
            words[0] |= uint(take) << bit;
            need -= uint(take);
            left--;
        }
        if (bit == 31 || p + 1 == patches)
            for (uint m = 0; m <= push.blocks; m++) bits[base + m * push.words + p / 32] = words[m];
        x++;
        if (x == push.grid_w) {
            x = 0;
            y++;
        }
    }
}
