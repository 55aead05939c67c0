/* layer: io; uses: base, safetensors, zip */
#include "io/tensor_view.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INFLATE_BYTES_MAX (64 << 20)

void ij_tensor_view_pack(ij_tensor_view *view) {
    int64_t stride = 1;
    for (int d = view->entry.ndim - 1; d >= 0; d--) {
        view->strides[d] = stride;
        stride *= view->entry.shape[d];
    }
}

static bool is_packed(const ij_tensor_view *view) {
    int64_t stride = 1;
    for (int d = view->entry.ndim - 1; d >= 0; d--) {
        if (view->entry.shape[d] != 1 && view->strides[d] != stride) return false;
        stride *= view->entry.shape[d];
    }
    return true;
}

static void gather(const ij_tensor_view *view, int64_t first, int64_t count, uint8_t *out) {
    size_t bytes = ij_safetensors_dtype_bytes(view->entry.dtype);
    int64_t index[IJ_SAFETENSORS_MAX_DIMS] = {0}, at = 0, rest = first;
    for (int d = view->entry.ndim - 1; d >= 0; d--) {
        index[d] = rest % view->entry.shape[d];
        rest /= view->entry.shape[d];
        at += index[d] * view->strides[d];
    }
    for (int64_t i = 0; i < count; i++) {
        memcpy(out + (size_t)i * bytes, view->bytes + view->offset + (size_t)at * bytes, bytes);
        for (int d = view->entry.ndim - 1; d >= 0; d--) {
            at += view->strides[d];
            if (++index[d] < view->entry.shape[d]) break;
            at -= index[d] * view->strides[d];
            index[d] = 0;
        }
    }
}

/* count > 0 */
static ij_status read_raw(const ij_tensor_view *view, ij_zip_cursor *cursor, int64_t first, int64_t count, void *out, ij_error *err) {
    int64_t bytes = (int64_t)ij_safetensors_dtype_bytes(view->entry.dtype);
    if (!is_packed(view))
        gather(view, first, count, out);
    else if (view->bytes)
        memcpy(out, view->bytes + view->offset + first * bytes, (size_t)(count * bytes));
    else
        return ij_zip_cursor_read(cursor, view->member, view->offset + first * bytes, count * bytes, out, err);
    return IJ_OK;
}

/* Bytes of the storage from the view's first element to its last. */
static int64_t extent(const ij_tensor_view *view) {
    int64_t last = 0;
    for (int d = 0; d < view->entry.ndim; d++) last += (view->entry.shape[d] - 1) * view->strides[d];
    return (last + 1) * (int64_t)ij_safetensors_dtype_bytes(view->entry.dtype);
}

/* A view of inflated bytes instead of one of a deflated member, where elements are gathered; *copy is to be freed. */
static ij_status inflate_view(const ij_tensor_view *view, ij_zip_cursor *cursor, ij_tensor_view *out, uint8_t **copy, ij_error *err) {
    *out = *view;
    *copy = NULL;
    if (view->bytes || is_packed(view)) return IJ_OK;
    int64_t bytes = extent(view);
    if (bytes > INFLATE_BYTES_MAX)
        return ij_fail(err, IJ_ERROR_FORMAT, "%s: a strided view of %lld bytes of a deflated storage; at most %d are read",
                       view->entry.name, (long long)bytes, INFLATE_BYTES_MAX);
    IJ_TRY(ij_alloc(copy, bytes, 1, "inflated storage", err));
    ij_status status = ij_zip_cursor_read(cursor, view->member, view->offset, bytes, *copy, err);
    if (status != IJ_OK) free(*copy);
    out->bytes = *copy;
    out->offset = 0;
    return status;
}

ij_status ij_tensor_view_read_raw(const ij_tensor_view *view, ij_zip_cursor *cursor, int64_t first, int64_t count, void *out,
                                  ij_error *err) {
    ij_tensor_view from;
    uint8_t *copy;
    if (count == 0) return IJ_OK;
    IJ_TRY(inflate_view(view, cursor, &from, &copy, err));
    ij_status status = read_raw(&from, cursor, first, count, out, err);
    free(copy);
    return status;
}

static float from_f16(uint16_t bits) {
    int exponent = bits >> 10 & 31, digits = bits & 1023;
    float size = exponent == 31 ? (digits ? NAN : INFINITY)
                 : exponent     ? ldexpf((float)(1024 + digits), exponent - 25)
                                : ldexpf((float)digits, -24);
    return bits & 0x8000 ? -size : size;
}

static float from_bf16(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
}

static float same(float value) { return value; }

/* One loop a dtype; elements need not be aligned. */
#define CONVERT(type, convert)                                                                                                             \
    for (int64_t i = 0; i < count; i++) {                                                                                                  \
        type value;                                                                                                                        \
        memcpy(&value, raw + (size_t)i * sizeof value, sizeof value);                                                                      \
        out[i] = convert(value);                                                                                                           \
    }                                                                                                                                      \
    break

static void convert(ij_safetensors_dtype dtype, const uint8_t *raw, int64_t count, float *out) {
    switch (dtype) {
    case IJ_SAFETENSORS_BOOL:
        for (int64_t i = 0; i < count; i++) out[i] = raw[i] != 0;
        break;
    case IJ_SAFETENSORS_U8: CONVERT(uint8_t, (float));
    case IJ_SAFETENSORS_I8: CONVERT(int8_t, (float));
    case IJ_SAFETENSORS_I16: CONVERT(int16_t, (float));
    case IJ_SAFETENSORS_U16: CONVERT(uint16_t, (float));
    case IJ_SAFETENSORS_F16: CONVERT(uint16_t, from_f16);
    case IJ_SAFETENSORS_BF16: CONVERT(uint16_t, from_bf16);
    case IJ_SAFETENSORS_I32: CONVERT(int32_t, (float));
    case IJ_SAFETENSORS_U32: CONVERT(uint32_t, (float));
    case IJ_SAFETENSORS_F32: CONVERT(float, same);
    case IJ_SAFETENSORS_F64: CONVERT(double, (float));
    case IJ_SAFETENSORS_I64: CONVERT(int64_t, (float));
    case IJ_SAFETENSORS_U64: CONVERT(uint64_t, (float));
    }
}

ij_status ij_tensor_view_read(const ij_tensor_view *view, ij_zip_cursor *cursor, int64_t first, int64_t count, float *out, ij_error *err) {
    if (view->entry.dtype == IJ_SAFETENSORS_F32) return ij_tensor_view_read_raw(view, cursor, first, count, out, err);
    ij_tensor_view from;
    uint8_t raw[32768], *copy;
    const int64_t most = (int64_t)(sizeof raw / ij_safetensors_dtype_bytes(view->entry.dtype));
    if (count == 0) return IJ_OK;
    IJ_TRY(inflate_view(view, cursor, &from, &copy, err));
    ij_status status = IJ_OK;
    for (int64_t done = 0; done < count && status == IJ_OK;) {
        int64_t now = count - done < most ? count - done : most;
        status = read_raw(&from, cursor, first + done, now, raw, err);
        if (status == IJ_OK) convert(view->entry.dtype, raw, now, out + done);
        done += now;
    }
    free(copy);
    return status;
}
