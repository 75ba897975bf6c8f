/* survey.c: what sums want to know about the labels of a stage, once for all of them. */
#include "cpu/kernels.h"

static void add_piece(sx_lab *l, size_t tile, sx_seen *s, int32_t y, uint8_t group, bool mixed, int16_t *used)
{
    sx_piece *piece = l->piece + tile * SX_TILE;
    const size_t at = tile * l->max_present;
    if (s->tile != l->tile_no) {
        s->tile = l->tile_no;
        s->slot = l->n_present[tile]++;
        l->present[at + (size_t)s->slot] = y;
        l->head[at + (size_t)s->slot] = *used;
    } else if (piece[s->tail].group == group) {
        return;                                    /* the label again, among the same 16 pixels */
    } else {
        piece[s->tail].next = *used;
    }
    s->tail = *used;
    piece[(*used)++] = (sx_piece){.next = -1, .group = group, .mixed = mixed};
}

size_t sx_survey(sx_lab *l, size_t P)
{
    const int32_t C = (int32_t)l->classes;
    size_t valid = 0;
    for (size_t g = 0; g < P / SX_LANES; g++) {
        const int32_t *y = l->lab + g * SX_LANES;
        int32_t differ = 0;
        for (int i = 1; i < SX_LANES; i++) differ |= y[i] ^ y[0];
        l->group[g] = differ ? -1 : y[0];
    }
    for (size_t t = 0; t < l->tiles; t++) {
        int16_t used = 0;
        int invalid = 0;
        l->n_present[t] = 0;
        l->tile_no++;
        for (size_t g = 0; g < SX_TILE / SX_LANES; g++) {
            const size_t at = t * (SX_TILE / SX_LANES) + g;
            const bool mixed = l->group[at] < 0;
            const int32_t *y = l->lab + at * SX_LANES;
            for (int i = 0, n = mixed ? SX_LANES : 1; i < n; i++) {
                if (y[i] >= C) invalid += mixed ? 1 : SX_LANES;
                else add_piece(l, t, &l->seen[y[i]], y[i], (uint8_t)g, mixed, &used);
            }
        }
        l->all_valid[t] = invalid == 0;
        valid += (size_t)(SX_TILE - invalid);
    }
    return valid;
}
