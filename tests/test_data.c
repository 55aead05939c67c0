/* Datasets, crops and the loader: the same batches whatever the threads do, resume included. */
#include "suites.h"
#include "scratch.h"

#include "base/file.h"
#include "data/crop.h"
#include "data/dataset.h"
#include "data/idx.h"
#include "data/loader.h"
#include "data/order.h"
#include "io/checksum.h"

#include <math.h>
#include <zlib.h>

#define FASHION "/usr/share/datasets/fashion-mnist"

/* A picture whose pixels tell its number: a gradient with `number` in the first one. */
static void write_picture(const char *name, int number, int width, int height) {
    ij_error err;
    uint8_t *pixels = malloc((size_t)(width * height * 3));
    for (int i = 0; i < width * height * 3; i++) pixels[i] = (uint8_t)(i * 3 + number * 17);
    pixels[0] = (uint8_t)number;
    CHECK_OK(ij_png_write(scratch_path(name), pixels, width, height, 3, &err));
    free(pixels);
}

/* 3 classes, 23 pictures of different sizes. */
static void write_pictures(void) {
    static const char *const classes[] = {"b", "b-more", "a"};
    for (int i = 0; i < 23; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s", classes[i % 3]);
        mkdir(scratch_path(name), 0777);
        snprintf(name, sizeof name, "%s/%02d.%s", classes[i % 3], i, i % 2 ? "png" : "PNG");
        write_picture(name, i, 20 + i * 3, 50 - i);
    }
}

/* ---- datasets ---- */

START_TEST(test_folder) {
    ij_error err;
    ij_dataset *dataset;
    ij_image image = {0};
    char name[64];
    write_pictures();
    write_picture("top.png", 99, 5, 4);
    scratch_write("a/notes.txt", "x", 1);
    scratch_write("a/.hidden.png", "x", 1);
    mkdir(scratch_path("empty"), 0777);
    mkdir(scratch_path("a/deep"), 0777);
    write_picture("a/deep/er.png", 50, 7, 9);
    ck_assert_int_eq(symlink("..", scratch_path("a/loop")), 0);
    ck_assert_int_eq(symlink("nowhere.png", scratch_path("a/dangling.png")), 0);
    ck_assert_int_eq(symlink("b", scratch_path("linked")), 0);
    CHECK_OK(ij_dataset_open(scratch_folder, NULL, &dataset, &err));
    ck_assert_int_eq(ij_dataset_count(dataset), 23 + 1 + 1 + 8); /* "linked" shows b's eight again */
    ck_assert_int_eq(ij_dataset_classes(dataset), 4);
    ck_assert_str_eq(ij_dataset_class_name(dataset, 0), "a");
    ck_assert_str_eq(ij_dataset_class_name(dataset, 1), "b"); /* before "b-more", though '-' < '/' */
    ck_assert_str_eq(ij_dataset_class_name(dataset, 2), "b-more");
    ck_assert_str_eq(ij_dataset_class_name(dataset, 3), "linked");
    ck_assert_str_eq(ij_dataset_name(dataset, 0, name, sizeof name), "a/02.PNG");
    int unlabelled = 0;
    for (int64_t i = 0; i < ij_dataset_count(dataset); i++) {
        CHECK_OK(ij_dataset_read(dataset, i, &image, &err));
        int label = ij_dataset_label(dataset, i), number = image.pixels[0];
        ij_dataset_name(dataset, i, name, sizeof name);
        unlabelled += label < 0;
        if (label < 0)
            ck_assert_str_eq(name, "top.png");
        else
            ck_assert_msg(strncmp(name, ij_dataset_class_name(dataset, label), strlen(ij_dataset_class_name(dataset, label))) == 0, "%s",
                          name);
        if (number < 23) ck_assert(image.width == 20 + number * 3 && image.height == 50 - number && image.channels == 3);
    }
    ck_assert_int_eq(unlabelled, 1);
    ij_dataset_close(dataset);
    ij_image_free(&image);
}
END_TEST

START_TEST(test_folder_errors) {
    ij_error err;
    ij_dataset *dataset;
    CHECK_FAILS(ij_dataset_open("/nonexistent/images", NULL, &dataset, &err), IJ_ERROR_FILE);
    ck_assert_str_eq(err.text, "/nonexistent/images: no such folder or file");
    CHECK_FAILS(ij_dataset_open(scratch_folder, NULL, &dataset, &err), IJ_ERROR_FILE);
    ck_assert_ptr_nonnull(strstr(err.text, "has no images (looked for .jpg .jpeg .png .bmp, IDX)"));
    scratch_write("x.bin", "12345678", 8);
    CHECK_FAILS(ij_dataset_open(scratch_path("x.bin"), NULL, &dataset, &err), IJ_ERROR_FORMAT);
    CHECK_FAILS(ij_dataset_open(scratch_folder, &(ij_dataset_desc){.channels = 2}, &dataset, &err), IJ_ERROR_ARGUMENT);
}
END_TEST

/* 3 images of 2 x 3 pixels (height x width). */
static const uint8_t idx_images[] = {0,  0,  8,  3,  0,  0,  0,  3,  0,  0,  0,  2,  0,  0,  0,  3,  10,
                                     11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25, 30, 31, 32, 33, 34, 35};
static const uint8_t idx_labels[] = {0, 0, 8, 1, 0, 0, 0, 3, 7, 0, 2};

START_TEST(test_idx) {
    ij_error err;
    ij_dataset *dataset;
    ij_image image = {0};
    char name[64];
    scratch_write("train-images-idx3-ubyte", idx_images, sizeof idx_images);
    gzFile packed = gzopen(scratch_path("train-labels-idx1-ubyte.gz"), "wb");
    gzwrite(packed, idx_labels, sizeof idx_labels);
    gzclose(packed);
    CHECK_OK(ij_dataset_open(scratch_folder, NULL, &dataset, &err));
    ck_assert(ij_dataset_count(dataset) == 3 && ij_dataset_classes(dataset) == 8 && ij_dataset_channels(dataset) == 1);
    ck_assert(ij_dataset_label(dataset, 0) == 7 && ij_dataset_label(dataset, 1) == 0 && ij_dataset_label(dataset, 2) == 2);
    ck_assert_str_eq(ij_dataset_name(dataset, 2, name, sizeof name), "train-images-idx3-ubyte:2");
    ck_assert_int_eq(ij_dataset_image_bytes(dataset), 6);
    CHECK_OK(ij_dataset_read(dataset, 1, &image, &err));
    ck_assert(image.width == 3 && image.height == 2);
    ck_assert_mem_eq(image.pixels, idx_images + 16 + 6, 6);
    ij_dataset_close(dataset);

    CHECK_OK(ij_dataset_open(scratch_path("train-images-idx3-ubyte"), &(ij_dataset_desc){.channels = 3, .pad_to = 5}, &dataset, &err));
    CHECK_OK(ij_dataset_read(dataset, 2, &image, &err));
    ck_assert(image.width == 5 && image.height == 5 && image.channels == 3);
    for (int y = 0; y < 5; y++)
        for (int x = 0; x < 5; x++) {
            bool inside = x >= 1 && x < 4 && y >= 1 && y < 3;
            for (int c = 0; c < 3; c++) ck_assert_int_eq(image.pixels[(y * 5 + x) * 3 + c], inside ? 30 + (y - 1) * 3 + x - 1 : 0);
        }
    ij_dataset_close(dataset);
    CHECK_FAILS(ij_dataset_open(scratch_folder, &(ij_dataset_desc){.pad_to = 2}, &dataset, &err), IJ_ERROR_ARGUMENT);
    scratch_write("train-labels-idx1-ubyte", idx_labels, 8 + 2); /* unpacked labels go first */
    CHECK_FAILS(ij_dataset_open(scratch_folder, NULL, &dataset, &err), IJ_ERROR_FORMAT);
    ij_image_free(&image);
}
END_TEST

START_TEST(test_idx_damage) {
    ij_error err;
    ij_idx idx;
    void *bytes;
    for (size_t length = 0; length < sizeof idx_images; length++) {
        void *cut = exact_copy(idx_images, length);
        ck_assert_msg(ij_idx_parse(cut, length, "cut", &idx, &err) == IJ_ERROR_FORMAT, "%zu bytes", length);
        free(cut);
    }
    uint8_t copy[sizeof idx_images + 1];
    memcpy(copy, idx_images, sizeof idx_images);
    for (size_t bit = 0; bit < 16 * 8; bit++) { /* any flip in the header contradicts the size */
        copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        ck_assert_msg(ij_idx_parse(copy, sizeof idx_images, "flipped", &idx, &err) == IJ_ERROR_FORMAT, "bit %zu", bit);
        copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    memset(copy + 4, 0xff, 12);
    CHECK_FAILS(ij_idx_parse(copy, sizeof copy, "huge", &idx, &err), IJ_ERROR_FORMAT);

    /* gzip: whole, and cut at every length. */
    gzFile packed = gzopen(scratch_path("x.gz"), "wb");
    gzwrite(packed, idx_images, sizeof idx_images);
    gzclose(packed);
    CHECK_OK(ij_idx_read(scratch_path("x.gz"), &bytes, &idx, &err));
    ck_assert_mem_eq(idx.values, idx_images + 16, 18);
    free(bytes);
    void *whole;
    size_t count;
    CHECK_OK(ij_file_read(scratch_path("x.gz"), 0, &whole, &count, &err));
    for (size_t length = 0; length < count; length++) {
        scratch_write("cut.gz", whole, length);
        ck_assert_msg(ij_idx_read(scratch_path("cut.gz"), &bytes, &idx, &err) == IJ_ERROR_FORMAT, "%zu of %zu bytes", length, count);
        ck_assert_ptr_null(bytes);
    }
    free(whole);
}
END_TEST

START_TEST(test_fashion_mnist) {
    if (!ij_file_exists(FASHION "/train-images-idx3-ubyte.gz") && !ij_file_exists(FASHION "/train-images-idx3-ubyte")) return;
    ij_error err;
    ij_dataset *dataset;
    ij_image image = {0};
    CHECK_OK(ij_dataset_open(FASHION, &(ij_dataset_desc){.pad_to = 32}, &dataset, &err));
    ck_assert(ij_dataset_count(dataset) == 60000 && ij_dataset_classes(dataset) == 10);
    int64_t classes[10] = {0};
    for (int64_t i = 0; i < 60000; i++) classes[ij_dataset_label(dataset, i)]++;
    for (int k = 0; k < 10; k++) ck_assert_int_eq(classes[k], 6000);
    ck_assert_int_eq(ij_dataset_label(dataset, 0), 9); /* an ankle boot */
    CHECK_OK(ij_dataset_read(dataset, 59999, &image, &err));
    ck_assert(image.width == 32 && image.height == 32);
    ij_image_free(&image);
    ij_dataset_close(dataset);
}
END_TEST

/* ---- crops and order ---- */

static const double scale[2] = {0.3, 1}, ratio[2] = {3.0 / 4, 4.0 / 3};

START_TEST(test_crop_random) {
    int fallback = 0;
    double area_sum = 0, x_sum = 0, log_sum = 0;
    for (uint64_t sample = 0; sample < 20000; sample++) {
        ij_crop crop = ij_crop_random(5, 3, sample, 500, 375, scale, ratio);
        ck_assert(crop.w >= 1 && crop.h >= 1 && crop.x >= 0 && crop.y >= 0 && crop.x + crop.w <= 500 && crop.y + crop.h <= 375);
        ck_assert(crop.x == rintf(crop.x) && crop.w == rintf(crop.w));
        double shape = crop.w / crop.h, area = crop.w * crop.h / (500.0 * 375);
        ck_assert_msg(shape > 0.74 && shape < 1.35 && area > 0.297 && area <= 1, "%g x %g", crop.w, crop.h);
        area_sum += area;
        log_sum += log(shape);
        x_sum += crop.w < 500 ? crop.x / (500 - crop.w) : 0.5;
        fallback += crop.w == 500 && crop.h == 375;
    }
    /* At 4:3 a crop of large area and tall shape does not fit and is drawn again: the mean area lies below (0.3 + 1) / 2 and the
     * mean shape above 1. The same rule written in NumPy, over 4,000,000 draws of its generator: 0.5485 and 0.0452; the standard
     * error of 20,000 draws is 0.0011 for both. */
    ck_assert_msg(fabs(area_sum / 20000 - 0.5485) < 0.006, "mean area %g", area_sum / 20000);
    ck_assert_msg(fabs(log_sum / 20000 - 0.0452) < 0.006, "mean log ratio %g", log_sum / 20000);
    ck_assert_msg(fabs(x_sum / 20000 - 0.5) < 0.01, "mean place %g", x_sum / 20000);
    ck_assert_int_lt(fallback, 20000);

    ij_crop a = ij_crop_random(5, 3, 17, 500, 375, scale, ratio), b = ij_crop_random(5, 3, 17, 500, 375, scale, ratio);
    ij_crop c = ij_crop_random(5, 4, 17, 500, 375, scale, ratio), d = ij_crop_random(6, 3, 17, 500, 375, scale, ratio);
    ck_assert_mem_eq(&a, &b, sizeof a);
    ck_assert_mem_ne(&a, &c, sizeof a);
    ck_assert_mem_ne(&a, &d, sizeof a);
}
END_TEST

START_TEST(test_crop_of_extreme_shapes) {
    for (uint64_t sample = 0; sample < 100; sample++) {
        ij_crop wide = ij_crop_random(1, 0, sample, 1000, 30, scale, ratio); /* no try fits: the centre at 4:3 */
        ck_assert(wide.w == 40 && wide.h == 30 && wide.x == 480 && wide.y == 0);
        ij_crop tall = ij_crop_random(1, 0, sample, 30, 1000, scale, ratio);
        ck_assert(tall.w == 30 && tall.h == 40 && tall.x == 0 && tall.y == 480);
        ij_crop dot = ij_crop_random(1, 0, sample, 1, 1, scale, ratio);
        ck_assert(dot.w == 1 && dot.h == 1);
    }
    ij_crop center = ij_crop_center(500, 375, 256, 224);
    ck_assert_float_eq_tol(center.w, 375 * 224.0f / 256, 1e-4f);
    ck_assert_float_eq_tol(center.x, (500 - center.w) / 2, 1e-4f);
    ck_assert_float_eq(center.h, center.w);
    center = ij_crop_center(10, 20, 32, 32);
    ck_assert(center.x == 0 && center.y == 5 && center.w == 10 && center.h == 10);
}
END_TEST

START_TEST(test_order_is_a_permutation) {
    enum { COUNT = 1009 };
    uint32_t first[COUNT], again[COUNT], other[COUNT];
    ij_order_shuffle(9, 0, first, COUNT);
    ij_order_shuffle(9, 0, again, COUNT);
    ij_order_shuffle(9, 1, other, COUNT);
    ck_assert_mem_eq(first, again, sizeof first);
    int same = 0, at_home = 0;
    bool seen[COUNT] = {false};
    for (int i = 0; i < COUNT; i++) {
        ck_assert(first[i] < COUNT && !seen[first[i]]);
        seen[first[i]] = true;
        same += first[i] == other[i];
        at_home += first[i] == (uint32_t)i;
    }
    ck_assert_int_lt(same, 12); /* one is expected */
    ck_assert_int_lt(at_home, 12);
}
END_TEST

/* ---- loader ---- */

/* What a batch holds, in one number. */
static uint64_t batch_sum(const ij_loader_batch *batch) {
    ij_checksum sum;
    ij_checksum_begin(&sum);
    ij_checksum_add(&sum, &batch->count, sizeof batch->count);
    for (int i = 0; i < batch->count; i++) {
        const ij_loader_item *item = &batch->items[i];
        ij_checksum_add(&sum, &item->sample, sizeof item->sample);
        ij_checksum_add(&sum, &item->label, sizeof item->label);
        ij_checksum_add(&sum, &item->width, sizeof item->width);
        ij_checksum_add(&sum, &item->height, sizeof item->height);
        ij_checksum_add(&sum, &item->offset, sizeof item->offset);
        ij_checksum_add(&sum, &item->crop, sizeof item->crop);
    }
    ij_checksum_add(&sum, batch->pixels, batch->bytes);
    return ij_checksum_end(&sum);
}

enum { BATCHES_MAX = 64 };

/* The sums of an epoch's batches from first_batch on; returns how many there were. */
static int epoch_sums(ij_loader *loader, int epoch, int first_batch, uint64_t sums[BATCHES_MAX]) {
    ij_error err;
    int count = 0;
    CHECK_OK(ij_loader_start(loader, epoch, first_batch, &err));
    for (;;) {
        const ij_loader_batch *batch;
        CHECK_OK(ij_loader_next(loader, &batch, &err));
        if (batch->count == 0) return count;
        ck_assert_int_eq(batch->number, first_batch + count);
        ck_assert_uint_le(batch->bytes, ij_loader_max_bytes(loader));
        for (int i = 0; i < batch->count; i++) {
            const ij_loader_item *item = &batch->items[i];
            ck_assert_uint_eq(item->offset % 16, 0);
            ck_assert_uint_le(item->offset + (uint64_t)(item->width * item->height * batch->channels), batch->bytes);
            ck_assert(item->crop.x >= 0 && item->crop.y >= 0 && item->crop.x + item->crop.w <= (float)item->width &&
                      item->crop.y + item->crop.h <= (float)item->height);
        }
        sums[count++] = batch_sum(batch);
    }
}

static ij_dataset *open_pictures(void) {
    ij_error err;
    ij_dataset *dataset;
    CHECK_OK(ij_dataset_open(scratch_folder, NULL, &dataset, &err));
    return dataset;
}

static ij_loader *open_loader(const ij_dataset *dataset, ij_loader_desc desc) {
    ij_error err;
    ij_loader *loader;
    CHECK_OK(ij_loader_open(dataset, &desc, &loader, &err));
    return loader;
}

START_TEST(test_loader_does_not_depend_on_threads) {
    write_pictures();
    ij_dataset *dataset = open_pictures();
    uint64_t reference[3][BATCHES_MAX], sums[BATCHES_MAX];
    for (int threads = 1; threads <= 7; threads += threads == 1 ? 1 : 5) {
        for (int prefetch = 1; prefetch <= 4; prefetch += 3) {
            ij_loader *loader = open_loader(
                dataset,
                (ij_loader_desc){.seed = 3, .batch = 4, .threads = threads, .prefetch = prefetch, .shuffle = true, .drop_last = true});
            ck_assert_int_eq(ij_loader_batches(loader), 5);
            for (int epoch = 0; epoch < 3; epoch++) {
                bool first = threads == 1 && prefetch == 1;
                ck_assert_int_eq(epoch_sums(loader, epoch, 0, first ? reference[epoch] : sums), 5);
                if (!first) ck_assert_mem_eq(sums, reference[epoch], 5 * sizeof sums[0]);
            }
            ij_loader_close(loader);
        }
    }
    ck_assert_uint_ne(reference[0][0], reference[1][0]);
    ij_dataset_close(dataset);
}
END_TEST

START_TEST(test_loader_resumes_at_a_batch) {
    ij_error err;
    const ij_loader_batch *batch;
    write_pictures();
    ij_dataset *dataset = open_pictures();
    ij_loader *loader = open_loader(dataset, (ij_loader_desc){.seed = 3, .batch = 3, .threads = 2, .shuffle = true});
    uint64_t whole[BATCHES_MAX], rest[BATCHES_MAX];
    ck_assert_int_eq(epoch_sums(loader, 7, 0, whole), 8); /* 7 x 3 + 2 */
    for (int first = 0; first <= 8; first++) {
        CHECK_OK(ij_loader_start(loader, 2, 0, &err)); /* something else under way */
        if (first % 2) CHECK_OK(ij_loader_next(loader, &batch, &err));
        ck_assert_int_eq(epoch_sums(loader, 7, first, rest), 8 - first);
        ck_assert_mem_eq(rest, whole + first, (size_t)(8 - first) * sizeof rest[0]);
    }
    CHECK_FAILS(ij_loader_start(loader, 0, 9, &err), IJ_ERROR_ARGUMENT);
    ij_loader_close(loader);
    ij_dataset_close(dataset);
}
END_TEST

/* Two ranks with batches of 3 see together what one rank with batches of 6 sees, in the same order. */
START_TEST(test_loader_ranks_divide_the_batch) {
    ij_error err;
    const ij_loader_batch *batch;
    write_pictures();
    ij_dataset *dataset = open_pictures();
    ij_loader *whole = open_loader(dataset, (ij_loader_desc){.batch = 6, .shuffle = true, .drop_last = true});
    ij_loader *ranks[2];
    for (int r = 0; r < 2; r++)
        ranks[r] = open_loader(dataset, (ij_loader_desc){.batch = 3, .shuffle = true, .drop_last = true, .rank = r, .world = 2});
    ck_assert(ij_loader_batches(whole) == 3 && ij_loader_batches(ranks[1]) == 3);
    CHECK_OK(ij_loader_start(whole, 0, 0, &err));
    for (int r = 0; r < 2; r++) CHECK_OK(ij_loader_start(ranks[r], 0, 0, &err));
    for (int k = 0; k < 3; k++) {
        CHECK_OK(ij_loader_next(whole, &batch, &err));
        for (int r = 0; r < 2; r++) {
            const ij_loader_batch *part;
            CHECK_OK(ij_loader_next(ranks[r], &part, &err));
            for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(part->items[i].sample, batch->items[r * 3 + i].sample);
                ck_assert_mem_eq(&part->items[i].crop, &batch->items[r * 3 + i].crop, sizeof(ij_crop));
            }
        }
    }
    ij_loader_close(whole);
    for (int r = 0; r < 2; r++) ij_loader_close(ranks[r]);
    ij_dataset_close(dataset);
}
END_TEST

typedef struct told {
    int64_t samples[8];
    int count;
} told;

static void tell(void *user, int64_t sample, const char *text) {
    told *t = user;
    ck_assert_ptr_nonnull(strstr(text, ".png"));
    ck_assert_int_lt(t->count, 8);
    t->samples[t->count++] = sample;
}

START_TEST(test_loader_replaces_damaged) {
    write_pictures();
    scratch_write("a/05.png", "\x89PNG\r\n\x1a\n and nothing else", 25);
    scratch_write("b/21.png", "", 0);
    ij_dataset *dataset = open_pictures();
    int64_t damaged[2] = {-1, -1};
    for (int64_t i = 0; i < ij_dataset_count(dataset); i++) {
        char name[64];
        ij_dataset_name(dataset, i, name, sizeof name);
        if (strcmp(name, "a/05.png") == 0) damaged[0] = i;
        if (strcmp(name, "b/21.png") == 0) damaged[1] = i;
    }
    uint64_t reference[2][BATCHES_MAX], sums[BATCHES_MAX];
    told first_told = {0};
    for (int threads = 1; threads <= 7; threads += 2) {
        told t = {0};
        ij_error err;
        ij_loader *loader = open_loader(
            dataset, (ij_loader_desc){
                         .seed = 1, .batch = 4, .threads = threads, .shuffle = true, .drop_last = true, .on_damaged = tell, .user = &t});
        for (int epoch = 0; epoch < 2; epoch++) {
            ck_assert_int_eq(epoch_sums(loader, epoch, 0, threads == 1 ? reference[epoch] : sums), 5);
            if (threads > 1) ck_assert_mem_eq(sums, reference[epoch], 5 * sizeof sums[0]);
        }
        if (threads == 1) first_told = t;
        ck_assert_mem_eq(&t, &first_told, sizeof t); /* each once, in the same order */
        ck_assert(t.count >= 1 && t.count <= 2 && ij_loader_damaged(loader) == t.count);

        /* In every batch: no damaged sample, none twice, a replacement marked as such. */
        int replaced = 0;
        CHECK_OK(ij_loader_start(loader, 0, 0, &err));
        for (;;) {
            const ij_loader_batch *batch;
            CHECK_OK(ij_loader_next(loader, &batch, &err));
            if (batch->count == 0) break;
            for (int i = 0; i < batch->count; i++) {
                replaced += batch->items[i].replaced;
                ck_assert(batch->items[i].sample != damaged[0] && batch->items[i].sample != damaged[1]);
                for (int k = 0; k < i; k++) ck_assert_int_ne(batch->items[i].sample, batch->items[k].sample);
            }
        }
        ck_assert(replaced >= 1 && replaced <= 2);
        ij_loader_close(loader);
    }
    ij_dataset_close(dataset);
}
END_TEST

START_TEST(test_loader_all_damaged) {
    ij_error err;
    const ij_loader_batch *batch;
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d.jpg", i);
        scratch_write(name, "\xff\xd8\xff", 3);
    }
    ij_dataset *dataset = open_pictures();
    ij_loader *loader = open_loader(dataset, (ij_loader_desc){.batch = 2, .threads = 3});
    CHECK_FAILS(ij_loader_next(loader, &batch, &err), IJ_ERROR_ARGUMENT); /* not started */
    CHECK_OK(ij_loader_start(loader, 0, 0, &err));
    CHECK_FAILS(ij_loader_next(loader, &batch, &err), IJ_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "5 images in a row"));
    ij_loader_close(loader);
    ij_dataset_close(dataset);
}
END_TEST

/* The crop's pixels are the image's, and a crop over the cap is the mean over small squares. */
START_TEST(test_loader_pixels) {
    ij_error err;
    const ij_loader_batch *batch;
    ij_image image = {0};
    write_pictures();
    ij_dataset *dataset = open_pictures();
    ij_loader *loader = open_loader(dataset, (ij_loader_desc){.batch = 23, .shuffle = true});
    CHECK_OK(ij_loader_start(loader, 0, 0, &err));
    CHECK_OK(ij_loader_next(loader, &batch, &err));
    for (int i = 0; i < batch->count; i++) {
        const ij_loader_item *item = &batch->items[i];
        CHECK_OK(ij_dataset_read(dataset, item->sample, &image, &err));
        ij_crop crop = ij_crop_random(0, 0, (uint64_t)item->sample, image.width, image.height, scale, ratio);
        ck_assert(item->width == (int)crop.w && item->height == (int)crop.h && item->crop.x == 0 && item->crop.w == crop.w);
        ck_assert_int_eq(item->label, ij_dataset_label(dataset, item->sample));
        for (int y = 0; y < item->height; y++)
            ck_assert_mem_eq(batch->pixels + item->offset + (size_t)(y * item->width * 3),
                             image.pixels + (((size_t)crop.y + (size_t)y) * (size_t)image.width + (size_t)crop.x) * 3,
                             (size_t)item->width * 3);
    }
    ij_loader_close(loader);

    loader = open_loader(dataset, (ij_loader_desc){.batch = 23, .crop = IJ_CROP_FULL, .cap_bytes = 800});
    CHECK_OK(ij_loader_start(loader, 0, 0, &err));
    CHECK_OK(ij_loader_next(loader, &batch, &err));
    for (int i = 0; i < batch->count; i++) {
        const ij_loader_item *item = &batch->items[i];
        ck_assert_int_eq(item->sample, i);
        CHECK_OK(ij_dataset_read(dataset, i, &image, &err));
        int factor = (image.width + item->width - 1) / item->width;
        ck_assert_int_gt(factor, 1);
        ck_assert_int_le(item->width * item->height * 3, 800);
        ck_assert_float_eq_tol(item->crop.w * (float)factor, (float)image.width, 1e-3f);
        int sum = 0;
        for (int y = 0; y < factor; y++)
            for (int x = 0; x < factor; x++) sum += image.pixels[(y * image.width + x + factor) * 3 + 1]; /* second square, green */
        ck_assert_int_eq(batch->pixels[item->offset + 4], (sum + factor * factor / 2) / (factor * factor));
    }
    ij_loader_close(loader);

    loader = open_loader(dataset, (ij_loader_desc){.batch = 1, .crop = IJ_CROP_CENTER, .image_size = 7, .resize_size = 8});
    CHECK_OK(ij_loader_start(loader, 0, 0, &err));
    CHECK_OK(ij_loader_next(loader, &batch, &err));
    CHECK_OK(ij_dataset_read(dataset, 0, &image, &err));
    ij_crop center = ij_crop_center(image.width, image.height, 8, 7);
    ck_assert_float_eq_tol(batch->items[0].crop.w, center.w, 1e-4f);
    ck_assert_float_eq_tol(batch->items[0].crop.x, center.x - floorf(center.x), 1e-4f);
    ij_loader_close(loader);
    ij_dataset_close(dataset);
    ij_image_free(&image);
}
END_TEST

START_TEST(test_loader_bad_options) {
    ij_error err;
    ij_loader *loader;
    write_pictures();
    ij_dataset *dataset = open_pictures();
    static const ij_loader_desc bad[] = {{.batch = -1},         {.batch = 24, .drop_last = true},
                                         {.rank = 1},           {.rank = -1, .world = 2},
                                         {.threads = -2},       {.scale = {0.5, 0.3}},
                                         {.scale = {0.5, 1.5}}, {.ratio = {-1, 1}},
                                         {.cap_bytes = 1},      {.image_size = -3}};
    for (int i = 0; i < IJ_COUNT(bad); i++)
        ck_assert_msg(ij_loader_open(dataset, &bad[i], &loader, &err) == IJ_ERROR_ARGUMENT, "case %d", i);
    ij_loader_close(NULL);
    ij_dataset_close(dataset);
}
END_TEST

Suite *data_suite(void) {
    Suite *suite = suite_create("data");
    TCase *cases = tcase_create("data");
    tcase_set_timeout(cases, 120);
    tcase_add_checked_fixture(cases, scratch_begin, scratch_end);
    tcase_add_test(cases, test_folder);
    tcase_add_test(cases, test_folder_errors);
    tcase_add_test(cases, test_idx);
    tcase_add_test(cases, test_idx_damage);
    tcase_add_test(cases, test_fashion_mnist);
    tcase_add_test(cases, test_crop_random);
    tcase_add_test(cases, test_crop_of_extreme_shapes);
    tcase_add_test(cases, test_order_is_a_permutation);
    tcase_add_test(cases, test_loader_does_not_depend_on_threads);
    tcase_add_test(cases, test_loader_resumes_at_a_batch);
    tcase_add_test(cases, test_loader_ranks_divide_the_batch);
    tcase_add_test(cases, test_loader_replaces_damaged);
    tcase_add_test(cases, test_loader_all_damaged);
    tcase_add_test(cases, test_loader_pixels);
    tcase_add_test(cases, test_loader_bad_options);
    suite_add_tcase(suite, cases);
    return suite;
}
