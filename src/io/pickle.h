/* Python's pickles, as torch.save writes them: read as data, nothing is executed.       layer: io; uses: base
 *
 * A pickle is a program for a stack machine (Python's Lib/pickletools.py lists its opcodes; protocols 2 to 5 here). Its power, and its danger, is
 * that it can name any function and call it. This reader has no functions: a name that is not in the list below is an error that says which
 * it is; a call of one that is becomes IJ_PICKLE_CALL, for the reader of the values to understand. OrderedDict, defaultdict and Counter become
 * DICT, torch.Size a TUPLE, _codecs.encode BYTES at once.
 *
 * Memory comes from the caller's pool, so a pickle that asks for more than the pool's budget is an error. Values may be shared and may contain
 * themselves (lists and dicts): who walks them needs a limit of depth and of steps. */
#ifndef IJ_IO_PICKLE_H
#define IJ_IO_PICKLE_H

#include "base/pool.h"

#include <stdbool.h>

/* Every name that is understood: what becomes of it, module, name. */
#define IJ_PICKLE_NAMES(X)                                                                                                                 \
    X(ORDERED_DICT, "collections", "OrderedDict")                                                                                          \
    X(COUNTER, "collections", "Counter")                                                                                                   \
    X(DEFAULT_DICT, "collections", "defaultdict")                                                                                          \
    X(PLAIN_DICT, "__builtin__", "dict")                                                                                                   \
    X(PLAIN_DICT_3, "builtins", "dict")                                                                                                    \
    X(ENCODE, "_codecs", "encode")                                                                                                         \
    X(SIZE, "torch", "Size")                                                                                                               \
    X(DEVICE, "torch", "device")                                                                                                           \
    X(REBUILD_TENSOR, "torch._utils", "_rebuild_tensor")                                                                                   \
    X(REBUILD_TENSOR_V2, "torch._utils", "_rebuild_tensor_v2")                                                                             \
    X(REBUILD_TENSOR_V3, "torch._utils", "_rebuild_tensor_v3")                                                                             \
    X(REBUILD_PARAMETER, "torch._utils", "_rebuild_parameter")                                                                             \
    X(REBUILD_PARAMETER_WITH_STATE, "torch._utils", "_rebuild_parameter_with_state")                                                       \
    X(NUMPY_SCALAR, "numpy.core.multiarray", "scalar")                                                                                     \
    X(NUMPY_SCALAR_2, "numpy._core.multiarray", "scalar")                                                                                  \
    X(NUMPY_DTYPE, "numpy", "dtype")                                                                                                       \
    X(FLOAT_STORAGE, "torch", "FloatStorage")                                                                                              \
    X(HALF_STORAGE, "torch", "HalfStorage")                                                                                                \
    X(BFLOAT16_STORAGE, "torch", "BFloat16Storage")                                                                                        \
    X(DOUBLE_STORAGE, "torch", "DoubleStorage")                                                                                            \
    X(INT_STORAGE, "torch", "IntStorage")                                                                                                  \
    X(LONG_STORAGE, "torch", "LongStorage")                                                                                                \
    X(SHORT_STORAGE, "torch", "ShortStorage")                                                                                              \
    X(CHAR_STORAGE, "torch", "CharStorage")                                                                                                \
    X(BYTE_STORAGE, "torch", "ByteStorage")                                                                                                \
    X(BOOL_STORAGE, "torch", "BoolStorage")                                                                                                \
    X(UNTYPED_STORAGE, "torch.storage", "UntypedStorage")                                                                                  \
    X(FLOAT16, "torch", "float16")                                                                                                         \
    X(BFLOAT16, "torch", "bfloat16")                                                                                                       \
    X(FLOAT32, "torch", "float32")                                                                                                         \
    X(FLOAT64, "torch", "float64")                                                                                                         \
    X(INT8, "torch", "int8")                                                                                                               \
    X(INT16, "torch", "int16")                                                                                                             \
    X(INT32, "torch", "int32")                                                                                                             \
    X(INT64, "torch", "int64")                                                                                                             \
    X(UINT8, "torch", "uint8")                                                                                                             \
    X(UINT16, "torch", "uint16")                                                                                                           \
    X(UINT32, "torch", "uint32")                                                                                                           \
    X(UINT64, "torch", "uint64")                                                                                                           \
    X(BOOL, "torch", "bool")

typedef enum ij_pickle_name {
#define IJ_PICKLE_ENUM(id, module, name) IJ_PICKLE_NAME_##id,
    IJ_PICKLE_NAMES(IJ_PICKLE_ENUM)
#undef IJ_PICKLE_ENUM
} ij_pickle_name;

typedef enum ij_pickle_kind {
    IJ_PICKLE_NONE,
    IJ_PICKLE_BOOL,    /* integer */
    IJ_PICKLE_INT,     /* integer */
    IJ_PICKLE_BIG,     /* an integer beyond 64 bits: bytes, little-endian two's complement */
    IJ_PICKLE_FLOAT,   /* real */
    IJ_PICKLE_TEXT,    /* bytes, UTF-8 as it stands in the file, not checked */
    IJ_PICKLE_BYTES,   /* bytes */
    IJ_PICKLE_LIST,    /* items */
    IJ_PICKLE_TUPLE,   /* items */
    IJ_PICKLE_DICT,    /* items: key, value, key, value, ...; a key may come twice */
    IJ_PICKLE_NAMED,   /* name, integer: ij_pickle_name */
    IJ_PICKLE_CALL,    /* items: the named function, a TUPLE of arguments, the state it was given or NULL */
    IJ_PICKLE_OUTSIDE, /* items: one value, the persistent id of something that lies beside the pickle */
} ij_pickle_kind;

typedef struct ij_pickle_value {
    ij_pickle_kind kind;
    union {
        int64_t integer;
        double real;
        const char *bytes;
        struct ij_pickle_value **items;
    };
    int64_t count; /* bytes or items */
    int64_t capacity;
} ij_pickle_value;

/* Reads one pickle from the beginning of `bytes`; *used tells where the next one begins. Texts point into `bytes`. */
ij_status ij_pickle_read(const void *bytes, size_t count, const char *name, ij_pool *pool, const ij_pickle_value **out, size_t *used,
                         ij_error *err);

/* "torch.float32" */
const char *ij_pickle_name_text(ij_pickle_name name);

#endif
