// Decoder: the transformer that today's language models share, with the choices that tell them apart (GPT-3, Llama,
// mixtures of experts). Weights are laid out so that every operator can be split along its heads, its inner width,
// its experts or its vocabulary: the rows of `qkv` are grouped by key/value head, and the loss is written with
// operators that add up over a split vocabulary.
//
//   models::DecoderConfig c{.layers = 96, .hidden = 12288, .heads = 96, .vocab = 51200, .context = 2048};
//   MetaScope meta;                       // without memory: 175 billion parameters in milliseconds
//   models::Decoder gpt3(c);
#pragma once

#include "sorus/nn/layers.h"

namespace sorus::models {

struct DecoderConfig {
  int64_t layers = 12, hidden = 768, heads = 12, kv_heads = 0;  ///< kv_heads 0: as many as heads
  int64_t ffn = 0;                                              ///< inner width; 0: four times hidden
  int64_t vocab = 50304, context = 1024;
  bool gated = false;   ///< SwiGLU: three matrices instead of two
  bool rms = false;     ///< RMSNorm instead of LayerNorm
  bool rotary = false;  ///< rotary positions instead of a table
  bool tied = true;     ///< the head is the token embedding
  bool bias = true;
  bool fused_attention = true;  ///< one operator that keeps nothing of size context x context
  bool fused_loss = false;      ///< one operator that keeps no probabilities; the vocabulary cannot be split then
  double dropout = 0;
  int64_t experts = 0;  ///< > 0: each block's inner part is a mixture
  int64_t top_k = 2;    ///< experts a token meets
  int64_t groups = 1;  ///< of tokens, each with places of its own at every expert; ranks that share a batch have some
  double capacity_factor = 1;  ///< places, as a multiple of what equal shares would take
  int64_t kv() const { return kv_heads > 0 ? kv_heads : heads; }
  int64_t inner() const { return ffn > 0 ? ffn : 4 * hidden; }
};

class Decoder : public nn::Module {
 public:
  explicit Decoder(const DecoderConfig& config);
  const DecoderConfig& config() const { return config_; }
  /// [batch, time] ids to [batch, time, vocab] logits.
  Tensor forward(const Tensor& ids) override;
  /// Mean cross entropy; `targets` [batch, time].
  Tensor loss(const Tensor& ids, const Tensor& targets);
  /// How often in the last forward pass a token found no room at one of its experts, of layers x tokens x top_k; a
  /// number that a recorded step may return.
  Tensor dropped();

 private:
  DecoderConfig config_;
  std::shared_ptr<nn::Module> drop_, blocks_, norm_, head_;
  std::shared_ptr<nn::Embedding> tokens_, positions_;
};

/// -log softmax(logits)[target], the mean over all tokens, by operators that add up over shards of the last
/// dimension.
Tensor token_loss(const Tensor& logits, const Tensor& targets);

}  // namespace sorus::models
