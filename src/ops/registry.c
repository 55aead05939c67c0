/* layer: ops; uses: nothing below */
#include "ops/op.h"

#include <math.h>
#include <string.h>

#define IJ_FAMILY(stem) extern const op_family op_family_##stem;
#include "ops/ops.def"
#undef IJ_FAMILY

const op_family *const op_families[] = {
#define IJ_FAMILY(stem) &op_family_##stem,
#include "ops/ops.def"
#undef IJ_FAMILY
};
const int op_family_count = IJ_COUNT(op_families);

const op_desc *op_find(const char *name) {
    for (int f = 0; f < op_family_count; f++)
        for (int i = 0; i < op_families[f]->count; i++)
            if (strcmp(op_families[f]->ops[i].name, name) == 0) return &op_families[f]->ops[i];
    return NULL;
}

double op_tolerance(int64_t terms) { return 0x1p-24 * (8 + 5 * sqrt((double)terms)); }
