/* Matrix products: check and record. What is dispatched is decided in matmul_plan.c.       layer: ops; uses: gpu, base
 *
 * Five kernels behind one function: matmul_lane and matmul_vector for drivers that run shaders on the CPU, matmul_tile for everything, and
 * matmul_coopmat and matmul_coopmat2 on matrix engines; what each does and why is at the head of its shader. */
#include "ops/matmul.h"
#include "ops/matmul_plan.h"

/* ---- check ---- */

static ij_status check_tensor(const char *label, const char *name, gpu_tensor tensor, uint64_t rows, uint64_t cols, bool needed,
                              ij_error *err) {
    if (!matmul_given(tensor)) return needed ? ij_fail(err, IJ_ERROR_ARGUMENT, "%s: %s is missing", label, name) : IJ_OK;
    uint64_t bytes = gpu_matrix_bytes(tensor.element, rows, cols);
    if (rows * gpu_row(tensor.element, cols) > UINT32_MAX)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: %s is [%llu, %llu], more than 2^32 elements", label, name, (unsigned long long)rows,
                       (unsigned long long)cols);
    if (tensor.bytes < bytes)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: %s has %llu bytes, [%llu, %llu] needs %llu", label, name,
                       (unsigned long long)tensor.bytes, (unsigned long long)rows, (unsigned long long)cols, (unsigned long long)bytes);
    return IJ_OK;
}

static bool overlap(gpu_tensor x, gpu_tensor y) {
    return matmul_given(x) && matmul_given(y) && x.arena == y.arena && x.block == y.block && x.offset < y.offset + y.bytes &&
           y.offset < x.offset + x.bytes;
}

static bool is_word(gpu_tensor tensor) { return !matmul_given(tensor) || tensor.element == GPU_WORD; }
static bool is_element(gpu_tensor tensor, gpu_element element) { return !matmul_given(tensor) || tensor.element == element; }

/* What op_matmul_desc says of which tensors and elements go with each other. */
static bool goes_together(const op_matmul_desc *desc) {
    bool nt = desc->form == OP_MATMUL_NT, nn = desc->form == OP_MATMUL_NN, tn = desc->form == OP_MATMUL_TN;
    gpu_element element = desc->a.element;
    if ((matmul_given(desc->bias) || desc->gelu) && !nt) return false;
    if (matmul_given(desc->pre) && !desc->gelu) return false;
    if (matmul_given(desc->bias_grad) && !tn) return false;
    if (matmul_given(desc->gelu_grad_of) && (!nn || matmul_given(desc->residual) || desc->accumulate)) return false;
    if (matmul_given(desc->gather) && nn) return false;
    if (desc->residual_period && !matmul_given(desc->residual)) return false;
    if (matmul_given(desc->residual_index) && !desc->residual_period) return false;
    if (!is_element(desc->b, element) || !is_element(desc->pre, element) || !is_element(desc->gelu_grad_of, element)) return false;
    if (!is_word(desc->c) && (tn || desc->accumulate || desc->c.element != element)) return false;
    return is_word(desc->bias) && is_word(desc->residual) && is_word(desc->bias_grad) && is_word(desc->scratch);
}

static ij_status check(const char *label, const op_matmul_desc *desc, ij_error *err) {
    struct matmul_push d = matmul_dims(desc);
    bool nt = desc->form == OP_MATMUL_NT, tn = desc->form == OP_MATMUL_TN, gather = matmul_given(desc->gather);
    if (d.m == 0 || d.n == 0 || d.k == 0)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: empty product, m %u, n %u, k %u", label, d.m, d.n, d.k);
    /* How many rows a gathered tensor has is not known here: at least one. */
    IJ_TRY(check_tensor(label, "a", desc->a, gather && nt ? 1 : tn ? d.k : d.m, tn ? d.m : d.k, true, err));
    IJ_TRY(check_tensor(label, "b", desc->b, gather && tn ? 1 : nt ? d.n : d.k, nt ? d.k : d.n, true, err));
    IJ_TRY(check_tensor(label, "c", desc->c, d.m, d.n, true, err));
    IJ_TRY(check_tensor(label, "gather", desc->gather, 1, desc->rows.max, false, err));
    IJ_TRY(check_tensor(label, "bias", desc->bias, 1, d.n, false, err));
    IJ_TRY(check_tensor(label, "gelu_grad_of", desc->gelu_grad_of, d.m, d.n, false, err));
    IJ_TRY(check_tensor(label, "residual", desc->residual, desc->residual_period ? desc->residual_period : d.m, d.n, false, err));
    IJ_TRY(check_tensor(label, "residual_index", desc->residual_index, 1, d.m, false, err));
    IJ_TRY(check_tensor(label, "pre", desc->pre, d.m, d.n, false, err));
    IJ_TRY(check_tensor(label, "bias_grad", desc->bias_grad, 1, d.m, false, err));
    IJ_TRY(check_tensor(label, "row offsets", desc->rows.offsets, 1, (uint64_t)desc->rows.at + 1, false, err));
    if (!goes_together(desc)) return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: the tensors given or their elements do not go together", label);
    if (overlap(desc->c, desc->a) || overlap(desc->c, desc->b) || overlap(desc->c, desc->residual) || overlap(desc->c, desc->pre))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: c overlaps another tensor of the product", label);
    return IJ_OK;
}

/* ---- scratch ---- */

/* Elements of one part: the sums and the row sums. */
static uint64_t part_stride(const struct matmul_push *d, bool row_sums) {
    return MATMUL_PART((uint64_t)d->m, (uint64_t)d->n, row_sums ? (uint64_t)d->m : 0);
}

/* With room for row sums whether they are asked for or not: it is planned before there are tensors. */
uint64_t op_matmul_scratch(gpu_device *device, const op_matmul_desc *desc) {
    struct matmul_push dims = matmul_dims(desc);
    uint32_t parts = matmul_parts(device, desc);
    return parts > 1 ? 4 * parts * part_stride(&dims, true) : 0;
}

/* ---- record ---- */

static ij_status record_reduce(gpu_program *program, const op_matmul_desc *desc, const matmul_plan *plan, const char *label,
                               ij_error *err) {
    bool row_sums = matmul_given(desc->bias_grad);
    uint64_t stride = part_stride(&plan->push, row_sums);
    uint32_t flags =
        (desc->accumulate ? MATMUL_REDUCE_ACCUMULATE : 0u) | (matmul_given(desc->rows.offsets) ? MATMUL_REDUCE_DEVICE_ROWS : 0u);
    gpu_kernel_desc kernel_desc = {.shader = "matmul_reduce", .specs = {flags}, .spec_count = 1};
    struct matmul_reduce_push push = {desc->m * desc->n, row_sums ? desc->m : 0, plan->push.k,
                                      desc->rows.at,     plan->push.chunk,       (uint32_t)stride};
    gpu_dispatch_desc dispatch = {.label = label,
                                  .tensors = {desc->scratch, desc->c, desc->bias_grad, desc->rows.offsets},
                                  .tensor_count = 4,
                                  .push = &push,
                                  .push_bytes = sizeof push,
                                  .groups = {op_groups((int64_t)stride, MATMUL_REDUCE_THREADS)},
                                  .flops = (double)plan->parts * (double)stride,
                                  .bytes = 4.0 * ((double)plan->parts + 1) * (double)stride};
    IJ_TRY(gpu_kernel_get(gpu_program_device(program), &kernel_desc, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

/* b of a product NT, turned: *out is the device's scratch memory, good until the next op that asks for it. */
static ij_status record_transpose(gpu_program *program, const op_matmul_desc *desc, const char *label, gpu_tensor *out, ij_error *err) {
    gpu_device *device = gpu_program_device(program);
    uint32_t lanes = gpu_device_info(device)->subgroup_size, size[] = {desc->n, desc->k};
    double bytes = 4.0 * desc->n * desc->k;
    IJ_TRY(gpu_scratch(device, (uint64_t)bytes, out, err));
    gpu_kernel_desc kernel = {.shader = "matmul_transpose", .specs = {lanes}, .spec_count = 1};
    gpu_dispatch_desc dispatch = {.label = label,
                                  .tensors = {desc->b, *out},
                                  .tensor_count = 2,
                                  .push = size,
                                  .push_bytes = sizeof size,
                                  .address_count = 1,
                                  .groups = {op_groups(desc->k, lanes), op_groups(desc->n, lanes)},
                                  .bytes = 2 * bytes};
    IJ_TRY(gpu_kernel_get(device, &kernel, &dispatch.kernel, err));
    return gpu_dispatch(program, &dispatch, err);
}

ij_status op_matmul(gpu_program *program, const op_matmul_desc *desc, ij_error *err) {
    static const char *const names[] = {"matmul_nt", "matmul_nn", "matmul_tn"};
    static const char *const kernels[] = {"auto", "lane", "vector", "tile", "coopmat", "coopmat2"};
    const char *label = desc->label ? desc->label : names[desc->form];
    gpu_device *device = gpu_program_device(program);
    IJ_TRY(check(label, desc, err));
    matmul_plan plan;
    if (!matmul_plan_make(device, desc, &plan))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: this device does not run kernel %s (tile %u) on these operands", label,
                       kernels[desc->kernel], desc->variant);
    bool split = plan.parts > 1;
    uint64_t scratch = op_matmul_scratch(device, desc);
    if (scratch > 4 * (uint64_t)UINT32_MAX || (split && desc->scratch.bytes < scratch))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "%s: scratch has %llu bytes, %u chunks of %u rows need %llu", label,
                       (unsigned long long)desc->scratch.bytes, plan.parts, plan.push.chunk, (unsigned long long)scratch);
    gpu_tensor zero = {0}, b = desc->b;
    bool by_address = plan.choice.kernel == OP_MATMUL_VECTOR;
    if (by_address && desc->form == OP_MATMUL_NT) IJ_TRY(record_transpose(program, desc, label, &b, err));
    double m = plan.push.m, n = plan.push.n, k = plan.push.k;
    char detail[80];
    gpu_dispatch_desc dispatch = {.label = label,
                                  .detail = matmul_choice_name(device, desc, plan.choice, detail),
                                  .tensors = {desc->a, b, split ? desc->scratch : desc->c, desc->rows.offsets, desc->bias, desc->residual,
                                              matmul_given(desc->pre) ? desc->pre : desc->gelu_grad_of, split ? zero : desc->bias_grad,
                                              desc->gather, desc->residual_index},
                                  .tensor_count = MATMUL_BINDINGS,
                                  .push = &plan.push,
                                  .push_bytes = sizeof plan.push,
                                  .address_count = by_address ? MATMUL_ADDRESSES : 0,
                                  .groups = {plan.groups[0], plan.groups[1], plan.groups[2]},
                                  .flops = 2 * m * n * k,
                                  .bytes = (desc->a.element == GPU_WORD ? 4 : 2) * (m * k + n * k) +
                                           (desc->c.element == GPU_WORD ? 4 : 2) * m * n};
    IJ_TRY(gpu_kernel_get(device, &plan.kernel, &dispatch.kernel, err));
    IJ_TRY(gpu_dispatch(program, &dispatch, err));
    return split ? record_reduce(program, desc, &plan, label, err) : IJ_OK;
}
