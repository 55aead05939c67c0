/* Sets of drawn scenes.       layer: api; uses: base, data */
#include "api/api.h"
#include "data/scene_render.h"
#include "data/scene_set.h"

#include <assert.h>
#include <string.h>

static_assert(sizeof(((ijepa_scenes_result *)0)->with_count) == sizeof(((scene_set_result *)0)->with_count), "counts of the two agree");
static_assert(sizeof(((ijepa_scenes_result *)0)->with_distance) == sizeof(((scene_set_result *)0)->with_distance), "classes agree");

static int64_t part_size(int64_t given, int64_t otherwise) { return given == 0 ? otherwise : given < 0 ? 0 : given; }

static scene_set_desc desc_of(const ijepa_scenes_options *o) {
    return (scene_set_desc){.scene = {.seed = o->seed,
                                      .width = o->width ? o->width : 128,
                                      .height = o->height ? o->height : 128,
                                      .objects_min = o->objects_min ? o->objects_min : 1,
                                      .objects_max = o->objects_max ? o->objects_max : SCENE_OBJECTS_MAX,
                                      .hard_shadows = o->hard_shadows},
                            .count = {part_size(o->train, 2000), part_size(o->test, 500)},
                            .samples = o->samples ? o->samples : 4,
                            .threads = o->threads,
                            .overwrite = o->overwrite,
                            .progress = o->progress,
                            .user = o->user};
}

ijepa_status ijepa_scenes(const char *folder, const ijepa_scenes_options *options, ijepa_scenes_result *result, ijepa_error *err) {
    API_NEED(folder);
    API_NEED(result);
    static const ijepa_scenes_options defaults = {0};
    scene_set_desc d = desc_of(options ? options : &defaults);
    if (d.count[SCENE_TRAIN] > SCENE_SET_MAX) return api_range(__func__, "train", (double)d.count[SCENE_TRAIN], "at most 1000000", err);
    if (d.count[SCENE_TEST] > SCENE_SET_MAX) return api_range(__func__, "test", (double)d.count[SCENE_TEST], "at most 1000000", err);
    if (d.scene.width < 16 || d.scene.width > SCENE_SIDE_MAX) return api_range(__func__, "width", d.scene.width, "16 to 8192", err);
    if (d.scene.height < 16 || d.scene.height > SCENE_SIDE_MAX) return api_range(__func__, "height", d.scene.height, "16 to 8192", err);
    if (d.scene.width > 4 * d.scene.height || d.scene.height > 4 * d.scene.width)
        return api_range(__func__, "width / height", (double)d.scene.width / d.scene.height, "1/4 to 4", err);
    if (d.scene.objects_max < 1 || d.scene.objects_max > SCENE_OBJECTS_MAX)
        return api_range(__func__, "objects_max", d.scene.objects_max, "1 to 10", err);
    if (d.scene.objects_min < 1 || d.scene.objects_min > d.scene.objects_max)
        return api_range(__func__, "objects_min", d.scene.objects_min, "1 to objects_max", err);
    if (d.samples < 1 || d.samples > SCENE_SAMPLES_MAX) return api_range(__func__, "samples", d.samples, "1 to 16", err);
    if (d.threads < 0) return api_range(__func__, "threads", d.threads, "0 or more", err);
    ij_error ours = {0};
    scene_set_result made;
    ij_status status = scene_set_write(folder, &d, &made, &ours);
    if (status == IJ_OK) {
        *result = (ijepa_scenes_result){.train = d.count[SCENE_TRAIN],
                                        .test = d.count[SCENE_TEST],
                                        .rendered = made.rendered,
                                        .kept = made.kept,
                                        .seconds = made.seconds,
                                        .images_per_second = made.seconds > 0 ? (double)made.rendered / made.seconds : 0};
        memcpy(result->with_count, made.with_count, sizeof made.with_count);
        memcpy(result->with_distance, made.with_distance, sizeof made.with_distance);
    }
    return api_result(status, &ours, err);
}
