/* graph.c: storage of nodes and sweep axes; content hashes; the table that makes equal nodes one. */
#include "graph/graph.h"

#include <math.h>
#include <string.h>

#include "graph/graph_impl.h"

sx_graph *sx_graph_new(void)
{
    sx_graph *g = sx_calloc(1, sizeof *g);
    if (!g) return NULL;
    g->arena = sx_arena_new();
    g->cap = 256;
    g->node = sx_calloc(g->cap, sizeof *g->node);
    g->table_size = 1024;
    g->table = sx_calloc(g->table_size, sizeof *g->table);
    if (!g->arena || !g->node || !g->table) {
        sx_graph_free(g);
        return NULL;
    }
    g->n = 1;   /* id 0 is "none" */
    return g;
}

void sx_graph_free(sx_graph *g)
{
    if (!g) return;
    sx_arena_free(g->arena);
    sx_free(g->node);
    sx_free(g->copy);
    sx_free(g->origin);
    sx_free(g->table);
    sx_free(g);
}

const sx_node *sx_node_get(const sx_graph *g, sx_id id) { return g->node[id < g->n ? id : 0]; }
size_t sx_graph_size(const sx_graph *g) { return g->n - 1; }

static char *keep_text(sx_graph *g, const char *s)
{
    size_t n = strlen(s) + 1;
    char *t = sx_arena_alloc(g->arena, n);
    if (t) memcpy(t, s, n);
    return t;
}

/* -- Sweep axes ---------------------------------------------------------------------------- */

static bool same_axis(const sx_sweep_axis *a, const char *name, size_t count, const char *const *label)
{
    if (a->count != count || strcmp(a->name, name) != 0) return false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(a->label[i], label[i]) != 0) return false;
    return true;
}

sx_err sx_graph_axis(sx_graph *g, const char *name, size_t count, const char *const *label, int *axis, sx_error *er)
{
    if (count == 0) return sx_fail(er, SX_EARG, "axis '%s' has no values", name);
    for (int i = 0; i < g->n_axes; i++)
        if (same_axis(&g->axis[i], name, count, label)) {
            *axis = i;
            return SX_EOK;
        }
    if (g->n_axes == SX_MAX_SWEEP) {
        sx_fail(er, SX_EARG, "axis '%s': this session already has %d different sweep axes", name, SX_MAX_SWEEP);
        sx_hint(er, "make axes once, outside loops (the same name and values are the same axis), or start a new session");
        return SX_EARG;
    }
    sx_sweep_axis *a = &g->axis[g->n_axes];
    const char **copy = sx_arena_alloc(g->arena, count * sizeof *copy);
    a->name = keep_text(g, name);
    if (!copy || !a->name) return sx_nomem(er);
    for (size_t i = 0; i < count; i++)
        if (!(copy[i] = keep_text(g, label[i]))) return sx_nomem(er);
    a->count = count;
    a->label = copy;
    *axis = g->n_axes++;
    return SX_EOK;
}

const sx_sweep_axis *sx_graph_axis_get(const sx_graph *g, int axis) { return &g->axis[axis]; }
int sx_graph_axes(const sx_graph *g) { return g->n_axes; }

size_t sx_axes_count(const sx_graph *g, sx_axes sweeps)
{
    size_t k = 1;
    for (int i = 0; i < g->n_axes; i++)
        if (sweeps & SX_AX_SWEEP(i)) k *= g->axis[i].count;
    return k;
}

/* -- Nodes --------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v) { return sx_hash64(&v, sizeof v, h); }

/* What the node says, not where it is stored: op and names as text, arguments by their hash. */
static uint64_t content_hash(const sx_graph *g, const sx_node *n)
{
    const char *op = sx_op_name((sx_op)n->op);
    uint64_t h = sx_hash64(op, strlen(op), 0);
    for (int i = 0; i < n->n_arg; i++) h = mix(h, g->node[n->arg[i]]->hash);
    h = mix(h, (uint64_t)n->attr);
    if (n->op == SX_OP_data) {
        h = mix(h, n->axes & (SX_AX_C | SX_AX_L));
        for (int i = 0; i < g->n_axes; i++)
            if (n->axes & SX_AX_SWEEP(i)) {
                const sx_sweep_axis *a = &g->axis[i];
                h = sx_hash64(a->name, strlen(a->name), h);
                for (size_t k = 0; k < a->count; k++) h = sx_hash64(a->label[k], strlen(a->label[k]), h);
            }
        h = sx_hash64(n->data, n->n_data * sizeof *n->data, h);
    }
    if (n->name) h = sx_hash64(n->name, strlen(n->name), h);
    return h;
}

/* The same without what a user may sweep. Factors are put in this order, so that a product of three is the same two
 * multiplications whatever the values, the number of configurations and the other columns (decisions 10). */
static uint64_t form_of(const sx_graph *g, const sx_node *n)
{
    const char *op = sx_op_name((sx_op)n->op);
    uint64_t h = sx_hash64(op, strlen(op), 1);
    for (int i = 0; i < n->n_arg; i++) h = mix(h, g->node[n->arg[i]]->form);
    if (n->op == SX_OP_data) return mix(h, n->axes & (SX_AX_C | SX_AX_L));
    h = mix(h, (uint64_t)n->attr);
    return n->name ? sx_hash64(n->name, strlen(n->name), h) : h;
}

static bool same_node(const sx_node *a, const sx_node *b)
{
    return a->op == b->op && a->hash == b->hash && a->axes == b->axes && a->dump == b->dump && a->attr == b->attr &&
           a->classes == b->classes && memcmp(a->arg, b->arg, sizeof a->arg) == 0 && a->n_data == b->n_data &&
           (a->n_data == 0 || memcmp(a->data, b->data, a->n_data * sizeof *a->data) == 0) &&
           (!a->name == !b->name) && (!a->name || strcmp(a->name, b->name) == 0);
}

/* Where the table looks first. Not the content's hash: the same expression over many dumps is many nodes. */
static size_t first_place(const sx_node *n, size_t size)
{
    const uint64_t key[3] = {n->hash, n->dump | (uint64_t)n->arg[0] << 32, n->arg[1] | (uint64_t)n->arg[2] << 32};
    return sx_hash64(key, sizeof key, 0) & (size - 1);
}

static bool grow_table(sx_graph *g)
{
    size_t size = g->table_size * 2;
    sx_id *t = sx_calloc(size, sizeof *t);
    if (!t) return false;
    for (sx_id id = 1; id < g->n; id++) {
        size_t i = first_place(g->node[id], size);
        while (t[i]) i = (i + 1) & (size - 1);
        t[i] = id;
    }
    sx_free(g->table);
    g->table = t;
    g->table_size = size;
    return true;
}

static bool never_negative(const sx_graph *g, const sx_node *n)
{
    enum { UNKNOWN, ALWAYS, ALL, FIRST, CHOSEN };
    static const uint8_t rule[SX_OP_COUNT] = {
#define SX_NONNEG(name, r) [SX_OP_##name] = r,
#include "graph/ops.def"
    };
    const int from = rule[n->op] == CHOSEN, to = rule[n->op] == FIRST ? 1 : n->n_arg;
    if (rule[n->op] == UNKNOWN || rule[n->op] == ALWAYS) return rule[n->op] == ALWAYS;
    for (int i = from; i < to; i++)
        if (!g->node[n->arg[i]]->nonneg) return false;
    return true;
}

sx_id sx_graph_intern(sx_graph *g, sx_node *n, sx_error *er)
{
    n->hash = content_hash(g, n);
    n->form = form_of(g, n);
    size_t i = first_place(n, g->table_size);
    for (; g->table[i]; i = (i + 1) & (g->table_size - 1))
        if (same_node(g->node[g->table[i]], n)) return g->table[i];

    if (g->n == UINT32_MAX) return sx_fail(er, SX_EARG, "expression too large"), 0;
    if (g->n == g->cap) {
        sx_node **p = sx_realloc(g->node, 2 * g->cap * sizeof *p);
        if (!p) return sx_nomem(er), 0;
        g->node = p;
        g->cap *= 2;
    }
    sx_node *copy = sx_arena_alloc(g->arena, sizeof *copy);
    if (!copy) return sx_nomem(er), 0;
    *copy = *n;
    copy->nonneg = never_negative(g, n);
    if (n->n_data) {
        double *d = sx_arena_alloc(g->arena, n->n_data * sizeof *d);
        if (!d) return sx_nomem(er), 0;
        memcpy(d, n->data, n->n_data * sizeof *d);
        copy->data = d;
    }
    if (n->name && !(copy->name = keep_text(g, n->name))) return sx_nomem(er), 0;
    sx_id id = (sx_id)g->n;
    g->node[g->n++] = copy;
    g->table[i] = id;
    if (g->n * 2 > g->table_size && !grow_table(g)) {
        g->n--;               /* the slot was the last one written: take it back */
        g->table[i] = 0;
        return sx_nomem(er), 0;
    }
    return id;
}

/* -- Leaves -------------------------------------------------------------------------------- */

sx_id sx_data(sx_graph *g, sx_axes axes, uint32_t classes, const double *v, size_t n, const char *name, sx_error *er)
{
    size_t want = sx_axes_count(g, axes);
    if (axes & SX_AX_C) want *= classes;
    if (axes & SX_AX_L) want *= classes;
    if (want != n) return sx_fail(er, SX_EBUG, "data node of %zu values where its axes say %zu", n, want), 0;
    sx_node node = {.op = SX_OP_data, .axes = axes, .data = v, .n_data = n, .name = name};
    if (axes & (SX_AX_C | SX_AX_L)) node.classes = classes;
    return sx_graph_intern(g, &node, er);
}

sx_id sx_variable(sx_graph *g, sx_axes axes, uint32_t classes, const char *name, sx_error *er)
{
    size_t n = sx_axes_count(g, axes);
    if (axes & SX_AX_C) n *= classes;
    sx_node node = {.op = SX_OP_data, .axes = axes, .n_data = n, .name = name, .attr = 1};
    if (axes & (SX_AX_C | SX_AX_L)) node.classes = classes;
    double *zero = sx_calloc(n + 1, sizeof *zero);
    if (!zero) return sx_nomem(er), 0;
    node.data = zero;
    sx_id id = sx_graph_intern(g, &node, er);
    sx_free(zero);
    return id;
}

void sx_variable_set(sx_graph *g, sx_id variable, const double *v)
{
    const sx_node *n = g->node[variable];
    memcpy((double *)(uintptr_t)n->data, v, n->n_data * sizeof *v);   /* ours: the arena's copy */
}

sx_id sx_const(sx_graph *g, double v, sx_error *er) { return sx_data(g, 0, 0, &v, 1, NULL, er); }

sx_id sx_leaf(sx_graph *g, sx_op op, uint32_t dump, uint32_t classes, int64_t attr, const char *name, sx_error *er)
{
    sx_node node = {.op = (uint16_t)op, .dump = dump, .classes = classes, .attr = attr, .name = name};
    switch (op) {
    case SX_OP_logits: node.axes = SX_AX_N | SX_AX_C | SX_AX_P; break;
    case SX_OP_labels:
    case SX_OP_valid:
    case SX_OP_field: node.axes = SX_AX_N | SX_AX_P; break;
    case SX_OP_classes: node.axes = SX_AX_C; break;
    case SX_OP_first: node.axes = SX_AX_N; break;
    default: return sx_fail(er, SX_EBUG, "%s is not a leaf", sx_op_name(op)), 0;
    }
    return sx_graph_intern(g, &node, er);
}

bool sx_is_const(const sx_graph *g, sx_id id, double *v)
{
    const sx_node *n = sx_node_get(g, id);
    if (!id || n->op != SX_OP_data || n->axes || n->name) return false;   /* a named one is a parameter */
    *v = n->data[0];
    return true;
}
