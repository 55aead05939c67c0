/* Times kNN on features of a folder, for tools/bench_knn.py:  bench_knn FOLDER
 * FOLDER has train.npy [n, dim], test.npy [m, dim], labels.npy [n], all f32. For every line on stdin one run, and its wall and processor seconds on
 * stdout; the predictions of the last one are left in FOLDER/ours.npy. */
#include "eval/knn.h"
#include "base/file.h"
#include "io/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static double processor_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static ij_npy read_npy(const char *folder, const char *name) {
    char path[4200];
    ij_npy array;
    ij_error err = {0};
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    if (ij_npy_read(path, &array, &err) == IJ_OK) return array;
    fprintf(stderr, "bench_knn: %s\n", err.text);
    exit(1);
}

int main(int argc, char **argv) {
    ij_error err = {0};
    gpu_device *device;
    char line[16], path[4200];
    if (argc != 2) return fprintf(stderr, "usage: bench_knn FOLDER\n"), 2;
    ij_npy train = read_npy(argv[1], "train"), test = read_npy(argv[1], "test"), labels = read_npy(argv[1], "labels");
    int64_t n = train.shape[0], m = test.shape[0];
    int *y = malloc((size_t)n * sizeof *y), *predicted = malloc((size_t)m * sizeof *predicted);
    float *out = malloc((size_t)m * sizeof *out);
    for (int64_t i = 0; i < n; i++) y[i] = (int)((const float *)labels.data)[i];
    ij_samples a = {train.data, y, n, (int)train.shape[1], 10}, b = {test.data, NULL, m, (int)test.shape[1], 10};
    ij_knn_desc desc = {.ks = {200}};
    if (gpu_device_open(&(gpu_device_desc){.select = getenv("IJEPA_DEVICE")}, &device, &err) != IJ_OK)
        return fprintf(stderr, "%s\n", err.text), 1;
    while (fgets(line, sizeof line, stdin)) {
        double wall = ij_seconds(), processor = processor_seconds();
        if (ij_knn(device, &a, &b, &desc, predicted, &err) != IJ_OK) return fprintf(stderr, "%s\n", err.text), 1;
        printf("%.3f %.3f\n", ij_seconds() - wall, processor_seconds() - processor);
        fflush(stdout);
    }
    for (int64_t i = 0; i < m; i++) out[i] = (float)predicted[i];
    snprintf(path, sizeof path, "%s/ours.npy", argv[1]);
    if (ij_npy_write(path, IJ_NPY_F32, 1, &m, out, &err) != IJ_OK) return fprintf(stderr, "%s\n", err.text), 1;
    gpu_device_close(device);
    return 0;
}
