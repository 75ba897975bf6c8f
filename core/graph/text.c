/* text.c: canonical text of an expression. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "graph/graph_impl.h"

typedef struct out {
    char *s;
    size_t n, cap, limit;
    bool cut, failed;
} out;

static void put(out *o, const char *s)
{
    size_t n = strlen(s);
    if (o->cut || o->failed) return;
    if (o->n + n > o->limit) {
        o->cut = true;
        return;
    }
    if (o->n + n + 1 > o->cap) {
        size_t cap = 2 * (o->n + n + 64);
        char *p = sx_realloc(o->s, cap);
        if (!p) {
            o->failed = true;
            return;
        }
        o->s = p;
        o->cap = cap;
    }
    memcpy(o->s + o->n, s, n + 1);
    o->n += n;
}

static void put_data(const sx_node *n, out *o)
{
    char buf[40];
    if (n->name) {
        put(o, n->name);
        return;
    }
    if (n->n_data > 1) put(o, "{");
    for (size_t i = 0; i < n->n_data && !o->cut; i++) {
        snprintf(buf, sizeof buf, i ? ",%.17g" : "%.17g", n->data[i]);
        put(o, buf);
    }
    if (n->n_data > 1) put(o, "}");
}

static void walk(const sx_graph *g, sx_id id, out *o)
{
    const sx_node *n = g->node[id];
    char buf[40];
    if (o->cut || o->failed) return;
    if (n->op == SX_OP_data) {
        put_data(n, o);
        return;
    }
    put(o, n->op == SX_OP_field && n->name ? n->name : sx_op_name((sx_op)n->op));
    if (n->op == SX_OP_first || n->op == SX_OP_bsum) {
        snprintf(buf, sizeof buf, "[%" PRId64 "]", n->attr);
        put(o, buf);
    }
    for (int i = 0; i < n->n_arg; i++) {
        put(o, i ? "," : "(");
        walk(g, n->arg[i], o);
    }
    if (n->n_arg) put(o, ")");
}

char *sx_text(const sx_graph *g, sx_id id, size_t limit)
{
    out o = {.limit = limit};
    walk(g, id, &o);
    if (o.cut) {
        char buf[32];
        o.cut = false;
        o.limit = SIZE_MAX / 2;
        snprintf(buf, sizeof buf, "...#%016" PRIx64, g->node[id]->hash);
        put(&o, buf);
    }
    if (o.failed) {
        sx_free(o.s);
        return NULL;
    }
    return o.s;
}
