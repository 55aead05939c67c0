/* The only user of Vulkan: devices, memory, kernels, programs (record once, replay).      layer: gpu; uses: base
 *
 * Life of a program that computes:
 *   gpu_device_open     picks a device and says which
 *   gpu_arena_create, gpu_reserve ...     says what memory is needed: nothing is allocated yet, so a plan can be printed
 *   gpu_arena_commit    allocates it, in blocks of at most 1 GiB
 *   gpu_program_create, gpu_dispatch ..., gpu_program_finish    records the work once; barriers are computed here
 *   gpu_submit, gpu_wait     replays it, as often as wanted; between the two the host is free
 *
 * Invariants
 *   1. A tensor is (arena, block, offset, bytes, element); offsets are multiples of 512, so that half of one is a multiple of 256, the
 *      largest alignment a device may ask for; a tensor never crosses a block.
 *   2. Which bindings a kernel reads and writes is read from its SPIR-V (readonly / writeonly), never declared twice.
 *   3. A barrier stands between two dispatches exactly when they touch overlapping bytes and one of them writes.
 *   4. A submission is split by estimated flops, so that no driver's watchdog ends it.
 * A device and what belongs to it are used by one thread at a time. */
#ifndef IJ_GPU_GPU_H
#define IJ_GPU_GPU_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- device ------------------------------------------------------------------------------------------------------------- */

typedef struct gpu_device gpu_device;

typedef enum gpu_kind { GPU_KIND_OTHER, GPU_KIND_INTEGRATED, GPU_KIND_DISCRETE, GPU_KIND_VIRTUAL, GPU_KIND_CPU } gpu_kind;

/* How the elements of a tensor are stored. f16 and bf16 tensors are matrices [rows, columns] whose rows are padded with zeros to
 * a multiple of 8 elements (16 bytes): see gpu_row. Words are f32 or u32, and bytes count as words. */
typedef enum gpu_element { GPU_WORD, GPU_F16, GPU_BF16 } gpu_element;

/* A shape of matrix that a subgroup multiplies at once (VK_KHR_cooperative_matrix): c [m, n] f32 += a [m, k] b [k, n]. */
typedef struct gpu_matrix_shape {
    gpu_element element; /* of a and b */
    uint32_t m, n, k;
} gpu_matrix_shape;

/* A family of shapes that a whole workgroup multiplies at once (VK_NV_cooperative_matrix2): any multiple of the granularities. */
typedef struct gpu_matrix_flexible {
    gpu_element element;
    uint32_t m, n, k, invocations;
} gpu_matrix_flexible;
#define GPU_SHAPES_MAX 16

typedef struct gpu_info {
    char name[256];
    char driver[512];  /* driver name and version text */
    char identity[64]; /* vendor:device:driver version:pipeline cache id; keys caches */
    gpu_kind kind;
    uint32_t vendor;
    uint32_t api_major, api_minor, api_patch;
    uint32_t subgroup_size, subgroup_min, subgroup_max; /* min = max = size where subgroup size control is absent */
    bool subgroup_arithmetic;
    uint32_t shared_bytes;    /* of a workgroup */
    uint32_t invocations_max; /* of a workgroup */
    uint32_t groups_max[3];
    uint32_t push_bytes;
    uint64_t range_max; /* bytes one binding may span */
    uint64_t allocation_max;
    uint64_t heap_bytes;                     /* largest device-local heap */
    uint64_t budget_bytes;                   /* what may still be used of it, where the driver tells; else heap_bytes */
    double tick_ns;                          /* of a timestamp; 0: no timestamps */
    bool f16, bf16;                          /* shaders may compute in f16; matrices may be bf16 */
    bool addresses;                          /* dispatches may pass tensors by address (gpu_dispatch_desc), and are the faster for it */
    gpu_matrix_shape shapes[GPU_SHAPES_MAX]; /* with f32 sums, at subgroup scope; none: no cooperative matrices */
    uint32_t shape_count;
    gpu_matrix_flexible flexible[GPU_SHAPES_MAX]; /* with f32 sums, at workgroup scope, only where all that goes with them is there */
    uint32_t flexible_count, flexible_reserved_bytes, flexible_dimension_max;
    uint32_t cores;      /* streaming multiprocessors, compute units; 0: the driver does not say */
    const char *refused; /* why this device cannot be used; NULL: it can */
} gpu_info;

typedef struct gpu_device_desc {
    const char *select;       /* index, or a part of the name, any case [the best: discrete, integrated, virtual, CPU] */
    bool validation;          /* validation layers with synchronisation checks; messages are counted */
    const char *cache_folder; /* where compiled pipelines are kept [not kept] */
    bool compile_only;        /* pipelines are made and keep what gpu_statistics tells; memory is not allocated, commands are not
                               * recorded, submitting is a programmer's error: a driver without hardware will do */
    gpu_device *open;         /* use this one, and nothing else is said here; it closes when all that opened it have closed it [open one] */
    void (*on_message)(void *user, const char *text); /* told of each message of the validation layers [counted only] */
    void *user;
    const char *off; /* what not to use: "f16", "bf16", "coopmat", "coopmat2", "addresses", comma-separated [everything the device has] */
} gpu_device_desc;

/* All devices of all drivers. *infos is one allocation, free() it. No driver at all is IJ_ERROR_DEVICE with a hint. */
ij_status gpu_list(bool validation, gpu_info **infos, int *count, ij_error *err);

/* The device that gpu_device_open takes for `select`, by its index in a list of gpu_list. */
ij_status gpu_choose(const gpu_info *infos, int count, const char *select, int *chosen, ij_error *err);

ij_status gpu_device_open(const gpu_device_desc *desc, gpu_device **out, ij_error *err);
void gpu_device_close(gpu_device *device); /* after everything made from it is gone; NULL is fine */
const gpu_info *gpu_device_info(const gpu_device *device);

/* One pointer that the layer above keeps with the device (what it has learnt about it): *slot is NULL at first; destroy is called
 * with it before the device is closed. */
void **gpu_device_slot(gpu_device *device, void (*destroy)(void *));

/* Where caches are kept, "" if nowhere. */
const char *gpu_device_cache(const gpu_device *device);

/* Messages of the validation layers so far, and the first one's text ("" if none). */
int gpu_device_messages(const gpu_device *device, const char **first);

/* ---- memory ------------------------------------------------------------------------------------------------------------- */

typedef struct gpu_arena gpu_arena;

typedef enum gpu_memory {
    GPU_MEMORY_DEVICE,   /* device-local, not mapped */
    GPU_MEMORY_UPLOAD,   /* host writes, device reads; mapped */
    GPU_MEMORY_READBACK, /* device writes, host reads; mapped, cached where there is such memory */
} gpu_memory;

typedef struct gpu_tensor {
    gpu_arena *arena;
    uint32_t block;
    uint64_t offset, bytes;
    gpu_element element;
} gpu_tensor;

/* Elements from one row of a matrix to the next, and bytes of such a matrix. */
static inline uint64_t gpu_row(gpu_element element, uint64_t columns) { return element == GPU_WORD ? columns : (columns + 7) / 8 * 8; }
static inline uint64_t gpu_matrix_bytes(gpu_element element, uint64_t rows, uint64_t columns) {
    return (element == GPU_WORD ? 4 : 2) * rows * gpu_row(element, columns);
}

ij_status gpu_arena_create(gpu_device *device, const char *name, gpu_memory memory, gpu_arena **out, ij_error *err);
void gpu_arena_destroy(gpu_arena *arena); /* NULL is fine; the device must be idle */

/* Reserves bytes (rounded up to 16) before the commit. `what` names the tensor in errors. Fails when it exceeds what one
 * binding may span, or after the commit. */
ij_status gpu_reserve(gpu_arena *arena, uint64_t bytes, const char *what, gpu_tensor *out, ij_error *err);

/* The same for a matrix [rows, columns]; the tensor knows its element. */
ij_status gpu_reserve_matrix(gpu_arena *arena, gpu_element element, uint64_t rows, uint64_t columns, const char *what, gpu_tensor *out,
                             ij_error *err);

/* Scratch reuse: what is reserved after a rewind overlays what was reserved after the mark. The arena's size is the maximum. */
typedef struct gpu_mark {
    uint32_t block;
    uint64_t offset;
} gpu_mark;
gpu_mark gpu_arena_mark(const gpu_arena *arena);
void gpu_arena_rewind(gpu_arena *arena, gpu_mark mark);

uint64_t gpu_arena_bytes(const gpu_arena *arena);
gpu_device *gpu_arena_device(const gpu_arena *arena);

/* Allocates all blocks; contents are undefined. On failure the error names the arena, what it needs and what the heap has. */
ij_status gpu_arena_commit(gpu_arena *arena, ij_error *err);

/* Memory of the device's own for what the dispatches of one op leave each other; the next op that asks overwrites it. Given while
 * recording, at once: it is as large as the largest op needs, and not in the sizes that arenas are planned with. */
ij_status gpu_scratch(gpu_device *device, uint64_t bytes, gpu_tensor *out, ij_error *err);

/* A part of a tensor; offset must be a multiple of 256 (checked by assert). */
gpu_tensor gpu_part(gpu_tensor tensor, uint64_t offset, uint64_t bytes);

/* The bytes from the begin of `first` to the end of `last`, its rounding up included; both in one block (checked by assert). */
gpu_tensor gpu_span(gpu_tensor first, gpu_tensor last);

/* Host address of a tensor in an UPLOAD or READBACK arena. */
void *gpu_map(gpu_tensor tensor);

/* Blocking copies between host and a device tensor, through the device's staging memory; for set-up and tests, not for steps. */
ij_status gpu_write(gpu_device *device, gpu_tensor to, uint64_t offset, const void *data, uint64_t bytes, ij_error *err);
ij_status gpu_read(gpu_device *device, gpu_tensor from, uint64_t offset, void *data, uint64_t bytes, ij_error *err);

/* ---- kernels ------------------------------------------------------------------------------------------------------------ */

typedef struct gpu_kernel gpu_kernel;

#define GPU_BINDINGS_MAX 16
#define GPU_SPECS_MAX 24
#define GPU_PUSH_BYTES_MAX 128

typedef struct gpu_kernel_desc {
    const char *shader;            /* a variant's name, as in the shader's own `//! variant NAME` line */
    uint32_t specs[GPU_SPECS_MAX]; /* values of constant_id 0 .. spec_count - 1; floats by their bits */
    uint32_t spec_count;
    uint32_t subgroup_size; /* required size [any] */
    bool full_subgroups;    /* required: no invocation of a subgroup may be missing (cooperative matrices) */
} gpu_kernel_desc;

/* Whether this build has the shader: a variant that needs an extension is left out where the shader compiler does not know it. */
bool gpu_shader_exists(const char *name);

/* Of the words of all shaders whose names begin so: what was measured of one build's kernels says nothing of another's. */
uint64_t gpu_shaders_hash(const char *prefix);

/* The pipeline for desc, compiled at most once per device. Owned by the device. */
ij_status gpu_kernel_get(gpu_device *device, const gpu_kernel_desc *desc, gpu_kernel **out, ij_error *err);

/* What the driver's compiler says of each pipeline made so far, newest first; once for each number, under the driver's own name
 * for it ("VGPRs", "Spilled VGPRs"). The device must have been opened with compile_only. */
typedef void (*gpu_on_statistic)(void *user, const gpu_kernel_desc *kernel, const char *name, double value);
ij_status gpu_statistics(gpu_device *device, gpu_on_statistic on_value, void *user, ij_error *err);

/* ---- programs ----------------------------------------------------------------------------------------------------------- */

typedef struct gpu_program gpu_program;

typedef struct gpu_dispatch_desc {
    gpu_kernel *kernel;
    const char *label;                    /* op and what for, "matmul_nt blocks.3.mlp.fc1"; copied */
    const char *detail;                   /* how, for the report: kernel, tile, 16-bit element: "coopmat f16 128x128x32"; copied [""] */
    gpu_tensor tensors[GPU_BINDINGS_MAX]; /* binding i; a zero tensor (arena NULL) stands for "unused", bound to a dummy */
    uint32_t tensor_count;
    const void *push;
    uint32_t push_bytes;
    uint32_t address_count; /* the addresses of tensors 0 .. address_count - 1 follow push, 8 bytes each, from the next multiple of 8 on;
                             * for reading: what is written needs its binding. Memory goes on for 4 KiB behind every tensor */
    uint32_t groups[3];     /* 0 counts as 1; a dispatch with more groups than the device takes is a programmer's error */
    double flops, bytes;    /* for the report and for splitting submissions */
} gpu_dispatch_desc;

ij_status gpu_program_create(gpu_device *device, const char *name, bool profile, gpu_program **out, ij_error *err);
/* A program that is recorded for what recording brings about (kernels compiled, choices made) and never run: its tensors need no memory. */
ij_status gpu_program_create_dry(gpu_device *device, const char *name, gpu_program **out, ij_error *err);
void gpu_program_destroy(gpu_program *program); /* NULL is fine; must not be running */
gpu_device *gpu_program_device(const gpu_program *program);
ij_status gpu_dispatch(gpu_program *program, const gpu_dispatch_desc *desc, ij_error *err);
ij_status gpu_copy(gpu_program *program, gpu_tensor to, gpu_tensor from, uint64_t bytes, ij_error *err);
ij_status gpu_fill(gpu_program *program, gpu_tensor to, uint32_t word, ij_error *err);

/* Forgets what was recorded, so that a small program (an upload of this step's bytes) can be recorded anew; must not be running. */
void gpu_program_reset(gpu_program *program);
ij_status gpu_program_finish(gpu_program *program, ij_error *err);

/* Prefix of the labels that follow, "blocks.3."; "" for none. Copied. */
void gpu_program_scope(gpu_program *program, const char *prefix);

/* Queues a finished program behind all that was queued before; *ticket (may be NULL) is what gpu_wait takes. A program may be
 * queued again before it is done: it waits for itself. */
ij_status gpu_submit(gpu_program *program, uint64_t *ticket, ij_error *err);
ij_status gpu_wait(gpu_device *device, uint64_t ticket, ij_error *err);
ij_status gpu_wait_all(gpu_device *device, ij_error *err); /* for all that was queued */
ij_status gpu_run(gpu_program *program, ij_error *err);    /* submit and wait */

typedef struct gpu_op_time {
    const char *label, *detail; /* owned by the program; detail is "" where the op said nothing */
    double begin, seconds;      /* when it began, on the device's clock, and how long it took */
    double flops, bytes;
} gpu_op_time;

/* Times of the last run of a program made with profile, in order of recording; *rows is owned by the program. */
ij_status gpu_program_times(gpu_program *program, const gpu_op_time **rows, int *count, ij_error *err);

int gpu_program_dispatches(const gpu_program *program);
int gpu_program_barriers(const gpu_program *program);

#endif
