/* The contract of an op, and what walks the registry: tests, `ijepa selftest`, `ijepa bench`.      layer: ops; uses: base, gpu
 *
 * An op family has one stem in four places (shaders/X.comp, shaders/X.h, src/ops/X.c, src/ops/ref/X.c) and a row in ops.def.
 * src/ops/X.h has the typed functions that the model calls: each checks its arguments, plans (arguments and device limits to
 * variant, specialisation values, push constants, groups) and records. src/ops/X.c also describes each op here, as data.
 *
 * Ragged rows: a tensor of tokens is [rows, dim]; how many rows there are is known on the device only. ij_rows says where.
 * Kernels read the count themselves; workgroups are dispatched for `max` rows and those beyond the count return at once. */
#ifndef IJ_OPS_OP_H
#define IJ_OPS_OP_H

#include "base/error.h"
#include "gpu/gpu.h"

#include <stdbool.h>
#include <stdint.h>

/* Rows of a ragged tensor: min(max, offsets[at]), read on the device from a uint32 tensor. */
typedef struct ij_rows {
    gpu_tensor offsets;
    uint32_t at;
    uint32_t max;
} ij_rows;

#define OP_ARGS_MAX 20
#define OP_DIMS_MAX 12

/* F16 and BF16 tensors are matrices of `columns` whose rows are padded (gpu_row); the host's side has no padding. */
typedef enum op_dtype { OP_F32, OP_U32, OP_U8, OP_F16, OP_BF16 } op_dtype;
static inline gpu_element op_element(op_dtype dtype) { return dtype == OP_F16 ? GPU_F16 : dtype == OP_BF16 ? GPU_BF16 : GPU_WORD; }
static inline op_dtype op_dtype_of(gpu_element element) { return element == GPU_F16 ? OP_F16 : element == GPU_BF16 ? OP_BF16 : OP_F32; }

typedef enum op_role {
    OP_IN,
    OP_OUT,     /* poisoned before the run; what the reference leaves unwritten must stay poisoned */
    OP_INOUT,   /* has a value before, compared after */
    OP_SCRATCH, /* poisoned, not compared */
} op_role;

typedef struct op_arg {
    const char *name; /* a backward op names the gradient of forward tensor y "dy" */
    op_role role;
    op_dtype dtype;
    int64_t count;    /* elements */
    double scale;     /* float inputs: standard deviation of the seeded normal numbers [1] */
    double tolerance; /* float outputs: bound of |got - reference| / (|reference| + rms of the reference); see op_tolerance. What
                       * storing a 16-bit output rounds is added by the checker (op_rounding) */
    int64_t columns;  /* F16, BF16: of a row; count is a multiple of it */
} op_arg;

/* One shape of an op. dims and reals mean what the op's own source says. */
typedef struct op_case {
    const char *name;
    int64_t dims[OP_DIMS_MAX];
    double reals[6];
    bool large; /* left out on slow devices and under sanitizers; used by the benchmarks */
} op_case;

typedef struct op_desc {
    const char *name;    /* "layernorm_bwd" */
    const char *grad_of; /* name of the forward op in the same family whose gradient this is; NULL: none */
    const op_case *cases;
    int case_count;
    /* Lists the tensors of a case, in the order that record and ref take them; returns how many. */
    int (*args)(const op_case *c, op_arg args[OP_ARGS_MAX]);
    /* Overwrites seeded inputs that cannot be random (indices, offsets, statistics of the forward pass); may be NULL.
     * Element types: f32, f16 and bf16 tensors are double here and in ref (inputs rounded to what the device sees, before and after),
     * u32 are uint32_t, u8 are uint8_t. */
    void (*prepare)(const op_case *c, void *const *host);
    ij_status (*record)(gpu_program *program, const op_case *c, const gpu_tensor *tensors, ij_error *err);
    /* The reference: plain C, double throughout. */
    void (*ref)(const op_case *c, void *const *host);
    void (*cost)(const op_case *c, double *flops, double *bytes);
    /* Whether the device can run the case; NULL: any can. What it cannot run is skipped, and said to be (op_report.skipped). */
    bool (*supported)(const gpu_device *device, const op_case *c);
} op_desc;

typedef struct op_family {
    const char *name;
    const op_desc *ops;
    int count;
} op_family;

/* The registry: all rows of ops.def. */
extern const op_family *const op_families[];
extern const int op_family_count;
const op_desc *op_find(const char *name);

/* Tolerance of a sum of `terms` products in f32, whatever the order: rounding errors of relative size 2^-24 add up like a
 * random walk, 5 sqrt(terms) bounds it for any number of outputs a test sees; 8 covers what stands around the sum. */
double op_tolerance(int64_t terms);

/* Relative error of storing a number: half a unit in the last place, 2^-24, 2^-11, 2^-8. */
double op_rounding(op_dtype dtype);

/* Round to nearest even as the device stores it, and 16-bit elements to and from numbers, for the checker and for reading back. */
double op_round(op_dtype dtype, double value);
uint16_t op_encode(op_dtype dtype, double value);
double op_decode(op_dtype dtype, uint16_t bits);

/* Reads a float matrix [rows, columns] of any element into f32 on the host; waits. */
ij_status op_read_floats(gpu_device *device, gpu_tensor from, int64_t rows, int64_t columns, float *out, ij_error *err);

/* Ceiling division, and a checked narrowing of a count to what the device counts with. */
static inline uint32_t op_groups(int64_t count, int64_t size) { return (uint32_t)((count + size - 1) / size); }

/* ---- checking ---- */

typedef struct op_report {
    bool skipped;     /* the op has this case only where the device supports it, and this one does not: nothing was done */
    double error;     /* largest error / tolerance over all outputs; below 1: passed */
    char worst[64];   /* the output that has it */
    bool identical;   /* a second run gave the same bits */
    bool canaries;    /* nothing was written around the tensors */
    bool nudge_found; /* one element moved by four tolerances was noticed */
    double seconds;   /* device time of one run, where there are timestamps */
} op_report;

/* Runs a case on the device and compares it with the reference: seeded inputs, poisoned outputs, canaries around every
 * tensor, twice, and once with a nudged element. Returns IJ_ERROR_MISMATCH with the op, case, tensor and numbers on a
 * difference; report is filled as far as it went. */
ij_status op_check(gpu_device *device, const op_desc *op, const op_case *c, op_report *report, ij_error *err);

/* The same, then `runs` more runs, timed: seconds[runs] on the device, or on the host's clock where there are no timestamps. */
ij_status op_check_timed(gpu_device *device, const op_desc *op, const op_case *c, int runs, double *seconds, op_report *report,
                         ij_error *err);

/* Reference backward against central differences of the reference forward, on the host: `samples` elements of each input.
 * Ops without grad_of pass at once. */
ij_status op_check_gradient(const op_desc *op, const op_case *c, int samples, ij_error *err);

#endif
