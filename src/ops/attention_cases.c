/* Attention's ops and cases as data.       layer: ops; uses: gpu
 *
 * Case dims: [0] heads, [1] head_dim, [2] sequences, [3] how many lengths follow, [4 ..] lengths, taken in turn by the sequences; reals:
 * [0] split, [1] op_dtype, [2] op_attention_kernel. Small cases have three rows behind the last sequence, which must stay untouched. */
#include "ops/attention.h"

#include <math.h>

/* Shapes that every kernel has, and those of the row kernels alone: head dims that are no multiple of 8, and above 96. WIDE_LARGE:
 * whether heads from 64 on count as large. On matrices they do: a software driver makes so much scalar code of them that it compiles for
 * half a minute. */
#define CASES_SHARED(T, K, WIDE_LARGE)                                                                                                     \
    {.name = "one_row", .dims = {1, 8, 2, 2, 1, 5}, .reals = {0, T, K}},                                                                   \
        {.name = "primes", .dims = {5, 24, 4, 4, 13, 0, 3, 31}, .reals = {0, T, K}},                                                       \
        {.name = "dim_16", .dims = {1, 16, 3, 3, 9, 1, 20}, .reals = {0, T, K}},                                                           \
        {.name = "dim_32", .dims = {3, 32, 4, 4, 33, 0, 64, 2}, .reals = {0, T, K}},                                                       \
        {.name = "dim_64", .dims = {3, 64, 3, 3, 70, 1, 8}, .reals = {0, T, K}, .large = WIDE_LARGE},                                      \
        {.name = "dim_80", .dims = {2, 80, 3, 3, 5, 0, 37}, .reals = {0, T, K}, .large = WIDE_LARGE},                                      \
        {.name = "dim_88", .dims = {1, 88, 2, 2, 6, 29}, .reals = {0, T, K}, .large = WIDE_LARGE},                                         \
        {.name = "vit_192_heads_6", .dims = {6, 32, 32, 1, 64}, .reals = {0, T, K}, .large = true},                                        \
        {.name = "vit_192_heads_3", .dims = {3, 64, 32, 1, 64}, .reals = {0, T, K}, .large = true},                                        \
        {.name = "context", .dims = {6, 32, 32, 8, 14, 22, 9, 31, 17, 38, 11, 26}, .reals = {0, T, K}, .large = true},                     \
        {.name = "predictor", .dims = {6, 16, 128, 8, 31, 24, 57, 42, 20, 36, 49, 28}, .reals = {0, T, K}, .large = true}, {               \
        .name = "long", .dims = {2, 64, 2, 2, 1031, 196}, .reals = {0, T, K}, .large = true                                                \
    }

#define CASES_ROW(T)                                                                                                                       \
    {.name = "ragged", .dims = {3, 12, 5, 5, 1, 7, 0, 33, 64}, .reals = {0, T, OP_ATTENTION_ROW}},                                         \
        {.name = "recorded_step", .dims = {5, 12, 6, 3, 4, 11, 9}, .reals = {0, T, OP_ATTENTION_ROW}},                                     \
        {.name = "dim_4", .dims = {2, 4, 3, 3, 0, 2, 17}, .reals = {0, T, OP_ATTENTION_ROW}},                                              \
        {.name = "dim_60", .dims = {1, 60, 2, 2, 10, 3}, .reals = {0, T, OP_ATTENTION_ROW}},                                               \
        {.name = "dim_128", .dims = {1, 128, 3, 3, 4, 41, 1}, .reals = {0, T, OP_ATTENTION_ROW}},                                          \
        {.name = "empty_batch_end", .dims = {1, 20, 4, 4, 3, 6, 0, 0}, .reals = {0, T, OP_ATTENTION_ROW}},                                 \
        {.name = "dim_12_split_2", .dims = {3, 12, 3, 3, 5, 0, 18}, .reals = {2, T, OP_ATTENTION_ROW}}, /* three vec4s for two */          \
        {.name = "dim_60_split_4", .dims = {1, 60, 3, 3, 7, 19, 2}, .reals = {4, T, OP_ATTENTION_ROW}},                                    \
        {.name = "dim_64_split_1", .dims = {2, 64, 2, 2, 3, 67}, .reals = {1, T, OP_ATTENTION_ROW}},                                       \
        {.name = "dim_88_split_4", .dims = {2, 88, 3, 3, 23, 1, 6}, .reals = {4, T, OP_ATTENTION_ROW}}, {                                  \
        .name = "dim_128_split_2", .dims = {1, 128, 2, 2, 35, 4}, .reals = { 2, T, OP_ATTENTION_ROW }                                      \
    }

/* Blocks and fragments that are filled to the last row, and one row more. */
#define CASES_COOPMAT(T, K)                                                                                                                \
    {.name = "blocks", .dims = {1, 32, 5, 5, 32, 33, 64, 65, 31}, .reals = {0, T, K}},                                                     \
        {.name = "ragged_24", .dims = {3, 24, 5, 5, 1, 7, 0, 33, 64}, .reals = {0, T, K}},                                                 \
        {.name = "empty_batch_end", .dims = {1, 40, 4, 4, 3, 6, 0, 0}, .reals = {0, T, K}}, {                                              \
        .name = "dim_96", .dims = {2, 96, 3, 3, 23, 1, 6}, .reals = {0, T, K}, .large = true                                               \
    }

/* The first three are what an engine is trusted for: both block sizes, many owned rows and few, heads that fill their width and that do not. */
#define CASES_COOPMAT2(T, K)                                                                                                               \
    {.name = "blocks_32", .dims = {2, 32, 5, 5, 64, 65, 128, 129, 63}, .reals = {0, T, K}},                                                \
        {.name = "blocks_88", .dims = {2, 88, 4, 4, 33, 0, 70, 1}, .reals = {0, T, K}},                                                    \
        {.name = "short_24", .dims = {3, 24, 5, 5, 1, 7, 0, 32, 19}, .reals = {0, T, K}}, {                                                \
        .name = "blocks_96", .dims = {1, 96, 3, 3, 64, 3, 32}, .reals = { 0, T, K }                                                        \
    }

/* What is trained: a target encoder of ViT-B and of ViT-H, a context, and predictors. */
#define CASES_PRODUCTION(T, K)                                                                                                             \
    {.name = "vit_b_target", .dims = {12, 64, 8, 1, 196}, .reals = {0, T, K}, .large = true},                                              \
        {.name = "vit_h_target", .dims = {16, 80, 8, 1, 256}, .reals = {0, T, K}, .large = true},                                          \
        {.name = "vit_h_context", .dims = {16, 80, 8, 4, 61, 152, 97, 219}, .reals = {0, T, K}, .large = true}, {                          \
        .name = "vit_h_predictor", .dims = {16, 24, 8, 4, 103, 249, 181, 140}, .reals = {0, T, K}, .large = true                           \
    }

#define ROWS_OF(T) {CASES_SHARED(T, OP_ATTENTION_ROW, false), CASES_ROW(T), CASES_PRODUCTION(T, OP_ATTENTION_ROW)}
static const op_case cases[] = ROWS_OF(OP_F32), cases_f16[] = ROWS_OF(OP_F16), cases_bf16[] = ROWS_OF(OP_BF16);

#define COOPMAT_OF(T)                                                                                                                      \
    {CASES_SHARED(T, OP_ATTENTION_COOPMAT, true), CASES_COOPMAT(T, OP_ATTENTION_COOPMAT), CASES_PRODUCTION(T, OP_ATTENTION_COOPMAT)}
static const op_case coopmat_f16[] = COOPMAT_OF(OP_F16), coopmat_bf16[] = COOPMAT_OF(OP_BF16);

#define COOPMAT2_OF(T)                                                                                                                     \
    {CASES_COOPMAT2(T, OP_ATTENTION_COOPMAT2), CASES_SHARED(T, OP_ATTENTION_COOPMAT2, false), CASES_COOPMAT(T, OP_ATTENTION_COOPMAT2),     \
     CASES_PRODUCTION(T, OP_ATTENTION_COOPMAT2)}
static const op_case coopmat2_f16[] = COOPMAT2_OF(OP_F16), coopmat2_bf16[] = COOPMAT2_OF(OP_BF16);

static op_dtype dtype_of(const op_case *c) { return (op_dtype)c->reals[1]; }

static int64_t length_of(const op_case *c, int64_t sequence) { return c->dims[4 + sequence % c->dims[3]]; }

static int64_t length_max_of(const op_case *c) {
    int64_t length = 1;
    for (int64_t i = 0; i < c->dims[3]; i++) length = c->dims[4 + i] > length ? c->dims[4 + i] : length;
    return length;
}

static int64_t rows_of(const op_case *c) {
    int64_t rows = c->large ? 0 : 3;
    for (int64_t s = 0; s < c->dims[2]; s++) rows += length_of(c, s);
    return rows;
}

/* Pairs of a query and a key of one head. */
static double pairs_of(const op_case *c) {
    double pairs = 0;
    for (int64_t s = 0; s < c->dims[2]; s++) pairs += (double)length_of(c, s) * (double)length_of(c, s);
    return pairs;
}

static op_attention_shape shape_of(const op_case *c, gpu_tensor offsets) {
    return (op_attention_shape){.offsets = offsets,
                                .sequences = (uint32_t)c->dims[2],
                                .rows_max = (uint32_t)rows_of(c),
                                .length_max = (uint32_t)length_max_of(c),
                                .heads = (uint32_t)c->dims[0],
                                .head_dim = (uint32_t)c->dims[1],
                                .split = (uint32_t)c->reals[0],
                                .kernel = (op_attention_kernel)c->reals[2]};
}

static void prepare_offsets(const op_case *c, uint32_t *offsets) {
    offsets[0] = 0;
    for (int64_t s = 0; s < c->dims[2]; s++) offsets[s + 1] = offsets[s] + (uint32_t)length_of(c, s);
}

/* A float tensor of the case's element, [rows, columns]. */
static op_arg rows_arg(const op_case *c, const char *name, op_role role, int64_t columns, double scale, double tolerance) {
    return (op_arg){name, role, dtype_of(c), rows_of(c) * columns, scale, tolerance, columns};
}

/* A score is a sum of head_dim products; its absolute error is the relative error of exp(score). The sum over the keys comes on top, and
 * exp2, which Vulkan lets be wrong by 3 + 2 |x| units in the last place: of exp2(x) <= 1 that is at most 4 of the greatest term, whatever x
 * is. */
static double lse_tolerance(const op_case *c) { return op_tolerance(c->dims[1]) + op_tolerance(length_max_of(c)) + 0x1p-24 * 8; }

/* The matrix kernels' rounding of p and ds to 16 bits before the second product: a sum over terms of which each is wrong by u =
 * op_rounding at most. Errors of either sign make it wrong by u of a random walk over the terms, which is as long as the sum is itself; 5
 * bounds it, as in op_tolerance. */
static double rounded_terms(const op_case *c) { return c->reals[2] >= OP_ATTENTION_COOPMAT ? 5 * op_rounding(dtype_of(c)) : 0; }

/* Backward the walk can be much longer than the sum: a key that few queries look at hard gets few large terms of either sign. On the
 * reference, with numbers as here (scores of deviation 1.7), sqrt(sum of (ds q)^2) is up to 6.03 times |sum| + rms of the result, over
 * lengths of 181 to 1031 and heads of 24 to 80. A rounding is u / sqrt 3 in root mean square, and the few elements with such a walk stay within
 * three deviations: 6.03 x 3 / sqrt 3. */
static double rounded_terms_bwd(const op_case *c) { return c->reals[2] >= OP_ATTENTION_COOPMAT ? 10.5 * op_rounding(dtype_of(c)) : 0; }

static int fwd_args(const op_case *c, op_arg *args) {
    int64_t dim = c->dims[0] * c->dims[1];
    args[0] = rows_arg(c, "qkv", OP_IN, 3 * dim, 1.3, 0);
    args[1] = (op_arg){"offsets", OP_IN, OP_U32, c->dims[2] + 1, 0, 0, 0};
    args[2] = rows_arg(c, "out", OP_OUT, dim, 0, lse_tolerance(c) + rounded_terms(c));
    args[3] = (op_arg){"lse", OP_OUT, OP_F32, rows_of(c) * c->dims[0], 0, lse_tolerance(c), 0};
    return 4;
}

static void fwd_prepare(const op_case *c, void *const *h) { prepare_offsets(c, h[1]); }

static ij_status fwd_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    return op_attention(program, &(op_attention_desc){shape_of(c, t[1]), t[0], t[2], t[3]}, err);
}

static void fwd_ref(const op_case *c, void *const *h) { ref_attention(h[0], h[1], c->dims[2], c->dims[0], c->dims[1], h[2], h[3]); }

static void fwd_cost(const op_case *c, double *flops, double *bytes) {
    double dim = (double)(c->dims[0] * c->dims[1]), size = dtype_of(c) == OP_F32 ? 4 : 2;
    *flops = 4 * pairs_of(c) * dim;
    *bytes = (double)rows_of(c) * (size * 4 * dim + 4 * (double)c->dims[0]);
}

/* Without lse, as the target encoder runs it. */
static int infer_args(const op_case *c, op_arg *args) { return fwd_args(c, args) - 1; }

static ij_status infer_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    return op_attention(program, &(op_attention_desc){.shape = shape_of(c, t[1]), .qkv = t[0], .out = t[2]}, err);
}

static void infer_ref(const op_case *c, void *const *h) { ref_attention(h[0], h[1], c->dims[2], c->dims[0], c->dims[1], h[2], NULL); }

/* dp and delta are sums of head_dim products of which the difference is taken: their errors stand beside the score's. What out lost when
 * it was stored counts for nothing: the reference takes delta from the same out. */
static double bwd_tolerance(const op_case *c) { return lse_tolerance(c) + 2 * op_tolerance(c->dims[1]) + rounded_terms_bwd(c); }

static int bwd_args(const op_case *c, op_arg *args) {
    int64_t rows = rows_of(c), dim = c->dims[0] * c->dims[1];
    args[0] = rows_arg(c, "qkv", OP_IN, 3 * dim, 1.3, 0);
    args[1] = (op_arg){"offsets", OP_IN, OP_U32, c->dims[2] + 1, 0, 0, 0};
    args[2] = rows_arg(c, "out", OP_IN, dim, 0, 0);
    args[3] = (op_arg){"lse", OP_IN, OP_F32, rows * c->dims[0], 0, 0, 0};
    args[4] = rows_arg(c, "dout", OP_IN, dim, 1, 0);
    args[5] = (op_arg){"delta", OP_SCRATCH, OP_F32, rows * c->dims[0], 0, 0, 0};
    args[6] = rows_arg(c, "dqkv", OP_OUT, 3 * dim, 0, bwd_tolerance(c));
    return 7;
}

static void bwd_prepare(const op_case *c, void *const *h) {
    prepare_offsets(c, h[1]);
    ref_attention(h[0], h[1], c->dims[2], c->dims[0], c->dims[1], h[2], h[3]);
}

static ij_status bwd_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_attention_bwd_desc desc = {
        .shape = shape_of(c, t[1]), .qkv = t[0], .out = t[2], .lse = t[3], .dout = t[4], .delta = t[5], .dqkv = t[6]};
    return op_attention_bwd(program, &desc, err);
}

/* f32: all of it computed, so that central differences can tell. */
static void bwd_ref(const op_case *c, void *const *h) {
    ref_attention_bwd_from(h[0], h[1], c->dims[2], c->dims[0], c->dims[1], dtype_of(c) == OP_F32 ? NULL : h[2], h[4], h[6]);
}

/* Five products are needed; the two kernels do seven, because both compute the scores and dp. */
static void bwd_cost(const op_case *c, double *flops, double *bytes) {
    double dim = (double)(c->dims[0] * c->dims[1]), size = dtype_of(c) == OP_F32 ? 4 : 2;
    *flops = 10 * pairs_of(c) * dim;
    *bytes = (double)rows_of(c) * (size * 8 * dim + 4 * (double)c->dims[0]);
}

static bool supported(const gpu_device *device, const op_case *c) {
    op_attention_shape shape = shape_of(c, (gpu_tensor){0});
    return op_attention_supported(device, &shape, op_element(dtype_of(c)));
}

#define FORWARD(name, cases) {name, NULL, cases, IJ_COUNT(cases), fwd_args, fwd_prepare, fwd_record, fwd_ref, fwd_cost, supported}
#define INFER(name, cases) {name, NULL, cases, IJ_COUNT(cases), infer_args, fwd_prepare, infer_record, infer_ref, fwd_cost, supported}
#define BACKWARD(name, of, cases) {name, of, cases, IJ_COUNT(cases), bwd_args, bwd_prepare, bwd_record, bwd_ref, bwd_cost, supported}

static const op_desc ops[] = {
    FORWARD("attention", cases),
    INFER("attention_infer", cases),
    BACKWARD("attention_bwd", "attention", cases),
    FORWARD("attention_f16", cases_f16),
    INFER("attention_infer_f16", cases_f16),
    BACKWARD("attention_bwd_f16", NULL, cases_f16),
    FORWARD("attention_bf16", cases_bf16),
    INFER("attention_infer_bf16", cases_bf16),
    BACKWARD("attention_bwd_bf16", NULL, cases_bf16),
    FORWARD("attention_coopmat_f16", coopmat_f16),
    INFER("attention_coopmat_infer_f16", coopmat_f16),
    BACKWARD("attention_coopmat_bwd_f16", NULL, coopmat_f16),
    FORWARD("attention_coopmat_bf16", coopmat_bf16),
    INFER("attention_coopmat_infer_bf16", coopmat_bf16),
    BACKWARD("attention_coopmat_bwd_bf16", NULL, coopmat_bf16),
    FORWARD("attention_coopmat2_f16", coopmat2_f16),
    INFER("attention_coopmat2_infer_f16", coopmat2_f16),
    BACKWARD("attention_coopmat2_bwd_f16", NULL, coopmat2_f16),
    FORWARD("attention_coopmat2_bf16", coopmat2_bf16),
    INFER("attention_coopmat2_infer_bf16", coopmat2_bf16),
    BACKWARD("attention_coopmat2_bwd_bf16", NULL, coopmat2_bf16),
};
const op_family op_family_attention = {"attention", ops, IJ_COUNT(ops)};
