/* Any bytes as a configuration: what loads prints as YAML that loads again, with the same keys. */
#include "fuzz.h"

#include "io/config_text.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ij_config_text config = {0}, again = {0};
    ij_error err;
    char *text = NULL;
    if (ij_config_text_load_memory(&config, data, size, "input", &err) == IJ_OK) {
        FUZZ_REQUIRE(ij_config_text_print(&config, &text, &err) == IJ_OK);
        if (strlen(text) < 1 << 20) { /* escapes can make it longer than what is read */
            FUZZ_REQUIRE(ij_config_text_load_memory(&again, text, strlen(text), "printed", &err) == IJ_OK);
            FUZZ_REQUIRE(again.count == config.count);
            for (int64_t i = 0; i < config.count; i++) {
                const ij_config_entry *a = &config.entries[i], *b = ij_config_text_find(&again, a->key);
                FUZZ_REQUIRE(b && a->count == b->count && a->list == b->list);
                for (int k = 0; k < a->count; k++) {
                    bool null = !a->text[k][0] && !a->list && !a->quoted; /* a missing value is printed as what it means */
                    FUZZ_REQUIRE(strcmp(null ? "null" : a->text[k], b->text[k]) == 0);
                }
            }
        }
    }
    free(text);
    ij_config_text_free(&config);
    ij_config_text_free(&again);
    return 0;
}
