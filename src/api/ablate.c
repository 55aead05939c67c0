/* The specification of an ablation, and the plan it makes.       layer: api; uses: base, io, train */
#include "api/ablate.h"
#include "base/file.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- configurations ---- */

/* "key=value; key=value" */
static ij_status apply(ij_config_text *text, const char *set, ij_error *err) {
    char all[ABLATE_SET_BYTES], *rest = all;
    snprintf(all, sizeof all, "%s", set);
    for (char *one; (one = strtok_r(rest, ";", &rest));) {
        one += strspn(one, " ");
        if (*one) IJ_TRY(ij_config_text_override(text, one, err));
    }
    return IJ_OK;
}

static ij_status apply_all(const ablate *a, const char *set, ij_config_text *text, ij_error *err) {
    const ij_config_entry *common = ij_config_text_find(&a->spec, "set");
    char steps[64];
    IJ_TRY(ij_config_text_load(text, a->base, err));
    for (int i = 0; common && i < common->count; i++) IJ_TRY(ij_config_text_override(text, common->text[i], err));
    for (int i = 0; i < a->options->set_count; i++) IJ_TRY(ij_config_text_override(text, a->options->set[i], err));
    snprintf(steps, sizeof steps, "optimization.steps=%lld", (long long)a->steps);
    if (a->steps > 0) IJ_TRY(ij_config_text_override(text, steps, err));
    return apply(text, set, err);
}

ij_status ablate_configure(ablate *a, const char *set, ij_error *err) {
    ij_config_text text = {0};
    ij_train_config_defaults(a->work);
    ij_status status = apply_all(a, set, &text, err);
    if (status == IJ_OK) status = ij_train_config_read(&text, a->work, NULL, 0, err);
    ij_config_text_free(&text);
    a->work->keep = 2; /* the newest, and one before it should that be damaged */
    return status;
}

/* What was read, as text that is equal for equal runs. */
static ij_status identity_of(ablate *a, char **out, ij_error *err) {
    ij_config_text text = {0};
    a->work->seed = 0;
    a->work->folder[0] = 0;
    ij_status status = ij_train_config_write(a->work, &text, err);
    if (status == IJ_OK) status = ij_config_text_print(&text, out, err);
    ij_config_text_free(&text);
    return status;
}

ij_status ablate_folder(const ablate *a, int run, char out[4200], ij_error *err) {
    return ij_path_join(out, 4200, a->result->out, a->result->runs[run].name, err);
}

/* ---- the specification ---- */

/* name beside the specification, or as it is. */
static ij_status find_beside(const char *specification, const char *name, char out[4096], ij_error *err) {
    const char *slash = strrchr(specification, '/');
    if (slash && name[0] != '/') {
        char folder[4096];
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - specification), specification);
        IJ_TRY(ij_path_join(out, 4096, folder, name, err));
        if (ij_file_exists(out)) return IJ_OK;
    }
    snprintf(out, 4096, "%s", name);
    if (ij_file_exists(out)) return IJ_OK;
    return ij_fail(err, IJ_ERROR_FILE, "%s: base %s is neither beside it nor in the current folder", specification, name);
}

/* runs/NAME of some/NAME.yaml */
static void default_folder(const char *specification, char out[4096]) {
    const char *slash = strrchr(specification, '/'), *name = slash ? slash + 1 : specification, *dot = strrchr(name, '.');
    snprintf(out, 4096, "runs/%.*s", (int)(dot && dot != name ? dot - name : (ptrdiff_t)strlen(name)), name);
}

static ij_status read_eval(ablate *a, ij_error *err) {
    ablate_eval *e = &a->eval;
    ij_config_text *s = &a->spec;
    IJ_TRY(ij_config_text_string(s, "eval.train", e->train, sizeof e->train, err));
    IJ_TRY(ij_config_text_string(s, "eval.test", e->test, sizeof e->test, err));
    IJ_TRY(ij_config_text_integer(s, "eval.train_limit", 0, INT64_MAX, &e->train_limit, err));
    IJ_TRY(ij_config_text_integer(s, "eval.test_limit", 0, INT64_MAX, &e->test_limit, err));
    return ij_config_text_integer(s, "eval.seed", 0, INT64_MAX, &e->seed, err);
}

static const char *const known_keys[] = {"base",       "set",       "tables",           "seeds",           "steps",    "out",
                                         "eval.train", "eval.test", "eval.train_limit", "eval.test_limit", "eval.seed"};

#define ROW_PREFIX "rows."

static ij_status read_specification(ablate *a, const char *path, ij_error *err) {
    char base[4096] = "";
    int64_t seeds = 1;
    ijepa_ablate_result *r = a->result;
    IJ_TRY(ij_config_text_load(&a->spec, path, err));
    IJ_TRY(ij_config_text_string(&a->spec, "base", base, sizeof base, err));
    if (!*base) {
        ij_fail(err, IJ_ERROR_ARGUMENT, "%s: no base: which training configuration is varied?", path);
        return ij_hint(err, "base: fashion-mnist.yaml");
    }
    IJ_TRY(find_beside(path, base, a->base, err));
    IJ_TRY(ij_config_text_integer(&a->spec, "seeds", 1, ABLATE_SEEDS_MAX, &seeds, err));
    IJ_TRY(ij_config_text_integer(&a->spec, "steps", 1, INT64_MAX, &a->steps, err));
    default_folder(path, r->out);
    IJ_TRY(ij_config_text_string(&a->spec, "out", r->out, sizeof r->out, err));
    IJ_TRY(read_eval(a, err));
    ij_config_text_ignore(&a->spec, "set"), ij_config_text_ignore(&a->spec, "tables");
    for (int64_t i = 0; i < a->spec.count; i++)
        if (strncmp(a->spec.entries[i].key, ROW_PREFIX, strlen(ROW_PREFIX)) == 0) a->spec.entries[i].used = true;
    IJ_TRY(ij_config_text_check_used(&a->spec, known_keys, IJ_COUNT(known_keys), err));
    if (a->options->out) snprintf(r->out, sizeof r->out, "%s", a->options->out);
    if (a->options->steps > 0) a->steps = a->options->steps;
    r->seeds = a->options->seeds > 0 ? a->options->seeds : (int)seeds;
    return IJ_OK;
}

/* ---- which tables ---- */

static ij_status find_table(const char *name, int *out, ij_error *err) {
    char all[400] = "";
    for (int i = 0; i < ablate_table_count; i++) {
        if (strcmp(ablate_tables[i].name, name) == 0) return *out = i, IJ_OK;
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", ablate_tables[i].name);
    }
    return ij_fail(err, IJ_ERROR_ARGUMENT, "tables: none is called \"%.60s\"; there are %s", name, all);
}

/* wanted[ablate_table_count] stands for the specification's own rows. */
static ij_status choose_tables(const ablate *a, bool *wanted, ij_error *err) {
    const ij_config_entry *given = ij_config_text_find(&a->spec, "tables");
    int own = ablate_table_count, table;
    bool has_rows = false;
    for (int64_t i = 0; i < a->spec.count; i++) has_rows |= strncmp(a->spec.entries[i].key, ROW_PREFIX, strlen(ROW_PREFIX)) == 0;
    for (int i = 0; i <= own; i++) wanted[i] = false;
    if (a->options->tables) {
        char all[400], *rest = all;
        snprintf(all, sizeof all, "%s", a->options->tables);
        for (char *one; (one = strtok_r(rest, ", ", &rest));) {
            if (strcmp(one, "rows") == 0 && has_rows) {
                wanted[own] = true;
                continue;
            }
            IJ_TRY(find_table(one, &table, err));
            wanted[table] = true;
        }
        return IJ_OK;
    }
    wanted[own] = has_rows;
    for (int i = 0; given && i < given->count; i++) {
        IJ_TRY(find_table(given->text[i], &table, err));
        wanted[table] = true;
    }
    for (int i = 0; i < own && !given && !has_rows; i++) wanted[i] = true;
    return IJ_OK;
}

/* ---- rows ---- */

/* Assignments that depend on the base's model. A head must be a multiple of 4 wide, 128 at most. */
static void scaled_set(const ij_model_config *base, ablate_scale scale, char out[ABLATE_SET_BYTES]) {
    int deep = base->pred_depth > 2 ? base->pred_depth : 2, narrow = base->pred_dim < base->dim ? base->pred_dim : base->dim / 2;
    int width = scale == ABLATE_WIDTH_NARROW ? narrow : base->dim, heads = base->pred_heads;
    if (width % (4 * heads) || width / heads > 128) heads = base->heads;
    if (scale == ABLATE_DEPTH_HALF || scale == ABLATE_DEPTH_FULL)
        snprintf(out, ABLATE_SET_BYTES, "meta.pred_depth=%d", scale == ABLATE_DEPTH_HALF ? deep / 2 : deep);
    else
        snprintf(out, ABLATE_SET_BYTES, "meta.pred_emb_dim=%d; meta.pred_num_heads=%d", width, heads);
}

/* Registers what was read into a->work; *out is its place, an equal one's if there is one. */
static ij_status add_setup(ablate *a, const char *name, const char *set, int64_t *out, ij_error *err) {
    char *identity;
    IJ_TRY(identity_of(a, &identity, err));
    for (*out = 0; *out < a->setup_count; ++*out)
        if (strcmp(a->setups[*out].identity, identity) == 0) return free(identity), IJ_OK;
    ij_status status = ij_grow(&a->setups, &a->setup_capacity, a->setup_count + 1, sizeof *a->setups, "ablation", err);
    if (status != IJ_OK) return free(identity), status;
    ablate_setup *s = &a->setups[a->setup_count++];
    *s = (ablate_setup){.identity = identity, .first_run = -1};
    snprintf(s->name, sizeof s->name, "%s", name);
    snprintf(s->set, sizeof s->set, "%s", set);
    return IJ_OK;
}

/* Plans a row; wanted: it belongs to the report. What the base's model cannot do is the row's note. */
static ij_status add_row(ablate *a, ijepa_ablate_row *row, const char *table, const char *name, bool wanted, ij_error *err) {
    char full[96];
    int64_t setup;
    ij_error why;
    ij_status status = ablate_configure(a, row->set, &why);
    if (status == IJ_ERROR_ARGUMENT) return snprintf(row->note, sizeof row->note, "%.390s", why.text), IJ_OK;
    if (status != IJ_OK) return *err = why, status;
    snprintf(full, sizeof full, "%s-%s", table, name);
    IJ_TRY(add_setup(a, full, row->set, &setup, err));
    if (!wanted) return IJ_OK;
    ablate_setup *s = &a->setups[setup];
    if (s->first_run < 0) s->first_run = a->used++;
    snprintf(row->run, sizeof row->run, "%s", s->name);
    return IJ_OK;
}

static ij_status add_paper_table(ablate *a, const ij_model_config *base, const ablate_table_desc *t, bool wanted, ij_error *err) {
    ijepa_ablate_table *table = &a->result->tables[a->result->table_count];
    ijepa_ablate_row spare, *row;
    if (wanted) {
        IJ_TRY(ij_alloc(&table->rows, t->row_count, sizeof *table->rows, "ablation", err));
        snprintf(table->name, sizeof table->name, "%s", t->name);
        snprintf(table->title, sizeof table->title, "%s", t->title);
        snprintf(table->note, sizeof table->note, "%s", t->note);
        if (*t->source) snprintf(table->source, sizeof table->source, "Assran et al. 2023, %s: %s", t->source, ABLATE_MEASURED);
        a->result->table_count++;
    }
    for (int i = 0; i < t->row_count; i++) {
        const ablate_row_desc *from = &t->rows[i];
        row = wanted ? &table->rows[table->row_count++] : &spare;
        *row = (ijepa_ablate_row){.paper = from->model ? from->top1 : (double)NAN};
        snprintf(row->set, sizeof row->set, "%s", from->set);
        if (from->scale != ABLATE_AS_WRITTEN) scaled_set(base, from->scale, row->set);
        snprintf(row->setting, sizeof row->setting, "%s", from->setting);
        if (from->scale != ABLATE_AS_WRITTEN) { /* the paper's number is its own model's */
            int value = atoi(strchr(row->set, '=') + 1);
            bool depth = from->scale == ABLATE_DEPTH_HALF || from->scale == ABLATE_DEPTH_FULL;
            snprintf(row->setting, sizeof row->setting, "%d%s", value, !depth ? "" : value == 1 ? " block" : " blocks");
        }
        if (from->model) {
            snprintf(row->paper_setting, sizeof row->paper_setting, "%s", from->setting);
            snprintf(row->paper_model, sizeof row->paper_model, "%s", from->model);
        }
        IJ_TRY(add_row(a, row, t->name, from->name, wanted, err));
    }
    return IJ_OK;
}

/* One's own row: rows.NAME: "key=value; key=value", or a list of them. A row that cannot be is an error: it was asked for. */
static ij_status add_own_row(ablate *a, const ij_config_entry *entry, ijepa_ablate_row *row, bool wanted, ij_error *err) {
    const char *name = entry->key + strlen(ROW_PREFIX);
    if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != strlen(name) || strlen(name) > 60)
        return ij_fail(err, IJ_ERROR_ARGUMENT, "rows.%.60s: a name of letters, digits, _ and - is expected, at most 60", name);
    *row = (ijepa_ablate_row){.paper = (double)NAN};
    snprintf(row->setting, sizeof row->setting, "%s", name);
    for (int i = 0; i < entry->count; i++) {
        size_t used = strlen(row->set), room = sizeof row->set - used;
        if ((size_t)snprintf(row->set + used, room, "%s%s", used ? "; " : "", entry->text[i]) >= room)
            return ij_fail(err, IJ_ERROR_ARGUMENT, "rows.%s: more than %zu bytes", name, sizeof row->set - 1);
    }
    IJ_TRY(add_row(a, row, "rows", name, wanted, err));
    if (row->note[0]) return ij_fail(err, IJ_ERROR_ARGUMENT, "rows.%s: %s", name, row->note);
    return IJ_OK;
}

static ij_status add_own_table(ablate *a, bool wanted, ij_error *err) {
    ijepa_ablate_table *table = &a->result->tables[a->result->table_count];
    ijepa_ablate_row spare;
    if (wanted) {
        IJ_TRY(ij_alloc(&table->rows, a->spec.count, sizeof *table->rows, "ablation", err));
        snprintf(table->name, sizeof table->name, "rows");
        snprintf(table->title, sizeof table->title, "rows of one's own");
        a->result->table_count++;
    }
    for (int64_t i = 0; i < a->spec.count; i++) {
        const ij_config_entry *entry = &a->spec.entries[i];
        if (strncmp(entry->key, ROW_PREFIX, strlen(ROW_PREFIX)) != 0) continue;
        IJ_TRY(add_own_row(a, entry, wanted ? &table->rows[table->row_count++] : &spare, wanted, err));
    }
    return IJ_OK;
}

/* All tables are walked, wanted or not: a run's name then does not depend on which tables are asked for. */
static ij_status plan_rows(ablate *a, ij_error *err) {
    bool wanted[64];
    int64_t base;
    IJ_TRY(choose_tables(a, wanted, err));
    IJ_TRY(ij_alloc(&a->result->tables, ablate_table_count + 1, sizeof *a->result->tables, "ablation", err));
    IJ_TRY(ablate_configure(a, "", err));
    ij_model_config model = a->work->model;
    a->seed = a->work->seed;
    a->result->steps = a->work->schedule.steps;
    IJ_TRY(add_setup(a, "base", "", &base, err));
    for (int i = 0; i < ablate_table_count; i++) IJ_TRY(add_paper_table(a, &model, &ablate_tables[i], wanted[i], err));
    return add_own_table(a, wanted[ablate_table_count], err);
}

static ij_status plan_runs(ablate *a, ij_error *err) {
    ijepa_ablate_result *r = a->result;
    r->run_count = a->used * r->seeds;
    IJ_TRY(ij_alloc(&r->runs, r->run_count, sizeof *r->runs, "ablation", err));
    for (int64_t i = 0; i < a->setup_count; i++)
        for (int s = 0; s < r->seeds && a->setups[i].first_run >= 0; s++) {
            ijepa_ablate_run *run = &r->runs[a->setups[i].first_run + s * a->used];
            const double no = (double)NAN;
            *run = (ijepa_ablate_run){.seed = a->seed + (uint64_t)s,
                                      .state = "waiting",
                                      .verdict = "",
                                      .knn = no,
                                      .knn_low = no,
                                      .knn_high = no,
                                      .linear = no,
                                      .linear_low = no,
                                      .linear_high = no,
                                      .random_knn = no,
                                      .random_linear = no,
                                      .pixels_knn = no,
                                      .pixels_linear = no};
            snprintf(run->name, sizeof run->name, "%s-s%llu", a->setups[i].name, (unsigned long long)run->seed);
        }
    return IJ_OK;
}

/* ---- all of it ---- */

bool ablate_waits(const ijepa_ablate_run *run) { return strcmp(run->state, "waiting") == 0; }

/* Of all runs that wait, from those that this call did. */
static double seconds_left(const ablate *a) {
    int waiting = 0;
    for (int i = 0; i < a->result->run_count; i++) waiting += ablate_waits(&a->result->runs[i]);
    return a->steps_trained ? a->seconds / (double)a->steps_trained * (double)a->result->steps * waiting : 0;
}

static ij_status report(ablate *a, ij_error *err) {
    ablate_summarise(a);
    return ablate_write_report(a->result, err);
}

static ij_status run_all(ablate *a, ij_error *err) {
    ijepa_ablate_result *r = a->result;
    IJ_TRY(ij_make_folders(r->out, err));
    for (int i = 0; i < r->run_count; i++) {
        if (!ablate_waits(&r->runs[i])) continue;
        IJ_TRY(ablate_run(a, i, err));
        IJ_TRY(report(a, err));
        if (a->options->on_run) a->options->on_run(a->options->user, &r->runs[i], seconds_left(a));
    }
    return report(a, err);
}

static ij_status ablate_all(ablate *a, const char *specification, ij_error *err) {
    ijepa_ablate_result *r = a->result;
    IJ_TRY(ij_alloc(&a->work, 1, sizeof *a->work, "configuration", err));
    IJ_TRY(read_specification(a, specification, err));
    IJ_TRY(plan_rows(a, err));
    IJ_TRY(plan_runs(a, err));
    for (int i = 0; i < r->run_count; i++) IJ_TRY(ablate_look(a, i, err));
    ij_status status = a->options->list ? IJ_OK : run_all(a, err);
    ablate_summarise(a);
    return status;
}

ijepa_status ijepa_ablate(const char *specification, const ijepa_ablate_options *options, ijepa_ablate_result *result, ijepa_error *err) {
    API_NEED(specification);
    API_NEED(result);
    static const ijepa_ablate_options defaults = {0};
    const ijepa_ablate_options *o = options ? options : &defaults;
    API_CONTEXT(&o->device);
    if (o->seeds < 0 || o->seeds > ABLATE_SEEDS_MAX) return api_range(__func__, "seeds", o->seeds, "0 to 16", err);
    if (o->steps < 0) return api_range(__func__, "steps", (double)o->steps, "0 or more", err);
    if (o->set_count < 0) return api_range(__func__, "set_count", o->set_count, "0 or more", err);
    if (o->set_count > 0) API_NEED(o->set);
    ij_error ours = {0};
    memset(result, 0, sizeof *result);
    ablate a = {.options = o, .result = result};
    ij_status status = ablate_all(&a, specification, &ours);
    for (int64_t i = 0; i < a.setup_count; i++) free(a.setups[i].identity);
    free(a.setups);
    free(a.work);
    ij_config_text_free(&a.spec);
    if (status != IJ_OK && status != IJ_ERROR_STOPPED) ijepa_ablate_free(result);
    return api_result(status, &ours, err);
}

void ijepa_ablate_free(ijepa_ablate_result *result) {
    if (!result) return;
    for (int i = 0; i < result->table_count; i++) free(result->tables[i].rows);
    free(result->tables);
    free(result->runs);
    memset(result, 0, sizeof *result);
}
