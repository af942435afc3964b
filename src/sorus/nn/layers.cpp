#include "sorus/nn/layers.h"

#include <cmath>

#include "sorus/nn/random.h"
#include "sorus/ops.h"

namespace sorus::nn {
namespace {

Tensor uniform(const Shape& size, double bound) {
  Tensor t = Tensor::empty(size, default_dtype());
  uniform_(t, -bound, bound);
  return t;
}

}  // namespace

Linear::Linear(int64_t in_features, int64_t out_features, bool with_bias) {
  SORUS_CHECK(in_features > 0 && out_features >= 0, ValueError, "Linear: sizes must be positive, not {} and {}",
              in_features, out_features);
  double bound = 1 / std::sqrt(static_cast<double>(in_features));
  weight = register_parameter("weight", uniform({out_features, in_features}, bound));
  bias = register_parameter("bias", with_bias ? uniform({out_features}, bound) : Tensor());
}
Tensor Linear::forward(const Tensor& input) { return linear(input, weight, bias); }

Embedding::Embedding(int64_t num_embeddings, int64_t embedding_dim) {
  weight = register_parameter("weight", randn({num_embeddings, embedding_dim}, default_dtype()));
}
Tensor Embedding::forward(const Tensor& input) { return embedding(input, weight); }

LayerNorm::LayerNorm(Shape normalized_shape, double eps, bool with_bias) : normalized_(normalized_shape), eps_(eps) {
  weight = register_parameter("weight", ones(normalized_));
  bias = register_parameter("bias", with_bias ? zeros(normalized_) : Tensor());
}
Tensor LayerNorm::forward(const Tensor& input) { return layer_norm(input, normalized_, weight, bias, eps_); }

RMSNorm::RMSNorm(Shape normalized_shape, std::optional<double> eps) : normalized_(normalized_shape), eps_(eps) {
  weight = register_parameter("weight", ones(normalized_));
}
Tensor RMSNorm::forward(const Tensor& input) { return rms_norm(input, normalized_, weight, eps_); }

Dropout::Dropout(double p) : p_(p) {
  SORUS_CHECK(p >= 0 && p <= 1, ValueError, "Dropout: p must lie in [0, 1], not {}", p);
}
Tensor Dropout::forward(const Tensor& input) {
  if (!is_training() || p_ == 0) return input;
  if (p_ == 1) return input * 0.0;
  Tensor kept = ge(rand(input.sizes()), Tensor::weak_scalar(p_));
  return input * (to(kept, input.dtype()) * (1 / (1 - p_)));
}

Sequential::Sequential(std::vector<std::shared_ptr<Module>> modules) {
  for (auto& m : modules) append(std::move(m));
}
void Sequential::append(std::shared_ptr<Module> module) {
  register_module(std::to_string(children().size()), std::move(module));
}
Tensor Sequential::forward(const Tensor& input) {
  Tensor x = input;
  for (auto& [name, child] : children()) x = child->forward(x);
  return x;
}

CausalSelfAttention::CausalSelfAttention(int64_t n_embd, int64_t n_head, double dropout, bool bias) : n_head_(n_head) {
  SORUS_CHECK(n_head > 0 && n_embd % n_head == 0, ValueError,
              "CausalSelfAttention: n_embd {} is not a multiple of n_head {}", n_embd, n_head);
  c_attn_ = add("c_attn", std::make_shared<Linear>(n_embd, 3 * n_embd, bias));
  c_proj_ = add("c_proj", std::make_shared<Linear>(n_embd, n_embd, bias));
  dropout_ = add("resid_dropout", std::make_shared<Dropout>(dropout));
}

Tensor CausalSelfAttention::forward(const Tensor& x) {
  int64_t b = x.size(0), t = x.size(1), d = x.size(2);
  Tensor qkv = reshape(c_attn_->forward(x), Shape{b, t, 3, n_head_, d / n_head_});
  auto part = [&](int64_t k) { return transpose(select(qkv, 2, k), 1, 2); };
  Tensor y = scaled_dot_product_attention(part(0), part(1), part(2), {}, 0.0, true);
  return dropout_->forward(c_proj_->forward(reshape(transpose(y, 1, 2), Shape{b, t, d})));
}

}  // namespace sorus::nn
