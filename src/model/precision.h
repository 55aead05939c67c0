/* In which arithmetic a step runs, and why.       layer: model; uses: gpu, ops
 *
 *   f32    everything in f32: any device
 *   f16    products in f16 with f32 sums, loss scaled on the device: any device stores it, matrix engines make it fast
 *   bf16   products in bf16 with f32 sums, no loss scale: likewise
 *   auto   bf16 where the device multiplies bf16 matrices, else f16 where it multiplies those, else f32; on CPU drivers f32. An engine
 *          counts only when its products agreed with the CPU's when the device was first used (src/ops/rungs_check.h) */
#ifndef IJ_MODEL_PRECISION_H
#define IJ_MODEL_PRECISION_H

#include "base/error.h"
#include "gpu/gpu.h"

typedef enum ij_precision { IJ_PRECISION_AUTO, IJ_PRECISION_F32, IJ_PRECISION_F16, IJ_PRECISION_BF16, IJ_PRECISION_COUNT } ij_precision;

extern const char *const ij_precision_names[IJ_PRECISION_COUNT];
ij_status ij_precision_find(const char *name, ij_precision *out, ij_error *err);

/* The element that products read. why (may be NULL) gets a line for a person: "bf16 (coopmat2, coopmat)". Checks the device's matrix
 * engines the first time; one that computes wrongly is not an error here, it is not used, and why says so. */
ij_status ij_precision_resolve(gpu_device *device, ij_precision precision, gpu_element *out, char *why, size_t why_bytes, ij_error *err);

/* "f32", "f16", "bf16". */
const char *ij_element_name(gpu_element element);

#endif
