/* A folder of drawn scenes with their labels: what VTAB makes of CLEVR (Count, Dist), for a machine that has no CLEVR.
 * layer: data; uses: scene, io, base
 *
 *     OUT/scenes.json            the parameters, one a line
 *     OUT/train/000000.png ...   OUT/train/labels.csv
 *     OUT/test/000000.png ...    OUT/test/labels.csv
 *
 * labels.csv: file,count,dist,distance,shape,colour,size,material. `count` is the number of objects. `distance` is the depth of the
 * nearest object's centre along the viewing direction (CLEVR's pixel_coords z, in its units), `dist` its class 0 to 5 by VTAB's thresholds
 * 8, 8.5, 9, 9.5, 10. shape, colour, size and material are the nearest object's.
 *
 * Files appear complete or not at all, labels.csv last. In a folder that the same parameters began, the pictures that are there are
 * kept; a folder of others, or a train or test folder without scenes.json, is refused unless `overwrite`, which removes our files only. */
#ifndef IJ_DATA_SCENE_SET_H
#define IJ_DATA_SCENE_SET_H

#include "data/scene.h"

#define SCENE_SET_MAX 1000000 /* pictures of a part: six digits */
#define SCENE_SIDE_MAX 8192

enum { SCENE_TRAIN, SCENE_TEST, SCENE_PARTS };

typedef struct scene_set_desc {
    scene_desc scene;
    int64_t count[SCENE_PARTS]; /* pictures; 0: no such part */
    int samples;                /* 1 to 16 a side of a pixel */
    int threads;                /* [0: the machine's processors] */
    bool overwrite;
    /* Pictures done, kept ones among them. Any thread calls it, one at a time. NULL: none. */
    void (*progress)(void *user, int64_t done, int64_t total);
    void *user;
} scene_set_desc;

typedef struct scene_set_result {
    int64_t rendered, kept;
    int64_t with_count[SCENE_PARTS][SCENE_OBJECTS_MAX + 1]; /* pictures with that many objects */
    int64_t with_distance[SCENE_PARTS][SCENE_DISTANCES];    /* whose nearest object is of that class */
    double seconds;                                         /* of drawing, kept pictures' labels included */
} scene_set_result;

/* The numbers in desc must be within the limits above and in scene.h. */
ij_status scene_set_write(const char *folder, const scene_set_desc *desc, scene_set_result *result, ij_error *err);

#endif
