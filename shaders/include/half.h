/* 16-bit elements, two a word (GLSL only). Nothing here needs a device feature: f16 goes through packHalf2x16, which every device
 * has, bf16 is the upper half of an f32. Which of the two it is, is a specialisation value: no module is compiled twice for it.
 *
 * Rounding is to nearest, ties to even, by integer arithmetic on the f32: what packHalf2x16 and its like do about ties is the
 * device's own choice. Rounded like that a value is an f16 already and packing cannot change it; below 2^-14, where f16 has fewer
 * digits, the device's rounding counts, off by one unit of 2^-24 at most. Beyond 65504 it becomes infinite, as it should: the
 * step that sees it is dropped. NaN stays NaN.
 *
 * Rows of 16-bit matrices are padded with zeros to 8 elements (gpu_row in src/gpu/gpu.h), so rows begin at a uvec4. */
#ifndef IJ_HALF_H
#define IJ_HALF_H

#define ELEMENT_WORD 0 /* as gpu_element */
#define ELEMENT_F16 1
#define ELEMENT_BF16 2

#ifndef __STDC__

uint half_row(uint columns) { return (columns + 7) & ~7u; } /* elements from row to row */

/* f32 bits rounded to `drop` fewer digits of the mantissa. A carry out of the mantissa is the next exponent, infinity included; only a
 * NaN could be carried away, so it becomes the plain one. */
uvec2 round_bits(uvec2 bits, uint drop) {
    uvec2 rounded = (bits + (((bits >> drop) & 1u) + ((1u << (drop - 1)) - 1u))) & ~((1u << drop) - 1u);
    return mix(rounded, uvec2(0x7fc00000u), greaterThan(bits & 0x7fffffffu, uvec2(0x7f800000u)));
}

/* Two elements in a word, the first in the lower half. */
uint pack_half(uint element, vec2 v) {
    uvec2 bits = floatBitsToUint(v);
    if (element == ELEMENT_BF16) {
        bits = round_bits(bits, 16);
        return (bits.x >> 16) | bits.y;
    }
    return packHalf2x16(uintBitsToFloat(round_bits(bits, 13)));
}
vec2 unpack_half(uint element, uint word) {
    if (element == ELEMENT_BF16) return uintBitsToFloat(uvec2(word << 16, word & 0xffff0000u));
    return unpackHalf2x16(word);
}

uvec2 pack_half4(uint element, vec4 v) { return uvec2(pack_half(element, v.xy), pack_half(element, v.zw)); }
vec4 unpack_half4(uint element, uvec2 words) { return vec4(unpack_half(element, words.x), unpack_half(element, words.y)); }

#endif
#endif
