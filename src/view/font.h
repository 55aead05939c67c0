/* Letters as strokes.       layer: view; uses: nothing
 *
 * A glyph is a text: strokes separated by ',', a stroke is points separated by ' ', a point is two hexadecimal digits x and y on a
 * grid where capitals stand on y = 8 and reach y = 0, small letters reach y = 3 and hang down to y = A. */
#ifndef IJ_VIEW_FONT_H
#define IJ_VIEW_FONT_H

#define IJ_FONT_CAPITAL 8.0f /* grid units from the base line to the top of a capital */
#define IJ_FONT_GAP 2.4f     /* between two glyphs */
#define IJ_FONT_SPACE 2.6f   /* width of ' ' */

/* The strokes of a character; those of '?' for one that is not ASCII, "" for a space. */
const char *ij_font_glyph(unsigned char c);

/* Largest x of a glyph. */
int ij_font_width(const char *glyph);

#endif
