/* layer: train; uses: base, io */
#include "train/origin.h"
#include "base/file.h"
#include "io/safetensors.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX (1u << 20) /* of a README.md or config.json */

/* Files and folders that were published under IJ_RELEASED_LICENSE; a part of the name is enough, copies have "(1)" and the like. */
static const char *const published[] = {
    "IN1K-vit.h.14-300e", "IN1K-vit.h.16-448px-300e", "IN22K-vit.h.14-900e", "IN22K-vit.g.16-600e",
    "ijepa_vith14_1k",    "ijepa_vith16_1k",          "ijepa_vith14_22k",    "ijepa_vitg16_22k",
};

static void set(ij_origin *out, const char *license, const char *name) {
    snprintf(out->license, sizeof out->license, "%s", license);
    snprintf(out->name, sizeof out->name, "%s", name);
}

static bool is_published(const char *name) {
    for (int i = 0; i < IJ_COUNT(published); i++)
        if (strstr(name, published[i])) return true;
    return false;
}

static bool from_metadata(const char *path, ij_origin *out) {
    ij_safetensors *file;
    if (!ij_file_exists(path) || ij_safetensors_open(path, &file, NULL) != IJ_OK) return false;
    const char *license = ij_safetensors_get(file, "license"), *name = ij_safetensors_get(file, "origin");
    bool found = license && ij_license_check(license, NULL) == IJ_OK;
    if (found) set(out, license, name ? name : "");
    ij_safetensors_close(file);
    return found;
}

/* The folder's file as text; NULL when it cannot be had. */
static char *read_text(const char *folder, const char *name) {
    char path[4600];
    void *data;
    size_t bytes;
    if (ij_path_join(path, sizeof path, folder, name, NULL) != IJ_OK) return NULL;
    if (!ij_file_exists(path) || ij_file_read(path, TEXT_BYTES_MAX, &data, &bytes, NULL) != IJ_OK) return NULL;
    return data;
}

/* "license: cc-by-nc-4.0" between the first two lines "---". */
static bool front_matter(char *markdown, ij_origin *out) {
    if (strncmp(markdown, "---\n", 4) != 0) return false;
    for (char *line = markdown + 4, *end; *line && strncmp(line, "---", 3) != 0; line = end + 1) {
        end = strchr(line, '\n');
        if (!end) return false;
        *end = 0;
        if (strncmp(line, "license:", 8) != 0) continue;
        char *value = line + 8, *last = end;
        while (*value == ' ' || *value == '"' || *value == '\'') value++;
        while (last > value && (isspace((unsigned char)last[-1]) || last[-1] == '"' || last[-1] == '\'')) *--last = 0;
        if (!*value || ij_license_check(value, NULL) != IJ_OK) return false;
        set(out, value, "");
        return true;
    }
    return false;
}

/* "facebook/ijepa_vith14_1k", which config.json keeps of the folder's first name. */
static bool from_config(const char *folder, ij_origin *out) {
    char *json = read_text(folder, "config.json");
    cJSON *tree = json ? cJSON_Parse(json) : NULL;
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(tree, "_name_or_path");
    bool found = cJSON_IsString(name) && is_published(name->valuestring);
    if (found) set(out, IJ_RELEASED_LICENSE, name->valuestring);
    cJSON_Delete(tree);
    free(json);
    return found;
}

void ij_origin_find(const char *path, bool own, ij_origin *out) {
    char folder[4096];
    memset(out, 0, sizeof *out);
    if (from_metadata(path, out)) return;
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    size_t name_at = length;
    while (name_at && path[name_at - 1] != '/') name_at--;
    bool is_folder = ij_is_folder(path);
    int kept = (int)(is_folder ? length : name_at);
    if (snprintf(folder, sizeof folder, "%.*s", kept, kept ? path : ".") >= (int)sizeof folder) return;
    char *markdown = own ? NULL : read_text(kept ? folder : ".", "README.md");
    bool licensed = markdown && front_matter(markdown, out);
    free(markdown);
    if (licensed) return;
    char name[sizeof out->name];
    snprintf(name, sizeof name, "%.*s", (int)(length - name_at), path + name_at);
    if (is_published(name))
        set(out, IJ_RELEASED_LICENSE, name);
    else if (!from_config(kept ? folder : ".", out) && own)
        set(out, "other", "");
}

ij_status ij_license_check(const char *license, ij_error *err) {
    size_t length = strlen(license);
    bool good = length > 0 && length < sizeof((ij_origin *)0)->license;
    for (const char *c = license; *c && good; c++) good = isalnum((unsigned char)*c) || strchr(".-+", *c);
    if (good) return IJ_OK;
    return ij_fail(err, IJ_ERROR_ARGUMENT, "license \"%.80s\": an identifier is expected, as mit, cc-by-4.0 or other", license);
}
