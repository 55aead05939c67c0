/* Reading zip. Bytes are untrusted until read_directory has returned.       layer: io; uses: base, zlib */
#include "io/zip.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define END_BYTES 22
#define END64_BYTES 56
#define LOCATOR_BYTES 20
#define ENTRY_BYTES 46
#define LOCAL_BYTES 30
#define MEMBERS_MAX 500000
#define DEFLATE_RATIO 1032 /* a match of 258 bytes costs two bits at least */

struct ij_zip {
    const char *name;
    const uint8_t *bytes;
    int64_t size;
    ij_zip_member *members;
    int64_t count;
};

static uint16_t u16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }

static uint32_t u32(const uint8_t *at) { return u16(at) | (uint32_t)u16(at + 2) << 16; }

static uint64_t u64(const uint8_t *at) { return u32(at) | (uint64_t)u32(at + 4) << 32; }

bool ij_zip_is(const void *bytes, size_t count) {
    return count >= 4 && (memcmp(bytes, "PK\3\4", 4) == 0 || memcmp(bytes, "PK\5\6", 4) == 0);
}

/* ---- the directory ---- */

typedef struct directory {
    uint64_t offset, bytes, count;
    int64_t end; /* where the end records begin */
} directory;

static ij_status find_end(const ij_zip *zip, const uint8_t **out, ij_error *err) {
    for (int64_t at = zip->size - END_BYTES; at >= 0 && at >= zip->size - END_BYTES - 65535; at--) {
        const uint8_t *end = zip->bytes + at;
        if (u32(end) != 0x06054b50 || at + END_BYTES + u16(end + 20) != zip->size) continue;
        *out = end;
        return IJ_OK;
    }
    ij_fail(err, IJ_ERROR_FORMAT, "%s: a zip archive of %lld bytes without its end record", zip->name, (long long)zip->size);
    return ij_hint(err, "it is cut short: copy or download it again");
}

static ij_status find_directory(const ij_zip *zip, directory *out, ij_error *err) {
    const uint8_t *end = NULL, *locator;
    IJ_TRY(find_end(zip, &end, err));
    int64_t at = end - zip->bytes;
    *out = (directory){.offset = u32(end + 16), .bytes = u32(end + 12), .count = u16(end + 10), .end = at};
    uint32_t parts = (uint32_t)u16(end + 4) | u16(end + 6);
    locator = end - LOCATOR_BYTES;
    if (at >= LOCATOR_BYTES && u32(locator) == 0x07064b50) {
        uint64_t place = u64(locator + 8), room = (uint64_t)(at - LOCATOR_BYTES);
        if (room < END64_BYTES || place > room - END64_BYTES || u32(zip->bytes + place) != 0x06064b50)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: its ZIP64 end record is said to be at byte %llu, where none is", zip->name,
                           (unsigned long long)place);
        const uint8_t *wide = zip->bytes + place;
        *out = (directory){.offset = u64(wide + 48), .bytes = u64(wide + 40), .count = u64(wide + 32), .end = (int64_t)place};
        parts = u32(wide + 16) | u32(wide + 20);
    }
    if (parts) return ij_fail(err, IJ_ERROR_FORMAT, "%s: one part of a zip archive of several", zip->name);
    if (out->offset > (uint64_t)out->end || out->bytes > (uint64_t)out->end - out->offset)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: its zip directory is said to be %llu bytes at byte %llu, before byte %lld", zip->name,
                       (unsigned long long)out->bytes, (unsigned long long)out->offset, (long long)out->end);
    if (out->count > MEMBERS_MAX || out->count > out->bytes / ENTRY_BYTES)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: a zip directory of %llu bytes with %llu members; at most %d are read", zip->name,
                       (unsigned long long)out->bytes, (unsigned long long)out->count, MEMBERS_MAX);
    return IJ_OK;
}

/* Sizes and place that do not fit in 32 bits are in the entry's extra field 1, in this order, each only if it is needed. */
static bool read_wide(const uint8_t *extra, size_t bytes, uint64_t *const fields[3]) {
    bool needed = *fields[0] == UINT32_MAX || *fields[1] == UINT32_MAX || *fields[2] == UINT32_MAX;
    while (needed && bytes >= 4) {
        size_t length = u16(extra + 2);
        if (length > bytes - 4) return false;
        if (u16(extra) == 1) {
            const uint8_t *at = extra + 4, *end = at + length;
            for (int i = 0; i < 3; i++) {
                if (*fields[i] != UINT32_MAX) continue;
                if (end - at < 8) return false;
                *fields[i] = u64(at);
                at += 8;
            }
            return true;
        }
        extra += 4 + length;
        bytes -= 4 + length;
    }
    return !needed;
}

/* Where a member's bytes begin: behind its local header, which must say what the directory says. */
static ij_status read_local(const ij_zip *zip, uint64_t place, uint64_t limit, uint16_t method, ij_zip_member *member, ij_error *err) {
    int length = member->name_bytes;
    if (limit < LOCAL_BYTES || place > limit - LOCAL_BYTES || u32(zip->bytes + place) != 0x04034b50)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: member %.*s is said to be at byte %llu, where none is", zip->name, length, member->name,
                       (unsigned long long)place);
    const uint8_t *local = zip->bytes + place;
    uint64_t begin = place + LOCAL_BYTES + u16(local + 26) + u16(local + 28);
    if (begin > limit || (uint64_t)member->packed > limit - begin)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: member %.*s has %lld bytes from byte %llu on, the directory begins at %llu", zip->name,
                       length, member->name, (long long)member->packed, (unsigned long long)begin, (unsigned long long)limit);
    if (u16(local + 26) != member->name_bytes || memcmp(local + LOCAL_BYTES, member->name, member->name_bytes) != 0 ||
        u16(local + 8) != method)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: member %.*s has another name or method in its own header", zip->name, length,
                       member->name);
    member->data = zip->bytes + begin;
    return IJ_OK;
}

static ij_status read_entry(const ij_zip *zip, const uint8_t *entry, uint64_t limit, ij_zip_member *member, ij_error *err) {
    uint64_t packed = u32(entry + 20), size = u32(entry + 24), place = u32(entry + 42);
    uint16_t flags = u16(entry + 8), method = u16(entry + 10), length = u16(entry + 28);
    *member = (ij_zip_member){.name = (const char *)entry + ENTRY_BYTES, .name_bytes = length, .crc = u32(entry + 16)};
    if (memchr(member->name, 0, length)) return ij_fail(err, IJ_ERROR_FORMAT, "%s: a member's name holds a 0 byte", zip->name);
    if (flags & 1) return ij_fail(err, IJ_ERROR_FORMAT, "%s: member %.*s is encrypted", zip->name, length, member->name);
    if (method != 0 && method != 8)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: member %.*s is compressed by method %u; stored (0) and deflated (8) are read", zip->name,
                       length, member->name, method);
    if (!read_wide(entry + ENTRY_BYTES + length, u16(entry + 30), (uint64_t *const[]){&size, &packed, &place}))
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: member %.*s lacks its 64-bit sizes", zip->name, length, member->name);
    member->deflated = method == 8;
    /* packed is at most the file's size below, so the product does not overflow */
    if (packed > limit || (member->deflated ? size / DEFLATE_RATIO > packed : size != packed))
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: member %.*s claims %llu bytes from %llu %s ones", zip->name, length, member->name,
                       (unsigned long long)size, (unsigned long long)packed, member->deflated ? "deflated" : "stored");
    member->packed = (int64_t)packed;
    member->size = (int64_t)size;
    return read_local(zip, place, limit, method, member, err);
}

static int by_place(const void *a, const void *b) {
    const ij_zip_member *x = a, *y = b;
    return x->data != y->data ? (x->data < y->data ? -1 : 1) : (x->packed > y->packed) - (x->packed < y->packed);
}

static int compare_names(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static int by_name(const void *a, const void *b) {
    const ij_zip_member *x = a, *y = b;
    return compare_names(x->name, x->name_bytes, y->name, y->name_bytes);
}

/* A member begins where its local header does, which has its name's length and at least 30 bytes. */
static ij_status check_overlaps(ij_zip *zip, ij_error *err) {
    qsort(zip->members, (size_t)zip->count, sizeof *zip->members, by_place);
    const uint8_t *free_from = zip->bytes;
    for (int64_t i = 0; i < zip->count; i++) {
        const ij_zip_member *member = &zip->members[i];
        if (member->data - LOCAL_BYTES - member->name_bytes < free_from)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: members %.*s and %.*s overlap", zip->name, i ? member[-1].name_bytes : 0,
                           i ? member[-1].name : "", member->name_bytes, member->name);
        free_from = member->data + member->packed;
    }
    return IJ_OK;
}

static ij_status read_directory(ij_zip *zip, ij_error *err) {
    directory at;
    IJ_TRY(find_directory(zip, &at, err));
    IJ_TRY(ij_alloc(&zip->members, (int64_t)at.count, sizeof *zip->members, "zip directory", err));
    const uint8_t *entry = zip->bytes + at.offset;
    uint64_t rest = at.bytes;
    while (zip->count < (int64_t)at.count) {
        uint64_t length = ENTRY_BYTES;
        if (rest >= length) length += (uint64_t)u16(entry + 28) + u16(entry + 30) + u16(entry + 32);
        if (rest < length || u32(entry) != 0x02014b50)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: entry %lld of its zip directory is damaged", zip->name, (long long)zip->count);
        IJ_TRY(read_entry(zip, entry, at.offset, &zip->members[zip->count], err));
        zip->count++;
        entry += length;
        rest -= length;
    }
    if (rest)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: its zip directory has %llu bytes more than its members", zip->name,
                       (unsigned long long)rest);
    IJ_TRY(check_overlaps(zip, err));
    qsort(zip->members, (size_t)zip->count, sizeof *zip->members, by_name);
    for (int64_t i = 1; i < zip->count; i++)
        if (by_name(&zip->members[i - 1], &zip->members[i]) == 0)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: two members are named %.*s", zip->name, zip->members[i].name_bytes,
                           zip->members[i].name);
    return IJ_OK;
}

ij_status ij_zip_open(const void *bytes, size_t count, const char *name, ij_zip **out, ij_error *err) {
    *out = NULL;
    ij_zip *zip;
    IJ_TRY(ij_alloc(&zip, 1, sizeof *zip, "zip archive", err));
    *zip = (ij_zip){.name = name, .bytes = bytes, .size = (int64_t)count};
    ij_status status = read_directory(zip, err);
    if (status == IJ_OK)
        *out = zip;
    else
        ij_zip_close(zip);
    return status;
}

void ij_zip_close(ij_zip *zip) {
    if (!zip) return;
    free(zip->members);
    free(zip);
}

int64_t ij_zip_count(const ij_zip *zip) { return zip->count; }

const ij_zip_member *ij_zip_at(const ij_zip *zip, int64_t i) { return &zip->members[i]; }

const ij_zip_member *ij_zip_find(const ij_zip *zip, const char *name, size_t name_bytes) {
    int64_t low = 0, high = zip->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        const ij_zip_member *member = &zip->members[middle];
        int order = compare_names(name, name_bytes, member->name, member->name_bytes);
        if (order == 0) return member;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* ---- members ---- */

struct ij_zip_cursor {
    const ij_zip *zip;
    const ij_zip_member *member; /* whose stream is open, or NULL */
    int64_t at;                  /* bytes of it that were inflated */
    int64_t fed;                 /* bytes of it that zlib was given */
    uint32_t crc;                /* of those */
    z_stream stream;
};

ij_status ij_zip_cursor_open(const ij_zip *zip, ij_zip_cursor **out, ij_error *err) {
    IJ_TRY(ij_alloc(out, 1, sizeof **out, "zip cursor", err));
    (*out)->zip = zip;
    return IJ_OK;
}

static void end_stream(ij_zip_cursor *cursor) {
    if (cursor->member) inflateEnd(&cursor->stream);
    cursor->member = NULL;
}

void ij_zip_cursor_close(ij_zip_cursor *cursor) {
    if (!cursor) return;
    end_stream(cursor);
    free(cursor);
}

static ij_status begin_stream(ij_zip_cursor *cursor, const ij_zip_member *member, ij_error *err) {
    end_stream(cursor);
    memset(&cursor->stream, 0, sizeof cursor->stream);
    if (inflateInit2(&cursor->stream, -MAX_WBITS) != Z_OK) return ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: zlib");
    cursor->member = member;
    cursor->at = cursor->fed = 0;
    cursor->crc = (uint32_t)crc32(0, NULL, 0);
    return IJ_OK;
}

/* Inflates up to `room` bytes; fewer only at the stream's end. */
static ij_status inflate_some(ij_zip_cursor *cursor, uint8_t *out, uint32_t room, uint32_t *got, ij_error *err) {
    const ij_zip_member *member = cursor->member;
    z_stream *stream = &cursor->stream;
    stream->next_out = out;
    stream->avail_out = room;
    int result = Z_OK;
    while (stream->avail_out && result == Z_OK) {
        if (stream->avail_in == 0) {
            int64_t rest = member->packed - cursor->fed, piece = rest < 1 << 30 ? rest : 1 << 30;
            stream->next_in = (Bytef *)(uintptr_t)(member->data + cursor->fed);
            stream->avail_in = (uInt)piece;
            cursor->fed += piece;
        }
        result = inflate(stream, Z_NO_FLUSH);
    }
    *got = room - stream->avail_out;
    if (result == Z_OK || result == Z_STREAM_END) return IJ_OK;
    return ij_fail(err, IJ_ERROR_FORMAT, "%s: the deflated stream of member %.*s is damaged behind byte %lld: %s", cursor->zip->name,
                   member->name_bytes, member->name, (long long)(cursor->at + *got), result == Z_BUF_ERROR ? "it is cut short" : "no code");
}

/* The next count bytes; `out` NULL throws them away. */
static ij_status advance(ij_zip_cursor *cursor, int64_t count, uint8_t *out, ij_error *err) {
    const ij_zip_member *member = cursor->member;
    uint8_t nowhere[16384];
    while (count > 0) {
        uint32_t most = out ? 1u << 30 : (uint32_t)sizeof nowhere, room = count < most ? (uint32_t)count : most, got;
        uint8_t *to = out ? out : nowhere;
        IJ_TRY(inflate_some(cursor, to, room, &got, err));
        cursor->crc = (uint32_t)crc32(cursor->crc, to, got);
        cursor->at += got;
        count -= got;
        if (out) out += got;
        if (got < room)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: member %.*s claims %lld bytes, its deflated stream has %lld", cursor->zip->name,
                           member->name_bytes, member->name, (long long)member->size, (long long)cursor->at);
    }
    return IJ_OK;
}

static ij_status check_sum(const ij_zip *zip, const ij_zip_member *member, uint32_t crc, ij_error *err) {
    if (crc == member->crc) return IJ_OK;
    return ij_fail(err, IJ_ERROR_FORMAT, "%s: member %.*s is damaged: its bytes have checksum %08x, recorded is %08x", zip->name,
                   member->name_bytes, member->name, crc, member->crc);
}

static ij_status check_end(ij_zip_cursor *cursor, ij_error *err) {
    const ij_zip_member *member = cursor->member;
    uint8_t more;
    uint32_t got;
    IJ_TRY(inflate_some(cursor, &more, 1, &got, err));
    if (got)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: member %.*s claims %lld bytes, its deflated stream has more", cursor->zip->name,
                       member->name_bytes, member->name, (long long)member->size);
    return check_sum(cursor->zip, member, cursor->crc, err);
}

ij_status ij_zip_cursor_read(ij_zip_cursor *cursor, const ij_zip_member *member, int64_t offset, int64_t count, void *out, ij_error *err) {
    if (!member->deflated) {
        if (count) memcpy(out, member->data + offset, (size_t)count);
        return IJ_OK;
    }
    if (cursor->member != member || offset < cursor->at) IJ_TRY(begin_stream(cursor, member, err));
    ij_status status = advance(cursor, offset - cursor->at, NULL, err);
    if (status == IJ_OK) status = advance(cursor, count, out, err);
    if (status == IJ_OK && offset + count == member->size) {
        status = check_end(cursor, err);
        end_stream(cursor);
    }
    if (status != IJ_OK) end_stream(cursor);
    return status;
}

ij_status ij_zip_read_all(const ij_zip *zip, const ij_zip_member *member, int64_t most, uint8_t **out, ij_error *err) {
    *out = NULL;
    if (member->size > most)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: member %.*s has %lld bytes, at most %lld are read of it", zip->name, member->name_bytes,
                       member->name, (long long)member->size, (long long)most);
    uint8_t *bytes;
    ij_zip_cursor *cursor;
    IJ_TRY(ij_zip_cursor_open(zip, &cursor, err));
    ij_status status = ij_alloc(&bytes, member->size + 1, 1, "zip member", err);
    if (status == IJ_OK) status = ij_zip_cursor_read(cursor, member, 0, member->size, bytes, err);
    if (status == IJ_OK && !member->deflated)
        status = check_sum(zip, member, (uint32_t)crc32_z(crc32(0, NULL, 0), bytes, (size_t)member->size), err);
    ij_zip_cursor_close(cursor);
    if (status == IJ_OK)
        *out = bytes;
    else
        free(bytes);
    return status;
}
