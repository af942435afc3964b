// Attention layers.
//
//   nn::GroupedQueryAttention layer({.embed_dim = 512, .num_heads = 8, .num_kv_heads = 2, .rope_base = 10000});
//   Tensor y = layer(x);                        // causal, [batch, time, 512]
//   nn::KeyValueCache cache;
//   for (...) y = layer.forward(x_t, &cache);   // the same rows, a few at a time
#pragma once

#include <optional>

#include "sorus/nn/basic.h"

namespace sorus::nn {

/// Keys and values of the tokens that a layer has seen: [batch, heads, time, width]. It grows by doubling.
class KeyValueCache {
 public:
  int64_t length() const { return length_; }
  void clear() { length_ = 0, keys_ = {}, values_ = {}; }
  /// Keeps the first `length` tokens.
  void truncate(int64_t length);
  /// Appends, and returns views of all keys and values so far. Not for recorded or differentiated code.
  std::pair<Tensor, Tensor> append(const Tensor& key, const Tensor& value);

 private:
  Tensor keys_, values_;
  int64_t length_ = 0;
};

/// Self-attention in which a token sees itself and those before it: [batch, time, n_embd] to the same. GPT-2's names.
class CausalSelfAttention : public Module {
 public:
  CausalSelfAttention(int64_t n_embd, int64_t n_head, double dropout = 0, bool bias = true);
  Tensor forward(const Tensor& input) override { return forward(input, nullptr); }
  /// With a cache, the input goes on behind the tokens that are in it.
  Tensor forward(const Tensor& input, KeyValueCache* cache);
  const int64_t n_embd, n_head;
  const double dropout;
  const bool bias;

 private:
  std::shared_ptr<Module> c_attn_, c_proj_, resid_dropout_;
};

/// Multi-head attention (Vaswani et al. 2017) with PyTorch's names and layout of weights.
class MultiheadAttention : public Module {
 public:
  struct Options {
    double dropout = 0;
    bool bias = true, add_bias_kv = false, add_zero_attn = false;
    std::optional<int64_t> kdim, vdim;
    bool batch_first = false;
  };
  MultiheadAttention(int64_t embed_dim, int64_t num_heads, Options options);
  MultiheadAttention(int64_t embed_dim, int64_t num_heads) : MultiheadAttention(embed_dim, num_heads, Options()) {}

  struct Mask {
    Tensor key_padding;  ///< [batch, keys]: true (or -inf) where a key is to be ignored
    Tensor attention;    ///< [queries, keys] or [batch * heads, queries, keys]: true where not to look, or added
    bool causal = false;
  };
  struct Result {
    Tensor output, weights;  ///< weights [batch, (heads,) queries, keys] if asked for
  };
  using Module::forward;
  /// [time, batch, embed_dim], [batch, time, embed_dim] if batch_first, or [time, embed_dim].
  Result forward(const Tensor& query, const Tensor& key, const Tensor& value, const Mask& mask, bool need_weights,
                 bool average_weights = true);
  using Module::operator();
  /// forward, with the hooks around it.
  Result operator()(const Tensor& query, const Tensor& key, const Tensor& value, const Mask& mask,
                    bool need_weights) {
    return attend_ ? attend_(query, key, value, mask, need_weights) : forward(query, key, value, mask, need_weights);
  }
  /// Replaces what that does; empty: forward.
  using Attend = std::function<Result(const Tensor&, const Tensor&, const Tensor&, const Mask&, bool)>;
  void set_attend(Attend attend) { attend_ = std::move(attend); }
  void reset_parameters();

  const int64_t embed_dim, num_heads, head_dim;
  const Options options;
  Tensor in_proj_weight, q_proj_weight, k_proj_weight, v_proj_weight, in_proj_bias, bias_k, bias_v;

 private:
  TensorList project(const Tensor& q, const Tensor& k, const Tensor& v) const;
  Attend attend_;
  std::shared_ptr<Module> out_proj_;
};

/// Causal self-attention in which groups of query heads share a key and value head (Ainslie et al. 2023), with rotary
/// positions (Su et al. 2021); names of Llama: q_proj, k_proj, v_proj, o_proj.
class GroupedQueryAttention : public Module {
 public:
  struct Options {
    int64_t embed_dim, num_heads;
    int64_t num_kv_heads = 0;  ///< as many as num_heads if 0
    double rope_base = 10000;  ///< 0: no rotation
    double dropout = 0;
    bool bias = false;
  };
  explicit GroupedQueryAttention(const Options& options);
  Tensor forward(const Tensor& input) override { return forward(input, nullptr); }
  Tensor forward(const Tensor& input, KeyValueCache* cache);
  std::string extra_repr() const override;
  const Options options;

 private:
  std::shared_ptr<Module> q_proj_, k_proj_, v_proj_, o_proj_;
};

}  // namespace sorus::nn
