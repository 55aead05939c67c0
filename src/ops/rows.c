/* layer: ops; uses: gpu */
#include "ops/rows.h"
#include "row_lanes.h"

#include <assert.h>
#include <stdio.h>
#include <unistd.h>

rows_plan rows_plan_make(gpu_device *device, uint32_t dim, bool no_subgroups) {
    const gpu_info *info = gpu_device_info(device);
    rows_plan plan = {.suffix = "", .width = 4, .lanes = info->subgroup_size};
    if (no_subgroups || !info->subgroup_arithmetic) {
        plan.suffix = "_shared";
        plan.width = 1; /* one slow path is enough */
        plan.lanes = 32;
    } else {
        if (dim % 4) plan.suffix = "_any", plan.width = 1;
        if (info->subgroup_min != info->subgroup_max) plan.subgroup_size = info->subgroup_size;
    }
    assert(dim > 0 && plan.lanes > 0 && plan.lanes <= ROW_GROUP);
    plan.columns = dim / plan.width;
    plan.loads = op_groups(plan.columns, plan.lanes);
    plan.rows_per_group = ROW_GROUP / plan.lanes;
    return plan;
}

void rows_plan_pairs(rows_plan *plan) {
    if (plan->width == 1) plan->loads = 2 * op_groups(op_groups(plan->columns, 2), plan->lanes);
}

ij_status rows_kernel(gpu_device *device, const rows_plan *plan, const char *stem, const uint32_t *extra, uint32_t extra_count,
                      gpu_kernel **out, ij_error *err) {
    char name[64];
    snprintf(name, sizeof name, "%s%s", stem, plan->suffix);
    gpu_kernel_desc desc = {
        .shader = name, .specs = {plan->lanes, plan->loads}, .spec_count = 2 + extra_count, .subgroup_size = plan->subgroup_size};
    assert(desc.spec_count <= GPU_SPECS_MAX);
    for (uint32_t i = 0; i < extra_count; i++) desc.specs[2 + i] = extra[i];
    return gpu_kernel_get(device, &desc, out, err);
}

uint32_t rows_shares(gpu_device *device) {
    const long most = 32; /* threads lavapipe starts at most */
    if (gpu_device_info(device)->kind != GPU_KIND_CPU) return 1;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return (uint32_t)(processors < 1 ? 1 : processors > most ? most : processors);
}

void rows_groups(uint32_t groups[3], int64_t count) {
    const int64_t axis = 32768;
    groups[0] = (uint32_t)(count < axis ? count : axis);
    groups[1] = op_groups(count, axis);
    groups[2] = 1;
}

void rows_groups_ragged(gpu_device *device, uint32_t groups[3], int64_t count) {
    int64_t shares = rows_shares(device);
    if (shares > count) shares = count;
    rows_groups(groups, op_groups(count, shares));
    groups[2] = (uint32_t)shares;
}
