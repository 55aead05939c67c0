/* The masks family as data: what tests and benchmarks run.        layer: ops; uses: gpu
 *
 * Sampling cases, dims: [0] mode, [1] batch, [2] grid height, [3] width, [4] blocks (0: the mode's), [5] allow_overlap, [6] step;
 * reals: [0] context_keep. Predictor cases add [7] dim, [8] accumulate, [9] op_dtype of what the op can have in 16 bits. */
#include "ops/masks.h"

static masks_config config_of(const op_case *c) {
    masks_config config = {.mode = (masks_mode)c->dims[0],
                           .grid_h = (int)c->dims[2],
                           .grid_w = (int)c->dims[3],
                           .blocks = (int)c->dims[4],
                           .allow_overlap = (int)c->dims[5],
                           .context_keep = c->reals[0]};
    masks_defaults(&config);
    return config;
}

/* Sample numbers of a batch: scattered, not in order, one of them twice. */
static void fill_sample_ids(uint32_t *ids, int64_t batch) {
    for (int64_t i = 0; i < batch; i++) ids[i] = (uint32_t)(i == batch - 1 ? 5 : i * 7919 + 5);
}

static const struct masks_params params_seed = {0x12345678u, 0x9abcdef0u, 3, 0};

/* ---- sample ---- */

static const op_case sample_cases[] = {
    {.name = "multiblock_14", .dims = {MASKS_MULTIBLOCK, 9, 14, 14}},
    {.name = "multiblock_budget", .dims = {MASKS_MULTIBLOCK, 37, 12, 17}, .reals = {0.25}},
    {.name = "multiblock_overlap", .dims = {MASKS_MULTIBLOCK, 5, 7, 5, 3, 1}},
    {.name = "multiblock_2x2", .dims = {MASKS_MULTIBLOCK, 130, 2, 2}},
    {.name = "multiblock_one_image", .dims = {MASKS_MULTIBLOCK, 1, 8, 8, 1}},
    {.name = "official_16", .dims = {MASKS_OFFICIAL, 32, 16, 16, 0, 0, 11}},
    {.name = "official_6", .dims = {MASKS_OFFICIAL, 19, 6, 6, 0, 0, 2}},
    {.name = "official_overlap", .dims = {MASKS_OFFICIAL, 3, 5, 9, 2, 1}},
    {.name = "random_8", .dims = {MASKS_RANDOM, 11, 8, 8}},
    {.name = "random_budget", .dims = {MASKS_RANDOM, 2, 3, 41}, .reals = {0.2}},
    {.name = "block_13x9", .dims = {MASKS_BLOCK, 7, 13, 9}},
    {.name = "rasterized_7", .dims = {MASKS_RASTERIZED, 7, 7, 7}},
    {.name = "grid_64", .dims = {MASKS_MULTIBLOCK, 3, 64, 64}, .reals = {0.3}, .large = true},
    {.name = "vit_h", .dims = {MASKS_MULTIBLOCK, 128, 16, 16}, .large = true},
};

static int list_args(const op_case *c, op_arg *args) {
    masks_config config = config_of(c);
    masks_limits limits = masks_capacity(&config, c->dims[1]);
    int64_t sequences = c->dims[1] * config.blocks + 1;
    args[0] = (op_arg){"ctx_offsets", OP_OUT, OP_U32, c->dims[1] + 1, 0, 0};
    args[1] = (op_arg){"ctx_rows", OP_OUT, OP_U32, limits.context_rows, 0, 0};
    args[2] = (op_arg){"tgt_offsets", OP_OUT, OP_U32, sequences, 0, 0};
    args[3] = (op_arg){"tgt_rows", OP_OUT, OP_U32, limits.target_rows, 0, 0};
    args[4] = (op_arg){"pred_offsets", OP_OUT, OP_U32, sequences, 0, 0};
    args[5] = (op_arg){"pred_src", OP_OUT, OP_U32, limits.pred_rows, 0, 0};
    return 6;
}

static int sample_args(const op_case *c, op_arg *args) {
    masks_config config = config_of(c);
    args[0] = (op_arg){"params", OP_IN, OP_U32, 4, 0, 0};
    args[1] = (op_arg){"sample_ids", OP_IN, OP_U32, c->dims[1], 0, 0};
    args[2] = (op_arg){"table", OP_IN, OP_U32, MASKS_TABLE_WORDS, 0, 0};
    args[3] = (op_arg){"scratch", OP_SCRATCH, OP_U32, masks_scratch_words(&config, c->dims[1]), 0, 0};
    return 4 + list_args(c, args + 4);
}

static void sample_prepare(const op_case *c, void *const *h) {
    masks_config config = config_of(c);
    struct masks_params *params = h[0];
    *params = params_seed;
    params->step = (uint32_t)c->dims[6];
    fill_sample_ids(h[1], c->dims[1]);
    masks_table(&config, h[2]);
}

static masks_tensors tensors_of(const gpu_tensor *lists) {
    return (masks_tensors){.ctx_offsets = lists[0],
                           .ctx_rows = lists[1],
                           .tgt_offsets = lists[2],
                           .tgt_rows = lists[3],
                           .pred_offsets = lists[4],
                           .pred_src = lists[5]};
}

static masks_lists lists_of(void *const *h) { return (masks_lists){h[0], h[1], h[2], h[3], h[4], h[5]}; }

static ij_status sample_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    masks_config config = config_of(c);
    masks_tensors tensors = tensors_of(t + 4);
    tensors.params = t[0], tensors.sample_ids = t[1], tensors.table = t[2], tensors.scratch = t[3];
    return op_masks_sample(program, &config, c->dims[1], &tensors, err);
}

static void sample_ref(const op_case *c, void *const *h) {
    masks_config config = config_of(c);
    masks_lists lists = lists_of(h + 4);
    ref_masks_sample(&config, h[2], h[0], h[1], c->dims[1], &lists, NULL); /* on failure the lists stay poisoned: a mismatch */
}

static void sample_cost(const op_case *c, double *flops, double *bytes) {
    masks_config config = config_of(c);
    masks_limits limits = masks_capacity(&config, c->dims[1]);
    *flops = 0;
    *bytes = 4.0 * (double)(limits.context_rows + limits.target_rows + limits.pred_rows + 2 * masks_scratch_words(&config, c->dims[1]));
}

/* ---- lists from given masks: all bytes of the host reference, packed into bits ---- */

static const op_case lists_cases[] = {
    {.name = "multiblock_14", .dims = {MASKS_MULTIBLOCK, 9, 14, 14}},
    {.name = "rasterized_5x3", .dims = {MASKS_RASTERIZED, 4, 5, 3}},
    {.name = "one_image", .dims = {MASKS_RANDOM, 1, 8, 4}},
};

static int lists_args(const op_case *c, op_arg *args) {
    masks_config config = config_of(c);
    args[0] = (op_arg){"bits", OP_IN, OP_U32, masks_scratch_words(&config, c->dims[1]), 0, 0};
    return 1 + list_args(c, args + 1);
}

#define IMAGE_BYTES (MASKS_PATCHES_MAX / 4) /* of the masks in these cases */

static void lists_prepare(const op_case *c, void *const *h) {
    masks_config config = config_of(c);
    uint32_t table[MASKS_TABLE_WORDS], *bits = h[0];
    uint8_t masks[IMAGE_BYTES * (1 + MASKS_BLOCKS_MAX)];
    int64_t patches = c->dims[2] * c->dims[3], words = (patches + 31) / 32;
    masks_table(&config, table);
    for (int64_t i = 0; i < c->dims[1]; i++) {
        ref_masks_image(&config, table, &params_seed, (uint32_t)i, masks, masks + patches);
        for (int64_t m = 0; m <= config.blocks; m++)
            for (int64_t w = 0; w < words; w++) {
                uint32_t word = 0;
                for (int64_t p = 32 * w; p < patches && p < 32 * w + 32; p++) word |= (uint32_t)masks[m * patches + p] << (p % 32);
                bits[(i * (1 + config.blocks) + m) * words + w] = word;
            }
    }
}

static ij_status lists_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    masks_config config = config_of(c);
    masks_tensors tensors = tensors_of(t + 1);
    return op_masks_lists(program, &config, c->dims[1], t[0], &tensors, err);
}

static void lists_ref(const op_case *c, void *const *h) {
    masks_config config = config_of(c);
    int64_t patches = c->dims[2] * c->dims[3], words = (patches + 31) / 32, blocks = config.blocks;
    static const int64_t batch_most = 16;
    uint8_t context[16 * IMAGE_BYTES], targets[16 * 4 * IMAGE_BYTES];
    const uint32_t *bits = h[0];
    for (int64_t i = 0; i < c->dims[1] && i < batch_most; i++)
        for (int64_t m = 0; m <= blocks; m++)
            for (int64_t p = 0; p < patches; p++) {
                uint8_t value = bits[(i * (1 + blocks) + m) * words + p / 32] >> (p % 32) & 1;
                if (m == 0)
                    context[i * patches + p] = value;
                else
                    targets[(i * blocks + m - 1) * patches + p] = value;
            }
    masks_lists lists = lists_of(h + 1);
    ref_masks_lists(&config, context, targets, c->dims[1], false, &lists);
}

/* ---- positions, dims: [0] rows, [1] capacity, [2] dim, [3] patches, [4] indexed ---- */

static const op_case positions_cases[] = {
    {.name = "plain_prime", .dims = {13, 17, 7, 5, 0}},
    {.name = "indexed_prime", .dims = {13, 17, 7, 5, 1}},
    {.name = "one", .dims = {1, 1, 1, 1, 1}},
    {.name = "vec4", .dims = {64, 80, 36, 16, 0}},
    {.name = "indexed_vec4", .dims = {33, 64, 192, 49, 1}},
    {.name = "vit_s", .dims = {12544, 12544, 384, 196, 0}, .large = true},
};

static void fill_offsets_rows(const op_case *c, uint32_t *offsets, uint32_t *rows, int64_t below) {
    offsets[0] = 0xffffffffu;
    offsets[1] = (uint32_t)c->dims[0];
    for (int64_t r = 0; r < c->dims[1]; r++) rows[r] = (uint32_t)(r * 7919 % below);
}

static int positions_args(const op_case *c, op_arg *args) {
    args[0] = (op_arg){"pos", OP_IN, OP_F32, c->dims[3] * c->dims[2], 1, 0};
    args[1] = (op_arg){"rows", OP_IN, OP_U32, c->dims[1], 0, 0};
    args[2] = (op_arg){"offsets", OP_IN, OP_U32, 2, 0, 0};
    args[3] = (op_arg){"x", OP_INOUT, OP_F32, c->dims[1] * c->dims[2], 1, op_tolerance(1)};
    return 4;
}
static void positions_prepare(const op_case *c, void *const *h) { fill_offsets_rows(c, h[2], h[1], 100 * c->dims[3]); }
static ij_status positions_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    gpu_tensor none = {0};
    return op_add_positions(program, t[3], t[0], c->dims[4] ? t[1] : none, (ij_rows){t[2], 1, (uint32_t)c->dims[1]}, c->dims[2], c->dims[3],
                            err);
}
static void positions_ref(const op_case *c, void *const *h) {
    ref_add_positions(h[3], h[0], c->dims[4] ? h[1] : NULL, c->dims[0], c->dims[2], c->dims[3]);
}
static void positions_cost(const op_case *c, double *flops, double *bytes) {
    *flops = (double)(c->dims[0] * c->dims[2]), *bytes = 12.0 * (double)(c->dims[0] * c->dims[2]);
}

/* ---- the predictor's rows: lists are sampled by the reference ---- */

static const op_case predictor_cases[] = {
    {.name = "multiblock_prime", .dims = {MASKS_MULTIBLOCK, 3, 7, 6, 0, 0, 0, 13, 0}},
    {.name = "multiblock_vec4_add", .dims = {MASKS_MULTIBLOCK, 5, 8, 8, 3, 0, 0, 24, 1}},
    {.name = "rasterized_one_dim", .dims = {MASKS_RASTERIZED, 2, 4, 4, 0, 0, 0, 1, 1}},
    {.name = "random_one_image", .dims = {MASKS_RANDOM, 1, 9, 9, 0, 0, 0, 260, 0}},
    {.name = "vit_s", .dims = {MASKS_MULTIBLOCK, 32, 14, 14, 0, 0, 0, 384, 1}, .large = true},
    /* The rest has 16-bit tensors, of which predictor_input has none. */
    {.name = "f16_prime", .dims = {MASKS_MULTIBLOCK, 3, 7, 6, 0, 0, 0, 13, 0, OP_F16}},
    {.name = "f16_vec4_add", .dims = {MASKS_MULTIBLOCK, 5, 8, 8, 3, 0, 0, 28, 1, OP_F16}},
    {.name = "f16_even", .dims = {MASKS_RANDOM, 2, 5, 4, 0, 0, 0, 134, 0, OP_F16}},
    {.name = "bf16_one_dim", .dims = {MASKS_RASTERIZED, 2, 4, 4, 0, 0, 0, 1, 1, OP_BF16}},
    {.name = "bf16_one_image", .dims = {MASKS_RANDOM, 1, 9, 9, 0, 0, 0, 264, 0, OP_BF16}},
    {.name = "vit_s_f16", .dims = {MASKS_MULTIBLOCK, 32, 14, 14, 0, 0, 0, 384, 1, OP_F16}, .large = true},
};
static op_dtype predictor_dtype(const op_case *c) { return (op_dtype)c->dims[9]; }

enum { LIST_ARGS = 6, PREDICTOR_CASES_F32 = 5 };

/* The lists as inputs, in the order of list_args. */
static int predictor_lists(const op_case *c, op_arg *args) {
    list_args(c, args);
    for (int i = 0; i < LIST_ARGS; i++) args[i].role = OP_IN;
    return LIST_ARGS;
}

static void predictor_prepare(const op_case *c, void *const *h) {
    masks_config config = config_of(c);
    masks_limits limits = masks_capacity(&config, c->dims[1]);
    uint32_t table[MASKS_TABLE_WORDS], ids[64];
    masks_table(&config, table);
    fill_sample_ids(ids, c->dims[1]);
    masks_lists lists = lists_of(h); /* rows beyond the count are never looked up; poison shows it */
    for (int64_t i = 0; i < limits.context_rows; i++) lists.ctx_rows[i] = 0x7ffffff0u;
    for (int64_t i = 0; i < limits.target_rows; i++) lists.tgt_rows[i] = 0x7ffffff0u;
    for (int64_t i = 0; i < limits.pred_rows; i++) lists.pred_src[i] = 0x7ffffff0u;
    ref_masks_sample(&config, table, &params_seed, ids, c->dims[1], &lists, NULL);
}

static pred_lists device_lists(const op_case *c, const gpu_tensor *t) {
    masks_config config = config_of(c);
    masks_limits limits = masks_capacity(&config, c->dims[1]);
    return (pred_lists){t[0],
                        t[1],
                        t[3],
                        t[4],
                        t[5],
                        c->dims[1],
                        config.blocks,
                        c->dims[2] * c->dims[3],
                        limits.context_rows,
                        limits.target_rows,
                        limits.pred_rows};
}

static ref_lists host_lists(const op_case *c, void *const *h) {
    return (ref_lists){h[0], h[1], h[3], h[4], h[5], c->dims[1], config_of(c).blocks, c->dims[2] * c->dims[3]};
}

static int64_t elements(const op_case *c, char which) {
    masks_config config = config_of(c);
    masks_limits limits = masks_capacity(&config, c->dims[1]);
    int64_t rows = which == 'c' ? limits.context_rows : which == 't' ? limits.target_rows : limits.pred_rows;
    return rows * c->dims[7];
}

static int input_args(const op_case *c, op_arg *args) {
    int n = predictor_lists(c, args);
    args[n++] = (op_arg){"embed", OP_IN, OP_F32, elements(c, 'c'), 1, 0};
    args[n++] = (op_arg){"mask_token", OP_IN, OP_F32, c->dims[7], 1, 0};
    args[n++] = (op_arg){"pos", OP_IN, OP_F32, c->dims[2] * c->dims[3] * c->dims[7], 1, 0};
    args[n++] = (op_arg){"out", OP_OUT, OP_F32, elements(c, 'p'), 0, op_tolerance(1)};
    return n;
}
static ij_status input_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    pred_lists lists = device_lists(c, t);
    return op_predictor_input(program, &lists, t[6], t[7], t[8], t[9], c->dims[7], err);
}
static void input_ref(const op_case *c, void *const *h) {
    ref_lists lists = host_lists(c, h);
    ref_predictor_input(&lists, h[6], h[7], h[8], h[9], c->dims[7]);
}

static int input_bwd_args(const op_case *c, op_arg *args) {
    int n = predictor_lists(c, args);
    pred_lists lists = device_lists(c, (gpu_tensor[LIST_ARGS]){{0}});
    args[n++] = (op_arg){"dout", OP_IN, OP_F32, elements(c, 'p'), 1, 0};
    args[n++] = (op_arg){"dembed", OP_OUT, predictor_dtype(c), elements(c, 'c'), 0, op_tolerance(lists.blocks), c->dims[7]};
    args[n++] = (op_arg){"dmask_token", c->dims[8] ? OP_INOUT : OP_OUT, OP_F32, c->dims[7], 1, op_tolerance(lists.pred_rows)};
    args[n++] = (op_arg){"scratch", OP_SCRATCH, OP_F32, predictor_input_bwd_scratch(&lists, c->dims[7]), 0, 0};
    return n;
}
static ij_status input_bwd_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    pred_lists lists = device_lists(c, t);
    return op_predictor_input_bwd(program, &lists, t[6], t[7], t[8], t[9], c->dims[7], c->dims[8] != 0, err);
}
static void input_bwd_ref(const op_case *c, void *const *h) {
    ref_lists lists = host_lists(c, h);
    ref_predictor_input_bwd(&lists, h[6], h[7], h[8], c->dims[7], c->dims[8] != 0);
}

static int output_args(const op_case *c, op_arg *args) {
    int n = predictor_lists(c, args);
    args[n++] = (op_arg){"x", OP_IN, predictor_dtype(c), elements(c, 'p'), 1, 0, c->dims[7]};
    args[n++] = (op_arg){"out", OP_OUT, predictor_dtype(c), elements(c, 't'), 0, 0x1p-24, c->dims[7]};
    return n;
}
static ij_status output_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    pred_lists lists = device_lists(c, t);
    return op_predictor_output(program, &lists, t[6], t[7], c->dims[7], err);
}
static void output_ref(const op_case *c, void *const *h) {
    ref_lists lists = host_lists(c, h);
    ref_predictor_output(&lists, h[6], h[7], c->dims[7]);
}

static int output_bwd_args(const op_case *c, op_arg *args) {
    int n = predictor_lists(c, args);
    args[n++] = (op_arg){"dout", OP_IN, predictor_dtype(c), elements(c, 't'), 1, 0, c->dims[7]};
    args[n++] = (op_arg){"dx", OP_OUT, predictor_dtype(c), elements(c, 'p'), 0, 0x1p-24, c->dims[7]};
    return n;
}
static ij_status output_bwd_record(gpu_program *program, const op_case *c, const gpu_tensor *t, ij_error *err) {
    pred_lists lists = device_lists(c, t);
    return op_predictor_output_bwd(program, &lists, t[6], t[7], c->dims[7], err);
}
static void output_bwd_ref(const op_case *c, void *const *h) {
    ref_lists lists = host_lists(c, h);
    ref_predictor_output_bwd(&lists, h[6], h[7], c->dims[7]);
}

/* Bytes by capacity: what is really there depends on the draw. */
static void input_cost(const op_case *c, double *flops, double *bytes) {
    *flops = (double)elements(c, 'p'), *bytes = 4.0 * (double)(elements(c, 'c') + elements(c, 'p'));
}
static void output_cost(const op_case *c, double *flops, double *bytes) {
    *flops = 0, *bytes = (predictor_dtype(c) == OP_F32 ? 8.0 : 4.0) * (double)elements(c, 't');
}
static void output_bwd_cost(const op_case *c, double *flops, double *bytes) {
    *flops = 0, *bytes = (predictor_dtype(c) == OP_F32 ? 4.0 : 2.0) * (double)(elements(c, 't') + elements(c, 'p'));
}

static const op_desc ops[] = {
    {"masks_sample", NULL, sample_cases, IJ_COUNT(sample_cases), sample_args, sample_prepare, sample_record, sample_ref, sample_cost},
    {"masks_lists", NULL, lists_cases, IJ_COUNT(lists_cases), lists_args, lists_prepare, lists_record, lists_ref, sample_cost},
    {"add_positions", NULL, positions_cases, IJ_COUNT(positions_cases), positions_args, positions_prepare, positions_record, positions_ref,
     positions_cost},
    {"predictor_input", NULL, predictor_cases, PREDICTOR_CASES_F32, input_args, predictor_prepare, input_record, input_ref, input_cost},
    {"predictor_input_bwd", "predictor_input", predictor_cases, IJ_COUNT(predictor_cases), input_bwd_args, predictor_prepare,
     input_bwd_record, input_bwd_ref, input_cost},
    {"predictor_output", NULL, predictor_cases, IJ_COUNT(predictor_cases), output_args, predictor_prepare, output_record, output_ref,
     output_cost},
    {"predictor_output_bwd", "predictor_output", predictor_cases, IJ_COUNT(predictor_cases), output_bwd_args, predictor_prepare,
     output_bwd_record, output_bwd_ref, output_bwd_cost},
};
const op_family op_family_masks = {"masks", ops, IJ_COUNT(ops)};
