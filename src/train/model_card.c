/* README.md of an exported folder.       layer: train; uses: base, io, model */
#include "base/file.h"
#include "io/json_writer.h"
#include "train/export_files.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_BYTES_MAX (64u << 20) /* of eval.json */
#define LINE_BYTES_MAX 65536       /* of log.csv and events.jsonl */
#define LOSS_STEPS 100             /* the loss is the mean of the last so many */

/* ---- what a run folder's records say ---- */

typedef struct run_record {
    double loss; /* mean of the last steps; NaN: not known */
    int loss_steps;
    char verdict[32], reason[400]; /* "": not known */
} run_record;

/* The column called `name` in the CSV line; -1: none. */
static int column_of(const char *header, const char *name) {
    size_t length = strlen(name);
    for (int i = 0;; i++) {
        size_t here = strcspn(header, ",\r\n");
        if (here == length && memcmp(header, name, length) == 0) return i;
        if (header[here] != ',') return -1;
        header += here + 1;
    }
}

static double field(const char *line, int column) {
    for (; column > 0; column--) {
        line = strchr(line, ',');
        if (!line) return (double)NAN;
        line++;
    }
    return strtod(line, NULL);
}

static FILE *open_in(const char *folder, const char *name) {
    char path[4600];
    return ij_path_join(path, sizeof path, folder, name, NULL) == IJ_OK ? fopen(path, "r") : NULL;
}

static void read_log(const char *run, const ij_import_info *about, char *line, run_record *out) {
    double last[LOSS_STEPS];
    int64_t rows = 0, per_epoch = about->config.schedule.steps_per_epoch;
    FILE *file = open_in(run, "log.csv");
    out->loss = (double)NAN;
    if (!file) return;
    int loss = fgets(line, LINE_BYTES_MAX, file) ? column_of(line, "loss") : -1;
    while (loss >= 0 && fgets(line, LINE_BYTES_MAX, file)) {
        double step = (field(line, 0) - 1) * (double)per_epoch + field(line, 1) + 1;
        if (step <= (double)about->step) last[rows++ % LOSS_STEPS] = field(line, loss);
    }
    fclose(file);
    out->loss_steps = rows < LOSS_STEPS ? (int)rows : LOSS_STEPS;
    double sum = 0;
    for (int i = 0; i < out->loss_steps; i++) sum += last[i];
    if (out->loss_steps) out->loss = sum / out->loss_steps;
}

static const char *text_of(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static double number_of(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

static void read_events(const char *run, const ij_import_info *about, char *line, run_record *out) {
    FILE *file = open_in(run, "events.jsonl");
    while (file && fgets(line, LINE_BYTES_MAX, file)) {
        if (!strstr(line, "\"verdict\"")) continue;
        cJSON *event = cJSON_Parse(line);
        if (strcmp(text_of(event, "event"), "verdict") == 0 && number_of(event, "step") <= (double)about->step) {
            snprintf(out->verdict, sizeof out->verdict, "%s", text_of(event, "verdict"));
            snprintf(out->reason, sizeof out->reason, "%s", text_of(event, "reason"));
        }
        cJSON_Delete(event);
    }
    if (file) fclose(file);
}

/* ---- writing ---- */

/* A table's cell must not end it. */
static void cell(FILE *out, const char *text) {
    for (; *text; text++) {
        if (*text == '|') fputc('\\', out);
        fputc(*text == '\n' || *text == '\r' ? ' ' : *text, out);
    }
}

static void write_rows(FILE *out, const cJSON *rows, bool chosen) {
    const cJSON *row;
    fprintf(out, "| task | method | features | setting | accuracy, %% | 95 %% interval | held-out, %% | n (test) | train images | seeds |\n"
                 "|---|---|---|---|---|---|---|---|---|---|\n");
    cJSON_ArrayForEach(row, rows) {
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, "chosen")) != chosen) continue;
        static const char *const texts[] = {"task", "method", "features", "setting"};
        for (int i = 0; i < IJ_COUNT(texts); i++) fputs("| ", out), cell(out, text_of(row, texts[i])), fputc(' ', out);
        fprintf(out, "| %.2f | %.2f to %.2f |", number_of(row, "accuracy"), number_of(row, "low"), number_of(row, "high"));
        double held_out = number_of(row, "held_out");
        if (isnan(held_out))
            fprintf(out, " - |");
        else
            fprintf(out, " %.2f |", held_out);
        fprintf(out, " %.0f | %.0f | %.0f |\n", number_of(row, "test_images"), number_of(row, "train_images"), number_of(row, "seeds"));
    }
}

static int count_rows(const cJSON *rows, bool chosen) {
    int count = 0;
    const cJSON *row;
    cJSON_ArrayForEach(row, rows) count += cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(row, "chosen")) == chosen;
    return count;
}

static void write_evaluation(FILE *out, const ij_model_card *card) {
    char path[4600];
    void *data;
    size_t bytes;
    if (!card->run || ij_path_join(path, sizeof path, card->run, "eval.json", NULL) != IJ_OK) return;
    if (!ij_file_exists(path) || ij_file_read(path, JSON_BYTES_MAX, &data, &bytes, NULL) != IJ_OK) return;
    cJSON *tree = cJSON_Parse(data);
    free(data);
    const cJSON *rows = cJSON_GetObjectItemCaseSensitive(tree, "rows");
    double step = number_of(tree, "step");
    if (count_rows(rows, true)) {
        fprintf(out,
                "## Measured\n\nBy `ijepa eval`, after step %.0f%s. Accuracy on the test images with its 95 %% interval; settings were "
                "chosen on held-out training images.\n`random`: the same architecture at its random initialisation; `pixels`: the raw "
                "pixels.\n\n",
                step, step == (double)card->about->step ? "" : " (these weights are of another step)");
        write_rows(out, rows, true);
        fputc('\n', out);
    }
    if (count_rows(rows, false)) {
        fprintf(out, "<details><summary>All %d settings that were tried</summary>\n\n", count_rows(rows, false));
        write_rows(out, rows, false);
        fprintf(out, "\n</details>\n\n");
    }
    cJSON_Delete(tree);
}

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* Where somebody's files are is nobody else's business: the paths' last parts alone are kept. */
static ij_status write_configuration(FILE *out, const ij_model_card *card, ij_error *err) {
    ij_config_text flat = {0};
    char *yaml = NULL;
    ij_train_config config = card->about->config;
    snprintf(config.data_path, sizeof config.data_path, "%s", last_part(card->about->config.data_path));
    snprintf(config.folder, sizeof config.folder, "%s", last_part(card->about->config.folder));
    ij_status status = ij_train_config_write(&config, &flat, err);
    if (status == IJ_OK) status = ij_config_text_print(&flat, &yaml, err);
    if (status == IJ_OK) fprintf(out, "```yaml\n%s```\n", yaml);
    free(yaml);
    ij_config_text_free(&flat);
    return status;
}

static ij_status write_training(FILE *out, const ij_model_card *card, ij_error *err) {
    run_record record = {.loss = (double)NAN};
    if (card->about->kind != IJ_IMPORT_STATE) return IJ_OK;
    if (card->run) {
        char *line = malloc(LINE_BYTES_MAX);
        if (!line) return ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: a line of the log");
        read_log(card->run, card->about, line, &record);
        read_events(card->run, card->about, line, &record);
        free(line);
    }
    fprintf(out, "## Training\n\n%" PRId64 " steps", card->about->step);
    if (!isnan(record.loss)) fprintf(out, "; loss %.6f, mean of the last %d", record.loss, record.loss_steps);
    if (record.verdict[0]) fprintf(out, "; the monitor's verdict: %s", record.verdict);
    if (record.verdict[0] && strcmp(record.verdict, "healthy") != 0) fprintf(out, " (%s)", record.reason);
    fprintf(out, ". The configuration:\n\n");
    return write_configuration(out, card, err);
}

static void write_front_matter(FILE *out, const ij_model_card *card) {
    fprintf(out, "---\nlibrary_name: %s\npipeline_tag: image-feature-extraction\n", card->to == IJ_EXPORT_TIMM ? "timm" : "transformers");
    if (card->license[0]) fprintf(out, "license: %s\n", card->license);
    fprintf(out, "tags:\n- ijepa\n- self-supervised-learning\n- vision\n---\n\n");
}

static void write_use(FILE *out, const ij_model_card *card) {
    const ij_model_config *m = &card->about->config.model;
    const char *open = m->channels == 3 ? "Image.open(\"picture.jpg\").convert(\"RGB\")" : "Image.open(\"picture.png\").convert(\"L\")";
    fprintf(out, "## Use\n\n```python\nimport torch\nfrom PIL import Image\n");
    if (card->to == IJ_EXPORT_TIMM)
        fprintf(out,
                "import timm\n\n"
                "model = timm.create_model(\"local-dir:%s\", pretrained=True).eval()\n"
                "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))\n"
                "with torch.no_grad():\n"
                "    patches = model.forward_features(transform(%s)[None])",
                card->title, open);
    else
        fprintf(out,
                "from transformers import AutoImageProcessor, AutoModel\n\n"
                "processor = AutoImageProcessor.from_pretrained(\"%s\", use_fast=True)\n"
                "model = AutoModel.from_pretrained(\"%s\")\n"
                "pixels = processor(%s, return_tensors=\"pt\")\n"
                "with torch.no_grad():\n"
                "    patches = model(**pixels).last_hidden_state",
                card->title, card->title, open);
    fprintf(out, "  # [1, %d, %d]\nfeatures = patches.mean(1)  # [1, %d]\n```\n\n", ij_patches(m), m->dim, m->dim);
}

static void write_preprocessing(FILE *out, const ij_model_card *card) {
    const ij_train_config *c = &card->about->config;
    ij_export_resize resize = ij_export_resize_of(c);
    fprintf(out, "Pictures: ");
    if (resize.shorter)
        fprintf(out, "the shorter side to %d pixels", resize.shorter);
    else
        fprintf(out, "to %d x %d, whatever their shape", resize.height, resize.width);
    if (resize.crop) fprintf(out, ", of which the centre %d x %d", resize.input_height, resize.input_width);
    fprintf(out, " (height x width, %s, antialiased); then less the mean, by the deviation, of values in [0, 1]:",
            resize.bicubic ? "bicubic" : "bilinear");
    for (int row = 0; row < 2; row++) {
        fprintf(out, row ? " deviation" : " mean");
        for (int i = 0; i < c->model.channels; i++) {
            char number[32];
            ij_float_text(row ? c->std[i] : c->mean[i], number);
            fprintf(out, " %s", number);
        }
        fputc(row ? '.' : ',', out);
    }
    if (c->pad_to) fprintf(out, " Smaller pictures were put into the middle of a black %d x %d before.", c->pad_to, c->pad_to);
    fprintf(out,
            "\nTraining resampled floats in one pass; libraries that resample bytes round each direction, by at most about 1/255.\n\n");
}

static void grouped(int64_t value, char out[32]) {
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%" PRId64, value), used = 0;
    for (int i = 0; i < length && used < 30; i++) {
        if (i && (length - i) % 3 == 0) out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = 0;
}

static void write_description(FILE *out, const ij_model_card *card) {
    static const char *const words[] = {"float32", "float16", "bfloat16"};
    const ij_model_config *m = &card->about->config.model;
    char parameters[32];
    grouped(card->parameters, parameters);
    fprintf(
        out,
        "# %s\n\n%s of an I-JEPA ([Assran et al. 2023](https://arxiv.org/abs/2301.08243)): a vision transformer without a class token.\n"
        "%d blocks, width %d, %d heads, patches of %d x %d, images of %d x %d, %d channel%s; %s parameters, %s.\n",
        card->title,
        !card->encoder_known                 ? "The encoder"
        : card->encoder == IJ_EXPORT_CONTEXT ? "The context encoder"
                                             : "The target encoder",
        m->depth, m->dim, m->heads, m->patch_size, m->patch_size, m->image_height, m->image_width, m->channels, m->channels > 1 ? "s" : "",
        parameters, words[card->dtype]);
    if (card->about->kind == IJ_IMPORT_STATE)
        fprintf(out, "Trained with ijepa for %" PRId64 " steps.\n\n", card->about->step);
    else
        fprintf(out, "Converted with ijepa from: %s.\n\n", card->about->title);
    if (strcmp(card->license, IJ_RELEASED_LICENSE) == 0 && strcmp(card->origin->license, IJ_RELEASED_LICENSE) == 0)
        fprintf(out, "These weights are, or come from, those that Meta published%s%s under CC-BY-NC-4.0, which goes on to hold.\n\n",
                card->origin->name[0] ? " as " : "", card->origin->name);
}

ij_status ij_model_card_text(const ij_model_card *card, char **markdown, ij_error *err) {
    size_t bytes;
    FILE *out = open_memstream(markdown, &bytes);
    if (!out) return ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: a model card");
    write_front_matter(out, card);
    write_description(out, card);
    write_use(out, card);
    write_preprocessing(out, card);
    write_evaluation(out, card);
    ij_status status = write_training(out, card, err);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) status = status == IJ_OK ? ij_fail(err, IJ_ERROR_MEMORY, "out of host memory: a model card") : status;
    if (status != IJ_OK) free(*markdown);
    return status;
}
