/* cpu.h: which kernels this machine can run. Levels of one architecture are ordered. */
#ifndef SX_CPU_H
#define SX_CPU_H

typedef enum sx_isa {
    SX_ISA_BASE,   /* whatever the compiler's default is; fmaf may be a library call: same bits, slow */
    SX_ISA_V3,     /* x86-64-v3: AVX2, FMA, F16C */
    SX_ISA_V4,     /* x86-64-v4: AVX-512 F BW CD DQ VL */
    SX_ISA_COUNT
} sx_isa;

sx_isa sx_isa_best(void);              /* the best level that this machine and this build have */
const char *sx_isa_name(sx_isa isa);   /* "base", "v3", "v4" */

#endif
