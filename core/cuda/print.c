/* print.c: the text of a kernel: its head, the loops over the sweep, sums and maps. print_pixel.c prints what happens at a pixel. */
#include "cuda/print.h"

#include <string.h>

#include "cuda/parts.h"

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
        if (sx_em_at_depth(m, m->order[i]) && *sx_em_parts(m, m->order[i])) return true;
    return false;
}

/* Imports that are one number and first known at this depth. */
static void say_numbers(sx_em *m)
{
    for (size_t i = 0; i < m->e->n_import; i++) {
        const sx_id id = m->e->import[i];
        if (sx_em_node(m, id)->axes & (SX_AX_C | SX_AX_L) || m->depth[id] != m->cur) continue;
        if (m->cur && !m->in[id]) continue;
        sx_say(m, "const T p%zu = SX_GET(k.imp + O%zu + %s);", i, i, sx_em_combination(m, sx_em_sweeps(m, id), NULL).s);
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
        if (d == 1) sx_say(m, "SX_ROLLED for (int i%zu = lo; i%zu < hi; i%zu++) {", a, a, a);
        else sx_say(m, "SX_ROLLED for (int i%zu = 0; i%zu < N%zu; i%zu++) {", a, a, a, a);
        start_depth(m, d, false);
        say_numbers(m);
        if (!anything_at_depth(m)) continue;
        sx_em_say_variables(m);
        sx_say(m, "SX_PHASE");
        sx_em_say_levels(m);
        sx_say(m, "SX_END");
    }
}

static void close_loops(sx_em *m, int n)
{
    while (n-- > 0) sx_say(m, "}");
}

/* -- Sums and maps of a sink ------------------------------------------------------------------------------- */

/* Mode exact. first: the record's number that row 0 goes to, or NULL: s_dst has it. */
static void say_sum(sx_em *m, bool by, const char *first, const char *step, const char *rows)
{
    const char *list = first ? "0" : "s_dst";
    if (by) sx_say(m, "sx_sum_by(s_v, s_loc, s_tiles, s_lane, %s, %s, %s, %s, &k, args.rec);", list, first ? first : "0", step, rows);
    else sx_say(m, "sx_sum(s_v, s_lane, %s, %s, %s, &k, args.rec);", list, first ? first : "0", rows);
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

/* SX_FEW: sums by label are of all of them. */
static bool few_labels(const sx_em *m) { return m->s->info->classes <= 4; }
static const char *lists_of(const sx_em *m) { return few_labels(m) ? "0" : "L(list)"; }

static void say_put(sx_em *m, size_t sink, size_t sum, bool by, const char *row)
{
    sx_name value = sx_em_var(m, sx_em_node(m, m->s->sum[sum])->arg[0], ""), c;
    if (m->s->fast) {
        if (by) sx_say(m, "sx_put_by(s_v, tid, (%s) << bits, bits, base, %s, %s, L(y));", row, lists_of(m), value.s);
        else sx_say(m, "sx_put(s_v, tid, %s, %s, L(y));", row, value.s);
        return;
    }
    c = sx_em_combination(m, m->e->sink[sink].axes, &m->e->sink[sink]);
    sx_say(m, "sx_put(s_v + (%s) * SX_ROW, tid, %s, L(y));", row, value.s);
    sx_say(m, "if (tid == 0) s_dst[%s] = D%zu + (sx_u64)(%s)%s;", row, sum, c.s, by ? " * SX_CLASSES" : "");
}

/* Mode fast: opens what sums by label go through: the labels of the warp's tile, SX_LABELS at a time. */
static void open_labels(sx_em *m)
{
    if (few_labels(m)) {
        sx_say(m, "{");
        sx_say(m, "const int bits = sx_bits(0), base = 0;");
        return;
    }
    sx_say(m, "SX_ROLLED for (int base = 0, most = SX_MOST(list), bits = sx_bits(most); SX_ANY(base < most); base += SX_LABELS) {");
    sx_say(m, "SX_PHASE");
    sx_say(m, "sx_tell(&k, tid, base, L(list), s_label, s_place);");
    sx_say(m, "SX_END");
    sx_say(m, "SX_PHASE");
    sx_say(m, "sx_find(&k, tid, L(y), L(list), s_place);");
    sx_say(m, "SX_END");
}

/* Mode fast: the sums of the warp's rows, of which each lane looks after one, into its record. row: which sum or class the lane's row is
 * of; known: what the text says of it before its place in the record; there: is there such a row? */
static void say_batch(sx_em *m, bool by, const char *row, const char *known, const char *there, const char *number)
{
    sx_say(m, "SX_PHASE");
    sx_say(m, "const int row = %s;", row);
    if (by) sx_say(m, "const unsigned label = sx_row_label(s_label, tid, bits);");
    if (*known) sx_say(m, "%s", known);
    sx_say(m, "if (%s%s) {", by ? "label < SX_CLASSES && " : "", there);
    sx_say(m, "sx_record(&k, s_own, tid, args.rec)[%s] += sx_row_sum(s_v, tid);", number);
    sx_say(m, "}");
    sx_say(m, "SX_END");
}

/* The same for rows of q sums, for the values of axis a from b on; a SIZE_MAX: there is no axis. */
static void say_row_batch(sx_em *m, size_t sink, bool by, const size_t *sum, size_t q, size_t a, const char *end)
{
    const bool axis = a != SIZE_MAX;
    sx_name c, first = sx_named(m, "D%zu", sum[q - 1]), known = {""}, there = sx_named(m, "row < %zu", q), number;
    for (size_t i = q - 1; i-- > 0;) first = sx_named(m, "row %% %zu == %zu ? D%zu : %s", q, i, sum[i], first.s);
    if (axis) {
        known = sx_named(m, "const int i%zu = b + row / %zu;", a, q);
        there = sx_named(m, "row / %zu < at_once && i%zu < %s", q, a, end);
    }
    c = sx_em_combination(m, m->e->sink[sink].axes, &m->e->sink[sink]);
    number = sx_named(m, by ? "(%s) + (sx_u64)(%s) * SX_CLASSES + label" : "(%s) + (sx_u64)(%s)", first.s, c.s);
    say_batch(m, by, !by ? "tid % 32" : axis ? "tid % 32 >> bits" : "done + (tid % 32 >> bits)", known.s, there.s, number.s);
}

/* Sums of q rows that no axis changes. By label in mode fast they may take more rows than there are: then in several goes. */
static void sum_rows(sx_em *m, size_t sink, bool by, const size_t *sum, size_t q)
{
    const bool goes = m->s->fast && by;
    start_depth(m, 0, false);
    if (goes) sx_say(m, "SX_ROLLED for (int done = 0; done < %zu; done += SX_CUDA_BATCH >> bits) {", q);
    sx_say(m, "SX_PHASE");
    for (size_t i = 0; i < q; i++) {
        if (goes) sx_say(m, "if (%zu >= done && %zu < done + (SX_CUDA_BATCH >> bits))", i, i);
        say_put(m, sink, sum[i], by, sx_named(m, goes ? "%zu - done" : "%zu", i).s);
    }
    sx_say(m, "SX_END");
    if (m->s->fast) say_row_batch(m, sink, by, sum, q, SIZE_MAX, "");
    else say_sum(m, by, NULL, "1", sx_named(m, "%zu", q).s);
    if (goes) sx_say(m, "}");
}

/* The same over the values of the innermost axis, as many at once as there are rows for. */
static void sum_swept_rows(sx_em *m, size_t sink, bool by, const size_t *sum, size_t q, size_t rows)
{
    const bool fast = m->s->fast;
    const size_t a = sx_em_axis(m, m->nest[m->n_nest - 1]);
    sx_name stop = m->n_nest == 1 ? sx_named(m, "hi") : sx_named(m, "N%zu", a);
    const char *end = stop.s;
    open_loops(m, m->n_nest - 1);
    if (fast) sx_say(m, "const int at_once = SX_CUDA_BATCH / (%zu%s);", q, by ? " << bits" : "");
    else sx_say(m, "const int at_once = %zu;", rows / q);
    sx_say(m, "SX_ROLLED for (int b = %s; b < %s; b += at_once) {", m->n_nest == 1 ? "lo" : "0", end);
    sx_say(m, "SX_PHASE");
    sx_say(m, "SX_ROLLED for (int j = 0; j < at_once && b + j < %s; j++) {", end);
    sx_say(m, "const int i%zu = b + j;", a);
    start_depth(m, m->n_nest, true);
    say_numbers(m);
    sx_em_say_variables(m);
    sx_em_say_levels(m);
    for (size_t i = 0; i < q; i++) say_put(m, sink, sum[i], by, sx_named(m, "j * %zu + %zu", q, i).s);
    sx_say(m, "}");
    sx_say(m, "SX_END");
    if (fast) say_row_batch(m, sink, by, sum, q, a, end);
    else say_sum(m, by, NULL, "1", sx_named(m, "(%s - b < at_once ? %s - b : at_once) * %zu", end, end, q).s);
    sx_say(m, "}");
    close_loops(m, m->n_nest - 1);
}

/* Sums of rows, as many at once as fit. (By label in mode fast one of a sweep may take all rows that there are.) */
static void row_sums(sx_em *m, size_t sink, bool by, const size_t *sum, size_t n)
{
    const size_t rows = m->s->fast && by && m->n_nest ? 1 : m->s->use_double ? SX_ROWS_DOUBLE : SX_ROWS_FLOAT;
    for (size_t first = 0; first < n; first += rows) {
        const size_t q = n - first < rows ? n - first : rows;
        if (m->s->fast && by) open_labels(m);
        if (m->n_nest) sum_swept_rows(m, sink, by, sum + first, q, rows);
        else sum_rows(m, sink, by, sum + first, q);
        if (m->s->fast && by) sx_say(m, "}");
    }
}

/* Values of the plane whose body is marked, at class c: w[v]; its logits are at `from`. */
static void say_values(sx_em *m, sx_id plane, const char *from)
{
    if (sx_em_reads_logits(m)) {
        sx_say(m, "T x[SX_V];");
        sx_say(m, "sx_load(x, %s);", from);
    }
    sx_say(m, "T w[SX_V];");
    sx_say(m, "SX_EACH(v) {");
    sx_em_say_body(m, "x[v]");
    sx_say(m, "w[v] = %s;", sx_em_value(m, plane).s);
    sx_say(m, "}");
}

/* A row for each of the classes c0 + q, for q while `more`, of the plane whose body is marked. p: these probabilities are meant, and the plane
 * is of their logits (sx_put_p); or 0. */
static void plane_rows(sx_em *m, sx_id plane, bool by, sx_id p, bool rolled, const char *more)
{
    const bool reads = sx_em_reads_logits(m);
    sx_say(m, "SX_PHASE");
    if (reads) sx_say(m, "const sx_logit *from = SX_CHANNEL(c0) + tid * SX_V;");
    sx_say(m, "%s for (int q = 0; %s; q++%s) {", rolled ? "SX_ROLLED" : "SX_UNROLL_8", more, reads ? ", from += SX_STEP" : "");
    sx_say(m, "const int c = c0 + q;");
    say_values(m, plane, "from");
    if (p) sx_say(m, "sx_put_p(s_v, tid, q, w, %s, %s);", sx_em_var(m, p, "_m").s, sx_em_var(m, p, "_by").s);
    else if (m->s->fast && by) sx_say(m, "sx_put_by(s_v, tid, q << bits, bits, base, %s, w, L(y));", lists_of(m));
    else if (m->s->fast) sx_say(m, "sx_put(s_v, tid, q, w, L(y));");
    else sx_say(m, "sx_put(s_v + q * SX_ROW, tid, w, L(y));");
    sx_say(m, "}");
    sx_say(m, "SX_END");
}

/* Sums of a plane: as many classes at once as shared memory has rows for; by label in mode fast, as the labels leave. */
static void plane_sum(sx_em *m, size_t sink, size_t sum, bool by)
{
    const bool fast = m->s->fast;
    const sx_name c = sx_em_combination(m, m->e->sink[sink].axes, &m->e->sink[sink]);
    const sx_name first = sx_named(m, "D%zu + (sx_u64)(%s) * SX_CLASSES%s + c0", sum, c.s, by ? " * SX_CLASSES" : "");
    const sx_id a = sx_em_node(m, m->s->sum[sum])->arg[0];
    /* (a double where nothing counts may be beyond single precision) */
    const bool p = fast && !by && sx_em_node(m, a)->op == SX_OP_p && m->s->info->logits_type != SX_F64;
    const sx_id plane = p ? sx_em_node(m, sx_em_node(m, a)->arg[0])->arg[0] : a;
    memset(m->body, 0, m->n_ids);
    sx_em_mark_body(m, plane);
    m->e->sweeps += sx_em_reads_logits(m);
    if (fast && by) {
        open_labels(m);
        sx_say(m, "SX_ROLLED for (int c0 = 0; c0 < SX_CLASSES; c0 += SX_CUDA_BATCH >> bits) {");
        plane_rows(m, plane, true, 0, true, "q < SX_CUDA_BATCH >> bits && c0 + q < SX_CLASSES");
        say_batch(m, true, "tid % 32 >> bits", "", "c0 + row < SX_CLASSES", sx_named(m, "%s + (sx_u64)label * SX_CLASSES + row", first.s).s);
        close_loops(m, 2);
        return;
    }
    for (int part = 0; part < 2; part++) {
        const size_t n = sx_em_open_group(m, part, fast ? SX_CUDA_BATCH : m->s->use_double ? SX_ROWS_DOUBLE : SX_ROWS_FLOAT);
        if (n == 0) continue;
        plane_rows(m, plane, by, p ? a : 0, sx_em_long_body(m), sx_named(m, "q < %zu", n).s);
        if (fast) say_batch(m, false, "tid % 32", "", sx_named(m, "row < %zu", n).s, sx_named(m, "%s + row", first.s).s);
        else say_sum(m, by, first.s, "SX_CLASSES", sx_named(m, "%zu", n).s);
        sx_say(m, "}");
    }
}

static void say_map(sx_em *m, size_t sink, size_t map)
{
    const sx_id id = m->s->map[map];
    sx_name c = sx_em_combination(m, m->e->sink[sink].axes, &m->e->sink[sink]);
    sx_say(m, "SX_PHASE");
    if (sx_em_plane(m, id)) {
        sx_say(m, "SX_ROLLED for (int c = 0; c < SX_CLASSES; c++) {");
        memset(m->body, 0, m->n_ids);
        sx_em_mark_body(m, id);
        say_values(m, id, "SX_CHANNEL(c) + tid * SX_V");
        sx_say(m, "sx_store(k.map + (M%zu + (sx_u64)(%s) * SX_CLASSES + c) * SX_CUDA_BLOCK + tid * SX_V, w);", map, c.s);
        sx_say(m, "}");
    } else {
        sx_say(m, "sx_store(k.map + (M%zu + (sx_u64)(%s)) * SX_CUDA_BLOCK + tid * SX_V, %s);", map, c.s, sx_em_var(m, id, "").s);
    }
    sx_say(m, "SX_END");
}

static void say_sink(sx_em *m, size_t sink, size_t *list)
{
    enter_sink(m, sink);
    sx_append(m, "\n", 1);
    sx_say(m, "if (S%zu < E%zu) {", sink, sink);
    sx_say(m, "const int lo = S%zu, hi = E%zu;", sink, sink);
    sx_say(m, "(void)lo, (void)hi;");
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
    sx_say(m, "}");
}

/* -- The whole ------------------------------------------------------------------------------------------------ */

static void say_ops(sx_em *m)
{
    static const char *const arguments[] = {"", "T a", "T a, T b", "T a, T b, T c"};
    uint8_t done[SX_OP_COUNT] = {0};
    for (size_t i = 0; i < m->n_order; i++) {
        const sx_id id = m->order[i];
        const sx_node *n = sx_em_node(m, id);
        if (!sx_em_pixel(m, id) || !sx_em_op_text[n->op] || done[n->op]) continue;
        done[n->op] = 1;
        sx_say(m, "SX_DEVICE T sx_op_%s(%s) { return %s; }", sx_op_name((sx_op)n->op), arguments[n->n_arg], sx_em_op_text[n->op]);
    }
    sx_append(m, "\n", 1);
}

/* Does a sum by label read lists of labels? */
static bool has_lists(const sx_em *m)
{
    for (size_t i = 0; i < m->s->n_sum; i++) {
        const sx_node *n = sx_em_node(m, m->s->sum[i]);
        if (n->op == SX_OP_bysum && !sx_emit_counts(m->g, m->s->sum[i])) return !m->s->fast || !few_labels(m);
    }
    return false;
}

static void say_par(sx_em *m)
{
    const sx_emitted *e = m->e;
    for (size_t i = 0; i < e->n_axis; i++) sx_say(m, "#define N%zu ((int)args.par[%zu])", i, i);
    for (size_t i = 0; i < e->n_import; i++) sx_say(m, "#define O%zu args.par[%zu]", i, e->par_import + i);
    for (size_t i = 0; i < e->n_power; i++) sx_say(m, "#define P%zu args.par[%zu]", i, e->par_power + i);
    for (size_t i = 0; i < e->n_basis; i++) sx_say(m, "#define B%zu args.par[%zu]", i, e->par_basis + i);
    for (size_t i = 0; i < e->n_sink; i++)
        sx_say(m, "#define S%zu ((int)args.par[%zu])\n#define E%zu ((int)args.par[%zu])", i, e->par_sink + 2 * i, i,
               e->par_sink + 2 * i + 1);
    for (size_t i = 0; i < m->s->n_sum; i++) sx_say(m, "#define D%zu (sx_u64)args.par[%zu]", i, e->par_sum + i);
    for (size_t i = 0; i < m->s->n_map; i++) sx_say(m, "#define M%zu (sx_u64)args.par[%zu]", i, e->par_map + i);
    sx_append(m, "\n", 1);
}

/* Blocks of 256 threads at a time on a multiprocessor that the compiler is asked for first, by what was seen to spill no
 * registers: a kernel that does is compiled again (compile.c), which costs a user half a second. Rows of a basis stay alive
 * through a loop, others come and go. */
static int first_blocks(sx_em *m)
{
    int rows = 0;
    bool heavy = false;          /* sums of planes */
    for (size_t i = 0; i < m->s->n_sum; i++)
        heavy |= !sx_emit_counts(m->g, m->s->sum[i]) && sx_em_plane(m, sx_em_node(m, m->s->sum[i])->arg[0]);
    enter_sink(m, SIZE_MAX);
    for (size_t i = 0; i < m->n_order; i++)
        for (const char *const *p = sx_em_parts(m, m->order[i]); *p; p++)
            if (m->depth[m->order[i]] == 0) rows += sx_em_node(m, m->order[i])->op != SX_OP_basis ? 1 : m->s->fast ? 2 : 16;
    if (m->s->use_double) return 2;
    if (m->s->fast && few_labels(m)) return heavy ? 2 : rows > 12 ? 3 : 4;    /* twice the pixels */
    if (m->s->fast) return heavy || rows > 20 ? 3 : 4;
    return rows > 21 ? 2 : rows > (m->s->info->classes == 2 ? 13 : 9) ? 3 : 4;
}

static void say_head(sx_em *m)
{
    const sx_emit_spec *s = m->s;
    const int logit = s->info->logits_type == SX_F16 ? 16 : s->info->logits_type == SX_F32 ? 32 : 64;
    sx_append(m, sx_text_math, sx_text_math_size);
    sx_say(m, "#define SX_DOUBLE %d", s->use_double);
    sx_say(m, "#define SX_FAST %d", s->fast);
    sx_say(m, "#define SX_LOGIT %d", logit);
    sx_say(m, "#define SX_ONE_CHANNEL %d", s->info->activation == SX_SIGMOID1);
    sx_say(m, "#define SX_PROBABILITIES %d", s->info->activation == SX_PROBS);
    sx_say(m, "#define SX_CLASSES %zu", s->info->classes);
    sx_say(m, "#define SX_ROWS %d", s->use_double ? SX_ROWS_DOUBLE : SX_ROWS_FLOAT);
    sx_say(m, "#define SX_OWN %zu", m->e->own);
    sx_say(m, "#define SX_FIELDS %zu", m->e->n_field);
    sx_say(m, "#define SX_PAR %zu", m->e->n_par);
    sx_say(m, "#ifndef SX_CUDA_BLOCKS\n#define SX_CUDA_BLOCKS %d\n#endif", first_blocks(m));
    sx_append(m, sx_text_abi, sx_text_abi_size);
    sx_append(m, sx_text_type, sx_text_type_size);
    sx_append(m, sx_text_ftype, sx_text_ftype_size);
    sx_append(m, sx_text_fast, sx_text_fast_size);
    sx_append(m, sx_text_pixel, sx_text_pixel_size);
    sx_append(m, sx_text_kernel, sx_text_kernel_size);
    sx_append(m, sx_text_sums, sx_text_sums_size);
}

void sx_em_print(sx_em *m)
{
    size_t *list = sx_calloc(m->s->n_sum + 1, sizeof *list);
    const bool lists = has_lists(m);
    if (!list) {
        m->nomem = true;
        return;
    }
    say_head(m);
    say_ops(m);
    say_par(m);
    sx_say(m, "SX_KERNEL(sx_pass)");
    sx_say(m, "{");
    sx_say(m, "SX_ARGS;");
    if (m->s->fast) {
        sx_say(m, "SX_SHARED(T, s_v, SX_CUDA_THREADS / 32 * SX_CUDA_BATCH * SX_WARP_ROW);");
        sx_say(m, "SX_SHARED(T, s_own, SX_OWN ? SX_CUDA_THREADS / 32 * SX_OWN : 1);");
        sx_say(m, "SX_SHARED(int, s_label, SX_CUDA_THREADS / 32 * SX_LABELS);");
        sx_say(m, "SX_SHARED(unsigned char, s_place, SX_FEW || !SX_BYTE_LABELS ? 1 : SX_CUDA_THREADS / 32 * (SX_CLASSES + 1));");
    } else {
        sx_say(m, "SX_SHARED(T, s_v, SX_ROWS * SX_ROW);");
        sx_say(m, "SX_SHARED(T, s_lane, SX_ROWS * SX_TILES * SX_LABELS * SX_LANE_ROW);");
        sx_say(m, "SX_SHARED(sx_u64, s_dst, SX_ROWS);");
        sx_say(m, "SX_SHARED(unsigned char, s_loc, SX_ROW);");
        sx_say(m, "SX_SHARED(sx_tiles, s_tiles_, 1);");
        sx_say(m, "sx_tiles *const s_tiles = s_tiles_;");
    }
    sx_say(m, "sx_chunk k;");
    sx_say(m, "SX_ROLLED for (sx_u64 unit = SX_BID; unit < args.n_task * SX_UNITS; unit += SX_GRID) {");
    sx_say(m, "sx_unit_at(&args, unit, &k);");
    if (m->e->own) sx_say(m, "SX_PHASE sx_begin_record(s_own, tid); SX_END");
    sx_say(m, "SX_ROLLED for (; k.left > 0; sx_next_chunk(&args, &k)) {");
    sx_say(m, "SX_LOCAL(int, y, SX_V);");
    if (lists && m->s->fast) sx_say(m, "SX_LOCAL(sx_list, list, 1);");
    enter_sink(m, SIZE_MAX);
    start_depth(m, 0, false);
    say_numbers(m);
    sx_em_say_variables(m);
    sx_say(m, "SX_PHASE");
    sx_say(m, "sx_labels(&k, tid, L(y));");
    if (lists && m->s->fast) sx_say(m, "sx_look_up(&k, tid, L(list));");
    else if (lists) sx_say(m, "sx_lists(&k, tid, s_loc, s_tiles);");
    sx_em_say_levels(m);
    sx_say(m, "SX_END");
    for (size_t i = 0; i < m->e->n_sink; i++) say_sink(m, i, list);
    sx_say(m, "}");
    if (m->e->own) sx_say(m, "SX_PHASE sx_end_record(&k, s_own, tid); SX_END");
    sx_say(m, "}");
    sx_say(m, "}");
    sx_free(list);
}
