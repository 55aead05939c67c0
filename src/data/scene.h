/* Drawn scenes after CLEVR (Johnson et al., arXiv 1612.06890): solids on a grey ground, with everything known about them.
 * layer: data; uses: philox, base
 *
 * World: x and y lie on the ground, z points up, the ground is z = 0. Lengths are CLEVR's units: objects stand with their centres within
 * 3 of the origin in x and y, a large sphere's radius is 0.7, a small one's 0.35; a cube's half side is that divided by sqrt(2), so that all
 * footprints of a size fit the same circle. The camera stands about 11.3 from the origin, looks at it, and sees 49 degrees across (a 35 mm
 * lens on a 32 mm sensor).
 *
 * A scene is a function of (seed, index), the range of counts and the picture's aspect, which decides what can be seen; its size and the
 * threads do not matter. Index i of the test part is 2^32 + i.
 *
 * Fair counts: the number of objects is drawn first and kept. Footprints keep SCENE_GAP between them. An object that shows fewer than
 * SCENE_VISIBLE_MIN pixels in a picture SCENE_VIEW_WIDTH wide stands elsewhere in the next try, until all are seen. */
#ifndef IJ_DATA_SCENE_H
#define IJ_DATA_SCENE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define SCENE_OBJECTS_MAX 10
#define SCENE_LIGHTS 3
#define SCENE_EXTENT 3.0f    /* centres lie in [-3, 3] x [-3, 3] */
#define SCENE_GAP 0.25f      /* between the circles around two footprints */
#define SCENE_VIEW_WIDTH 160 /* pixels for 49 degrees where they are counted */
#define SCENE_VISIBLE_MIN 40 /* pixels there; CLEVR's rule, 200 in 320 x 240, is 50 here */
#define SCENE_DISTANCES 6    /* classes of the nearest object's distance */

typedef enum scene_shape { SCENE_CUBE, SCENE_SPHERE, SCENE_CYLINDER, SCENE_SHAPES } scene_shape;
typedef enum scene_material { SCENE_RUBBER, SCENE_METAL, SCENE_MATERIALS } scene_material;
enum { SCENE_COLOURS = 8, SCENE_SIZES = 2 };

typedef struct scene_vec {
    float x, y, z;
} scene_vec;

typedef struct scene_object {
    int shape, colour, size, material; /* numbers for the names below */
    float x, y;                        /* of the centre */
    float half;                        /* half the height, which is also the height of the centre; radius; half the side */
    float footprint;                   /* radius of the circle around what it covers of the ground */
    float bound;                       /* radius of the sphere around it */
    float cosine, sine;                /* of its turn about the upright */
    float depth;                       /* distance from the camera to its centre along the viewing direction */
    int visible;                       /* pixels that it owns in the view of SCENE_VIEW_WIDTH */
} scene_object;

typedef struct scene_camera {
    scene_vec eye, right, up, forward; /* the last three have length 1 and are at right angles */
    float tan_x, tan_y;                /* of half the angle that is seen */
} scene_camera;

typedef struct scene_light {
    scene_vec at;
    float strength; /* what a white surface at the origin gets from it */
    float radius;   /* 0: hard shadows */
    bool shadows;
} scene_light;

typedef struct scene {
    scene_camera camera;
    scene_light lights[SCENE_LIGHTS]; /* key, fill, back */
    scene_object objects[SCENE_OBJECTS_MAX];
    int count;
    int nearest; /* object of the least depth */
} scene;

typedef struct scene_desc {
    uint64_t seed;
    int width, height;            /* only their ratio is used */
    int objects_min, objects_max; /* 1 to SCENE_OBJECTS_MAX; all counts between them are equally likely */
    bool hard_shadows;
} scene_desc;

/* Draws scene `index`. Never fails: ten objects always find room (a scene that does not come together is begun anew). */
void scene_draw(const scene_desc *desc, uint64_t index, scene *out);

/* Depth of the nearest object rounded to four digits, as the table of labels has it, and its class by VTAB's thresholds: the number
 * of {8, 8.5, 9, 9.5, 10} that are below it. */
double scene_distance(const scene *s);
int scene_distance_class(double distance);

const char *scene_shape_name(int shape);       /* "cube", "sphere", "cylinder" */
const char *scene_colour_name(int colour);     /* "gray", "red", ... */
const char *scene_size_name(int size);         /* "small", "large" */
const char *scene_material_name(int material); /* "rubber", "metal" */

/* ---- rays ---- */

typedef struct scene_hit {
    int object; /* -1: the ground; -2: nothing */
    float t;    /* along the ray */
    scene_vec at, normal;
} scene_hit;

/* The unit direction through (x, y) of the picture, both in [0, 1] from the upper left corner. */
scene_vec scene_ray(const scene_camera *camera, float x, float y);

/* Where the camera sees a point of the world, in the same coordinates; false behind the camera. */
bool scene_project(const scene_camera *camera, scene_vec point, float *x, float *y);

/* The first thing a ray meets. direction has length 1. */
scene_hit scene_trace(const scene *s, scene_vec origin, scene_vec direction);

/* Whether an object lies between origin and the point `length` further on. */
bool scene_blocked(const scene *s, scene_vec origin, scene_vec direction, float length);

static inline scene_vec scene_add(scene_vec a, scene_vec b) { return (scene_vec){a.x + b.x, a.y + b.y, a.z + b.z}; }
static inline scene_vec scene_sub(scene_vec a, scene_vec b) { return (scene_vec){a.x - b.x, a.y - b.y, a.z - b.z}; }
static inline scene_vec scene_scale(scene_vec a, float by) { return (scene_vec){a.x * by, a.y * by, a.z * by}; }
static inline float scene_dot(scene_vec a, scene_vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static inline scene_vec scene_along(scene_vec origin, scene_vec direction, float t) { return scene_add(origin, scene_scale(direction, t)); }
scene_vec scene_unit(scene_vec a); /* to length 1 */

#endif
