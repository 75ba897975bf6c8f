/* print_pixel.c: what a thread computes of its pixels: rows (a number per pixel), planes (one per class too), the loops over the
 * classes that reduce planes to rows, in the order of their levels (emit_impl.h). */
#include "cuda/print.h"

#include <stdio.h>
#include <string.h>

/* -- Text ------------------------------------------------------------------------------------------ */

static bool room(sx_em *m, size_t n)
{
    if (m->nomem) return false;
    if (m->len + n + 1 <= m->cap) return true;
    size_t cap = 2 * m->cap + n + 4096;
    char *t = sx_realloc(m->text, cap);
    if (!t) {
        m->nomem = true;
        return false;
    }
    m->text = t;
    m->cap = cap;
    return true;
}

void sx_append(sx_em *m, const void *p, size_t n)
{
    if (!room(m, n)) return;
    memcpy(m->text + m->len, p, n);
    m->text[m->len += n] = '\0';
}

void sx_say(sx_em *m, const char *fmt, ...)
{
    char line[4000];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line - 1, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof line - 1) {
        m->too_long = true;
        return;
    }
    if (line[0] == '}' || strcmp(line, "SX_END") == 0) m->indent--;
    for (int i = 0; i < m->indent; i++) sx_append(m, "    ", 4);
    line[n++] = '\n';
    sx_append(m, line, (size_t)n);
    if (n > 1 && (line[n - 2] == '{' || strncmp(line, "SX_PHASE", 8) == 0)) m->indent++;
}

sx_name sx_named(sx_em *m, const char *fmt, ...)
{
    sx_name r;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(r.s, sizeof r.s, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof r.s) m->too_long = true;
    return r;
}

const char *const sx_em_op_text[SX_OP_COUNT] = {
#define SX_EW(name, args, value, da, db, dc, probes, doc) [SX_OP_##name] = #value,
#include "graph/ops.def"
};

/* -- Names ------------------------------------------------------------------------------------------ */

sx_name sx_em_var(sx_em *m, sx_id id, const char *part)
{
    return sx_named(m, m->inner && m->depth[id] == m->cur ? "n%u%s" : "L(n%u%s)", m->num[id], part);
}

static sx_name at_v(sx_em *m, sx_id id, const char *part) { return sx_named(m, "%s[v]", sx_em_var(m, id, part).s); }

sx_name sx_em_combination(sx_em *m, sx_axes axes, const sx_emit_sink *sink)
{
    sx_name r = {"0"};
    for (int a = 0; a < sx_graph_axes(m->g); a++) {
        if (!(axes & SX_AX_SWEEP(a))) continue;
        const bool part = sink && sink->first == a;
        const size_t i = sx_em_axis(m, a);
        sx_name own = sx_named(m, part ? "(i%zu - lo)" : "i%zu", i), count = part ? sx_named(m, "(hi - lo)") : sx_named(m, "N%zu", i);
        r = r.s[0] == '0' ? own : sx_named(m, "(%s) * %s + %s", r.s, count.s, own.s);
    }
    return r;
}

/* What no pixel knows: a number, or the entry of class c. */
static sx_name import(sx_em *m, sx_id id)
{
    const size_t i = sx_em_import(m, id);
    if (!(sx_em_node(m, id)->axes & SX_AX_C)) return sx_named(m, "p%zu", i);
    return sx_named(m, "SX_GET(k.imp + O%zu + (%s) * SX_CLASSES + c)", i, sx_em_combination(m, sx_em_sweeps(m, id), NULL).s);
}

sx_name sx_em_value(sx_em *m, sx_id id)
{
    if (!sx_em_pixel(m, id)) return import(m, id);
    if (sx_em_plane(m, id)) return sx_named(m, "n%u", m->num[id]);
    return at_v(m, id, "");
}

static sx_name power_of(sx_em *m, sx_id id)
{
    const bool by_class = (sx_em_node(m, id)->axes & SX_AX_C) != 0;
    sx_name c = sx_em_combination(m, sx_em_sweeps(m, id), NULL);
    return sx_named(m, by_class ? "k.pow + P%zu + (%s) * SX_CLASSES + c" : "k.pow + P%zu + (%s)", sx_em_power(m, id), c.s);
}

/* Mode fast: powers of what is never negative take less. */
static const char *positive(const sx_em *m, sx_id basis)
{
    const sx_op op = (sx_op)sx_em_node(m, sx_em_node(m, basis)->arg[0])->op;
    return m->s->fast && (op == SX_OP_u || op == SX_OP_pt || op == SX_OP_p || op == SX_OP_ce) ? "_pos" : "";
}

/* -- Levels ------------------------------------------------------------------------------------------- */

static int larger(int a, int b) { return a > b ? a : b; }
static int plane_level(sx_em *m, sx_id id);

/* A target state of two classes: nothing to reduce. */
static bool is_pair(const sx_em *m, sx_id id) { return sx_em_node(m, id)->op == SX_OP_tgt && m->s->info->classes == 2; }

/* Loops over the classes that a node needs: one for a sum, two where the largest must be known first. */
static int loops_of(const sx_em *m, sx_id id)
{
    switch (sx_em_node(m, id)->op) {
    case SX_OP_logsumexp:
    case SX_OP_softmax:
    case SX_OP_log_softmax: return m->s->fast ? 1 : 2;
    case SX_OP_tgt: return m->s->fast || is_pair(m, id) ? 1 : 2;
    default: return 1;
    }
}

/* The level from which on the node's row (or the state that a plane is computed from) is known. */
static int row_level(sx_em *m, sx_id id)
{
    if (!sx_em_pixel(m, id) || m->depth[id] < m->cur) return 0;
    if (m->row_level[id] >= 0) return m->row_level[id];
    const sx_node *n = sx_em_node(m, id);
    int lv = 0;
    switch (sx_em_class(m, id)) {
    case SX_CL_CRED:
    case SX_CL_CMAP:
    case SX_CL_TGT: lv = plane_level(m, n->arg[0]) + loops_of(m, id) - 1; break;
    case SX_CL_PICK:
        lv = row_level(m, n->arg[1]);
        if (sx_em_plane(m, n->arg[0])) lv = larger(lv, plane_level(m, n->arg[0]) - 1);
        break;
    default:
        for (int i = 0; i < sx_em_args(m, id); i++)
            if (!sx_em_plane(m, n->arg[i])) lv = larger(lv, row_level(m, n->arg[i]));
    }
    return m->row_level[id] = lv;
}

/* The first loop over the classes in which a plane can be computed. */
static int plane_level(sx_em *m, sx_id id)
{
    if (m->depth[id] < m->cur) return 1;
    if (m->plane_level[id] >= 0) return m->plane_level[id];
    const sx_node *n = sx_em_node(m, id);
    int lv = 1;
    switch (sx_em_class(m, id)) {
    case SX_CL_CMAP: lv = row_level(m, id) + 1; break;
    case SX_CL_TSOFT: lv = row_level(m, n->arg[0]) + 1; break;
    default:
        for (int i = 0; i < sx_em_args(m, id); i++) {
            const sx_id x = n->arg[i];
            if (sx_em_plane(m, x)) lv = larger(lv, plane_level(m, x));
            else if (sx_em_pixel(m, x)) lv = larger(lv, row_level(m, x) + 1);
        }
    }
    return m->plane_level[id] = lv;
}

/* -- Planes: inside a loop over the classes ------------------------------------------------------------- */

void sx_em_mark_body(sx_em *m, sx_id id)
{
    if (!sx_em_plane(m, id) || m->body[id]) return;
    m->body[id] = 1;
    const sx_node *n = sx_em_node(m, id);
    if (n->op == SX_OP_p || n->op == SX_OP_dir) sx_em_mark_body(m, sx_em_node(m, n->arg[0])->arg[0]);
    else if (n->op == SX_OP_powb) sx_em_mark_body(m, n->arg[0]);
    else
        for (int i = 0; i < sx_em_args(m, id); i++) sx_em_mark_body(m, n->arg[i]);
}

bool sx_em_reads_logits(const sx_em *m)
{
    for (size_t i = 0; i < m->n_order; i++)
        if (m->body[m->order[i]] && sx_em_node(m, m->order[i])->op == SX_OP_logits) return true;
    return false;
}

/* What calls functions counts four. */
bool sx_em_long_body(const sx_em *m)
{
    int work = 0;
    for (size_t i = 0; i < m->n_order; i++) {
        const sx_id id = m->order[i];
        const char *does = sx_em_op_text[sx_em_node(m, id)->op];
        if (m->body[id]) work += sx_em_class(m, id) != SX_CL_EW ? 3 : does && strstr(does, "F_") ? 4 : 1;
    }
    return work > 16;
}

static void say_plane(sx_em *m, sx_id id, const char *x)
{
    const sx_node *n = sx_em_node(m, id);
    const unsigned k = m->num[id];
    sx_name q[3] = {{""}, {""}, {""}};
    for (int i = 0; i < sx_em_args(m, id); i++)
        if (sx_em_class(m, id) == SX_CL_EW) q[i] = sx_em_value(m, n->arg[i]);
    switch (n->op) {
    case SX_OP_logits: sx_say(m, "const T n%u = sx_logits(%s, c);", k, x); return;
    case SX_OP_onehot: sx_say(m, "const T n%u = %s == (T)c ? C(1) : C(0);", k, sx_em_value(m, n->arg[0]).s); return;
    case SX_OP_softmax:
        sx_say(m, "const T n%u = sx_exp_from(%s, %s) * %s;", k, sx_em_value(m, n->arg[0]).s, at_v(m, id, "_m").s, at_v(m, id, "_s").s);
        return;
    case SX_OP_log_softmax:
        sx_say(m, "const T n%u = (%s - %s) - %s;", k, sx_em_value(m, n->arg[0]).s, at_v(m, id, "_m").s, at_v(m, id, "_s").s);
        return;
    case SX_OP_p:
    case SX_OP_dir: {
        const sx_id t = n->arg[0];
        sx_say(m, "const T n%u = sx_%s(%s, c, L(y)[v], %s, %s, %s);", k, sx_op_name((sx_op)n->op),
               sx_em_value(m, sx_em_node(m, t)->arg[0]).s,
            at_v(m, id, "_m").s, at_v(m, id, "_by").s, n->op == SX_OP_p ? at_v(m, id, "_own").s : "C(1)");
        return;
    }
    case SX_OP_pick: {                    /* a row of a matrix */
        const sx_id a = n->arg[0];
        sx_say(m, "const T n%u = SX_GET(k.imp + O%zu + ((%s) * SX_CLASSES + sx_index(%s)) * SX_CLASSES + c);", k,
            sx_em_import(m, a), sx_em_combination(m, sx_em_sweeps(m, a), NULL).s, sx_em_value(m, n->arg[1]).s);
        return;
    }
    case SX_OP_basis: sx_say(m, "const T n%u = %s;", k, sx_em_value(m, n->arg[0]).s); return;
    case SX_OP_powb: {
        const sx_id b = n->arg[0];
        if (m->stored[b]) sx_say(m, "const T n%u = sx_power%s(%s + SX_BASIS * v, %s);", k, positive(m, b), sx_em_var(m, b, "").s, power_of(m, n->arg[1]).s);
        else sx_say(m, "const T n%u = sx_power1%s(%s, %s);", k, positive(m, b), sx_em_value(m, sx_em_plane(m, b) ? b : sx_em_node(m, b)->arg[0]).s,
                 power_of(m, n->arg[1]).s);
        return;
    }
    default: break;
    }
    const char *op = sx_op_name((sx_op)n->op);
    if (n->n_arg == 1) sx_say(m, "const T n%u = sx_op_%s(%s);", k, op, q[0].s);
    else if (n->n_arg == 2) sx_say(m, "const T n%u = sx_op_%s(%s, %s);", k, op, q[0].s, q[1].s);
    else sx_say(m, "const T n%u = sx_op_%s(%s, %s, %s);", k, op, q[0].s, q[1].s, q[2].s);
}

void sx_em_say_body(sx_em *m, const char *x)
{
    for (size_t i = 0; i < m->n_order; i++)
        if (m->body[m->order[i]]) say_plane(m, m->order[i], x);
}

/* -- Loops over the classes that reduce ------------------------------------------------------------------ */

/* The loop in which a node of this depth starts to reduce its argument; 0: none. */
static int first_loop(sx_em *m, sx_id id)
{
    if (!m->in[id] || m->depth[id] != m->cur) return 0;
    sx_class cl = sx_em_class(m, id);
    return cl == SX_CL_CRED || cl == SX_CL_CMAP || cl == SX_CL_TGT ? plane_level(m, sx_em_node(m, id)->arg[0]) : 0;
}

/* Is it reduced in loop lv, and is that the second loop of those that need two? */
static bool reduced_in(sx_em *m, sx_id id, int lv, bool *second)
{
    int first = first_loop(m, id);
    *second = first && lv == first + 1 && loops_of(m, id) == 2;
    return first && (lv == first || *second);
}

static bool of_exps(const sx_em *m, sx_id id)
{
    switch (sx_em_node(m, id)->op) {
    case SX_OP_logsumexp:
    case SX_OP_softmax:
    case SX_OP_log_softmax:
    case SX_OP_tgt: return true;
    default: return false;
    }
}

/* What the sum of a loop starts from. */
static void say_start(sx_em *m, sx_id id, bool second)
{
    const sx_op op = (sx_op)sx_em_node(m, id)->op;
    if (is_pair(m, id)) return;
    if (m->s->fast && of_exps(m, id)) {
        sx_say(m, "SX_EACH(v) %s = C(-1e38), %s = C(0);", at_v(m, id, "_m").s, at_v(m, id, "_s").s);
    } else if (second && op == SX_OP_tgt) {
        sx_say(m, "T q%u[4][SX_V];", m->num[id]);
        sx_say(m, "SX_UNROLL for (int q = 0; q < 4; q++) SX_EACH(v) q%u[q][v] = C(0);", m->num[id]);
    } else if (second) {
        sx_say(m, "SX_EACH(v) %s = C(0);", at_v(m, id, "_s").s);
    } else if (of_exps(m, id)) {
        sx_say(m, "SX_EACH(v) %s = C(-3e38);", at_v(m, id, "_m").s);
    } else if (op == SX_OP_argmax) {
        sx_say(m, "SX_EACH(v) %s = C(0);", at_v(m, id, "_m").s);
    } else if (op == SX_OP_csum) {
        sx_say(m, "SX_EACH(v) %s = C(-0.0);", at_v(m, id, "").s);    /* -0 + x = x, for 0 and -0 too */
    }
}

/* What a class adds at a pixel; values of whose exponentials a sum is made wait for the whole group. */
static void say_step(sx_em *m, sx_id id)
{
    const sx_node *n = sx_em_node(m, id);
    sx_name x = sx_em_value(m, n->arg[0]), d = at_v(m, id, "");
    if (of_exps(m, id)) {
        sx_say(m, "w%u[q][v] = %s;", m->num[id], x.s);
        return;
    }
    switch (n->op) {
    case SX_OP_csum: sx_say(m, "%s = %s + %s;", d.s, d.s, x.s); break;
    case SX_OP_cmax: sx_say(m, "%s = c == 0 || %s > %s ? %s : %s;", d.s, x.s, d.s, x.s, d.s); break;
    case SX_OP_argmax: {
        sx_name m_ = at_v(m, id, "_m");
        sx_say(m, "%s = c == 0 ? C(0) : %s > %s ? (T)c : %s;", d.s, x.s, m_.s, d.s);
        sx_say(m, "%s = c == 0 || %s > %s ? %s : %s;", m_.s, x.s, m_.s, x.s, m_.s);
        break;
    }
    default: break;
    }
}

/* What a whole group of n classes adds. */
static void say_group(sx_em *m, sx_id id, bool second, size_t n)
{
    const bool target = sx_em_node(m, id)->op == SX_OP_tgt;
    sx_name m_ = sx_em_var(m, id, "_m"), s_ = sx_em_var(m, id, "_s");
    const unsigned k = m->num[id];
    if (!of_exps(m, id)) return;
    if (is_pair(m, id)) {
        sx_say(m, "sx_pair(w%u, L(y), %s, %s, %s);", k, m_.s, sx_em_var(m, id, "_x").s, s_.s);
        return;
    }
    if (target) sx_say(m, "if (sx_near(L(y), c0, %zu)) sx_without(w%u, %zu, L(y), c0);", n, k, n);
    if (m->s->fast) sx_say(m, "sx_online(w%u, %zu, %s, %s);", k, n, m_.s, s_.s);
    else if (!second) sx_say(m, "sx_most(w%u, %zu, %s);", k, n, m_.s);
    else if (target) sx_say(m, "sx_tgt_exps(w%u, %zu, %s, q%u);", k, n, m_.s, k);
    else sx_say(m, "sx_exps(w%u, %zu, %s, %s);", k, n, m_.s, s_.s);
}

size_t sx_em_open_group(sx_em *m, int part, size_t size)
{
    const size_t classes = m->s->info->classes, whole = classes / size * size, n = part ? classes - whole : whole ? size : 0;
    if (n == 0) return 0;
    if (part || whole == size) {
        sx_say(m, "{");
        sx_say(m, "const int c0 = %zu;", part ? whole : 0);
    } else {
        sx_say(m, "SX_CLASS_LOOP for (int c0 = 0; c0 < %zu; c0 += %zu) {", whole, size);
    }
    return n;
}

/* Logits of n classes from c0 on, as x[q][v]. */
static void say_loads(sx_em *m, size_t n)
{
    sx_say(m, "T x[%zu][SX_V];", n);
    sx_say(m, "const sx_logit *from = SX_CHANNEL(c0) + tid * SX_V;");
    sx_say(m, "SX_UNROLL for (int q = 0; q < %zu; q++, from += SX_STEP) sx_load(x[q], from);", n);
}

static void say_class_loop(sx_em *m, int lv)
{
    bool second, any = false, exps = false;
    memset(m->body, 0, m->n_ids);
    for (size_t i = 0; i < m->n_order; i++)
        if (reduced_in(m, m->order[i], lv, &second)) {
            any = true;
            exps |= of_exps(m, m->order[i]);
            sx_em_mark_body(m, sx_em_node(m, m->order[i])->arg[0]);
            say_start(m, m->order[i], second);
        }
    const size_t size = !exps && sx_em_long_body(m) ? 1 : sx_em_group(m);
    if (any && sx_em_reads_logits(m)) m->e->sweeps++;
    for (int part = 0; any && part < 2; part++) {
        const size_t n = sx_em_open_group(m, part, size);
        if (n == 0) continue;
        if (sx_em_reads_logits(m)) say_loads(m, n);
        for (size_t i = 0; i < m->n_order; i++)
            if (reduced_in(m, m->order[i], lv, &second) && of_exps(m, m->order[i])) sx_say(m, "T w%u[%zu][SX_V];", m->num[m->order[i]], n);
        sx_say(m, "SX_UNROLL for (int q = 0; q < %zu; q++) {", n);
        sx_say(m, "const int c = c0 + q;");
        sx_say(m, "SX_EACH(v) {");
        sx_em_say_body(m, "x[q][v]");
        for (size_t i = 0; i < m->n_order; i++)
            if (reduced_in(m, m->order[i], lv, &second)) say_step(m, m->order[i]);
        sx_say(m, "}");
        sx_say(m, "(void)c;");
        sx_say(m, "}");
        for (size_t i = 0; i < m->n_order; i++)
            if (reduced_in(m, m->order[i], lv, &second)) say_group(m, m->order[i], second, n);
        sx_say(m, "}");
    }
}

/* -- Rows ------------------------------------------------------------------------------------------------ */

const char *const *sx_em_parts(const sx_em *m, sx_id id)
{
    static const char *const row[] = {"", NULL}, *const none[] = {NULL}, *const max[] = {"", "_m", NULL},
                      *const lse[] = {"", "_m", "_s", NULL}, *const soft[] = {"_m", "_s", NULL},
                      *const tgt[] = {"_m", "_x", "_s", "_d", "_z", "_e", "_f", NULL}, *const p[] = {"_m", "_by", "_own", NULL},
                      *const dir[] = {"_m", "_by", NULL};
    switch (sx_em_node(m, id)->op) {
    case SX_OP_argmax: return max;
    case SX_OP_logsumexp: return lse;
    case SX_OP_softmax:
    case SX_OP_log_softmax: return soft;
    case SX_OP_tgt: return tgt;
    case SX_OP_p: return p;
    case SX_OP_dir: return dir;
    case SX_OP_basis: return m->stored[id] ? row : none;
    default: return sx_em_plane(m, id) ? none : row;
    }
}

bool sx_em_at_depth(const sx_em *m, sx_id id) { return m->in[id] && sx_em_pixel(m, id) && m->depth[id] == m->cur; }

void sx_em_say_variables(sx_em *m)
{
    for (size_t i = 0; i < m->n_order; i++) {
        const sx_id id = m->order[i];
        if (!sx_em_at_depth(m, id)) continue;
        const char *size = sx_em_node(m, id)->op == SX_OP_basis ? "SX_BASIS * SX_V" : "SX_V";
        for (const char *const *p = sx_em_parts(m, id); *p; p++) {
            if (m->inner) sx_say(m, "T n%u%s[%s];", m->num[id], *p, size);
            else sx_say(m, "SX_LOCAL(T, n%u%s, %s);", m->num[id], *p, size);
        }
    }
}

/* The value of a plane at the class that a row names: computed there and nowhere else. */
static void say_pick(sx_em *m, sx_id id)
{
    const sx_node *n = sx_em_node(m, id);
    sx_name d = at_v(m, id, ""), index = sx_em_value(m, n->arg[1]);
    if (!sx_em_plane(m, n->arg[0])) {
        const sx_id a = n->arg[0];
        sx_say(m, "%s = SX_GET(k.imp + O%zu + (%s) * SX_CLASSES + sx_index(%s));", d.s, sx_em_import(m, a),
            sx_em_combination(m, sx_em_sweeps(m, a), NULL).s, index.s);
        return;
    }
    memset(m->body, 0, m->n_ids);
    sx_em_mark_body(m, n->arg[0]);
    sx_say(m, "{");
    sx_say(m, "const int c = sx_index(%s);", index.s);
    if (sx_em_reads_logits(m)) sx_say(m, "const T x1 = sx_load1(SX_CHANNEL(c) + tid * SX_V + v);");
    sx_em_say_body(m, "x1");
    sx_say(m, "%s = %s;", d.s, sx_em_value(m, n->arg[0]).s);
    sx_say(m, "}");
}

/* The label's own value: computed there. */
static void say_target_x(sx_em *m, sx_id id)
{
    const sx_id x = sx_em_node(m, id)->arg[0];
    memset(m->body, 0, m->n_ids);
    sx_em_mark_body(m, x);
    sx_say(m, "if (L(y)[v] < SX_CLASSES) {");
    sx_say(m, "const int c = L(y)[v];");
    if (sx_em_reads_logits(m)) sx_say(m, "const T x1 = sx_load1(SX_CHANNEL(c) + tid * SX_V + v);");
    sx_em_say_body(m, "x1");
    sx_say(m, "%s = %s;", at_v(m, id, "_x").s, sx_em_value(m, x).s);
    sx_say(m, "} else {");
    sx_say(m, "%s = C(0);", at_v(m, id, "_x").s);
    sx_say(m, "}");
}

static void say_target(sx_em *m, sx_id id)
{
    static const char *const part[] = {"_m", "_x", "_s", "_d", "_z", "_e", "_f"};
    sx_name q[7];
    for (int i = 0; i < 7; i++) q[i] = at_v(m, id, part[i]);
    const unsigned k = m->num[id];
    if (!is_pair(m, id)) say_target_x(m, id);
    if (!m->s->fast && !is_pair(m, id)) sx_say(m, "%s = (q%u[0][v] + q%u[1][v]) + (q%u[2][v] + q%u[3][v]);", q[2].s, k, k, k, k);
    sx_say(m, "%s(%s, %s, %s, &%s, &%s, &%s, &%s);", m->s->fast ? "sx_fast_target" : "NAME(px_target)", q[0].s, q[1].s, q[2].s, q[3].s,
        q[4].s, q[5].s, q[6].s);
}

static void say_soft(sx_em *m, sx_id id)
{
    const sx_id t = sx_em_node(m, id)->arg[0];
    const bool p = sx_em_node(m, id)->op == SX_OP_p;
    if (m->s->fast && p) {
        sx_say(m, "%s = sx_fast_p(L(y)[v] < SX_CLASSES, %s, %s, %s, %s, %s, &%s);", at_v(m, id, "_by").s, at_v(m, t, "_m").s,
               at_v(m, t, "_x").s,
            at_v(m, t, "_d").s, at_v(m, t, "_z").s, at_v(m, t, "_f").s, at_v(m, id, "_m").s);
        sx_say(m, "%s = C(0);", at_v(m, id, "_own").s);
        return;
    }
    sx_say(m, "%s = %s;", at_v(m, id, "_m").s, at_v(m, t, "_m").s);
    if (p) {
        sx_say(m, "%s = %s;", at_v(m, id, "_by").s, at_v(m, t, "_f").s);
        sx_say(m, "%s = NAME(px_pt)(%s, %s);", at_v(m, id, "_own").s, at_v(m, t, "_z").s, at_v(m, t, "_e").s);
    } else {
        sx_say(m, "%s = NAME(px_dir_by)(%s);", at_v(m, id, "_by").s, at_v(m, t, "_s").s);
    }
}

static void say_row(sx_em *m, sx_id id)
{
    const sx_node *n = sx_em_node(m, id);
    sx_name d = at_v(m, id, ""), q[3];
    for (int i = 0; i < 3; i++)
        q[i] = sx_em_class(m, id) == SX_CL_EW && i < n->n_arg ? sx_em_value(m, n->arg[i]) : (sx_name){""};
    const sx_id t = n->arg[0];
    switch (n->op) {
    case SX_OP_labels: sx_say(m, "%s = (T)(L(y)[v] < SX_CLASSES ? L(y)[v] : 0);", d.s); return;
    case SX_OP_valid: sx_say(m, "%s = L(y)[v] < SX_CLASSES ? C(1) : C(0);", d.s); return;
    case SX_OP_field:
        sx_say(m, "%s = SX_GET((const T *)SX_GET(k.field + %zu) + k.at + tid * SX_V + v);", d.s, sx_em_field(m, n->attr));
        return;
    case SX_OP_csum:
    case SX_OP_cmax:
    case SX_OP_argmax: return;
    case SX_OP_logsumexp:
        if (m->s->fast) sx_say(m, "%s = sx_lse(%s, %s);", d.s, at_v(m, id, "_m").s, at_v(m, id, "_s").s);
        else sx_say(m, "%s = %s + F_LOG(%s);", d.s, at_v(m, id, "_m").s, at_v(m, id, "_s").s);
        return;
    case SX_OP_softmax: sx_say(m, "%s = C(1) / %s;", at_v(m, id, "_s").s, at_v(m, id, "_s").s); return;
    case SX_OP_log_softmax:
        if (m->s->fast) sx_say(m, "%s = sx_lse(%s, %s) - %s;", at_v(m, id, "_s").s, at_v(m, id, "_m").s, at_v(m, id, "_s").s,
                            at_v(m, id, "_m").s);
        else sx_say(m, "%s = F_LOG(%s);", at_v(m, id, "_s").s, at_v(m, id, "_s").s);
        return;
    case SX_OP_pick: say_pick(m, id); return;
    case SX_OP_tgt: say_target(m, id); return;
    case SX_OP_ce: sx_say(m, "%s = NAME(px_ce)(%s, %s);", d.s, at_v(m, t, "_d").s, at_v(m, t, "_z").s); return;
    case SX_OP_u: sx_say(m, "%s = NAME(px_u)(%s, %s, %s);", d.s, at_v(m, t, "_d").s, at_v(m, t, "_z").s, at_v(m, t, "_s").s); return;
    case SX_OP_pt: sx_say(m, "%s = NAME(px_pt)(%s, %s);", d.s, at_v(m, t, "_z").s, at_v(m, t, "_e").s); return;
    case SX_OP_logu:
        sx_say(m, "%s = NAME(px_logu)(%s, %s, %s, %s);", d.s, at_v(m, t, "_d").s, at_v(m, t, "_z").s, at_v(m, t, "_s").s,
            at_v(m, t, "_e").s);
        return;
    case SX_OP_p:
    case SX_OP_dir: say_soft(m, id); return;
    case SX_OP_basis:
        if (m->stored[id])
            sx_say(m, "sx_basis(%s + SX_BASIS * v, %s, B%zu);", sx_em_var(m, id, "").s, sx_em_value(m, t).s, sx_em_basis(m, id));
        return;
    case SX_OP_powb:
        if (m->stored[t]) sx_say(m, "%s = sx_power%s(%s + SX_BASIS * v, %s);", d.s, positive(m, t), sx_em_var(m, t, "").s, power_of(m, n->arg[1]).s);
        else sx_say(m, "%s = sx_power1%s(%s, %s);", d.s, positive(m, t), sx_em_value(m, sx_em_node(m, t)->arg[0]).s, power_of(m, n->arg[1]).s);
        return;
    default: break;
    }
    const char *op = sx_op_name((sx_op)n->op);
    if (n->n_arg == 1) sx_say(m, "%s = sx_op_%s(%s);", d.s, op, q[0].s);
    else if (n->n_arg == 2) sx_say(m, "%s = sx_op_%s(%s, %s);", d.s, op, q[0].s, q[1].s);
    else sx_say(m, "%s = sx_op_%s(%s, %s, %s);", d.s, op, q[0].s, q[1].s, q[2].s);
}

void sx_em_say_levels(sx_em *m)
{
    int last = 0;
    for (size_t i = 0; i < m->n_order; i++)
        if (sx_em_at_depth(m, m->order[i]) && *sx_em_parts(m, m->order[i])) {
            const sx_id id = m->order[i];
            if (row_level(m, id) > last) last = row_level(m, id);
        }
    for (int lv = 0; lv <= last; lv++) {
        bool open = false;
        if (lv > 0) say_class_loop(m, lv);
        for (size_t i = 0; i < m->n_order; i++) {
            const sx_id id = m->order[i];
            const sx_op op = (sx_op)sx_em_node(m, id)->op;
            if (!sx_em_at_depth(m, id) || !*sx_em_parts(m, id) || row_level(m, id) != lv) continue;
            if (op == SX_OP_csum || op == SX_OP_cmax || op == SX_OP_argmax) continue;
            if (!open) sx_say(m, "SX_EACH(v) {");
            open = true;
            say_row(m, id);
        }
        if (open) sx_say(m, "}");
    }
}
