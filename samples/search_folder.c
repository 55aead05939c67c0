/* The pictures of a folder that are most like a given one: features of all, cosine similarity, a table of the nearest.
 *
 *   cc search_folder.c $(pkg-config --cflags --libs ijepa) -lm -o search_folder
 *   ./search_folder runs/photos ~/pictures query.jpg 5
 *
 * Features are compared as they are. Centred ones (less their mean) tell pictures apart better: `ijepa search` does that, and keeps an index. */
#include <ijepa.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const ijepa_error *err) {
    fprintf(stderr, "%s\n%s%s%s", err->text, err->hint[0] ? "  hint: " : "", err->hint, err->hint[0] ? "\n" : "");
    return EXIT_FAILURE;
}

static double similarity(const float *a, const float *b, int dim) {
    double ab = 0, aa = 0, bb = 0;
    for (int d = 0; d < dim; d++) ab += (double)a[d] * b[d], aa += (double)a[d] * a[d], bb += (double)b[d] * b[d];
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* Similarity of every picture to the query; one that cannot be read gets -2 and is told of. */
static ijepa_status compare(ijepa_model *model, ijepa_dataset *set, const float *query, int dim, double *out, ijepa_error *err) {
    float *features = malloc((size_t)dim * sizeof *features);
    ijepa_status status = features ? IJEPA_OK : IJEPA_ERROR_MEMORY;
    for (int64_t i = 0; i < ijepa_dataset_count(set) && status == IJEPA_OK; i++) {
        int height, width, channels = ijepa_dataset_channels(set);
        out[i] = -2;
        if (ijepa_dataset_read(set, i, NULL, 0, &height, &width, err) != IJEPA_OK) { /* its size; the pixels come with the next call */
            fprintf(stderr, "left out: %s\n", err->text);
            continue;
        }
        size_t bytes = (size_t)height * (size_t)width * (size_t)channels;
        uint8_t *pixels = malloc(bytes);
        if (!pixels) status = IJEPA_ERROR_MEMORY;
        if (status == IJEPA_OK) status = ijepa_dataset_read(set, i, pixels, bytes, &height, &width, err);
        if (status == IJEPA_OK) status = ijepa_model_encode(model, pixels, height, width, channels, true, features, err);
        if (status == IJEPA_OK) out[i] = similarity(query, features, dim);
        free(pixels);
    }
    free(features);
    if (status == IJEPA_ERROR_MEMORY && !err->status) snprintf(err->text, sizeof err->text, "out of memory");
    return status;
}

/* The most similar picture is printed and taken out, k times. */
static void print_nearest(ijepa_dataset *set, double *similarities, int k) {
    int64_t count = ijepa_dataset_count(set);
    printf("%4s %10s  %-16s %s\n", "", "similarity", "class", "picture");
    for (int rank = 1; rank <= k && rank <= count; rank++) {
        int64_t best = 0;
        for (int64_t i = 1; i < count; i++) best = similarities[i] > similarities[best] ? i : best;
        if (similarities[best] < -1.5) return;
        const char *name = ijepa_dataset_class_name(set, ijepa_dataset_label(set, best));
        printf("%4d %10.4f  %-16s %s\n", rank, similarities[best], name ? name : "", ijepa_dataset_name(set, best));
        similarities[best] = -2;
    }
}

int main(int argc, char **argv) {
    if (argc < 4) return fputs("usage: search_folder RUN|CHECKPOINT FOLDER PICTURE [K]\n", stderr), 2;
    ijepa_error err = {0};
    ijepa_model *model = NULL;
    ijepa_dataset *set = NULL;
    ijepa_model_info info;
    ijepa_device_options device = {.device = getenv("IJEPA_DEVICE")};
    ijepa_status status = ijepa_model_open(argv[1], &device, 1, &model, &err);
    ijepa_model_describe(model, &info);
    ijepa_dataset_options read_as = {.channels = info.channels};
    if (status == IJEPA_OK) status = ijepa_dataset_open(argv[2], &read_as, &set, &err);
    float *query = calloc((size_t)info.features + 1, sizeof *query);
    double *similarities = calloc((size_t)ijepa_dataset_count(set) + 1, sizeof *similarities);
    if (status == IJEPA_OK) status = ijepa_model_encode_file(model, argv[3], true, query, &err);
    if (status == IJEPA_OK) status = compare(model, set, query, info.features, similarities, &err);
    if (status == IJEPA_OK) print_nearest(set, similarities, argc > 4 ? atoi(argv[4]) : 12);
    free(query);
    free(similarities);
    ijepa_dataset_close(set);
    ijepa_model_close(model);
    return status == IJEPA_OK ? EXIT_SUCCESS : fail(&err);
}
