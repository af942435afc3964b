// Attention in blocks on all threads, for f32, bf16 and f16; the blocks themselves are in attention_body.h.
#pragma once

#include "sorus/kernels/attention.h"

namespace sorus::kernels {
void attention_forward_blocks(const AttentionArgs& g);
void attention_backward_blocks(const AttentionArgs& g, const AttentionGradArgs& r);
}  // namespace sorus::kernels
