/*
 * plan.c: orders the work. Starting from what is known (numbers), it makes ready whatever can be computed, then sums over
 * images that have become possible, then a pass over the dump for every pixel sum whose pixels are computable, and so on
 * until the outputs are ready. Everything that can share a pass does. What no pass needs goes to the tail, which is
 * computed for a part of the sweep at a time.
 */
#include <string.h>

#include "pass/plan_impl.h"

static const sx_node *node(const sx_plan *p, sx_id id) { return sx_node_get(p->g, id); }
static bool pixel(const sx_plan *p, sx_id id) { return (node(p, id)->axes & SX_AX_P) != 0; }
static bool imagewise(const sx_plan *p, sx_id id) { return (node(p, id)->axes & SX_AX_N) != 0; }

#define KNOWN_MOST ((size_t)1 << 16)

/* The value of a node that depends on no dump, else NULL (also when there is no memory, or it is large: then it counts as unknown). */
static const double *known(sx_plan *p, sx_id id)
{
    const sx_node *n = node(p, id);
    sx_error er;
    if (p->known[id] || n->dump || n->axes & (SX_AX_N | SX_AX_P)) return p->known[id];
    if (n->op == SX_OP_data && n->attr) return NULL;               /* a variable */
    if (sx_value_len(p->g, p->classes, NULL, id) > KNOWN_MOST) return NULL;
    for (int i = 0; i < n->n_arg; i++)
        if (!known(p, n->arg[i])) return NULL;
    double *v = sx_malloc((sx_value_len(p->g, p->classes, NULL, id) + 1) * sizeof *v);
    if (v && sx_epilogue_node(p->g, p->classes, NULL, id, p->known, v, &er)) {
        sx_free(v);
        v = NULL;
    }
    return p->known[id] = v;
}

/* Which branch of a where outside of pixels nobody will see. */
static void find_dead(sx_plan *p, sx_id id)
{
    const sx_node *n = node(p, id);
    if (n->op != SX_OP_where || pixel(p, id)) return;
    const double *c = known(p, n->arg[0]);
    size_t len = c ? sx_value_len(p->g, p->classes, NULL, n->arg[0]) : 0, chosen = 0;
    for (size_t i = 0; i < len; i++) chosen += c[i] != 0;
    if (len && chosen == len) p->dead[id] = 1 << 2;
    if (len && chosen == 0) p->dead[id] = 1 << 1;
}

static sx_err mark(sx_plan *p, sx_id id, uint32_t slot, sx_error *er)
{
    if (p->need[id]) return SX_EOK;
    p->need[id] = 1;
    const sx_node *n = node(p, id);
    if (n->dump && n->dump != slot) return sx_fail(er, SX_EARG, "the expression reads another dump than the one given");
    if (n->classes && n->classes != p->classes) {
        sx_fail(er, SX_EARG, "%u values by class, but the dump has %zu classes", (unsigned)n->classes, p->classes);
        sx_hint(er, "give one value for every class, background included");
        return SX_EARG;
    }
    find_dead(p, id);
    for (int i = 0; i < n->n_arg; i++) {
        sx_err e = sx_plan_alive(p, id, i) ? mark(p, n->arg[i], slot, er) : SX_EOK;
        if (e) return e;
    }
    return SX_EOK;
}

/* Are all values ready that the pixels below id read from outside? */
static bool pixels_ready(const sx_plan *p, sx_id id, const uint8_t *ready, uint8_t *seen)
{
    if (!pixel(p, id)) return ready[id];
    if (seen[id]) return seen[id] == 2;
    seen[id] = 1;
    const sx_node *n = node(p, id);
    for (int i = 0; i < n->n_arg; i++)
        if (!pixels_ready(p, n->arg[i], ready, seen)) return false;
    seen[id] = 2;
    return true;
}

static sx_axes pixel_axes(const sx_plan *p, sx_id id, uint8_t *seen)
{
    if (seen[id]) return 0;
    seen[id] = 1;
    const sx_node *n = node(p, id);
    sx_class cl = sx_op_class((sx_op)n->op);
    sx_axes a = cl == SX_CL_PSUM || cl == SX_CL_BYSUM ? n->axes & SX_SWEEP_MASK : 0;
    for (int i = 0; i < n->n_arg; i++)
        if (sx_plan_alive(p, id, i)) a |= pixel_axes(p, n->arg[i], seen);
    return a;
}

/* id: n nodes and n_map mapped outputs. */
static sx_err add_to(plan_step **list, size_t *n_list, step_kind kind, const sx_id *id, size_t n, size_t n_map, sx_error *er)
{
    plan_step *s = sx_realloc(*list, (*n_list + 1) * sizeof *s);
    if (!s) return sx_nomem(er);
    *list = s;
    s[*n_list] = (plan_step){.kind = kind, .n = n, .n_map = n_map, .id = sx_malloc((n + n_map + 1) * sizeof(sx_id))};
    if (!s[*n_list].id) return sx_nomem(er);
    memcpy(s[(*n_list)++].id, id, (n + n_map) * sizeof *id);
    return SX_EOK;
}

static sx_err add_step(sx_plan *p, step_kind kind, const sx_id *id, size_t n, size_t n_map, sx_error *er)
{
    return add_to(&p->step, &p->n_step, kind, id, n, n_map, er);
}

static bool args_ready(const sx_plan *p, sx_id id, const uint8_t *ready)
{
    const sx_node *n = node(p, id);
    for (int i = 0; i < n->n_arg; i++)
        if (sx_plan_alive(p, id, i) && (pixel(p, n->arg[i]) || !ready[n->arg[i]])) return false;
    return true;
}

typedef struct work {
    uint8_t *ready, *seen, *below;
    sx_id *list;
    size_t n_ids;
    const sx_id *map;            /* maps that wait for sums, too, */
    size_t n_map;                /*   so many */
} work;

/* One round of each kind of step; *n is the number of nodes that became ready. */
static sx_err values(sx_plan *p, work *w, sx_error *er)
{
    size_t k = 0;
    for (size_t i = 0; i < p->n_list; i++) {
        const sx_id id = p->list[i];
        const sx_node *n = node(p, id);
        sx_class cl = sx_op_class((sx_op)n->op);
        if (w->ready[id] || pixel(p, id)) continue;
        if (cl == SX_CL_PSUM || cl == SX_CL_BYSUM || cl == SX_CL_NSUM || cl == SX_CL_BSUM) continue;
        if (!args_ready(p, id, w->ready)) continue;
        w->ready[id] = 1;
        if (!imagewise(p, id)) w->list[k++] = id;   /* image-wise ones are computed image by image where they are read */
    }
    return k ? add_step(p, STEP_VALUES, w->list, k, 0, er) : SX_EOK;
}

static sx_err images(sx_plan *p, work *w, size_t *k, sx_error *er)
{
    *k = 0;
    for (size_t i = 0; i < p->n_list; i++) {
        const sx_id id = p->list[i];
        const sx_node *n = node(p, id);
        sx_class cl = sx_op_class((sx_op)n->op);
        if (w->ready[id] || (cl != SX_CL_NSUM && cl != SX_CL_BSUM) || !args_ready(p, id, w->ready)) continue;
        w->list[(*k)++] = id;
    }
    for (size_t i = 0; i < *k; i++) w->ready[w->list[i]] = 1;
    return *k ? add_step(p, STEP_IMAGES, w->list, *k, 0, er) : SX_EOK;
}

static void mark_below(const sx_plan *p, sx_id id, uint8_t *marks)
{
    if (marks[id]) return;
    marks[id] = 1;
    for (int i = 0; i < node(p, id)->n_arg; i++)
        if (sx_plan_alive(p, id, i)) mark_below(p, node(p, id)->arg[i], marks);
}

/* The pixel sums that can be taken now; maps: in the walk that makes these outputs, n_map of them. While others wait for sums, only
 * what they wait for is taken: the rest shares the work of a later walk. (The value of a loss that sorts with its gradient.) */
static sx_err pass(sx_plan *p, work *w, const sx_id *maps, size_t n_map, size_t *k, sx_error *er)
{
    size_t waiting = w->n_map, all = 0;
    memset(w->seen, 0, w->n_ids);
    memset(w->below, 0, w->n_ids);
    for (size_t i = 0; i < w->n_map; i++) mark_below(p, w->map[i], w->below);
    for (size_t i = 0; i < p->n_list; i++) {
        const sx_id id = p->list[i];
        const sx_node *n = node(p, id);
        sx_class cl = sx_op_class((sx_op)n->op);
        if (w->ready[id] || (cl != SX_CL_PSUM && cl != SX_CL_BYSUM)) continue;
        if (pixels_ready(p, n->arg[0], w->ready, w->seen)) {
            w->list[all++] = id;
        } else {
            waiting++;
            mark_below(p, n->arg[0], w->below);
        }
    }
    *k = 0;
    for (size_t i = 0; i < all; i++)
        if (!waiting || w->below[w->list[i]]) w->list[(*k)++] = w->list[i];
    for (size_t i = 0; i < *k; i++) {
        w->ready[w->list[i]] = 1;
        p->sum[p->info.n_sums] = w->list[i];
        p->sum_pass[p->info.n_sums++] = p->info.passes;
    }
    if (*k) p->info.passes++;
    if (n_map) memcpy(w->list + *k, maps, n_map * sizeof *maps);
    return *k + n_map ? add_step(p, n_map ? STEP_MAP : STEP_PASS, w->list, *k, n_map, er) : SX_EOK;
}

/* Everything that can be made ready, walk by walk. */
static sx_err rounds(sx_plan *p, work *w, sx_error *er)
{
    sx_err e;
    size_t k;
    do {
        if ((e = values(p, w, er)) || (e = images(p, w, &k, er))) return e;
        if (!k && (e = pass(p, w, NULL, 0, &k, er))) return e;
    } while (k);
    return SX_EOK;
}

/* Maps of each image: first what they read, then the walk that makes them, which takes what sums it can. */
static sx_err map_each(sx_plan *p, work *w, const sx_id *maps, size_t n_map, sx_error *er)
{
    size_t k;
    w->map = maps;
    w->n_map = n_map;
    sx_err e = rounds(p, w, er);
    w->n_map = 0;
    return e ? e : pass(p, w, maps, n_map, &k, er);
}

/* Of the steps' nodes, those that no pass and no map is made from, in the same order, become the tail. */
static sx_err cut_tail(sx_plan *p, sx_error *er)
{
    plan_step *old = p->step;
    size_t n_old = p->n_step;
    sx_err e = SX_EOK;
    uint8_t *early = sx_calloc(sx_graph_size(p->g) + 1, 1);
    sx_id *part = sx_malloc((p->n_list + p->n_out + 1) * sizeof *part);
    if (!early || !part) {
        e = sx_nomem(er);
        goto done;
    }
    for (size_t i = 0; i < p->info.n_sums; i++) mark_below(p, p->sum[i], early);
    for (size_t i = 0; i < p->n_out; i++)
        if (pixel(p, p->out[i])) mark_below(p, p->out[i], early);
    p->step = NULL;
    p->n_step = 0;
    for (size_t i = 0; !e && i < n_old; i++) {
        const plan_step *s = &old[i];
        size_t n[2] = {0, 0};
        for (size_t j = 0; j < s->n; j++)
            if (early[s->id[j]]) part[n[0]++] = s->id[j];
        memcpy(part + n[0], s->id + s->n, s->n_map * sizeof *part);
        if (n[0] + s->n_map) e = add_step(p, s->kind, part, n[0], s->n_map, er);
        for (size_t j = 0; j < s->n; j++)
            if (!early[s->id[j]]) part[n[1]++] = s->id[j];
        if (!e && n[1]) e = add_to(&p->tail, &p->n_tail, s->kind, part, n[1], 0, er);
    }
    for (size_t i = 0; i < n_old; i++) sx_free(old[i].id);
    sx_free(old);
done:
    sx_free(early);
    sx_free(part);
    return e;
}

static sx_err order(sx_plan *p, sx_error *er)
{
    work w = {.n_ids = sx_graph_size(p->g) + 1};
    sx_err e = SX_EOK;
    sx_id *map = NULL;
    size_t maps = 0;
    w.ready = sx_calloc(w.n_ids, 1);
    w.seen = sx_calloc(w.n_ids, 1);
    w.below = sx_calloc(w.n_ids, 1);
    w.list = sx_calloc(w.n_ids + p->n_out, sizeof *w.list);
    p->list = sx_calloc(w.n_ids, sizeof *p->list);
    map = sx_calloc(p->n_out + 1, sizeof *map);
    p->sum = sx_calloc(w.n_ids, sizeof *p->sum);
    p->origin = sx_calloc(w.n_ids, sizeof *p->origin);
    p->sum_pass = sx_calloc(w.n_ids, sizeof *p->sum_pass);
    p->sum_fields = sx_calloc(w.n_ids, sizeof *p->sum_fields);
    p->fields = sx_calloc(w.n_ids, sizeof *p->fields);
    p->pass_axes = sx_calloc(p->n_out + 1, sizeof *p->pass_axes);
    if (!w.ready || !w.seen || !w.below || !w.list || !p->list || !map || !p->sum || !p->origin || !p->sum_pass || !p->sum_fields || !p->fields ||
        !p->pass_axes) {
        e = sx_nomem(er);
        goto done;
    }
    for (sx_id id = 1; id < w.n_ids; id++)
        if (p->need[id]) p->list[p->n_list++] = id;
    for (size_t i = 0; i < p->n_out; i++)
        if (pixel(p, p->out[i])) map[maps++] = p->out[i];
    if (maps && p->map_image == SX_EACH_IMAGE && (e = map_each(p, &w, map, maps, er))) goto done;
    if ((e = rounds(p, &w, er))) goto done;
    for (size_t i = 0; i < p->n_out; i++) {
        sx_id id = p->out[i];
        memset(w.seen, 0, w.n_ids);
        p->pass_axes[i] = pixel_axes(p, id, w.seen);
        if (pixel(p, id)) {
            memset(w.seen, 0, w.n_ids);
            if (!pixels_ready(p, id, w.ready, w.seen)) e = sx_fail(er, SX_EBUG, "an output cannot be computed");
        } else if (!w.ready[id]) {
            e = sx_fail(er, SX_EBUG, "an output cannot be computed");
        }
        if (e) goto done;
    }
    if (maps && p->map_image != SX_EACH_IMAGE) e = add_step(p, STEP_MAP, map, 0, maps, er);
    if (!e) e = cut_tail(p, er);
done:
    sx_free(map);
    sx_free(w.ready);
    sx_free(w.seen);
    sx_free(w.below);
    sx_free(w.list);
    return e;
}

static void find_fields(sx_plan *p)
{
    for (sx_id id = 1; id < p->n_ids; id++) {               /* arguments come first */
        const sx_node *n = node(p, id);
        p->fields[id] = sx_op_class((sx_op)n->op) == SX_CL_FIELD;
        for (int i = 0; i < n->n_arg; i++) p->fields[id] |= pixel(p, n->arg[i]) && p->fields[n->arg[i]];
    }
}

static void fill_info(sx_plan *p)
{
    find_fields(p);
    for (size_t i = 0; i < p->info.n_sums; i++) p->sum_fields[i] = p->fields[p->sum[i]];
    p->info.sum_fields = p->sum_fields;
    for (size_t i = 0; i < p->info.n_sums; i++) p->origin[i] = sx_graph_origin(p->g, p->sum[i]);
    p->info.sum = p->origin;
    p->info.sum_pass = p->sum_pass;
    p->info.pass_axes = p->pass_axes;
    size_t passes = p->info.passes;
    for (size_t i = 0; i < p->n_step; i++)
        passes += p->step[i].kind == STEP_MAP && p->map_image == SX_EACH_IMAGE && p->step[i].n == 0;
    p->info.walks = passes;
    p->info.bytes = passes * sx_dump_get_info(p->d)->bytes;
    for (size_t i = 0; i < p->n_step; i++) {
        size_t len = 0;
        if (p->step[i].kind != STEP_PASS && p->step[i].kind != STEP_MAP) continue;
        for (size_t j = 0; j < p->step[i].n; j++) len += sx_value_len(p->g, p->classes, NULL, p->step[i].id[j]);
        if (len > p->info.stat_doubles) p->info.stat_doubles = len;
    }
}

sx_err sx_plan_new(const sx_graph *g, sx_dump *d, uint32_t dump_slot, const sx_id *out, size_t n_out, size_t map_image,
                   sx_plan **plan, sx_error *er)
{
    sx_plan *p = sx_calloc(1, sizeof *p);
    sx_err e = SX_EOK;
    *plan = NULL;
    if (!p) return sx_nomem(er);
    p->d = d;
    p->classes = sx_dump_get_info(d)->classes;
    p->images = sx_dump_get_info(d)->n;
    p->map_image = map_image;
    p->n_out = n_out;
    p->out = sx_malloc((n_out + 1) * sizeof *p->out);
    e = p->out ? sx_graph_part(g, out, n_out, &p->g, p->out, er) : sx_nomem(er);
    if (e) goto done;
    p->n_ids = sx_graph_size(p->g) + 1;
    p->need = sx_calloc(p->n_ids, 1);
    p->dead = sx_calloc(p->n_ids, 1);
    p->known = sx_calloc(p->n_ids, sizeof *p->known);
    if (!p->need || !p->dead || !p->known) {
        e = sx_nomem(er);
        goto done;
    }
    for (size_t i = 0; i < n_out; i++) {
        if (pixel(p, p->out[i]) && map_image >= p->images && map_image != SX_EACH_IMAGE) {
            sx_fail(er, SX_EARG, "the value has a pixel axis: %zu images of it are too much to keep", p->images);
            sx_hint(er, "reduce it first, e.g. t:mean(\"pixel\"), or take one image: t[3]:eval()");
            e = SX_EARG;
            goto done;
        }
        if ((e = mark(p, p->out[i], dump_slot, er))) goto done;
    }
    if ((e = order(p, er))) goto done;
    fill_info(p);
done:
    if (e) {
        sx_plan_free(p);
        p = NULL;
    }
    *plan = p;
    return e;
}

void sx_plan_limit(sx_plan *p, size_t images)
{
    if (images < p->images) p->images = images;
}

void sx_plan_free(sx_plan *p)
{
    if (!p) return;
    for (size_t i = 0; i < p->n_step; i++) sx_free(p->step[i].id);
    for (size_t i = 0; i < p->n_tail; i++) sx_free(p->tail[i].id);
    sx_free(p->step);
    sx_free(p->tail);
    sx_free(p->list);
    sx_free(p->out);
    sx_free(p->need);
    sx_free(p->dead);
    for (size_t i = 0; p->known && i < p->n_ids; i++) sx_free(p->known[i]);
    sx_free(p->known);
    sx_free(p->sum);
    sx_free(p->origin);
    sx_free(p->sum_pass);
    sx_free(p->sum_fields);
    sx_free(p->fields);
    sx_free(p->pass_axes);
    sx_graph_free(p->g);
    sx_free(p);
}

const sx_plan_info *sx_plan_get_info(const sx_plan *p) { return &p->info; }
