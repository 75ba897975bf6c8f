/* draw_impl.h: what the files of core/draw share. */
#ifndef SX_DRAW_IMPL_H
#define SX_DRAW_IMPL_H

enum { SX_GLYPHS = 191, SX_GLYPH_H = 13 };
extern const unsigned char sx_glyph_rows[SX_GLYPHS][SX_GLYPH_H];

#endif
