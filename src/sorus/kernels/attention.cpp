#include "sorus/kernels/attention.h"

#include "sorus/base/error.h"
#include "sorus/kernels/attention_blocks.h"
#include "sorus/kernels/attention_plain.h"

namespace sorus::kernels {
namespace {
void check(const AttentionArgs& g) {
  SORUS_CHECK(g.kv_heads > 0 && g.heads % g.kv_heads == 0, ValueError,
              "attention: the number of query heads must be a multiple of the key/value heads, got {} and {}",
              g.heads, g.kv_heads);
}
}  // namespace

void attention_forward(const AttentionArgs& g) {
  if (g.batch == 0 || g.heads == 0 || g.q_len == 0) return;
  check(g);
  if (g.type != DType::f64 && g.kv_len > 0 && g.head_dim > 0 && g.value_dim > 0) return attention_forward_blocks(g);
  visit_floating("attention", g.type, [&]<DType T>() { PlainAttention<typename ElementOf<T>::type>{g}.forward(); });
}

void attention_backward(const AttentionArgs& g, const AttentionGradArgs& r) {
  if (g.batch == 0 || g.heads == 0) return;
  check(g);
  if (g.type != DType::f64 && g.q_len > 0 && g.kv_len > 0 && g.head_dim > 0 && g.value_dim > 0)
    return attention_backward_blocks(g, r);
  visit_floating("attention", g.type, [&]<DType T>() { PlainAttention<typename ElementOf<T>::type>{g}.backward(r); });
}

}  // namespace sorus::kernels
