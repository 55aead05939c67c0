#!/usr/bin/env python3
"""Features of pictures as CSV, through the shared library alone: python3 extract_features.py runs/photos a.jpg b.png > features.csv

The library is found by the system's loader ($LD_LIBRARY_PATH for one that is not installed). The structs below are those of ijepa.h,
version 1 of its interface: another version is refused."""
import ctypes
import sys
from ctypes import POINTER, Structure, byref, c_bool, c_char, c_char_p, c_float, c_int, c_int64, c_void_p


class Error(Structure):
    _fields_ = [("status", c_int), ("text", c_char * 600), ("hint", c_char * 300)]


class ModelInfo(Structure):
    _fields_ = [(name, c_int) for name in "image_height image_width channels patch_size patches dim depth heads".split()]
    _fields_ += [("parameters", c_int64), ("step", c_int64), ("mean", c_float * 3), ("std", c_float * 3), ("features", c_int)]


def main(model_path, pictures):
    library = ctypes.CDLL("libijepa.so.1")
    if library.ijepa_abi_version() != 1:
        sys.exit("this library has another interface")
    library.ijepa_model_open.argtypes = [c_char_p, c_void_p, c_int, POINTER(c_void_p), POINTER(Error)]
    library.ijepa_model_describe.argtypes = [c_void_p, POINTER(ModelInfo)]
    library.ijepa_model_encode_files.argtypes = [c_void_p, POINTER(c_char_p), c_int64, c_bool, POINTER(c_float), POINTER(Error)]
    library.ijepa_model_close.argtypes = [c_void_p]
    error, model, info = Error(), c_void_p(), ModelInfo()
    if library.ijepa_model_open(model_path.encode(), None, 0, byref(model), byref(error)):
        sys.exit(error.text.decode())
    library.ijepa_model_describe(model, byref(info))
    paths = (c_char_p * len(pictures))(*(p.encode() for p in pictures))
    features = (c_float * (len(pictures) * info.features))()
    if library.ijepa_model_encode_files(model, paths, len(pictures), True, features, byref(error)):
        sys.exit(error.text.decode())
    for i, picture in enumerate(pictures):
        print(picture, *("%.6g" % x for x in features[i * info.features : (i + 1) * info.features]), sep=",")
    library.ijepa_model_close(model)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: extract_features.py RUN|CHECKPOINT PICTURE ...")
    main(sys.argv[1], sys.argv[2:])
