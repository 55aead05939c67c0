/* A model into another program's files.       layer: api; uses: base, train */
#include "api/api.h"
#include "train/export.h"

#include <stdio.h>

static ij_status convert(const ijepa_convert_options *from, ij_export_options *to, ij_error *err) {
    int format, encoder, dtype;
    IJ_TRY(api_choose(from->to, "format", ij_export_to_names, IJ_EXPORT_TO_COUNT, &format, err));
    IJ_TRY(api_choose(from->encoder, "encoder", ij_export_encoder_names, IJ_EXPORT_ENCODER_COUNT, &encoder, err));
    IJ_TRY(api_choose(from->dtype, "dtype", ij_export_dtype_names, IJ_EXPORT_DTYPE_COUNT, &dtype, err));
    *to = (ij_export_options){.to = (ij_export_to)format,
                              .encoder = (ij_export_encoder)encoder,
                              .dtype = (ij_export_dtype)dtype,
                              .license = from->license,
                              .overwrite = from->overwrite,
                              .progress = from->progress,
                              .stop = from->stop,
                              .user = from->user};
    return IJ_OK;
}

ijepa_status ijepa_convert(const char *in, const char *out, const ijepa_convert_options *options, ijepa_convert_result *result,
                           ijepa_error *err) {
    API_NEED(in);
    API_NEED(out);
    static const ijepa_convert_options defaults = {0};
    ij_error ours = {0};
    ij_export_options o;
    ij_export_result made;
    ij_status status = convert(options ? options : &defaults, &o, &ours);
    if (status == IJ_OK) status = ij_export(in, out, &o, &made, &ours);
    if (status == IJ_OK && result) {
        *result = (ijepa_convert_result){.to = ij_export_to_names[made.to],
                                         .encoder = made.to == IJ_EXPORT_SAFETENSORS ? "" : ij_export_encoder_names[made.encoder],
                                         .tensors = made.tensors,
                                         .parameters = made.parameters,
                                         .bytes = made.bytes};
        snprintf(result->license, sizeof result->license, "%s", made.license);
        snprintf(result->notes, sizeof result->notes, "%s", made.notes);
    }
    return api_result(status, &ours, err);
}
