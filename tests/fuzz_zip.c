/* Any bytes as a zip archive: members lie inside the file, and reading them ends. */
#include "fuzz.h"

#include "io/zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ij_zip *zip;
    ij_zip_cursor *cursor;
    ij_error err;
    if (ij_zip_open(data, size, "input", &zip, &err) != IJ_OK) return 0;
    FUZZ_REQUIRE(ij_zip_cursor_open(zip, &cursor, &err) == IJ_OK);
    for (int64_t i = 0; i < ij_zip_count(zip) && i < 100; i++) {
        const ij_zip_member *member = ij_zip_at(zip, i);
        uint8_t *all, some[64];
        FUZZ_REQUIRE(ij_zip_find(zip, member->name, member->name_bytes) == member);
        FUZZ_REQUIRE(member->data >= data && member->data + member->packed <= data + size);
        int64_t count = member->size < 64 ? member->size : 64;
        (void)ij_zip_cursor_read(cursor, member, (member->size - count) / 2, count, some, &err);
        (void)ij_zip_cursor_read(cursor, member, 0, count, some, &err);
        if (ij_zip_read_all(zip, member, 1 << 20, &all, &err) == IJ_OK) free(all);
    }
    ij_zip_cursor_close(cursor);
    ij_zip_close(zip);
    return 0;
}
