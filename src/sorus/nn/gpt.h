// GPT-2 (Radford et al. 2019): pre-norm transformer, learned positions, head tied to the token embedding.
//
//   nn::GPT model({.vocab_size = 65, .block_size = 64, .n_layer = 4, .n_head = 4, .n_embd = 128});
//   Tensor loss = model.loss(ids, targets);       // both [batch, time], int64
//
//   GPTCache cache;                               // to write: each token is computed once
//   Tensor logits = model.forward(prompt, &cache);
//   logits = model.forward(next, &cache);         // [batch, 1]: what follows the prompt
#pragma once

#include "sorus/nn/layers.h"

namespace sorus::nn {

struct GPTConfig {
  int64_t vocab_size = 50257, block_size = 1024, n_layer = 12, n_head = 12, n_embd = 768;
  double dropout = 0;
  bool bias = true;
};

/// Keys and values of the tokens that every block has seen.
struct GPTCache {
  std::vector<KeyValueCache> blocks;
  int64_t length() const { return blocks.empty() ? 0 : blocks[0].length(); }
};

class Mlp : public Module {
 public:
  explicit Mlp(const GPTConfig& config);
  const GPTConfig& config() const { return config_; }
  Tensor forward(const Tensor& input) override;

 private:
  GPTConfig config_;
  std::shared_ptr<Module> fc_, proj_, dropout_;
};

class Block : public Module {
 public:
  explicit Block(const GPTConfig& config);
  const GPTConfig& config() const { return config_; }
  Tensor forward(const Tensor& input) override { return forward(input, nullptr); }
  Tensor forward(const Tensor& input, KeyValueCache* cache);

 private:
  GPTConfig config_;
  std::shared_ptr<Module> ln_1_, attn_, ln_2_, mlp_;
};

class GPT : public Module {
 public:
  explicit GPT(const GPTConfig& config);
  const GPTConfig& config() const { return config_; }
  /// [batch, time] token ids to [batch, time, vocab_size] logits.
  Tensor forward(const Tensor& ids) override { return forward(ids, nullptr); }
  /// `ids` go on behind the tokens in the cache; together at most block_size.
  Tensor forward(const Tensor& ids, GPTCache* cache);
  Tensor loss(const Tensor& ids, const Tensor& targets);

 private:
  GPTConfig config_;
  std::shared_ptr<Embedding> wte_, wpe_;
  std::shared_ptr<Module> drop_, h_, ln_f_;
};

}  // namespace sorus::nn
