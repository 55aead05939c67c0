/* 16-bit floats on the host: every f16 and bf16 number, and what lies between two of them. */
#include "suites.h"
#include "ops/op.h"

#include <math.h>

static const op_dtype dtypes[] = {OP_F16, OP_BF16};

/* Decoding and encoding again gives the same bits, for all 65,536 of them. */
START_TEST(test_all_numbers_survive) {
    op_dtype dtype = dtypes[_i];
    for (uint32_t bits = 0; bits < 65536; bits++) {
        double value = op_decode(dtype, (uint16_t)bits);
        if (isnan(value)) {
            ck_assert(isnan(op_decode(dtype, op_encode(dtype, value))));
            continue;
        }
        ck_assert_msg(op_encode(dtype, value) == bits, "%04x is %.9g and comes back as %04x", bits, value, op_encode(dtype, value));
    }
}
END_TEST

/* Between neighbours: below the middle down, above it up, in the middle to the even one. */
START_TEST(test_rounding_is_to_nearest_even) {
    op_dtype dtype = dtypes[_i];
    uint32_t infinity = dtype == OP_F16 ? 0x7c00 : 0x7f80, step = dtype == OP_F16 ? 1 : 7;
    for (uint32_t bits = 1; bits + 1 < infinity; bits += step) {
        double low = op_decode(dtype, (uint16_t)bits), high = op_decode(dtype, (uint16_t)(bits + 1)), middle = (low + high) / 2;
        if ((double)(float)middle != middle) continue; /* bf16 below what f32 has: cannot be asked */
        ck_assert_uint_eq(op_encode(dtype, middle), bits + (bits & 1));
        ck_assert_uint_eq(op_encode(dtype, (double)nextafterf((float)middle, 0)), bits);
        ck_assert_uint_eq(op_encode(dtype, (double)nextafterf((float)middle, INFINITY)), bits + 1);
        ck_assert_uint_eq(op_encode(dtype, -middle), 0x8000 | (bits + (bits & 1)));
        ck_assert(fabs(op_round(dtype, middle) - middle) <= op_rounding(dtype) * middle || bits < (dtype == OP_F16 ? 1024u : 128u));
    }
}
END_TEST

START_TEST(test_ends_of_the_range) {
    ck_assert_uint_eq(op_encode(OP_F16, 65504), 0x7bff);
    ck_assert_uint_eq(op_encode(OP_F16, 65519.99), 0x7bff);
    ck_assert_uint_eq(op_encode(OP_F16, 65520), 0x7c00);
    ck_assert_uint_eq(op_encode(OP_F16, -1e30), 0xfc00);
    ck_assert_uint_eq(op_encode(OP_F16, 0x1p-24), 1);
    ck_assert_uint_eq(op_encode(OP_F16, 0x1p-26), 0);
    ck_assert_uint_eq(op_encode(OP_BF16, (double)3.4028234e38f), 0x7f80); /* the largest f32 is nearer to infinity's place */
    ck_assert_uint_eq(op_encode(OP_BF16, 1), 0x3f80);
}
END_TEST

Suite *half_suite(void) {
    Suite *suite = suite_create("half");
    TCase *tcase = tcase_create("host");
    tcase_add_loop_test(tcase, test_all_numbers_survive, 0, IJ_COUNT(dtypes));
    tcase_add_loop_test(tcase, test_rounding_is_to_nearest_even, 0, IJ_COUNT(dtypes));
    tcase_add_test(tcase, test_ends_of_the_range);
    suite_add_tcase(suite, tcase);
    return suite;
}
