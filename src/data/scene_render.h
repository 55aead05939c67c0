/* The picture of a scene.       layer: data; uses: scene, io, base
 *
 * Ray traced: one primary ray for each of samples x samples places of a pixel, a shadow ray to the key and the back light for each (to a
 * point of the light that differs from sample to sample, so that shadows are soft), one mirrored ray where metal is met. Light that comes
 * from everywhere is darkened near objects as spheres of their size would darken it. Nothing is random here: the same scene has the
 * same pixels. */
#ifndef IJ_DATA_SCENE_RENDER_H
#define IJ_DATA_SCENE_RENDER_H

#include "data/scene.h"

#define SCENE_SAMPLES_MAX 16

/* Draws into pixels [height, width, 3], sRGB; samples: 1 to SCENE_SAMPLES_MAX a side of a pixel. width and height as in the scene's
 * description, or multiples of them. */
void scene_render(const scene *s, int width, int height, int samples, uint8_t *pixels);

#endif
