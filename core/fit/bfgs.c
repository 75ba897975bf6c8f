/* bfgs.c: the loops of the textbook turned inside out: `phase` says what the value that comes next is for. */
#include "fit/bfgs.h"

#include <math.h>
#include <string.h>

enum { TRIALS = 30 };

static const double C1 = 1e-4, C2 = 0.9, FLAT = 1e3;   /* FLAT: |g| up to so many tolerances still counts as found */

typedef struct point {
    double a, f, d;         /* step, value, derivative along the line */
} point;

struct sx_bfgs_inside {
    double *h, *p, *g_new, *s, *y, *hy;   /* inverse Hessian {n, n}; direction; the rest scratch */
    bool learnt;            /* h holds something */
    enum { AT_START, BRACKETING, ZOOMING } phase;
    point start, last, lo, hi;
    size_t trials;
    double a;
};

static double dot(const double *a, const double *b, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

static double largest(const double *g, size_t n)
{
    double m = 0;
    for (size_t i = 0; i < n; i++) m = fabs(g[i]) > m || isnan(g[i]) ? fabs(g[i]) : m;
    return m;
}

sx_err sx_bfgs_new(size_t n, sx_bfgs **out, sx_error *er)
{
    sx_bfgs *m = *out = sx_calloc(1, sizeof *m);
    if (!m || !(m->in = sx_calloc(1, sizeof *m->in))) goto nomem;
    m->n = n;
    m->most = 200;
    m->noise = 1e-10;
    struct sx_bfgs_inside *in = m->in;
    double **list[] = {&m->at, &m->x, &m->g, &in->p, &in->g_new, &in->s, &in->y, &in->hy};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (!(*list[i] = sx_calloc(n, sizeof(double)))) goto nomem;
    if (!(in->h = sx_calloc(n * n, sizeof(double)))) goto nomem;
    return SX_EOK;
nomem:
    sx_bfgs_free(m);
    *out = NULL;
    return sx_nomem(er);
}

void sx_bfgs_free(sx_bfgs *m)
{
    if (!m) return;
    if (m->in) {
        sx_free(m->in->h);
        sx_free(m->in->s);
        sx_free(m->in->y);
        sx_free(m->in->hy);
        sx_free(m->in->p);
        sx_free(m->in->g_new);
    }
    sx_free(m->in);
    sx_free(m->at);
    sx_free(m->x);
    sx_free(m->g);
    sx_free(m);
}

void sx_bfgs_start(sx_bfgs *m, const double *x)
{
    memmove(m->x, x, m->n * sizeof *x);
    memcpy(m->at, m->x, m->n * sizeof *x);
    m->in->phase = AT_START;
    m->iterations = m->evaluations = 0;
    m->state = SX_BFGS_ASKS;
}

/* p = -H g. */
static void direction(sx_bfgs *m)
{
    struct sx_bfgs_inside *in = m->in;
    const size_t n = m->n;
    for (size_t i = 0; i < n; i++) in->p[i] = in->learnt ? -dot(in->h + i * n, m->g, n) : -m->g[i];
}

/* H becomes the nearest that takes y to s. */
static void learn(sx_bfgs *m)
{
    struct sx_bfgs_inside *in = m->in;
    const size_t n = m->n;
    double *s = in->s, *y = in->y, *h = in->h;
    for (size_t i = 0; i < n; i++) {
        s[i] = m->at[i] - m->x[i];
        y[i] = in->g_new[i] - m->g[i];
    }
    const double sy = dot(s, y, n), yy = dot(y, y, n);
    if (!(sy > 1e-12 * yy)) return;                  /* no curvature to learn from */
    if (!in->learnt) {
        memset(h, 0, n * n * sizeof *h);
        for (size_t i = 0; i < n; i++) h[i * n + i] = sy / yy;
        in->learnt = true;
    }
    for (size_t i = 0; i < n; i++) in->hy[i] = dot(h + i * n, y, n);
    const double scale = (1 + dot(y, in->hy, n) / sy) / sy;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            h[i * n + k] += scale * s[i] * s[k] - (in->hy[i] * s[k] + s[i] * in->hy[k]) / sy;
}

static void try_step(sx_bfgs *m, double a)
{
    m->in->a = a;
    for (size_t i = 0; i < m->n; i++) m->at[i] = m->x[i] + a * m->in->p[i];
}

static void new_line(sx_bfgs *m)
{
    struct sx_bfgs_inside *in = m->in;
    if (largest(m->g, m->n) <= m->tolerance) {
        m->state = SX_BFGS_CONVERGED;
        return;
    }
    if (m->iterations >= m->most) {
        m->state = SX_BFGS_TIRED;
        return;
    }
    direction(m);
    double slope = dot(in->p, m->g, m->n);
    if (!(slope < 0)) {                              /* noise has spoilt it: steepest descent */
        in->learnt = false;
        direction(m);
        slope = dot(in->p, m->g, m->n);
    }
    in->start = in->last = (point){0, m->f, slope};
    in->phase = BRACKETING;
    in->trials = 0;
    try_step(m, in->learnt ? 1 : 1 / sqrt(dot(m->g, m->g, m->n)));
}

static void accept(sx_bfgs *m, double f)
{
    learn(m);
    memcpy(m->x, m->at, m->n * sizeof *m->x);
    memcpy(m->g, m->in->g_new, m->n * sizeof *m->g);
    m->f = f;
    m->iterations++;
    new_line(m);
}

/* Nothing better along this line. */
static void give_up(sx_bfgs *m)
{
    if (m->in->learnt) {                             /* once more without what was learnt */
        m->in->learnt = false;
        new_line(m);
        return;
    }
    m->state = largest(m->g, m->n) <= FLAT * m->tolerance ? SX_BFGS_FLAT : SX_BFGS_STUCK;
}

static bool low_enough(const sx_bfgs *m, const point *t)
{
    const point *s = &m->in->start;
    return t->f <= s->f + C1 * t->a * s->d || (t->f <= s->f + m->noise * fabs(s->f) && t->d <= (2 * C1 - 1) * s->d);
}

static double between(const point *a, const point *b)
{
    const double d1 = a->d + b->d - 3 * (a->f - b->f) / (a->a - b->a), q = d1 * d1 - a->d * b->d;
    const double lo = fmin(a->a, b->a), hi = fmax(a->a, b->a);
    double t = 0.5 * (lo + hi);
    if (q >= 0 && isfinite(q)) {
        const double d2 = copysign(sqrt(q), b->a - a->a);
        const double c = b->a - (b->a - a->a) * (b->d + d2 - d1) / (b->d - a->d + 2 * d2);
        if (c > lo + 0.05 * (hi - lo) && c < hi - 0.05 * (hi - lo)) t = c;
    }
    return t;
}

static void zoom(sx_bfgs *m)
{
    struct sx_bfgs_inside *in = m->in;
    in->phase = ZOOMING;
    const double width = fabs(in->hi.a - in->lo.a);
    if (in->trials >= TRIALS || !(width > 1e-10 * (fabs(in->lo.a) + 1e-10))) give_up(m);
    else try_step(m, between(&in->lo, &in->hi));
}

static void bracket(sx_bfgs *m, const point *t)
{
    struct sx_bfgs_inside *in = m->in;
    const bool first = in->last.a == 0;
    if (!low_enough(m, t) || (!first && t->f >= in->last.f && t->d > 0)) {
        in->lo = in->last;
        in->hi = *t;
        zoom(m);
    } else if (fabs(t->d) <= -C2 * in->start.d) {
        accept(m, t->f);
    } else if (t->d >= 0) {
        in->lo = *t;
        in->hi = in->last;
        zoom(m);
    } else if (in->trials >= TRIALS) {
        accept(m, t->f);                             /* falling all the way */
    } else {
        in->last = *t;
        try_step(m, 2.5 * t->a);
    }
}

static void narrow(sx_bfgs *m, const point *t)
{
    struct sx_bfgs_inside *in = m->in;
    if (!low_enough(m, t) || (t->f >= in->lo.f + m->noise * fabs(in->lo.f) && in->lo.a > 0)) {
        in->hi = *t;
    } else if (fabs(t->d) <= -C2 * in->start.d) {
        accept(m, t->f);
        return;
    } else {
        if (t->d * (in->hi.a - in->lo.a) >= 0) in->hi = in->lo;
        in->lo = *t;
    }
    zoom(m);
}

void sx_bfgs_tell(sx_bfgs *m, double f, const double *g)
{
    struct sx_bfgs_inside *in = m->in;
    m->evaluations++;
    memcpy(in->g_new, g, m->n * sizeof *g);
    const bool finite = isfinite(f) && isfinite(largest(g, m->n));
    if (in->phase == AT_START) {
        if (!finite) {
            m->state = SX_BFGS_LOST;
            return;
        }
        m->f = f;
        memcpy(m->g, g, m->n * sizeof *g);
        new_line(m);
        return;
    }
    in->trials++;
    point t = {in->a, f, finite ? dot(g, in->p, m->n) : 0};
    if (!finite) {                                   /* too far: the wall is a bound */
        const double back = in->phase == BRACKETING ? in->last.a : in->lo.a;
        if (in->trials >= TRIALS) give_up(m);
        else try_step(m, back + 0.2 * (in->a - back));
        return;
    }
    if (in->phase == BRACKETING) bracket(m, &t);
    else narrow(m, &t);
}
