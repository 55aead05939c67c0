/* What a driver's compiler makes of every kernel, with the specialisations that the op cases give it: registers, spills, shared
 * memory, subgroups that fit, throughput. One row a pipeline, tab-separated; exit code 1 when a pipeline spills.
 *
 * Programs are recorded and never run, so a compiler without hardware will do. AMD's, for RDNA3:
 *     RADV_FORCE_FAMILY=navi31 VK_DRIVER_FILES=/opt/icd/radv25.json build/shader_stats
 * layer: tool; uses: ops, gpu, base */
#include "base/memory.h"
#include "ops/op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The columns, under RADV's names; a name that the driver does not give is printed as "-". */
static const char *const columns[] = {"VGPRs",        "SGPRs",        "Spilled VGPRs",      "Spilled SGPRs",
                                      "LDS size",     "Scratch size", "Subgroups per SIMD", "Code size",
                                      "Instructions", "Latency",      "Inverse Throughput"};

typedef struct stats_row {
    const gpu_kernel_desc *kernel;
    double values[IJ_COUNT(columns)];
    bool known[IJ_COUNT(columns)];
} stats_row;

typedef struct stats_table {
    stats_row *rows;
    int64_t count, capacity;
    bool failed; /* out of memory */
} stats_table;

static void on_value(void *user, const gpu_kernel_desc *kernel, const char *name, double value) {
    stats_table *table = user;
    if (table->count == 0 || table->rows[table->count - 1].kernel != kernel) {
        if (table->failed) return;
        if (table->count == table->capacity) {
            int64_t capacity = table->capacity ? 2 * table->capacity : 64;
            stats_row *rows = realloc(table->rows, (size_t)capacity * sizeof *rows);
            if (!rows) {
                table->failed = true;
                return;
            }
            table->rows = rows;
            table->capacity = capacity;
        }
        table->rows[table->count++] = (stats_row){.kernel = kernel};
    }
    stats_row *row = &table->rows[table->count - 1];
    for (int i = 0; i < IJ_COUNT(columns); i++)
        if (strcmp(columns[i], name) == 0) row->values[i] = value, row->known[i] = true;
}

/* Makes the pipelines of a case by recording it on tensors that are never filled. */
static ij_status record_case(gpu_device *device, const op_desc *op, const op_case *c, ij_error *err) {
    op_arg args[OP_ARGS_MAX] = {{0}};
    gpu_tensor tensors[OP_ARGS_MAX] = {{0}};
    int count = op->args(c, args);
    gpu_arena *arena = NULL;
    gpu_program *program = NULL;
    ij_status status = gpu_arena_create(device, op->name, GPU_MEMORY_DEVICE, &arena, err);
    for (int i = 0; i < count && status == IJ_OK; i++)
        status = args[i].columns
                     ? gpu_reserve_matrix(arena, op_element(args[i].dtype), (uint64_t)(args[i].count / args[i].columns),
                                          (uint64_t)args[i].columns, args[i].name, &tensors[i], err)
                     : gpu_reserve(arena, (args[i].dtype == OP_U8 ? 1 : 4) * (uint64_t)args[i].count, args[i].name, &tensors[i], err);
    if (status == IJ_OK) status = gpu_arena_commit(arena, err);
    if (status == IJ_OK) status = gpu_program_create(device, op->name, false, &program, err);
    if (status == IJ_OK) status = op->record(program, c, tensors, err);
    gpu_program_destroy(program);
    gpu_arena_destroy(arena);
    return status;
}

static ij_status record_all(gpu_device *device, ij_error *err) {
    for (int f = 0; f < op_family_count; f++)
        for (int i = 0; i < op_families[f]->count; i++)
            for (int j = 0; j < op_families[f]->ops[i].case_count; j++) {
                const op_desc *op = &op_families[f]->ops[i];
                if (op->supported && !op->supported(device, &op->cases[j]))
                    fprintf(stderr, "shader_stats: %s %s: skipped, this device cannot run it\n", op->name, op->cases[j].name);
                else
                    IJ_TRY(record_case(device, op, &op->cases[j], err));
            }
    return IJ_OK;
}

static int by_shader(const void *a, const void *b) {
    const gpu_kernel_desc *x = ((const stats_row *)a)->kernel, *y = ((const stats_row *)b)->kernel;
    int order = strcmp(x->shader, y->shader);
    return order ? order : memcmp(x->specs, y->specs, sizeof x->specs);
}

/* Prints the table; returns how many pipelines spill. */
static int print_table(const char *device, stats_table *table) {
    int spilling = 0;
    qsort(table->rows, (size_t)table->count, sizeof *table->rows, by_shader);
    printf("device\tshader\tspecialisation");
    for (int i = 0; i < IJ_COUNT(columns); i++) printf("\t%s", columns[i]);
    printf("\n");
    for (int64_t r = 0; r < table->count; r++) {
        const stats_row *row = &table->rows[r];
        bool spills = false;
        printf("%s\t%s\t", device, row->kernel->shader);
        for (uint32_t i = 0; i < row->kernel->spec_count; i++) printf("%s%u", i ? "," : "", row->kernel->specs[i]);
        for (int i = 0; i < IJ_COUNT(columns); i++) {
            if (row->known[i])
                printf("\t%.0f", row->values[i]);
            else
                printf("\t-");
            spills |= strncmp(columns[i], "Spilled", 7) == 0 && row->values[i] > 0;
        }
        printf("\n");
        spilling += spills;
    }
    return spilling;
}

int main(int count, char **arguments) {
    ij_error err = {0};
    gpu_device *device = NULL;
    gpu_device_desc desc = {.select = count > 1 ? arguments[1] : NULL, .compile_only = true};
    stats_table table = {0};
    int spilling = 0;
    ij_status status = gpu_device_open(&desc, &device, &err);
    if (status == IJ_OK) status = record_all(device, &err);
    if (status == IJ_OK) status = gpu_statistics(device, on_value, &table, &err);
    if (status == IJ_OK && table.failed) status = ij_fail(&err, IJ_ERROR_MEMORY, "no memory for %lld rows", (long long)table.count);
    if (status == IJ_OK) {
        spilling = print_table(gpu_device_info(device)->name, &table);
        fprintf(stderr, "shader_stats: %s: %lld pipelines, %d spill\n", gpu_device_info(device)->name, (long long)table.count, spilling);
    } else {
        fprintf(stderr, "shader_stats: %s\n", err.text);
    }
    free(table.rows);
    gpu_device_close(device);
    return status != IJ_OK ? 2 : spilling ? 1 : 0;
}
