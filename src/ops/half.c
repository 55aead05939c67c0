/* 16-bit floats on the host: for references, tests and reading tensors back.       layer: ops; uses: base, gpu */
#include "base/memory.h"
#include "ops/op.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double op_rounding(op_dtype dtype) { return dtype == OP_F16 ? 0x1p-11 : dtype == OP_BF16 ? 0x1p-8 : 0x1p-24; }

/* In f32 first: that is what a shader has when it stores. */
double op_round(op_dtype dtype, double value) {
    if (dtype != OP_F16 && dtype != OP_BF16) return (double)(float)value;
    return op_decode(dtype, op_encode(dtype, value));
}

uint16_t op_encode(op_dtype dtype, double value) {
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, 4);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    if (dtype == OP_BF16) {
        if (isnan(single)) return (uint16_t)(bits >> 16 | 0x40u);
        return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
    }
    if (isnan(single)) return (uint16_t)(sign | 0x7e00u);
    double size = fabs((double)single);
    if (size >= 65520) return (uint16_t)(sign | 0x7c00u);
    if (size < 0x1p-14) return (uint16_t)(sign | (uint16_t)nearbyint(size * 0x1p24)); /* 2^10 of these are the least normal number */
    int exponent;
    double mantissa = frexp(size, &exponent);               /* [0.5, 1) */
    uint32_t digits = (uint32_t)nearbyint(mantissa * 2048); /* 1024 .. 2048: a carry runs into the exponent */
    return (uint16_t)(sign | ((uint32_t)(exponent + 13) * 1024u + digits));
}

double op_decode(op_dtype dtype, uint16_t bits) {
    if (dtype == OP_BF16) {
        uint32_t wide = (uint32_t)bits << 16;
        float single;
        memcpy(&single, &wide, 4);
        return (double)single;
    }
    int exponent = bits >> 10 & 31, digits = bits & 1023;
    double size = exponent == 31 ? (digits ? (double)NAN : (double)INFINITY)
                  : exponent     ? ldexp(1024 + digits, exponent - 25)
                                 : ldexp(digits, -24);
    return bits & 0x8000 ? -size : size;
}

ij_status op_read_floats(gpu_device *device, gpu_tensor from, int64_t rows, int64_t columns, float *out, ij_error *err) {
    if (from.element == GPU_WORD) return gpu_read(device, from, 0, out, 4 * (uint64_t)rows * (uint64_t)columns, err);
    int64_t row = (int64_t)gpu_row(from.element, (uint64_t)columns);
    uint16_t *halves;
    IJ_TRY(ij_alloc(&halves, rows * row, sizeof *halves, "16-bit tensor", err));
    ij_status status = gpu_read(device, from, 0, halves, 2 * (uint64_t)rows * (uint64_t)row, err);
    for (int64_t r = 0; r < rows && status == IJ_OK; r++)
        for (int64_t c = 0; c < columns; c++) out[r * columns + c] = (float)op_decode(op_dtype_of(from.element), halves[r * row + c]);
    free(halves);
    return status;
}
