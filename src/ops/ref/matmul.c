/* layer: ops (reference); uses: nothing */
#include "ops/matmul.h"

#include <stdlib.h>

/* Element (outer, k) of an operand with `outer` rows when k is contiguous, of its transpose otherwise. */
static double element(const double *operand, bool k_inner, int64_t outer_count, int64_t k_count, int64_t outer, int64_t k) {
    return k_inner ? operand[outer * k_count + k] : operand[k * outer_count + outer];
}

void ref_matmul(op_matmul_form form, int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *c, bool accumulate) {
    for (int64_t row = 0; row < m; row++)
        for (int64_t col = 0; col < n; col++) {
            double sum = 0;
            for (int64_t i = 0; i < k; i++)
                sum += element(a, form != OP_MATMUL_TN, m, k, row, i) * element(b, form == OP_MATMUL_NT, n, k, col, i);
            c[row * n + col] = accumulate ? c[row * n + col] + sum : sum;
        }
}
