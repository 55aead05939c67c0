/* The zip container, as PyTorch and others write it: reading.       layer: io; uses: base, zlib
 *
 * Format: PKWARE's APPNOTE.TXT 6.3: end record (4.3.16), ZIP64 (4.3.14, 4.5.3), central directory (4.3.12), local headers (4.3.7). Read are stored
 * and deflated members of one file; encryption, other methods and archives in several parts are errors that say so.
 *
 * What an open archive guarantees, whatever the bytes were:
 *   1. a member's bytes lie inside the file, between its local header and the central directory; no two members overlap;
 *   2. its local header has the name and the method that the directory says;  3. names are distinct and hold no 0 byte;
 *   4. a stored member has its claimed size, a deflated one claims no more than a deflate stream of its length can hold (1032 : 1).
 * Whether a deflated stream is sound is known when it is read. Opening needs 56 bytes a member; at most 500,000 are read.
 *
 * Big members are not held in memory: stored ones are used in place, deflated ones are read through a cursor with zlib's window of 32 KB. */
#ifndef IJ_IO_ZIP_H
#define IJ_IO_ZIP_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ij_zip_member {
    const char *name;    /* name_bytes of the file, no 0 behind them */
    const uint8_t *data; /* as it lies in the file: packed bytes */
    int64_t packed, size;
    uint32_t crc;
    uint16_t name_bytes;
    bool deflated;
} ij_zip_member;

typedef struct ij_zip ij_zip;

/* Bytes that begin like a zip archive. */
bool ij_zip_is(const void *bytes, size_t count);

/* `bytes` must outlive the archive; `name` is for the error texts. */
ij_status ij_zip_open(const void *bytes, size_t count, const char *name, ij_zip **out, ij_error *err);
void ij_zip_close(ij_zip *zip); /* NULL is fine */

int64_t ij_zip_count(const ij_zip *zip);
const ij_zip_member *ij_zip_at(const ij_zip *zip, int64_t i);                             /* in bytewise order of the names */
const ij_zip_member *ij_zip_find(const ij_zip *zip, const char *name, size_t name_bytes); /* NULL: there is none */

/* A member as a whole, with its checksum compared; *out is freed with free() and has a 0 byte behind it. More than `most` bytes is an error. */
ij_status ij_zip_read_all(const ij_zip *zip, const ij_zip_member *member, int64_t most, uint8_t **out, ij_error *err);

/* A place in a deflated member's stream, so that reading on does not inflate from its beginning again. Reading backwards, or another member,
 * starts anew. */
typedef struct ij_zip_cursor ij_zip_cursor;
ij_status ij_zip_cursor_open(const ij_zip *zip, ij_zip_cursor **out, ij_error *err);
void ij_zip_cursor_close(ij_zip_cursor *cursor); /* NULL is fine */

/* Bytes [offset, offset + count) of any member, which claims at least so many. Who reads a deflated member to its end learns whether the stream
 * is longer than claimed; who reads it from its beginning to its end without a jump, whether its checksum is right. */
ij_status ij_zip_cursor_read(ij_zip_cursor *cursor, const ij_zip_member *member, int64_t offset, int64_t count, void *out, ij_error *err);

#endif
