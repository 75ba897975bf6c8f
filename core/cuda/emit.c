/* emit.c: what is printed: the nodes below the sums and maps of a pass, their sinks, and the numbers that a launch fills in. */
#include "cuda/emit_impl.h"

#include <string.h>

/* -- Which nodes -------------------------------------------------------------------------------- */

/* Can a kernel compute this? Says why not. */
static sx_err check(const sx_em *m, sx_id id, sx_error *er)
{
    const sx_node *n = sx_em_node(m, id);
    const char *name = sx_op_name((sx_op)n->op);
    if (n->axes & SX_AX_L) return sx_fail(er, SX_EARG, "%s: a class-by-class matrix at every pixel", name);
    switch (sx_op_class((sx_op)n->op)) {
    case SX_CL_EW:
    case SX_CL_ONEHOT:
    case SX_CL_TROW:
    case SX_CL_TSOFT:
    case SX_CL_BASIS:
    case SX_CL_CMAP:
    case SX_CL_TGT: return SX_EOK;
    case SX_CL_CRED:
        if (sx_em_plane(m, n->arg[0])) return SX_EOK;
        break;
    case SX_CL_PICK:
        if (!sx_em_plane(m, n->arg[1])) return SX_EOK;
        break;
    case SX_CL_POWB:
        if (!sx_em_pixel(m, n->arg[1])) return SX_EOK;
        break;
    case SX_CL_LEAF:
        if (n->op == SX_OP_logits || n->op == SX_OP_labels || n->op == SX_OP_valid || n->op == SX_OP_field) return SX_EOK;
        break;
    case SX_CL_FIELD: return sx_fail(er, SX_EARG, "%s: sorting and distances run on the CPU", name);
    default: break;
    }
    return sx_fail(er, SX_EARG, "%s has no form for the GPU", name);
}

/* Arguments first, so that the numbers of nodes depend on the structure and not on the session. */
static sx_err mark(sx_em *m, sx_id id, sx_error *er)
{
    if (m->need[id]) return SX_EOK;
    m->need[id] = 1;
    sx_err e = sx_em_pixel(m, id) ? check(m, id, er) : SX_EOK;
    for (int i = 0; !e && sx_em_pixel(m, id) && i < sx_em_args(m, id); i++) e = mark(m, sx_em_node(m, id)->arg[i], er);
    if (e) return e;
    m->order[m->n_order++] = id;
    m->num[id] = (uint32_t)m->n_order;
    return SX_EOK;
}

bool sx_emit_counts(const sx_graph *g, sx_id sum)
{
    const sx_id a = sx_node_get(g, sum)->arg[0];
    return a && sx_node_get(g, a)->op == SX_OP_valid;
}

static sx_err find_nodes(sx_em *m, sx_error *er)
{
    sx_err e = SX_EOK;
    for (size_t i = 0; !e && i < m->s->n_sum; i++) {
        const sx_id a = sx_em_node(m, m->s->sum[i])->arg[0];
        if (sx_emit_counts(m->g, m->s->sum[i])) continue;
        e = sx_em_pixel(m, a) ? mark(m, a, er) : sx_fail(er, SX_EARG, "a sum of what no pixel knows");
    }
    for (size_t i = 0; !e && i < m->s->n_map; i++) e = mark(m, m->s->map[i], er);
    return e;
}

/* -- Lists ---------------------------------------------------------------------------------------- */

#define FIND(list, count, what)                    \
    for (size_t i = 0; i < m->e->count; i++)       \
        if (m->e->list[i] == (what)) return i;     \
    return SIZE_MAX;
size_t sx_em_axis(const sx_em *m, int axis) { FIND(axis, n_axis, axis) }
size_t sx_em_import(const sx_em *m, sx_id id) { FIND(import, n_import, id) }
size_t sx_em_power(const sx_em *m, sx_id id) { FIND(power, n_power, id) }
size_t sx_em_basis(const sx_em *m, sx_id id) { FIND(basis, n_basis, id) }
size_t sx_em_field(const sx_em *m, int64_t field) { FIND(field, n_field, field) }
#undef FIND

static void list_axes(sx_em *m, sx_axes axes)
{
    for (int a = 0; a < sx_graph_axes(m->g); a++)
        if (axes & SX_AX_SWEEP(a) && sx_em_axis(m, a) == SIZE_MAX) m->e->axis[m->e->n_axis++] = a;
}

/* The exponent of a power is read from the powers, everything else that no pixel knows from the imports. */
static void list_argument(sx_em *m, sx_id id, bool exponent)
{
    sx_emitted *e = m->e;
    if (sx_em_pixel(m, id)) return;
    if (exponent && sx_em_power(m, id) == SIZE_MAX) e->power[e->n_power++] = id;
    if (!exponent && sx_em_import(m, id) == SIZE_MAX) e->import[e->n_import++] = id;
}

static void list_all(sx_em *m)
{
    sx_emitted *e = m->e;
    for (size_t i = 0; i < m->n_order; i++) {
        const sx_id id = m->order[i];
        const sx_node *n = sx_em_node(m, id);
        list_axes(m, sx_em_sweeps(m, id));
        if (!sx_em_pixel(m, id)) continue;
        for (int a = 0; a < sx_em_args(m, id); a++) list_argument(m, n->arg[a], n->op == SX_OP_powb && a == 1);
        if (n->op == SX_OP_field && sx_em_field(m, n->attr) == SIZE_MAX) e->field[e->n_field++] = n->attr;
        if (n->op == SX_OP_logits) e->logits = true;
        if (n->op != SX_OP_powb) continue;
        /* a basis whose powers are taken more often than itself keeps its rows */
        const sx_id b = n->arg[0];
        const bool wider = sx_em_sweeps(m, id) != sx_em_sweeps(m, b) || (sx_em_plane(m, id) && !sx_em_plane(m, b));
        if (!wider || sx_em_plane(m, b) || m->stored[b]) continue;
        m->stored[b] = 1;
        e->basis[e->n_basis++] = b;
    }
}

static size_t sink_of(sx_em *m, sx_axes axes)
{
    sx_emitted *e = m->e;
    size_t i = 0;
    while (i < e->n_sink && e->sink[i].axes != axes) i++;
    if (i == e->n_sink) e->sink[e->n_sink++] = (sx_emit_sink){.axes = axes, .first = -1};
    return i;
}

static void list_sinks(sx_em *m)
{
    for (size_t i = 0; i < m->s->n_sum; i++) m->e->sum_sink[i] = sink_of(m, sx_em_sweeps(m, m->s->sum[i]));
    for (size_t i = 0; i < m->s->n_map; i++) m->e->map_sink[i] = sink_of(m, sx_em_sweeps(m, m->s->map[i]));
    for (size_t i = 0; i < m->e->n_sink; i++) {
        sx_em_nest(m, m->e->sink[i].axes);
        if (m->n_nest) m->e->sink[i].first = m->nest[0];
    }
}

static void lay_out_par(sx_em *m)
{
    sx_emitted *e = m->e;
    e->par_import = e->n_axis;
    e->par_power = e->par_import + e->n_import;
    e->par_basis = e->par_power + e->n_power;
    e->par_sink = e->par_basis + e->n_basis;
    e->par_sum = e->par_sink + 2 * e->n_sink;
    e->par_map = e->par_sum + m->s->n_sum;
    e->n_par = e->par_map + m->s->n_map;
    if (e->n_par == 0) e->n_par = 1;
}

/* Small records without sweep axes, which are as long as the text says. */
static void choose_own(sx_em *m)
{
    enum { MOST = 256 };         /* of shared memory: 8 KiB */
    const size_t classes = m->s->info->classes;
    size_t rec = 0;
    for (size_t i = 0; m->s->fast && i < m->s->n_sum; i++) {
        const sx_axes axes = sx_em_node(m, m->s->sum[i])->axes;
        if (axes & SX_SWEEP_MASK) return;
        rec += (axes & SX_AX_C ? classes : 1) * (axes & SX_AX_L ? classes : 1);
    }
    if (rec <= MOST) m->e->own = rec;
}

/* -- The nest of a sink ------------------------------------------------------------------------------ */

/* Outermost the axis that most nodes have alone: they are then computed once per value of it. */
void sx_em_nest(sx_em *m, sx_axes axes)
{
    size_t alone[SX_MAX_SWEEP] = {0};
    m->n_nest = 0;
    for (size_t i = 0; i < m->n_order; i++)
        for (int a = 0; a < sx_graph_axes(m->g); a++)
            alone[a] += sx_em_pixel(m, m->order[i]) && sx_em_sweeps(m, m->order[i]) == SX_AX_SWEEP(a);
    for (int a = 0; a < sx_graph_axes(m->g); a++) {
        if (!(axes & SX_AX_SWEEP(a))) continue;
        int at = m->n_nest++;
        for (; at > 0 && alone[m->nest[at - 1]] < alone[a]; at--) m->nest[at] = m->nest[at - 1];
        m->nest[at] = a;
    }
    for (size_t i = 0; i < m->n_order; i++) {
        sx_axes have = 0, own = sx_em_sweeps(m, m->order[i]);
        int d = 0;
        for (; d < m->n_nest && (own & ~have); d++) have |= SX_AX_SWEEP(m->nest[d]);
        m->depth[m->order[i]] = own & ~have ? m->n_nest + 1 : d;   /* not of this sink */
    }
}

/* -- The door ---------------------------------------------------------------------------------------- */

void sx_emitted_free(sx_emitted *e)
{
    if (!e) return;
    sx_free(e->text);
    sx_free(e->axis);
    sx_free(e->import);
    sx_free(e->power);
    sx_free(e->basis);
    sx_free(e->field);
    sx_free(e->sink);
    sx_free(e->sum_sink);
    sx_free(e->map_sink);
    sx_free(e);
}

static bool make_room(sx_em *m, const sx_emit_spec *s)
{
    const size_t n = m->n_ids, sinks = s->n_sum + s->n_map + 1;
    m->order = sx_calloc(n, sizeof *m->order);
    m->need = sx_calloc(n, 1);
    m->stored = sx_calloc(n, 1);
    m->num = sx_calloc(n, sizeof *m->num);
    m->in = sx_calloc(n, 1);
    m->depth = sx_calloc(n, sizeof *m->depth);
    m->row_level = sx_calloc(n, sizeof *m->row_level);
    m->plane_level = sx_calloc(n, sizeof *m->plane_level);
    m->body = sx_calloc(n, 1);
    sx_emitted *e = m->e = sx_calloc(1, sizeof *e);
    if (!m->order || !m->need || !m->stored || !m->num || !m->in || !m->depth || !m->row_level || !m->plane_level || !m->body ||
        !e)
        return false;
    e->axis = sx_calloc(SX_MAX_SWEEP, sizeof *e->axis);
    e->import = sx_calloc(n, sizeof *e->import);
    e->power = sx_calloc(n, sizeof *e->power);
    e->basis = sx_calloc(n, sizeof *e->basis);
    e->field = sx_calloc(n, sizeof *e->field);
    e->sink = sx_calloc(sinks, sizeof *e->sink);
    e->sum_sink = sx_calloc(sinks, sizeof *e->sum_sink);
    e->map_sink = sx_calloc(sinks, sizeof *e->map_sink);
    return e->axis && e->import && e->power && e->basis && e->field && e->sink && e->sum_sink && e->map_sink;
}

sx_err sx_emit(const sx_emit_spec *s, sx_emitted **out, sx_error *er)
{
    sx_em m = {.s = s, .g = s->g, .n_ids = sx_graph_size(s->g) + 1};
    sx_err e = make_room(&m, s) ? SX_EOK : sx_nomem(er);
    *out = NULL;
    if (!e) e = find_nodes(&m, er);
    if (!e) {
        list_all(&m);
        list_sinks(&m);
        lay_out_par(&m);
        choose_own(&m);
        if (m.e->n_par > SX_CUDA_PAR) e = sx_fail(er, SX_EARG, "%zu sums and parameters are too many for one kernel", m.e->n_par);
    }
    if (!e) {
        sx_em_print(&m);
        if (m.nomem) e = sx_nomem(er);
        else if (m.too_long) e = sx_fail(er, SX_EARG, "the expression is too long for one kernel");
    }
    sx_free(m.order);
    sx_free(m.need);
    sx_free(m.stored);
    sx_free(m.num);
    sx_free(m.in);
    sx_free(m.depth);
    sx_free(m.row_level);
    sx_free(m.plane_level);
    sx_free(m.body);
    if (m.e) m.e->text = m.text;
    else sx_free(m.text);
    if (e) sx_emitted_free(m.e);
    else *out = m.e;
    return e;
}
