/* The two containers of torch.save and their storages.       layer: io; uses: base, zip, pickle, torch_tree */
#include "io/torch_file.h"
#include "base/memory.h"
#include "io/torch_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOL_BYTES (40 << 20) /* beside the file's size */
#define PICKLE_BYTES_MAX (256 << 20)

static const uint8_t legacy_magic[] = {0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19}; /* LONG1 */

/* A storage of the legacy stream. */
typedef struct legacy_storage {
    const char *key;
    int64_t key_bytes, element;
    ij_torch_storage storage;
    bool found;
} legacy_storage;

struct ij_torch_file {
    const char *name;
    const char *format;
    const uint8_t *bytes;
    size_t size;
    ij_pool pool;
    ij_zip *zip;
    uint8_t *pickle;          /* data.pkl, a copy */
    char folder[512];         /* of the members, with its slash */
    legacy_storage *storages; /* sorted by key */
    int64_t storage_count;
    ij_torch_tree tree;
};

bool ij_torch_is(const void *bytes, size_t count) {
    const uint8_t *b = bytes;
    return ij_zip_is(bytes, count) || (count > 1 && b[0] == 0x80 && b[1] >= 1 && b[1] <= 5) ||
           (count > 262 && memcmp(b + 257, "ustar", 5) == 0);
}

/* ---- zip ---- */

static ij_status find_in_zip(void *user, const char *key, int64_t key_bytes, ij_torch_storage *out, ij_error *err) {
    const ij_torch_file *file = user;
    char member_name[800];
    if (key_bytes > 200) return ij_fail(err, IJ_ERROR_FORMAT, "%s: a storage's key of %lld bytes", file->name, (long long)key_bytes);
    int used = snprintf(member_name, sizeof member_name, "%sdata/", file->folder);
    memcpy(member_name + used, key, (size_t)key_bytes);
    const ij_zip_member *member = ij_zip_find(file->zip, member_name, (size_t)(used + key_bytes));
    if (!member)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: a tensor's storage is missing: no member %s%s%.*s", file->name, file->folder, "data/",
                       (int)key_bytes, key);
    *out = (ij_torch_storage){member->deflated ? NULL : member->data, member->deflated ? member : NULL, member->size};
    return IJ_OK;
}

static const ij_zip_member *find_member(const ij_torch_file *file, const char *name) {
    char full[800];
    int used = snprintf(full, sizeof full, "%s%s", file->folder, name);
    return ij_zip_find(file->zip, full, (size_t)used);
}

/* The folder that holds data.pkl: torch.save names it after the file, or "archive". */
static ij_status find_folder(ij_torch_file *file, ij_error *err) {
    static const char wanted[] = "data.pkl";
    const size_t tail = sizeof wanted - 1;
    for (int64_t i = 0; i < ij_zip_count(file->zip); i++) {
        const ij_zip_member *member = ij_zip_at(file->zip, i);
        size_t length = member->name_bytes;
        if (length < tail || memcmp(member->name + length - tail, wanted, tail) != 0) continue;
        length -= tail;
        if (length && member->name[length - 1] != '/') continue;
        if (length >= sizeof file->folder) return ij_fail(err, IJ_ERROR_FORMAT, "%s: a folder name of %zu bytes", file->name, length);
        memcpy(file->folder, member->name, length);
        return IJ_OK;
    }
    ij_fail(err, IJ_ERROR_FORMAT, "%s: a zip archive without data.pkl", file->name);
    return ij_hint(err, "torch.save writes one; a .npz or a zipped folder is no checkpoint");
}

static ij_status check_members(ij_torch_file *file, ij_error *err) {
    if (find_member(file, "constants.pkl")) {
        ij_fail(err, IJ_ERROR_FORMAT, "%s: a TorchScript archive, which holds a program", file->name);
        return ij_hint(err, "in PyTorch: torch.save(torch.jit.load(path).state_dict(), other)");
    }
    const ij_zip_member *order = find_member(file, "byteorder");
    if (!order) return IJ_OK;
    uint8_t *text;
    IJ_TRY(ij_zip_read_all(file->zip, order, 64, &text, err));
    bool little = strcmp((char *)text, "little") == 0;
    free(text);
    return little ? IJ_OK : ij_fail(err, IJ_ERROR_FORMAT, "%s: its numbers are big-endian; only little-endian files are read", file->name);
}

static ij_status open_zip(ij_torch_file *file, ij_error *err) {
    const ij_pickle_value *root;
    size_t used;
    IJ_TRY(ij_zip_open(file->bytes, file->size, file->name, &file->zip, err));
    file->format = "PyTorch zip";
    for (int64_t i = 0; i < ij_zip_count(file->zip); i++)
        if (ij_zip_at(file->zip, i)->deflated) file->format = "PyTorch zip, deflated";
    IJ_TRY(find_folder(file, err));
    IJ_TRY(check_members(file, err));
    const ij_zip_member *member = find_member(file, "data.pkl");
    IJ_TRY(ij_pool_charge(&file->pool, ij_zip_count(file->zip) * (int64_t)sizeof(ij_zip_member), err));
    IJ_TRY(ij_pool_charge(&file->pool, member->size, err));
    IJ_TRY(ij_zip_read_all(file->zip, member, PICKLE_BYTES_MAX, &file->pickle, err));
    IJ_TRY(ij_pickle_read(file->pickle, (size_t)member->size, file->name, &file->pool, &root, &used, err));
    file->tree.find = find_in_zip;
    file->tree.steps = 4 * member->size + 1024;
    return ij_torch_walk(&file->tree, root, err);
}

/* ---- the legacy stream ---- */

static int by_key(const void *a, const void *b) {
    const legacy_storage *x = a, *y = b;
    int order = memcmp(x->key, y->key, (size_t)(x->key_bytes < y->key_bytes ? x->key_bytes : y->key_bytes));
    return order ? order : (x->key_bytes > y->key_bytes) - (x->key_bytes < y->key_bytes);
}

static legacy_storage *legacy_find(ij_torch_file *file, const char *key, int64_t key_bytes) {
    legacy_storage wanted = {.key = key, .key_bytes = key_bytes};
    return bsearch(&wanted, file->storages, (size_t)file->storage_count, sizeof wanted, by_key);
}

static ij_status find_in_stream(void *user, const char *key, int64_t key_bytes, ij_torch_storage *out, ij_error *err) {
    ij_torch_file *file = user;
    const legacy_storage *found = legacy_find(file, key, key_bytes);
    if (!found || !found->found)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: a tensor's storage is missing: no key %.*s", file->name,
                       (int)(key_bytes < 100 ? key_bytes : 100), key);
    *out = found->storage;
    return IJ_OK;
}

/* How wide a storage's elements are is said where the tree names it first. `steps` bounds the search in a tree that repeats itself. */
static ij_status note_storages(ij_torch_file *file, const ij_pickle_value *v, int depth, int64_t *steps, ij_error *err) {
    if (depth > 80 || --*steps < 0)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: its object is nested deeper than 64 levels, in itself, or repeats itself", file->name);
    const ij_pickle_value *id = ij_torch_storage_id(v);
    if (id) {
        legacy_storage *storage = legacy_find(file, id->items[2]->bytes, id->items[2]->count);
        if (storage && !storage->element) storage->element = (int64_t)ij_torch_storage_element(id->items[1]->integer);
        return IJ_OK;
    }
    if (v->kind != IJ_PICKLE_LIST && v->kind != IJ_PICKLE_TUPLE && v->kind != IJ_PICKLE_DICT && v->kind != IJ_PICKLE_CALL) return IJ_OK;
    for (int64_t i = 0; i < v->count; i++)
        if (v->items[i]) IJ_TRY(note_storages(file, v->items[i], depth + 1, steps, err));
    return IJ_OK;
}

static ij_status read_keys(ij_torch_file *file, const ij_pickle_value *keys, ij_error *err) {
    if (keys->kind != IJ_PICKLE_LIST) return ij_fail(err, IJ_ERROR_FORMAT, "%s: its list of storages is no list", file->name);
    IJ_TRY(ij_pool_charge(&file->pool, keys->count * (int64_t)sizeof *file->storages, err));
    IJ_TRY(ij_alloc(&file->storages, keys->count, sizeof *file->storages, "list of storages", err));
    for (int64_t i = 0; i < keys->count; i++) {
        const ij_pickle_value *key = keys->items[i];
        if (key->kind != IJ_PICKLE_TEXT) return ij_fail(err, IJ_ERROR_FORMAT, "%s: a storage's key is no text", file->name);
        file->storages[file->storage_count++] = (legacy_storage){.key = key->bytes, .key_bytes = key->count};
    }
    qsort(file->storages, (size_t)file->storage_count, sizeof *file->storages, by_key);
    for (int64_t i = 1; i < file->storage_count; i++)
        if (by_key(&file->storages[i - 1], &file->storages[i]) == 0)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: two storages have the key %.*s", file->name,
                           (int)(file->storages[i].key_bytes < 100 ? file->storages[i].key_bytes : 100), file->storages[i].key);
    return IJ_OK;
}

/* In the order of the list: i64 elements, their bytes. */
static ij_status read_storages(ij_torch_file *file, const ij_pickle_value *keys, size_t at, ij_error *err) {
    for (int64_t i = 0; i < keys->count; i++) {
        legacy_storage *storage = legacy_find(file, keys->items[i]->bytes, keys->items[i]->count);
        int64_t elements, bytes, rest = (int64_t)(file->size - at);
        if (!storage->element)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: no tensor uses storage %.*s, so its element's size is not known", file->name,
                           (int)(storage->key_bytes < 100 ? storage->key_bytes : 100), storage->key);
        if (rest < 8)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: cut short: it ends before storage %lld of %lld", file->name, (long long)i + 1,
                           (long long)keys->count);
        memcpy(&elements, file->bytes + at, 8);
        if (elements < 0 || __builtin_mul_overflow(elements, storage->element, &bytes) || bytes > rest - 8)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: storage %.*s claims %lld elements of %lld bytes, the file has %lld bytes more",
                           file->name, (int)(storage->key_bytes < 100 ? storage->key_bytes : 100), storage->key, (long long)elements,
                           (long long)storage->element, (long long)rest - 8);
        storage->storage = (ij_torch_storage){file->bytes + at + 8, NULL, bytes};
        storage->found = true;
        at += 8 + (size_t)bytes;
    }
    if (at != file->size)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: %zu bytes at the end belong to no storage", file->name, file->size - at);
    return IJ_OK;
}

static const ij_pickle_value *entry_of(const ij_pickle_value *dict, const char *key) {
    size_t length = strlen(key);
    for (int64_t i = 0; dict->kind == IJ_PICKLE_DICT && i < dict->count; i += 2)
        if (dict->items[i]->kind == IJ_PICKLE_TEXT && dict->items[i]->count == (int64_t)length &&
            memcmp(dict->items[i]->bytes, key, length) == 0)
            return dict->items[i + 1];
    return NULL;
}

static ij_status open_legacy(ij_torch_file *file, ij_error *err) {
    if (file->size < 2 + sizeof legacy_magic || memcmp(file->bytes + 2, legacy_magic, sizeof legacy_magic) != 0) {
        ij_fail(err, IJ_ERROR_FORMAT, "%s: a pickle that torch.save did not write", file->name);
        return ij_hint(err, "read are safetensors, and what torch.save writes");
    }
    file->format = "PyTorch legacy";
    const ij_pickle_value *part[5]; /* magic number, protocol, machine, object, storage keys */
    size_t at = 0, used, object_bytes = 0;
    for (int i = 0; i < IJ_COUNT(part); i++) {
        IJ_TRY(ij_pickle_read(file->bytes + at, file->size - at, file->name, &file->pool, &part[i], &used, err));
        at += used;
        if (i == 3) object_bytes = used;
        if (i == 1 && (part[1]->kind != IJ_PICKLE_INT || part[1]->integer != 1001))
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: a PyTorch stream of a protocol other than 1001", file->name);
    }
    const ij_pickle_value *little = entry_of(part[2], "little_endian");
    if (!little || little->kind != IJ_PICKLE_BOOL || !little->integer)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: its numbers are big-endian; only little-endian files are read", file->name);
    int64_t steps = 32 * (int64_t)object_bytes + 1024;
    IJ_TRY(read_keys(file, part[4], err));
    IJ_TRY(note_storages(file, part[3], 0, &steps, err));
    IJ_TRY(read_storages(file, part[4], at, err));
    file->tree.find = find_in_stream;
    file->tree.steps = 4 * (int64_t)object_bytes + 1024;
    return ij_torch_walk(&file->tree, part[3], err);
}

/* ---- opening ---- */

static ij_status open_either(ij_torch_file *file, ij_error *err) {
    if (ij_zip_is(file->bytes, file->size)) return open_zip(file, err);
    if (file->bytes[0] == 0x80) return open_legacy(file, err);
    ij_fail(err, IJ_ERROR_FORMAT, "%s: a tar archive; PyTorch wrote such files before 0.1.10", file->name);
    return ij_hint(err, "load it in PyTorch and save it again; a downloaded .pth.tar is rarely a tar archive");
}

ij_status ij_torch_open(const void *bytes, size_t count, const char *name, ij_torch_file **out, ij_error *err) {
    *out = NULL;
    ij_torch_file *file;
    IJ_TRY(ij_alloc(&file, 1, sizeof *file, "PyTorch file", err));
    *file = (ij_torch_file){.name = name, .bytes = bytes, .size = count, .pool = {.name = name, .budget = POOL_BYTES + (int64_t)count}};
    file->tree = (ij_torch_tree){.name = name, .pool = &file->pool, .user = file};
    ij_status status = open_either(file, err);
    if (status == IJ_OK)
        *out = file;
    else
        ij_torch_close(file);
    return status;
}

void ij_torch_close(ij_torch_file *file) {
    if (!file) return;
    ij_pool_free(&file->pool);
    ij_zip_close(file->zip);
    free(file->pickle);
    free(file->storages);
    free(file->tree.views);
    free(file->tree.values);
    free(file);
}

const char *ij_torch_format(const ij_torch_file *file) { return file->format; }

const ij_zip *ij_torch_archive(const ij_torch_file *file) { return file->zip; }

int64_t ij_torch_tensors(const ij_torch_file *file, const ij_tensor_view **out) {
    *out = file->tree.views;
    return file->tree.view_count;
}

int64_t ij_torch_values(const ij_torch_file *file, const ij_torch_value **out) {
    *out = file->tree.values;
    return file->tree.value_count;
}
