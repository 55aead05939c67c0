/* `bench matmul` and `bench attention`: which shapes, elements and kernels, and their rows.
 * layer: api; uses: base, gpu, ops, train */
#include "api/bench.h"
#include "base/memory.h"
#include "ops/bench_attention.h"
#include "ops/bench_matmul.h"
#include "ops/bench_memory.h"
#include "ops/rungs_check.h"
#include "ops/tune.h"
#include "train/bench_shapes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const form_names[] = {"nt", "nn", "tn"};

const char *api_element_name(gpu_element element) { return element == GPU_F16 ? "f16" : element == GPU_BF16 ? "bf16" : "f32"; }

/* ---- roofs ---- */

void api_bench_raise(ijepa_bench_roof *roof, gpu_element element, double rate) {
    double *at = element == GPU_F16 ? &roof->gflops_f16 : element == GPU_BF16 ? &roof->gflops_bf16 : &roof->gflops_f32;
    if (rate > *at) *at = rate;
}

static double product_gflops(int64_t m, int64_t n, int64_t k) { return 2e-9 * (double)m * (double)n * (double)k; }

/* A square product that is far from memory's roof and takes a fraction of a second. */
static ij_status square_roof(api_bench *b, gpu_element element, ij_error *err) {
    int64_t side = gpu_device_info(b->device)->kind == GPU_KIND_CPU ? 768 : element == GPU_WORD ? 4096 : 8192;
    bool kernels[OP_MATMUL_KERNEL_COUNT] = {[OP_MATMUL_AUTO] = true};
    matmul_bench_desc desc = {.form = OP_MATMUL_NT, .m = side, .n = side, .k = side, .element = element, .kernels = kernels, .runs = 5};
    matmul_bench_result result;
    IJ_TRY(matmul_bench(b->device, &desc, &result, err));
    double seconds = result.kernels[OP_MATMUL_AUTO].seconds;
    if (seconds > 0) api_bench_raise(&b->summary->roof, element, product_gflops(side, side, side) / seconds);
    return IJ_OK;
}

ij_status api_bench_roof(api_bench *b, unsigned elements, ij_error *err) {
    double bytes = 0;
    IJ_TRY(memory_bench(b->device, 7, &bytes, err));
    b->summary->roof.gbytes = 1e-9 * bytes;
    for (int e = GPU_WORD; e <= GPU_BF16; e++)
        if (elements >> e & 1) IJ_TRY(square_roof(b, (gpu_element)e, err));
    return IJ_OK;
}

/* ---- what to run ---- */

/* Which of `names` a text asks for: one, or "all". */
static ij_status choose(const char *what, const char *text, const char *fallback, const char *const *names, int count, bool *chosen,
                        bool *all, ij_error *err) {
    char list[200] = "";
    bool found = false;
    if (!text) text = fallback;
    *all = strcmp(text, "all") == 0;
    for (int i = 0; i < count; i++) {
        chosen[i] = *all || strcmp(text, names[i]) == 0;
        found |= chosen[i];
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s, ", names[i]);
    }
    return found ? IJ_OK : ij_fail(err, IJ_ERROR_ARGUMENT, "no %s is called \"%s\"; there are %sall", what, text, list);
}

/* Matrix engines are compared with the CPU before AUTO may take them, and on a GPU products are tuned as in training. */
static ij_status begin_device(api_bench *b, const bool *elements, ij_error *err) {
    for (int e = GPU_F16; e <= GPU_BF16; e++)
        if (elements[e]) IJ_TRY(rungs_check(b->device, (gpu_element)e, NULL, 0, err));
    return gpu_device_info(b->device)->kind == GPU_KIND_CPU ? IJ_OK : tune_enable(b->device, false, NULL, NULL, err);
}

typedef struct choice {
    bool elements[GPU_BF16 + 1], kernels[OP_MATMUL_KERNEL_COUNT]; /* attention has fewer kernels */
    bool all_elements, all_kernels;
} choice;

static ij_status make_choice(const ijepa_bench_options *options, const char *const *kernels, int kernel_count, choice *out, ij_error *err) {
    static const char *const elements[] = {"f32", "f16", "bf16"}; /* GPU_WORD, GPU_F16, GPU_BF16 */
    IJ_TRY(choose("element", options->element, "f32", elements, IJ_COUNT(elements), out->elements, &out->all_elements, err));
    return choose("kernel", options->kernel, "auto", kernels, kernel_count, out->kernels, &out->all_kernels, err);
}

/* Leaves of the kernels those that the device has for an element. None at all is an error only where one was named. On a CPU, where
 * nothing is tuned, `all` leaves AUTO out: it is one of the others. */
static ij_status usable(const api_bench *b, const choice *c, gpu_element element, int count,
                        bool (*supports)(const gpu_device *device, int kernel, gpu_element element), bool *kernels, bool *any,
                        ij_error *err) {
    bool cpu = gpu_device_info(b->device)->kind == GPU_KIND_CPU;
    *any = false;
    for (int i = 0; i < count; i++) {
        kernels[i] = c->kernels[i] && supports(b->device, i, element) && !(cpu && c->all_kernels && i == 0);
        *any |= kernels[i];
    }
    if (*any || c->all_kernels || c->all_elements) return IJ_OK;
    return ij_fail(err, IJ_ERROR_DEVICE, "%s has no kernel \"%s\" for %s", gpu_device_info(b->device)->name, b->options->kernel,
                   api_element_name(element));
}

/* A row goes out; one that could not be timed is counted, or ends the run when just that was asked for. */
static ij_status emit(api_bench *b, const choice *c, ijepa_bench_row *row, ij_status status, const char *note, ij_error *err) {
    row->verified = status == IJ_OK;
    snprintf(row->note, sizeof row->note, "%s", note);
    if (status != IJ_OK && status != IJ_ERROR_MISMATCH && !c->all_elements && !c->all_kernels) return ij_fail(err, status, "%s", note);
    if (status == IJ_ERROR_MISMATCH && b->wrong++ == 0) ij_fail(&b->first_wrong, status, "%s", note);
    b->rows++;
    b->options->on_row(b->options->user, row);
    return IJ_OK;
}

/* ---- shapes ---- */

/* Calls body for the configuration given, the model named, or the three published ones. */
static ij_status for_each_model(api_bench *b, ij_status (*body)(api_bench *b, const ij_train_config *config, void *user, ij_error *err),
                                void *user, ij_error *err) {
    static const char *const published[] = {"vit_base", "vit_large", "vit_huge"}, *const small[] = {"vit_small"};
    const ijepa_bench_options *o = b->options;
    bool cpu = gpu_device_info(b->device)->kind == GPU_KIND_CPU;
    const char *const *names = o->model ? &o->model : cpu ? small : published;
    int count = o->config || o->model || cpu ? 1 : IJ_COUNT(published);
    ij_train_config *config;
    IJ_TRY(ij_alloc(&config, 1, sizeof *config, "configuration", err));
    ij_status status = IJ_OK;
    for (int i = 0; i < count && status == IJ_OK; i++) {
        status = o->config ? api_config_read(o->config, config, NULL, 0, err)
                           : ij_recipe(names[i],
                                       o->batch           ? o->batch
                                       : cpu && !o->model ? 4
                                                          : 0,
                                       config, err);
        if (status == IJ_OK) status = body(b, config, user, err);
    }
    free(config);
    return status;
}

static void say_shapes(api_bench *b, const ij_train_config *config, const ij_batch_shape *shape) {
    uint32_t sequences = shape->batch * shape->blocks;
    double images = (double)shape->batch;
    snprintf(
        b->summary->shapes, sizeof b->summary->shapes,
        "%s, batch %u: rows of one batch of %s masks (seed 1), an image has %u patches, %.1f context, %.1f target, %.1f predictor rows",
        config->model_name, shape->batch, masks_mode_name(config->masks.mode), shape->patches,
        shape->context_offsets[shape->batch] / images, shape->target_offsets[sequences] / images,
        shape->predictor_offsets[sequences] / images);
}

/* ---- matmul ---- */

/* A square one, then the layers of ViT-S on the tokens of 10 images of 196 patches and a tail: forward, backward to the input, backward
 * to the weight. */
static const ij_product_shape small_table[] = {
    {"square", "", OP_MATMUL_NT, 1024, 1024, 1024, 0},      {"qkv", "forward", OP_MATMUL_NT, 2000, 1152, 384, 0},
    {"fc1", "forward", OP_MATMUL_NT, 2000, 1536, 384, 0},   {"fc2", "forward", OP_MATMUL_NT, 2000, 384, 1536, 0},
    {"fc1", "to input", OP_MATMUL_NN, 2000, 384, 1536, 0},  {"fc2", "to input", OP_MATMUL_NN, 2000, 1536, 384, 0},
    {"fc1", "to weight", OP_MATMUL_TN, 1536, 384, 2000, 0}, {"fc2", "to weight", OP_MATMUL_TN, 384, 1536, 2000, 0},
};

typedef struct matmul_run {
    choice choice;
    baseline *library;
} matmul_run;

static bool matmul_supports(const gpu_device *device, int kernel, gpu_element element) {
    return matmul_bench_supports(device, (op_matmul_kernel)kernel, element);
}

static ij_status emit_product(api_bench *b, const matmul_run *run, const char *model, const ij_product_shape *s, gpu_element element,
                              const bool *kernels, const matmul_bench_result *result, ij_error *err) {
    double width = element == GPU_WORD ? 4 : 2, m = (double)s->m, n = (double)s->n, k = (double)s->k,
           flops = product_gflops(s->m, s->n, s->k);
    char note[300] = "";
    if (result->library.seconds > 0) api_bench_raise(&b->summary->roof, element, flops / result->library.seconds);
    if (result->library.status != IJ_OK) { /* the rows stay, without it */
        snprintf(note, sizeof note, "baseline: %s", result->library.note);
        if (b->wrong++ == 0) ij_fail(&b->first_wrong, result->library.status, "%s", note);
    }
    for (int i = 0; i < OP_MATMUL_KERNEL_COUNT; i++) {
        const matmul_bench_time *time = &result->kernels[i];
        if (!kernels[i]) continue;
        ijepa_bench_row row = {.element = api_element_name(element),
                               .kernel = matmul_kernel_name((op_matmul_kernel)i),
                               .m = s->m,
                               .n = s->n,
                               .k = s->k,
                               .milliseconds = 1e3 * time->seconds,
                               .gflops = flops,
                               .gbytes = 1e-9 * (width * (m * k + n * k) + (s->form == OP_MATMUL_TN ? 4 : width) * m * n),
                               .baseline_milliseconds = time->seconds > 0 ? 1e3 * result->library.seconds : 0,
                               .runs = b->runs,
                               .count = s->count,
                               .product = true};
        const char *const parts[] = {model, s->layer, s->part, form_names[s->form]};
        for (int w = 0; w < IJ_COUNT(parts); w++)
            if (parts[w][0])
                snprintf(row.name + strlen(row.name), sizeof row.name - strlen(row.name), "%s%s", row.name[0] ? " " : "", parts[w]);
        snprintf(row.detail, sizeof row.detail, "%s", time->detail);
        if (time->seconds > 0) api_bench_raise(&b->summary->roof, element, flops / time->seconds);
        IJ_TRY(emit(b, &run->choice, &row, time->status, time->status == IJ_OK ? note : time->note, err));
    }
    return IJ_OK;
}

static ij_status bench_products(api_bench *b, const matmul_run *run, const char *model, const ij_product_shape *shapes, int count,
                                ij_error *err) {
    for (int i = 0; i < count; i++)
        for (int e = GPU_WORD; e <= GPU_BF16; e++) {
            bool kernels[OP_MATMUL_KERNEL_COUNT], any;
            matmul_bench_result result;
            if (!run->choice.elements[e]) continue;
            IJ_TRY(usable(b, &run->choice, (gpu_element)e, OP_MATMUL_KERNEL_COUNT, matmul_supports, kernels, &any, err));
            if (!any) continue;
            matmul_bench_desc desc = {shapes[i].form, shapes[i].m, shapes[i].n,  shapes[i].k,
                                      (gpu_element)e, kernels,     run->library, b->runs};
            IJ_TRY(matmul_bench(b->device, &desc, &result, err));
            IJ_TRY(emit_product(b, run, model, &shapes[i], (gpu_element)e, kernels, &result, err));
        }
    return IJ_OK;
}

static ij_status bench_model_products(api_bench *b, const ij_train_config *config, void *user, ij_error *err) {
    ij_batch_shape shape;
    ij_product_shape products[IJ_PRODUCTS_MAX];
    IJ_TRY(ij_batch_shape_draw(config, &shape, err));
    int count = ij_step_products(config, &shape, products);
    say_shapes(b, config, &shape);
    ij_status status = bench_products(b, user, config->model_name, products, count, err);
    ij_batch_shape_free(&shape);
    return status;
}

static ij_status run_matmul(api_bench *b, matmul_run *run, ij_error *err) {
    const ijepa_bench_options *o = b->options;
    bool cpu = gpu_device_info(b->device)->kind == GPU_KIND_CPU;
    IJ_TRY(api_bench_roof(b, 0, err));
    if (o->m || o->n || o->k) {
        ij_product_shape one[3] = {
            {"", "", OP_MATMUL_NT, 0, 0, 0, 0}, {"", "", OP_MATMUL_NN, 0, 0, 0, 0}, {"", "", OP_MATMUL_TN, 0, 0, 0, 0}};
        for (int i = 0; i < 3; i++) one[i].m = o->m, one[i].n = o->n, one[i].k = o->k;
        return bench_products(b, run, "", one, 3, err);
    }
    if (cpu && !o->model && !o->config) return bench_products(b, run, "", small_table, IJ_COUNT(small_table), err);
    return for_each_model(b, bench_model_products, run, err);
}

ij_status api_bench_matmul(api_bench *b, ij_error *err) {
    static const char *const libraries[] = {"none", "openblas", "cublas"}; /* as baseline_kind */
    const ijepa_bench_options *o = b->options;
    const char *names[OP_MATMUL_KERNEL_COUNT];
    matmul_run run = {0};
    int kind = 0;
    while (o->baseline && kind < IJ_COUNT(libraries) && strcmp(o->baseline, libraries[kind]) != 0) kind++;
    if (kind == IJ_COUNT(libraries))
        return ij_fail(err, IJ_ERROR_ARGUMENT, "no baseline is called \"%s\"; there are none, openblas, cublas", o->baseline);
    for (int i = 0; i < OP_MATMUL_KERNEL_COUNT; i++) names[i] = matmul_kernel_name((op_matmul_kernel)i);
    IJ_TRY(make_choice(o, names, OP_MATMUL_KERNEL_COUNT, &run.choice, err));
    IJ_TRY(baseline_open((baseline_kind)kind, o->baseline_library, gpu_device_info(b->device)->name, &run.library, err));
    if (run.library) snprintf(b->summary->baseline, sizeof b->summary->baseline, "%s", run.library->name);
    ij_status status = begin_device(b, run.choice.elements, err);
    if (status == IJ_OK) status = run_matmul(b, &run, err);
    tune_disable(b->device);
    baseline_close(run.library);
    return status;
}

/* ---- attention ---- */

static bool attention_supports(const gpu_device *device, int kernel, gpu_element element) {
    return attention_bench_supports(device, (op_attention_kernel)kernel, element);
}

static ij_status emit_attention(api_bench *b, const choice *c, const char *model, const ij_attention_step *s,
                                const attention_bench_desc *desc, op_attention_kernel kernel, const attention_bench_time *time,
                                ij_error *err) {
    for (int backward = 0; backward <= !s->forward_only; backward++) {
        double flops, bytes;
        attention_bench_cost(desc, backward, &flops, &bytes);
        ijepa_bench_row row = {.element = api_element_name(desc->element),
                               .kernel = attention_kernel_name(kernel),
                               .m = s->offsets[s->sequences],
                               .n = s->heads,
                               .k = s->head_dim,
                               .milliseconds = 1e3 * (backward ? time->backward : time->forward),
                               .gflops = 1e-9 * flops,
                               .gbytes = 1e-9 * bytes,
                               .runs = b->runs,
                               .count = s->count};
        snprintf(row.name, sizeof row.name, "%s attention %s %s", model, s->part, backward ? "backward" : "forward");
        snprintf(row.detail, sizeof row.detail, "%s", time->detail);
        IJ_TRY(emit(b, c, &row, time->status, time->note, err));
    }
    return IJ_OK;
}

static ij_status bench_attention(api_bench *b, const choice *c, const char *model, const ij_attention_step *s, gpu_element element,
                                 ij_error *err) {
    bool kernels[OP_ATTENTION_KERNEL_COUNT], any;
    attention_bench_time times[OP_ATTENTION_KERNEL_COUNT];
    IJ_TRY(usable(b, c, element, OP_ATTENTION_KERNEL_COUNT, attention_supports, kernels, &any, err));
    if (!any) return IJ_OK;
    attention_bench_desc desc = {s->offsets, s->sequences, s->heads, s->head_dim, element, kernels, s->forward_only, b->runs};
    IJ_TRY(attention_bench(b->device, &desc, times, err));
    for (int i = 0; i < OP_ATTENTION_KERNEL_COUNT; i++)
        if (kernels[i]) IJ_TRY(emit_attention(b, c, model, s, &desc, (op_attention_kernel)i, &times[i], err));
    return IJ_OK;
}

static ij_status bench_model_attention(api_bench *b, const ij_train_config *config, void *user, ij_error *err) {
    const choice *c = user;
    ij_batch_shape shape;
    ij_attention_step steps[IJ_ATTENTIONS];
    IJ_TRY(ij_batch_shape_draw(config, &shape, err));
    ij_step_attentions(config, &shape, steps);
    say_shapes(b, config, &shape);
    ij_status status = IJ_OK;
    for (int i = 0; i < IJ_ATTENTIONS; i++)
        for (int e = GPU_WORD; e <= GPU_BF16 && status == IJ_OK; e++)
            if (c->elements[e]) status = bench_attention(b, c, config->model_name, &steps[i], (gpu_element)e, err);
    ij_batch_shape_free(&shape);
    return status;
}

ij_status api_bench_attention(api_bench *b, ij_error *err) {
    const char *names[OP_ATTENTION_KERNEL_COUNT];
    choice c = {0};
    unsigned elements = 1u << GPU_WORD;
    if (b->options->baseline && strcmp(b->options->baseline, "none") != 0) {
        ij_fail(err, IJ_ERROR_ARGUMENT, "attention has no baseline \"%s\": such a library multiplies matrices only", b->options->baseline);
        return ij_hint(err, "tools/baseline_pytorch.py --attention times PyTorch's fused attention at the same shapes");
    }
    for (int i = 0; i < OP_ATTENTION_KERNEL_COUNT; i++) names[i] = attention_kernel_name((op_attention_kernel)i);
    IJ_TRY(make_choice(b->options, names, OP_ATTENTION_KERNEL_COUNT, &c, err));
    for (int e = GPU_WORD; e <= GPU_BF16; e++) elements |= c.elements[e] ? 1u << e : 0;
    ij_status status = begin_device(b, c.elements, err);
    if (status == IJ_OK) status = api_bench_roof(b, elements, err);
    tune_disable(b->device);
    return status == IJ_OK ? for_each_model(b, bench_model_attention, &c, err) : status;
}
