// Layers of one operator: products, lookups, dropout, shapes, and any operator of one tensor as a layer.
#pragma once

#include <optional>

#include "sorus/graph/op.h"
#include "sorus/nn/module.h"

namespace sorus::nn {

class Linear : public Module {
 public:
  Linear(int64_t in_features, int64_t out_features, bool bias = true);
  Tensor forward(const Tensor& input) override;
  std::string extra_repr() const override;
  void reset_parameters();
  int64_t in_features;
  const int64_t out_features;
  Tensor weight, bias;
};

/// y[.., o] = x1[.., i] weight[o, i, j] x2[.., j] + bias[o]
class Bilinear : public Module {
 public:
  Bilinear(int64_t in1_features, int64_t in2_features, int64_t out_features, bool bias = true);
  using Module::forward;
  Tensor forward(const Tensor& input1, const Tensor& input2);
  std::string extra_repr() const override;
  const int64_t in1_features, in2_features, out_features;
  Tensor weight, bias;
};

class Embedding : public Module {
 public:
  /// The row `padding_idx` (negative: from the end) starts as zeros and gets no gradient.
  Embedding(int64_t num_embeddings, int64_t embedding_dim, std::optional<int64_t> padding_idx = std::nullopt);
  Tensor forward(const Tensor& input) override;
  std::string extra_repr() const override;
  void reset_parameters();
  const int64_t num_embeddings, embedding_dim;
  std::optional<int64_t> padding_idx;
  Tensor weight;
};

class Identity : public Module {
 public:
  Tensor forward(const Tensor& input) override { return input; }
};

class Flatten : public Module {
 public:
  explicit Flatten(int64_t start_dim = 1, int64_t end_dim = -1) : start_dim(start_dim), end_dim(end_dim) {}
  Tensor forward(const Tensor& input) override;
  std::string extra_repr() const override;
  const int64_t start_dim, end_dim;
};

class Unflatten : public Module {
 public:
  Unflatten(int64_t dim, Shape sizes) : dim(dim), unflattened_size(std::move(sizes)) {}
  Tensor forward(const Tensor& input) override;
  std::string extra_repr() const override;
  const int64_t dim;
  const Shape unflattened_size;
};

/// Zeroes elements with probability p while training, and scales the others by 1/(1-p).
class Dropout : public Module {
 public:
  explicit Dropout(double p = 0.5, bool inplace = false);
  Tensor forward(const Tensor& input) override;
  std::string extra_repr() const override;
  double p;
  bool inplace;  ///< shown, but nothing is written in place
};
/// The same for whole channels: what follows the first two dimensions is kept or zeroed together.
class DropoutChannels : public Dropout {
 public:
  using Dropout::Dropout;
  Tensor forward(const Tensor& input) override;
};

/// An operator of one tensor as a layer: OperatorLayer("leaky_relu", {0.2}); attributes left out are its defaults.
class OperatorLayer : public Module {
 public:
  explicit OperatorLayer(const std::string& op, Attrs attrs = {});
  Tensor forward(const Tensor& input) override;

 private:
  const OpDef& op_;
  Attrs attrs_;
};
struct ReLU : OperatorLayer {
  ReLU() : OperatorLayer("relu") {}
};
struct GELU : OperatorLayer {
  explicit GELU(const std::string& approximate = "none") : OperatorLayer("gelu", {Attr(approximate)}) {}
};
struct SiLU : OperatorLayer {
  SiLU() : OperatorLayer("silu") {}
};
struct Tanh : OperatorLayer {
  Tanh() : OperatorLayer("tanh") {}
};
struct Sigmoid : OperatorLayer {
  Sigmoid() : OperatorLayer("sigmoid") {}
};
struct Softmax : OperatorLayer {
  explicit Softmax(int64_t dim) : OperatorLayer("softmax", {Attr(dim)}) {}
};

/// As Python writes it: 1.0, 1e-05, (3,), True.
std::string python_text(double v);
std::string python_text(bool v);
std::string python_text(const Shape& v);

}  // namespace sorus::nn
