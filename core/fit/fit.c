/* fit.c: rounds of one plan run for all configurations that are still running. The plan belongs to a graph of its own, in which they
 * are one axis; it is made anew when some have ended. */
#include "fit/fit.h"

#include <math.h>
#include <string.h>

#include "cpu/math.h"
#include "graph/graft.h"
#include "graph/grad.h"

enum { TOGETHER = 256 };     /* configurations of one plan, at most */

typedef struct fit {
    const sx_fit_opts *o;
    const sx_fit_stage *stage;
    size_t stage_no, round, classes, n;      /* n: variables of one configuration, log t first */
    sx_bfgs **m;                             /* of this batch */
    double *start;                           /* |value(logits)| of each */
    size_t count;
    size_t *active, n_active;
    /* the plan */
    sx_graph *g;
    sx_plan *plan;
    sx_id t, b;
    double *tv, *bv;                         /* values of the variables */
    double *f, *grad;                        /* [count], [count][n]: what came out last, by configuration */
} fit;

static void drop_plan(fit *x)
{
    sx_plan_free(x->plan);
    sx_graph_free(x->g);
    x->plan = NULL;
    x->g = NULL;
}

static sx_err make_plan(fit *x, const size_t *place, sx_error *er)
{
    static const char *const label = "";
    const size_t axes = (size_t)sx_graph_axes(x->o->graph), A = x->n_active;
    const uint32_t C = (uint32_t)x->classes;
    const char **labels = sx_malloc((A + 1) * sizeof *labels);
    size_t *own = sx_malloc((A * axes + 1) * sizeof *own);
    sx_id out[3], logits;
    int axis;
    sx_err e = labels && own ? SX_EOK : sx_nomem(er);
    drop_plan(x);
    if (e || !(x->g = sx_graph_new())) {
        e = sx_nomem(er);
        goto done;
    }
    for (size_t k = 0; k < A; k++) {
        labels[k] = label;
        if (axes) memcpy(own + k * axes, place + x->active[k] * axes, axes * sizeof *own);
    }
    if ((e = sx_graph_axis(x->g, "configuration", A, labels, &axis, er))) goto done;
    x->t = sx_variable(x->g, SX_AX_SWEEP(axis), 0, "t", er);
    x->b = sx_variable(x->g, SX_AX_SWEEP(axis) | SX_AX_C, C, "b", er);
    logits = sx_leaf(x->g, SX_OP_logits, 1, C, 0, NULL, er);
    logits = sx_make2(x->g, SX_OP_mul, x->t, logits, er);
    logits = sx_make2(x->g, SX_OP_add, logits, x->b, er);
    if (!logits) {
        e = SX_EMEMORY;
        goto done;
    }
    const sx_graft graft = {.from = x->o->graph, .to = x->g, .axis = axis, .count = A, .place = own, .logits = logits, .dump = 1};
    if (!(e = sx_graft_nodes(&graft, &x->stage->value, 1, out, er)) && !(e = sx_grad(x->g, out[0], x->t, &out[1], er)) &&
        !(e = sx_grad(x->g, out[0], x->b, &out[2], er)))
        e = sx_plan_new(x->g, x->stage->dump, 1, out, 3, SIZE_MAX, &x->plan, er);
done:
    sx_free(labels);
    sx_free(own);
    return e;
}

/* Value and derivatives of the loss at the points of the active ones: theta, x->n numbers each. */
static sx_err evaluate(fit *x, const double *const *theta, sx_error *er)
{
    const size_t A = x->n_active, C = x->classes;
    sx_result *r = NULL;
    for (size_t k = 0; k < A; k++) {
        x->tv[k] = sx_exp(theta[k][0]);
        memcpy(x->bv + k * C, theta[k] + 1, C * sizeof *x->bv);
    }
    sx_variable_set(x->g, x->t, x->tv);
    sx_variable_set(x->g, x->b, x->bv);
    sx_err e = sx_plan_run(x->plan, &x->o->run, &r, er);
    if (e) return e;
    for (size_t k = 0; k < A; k++) {             /* a loss without logits has no axis: the same number for all */
        const size_t j = x->active[k];
        double *g = x->grad + j * x->n;
        x->f[j] = r->out[0].v[r->out[0].n == 1 ? 0 : k];
        g[0] = x->tv[k] * r->out[1].v[r->out[1].n == 1 ? 0 : k];
        for (size_t c = 0; c < C; c++) g[c + 1] = r->out[2].n == 1 ? r->out[2].v[0] : r->out[2].v[k * C + c];
    }
    sx_result_free(r);
    return SX_EOK;
}

static bool go_on(fit *x)
{
    return !sx_interrupted() && (!x->o->progress || x->o->progress(x->o->progress_arg, x->stage_no, x->round, x->n_active));
}

static sx_err one_stage(fit *x, const size_t *place, sx_error *er)
{
    const double l2 = x->o->l2;
    const double **theta = sx_malloc((x->count + 1) * sizeof *theta);
    double *zero = sx_calloc(x->n, sizeof *zero);
    sx_err e = theta && zero ? SX_EOK : sx_nomem(er);
    x->n_active = 0;
    for (size_t k = 0; !e && k < x->count; k++)
        if (x->m[k]->state != SX_BFGS_LOST) {
            theta[x->n_active] = zero;
            x->active[x->n_active++] = k;
        }
    if (!e && x->n_active) e = make_plan(x, place, er);
    if (!e && x->n_active) e = evaluate(x, theta, er);
    for (size_t i = 0; !e && i < x->n_active; i++) {
        sx_bfgs *m = x->m[x->active[i]];
        x->start[x->active[i]] = fabs(x->f[x->active[i]]);
        m->tolerance = x->stage->tolerance * x->start[x->active[i]] + 1e-300;
        m->noise = x->o->run.use_double ? 1e-12 : 1e-7;
        m->most = x->o->most;
        sx_bfgs_start(m, m->x);
    }
    for (x->round = 0; !e && x->n_active; x->round++) {
        if (!go_on(x)) {
            e = sx_fail(er, SX_EINTR, "interrupted");
            break;
        }
        for (size_t i = 0; i < x->n_active; i++) theta[i] = x->m[x->active[i]]->at;
        if ((e = evaluate(x, theta, er))) break;
        size_t left = 0;
        for (size_t i = 0; i < x->n_active; i++) {
            const size_t k = x->active[i];
            const double *at = x->m[k]->at, weight = l2 * x->start[k];
            double f = x->f[k], *g = x->grad + k * x->n;
            for (size_t v = 0; v < x->n; v++) {
                f += 0.5 * weight * at[v] * at[v];
                g[v] += weight * at[v];
            }
            sx_bfgs_tell(x->m[k], f, g);
            if (x->m[k]->state == SX_BFGS_ASKS) x->active[left++] = k;
        }
        const bool fewer = left < x->n_active;
        x->n_active = left;
        if (fewer && left) e = make_plan(x, place, er);
    }
    sx_free(theta);
    sx_free(zero);
    return e;
}

/* Value of the loss alone at the best point: what the minimiser has, less the penalty. */
static void report(const fit *x, sx_fitted *out)
{
    for (size_t k = 0; k < x->count; k++) {
        const sx_bfgs *m = x->m[k];
        sx_fitted *f = &out[k];
        double penalty = 0, slope = 0;
        for (size_t v = 0; v < x->n; v++) {
            penalty += 0.5 * x->o->l2 * x->start[k] * m->x[v] * m->x[v];
            if (fabs(m->g[v]) > slope) slope = fabs(m->g[v]);
        }
        f->log_t = m->x[0];
        memcpy(f->b, m->x + 1, x->classes * sizeof *f->b);
        f->start = x->start[k];
        f->value = m->f - penalty;
        f->slope = x->start[k] > 0 ? slope / x->start[k] : slope;
        f->state = m->state;
    }
}

static sx_err fit_batch(const sx_fit_opts *o, const sx_fit_stage *stage, size_t n_stages, const size_t *place, size_t count,
                        sx_fitted *out, sx_error *er)
{
    const size_t C = sx_dump_get_info(stage[0].dump)->classes;
    fit x = {.o = o, .classes = C, .n = C + 1, .count = count};
    sx_err e = SX_EOK;
    x.m = sx_calloc(count, sizeof *x.m);
    x.start = sx_calloc(count, sizeof *x.start);
    x.active = sx_calloc(count, sizeof *x.active);
    x.tv = sx_calloc(count, sizeof *x.tv);
    x.bv = sx_calloc(count * C, sizeof *x.bv);
    x.f = sx_calloc(count, sizeof *x.f);
    x.grad = sx_calloc(count * x.n, sizeof *x.grad);
    if (!x.m || !x.start || !x.active || !x.tv || !x.bv || !x.f || !x.grad) e = sx_nomem(er);
    for (size_t k = 0; !e && k < count; k++) e = sx_bfgs_new(x.n, &x.m[k], er);
    for (size_t s = 0; !e && s < n_stages; s++) {
        x.stage = &stage[s];
        x.stage_no = s;
        e = one_stage(&x, place, er);
        for (size_t k = 0; !e && k < count; k++) {
            out[k].iterations += x.m[k]->iterations;
            out[k].evaluations += x.m[k]->evaluations + 1;
        }
    }
    if (!e) report(&x, out);
    drop_plan(&x);
    for (size_t k = 0; x.m && k < count; k++) sx_bfgs_free(x.m[k]);
    sx_free(x.m);
    sx_free(x.start);
    sx_free(x.active);
    sx_free(x.tv);
    sx_free(x.bv);
    sx_free(x.f);
    sx_free(x.grad);
    return e;
}

sx_err sx_fit(const sx_fit_opts *o, const sx_fit_stage *stage, size_t n_stages, sx_fitted **out, sx_error *er)
{
    const size_t C = sx_dump_get_info(stage[0].dump)->classes, axes = (size_t)sx_graph_axes(o->graph);
    const size_t head = (o->count + 1) * sizeof **out;
    sx_fitted *list = *out = sx_calloc(1, head + o->count * C * sizeof(double));
    if (!list) return sx_nomem(er);
    double *b = (double *)(void *)((char *)list + head);
    sx_err e = SX_EOK;
    for (size_t k = 0; k < o->count; k++) list[k].b = b + k * C;
    for (size_t first = 0; !e && first < o->count; first += TOGETHER) {
        const size_t left = o->count - first;
        e = fit_batch(o, stage, n_stages, o->place + first * axes, left < TOGETHER ? left : TOGETHER, list + first, er);
    }
    if (e) {
        sx_free(list);
        *out = NULL;
    }
    return e;
}
