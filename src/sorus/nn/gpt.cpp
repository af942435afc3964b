#include "sorus/nn/gpt.h"

#include <cmath>

#include "sorus/graph/call.h"
#include "sorus/nn/random.h"
#include "sorus/ops.h"

namespace sorus::nn {

Mlp::Mlp(const GPTConfig& c) : config_(c) {
  add("c_fc", fc_, std::make_shared<Linear>(c.n_embd, 4 * c.n_embd, c.bias));
  add("c_proj", proj_, std::make_shared<Linear>(4 * c.n_embd, c.n_embd, c.bias));
  add("dropout", dropout_, std::make_shared<Dropout>(c.dropout));
}
Tensor Mlp::forward(const Tensor& x) { return (*dropout_)((*proj_)(gelu((*fc_)(x), "tanh"))); }

Block::Block(const GPTConfig& c) : config_(c) {
  add("ln_1", ln_1_, std::make_shared<LayerNorm>(Shape{c.n_embd}, 1e-5, true, c.bias));
  add("attn", attn_, std::make_shared<CausalSelfAttention>(c.n_embd, c.n_head, c.dropout, c.bias));
  add("ln_2", ln_2_, std::make_shared<LayerNorm>(Shape{c.n_embd}, 1e-5, true, c.bias));
  add("mlp", mlp_, std::make_shared<Mlp>(c));
}

Tensor Block::forward(const Tensor& input, KeyValueCache* cache) {
  Tensor normal = (*ln_1_)(input), seen;
  if (cache) {
    auto* attention = dynamic_cast<CausalSelfAttention*>(attn_.get());
    SORUS_CHECK(attention, NotImplementedError, "Block: 'attn' was replaced by a module that cannot use a cache");
    seen = attention->forward(normal, cache);
  } else {
    seen = (*attn_)(normal);
  }
  Tensor x = input + seen;
  return x + (*mlp_)((*ln_2_)(x));
}

GPT::GPT(const GPTConfig& config) : config_(config) {
  const GPTConfig& c = config_;
  SORUS_CHECK(c.vocab_size > 0 && c.block_size > 0 && c.n_layer >= 0 && c.n_embd > 0, ValueError,
              "GPT: sizes must be positive: vocab_size {}, block_size {}, n_layer {}, n_embd {}", c.vocab_size,
              c.block_size, c.n_layer, c.n_embd);
  add("wte", wte_, std::make_shared<Embedding>(c.vocab_size, c.n_embd));
  add("wpe", wpe_, std::make_shared<Embedding>(c.block_size, c.n_embd));
  add("drop", drop_, std::make_shared<Dropout>(c.dropout));
  auto h = std::make_shared<Sequential>();
  for (int64_t i = 0; i < c.n_layer; ++i) h->append(std::make_shared<Block>(c));
  add("h", h_, h);
  add("ln_f", ln_f_, std::make_shared<LayerNorm>(Shape{c.n_embd}, 1e-5, true, c.bias));

  // GPT-2's initialisation: what is added to the residual stream starts smaller, the deeper the model.
  double residual = 0.02 / std::sqrt(2.0 * static_cast<double>(std::max<int64_t>(c.n_layer, 1)));
  GradMode off(false);
  for (auto& [name, t] : named_parameters()) {
    if (t.dim() == 2)
      normal_(t, 0, name.ends_with("c_proj.weight") ? residual : 0.02);
    else if (name.ends_with("bias"))
      uniform_(t, 0, 0);
  }
}

Tensor GPT::forward(const Tensor& ids, GPTCache* cache) {
  SORUS_CHECK(ids.dim() == 2, ValueError, "GPT: expected ids [batch, time], found {}", to_string(ids.sizes()));
  int64_t before = cache ? cache->length() : 0, length = before + ids.size(1);
  SORUS_CHECK(length <= config_.block_size, ValueError, "GPT: {} tokens are more than block_size {}", length,
              config_.block_size);
  Tensor x = (*drop_)((*wte_)(ids) + slice(wpe_->weight, 0, before, length));
  if (cache) {
    cache->blocks.resize(h_->children().size());
    size_t i = 0;
    for (auto& [name, child] : h_->children()) {
      auto* block = dynamic_cast<Block*>(child.get());
      SORUS_CHECK(block, NotImplementedError, "GPT: 'h.{}' was replaced by a module that cannot use a cache", name);
      x = block->forward(x, &cache->blocks[i++]);
    }
  } else {
    x = (*h_)(x);
  }
  return linear((*ln_f_)(x), wte_->weight);
}

Tensor GPT::loss(const Tensor& ids, const Tensor& targets) {
  Tensor logits = forward(ids);
  static const OpDef& loss = find_op("cross_entropy_last");
  return call_one(loss, {logits, targets}, {Attr(-100), Attr("mean")});
}

}  // namespace sorus::nn
