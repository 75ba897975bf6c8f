/* print.c: the text of a kernel. Names: n<i> nodes (i: number of the node), p<i> imports that are one number, i<i> loops over
 * sweep axes; N<i>, O<i>, W<i> ...: entries of par. v: the thread's pixel, c: the class, y: labels. */
#include "cuda/emit_impl.h"

#include <stdio.h>
#include <string.h>

#include "cuda/parts.h"

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

static void append(sx_em *m, const void *p, size_t n)
{
    if (!room(m, n)) return;
    memcpy(m->text + m->len, p, n);
    m->text[m->len += n] = '\0';
}

/* One line; a line that ends in { indents what follows, one that starts with } ends that. */
static void SX_PRINTF(2, 3) say(sx_em *m, const char *fmt, ...)
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
    for (int i = 0; i < m->indent; i++) append(m, "    ", 4);
    line[n++] = '\n';
    append(m, line, (size_t)n);
    if (n > 1 && (line[n - 2] == '{' || strncmp(line, "SX_PHASE", 8) == 0)) m->indent++;
}

/* A short piece of text. What does not fit spoils the whole text (m->too_long), never a part of it silently. */
typedef struct name {
    char s[1000];
} name;

static name SX_PRINTF(2, 3) named(sx_em *m, const char *fmt, ...)
{
    name r;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(r.s, sizeof r.s, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof r.s) m->too_long = true;
    return r;
}

static const char *const op_value[SX_OP_COUNT] = {
#define SX_EW(name, args, value, da, db, dc, probes, doc) [SX_OP_##name] = #value,
#include "graph/ops.def"
};

/* -- Names ------------------------------------------------------------------------------------------ */

/* The variable of a row, or of a part of a node's state, without the pixel. */
static name var(sx_em *m, sx_id id, const char *part)
{
    return named(m, m->inner && m->depth[id] == m->cur ? "n%u%s" : "L(n%u%s)", m->num[id], part);
}

static name at_v(sx_em *m, sx_id id, const char *part) { return named(m, "%s[v]", var(m, id, part).s); }

/* Number of a combination of sweep axes; sink: as the sink's sums and maps count them (its first axis from lo on). */
static name combination(sx_em *m, sx_axes axes, const sx_emit_sink *sink)
{
    name r = {"0"};
    for (int a = 0; a < sx_graph_axes(m->g); a++) {
        if (!(axes & SX_AX_SWEEP(a))) continue;
        const bool part = sink && sink->first == a;
        const size_t i = sx_em_axis(m, a);
        name own = named(m, part ? "(i%zu - lo)" : "i%zu", i), count = part ? named(m, "(hi - lo)") : named(m, "N%zu", i);
        r = r.s[0] == '0' ? own : named(m, "(%s) * %s + %s", r.s, count.s, own.s);
    }
    return r;
}

/* What no pixel knows: a number, or the entry of class c. */
static name import(sx_em *m, sx_id id)
{
    const size_t i = sx_em_import(m, id);
    if (!(sx_em_node(m, id)->axes & SX_AX_C)) return named(m, "p%zu", i);
    return named(m, "SX_GET(k.imp + O%zu + (%s) * SX_CLASSES + c)", i, combination(m, sx_em_sweeps(m, id), NULL).s);
}

/* A value at pixel v (and class c). */
static name value(sx_em *m, sx_id id)
{
    if (!sx_em_pixel(m, id)) return import(m, id);
    if (sx_em_plane(m, id)) return named(m, "n%u", m->num[id]);
    return at_v(m, id, "");
}

static name power_of(sx_em *m, sx_id id)
{
    const bool by_class = (sx_em_node(m, id)->axes & SX_AX_C) != 0;
    name c = combination(m, sx_em_sweeps(m, id), NULL);
    return named(m, by_class ? "k.pow + P%zu + (%s) * SX_CLASSES + c" : "k.pow + P%zu + (%s)", sx_em_power(m, id), c.s);
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

static void mark_body(sx_em *m, sx_id id)
{
    if (!sx_em_plane(m, id) || m->body[id]) return;
    m->body[id] = 1;
    const sx_node *n = sx_em_node(m, id);
    if (n->op == SX_OP_p || n->op == SX_OP_dir) mark_body(m, sx_em_node(m, n->arg[0])->arg[0]);
    else if (n->op == SX_OP_powb) mark_body(m, n->arg[0]);
    else
        for (int i = 0; i < sx_em_args(m, id); i++) mark_body(m, n->arg[i]);
}

static bool body_reads_logits(const sx_em *m)
{
    for (size_t i = 0; i < m->n_order; i++)
        if (m->body[m->order[i]] && sx_em_node(m, m->order[i])->op == SX_OP_logits) return true;
    return false;
}

/* Is the body so long that unrolling gains nothing and costs the compiler its time? What calls functions counts four. */
static bool long_body(const sx_em *m)
{
    int work = 0;
    for (size_t i = 0; i < m->n_order; i++) {
        const sx_id id = m->order[i];
        const char *does = op_value[sx_em_node(m, id)->op];
        if (m->body[id]) work += sx_em_class(m, id) != SX_CL_EW ? 3 : does && strstr(does, "F_") ? 4 : 1;
    }
    return work > 16;
}

static void say_plane(sx_em *m, sx_id id, const char *x)
{
    const sx_node *n = sx_em_node(m, id);
    const unsigned k = m->num[id];
    name q[3] = {{""}, {""}, {""}};
    for (int i = 0; i < sx_em_args(m, id); i++)
        if (sx_em_class(m, id) == SX_CL_EW) q[i] = value(m, n->arg[i]);
    switch (n->op) {
    case SX_OP_logits: say(m, "const T n%u = sx_logits(%s, c);", k, x); return;
    case SX_OP_onehot: say(m, "const T n%u = %s == (T)c ? C(1) : C(0);", k, value(m, n->arg[0]).s); return;
    case SX_OP_softmax:
        say(m, "const T n%u = sx_exp_from(%s, %s) * %s;", k, value(m, n->arg[0]).s, at_v(m, id, "_m").s, at_v(m, id, "_s").s);
        return;
    case SX_OP_log_softmax:
        say(m, "const T n%u = (%s - %s) - %s;", k, value(m, n->arg[0]).s, at_v(m, id, "_m").s, at_v(m, id, "_s").s);
        return;
    case SX_OP_p:
    case SX_OP_dir: {
        const sx_id t = n->arg[0];
        say(m, "const T n%u = sx_%s(%s, c, L(y)[v], %s, %s, %s);", k, sx_op_name((sx_op)n->op), value(m, sx_em_node(m, t)->arg[0]).s,
            at_v(m, id, "_m").s, at_v(m, id, "_by").s, n->op == SX_OP_p ? at_v(m, id, "_own").s : "C(1)");
        return;
    }
    case SX_OP_pick: {                    /* a row of a matrix */
        const sx_id a = n->arg[0];
        say(m, "const T n%u = SX_GET(k.imp + O%zu + ((%s) * SX_CLASSES + sx_index(%s)) * SX_CLASSES + c);", k,
            sx_em_import(m, a), combination(m, sx_em_sweeps(m, a), NULL).s, value(m, n->arg[1]).s);
        return;
    }
    case SX_OP_basis: say(m, "const T n%u = %s;", k, value(m, n->arg[0]).s); return;
    case SX_OP_powb: {
        const sx_id b = n->arg[0];
        if (m->stored[b]) say(m, "const T n%u = sx_power(%s + SX_BASIS * v, %s);", k, var(m, b, "").s, power_of(m, n->arg[1]).s);
        else say(m, "const T n%u = sx_power1(%s, %s);", k, value(m, sx_em_plane(m, b) ? b : sx_em_node(m, b)->arg[0]).s,
                 power_of(m, n->arg[1]).s);
        return;
    }
    default: break;
    }
    const char *op = sx_op_name((sx_op)n->op);
    if (n->n_arg == 1) say(m, "const T n%u = sx_op_%s(%s);", k, op, q[0].s);
    else if (n->n_arg == 2) say(m, "const T n%u = sx_op_%s(%s, %s);", k, op, q[0].s, q[1].s);
    else say(m, "const T n%u = sx_op_%s(%s, %s, %s);", k, op, q[0].s, q[1].s, q[2].s);
}

static void say_body(sx_em *m, const char *x)
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
        say(m, "SX_EACH(v) %s = C(-1e38), %s = C(0);", at_v(m, id, "_m").s, at_v(m, id, "_s").s);
    } else if (second && op == SX_OP_tgt) {
        say(m, "T q%u[4][SX_V];", m->num[id]);
        say(m, "SX_UNROLL for (int q = 0; q < 4; q++) SX_EACH(v) q%u[q][v] = C(0);", m->num[id]);
    } else if (second) {
        say(m, "SX_EACH(v) %s = C(0);", at_v(m, id, "_s").s);
    } else if (of_exps(m, id)) {
        say(m, "SX_EACH(v) %s = C(-3e38);", at_v(m, id, "_m").s);
    } else if (op == SX_OP_argmax) {
        say(m, "SX_EACH(v) %s = C(0);", at_v(m, id, "_m").s);
    } else if (op == SX_OP_csum) {
        say(m, "SX_EACH(v) %s = C(-0.0);", at_v(m, id, "").s);    /* -0 + x = x, for 0 and -0 too */
    }
}

/* What a class adds at a pixel; values of whose exponentials a sum is made wait for the whole group. */
static void say_step(sx_em *m, sx_id id)
{
    const sx_node *n = sx_em_node(m, id);
    name x = value(m, n->arg[0]), d = at_v(m, id, "");
    if (of_exps(m, id)) {
        say(m, "w%u[q][v] = %s;", m->num[id], x.s);
        return;
    }
    switch (n->op) {
    case SX_OP_csum: say(m, "%s = %s + %s;", d.s, d.s, x.s); break;
    case SX_OP_cmax: say(m, "%s = c == 0 || %s > %s ? %s : %s;", d.s, x.s, d.s, x.s, d.s); break;
    case SX_OP_argmax: {
        name m_ = at_v(m, id, "_m");
        say(m, "%s = c == 0 ? C(0) : %s > %s ? (T)c : %s;", d.s, x.s, m_.s, d.s);
        say(m, "%s = c == 0 || %s > %s ? %s : %s;", m_.s, x.s, m_.s, x.s, m_.s);
        break;
    }
    default: break;
    }
}

/* What a whole group of n classes adds. */
static void say_group(sx_em *m, sx_id id, bool second, size_t n)
{
    const bool target = sx_em_node(m, id)->op == SX_OP_tgt;
    name m_ = var(m, id, "_m"), s_ = var(m, id, "_s");
    const unsigned k = m->num[id];
    if (!of_exps(m, id)) return;
    if (is_pair(m, id)) {
        say(m, "sx_pair(w%u, L(y), %s, %s, %s);", k, m_.s, var(m, id, "_x").s, s_.s);
        return;
    }
    if (target) say(m, "if (sx_near(L(y), c0, %zu)) sx_without(w%u, %zu, L(y), c0);", n, k, n);
    if (m->s->fast) say(m, "sx_online(w%u, %zu, %s, %s);", k, n, m_.s, s_.s);
    else if (!second) say(m, "sx_most(w%u, %zu, %s);", k, n, m_.s);
    else if (target) say(m, "sx_tgt_exps(w%u, %zu, %s, q%u);", k, n, m_.s, k);
    else say(m, "sx_exps(w%u, %zu, %s, %s);", k, n, m_.s, s_.s);
}

/* Opens the loop over the groups of `size` classes (part 0), or the block of those that are left over (part 1), c0 being the first
 * class; how many classes the group has, 0: there is no such part. */
static size_t open_group(sx_em *m, int part, size_t size)
{
    const size_t classes = m->s->info->classes, whole = classes / size * size, n = part ? classes - whole : whole ? size : 0;
    if (n == 0) return 0;
    if (part || whole == size) {
        say(m, "{");
        say(m, "const int c0 = %zu;", part ? whole : 0);
    } else {
        say(m, "SX_CLASS_LOOP for (int c0 = 0; c0 < %zu; c0 += %zu) {", whole, size);
    }
    return n;
}

/* Logits of n classes from c0 on, as x[q][v]. */
static void say_loads(sx_em *m, size_t n)
{
    say(m, "T x[%zu][SX_V];", n);
    say(m, "const sx_logit *from = SX_CHANNEL(c0) + tid * SX_V;");
    say(m, "SX_UNROLL for (int q = 0; q < %zu; q++, from += SX_STEP) sx_load(x[q], from);", n);
}

static void say_class_loop(sx_em *m, int lv)
{
    bool second, any = false, exps = false;
    memset(m->body, 0, m->n_ids);
    for (size_t i = 0; i < m->n_order; i++)
        if (reduced_in(m, m->order[i], lv, &second)) {
            any = true;
            exps |= of_exps(m, m->order[i]);
            mark_body(m, sx_em_node(m, m->order[i])->arg[0]);
            say_start(m, m->order[i], second);
        }
    const size_t size = !exps && long_body(m) ? 1 : sx_em_group(m);
    for (int part = 0; any && part < 2; part++) {
        const size_t n = open_group(m, part, size);
        if (n == 0) continue;
        if (body_reads_logits(m)) say_loads(m, n);
        for (size_t i = 0; i < m->n_order; i++)
            if (reduced_in(m, m->order[i], lv, &second) && of_exps(m, m->order[i])) say(m, "T w%u[%zu][SX_V];", m->num[m->order[i]], n);
        say(m, "SX_UNROLL for (int q = 0; q < %zu; q++) {", n);
        say(m, "const int c = c0 + q;");
        say(m, "SX_EACH(v) {");
        say_body(m, "x[q][v]");
        for (size_t i = 0; i < m->n_order; i++)
            if (reduced_in(m, m->order[i], lv, &second)) say_step(m, m->order[i]);
        say(m, "}");
        say(m, "(void)c;");
        say(m, "}");
        for (size_t i = 0; i < m->n_order; i++)
            if (reduced_in(m, m->order[i], lv, &second)) say_group(m, m->order[i], second, n);
        say(m, "}");
    }
}

/* -- Rows ------------------------------------------------------------------------------------------------ */

/* Parts of the state that a node keeps per pixel; "" is the value itself. NULL ends the list. */
static const char *const *parts_of(const sx_em *m, sx_id id)
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

static bool at_depth(const sx_em *m, sx_id id) { return m->in[id] && sx_em_pixel(m, id) && m->depth[id] == m->cur; }

static void say_variables(sx_em *m)
{
    for (size_t i = 0; i < m->n_order; i++) {
        const sx_id id = m->order[i];
        if (!at_depth(m, id)) continue;
        const char *size = sx_em_node(m, id)->op == SX_OP_basis ? "SX_BASIS * SX_V" : "SX_V";
        for (const char *const *p = parts_of(m, id); *p; p++) {
            if (m->inner) say(m, "T n%u%s[%s];", m->num[id], *p, size);
            else say(m, "SX_LOCAL(T, n%u%s, %s);", m->num[id], *p, size);
        }
    }
}

/* The value of a plane at the class that a row names: computed there and nowhere else. */
static void say_pick(sx_em *m, sx_id id)
{
    const sx_node *n = sx_em_node(m, id);
    name d = at_v(m, id, ""), index = value(m, n->arg[1]);
    if (!sx_em_plane(m, n->arg[0])) {
        const sx_id a = n->arg[0];
        say(m, "%s = SX_GET(k.imp + O%zu + (%s) * SX_CLASSES + sx_index(%s));", d.s, sx_em_import(m, a),
            combination(m, sx_em_sweeps(m, a), NULL).s, index.s);
        return;
    }
    memset(m->body, 0, m->n_ids);
    mark_body(m, n->arg[0]);
    say(m, "{");
    say(m, "const int c = sx_index(%s);", index.s);
    if (body_reads_logits(m)) say(m, "const T x1 = sx_load1(SX_CHANNEL(c) + tid * SX_V + v);");
    say_body(m, "x1");
    say(m, "%s = %s;", d.s, value(m, n->arg[0]).s);
    say(m, "}");
}

/* The label's own value: computed there. */
static void say_target_x(sx_em *m, sx_id id)
{
    const sx_id x = sx_em_node(m, id)->arg[0];
    memset(m->body, 0, m->n_ids);
    mark_body(m, x);
    say(m, "if (L(y)[v] < SX_CLASSES) {");
    say(m, "const int c = L(y)[v];");
    if (body_reads_logits(m)) say(m, "const T x1 = sx_load1(SX_CHANNEL(c) + tid * SX_V + v);");
    say_body(m, "x1");
    say(m, "%s = %s;", at_v(m, id, "_x").s, value(m, x).s);
    say(m, "} else {");
    say(m, "%s = C(0);", at_v(m, id, "_x").s);
    say(m, "}");
}

static void say_target(sx_em *m, sx_id id)
{
    static const char *const part[] = {"_m", "_x", "_s", "_d", "_z", "_e", "_f"};
    name q[7];
    for (int i = 0; i < 7; i++) q[i] = at_v(m, id, part[i]);
    const unsigned k = m->num[id];
    if (!is_pair(m, id)) say_target_x(m, id);
    if (!m->s->fast && !is_pair(m, id)) say(m, "%s = (q%u[0][v] + q%u[1][v]) + (q%u[2][v] + q%u[3][v]);", q[2].s, k, k, k, k);
    say(m, "%s(%s, %s, %s, &%s, &%s, &%s, &%s);", m->s->fast ? "sx_fast_target" : "NAME(px_target)", q[0].s, q[1].s, q[2].s, q[3].s,
        q[4].s, q[5].s, q[6].s);
}

static void say_soft(sx_em *m, sx_id id)
{
    const sx_id t = sx_em_node(m, id)->arg[0];
    const bool p = sx_em_node(m, id)->op == SX_OP_p;
    if (m->s->fast && p) {
        say(m, "%s = sx_fast_p(L(y)[v] < SX_CLASSES, %s, %s, %s, %s, %s, &%s);", at_v(m, id, "_by").s, at_v(m, t, "_m").s, at_v(m, t, "_x").s,
            at_v(m, t, "_d").s, at_v(m, t, "_z").s, at_v(m, t, "_f").s, at_v(m, id, "_m").s);
        say(m, "%s = C(0);", at_v(m, id, "_own").s);
        return;
    }
    say(m, "%s = %s;", at_v(m, id, "_m").s, at_v(m, t, "_m").s);
    if (p) {
        say(m, "%s = %s;", at_v(m, id, "_by").s, at_v(m, t, "_f").s);
        say(m, "%s = NAME(px_pt)(%s, %s);", at_v(m, id, "_own").s, at_v(m, t, "_z").s, at_v(m, t, "_e").s);
    } else {
        say(m, "%s = NAME(px_dir_by)(%s);", at_v(m, id, "_by").s, at_v(m, t, "_s").s);
    }
}

static void say_row(sx_em *m, sx_id id)
{
    const sx_node *n = sx_em_node(m, id);
    name d = at_v(m, id, ""), q[3];
    for (int i = 0; i < 3; i++)
        q[i] = sx_em_class(m, id) == SX_CL_EW && i < n->n_arg ? value(m, n->arg[i]) : (name){""};
    const sx_id t = n->arg[0];
    switch (n->op) {
    case SX_OP_labels: say(m, "%s = (T)(L(y)[v] < SX_CLASSES ? L(y)[v] : 0);", d.s); return;
    case SX_OP_valid: say(m, "%s = L(y)[v] < SX_CLASSES ? C(1) : C(0);", d.s); return;
    case SX_OP_field:
        say(m, "%s = SX_GET((const T *)SX_GET(k.field + %zu) + k.at + tid * SX_V + v);", d.s, sx_em_field(m, n->attr));
        return;
    case SX_OP_csum:
    case SX_OP_cmax:
    case SX_OP_argmax: return;
    case SX_OP_logsumexp:
        if (m->s->fast) say(m, "%s = sx_lse(%s, %s);", d.s, at_v(m, id, "_m").s, at_v(m, id, "_s").s);
        else say(m, "%s = %s + F_LOG(%s);", d.s, at_v(m, id, "_m").s, at_v(m, id, "_s").s);
        return;
    case SX_OP_softmax: say(m, "%s = C(1) / %s;", at_v(m, id, "_s").s, at_v(m, id, "_s").s); return;
    case SX_OP_log_softmax:
        if (m->s->fast) say(m, "%s = sx_lse(%s, %s) - %s;", at_v(m, id, "_s").s, at_v(m, id, "_m").s, at_v(m, id, "_s").s,
                            at_v(m, id, "_m").s);
        else say(m, "%s = F_LOG(%s);", at_v(m, id, "_s").s, at_v(m, id, "_s").s);
        return;
    case SX_OP_pick: say_pick(m, id); return;
    case SX_OP_tgt: say_target(m, id); return;
    case SX_OP_ce: say(m, "%s = NAME(px_ce)(%s, %s);", d.s, at_v(m, t, "_d").s, at_v(m, t, "_z").s); return;
    case SX_OP_u: say(m, "%s = NAME(px_u)(%s, %s, %s);", d.s, at_v(m, t, "_d").s, at_v(m, t, "_z").s, at_v(m, t, "_s").s); return;
    case SX_OP_pt: say(m, "%s = NAME(px_pt)(%s, %s);", d.s, at_v(m, t, "_z").s, at_v(m, t, "_e").s); return;
    case SX_OP_logu:
        say(m, "%s = NAME(px_logu)(%s, %s, %s, %s);", d.s, at_v(m, t, "_d").s, at_v(m, t, "_z").s, at_v(m, t, "_s").s,
            at_v(m, t, "_e").s);
        return;
    case SX_OP_p:
    case SX_OP_dir: say_soft(m, id); return;
    case SX_OP_basis:
        if (m->stored[id]) say(m, "sx_basis(%s + SX_BASIS * v, %s, B%zu);", var(m, id, "").s, value(m, t).s, sx_em_basis(m, id));
        return;
    case SX_OP_powb:
        if (m->stored[t]) say(m, "%s = sx_power(%s + SX_BASIS * v, %s);", d.s, var(m, t, "").s, power_of(m, n->arg[1]).s);
        else say(m, "%s = sx_power1(%s, %s);", d.s, value(m, sx_em_node(m, t)->arg[0]).s, power_of(m, n->arg[1]).s);
        return;
    default: break;
    }
    const char *op = sx_op_name((sx_op)n->op);
    if (n->n_arg == 1) say(m, "%s = sx_op_%s(%s);", d.s, op, q[0].s);
    else if (n->n_arg == 2) say(m, "%s = sx_op_%s(%s, %s);", d.s, op, q[0].s, q[1].s);
    else say(m, "%s = sx_op_%s(%s, %s, %s);", d.s, op, q[0].s, q[1].s, q[2].s);
}

/* Rows and loops of this depth, level by level, into a phase that is open. */
static void say_levels(sx_em *m)
{
    int last = 0;
    for (size_t i = 0; i < m->n_order; i++)
        if (at_depth(m, m->order[i]) && *parts_of(m, m->order[i])) {
            const sx_id id = m->order[i];
            if (row_level(m, id) > last) last = row_level(m, id);
        }
    for (int lv = 0; lv <= last; lv++) {
        bool open = false;
        if (lv > 0) say_class_loop(m, lv);
        for (size_t i = 0; i < m->n_order; i++) {
            const sx_id id = m->order[i];
            const sx_op op = (sx_op)sx_em_node(m, id)->op;
            if (!at_depth(m, id) || !*parts_of(m, id) || row_level(m, id) != lv) continue;
            if (op == SX_OP_csum || op == SX_OP_cmax || op == SX_OP_argmax) continue;
            if (!open) say(m, "SX_EACH(v) {");
            open = true;
            say_row(m, id);
        }
        if (open) say(m, "}");
    }
}

/* -- Depths ----------------------------------------------------------------------------------------------- */

static void start_depth(sx_em *m, int depth, bool inner)
{
    m->cur = depth;
    m->inner = inner;
    for (size_t i = 0; i < m->n_ids; i++) m->row_level[i] = m->plane_level[i] = -1;
}

static bool anything_at_depth(const sx_em *m)
{
    for (size_t i = 0; i < m->n_order; i++)
        if (at_depth(m, m->order[i]) && *parts_of(m, m->order[i])) return true;
    return false;
}

/* Imports that are one number and first known at this depth. */
static void say_numbers(sx_em *m)
{
    for (size_t i = 0; i < m->e->n_import; i++) {
        const sx_id id = m->e->import[i];
        if (sx_em_node(m, id)->axes & (SX_AX_C | SX_AX_L) || m->depth[id] != m->cur) continue;
        if (m->cur && !m->in[id]) continue;
        say(m, "const T p%zu = SX_GET(k.imp + O%zu + %s);", i, i, combination(m, sx_em_sweeps(m, id), NULL).s);
    }
}

static void close_sink(sx_em *m, sx_id id)
{
    if (m->in[id]) return;
    m->in[id] = 1;
    if (!sx_em_pixel(m, id)) return;
    for (int i = 0; i < sx_em_args(m, id); i++) close_sink(m, sx_em_node(m, id)->arg[i]);
}

/* Marks what the sums and maps of a sink need and nests its axes; sink SIZE_MAX: everything, without axes. */
static void enter_sink(sx_em *m, size_t sink)
{
    memset(m->in, 0, m->n_ids);
    for (size_t i = 0; i < m->s->n_sum; i++)
        if ((sink == SIZE_MAX || m->e->sum_sink[i] == sink) && !sx_emit_counts(m->g, m->s->sum[i]))
            close_sink(m, sx_em_node(m, m->s->sum[i])->arg[0]);
    for (size_t i = 0; i < m->s->n_map; i++)
        if (sink == SIZE_MAX || m->e->map_sink[i] == sink) close_sink(m, m->s->map[i]);
    sx_em_nest(m, sink == SIZE_MAX ? 0 : m->e->sink[sink].axes);
}

/* Opens the loops of depths 1 .. last, with their rows. */
static void open_loops(sx_em *m, int last)
{
    for (int d = 1; d <= last; d++) {
        const size_t a = sx_em_axis(m, m->nest[d - 1]);
        if (d == 1) say(m, "SX_ROLLED for (int i%zu = lo; i%zu < hi; i%zu++) {", a, a, a);
        else say(m, "SX_ROLLED for (int i%zu = 0; i%zu < N%zu; i%zu++) {", a, a, a, a);
        start_depth(m, d, false);
        say_numbers(m);
        if (!anything_at_depth(m)) continue;
        say_variables(m);
        say(m, "SX_PHASE");
        say_levels(m);
        say(m, "SX_END");
    }
}

static void close_loops(sx_em *m, int n)
{
    while (n-- > 0) say(m, "}");
}

/* -- Sums and maps of a sink ------------------------------------------------------------------------------- */

/* first: the record's number that row 0 goes to, or NULL: s_dst has it. */
static void say_sum(sx_em *m, bool by, const char *first, const char *step, const char *rows)
{
    const char *list = first ? "0" : "s_dst";
    if (by) say(m, "sx_sum_by(s_v, s_loc, s_tiles, s_lane, %s, %s, %s, %s, &k, args.rec);", list, first ? first : "0", step, rows);
    else say(m, "sx_sum(s_v, s_lane, %s, %s, %s, &k, args.rec);", list, first ? first : "0", rows);
}

/* Sums of one kind (by label or not; rows or planes) that a sink has. */
static size_t sums_of(const sx_em *m, size_t sink, bool by, bool plane, size_t *list)
{
    size_t n = 0;
    for (size_t j = 0; j < m->s->n_sum; j++) {
        const sx_node *nd = sx_em_node(m, m->s->sum[j]);
        if (sx_emit_counts(m->g, m->s->sum[j])) continue;
        if (m->e->sum_sink[j] == sink && (nd->op == SX_OP_bysum) == by && sx_em_plane(m, nd->arg[0]) == plane) list[n++] = j;
    }
    return n;
}

static void say_put(sx_em *m, size_t sink, size_t sum, bool by, const char *row)
{
    const sx_id a = sx_em_node(m, m->s->sum[sum])->arg[0];
    name c = combination(m, m->e->sink[sink].axes, &m->e->sink[sink]);
    say(m, "sx_put(s_v + (%s) * SX_ROW, tid, %s, L(y));", row, var(m, a, "").s);
    say(m, "if (tid == 0) s_dst[%s] = D%zu + (sx_u64)(%s)%s;", row, sum, c.s, by ? " * SX_CLASSES" : "");
}

/* Sums of rows: as many rows at once as fit, over the values of the innermost axis. */
static void row_sums(sx_em *m, size_t sink, bool by, const size_t *sum, size_t n)
{
    const size_t rows = m->s->use_double ? SX_ROWS_DOUBLE : SX_ROWS_FLOAT;
    for (size_t first = 0; first < n; first += rows) {
        const size_t q = n - first < rows ? n - first : rows, at_once = rows / q;
        if (!m->n_nest) {
            start_depth(m, 0, false);
            say(m, "SX_PHASE");
            for (size_t i = 0; i < q; i++) say_put(m, sink, sum[first + i], by, named(m, "%zu", i).s);
            say(m, "SX_END");
            say_sum(m, by, NULL, "1", named(m, "%zu", q).s);
            continue;
        }
        const size_t a = sx_em_axis(m, m->nest[m->n_nest - 1]);
        name stop = m->n_nest == 1 ? named(m, "hi") : named(m, "N%zu", a);
        const char *end = stop.s;
        open_loops(m, m->n_nest - 1);
        say(m, "SX_ROLLED for (int b = %s; b < %s; b += %zu) {", m->n_nest == 1 ? "lo" : "0", end, at_once);
        say(m, "SX_PHASE");
        say(m, "SX_ROLLED for (int j = 0; j < %zu && b + j < %s; j++) {", at_once, end);
        say(m, "const int i%zu = b + j;", a);
        start_depth(m, m->n_nest, true);
        say_numbers(m);
        say_variables(m);
        say_levels(m);
        for (size_t i = 0; i < q; i++) say_put(m, sink, sum[first + i], by, named(m, "j * %zu + %zu", q, i).s);
        say(m, "}");
        say(m, "SX_END");
        say_sum(m, by, NULL, "1", named(m, "(%s - b < %zu ? %s - b : %zu) * %zu", end, at_once, end, at_once, q).s);
        say(m, "}");
        close_loops(m, m->n_nest - 1);
    }
}

/* Values of the plane whose body is marked, at class c: w[v]; its logits are at `from`. */
static void say_values(sx_em *m, sx_id plane, const char *from)
{
    if (body_reads_logits(m)) {
        say(m, "T x[SX_V];");
        say(m, "sx_load(x, %s);", from);
    }
    say(m, "T w[SX_V];");
    say(m, "SX_EACH(v) {");
    say_body(m, "x[v]");
    say(m, "w[v] = %s;", value(m, plane).s);
    say(m, "}");
}

/* Sums of a plane: as many classes at once as shared memory has rows for. */
static void plane_sum(sx_em *m, size_t sink, size_t sum, bool by)
{
    name c = combination(m, m->e->sink[sink].axes, &m->e->sink[sink]);
    const sx_id a = sx_em_node(m, m->s->sum[sum])->arg[0];
    const bool brief = m->s->fast && !by;                 /* a thread adds its pixels first */
    /* (a double where nothing counts may be beyond single precision) */
    const bool p = brief && sx_em_node(m, a)->op == SX_OP_p && m->s->info->logits_type != SX_F64;
    const sx_id plane = p ? sx_em_node(m, sx_em_node(m, a)->arg[0])->arg[0] : a;
    memset(m->body, 0, m->n_ids);
    mark_body(m, plane);
    const bool reads = body_reads_logits(m), rolled = long_body(m);
    for (int part = 0; part < 2; part++) {
        const size_t n = open_group(m, part, brief ? SX_ROWS_BRIEF : m->s->use_double ? SX_ROWS_DOUBLE : SX_ROWS_FLOAT);
        if (n == 0) continue;
        say(m, "SX_PHASE");
        if (reads) say(m, "const sx_logit *from = SX_CHANNEL(c0) + tid * SX_V;");
        say(m, "%s for (int q = 0; q < %zu; q++%s) {", rolled ? "SX_ROLLED" : "SX_UNROLL_8", n, reads ? ", from += SX_STEP" : "");
        say(m, "const int c = c0 + q;");
        say_values(m, plane, "from");
        if (p) say(m, "sx_put_brief_p(s_v + q * SX_ROW_BRIEF, tid, w, %s, %s);", var(m, a, "_m").s, var(m, a, "_by").s);
        else if (brief) say(m, "sx_put_brief(s_v + q * SX_ROW_BRIEF, tid, w, L(y));");
        else say(m, "sx_put(s_v + q * SX_ROW, tid, w, L(y));");
        say(m, "}");
        say(m, "SX_END");
        name first = named(m, "D%zu + (sx_u64)(%s) * SX_CLASSES%s + c0", sum, c.s, by ? " * SX_CLASSES" : "");
        if (brief) say(m, "sx_sum_brief(s_v, s_lane, %s, %zu, &k, args.rec);", first.s, n);
        else say_sum(m, by, first.s, "SX_CLASSES", named(m, "%zu", n).s);
        say(m, "}");
    }
}

static void say_map(sx_em *m, size_t sink, size_t map)
{
    const sx_id id = m->s->map[map];
    name c = combination(m, m->e->sink[sink].axes, &m->e->sink[sink]);
    say(m, "SX_PHASE");
    if (sx_em_plane(m, id)) {
        say(m, "SX_ROLLED for (int c = 0; c < SX_CLASSES; c++) {");
        memset(m->body, 0, m->n_ids);
        mark_body(m, id);
        say_values(m, id, "SX_CHANNEL(c) + tid * SX_V");
        say(m, "sx_store(k.map + (M%zu + (sx_u64)(%s) * SX_CLASSES + c) * SX_CUDA_BLOCK + tid * SX_V, w);", map, c.s);
        say(m, "}");
    } else {
        say(m, "sx_store(k.map + (M%zu + (sx_u64)(%s)) * SX_CUDA_BLOCK + tid * SX_V, %s);", map, c.s, var(m, id, "").s);
    }
    say(m, "SX_END");
}

static void say_sink(sx_em *m, size_t sink, size_t *list)
{
    enter_sink(m, sink);
    append(m, "\n", 1);
    say(m, "if (S%zu < E%zu) {", sink, sink);
    say(m, "const int lo = S%zu, hi = E%zu;", sink, sink);
    say(m, "(void)lo, (void)hi;");
    for (int by = 0; by < 2; by++) row_sums(m, sink, by, list, sums_of(m, sink, by, false, list));
    const size_t planes = sums_of(m, sink, false, true, list) + sums_of(m, sink, true, true, list);
    size_t maps = 0;
    for (size_t i = 0; i < m->s->n_map; i++) maps += m->e->map_sink[i] == sink;
    if (planes + maps) {
        open_loops(m, m->n_nest);
        if (!m->n_nest) start_depth(m, 0, false);
        for (int by = 0; by < 2; by++)
            for (size_t i = 0, n = sums_of(m, sink, by, true, list); i < n; i++) plane_sum(m, sink, list[i], by);
        for (size_t i = 0; i < m->s->n_map; i++)
            if (m->e->map_sink[i] == sink) say_map(m, sink, i);
        close_loops(m, m->n_nest);
    }
    say(m, "}");
}

/* -- The whole ------------------------------------------------------------------------------------------------ */

static void say_ops(sx_em *m)
{
    static const char *const arguments[] = {"", "T a", "T a, T b", "T a, T b, T c"};
    uint8_t done[SX_OP_COUNT] = {0};
    for (size_t i = 0; i < m->n_order; i++) {
        const sx_id id = m->order[i];
        const sx_node *n = sx_em_node(m, id);
        if (!sx_em_pixel(m, id) || !op_value[n->op] || done[n->op]) continue;
        done[n->op] = 1;
        say(m, "SX_DEVICE T sx_op_%s(%s) { return %s; }", sx_op_name((sx_op)n->op), arguments[n->n_arg], op_value[n->op]);
    }
    append(m, "\n", 1);
}

static void say_par(sx_em *m)
{
    const sx_emitted *e = m->e;
    for (size_t i = 0; i < e->n_axis; i++) say(m, "#define N%zu ((int)args.par[%zu])", i, i);
    for (size_t i = 0; i < e->n_import; i++) say(m, "#define O%zu args.par[%zu]", i, e->par_import + i);
    for (size_t i = 0; i < e->n_power; i++) say(m, "#define P%zu args.par[%zu]", i, e->par_power + i);
    for (size_t i = 0; i < e->n_basis; i++) say(m, "#define B%zu args.par[%zu]", i, e->par_basis + i);
    for (size_t i = 0; i < e->n_sink; i++)
        say(m, "#define S%zu ((int)args.par[%zu])\n#define E%zu ((int)args.par[%zu])", i, e->par_sink + 2 * i, i, e->par_sink + 2 * i + 1);
    for (size_t i = 0; i < m->s->n_sum; i++) say(m, "#define D%zu (sx_u64)args.par[%zu]", i, e->par_sum + i);
    for (size_t i = 0; i < m->s->n_map; i++) say(m, "#define M%zu (sx_u64)args.par[%zu]", i, e->par_map + i);
    append(m, "\n", 1);
}

/* Blocks of 256 threads at a time on a multiprocessor that the compiler is asked for first, by what was seen to spill no registers: a kernel
 * that does is compiled again (compile.c), which costs a user half a second. Rows of a basis stay alive through a loop, others come
 * and go. */
static int first_blocks(sx_em *m)
{
    int rows = 0;
    enter_sink(m, SIZE_MAX);
    for (size_t i = 0; i < m->n_order; i++)
        for (const char *const *p = parts_of(m, m->order[i]); *p; p++)
            if (m->depth[m->order[i]] == 0) rows += sx_em_node(m, m->order[i])->op == SX_OP_basis ? 16 : 1;
    if (m->s->use_double) return 2;
    if (m->s->fast) return 4;
    return rows > 21 ? 2 : rows > (m->s->info->classes == 2 ? 13 : 9) ? 3 : 4;
}

static void say_head(sx_em *m)
{
    const sx_emit_spec *s = m->s;
    const int logit = s->info->logits_type == SX_F16 ? 16 : s->info->logits_type == SX_F32 ? 32 : 64;
    append(m, sx_text_math, sx_text_math_size);
    say(m, "#define SX_DOUBLE %d", s->use_double);
    say(m, "#define SX_FAST %d", s->fast);
    say(m, "#define SX_LOGIT %d", logit);
    say(m, "#define SX_ONE_CHANNEL %d", s->info->activation == SX_SIGMOID1);
    say(m, "#define SX_PROBABILITIES %d", s->info->activation == SX_PROBS);
    say(m, "#define SX_CLASSES %zu", s->info->classes);
    say(m, "#define SX_ROWS %d", s->use_double ? SX_ROWS_DOUBLE : SX_ROWS_FLOAT);
    say(m, "#define SX_FIELDS %zu", m->e->n_field);
    say(m, "#define SX_PAR %zu", m->e->n_par);
    say(m, "#ifndef SX_CUDA_BLOCKS\n#define SX_CUDA_BLOCKS %d\n#endif", first_blocks(m));
    append(m, sx_text_abi, sx_text_abi_size);
    append(m, sx_text_type, sx_text_type_size);
    append(m, sx_text_ftype, sx_text_ftype_size);
    append(m, sx_text_fast, sx_text_fast_size);
    append(m, sx_text_pixel, sx_text_pixel_size);
    append(m, sx_text_kernel, sx_text_kernel_size);
}

void sx_em_print(sx_em *m)
{
    size_t *list = sx_calloc(m->s->n_sum + 1, sizeof *list);
    if (!list) {
        m->nomem = true;
        return;
    }
    say_head(m);
    say_ops(m);
    say_par(m);
    say(m, "SX_KERNEL(sx_pass)");
    say(m, "{");
    say(m, "SX_ARGS;");
    say(m, "SX_SHARED(T, s_v, SX_ROWS * SX_ROW);");
    say(m, "SX_SHARED(T, s_lane, SX_ROWS * SX_TILES * SX_LABELS * SX_LANE_ROW);");
    say(m, "SX_SHARED(sx_u64, s_dst, SX_ROWS);");
    say(m, "SX_SHARED(unsigned char, s_loc, SX_ROW);");
    say(m, "SX_SHARED(sx_tiles, s_tiles_, 1);");
    say(m, "sx_tiles *const s_tiles = s_tiles_;");
    say(m, "sx_chunk k;");
    say(m, "SX_ROLLED for (sx_u64 unit = SX_BID; unit < args.n_task * SX_UNITS; unit += SX_GRID) {");
    say(m, "SX_ROLLED for (sx_unit_at(&args, unit, &k); k.left > 0; sx_next_chunk(&args, &k)) {");
    say(m, "SX_LOCAL(int, y, SX_V);");
    enter_sink(m, SIZE_MAX);
    start_depth(m, 0, false);
    say_numbers(m);
    say_variables(m);
    say(m, "SX_PHASE");
    say(m, "sx_labels(&k, tid, L(y), s_loc, s_tiles);");
    say_levels(m);
    say(m, "SX_END");
    for (size_t i = 0; i < m->e->n_sink; i++) say_sink(m, i, list);
    say(m, "}");
    say(m, "}");
    say(m, "}");
    sx_free(list);
}
