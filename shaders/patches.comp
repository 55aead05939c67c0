/* Crop, resize with antialiasing, normalise, cut into patches (src/ops/patches.h has the formula).
 *
 * A workgroup makes 64 neighbouring pixels of one output row:
 *   1. down the columns: stage[e] = sum over rows y of ky(y) pixel(y, e), for all bytes e of the source columns that the 64 need.
 *      A lane takes 4 bytes at a time. Source rows start at any byte, so the 4 bytes are cut from two words; how far in they
 *      start depends on the row alone and is the same for all lanes.
 *   2. along the row: each lane sums its own window of the stage with kx.
 * So a source pixel is read once an output row that it counts in, and the work is the sum, not the product, of the two windows.
 * Windows wider than the stage (a crop of thousands of pixels) are taken piece by piece.
 *
 * Rows in 16 bits: where the patch has an even side, the two elements of a word are neighbouring pixels of this workgroup; values meet in
 * the stage and a lane writes words. With an odd side a word can have pixels of two output rows, or of two channels, and so two
 * workgroups: each sets its half by an atomic OR in rows that were filled with zeros before. One bit has one writer, so the order
 * does not matter. */
//! variant patches_bilinear -DCUBIC=0
//! variant patches_bicubic -DCUBIC=1
#version 460
#extension GL_GOOGLE_include_directive : require
#include "patches.h"
#include "half.h"

layout(local_size_x = PATCHES_LANES) in;
layout(constant_id = 0) const uint ELEMENT = ELEMENT_WORD; /* of rows */
layout(constant_id = 1) const bool EVEN = true;            /* the patch's side, or not 16 bits */
layout(push_constant) uniform Push { patches_push push; };

layout(binding = 0) readonly restrict buffer Pixels { uint pixels[]; };        /* u8 as words */
layout(binding = 1) readonly restrict buffer Crops { patches_crop crops[]; };  /* [batch] */
layout(binding = 2) writeonly restrict buffer Rows { float rows[]; };          /* [batch patches, channels patch patch], or ... */
layout(binding = 3) restrict buffer RowsHalf { uint rows_half[]; };            /* ... in 16 bits */

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

/* Element of rows that channel 0 of output pixel (x, y) becomes. */
uint place(uint image, uint y, uint x, uint row_elements) {
    uint size = push.patch_size, grid_w = push.image_w / size;
    uint row = image * (push.image_h / size) * grid_w + y / size * grid_w + x / size;
    return row * row_elements + y % size * size + x % size;
}

vec3 normalised(vec3 colour) {
    return (colour * (1.0 / 255.0) - vec3(push.mean_r, push.mean_g, push.mean_b)) * vec3(push.inv_std_r, push.inv_std_g, push.inv_std_b);
}

void write_pixel(uint image, uint y, uint x, vec3 value) {
    uint area = push.patch_size * push.patch_size, at = place(image, y, x, push.channels * area);
    for (uint c = 0; c < push.channels; c++) rows[at + c * area] = value[c];
}

/* Odd patches in 16 bits. */
void or_pixel(uint image, uint y, uint x, vec3 value) {
    uint area = push.patch_size * push.patch_size, at = place(image, y, x, half_row(push.channels * area));
    for (uint c = 0; c < push.channels; c++, at += area)
        atomicOr(rows_half[at / 2], pack_half(ELEMENT, vec2(value[c], 0)) << 16 * (at & 1));
}

/* Even patches in 16 bits: words of the workgroup's pixels, whose values are in the stage; behind a row's last word, its padding. */
void write_words(uint image, uint y, uint first) {
    const uint pairs = PATCHES_LANES / 2;
    uint size = push.patch_size, area = size * size, elements = push.channels * area;
    for (uint k = gl_LocalInvocationID.x; k < pairs * push.channels; k += PATCHES_LANES) {
        uint c = k / pairs, pair = k % pairs, x = first + 2 * pair;
        if (x >= push.image_w) continue;
        uint at = (place(image, y, x, half_row(elements)) + c * area) / 2;
        rows_half[at] = pack_half(ELEMENT, vec2(stage[6 * pair + c], stage[6 * pair + 3 + c]));
        if (c + 1 == push.channels && y % size == size - 1 && x % size == size - 2)
            for (uint pad = elements; pad < half_row(elements); pad += 2) rows_half[++at] = 0;
    }
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
    if ((ELEMENT == ELEMENT_WORD || !EVEN) && x >= push.image_w) return;
    sum /= sum_x;
    if (channels == 1) sum = sum.xxx;
    else if (push.channels == 1) sum.x = dot(sum, vec3(0.299, 0.587, 0.114));
    sum = normalised(sum);
    if (ELEMENT == ELEMENT_WORD) {
        write_pixel(image, y, x, sum);
    } else if (EVEN) {
        for (int c = 0; c < 3; c++) stage[3 * lane + c] = sum[c]; /* read last before the loop's last barrier */
        barrier();
        write_words(image, y, first);
    } else {
        or_pixel(image, y, x, sum);
    }
}
