/* cells.c: content keys of pixel sums at single values of their sweep axes; boxes of such cells (keep.h). */
#include <string.h>

#include "pass/keep.h"

static uint64_t mix(uint64_t h, uint64_t v) { return sx_hash64(&v, sizeof v, h); }

/* Offset of the combination of `part` that combination k of `all` contains (ascending axes, the last one fastest). */
static size_t project(const sx_graph *g, sx_axes all, size_t k, sx_axes part)
{
    size_t out = 0, mul = 1;
    for (int a = sx_graph_axes(g) - 1; a >= 0; a--) {
        if (!(all & SX_AX_SWEEP(a))) continue;
        size_t c = sx_graph_axis_get(g, a)->count;
        if (part & SX_AX_SWEEP(a)) {
            out += k % c * mul;
            mul *= c;
        }
        k /= c;
    }
    return out;
}

/* -- Keys ----------------------------------------------------------------------------------------- */

static uint64_t seed_of(const sx_dump_info *info, bool use_double, bool fast)
{
    uint64_t h = mix(SX_NUMERICS, info->fingerprint);
    h = mix(h, info->n);
    h = mix(h, info->classes);
    h = mix(h, (uint64_t)info->activation);
    h = mix(h, (uint64_t)info->skip_nonfinite | (uint64_t)use_double << 1 | (uint64_t)fast << 2);
    if (info->spaced) h = sx_hash64(info->spacing, info->n_dims * sizeof *info->spacing, h);
    h = sx_hash64(info->layout ? info->layout : "", info->layout ? strlen(info->layout) : 0, h);
    h = sx_hash64(info->logits_path ? info->logits_path : "", info->logits_path ? strlen(info->logits_path) : 0, h);
    h = sx_hash64(info->labels_path ? info->labels_path : "", info->labels_path ? strlen(info->labels_path) : 0, h);
    return sx_hash64(info->ignore, info->n_ignore * sizeof *info->ignore, h);
}

static bool commutes(sx_op op)
{
    return op == SX_OP_add || op == SX_OP_mul || op == SX_OP_eq || op == SX_OP_ne || op == SX_OP_band || op == SX_OP_bor;
}

/* What a node is at one combination of its sweep axes. Names of parameters and places on an axis do not count. */
static uint64_t node_key(const sx_graph *g, const sx_node *n, size_t k, uint64_t *const *memo, uint64_t seed)
{
    const char *op = sx_op_name((sx_op)n->op);
    uint64_t arg[3] = {0}, h = sx_hash64(op, strlen(op), seed);
    for (int i = 0; i < n->n_arg; i++) {
        sx_axes part = sx_node_get(g, n->arg[i])->axes & SX_SWEEP_MASK;
        arg[i] = memo[n->arg[i]][project(g, n->axes & SX_SWEEP_MASK, k, part)];
    }
    if (commutes((sx_op)n->op) && arg[0] > arg[1]) {   /* how the graph orders them depends on the whole axis */
        uint64_t t = arg[0];
        arg[0] = arg[1];
        arg[1] = t;
    }
    h = sx_hash64(arg, sizeof arg, mix(h, n->n_arg));
    h = mix(h, (uint64_t)n->attr);
    if (n->op == SX_OP_data) {
        size_t len = n->n_data / sx_axes_count(g, n->axes & SX_SWEEP_MASK);
        h = mix(h, n->axes & (SX_AX_C | SX_AX_L));
        h = sx_hash64(n->data + k * len, len * sizeof *n->data, h);
    } else if (n->name) {
        h = sx_hash64(n->name, strlen(n->name), h);
    }
    return h;
}

static void mark(const sx_graph *g, sx_id id, uint8_t *need)
{
    if (need[id]) return;
    need[id] = 1;
    const sx_node *n = sx_node_get(g, id);
    for (int i = 0; i < n->n_arg; i++) mark(g, n->arg[i], need);
}

sx_err sx_cell_keys(const sx_graph *g, const sx_dump_info *info, bool use_double, bool fast, const sx_id *sum, size_t n_sum,
                    uint64_t **keys, size_t **start, sx_error *er)
{
    size_t n = sx_graph_size(g), total = 0;
    uint64_t seed = seed_of(info, use_double, fast);
    uint8_t *need = sx_calloc(n + 1, 1);
    uint64_t **memo = sx_calloc(n + 1, sizeof *memo);
    sx_err e = SX_EOK;
    *keys = NULL;
    *start = sx_calloc(n_sum + 1, sizeof **start);
    if (!need || !memo || !*start) {
        e = sx_nomem(er);
        goto done;
    }
    for (size_t i = 0; i < n_sum; i++) {
        mark(g, sum[i], need);
        (*start)[i] = total;
        total += sx_axes_count(g, sx_node_get(g, sum[i])->axes & SX_SWEEP_MASK);
    }
    (*start)[n_sum] = total;
    for (sx_id id = 1; id <= n; id++) {
        if (!need[id]) continue;
        const sx_node *node = sx_node_get(g, id);
        size_t count = sx_axes_count(g, node->axes & SX_SWEEP_MASK);
        if (!(memo[id] = sx_malloc((count + 1) * sizeof **memo))) {
            e = sx_nomem(er);
            goto done;
        }
        for (size_t k = 0; k < count; k++) memo[id][k] = node_key(g, node, k, memo, seed);
    }
    if (!(*keys = sx_malloc((total + 1) * sizeof **keys))) {
        e = sx_nomem(er);
        goto done;
    }
    for (size_t i = 0; i < n_sum; i++)
        memcpy(*keys + (*start)[i], memo[sum[i]], ((*start)[i + 1] - (*start)[i]) * sizeof **keys);
done:
    for (size_t i = 0; memo && i <= n; i++) sx_free(memo[i]);
    sx_free(memo);
    sx_free(need);
    if (e) {
        sx_free(*start);
        *start = NULL;
    }
    return e;
}

/* -- Boxes ---------------------------------------------------------------------------------------- */

void sx_box_clear(sx_box *b)
{
    for (int a = 0; a < SX_MAX_SWEEP; a++) sx_free(b->index[a]);
    memset(b, 0, sizeof *b);
}

size_t sx_box_axis(const sx_graph *g, const sx_box *b, int a)
{
    return b && b->index[a] ? b->count[a] : sx_graph_axis_get(g, a)->count;
}

size_t sx_box_count(const sx_graph *g, const sx_box *b, sx_axes axes)
{
    size_t k = 1;
    for (int a = 0; a < sx_graph_axes(g); a++)
        if (axes & SX_AX_SWEEP(a)) k *= sx_box_axis(g, b, a);
    return k;
}

size_t sx_box_full(const sx_graph *g, const sx_box *b, sx_axes axes, size_t k)
{
    size_t out = 0, mul = 1;
    for (int a = sx_graph_axes(g) - 1; a >= 0; a--) {
        if (!(axes & SX_AX_SWEEP(a))) continue;
        size_t c = sx_box_axis(g, b, a), at = k % c;
        out += (b && b->index[a] ? b->index[a][at] : at) * mul;
        mul *= sx_graph_axis_get(g, a)->count;
        k /= c;
    }
    return out;
}

void sx_box_copy(const sx_graph *g, const sx_box *b, sx_axes axes, const double *v, size_t n, double *dst)
{
    bool whole = true;
    for (int a = 0; b && a < sx_graph_axes(g); a++)
        if (axes & SX_AX_SWEEP(a) && sx_box_axis(g, b, a) != sx_graph_axis_get(g, a)->count) whole = false;
    if (whole) {
        memcpy(dst, v, n * sizeof *dst);
        return;
    }
    size_t count = sx_box_count(g, b, axes), len = n / sx_axes_count(g, axes);
    for (size_t k = 0; k < count; k++) memcpy(dst + k * len, v + sx_box_full(g, b, axes, k) * len, len * sizeof *dst);
}

static bool all_missing(const sx_graph *g, const sx_box *b, sx_axes axes, const bool *missing)
{
    size_t n = sx_box_count(g, b, axes);
    for (size_t k = 0; k < n; k++)
        if (!missing[sx_box_full(g, b, axes, k)]) return false;
    return n > 0;
}

/* The first missing combination that agrees with what the box says; SIZE_MAX: none. */
static size_t first_missing(const sx_graph *g, const sx_box *b, sx_axes axes, const bool *missing)
{
    size_t n = sx_box_count(g, b, axes);
    for (size_t k = 0; k < n; k++) {
        size_t full = sx_box_full(g, b, axes, k);
        if (missing[full]) return full;
    }
    return SIZE_MAX;
}

sx_err sx_box_take(const sx_graph *g, sx_box *b, sx_axes axes, const bool *missing, bool *taken, sx_error *er)
{
    sx_axes own = 0;            /* axes that this call fixes */
    sx_err e = SX_EOK;
    size_t at = first_missing(g, b, axes, missing);
    *taken = false;
    if (at == SIZE_MAX) return SX_EOK;
    for (int a = sx_graph_axes(g) - 1; a >= 0; a--) {
        if (!(axes & SX_AX_SWEEP(a))) continue;
        size_t c = sx_graph_axis_get(g, a)->count;
        if (!b->index[a]) {
            if (!(b->index[a] = sx_malloc((c + 1) * sizeof *b->index[a]))) {
                e = sx_nomem(er);
                goto done;
            }
            own |= SX_AX_SWEEP(a);
            b->index[a][0] = at % c;
            b->count[a] = 1;
        }
        at /= c;
    }
    if (!all_missing(g, b, axes, missing)) goto done;
    *taken = true;
    for (int a = sx_graph_axes(g) - 1; a >= 0; a--) {
        if (!(own & SX_AX_SWEEP(a))) continue;
        size_t c = sx_graph_axis_get(g, a)->count, first = b->index[a][0], n = 0;
        size_t *list = sx_malloc((c + 1) * sizeof *list);
        if (!list) {
            e = sx_nomem(er);
            goto done;
        }
        for (size_t v = 0; v < c; v++) {
            b->index[a][0] = v;
            if (v == first || all_missing(g, b, axes, missing)) list[n++] = v;
        }
        sx_free(b->index[a]);
        b->index[a] = list;
        b->count[a] = n;
    }
done:
    if (e) *taken = false;
    for (int a = 0; !*taken && a < SX_MAX_SWEEP; a++)
        if (own & (a < sx_graph_axes(g) ? SX_AX_SWEEP(a) : 0)) {
            sx_free(b->index[a]);
            b->index[a] = NULL;
        }
    return e;
}
