/* ijepa: I-JEPA pretraining and features on any Vulkan device.
 *
 * I-JEPA (Assran et al., "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture", CVPR 2023,
 * arXiv 2301.08243): a context encoder sees part of an image, a narrow predictor predicts, block by block, the representations that a
 * slowly moving average of the encoder (the target encoder) gives the hidden blocks.
 *
 * A program that prints the features of a picture (cc features.c $(pkg-config --cflags --libs ijepa)):
 *
 *     #include <ijepa.h>
 *     #include <stdio.h>
 *     #include <stdlib.h>
 *
 *     int main(int argc, char **argv) {
 *         ijepa_error err;
 *         ijepa_model *model;
 *         ijepa_model_info info;
 *         if (argc != 3) return 2;
 *         if (ijepa_model_open(argv[1], NULL, 1, &model, &err) != IJEPA_OK) return puts(err.text), 1;
 *         ijepa_model_describe(model, &info);
 *         float *features = calloc((size_t)info.features, sizeof *features);
 *         if (ijepa_model_encode_file(model, argv[2], true, features, &err) != IJEPA_OK) puts(err.text);
 *         for (int i = 0; i < info.features && !err.status; i++) printf("%g\n", features[i]);
 *         free(features);
 *         ijepa_model_close(model);
 *         return err.status;
 *     }
 *
 * Conventions
 *   - Calls that can fail return ijepa_status (0 is success) and fill `err`, if given, with one line that names the thing and the
 *     numbers. The library never prints, exits or aborts, and has no global state of its own.
 *   - A zeroed options struct means the defaults, listed in [ ]. Options may be NULL where a call says nothing else; they, and the texts
 *     they point to, are read during the call alone. A NULL where there must be something is IJEPA_ERROR_ARGUMENT.
 *   - Texts are UTF-8. Memory handed out belongs to its handle unless the call says otherwise; memory handed in stays the caller's.
 *   - Outputs of a failed call are unset, but for handles: those are NULL, and every _close, _destroy and _free takes NULL.
 *   - Pixels are bytes [height, width, channels], rows from top to bottom, channels 1 (grey) or 3 (red, green, blue).
 *
 * Threads
 *   - A context and everything that was opened with it is used by one thread at a time. Which thread may change from call to call; calls
 *     at the same time are kept apart by the caller. What is opened without a context has a device of its own, and is a context of its own.
 *   - Different contexts, configurations and data sets are used by different threads at once.
 *   - Callbacks run during the call they were given to, in its thread; they do not use the context that is at work. The exceptions say so:
 *     ijepa_dataset_source (threads that read ahead) and ijepa_scenes_options.
 *
 * Versions
 *   - IJEPA_ABI_VERSION is the number in the shared library's name, libijepa.so.1. It rises whenever a struct or a call changes, so the
 *     system's loader lets no program meet a library of another layout. New calls alone do not raise it.
 *   - Structs grow at their end. There is no size field: a program and a library that meet without the loader's check (dlopen, a header that
 *     was copied, a static library of another day) compare the sizes of all structs with ijepa_abi_check. */
#ifndef IJEPA_H
#define IJEPA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define IJEPA_API __attribute__((visibility("default")))
#else
#define IJEPA_API
#endif

#define IJEPA_VERSION_MAJOR 0
#define IJEPA_VERSION_MINOR 1

/* "0.1.0" */
IJEPA_API const char *ijepa_version(void);

#define IJEPA_ABI_VERSION 1

/* The library's IJEPA_ABI_VERSION. ijepa_abi_check, at the end of this header, compares more. */
IJEPA_API int ijepa_abi_version(void);

/* ---- errors ---- */

typedef enum ijepa_status {
    IJEPA_OK = 0,
    IJEPA_ERROR_ARGUMENT, /* an option, a configuration value, a shape */
    IJEPA_ERROR_FILE,     /* missing, unreadable, no space, no permission */
    IJEPA_ERROR_FORMAT,   /* bytes that are not what they claim to be */
    IJEPA_ERROR_MEMORY,   /* host or device memory */
    IJEPA_ERROR_DEVICE,   /* no driver, no device, device lost, a missing feature */
    IJEPA_ERROR_NUMBER,   /* NaN or infinity where a number is needed */
    IJEPA_ERROR_MISMATCH, /* two things that should agree do not */
    IJEPA_ERROR_STOPPED   /* the caller asked to stop; what was to be saved is saved */
} ijepa_status;

typedef struct ijepa_error {
    ijepa_status status;
    char text[600]; /* one line */
    char hint[300]; /* what to do about it, or empty */
} ijepa_error;

/* "ok", "argument", "file", ...; "unknown" for another number. */
IJEPA_API const char *ijepa_status_name(ijepa_status status);

/* ---- devices ---- */

typedef struct ijepa_device_info {
    char name[256];
    char driver[512];
    const char *kind;    /* "discrete", "integrated", "virtual", "cpu", "other" */
    char api[32];        /* "1.3.204" */
    uint64_t memory_bytes, free_bytes;
    uint32_t subgroup_size, subgroup_min, subgroup_max;
    uint32_t shared_bytes;
    uint64_t tensor_bytes_max;
    uint32_t cores;      /* streaming multiprocessors, compute units; 0: the driver does not say */
    char matrices[300];  /* what its matrix engines multiply with f32 sums: "coopmat f16 16x16x16, bf16 16x16x16; coopmat2 f16, bf16"; "" none */
    bool usable;
    char why_not[128];
    bool chosen;         /* the one that is taken when none is asked for */
} ijepa_device_info;

typedef struct ijepa_context ijepa_context;

typedef struct ijepa_device_options {
    const char *device;       /* index or part of a name [best: discrete, integrated, virtual, CPU] */
    bool validation;          /* Vulkan validation layers [off] */
    const char *cache_folder; /* compiled pipelines and tuned kernels are kept there [not kept] */
    const char *off;          /* what not to use though the device has it: "coopmat2", "coopmat", "bf16", "f16", "addresses", comma-separated [nothing] */
    ijepa_context *context;   /* use this one's device; the fields above are the context's then, and stay zero here [open a device for this call or handle] */
} ijepa_device_options;

/* Fills at most `capacity` infos; *count is how many there are. */
IJEPA_API ijepa_status ijepa_devices(const ijepa_device_options *options, ijepa_device_info *infos, int capacity, int *count, ijepa_error *err);

/* ---- contexts ---- */

/* A device that is opened once and shared: by models, trainers, embed, eval, search and all others that take ijepa_device_options. Opening one
 * takes from milliseconds to a second and starts with no compiled kernel, so a program that does more than one thing has a context.
 *
 * Life: what was opened with a context keeps the device and the log alive. Closing the context forbids new use, and the device is closed
 * with the last handle. A closed context is not passed to the library again; while its handles live that is IJEPA_ERROR_ARGUMENT. */

typedef enum ijepa_log_level {
    IJEPA_LOG_INFO,   /* the device, a checkpoint, what a trainer or an evaluation has to say */
    IJEPA_LOG_WARNING /* an image that cannot be read, a message of the validation layers */
} ijepa_log_level;

typedef struct ijepa_context_options {
    ijepa_device_options device; /* without a context */
    /* One line without its end, for what has no callback of its own: the `message` and `damaged` that options leave NULL come here. Called in
     * the thread that uses the context. [told to nobody] */
    void (*log)(void *user, ijepa_log_level level, const char *line);
    void *user;
} ijepa_context_options;

IJEPA_API ijepa_status ijepa_context_open(const ijepa_context_options *options, ijepa_context **out, ijepa_error *err);
IJEPA_API void ijepa_context_close(ijepa_context *context);
IJEPA_API void ijepa_context_describe(const ijepa_context *context, ijepa_device_info *info); /* its device; zeroed for NULL */

/* Messages of the validation layers since the device was opened; *first (may be NULL) is the first one's text, "" for none. */
IJEPA_API int ijepa_context_messages(const ijepa_context *context, const char **first);

/* ---- configuration ---- */

/* A training configuration: defaults, then YAML files (the released I-JEPA files load unchanged), then key=value overrides. */
typedef struct ijepa_config ijepa_config;
IJEPA_API ijepa_status ijepa_config_create(ijepa_config **out, ijepa_error *err);
IJEPA_API void ijepa_config_destroy(ijepa_config *config); /* NULL is fine */
IJEPA_API ijepa_status ijepa_config_load(ijepa_config *config, const char *path, ijepa_error *err);
/* "optimization.lr=0.001", "data.crop_scale=[0.3, 1.0]" */
IJEPA_API ijepa_status ijepa_config_set(ijepa_config *config, const char *assignment, ijepa_error *err);
/* Checks all keys and numbers. notes (may be NULL) gets lines a user should see. */
IJEPA_API ijepa_status ijepa_config_check(ijepa_config *config, char *notes, size_t notes_bytes, ijepa_error *err);
/* The effective configuration as YAML; free() it. */
IJEPA_API ijepa_status ijepa_config_text(ijepa_config *config, char **yaml, ijepa_error *err);

/* ---- data sets ---- */

/* Images, numbered from 0, some with a label: a folder of pictures, an IDX file, or the program's own. A trainer or an evaluation shares the
 * data set it is given, which may be closed before them, and reads it from several threads; the calls below are made by one
 * thread at a time for each handle. */
typedef struct ijepa_dataset ijepa_dataset;

typedef struct ijepa_dataset_options {
    int channels; /* 1 or 3 [3, IDX 1] */
    int pad_to;   /* IDX: zeros around the images up to so many pixels a side [none] */
} ijepa_dataset_options;

/* path: a folder, with or without folders of classes in it (.jpg .jpeg .png .bmp at any depth, sorted by path), an IDX file of images (.gz
 * or not; its labels lie beside it), or a folder with IDX files. */
IJEPA_API ijepa_status ijepa_dataset_open(const char *path, const ijepa_dataset_options *options, ijepa_dataset **out, ijepa_error *err);

/* The program's own images. size and read are called by several threads at once, in no order, until the last user of the data set is closed;
 * false from them is a damaged image: told of, left out, and replaced by another in training. Labels and names are copied. */
typedef struct ijepa_dataset_source {
    int64_t count;
    int channels;      /* 1 or 3 */
    int height, width; /* of every image: they are used whole, as an IDX file's are. 0 and 0: `size` tells, and photographs are
                        * cropped as those of a folder */
    bool (*size)(void *user, int64_t i, int *height, int *width);
    bool (*read)(void *user, int64_t i, uint8_t *pixels); /* fills all height x width x channels bytes */
    const int *labels; /* [count], 0 to classes - 1, or -1 for none [no labels] */
    int classes;
    const char *const *class_names; /* [classes]; train and test agree by name ["0", "1", ...] */
    uint64_t mark;     /* a number that changes when the images do: kept features are found by it [all pixels are read for that] */
    const char *name;  /* for messages ["memory"] */
    void *user;
} ijepa_dataset_source;

IJEPA_API ijepa_status ijepa_dataset_from_callback(const ijepa_dataset_source *source, ijepa_dataset **out, ijepa_error *err);
IJEPA_API void ijepa_dataset_close(ijepa_dataset *dataset);

IJEPA_API int64_t ijepa_dataset_count(const ijepa_dataset *dataset);              /* 0 for NULL, like the next two */
IJEPA_API int ijepa_dataset_channels(const ijepa_dataset *dataset);
IJEPA_API int ijepa_dataset_classes(const ijepa_dataset *dataset);                /* 0: no labels */
IJEPA_API const char *ijepa_dataset_class_name(const ijepa_dataset *dataset, int label); /* NULL: there is no such class */
IJEPA_API int ijepa_dataset_label(const ijepa_dataset *dataset, int64_t i);       /* -1: none, or no such image */

/* The path below the folder, "train-images-idx3-ubyte:17", "memory:17"; "" for no such image. Valid until the next call for this data set. */
IJEPA_API const char *ijepa_dataset_name(ijepa_dataset *dataset, int64_t i);

/* Pixels of image i into `pixels`, of which there are `bytes`. *height and *width are set even when there are too few, which is
 * IJEPA_ERROR_ARGUMENT; with pixels NULL the size alone is asked. An image is decoded once for asking and reading. */
IJEPA_API ijepa_status ijepa_dataset_read(ijepa_dataset *dataset, int64_t i, uint8_t *pixels, size_t bytes, int *height, int *width, ijepa_error *err);

/* ---- training ---- */

typedef struct ijepa_progress {
    int64_t step, steps;           /* optimiser steps done, and in all */
    int64_t epoch, epochs;         /* from 1 */
    double loss;                   /* prediction loss of the newest finished step */
    double regularizer;            /* weighted regulariser; 0 without */
    double trivial_loss;           /* loss of the trivial predictor (the mean target of each position) at the last look; NaN: none yet */
    double learning_rate, weight_decay, momentum, gradient_norm;
    double images_per_second;      /* over the last seconds */
    double seconds_left;
    double context_patches, target_patches; /* mean per image and per target block */
    const char *verdict;           /* "healthy", "warning", "collapsed", or "" before the first look */
    const char *reason;            /* of the verdict, a sentence */
    int64_t damaged_images, skipped_steps;
    bool collapsed;                /* finished early: logging.on_collapse is stop, and the verdict "collapsed" */
} ijepa_progress;

typedef struct ijepa_trainer ijepa_trainer;

typedef struct ijepa_trainer_options {
    ijepa_device_options device;
    bool resume;               /* continue the run folder's newest intact checkpoint */
    const char *checkpoint;    /* continue this one instead; or a model of others (.pth.tar, a folder of transformers or timm), as far as it goes */
    bool overwrite;            /* allow a run folder that holds a finished or other run [refuse] */
    bool no_files;             /* write nothing: no folder, log or checkpoint */
    bool no_tune;              /* do not time kernels on this device's first run; take their defaults, or what was tuned before */
    /* Told of things a user should see, one line each: the device, a damaged image, a checkpoint. [NULL] */
    void (*message)(void *user, const char *line);
    void *user;
    ijepa_dataset *dataset;    /* train on this; the configuration's channels must be its own [the configuration's data.path, opened] */
} ijepa_trainer_options;

/* Opens device and data, allocates, initialises or resumes. */
IJEPA_API ijepa_status ijepa_trainer_open(ijepa_config *config, const ijepa_trainer_options *options, ijepa_trainer **out, ijepa_error *err);
IJEPA_API void ijepa_trainer_close(ijepa_trainer *trainer);

/* One optimiser step. *finished becomes true when the configured steps are done. Progress lags one step behind the device. */
IJEPA_API ijepa_status ijepa_trainer_step(ijepa_trainer *trainer, ijepa_progress *progress, bool *finished, ijepa_error *err);

/* The run folder; "" with no_files. Belongs to the trainer. */
IJEPA_API const char *ijepa_trainer_folder(const ijepa_trainer *trainer);

/* Writes a checkpoint, atomically. path NULL: into the run folder, under the step's number. */
IJEPA_API ijepa_status ijepa_trainer_save(ijepa_trainer *trainer, const char *path, ijepa_error *err);

/* ijepa_trainer_evaluate and ijepa_trainer_model, below, look at the encoder between two steps. */

/* ---- models ---- */

/* An encoder that runs forward. Features are f32 and have the same bits whatever else is in the batch; a batch that is not full costs what its
 * pictures cost. How a picture becomes the encoder's input (its crop, size, mean and deviation) is as the model was trained. */
typedef struct ijepa_model ijepa_model;
typedef struct ijepa_model_info {
    int image_height, image_width, channels, patch_size, patches, dim, depth, heads;
    int64_t parameters;  /* of the encoder */
    int64_t step;        /* training steps it has seen */
    float mean[3], std[3];
    int features;        /* floats of a picture, pooled: dim, or 4 dim with layers "last4" */
} ijepa_model_info;

typedef struct ijepa_model_options {
    ijepa_device_options device;
    int batch;             /* pictures encoded at once; one that is not full costs what its pictures cost [32] */
    const char *precision; /* of matrix products: "f32", "f16", "bf16", "auto" [f32] */
    const char *layers;    /* of pooled features: "last"; "last4": the last four blocks side by side, the last one's columns last [last] */
    const char *encoder;   /* "target", "context" [target] */
    int height, width;     /* as in ijepa_embed_options, and so are these: */
    bool whole;
    const char *resize, *filter, *resampler, *positions;
} ijepa_model_options;

/* Opens a run folder (its newest intact checkpoint), a checkpoint, or a model of others: the released .pth.tar or safetensors with its
 * names, a folder of transformers (IJepaModel, IJepaForImageClassification) or timm. What such files do not tell (heads, mean and std, ...)
 * may be written into FILE.yaml beside a file, ijepa.yaml in a folder, with the keys of a training configuration. options may be NULL. */
IJEPA_API ijepa_status ijepa_model_open_with(const char *path, const ijepa_model_options *options, ijepa_model **out, ijepa_error *err);

/* The same in f32. device may be NULL. */
IJEPA_API ijepa_status ijepa_model_open(const char *path, const ijepa_device_options *device, int batch, ijepa_model **out, ijepa_error *err);
IJEPA_API void ijepa_model_close(ijepa_model *model);
IJEPA_API void ijepa_model_describe(const ijepa_model *model, ijepa_model_info *info); /* zeroed for NULL */

/* Encodes a picture file: features [info.features], the mean over patches (pooled), or [patches, dim] of the last layer (not pooled). */
IJEPA_API ijepa_status ijepa_model_encode_file(ijepa_model *model, const char *path, bool pooled, float *features, ijepa_error *err);

/* The same for count files, a batch at a time: features [count, info.features] or [count, patches, dim]. Files are read as they are needed: an
 * error says which one cannot be, and features are unset then. */
IJEPA_API ijepa_status ijepa_model_encode_files(ijepa_model *model, const char *const *paths, int64_t count, bool pooled, float *features,
                                                ijepa_error *err);

/* The same for pixels in memory, [height, width, channels] bytes, channels 1 or 3: not of the model's necessarily. */
IJEPA_API ijepa_status ijepa_model_encode(ijepa_model *model, const uint8_t *pixels, int height, int width, int channels, bool pooled, float *features,
                                          ijepa_error *err);

typedef struct ijepa_image {
    const uint8_t *pixels;        /* the first row's first pixel */
    int height, width, channels;
    int64_t stride_bytes;         /* from a row to the next; negative where rows are stored upwards [width x channels] */
} ijepa_image;

/* The same for count images in memory, of any sizes, a batch at a time. */
IJEPA_API ijepa_status ijepa_model_encode_images(ijepa_model *model, const ijepa_image *images, int64_t count, bool pooled, float *features,
                                                 ijepa_error *err);

/* The target encoder of a trainer, as it is now: it reads the weights that the trainer goes on to change. It belongs to the trainer, is the same
 * handle in every call (which brings info.step up to date), encodes 32 pictures at once in the trainer's precision, and is closed
 * with the trainer; closing it does nothing. */
IJEPA_API ijepa_status ijepa_trainer_model(ijepa_trainer *trainer, ijepa_model **out, ijepa_error *err);

/* ---- files ---- */

typedef struct ijepa_convert_options {
    const char *to;        /* "hf", "safetensors", "timm" [by `out`: safetensors where it ends in .safetensors, else hf] */
    const char *encoder;   /* of hf and timm: "target", "context" [target; an input with one encoder has that] */
    const char *dtype;     /* "f32", "f16", "bf16" [f32] */
    const char *license;   /* an identifier for the model card, "mit", "cc-by-4.0" [the origin's; "other" for a run of one's own] */
    bool overwrite;        /* replace what is there [an error] */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total); /* MiB */
    bool (*stop)(void *user); /* true ends the call with IJEPA_ERROR_STOPPED; nothing is left [never] */
    void *user;
} ijepa_convert_options;

typedef struct ijepa_convert_result {
    const char *to;        /* what was written: "hf", "safetensors", "timm" */
    const char *encoder;   /* "target", "context"; "" for safetensors, which has all that the input has */
    int64_t tensors, parameters;
    uint64_t bytes;        /* of the weights */
    char license[64];      /* "": not known, none is written */
    char notes[4096];      /* lines that a user should see */
} ijepa_convert_result;

/* Writes a model for other programs: a folder that transformers opens ("hf": config, preprocessor, weights, model card with what was measured), a
 * folder that timm opens, or one .safetensors file with all nets by their released names. in: a run folder or any file that ijepa_model_open
 * opens. No device is needed, and memory for one parameter at a time. `out` appears whole or not at all. Weights that come from published ones
 * keep their licence: another one is IJEPA_ERROR_ARGUMENT. options and result may be NULL. */
IJEPA_API ijepa_status ijepa_convert(const char *in, const char *out, const ijepa_convert_options *options, ijepa_convert_result *result,
                                     ijepa_error *err);

typedef struct ijepa_inspect_options {
    bool stats;            /* read all numbers: mean, deviation, least, greatest, NaNs of each tensor [names and shapes alone] */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total);
    bool (*stop)(void *user); /* true ends the call with IJEPA_ERROR_STOPPED [never] */
    void *user;
} ijepa_inspect_options;

typedef struct ijepa_inspect_tensor {
    const char *name;
    const char *dtype;     /* "F32", "F16", "BF16", "I64", ... as safetensors says it */
    int dims;              /* 0: a single number */
    int64_t shape[8], count;
    bool measured;         /* with stats: */
    double mean, std, min, max; /* of the finite numbers; NaN: there are none */
    int64_t nans, infinities;
} ijepa_inspect_tensor;

typedef struct ijepa_inspect_value {
    const char *key, *text;
} ijepa_inspect_value;

typedef struct ijepa_inspect_result {
    char what[300];        /* in a few words: "training state of ijepa", "IJepaModel of transformers", "no model that ijepa opens; 3 tensors" */
    char path[4600];       /* the file or folder that was read: of a run folder its newest checkpoint */
    char format[64];       /* "safetensors", "safetensors, 3 shards", "PyTorch zip", "PyTorch zip, deflated", "PyTorch legacy", "npy" */
    bool model;            /* it is a model that the other calls open; then: */
    ijepa_model_info info;
    int hidden;            /* width of its MLPs */
    float norm_eps;
    bool context, target, predictor, moments; /* which nets, and AdamW's state */
    int predictor_dim, predictor_depth, predictor_heads; /* 0: not there */
    int64_t predictor_parameters;
    int64_t epoch, steps_per_epoch;  /* 0: not known */
    int64_t tensor_count, elements;  /* all that the file has */
    uint64_t bytes;
    ijepa_inspect_tensor *tensors;   /* in bytewise order of their names; owned, with all texts: ijepa_inspect_free */
    int64_t tensors_listed;          /* at most 65536 */
    ijepa_inspect_value *values;     /* what is no tensor: metadata, numbers and texts of a pickle */
    int64_t value_count, values_listed;
    char notes[4096];                /* lines that a user should see */
    void *owner;
} ijepa_inspect_result;

/* What a file or folder is: all that ijepa_model_open opens, and any safetensors, PyTorch or .npy file, whose tensors are listed. Nothing in
 * the file is executed, whatever it claims to be; a damaged or hostile one is an error of one line. Needs memory for names, and one MiB for
 * the statistics. options may be NULL. */
IJEPA_API ijepa_status ijepa_inspect(const char *path, const ijepa_inspect_options *options, ijepa_inspect_result *result, ijepa_error *err);
IJEPA_API void ijepa_inspect_free(ijepa_inspect_result *result); /* zeroed or filled */

/* ---- features of many images ---- */

typedef struct ijepa_embed_options {
    ijepa_device_options device;
    const char *out;       /* FILE.safetensors, FILE.npy (and FILE.npy.names.txt) or FILE.csv; needed */
    const char *layers;    /* "last"; "last4": the last four blocks side by side, the last one's columns last [last] */
    bool patches;          /* the features of each patch [their mean]; "last" alone, and no .csv */
    const char *encoder;   /* "target", "context" [target] */
    const char *precision; /* of matrix products: "auto", "f32", "f16", "bf16" [auto] */
    int height, width;     /* the size that images are brought to, multiples of the patch size [the trained size] */
    bool whole;            /* the whole image, whatever its shape [IDX files and runs that trained on whole images: so too; else the centre
                            * square, 224 / 256 of the shorter side] */
    const char *resize;    /* "trained": as said at `whole`; "exact": to height x width, the shape is lost; "shorter:256": the shorter side to
                            * so many pixels, then the centre of height x width [as the model file says, else trained] */
    const char *filter;    /* "bilinear", "bicubic"; stretched when shrinking (antialias) [as the model file says, else bilinear] */
    const char *resampler; /* "device": floats, as in training; 8 bits: "pil", bit for bit Image.resize; "torchvision", resize of uint8
                            * tensors with antialias [as the model file says, else device] */
    const char *positions; /* "fixed": sine and cosine at any size; "interpolated": those of the trained size, bicubically, as transformers does
                            * [those that the model file stores, interpolated at other sizes; else fixed] */
    int batch;             /* images encoded at once [32] */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total);
    bool (*stop)(void *user); /* asked before each batch; true ends the call with IJEPA_ERROR_STOPPED [never] */
    void (*damaged)(void *user, const char *line); /* told of each image that cannot be read and is left out [not told] */
    void (*message)(void *user, const char *line); /* told of what a user should see of the model, such as a doubtful mean and deviation [not told] */
    void *user;
} ijepa_embed_options;

typedef struct ijepa_embed_result {
    int64_t count, damaged;  /* images in the file, and left out */
    int dim, patches;        /* floats of a row; rows of an image (1: pooled) */
    int height, width;       /* that the encoder saw */
    char model[17];          /* mark of the encoder's weights */
    char device[256], precision[300]; /* "bf16 (coopmat2, coopmat)" */
    double seconds, images_per_second; /* of the pass over the images */
    double busy;             /* part of that time that the device worked; NaN: it has no timestamps */
} ijepa_embed_result;

/* Writes the features of images: data is one folder (of class folders or not), one IDX file, or any number of pictures. Images are streamed:
 * memory does not grow with their number, but for their names. The file appears when it is whole; a call that fails or is
 * stopped leaves nothing behind and an older file as it was. result may be NULL. */
IJEPA_API ijepa_status ijepa_embed(const char *model, const char *const *data, int count, const ijepa_embed_options *options,
                                   ijepa_embed_result *result, ijepa_error *err);

/* ---- evaluation ---- */

/* The evaluation of the paper (Assran et al. 2023, section 5, 6 and appendix A.2), for any run:
 *   knn        weighted k nearest neighbours of the frozen features; k chosen among 10, 20, 100, 200
 *   linear     linear probes on the frozen features: last layer and last four layers, with and without BatchNorm, SGD and LARS, learning
 *              rates and weight decays, all trained at once; a held-out tenth of the training images chooses
 *   logistic   logistic regression by L-BFGS on the standardised last layer; the held-out tenth chooses its l2
 *   low-shot   the encoder fine-tuned on a fraction of the training images, `seeds` draws of them
 *   fine-tune  the whole encoder fine-tuned on all training images
 *   partial    its last `blocks` blocks fine-tuned
 * The test images only report. Beside the trained encoder stand the same architecture at its random initialisation, and raw pixels. */
typedef struct ijepa_eval_options {
    ijepa_device_options device;
    const char *tasks;         /* what is to be told apart, comma-separated: "classes" (the images' own labels), or columns of the scenes'
                                * labels.csv: "count", "dist", "shape", "colour" ["classes"]. Other tasks than classes are probed frozen */
    const char *methods;       /* of those above, comma-separated ["knn,linear,logistic"] */
    bool all;                  /* tasks classes, count, dist and every method */
    const char *features;      /* "trained", "random", "pixels", comma-separated [all three] */
    const char *encoder;       /* "target", "context" ["target", as in the paper] */
    const char *precision;     /* of the encoder: "f32", "f16", "bf16", "auto" ["auto"] */
    const char *train;         /* folder of class folders, or IDX file [the run's data] */
    const char *test;          /* likewise [beside train: t10k-images-idx3-ubyte, or the folder val, test or validation] */
    const char *scenes;        /* folder with train/ and test/, a labels.csv in each, as ijepa_scenes writes it [scenes in the run folder, rendered
                                * when they are needed and not there] */
    int64_t train_limit, test_limit; /* use the first n of a seeded shuffle [all] */
    double knn_temperature;    /* [0.07] */
    int probe_epochs;          /* of the linear probes [50] */
    int finetune_epochs;       /* [50] */
    double fraction;           /* of the training images, low-shot [0.01, at least one of each class] */
    int seeds;                 /* draws of a low-shot set, from `seed` on [3] */
    int blocks;                /* partial [1] */
    uint64_t seed;
    int batch;                 /* images encoded at once [32] */
    bool no_files;             /* keep no features and no eval.json in the run folder */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total);
    void (*message)(void *user, const char *line); /* things a user should see */
    bool (*stop)(void *user);  /* asked between batches; true ends the call with IJEPA_ERROR_STOPPED [NULL] */
    void *user;
    ijepa_dataset *train_data, *test_data; /* open data sets instead of `train` and `test` [none] */
} ijepa_eval_options;

typedef struct ijepa_eval_row {
    char task[32], method[32];
    char features[32];         /* "trained", "random", "pixels" */
    char setting[160];         /* "last 4 layers, BatchNorm, LARS, lr 0.05, wd 0.0005" */
    bool chosen;               /* reported; else one of the settings that were tried */
    double percent, low, high; /* accuracy on the test images and its 95 % interval: Wilson's; over seeds Student's t where
                                * that is wider */
    double held_out;           /* accuracy in percent that chose it; NaN: nothing was held out */
    double mean;               /* chosen rows: mean accuracy on the test images over all settings tried */
    int settings;              /* chosen rows: how many those are */
    int64_t train_images, test_images;
    int classes, seeds, dim;
    uint64_t seed;
    double seconds;
    const char *paper;         /* the paper's row of the same kind, "79.3: ViT-H/14, linear, ImageNet-1k (Table 1)"; "" where there is none */
} ijepa_eval_row;

typedef struct ijepa_eval_result {
    ijepa_eval_row *rows;      /* owned; ijepa_eval_free */
    int count;
    char checkpoint[4600], device[256], precision[8];
    int64_t step;              /* training steps that the checkpoint has seen */
    int64_t damaged_images;
    uint64_t seed;
    double seconds;
    double images_per_second;  /* encoded, 0: all features were kept from before */
    char *json;                /* all of it as JSON; owned */
} ijepa_eval_result;

/* Rows are in the order of tasks, methods, features; the settings that were tried come before the one that was chosen. Unless no_files, a
 * run folder gets eval.json (the same as json) and keeps the features, so that the next evaluation reads no images. Images without labels, a
 * single class, a class without training images, a test class that the training images lack: errors that say so. */
IJEPA_API ijepa_status ijepa_eval(const char *run, const ijepa_eval_options *options, ijepa_eval_result *result, ijepa_error *err);
IJEPA_API void ijepa_eval_free(ijepa_eval_result *result);

/* Evaluates a trainer's encoder as it is now, frozen (knn, linear, logistic), and changes nothing of the training. Device and precision are the
 * trainer's, nothing is kept in its folder; `train` is its own data [data.path or the data set it was given]. */
IJEPA_API ijepa_status ijepa_trainer_evaluate(ijepa_trainer *trainer, const ijepa_eval_options *options, ijepa_eval_result *result, ijepa_error *err);

/* The chosen row, or NULL. */
IJEPA_API const ijepa_eval_row *ijepa_eval_find(const ijepa_eval_result *result, const char *task, const char *method, const char *features);

/* ---- fine-tuning ---- */

typedef struct ijepa_finetune_progress {
    const char *what;            /* "training", "testing" */
    int seed, seeds;             /* from 1 */
    int64_t epoch, epochs, step, steps; /* of this seed; while testing, step counts test batches */
    double loss;                 /* of the newest finished step; NaN: none yet */
    double images_per_second, seconds_left; /* 0: not known yet; of all seeds */
} ijepa_finetune_progress;

typedef struct ijepa_finetune_options {
    ijepa_device_options device;
    const char *train, *test;    /* as in ijepa_eval_options */
    double fraction;             /* of each class's training images, at least one image [1] */
    int64_t per_class;           /* images of each class instead [off] */
    int last_blocks;             /* trained blocks, from the end [all, and the patch embedding] */
    int epochs;                  /* [50] */
    double warmup_epochs;        /* [5, at most a tenth of the epochs]; below 0: none */
    int batch;                   /* images of a step [512; at most what leaves 25 steps an epoch, 8 or more] */
    double lr;                   /* [3e-5 x 1024 / width for some of the images, 1e-4 x 1280 / width for all] */
    double weight_decay;         /* [0.05 for some of the images, 0.04 for all]; below 0: none */
    double layer_decay;          /* [0.75] */
    double smoothing;            /* of labels [0.1]; below 0: none */
    const char *augment;         /* "auto", "none", "crop", "flip", "randaugment" [auto: randaugment for photographs, else crop] */
    const char *precision;       /* "f32", "f16", "bf16", "auto" [auto] */
    bool random_init;            /* start from no pretraining, for comparison */
    uint64_t seed;
    int seeds;                   /* runs, with seed, seed + 1, ... [1]; at most 32 */
    const char *out;             /* file for the first seed's encoder and head [none] */
    bool (*progress)(void *user, const ijepa_finetune_progress *progress); /* told every step; false: stop */
    void (*message)(void *user, const char *line); /* a damaged image, a step that was not finite */
    void *user;
    ijepa_dataset *train_data, *test_data; /* open data sets instead of `train` and `test` [none] */
} ijepa_finetune_options;

typedef struct ijepa_finetune_seed {
    uint64_t seed;
    double test, test_low, test_high; /* accuracy in percent, 95 % Wilson interval */
    double train;                /* percent of the last epoch's training images, as augmented */
    double loss;                 /* mean of the last epoch */
    int64_t skipped_steps;
} ijepa_finetune_seed;

typedef struct ijepa_finetune_result {
    int64_t train_images, test_images, damaged_images;
    int classes, seeds;          /* seeds that were finished */
    ijepa_finetune_seed seed[32];
    double mean, low, high;      /* over seeds; 95 % interval of Student's t, or of the test images where that is wider */
    int last_blocks, epochs, batch; /* what was used */
    double warmup_epochs, lr, weight_decay, layer_decay, smoothing;
    const char *augment;
    char precision[300];
    int64_t steps;               /* of a seed */
    double seconds, images_per_second;
    bool out_written;
} ijepa_finetune_result;

/* Trains the target encoder of a run folder or checkpoint, and a linear head, on labelled images, and tests both. The accuracy is that of
 * the last epoch: nothing is chosen on test images. Stopped by progress it is IJEPA_ERROR_STOPPED: `out` is written with what there is,
 * and result says so and what was finished. */
IJEPA_API ijepa_status ijepa_finetune(const char *run, const ijepa_finetune_options *options, ijepa_finetune_result *result, ijepa_error *err);

/* ---- search ---- */

/* An index is a .safetensors file that ijepa_embed wrote, pooled. Similarity is the cosine of two images' features, less the index's mean unless
 * `raw` (an index of fewer than 16 images is always compared raw). Of equals the lower row comes first. */

typedef struct ijepa_search_options {
    ijepa_device_options device;
    const char *model;  /* run folder or checkpoint that encodes the query [the one that the index names] */
    bool whole;         /* encode the whole picture, as an index made with `whole` needs it [as ijepa_embed does by default] */
    int k;              /* neighbours [12] */
    bool raw;           /* cosine of the features as they are [less the index's mean] */
    const char *sheet;  /* PNG of the query and its neighbours [none] */
} ijepa_search_options;

typedef struct ijepa_search_hit {
    int64_t row;        /* of the index */
    double similarity;  /* -1 to 1; 0 for features of length 0 */
    const char *name;   /* of the image */
    const char *label;  /* its class's name; "" for none */
} ijepa_search_hit;

typedef struct ijepa_search_result {
    ijepa_search_hit *hits; /* nearest first; owned, with their texts: ijepa_search_free */
    int count;              /* k, or all images of a smaller index */
    int64_t images;         /* of the index */
    bool centred;
    char model[17];
    char data[4096];        /* where the images were */
    void *owner;
} ijepa_search_result;

/* The images of an index most like a picture. An index of other weights is IJEPA_ERROR_MISMATCH with both marks. Images that are gone are grey
 * tiles on the sheet. */
IJEPA_API ijepa_status ijepa_search(const char *index, const char *picture, const ijepa_search_options *options, ijepa_search_result *result,
                                    ijepa_error *err);
IJEPA_API void ijepa_search_free(ijepa_search_result *result); /* zeroed or filled */

typedef struct ijepa_duplicates_options {
    ijepa_device_options device;
    double threshold;   /* pairs of at least this similarity [0.999] */
    int64_t max_pairs;  /* listed, the most similar ones [1000] */
    bool raw;
    const char *sheet;  /* PNG of the first groups [none] */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total);
    bool (*stop)(void *user); /* asked now and then; true ends with IJEPA_ERROR_STOPPED [never] */
    void *user;
} ijepa_duplicates_options;

typedef struct ijepa_duplicate_pair {
    int64_t a, b;       /* rows, a < b */
    double similarity;
    const char *name_a, *name_b;
} ijepa_duplicate_pair;

typedef struct ijepa_duplicate_group {
    int64_t count;      /* 2 or more */
    const int64_t *rows;
    const char *const *names;
} ijepa_duplicate_group;

typedef struct ijepa_duplicates_result {
    ijepa_duplicate_pair *pairs;   /* most similar first; owned, with all below: ijepa_duplicates_free */
    int64_t pair_count;
    int64_t pairs_found;           /* above the threshold, listed or not */
    ijepa_duplicate_group *groups; /* what all those pairs connect, directly or through others; largest first */
    int64_t group_count;
    int64_t images;
    bool centred;
    double threshold;
    double seconds;                /* of comparing */
    void *owner;
} ijepa_duplicates_result;

/* Pairs of near-duplicates within an index: all pairs are compared on the device. */
IJEPA_API ijepa_status ijepa_duplicates(const char *index, const ijepa_duplicates_options *options, ijepa_duplicates_result *result,
                                        ijepa_error *err);
IJEPA_API void ijepa_duplicates_free(ijepa_duplicates_result *result); /* zeroed or filled */

/* ---- ablations ---- */

typedef struct ijepa_ablate_run {
    char name[120];        /* "mask-rasterized-s0": a run folder in the ablation's */
    uint64_t seed;
    const char *state;     /* "waiting", "done", "failed" */
    char error[600];       /* why it failed; "" */
    const char *verdict;   /* of its last look: "healthy", "warning", "collapsed"; "" unknown */
    double knn, knn_low, knn_high, linear, linear_low, linear_high; /* percent, 95 % Wilson interval of the test images; NaN: not yet */
    double random_knn, random_linear, pixels_knn, pixels_linear;    /* of the random initialisation and of raw pixels */
    double seconds;        /* to train (as far as the last call did) and evaluate */
} ijepa_ablate_run;

typedef struct ijepa_ablate_row {
    char setting[120];     /* "rasterized" */
    char set[600];         /* what differs from the base: "mask.mode=rasterized; ..." */
    char run[96];          /* its runs are this name, "-s" and a seed; rows that mean the same share them; "" : see note */
    char note[400];        /* why the base's model cannot do it; "" */
    int seeds, failed;     /* runs that are done, that failed */
    char verdict[48];      /* "healthy", "collapsed", "2 of 3 collapsed"; "" unknown */
    double knn, knn_low, knn_high, linear, linear_low, linear_high; /* mean over seeds; 95 % interval: over two seeds or more Student's t, if wider than
                                                                     * those of the test images */
    char paper_setting[64], paper_model[64]; /* "" where the paper has no such row */
    double paper;          /* its top-1, NaN */
} ijepa_ablate_row;

typedef struct ijepa_ablate_table {
    char name[32], title[80];
    char source[160];      /* "Assran et al. 2023, table 6: top-1 on ImageNet with 1 % of the labels"; "" */
    char note[240];        /* a sentence about what is set here; "" */
    ijepa_ablate_row *rows;
    int row_count;
} ijepa_ablate_table;

typedef struct ijepa_ablate_result {
    char out[4096];
    int64_t steps;         /* of each run */
    int seeds;
    ijepa_ablate_table *tables;
    int table_count;
    ijepa_ablate_run *runs; /* the first seed of all, then the second */
    int run_count;
    int done, failed;      /* of the runs */
    int trained;           /* steps were taken for so many in this call */
} ijepa_ablate_result;

typedef struct ijepa_ablate_options {
    ijepa_device_options device;
    const char *out;       /* folder [the specification's `out`, else runs/ and its name] */
    const char *tables;    /* "mask,targets", "rows" for the specification's own rows [its `tables` and rows, else all] */
    int seeds;             /* [its `seeds`, else 1] */
    int64_t steps;         /* of each run [its `steps`, else the base's] */
    const char *const *set; /* key=value, on top of the specification's `set` */
    int set_count;
    bool list;             /* fill the result from what is there, train nothing */
    bool no_tune;
    bool (*stop)(void *user); /* asked every step; true: the run at hand is saved, and IJEPA_ERROR_STOPPED returned */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total); /* steps of all runs; images of an evaluation */
    void (*on_run)(void *user, const ijepa_ablate_run *run, double seconds_left); /* finished or failed; seconds_left: of all the others */
    void (*message)(void *user, const char *line);
    void *user;
} ijepa_ablate_options;

/* The paper's ablations (tables 6 to 14) at the size of one's own model and data: trains a run for each row and seed that a specification
 * asks for, evaluates it frozen, and writes out/ablation.md, .csv and .json anew after each. A run that has its score.json is not
 * repeated, one that was interrupted goes on from its checkpoint, one that was made with other settings is refused, naming the key.
 * A run that fails by itself (numbers that are not finite, memory) is in the result, and the others go on.
 *
 * The specification is YAML:
 *   base: fashion-mnist.yaml            a training configuration, beside the specification or in the current folder
 *   set: [optimization.lr=0.002]        on top of it
 *   tables: [mask, targets]             mask targets target_scale context_scale target_count target_mask predictor_depth weight_decay
 *                                       predictor_width loss
 *   seeds: 2                            base's seed, seed + 1 ...
 *   steps: 750
 *   out: runs/ablation
 *   eval: {train: DIR, test: DIR, train_limit: 10000, test_limit: 10000, seed: 0}
 *   rows:                               one's own
 *     slow: [optimization.lr=0.0005]
 * The result is filled on IJEPA_OK and IJEPA_ERROR_STOPPED; ijepa_ablate_free frees it. */
IJEPA_API ijepa_status ijepa_ablate(const char *specification, const ijepa_ablate_options *options, ijepa_ablate_result *result,
                                    ijepa_error *err);
IJEPA_API void ijepa_ablate_free(ijepa_ablate_result *result);

/* The report as "text" (for a terminal), "markdown", "csv" or "json"; free() it. */
IJEPA_API ijepa_status ijepa_ablate_text(const ijepa_ablate_result *result, const char *format, char **text, ijepa_error *err);

/* ---- proving ---- */

typedef struct ijepa_replay_row {
    char name[112];       /* a tensor, or a group of them */
    int tensors;          /* 1 for a tensor */
    double max_abs, rel_l2, tolerance;
    bool pass;
} ijepa_replay_row;

typedef struct ijepa_replay_result {
    bool pass;            /* every tensor is within its tolerance, and the validation layers had nothing to say */
    char device[256], driver[512];
    char precision[8], rungs[300]; /* "f16"; the same with the matrix engines that computed it */
    ijepa_replay_row *groups, *tensors; /* owned; ijepa_replay_free */
    int group_count, tensor_count;
    int validation_messages;
    char validation_message[1024]; /* the first of them; "" for none */
} ijepa_replay_result;

typedef struct ijepa_replay_options {
    ijepa_device_options device;
    const char *precision; /* "f32", "f16", "bf16", "auto" [f32] */
} ijepa_replay_options;

/* Runs a recorded training step on the device and compares every tensor; bounds of 16-bit precisions are derived from how often a
 * number is rounded on its way. A file that cannot be used is an error; numbers out of tolerance are not: see pass. */
IJEPA_API ijepa_status ijepa_replay(const char *path, const ijepa_replay_options *options, ijepa_replay_result *result, ijepa_error *err);
IJEPA_API void ijepa_replay_free(ijepa_replay_result *result);

typedef struct ijepa_selftest_case {
    const char *family, *op, *name;
    bool pass;
    bool skipped;        /* this device lacks what the case is for: neither passed nor failed; pass is false */
    const char *text;    /* what differs; "" when passed */
    double error;        /* largest error as a part of its tolerance */
    double milliseconds; /* on the device; 0 without timestamps */
} ijepa_selftest_case;

typedef struct ijepa_selftest_options {
    ijepa_device_options device;
    const char *op;   /* only ops whose name contains this [all] */
    bool small;       /* leave the large cases out [no] */
    void (*on_case)(void *user, const ijepa_selftest_case *c);
    void *user;
} ijepa_selftest_options;

/* Every case of every op on the device against the reference. *failed counts; a device error is returned. */
IJEPA_API ijepa_status ijepa_selftest(const ijepa_selftest_options *options, int *passed, int *failed, ijepa_error *err);

/* ---- drawn scenes ---- */

typedef struct ijepa_scenes_options {
    int64_t train, test;          /* pictures [2000, 500]; -1: none */
    int height, width;            /* [128 x 128] */
    int objects_min, objects_max; /* [1, 10]; VTAB's eight classes are 3 to 10 */
    uint64_t seed;
    int samples;                  /* rays a side of a pixel [4] */
    bool hard_shadows;            /* lights are points [discs: soft shadows] */
    int threads;                  /* [the machine's processors] */
    bool overwrite;               /* allow a folder that holds a set of other parameters [refuse] */
    /* Pictures done; called by any thread, one at a time. [NULL] */
    void (*progress)(void *user, int64_t done, int64_t total);
    void *user;
} ijepa_scenes_options;

typedef struct ijepa_scenes_result {
    int64_t train, test;
    int64_t rendered, kept;       /* kept: there already, from the same parameters */
    int64_t with_count[2][11];    /* [train, test]: pictures with that many objects */
    int64_t with_distance[2][6];  /* pictures whose nearest object is of that class of distance */
    double seconds;
    double images_per_second;     /* rendered */
} ijepa_scenes_result;

/* Renders a set in the manner of CLEVR on the host: solids on a grey ground, counted and measured, for the tasks Count and Dist (VTAB).
 * folder/train and folder/test get 000000.png ... and labels.csv: file,count,dist,distance,shape,colour,size,material. distance is the
 * depth of the nearest object along the viewing direction, dist its class (8, 8.5, 9, 9.5, 10 are between the six), the last four are
 * what the nearest object is. The same options give the same bytes on any number of threads; a second call finishes what a first did not. */
IJEPA_API ijepa_status ijepa_scenes(const char *folder, const ijepa_scenes_options *options, ijepa_scenes_result *result, ijepa_error *err);

/* ---- masks ---- */

typedef struct ijepa_masks_result {
    int grid_height, grid_width, blocks;
    double context_mean, context_min, context_max; /* fraction of the patches */
    double target_mean, target_min, target_max;    /* of one block */
    double union_mean, overlap_mean;
    int64_t images, leaks, below_min_keep;
    int never_context, never_target;               /* patches */
} ijepa_masks_result;

/* Draws masks of the configuration, measures them, and writes coverage.png and examples.png into `folder` (NULL: no pictures). */
IJEPA_API ijepa_status ijepa_masks(ijepa_config *config, int64_t batches, const char *folder, ijepa_masks_result *result, ijepa_error *err);

/* ---- tuning ---- */

typedef struct ijepa_tune_row {
    char product[96];                        /* "nt 32768 x 5120 x 1280 bf16, bias, gelu" */
    char choice[80], fallback[80];           /* the fastest kernel, and the one that is taken without tuning */
    double milliseconds, fallback_milliseconds;
    int candidates, wrong, failed;           /* timed in all; left out because their numbers were wrong; that the driver refused */
} ijepa_tune_row;

typedef struct ijepa_tune_options {
    ijepa_device_options device; /* results are kept in its cache_folder, by device, driver version and kernels */
    bool retune;                 /* measure again what is known already */
    void (*on_row)(void *user, const ijepa_tune_row *row);
    void *user;
} ijepa_tune_options;

/* Times every kernel and tile that the device can run on every matrix product of the configured model, verifies each candidate's
 * numbers, and keeps the fastest. *tuned counts the products that were measured. Training does the same by itself where it finds
 * nothing kept. */
IJEPA_API ijepa_status ijepa_tune(ijepa_config *config, const ijepa_tune_options *options, int *tuned, ijepa_error *err);

/* ---- benchmarks ---- */

typedef struct ijepa_bench_row {
    char name[160];           /* matmul: "vit_huge fc1 context nt"; ops: op and case; step: op and part of the model */
    char detail[96];          /* what computed it, "coopmat f16 128x128x32"; "" where it does not say */
    char note[240];           /* why it, or the baseline, was not timed; "" when all was */
    const char *element;      /* "f32", "f16", "bf16": what is multiplied; "" for an op of `ops` */
    const char *kernel;       /* matmul: "auto", "lane", "vector", "tile", "coopmat", "coopmat2"; attention: "auto", "row", "coopmat", "coopmat2"; else "" */
    int64_t m, n, k;          /* matmul: sides of the product; attention: rows, heads, head dim; else 0 */
    double milliseconds;      /* median; 0: not timed */
    double gflops, gbytes;    /* of work, per run */
    double baseline_milliseconds; /* 0: none */
    int runs;                 /* timed; step: dispatches of one step */
    int count;                /* how often a training step has it; 0: unknown */
    bool product;             /* a matrix product */
    bool verified;            /* compared with sums in double before it was timed */
} ijepa_bench_row;

/* What the device was seen to do in this run, not what its maker says: the fastest product of each element (of ours or the
 * baseline's), and the faster of a large copy and a fill. 0: not measured. */
typedef struct ijepa_bench_roof {
    double gflops_f32, gflops_f16, gflops_bf16; /* a second */
    double gbytes;                              /* a second, read and written */
} ijepa_bench_roof;

typedef struct ijepa_bench_options {
    ijepa_device_options device;
    const char *what;         /* "matmul", "attention", "ops", "step" */
    const char *op;           /* ops: only those whose name contains this [all] */
    int64_t m, n, k;          /* matmul: this product in all three forms */
    const char *model;        /* matmul, attention: shapes of a preset, as published: "vit_huge" [vit_base, vit_large and vit_huge on a
                               * GPU; a small table on a CPU] */
    int batch;                /* matmul, attention: images of a pass, with `model` [128, vit_giant 16] */
    ijepa_config *config;     /* step needs it; matmul, attention: shapes of this configuration instead of a preset's */
    const char *element;      /* matmul, attention: "f32", "f16", "bf16", "all" [f32] */
    const char *kernel;       /* matmul, attention: a name as in a row, or "all" that the device has [auto] */
    const char *baseline;     /* matmul: "none", "openblas", "cublas": timed on the same operands, in turn with ours [none] */
    const char *baseline_library; /* its file [where the system's loader finds it] */
    int runs;                 /* [15] */
    bool by_detail;           /* step: separate rows for what the same op does in different ways */
    void (*on_row)(void *user, const ijepa_bench_row *row);
    void *user;
} ijepa_bench_options;

typedef struct ijepa_bench_summary {
    char device[256];
    char baseline[160];       /* name, version and place; "" for none */
    char shapes[240];         /* where the token rows come from; "" where there are none */
    ijepa_bench_roof roof;
    /* step */
    const char *precision;    /* of the matrix products: "f32", "f16", "bf16" */
    char rungs[300];          /* the same with the matrix engines that are used: "bf16 (coopmat2, coopmat)" */
    double images_per_second, milliseconds; /* of a step, median, without timestamps between its ops */
    double gflops;                          /* of a step */
    double context_rows, target_rows;       /* mean per image */
    uint64_t device_bytes;
    int dispatches, barriers;
} ijepa_bench_summary;

/* Rows go to on_row as they are measured; summary may be NULL. In matmul and attention every result is verified before it is timed. A
 * wrong one is a row that is not verified and not timed, the others go on, and the call returns IJEPA_ERROR_MISMATCH with the first. What a
 * kernel refuses is a row with a note where "all" was asked for, else the call's error. A missing baseline is IJEPA_ERROR_FILE or
 * IJEPA_ERROR_DEVICE with a hint; one that fails on a product leaves its rows without it, with a note, and the call returns that. */
IJEPA_API ijepa_status ijepa_bench(const ijepa_bench_options *options, ijepa_bench_summary *summary, ijepa_error *err);

/* How near a row comes to the roof above it: max(its flops / the element's or f32's, whichever is higher, its bytes / memory's) over
 * its time, 0 to about 1; 0 where that is unknown. *memory (may be NULL): memory is what bounds it. */
IJEPA_API double ijepa_bench_bound(const ijepa_bench_row *row, const ijepa_bench_roof *roof, bool *memory);

/* A picture of rows: bars of their speed against the baseline (where there is one), and time against the roofs. PNG. */
IJEPA_API ijepa_status ijepa_draw_bench(const ijepa_bench_row *rows, int count, const ijepa_bench_summary *summary, const char *path,
                                        ijepa_error *err);

/* ---- pictures ---- */

/* Draws loss.png (loss, trivial predictor, verdict) from a run folder's log. */
IJEPA_API ijepa_status ijepa_draw_run(const char *run, ijepa_error *err);

/* ---- the layout that this header and the library must share ---- */

/* Every struct that a caller fills or reads. */
#define IJEPA_STRUCTS(X)                                                                                                                   \
    X(ijepa_error) X(ijepa_device_info) X(ijepa_device_options) X(ijepa_context_options) X(ijepa_dataset_options) X(ijepa_dataset_source)  \
    X(ijepa_progress) X(ijepa_trainer_options) X(ijepa_model_info) X(ijepa_model_options) X(ijepa_image) X(ijepa_embed_options)            \
    X(ijepa_embed_result) X(ijepa_eval_options) X(ijepa_eval_row) X(ijepa_eval_result) X(ijepa_finetune_progress) X(ijepa_finetune_options)\
    X(ijepa_finetune_seed) X(ijepa_finetune_result) X(ijepa_search_options) X(ijepa_search_hit) X(ijepa_search_result)                     \
    X(ijepa_duplicates_options) X(ijepa_duplicate_pair) X(ijepa_duplicate_group) X(ijepa_duplicates_result) X(ijepa_ablate_run)            \
    X(ijepa_ablate_row) X(ijepa_ablate_table) X(ijepa_ablate_result) X(ijepa_ablate_options) X(ijepa_replay_row) X(ijepa_replay_result)    \
    X(ijepa_replay_options) X(ijepa_selftest_case) X(ijepa_selftest_options) X(ijepa_scenes_options) X(ijepa_scenes_result)                \
    X(ijepa_masks_result) X(ijepa_tune_row) X(ijepa_tune_options) X(ijepa_bench_row) X(ijepa_bench_roof) X(ijepa_bench_options)            \
    X(ijepa_bench_summary) X(ijepa_convert_options) X(ijepa_convert_result) X(ijepa_inspect_options) X(ijepa_inspect_tensor)               \
    X(ijepa_inspect_value) X(ijepa_inspect_result)

typedef struct ijepa_struct_size {
    const char *name;
    size_t bytes;
} ijepa_struct_size;

/* IJEPA_ERROR_MISMATCH names the first struct whose size differs from the library's, with both sizes, or both ABI versions. */
IJEPA_API ijepa_status ijepa_abi_compare(int abi_version, const ijepa_struct_size *sizes, int count, ijepa_error *err);

/* Compares what this program was compiled with: the first call of a program that was not linked by libijepa.so's versioned name. err may be NULL,
 * and should be where ijepa_error itself may differ. */
static inline ijepa_status ijepa_abi_check(ijepa_error *err) {
#define IJEPA_SIZE_OF(name) {#name, sizeof(name)},
    static const ijepa_struct_size sizes[] = {IJEPA_STRUCTS(IJEPA_SIZE_OF)};
#undef IJEPA_SIZE_OF
    return ijepa_abi_compare(IJEPA_ABI_VERSION, sizes, (int)(sizeof sizes / sizeof sizes[0]), err);
}

#ifdef __cplusplus
}
#endif

#endif
