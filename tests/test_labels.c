/* Tables of labels: fields, classes, errors that name the place. */
#include "suites.h"
#include "scratch.h"

#include "data/dataset.h"
#include "data/labels.h"
#include "data/scene_set.h"

static ij_labels *parse(const char *text) {
    ij_error err;
    ij_labels *labels;
    void *exact = exact_copy(text, strlen(text));
    CHECK_OK(ij_labels_parse(exact, strlen(text), "t.csv", &labels, &err));
    free(exact);
    return labels;
}

START_TEST(test_fields) {
    ij_labels *t = parse("\xef\xbb\xbf"
                         "file,a b,\"c\"\r\n\r\nx.png,1,\r\n\"y,\"\"1\"\".png\",\"two\nlines\",\n\nz.png,,\"\"");
    ck_assert_int_eq(ij_labels_rows(t), 3);
    ck_assert_int_eq(ij_labels_columns(t), 3);
    const char *const wanted[] = {"x.png", "1", "", "y,\"1\".png", "two\nlines", "", "z.png", "", ""};
    for (int i = 0; i < 9; i++) ck_assert_str_eq(ij_labels_value(t, i / 3, i % 3), wanted[i]);
    ck_assert_str_eq(ij_labels_column_name(t, 0), "file");
    ck_assert_str_eq(ij_labels_column_name(t, 1), "a b");
    ck_assert_str_eq(ij_labels_column_name(t, 2), "c");
    ij_labels_free(t);
    t = parse("file");
    ck_assert_int_eq(ij_labels_rows(t), 0);
    ij_labels_free(t);
}
END_TEST

START_TEST(test_bad_tables) {
    const char *const cases[][2] = {
        {"", "t.csv: no header line"},
        {"\n\n", "t.csv: no header line"},
        {"name,b\nx,1\n", "t.csv: no column is called \"file\""},
        {"file,b\nx,1,2\n", "t.csv: line 2: more than 2 fields"},
        {"file,b\n\"a\nb\",1\nx\n", "t.csv: line 4: 1 fields, the header has 2"},
        {"file,b\nx,\"1\n", "t.csv: line 2, field 2: its quotes do not close"},
        {"file,b\nx,\"", "t.csv: line 2, field 2: its quotes do not close"},
        {"file,b\nx,1\"2\n", "t.csv: line 2, field 2: a quote inside a field that does not begin with one"},
        {"file,b\n\"x\"y,1\n", "t.csv: line 2, field 1: text behind the closing quote"},
        {"file,b\nx\r,1\n", "t.csv: line 2, field 1: a carriage return without a line feed"},
        {"file,b\nx,1\ny,2\nx,3\n", "t.csv: lines 2 and 4 are both of file \"x\""},
        {"file,b,b\nx,1,2\n", "t.csv: two columns are called \"b\""},
    };
    ij_error err;
    ij_labels *labels;
    for (int i = 0; i < IJ_COUNT(cases); i++) {
        void *exact = exact_copy(cases[i][0], strlen(cases[i][0]));
        ck_assert_int_ne(ij_labels_parse(exact, strlen(cases[i][0]), "t.csv", &labels, &err), IJ_OK);
        ck_assert_str_eq(err.text, cases[i][1]);
        ck_assert_ptr_null(labels);
        free(exact);
    }
    CHECK_FAILS(ij_labels_parse("file,b\nx,\0\n", 11, "t.csv", &labels, &err), IJ_ERROR_FORMAT);
    ck_assert_str_eq(err.text, "t.csv: byte 9 is zero: not a text");
    CHECK_FAILS(ij_labels_read(scratch_path("none.csv"), &labels, &err), IJ_ERROR_FILE);
}
END_TEST

static ij_dataset *folder_of(const char *folder, const char *const *names, int count) {
    ij_error err;
    ij_dataset *dataset;
    const uint8_t pixel[3] = {1, 2, 3};
    char path[128];
    mkdir(scratch_path(folder), 0777);
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        CHECK_OK(ij_png_write(scratch_path(path), pixel, 1, 1, 3, &err));
    }
    CHECK_OK(ij_dataset_open(scratch_path(folder), NULL, &dataset, &err));
    return dataset;
}

START_TEST(test_classes) {
    ij_error err;
    ij_label_column column;
    ij_dataset *train = folder_of("train", (const char *const[]){"a.png", "b.png", "c.png"}, 3);
    ij_dataset *test = folder_of("test", (const char *const[]){"a.png", "d.png"}, 2);
    ij_labels *one = parse("n,file,word\n10,c.png,red\n3,a.png,blue\n3,b.png,red\n77,elsewhere.png,pink\n");
    ij_labels *two = parse("file,word,n\nd.png,Blue,-1.5\na.png,red,10\n");
    ij_labels_part parts[] = {{one, train}, {two, test}};
    CHECK_OK(ij_labels_column(parts, 2, "n", &column, &err)); /* numbers: -1.5, 3, 10 */
    ck_assert_int_eq(column.classes, 3);
    ck_assert_str_eq(column.names[0], "-1.5");
    ck_assert_str_eq(column.names[1], "3");
    ck_assert_str_eq(column.names[2], "10");
    ck_assert(column.labels[0][0] == 1 && column.labels[0][1] == 1 && column.labels[0][2] == 2);
    ck_assert(column.labels[1][0] == 2 && column.labels[1][1] == 0);
    ij_label_column_free(&column);
    CHECK_OK(ij_labels_column(parts, 2, "word", &column, &err)); /* bytes: Blue, blue, red; pink has no image */
    ck_assert_int_eq(column.classes, 3);
    ck_assert_str_eq(column.names[0], "Blue");
    ck_assert_str_eq(column.names[1], "blue");
    ck_assert(column.labels[0][0] == 1 && column.labels[0][1] == 2 && column.labels[0][2] == 2);
    ck_assert(column.labels[1][0] == 2 && column.labels[1][1] == 0);
    ij_label_column_free(&column);
    CHECK_OK(ij_labels_column(parts, 1, "word", &column, &err));
    ck_assert_int_eq(column.classes, 2);
    ck_assert_ptr_null(column.labels[1]);
    ij_label_column_free(&column);
    ij_labels_free(one);
    ij_labels_free(two);
    ij_dataset_close(train);
    ij_dataset_close(test);
}
END_TEST

START_TEST(test_missing) {
    ij_error err;
    ij_label_column column;
    ij_dataset *images = folder_of("images", (const char *const[]){"a.png", "b.png"}, 2);
    ij_labels *t = parse("file,n,\"odd\nname\"\na.png,1,\n");
    ij_labels_part part = {t, images};
    CHECK_FAILS(ij_labels_column(&part, 1, "count", &column, &err), IJ_ERROR_MISMATCH);
    ck_assert_str_eq(err.text, "t.csv: no column is called \"count\"");
    ck_assert_str_eq(err.hint, "its columns: file, n, odd?name");
    CHECK_FAILS(ij_labels_column(&part, 1, "n", &column, &err), IJ_ERROR_MISMATCH);
    ck_assert_str_eq(err.text, "t.csv: no row for image \"b.png\"");
    CHECK_FAILS(ij_labels_column(&part, 1, "odd\nname", &column, &err), IJ_ERROR_MISMATCH);
    ck_assert_str_eq(err.text, "t.csv: line 3: \"a.png\" has no value in column \"odd?name\"");
    ck_assert_ptr_null(column.names);
    ij_labels_free(t);
    ij_dataset_close(images);
}
END_TEST

/* A data set of IDX_COUNT images of one pixel, each with a value of its own. */
START_TEST(test_too_many_classes) {
    enum { IDX_COUNT = IJ_LABELS_CLASSES_MAX + 1 };
    ij_error err;
    ij_label_column column;
    ij_dataset *images;
    uint8_t *idx = calloc(1, 16 + IDX_COUNT);
    const uint8_t header[16] = {0, 0, 8, 3, IDX_COUNT >> 24, IDX_COUNT >> 16 & 255, IDX_COUNT >> 8 & 255, IDX_COUNT & 255, 0, 0, 0, 1,
                                0, 0, 0, 1};
    char *text = malloc(IDX_COUNT * 64), *at = text + sprintf(text, "file,n,half\n");
    for (int i = 0; i < IDX_COUNT; i++) at += sprintf(at, "train-images-idx3-ubyte:%d,%d,%d\n", i, IDX_COUNT - i, i / 2);
    memcpy(idx, header, sizeof header);
    CHECK_OK(ij_dataset_open(scratch_write("train-images-idx3-ubyte", idx, 16 + IDX_COUNT), NULL, &images, &err));
    ij_labels *t = parse(text);
    ij_labels_part part = {t, images};
    CHECK_FAILS(ij_labels_column(&part, 1, "n", &column, &err), IJ_ERROR_MISMATCH);
    ck_assert_str_eq(err.text, "column \"n\" has 100001 different values, more than 100000 classes");
    CHECK_OK(ij_labels_column(&part, 1, "half", &column, &err));
    ck_assert_int_eq(column.classes, IDX_COUNT / 2 + 1);
    for (int i = 0; i < IDX_COUNT; i++) ck_assert_int_eq(column.labels[0][i], i / 2);
    ij_label_column_free(&column);
    ij_labels_free(t);
    ij_dataset_close(images);
    free(text);
    free(idx);
}
END_TEST

/* A set of scenes as evaluation reads it. */
START_TEST(test_scenes) {
    ij_error err;
    ij_label_column column;
    ij_labels *train, *test;
    ij_dataset *train_images, *test_images;
    scene_set_result made;
    scene_set_desc d = {
        .scene = {.seed = 5, .width = 16, .height = 16, .objects_min = 1, .objects_max = 10}, .count = {40, 20}, .samples = 1};
    CHECK_OK(scene_set_write(scratch_path("s"), &d, &made, &err));
    CHECK_OK(ij_labels_read(scratch_path("s/train/labels.csv"), &train, &err));
    CHECK_OK(ij_labels_read(scratch_path("s/test/labels.csv"), &test, &err));
    CHECK_OK(ij_dataset_open(scratch_path("s/train"), NULL, &train_images, &err));
    CHECK_OK(ij_dataset_open(scratch_path("s/test"), NULL, &test_images, &err));
    ij_labels_part parts[] = {{train, train_images}, {test, test_images}};
    CHECK_OK(ij_labels_column(parts, 2, "count", &column, &err));
    int64_t with_count[2][SCENE_OBJECTS_MAX + 1] = {0};
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < ij_dataset_count(parts[k].images); i++) with_count[k][atoi(column.names[column.labels[k][i]])]++;
    ck_assert_mem_eq(with_count, made.with_count, sizeof with_count);
    for (int i = 1; i < column.classes; i++) ck_assert_int_gt(atoi(column.names[i]), atoi(column.names[i - 1]));
    ij_label_column_free(&column);
    CHECK_OK(ij_labels_column(parts, 2, "dist", &column, &err));
    int64_t with_distance[2][SCENE_DISTANCES] = {0};
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < ij_dataset_count(parts[k].images); i++) with_distance[k][atoi(column.names[column.labels[k][i]])]++;
    ck_assert_mem_eq(with_distance, made.with_distance, sizeof with_distance);
    ij_label_column_free(&column);
    ij_labels_free(train);
    ij_labels_free(test);
    ij_dataset_close(train_images);
    ij_dataset_close(test_images);
}
END_TEST

Suite *labels_suite(void) {
    Suite *suite = suite_create("labels");
    TCase *tests = tcase_create("labels");
    tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
    tcase_add_test(tests, test_fields);
    tcase_add_test(tests, test_bad_tables);
    tcase_add_test(tests, test_classes);
    tcase_add_test(tests, test_missing);
    tcase_add_test(tests, test_too_many_classes);
    tcase_add_test(tests, test_scenes);
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    return suite;
}
