/* Rows of `ijepa bench` as a table, as JSON and as tab-separated lines.       layer: cli; uses: ijepa.h */
#ifndef IJ_CLI_BENCH_OUTPUT_H
#define IJ_CLI_BENCH_OUTPUT_H

#include "cli.h"

typedef enum bench_kind { BENCH_MATMUL, BENCH_ATTENTION, BENCH_OPS, BENCH_STEP } bench_kind;

typedef struct bench_table {
    bench_kind kind;
    bool json, verbose, baseline;
    FILE *tsv; /* NULL: none; rows go there as they are measured */
    ijepa_bench_row *rows;
    int count, capacity;
    bool lost; /* a row found no memory */
} bench_table;

/* Keeps a row, prints it where the table grows as it is measured. */
void bench_add(bench_table *table, const ijepa_bench_row *row);

/* What follows the last row, after success or failure of the run: shares, roofs, ratios. */
void bench_finish(const bench_table *table, const ijepa_bench_summary *summary, bool complete);

/* The whole as JSON. */
void bench_json(const bench_table *table, const ijepa_bench_summary *summary);

/* Writes head and rows with their roofs, from the start of the file; returns false when the disk is full. roof may be NULL. */
bool bench_tsv(FILE *file, const bench_table *table, const ijepa_bench_roof *roof);

#endif
