/* type.h: the type of the arithmetic of a printed kernel, as kernels.c has it for the loops of the CPU. */
#if SX_DOUBLE
#define T double
#define C(x) ((double)(x))
#define FN(n) sx_##n
#define FN2(n, t) sx_##n##t
#define LN(n) n
#else
#define T float
#define C(x) ((float)(x))
#define FN(n) sx_##n##f
#define FN2(n, t) sx_##n##f##t
#define LN(n) n##f
#endif
#define NAME(x) sx_##x

