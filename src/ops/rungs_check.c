/* layer: ops; uses: base, gpu
 * The check is the op checker's own: cases of the registry whose kernels are forced, compared with double precision, run twice, with
 * canaries and poison. A few small cases of each form are enough: they have tails in every dim, several tiles and an epilogue. */
#include "ops/rungs_check.h"
#include "ops/attention.h"
#include "ops/matmul_rungs.h"

#include <stdio.h>
#include <string.h>

#define CASES_CHECKED 3 /* of each op, the first ones */

/* One rung of one element: the ops that show it right. */
typedef struct rung {
    const char *name;
    op_matmul_kernel matmul; /* OP_MATMUL_AUTO: attention */
    op_attention_kernel attention;
    gpu_element element;
    const char *ops[3];
} rung;

static const rung rungs[] = {
    {"coopmat2",
     OP_MATMUL_COOPMAT2,
     OP_ATTENTION_AUTO,
     GPU_BF16,
     {"matmul_nt_coopmat2_bf16", "matmul_nn_coopmat2_bf16", "matmul_tn_coopmat2_bf16"}},
    {"coopmat2",
     OP_MATMUL_COOPMAT2,
     OP_ATTENTION_AUTO,
     GPU_F16,
     {"matmul_nt_coopmat2_f16", "matmul_nn_coopmat2_f16", "matmul_tn_coopmat2_f16"}},
    {"coopmat",
     OP_MATMUL_COOPMAT,
     OP_ATTENTION_AUTO,
     GPU_BF16,
     {"matmul_nt_coopmat_bf16", "matmul_nn_coopmat_bf16", "matmul_tn_coopmat_bf16"}},
    {"coopmat", OP_MATMUL_COOPMAT, OP_ATTENTION_AUTO, GPU_F16, {"matmul_nt_coopmat_f16", "matmul_nn_coopmat_f16", "matmul_tn_coopmat_f16"}},
    {"attention coopmat2", OP_MATMUL_AUTO, OP_ATTENTION_COOPMAT2, GPU_BF16, {"attention_coopmat2_bf16", "attention_coopmat2_bwd_bf16"}},
    {"attention coopmat2", OP_MATMUL_AUTO, OP_ATTENTION_COOPMAT2, GPU_F16, {"attention_coopmat2_f16", "attention_coopmat2_bwd_f16"}},
    {"attention coopmat", OP_MATMUL_AUTO, OP_ATTENTION_COOPMAT, GPU_BF16, {"attention_coopmat_bf16", "attention_coopmat_bwd_bf16"}},
    {"attention coopmat", OP_MATMUL_AUTO, OP_ATTENTION_COOPMAT, GPU_F16, {"attention_coopmat_f16", "attention_coopmat_bwd_f16"}},
};

static bool offered(gpu_device *device, const rung *r) {
    if (r->matmul != OP_MATMUL_AUTO) return matmul_rung_runs(device, r->matmul, r->element);
    return attention_rung_runs(device, r->attention, r->element);
}

static void trust(gpu_device *device, const rung *r, bool trusted) {
    if (r->matmul != OP_MATMUL_AUTO)
        matmul_rung_trust(device, r->matmul, r->element, trusted);
    else
        attention_rung_trust(device, r->attention, r->element, trusted);
}

static bool trusted(gpu_device *device, const rung *r) {
    return r->matmul != OP_MATMUL_AUTO ? matmul_rung_trusted(device, r->matmul, r->element)
                                       : attention_rung_trusted(device, r->attention, r->element);
}

/* wrong: what differs, "" when nothing does. A pipeline that the driver cannot make is wrong too; a lost device is an error. */
static ij_status check_rung(gpu_device *device, const rung *r, char *wrong, size_t wrong_bytes, ij_error *err) {
    *wrong = 0;
    for (int i = 0; i < IJ_COUNT(r->ops) && r->ops[i]; i++) {
        const op_desc *op = op_find(r->ops[i]);
        if (!op) return ij_fail(err, IJ_ERROR_DEVICE, "no op %s to check %s with", r->ops[i], r->name);
        for (int c = 0, checked = 0; c < op->case_count && checked < CASES_CHECKED; c++) {
            op_report report;
            ij_error why = {0};
            if (op->cases[c].large) continue;
            ij_status status = op_check(device, op, &op->cases[c], &report, &why);
            if (status == IJ_ERROR_DEVICE && strstr(why.text, "device lost")) {
                if (err) *err = why;
                return status;
            }
            if (status != IJ_OK) {
                snprintf(wrong, wrong_bytes, "%.200s", why.text);
                return IJ_OK;
            }
            checked++;
        }
    }
    return IJ_OK;
}

static void add(char *report, size_t report_bytes, const char *name, const char *wrong) {
    size_t used = report ? strlen(report) : 0;
    if (report && used + 1 < report_bytes)
        snprintf(report + used, report_bytes - used, "%s%s%s%s", used ? ", " : "", name, *wrong ? " NOT used, it computes wrongly: " : "",
                 wrong);
}

ij_status rungs_check(gpu_device *device, gpu_element element, char *report, size_t report_bytes, ij_error *err) {
    if (report && report_bytes) *report = 0;
    for (int i = 0; i < IJ_COUNT(rungs); i++) {
        const rung *r = &rungs[i];
        char wrong[300] = "";
        if (r->element != element || !offered(device, r)) continue;
        if (!trusted(device, r)) {
            IJ_TRY(check_rung(device, r, wrong, sizeof wrong, err));
            trust(device, r, !*wrong);
        }
        add(report, report_bytes, r->name, wrong);
    }
    if (report && report_bytes && !*report) snprintf(report, report_bytes, "no matrix engine for it: scalar arithmetic");
    return IJ_OK;
}

bool rungs_trusted(gpu_device *device, gpu_element element) {
    return matmul_rung_trusted(device, OP_MATMUL_COOPMAT2, element) || matmul_rung_trusted(device, OP_MATMUL_COOPMAT, element);
}
