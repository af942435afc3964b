// Layers, with PyTorch's names, defaults and initialisation.
#pragma once

#include "sorus/nn/module.h"

namespace sorus::nn {

class Linear : public Module {
 public:
  Linear(int64_t in_features, int64_t out_features, bool bias = true);
  Tensor forward(const Tensor& input) override;
  Tensor weight, bias;
};

class Embedding : public Module {
 public:
  Embedding(int64_t num_embeddings, int64_t embedding_dim);
  Tensor forward(const Tensor& input) override;
  Tensor weight;
};

class LayerNorm : public Module {
 public:
  explicit LayerNorm(Shape normalized_shape, double eps = 1e-5, bool bias = true);
  Tensor forward(const Tensor& input) override;
  Tensor weight, bias;

 private:
  Shape normalized_;
  double eps_;
};

class RMSNorm : public Module {
 public:
  explicit RMSNorm(Shape normalized_shape, std::optional<double> eps = std::nullopt);
  Tensor forward(const Tensor& input) override;
  Tensor weight;

 private:
  Shape normalized_;
  std::optional<double> eps_;
};

/// Zeroes elements with probability p while training, and scales the others by 1/(1-p).
class Dropout : public Module {
 public:
  explicit Dropout(double p = 0.5);
  Tensor forward(const Tensor& input) override;

 private:
  double p_;
};

class Sequential : public Module {
 public:
  Sequential() = default;
  explicit Sequential(std::vector<std::shared_ptr<Module>> modules);
  void append(std::shared_ptr<Module> module);
  Tensor forward(const Tensor& input) override;
};

/// Self-attention in which a token sees itself and those before it: [batch, time, n_embd] to the same.
class CausalSelfAttention : public Module {
 public:
  CausalSelfAttention(int64_t n_embd, int64_t n_head, double dropout = 0, bool bias = true);
  Tensor forward(const Tensor& input) override;

 private:
  int64_t n_head_;
  std::shared_ptr<Linear> c_attn_, c_proj_;
  std::shared_ptr<Dropout> dropout_;
};

}  // namespace sorus::nn
