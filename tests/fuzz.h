/* What the fuzz targets share. Each is one function, LLVMFuzzerTestOneInput: it must return for any bytes.
 *     cmake -DIJ_FUZZ=ON -DIJ_SANITIZE=ON -DCMAKE_C_COMPILER=clang ...; build/fuzz_image -max_total_time=60 corpus/
 * Compiled with -DIJ_FUZZ_PLAIN a target is an ordinary program that runs over the files named on its command line. */
#ifndef IJ_TESTS_FUZZ_H
#define IJ_TESTS_FUZZ_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifdef IJ_FUZZ_PLAIN
#include "base/file.h"

#include <stdio.h>

int main(int count, char **arguments) {
    for (int i = 1; i < count; i++) {
        ij_error err;
        void *data;
        size_t size;
        if (ij_file_read(arguments[i], 0, &data, &size, &err) != IJ_OK) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    return 0;
}
#endif

/* What the target says must hold; a failure is a crash that the fuzzer keeps. */
#define FUZZ_REQUIRE(condition)                                                                                                            \
    do {                                                                                                                                   \
        if (!(condition)) abort();                                                                                                         \
    } while (0)

#endif
