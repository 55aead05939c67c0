/* The start-up check: what a driver's matrix engine computes against what the CPU computes, before it is used.       layer: ops; uses: gpu
 *
 * Drivers have listed engines they do not have, miscompiled kernels for them and lost the upper half of a register. So each rung
 * (matrices of a subgroup, of a workgroup; attention on them) multiplies a small problem with distinct dims, tails and values in all
 * three forms (attention: forward and both backward kernels) and must agree with double precision within the bound of a sum of exact
 * products. One that does not is left out for the life of the device, with a reason. */
#ifndef IJ_OPS_RUNGS_CHECK_H
#define IJ_OPS_RUNGS_CHECK_H

#include "ops/op.h"

/* Checks every rung that the device offers for the element, once; later calls answer from memory. report (may be NULL) gets a list
 * for a person: "coopmat2, coopmat, attention coopmat", a wrong one with what was wrong. A device that fails is an error; one that
 * computes wrongly is not. */
ij_status rungs_check(gpu_device *device, gpu_element element, char *report, size_t report_bytes, ij_error *err);

/* Whether an engine multiplies this element and passed. */
bool rungs_trusted(gpu_device *device, gpu_element element);

#endif
