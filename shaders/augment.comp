/* One operation on every pixel of a batch of pictures (src/ops/augment.h has the formulas). A lane asks for one value: where the result
 * is a picture it takes one pixel, where the result is patch rows it takes what a word holds: one element in f32, two in 16 bits, which
 * may lie in two channels or two lines. So each word has one writer at any patch size, and a row's padding is written as zeros. */
//! variant augment_picture -DROWS=0
//! variant augment_rows -DROWS=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "augment.h"
#include "half.h"

layout(local_size_x = AUGMENT_LANES) in;
layout(constant_id = 0) const uint ELEMENT = ELEMENT_WORD; /* of patch rows */
layout(push_constant) uniform Push { augment_push push; };

layout(binding = 0) readonly restrict buffer Pixels { float pixels[]; };      /* [batch, height, width, channels] */
layout(binding = 1) readonly restrict buffer Steps { augment_step steps[]; }; /* [batch, AUGMENT_STEPS] */
layout(binding = 2) readonly restrict buffer Table { float table[]; };        /* of augment_stats.comp */
layout(binding = 3) writeonly restrict buffer To { uint to[]; };              /* a picture like pixels, or patch rows */

/* A pixel of the picture before the operation; (x, y) must be inside. Grey pictures have their value in x. */
vec3 pixel(uint image, bool mirrored, int y, int x) {
    if (mirrored) x = int(push.width) - 1 - x;
    uint at = ((image * push.height + uint(y)) * push.width + uint(x)) * push.channels;
    return push.channels == 3 ? vec3(pixels[at], pixels[at + 1], pixels[at + 2]) : vec3(pixels[at]);
}

/* Whether a place is inside is a question of its last bit, so its sums are not contracted. */
vec3 affine(uint image, augment_step s, bool mirrored, uint y, uint x) {
    vec2 at = vec2(float(x) + 0.5, float(y) + 0.5), size = vec2(push.width, push.height);
    precise vec2 from = vec2(s.v[0] * at.x + s.v[1] * at.y + s.v[2], s.v[3] * at.x + s.v[4] * at.y + s.v[5]);
    if (from.x < 0.0 || from.y < 0.0 || from.x >= size.x || from.y >= size.y) return vec3(push.fill_r, push.fill_g, push.fill_b);
    vec2 corner = floor(from - 0.5), part = from - 0.5 - corner;
    ivec2 low = max(ivec2(corner), ivec2(0)), high = min(ivec2(corner) + 1, ivec2(size) - 1);
    vec3 upper = mix(pixel(image, mirrored, low.y, low.x), pixel(image, mirrored, low.y, high.x), part.x);
    vec3 lower = mix(pixel(image, mirrored, high.y, low.x), pixel(image, mirrored, high.y, high.x), part.x);
    return mix(upper, lower, part.y);
}

/* The picture under PIL's SMOOTH filter; its border stays as it is. */
vec3 smooth_pixel(uint image, bool mirrored, int y, int x, vec3 here) {
    if (x == 0 || y == 0 || x == int(push.width) - 1 || y == int(push.height) - 1) return here;
    vec3 sum = 4.0 * here;
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++) sum += pixel(image, mirrored, y + dy, x + dx);
    return sum / 13.0;
}

vec3 grey(vec3 v) { return push.channels == 3 ? vec3(dot(v, vec3(0.299, 0.587, 0.114))) : v; }
vec3 whole(vec3 v) { return clamp(floor(v + 0.5), 0.0, 255.0); } /* as 8 bits would hold it */
vec3 blend(vec3 from, vec3 v, float factor) { return clamp(from + factor * (v - from), 0.0, 255.0); }

/* A pixel after the operation. */
vec3 changed(uint image, uint y, uint x) {
    augment_step s = steps[image * AUGMENT_STEPS + push.step];
    bool mirrored = s.flip != 0;
    if (s.kind == AUGMENT_AFFINE) return affine(image, s, mirrored, y, x);
    vec3 v = pixel(image, mirrored, int(y), int(x));
    uint at = image * push.channels * AUGMENT_TABLE;
    if (s.kind == AUGMENT_INVERT) return 255.0 - v;
    if (s.kind == AUGMENT_POSTERIZE) return floor(whole(v) / s.v[0]) * s.v[0];
    if (s.kind == AUGMENT_SOLARIZE) return mix(255.0 - v, v, lessThan(whole(v), vec3(s.v[0])));
    if (s.kind == AUGMENT_SOLARIZE_ADD) return mix(v, min(v + s.v[0], vec3(255.0)), lessThan(whole(v), vec3(128.0)));
    if (s.kind == AUGMENT_COLOR) return blend(grey(v), v, s.v[0]);
    if (s.kind == AUGMENT_BRIGHTNESS) return blend(vec3(0.0), v, s.v[0]);
    if (s.kind == AUGMENT_CONTRAST) return blend(vec3(table[at]), v, s.v[0]);
    if (s.kind == AUGMENT_SHARPNESS) return blend(smooth_pixel(image, mirrored, int(y), int(x), v), v, s.v[0]);
    for (uint c = 0; c < push.channels; c++, at += AUGMENT_TABLE) {
        if (s.kind == AUGMENT_EQUALIZE) v[c] = table[at + uint(whole(v)[c])];
        if (s.kind == AUGMENT_AUTOCONTRAST && table[at + 1] > 0.0) v[c] = (v[c] - table[at]) * table[at + 1];
    }
    return v;
}

#if ROWS
vec3 normalised(vec3 v) {
    return (v * (1.0 / 255.0) - vec3(push.mean_r, push.mean_g, push.mean_b)) * vec3(push.inv_std_r, push.inv_std_g, push.inv_std_b);
}

/* Element e of patch row `row`: (channel, line, column) of the patch. */
float element(uint row, uint e) {
    uint size = push.patch_size, area = size * size, grid_w = push.width / size, patches = push.height / size * grid_w;
    uint patch_at = row % patches, inside = e % area;
    uint y = patch_at / grid_w * size + inside / size, x = patch_at % grid_w * size + inside % size;
    return normalised(changed(row / patches, y, x))[e / area];
}

void main() {
    uint word = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * AUGMENT_LANES + gl_LocalInvocationID.x;
    uint elements = push.channels * push.patch_size * push.patch_size, rows = push.batch * push.height * push.width * push.channels / elements;
    uint words = ELEMENT == ELEMENT_WORD ? elements : half_row(elements) / 2; /* of a row */
    if (word >= rows * words) return;
    uint row = word / words, at = word % words;
    if (ELEMENT == ELEMENT_WORD) {
        to[word] = floatBitsToUint(element(row, at));
    } else {
        vec2 both = vec2(0.0);
        for (uint k = 0; k < 2; k++)
            if (2 * at + k < elements) both[k] = element(row, 2 * at + k);
        to[word] = pack_half(ELEMENT, both);
    }
}
#else
void main() {
    uint at = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * AUGMENT_LANES + gl_LocalInvocationID.x;
    uint area = push.height * push.width;
    if (at >= push.batch * area) return;
    vec3 v = changed(at / area, at % area / push.width, at % push.width);
    for (uint c = 0; c < push.channels; c++) to[at * push.channels + c] = floatBitsToUint(v[c]);
}
#endif
