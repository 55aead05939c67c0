/* Draws scenes: camera, lights, objects that neither touch nor hide each other.       layer: data; uses: scene, philox */
#include "data/scene.h"
#include "philox.h"

#include <math.h>
#include <string.h>

#define PLACE_TRIES 200 /* for one object's place before the scene is begun anew */
#define HIDE_TRIES 60   /* rounds of moving hidden objects before that */
#define TURN 6.28318531f
#define TAN_VIEW (16.0f / 35) /* of half of 49 degrees: 35 mm lens, 32 mm sensor */
#define TAN_FLAT (12.0f / 35) /* the same for the height of a 4:3 picture */

static const float sizes[SCENE_SIZES] = {0.35f, 0.7f};

const char *scene_shape_name(int shape) { return (const char *const[]){"cube", "sphere", "cylinder"}[shape]; }
const char *scene_colour_name(int colour) {
    return (const char *const[]){"gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow"}[colour];
}
const char *scene_size_name(int size) { return (const char *const[]){"small", "large"}[size]; }
const char *scene_material_name(int material) { return (const char *const[]){"rubber", "metal"}[material]; }

/* ---- random numbers: the words of Philox for this scene, one after another ---- */

typedef struct draws {
    uint64_t seed, index;
    uint32_t next; /* words taken so far */
} draws;

static uint32_t draw_word(draws *d) {
    philox_words words = philox((uint32_t)d->seed, (uint32_t)(d->seed >> 32), PHILOX_STREAM_SCENE, (uint32_t)d->index,
                                (uint32_t)(d->index >> 32), d->next / 4);
    uint32_t word = (const uint32_t[]){words.x, words.y, words.z, words.w}[d->next % 4];
    d->next++;
    return word;
}
static int draw_below(draws *d, int count) { return (int)philox_below(draw_word(d), (uint32_t)count); }
static float draw_between(draws *d, float low, float high) { return low + (high - low) * philox_unit(draw_word(d)); }

/* ---- camera and lights ---- */

static scene_vec cross(scene_vec a, scene_vec b) {
    return (scene_vec){a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

static scene_vec jittered(draws *d, float x, float y, float z, float by) {
    x += draw_between(d, -by, by);
    y += draw_between(d, -by, by);
    z += draw_between(d, -by, by);
    return (scene_vec){x, y, z};
}

/* 49 degrees across; pictures wider than 4:3 keep the height of one of 4:3 and see more to the sides. */
static scene_camera draw_camera(const scene_desc *desc, draws *d) {
    scene_camera camera = {.eye = jittered(d, 7.4f, -6.6f, 5.3f, 0.5f)};
    float aspect = (float)desc->width / (float)desc->height;
    camera.forward = scene_unit(scene_scale(camera.eye, -1));
    camera.right = scene_unit(cross(camera.forward, (scene_vec){0, 0, 1}));
    camera.up = cross(camera.right, camera.forward);
    camera.tan_x = fmaxf(TAN_VIEW, TAN_FLAT * aspect);
    camera.tan_y = camera.tan_x / aspect;
    return camera;
}

/* The key light comes from the left over the camera's shoulder, the back light from behind the objects, the fill from the right. */
static void draw_lights(const scene_desc *desc, draws *d, scene_light *lights) {
    float radius = desc->hard_shadows ? 0.0f : 1.0f;
    lights[0] = (scene_light){jittered(d, 0.5f, -7.5f, 8.5f, 1), 1.15f, radius, true};
    lights[1] = (scene_light){jittered(d, 8.0f, 3.5f, 4.5f, 1), 0.25f, radius, false};
    lights[2] = (scene_light){jittered(d, -5.0f, 5.0f, 7.5f, 1), 0.35f, radius, true};
}

/* ---- objects ---- */

static void draw_look(draws *d, scene_object *o) {
    o->shape = draw_below(d, SCENE_SHAPES);
    o->colour = draw_below(d, SCENE_COLOURS);
    o->size = draw_below(d, SCENE_SIZES);
    o->material = draw_below(d, SCENE_MATERIALS);
    float turn = draw_between(d, 0, TURN);
    o->cosine = cosf(turn);
    o->sine = sinf(turn);
    o->footprint = sizes[o->size];
    o->half = o->shape == SCENE_CUBE ? o->footprint * 0.70710678f : o->footprint;
    o->bound = o->half * (o->shape == SCENE_CUBE ? 1.7320508f : o->shape == SCENE_CYLINDER ? 1.4142136f : 1.0f);
}

static bool has_room(const scene *s, int which, float x, float y) {
    for (int i = 0; i < s->count; i++) {
        const scene_object *o = &s->objects[i];
        float dx = o->x - x, dy = o->y - y, apart = o->footprint + s->objects[which].footprint + SCENE_GAP;
        if (i != which && dx * dx + dy * dy < apart * apart) return false;
    }
    return true;
}

/* Finds a place for object `which` among the first s->count. */
static bool place(draws *d, scene *s, int which) {
    scene_object *o = &s->objects[which];
    for (int i = 0; i < PLACE_TRIES; i++) {
        float x = draw_between(d, -SCENE_EXTENT, SCENE_EXTENT), y = draw_between(d, -SCENE_EXTENT, SCENE_EXTENT);
        if (!has_room(s, which, x, y)) continue;
        o->x = x, o->y = y;
        return true;
    }
    return false;
}

/* ---- visibility ---- */

/* The view in which pixels are counted: the middle of the picture as far as objects can stand, SCENE_VIEW_WIDTH pixels for 49 degrees. */
typedef struct view {
    scene_camera camera;
    int width, height;
    bool traced[SCENE_VIEW_WIDTH * SCENE_VIEW_WIDTH];
} view;

static float depth_of(const scene *s, const scene_object *o) {
    return scene_dot(scene_sub((scene_vec){o->x, o->y, o->half}, s->camera.eye), s->camera.forward);
}

static void open_view(const scene *s, view *v) {
    v->camera = s->camera;
    v->camera.tan_x = fminf(s->camera.tan_x, TAN_VIEW);
    v->camera.tan_y = fminf(s->camera.tan_y, TAN_VIEW);
    v->width = (int)ceilf(SCENE_VIEW_WIDTH * v->camera.tan_x / TAN_VIEW);
    v->height = (int)ceilf(SCENE_VIEW_WIDTH * v->camera.tan_y / TAN_VIEW);
    memset(v->traced, 0, sizeof v->traced);
}

/* Traces the pixels of the square around an object's bounding sphere that no other square had. */
static void count_around(scene *s, const scene_object *o, view *v) {
    float x, y, width = (float)v->width, height = (float)v->height;
    if (!scene_project(&v->camera, (scene_vec){o->x, o->y, o->half}, &x, &y)) return;
    float reach = 1.1f * o->bound / (depth_of(s, o) - o->bound) * SCENE_VIEW_WIDTH / (2 * TAN_VIEW) + 1;
    int left = (int)fmaxf(0, x * width - reach), right = (int)fminf(width - 1, x * width + reach);
    int top = (int)fmaxf(0, y * height - reach), bottom = (int)fminf(height - 1, y * height + reach);
    for (int row = top; row <= bottom; row++)
        for (int column = left; column <= right; column++) {
            bool *traced = &v->traced[row * SCENE_VIEW_WIDTH + column];
            if (*traced) continue;
            *traced = true;
            scene_vec ray = scene_ray(&v->camera, ((float)column + 0.5f) / width, ((float)row + 0.5f) / height);
            scene_hit hit = scene_trace(s, s->camera.eye, ray);
            if (hit.object >= 0) s->objects[hit.object].visible++;
        }
}

static void count_pixels(scene *s) {
    view v;
    open_view(s, &v);
    for (int i = 0; i < s->count; i++) s->objects[i].visible = 0;
    for (int i = 0; i < s->count; i++) count_around(s, &s->objects[i], &v);
}

/* Moves the objects that show too little, all in one round; true when none was left to move. */
static bool all_seen(draws *d, scene *s, bool *stuck) {
    bool seen = true;
    count_pixels(s);
    for (int i = 0; i < s->count && !*stuck; i++) {
        if (s->objects[i].visible >= SCENE_VISIBLE_MIN) continue;
        seen = false;
        *stuck = !place(d, s, i);
    }
    return seen;
}

static bool draw_objects(draws *d, scene *s, int count) {
    for (s->count = 0; s->count < count; s->count++) {
        draw_look(d, &s->objects[s->count]);
        if (!place(d, s, s->count)) return false;
    }
    bool stuck = false;
    for (int i = 0; i < HIDE_TRIES && !stuck; i++)
        if (all_seen(d, s, &stuck)) return true;
    return false;
}

static void find_nearest(scene *s) {
    s->nearest = 0;
    for (int i = 0; i < s->count; i++) {
        scene_object *o = &s->objects[i];
        o->depth = depth_of(s, o);
        if (o->depth < s->objects[s->nearest].depth) s->nearest = i;
    }
}

void scene_draw(const scene_desc *desc, uint64_t index, scene *out) {
    draws d = {desc->seed, index, 0};
    int count = desc->objects_min + draw_below(&d, desc->objects_max - desc->objects_min + 1);
    do {
        memset(out, 0, sizeof *out);
        out->camera = draw_camera(desc, &d);
        draw_lights(desc, &d, out->lights);
    } while (!draw_objects(&d, out, count));
    find_nearest(out);
}

double scene_distance(const scene *s) { return rint(1e4 * (double)s->objects[s->nearest].depth) / 1e4; }

int scene_distance_class(double distance) {
    static const double thresholds[SCENE_DISTANCES - 1] = {8.0, 8.5, 9.0, 9.5, 10.0};
    int class = 0;
    while (class < SCENE_DISTANCES - 1 && distance > thresholds[class]) class ++;
    return class;
}
