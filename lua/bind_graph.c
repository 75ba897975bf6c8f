/*
 * bind_graph.c: the expression behind a tensor as a table, for what prints it in another language.
 */
#include "bind.h"

static void set_string(lua_State *L, const char *key, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

/* {takes, gives, text} of an op in Python into the table on top. */
static void set_torch(lua_State *L, sx_op op)
{
    const sx_torch *t = sx_op_torch(op);
    if (!t) return;
    char gives[2] = {t->gives, '\0'};
    set_string(L, "takes", t->takes);
    set_string(L, "gives", gives);
    set_string(L, "torch", t->text);
}

/* Pushes the node as a table; at[id]: position of a node in the list. */
static void push_node(lua_State *L, const sx_node *n, sx_id id, const lua_Integer *at)
{
    static const struct {
        char letter;
        sx_axes axis;
    } letters[] = {{'n', SX_AX_N}, {'l', SX_AX_L}, {'c', SX_AX_C}, {'p', SX_AX_P}};
    char axes[5] = "";
    int k = 0;
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
        if (n->axes & letters[i].axis) axes[k++] = letters[i].letter;
    lua_createtable(L, 0, 10);
    lua_pushinteger(L, at[id]);
    lua_setfield(L, -2, "id");
    set_string(L, "op", sx_op_name((sx_op)n->op));
    set_string(L, "axes", axes);
    if (n->name) set_string(L, "name", n->name);
    lua_pushinteger(L, (lua_Integer)n->attr);
    lua_setfield(L, -2, "attr");
    lua_createtable(L, n->n_arg, 0);
    for (int i = 0; i < n->n_arg; i++) {
        lua_pushinteger(L, at[n->arg[i]]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "args");
    if (n->axes & SX_SWEEP_MASK) {
        sxl_push_sweeps(L, n->axes);
        lua_setfield(L, -2, "sweep");
    }
    if (n->op == SX_OP_data) {
        lua_createtable(L, (int)n->n_data, 0);
        for (size_t i = 0; i < n->n_data; i++) {
            lua_pushnumber(L, n->data[i]);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        lua_setfield(L, -2, "data");
    }
    set_torch(L, (sx_op)n->op);
}

/* core.graph(t, ...): the nodes that the tensors are made from, each after its arguments, and the
 * positions of the tensors in that list. A node: {id (its position), op, args (positions), axes (of
 * the letters n l c p), sweep (names of its sweep axes, or nil), attr, name, data (op data: a flat
 * list), takes, gives, torch (see core.torch)}. */
static int core_graph(lua_State *L)
{
    sxl_session *s = sxl_get_session(L);
    const int roots = lua_gettop(L);
    luaL_checkstack(L, roots + 16, NULL);
    sx_id last = 0, *root = sxl_push_scratch(L, (size_t)roots, sizeof *root);
    for (int i = 0; i < roots; i++) {
        root[i] = sxl_node(L, i + 1, "graph", NULL);
        if (root[i] > last) last = root[i];
    }
    lua_Integer *at = sxl_push_scratch(L, (size_t)last + 1, sizeof *at), count = 0;
    for (sx_id id = 0; id <= last; id++) at[id] = 0;
    for (int i = 0; i < roots; i++) at[root[i]] = 1;
    for (sx_id id = last; id > 0; id--) { /* ids are in topological order */
        if (!at[id]) continue;
        const sx_node *n = sx_node_get(s->g, id);
        for (int i = 0; i < n->n_arg; i++) at[n->arg[i]] = 1;
    }
    lua_newtable(L);
    for (sx_id id = 1; id <= last; id++) {
        if (!at[id]) continue;
        at[id] = ++count;
        push_node(L, sx_node_get(s->g, id), id, at);
        lua_rawseti(L, -2, count);
    }
    for (int i = 0; i < roots; i++) lua_pushinteger(L, at[root[i]]);
    return 1 + roots;
}

/* core.torch(op) -> {takes, gives, torch}: the op in Python; nil for a name that is no op. */
static int core_torch(lua_State *L)
{
    sx_op op = sx_op_find(luaL_checkstring(L, 1));
    if (op == SX_OP_NONE) {
        lua_pushnil(L);
        return 1;
    }
    lua_createtable(L, 0, 3);
    set_torch(L, op);
    return 1;
}

void sxl_open_graph(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"graph", core_graph},
        {"torch", core_torch},
        {NULL,    NULL      }
    };
    luaL_setfuncs(L, functions, 0);
}
