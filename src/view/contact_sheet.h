/* A sheet of small pictures with two lines of text under each.       layer: view; uses: picture, io, base
 *
 *     heading of a block
 *     [  tile  ] [  tile  ] [  tile  ]      each SIDE x SIDE with the picture in its middle, its aspect kept
 *     caption    caption    caption         cut with ".." where it is wider than the tile
 *     caption    caption    caption */
#ifndef IJ_VIEW_CONTACT_SHEET_H
#define IJ_VIEW_CONTACT_SHEET_H

#include "base/error.h"
#include "io/image.h"

#include <stdbool.h>

#define IJ_SHEET_SIDE 160  /* pixels of a tile */
#define IJ_SHEET_COLUMNS 6 /* at most */
#define IJ_SHEET_LEFT 24   /* of the first tile; tiles are IJ_SHEET_STEP apart */
#define IJ_SHEET_STEP (IJ_SHEET_SIDE + 14)
#define IJ_SHEET_TOP 76 /* of the first row of tiles, which has a heading or room for one */
#define IJ_SHEET_TILES_MAX 2000

typedef struct ij_sheet_tile {
    const char *caption[2]; /* NULL: none */
    const char *heading;    /* the tile begins a block with this above it, in a row of its own or behind other blocks [goes on] */
    bool framed;            /* in a colour that stands out */
} ij_sheet_tile;

typedef struct ij_sheet {
    const char *title;
    const ij_sheet_tile *tiles;
    int count; /* 1 to IJ_SHEET_TILES_MAX */
    /* Reads tile i's picture, 1 or 3 channels. A failure makes it a grey tile that says the picture is gone. */
    ij_status (*read)(void *user, int i, ij_image *image, ij_error *err);
    void *user;
} ij_sheet;

/* Writes the sheet as PNG. */
ij_status ij_contact_sheet(const ij_sheet *sheet, const char *path, ij_error *err);

/* Brings pixels [height, width, channels] to out [to_height, to_width, 3]: the mean over what a pixel covers where it shrinks, the nearest
 * pixel where it grows. 1 or 3 channels. */
void ij_shrink(const uint8_t *pixels, int width, int height, int channels, int to_width, int to_height, uint8_t *out);

#endif
