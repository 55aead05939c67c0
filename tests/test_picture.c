/* Canvas and chart: areas are what geometry says, nothing is drawn outside, odd data does no harm. */
#include "suites.h"
#include "scratch.h"

#include "io/image.h"
#include "view/chart.h"
#include "view/font.h"
#include "view/picture.h"

#include <math.h>

/* The picture's darkness on white: 1 for a black pixel. */
static double ink(const ij_picture *picture, int left, int top, int right, int bottom) {
    double sum = 0;
    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++) sum += 1 - picture->pixels[(y * picture->width + x) * 3] / 255.0;
    return sum;
}

static double all_ink(const ij_picture *picture) { return ink(picture, 0, 0, picture->width, picture->height); }

START_TEST(test_rectangles_are_clipped) {
    ij_error err;
    ij_picture p;
    CHECK_OK(ij_picture_open(31, 17, 0xffffff, &p, &err));
    ij_picture_fill(&p, 3, 4, 5, 6, 0x000000, 1);
    ck_assert_double_eq(all_ink(&p), 30);
    ck_assert_double_eq(ink(&p, 3, 4, 8, 10), 30);
    ij_picture_fill(&p, -100, 12, 103, 100, 0x000000, 1);
    ck_assert_double_eq(ink(&p, 0, 12, 3, 17), 15);
    ck_assert_double_eq(all_ink(&p), 45);
    ij_picture_fill(&p, 40, 2, 5, 5, 0, 1);
    ij_picture_fill(&p, 5, 2, -5, 5, 0, 1);
    ij_picture_frame(&p, 20, 2, 5, 4, 0);
    ck_assert_double_eq(all_ink(&p), 45 + 14);
    ij_picture_free(&p);
    CHECK_FAILS(ij_picture_open(0, 5, 0, &p, &err), IJ_ERROR_ARGUMENT);
    CHECK_FAILS(ij_picture_open(1 << 20, 1 << 20, 0, &p, &err), IJ_ERROR_ARGUMENT);
}
END_TEST

/* A stroke of length l and width w covers l w + pi w^2 / 4, at any angle. */
START_TEST(test_lines_cover_their_area) {
    ij_error err;
    ij_picture p;
    for (int degrees = 0; degrees < 180; degrees += 7) {
        CHECK_OK(ij_picture_open(120, 120, 0xffffff, &p, &err));
        float dx = cosf((float)degrees * 0.01745329f) * 40, dy = sinf((float)degrees * 0.01745329f) * 40;
        ij_point ends[3] = {
            {60.3f - dx, 59.8f - dy}, {60.3f + dx, 59.8f + dy}, {60.3f - dx, 59.8f - dy}}; /* there and back: painted once */
        ij_picture_polyline(&p, ends, 3, 5, 0, 1);
        double expected = 80 * 5 + 3.14159265 * 25 / 4, found = all_ink(&p);
        ck_assert_msg(fabs(found - expected) < 0.02 * expected, "%d degrees: %g, expected %g", degrees, found, expected);
        for (int i = 0; i < 120 * 120; i++) ck_assert_int_eq(p.mask[i], 0);
        ij_picture_free(&p);
    }
    CHECK_OK(ij_picture_open(20, 20, 0xffffff, &p, &err));
    ij_point far[2] = {{-1e30f, 10}, {1e30f, 1e30f}};
    ij_picture_polyline(&p, far, 2, 1, 0, 1); /* no crash */
    ij_picture_polyline(&p, far, 0, 1, 0, 1);
    ij_picture_free(&p);
}
END_TEST

START_TEST(test_text_stays_in_its_width) {
    ij_error err;
    ij_picture p;
    char text[2] = "";
    for (int c = 33; c < 127; c++) {
        CHECK_OK(ij_picture_open(80, 60, 0xffffff, &p, &err));
        text[0] = (char)c;
        ij_picture_text(&p, 20, 40, 24, IJ_ALIGN_LEFT, 0, text);
        double whole = all_ink(&p);
        float width = ij_picture_text_width(24, text);
        ck_assert_msg(whole > 5, "%s has no ink", text);
        double inside = ink(&p, 17, 12, 24 + (int)width, 50); /* half a stroke beyond the grid */
        ck_assert_msg(inside == whole, "%s: %g of %g inside", text, inside, whole);
        ij_picture_free(&p);
    }
    /* Every glyph is another one. */
    for (int a = 33; a < 127; a++)
        for (int b = 33; b < a; b++) ck_assert_str_ne(ij_font_glyph((unsigned char)a), ij_font_glyph((unsigned char)b));
    ck_assert_str_eq(ij_font_glyph(0xc3), ij_font_glyph('?'));
    ck_assert_float_eq(ij_picture_text_width(9, "\xc3\xa9"), ij_picture_text_width(9, "?"));
    ck_assert_float_eq(ij_picture_text_width(9, ""), 0);
}
END_TEST

START_TEST(test_images_and_heat) {
    ij_error err;
    ij_picture p;
    const uint8_t grey[4] = {10, 20, 30, 40};
    const float values[6] = {0, 1, 2, 3, NAN, 5};
    CHECK_OK(ij_picture_open(20, 10, 0xffffff, &p, &err));
    ij_picture_image(&p, 2, 1, 4, 6, grey, 2, 2, 1);
    ck_assert(p.pixels[(1 * 20 + 2) * 3] == 10 && p.pixels[(1 * 20 + 5) * 3 + 2] == 20 && p.pixels[(6 * 20 + 5) * 3 + 1] == 40 &&
              p.pixels[(7 * 20 + 5) * 3] == 255);
    ij_picture_image(&p, -1, -3, 4, 6, grey, 2, 2, 1);
    ck_assert_int_eq(p.pixels[0], 30);
    ij_picture_heat(&p, 8, 0, 6, 4, values, 2, 3, 0, 0);
    const uint8_t *first = p.pixels + 8 * 3, *missing = p.pixels + (3 * 20 + 10) * 3, *last = p.pixels + (3 * 20 + 13) * 3;
    ck_assert(first[0] == 0x44 && first[1] == 0x01 && first[2] == 0x54 && last[0] == 0xfd && missing[0] == missing[1]);
    ij_picture_heat_scale(&p, 15, 0, 3, 30, 0, 1);
    ij_picture_free(&p);
}
END_TEST

/* The curve is where its values are: a falling line in a chart whose axes are 0 to 10. */
START_TEST(test_chart) {
    ij_error err;
    ij_picture p;
    double y[11];
    for (int i = 0; i < 11; i++) y[i] = 10 - i;
    ij_chart chart = {.series = &(ij_chart_series){.y = y, .count = 11, .color = 0xff0000}, .series_count = 1, .width = 400, .height = 300};
    CHECK_OK(ij_chart_draw(&chart, &p, &err));
    int reds = 0, first_row = -1, last_row = -1, first_column = 999, last_column = -1;
    for (int v = 0; v < p.height; v++)
        for (int u = 0; u < p.width; u++) {
            const uint8_t *pixel = p.pixels + (v * p.width + u) * 3;
            if (pixel[0] < 200 || pixel[1] > 60) continue;
            reds++;
            if (first_row < 0) first_row = v;
            last_row = v;
            if (u < first_column) first_column = u;
            if (u > last_column) last_column = u;
        }
    ck_assert_int_gt(reds, 300);
    ck_assert(abs(first_row - 36) <= 2 && abs(last_row - (300 - 34)) <= 2 && abs(last_column - (400 - 24)) <= 2 && first_column > 20 &&
              first_column < 70);
    ij_picture_free(&p);
    CHECK_OK(ij_chart_write(&chart, scratch_path("chart.png"), &err));
    ij_image image = {0};
    CHECK_OK(ij_image_read(scratch_path("chart.png"), 3, &image, &err));
    ck_assert(image.width == 400 && image.height == 300);
    ij_image_free(&image);
}
END_TEST

START_TEST(test_chart_of_odd_data) {
    static const double sets[][4] = {{NAN, NAN, NAN, NAN},        {1, 1, 1, 1},          {0, 0, 0, 0},     {-1, 0, INFINITY, -INFINITY},
                                     {1e308, -1e308, 1, 2},       {1e-300, 1e299, 1, 2}, {1, NAN, 1, NAN}, {5e-324, 1e-310, 0, 0},
                                     {1e15, 1e15 + 1, 1e15, 1e15}};
    static const double xs[][4] = {{0, 1, 2, 3}, {5, 5, 5, 5}, {NAN, 0, INFINITY, 1}, {-1e308, 0, 1, 1e308}};
    for (int log = 0; log < 2; log++)
        for (int i = 0; i < IJ_COUNT(sets); i++)
            for (int k = 0; k < IJ_COUNT(xs); k++)
                for (int64_t count = 0; count <= 4; count += 2) {
                    ij_error err;
                    ij_picture p;
                    ij_chart chart = {.title = "odd",
                                      .series = &(ij_chart_series){.name = "s", .x = xs[k], .y = sets[i], .count = count},
                                      .series_count = 1,
                                      .width = 200,
                                      .height = 150,
                                      .log_y = log};
                    CHECK_OK(ij_chart_draw(&chart, &p, &err));
                    ck_assert(all_ink(&p) > 50);
                    ij_picture_free(&p);
                }
}
END_TEST

Suite *picture_suite(void) {
    Suite *suite = suite_create("picture");
    TCase *cases = tcase_create("picture");
    tcase_set_timeout(cases, 60);
    tcase_add_checked_fixture(cases, scratch_begin, scratch_end);
    tcase_add_test(cases, test_rectangles_are_clipped);
    tcase_add_test(cases, test_lines_cover_their_area);
    tcase_add_test(cases, test_text_stays_in_its_width);
    tcase_add_test(cases, test_images_and_heat);
    tcase_add_test(cases, test_chart);
    tcase_add_test(cases, test_chart_of_odd_data);
    suite_add_tcase(suite, cases);
    return suite;
}
