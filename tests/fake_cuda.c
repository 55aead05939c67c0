/* What `bench --baseline cublas` calls of the CUDA driver and of cuBLAS, in plain C on the host: matrices column by column, as cuBLAS
 * documents them, sums in double. Loaded by tests/test_bench.c in their place, so that the way the benchmark asks is tested without a
 * GPU; it says nothing about speed. Results are as CUDA's: 0 is success. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLOAT = 0, HALF = 2, BFLOAT = 14, SUMS_F32 = 68, WRONG = 7 };

static int allocations;
int fake_cuda_allocations(void); /* for the test: memory that is still taken */
int fake_cuda_allocations(void) { return allocations; }

/* ---- driver ---- */

#define DRIVER(name, ...)                                                                                                                  \
    int name(__VA_ARGS__);                                                                                                                 \
    int name(__VA_ARGS__)
DRIVER(cuInit, unsigned flags) { return (int)flags; }
DRIVER(cuDeviceGetCount, int *count) { return *count = 2, 0; }
DRIVER(cuDeviceGet, int *device, int ordinal) { return *device = 10 + ordinal, 0; }
DRIVER(cuDeviceGetName, char *name, int length, int device) { return snprintf(name, (size_t)length, "fake %d", device) > 0 ? 0 : 1; }
DRIVER(cuDevicePrimaryCtxRetain, void **context, int device) { return *context = (void *)(uintptr_t)device, device == 11 ? 0 : 1; }
DRIVER(cuDevicePrimaryCtxRelease_v2, int device) { return device == 11 ? 0 : 1; }
DRIVER(cuCtxSetCurrent, void *context) { return context == NULL || context == (void *)(uintptr_t)11 ? 0 : 1; }
DRIVER(cuCtxSynchronize, void) { return 0; }
DRIVER(cuMemAlloc_v2, uint64_t *pointer, size_t bytes) {
    *pointer = (uint64_t)(uintptr_t)malloc(bytes);
    return allocations++, *pointer ? 0 : 2;
}
DRIVER(cuMemFree_v2, uint64_t pointer) {
    free((void *)(uintptr_t)pointer);
    return allocations--, 0;
}
DRIVER(cuMemcpyHtoD_v2, uint64_t to, const void *from, size_t bytes) { return memcpy((void *)(uintptr_t)to, from, bytes), 0; }
DRIVER(cuMemcpyDtoH_v2, void *to, uint64_t from, size_t bytes) { return memcpy(to, (void *)(uintptr_t)from, bytes), 0; }
DRIVER(cuMemsetD16_v2, uint64_t to, unsigned short value, size_t count) {
    for (size_t i = 0; i < count; i++) ((uint16_t *)(uintptr_t)to)[i] = value;
    return 0;
}
DRIVER(cuEventCreate, void **event, unsigned flags) { return *event = &allocations, (int)flags; }
DRIVER(cuEventDestroy_v2, void *event) { return event ? 0 : 1; }
DRIVER(cuEventRecord, void *event, void *stream) { return event && !stream ? 0 : 1; }
DRIVER(cuEventSynchronize, void *event) { return event ? 0 : 1; }
DRIVER(cuEventElapsedTime, float *milliseconds, void *begin, void *end) { return *milliseconds = 6, begin && end ? 0 : 1; }
DRIVER(cuGetErrorString, int result, const char **text) { return *text = result == 1 ? "invalid value" : "another", 0; }

/* ---- cuBLAS ---- */

DRIVER(cublasCreate_v2, void **handle) { return *handle = &allocations, 0; }
DRIVER(cublasDestroy_v2, void *handle) { return handle ? 0 : WRONG; }
DRIVER(cublasGetVersion_v2, void *handle, int *version) { return *version = 130203, handle ? 0 : WRONG; }
DRIVER(cublasSetMathMode, void *handle, int mode) { return handle && mode == 0 ? 0 : WRONG; }

static double load(const void *from, int type, int64_t at) {
    float single = 0;
    uint16_t bits = type == FLOAT ? 0 : ((const uint16_t *)from)[at];
    if (type == FLOAT) return (double)((const float *)from)[at];
    if (type == BFLOAT) {
        uint32_t wide = (uint32_t)bits << 16;
        memcpy(&single, &wide, 4);
        return (double)single;
    }
    int exponent = bits >> 10 & 31; /* of normal numbers and zeros: the test has no others */
    double value = exponent ? (1024 + (bits & 1023)) / 1024.0 : 0;
    for (; exponent > 15; exponent--) value *= 2;
    for (; exponent && exponent < 15; exponent++) value /= 2;
    return bits & 0x8000 ? -value : value;
}

static void store(void *to, int type, int64_t at, double value) {
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, 4);
    if (type == FLOAT) ((float *)to)[at] = single;
    if (type == BFLOAT) ((uint16_t *)to)[at] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    if (type == HALF) { /* of 2^-14 <= |value| < 65504, or 0 */
        uint32_t rounded = bits + 0xfff + (bits >> 13 & 1);
        ((uint16_t *)to)[at] = (uint16_t)((bits >> 16 & 0x8000) | (value == 0 ? 0 : ((rounded >> 13 & 0x3ffff) - (112 << 10))));
    }
}

/* c [m, n] = op(a) [m, k] op(b) [k, n], all column by column. */
DRIVER(cublasGemmEx, void *handle, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha, const void *a, int type_a,
       int lda, const void *b, int type_b, int ldb, const void *beta, void *c, int type_c, int ldc, int compute, int algorithm) {
    if (!handle || *(const float *)alpha != 1 || *(const float *)beta != 0 || compute != SUMS_F32 || algorithm != -1) return WRONG;
    if (lda < (transpose_a ? k : m) || ldb < (transpose_b ? n : k) || ldc < m || type_a != type_b) return WRONG;
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += load(a, type_a, transpose_a ? i * lda + l : l * lda + i) * load(b, type_b, transpose_b ? l * ldb + j : j * ldb + l);
            store(c, type_c, j * ldc + i, sum);
        }
    return 0;
}
