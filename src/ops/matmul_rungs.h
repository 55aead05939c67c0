/* Which kernel and which tile a product takes: the choices there are, what was learnt about a device, and what is trusted.
 * For the start-up check and the tuner; products themselves need op_matmul only.       layer: ops; uses: gpu
 *
 * A rung is a kernel of op_matmul_kernel; each has a list of tiles, and a choice names one of them. LANE, VECTOR and TILE are trusted
 * always. COOPMAT and COOPMAT2 lean on young parts of drivers: OP_MATMUL_AUTO takes them once somebody has multiplied small
 * matrices in all forms with the kernel forced, compared, and said matmul_rung_trust. Everything here is kept with the device. */
#ifndef IJ_OPS_MATMUL_RUNGS_H
#define IJ_OPS_MATMUL_RUNGS_H

#include "ops/matmul.h"

typedef struct matmul_choice {
    op_matmul_kernel kernel;
    uint32_t variant; /* index into that kernel's tiles */
} matmul_choice;

#define MATMUL_CANDIDATES_MAX 24

/* Every choice that this device can run for desc, the default first; returns how many. desc->kernel restricts them to one rung;
 * with OP_MATMUL_AUTO rungs that are not trusted are left out. Reads shapes, elements and which tensors are given. */
int matmul_candidates(gpu_device *device, const op_matmul_desc *desc, matmul_choice *out, int max);

/* Whether the device can run such a product with that kernel at all, trusted or not: element is that of a and b. */
bool matmul_rung_runs(const gpu_device *device, op_matmul_kernel kernel, gpu_element element);

/* The same for one choice; reads form, the element of a, and whether gather is given. */
bool matmul_choice_runs(const gpu_device *device, const op_matmul_desc *desc, matmul_choice choice);

/* "coopmat 128x128x32, subgroup 64x64, fragment 16x16x16" */
const char *matmul_choice_name(gpu_device *device, const op_matmul_desc *desc, matmul_choice choice, char out[80]);

/* ---- trust ---- */

bool matmul_rung_trusted(gpu_device *device, op_matmul_kernel kernel, gpu_element element);
void matmul_rung_trust(gpu_device *device, op_matmul_kernel kernel, gpu_element element, bool trusted);

/* ---- what was measured ----
 * Products that are alike have the same key: token rows count by powers of two. All fields are words without gaps between them,
 * so keys may be compared and stored as bytes. */
typedef struct matmul_key {
    uint32_t form;
    uint32_t m, n, k; /* the one that is token rows: the next power of two of rows.max */
    uint32_t element, element_c;
    uint32_t epilogue; /* MATMUL_ bits of shaders/matmul.h that change what is read and written */
} matmul_key;

matmul_key matmul_key_of(const op_matmul_desc *desc);
bool matmul_table_find(gpu_device *device, const matmul_key *key, matmul_choice *out);
/* Replaces what the key had. False: the table is full, or there is no memory; the default stays in use. */
bool matmul_table_put(gpu_device *device, const matmul_key *key, matmul_choice choice);
/* Row i of the table, for writing it to a file; false when there are no more. */
bool matmul_table_row(gpu_device *device, int i, matmul_key *key, matmul_choice *choice);

/* Called for a product that is planned with OP_MATMUL_AUTO and has no row in the table; false: it has no answer. The tuner's place. */
typedef bool (*matmul_tune)(gpu_device *device, const op_matmul_desc *desc, void *user, matmul_choice *out);
void *matmul_on_miss(gpu_device *device, matmul_tune tune, void *user); /* NULL: none; returns the user pointer that was there */
bool matmul_table_tune(gpu_device *device, const op_matmul_desc *desc, matmul_choice *out);

#endif
