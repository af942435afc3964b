// Transformer encoder (Vaswani et al. 2017) with PyTorch's names.
#pragma once

#include "sorus/nn/attention.h"
#include "sorus/nn/containers.h"

namespace sorus::nn {

struct TransformerOptions {
  int64_t d_model, nhead, dim_feedforward = 2048;
  double dropout = 0.1;
  std::function<Tensor(const Tensor&)> activation = {};  ///< relu if empty
  double layer_norm_eps = 1e-5;
  bool batch_first = false, norm_first = false, bias = true;
};

class TransformerEncoderLayer : public Module {
 public:
  explicit TransformerEncoderLayer(TransformerOptions options);
  Tensor forward(const Tensor& src) override { return forward(src, {}); }
  Tensor forward(const Tensor& src, const MultiheadAttention::Mask& mask);
  const TransformerOptions options;
  std::shared_ptr<MultiheadAttention> self_attn;

 private:
  std::shared_ptr<Module> linear1_, dropout_, linear2_, norm1_, norm2_, dropout1_, dropout2_;
};

class TransformerEncoder : public Module {
 public:
  /// `norm` may be null.
  TransformerEncoder(const TransformerOptions& options, int64_t num_layers, std::shared_ptr<Module> norm = nullptr);
  Tensor forward(const Tensor& src) override { return forward(src, {}); }
  Tensor forward(const Tensor& src, const MultiheadAttention::Mask& mask);

 private:
  std::shared_ptr<ModuleList> layers_;
  std::shared_ptr<Module> norm_;
};

}  // namespace sorus::nn
