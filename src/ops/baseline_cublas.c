/* cuBLAS's cublasGemmEx on the GPU that Vulkan also has, through the driver's own interface (libcuda), timed with its events.
 * layer: ops; uses: base
 *
 * cuBLAS counts matrices column by column. A row-major matrix is its transpose to it, so it is asked for c^T = b^T a^T: operands
 * change places, and one that we read transposed it reads plainly.
 * f32 stays f32: CUBLAS_COMPUTE_32F in the default math mode uses no TF32. */
#include "base/memory.h"
#include "ops/baseline.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What of cuda.h is used: CUresult is an int, CUdevice an int, CUdeviceptr an unsigned 64-bit number, the others are pointers. */
typedef uint64_t cuda_pointer;
typedef struct cuda_driver {
    int (*init)(unsigned flags);
    int (*device_count)(int *count);
    int (*device_get)(int *device, int ordinal);
    int (*device_name)(char *name, int length, int device);
    int (*context_retain)(void **context, int device);
    int (*context_release)(int device);
    int (*context_set)(void *context);
    int (*context_wait)(void);
    int (*alloc)(cuda_pointer *pointer, size_t bytes);
    int (*release)(cuda_pointer pointer);
    int (*to_device)(cuda_pointer to, const void *from, size_t bytes);
    int (*to_host)(void *to, cuda_pointer from, size_t bytes);
    int (*fill)(cuda_pointer to, unsigned short value, size_t count);
    int (*event_create)(void **event, unsigned flags);
    int (*event_destroy)(void *event);
    int (*event_record)(void *event, void *stream);
    int (*event_wait)(void *event);
    int (*event_elapsed)(float *milliseconds, void *begin, void *end);
    int (*error_text)(int result, const char **text);
} cuda_driver;

/* And of cublas_api.h: handles are pointers, cublasStatus_t and all enums are ints. */
enum { CUBLAS_NO_TRANS = 0, CUBLAS_TRANS = 1, CUBLAS_FLOAT = 0, CUBLAS_HALF = 2, CUBLAS_BFLOAT = 14, CUBLAS_SUMS_F32 = 68 };
enum { CUBLAS_ALGORITHM_DEFAULT = -1, CUBLAS_MATH_DEFAULT = 0, EVENT_DEFAULT = 0 };
typedef struct cublas_functions {
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*version)(void *handle, int *version);
    int (*math_mode)(void *handle, int mode);
    int (*gemm)(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha, const void *a, int type_a, int lda,
                const void *b, int type_b, int ldb, const void *beta, void *c, int type_c, int ldc, int compute, int algorithm);
} cublas_functions;

typedef struct cublas {
    baseline base; /* first: a baseline is a cublas */
    void *library, *driver_library;
    cuda_driver cuda;
    cublas_functions blas;
    int device;
    void *context, *handle, *begin, *end;
    baseline_product product;
    cuda_pointer a, b, c;
} cublas;

static ij_status cuda_result(const cublas *u, int result, const char *what, ij_error *err) {
    const char *text = NULL;
    if (result == 0) return IJ_OK;
    if (!u->cuda.error_text || u->cuda.error_text(result, &text) != 0 || !text) text = "unknown";
    return ij_fail(err, result == 2 ? IJ_ERROR_MEMORY : IJ_ERROR_DEVICE, "CUDA: %s: error %d, %s", what, result, text);
}

static ij_status cublas_result(int result, const char *what, ij_error *err) {
    return result == 0 ? IJ_OK : ij_fail(err, IJ_ERROR_DEVICE, "cuBLAS: %s: status %d", what, result);
}

static bool takes(gpu_element element) { return element == GPU_WORD || element == GPU_F16 || element == GPU_BF16; }

static void unload(baseline *base) {
    cublas *u = (cublas *)base;
    cuda_pointer *const memory[] = {&u->a, &u->b, &u->c};
    for (int i = 0; i < IJ_COUNT(memory); i++) {
        if (*memory[i]) u->cuda.release(*memory[i]);
        *memory[i] = 0;
    }
}

static uint64_t result_bytes(const baseline_product *p) { return gpu_matrix_bytes(p->result, (uint64_t)p->m, (uint64_t)p->n); }

static ij_status take(cublas *u, const baseline_product *p, ij_error *err) {
    IJ_TRY(cuda_result(u, u->cuda.alloc(&u->a, p->a->bytes), "memory for a", err));
    IJ_TRY(cuda_result(u, u->cuda.alloc(&u->b, p->b->bytes), "memory for b", err));
    IJ_TRY(cuda_result(u, u->cuda.alloc(&u->c, result_bytes(p)), "memory for c", err));
    IJ_TRY(cuda_result(u, u->cuda.to_device(u->a, p->a->data, p->a->bytes), "copying a", err));
    IJ_TRY(cuda_result(u, u->cuda.to_device(u->b, p->b->data, p->b->bytes), "copying b", err));
    IJ_TRY(cuda_result(u, u->cuda.fill(u->c, 0x7fff, result_bytes(p) / 2), "filling c", err)); /* NaN in all three elements */
    return cuda_result(u, u->cuda.context_wait(), "waiting", err);
}

static ij_status load(baseline *base, const baseline_product *p, ij_error *err) {
    cublas *u = (cublas *)base;
    if (p->m > INT_MAX || p->n > INT_MAX || p->k > INT_MAX) return ij_fail(err, IJ_ERROR_ARGUMENT, "cuBLAS: a side is more than 2^31");
    IJ_TRY(cuda_result(u, u->cuda.context_set(u->context), "making the context current", err));
    u->product = *p;
    ij_status status = take(u, p, err);
    if (status != IJ_OK) unload(base);
    return status;
}

static int type_of(gpu_element element) { return element == GPU_F16 ? CUBLAS_HALF : element == GPU_BF16 ? CUBLAS_BFLOAT : CUBLAS_FLOAT; }

static ij_status multiply(cublas *u, ij_error *err) {
    const baseline_product *p = &u->product;
    const float one = 1, zero = 0;
    int type = type_of(p->a->element), row = (int)gpu_row(p->result, (uint64_t)p->n);
    int result = u->blas.gemm(u->handle, p->form == OP_MATMUL_NT ? CUBLAS_TRANS : CUBLAS_NO_TRANS,
                              p->form == OP_MATMUL_TN ? CUBLAS_TRANS : CUBLAS_NO_TRANS, (int)p->n, (int)p->m, (int)p->k, &one,
                              (const void *)(uintptr_t)u->b, type, (int)p->b->row, (const void *)(uintptr_t)u->a, type, (int)p->a->row,
                              &zero, (void *)(uintptr_t)u->c, type_of(p->result), row, CUBLAS_SUMS_F32, CUBLAS_ALGORITHM_DEFAULT);
    return cublas_result(result, "cublasGemmEx", err);
}

static ij_status run(baseline *base, int repeats, double *seconds, ij_error *err) {
    cublas *u = (cublas *)base;
    float milliseconds = 0;
    IJ_TRY(cuda_result(u, u->cuda.context_set(u->context), "making the context current", err));
    IJ_TRY(cuda_result(u, u->cuda.event_record(u->begin, NULL), "an event", err));
    for (int i = 0; i < repeats; i++) IJ_TRY(multiply(u, err));
    IJ_TRY(cuda_result(u, u->cuda.event_record(u->end, NULL), "an event", err));
    IJ_TRY(cuda_result(u, u->cuda.event_wait(u->end), "waiting for the product", err));
    IJ_TRY(cuda_result(u, u->cuda.event_elapsed(&milliseconds, u->begin, u->end), "reading its time", err));
    *seconds = 1e-3 * (double)milliseconds / repeats;
    return IJ_OK;
}

static ij_status read_row(baseline *base, int64_t row, void *out, ij_error *err) {
    cublas *u = (cublas *)base;
    uint64_t bytes = gpu_matrix_bytes(u->product.result, 1, (uint64_t)u->product.n);
    return cuda_result(u, u->cuda.to_host(out, u->c + (uint64_t)row * bytes, bytes), "reading c", err);
}

static void close_cublas(baseline *base) {
    cublas *u = (cublas *)base;
    if (u->context && u->cuda.context_set(u->context) == 0) {
        unload(base);
        if (u->handle) u->blas.destroy(u->handle);
        if (u->begin) u->cuda.event_destroy(u->begin);
        if (u->end) u->cuda.event_destroy(u->end);
        u->cuda.context_set(NULL);
        u->cuda.context_release(u->device);
    }
    if (u->library) dlclose(u->library); /* libcuda stays loaded: the Vulkan driver may be using it */
    free(u);
}

static ij_status load_libraries(cublas *u, const char *path, ij_error *err) {
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"}, *const driver_names[] = {"libcuda.so.1"};
    cuda_driver *c = &u->cuda;
    cublas_functions *b = &u->blas;
    const baseline_symbol blas[] = {{"cublasCreate_v2", (void **)&b->create},
                                    {"cublasDestroy_v2", (void **)&b->destroy},
                                    {"cublasGetVersion_v2", (void **)&b->version},
                                    {"cublasSetMathMode", (void **)&b->math_mode},
                                    {"cublasGemmEx", (void **)&b->gemm}};
    const baseline_symbol driver[] = {
        {"cuInit", (void **)&c->init},
        {"cuDeviceGetCount", (void **)&c->device_count},
        {"cuDeviceGet", (void **)&c->device_get},
        {"cuDeviceGetName", (void **)&c->device_name},
        {"cuDevicePrimaryCtxRetain", (void **)&c->context_retain},
        {"cuDevicePrimaryCtxRelease_v2", (void **)&c->context_release},
        {"cuCtxSetCurrent", (void **)&c->context_set},
        {"cuCtxSynchronize", (void **)&c->context_wait},
        {"cuMemAlloc_v2", (void **)&c->alloc},
        {"cuMemFree_v2", (void **)&c->release},
        {"cuMemcpyHtoD_v2", (void **)&c->to_device},
        {"cuMemcpyDtoH_v2", (void **)&c->to_host},
        {"cuMemsetD16_v2", (void **)&c->fill},
        {"cuEventCreate", (void **)&c->event_create},
        {"cuEventDestroy_v2", (void **)&c->event_destroy},
        {"cuEventRecord", (void **)&c->event_record},
        {"cuEventSynchronize", (void **)&c->event_wait},
        {"cuEventElapsedTime", (void **)&c->event_elapsed},
        {"cuGetErrorString", (void **)&c->error_text},
    };
    ij_status status = baseline_library("cuBLAS", names, IJ_COUNT(names), path, &u->library, err);
    if (status != IJ_OK) {
        ij_hint(err, "it comes with CUDA 12 or 13 and with PyTorch's wheels (nvidia/*/lib); LD_LIBRARY_PATH or --baseline-library PATH "
                     "says where it is");
        return status;
    }
    IJ_TRY(baseline_symbols("cuBLAS", u->library, blas, IJ_COUNT(blas), err));
    status = baseline_library("cuBLAS needs the NVIDIA driver", driver_names, IJ_COUNT(driver_names), NULL, &u->driver_library, err);
    if (status != IJ_OK) {
        ij_hint(err, "cuBLAS runs on NVIDIA GPUs with NVIDIA's own driver; --baseline openblas compares on the host");
        return status;
    }
    return baseline_symbols("CUDA", u->driver_library, driver, IJ_COUNT(driver), err);
}

/* The CUDA device that has the name Vulkan gives; of several alike, the first. */
static ij_status find_device(cublas *u, const char *wanted, ij_error *err) {
    char name[256] = "";
    int count = 0;
    IJ_TRY(cuda_result(u, u->cuda.init(0), "cuInit", err));
    IJ_TRY(cuda_result(u, u->cuda.device_count(&count), "counting devices", err));
    for (int i = 0; i < count; i++) {
        IJ_TRY(cuda_result(u, u->cuda.device_get(&u->device, i), "opening a device", err));
        IJ_TRY(cuda_result(u, u->cuda.device_name(name, sizeof name, u->device), "a device's name", err));
        if (strcmp(name, wanted) == 0) return IJ_OK;
    }
    ij_fail(err, IJ_ERROR_DEVICE, "cuBLAS: CUDA has no device \"%s\" (it has %d%s%s)", wanted, count, count ? ", the last is " : "", name);
    return ij_hint(err, "both must run on the same GPU: --device chooses Vulkan's");
}

static ij_status start(cublas *u, const char *device, ij_error *err) {
    int version = 0;
    IJ_TRY(find_device(u, device, err));
    IJ_TRY(cuda_result(u, u->cuda.context_retain(&u->context, u->device), "a context", err));
    IJ_TRY(cuda_result(u, u->cuda.context_set(u->context), "making the context current", err));
    IJ_TRY(cublas_result(u->blas.create(&u->handle), "cublasCreate", err));
    IJ_TRY(cublas_result(u->blas.math_mode(u->handle, CUBLAS_MATH_DEFAULT), "cublasSetMathMode", err));
    IJ_TRY(cublas_result(u->blas.version(u->handle, &version), "cublasGetVersion", err));
    IJ_TRY(cuda_result(u, u->cuda.event_create(&u->begin, EVENT_DEFAULT), "an event", err));
    IJ_TRY(cuda_result(u, u->cuda.event_create(&u->end, EVENT_DEFAULT), "an event", err));
    snprintf(u->base.name, sizeof u->base.name, "cuBLAS %d.%d.%d, f32 without TF32, on %.90s", version / 10000, version / 100 % 100,
             version % 100, device);
    return IJ_OK;
}

ij_status baseline_cublas_open(const char *path, const char *device, baseline **out, ij_error *err) {
    cublas *u;
    IJ_TRY(ij_alloc(&u, 1, sizeof *u, "cuBLAS", err));
    u->base = (baseline){.takes = takes, .load = load, .run = run, .read_row = read_row, .unload = unload, .close = close_cublas};
    ij_status status = load_libraries(u, path, err);
    if (status == IJ_OK) status = start(u, device, err);
    if (status != IJ_OK) {
        close_cublas(&u->base);
        return status;
    }
    *out = &u->base;
    return IJ_OK;
}
