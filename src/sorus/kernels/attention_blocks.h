// Attention in blocks of rows of Q, built from the packed tiles of gemm. One task is a (batch, key/value head): its K
// and V are packed once and stay in the second-level cache. Causal blocks to the right of the diagonal are skipped.
#pragma once

#include "sorus/kernels/attention.h"

namespace sorus::kernels {
void attention_forward_blocks(const AttentionArgs& g);
void attention_backward_blocks(const AttentionArgs& g, const AttentionGradArgs& r);
}  // namespace sorus::kernels
