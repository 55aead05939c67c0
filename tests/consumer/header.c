/* The header alone, in strict C11 and (header.cc includes this) in C++17: it compiles without warnings, its layout is the library's,
 * and calls that need no device work. Built against the installed package, so by nothing of the tree. */
#include <ijepa.h>

#include <stdio.h>
#include <string.h>

int main(void) {
    ijepa_error err;
    ijepa_config *config = NULL;
    ijepa_model *model = NULL;
    char version[32];
    snprintf(version, sizeof version, "%d.%d.", IJEPA_VERSION_MAJOR, IJEPA_VERSION_MINOR);
    if (ijepa_abi_check(&err) != IJEPA_OK) return puts(err.text), 1;
    if (ijepa_abi_version() != IJEPA_ABI_VERSION || strncmp(ijepa_version(), version, strlen(version)) != 0)
        return puts("versions differ"), 1;
    if (ijepa_config_create(&config, &err) != IJEPA_OK) return puts(err.text), 1;
    if (ijepa_config_set(config, "data.batch_size=none", &err) == IJEPA_OK && ijepa_config_check(config, NULL, 0, &err) == IJEPA_OK)
        return puts("a batch of none is accepted"), 1;
    ijepa_config_destroy(config);
    if (ijepa_model_open("/nonexistent", NULL, 0, &model, &err) != IJEPA_ERROR_FILE || model || !strstr(err.text, "/nonexistent"))
        return puts("a missing file is no error"), 1;
    printf("%s: %s (%s)\n", ijepa_version(), err.text, ijepa_status_name(err.status));
    return 0;
}
