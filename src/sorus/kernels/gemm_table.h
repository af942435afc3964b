// Included in the place of gemm_body.h by each instruction set: the inner loops, and the table that leads to them.
#include "sorus/kernels/gemm_body.h"

#include "sorus/kernels/gemm_pack.h"  // each on top of those before it

#include "sorus/kernels/gemm_finish.h"

#include "sorus/kernels/gemm_small.h"

#include "sorus/kernels/attention_tiles.h"

#include "sorus/kernels/attention_body.h"

GemmIsa isa_table(const char* name) {
  return {name,
          SORUS_GEMM_BF16 != 0,
          SORUS_GEMM_ROWS,
          kVectorBytes,
          kVectors,
          pack_a,
          pack_b,
          tile,
          finish,
          small<float, vf>,
          small<double, vd>,
          attention_scratch,
          attention_forward_task,
          attention_backward_task,
          attention_partial,
          attention_join};
}
