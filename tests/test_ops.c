/* Every case of every op, walked from the registry: device against reference, reference against central differences. */
#include "suites.h"
#include "ops/op.h"

#include <string.h>

static bool wanted(const op_case *c) { return !(c->large && getenv("IJEPA_SMALL")); }

START_TEST(test_device_matches_reference) {
    const op_family *family = op_families[_i];
    const char *only = getenv("IJEPA_OP");
    int cases = 0;
    for (int i = 0; i < family->count; i++)
        for (int j = 0; j < family->ops[i].case_count; j++) {
            if (!wanted(&family->ops[i].cases[j]) || (only && strcmp(only, family->ops[i].name) != 0)) continue;
            ij_error err = {0};
            op_report report;
            CHECK_OK(op_check(test_device, &family->ops[i], &family->ops[i].cases[j], &report, &err));
            if (report.skipped)
                fprintf(stderr, "%s %s: skipped, this device cannot run it\n", family->ops[i].name, family->ops[i].cases[j].name);
            else if (getenv("IJEPA_VERBOSE"))
                fprintf(stderr, "%-24s %-24s error %.3f of tolerance (%s), %.3f ms\n", family->ops[i].name, family->ops[i].cases[j].name,
                        report.error, report.worst, 1e3 * report.seconds);
            cases++;
        }
    ck_assert_msg(cases > 0 || only, "family %s has no cases", family->name);
}
END_TEST

START_TEST(test_reference_matches_differences) {
    const op_family *family = op_families[_i];
    for (int i = 0; i < family->count; i++)
        for (int j = 0; j < family->ops[i].case_count; j++) {
            if (family->ops[i].cases[j].large) continue;
            ij_error err = {0};
            CHECK_OK(op_check_gradient(&family->ops[i], &family->ops[i].cases[j], 24, &err));
        }
}
END_TEST

START_TEST(test_every_op_has_three_cases) {
    for (int f = 0; f < op_family_count; f++)
        for (int i = 0; i < op_families[f]->count; i++)
            ck_assert_msg(op_families[f]->ops[i].case_count >= 3, "%s has %d cases", op_families[f]->ops[i].name,
                          op_families[f]->ops[i].case_count);
}
END_TEST

Suite *ops_suite(void) {
    Suite *suite = suite_create("ops");
    TCase *on_device = tcase_create("device");
    tcase_add_unchecked_fixture(on_device, open_test_device, close_test_device);
    tcase_set_timeout(on_device, 0);
    tcase_add_loop_test(on_device, test_device_matches_reference, 0, op_family_count);
    suite_add_tcase(suite, on_device);
    TCase *on_host = tcase_create("host");
    tcase_set_timeout(on_host, 0);
    tcase_add_loop_test(on_host, test_reference_matches_differences, 0, op_family_count);
    tcase_add_test(on_host, test_every_op_has_three_cases);
    suite_add_tcase(suite, on_host);
    return suite;
}
