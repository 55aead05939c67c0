/* The products as data: cases, references, costs.       layer: ops; uses: gpu
 *
 * All ops are one linear layer and its gradients, so that a case has the same tensors in each. f32 first, then 16-bit operands on
 * every rung of the ladder; a rung that a device lacks is skipped there, by name (op_desc.supported).
 * Rows that are not there hold NaN: a kernel that lets one in shows it. */
#include "ops/eltwise.h"
#include "ops/matmul.h"
#include "ops/matmul_plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Case dims: [ROWS] rows there is room for, [OUT], [IN], [TRUE_ROWS] rows there are (0: all, and no offsets), [EXTRAS] bits,
 * [KERNEL], [CHUNK] and [VARIANT] as in op_matmul_desc, [ELEMENT] op_dtype of the operands, [HALF_RESULT] the result has it too,
 * [PERIOD] of the residual's rows. */
enum { ROWS, OUT, IN, TRUE_ROWS, EXTRAS, KERNEL, CHUNK, VARIANT, ELEMENT, HALF_RESULT, PERIOD };
enum { BIAS = 1, RESIDUAL = 2, GELU = 4, PRE = 8, ADD = 16 /* gradients are added to what is there */, GATHER = 32, INDEX = 64 };
#define LANE OP_MATMUL_LANE
#define TILE OP_MATMUL_TILE
#define COOPMAT OP_MATMUL_COOPMAT
#define COOPMAT2 OP_MATMUL_COOPMAT2

static const op_case nt_cases[] = {
    {.name = "lane_one", .dims = {1, 1, 1, 0, 0, LANE}},
    {.name = "tile_one", .dims = {1, 1, 1, 0, 0, TILE}},
    {.name = "lane_prime", .dims = {37, 29, 53, 0, BIAS, LANE}},
    {.name = "tile_prime", .dims = {67, 29, 53, 0, BIAS, TILE}},
    {.name = "lane_tail_gelu", .dims = {65, 52, 36, 0, BIAS | GELU, LANE}},
    {.name = "tile_tail_gelu", .dims = {68, 132, 20, 0, BIAS | GELU, TILE}},
    {.name = "lane_ragged_gelu_pre", .dims = {70, 96, 44, 41, BIAS | GELU | PRE, LANE}},
    {.name = "tile_ragged_gelu_pre", .dims = {134, 61, 44, 71, BIAS | GELU | PRE, TILE}},
    {.name = "lane_ragged_residual", .dims = {13, 96, 48, 7, BIAS | RESIDUAL, LANE}},
    {.name = "tile_ragged_residual", .dims = {140, 96, 48, 130, BIAS | RESIDUAL, TILE}},
    {.name = "lane_gather", .dims = {70, 40, 37, 61, BIAS | GATHER, LANE}},
    {.name = "tile_gather", .dims = {70, 40, 37, 61, BIAS | GATHER, TILE}},
    {.name = "lane_positions", .dims = {66, 52, 36, 0, BIAS | RESIDUAL, LANE, [PERIOD] = 16}},
    {.name = "tile_positions", .dims = {66, 52, 36, 0, BIAS | RESIDUAL, TILE, [PERIOD] = 16}},
    {.name = "lane_positions_listed", .dims = {66, 50, 36, 60, BIAS | RESIDUAL | INDEX | GATHER, LANE, [PERIOD] = 25}},
    {.name = "tile_positions_listed", .dims = {66, 50, 36, 60, BIAS | RESIDUAL | INDEX | GATHER, TILE, [PERIOD] = 25}},
    {.name = "lane_no_rows_left", .dims = {33, 10, 7, 1, BIAS, LANE}},
    {.name = "tile_large", .dims = {16400, 130, 36, 16390, BIAS, TILE}, .large = true},
    {.name = "vit_192_qkv", .dims = {608, 576, 192, 600, BIAS}, .large = true},
    {.name = "vit_192_proj", .dims = {608, 192, 192, 600, BIAS | RESIDUAL}, .large = true},
    {.name = "vit_192_fc1", .dims = {608, 768, 192, 600, BIAS | GELU | PRE}, .large = true},
    {.name = "vit_192_fc2", .dims = {608, 192, 768, 600, BIAS | RESIDUAL}, .large = true},
    {.name = "predictor_96_fc1", .dims = {2048, 384, 96, 2000, BIAS | GELU | PRE}, .large = true},
    {.name = "cube_768", .dims = {768, 768, 768}, .large = true},
};
static const op_case grad_cases[] = {
    {.name = "lane_one", .dims = {1, 1, 1, 0, BIAS, LANE}},
    {.name = "tile_one", .dims = {1, 1, 1, 0, BIAS, TILE}},
    {.name = "lane_prime", .dims = {37, 29, 53, 0, BIAS, LANE}},
    {.name = "tile_prime", .dims = {67, 71, 53, 0, BIAS, TILE}},
    {.name = "lane_tail_add", .dims = {65, 36, 52, 0, BIAS | ADD, LANE}},
    {.name = "tile_tail_add", .dims = {68, 132, 20, 0, BIAS | ADD, TILE}},
    {.name = "lane_ragged_add", .dims = {70, 44, 96, 41, ADD, LANE}},
    {.name = "lane_chunks", .dims = {100, 68, 61, 0, BIAS, LANE, 32}},
    {.name = "lane_chunks_add", .dims = {131, 67, 64, 91, BIAS | ADD, LANE, 32}},
    {.name = "tile_ragged", .dims = {134, 61, 44, 71, 0, TILE, ~0u}},
    {.name = "tile_chunks", .dims = {100, 68, 61, 0, BIAS, TILE, 32}},
    {.name = "tile_chunks_add", .dims = {131, 67, 64, 90, BIAS | ADD, TILE, 32}},
    {.name = "vit_192_qkv", .dims = {608, 576, 192, 600, BIAS | ADD}, .large = true},
    {.name = "vit_192_proj", .dims = {608, 192, 192, 600, BIAS | ADD}, .large = true},
    {.name = "vit_192_fc1", .dims = {608, 768, 192, 600, BIAS | ADD}, .large = true},
    {.name = "vit_192_fc2", .dims = {608, 192, 768, 600, BIAS | ADD}, .large = true},
    {.name = "predictor_96_fc1", .dims = {2048, 384, 96, 2000, BIAS | ADD}, .large = true},
    {.name = "cube_768", .dims = {768, 768, 768}, .large = true},
};
static const op_case tn_gather_cases[] = {
    {.name = "lane", .dims = {70, 29, 37, 61, BIAS | GATHER, LANE}},
    {.name = "tile", .dims = {70, 29, 37, 61, BIAS | GATHER, TILE}},
    {.name = "lane_chunks_add", .dims = {131, 67, 64, 91, BIAS | ADD | GATHER, LANE, 32}},
    {.name = "tile_chunks_add", .dims = {131, 67, 64, 90, BIAS | ADD | GATHER, TILE, 32}},
};
static const op_case gelu_grad_cases[] = {
    {.name = "lane_prime", .dims = {37, 29, 53, 0, 0, LANE}},
    {.name = "tile_prime", .dims = {67, 29, 53, 0, 0, TILE}},
    {.name = "lane_ragged", .dims = {70, 44, 96, 41, 0, LANE}},
    {.name = "tile_ragged", .dims = {134, 44, 68, 71, 0, TILE}},
    {.name = "vit_192_fc2", .dims = {608, 192, 768, 600}, .large = true},
};

/* clang-format off */
/* 16-bit operands. The same cases on every rung K with every element E; Y16: the result has 16 bits too. */
#define E16(K, E) [KERNEL] = K, [ELEMENT] = E
#define Y16 [HALF_RESULT] = 1
#define NT_HALF(K, E) \
    {.name = "one", .dims = {1, 1, 1, E16(K, E), Y16}}, \
    {.name = "prime", .dims = {67, 29, 53, 0, BIAS, E16(K, E), Y16}}, \
    {.name = "prime_f32", .dims = {67, 29, 53, 0, BIAS | RESIDUAL, E16(K, E)}}, \
    {.name = "tail_gelu", .dims = {68, 132, 20, 0, BIAS | GELU, E16(K, E), Y16}}, \
    {.name = "ragged_gelu_pre", .dims = {134, 61, 44, 71, BIAS | GELU | PRE, E16(K, E), Y16}}, \
    {.name = "gelu_pre_f32", .dims = {37, 44, 40, 0, BIAS | GELU | PRE, E16(K, E)}}, \
    {.name = "ragged_residual", .dims = {140, 96, 48, 130, BIAS | RESIDUAL, E16(K, E)}}, \
    {.name = "positions", .dims = {66, 52, 36, 0, BIAS | RESIDUAL, E16(K, E), [PERIOD] = 16}}, \
    {.name = "positions_listed", .dims = {66, 50, 36, 60, BIAS | RESIDUAL | INDEX, E16(K, E), [PERIOD] = 25}}, \
    {.name = "no_rows_left", .dims = {33, 10, 7, 1, BIAS, E16(K, E), Y16}}, \
    {.name = "whole_tiles", .dims = {256, 256, 128, 0, BIAS, E16(K, E), Y16}}
#define NT_HALF_GATHER(K, E) \
    {.name = "gather", .dims = {70, 40, 72, 61, BIAS | GATHER, E16(K, E), Y16}}, \
    {.name = "gather_positions", .dims = {66, 50, 37, 60, BIAS | RESIDUAL | INDEX | GATHER, E16(K, E), [PERIOD] = 25}}
#define NT_HALF_LARGE(E) /* AUTO */ \
    {.name = "vit_192_qkv", .dims = {608, 576, 192, 600, BIAS, [ELEMENT] = E, Y16}, .large = true}, \
    {.name = "vit_192_proj", .dims = {608, 192, 192, 600, BIAS | RESIDUAL, [ELEMENT] = E}, .large = true}, \
    {.name = "vit_192_fc1", .dims = {608, 768, 192, 600, BIAS | GELU | PRE, [ELEMENT] = E, Y16}, .large = true}, \
    {.name = "vit_192_fc2", .dims = {608, 192, 768, 600, BIAS | RESIDUAL, [ELEMENT] = E}, .large = true}, \
    {.name = "predictor_96_fc1", .dims = {2048, 384, 96, 2000, BIAS | GELU | PRE, [ELEMENT] = E, Y16}, .large = true}, \
    {.name = "cube_768", .dims = {768, 768, 768, [ELEMENT] = E, Y16}, .large = true}
#define NN_HALF(K, E) \
    {.name = "one", .dims = {1, 1, 1, E16(K, E), Y16}}, \
    {.name = "prime", .dims = {67, 71, 53, E16(K, E), Y16}}, \
    {.name = "tail_add", .dims = {68, 132, 20, 0, ADD, E16(K, E)}}, \
    {.name = "ragged", .dims = {134, 61, 44, 71, E16(K, E), Y16}}, \
    {.name = "ragged_add", .dims = {70, 44, 93, 41, ADD, E16(K, E)}}, \
    {.name = "whole_tiles", .dims = {256, 128, 256, E16(K, E), Y16}}
#define NN_HALF_LARGE(E) \
    {.name = "vit_192_fc1", .dims = {608, 768, 192, 600, [ELEMENT] = E, Y16}, .large = true}, \
    {.name = "vit_192_fc2", .dims = {608, 192, 768, 600, [ELEMENT] = E, Y16}, .large = true}, \
    {.name = "cube_768", .dims = {768, 768, 768, [ELEMENT] = E, Y16}, .large = true}
#define NN_GELU_HALF(K, E) \
    {.name = "prime", .dims = {67, 29, 53, E16(K, E), Y16}}, \
    {.name = "ragged", .dims = {134, 44, 68, 71, E16(K, E), Y16}}, \
    {.name = "f32", .dims = {37, 29, 52, E16(K, E)}}
#define TN_HALF(K, E) \
    {.name = "one", .dims = {1, 1, 1, 0, BIAS, E16(K, E)}}, \
    {.name = "prime", .dims = {67, 71, 53, 0, BIAS, E16(K, E)}}, \
    {.name = "tail_add", .dims = {68, 132, 20, 0, BIAS | ADD, E16(K, E)}}, \
    {.name = "ragged", .dims = {134, 61, 44, 71, E16(K, E), [CHUNK] = ~0u}}, \
    {.name = "chunks", .dims = {200, 68, 61, 0, BIAS, E16(K, E), [CHUNK] = 64}}, \
    {.name = "chunks_add", .dims = {261, 67, 64, 190, BIAS | ADD, E16(K, E), [CHUNK] = 64}}, \
    {.name = "whole_tiles", .dims = {256, 256, 256, 0, BIAS, E16(K, E), [CHUNK] = 128}}
#define TN_HALF_GATHER(K, E) \
    {.name = "gather", .dims = {70, 29, 37, 61, BIAS | GATHER, E16(K, E)}}, \
    {.name = "gather_chunks_add", .dims = {261, 67, 64, 190, BIAS | ADD | GATHER, E16(K, E), [CHUNK] = 64}}
#define TN_HALF_LARGE(E) \
    {.name = "vit_192_fc1", .dims = {608, 768, 192, 600, BIAS | ADD, [ELEMENT] = E}, .large = true}, \
    {.name = "predictor_96_fc1", .dims = {2048, 384, 96, 2000, BIAS | ADD, [ELEMENT] = E}, .large = true}, \
    {.name = "cube_768", .dims = {768, 768, 768, [ELEMENT] = E}, .large = true}
/* Every tile of a rung, in a size with whole tiles and edges; those that a device has no room for are skipped. */
#define VARIANT_CASE(K, E, EXTRA, NAME, V) {.name = NAME, .dims = {296, 272, 104, 290, EXTRA, E16(K, E), [VARIANT] = V}}
#define VARIANTS_3(K, E, X) \
    VARIANT_CASE(K, E, X, "variant_0", 1), VARIANT_CASE(K, E, X, "variant_1", 2), VARIANT_CASE(K, E, X, "variant_2", 3)
#define VARIANTS_4(K, E, X) VARIANTS_3(K, E, X), VARIANT_CASE(K, E, X, "variant_3", 4)
#define VARIANTS_10(K, E, X) \
    VARIANTS_4(K, E, X), VARIANT_CASE(K, E, X, "variant_4", 5), VARIANT_CASE(K, E, X, "variant_5", 6), \
        VARIANT_CASE(K, E, X, "variant_6", 7), VARIANT_CASE(K, E, X, "variant_7", 8), VARIANT_CASE(K, E, X, "variant_8", 9), \
        VARIANT_CASE(K, E, X, "variant_9", 10)
/* clang-format on */

static const op_case nt_tile_f16[] = {NT_HALF(TILE, OP_F16), NT_HALF_GATHER(TILE, OP_F16), VARIANTS_3(TILE, OP_F16, BIAS),
                                      NT_HALF_LARGE(OP_F16)};
static const op_case nn_tile_f16[] = {NN_HALF(TILE, OP_F16), VARIANTS_3(TILE, OP_F16, 0), NN_HALF_LARGE(OP_F16)};
static const op_case nn_gelu_tile_f16[] = {NN_GELU_HALF(TILE, OP_F16)};
static const op_case tn_tile_f16[] = {TN_HALF(TILE, OP_F16), TN_HALF_GATHER(TILE, OP_F16), VARIANTS_3(TILE, OP_F16, BIAS),
                                      TN_HALF_LARGE(OP_F16)};
static const op_case nt_tile_bf16[] = {NT_HALF(TILE, OP_BF16), NT_HALF_GATHER(TILE, OP_BF16), VARIANTS_3(TILE, OP_BF16, BIAS),
                                       NT_HALF_LARGE(OP_BF16)};
static const op_case nn_tile_bf16[] = {NN_HALF(TILE, OP_BF16), VARIANTS_3(TILE, OP_BF16, 0), NN_HALF_LARGE(OP_BF16)};
static const op_case nn_gelu_tile_bf16[] = {NN_GELU_HALF(TILE, OP_BF16)};
static const op_case tn_tile_bf16[] = {TN_HALF(TILE, OP_BF16), TN_HALF_GATHER(TILE, OP_BF16), VARIANTS_3(TILE, OP_BF16, BIAS),
                                       TN_HALF_LARGE(OP_BF16)};
static const op_case nt_coopmat_f16[] = {NT_HALF(COOPMAT, OP_F16), NT_HALF_GATHER(COOPMAT, OP_F16),
                                         VARIANTS_10(COOPMAT, OP_F16, BIAS | GELU | PRE)};
static const op_case nn_coopmat_f16[] = {NN_HALF(COOPMAT, OP_F16), VARIANTS_10(COOPMAT, OP_F16, 0)};
static const op_case nn_gelu_coopmat_f16[] = {NN_GELU_HALF(COOPMAT, OP_F16), VARIANTS_10(COOPMAT, OP_F16, 0)};
static const op_case tn_coopmat_f16[] = {TN_HALF(COOPMAT, OP_F16), TN_HALF_GATHER(COOPMAT, OP_F16), VARIANTS_10(COOPMAT, OP_F16, BIAS)};
static const op_case nt_coopmat_bf16[] = {NT_HALF(COOPMAT, OP_BF16), NT_HALF_GATHER(COOPMAT, OP_BF16),
                                          VARIANTS_10(COOPMAT, OP_BF16, BIAS | GELU | PRE)};
static const op_case nn_coopmat_bf16[] = {NN_HALF(COOPMAT, OP_BF16), VARIANTS_10(COOPMAT, OP_BF16, 0)};
static const op_case nn_gelu_coopmat_bf16[] = {NN_GELU_HALF(COOPMAT, OP_BF16), VARIANTS_10(COOPMAT, OP_BF16, 0)};
static const op_case tn_coopmat_bf16[] = {TN_HALF(COOPMAT, OP_BF16), TN_HALF_GATHER(COOPMAT, OP_BF16), VARIANTS_10(COOPMAT, OP_BF16, BIAS)};
static const op_case nt_coopmat2_f16[] = {NT_HALF(COOPMAT2, OP_F16), VARIANTS_4(COOPMAT2, OP_F16, BIAS)};
static const op_case nn_coopmat2_f16[] = {NN_HALF(COOPMAT2, OP_F16), VARIANTS_4(COOPMAT2, OP_F16, 0)};
static const op_case nn_gelu_coopmat2_f16[] = {NN_GELU_HALF(COOPMAT2, OP_F16)};
static const op_case tn_coopmat2_f16[] = {TN_HALF(COOPMAT2, OP_F16), VARIANTS_4(COOPMAT2, OP_F16, BIAS)};
static const op_case nt_coopmat2_bf16[] = {NT_HALF(COOPMAT2, OP_BF16), VARIANTS_4(COOPMAT2, OP_BF16, BIAS)};
static const op_case nn_coopmat2_bf16[] = {NN_HALF(COOPMAT2, OP_BF16), VARIANTS_4(COOPMAT2, OP_BF16, 0)};
static const op_case nn_gelu_coopmat2_bf16[] = {NN_GELU_HALF(COOPMAT2, OP_BF16)};
static const op_case tn_coopmat2_bf16[] = {TN_HALF(COOPMAT2, OP_BF16), VARIANTS_4(COOPMAT2, OP_BF16, BIAS)};

static bool has(const op_case *c, int bit) { return (c->dims[EXTRAS] & bit) != 0; }
static int64_t true_rows(const op_case *c) { return c->dims[TRUE_ROWS] ? c->dims[TRUE_ROWS] : c->dims[ROWS]; }
static op_dtype operand(const op_case *c) { return (op_dtype)c->dims[ELEMENT]; }
static op_dtype result(const op_case *c) { return c->dims[HALF_RESULT] ? operand(c) : OP_F32; }
static int64_t source_rows(const op_case *c) { return has(c, GATHER) ? c->dims[ROWS] + 5 : c->dims[ROWS]; } /* of x */
static int64_t source_row(const op_case *c, int64_t row) { return has(c, GATHER) ? (7 * row + 3) % source_rows(c) : row; }

static op_matmul_desc desc_of(const op_case *c, op_matmul_form form, gpu_tensor offsets) {
    op_matmul_desc desc = {.form = form,
                           .rows = {.at = 1, .max = (uint32_t)c->dims[ROWS]},
                           .kernel = (op_matmul_kernel)c->dims[KERNEL],
                           .variant = (uint32_t)c->dims[VARIANT],
                           .chunk = (uint32_t)c->dims[CHUNK]};
    if (c->dims[TRUE_ROWS]) desc.rows.offsets = offsets;
    return desc;
}

/* Whether the device has the rung, and room for the tile. */
static bool runs(const gpu_device *device, const op_case *c, op_matmul_form form) {
    op_matmul_kernel kernel = (op_matmul_kernel)c->dims[KERNEL];
    op_matmul_desc desc = {.form = form, .a = {.element = op_element(operand(c))}};
    matmul_choice choice = {kernel, (uint32_t)c->dims[VARIANT] - 1};
    if (kernel == OP_MATMUL_AUTO) return true;
    return c->dims[VARIANT] ? matmul_choice_runs(device, &desc, choice) : matmul_rung_runs(device, kernel, desc.a.element);
}
static bool nt_runs(const gpu_device *device, const op_case *c) { return runs(device, c, OP_MATMUL_NT); }
static bool nn_runs(const gpu_device *device, const op_case *c) { return runs(device, c, OP_MATMUL_NN); }
static bool tn_runs(const gpu_device *device, const op_case *c) { return runs(device, c, OP_MATMUL_TN); }

static op_arg offsets_arg(void) { return (op_arg){"offsets", OP_IN, OP_U32, 2, 1, 0}; }
static op_arg matrix(const char *name, op_role role, op_dtype dtype, int64_t rows, int64_t columns, double tolerance) {
    return (op_arg){name, role, dtype, rows * columns, 1, tolerance, columns};
}

/* GELU adds its own error, at most that of eltwise's gelu, to the sum's. Products of 16-bit numbers are exact in f32. */
static double tolerance(int64_t terms, bool gelu) { return op_tolerance(terms) + (gelu ? 0x1p-24 * 32 : 0); }

/* NaN where there are no rows, of the `rows` x `columns` there is room for; row r is at source_row(r) in x. */
static void spoil(const op_case *c, double *values, int64_t columns, bool is_x) {
    int64_t rows = is_x ? source_rows(c) : c->dims[ROWS];
    for (int64_t s = 0; s < rows; s++) {
        bool used = false;
        for (int64_t r = 0; r < true_rows(c) && !used; r++) used = (is_x ? source_row(c, r) : r) == s;
        for (int64_t i = 0; i < columns && !used; i++) values[s * columns + i] = (double)NAN;
    }
}
static void set_lists(const op_case *c, uint32_t *offsets, uint32_t *gather, uint32_t *index) {
    offsets[0] = 0, offsets[1] = (uint32_t)true_rows(c);
    for (int64_t r = 0; r < c->dims[ROWS]; r++) {
        if (has(c, GATHER)) gather[r] = (uint32_t)source_row(c, r);
        if (index && has(c, INDEX)) index[r] = (uint32_t)(11 * r + 2);
    }
}

/* The reference wants x without holes: row r at r. */
static void gathered(const op_case *c, const double *x, double *rows) {
    int64_t in = c->dims[IN];
    for (int64_t r = 0; r < true_rows(c); r++) memcpy(rows + r * in, x + source_row(c, r) * in, (size_t)in * sizeof *rows);
}

/* matmul_nt: offsets, x, w, bias, residual, y, pre, gather, index; what a case has not is one element that nobody touches. */
static int nt_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[ROWS], out = c->dims[OUT], in = c->dims[IN];
    double bound = tolerance(in, has(c, GELU));
    args[0] = offsets_arg();
    args[1] = matrix("x", OP_IN, operand(c), source_rows(c), in, 0);
    args[2] = matrix("w", OP_IN, operand(c), out, in, 0);
    args[3] = (op_arg){"bias", OP_IN, OP_F32, out, 1, 0};
    args[4] = (op_arg){"residual", OP_IN, OP_F32, has(c, RESIDUAL) ? (c->dims[PERIOD] ? c->dims[PERIOD] : rows) * out : 1, 1, 0};
    args[5] = matrix("y", OP_OUT, result(c), rows, out, bound);
    args[6] = has(c, PRE) ? matrix("pre", OP_OUT, operand(c), rows, out, bound) : (op_arg){"pre", OP_OUT, OP_F32, 1, 1, bound};
    args[7] = (op_arg){"gather", OP_IN, OP_U32, has(c, GATHER) ? rows : 1, 1, 0};
    args[8] = (op_arg){"index", OP_IN, OP_U32, has(c, INDEX) ? rows : 1, 1, 0};
    return 9;
}
static ij_status nt_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_matmul_desc desc = desc_of(c, OP_MATMUL_NT, t[0]);
    desc.n = (uint32_t)c->dims[OUT], desc.k = (uint32_t)c->dims[IN];
    desc.a = t[1], desc.b = t[2], desc.c = t[5];
    desc.gelu = has(c, GELU);
    if (has(c, BIAS)) desc.bias = t[3];
    if (has(c, RESIDUAL)) desc.residual = t[4], desc.residual_period = (uint32_t)c->dims[PERIOD];
    if (has(c, PRE)) desc.pre = t[6];
    if (has(c, GATHER)) desc.gather = t[7];
    if (has(c, INDEX)) desc.residual_index = t[8];
    return op_matmul(program, &desc, err);
}
static void nt_prepare(const op_case *c, void *const *h) {
    set_lists(c, h[0], h[7], h[8]);
    spoil(c, h[1], c->dims[IN], true);
}
static void nt_ref(const op_case *c, void *const *h) {
    int64_t out = c->dims[OUT], rows = true_rows(c), period = c->dims[PERIOD];
    double *y = h[5], *bias = h[3], *residual = h[4], *x = h[1];
    const uint32_t *index = h[8];
    double *packed = has(c, GATHER) ? malloc((size_t)(rows * c->dims[IN]) * sizeof *packed) : NULL;
    if (packed) gathered(c, x, packed);
    ref_matmul(OP_MATMUL_NT, rows, out, c->dims[IN], packed ? packed : x, h[2], y, false);
    free(packed);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < out; i++) {
            int64_t added = period ? (has(c, INDEX) ? (int64_t)index[row] : row) % period : row;
            y[row * out + i] += (has(c, BIAS) ? bias[i] : 0) + (has(c, RESIDUAL) ? residual[added * out + i] : 0);
        }
    if (has(c, PRE)) memcpy(h[6], y, (size_t)(rows * out) * sizeof *y);
    if (has(c, GELU)) ref_gelu(y, y, rows * out);
}

/* matmul_nn: offsets, dy, w, dx. */
static int nn_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[ROWS], out = c->dims[OUT], in = c->dims[IN];
    args[0] = offsets_arg();
    args[1] = matrix("dy", OP_IN, operand(c), rows, out, 0);
    args[2] = matrix("w", OP_IN, operand(c), out, in, 0);
    args[3] = matrix("dx", has(c, ADD) ? OP_INOUT : OP_OUT, result(c), rows, in, tolerance(out, false));
    return 4;
}
static ij_status nn_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_matmul_desc desc = desc_of(c, OP_MATMUL_NN, t[0]);
    desc.n = (uint32_t)c->dims[IN], desc.k = (uint32_t)c->dims[OUT];
    desc.a = t[1], desc.b = t[2], desc.c = t[3];
    desc.accumulate = has(c, ADD);
    return op_matmul(program, &desc, err);
}
static void nn_prepare(const op_case *c, void *const *h) {
    set_lists(c, h[0], NULL, NULL);
    spoil(c, h[1], c->dims[OUT], false);
}
static void nn_ref(const op_case *c, void *const *h) {
    ref_matmul(OP_MATMUL_NN, true_rows(c), c->dims[IN], c->dims[OUT], h[1], h[2], h[3], has(c, ADD));
}

/* matmul_nn_gelu: offsets, dy, w, pre, dpre: the gradient of gelu(pre) W^T. */
static int nn_gelu_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[ROWS], out = c->dims[OUT], in = c->dims[IN];
    args[0] = offsets_arg();
    args[1] = matrix("dy", OP_IN, operand(c), rows, out, 0);
    args[2] = matrix("w", OP_IN, operand(c), out, in, 0);
    args[3] = matrix("pre", OP_IN, operand(c), rows, in, 0);
    args[3].scale = 1.5;
    args[4] = matrix("dpre", OP_OUT, result(c), rows, in, tolerance(out, true));
    return 5;
}
static ij_status nn_gelu_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_matmul_desc desc = desc_of(c, OP_MATMUL_NN, t[0]);
    desc.n = (uint32_t)c->dims[IN], desc.k = (uint32_t)c->dims[OUT];
    desc.a = t[1], desc.b = t[2], desc.gelu_grad_of = t[3], desc.c = t[4];
    return op_matmul(program, &desc, err);
}
static void nn_gelu_ref(const op_case *c, void *const *h) {
    ref_matmul(OP_MATMUL_NN, true_rows(c), c->dims[IN], c->dims[OUT], h[1], h[2], h[4], false);
    ref_gelu_bwd(h[3], h[4], h[4], true_rows(c) * c->dims[IN]);
}

/* matmul_tn: offsets, dy, x, dw, dbias, scratch, gather. */
static int tn_args(const op_case *c, op_arg *args) {
    int64_t rows = c->dims[ROWS], out = c->dims[OUT], in = c->dims[IN];
    int64_t chunk = c->dims[CHUNK] ? c->dims[CHUNK] : MATMUL_CHUNK_UNIT, parts = (rows + chunk - 1) / chunk;
    op_role role = has(c, ADD) ? OP_INOUT : OP_OUT;
    double bound = tolerance(true_rows(c), false);
    args[0] = offsets_arg();
    args[1] = matrix("dy", OP_IN, operand(c), rows, out, 0);
    args[2] = matrix("x", OP_IN, operand(c), source_rows(c), in, 0);
    args[3] = matrix("dw", role, OP_F32, out, in, bound);
    args[4] = (op_arg){"dbias", role, OP_F32, out, 1, bound};
    args[5] = (op_arg){"scratch", OP_SCRATCH, OP_F32, parts > 1 ? parts * MATMUL_PART(out, in, out) : 1, 1, 0};
    args[6] = (op_arg){"gather", OP_IN, OP_U32, has(c, GATHER) ? rows : 1, 1, 0};
    return 7;
}
static ij_status tn_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    op_matmul_desc desc = desc_of(c, OP_MATMUL_TN, t[0]);
    desc.m = (uint32_t)c->dims[OUT], desc.n = (uint32_t)c->dims[IN];
    desc.a = t[1], desc.b = t[2], desc.c = t[3], desc.scratch = t[5];
    desc.accumulate = has(c, ADD);
    if (has(c, BIAS)) desc.bias_grad = t[4];
    if (has(c, GATHER)) desc.gather = t[6];
    return op_matmul(program, &desc, err);
}
static void tn_prepare(const op_case *c, void *const *h) {
    set_lists(c, h[0], h[6], NULL);
    spoil(c, h[1], c->dims[OUT], false);
    spoil(c, h[2], c->dims[IN], true);
}
static void tn_ref(const op_case *c, void *const *h) {
    int64_t out = c->dims[OUT], rows = true_rows(c);
    const double *dy = h[1];
    double *dbias = h[4], *packed = has(c, GATHER) ? malloc((size_t)(rows * c->dims[IN]) * sizeof *packed) : NULL;
    if (packed) gathered(c, h[2], packed);
    ref_matmul(OP_MATMUL_TN, out, c->dims[IN], rows, dy, packed ? packed : h[2], h[3], has(c, ADD));
    free(packed);
    for (int64_t i = 0; i < out && has(c, BIAS); i++) {
        double sum = has(c, ADD) ? dbias[i] : 0;
        for (int64_t row = 0; row < rows; row++) sum += dy[row * out + i];
        dbias[i] = sum;
    }
}

static void any_cost(const op_case *c, double *flops, double *bytes) {
    double rows = (double)true_rows(c), out = (double)c->dims[OUT], in = (double)c->dims[IN];
    *flops = 2 * rows * out * in;
    *bytes = (operand(c) == OP_F32 ? 4 : 2) * (rows * in + out * in + rows * out);
}

#define NT_OP(NAME, CASES) {NAME, NULL, CASES, IJ_COUNT(CASES), nt_args, nt_prepare, nt_record, nt_ref, any_cost, nt_runs}
#define NN_OP(NAME, GRAD_OF, CASES) {NAME, GRAD_OF, CASES, IJ_COUNT(CASES), nn_args, nn_prepare, nn_record, nn_ref, any_cost, nn_runs}
#define NN_GELU_OP(NAME, CASES)                                                                                                            \
    {NAME, NULL, CASES, IJ_COUNT(CASES), nn_gelu_args, nn_prepare, nn_gelu_record, nn_gelu_ref, any_cost, nn_runs}
#define TN_OP(NAME, GRAD_OF, CASES) {NAME, GRAD_OF, CASES, IJ_COUNT(CASES), tn_args, tn_prepare, tn_record, tn_ref, any_cost, tn_runs}
static const op_desc ops[] = {
    NT_OP("matmul_nt", nt_cases),
    NN_OP("matmul_nn", "matmul_nt", grad_cases),
    NN_GELU_OP("matmul_nn_gelu", gelu_grad_cases),
    TN_OP("matmul_tn", "matmul_nt", grad_cases),
    TN_OP("matmul_tn_gather", "matmul_nt", tn_gather_cases),
    NT_OP("matmul_nt_f16", nt_tile_f16),
    NN_OP("matmul_nn_f16", NULL, nn_tile_f16),
    NN_GELU_OP("matmul_nn_gelu_f16", nn_gelu_tile_f16),
    TN_OP("matmul_tn_f16", NULL, tn_tile_f16),
    NT_OP("matmul_nt_bf16", nt_tile_bf16),
    NN_OP("matmul_nn_bf16", NULL, nn_tile_bf16),
    NN_GELU_OP("matmul_nn_gelu_bf16", nn_gelu_tile_bf16),
    TN_OP("matmul_tn_bf16", NULL, tn_tile_bf16),
    NT_OP("matmul_nt_coopmat_f16", nt_coopmat_f16),
    NN_OP("matmul_nn_coopmat_f16", NULL, nn_coopmat_f16),
    NN_GELU_OP("matmul_nn_gelu_coopmat_f16", nn_gelu_coopmat_f16),
    TN_OP("matmul_tn_coopmat_f16", NULL, tn_coopmat_f16),
    NT_OP("matmul_nt_coopmat_bf16", nt_coopmat_bf16),
    NN_OP("matmul_nn_coopmat_bf16", NULL, nn_coopmat_bf16),
    NN_GELU_OP("matmul_nn_gelu_coopmat_bf16", nn_gelu_coopmat_bf16),
    TN_OP("matmul_tn_coopmat_bf16", NULL, tn_coopmat_bf16),
    NT_OP("matmul_nt_coopmat2_f16", nt_coopmat2_f16),
    NN_OP("matmul_nn_coopmat2_f16", NULL, nn_coopmat2_f16),
    NN_GELU_OP("matmul_nn_gelu_coopmat2_f16", nn_gelu_coopmat2_f16),
    TN_OP("matmul_tn_coopmat2_f16", NULL, tn_coopmat2_f16),
    NT_OP("matmul_nt_coopmat2_bf16", nt_coopmat2_bf16),
    NN_OP("matmul_nn_coopmat2_bf16", NULL, nn_coopmat2_bf16),
    NN_GELU_OP("matmul_nn_gelu_coopmat2_bf16", nn_gelu_coopmat2_bf16),
    TN_OP("matmul_tn_coopmat2_bf16", NULL, tn_coopmat2_bf16),
};
const op_family op_family_matmul = {"matmul", ops, IJ_COUNT(ops)};
