/* Features of pictures, as CSV: one line a picture, its path first, then the mean over patches of the target encoder's output.
 *
 *   cc extract_features.c $(pkg-config --cflags --libs ijepa) -o extract_features
 *   ./extract_features runs/photos a.jpg b.png > features.csv */
#include <ijepa.h>

#include <stdio.h>
#include <stdlib.h>

static int fail(const ijepa_error *err) {
    fprintf(stderr, "%s\n%s%s%s", err->text, err->hint[0] ? "  hint: " : "", err->hint, err->hint[0] ? "\n" : "");
    return EXIT_FAILURE;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: extract_features RUN|CHECKPOINT PICTURE ...\n");
        return 2;
    }
    int pictures = argc - 2;
    const char *const *paths = (const char *const *)argv + 2;
    ijepa_error err;
    ijepa_model *model;
    ijepa_device_options device = {.device = getenv("IJEPA_DEVICE")};
    if (ijepa_model_open(argv[1], &device, pictures < 32 ? pictures : 32, &model, &err) != IJEPA_OK) return fail(&err);

    ijepa_model_info info;
    ijepa_model_describe(model, &info);
    fprintf(stderr, "encoder: %d x %d pixels, %d patches, dim %d, depth %d, %lld parameters, %lld training steps\n", info.image_height,
            info.image_width, info.patches, info.dim, info.depth, (long long)info.parameters, (long long)info.step);

    float *features = malloc((size_t)pictures * (size_t)info.features * sizeof *features); /* [pictures, features] */
    if (!features || ijepa_model_encode_files(model, paths, pictures, true, features, &err) != IJEPA_OK) {
        int code = features ? fail(&err) : EXIT_FAILURE;
        free(features);
        ijepa_model_close(model);
        return code;
    }
    for (int i = 0; i < pictures; i++) {
        printf("%s", paths[i]);
        for (int d = 0; d < info.features; d++) printf(",%.6g", (double)features[(size_t)i * (size_t)info.features + (size_t)d]);
        printf("\n");
    }
    free(features);
    ijepa_model_close(model);
    return EXIT_SUCCESS;
}
