/* The suites that tests/main.c runs, and what they share. */
#ifndef IJ_TESTS_SUITES_H
#define IJ_TESTS_SUITES_H

#include "base/error.h"
#include "gpu/gpu.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define IJ_SUITE(name) Suite *name##_suite(void);
#include "suites.def"
#undef IJ_SUITE

/* The device under test ($IJEPA_DEVICE, with validation layers if $IJEPA_VALIDATION is set), as a fixture; closing it fails when the
 * layers had anything to say. */
extern gpu_device *test_device;
void open_test_device(void);
void close_test_device(void);

/* The call must succeed; its error text is shown when it does not. `err` is the test's own variable. */
#define CHECK_OK(call)                                                                                                                     \
    do {                                                                                                                                   \
        ij_status check_ok_status_ = (call);                                                                                               \
        ck_assert_msg(check_ok_status_ == IJ_OK, "%s: %s", #call, err.text);                                                               \
    } while (0)

/* The call must fail with this status. */
#define CHECK_FAILS(call, wanted) ck_assert_msg((call) == (wanted), "%s did not fail with %s", #call, #wanted)

#endif
