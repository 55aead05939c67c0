/* Runs all suites. Environment: CK_RUN_SUITE picks one; IJEPA_DEVICE the device; IJEPA_VALIDATION=1 the validation layers;
 * IJEPA_SMALL=1 leaves the large op cases out (SwiftShader, sanitizers). */
#include "suites.h"

#include <stdlib.h>

gpu_device *test_device;

void open_test_device(void) {
    ij_error err = {0};
    gpu_device_desc desc = {.select = getenv("IJEPA_DEVICE"), .validation = getenv("IJEPA_VALIDATION") != NULL};
    CHECK_OK(gpu_device_open(&desc, &test_device, &err));
}

void close_test_device(void) {
    const char *first;
    int messages = gpu_device_messages(test_device, &first);
    ck_assert_msg(messages == 0, "%d validation messages, the first: %s", messages, first);
    gpu_device_close(test_device);
    test_device = NULL;
}

int main(void) {
    SRunner *runner = srunner_create(suite_create("ijepa"));
#define IJ_SUITE(name) srunner_add_suite(runner, name##_suite());
#include "suites.def"
#undef IJ_SUITE
    /* One process: a forked child cannot use the parent's device, and sanitizers see leaks of all tests together. */
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
