/* select.c: the kernel table of an ISA level, as far as this build has it (SX_HAVE_V3, _V4: from CMake). */
#include "cpu/kernels.h"

extern const sx_kernels sx_f32_0_table, sx_f64_0_table;
#if SX_HAVE_V3
extern const sx_kernels sx_f32_1_table, sx_f64_1_table;
#endif
#if SX_HAVE_V4
extern const sx_kernels sx_f32_2_table, sx_f64_2_table;
#endif

const sx_kernels *sx_kernels_get(sx_isa isa, bool use_double)
{
    switch (isa) {
    case SX_ISA_BASE: return use_double ? &sx_f64_0_table : &sx_f32_0_table;
#if SX_HAVE_V3
    case SX_ISA_V3: return use_double ? &sx_f64_1_table : &sx_f32_1_table;
#endif
#if SX_HAVE_V4
    case SX_ISA_V4: return use_double ? &sx_f64_2_table : &sx_f32_2_table;
#endif
    default: return NULL;
    }
}
