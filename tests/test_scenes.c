/* Drawn scenes: what the labels say is what the pictures show; the same bytes from any number of threads. */
#include "suites.h"
#include "scratch.h"

#include "base/file.h"
#include "base/memory.h"
#include "data/scene.h"
#include "data/scene_render.h"
#include "data/scene_set.h"
#include "io/image.h"
#include "philox.h"

#include <math.h>

#define SCENES 300

static scene_desc plain(void) { return (scene_desc){.seed = 11, .width = 128, .height = 128, .objects_min = 1, .objects_max = 10}; }

/* ---- description ---- */

START_TEST(test_counts_and_classes) {
    scene_desc desc = plain();
    int counts[SCENE_OBJECTS_MAX + 1] = {0}, classes[SCENE_DISTANCES] = {0};
    for (uint64_t i = 0; i < SCENES; i++) {
        scene s;
        scene_draw(&desc, i, &s);
        ck_assert_int_ge(s.count, 1);
        ck_assert_int_le(s.count, SCENE_OBJECTS_MAX);
        counts[s.count]++;
        classes[scene_distance_class(scene_distance(&s))]++;
    }
    /* 30 expected of each count: 5 standard deviations are 26. */
    for (int i = 1; i <= SCENE_OBJECTS_MAX; i++) ck_assert_msg(counts[i] >= 4 && counts[i] <= 56, "%d objects: %d", i, counts[i]);
    for (int i = 0; i < SCENE_DISTANCES; i++) ck_assert_msg(classes[i] >= 10, "distance class %d: %d of %d", i, classes[i], SCENES);
}
END_TEST

START_TEST(test_distance_class) {
    const double at[] = {0.5, 8.0, 8.0001, 8.5, 8.6, 9.0, 9.2, 9.5, 9.9, 10.0, 10.0001, 99};
    const int wanted[] = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5}; /* VTAB: thresholds strictly below */
    for (int i = 0; i < IJ_COUNT(at); i++) ck_assert_int_eq(scene_distance_class(at[i]), wanted[i]);
}
END_TEST

/* The nearest object again, in double and from the camera's place alone: it looks at the origin. */
START_TEST(test_nearest) {
    scene_desc desc = plain();
    for (uint64_t i = 0; i < SCENES; i++) {
        scene s;
        scene_draw(&desc, i, &s);
        double x = s.camera.eye.x, y = s.camera.eye.y, z = s.camera.eye.z, length = sqrt(x * x + y * y + z * z), least = 1e9;
        int nearest = -1;
        for (int k = 0; k < s.count; k++) {
            const scene_object *o = &s.objects[k];
            double depth = ((x - o->x) * x + (y - o->y) * y + (z - o->half) * z) / length;
            if (depth < least) least = depth, nearest = k;
        }
        ck_assert_int_eq(s.nearest, nearest);
        ck_assert_double_eq_tol(scene_distance(&s), least, 1e-4);
    }
}
END_TEST

START_TEST(test_no_overlap) {
    scene_desc desc = plain();
    desc.objects_min = 8;
    for (uint64_t i = 0; i < SCENES; i++) {
        scene s;
        scene_draw(&desc, i, &s);
        for (int a = 0; a < s.count; a++) {
            const scene_object *p = &s.objects[a];
            ck_assert(fabsf(p->x) <= SCENE_EXTENT && fabsf(p->y) <= SCENE_EXTENT && p->half > 0.2f && p->half < 0.71f);
            for (int b = 0; b < a; b++) {
                const scene_object *q = &s.objects[b];
                ck_assert_double_ge(hypot(p->x - q->x, p->y - q->y), (double)(p->footprint + q->footprint + SCENE_GAP) - 1e-5);
            }
        }
    }
}
END_TEST

/* Counts pixels in a whole picture as wide as the view; there the counting looked at squares around the objects. */
static void check_visible(scene_desc desc, int width, int height, uint64_t index) {
    scene s;
    int seen[SCENE_OBJECTS_MAX] = {0};
    desc.width = width, desc.height = height;
    scene_draw(&desc, index, &s);
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++) {
            scene_vec ray = scene_ray(&s.camera, ((float)column + 0.5f) / (float)width, ((float)row + 0.5f) / (float)height);
            scene_hit hit = scene_trace(&s, s.camera.eye, ray);
            if (hit.object >= 0) seen[hit.object]++;
        }
    for (int k = 0; k < s.count; k++) {
        ck_assert_int_eq(seen[k], s.objects[k].visible);
        ck_assert_int_ge(seen[k], SCENE_VISIBLE_MIN);
    }
}

START_TEST(test_all_visible) {
    scene_desc desc = plain();
    for (uint64_t i = 0; i < 60; i++) check_visible(desc, SCENE_VIEW_WIDTH, SCENE_VIEW_WIDTH, i);
    for (uint64_t i = 0; i < 20; i++) check_visible(desc, SCENE_VIEW_WIDTH, 120, i); /* 4:3 */
}
END_TEST

/* Very wide and very tall pictures come together too, and their objects are seen. */
START_TEST(test_aspects) {
    const int sides[][2] = {{512, 128}, {128, 512}, {16, 64}, {227, 149}};
    for (int k = 0; k < IJ_COUNT(sides); k++) {
        scene_desc desc = plain();
        desc.objects_min = 10;
        desc.width = sides[k][0], desc.height = sides[k][1];
        for (uint64_t i = 0; i < 20; i++) {
            scene s;
            scene_draw(&desc, i, &s);
            ck_assert_int_eq(s.count, 10);
            for (int o = 0; o < s.count; o++) ck_assert_int_ge(s.objects[o].visible, SCENE_VISIBLE_MIN);
        }
    }
}
END_TEST

/* ---- pictures ---- */

/* One object at the origin under the cameras and lights of scene 0. */
static scene alone(int shape, int material) {
    scene_desc desc = plain();
    scene s;
    scene_draw(&desc, 0, &s);
    s.count = 1;
    s.nearest = 0;
    s.objects[0] = (scene_object){.shape = shape, .colour = 1, .size = 1, .material = material, .half = 0.7f, .cosine = 1};
    s.objects[0].footprint = shape == SCENE_CUBE ? 0.99f : 0.7f;
    s.objects[0].bound = shape == SCENE_SPHERE ? 0.7f : 1.3f;
    return s;
}

static bool is_red(const uint8_t *pixel) { return pixel[0] > 40 && pixel[0] > pixel[1] + 30 && pixel[0] > pixel[2] + 30; }

START_TEST(test_sphere_silhouette) {
    enum { SIDE = 200 };
    static uint8_t pixels[SIDE * SIDE * 3];
    scene s = alone(SCENE_SPHERE, SCENE_RUBBER);
    scene_render(&s, SIDE, SIDE, 2, pixels);
    float x, y;
    ck_assert(scene_project(&s.camera, (scene_vec){0, 0, 0.7f}, &x, &y));
    scene_vec to = scene_sub((scene_vec){0, 0, 0.7f}, s.camera.eye);
    float far = sqrtf(scene_dot(to, to)), angle = asinf(0.7f / far);
    int red = 0;
    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column++) {
            scene_vec ray = scene_ray(&s.camera, ((float)column + 0.5f) / SIDE, ((float)row + 0.5f) / SIDE);
            float away = acosf(fminf(1, scene_dot(ray, to) / far));
            bool drawn = is_red(pixels + (row * SIDE + column) * 3);
            red += drawn;
            if (away < angle * 0.93f) ck_assert_msg(drawn, "pixel %d, %d inside of the sphere is not red", column, row);
            if (away > angle * 1.05f) ck_assert_msg(!drawn, "pixel %d, %d outside of the sphere is red", column, row);
        }
    ck_assert(is_red(pixels + ((int)(y * SIDE) * SIDE + (int)(x * SIDE)) * 3));
    double radius = tan(angle) / s.camera.tan_x * SIDE / 2;
    ck_assert_double_eq_tol(red, 3.14159 * radius * radius, 0.05 * red);
}
END_TEST

static int grey_at(const scene *s, const uint8_t *pixels, int side, scene_vec point) {
    float x, y;
    ck_assert(scene_project(&s->camera, point, &x, &y));
    return pixels[((int)(y * (float)side) * side + (int)(x * (float)side)) * 3 + 1];
}

START_TEST(test_shadow) {
    enum { SIDE = 160 };
    static uint8_t pixels[SIDE * SIDE * 3], empty[SIDE * SIDE * 3];
    for (int hard = 0; hard < 2; hard++) {
        scene s = alone(SCENE_CYLINDER, SCENE_RUBBER), bare;
        if (hard)
            for (int i = 0; i < SCENE_LIGHTS; i++) s.lights[i].radius = 0;
        bare = s;
        bare.count = 0;
        scene_render(&s, SIDE, SIDE, 4, pixels);
        scene_render(&bare, SIDE, SIDE, 4, empty);
        /* On the ground behind the cylinder as the key light sees it, and as far to its side. */
        scene_vec key = s.lights[0].at, away = scene_unit((scene_vec){-key.x, -key.y, 0});
        scene_vec shadowed = scene_scale(away, 0.95f), lit = {away.y * 2.2f, -away.x * 2.2f, 0};
        ck_assert(scene_blocked(&s, shadowed, scene_unit(scene_sub(key, shadowed)), 100));
        ck_assert_int_lt(grey_at(&s, pixels, SIDE, shadowed), 0.85 * grey_at(&bare, empty, SIDE, shadowed));
        ck_assert_int_gt(grey_at(&s, pixels, SIDE, lit), 0.95 * grey_at(&bare, empty, SIDE, lit));
    }
}
END_TEST

/* Edges are mixtures: more samples, nearer to the picture of very many. */
START_TEST(test_antialiasing) {
    enum { SIDE = 48, BYTES = SIDE * SIDE * 3 };
    static uint8_t pixels[3][BYTES];
    double error[2] = {0};
    scene s = alone(SCENE_CUBE, SCENE_METAL);
    const int samples[] = {1, 4, 16};
    for (int k = 0; k < 3; k++) scene_render(&s, SIDE, SIDE, samples[k], pixels[k]);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < BYTES; i++) error[k] += pow(pixels[k][i] - pixels[2][i], 2);
    ck_assert_msg(error[1] < 0.25 * error[0], "squared error %g with 4 x 4 samples, %g with one", error[1], error[0]);
}
END_TEST

/* What is met from random places: on the surface of its solid, with a normal that looks back. */
START_TEST(test_hits) {
    int met[SCENE_SHAPES] = {0};
    scene_desc desc = plain();
    desc.objects_min = 10;
    for (uint32_t i = 0; i < 20000; i++) {
        static scene s;
        if (i % 1000 == 0) scene_draw(&desc, i, &s);
        philox_words w = philox(3, 0, PHILOX_STREAM_TEST, i, 0, 0);
        scene_vec ray = scene_ray(&s.camera, philox_unit(w.x), 0.25f + 0.5f * philox_unit(w.y));
        scene_hit hit = scene_trace(&s, s.camera.eye, ray);
        if (hit.object < 0) continue;
        const scene_object *o = &s.objects[hit.object];
        scene_vec p = scene_sub(hit.at, (scene_vec){o->x, o->y, o->half});
        double u = fabs(o->cosine * p.x + o->sine * p.y), v = fabs(o->cosine * p.y - o->sine * p.x), w_ = fabs(p.z), outside;
        if (o->shape == SCENE_SPHERE)
            outside = sqrt(u * u + v * v + w_ * w_) - o->half;
        else if (o->shape == SCENE_CYLINDER)
            outside = fmax(sqrt(u * u + v * v), w_) - o->half;
        else
            outside = fmax(fmax(u, v), w_) - o->half;
        ck_assert_double_eq_tol(outside, 0, 1e-4);
        ck_assert_double_eq_tol(scene_dot(hit.normal, hit.normal), 1, 1e-5);
        if (o->shape == SCENE_SPHERE) ck_assert_float_lt(scene_dot(hit.normal, ray), 1e-3f);
        met[o->shape]++;
    }
    for (int i = 0; i < SCENE_SHAPES; i++) ck_assert_int_gt(met[i], 100);
}
END_TEST

/* ---- folders ---- */

static scene_set_desc small_set(void) {
    scene_set_desc d = {.scene = plain(), .count = {12, 5}, .samples = 1, .threads = 1};
    d.scene.width = d.scene.height = 32;
    return d;
}

static void check_same_file(const char *a, const char *b) {
    ij_error err;
    void *one, *two;
    size_t one_bytes, two_bytes;
    CHECK_OK(ij_file_read(scratch_path(a), 0, &one, &one_bytes, &err));
    CHECK_OK(ij_file_read(scratch_path(b), 0, &two, &two_bytes, &err));
    ck_assert_msg(one_bytes == two_bytes && memcmp(one, two, one_bytes) == 0, "%s and %s differ", a, b);
    free(one);
    free(two);
}

static void check_same_sets(const char *a, const char *b) {
    char one[64], two[64];
    for (int i = 0; i < 17; i++) {
        snprintf(one, sizeof one, "%s/%s/%06d.png", a, i < 12 ? "train" : "test", i < 12 ? i : i - 12);
        snprintf(two, sizeof two, "%s/%s/%06d.png", b, i < 12 ? "train" : "test", i < 12 ? i : i - 12);
        check_same_file(one, two);
    }
    for (int part = 0; part < 2; part++) {
        snprintf(one, sizeof one, "%s/%s/labels.csv", a, part ? "test" : "train");
        snprintf(two, sizeof two, "%s/%s/labels.csv", b, part ? "test" : "train");
        check_same_file(one, two);
    }
}

static void count_call(void *user, int64_t done, int64_t total) {
    int64_t *calls = user;
    ck_assert_int_eq(done, ++*calls);
    ck_assert_int_eq(total, 17);
}

START_TEST(test_threads) {
    ij_error err;
    scene_set_result result;
    scene_set_desc d = small_set();
    int64_t calls = 0;
    CHECK_OK(scene_set_write(scratch_path("one"), &d, &result, &err));
    d.threads = 7, d.progress = count_call, d.user = &calls;
    CHECK_OK(scene_set_write(scratch_path("seven"), &d, &result, &err));
    ck_assert_int_eq(calls, 17);
    ck_assert_int_eq(result.rendered, 17);
    check_same_sets("one", "seven");
}
END_TEST

START_TEST(test_goes_on) {
    ij_error err;
    scene_set_result result;
    scene_set_desc d = small_set();
    CHECK_OK(scene_set_write(scratch_path("whole"), &d, &result, &err));
    CHECK_OK(scene_set_write(scratch_path("cut"), &d, &result, &err));
    unlink(scratch_path("cut/train/000003.png"));
    unlink(scratch_path("cut/train/labels.csv"));
    unlink(scratch_path("cut/test/000004.png"));
    scratch_write("cut/train/000003.png.tmp99", "half", 4);
    CHECK_OK(scene_set_write(scratch_path("cut"), &d, &result, &err));
    ck_assert_int_eq(result.rendered, 2);
    ck_assert_int_eq(result.kept, 15);
    ck_assert_int_eq(result.with_count[0][1] + result.with_count[0][2] + result.with_count[0][3] + result.with_count[0][4] +
                         result.with_count[0][5] + result.with_count[0][6] + result.with_count[0][7] + result.with_count[0][8] +
                         result.with_count[0][9] + result.with_count[0][10],
                     12);
    ck_assert(!ij_file_exists(scratch_path("cut/train/000003.png.tmp99")));
    check_same_sets("whole", "cut");
}
END_TEST

START_TEST(test_other_parameters) {
    ij_error err;
    scene_set_result result;
    scene_set_desc d = small_set();
    CHECK_OK(scene_set_write(scratch_path("set"), &d, &result, &err));
    scratch_write("set/train/mine.txt", "x", 1);
    d.scene.seed = 12;
    CHECK_FAILS(scene_set_write(scratch_path("set"), &d, &result, &err), IJ_ERROR_MISMATCH);
    ck_assert_ptr_nonnull(strstr(err.text, "made with other parameters: it has \"seed\": 11, asked for is \"seed\": 12"));
    ck_assert_ptr_nonnull(strstr(err.hint, "--overwrite"));
    d.overwrite = true;
    d.count[0] = 4;
    CHECK_OK(scene_set_write(scratch_path("set"), &d, &result, &err));
    ck_assert_int_eq(result.rendered, 9);
    ck_assert(!ij_file_exists(scratch_path("set/train/000004.png")));
    ck_assert(ij_file_exists(scratch_path("set/train/mine.txt")));
    d.overwrite = false;
    CHECK_OK(scene_set_write(scratch_path("set"), &d, &result, &err));
    ck_assert_int_eq(result.kept, 9);

    mkdir(scratch_path("photos"), 0777);
    mkdir(scratch_path("photos/train"), 0777);
    CHECK_FAILS(scene_set_write(scratch_path("photos"), &d, &result, &err), IJ_ERROR_MISMATCH);
    ck_assert_ptr_nonnull(strstr(err.text, "not a set of scenes"));
    scratch_write("file", "x", 1);
    CHECK_FAILS(scene_set_write(scratch_path("file"), &d, &result, &err), IJ_ERROR_FILE);
    CHECK_FAILS(scene_set_write("/proc/no/such", &d, &result, &err), IJ_ERROR_FILE);
}
END_TEST

/* Every row of the table against the scene, and the picture's size. */
START_TEST(test_labels_file) {
    ij_error err;
    scene_set_result result;
    scene_set_desc d = small_set();
    ij_image image = {0};
    char line[256], wanted[256];
    d.scene.width = 40;
    CHECK_OK(scene_set_write(scratch_path("set"), &d, &result, &err));
    FILE *table = fopen(scratch_path("set/test/labels.csv"), "r");
    ck_assert_ptr_nonnull(table);
    ck_assert_ptr_nonnull(fgets(line, sizeof line, table));
    ck_assert_str_eq(line, "file,count,dist,distance,shape,colour,size,material\n");
    for (uint64_t i = 0; i < 5; i++) {
        scene s;
        scene_draw(&d.scene, (uint64_t)1 << 32 | i, &s);
        const scene_object *o = &s.objects[s.nearest];
        snprintf(wanted, sizeof wanted, "%06d.png,%d,%d,%.4f,%s,%s,%s,%s\n", (int)i, s.count, scene_distance_class(scene_distance(&s)),
                 (double)o->depth, scene_shape_name(o->shape), scene_colour_name(o->colour), scene_size_name(o->size),
                 scene_material_name(o->material));
        ck_assert_ptr_nonnull(fgets(line, sizeof line, table));
        ck_assert_str_eq(line, wanted);
    }
    ck_assert_ptr_null(fgets(line, sizeof line, table));
    fclose(table);
    CHECK_OK(ij_image_read(scratch_path("set/test/000004.png"), 0, &image, &err));
    ck_assert(image.width == 40 && image.height == 32 && image.channels == 3);
    ij_image_free(&image);
}
END_TEST

Suite *scenes_suite(void) {
    Suite *suite = suite_create("scenes");
    TCase *describe = tcase_create("description");
    tcase_add_test(describe, test_counts_and_classes);
    tcase_add_test(describe, test_distance_class);
    tcase_add_test(describe, test_nearest);
    tcase_add_test(describe, test_no_overlap);
    tcase_add_test(describe, test_all_visible);
    tcase_add_test(describe, test_aspects);
    tcase_set_timeout(describe, 120);
    suite_add_tcase(suite, describe);
    TCase *draw = tcase_create("pictures");
    tcase_add_test(draw, test_sphere_silhouette);
    tcase_add_test(draw, test_shadow);
    tcase_add_test(draw, test_antialiasing);
    tcase_add_test(draw, test_hits);
    tcase_set_timeout(draw, 120);
    suite_add_tcase(suite, draw);
    TCase *folders = tcase_create("folders");
    tcase_add_checked_fixture(folders, scratch_begin, scratch_end);
    tcase_add_test(folders, test_threads);
    tcase_add_test(folders, test_goes_on);
    tcase_add_test(folders, test_other_parameters);
    tcase_add_test(folders, test_labels_file);
    tcase_set_timeout(folders, 120);
    suite_add_tcase(suite, folders);
    return suite;
}
