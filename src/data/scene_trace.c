/* Rays against cubes, spheres, cylinders and the ground.       layer: data; uses: scene */
#include "data/scene.h"

#include <math.h>

#define NEAR 1e-3f  /* a hit nearer than this is the surface that the ray leaves */
#define BEVEL 0.07f /* the part of a side, from its edge, over which the normal turns: edges catch light as rounded ones do */

scene_vec scene_unit(scene_vec a) { return scene_scale(a, 1 / sqrtf(scene_dot(a, a))); }

/* ---- camera ---- */

scene_vec scene_ray(const scene_camera *c, float x, float y) {
    scene_vec across = scene_scale(c->right, (2 * x - 1) * c->tan_x), along = scene_scale(c->up, (1 - 2 * y) * c->tan_y);
    return scene_unit(scene_add(c->forward, scene_add(across, along)));
}

bool scene_project(const scene_camera *c, scene_vec point, float *x, float *y) {
    scene_vec to = scene_sub(point, c->eye);
    float depth = scene_dot(to, c->forward);
    if (depth <= 0) return false;
    *x = 0.5f + 0.5f * scene_dot(to, c->right) / (depth * c->tan_x);
    *y = 0.5f - 0.5f * scene_dot(to, c->up) / (depth * c->tan_y);
    return true;
}

/* ---- one object; rays in its own frame: centre at the origin, sides along the axes ---- */

static scene_vec into_frame(const scene_object *o, scene_vec v) {
    return (scene_vec){o->cosine * v.x + o->sine * v.y, o->cosine * v.y - o->sine * v.x, v.z};
}
static scene_vec out_of_frame(const scene_object *o, scene_vec v) {
    return (scene_vec){o->cosine * v.x - o->sine * v.y, o->cosine * v.y + o->sine * v.x, v.z};
}

/* Each function gives the first t > NEAR, or infinity. An origin inside is not asked for. */
static float meet_sphere(scene_vec from, scene_vec d, float radius) {
    float b = scene_dot(from, d), c = scene_dot(from, from) - radius * radius, root = b * b - c;
    if (root < 0) return INFINITY;
    float t = -b - sqrtf(root);
    return t > NEAR ? t : INFINITY;
}

static float meet_cube(scene_vec from, scene_vec d, float half) {
    const float p[3] = {from.x, from.y, from.z}, v[3] = {d.x, d.y, d.z};
    float enter = -INFINITY, leave = INFINITY;
    for (int a = 0; a < 3; a++) {
        if (v[a] == 0) {
            if (fabsf(p[a]) > half) return INFINITY;
            continue;
        }
        float t0 = (-half - p[a]) / v[a], t1 = (half - p[a]) / v[a];
        enter = fmaxf(enter, fminf(t0, t1));
        leave = fminf(leave, fmaxf(t0, t1));
    }
    return enter <= leave && enter > NEAR ? enter : INFINITY;
}

static float meet_cylinder(scene_vec from, scene_vec d, float half) {
    float a = d.x * d.x + d.y * d.y, b = from.x * d.x + from.y * d.y, c = from.x * from.x + from.y * from.y - half * half;
    float enter = -INFINITY, leave = INFINITY; /* of the endless cylinder, then of the part between the caps */
    if (a > 1e-12f) {
        float root = b * b - a * c;
        if (root < 0) return INFINITY;
        enter = (-b - sqrtf(root)) / a;
        leave = (-b + sqrtf(root)) / a;
    } else if (c > 0) {
        return INFINITY;
    }
    if (d.z != 0) {
        float t0 = (-half - from.z) / d.z, t1 = (half - from.z) / d.z;
        enter = fmaxf(enter, fminf(t0, t1));
        leave = fminf(leave, fmaxf(t0, t1));
    } else if (fabsf(from.z) > half) {
        return INFINITY;
    }
    return enter <= leave && enter > NEAR ? enter : INFINITY;
}

static float meet(const scene_object *o, scene_vec origin, scene_vec direction) {
    scene_vec from = scene_sub(origin, (scene_vec){o->x, o->y, o->half});
    float b = scene_dot(from, direction), c = scene_dot(from, from) - o->bound * o->bound;
    if ((c > 0 && b > 0) || b * b < c) return INFINITY; /* misses the sphere around it */
    if (o->shape == SCENE_SPHERE) return meet_sphere(from, direction, o->half);
    from = into_frame(o, from);
    direction = into_frame(o, direction);
    return o->shape == SCENE_CUBE ? meet_cube(from, direction, o->half) : meet_cylinder(from, direction, o->half);
}

/* How far a coordinate's axis shares in the normal: 1 on its face, rising towards the edge with it on the others. */
static float share(float part) {
    float over = (fabsf(part) - (1 - BEVEL)) / BEVEL;
    return over <= 0 ? 0 : copysignf(over >= 1 ? 1 : over * over, part);
}

static scene_vec normal_at(const scene_object *o, scene_vec at) {
    scene_vec p = scene_scale(scene_sub(at, (scene_vec){o->x, o->y, o->half}), 1 / o->half);
    if (o->shape == SCENE_SPHERE) return scene_unit(p);
    p = into_frame(o, p);
    scene_vec n = {share(p.x), share(p.y), share(p.z)};
    if (o->shape == SCENE_CYLINDER) {
        float r = sqrtf(p.x * p.x + p.y * p.y), s = share(r);
        n.x = r > 0 ? s * p.x / r : 0;
        n.y = r > 0 ? s * p.y / r : 0;
    }
    return out_of_frame(o, scene_unit(n));
}

/* ---- the scene ---- */

scene_hit scene_trace(const scene *s, scene_vec origin, scene_vec direction) {
    scene_hit hit = {.object = -2, .t = INFINITY, .normal = {0, 0, 1}};
    if (direction.z < 0 && origin.z > 0) hit.object = -1, hit.t = -origin.z / direction.z;
    for (int i = 0; i < s->count; i++) {
        float t = meet(&s->objects[i], origin, direction);
        if (t < hit.t) hit.t = t, hit.object = i;
    }
    if (hit.object == -2) return hit;
    hit.at = scene_along(origin, direction, hit.t);
    if (hit.object >= 0) hit.normal = normal_at(&s->objects[hit.object], hit.at);
    return hit;
}

bool scene_blocked(const scene *s, scene_vec origin, scene_vec direction, float length) {
    for (int i = 0; i < s->count; i++)
        if (meet(&s->objects[i], origin, direction) < length) return true;
    return false;
}
