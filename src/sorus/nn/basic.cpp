#include "sorus/nn/basic.h"

#include <cmath>

#include "sorus/nn/functional.h"
#include "sorus/nn/init.h"
#include "sorus/ops.h"

namespace sorus::nn {

std::string python_text(double v) {
  std::string s = fmt::format("{}", v);
  return s.find_first_of(".en") == std::string::npos ? s + ".0" : s;
}
std::string python_text(bool v) { return v ? "True" : "False"; }
std::string python_text(const Shape& v) {
  return v.size() == 1 ? fmt::format("({},)", v[0]) : fmt::format("({})", fmt::join(v.begin(), v.end(), ", "));
}

Linear::Linear(int64_t in, int64_t out, bool with_bias) : in_features(in), out_features(out) {
  SORUS_CHECK(in >= 0 && out >= 0, ValueError, "Linear: sizes must not be negative, found {} and {}", in, out);
  register_parameter("weight", weight, Tensor::empty({out, in}, default_dtype()));
  register_parameter("bias", bias, with_bias ? Tensor::empty({out}, default_dtype()) : Tensor());
  reset_parameters();
}
void Linear::reset_parameters() {
  double bound = in_features > 0 ? 1 / std::sqrt(static_cast<double>(in_features)) : 0;
  uniform_(weight, -bound, bound);
  if (bias.defined()) uniform_(bias, -bound, bound);
}
Tensor Linear::forward(const Tensor& input) { return linear(input, weight, bias); }
std::string Linear::extra_repr() const {
  return fmt::format("in_features={}, out_features={}, bias={}", in_features, out_features,
                     python_text(bias.defined()));
}

Bilinear::Bilinear(int64_t in1, int64_t in2, int64_t out, bool with_bias)
    : in1_features(in1), in2_features(in2), out_features(out) {
  SORUS_CHECK(in1 > 0 && in2 > 0 && out > 0, ValueError, "Bilinear: sizes must be positive, found {}, {} and {}", in1,
              in2, out);
  register_parameter("weight", weight, Tensor::empty({out, in1, in2}, default_dtype()));
  register_parameter("bias", bias, with_bias ? Tensor::empty({out}, default_dtype()) : Tensor());
  double bound = 1 / std::sqrt(static_cast<double>(in1));
  uniform_(weight, -bound, bound);
  if (bias.defined()) uniform_(bias, -bound, bound);
}
Tensor Bilinear::forward(const Tensor& x1, const Tensor& x2) {
  // (x1 W_o) x2 for all outputs: one product, then one that sums.
  Shape lead(x1.sizes().begin(), x1.sizes().end() - 1);
  Tensor a = reshape(x1, Shape{-1, in1_features}), b = reshape(x2, Shape{-1, in2_features});
  Tensor left = reshape(matmul(a, reshape(permute(weight, Shape{1, 0, 2}), Shape{in1_features, -1})),
                        Shape{-1, out_features, in2_features});
  Tensor y = squeeze(matmul(left, unsqueeze(b, -1)), Shape{-1});
  lead.push_back(out_features);
  y = reshape(y, lead);
  return bias.defined() ? y + bias : y;
}
std::string Bilinear::extra_repr() const {
  return fmt::format("in1_features={}, in2_features={}, out_features={}, bias={}", in1_features, in2_features,
                     out_features, python_text(bias.defined()));
}

Embedding::Embedding(int64_t num, int64_t dim, std::optional<int64_t> padding)
    : num_embeddings(num), embedding_dim(dim), padding_idx(padding) {
  SORUS_CHECK(num >= 0 && dim >= 0, ValueError, "Embedding: sizes must not be negative, found {} and {}", num, dim);
  if (padding_idx) {
    SORUS_CHECK(*padding_idx < num && *padding_idx >= -num, ValueError,
                "Embedding: padding_idx {} is not within {} embeddings", *padding_idx, num);
    if (*padding_idx < 0) *padding_idx += num;
  }
  register_parameter("weight", weight, Tensor::empty({num, dim}, default_dtype()));
  reset_parameters();
}
void Embedding::reset_parameters() {
  normal_(weight, 0, 1);
  GradMode off(false);
  if (padding_idx) uniform_(select(weight.detach(), 0, *padding_idx), 0, 0);
}
Tensor Embedding::forward(const Tensor& input) { return embedding(input, weight, padding_idx); }
std::string Embedding::extra_repr() const {
  std::string s = fmt::format("{}, {}", num_embeddings, embedding_dim);
  return padding_idx ? s + fmt::format(", padding_idx={}", *padding_idx) : s;
}

Tensor Flatten::forward(const Tensor& input) { return flatten(input, start_dim, end_dim); }
std::string Flatten::extra_repr() const { return fmt::format("start_dim={}, end_dim={}", start_dim, end_dim); }
Tensor Unflatten::forward(const Tensor& input) { return unflatten(input, dim, unflattened_size); }
std::string Unflatten::extra_repr() const {
  return fmt::format("dim={}, unflattened_size={}", dim, python_text(unflattened_size));
}

Dropout::Dropout(double p, bool inplace) : p(p), inplace(inplace) {
  SORUS_CHECK(p >= 0 && p <= 1, ValueError, "Dropout: p must lie in [0, 1], not {}", p);
}
Tensor Dropout::forward(const Tensor& input) { return is_training() ? dropout(input, p) : input; }
Tensor DropoutChannels::forward(const Tensor& input) { return is_training() ? dropout_channels(input, p) : input; }
std::string Dropout::extra_repr() const {
  return fmt::format("p={}, inplace={}", python_text(p), python_text(inplace));
}

OperatorLayer::OperatorLayer(const std::string& op, Attrs attrs) : op_(find_op(op)), attrs_(std::move(attrs)) {
  const Signature& s = op_.signature;
  SORUS_CHECK(s.tensors == 1, TypeError, "OperatorLayer: '{}' takes {} tensors, not one", op, s.tensors);
  for (int i = static_cast<int>(attrs_.size()); i < s.attrs; ++i) attrs_.push_back(s.attr_param(i).default_value);
}
Tensor OperatorLayer::forward(const Tensor& input) { return call_one(op_, {input}, attrs_); }

}  // namespace sorus::nn
