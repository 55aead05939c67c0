/* The stack machine. Every opcode looks at how many bytes and how many values there are before it takes one.       layer: io; uses: base */
#include "io/pickle.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define SLOT_COST 24 /* bytes that a place on the stack, of a mark or in the memo may cost: a pointer in arrays that double */

typedef ij_pickle_value value;

typedef struct machine {
    const uint8_t *bytes, *at, *end;
    const char *name;
    ij_pool *pool;
    value **stack;
    int64_t depth, stack_capacity;
    int64_t *marks;
    int64_t mark_count, mark_capacity;
    value **memo;
    int64_t memo_count, memo_capacity;
    bool stopped;
} machine;

static const struct {
    const char *module, *name, *text;
} names[] = {
#define NAME_ROW(id, module, name) {module, name, module "." name},
    IJ_PICKLE_NAMES(NAME_ROW)
#undef NAME_ROW
};

const char *ij_pickle_name_text(ij_pickle_name name) { return names[name].text; }

static ij_status damaged(const machine *m, const char *what, ij_error *err) {
    return ij_fail(err, IJ_ERROR_FORMAT, "%s: its pickle is damaged at byte %lld of %lld: %s", m->name, (long long)(m->at - m->bytes),
                   (long long)(m->end - m->bytes), what);
}

/* ---- values ---- */

static ij_status make(machine *m, ij_pickle_kind kind, value **out, ij_error *err) {
    IJ_TRY(ij_pool_alloc(m->pool, out, sizeof **out, err));
    (*out)->kind = kind;
    return IJ_OK;
}

static ij_status grow(machine *m, void *array, int64_t *capacity, int64_t needed, size_t bytes, ij_error *err) {
    if (needed <= *capacity) return IJ_OK;
    IJ_TRY(ij_pool_charge(m->pool, (*capacity ? *capacity : 16) * SLOT_COST, err));
    return ij_grow(array, capacity, needed, bytes, "pickle", err);
}

static ij_status push(machine *m, value *v, ij_error *err) {
    IJ_TRY(grow(m, &m->stack, &m->stack_capacity, m->depth + 1, sizeof *m->stack, err));
    m->stack[m->depth++] = v;
    return IJ_OK;
}

static ij_status push_new(machine *m, ij_pickle_kind kind, int64_t integer, ij_error *err) {
    value *v;
    IJ_TRY(make(m, kind, &v, err));
    v->integer = integer;
    return push(m, v, err);
}

/* Values above the last mark may be taken, not those below it. */
static int64_t floor_of(const machine *m) { return m->mark_count ? m->marks[m->mark_count - 1] : 0; }

static ij_status need(const machine *m, int64_t count, ij_error *err) {
    return m->depth - floor_of(m) >= count ? IJ_OK : damaged(m, "an opcode finds too few values", err);
}

/* Takes the last mark away; *from is the first value that was above it. */
static ij_status take_mark(machine *m, int64_t *from, ij_error *err) {
    if (m->mark_count == 0) return damaged(m, "an opcode finds no mark", err);
    *from = m->marks[--m->mark_count];
    return IJ_OK;
}

static ij_status append(machine *m, value *to, value *const *items, int64_t count, ij_error *err) {
    if (to->count + count > to->capacity) {
        int64_t capacity = to->capacity * 2 > to->count + count ? to->capacity * 2 : to->count + count;
        value **grown;
        IJ_TRY(ij_pool_alloc(m->pool, &grown, capacity * (int64_t)sizeof *grown, err));
        if (to->count) memcpy(grown, to->items, (size_t)to->count * sizeof *grown);
        to->items = grown;
        to->capacity = capacity;
    }
    if (count) memcpy(to->items + to->count, items, (size_t)count * sizeof *items);
    to->count += count;
    return IJ_OK;
}

/* The stack's values from `from` on become one. */
static ij_status collect(machine *m, ij_pickle_kind kind, int64_t from, ij_error *err) {
    value *v;
    IJ_TRY(make(m, kind, &v, err));
    IJ_TRY(append(m, v, m->stack + from, m->depth - from, err));
    m->depth = from;
    return push(m, v, err);
}

static ij_status extend(machine *m, ij_pickle_kind kind, int64_t from, ij_error *err) {
    if (from - floor_of(m) < 1 || m->stack[from - 1]->kind != kind) return damaged(m, "items are put into what is no list or dict", err);
    if (kind == IJ_PICKLE_DICT && (m->depth - from) % 2) return damaged(m, "a key without a value", err);
    IJ_TRY(append(m, m->stack[from - 1], m->stack + from, m->depth - from, err));
    m->depth = from;
    return IJ_OK;
}

/* ---- bytes ---- */

/* A little-endian number of `width` bytes. */
static ij_status take_number(machine *m, int width, uint64_t *out, ij_error *err) {
    if (m->end - m->at < width) return damaged(m, "it ends inside an opcode", err);
    *out = 0;
    for (int i = 0; i < width; i++) *out |= (uint64_t)m->at[i] << 8 * i;
    m->at += width;
    return IJ_OK;
}

static ij_status take_bytes(machine *m, int width, const uint8_t **out, uint64_t *length, ij_error *err) {
    IJ_TRY(take_number(m, width, length, err));
    if (*length > (uint64_t)(m->end - m->at)) return damaged(m, "a text is longer than the file", err);
    *out = m->at;
    m->at += *length;
    return IJ_OK;
}

static ij_status push_bytes(machine *m, ij_pickle_kind kind, int width, ij_error *err) {
    const uint8_t *bytes = NULL;
    uint64_t length = 0;
    value *v;
    IJ_TRY(take_bytes(m, width, &bytes, &length, err));
    IJ_TRY(make(m, kind, &v, err));
    v->bytes = (const char *)bytes;
    v->count = (int64_t)length;
    return push(m, v, err);
}

static ij_status push_long(machine *m, int width, ij_error *err) {
    const uint8_t *bytes = NULL;
    uint64_t length = 0;
    IJ_TRY(take_bytes(m, width, &bytes, &length, err));
    if (length <= 8) {
        uint64_t number = 0;
        for (uint64_t i = 0; i < length; i++) number |= (uint64_t)bytes[i] << 8 * i;
        if (length && length < 8 && bytes[length - 1] & 0x80) number |= UINT64_MAX << 8 * length;
        return push_new(m, IJ_PICKLE_INT, (int64_t)number, err);
    }
    value *v;
    IJ_TRY(make(m, IJ_PICKLE_BIG, &v, err));
    v->bytes = (const char *)bytes;
    v->count = (int64_t)length;
    return push(m, v, err);
}

static ij_status push_float(machine *m, ij_error *err) {
    uint64_t bits = 0;
    value *v;
    IJ_TRY(take_number(m, 8, &bits, err));
    bits = __builtin_bswap64(bits);
    IJ_TRY(make(m, IJ_PICKLE_FLOAT, &v, err));
    memcpy(&v->real, &bits, 8);
    return push(m, v, err);
}

/* ---- names and calls ---- */

static ij_status push_name(machine *m, const char *module, size_t module_bytes, const char *name, size_t name_bytes, ij_error *err) {
    for (int i = 0; i < IJ_COUNT(names); i++)
        if (strlen(names[i].module) == module_bytes && memcmp(names[i].module, module, module_bytes) == 0 &&
            strlen(names[i].name) == name_bytes && memcmp(names[i].name, name, name_bytes) == 0)
            return push_new(m, IJ_PICKLE_NAMED, i, err);
    ij_fail(err, IJ_ERROR_FORMAT,
            "%s: it names %.*s.%.*s; only tensors, numbers, texts, lists and dicts of them are read; nothing was executed", m->name,
            (int)(module_bytes < 100 ? module_bytes : 100), module, (int)(name_bytes < 100 ? name_bytes : 100), name);
    return ij_hint(err, "if you trust the file, load it in PyTorch and save its state_dict again");
}

/* GLOBAL: two lines. */
static ij_status push_global(machine *m, ij_error *err) {
    const uint8_t *lines[2];
    size_t lengths[2];
    for (int i = 0; i < 2; i++) {
        const uint8_t *newline = memchr(m->at, '\n', (size_t)(m->end - m->at));
        if (!newline) return damaged(m, "it ends inside a name", err);
        lines[i] = m->at;
        lengths[i] = (size_t)(newline - m->at);
        m->at = newline + 1;
    }
    return push_name(m, (const char *)lines[0], lengths[0], (const char *)lines[1], lengths[1], err);
}

static ij_status push_stack_global(machine *m, ij_error *err) {
    IJ_TRY(need(m, 2, err));
    const value *module = m->stack[m->depth - 2], *name = m->stack[m->depth - 1];
    if (module->kind != IJ_PICKLE_TEXT || name->kind != IJ_PICKLE_TEXT) return damaged(m, "a name that is no text", err);
    m->depth -= 2;
    return push_name(m, module->bytes, (size_t)module->count, name->bytes, (size_t)name->count, err);
}

/* OrderedDict(), OrderedDict([[key, value], ...]), Counter({...}), defaultdict(type): the pairs. */
static ij_status make_dict(machine *m, const value *arguments, value **out, ij_error *err) {
    IJ_TRY(make(m, IJ_PICKLE_DICT, out, err));
    const value *from = arguments->count ? arguments->items[arguments->count - 1] : NULL;
    if (!from || from->kind == IJ_PICKLE_NAMED) return IJ_OK;
    if (from->kind == IJ_PICKLE_DICT) return append(m, *out, from->items, from->count, err);
    if (from->kind != IJ_PICKLE_LIST) return damaged(m, "a dict is made of what is no list or dict", err);
    for (int64_t i = 0; i < from->count; i++) {
        const value *pair = from->items[i];
        if ((pair->kind != IJ_PICKLE_LIST && pair->kind != IJ_PICKLE_TUPLE) || pair->count != 2)
            return damaged(m, "a dict is made of what are no pairs", err);
        IJ_TRY(append(m, *out, pair->items, 2, err));
    }
    return IJ_OK;
}

/* Protocol 2 has no bytes: they are a text of the characters 0 to 255, here in UTF-8. */
static ij_status make_bytes(machine *m, const value *arguments, value **out, ij_error *err) {
    const value *text = arguments->count == 2 ? arguments->items[0] : NULL, *codec = text ? arguments->items[1] : NULL;
    if (!text || text->kind != IJ_PICKLE_TEXT || codec->kind != IJ_PICKLE_TEXT || codec->count != 6 ||
        memcmp(codec->bytes, "latin1", 6) != 0)
        return damaged(m, "bytes that are not encoded as latin1", err);
    uint8_t *bytes;
    IJ_TRY(make(m, IJ_PICKLE_BYTES, out, err));
    IJ_TRY(ij_pool_alloc(m->pool, &bytes, text->count + 1, err));
    for (int64_t i = 0; i < text->count; i++) {
        uint8_t c = (uint8_t)text->bytes[i], next = i + 1 < text->count ? (uint8_t)text->bytes[i + 1] : 0;
        if (c >= 0x80) {
            if ((c != 0xc2 && c != 0xc3) || (next & 0xc0) != 0x80) return damaged(m, "bytes beyond 255", err);
            c = (uint8_t)(c << 6 | (next & 0x3f));
            i++;
        }
        bytes[(*out)->count++] = c;
    }
    (*out)->bytes = (const char *)bytes;
    return IJ_OK;
}

static ij_status reduce(machine *m, ij_error *err) {
    IJ_TRY(need(m, 2, err));
    value *function = m->stack[m->depth - 2], *arguments = m->stack[m->depth - 1], *result;
    if (function->kind != IJ_PICKLE_NAMED || arguments->kind != IJ_PICKLE_TUPLE) return damaged(m, "a call of what is no function", err);
    switch ((ij_pickle_name)function->integer) {
    case IJ_PICKLE_NAME_ORDERED_DICT:
    case IJ_PICKLE_NAME_COUNTER:
    case IJ_PICKLE_NAME_DEFAULT_DICT:
    case IJ_PICKLE_NAME_PLAIN_DICT:
    case IJ_PICKLE_NAME_PLAIN_DICT_3: IJ_TRY(make_dict(m, arguments, &result, err)); break;
    case IJ_PICKLE_NAME_ENCODE: IJ_TRY(make_bytes(m, arguments, &result, err)); break;
    case IJ_PICKLE_NAME_SIZE:
        if (arguments->count != 1 || arguments->items[0]->kind != IJ_PICKLE_TUPLE)
            return damaged(m, "a torch.Size of what is no tuple", err);
        result = arguments->items[0];
        break;
    default: IJ_TRY(make(m, IJ_PICKLE_CALL, &result, err)); IJ_TRY(append(m, result, (value *[]){function, arguments, NULL}, 3, err));
    }
    m->depth -= 2;
    return push(m, result, err);
}

/* State for what was made by a call: kept for calls (NumPy's dtype), of no meaning for an OrderedDict (its _metadata). */
static ij_status build(machine *m, ij_error *err) {
    IJ_TRY(need(m, 2, err));
    value *to = m->stack[m->depth - 2];
    if (to->kind == IJ_PICKLE_CALL)
        to->items[2] = m->stack[m->depth - 1];
    else if (to->kind != IJ_PICKLE_DICT)
        return damaged(m, "state for what is no object", err);
    m->depth--;
    return IJ_OK;
}

/* ---- memo ---- */

static ij_status memoize(machine *m, uint64_t index, ij_error *err) {
    IJ_TRY(need(m, 1, err));
    if (index > (uint64_t)m->memo_count + 1024) return damaged(m, "a place in the memo far behind the last", err);
    IJ_TRY(grow(m, &m->memo, &m->memo_capacity, (int64_t)index + 1, sizeof *m->memo, err));
    m->memo[index] = m->stack[m->depth - 1];
    if ((int64_t)index >= m->memo_count) m->memo_count = (int64_t)index + 1;
    return IJ_OK;
}

static ij_status recall(machine *m, uint64_t index, ij_error *err) {
    if (index >= (uint64_t)m->memo_count || !m->memo[index]) return damaged(m, "a place in the memo that is empty", err);
    return push(m, m->memo[index], err);
}

/* ---- the loop ---- */

static ij_status set_mark(machine *m, ij_error *err) {
    IJ_TRY(grow(m, &m->marks, &m->mark_capacity, m->mark_count + 1, sizeof *m->marks, err));
    m->marks[m->mark_count++] = m->depth;
    return IJ_OK;
}

static ij_status last(machine *m, int64_t count, int64_t *from, ij_error *err) {
    *from = m->depth - count;
    return need(m, count, err);
}

static ij_status step(machine *m, ij_error *err) {
    uint64_t n = 0;
    int64_t from = 0;
    uint8_t opcode = *m->at++;
    switch (opcode) {
    case 0x80: /* PROTO */
        IJ_TRY(take_number(m, 1, &n, err));
        return n >= 2 && n <= 5 ? IJ_OK : damaged(m, "a protocol other than 2 to 5", err);
    case 0x95: return take_number(m, 8, &n, err); /* FRAME: a hint for streams */
    case '.': m->stopped = true; return m->depth == 1 && m->mark_count == 0 ? IJ_OK : damaged(m, "it ends with other than one value", err);
    case '(': return set_mark(m, err);
    case 'N': return push_new(m, IJ_PICKLE_NONE, 0, err);
    case 0x88: return push_new(m, IJ_PICKLE_BOOL, 1, err);
    case 0x89: return push_new(m, IJ_PICKLE_BOOL, 0, err);
    case 'K': IJ_TRY(take_number(m, 1, &n, err)); return push_new(m, IJ_PICKLE_INT, (int64_t)n, err);
    case 'M': IJ_TRY(take_number(m, 2, &n, err)); return push_new(m, IJ_PICKLE_INT, (int64_t)n, err);
    case 'J': IJ_TRY(take_number(m, 4, &n, err)); return push_new(m, IJ_PICKLE_INT, (int32_t)(uint32_t)n, err);
    case 0x8a: return push_long(m, 1, err);
    case 0x8b: return push_long(m, 4, err);
    case 'G': return push_float(m, err);
    case 'X': return push_bytes(m, IJ_PICKLE_TEXT, 4, err);
    case 0x8c: return push_bytes(m, IJ_PICKLE_TEXT, 1, err);
    case 0x8d: return push_bytes(m, IJ_PICKLE_TEXT, 8, err);
    case 'U': return push_bytes(m, IJ_PICKLE_TEXT, 1, err);
    case 'T': return push_bytes(m, IJ_PICKLE_TEXT, 4, err);
    case 'C': return push_bytes(m, IJ_PICKLE_BYTES, 1, err);
    case 'B': return push_bytes(m, IJ_PICKLE_BYTES, 4, err);
    case 0x8e: return push_bytes(m, IJ_PICKLE_BYTES, 8, err);
    case 0x96: return push_bytes(m, IJ_PICKLE_BYTES, 8, err);
    case ')': return push_new(m, IJ_PICKLE_TUPLE, 0, err);
    case ']': return push_new(m, IJ_PICKLE_LIST, 0, err);
    case '}': return push_new(m, IJ_PICKLE_DICT, 0, err);
    case 0x85: IJ_TRY(last(m, 1, &from, err)); return collect(m, IJ_PICKLE_TUPLE, from, err);
    case 0x86: IJ_TRY(last(m, 2, &from, err)); return collect(m, IJ_PICKLE_TUPLE, from, err);
    case 0x87: IJ_TRY(last(m, 3, &from, err)); return collect(m, IJ_PICKLE_TUPLE, from, err);
    case 't': IJ_TRY(take_mark(m, &from, err)); return collect(m, IJ_PICKLE_TUPLE, from, err);
    case 'l': IJ_TRY(take_mark(m, &from, err)); return collect(m, IJ_PICKLE_LIST, from, err);
    case 'a': IJ_TRY(last(m, 1, &from, err)); return extend(m, IJ_PICKLE_LIST, from, err);
    case 'e': IJ_TRY(take_mark(m, &from, err)); return extend(m, IJ_PICKLE_LIST, from, err);
    case 's': IJ_TRY(last(m, 2, &from, err)); return extend(m, IJ_PICKLE_DICT, from, err);
    case 'u': IJ_TRY(take_mark(m, &from, err)); return extend(m, IJ_PICKLE_DICT, from, err);
    case 'q': IJ_TRY(take_number(m, 1, &n, err)); return memoize(m, n, err);
    case 'r': IJ_TRY(take_number(m, 4, &n, err)); return memoize(m, n, err);
    case 0x94: return memoize(m, (uint64_t)m->memo_count, err);
    case 'h': IJ_TRY(take_number(m, 1, &n, err)); return recall(m, n, err);
    case 'j': IJ_TRY(take_number(m, 4, &n, err)); return recall(m, n, err);
    case 'c': return push_global(m, err);
    case 0x93: return push_stack_global(m, err);
    case 'R': return reduce(m, err);
    case 'b': return build(m, err);
    case 'Q': IJ_TRY(last(m, 1, &from, err)); return collect(m, IJ_PICKLE_OUTSIDE, from, err);
    default:
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: its pickle has opcode 0x%02x at byte %lld, which torch.save does not write for tensors",
                       m->name, opcode, (long long)(m->at - 1 - m->bytes));
    }
}

ij_status ij_pickle_read(const void *bytes, size_t count, const char *name, ij_pool *pool, const ij_pickle_value **out, size_t *used,
                         ij_error *err) {
    machine m = {.bytes = bytes, .at = bytes, .end = (const uint8_t *)bytes + count, .name = name, .pool = pool};
    ij_status status = grow(&m, &m.stack, &m.stack_capacity, 1, sizeof *m.stack, err);
    while (status == IJ_OK && !m.stopped) status = m.at < m.end ? step(&m, err) : damaged(&m, "it has no end", err);
    if (status == IJ_OK) {
        *out = m.stack[0];
        *used = (size_t)(m.at - m.bytes);
    }
    free(m.stack);
    free(m.marks);
    free(m.memo);
    return status;
}
