/* layer: io; uses: base, safetensors */
#include "io/tensor_view.h"

#include <math.h>
#include <string.h>

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

ij_status ij_tensor_view_read_raw(const ij_tensor_view *view, int64_t first, int64_t count, void *out, ij_error *err) {
    (void)err;
    size_t bytes = ij_safetensors_dtype_bytes(view->entry.dtype);
    if (count == 0) return IJ_OK;
    if (is_packed(view))
        memcpy(out, view->bytes + view->offset + (size_t)first * bytes, (size_t)count * bytes);
    else
        gather(view, first, count, out);
    return IJ_OK;
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

ij_status ij_tensor_view_read(const ij_tensor_view *view, int64_t first, int64_t count, float *out, ij_error *err) {
    if (view->entry.dtype == IJ_SAFETENSORS_F32) return ij_tensor_view_read_raw(view, first, count, out, err);
    uint8_t raw[32768];
    const int64_t most = (int64_t)(sizeof raw / ij_safetensors_dtype_bytes(view->entry.dtype));
    for (int64_t done = 0; done < count;) {
        int64_t now = count - done < most ? count - done : most;
        IJ_TRY(ij_tensor_view_read_raw(view, first + done, now, raw, err));
        convert(view->entry.dtype, raw, now, out + done);
        done += now;
    }
    return IJ_OK;
}
