/* ijepa scenes       layer: cli; uses: ijepa.h */
#include "cli.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const distances[6] = {"to 8", "to 8.5", "to 9", "to 9.5", "to 10", "farther"};

static void on_progress(void *user, int64_t done, int64_t total) {
    (void)user;
    if (done % 16 && done != total) return;
    fprintf(stderr, "\r\033[Kscenes %lld/%lld", (long long)done, (long long)total);
    fflush(stderr);
}

/* Two numbers with `between` in the middle, or one that stands for both ("128" is 128x128). */
static bool two_numbers(const char *text, char between, int *first, int *second) {
    long value[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        char *end;
        if (!isdigit((unsigned char)*text)) return false;
        value[i] = strtol(text, &end, 10);
        if (value[i] > INT_MAX) return false;
        if (i == 0 && *end == 0) return *first = *second = (int)value[0], true;
        if (*end != (i == 0 ? between : 0)) return false;
        text = end + 1;
    }
    *first = (int)value[0];
    *second = (int)value[1];
    return true;
}

static void print_table(const ijepa_scenes_result *r, const char *folder) {
    printf("%-8s", "objects");
    for (int i = 1; i <= 10; i++) printf(" %7d", i);
    for (int part = 0; part < 2; part++) {
        printf("\n%-8s", part ? "  test" : "  train");
        for (int i = 1; i <= 10; i++) printf(" %7lld", (long long)r->with_count[part][i]);
    }
    printf("\n\n%-8s", "nearest");
    for (int i = 0; i < 6; i++) printf(" %7s", distances[i]);
    for (int part = 0; part < 2; part++) {
        printf("\n%-8s", part ? "  test" : "  train");
        for (int i = 0; i < 6; i++) printf(" %7lld", (long long)r->with_distance[part][i]);
    }
    char time[32];
    printf("\n\n%s: %lld training and %lld test pictures, each with labels.csv; %lld were there already\n", folder, (long long)r->train,
           (long long)r->test, (long long)r->kept);
    printf("%s in all, %.1f images/s\n", text_duration(r->seconds, time), r->images_per_second);
}

static void print_list(cli_json *json, const char *key, const int64_t *values, int count) {
    json_open(json, key, '[');
    for (int i = 0; i < count; i++) json_integer(json, NULL, values[i]);
    json_close(json, ']');
}

static void print_json(const ijepa_scenes_result *r) {
    cli_json json = {.file = stdout};
    json_open(&json, NULL, '{');
    json_integer(&json, "train", r->train);
    json_integer(&json, "test", r->test);
    json_integer(&json, "rendered", r->rendered);
    json_integer(&json, "kept", r->kept);
    print_list(&json, "train_with_1_to_10_objects", r->with_count[0] + 1, 10);
    print_list(&json, "test_with_1_to_10_objects", r->with_count[1] + 1, 10);
    print_list(&json, "train_distance_classes", r->with_distance[0], 6);
    print_list(&json, "test_distance_classes", r->with_distance[1], 6);
    json_number(&json, "seconds", r->seconds);
    json_number(&json, "images_per_second", r->images_per_second);
    json_close(&json, '}');
}

static int run(const cli_environment *environment, int argc, char **argv) {
    (void)environment; /* drawn on the host */
    cli_common common = {0};
    const char *size = "128", *objects = "1-10";
    int64_t train = 2000, test = 500, seed = 0, samples = 4, threads = 0;
    bool hard = false, overwrite = false;
    const cli_option options[] = {
        {"--train", "N", "training pictures", "2000", CLI_INTEGER, &train, 0},
        {"--test", "N", "test pictures", "500", CLI_INTEGER, &test, 0},
        {"--size", "N|HxW", "pixels", "128", CLI_TEXT, &size, 0},
        {"--objects", "A-B", "objects in a scene; VTAB has 3-10", "1-10", CLI_TEXT, &objects, 0},
        {"--seed", "N", "of everything that is drawn", "0", CLI_INTEGER, &seed, 0},
        {"--samples", "N", "rays a side of a pixel, against jagged edges", "4", CLI_INTEGER, &samples, 1},
        {"--hard-shadows", NULL, "lights are points", "discs: soft shadows", CLI_FLAG, &hard, 0},
        {"--threads", "N", "pictures drawn at once", "the machine's processors", CLI_INTEGER, &threads, 1},
        {"--overwrite", NULL, "replace a set of other parameters", "refuse", CLI_FLAG, &overwrite, 0},
        CLI_OPTION_JSON(common),
    };
    int operands, code = cli_parse(&cmd_scenes, options, CLI_COUNT(options), argc, argv, &operands);
    if (code >= 0) return code;
    ijepa_scenes_options ask = {.train = train ? train : -1,
                                .test = test ? test : -1,
                                .seed = (uint64_t)seed,
                                .samples = samples > INT_MAX ? INT_MAX : (int)samples,
                                .threads = threads > INT_MAX ? INT_MAX : (int)threads,
                                .hard_shadows = hard,
                                .overwrite = overwrite,
                                .progress = isatty(STDERR_FILENO) ? on_progress : NULL};
    if (!two_numbers(size, 'x', &ask.height, &ask.width)) return cli_usage("scenes", "--size \"%s\": a number or HEIGHTxWIDTH", size);
    if (!two_numbers(objects, '-', &ask.objects_min, &ask.objects_max))
        return cli_usage("scenes", "--objects \"%s\": a number or FEWEST-MOST", objects);
    if (ask.height < 16 || ask.width < 16) return cli_usage("scenes", "--size \"%s\": sides are at least 16", size);
    if (ask.objects_min < 1 || ask.objects_max < ask.objects_min || ask.objects_max > 10)
        return cli_usage("scenes", "--objects \"%s\": 1 to 10, the fewest first", objects);
    ijepa_scenes_result result;
    ijepa_error err;
    ijepa_status status = ijepa_scenes(argv[1], &ask, &result, &err);
    if (ask.progress) fprintf(stderr, "\r\033[K");
    if (status != IJEPA_OK) return cli_fail(&err);
    if (common.json)
        print_json(&result);
    else
        print_table(&result, argv[1]);
    return CLI_DONE;
}

const cli_command cmd_scenes = {
    .name = "scenes",
    .purpose = "draw a labelled set in the manner of CLEVR: how many objects, how far the nearest",
    .operands = "FOLDER",
    .operands_min = 1,
    .operands_max = 1,
    .notes = "FOLDER/train and FOLDER/test get 000000.png ... and labels.csv: file,count,dist,distance,shape,colour,size,material.\n"
             "  count     objects in the picture, each of them visible; VTAB's classes are --objects 3-10\n"
             "  distance  depth of the nearest object's centre along the viewing direction, as CLEVR measures it\n"
             "  dist      its class, 0 to 5: VTAB's thresholds 8, 8.5, 9, 9.5, 10 lie between them\n"
             "  shape, colour, size, material   of the nearest object\n"
             "The same options give the same bytes. Given again, the command goes on where a stopped one was.\n",
    .examples = "  ijepa scenes scenes\n"
                "  ijepa scenes scenes-vtab --train 20000 --test 5000 --size 224 --objects 3-10\n",
    .run = run,
};
