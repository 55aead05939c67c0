/* Search in an index and its near-duplicates, against brute force in double; sheets of pictures; a whole run of it. */
#include "suites.h"
#include "scratch.h"

#include "base/file.h"
#include "data/scene_set.h"
#include "eval/search.h"
#include "ijepa.h"
#include "io/image.h"
#include "philox.h"
#include "view/contact_sheet.h"

#include <math.h>

#define API_OK(call)                                                                                                                       \
    do {                                                                                                                                   \
        ijepa_status api_ok_status_ = (call);                                                                                              \
        ck_assert_msg(api_ok_status_ == IJEPA_OK, "%s: %s", #call, error.text);                                                            \
    } while (0)
#define API_FAILS(call, wanted, part)                                                                                                      \
    do {                                                                                                                                   \
        ck_assert_msg((call) == (wanted), "%s did not fail with %s: %s", #call, #wanted, error.text);                                      \
        ck_assert_msg(strstr(error.text, part) != NULL, "\"%s\" is not in: %s", part, error.text);                                         \
    } while (0)

/* Vectors around a common direction, so that the mean matters; row 3 is 0, rows 5 and 9 are equal, row 11 is close to row 6. */
#define COUNT 61
#define DIM 7
static void make_rows(float *x) {
    for (uint32_t i = 0; i < COUNT * DIM; i++)
        x[i] = philox_unit(philox(8, 0, PHILOX_STREAM_TEST, i, 0, 0).x) - 0.5f + (i % DIM == 2) * 1.5f;
    for (int d = 0; d < DIM; d++) {
        x[3 * DIM + d] = 0;
        x[9 * DIM + d] = x[5 * DIM + d];
        x[11 * DIM + d] = x[6 * DIM + d] + 0.01f * (float)(d == 4);
    }
}

static void mean_of(const float *x, int64_t count, bool centre, double mean[DIM]) {
    for (int d = 0; d < DIM; d++) {
        mean[d] = 0;
        for (int64_t i = 0; centre && i < count; i++) mean[d] += x[i * DIM + d];
        mean[d] /= (double)count;
    }
}

static double cosine(const float *a, const float *b, const double mean[DIM]) {
    double ab = 0, aa = 0, bb = 0;
    for (int d = 0; d < DIM; d++) {
        ab += (a[d] - mean[d]) * (b[d] - mean[d]);
        aa += (a[d] - mean[d]) * (a[d] - mean[d]);
        bb += (b[d] - mean[d]) * (b[d] - mean[d]);
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* ---- nearest ---- */

START_TEST(test_nearest) {
    ij_error err;
    float x[COUNT * DIM];
    double mean[DIM];
    ij_search_hit hits[COUNT + 5];
    int64_t found;
    bool centred;
    make_rows(x);
    for (int centre = 0; centre < 2; centre++) {
        const float *query = x + 17 * DIM;
        mean_of(x, COUNT, centre, mean);
        CHECK_OK(ij_search_nearest(x, COUNT, DIM, query, COUNT + 5, centre, hits, &found, &centred, &err));
        ck_assert_int_eq(found, COUNT); /* k above the count */
        ck_assert_int_eq(centred, centre);
        ck_assert_int_eq(hits[0].row, 17);
        ck_assert_double_eq_tol(hits[0].similarity, 1, 1e-12);
        bool seen[COUNT] = {0};
        for (int i = 0; i < COUNT; i++) {
            ck_assert_double_eq_tol(hits[i].similarity, cosine(query, x + hits[i].row * DIM, mean), 1e-12);
            ck_assert(!seen[hits[i].row]);
            seen[hits[i].row] = true;
            if (i) ck_assert_double_le(hits[i].similarity, hits[i - 1].similarity);
            if (i && hits[i].row == 9) ck_assert_int_eq(hits[i - 1].row, 5); /* equal ones in the order of the rows */
        }
        CHECK_OK(ij_search_nearest(x, COUNT, DIM, x + 9 * DIM, 2, centre, hits, &found, NULL, &err));
        ck_assert(found == 2 && hits[0].row == 5 && hits[1].row == 9);
    }
    const float zero[DIM] = {0};
    CHECK_OK(ij_search_nearest(x, COUNT, DIM, zero, 4, false, hits, &found, NULL, &err));
    for (int i = 0; i < 4; i++) ck_assert(hits[i].row == i && hits[i].similarity == 0);
    CHECK_OK(ij_search_nearest(x, IJ_SEARCH_CENTRE_MIN - 1, DIM, x, 1, true, hits, &found, &centred, &err));
    ck_assert(!centred); /* too few for a mean */
    x[20 * DIM + 1] = NAN;
    CHECK_FAILS(ij_search_nearest(x, COUNT, DIM, x, 4, true, hits, &found, NULL, &err), IJ_ERROR_NUMBER);
    ck_assert_ptr_nonnull(strstr(err.text, "feature 1 of image 20"));
    CHECK_FAILS(ij_search_nearest(x, 2, DIM, x + 20 * DIM, 4, true, hits, &found, NULL, &err), IJ_ERROR_NUMBER);
}
END_TEST

/* ---- duplicates ---- */

typedef struct watch {
    int64_t calls, total, stop_after; /* stop_after 0: never */
} watch;
static void on_progress(void *user, const char *what, int64_t done, int64_t total) {
    watch *w = user;
    ck_assert_int_eq(done, ++w->calls);
    w->total = total;
}
static bool must_stop(void *user) {
    const watch *w = user;
    return w->stop_after && w->calls >= w->stop_after;
}

/* Labels every row with the lowest row that pairs connect it with, by passing labels on until nothing changes. */
static void connect_all(const double *similarity, double threshold, int *root) {
    for (int i = 0; i < COUNT; i++) root[i] = i;
    for (bool changed = true; changed;) {
        changed = false;
        for (int a = 0; a < COUNT; a++)
            for (int b = 0; b < COUNT; b++)
                if (a != b && similarity[a * COUNT + b] >= threshold && root[a] < root[b]) root[b] = root[a], changed = true;
    }
}

static void check_groups(const ij_duplicates *d, const int *root) {
    int sizes[COUNT] = {0}, groups = 0;
    for (int i = 0; i < COUNT; i++) sizes[root[i]]++;
    for (int i = 0; i < COUNT; i++) groups += sizes[i] > 1;
    ck_assert_int_eq(d->group_count, groups);
    for (int64_t g = 0; g < d->group_count; g++) {
        int64_t begin = d->offsets[g], size = d->offsets[g + 1] - begin;
        int first = (int)d->members[begin];
        ck_assert_int_eq(root[first], first);
        ck_assert_int_eq(size, sizes[first]);
        if (g) ck_assert_int_ge(begin - d->offsets[g - 1], size);
        for (int64_t i = 0; i < size; i++) {
            ck_assert_int_eq(root[d->members[begin + i]], first);
            if (i) ck_assert_int_lt(d->members[begin + i - 1], d->members[begin + i]);
        }
    }
}

static void check_duplicates(double threshold, bool centre, int64_t tile) {
    ij_error err;
    float x[COUNT * DIM];
    static double mean[DIM], similarity[COUNT * COUNT];
    int root[COUNT], pairs = 0;
    make_rows(x);
    mean_of(x, COUNT, centre, mean);
    for (int a = 0; a < COUNT; a++)
        for (int b = 0; b < COUNT; b++) similarity[a * COUNT + b] = cosine(x + a * DIM, x + b * DIM, mean);
    for (int a = 0; a < COUNT; a++)
        for (int b = a + 1; b < COUNT; b++) pairs += similarity[a * COUNT + b] >= threshold;
    connect_all(similarity, threshold, root);
    watch w = {0};
    ij_duplicates d;
    ij_duplicates_desc desc = {threshold, 10000, centre, tile, on_progress, must_stop, &w};
    CHECK_OK(ij_duplicates_find(test_device, x, COUNT, DIM, &desc, &d, &err));
    int64_t sides = tile ? (COUNT + tile - 1) / tile : 1;
    ck_assert(w.calls == w.total && w.total == sides * (sides + 1) / 2);
    ck_assert_int_eq(d.pairs_found, pairs);
    ck_assert_int_eq(d.pair_count, pairs);
    for (int64_t i = 0; i < d.pair_count; i++) {
        const ij_duplicate_pair *p = &d.pairs[i];
        ck_assert(p->a < p->b);
        ck_assert_double_eq_tol(p->similarity, similarity[p->a * COUNT + p->b], 1e-12);
        if (i)
            ck_assert(p[-1].similarity > p->similarity ||
                      (p[-1].similarity == p->similarity && (p[-1].a < p->a || (p[-1].a == p->a && p[-1].b < p->b))));
    }
    check_groups(&d, root);
    /* The first of them alone, and the groups of all. */
    ij_duplicates few;
    desc.max_pairs = 5, desc.progress = NULL;
    CHECK_OK(ij_duplicates_find(test_device, x, COUNT, DIM, &desc, &few, &err));
    ck_assert_int_eq(few.pairs_found, pairs);
    ck_assert_int_eq(few.pair_count, pairs < 5 ? pairs : 5);
    for (int64_t i = 0; i < few.pair_count; i++) ck_assert_mem_eq(&few.pairs[i], &d.pairs[i], sizeof *d.pairs);
    check_groups(&few, root);
    ij_duplicates_free(&few);
    ij_duplicates_free(&d);
}

START_TEST(test_duplicates) {
    const int64_t tiles[] = {0, 1, 7, 16, 60};
    for (int i = 0; i < IJ_COUNT(tiles); i++) check_duplicates(0.8, true, tiles[i]);
    check_duplicates(0.9, false, 16);
    check_duplicates(0.999, true, 32);  /* the planted pairs */
    check_duplicates(-0.999, true, 32); /* nearly all */
}
END_TEST

START_TEST(test_duplicates_planted) {
    ij_error err;
    float x[COUNT * DIM];
    ij_duplicates d;
    ij_duplicates_desc desc = {.threshold = 0.999, .max_pairs = 10, .centre = true};
    make_rows(x);
    CHECK_OK(ij_duplicates_find(test_device, x, COUNT, DIM, &desc, &d, &err));
    ck_assert(d.pair_count == 2 && d.centred && d.group_count == 2);
    ck_assert(d.pairs[0].a == 5 && d.pairs[0].b == 9 && d.pairs[1].a == 6 && d.pairs[1].b == 11);
    ij_duplicates_free(&d);
    desc.threshold = 1.1;
    CHECK_FAILS(ij_duplicates_find(test_device, x, COUNT, DIM, &desc, &d, &err), IJ_ERROR_ARGUMENT);
    watch w = {.stop_after = 2};
    desc = (ij_duplicates_desc){.threshold = 0.9, .max_pairs = 10, .tile = 16, .progress = on_progress, .stop = must_stop, .user = &w};
    CHECK_FAILS(ij_duplicates_find(test_device, x, COUNT, DIM, &desc, &d, &err), IJ_ERROR_STOPPED);
    ck_assert_int_eq(w.calls, 2);
    ck_assert_ptr_null(d.pairs);
    CHECK_OK(ij_duplicates_find(test_device, x, 1, DIM, &(ij_duplicates_desc){.threshold = 0.9, .max_pairs = 10}, &d, &err));
    ck_assert(d.pair_count == 0 && d.group_count == 0);
    ij_duplicates_free(&d);
}
END_TEST

/* ---- sheets ---- */

START_TEST(test_shrink) {
    uint8_t grey[6 * 4], out[12 * 8 * 3];
    for (int i = 0; i < 24; i++) grey[i] = (uint8_t)(10 * i);
    ij_shrink(grey, 6, 4, 1, 3, 2, out); /* means of 2 x 2 */
    for (int v = 0; v < 2; v++)
        for (int u = 0; u < 3; u++)
            for (int c = 0; c < 3; c++) ck_assert_int_eq(out[(v * 3 + u) * 3 + c], 10 * (12 * v + 2 * u) + 35);
    ij_shrink(grey, 6, 1, 1, 4, 1, out); /* 1.5 pixels each: (0 + 10 / 2) / 1.5 = 3.33, (10 / 2 + 20) / 1.5, ... */
    const int wanted[] = {3, 17, 33, 47};
    for (int u = 0; u < 4; u++) ck_assert_int_eq(out[u * 3], wanted[u]);
    ij_shrink(grey, 6, 4, 1, 12, 8, out); /* each pixel four times */
    for (int v = 0; v < 8; v++)
        for (int u = 0; u < 12; u++) ck_assert_int_eq(out[(v * 12 + u) * 3], grey[v / 2 * 6 + u / 2]);
    uint8_t rgb[2 * 3] = {10, 20, 30, 30, 60, 90};
    ij_shrink(rgb, 2, 1, 3, 1, 1, out);
    ck_assert(out[0] == 20 && out[1] == 40 && out[2] == 60);
}
END_TEST

enum { SIDE = IJ_SHEET_SIDE };

/* Tile 0: SIDE x SIDE pixels; tile 1 is gone; the others are half as wide as high. */
static ij_status read_tile(void *user, int i, ij_image *image, ij_error *err) {
    int width = i ? SIDE / 2 : SIDE;
    if (i == 1) return ij_fail(err, IJ_ERROR_FILE, "gone");
    IJ_TRY(ij_image_resize(image, width, SIDE, 3, "test", err));
    for (int p = 0; p < width * SIDE * 3; p++) image->pixels[p] = (uint8_t)(p * 7 + i);
    return IJ_OK;
}

static const uint8_t *sheet_pixel(const ij_image *sheet, int x, int y) {
    return sheet->pixels + ((size_t)y * (size_t)sheet->width + (size_t)x) * 3;
}

START_TEST(test_sheet) {
    ij_error err;
    ij_image sheet = {0}, tile = {0};
    const char *path = scratch_path("sheet.png");
    char name[80];
    snprintf(name, sizeof name, "%055d.jpg", 1);
    ij_sheet_tile tiles[8] = {
        {.caption = {"query", "q.png"}, .framed = true}, {.caption = {name, "0.5"}}, {.caption = {"x\xc3\xa9", NULL}}};
    tiles[7].heading = "a block of its own";
    CHECK_OK(ij_contact_sheet(&(ij_sheet){"Title", tiles, 8, read_tile, NULL}, path, &err));
    CHECK_OK(ij_image_read(path, 3, &sheet, &err));
    ck_assert_int_eq(sheet.width, 2 * IJ_SHEET_LEFT + 5 * IJ_SHEET_STEP + SIDE);
    CHECK_OK(read_tile(NULL, 0, &tile, &err));
    for (int y = 0; y < SIDE; y++) /* the query's pixels as they are */
        ck_assert_mem_eq(sheet_pixel(&sheet, IJ_SHEET_LEFT, IJ_SHEET_TOP + y), tile.pixels + y * SIDE * 3, SIDE * 3);
    const uint8_t *corner = sheet_pixel(&sheet, IJ_SHEET_LEFT + IJ_SHEET_STEP + 2, IJ_SHEET_TOP + 2);
    ck_assert(corner[0] == 0xd8 && corner[1] == 0xd8 && corner[2] == 0xd8);
    CHECK_OK(read_tile(NULL, 2, &tile, &err));
    for (int y = 0; y < SIDE; y++) /* half as wide, in the middle */
        ck_assert_mem_eq(sheet_pixel(&sheet, IJ_SHEET_LEFT + 2 * IJ_SHEET_STEP + SIDE / 4, IJ_SHEET_TOP + y),
                         tile.pixels + y * SIDE / 2 * 3, SIDE / 2 * 3);
    /* Nothing of the long name is written beside its tile. */
    for (int y = IJ_SHEET_TOP + SIDE + 4; y < IJ_SHEET_TOP + SIDE + 20; y++)
        for (int x = IJ_SHEET_LEFT + IJ_SHEET_STEP + SIDE + 2; x < IJ_SHEET_LEFT + 2 * IJ_SHEET_STEP - 1; x++)
            ck_assert_int_eq(sheet_pixel(&sheet, x, y)[0], 255);
    /* Blocks of 2, 3 and 2: the third has no room in the first row. */
    ij_sheet_tile blocks[7] = {[0] = {.heading = "one"}, [2] = {.heading = "two"}, [5] = {.heading = "three"}};
    CHECK_OK(ij_contact_sheet(&(ij_sheet){"Title", blocks, 7, read_tile, NULL}, path, &err));
    CHECK_OK(ij_image_read(path, 3, &sheet, &err));
    for (int column = 0; column < 6; column++)
        ck_assert_int_eq(sheet_pixel(&sheet, IJ_SHEET_LEFT + column * IJ_SHEET_STEP + 80, IJ_SHEET_TOP + 2)[0] != 255, column < 5);
    CHECK_OK(read_tile(NULL, 5, &tile, &err));
    int below = IJ_SHEET_TOP + SIDE;
    while (memcmp(sheet_pixel(&sheet, IJ_SHEET_LEFT + SIDE / 4, below), tile.pixels, SIDE / 2 * 3) != 0)
        ck_assert_int_lt(++below, sheet.height - SIDE);
    CHECK_FAILS(ij_contact_sheet(&(ij_sheet){"Title", tiles, 0, read_tile, NULL}, path, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(ij_contact_sheet(&(ij_sheet){"Title", tiles, 1, read_tile, NULL}, scratch_path("no/x.png"), &err), IJ_ERROR_FILE);
    ij_image_free(&sheet);
    ij_image_free(&tile);
}
END_TEST

/* ---- the whole: a run, an index, a query ---- */

static ijepa_device_options device_options(void) {
    return (ijepa_device_options){.device = getenv("IJEPA_DEVICE"), .validation = getenv("IJEPA_VALIDATION") != NULL};
}

/* A run of one step on pictures/. */
static void make_run(const char *name, int seed) {
    ijepa_error error;
    ijepa_config *config;
    ijepa_trainer *trainer;
    ijepa_progress p;
    bool finished;
    char yaml[1400];
    snprintf(
        yaml, sizeof yaml,
        "data: {path: \"%s/pictures\", crop_size: 16, random_crop: false, batch_size: 4, num_workers: 1}\n"
        "mask: {patch_size: 4, min_keep: 1}\n"
        "meta: {model_name: custom, embed_dim: 16, depth: 2, num_heads: 2, pred_emb_dim: 8, pred_depth: 1, pred_num_heads: 1, seed: %d}\n"
        "optimization: {epochs: 2, warmup: 1, start_lr: 0.0001, lr: 0.001}\n"
        "logging: {folder: \"%s/%s\"}\n",
        scratch_folder, seed, scratch_folder, name);
    const char *path = scratch_write("run.yaml", yaml, strlen(yaml));
    API_OK(ijepa_config_create(&config, &error));
    API_OK(ijepa_config_load(config, path, &error));
    API_OK(ijepa_trainer_open(config, &(ijepa_trainer_options){.device = device_options(), .no_tune = true}, &trainer, &error));
    API_OK(ijepa_trainer_step(trainer, &p, &finished, &error));
    API_OK(ijepa_trainer_save(trainer, NULL, &error));
    ijepa_trainer_close(trainer);
    ijepa_config_destroy(config);
}

/* pictures/a and pictures/b: drawn scenes, 10 each; the last of b is a copy of the first of a. */
static void make_pictures(void) {
    ij_error err;
    scene_set_result made;
    scene_set_desc d = {
        .scene = {.width = 32, .height = 32, .objects_min = 1, .objects_max = 10}, .count = {10, 9}, .samples = 1, .threads = 1};
    void *bytes;
    size_t count;
    CHECK_OK(scene_set_write(scratch_path("pictures"), &d, &made, &err));
    CHECK_OK(ij_file_read(scratch_path("pictures/train/000000.png"), 0, &bytes, &count, &err));
    scratch_write("pictures/test/copy.png", bytes, count);
    free(bytes);
}

static void embed(const char *run, const char *out, bool patches) {
    ijepa_error error;
    const char *data = scratch_path("pictures");
    API_OK(ijepa_embed(run, &data, 1, &(ijepa_embed_options){.device = device_options(), .out = out, .patches = patches}, NULL, &error));
}

START_TEST(test_search) {
    ijepa_error error;
    ij_error err;
    ijepa_search_result r;
    ij_image sheet = {0};
    make_pictures();
    make_run("run", 1);
    make_run("other", 2);
    embed(scratch_path("run"), scratch_path("index.safetensors"), false);
    ijepa_search_options o = {.device = device_options(), .k = 3, .sheet = scratch_path("sheet.png")};
    char index[600], query[600];
    snprintf(index, sizeof index, "%s/index.safetensors", scratch_folder);
    snprintf(query, sizeof query, "%s/pictures/train/000000.png", scratch_folder);
    API_OK(ijepa_search(index, query, &o, &r, &error));
    ck_assert(r.count == 3 && r.images == 20 && r.centred);
    for (int i = 0; i < 2; i++) ck_assert_double_eq_tol(r.hits[i].similarity, 1, 1e-6); /* itself and its copy, in the order of the rows */
    ck_assert_str_eq(r.hits[0].name, "test/copy.png");
    ck_assert_str_eq(r.hits[0].label, "test");
    ck_assert_str_eq(r.hits[1].name, "train/000000.png");
    ck_assert_str_eq(r.hits[1].label, "train");
    ck_assert_double_lt(r.hits[2].similarity, 1 - 1e-6);
    ijepa_search_free(&r);
    ijepa_search_free(&r);

    o.model = scratch_path("other");
    API_FAILS(ijepa_search(index, query, &o, &r, &error), IJEPA_ERROR_MISMATCH, "their features cannot be compared");
    ck_assert_ptr_null(r.hits);
    o.model = NULL;
    API_FAILS(ijepa_search(index, scratch_path("none.png"), &o, &r, &error), IJEPA_ERROR_FILE, "none.png");
    API_FAILS(ijepa_search(query, query, &o, &r, &error), IJEPA_ERROR_FORMAT, "000000.png");
    o.k = -1;
    API_FAILS(ijepa_search(index, query, &o, &r, &error), IJEPA_ERROR_ARGUMENT, "k");
    o.k = 100; /* more than there are; one of them is gone */
    unlink(scratch_path("pictures/test/copy.png"));
    API_OK(ijepa_search(index, query, &o, &r, &error));
    ck_assert_int_eq(r.count, 20);
    CHECK_OK(ij_image_read(o.sheet, 3, &sheet, &err));
    ck_assert_int_eq(sheet_pixel(&sheet, IJ_SHEET_LEFT + IJ_SHEET_STEP + 2, IJ_SHEET_TOP + 2)[0], 0xd8);
    ij_image_free(&sheet);
    ijepa_search_free(&r);
    embed(scratch_path("run"), scratch_path("patches.safetensors"), true);
    API_FAILS(ijepa_search(scratch_path("patches.safetensors"), query, &o, &r, &error), IJEPA_ERROR_FORMAT, "patch");
}
END_TEST

START_TEST(test_duplicates_of_a_run) {
    ijepa_error error;
    ijepa_duplicates_result r;
    make_pictures();
    make_run("run", 1);
    embed(scratch_path("run"), scratch_path("index.safetensors"), false);
    ijepa_duplicates_options o = {.device = device_options(), .threshold = 0.9999999, .sheet = scratch_path("sheet.png")};
    API_OK(ijepa_duplicates(scratch_path("index.safetensors"), &o, &r, &error));
    ck_assert(r.pair_count == 1 && r.pairs_found == 1 && r.group_count == 1 && r.images == 20 && r.centred);
    ck_assert_str_eq(r.pairs[0].name_a, "test/copy.png");
    ck_assert_str_eq(r.pairs[0].name_b, "train/000000.png");
    ck_assert_int_eq(r.groups[0].count, 2);
    ck_assert_str_eq(r.groups[0].names[1], "train/000000.png");
    ck_assert(r.groups[0].rows[0] == r.pairs[0].a && r.groups[0].rows[1] == r.pairs[0].b);
    ck_assert(ij_file_exists(o.sheet));
    ijepa_duplicates_free(&r);
    ijepa_duplicates_free(&r);
    o.threshold = 2;
    API_FAILS(ijepa_duplicates(scratch_path("index.safetensors"), &o, &r, &error), IJEPA_ERROR_ARGUMENT, "threshold");
    API_FAILS(ijepa_duplicates(scratch_path("none.safetensors"), NULL, &r, &error), IJEPA_ERROR_FILE, "none.safetensors");
}
END_TEST

Suite *search_suite(void) {
    Suite *suite = suite_create("search");
    TCase *host = tcase_create("host");
    tcase_add_test(host, test_nearest);
    tcase_add_test(host, test_shrink);
    suite_add_tcase(suite, host);
    TCase *device = tcase_create("device");
    tcase_add_unchecked_fixture(device, open_test_device, close_test_device);
    tcase_add_test(device, test_duplicates);
    tcase_add_test(device, test_duplicates_planted);
    tcase_set_timeout(device, 300);
    suite_add_tcase(suite, device);
    TCase *whole = tcase_create("whole");
    tcase_add_checked_fixture(whole, scratch_begin, scratch_end);
    tcase_add_test(whole, test_sheet);
    tcase_add_test(whole, test_search);
    tcase_add_test(whole, test_duplicates_of_a_run);
    tcase_set_timeout(whole, 300);
    suite_add_tcase(suite, whole);
    return suite;
}
