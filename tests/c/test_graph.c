/* test_graph.c: nodes are one when equal; rewrites bring what users write to its stable, one-statistic form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "graph/graph.h"

static sx_graph *g;
static sx_error er;
static sx_id X, Y, ONE, W;

static int setup(void **state)
{
    const double w[3] = {1, 2, 4};
    (void)state;
    memset(&er, 0, sizeof er);
    g = sx_graph_new();
    X = sx_leaf(g, SX_OP_logits, 1, 3, 0, NULL, &er);
    Y = sx_leaf(g, SX_OP_labels, 1, 3, 0, NULL, &er);
    ONE = sx_const(g, 1, &er);
    W = sx_data(g, SX_AX_C, 3, w, 3, "w", &er);
    return g && X && Y && ONE && W ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    sx_graph_free(g);
    return 0;
}

static sx_id f1(sx_op op, sx_id a) { return sx_make1(g, op, a, &er); }
static sx_id f2(sx_op op, sx_id a, sx_id b) { return sx_make2(g, op, a, b, &er); }

static void text_in(const sx_graph *in, sx_id id, const char *want)
{
    assert_true(id != 0);
    char *s = sx_text(in, id, 10000);
    assert_string_equal(s, want);
    sx_free(s);
}

static void text_is(sx_id id, const char *want) { text_in(g, id, want); }

static sx_id ce(void) { return f1(SX_OP_neg, f1(SX_OP_log, f2(SX_OP_pick, f1(SX_OP_softmax, X), Y))); }

static void equal_nodes_are_one(void **state)
{
    (void)state;
    assert_int_equal(f2(SX_OP_add, X, Y), f2(SX_OP_add, Y, X));
    assert_int_equal(sx_const(g, 0.5, &er), sx_const(g, 0.5, &er));
    assert_int_not_equal(sx_const(g, 0.0, &er), sx_const(g, -0.0, &er));
    assert_int_not_equal(f2(SX_OP_sub, X, Y), f2(SX_OP_sub, Y, X));
}

static void target_out_forms(void **state)
{
    (void)state;
    text_is(ce(), "ce(tgt(logits,labels))");
    sx_id pt = f2(SX_OP_pick, f1(SX_OP_softmax, X), Y), u = f2(SX_OP_sub, ONE, pt);
    text_is(pt, "pt(tgt(logits,labels))");
    text_is(u, "u(tgt(logits,labels))");
    text_is(f1(SX_OP_log, u), "logu(tgt(logits,labels))");
    text_is(f1(SX_OP_neg, f2(SX_OP_pick, f1(SX_OP_log_softmax, X), Y)), "ce(tgt(logits,labels))");
    /* the long way round: sum over classes of onehot * log p */
    sx_id lp = f1(SX_OP_log_softmax, X), h = f1(SX_OP_onehot, Y);
    text_is(f1(SX_OP_neg, f1(SX_OP_csum, f2(SX_OP_mul, h, lp))), "ce(tgt(logits,labels))");
}

static void weights_leave_sums(void **state)
{
    (void)state;
    sx_id wl = f2(SX_OP_mul, f2(SX_OP_pick, W, Y), ce());
    sx_id plain = f1(SX_OP_bysum, ce());
    text_is(plain, "bysum(ce(tgt(logits,labels)))");
    assert_int_equal(f1(SX_OP_bysum, wl), f2(SX_OP_mul, W, plain));
    assert_int_equal(f1(SX_OP_psum, wl), f1(SX_OP_csum, f2(SX_OP_mul, W, plain)));
    /* a scalar leaves, a swept one alike */
    const char *label[2] = {"0", "1"};
    const double mix[2] = {0, 1};
    int ax;
    assert_int_equal(sx_graph_axis(g, "mix", 2, label, &ax, &er), SX_EOK);
    sx_id m = sx_data(g, SX_AX_SWEEP(ax), 0, mix, 2, "mix", &er);
    assert_int_equal(f1(SX_OP_psum, f2(SX_OP_mul, m, ce())), f2(SX_OP_mul, m, f1(SX_OP_csum, plain)));
    /* (a + b) * mix: two statistics, each without mix */
    sx_id u = f2(SX_OP_sub, ONE, f2(SX_OP_pick, f1(SX_OP_softmax, X), Y));
    sx_id s = f1(SX_OP_psum, f2(SX_OP_mul, m, f2(SX_OP_add, u, ce())));
    assert_int_equal(sx_node_get(g, s)->op, SX_OP_add);
}

static void region_sums(void **state)
{
    (void)state;
    sx_id p = f1(SX_OP_softmax, X), h = f1(SX_OP_onehot, Y);
    text_is(f1(SX_OP_psum, f2(SX_OP_mul, p, h)), "bysum(pt(tgt(logits,labels)))");
    text_is(f1(SX_OP_psum, h), "bysum(valid)");
    text_is(f1(SX_OP_psum, p), "psum(p(tgt(logits,labels)))");
    text_is(f1(SX_OP_nsum, f1(SX_OP_csum, f2(SX_OP_mul, W, f1(SX_OP_psum, h)))), "csum(mul(nsum(bysum(valid)),w))");
}

static void powers_share_a_basis(void **state)
{
    (void)state;
    sx_id u = f2(SX_OP_sub, ONE, f2(SX_OP_pick, f1(SX_OP_softmax, X), Y));
    text_is(f2(SX_OP_pow, u, sx_const(g, 2, &er)), "powb(basis(u(tgt(logits,labels))),2)");
    text_is(f2(SX_OP_pow, W, sx_const(g, 2, &er)), "pow(w,2)");
}

static void wrong_shapes_are_refused(void **state)
{
    (void)state;
    assert_int_equal(f1(SX_OP_csum, Y), 0);
    assert_int_equal(er.code, SX_EARG);
    assert_int_equal(f2(SX_OP_pick, X, W), 0);
    const double v[2] = {1, 2};
    sx_id two = sx_data(g, SX_AX_C, 2, v, 2, NULL, &er);
    assert_int_equal(f2(SX_OP_mul, X, two), 0);
    assert_non_null(strstr(er.msg, "classes"));
    sx_id other = sx_leaf(g, SX_OP_labels, 2, 3, 0, NULL, &er);
    assert_int_equal(f2(SX_OP_add, Y, other), 0);
    assert_non_null(strstr(er.msg, "different dumps"));
}

/* A part has what its expressions are made of, whatever else a session has built. */
static void parts_are_as_small_as_what_they_hold(void **state)
{
    (void)state;
    const sx_id early = f1(SX_OP_psum, f2(SX_OP_mul, f1(SX_OP_exp, ce()), Y));
    for (int i = 0; i < 3000; i++) f2(SX_OP_mul, Y, sx_const(g, 2 + i, &er));
    const sx_id late = f2(SX_OP_mul, sx_const(g, 2000, &er), early), ids[4] = {late, early, late, W};
    for (long n = 1;; n++) {
        sx_graph *part;
        sx_id out[4] = {0};
        sx_fault_memory(n);
        const sx_err e = sx_graph_part(g, ids, 4, &part, out, &er);
        const bool fired = sx_fault_fired();
        sx_fault_memory(0);
        assert_int_equal(e, fired ? SX_EMEMORY : SX_EOK);
        if (e) {
            assert_null(part);
            continue;
        }
        assert_true(n > 5);
        assert_true(sx_graph_size(part) < 20);
        assert_true(out[0] == out[2] && out[1] < out[0]);
        for (int i = 0; i < 4; i++) {
            char *want = sx_text(g, ids[i], 10000);
            text_in(part, out[i], want);
            sx_free(want);
            assert_int_equal(sx_graph_origin(part, out[i]), ids[i]);
            assert_true(sx_node_get(part, out[i])->hash == sx_node_get(g, ids[i])->hash);
        }
        for (sx_id i = 1; i <= sx_graph_size(part); i++)
            for (int a = 0; a < sx_node_get(part, i)->n_arg; a++) {
                const sx_id arg = sx_node_get(part, i)->arg[a];
                assert_true(arg > 0 && arg < i);
                assert_int_equal(sx_graph_origin(part, arg), sx_node_get(g, sx_graph_origin(part, i))->arg[a]);
            }
        sx_graph_free(part);
        return;
    }
}

/* Every allocation of a build can fail: an error, nothing broken, and the next attempt works. */
static void memory_may_end(void **state)
{
    (void)state;
    for (long n = 1; n < 200; n++) {
        sx_fault_memory(n);
        sx_graph *h = sx_graph_new();
        sx_id x = h ? sx_leaf(h, SX_OP_logits, 1, 3, 0, NULL, &er) : 0;
        sx_id y = x ? sx_leaf(h, SX_OP_labels, 1, 3, 0, NULL, &er) : 0;
        sx_id p = y ? sx_make1(h, SX_OP_softmax, x, &er) : 0;
        sx_id t = p ? sx_make2(h, SX_OP_pick, p, y, &er) : 0;
        sx_id s = t ? sx_make1(h, SX_OP_psum, t, &er) : 0;
        bool fired = sx_fault_fired();
        sx_fault_memory(0);
        assert_true((s != 0) != fired);
        if (h && fired) assert_int_equal(er.code, SX_EMEMORY);
        sx_graph_free(h);
        if (!fired) return;
    }
    fail_msg("never got through");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(equal_nodes_are_one), T(target_out_forms), T(weights_leave_sums), T(region_sums), T(powers_share_a_basis),
        T(wrong_shapes_are_refused), T(parts_are_as_small_as_what_they_hold), T(memory_may_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
