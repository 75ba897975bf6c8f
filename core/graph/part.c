/* part.c: an expression cut out of a graph. A session's graph only grows; work on one expression shall not. */
#include <stdlib.h>
#include <string.h>

#include "graph/graph_impl.h"

typedef struct found {
    const sx_graph *g;
    sx_id *id;                   /* n of them */
    size_t n, cap;
    sx_id *set;                  /* the same, to be looked up: open addressing, a power of two */
    size_t set_size;
} found;

static size_t place(const found *f, sx_id id)
{
    size_t i = id * 2654435761u & (f->set_size - 1);
    while (f->set[i] && f->set[i] != id) i = (i + 1) & (f->set_size - 1);
    return i;
}

static bool grow(found *f)
{
    const size_t size = f->set_size ? 2 * f->set_size : 256;
    sx_id *list = sx_realloc(f->id, size / 2 * sizeof *list), *set = sx_calloc(size, sizeof *set);
    if (list) f->id = list;
    if (!list || !set) {
        sx_free(set);
        return false;
    }
    sx_free(f->set);
    f->set = set;
    f->set_size = size;
    f->cap = size / 2;
    for (size_t i = 0; i < f->n; i++) f->set[place(f, f->id[i])] = f->id[i];
    return true;
}

static bool find(found *f, sx_id id)
{
    if (f->n == f->cap && !grow(f)) return false;
    const size_t at = place(f, id);
    if (f->set[at]) return true;
    f->set[at] = f->id[f->n++] = id;
    const sx_node *n = f->g->node[id];
    for (int i = 0; i < n->n_arg; i++)
        if (!find(f, n->arg[i])) return false;
    return true;
}

static int by_number(const void *a, const void *b)
{
    const sx_id x = *(const sx_id *)a, y = *(const sx_id *)b;
    return (x > y) - (x < y);
}

sx_id sx_graph_origin(const sx_graph *part, sx_id id) { return part->origin[id - 1]; }

sx_id sx_graph_number(const sx_graph *part, sx_id origin)
{
    const sx_id *at = bsearch(&origin, part->origin, part->n - 1, sizeof origin, by_number);
    return at ? (sx_id)(at - part->origin) + 1 : 0;
}

sx_err sx_graph_part(const sx_graph *g, const sx_id *id, size_t n, sx_graph **part, sx_id *out, sx_error *er)
{
    found f = {.g = g};
    sx_graph *p = sx_calloc(1, sizeof *p);
    bool ok = p != NULL;
    *part = NULL;
    for (size_t i = 0; ok && i < n; i++) ok = find(&f, id[i]);
    if (ok) {
        p->node = sx_calloc(f.n + 1, sizeof *p->node);
        p->copy = sx_malloc((f.n + 1) * sizeof *p->copy);
        ok = p->node && p->copy;
    }
    if (ok) {
        if (f.n) qsort(f.id, f.n, sizeof *f.id, by_number);      /* arguments keep their place before what is made of them */
        memcpy(p->axis, g->axis, sizeof p->axis);
        p->n_axes = g->n_axes;
        p->n = p->cap = f.n + 1;
        p->origin = f.id;
        f.id = NULL;
        for (sx_id k = 1; k <= f.n; k++) {
            sx_node *c = p->node[k] = &p->copy[k];
            *c = *g->node[p->origin[k - 1]];
            for (int i = 0; i < c->n_arg; i++) c->arg[i] = sx_graph_number(p, c->arg[i]);
        }
        for (size_t i = 0; i < n; i++) out[i] = sx_graph_number(p, id[i]);
        *part = p;
    } else {
        sx_graph_free(p);
    }
    sx_free(f.id);
    sx_free(f.set);
    return ok ? SX_EOK : sx_nomem(er);
}
