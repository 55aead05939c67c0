/* layer: io; uses: base, pickle, tensor_view */
#include "io/torch_tree.h"
#include "base/memory.h"
#include "io/json_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64
#define REPEAT_BYTES_MAX (64 << 20)

typedef ij_pickle_value value;

/* Storage classes and dtypes. */
static const struct {
    ij_pickle_name storage, dtype;
    ij_safetensors_dtype element;
} kinds[] = {
#define KIND(storage, dtype, element) {IJ_PICKLE_NAME_##storage, IJ_PICKLE_NAME_##dtype, IJ_SAFETENSORS_##element}
    KIND(FLOAT_STORAGE, FLOAT32, F32),  KIND(HALF_STORAGE, FLOAT16, F16),   KIND(BFLOAT16_STORAGE, BFLOAT16, BF16),
    KIND(DOUBLE_STORAGE, FLOAT64, F64), KIND(INT_STORAGE, INT32, I32),      KIND(LONG_STORAGE, INT64, I64),
    KIND(SHORT_STORAGE, INT16, I16),    KIND(CHAR_STORAGE, INT8, I8),       KIND(BYTE_STORAGE, UINT8, U8),
    KIND(BOOL_STORAGE, BOOL, BOOL),     KIND(UNTYPED_STORAGE, UINT16, U16), KIND(UNTYPED_STORAGE, UINT32, U32),
    KIND(UNTYPED_STORAGE, UINT64, U64),
#undef KIND
};

size_t ij_torch_storage_element(int64_t name) {
    if (name == IJ_PICKLE_NAME_UNTYPED_STORAGE) return 1;
    for (int i = 0; i < IJ_COUNT(kinds); i++)
        if ((int64_t)kinds[i].storage == name) return ij_safetensors_dtype_bytes(kinds[i].element);
    return 0;
}

static bool is_kind(const value *v, ij_pickle_kind kind) { return v && v->kind == kind; }

static const value *item(const value *list, int64_t i) { return i < list->count ? list->items[i] : NULL; }

const value *ij_torch_storage_id(const value *outside) {
    const value *id = is_kind(outside, IJ_PICKLE_OUTSIDE) ? outside->items[0] : NULL;
    if (!is_kind(id, IJ_PICKLE_TUPLE) || id->count < 5 || !is_kind(id->items[0], IJ_PICKLE_TEXT) || id->items[0]->count != 7 ||
        memcmp(id->items[0]->bytes, "storage", 7) != 0 || !is_kind(id->items[1], IJ_PICKLE_NAMED) ||
        !ij_torch_storage_element(id->items[1]->integer) || !is_kind(id->items[2], IJ_PICKLE_TEXT) || !is_kind(id->items[4], IJ_PICKLE_INT))
        return NULL;
    return id;
}

static ij_status refuse(const ij_torch_tree *tree, const char *what, ij_error *err) {
    return ij_fail(err, IJ_ERROR_FORMAT, "%s: %s: %s", tree->name, tree->path_bytes ? tree->path : "its object", what);
}

/* ---- tensors ---- */

static ij_status read_sizes(const ij_torch_tree *tree, const value *sizes, const value *strides, ij_tensor_view *view, ij_error *err) {
    if (!is_kind(sizes, IJ_PICKLE_TUPLE) || !is_kind(strides, IJ_PICKLE_TUPLE) || sizes->count != strides->count)
        return refuse(tree, "a tensor whose size and strides do not match", err);
    if (sizes->count > IJ_SAFETENSORS_MAX_DIMS)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %s has %lld dimensions, at most %d are read", tree->name, view->entry.name,
                       (long long)sizes->count, IJ_SAFETENSORS_MAX_DIMS);
    int64_t count = 1, longest = 1;
    for (int64_t d = 0; d < sizes->count; d++) {
        const value *size = sizes->items[d], *stride = strides->items[d];
        if (!is_kind(size, IJ_PICKLE_INT) || !is_kind(stride, IJ_PICKLE_INT)) return refuse(tree, "a tensor whose size is no number", err);
        if (size->integer < 0 || stride->integer < 0)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %s: dimension %lld has size %lld and stride %lld", tree->name,
                           view->entry.name, (long long)d, (long long)size->integer, (long long)stride->integer);
        /* A dimension of 0 must not hide that the others overflow. */
        if (__builtin_mul_overflow(longest, size->integer ? size->integer : 1, &longest) || longest > INT64_MAX / 8)
            return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %s: the product of its dimensions overflows", tree->name, view->entry.name);
        count *= size->integer;
        view->entry.shape[d] = size->integer;
        view->strides[d] = stride->integer;
    }
    view->entry.ndim = (int)sizes->count;
    view->entry.count = count;
    return IJ_OK;
}

/* Every element inside `room` elements of storage, from `offset` on. */
static ij_status check_reach(const ij_torch_tree *tree, const ij_tensor_view *view, int64_t offset, int64_t room, ij_error *err) {
    int64_t end = offset;
    bool inside = offset >= 0;
    for (int d = 0; inside && view->entry.count && d < view->entry.ndim; d++) {
        int64_t reach;
        inside = !__builtin_mul_overflow(view->entry.shape[d] - 1, view->strides[d], &reach) && !__builtin_add_overflow(end, reach, &end);
    }
    inside = inside && (view->entry.count ? end < room : offset <= room);
    char shape[160], strides[160];
    ij_shape_text(shape, sizeof shape, view->entry.ndim, view->entry.shape);
    ij_shape_text(strides, sizeof strides, view->entry.ndim, view->strides);
    if (!inside)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %.200s: size %s, strides %s, offset %lld leave its storage of %lld elements",
                       tree->name, view->entry.name, shape, strides, (long long)offset, (long long)room);
    int64_t bytes = (int64_t)ij_safetensors_dtype_bytes(view->entry.dtype);
    if (view->entry.count > room && view->entry.count - room > REPEAT_BYTES_MAX / bytes)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %.200s: size %s repeats a storage of %lld elements", tree->name, view->entry.name,
                       shape, (long long)room);
    return IJ_OK;
}

/* The tensor's dtype: of its storage's class, or, for a class without one, what _rebuild_tensor_v3 says. */
static bool find_dtype(const value *class, const value *said, ij_safetensors_dtype *out) {
    for (int i = 0; i < IJ_COUNT(kinds); i++) {
        bool is = said ? is_kind(said, IJ_PICKLE_NAMED) && (int64_t)kinds[i].dtype == said->integer
                       : (int64_t)kinds[i].storage == class->integer && class->integer != IJ_PICKLE_NAME_UNTYPED_STORAGE;
        if (is) *out = kinds[i].element;
        if (is) return true;
    }
    return false;
}

static ij_status copy_text(ij_torch_tree *tree, const char *text, size_t bytes, const char **out, ij_error *err) {
    char *copy;
    IJ_TRY(ij_pool_alloc(tree->pool, &copy, (int64_t)bytes + 1, err));
    memcpy(copy, text, bytes);
    *out = copy;
    return IJ_OK;
}

/* (storage, offset, size, strides, requires_grad, hooks[, dtype]) */
static ij_status add_tensor(ij_torch_tree *tree, const value *arguments, bool has_dtype, ij_error *err) {
    const value *id = ij_torch_storage_id(item(arguments, 0)), *offset = item(arguments, 1);
    if (!id) return refuse(tree, "a tensor without a storage that is read", err);
    if (!is_kind(offset, IJ_PICKLE_INT)) return refuse(tree, "a tensor whose offset is no number", err);
    ij_tensor_view view = {0};
    if (!find_dtype(id->items[1], has_dtype ? item(arguments, 6) : NULL, &view.entry.dtype) || (has_dtype && arguments->count < 7))
        return refuse(tree, "a tensor of a dtype that is not read", err);
    IJ_TRY(copy_text(tree, tree->path_bytes ? tree->path : "tensor", tree->path_bytes ? tree->path_bytes : 6, &view.entry.name, err));
    IJ_TRY(read_sizes(tree, item(arguments, 2), item(arguments, 3), &view, err));

    ij_torch_storage storage;
    IJ_TRY(tree->find(tree->user, id->items[2]->bytes, id->items[2]->count, &storage, err));
    int64_t element = (int64_t)ij_safetensors_dtype_bytes(view.entry.dtype), claimed, start = 0;
    if (id->items[4]->integer < 0 ||
        __builtin_mul_overflow(id->items[4]->integer, (int64_t)ij_torch_storage_element(id->items[1]->integer), &claimed) ||
        claimed > storage.size)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: tensor %.200s: storage %.*s is said to have %lld elements, it has %lld bytes", tree->name,
                       view.entry.name, (int)(id->items[2]->count < 40 ? id->items[2]->count : 40), id->items[2]->bytes,
                       (long long)id->items[4]->integer, (long long)storage.size);
    /* Before 0.4 a storage could be a view of another: (key, offset, elements). */
    if (is_kind(item(id, 5), IJ_PICKLE_TUPLE)) {
        const value *from = item(id->items[5], 1);
        if (!is_kind(from, IJ_PICKLE_INT) || from->integer < 0 || from->integer > storage.size / element)
            return refuse(tree, "a view of a storage that leaves it", err);
        start = from->integer;
    }
    IJ_TRY(check_reach(tree, &view, offset->integer, storage.size / element - start, err));
    view.offset = (start + offset->integer) * element;
    view.bytes = storage.bytes;
    view.member = storage.member;
    IJ_TRY(ij_pool_charge(tree->pool, 4 * (int64_t)sizeof view, err));
    IJ_TRY(ij_grow(&tree->views, &tree->view_capacity, tree->view_count + 1, sizeof view, "tensor table", err));
    tree->views[tree->view_count++] = view;
    return IJ_OK;
}

/* ---- values ---- */

static ij_status add_value(ij_torch_tree *tree, const char *text, size_t bytes, ij_error *err) {
    ij_torch_value added;
    IJ_TRY(copy_text(tree, tree->path_bytes ? tree->path : "value", tree->path_bytes ? tree->path_bytes : 5, &added.key, err));
    IJ_TRY(copy_text(tree, text, bytes, &added.text, err));
    IJ_TRY(ij_pool_charge(tree->pool, 6 * (int64_t)sizeof added, err));
    IJ_TRY(ij_grow(&tree->values, &tree->value_capacity, tree->value_count + 1, sizeof added, "values", err));
    tree->values[tree->value_count++] = added;
    return IJ_OK;
}

static ij_status add_number(ij_torch_tree *tree, double number, ij_error *err) {
    char text[32];
    ij_number_text(number, text);
    return add_value(tree, text, strlen(text), err);
}

static ij_status add_integer(ij_torch_tree *tree, int64_t number, ij_error *err) {
    char text[32];
    return add_value(tree, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)number), err);
}

/* numpy.dtype("f8", ...) with state (3, "<", ...), and the number's bytes. */
static ij_status add_numpy(ij_torch_tree *tree, const value *arguments, ij_error *err) {
    const value *dtype = item(arguments, 0), *bytes = item(arguments, 1), *name, *state, *order;
    if (!is_kind(dtype, IJ_PICKLE_CALL) || dtype->items[0]->integer != IJ_PICKLE_NAME_NUMPY_DTYPE || !is_kind(bytes, IJ_PICKLE_BYTES))
        return refuse(tree, "a NumPy scalar that is not understood", err);
    name = item(dtype->items[1], 0);
    state = dtype->items[2];
    order = is_kind(state, IJ_PICKLE_TUPLE) ? item(state, 1) : NULL;
    if (!is_kind(name, IJ_PICKLE_TEXT) || name->count != 2 || bytes->count != name->bytes[1] - '0' || bytes->count > 8 ||
        (order && is_kind(order, IJ_PICKLE_TEXT) && order->count == 1 && order->bytes[0] == '>'))
        return refuse(tree, "a NumPy scalar that is no little-endian number", err);
    uint64_t raw = 0;
    float single;
    double number;
    memcpy(&raw, bytes->bytes, (size_t)bytes->count);
    memcpy(&number, &raw, 8);
    memcpy(&single, &raw, 4);
    int shift = 64 - 8 * (int)bytes->count;
    switch (name->bytes[0]) {
    case 'f':
        if (bytes->count == 8) return add_number(tree, number, err);
        if (bytes->count == 4) return add_number(tree, (double)single, err);
        break;
    case 'i':
        if (shift < 64) return add_integer(tree, (int64_t)(raw << shift) >> shift, err);
        break;
    case 'b': return raw ? add_value(tree, "true", 4, err) : add_value(tree, "false", 5, err);
    case 'u':
        if (raw <= INT64_MAX) return add_integer(tree, (int64_t)raw, err);
        break;
    }
    return refuse(tree, "a NumPy scalar of a type that is not read", err);
}

static ij_status add_device(ij_torch_tree *tree, const value *arguments, ij_error *err) {
    const value *kind = item(arguments, 0), *index = item(arguments, 1);
    char text[64];
    if (!is_kind(kind, IJ_PICKLE_TEXT) || kind->count > 30) return refuse(tree, "a device without a name", err);
    int used = snprintf(text, sizeof text, "%.*s", (int)kind->count, kind->bytes);
    if (is_kind(index, IJ_PICKLE_INT)) used += snprintf(text + used, sizeof text - (size_t)used, ":%lld", (long long)index->integer);
    return add_value(tree, text, (size_t)used, err);
}

/* ---- the walk ---- */

static ij_status walk(ij_torch_tree *tree, const value *v, int depth, ij_error *err);

static ij_status walk_call(ij_torch_tree *tree, const value *call, int depth, ij_error *err) {
    const value *arguments = call->items[1];
    switch ((ij_pickle_name)call->items[0]->integer) {
    case IJ_PICKLE_NAME_REBUILD_TENSOR:
    case IJ_PICKLE_NAME_REBUILD_TENSOR_V2: return add_tensor(tree, arguments, false, err);
    case IJ_PICKLE_NAME_REBUILD_TENSOR_V3: return add_tensor(tree, arguments, true, err);
    case IJ_PICKLE_NAME_REBUILD_PARAMETER:
    case IJ_PICKLE_NAME_REBUILD_PARAMETER_WITH_STATE:
        if (arguments->count < 1) return refuse(tree, "a parameter without a tensor", err);
        return walk(tree, arguments->items[0], depth + 1, err);
    case IJ_PICKLE_NAME_NUMPY_SCALAR:
    case IJ_PICKLE_NAME_NUMPY_SCALAR_2: return add_numpy(tree, arguments, err);
    case IJ_PICKLE_NAME_DEVICE: return add_device(tree, arguments, err);
    default: break;
    }
    char what[128];
    snprintf(what, sizeof what, "a call of %s", ij_pickle_name_text((ij_pickle_name)call->items[0]->integer));
    return refuse(tree, what, err);
}

/* A step down: the path grows by one part, and is what it was afterwards. */
static ij_status walk_part(ij_torch_tree *tree, const char *part, int64_t part_bytes, const value *v, int depth, ij_error *err) {
    size_t before = tree->path_bytes;
    if (memchr(part, 0, (size_t)part_bytes)) return refuse(tree, "a name that holds a 0 byte", err);
    if (part_bytes + 2 > (int64_t)(sizeof tree->path - before)) return refuse(tree, "a name of more than 2,000 bytes", err);
    if (before) tree->path[tree->path_bytes++] = '.';
    memcpy(tree->path + tree->path_bytes, part, (size_t)part_bytes);
    tree->path_bytes += (size_t)part_bytes;
    tree->path[tree->path_bytes] = 0;
    ij_status status = walk(tree, v, depth + 1, err);
    tree->path[before] = 0;
    tree->path_bytes = before;
    return status;
}

static ij_status walk_list(ij_torch_tree *tree, const value *list, int depth, ij_error *err) {
    for (int64_t i = 0; i < list->count; i++) {
        char part[32];
        int bytes = snprintf(part, sizeof part, "%lld", (long long)i);
        IJ_TRY(walk_part(tree, part, bytes, list->items[i], depth, err));
    }
    return IJ_OK;
}

static ij_status walk_dict(ij_torch_tree *tree, const value *dict, int depth, ij_error *err) {
    for (int64_t i = 0; i < dict->count; i += 2) {
        const value *key = dict->items[i];
        char part[32];
        if (key->kind == IJ_PICKLE_TEXT) {
            IJ_TRY(walk_part(tree, key->bytes, key->count, dict->items[i + 1], depth, err));
            continue;
        }
        if (key->kind == IJ_PICKLE_FLOAT)
            ij_number_text(key->real, part);
        else if (key->kind == IJ_PICKLE_INT || key->kind == IJ_PICKLE_BOOL)
            snprintf(part, sizeof part, "%lld", (long long)key->integer);
        else
            return refuse(tree, "a dict whose key is neither a text nor a number", err);
        IJ_TRY(walk_part(tree, part, (int64_t)strlen(part), dict->items[i + 1], depth, err));
    }
    return IJ_OK;
}

static ij_status walk(ij_torch_tree *tree, const value *v, int depth, ij_error *err) {
    char text[48];
    if (depth > DEPTH_MAX) return refuse(tree, "nested deeper than 64 levels, or in itself", err);
    if (tree->steps-- <= 0) return refuse(tree, "more values than its pickle has bytes: the same lists over and over", err);
    switch (v->kind) {
    case IJ_PICKLE_NONE: return add_value(tree, "null", 4, err);
    case IJ_PICKLE_BOOL: return v->integer ? add_value(tree, "true", 4, err) : add_value(tree, "false", 5, err);
    case IJ_PICKLE_INT: return add_integer(tree, v->integer, err);
    case IJ_PICKLE_BIG:
        return add_value(tree, text, (size_t)snprintf(text, sizeof text, "<integer of %lld bytes>", (long long)v->count), err);
    case IJ_PICKLE_FLOAT: return add_number(tree, v->real, err);
    case IJ_PICKLE_TEXT: return add_value(tree, v->bytes, strnlen(v->bytes, (size_t)v->count), err);
    case IJ_PICKLE_BYTES: return add_value(tree, text, (size_t)snprintf(text, sizeof text, "<%lld bytes>", (long long)v->count), err);
    case IJ_PICKLE_LIST:
    case IJ_PICKLE_TUPLE: return walk_list(tree, v, depth, err);
    case IJ_PICKLE_DICT: return walk_dict(tree, v, depth, err);
    case IJ_PICKLE_NAMED:
        return add_value(tree, ij_pickle_name_text((ij_pickle_name)v->integer), strlen(ij_pickle_name_text((ij_pickle_name)v->integer)),
                         err);
    case IJ_PICKLE_CALL: return walk_call(tree, v, depth, err);
    case IJ_PICKLE_OUTSIDE: return refuse(tree, "a storage that belongs to no tensor", err);
    }
    return IJ_OK;
}

ij_status ij_torch_walk(ij_torch_tree *tree, const value *root, ij_error *err) { return walk(tree, root, 0, err); }
