/* Models of others: safetensors with released and transformers' names, made here; what PyTorch, transformers and timm write is compared in
 * tests/peers_import.py. */
#include "suites.h"
#include "io/safetensors.h"
#include "scratch.h"
#include "train/hf_config.h"
#include "train/import.h"
#include "train/import_names.h"

#include <string.h>

enum { DIM = 16, DEPTH = 2, HIDDEN = 64, PATCH = 4, GRID = 3 };

static const ij_model_config model = {.image_height = GRID * PATCH,
                                      .image_width = GRID * PATCH,
                                      .patch_size = PATCH,
                                      .channels = 3,
                                      .dim = DIM,
                                      .depth = DEPTH,
                                      .heads = 4,
                                      .hidden = HIDDEN,
                                      .pred_dim = DIM,
                                      .pred_depth = 1,
                                      .pred_heads = 4,
                                      .pred_hidden = HIDDEN,
                                      .norm_eps = 1e-6f};

/* Parameter i of the table has values i + k / 4096. */
static float values[1 << 16];
static const float *values_of(int i, int64_t count) {
    for (int64_t k = 0; k < count; k++) values[k] = (float)i + (float)k / 4096;
    return values;
}

typedef struct written {
    const char *prefix;
    ij_naming naming;
    const char *without, *extra; /* a name of ours that is left out; a tensor more */
} written;

/* One encoder under another program's names. Data must live until finish, so each tensor has memory of its own. */
static const char *write_model(const written *w, const char *name) {
    ij_error err = {0};
    ij_param_table table;
    ij_safetensors_writer *writer;
    char names[3][IJ_NAME_BYTES], full[1024];
    float *data[200] = {NULL}, positions[GRID * GRID * DIM];
    const char *path = scratch_path(name);
    CHECK_OK(ij_param_table_make(&model, &table, &err));
    CHECK_OK(ij_safetensors_begin(path, &writer, &err));
    for (int i = 0; i < table.encoder_count; i++) {
        const ij_param *p = &table.params[i];
        int count = ij_foreign_names(w->naming, p->name, names);
        ck_assert_msg(count == 1 || count == 3, "%s has %d names", p->name, count);
        if (w->without && strcmp(p->name, w->without) == 0) continue;
        data[i] = malloc((size_t)p->count * sizeof **data);
        memcpy(data[i], values_of(i, p->count), (size_t)p->count * sizeof **data);
        int64_t shape[4];
        memcpy(shape, p->shape, sizeof shape);
        shape[0] /= count;
        for (int k = 0; k < count; k++) {
            snprintf(full, sizeof full, "%s%s", w->prefix, names[k]);
            CHECK_OK(ij_safetensors_add(writer, full, IJ_SAFETENSORS_F32, p->dims, shape, data[i] + k * (p->count / count), &err));
        }
    }
    ij_positions(GRID, GRID, DIM, positions);
    ij_foreign_names(w->naming, "pos_embed", names);
    snprintf(full, sizeof full, "%s%s", w->prefix, names[0]);
    CHECK_OK(ij_safetensors_add(writer, full, IJ_SAFETENSORS_F32, 3, (int64_t[]){1, GRID * GRID, DIM}, positions, &err));
    if (w->extra) CHECK_OK(ij_safetensors_add(writer, w->extra, IJ_SAFETENSORS_F32, 1, (int64_t[]){1}, positions, &err));
    CHECK_OK(ij_safetensors_finish(writer, &err));
    for (int i = 0; i < table.encoder_count; i++) free(data[i]);
    ij_param_table_free(&table);
    snprintf(full, sizeof full, "%s.yaml", path);
    FILE *sidecar = fopen(full, "w");
    fputs("meta: {num_heads: 4}\ndata: {mean: [0.1, 0.2, 0.3]}\n", sidecar);
    fclose(sidecar);
    return path;
}

static const written layouts[] = {
    {.prefix = "encoder.", .naming = IJ_NAMING_RELEASED}, {.prefix = "target_encoder.module.", .naming = IJ_NAMING_RELEASED},
    {.prefix = "", .naming = IJ_NAMING_RELEASED},         {.prefix = "", .naming = IJ_NAMING_HF, .extra = "classifier.bias"},
    {.prefix = "ijepa.", .naming = IJ_NAMING_HF},         {.prefix = "", .naming = IJ_NAMING_HF_MODULES},
};

START_TEST(test_every_layout_gives_the_same_bits) {
    ij_error err = {0};
    ij_import *import;
    ij_param_table table;
    static float got[1 << 16];
    const written *w = &layouts[_i];
    CHECK_OK(ij_import_open(write_model(w, "foreign.safetensors"), NULL, &import, &err));
    const ij_import_info *info = ij_import_about(import);
    const ij_model_config *m = &info->config.model;
    ck_assert(m->dim == DIM && m->depth == DEPTH && m->hidden == HIDDEN && m->heads == 4);
    ck_assert(m->image_height == GRID * PATCH && m->image_width == GRID * PATCH && m->patch_size == PATCH);
    ck_assert(info->config.mean[1] == 0.2f && info->config.std[0] == 0.229f);
    ck_assert(!info->has_predictor && !info->has_moments && ij_import_positions(import) == NULL);
    ck_assert_msg(!w->extra || strstr(info->notes, w->extra), "%s", info->notes);
    CHECK_OK(ij_param_table_make(&model, &table, &err));
    for (int i = 0; i < table.encoder_count; i++)
        for (int slot = IJ_SLOT_WEIGHT; slot <= IJ_SLOT_TARGET; slot++) {
            int64_t count = table.params[i].count;
            CHECK_OK(ij_import_read(import, (ij_slot)slot, &table.params[i], got, &err));
            ck_assert_msg(memcmp(got, values_of(i, count), (size_t)count * sizeof *got) == 0, "%s differs", table.params[i].name);
        }
    CHECK_FAILS(ij_import_read(import, IJ_SLOT_MOMENT1, &table.params[0], got, &err), IJ_ERROR_MISMATCH);
    ij_param_table_free(&table);
    ij_import_close(import);
}
END_TEST

static const struct {
    written file;
    const char *says;
} refused[] = {
    {{.prefix = "", .without = "blocks.1.norm2.bias"}, "blocks.1.norm2.bias"},
    {{.prefix = "", .naming = IJ_NAMING_HF, .without = "blocks.0.attn.qkv.weight"}, "encoder.layer.0.attention.attention.query.weight"},
    {{.prefix = "", .extra = "cls_token"}, "class token"},
    {{.prefix = "", .naming = IJ_NAMING_HF, .extra = "embeddings.cls_token"}, "class token"},
    {{.prefix = "model.", .extra = "model.register_tokens"}, "register tokens"},
    {{.prefix = "encoder.", .extra = "encoder.blocks.0.gamma"}, "encoder.blocks.0.gamma"},
    {{.prefix = "", .without = "patch_embed.proj.weight"}, "no encoder"},
};

START_TEST(test_what_is_no_ijepa_is_named) {
    ij_error err = {0};
    ij_import *import;
    ck_assert(ij_import_open(write_model(&refused[_i].file, "refused.safetensors"), NULL, &import, &err) != IJ_OK && !import);
    ck_assert_msg(strstr(err.text, refused[_i].says), "%s", err.text);
}
END_TEST

START_TEST(test_unknown_heads_have_a_remedy) {
    ij_error err = {0};
    ij_import *import;
    char sidecar[4200];
    const char *path = write_model(&layouts[0], "headless.safetensors");
    snprintf(sidecar, sizeof sidecar, "%s.yaml", path);
    remove(sidecar);
    CHECK_FAILS(ij_import_open(path, NULL, &import, &err), IJ_ERROR_MISMATCH);
    ck_assert_msg(strstr(err.text, "heads") && strstr(err.hint, "num_heads") && strstr(err.hint, ".safetensors.yaml"), "%s", err.hint);
    ij_model_config reader = {.dim = DIM, .heads = 4};
    CHECK_OK(ij_import_open(path, &reader, &import, &err));
    ck_assert_int_eq(ij_import_about(import)->config.model.heads, 4);
    ij_import_close(import);
}
END_TEST

static const struct {
    const char *json;
    int major;
    const char *fails; /* NULL: it is taken as follows */
    ij_preprocess expected;
} preprocessors[] = {
    {"{\"image_processor_type\": \"ViTImageProcessor\", \"size\": {\"height\": 32, \"width\": 48}}",
     4,
     NULL,
     {.resize = IJ_RESIZE_EXACT, .height = 32, .width = 48, .resampler = IJ_RESAMPLER_PIL}},
    {"{\"image_processor_type\": \"ViTImageProcessor\", \"size\": 32, \"resample\": 3}",
     5,
     NULL,
     {.resize = IJ_RESIZE_EXACT, .height = 32, .width = 32, .filter = IJ_FILTER_BICUBIC, .resampler = IJ_RESAMPLER_TORCHVISION}},
    {"{\"image_processor_type\": \"ViTImageProcessorFast\", \"size\": {\"shortest_edge\": 37}, \"do_center_crop\": true, \"crop_size\": "
     "32}",
     4,
     NULL,
     {.resize = IJ_RESIZE_SHORTER, .shorter = 37, .height = 32, .width = 32, .resampler = IJ_RESAMPLER_TORCHVISION}},
    {"{\"size\": {\"shortest_edge\": 37}}", 4, "size", {0}},
    {"{\"resample\": 1}", 4, "Lanczos", {0}},
    {"{\"rescale_factor\": 1}", 4, "rescale_factor", {0}},
    {"{\"do_rescale\": false}", 4, "do_rescale", {0}},
    {"{\"image_std\": [1, 0, 1]}", 4, "image_std", {0}},
    {"[1]", 4, "not a JSON object", {0}},
};

START_TEST(test_preprocessor) {
    ij_error err = {0};
    ij_hf_preprocessor got;
    const char *json = preprocessors[_i].json;
    ij_status status = ij_hf_preprocessor_parse(json, strlen(json), "p.json", preprocessors[_i].major, &got, &err);
    if (preprocessors[_i].fails) {
        ck_assert(status != IJ_OK);
        ck_assert_msg(strstr(err.text, preprocessors[_i].fails), "%s", err.text);
        return;
    }
    const ij_preprocess *p = &got.preprocess, *e = &preprocessors[_i].expected;
    ck_assert_msg(status == IJ_OK, "%s", err.text);
    ck_assert(p->resize == e->resize && p->shorter == e->shorter && p->height == e->height && p->width == e->width);
    ck_assert(p->filter == e->filter && p->resampler == e->resampler && got.mean[0] == 0.5f && got.std[2] == 0.5f);
}
END_TEST

START_TEST(test_other_model_types_are_refused) {
    ij_error err = {0};
    ij_hf_config config;
    static const char *const json[] = {"{\"model_type\": \"vit\"}", "{\"model_type\": \"ijepa\", \"hidden_act\": \"relu\"}",
                                       "{\"model_type\": \"ijepa\", \"hidden_size\": 1.5}"};
    static const char *const says[] = {"\"vit\"", "relu", "hidden_size"};
    ck_assert(ij_hf_config_parse(json[_i], strlen(json[_i]), "c.json", &config, &err) != IJ_OK);
    ck_assert_msg(strstr(err.text, says[_i]), "%s", err.text);
}
END_TEST

Suite *import_suite(void) {
    Suite *suite = suite_create("import");
    TCase *tcase = tcase_create("files");
    tcase_add_checked_fixture(tcase, scratch_begin, scratch_end);
    tcase_add_loop_test(tcase, test_every_layout_gives_the_same_bits, 0, IJ_COUNT(layouts));
    tcase_add_loop_test(tcase, test_what_is_no_ijepa_is_named, 0, IJ_COUNT(refused));
    tcase_add_test(tcase, test_unknown_heads_have_a_remedy);
    tcase_add_loop_test(tcase, test_preprocessor, 0, IJ_COUNT(preprocessors));
    tcase_add_loop_test(tcase, test_other_model_types_are_refused, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}
