/* layer: data; uses: scene_render, scene */
#include "data/scene_render.h"

#include <math.h>

#define LIFT 2e-3f /* above a surface, where rays that leave it begin */

/* CLEVR's eight colours, linear. */
static const scene_vec colours[SCENE_COLOURS] = {{0.12f, 0.12f, 0.12f}, {0.42f, 0.02f, 0.02f}, {0.02f, 0.07f, 0.45f},
                                                 {0.02f, 0.28f, 0.03f}, {0.23f, 0.09f, 0.03f}, {0.26f, 0.04f, 0.42f},
                                                 {0.03f, 0.50f, 0.50f}, {0.80f, 0.56f, 0.02f}};
static const scene_vec ground = {0.42f, 0.42f, 0.42f}, horizon = {0.34f, 0.34f, 0.35f};

typedef struct surface {
    float diffuse, gloss, exponent, mirror;
} surface;
static const surface surfaces[SCENE_MATERIALS] = {{1.0f, 0.10f, 14, 0}, {0.35f, 0.9f, 90, 0.55f}};
static const surface ground_surface = {1.0f, 0, 1, 0};

/* A point of the light, of an even spread over its disc: which of `count` places, turned by a part of the circle. */
typedef struct aim {
    int which, count;
    float turn;
} aim;

static float mix(float a, float b, float part) { return a + (b - a) * part; }
static scene_vec mix_colours(scene_vec a, scene_vec b, float part) {
    return (scene_vec){mix(a.x, b.x, part), mix(a.y, b.y, part), mix(a.z, b.z, part)};
}
static scene_vec times(scene_vec a, scene_vec b) { return (scene_vec){a.x * b.x, a.y * b.y, a.z * b.z}; }

/* Point `which` of a sunflower's seeds: equal shares of the disc for each. */
static scene_vec point_of_light(const scene_light *light, aim a) {
    if (light->radius <= 0 || a.count == 1) return light->at;
    float r = light->radius * sqrtf(((float)a.which + 0.5f) / (float)a.count), angle = 2.39996323f * (float)a.which + a.turn;
    scene_vec to = scene_unit(light->at), side = scene_unit((scene_vec){-to.y, to.x, 0});
    scene_vec third = {to.y * side.z - to.z * side.y, to.z * side.x - to.x * side.z, to.x * side.y - to.y * side.x};
    return scene_add(light->at, scene_add(scene_scale(side, r * cosf(angle)), scene_scale(third, r * sinf(angle))));
}

/* How much of the light from all around reaches a point: each object takes what a sphere of its volume's size would. */
static float openness(const scene *s, const scene_hit *hit) {
    float open = 1;
    for (int i = 0; i < s->count; i++) {
        if (i == hit->object) continue;
        scene_vec to = scene_sub((scene_vec){s->objects[i].x, s->objects[i].y, s->objects[i].half}, hit->at);
        float far2 = scene_dot(to, to), r2 = s->objects[i].half * s->objects[i].half * 1.15f;
        float cosine = scene_dot(hit->normal, to) / sqrtf(far2);
        if (cosine > 0) open *= 1 - 0.85f * cosine * fminf(1, r2 / far2);
    }
    float below = hit->object >= 0 ? fmaxf(0, -hit->normal.z) : 0; /* faces the ground */
    return open * (1 - 0.5f * below);
}

/* Light of one lamp on a point: `matt` for diffuse reflection, `gloss` for its highlight seen along -direction. */
static void add_lamp(const scene *s, const scene_light *light, const scene_hit *hit, scene_vec direction, const surface *of, aim a,
                     float *matt, float *gloss) {
    scene_vec to = scene_sub(point_of_light(light, a), hit->at);
    float far2 = scene_dot(to, to), far = sqrtf(far2);
    scene_vec l = scene_scale(to, 1 / far);
    float cosine = scene_dot(hit->normal, l);
    if (cosine <= 0) return;
    if (light->shadows && scene_blocked(s, scene_along(hit->at, hit->normal, LIFT), l, far)) return;
    float strength = light->strength * scene_dot(light->at, light->at) / far2;
    *matt += strength * cosine;
    if (of->gloss > 0) {
        float h = scene_dot(hit->normal, scene_unit(scene_sub(l, direction)));
        *gloss += strength * of->gloss * powf(fmaxf(h, 0), of->exponent);
    }
}

static scene_vec shade_surface(const scene *s, const scene_hit *hit, scene_vec direction, aim a, const surface *of, scene_vec colour) {
    float matt = 0.24f * openness(s, hit) * (0.75f + 0.25f * hit->normal.z), gloss = 0;
    for (int i = 0; i < SCENE_LIGHTS; i++) add_lamp(s, &s->lights[i], hit, direction, of, a, &matt, &gloss);
    return scene_add(scene_scale(colour, matt * of->diffuse), (scene_vec){gloss, gloss, gloss});
}

/* The ground fades into the horizon with its distance from the origin. */
static scene_vec shade_ground(const scene *s, const scene_hit *hit, scene_vec direction, aim a) {
    float far = sqrtf(hit->at.x * hit->at.x + hit->at.y * hit->at.y), part = fminf(fmaxf((far - 4) / 10, 0), 1);
    if (part >= 1) return horizon;
    return mix_colours(shade_surface(s, hit, direction, a, &ground_surface, ground), horizon, part * part * (3 - 2 * part));
}

static scene_vec shade(const scene *s, const scene_hit *hit, scene_vec direction, aim a, bool mirrored) {
    if (hit->object == -2) return horizon;
    if (hit->object == -1) return shade_ground(s, hit, direction, a);
    const scene_object *o = &s->objects[hit->object];
    const surface *of = &surfaces[o->material];
    scene_vec colour = shade_surface(s, hit, direction, a, of, colours[o->colour]);
    if (of->mirror <= 0 || mirrored) return colour;
    float into = scene_dot(direction, hit->normal);
    scene_vec out = scene_unit(scene_sub(direction, scene_scale(hit->normal, 2 * into)));
    scene_hit next = scene_trace(s, scene_along(hit->at, hit->normal, LIFT), out);
    scene_vec tint = mix_colours(colours[o->colour], (scene_vec){1, 1, 1}, 0.22f); /* a metal colours what it mirrors */
    float edge = powf(1 - fminf(1, fabsf(into)), 5);                               /* and mirrors more at a grazing angle (Schlick) */
    return scene_add(colour, scene_scale(times(shade(s, &next, out, a, true), tint), of->mirror + (1 - of->mirror) * 0.5f * edge));
}

static uint8_t to_srgb(float linear) {
    if (!(linear > 0)) return 0;
    if (linear > 0.8f) linear = 1 - 0.2f * expf((0.8f - linear) / 0.2f); /* highlights roll off instead of being cut */
    float value = linear <= 0.0031308f ? 12.92f * linear : 1.055f * powf(linear, 1 / 2.4f) - 0.055f;
    return (uint8_t)(255 * value + 0.5f);
}

/* Mean over the samples of a pixel. Neighbouring pixels turn the light's points differently, in a pattern of 2 x 2. */
static scene_vec shade_pixel(const scene *s, int column, int row, int width, int height, int samples) {
    scene_vec sum = {0, 0, 0};
    int count = samples * samples;
    float turn = (float)((row & 1) * 2 + ((column ^ row) & 1)) * 1.57079633f / (float)samples;
    for (int i = 0; i < count; i++) {
        float x = ((float)column + ((float)(i % samples) + 0.5f) / (float)samples) / (float)width;
        float y = ((float)row + ((float)(i / samples) + 0.5f) / (float)samples) / (float)height;
        scene_vec ray = scene_ray(&s->camera, x, y);
        scene_hit hit = scene_trace(s, s->camera.eye, ray);
        sum = scene_add(sum, shade(s, &hit, ray, (aim){(i * 7 + 3) % count, count, turn}, false));
    }
    return scene_scale(sum, 1 / (float)count);
}

void scene_render(const scene *s, int width, int height, int samples, uint8_t *pixels) {
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++, pixels += 3) {
            scene_vec light = shade_pixel(s, column, row, width, height, samples);
            pixels[0] = to_srgb(light.x);
            pixels[1] = to_srgb(light.y);
            pixels[2] = to_srgb(light.z);
        }
}
