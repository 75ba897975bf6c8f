/* check.c: does a GPU have the bits of the CPU? Sums of every kind over a small dump, on both. */
#include <string.h>

#include "cuda/cuda.h"
#include "pass/pass.h"

enum { IMAGES = 1, CLASSES = 7, SIDE = 184, PX = SIDE * SIDE, IGNORED = 255, OUTPUTS = 6 };

typedef struct check {
    sx_graph *g;
    sx_dump *d;
    float *logits;
    uint8_t *labels;
    sx_id out[OUTPUTS];
} check;

/* Multiples of 1/64 around zero, larger at the label; one label in 32 is ignored. Two blocks, the second not full. */
static sx_err make_dump(check *c, sx_error *er)
{
    static const int64_t ignore = IGNORED;
    static const size_t dims[2] = {SIDE, SIDE};
    const sx_dump_opts o = {.has_ignore = true, .ignore = &ignore, .n_ignore = 1};
    c->logits = sx_malloc((size_t)IMAGES * CLASSES * PX * sizeof *c->logits);
    c->labels = sx_malloc((size_t)IMAGES * PX);
    if (!c->logits || !c->labels) return sx_nomem(er);
    for (size_t i = 0; i < (size_t)IMAGES * PX; i++) {
        const uint64_t h = sx_hash64(&i, sizeof i, 1);
        const unsigned truth = (unsigned)(h % CLASSES);
        float *x = c->logits + i / PX * CLASSES * PX + i % PX;
        for (unsigned k = 0; k < CLASSES; k++) x[(size_t)k * PX] = (float)((h >> 7 * k & 1023)) / 64 - 8 + (k == truth ? 2 : 0);
        c->labels[i] = h >> 59 ? (uint8_t)truth : IGNORED;
    }
    return sx_dump_memory("self check", c->logits, SX_F32, c->labels, SX_U8, IMAGES, CLASSES, dims, 2, &o, &c->d, er);
}

/* By image: cross entropy by class; (1 - p)^gamma times it, with each of the ways to raise to a power; sums by class as Dice has them;
 * the largest probability. */
static sx_err make_sums(check *c, sx_error *er)
{
    static const double gamma[] = {0.5, 1.3, 2, 11};
    static const char *const label[] = {"0.5", "1.3", "2", "11"};
    const size_t n = sizeof gamma / sizeof gamma[0];
    int axis = 0;
    if (!(c->g = sx_graph_new())) return sx_nomem(er);
    sx_graph *g = c->g;
    sx_err e = sx_graph_axis(g, "gamma", n, label, &axis, er);
    if (e) return e;
    const sx_id x = sx_leaf(g, SX_OP_logits, 1, CLASSES, 0, NULL, er), y = sx_leaf(g, SX_OP_labels, 1, CLASSES, 0, NULL, er);
    const sx_id p = sx_make1(g, SX_OP_softmax, x, er), h = sx_make1(g, SX_OP_onehot, y, er), pt = sx_make2(g, SX_OP_pick, p, y, er);
    const sx_id ce = sx_make1(g, SX_OP_neg, sx_make1(g, SX_OP_log, pt, er), er);
    const sx_id u = sx_make2(g, SX_OP_sub, sx_const(g, 1, er), pt, er);
    const sx_id exponent = sx_data(g, SX_AX_SWEEP(axis), 0, gamma, n, "gamma", er);
    const sx_id pixel[OUTPUTS] = {ce, sx_make2(g, SX_OP_mul, sx_make2(g, SX_OP_pow, u, exponent, er), ce, er), p,
                                  sx_make2(g, SX_OP_mul, p, h, er), sx_make2(g, SX_OP_mul, p, p, er), sx_make1(g, SX_OP_cmax, p, er)};
    for (size_t i = 0; i < OUTPUTS; i++)
        if (!(c->out[i] = sx_make1(g, SX_OP_psum, pixel[i], er))) return er->code;
    return SX_EOK;
}

static sx_err run(const check *c, const sx_run_opts *o, sx_result **out, sx_error *er)
{
    sx_plan *p = NULL;
    sx_err e = sx_plan_new(c->g, c->d, 1, c->out, OUTPUTS, SIZE_MAX, &p, er);
    if (!e) e = sx_plan_run(p, o, out, er);
    sx_plan_free(p);
    return e;
}

static sx_err compare(const check *c, const char *gpu, const sx_result *got, const sx_result *want, bool use_double, sx_error *er)
{
    if (got->n.on_cpu) return sx_fail(er, SX_EDEVICE, "%s", got->n.why_cpu);
    for (size_t i = 0; i < OUTPUTS; i++)
        for (size_t k = 0; k < want->out[i].n; k++) {
            const double a = got->out[i].v[k], b = want->out[i].v[k];
            if (memcmp(&a, &b, sizeof a) == 0) continue;
            char *text = sx_text(c->g, c->out[i], 200);
            sx_fail(er, SX_EDEVICE, "%s does not compute what the CPU does: in %s precision %s is %a, not %a", gpu,
                    use_double ? "double" : "single", text ? text : "a sum", a, b);
            sx_hint(er, "please run segx doctor, and report what it prints");
            sx_free(text);
            return SX_EDEVICE;
        }
    return SX_EOK;
}

sx_err sx_check_gpu(sx_cuda *gpu, sx_pool *pool, bool use_double, sx_error *er)
{
    check c = {0};
    sx_result *got = NULL, *want = NULL;
    sx_error own = {0};
    sx_run_opts o = {.pool = pool, .isa = sx_isa_best(), .use_double = use_double};
    if (!er) er = &own;
    sx_err e = make_dump(&c, er);
    if (!e) e = make_sums(&c, er);
    if (!e) e = run(&c, &o, &want, er);
    o.cuda = gpu;
    if (!e) e = run(&c, &o, &got, er);
    if (!e) e = compare(&c, sx_cuda_get_info(gpu)->name, got, want, use_double, er);
    if (c.d) sx_cuda_forget(gpu, sx_dump_id(c.d));
    sx_result_free(got);
    sx_result_free(want);
    sx_graph_free(c.g);
    sx_dump_close(c.d);
    sx_free(c.logits);
    sx_free(c.labels);
    return e;
}
