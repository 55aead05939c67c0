/* Push constants, specialisation ids and epilogue bits of shaders/matmul_*.comp, for C and GLSL. */
#ifndef IJ_SHADER_MATMUL_H
#define IJ_SHADER_MATMUL_H

#ifdef __STDC__
#include <sys/types.h> /* uint, as in GLSL */
#endif

/* Forms: which operand is stored transposed. */
#define MATMUL_NT 0 /* c[m, n] = sum_k a[m, k] b[n, k] */
#define MATMUL_NN 1 /* c[m, n] = sum_k a[m, k] b[k, n] */
#define MATMUL_TN 2 /* c[m, n] = sum_k a[k, m] b[k, n] */

/* Specialisation ids of both kernels ... */
#define MATMUL_SPEC_THREADS 0  /* invocations of a workgroup */
#define MATMUL_SPEC_FORM 1
#define MATMUL_SPEC_EPILOGUE 2 /* the bits below */
/* ... of matmul_lane ... */
#define MATMUL_SPEC_ROWS 3 /* rows of c a workgroup */
#define MATMUL_SPEC_COLS 4 /* columns of c an invocation */
/* ... of matmul_vector besides ... */
#define MATMUL_SPEC_STEP 5  /* k an iteration */
#define MATMUL_SPEC_TURNS 6 /* tiles of ROWS x COLS a workgroup makes */
/* ... of matmul_tile and the kernels on matrix engines ... */
#define MATMUL_SPEC_BM 3 /* tile of c a workgroup: BM x BN, k in steps of BK */
#define MATMUL_SPEC_BN 4
#define MATMUL_SPEC_BK 5
#define MATMUL_SPEC_TM 6 /* tile of c an invocation: TM x TN, multiples of 4; of a subgroup in matmul_coopmat */
#define MATMUL_SPEC_TN 7
#define MATMUL_SPEC_ELEMENT 8   /* of a, b and pre, as gpu_element */
#define MATMUL_SPEC_ELEMENT_C 9 /* of c: that or f32 */
/* ... of matmul_coopmat besides: the fragment that a subgroup multiplies at once, and its lanes. */
#define MATMUL_SPEC_FM 10
#define MATMUL_SPEC_FN 11
#define MATMUL_SPEC_FK 12
#define MATMUL_SPEC_LANES 13

/* What happens to a sum before it is stored, in this order. */
#define MATMUL_BIAS 1       /* + bias[n] */
#define MATMUL_GELU_GRAD 2  /* x gelu'(pre[m, n]) */
#define MATMUL_RESIDUAL 4   /* + residual[m, n] */
#define MATMUL_ACCUMULATE 8 /* + c[m, n] */
#define MATMUL_GELU 16      /* gelu of it */
#define MATMUL_KEEP_PRE 32  /* with GELU: pre[m, n] = its argument */
/* Not of the sum itself. */
#define MATMUL_ROW_SUMS 64       /* TN: sums[m] = sum_k a[k, m], the bias gradient; accumulates with ACCUMULATE */
#define MATMUL_DEVICE_ROWS 128   /* m (NT, NN) or k (TN) is bounded by offsets[at] */
#define MATMUL_SPLIT 256         /* TN: workgroup z (lane: y) sums its chunk of k into part z of c (MATMUL_PART) */
#define MATMUL_COLUMN_TAIL 512   /* lane, vector: n is not a multiple of a workgroup's columns */
#define MATMUL_K_TAIL 1024       /* lane: k may be odd; vector: no multiple of STEP */
#define MATMUL_VECTOR_A 2048     /* tile: the contiguous dim of a is a multiple of 4 */
#define MATMUL_VECTOR_B 4096     /* tile: the same of b */
#define MATMUL_VECTOR_C 8192     /* n is a multiple of 4 */
#define MATMUL_GATHER 16384      /* token row r of x is row gather[r]: lines of a in NT, of b in TN */
#define MATMUL_RESIDUAL_PERIOD 32768 /* row r adds row r % residual_period of residual ... */
#define MATMUL_RESIDUAL_INDEX 65536  /* ... or row residual_index[r] % residual_period */

struct matmul_push {
    uint m, n, k;
    uint at;    /* MATMUL_DEVICE_ROWS: index into offsets */
    uint chunk; /* MATMUL_SPLIT: k of one part, a multiple of BK (lane: even) */
    uint tiles, tile_columns; /* lane: tiles of c along m and n */
    uint residual_period;     /* MATMUL_RESIDUAL_PERIOD */
};
#define MATMUL_BINDINGS 10
#define MATMUL_ADDRESSES 7 /* bindings that matmul_vector has by address, the first ones */
#ifdef MATMUL_BY_ADDRESS
struct matmul_vector_push { /* the same, and those addresses */
    uint m, n, k, at, chunk, tiles, tile_columns, residual_period;
    uint64_t a, b, c, offsets, bias, residual, pre;
};
struct matmul_transpose_push {
    uint rows, columns; /* of the matrix read */
    uint64_t from;
};
#endif
#define MATMUL_ONES 32 /* coopmat2: columns of the matrix of ones that row sums come from */

/* Shared memory of matmul_coopmat, in units of 16 bytes: a panel of 16-bit elements lies as in memory, `outer` lines of bk or bk
 * lines of `outer`, each with 16 bytes more so that lines begin in different banks; the stage, in the panels' place, holds a strip of
 * f32 sums for each subgroup: fm rows of tn columns, but no more than 32, a cache line; wider strips would need more room than the
 * panels where a workgroup has eight subgroups. */
#define MATMUL_LINE(elements) ((elements) / 8 + 1)
#define MATMUL_PANEL(k_inner, outer, bk) ((k_inner) ? (outer) * MATMUL_LINE(bk) : (bk) * MATMUL_LINE(outer))
#define MATMUL_STRIP(tn) ((tn) < 32 ? (tn) : 32)
#define MATMUL_STAGE_LINE(tn) (MATMUL_STRIP(tn) / 4 + 1)
#define MATMUL_STAGE(subgroups, fm, tn) ((subgroups) * (fm) * MATMUL_STAGE_LINE(tn))

/* Elements from one part of a split sum to the next: [m, n] sums, [m] row sums; a multiple of 4, so that parts are written as vec4. */
#define MATMUL_PART(m, n, sums) (((m) * (n) + (sums) + 3) / 4 * 4)

/* matmul_reduce: c = [c +] parts summed in order. */
#define MATMUL_REDUCE_THREADS 64
#define MATMUL_REDUCE_ACCUMULATE 1
#define MATMUL_REDUCE_DEVICE_ROWS 2
struct matmul_reduce_push {
    uint count; /* m n */
    uint sums;  /* m when there are row sums, else 0 */
    uint k, at, chunk;
    uint stride; /* elements of a part */
};

#endif
