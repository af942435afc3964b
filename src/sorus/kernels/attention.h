// Attention without the matrix of scores: softmax(scale * Q K^T + mask) V, forward and backward.
//
// A block of 32 or so rows of Q meets blocks of K and V, with a running maximum and sum, so that scores live in the
// second-level cache only. Forward keeps one number a row, the log of the sum of exponentials (`lse`); backward
// computes the scores again from it.
//
// Q is [batch, heads, q_len, head_dim], K [batch, kv_heads, kv_len, head_dim], V [batch, kv_heads, kv_len,
// value_dim], O [batch, heads, q_len, value_dim]; each has strides for the first three, so they can be read from one
// fused projection [batch, token, 3 * width] without a copy, and gradients can be written into one. `heads` is a
// multiple of `kv_heads`: query head h reads h / (heads / kv_heads).
//
// Causal means that row i sees columns 0..i, also when q_len and kv_len differ (PyTorch's `is_causal`); where Q is a
// block of a longer sequence, row i is row `q_start` + i of it. A row that
// sees nothing gives zeros and lse = -inf. Types: bf16, f16, f32 (sums in f32) and f64.
#pragma once

#include <cstdint>

#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

struct AttentionStrides {
  int64_t batch = 0, head = 0, token = 0;  ///< in elements; the last dimension is contiguous
};

struct AttentionArgs {
  DType type = DType::f32;  ///< of q, k, v, o and their gradients
  int64_t batch = 0, heads = 0, kv_heads = 0;
  int64_t q_len = 0, kv_len = 0, head_dim = 0, value_dim = 0;
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  void* o = nullptr;
  AttentionStrides q_stride, k_stride, v_stride, o_stride;
  void* lse = nullptr;  ///< [batch, heads, q_len] contiguous, f64 if `type` is f64, else f32; optional in forward
  double scale = 1;
  bool causal = false;
  int64_t q_start = 0;         ///< the place of the first row of Q among the keys; matters if causal
  const void* mask = nullptr;  ///< added to the scaled scores; boolean: true means "may attend"
  DType mask_type = DType::f32;
  int64_t mask_stride[4] = {};  ///< batch, head, row, column; 0 broadcasts
};

struct AttentionGradArgs {
  const void* grad_o = nullptr;
  AttentionStrides grad_o_stride;
  void *grad_q = nullptr, *grad_k = nullptr, *grad_v = nullptr;  ///< written, not accumulated; all three needed
  AttentionStrides grad_q_stride, grad_k_stride, grad_v_stride;
};

void attention_forward(const AttentionArgs& args);

/// Reads q, k, v, o and lse of `args` as forward left them.
void attention_backward(const AttentionArgs& args, const AttentionGradArgs& grads);

}  // namespace sorus::kernels
