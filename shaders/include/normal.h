/* Logarithm, sine, cosine and normal random numbers from additions, products and one quotient. Vulkan lets sin and cos be off by 2^-11 and
 * log by 2^-21; here the error is a few units in the last place on every device. */
#ifndef IJ_SHADER_NORMAL_H
#define IJ_SHADER_NORMAL_H

/* ln x, x > 0 and normal: x = 2^e f with f in (sqrt(1/2), sqrt(2)], ln f = 2 artanh((f - 1) / (f + 1)), series to the ninth power. */
float normal_log(float x) {
    uint bits = floatBitsToUint(x);
    float e = float(int(bits >> 23) - 127), f = uintBitsToFloat(bits & 0x7fffffu | 0x3f800000u);
    if (f > 1.41421356) f *= 0.5, e += 1;
    float s = (f - 1) / (f + 1), q = s * s;
    return e * 0.693147181 + 2 * s * (1 + q * (1 / 3.0 + q * (1 / 5.0 + q * (1 / 7.0 + q / 9.0))));
}

/* (cos, sin) of 2 pi turns: the nearest quarter turn, and Taylor's series on the rest, at most pi / 4. */
vec2 normal_turn(float turns) {
    float quarters = floor(4 * turns + 0.5), x = 6.28318531 * (turns - 0.25 * quarters), q = x * x;
    float s = x * (1 + q * (-1 / 6.0 + q * (1 / 120.0 + q * (-1 / 5040.0 + q / 362880.0))));
    float c = 1 + q * (-0.5 + q * (1 / 24.0 + q * (-1 / 720.0 + q * (1 / 40320.0 - q / 3628800.0))));
    uint quarter = uint(int(quarters)) & 3u;
    vec2 v = (quarter & 1u) != 0 ? vec2(-s, c) : vec2(c, s);
    return (quarter & 2u) != 0 ? -v : v;
}

/* Two independent standard normal numbers from two random words (Box and Muller 1958). */
vec2 normal_pair(uint a, uint b) {
    float r = sqrt(-2 * normal_log(float((a >> 8) + 1) * 5.9604644775390625e-8)); /* of (0, 1] */
    return r * normal_turn(float(b >> 8) * 5.9604644775390625e-8);
}

#endif
