/* ijepa search       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- stopping: comparing all pairs of a large index takes a while ---- */

static volatile sig_atomic_t stop_signal; /* a signal handler has no other way than data of the file */
static void on_signal(int number) { stop_signal = number; }
static bool must_stop(void *user) {
    (void)user;
    return stop_signal != 0;
}
static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static void on_progress(void *user, const char *what, int64_t done, int64_t total) {
    (void)user;
    fprintf(stderr, "\r\033[K%s: tile %lld/%lld", what, (long long)done, (long long)total);
    if (done == total) fprintf(stderr, "\r\033[K");
    fflush(stderr);
}

/* ---- nearest ---- */

static void print_hits(const ijepa_search_result *r, const char *sheet) {
    printf("%4s  %10s  %-20s %s\n", "rank", "similarity", "label", "name");
    for (int i = 0; i < r->count; i++) printf("%4d  %10.4f  %-20s %s\n", i + 1, r->hits[i].similarity, r->hits[i].label, r->hits[i].name);
    printf("\n%lld images of %s, compared by cosine%s\n", (long long)r->images, r->data, r->centred ? " less their mean" : "");
    if (sheet) printf("sheet: %s\n", sheet);
}

static void print_hits_json(const ijepa_search_result *r) {
    cli_json json = {.file = stdout};
    json_open(&json, NULL, '{');
    json_integer(&json, "images", r->images);
    json_text(&json, "model", r->model);
    json_text(&json, "data", r->data);
    json_bool(&json, "centred", r->centred);
    json_open(&json, "hits", '[');
    for (int i = 0; i < r->count; i++) {
        json_open(&json, NULL, '{');
        json_integer(&json, "row", r->hits[i].row);
        json_number(&json, "similarity", r->hits[i].similarity);
        json_text(&json, "label", r->hits[i].label);
        json_text(&json, "name", r->hits[i].name);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
}

static int nearest(char **words, const ijepa_search_options *ask, bool json) {
    ijepa_search_result result;
    ijepa_error err;
    if (ijepa_search(words[0], words[1], ask, &result, &err) != IJEPA_OK) return cli_fail(&err);
    if (json)
        print_hits_json(&result);
    else
        print_hits(&result, ask->sheet);
    ijepa_search_free(&result);
    return CLI_DONE;
}

/* ---- duplicates ---- */

static void print_groups(const ijepa_duplicates_result *r, const char *sheet) {
    printf("%10s  pairs\n", "similarity");
    for (int64_t i = 0; i < r->pair_count; i++) printf("%10.4f  %s  %s\n", r->pairs[i].similarity, r->pairs[i].name_a, r->pairs[i].name_b);
    if (r->pairs_found > r->pair_count)
        printf("            and %lld less similar pairs (--max-pairs)\n", (long long)(r->pairs_found - r->pair_count));
    for (int64_t g = 0; g < r->group_count; g++) {
        if (r->groups[g].count == 2) break; /* the pairs say it */
        printf("\ngroup of %lld\n", (long long)r->groups[g].count);
        for (int64_t i = 0; i < r->groups[g].count; i++) printf("  %s\n", r->groups[g].names[i]);
    }
    char time[32];
    printf("\n%lld pairs of %lld images have a similarity of %g or more%s; they make %lld groups. %s\n", (long long)r->pairs_found,
           (long long)r->images, r->threshold, r->centred ? " (less the mean)" : "", (long long)r->group_count,
           text_duration(r->seconds, time));
    if (sheet && r->group_count) printf("sheet: %s\n", sheet);
    if (sheet && !r->group_count) printf("no sheet: there is nothing to show\n");
}

static void print_groups_json(const ijepa_duplicates_result *r) {
    cli_json json = {.file = stdout};
    json_open(&json, NULL, '{');
    json_integer(&json, "images", r->images);
    json_number(&json, "threshold", r->threshold);
    json_bool(&json, "centred", r->centred);
    json_integer(&json, "pairs_found", r->pairs_found);
    json_number(&json, "seconds", r->seconds);
    json_open(&json, "pairs", '[');
    for (int64_t i = 0; i < r->pair_count; i++) {
        json_open(&json, NULL, '{');
        json_number(&json, "similarity", r->pairs[i].similarity);
        json_text(&json, "a", r->pairs[i].name_a);
        json_text(&json, "b", r->pairs[i].name_b);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_open(&json, "groups", '[');
    for (int64_t g = 0; g < r->group_count; g++) {
        json_open(&json, NULL, '[');
        for (int64_t i = 0; i < r->groups[g].count; i++) json_text(&json, NULL, r->groups[g].names[i]);
        json_close(&json, ']');
    }
    json_close(&json, ']');
    json_close(&json, '}');
}

static int duplicates(const char *index, const ijepa_duplicates_options *ask, bool json) {
    ijepa_duplicates_result result;
    ijepa_error err;
    catch_signals();
    ijepa_status status = ijepa_duplicates(index, ask, &result, &err);
    if (ask->progress) fprintf(stderr, "\r\033[K");
    if (status == IJEPA_ERROR_STOPPED && stop_signal) {
        fprintf(stderr, "ijepa: stopped\n");
        return 128 + stop_signal;
    }
    if (status != IJEPA_OK) return cli_fail(&err);
    if (json)
        print_groups_json(&result);
    else
        print_groups(&result, ask->sheet);
    ijepa_duplicates_free(&result);
    return CLI_DONE;
}

/* ---- the command ---- */

static int run(const cli_environment *environment, int argc, char **argv) {
    cli_common common = {0};
    const char *sheet = NULL, *model = NULL, *threshold = NULL;
    int64_t k = 0, max_pairs = 0;
    bool raw = false, whole = false, find = false;
    const cli_option options[] = {
        {"-k", "N", "neighbours", "12", CLI_INTEGER, &k, 1},
        {"--sheet", "FILE.png", "draw the query and its neighbours, or the first groups", "no picture", CLI_TEXT, &sheet, 0},
        {"--model", "RUN", "run or checkpoint that encodes the query", "the one that INDEX names", CLI_TEXT, &model, 0},
        {"--whole", NULL, "encode the whole query, for an index made with --whole", "as embed does", CLI_FLAG, &whole, 0},
        {"--duplicates", NULL, "find near-duplicates within the index instead", NULL, CLI_FLAG, &find, 0},
        {"--threshold", "S", "a pair of at least this similarity is one", "0.999", CLI_TEXT, &threshold, 0},
        {"--max-pairs", "N", "list N pairs, the most similar ones", "1000", CLI_INTEGER, &max_pairs, 1},
        {"--raw", NULL, "cosine of the features as they are", "less the index's mean", CLI_FLAG, &raw, 0},
        CLI_OPTION_DEVICE(common),
        CLI_OPTION_OFF(common),
        CLI_OPTION_VALIDATION(common),
        CLI_OPTION_JSON(common),
    };
    int operands, code = cli_parse(&cmd_search, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    char *end = NULL;
    double least = threshold ? strtod(threshold, &end) : 0;
    if (find && operands > 1) return cli_usage("search", "--duplicates takes INDEX alone; \"%s\" is one word too many", argv[2]);
    if (!find && operands < 2) return cli_usage("search", "IMAGE is missing; usage: ijepa search INDEX IMAGE [OPTIONS]");
    if (find && (k || model || whole)) return cli_usage("search", "-k, --model and --whole are about a query; --duplicates has none");
    if (!find && (threshold || max_pairs)) return cli_usage("search", "--threshold and --max-pairs go with --duplicates");
    if (threshold && (end == threshold || *end || !(fabs(least) <= 1) || least == 0))
        return cli_usage("search", "--threshold %s: a cosine is expected, up to 1 and not 0", threshold);
    if (k > INT_MAX) k = INT_MAX;
    ijepa_device_options device = cli_device(&common, environment);
    if (!find)
        return nearest(argv + 1,
                       &(ijepa_search_options){.device = device, .model = model, .whole = whole, .k = (int)k, .raw = raw, .sheet = sheet},
                       common.json);
    return duplicates(argv[1],
                      &(ijepa_duplicates_options){.device = device,
                                                  .threshold = least,
                                                  .max_pairs = max_pairs,
                                                  .raw = raw,
                                                  .sheet = sheet,
                                                  .progress = isatty(STDERR_FILENO) ? on_progress : NULL,
                                                  .stop = must_stop},
                      common.json);
}

const cli_command cmd_search = {
    .name = "search",
    .purpose = "find the images of an index that are most like a picture, or each other",
    .operands = "INDEX [IMAGE]",
    .operands_min = 1,
    .operands_max = 2,
    .notes =
        "INDEX is a .safetensors file that `ijepa embed` wrote (without --patches). Similarity is the cosine of two images' features,\n"
        "less the index's mean: 1 is the same, unrelated images lie around 0.\n"
        "The threshold: among 3,249 photographs with planted copies, three small models found at 0.999 98 to 100 % of the copies that\n"
        "were encoded again and 96 to 100 % of those scaled to 60 %, and no other pair but one that the data had; of mirrored and\n"
        "cropped copies at most 6 %. Lower thresholds find more of these (0.98: 5 to 65 %), but half or more of the pairs are then\n"
        "unrelated images. It depends on the model: look at the sheet.\n",
    .examples = "  ijepa embed runs/photos photos -o photos.safetensors\n"
                "  ijepa search photos.safetensors query.jpg -k 12 --sheet nearest.png\n"
                "  ijepa search photos.safetensors --duplicates --sheet duplicates.png\n",
    .run = run,
};
