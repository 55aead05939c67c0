/* Crop, resize with antialiasing, normalise, cut into patches (src/ops/patches.h has the formula).
 *
 * A workgroup makes 64 neighbouring pixels of one output row:
 *   1. down the columns: stage[e] = sum over rows y of ky(y) pixel(y, e), for all bytes e of the source columns that the 64 need.
 *      A lane takes 4 bytes at a time. Source rows start at any byte, so the 4 bytes are cut from two words; how far in they
 *      start depends on the row alone and is the same for all lanes.
 *   2. along the row: each lane sums its own window of the stage with kx.
 * So a source pixel is read once an output row that it counts in, and the work is the sum, not the product, of the two windows.
 * Windows wider than the stage (a crop of thousands of pixels) are taken piece by piece. */
//! variant patches_bilinear -DCUBIC=0
//! variant patches_bicubic -DCUBIC=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "patches.h"

layout(local_size_x = PATCHES_LANES) in;
layout(push_constant) uniform Push { patches_push push; };

layout(binding = 0) readonly restrict buffer Pixels { uint pixels[]; };        /* u8 as words */
layout(binding = 1) readonly restrict buffer Crops { patches_crop crops[]; };  /* [batch] */
layout(binding = 2) writeonly restrict buffer Rows { float rows[]; };          /* [batch patches, channels patch patch] */

shared float stage[PATCHES_STAGE];

/* One direction of the resize: output i has its centre at source coordinate first + fraction + (i + 1/2) scale. */
struct axis {
    int low, high;   /* source pixels that count: those of the crop */
    float fraction;  /* where the crop begins, from low */
    float scale;     /* source pixels an output pixel */
    float inv_width; /* 1 / the filter's stretch, max(1, scale) */
    float support;
};

axis make_axis(float start, float size, uint source, uint outputs) {
    axis a;
    a.low = int(floor(start));
    a.high = min(int(ceil(start + size)), int(source));
    a.fraction = start - floor(start);
    a.scale = size / float(outputs);
    a.inv_width = 1.0 / max(1.0, a.scale);
    a.support = (CUBIC == 1 ? 2.0 : 1.0) * max(1.0, a.scale);
    return a;
}

float centre(axis a, uint i) { return a.fraction + (float(i) + 0.5) * a.scale; } /* from low */

/* Pixels from .x to below .y. Where rounding moves an end by one, that pixel's weight is 0. */
ivec2 window(axis a, float c) {
    return ivec2(max(a.low + int(floor(c - a.support + 0.5)), a.low), min(a.low + int(floor(c + a.support + 0.5)), a.high));
}

float weight(axis a, float c, int pixel) {
    float t = abs((float(pixel - a.low) + 0.5 - c) * a.inv_width);
#if CUBIC
    if (t < 1.0) return (1.5 * t - 2.5) * t * t + 1.0;
    return t < 2.0 ? ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0 : 0.0;
#else
    return max(0.0, 1.0 - t);
#endif
}

float weight_sum(axis a, float c, ivec2 w) {
    float sum = 0.0;
    for (int i = w.x; i < w.y; i++) sum += weight(a, c, i);
    return sum;
}

/* Four bytes from byte `address` + 4 `index` on; what lies behind the buffer reads as its last word. */
vec4 load_bytes(uint address, uint index) {
    uint at = (address >> 2) + index, shift = 8 * (address & 3), word = pixels[min(at, push.pixel_words - 1)];
    if (shift != 0) word = word >> shift | pixels[min(at + 1, push.pixel_words - 1)] << (32 - shift);
    return vec4(uvec4(word, word >> 8, word >> 16, word >> 24) & 0xffu);
}

void write_pixel(uint image, uint y, uint x, vec3 colour) {
    vec3 value = (colour * (1.0 / 255.0) - vec3(push.mean_r, push.mean_g, push.mean_b)) * vec3(push.inv_std_r, push.inv_std_g, push.inv_std_b);
    uint grid_w = push.image_w / push.patch_size, area = push.patch_size * push.patch_size;
    uint row = image * (push.image_h / push.patch_size) * grid_w + y / push.patch_size * grid_w + x / push.patch_size;
    uint at = row * push.channels * area + y % push.patch_size * push.patch_size + x % push.patch_size;
    for (uint c = 0; c < push.channels; c++) rows[at + c * area] = value[c];
}

void main() {
    uint lane = gl_LocalInvocationID.x, image = gl_WorkGroupID.z, y = gl_WorkGroupID.y, first = gl_WorkGroupID.x * PATCHES_LANES;
    patches_crop crop = crops[image];
    axis down = make_axis(crop.y, crop.h, crop.height, push.image_h), along = make_axis(crop.x, crop.w, crop.width, push.image_w);
    uint x = first + lane, channels = crop.channels;

    float centre_y = centre(down, y), centre_x = centre(along, x);
    ivec2 lines = window(down, centre_y), mine = window(along, centre_x);
    float inv_sum_y = 1.0 / weight_sum(down, centre_y, lines);
    int columns_first = window(along, centre(along, first)).x;
    int columns_last = window(along, centre(along, min(first + PATCHES_LANES, push.image_w) - 1)).y;

    vec3 sum = vec3(0.0);
    float sum_x = 0.0;
    int piece = PATCHES_STAGE / int(channels);
    for (int begin = columns_first; begin < columns_last; begin += piece) {
        int end = min(begin + piece, columns_last);
        uint bytes = uint(end - begin) * channels, stride = crop.width * channels;
        for (uint e = 4 * lane; e < bytes; e += 4 * PATCHES_LANES) {
            uint address = crop.offset + uint(lines.x) * stride + uint(begin) * channels;
            vec4 column = vec4(0.0);
            for (int line = lines.x; line < lines.y; line++, address += stride)
                column += weight(down, centre_y, line) * load_bytes(address, e / 4);
            column *= inv_sum_y;
            for (int k = 0; k < 4; k++) stage[e + k] = column[k];
        }
        barrier();
        int last = min(mine.y, end);
        for (int i = max(mine.x, begin); i < last; i++) {
            float w = weight(along, centre_x, i);
            uint at = uint(i - begin) * channels;
            sum_x += w;
            if (channels == 3) sum += w * vec3(stage[at], stage[at + 1], stage[at + 2]);
            else sum.x += w * stage[at];
        }
        barrier();
    }
    if (x >= push.image_w) return;
    sum /= sum_x;
    if (CUBIC == 1) sum = clamp(sum, 0.0, 255.0); /* a cubic overshoots */
    if (channels == 1) sum = sum.xxx;
    else if (push.channels == 1) sum.x = dot(sum, vec3(0.299, 0.587, 0.114));
    write_pixel(image, y, x, sum);
}
