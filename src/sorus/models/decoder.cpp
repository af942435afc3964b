#include "sorus/models/decoder.h"

#include <array>
#include <cmath>
#include <limits>

#include "sorus/nn/functional.h"
#include "sorus/nn/init.h"
#include "sorus/ops.h"

namespace sorus::models {
namespace {

using nn::Module;

std::shared_ptr<Module> make_norm(const DecoderConfig& c) {
  if (c.rms) return std::make_shared<nn::RMSNorm>(Shape{c.hidden});
  return std::make_shared<nn::LayerNorm>(Shape{c.hidden});
}

// A product whose inner width is split: the bias is added once the parts are, so it stands apart from the product.
class Projection : public Module {
 public:
  Projection(int64_t in, int64_t out, bool with_bias) {
    register_parameter("weight", weight_, Tensor::empty({out, in}, default_dtype()));
    register_parameter("bias", bias_, with_bias ? Tensor::empty({out}, default_dtype()) : Tensor());
    double bound = 1 / std::sqrt(static_cast<double>(in));
    nn::uniform_(weight_, -bound, bound);
    if (with_bias) nn::uniform_(bias_, 0, 0);
  }
  Tensor forward(const Tensor& x) override {
    Tensor y = linear(x, weight_);
    return bias_.defined() ? y + bias_ : y;
  }

 private:
  Tensor weight_, bias_;
};

class Attention : public Module {
 public:
  explicit Attention(const DecoderConfig& c) : c_(c), width_(c.hidden / c.heads), group_(c.heads / c.kv()) {
    add("qkv", qkv_, std::make_shared<nn::Linear>(c.hidden, c.kv() * (group_ + 2) * width_, c.bias));
    add("proj", proj_, std::make_shared<Projection>(c.hidden, c.hidden, c.bias));
    add("drop", drop_, std::make_shared<nn::Dropout>(c.dropout));
  }
  Tensor forward(const Tensor& x) override {
    int64_t b = x.size(0), t = x.size(1);
    // Grouped by key/value head, so that a part of the rows is a part of the heads.
    Tensor all = reshape((*qkv_)(x), Shape{b, t, c_.kv(), group_ + 2, width_});
    auto heads = [&](int64_t from, int64_t count) {
      return transpose(reshape(slice(all, 3, from, from + count), Shape{b, t, c_.kv() * count, width_}), 1, 2);
    };
    Tensor q = heads(0, group_), k = heads(group_, 1), v = heads(group_ + 1, 1);
    if (c_.rotary) q = nn::rotary(q), k = nn::rotary(k);
    Tensor y = c_.fused_attention ? nn::attention(q, k, v, {}, {.causal = true, .scale = {}}) : plain(q, k, v);
    return (*drop_)((*proj_)(reshape(transpose(y, 1, 2), Shape{b, t, c_.hidden})));
  }

 private:
  Tensor plain(const Tensor& q, Tensor k, Tensor v) {
    int64_t t = q.size(2), b = q.size(0);
    auto repeat = [&](const Tensor& x) {
      if (group_ == 1) return x;
      return reshape(expand(unsqueeze(x, 2), Shape{b, c_.kv(), group_, t, width_}), Shape{b, c_.heads, t, width_});
    };
    k = repeat(k), v = repeat(v);
    Tensor scores = matmul(q, transpose(k, -2, -1)) * (1 / std::sqrt(static_cast<double>(width_)));
    Tensor i = unsqueeze(arange(int64_t{0}, t), 1), j = arange(int64_t{0}, t);
    scores = where(le(j, i), scores, Tensor::weak_scalar(-std::numeric_limits<double>::infinity()));
    return matmul(nn::dropout(softmax(scores, -1), is_training() ? c_.dropout : 0), v);
  }
  DecoderConfig c_;
  int64_t width_, group_;
  std::shared_ptr<Module> qkv_, proj_, drop_;
};

class FeedForward : public Module {
 public:
  explicit FeedForward(const DecoderConfig& c) : c_(c) {
    if (c.gated) add("gate", gate_, std::make_shared<nn::Linear>(c.hidden, c.inner(), c.bias));
    add("up", up_, std::make_shared<nn::Linear>(c.hidden, c.inner(), c.bias));
    add("down", down_, std::make_shared<Projection>(c.inner(), c.hidden, c.bias));
    add("drop", drop_, std::make_shared<nn::Dropout>(c.dropout));
  }
  Tensor forward(const Tensor& x) override {
    Tensor y = c_.gated ? silu((*gate_)(x)) * (*up_)(x) : gelu((*up_)(x), "tanh");
    return (*drop_)((*down_)(y));
  }

 private:
  DecoderConfig c_;
  std::shared_ptr<Module> gate_, up_, down_, drop_;
};

// Sums of the rows so far of [groups, rows, columns], by blocks of rows: triangles of ones times the block, and times
// the blocks' sums.
Tensor running_sum(const Tensor& x) {
  int64_t groups = x.size(0), rows = x.size(1), columns = x.size(2), block = 1;
  while (block < 256 && rows % (2 * block) == 0) block *= 2;
  int64_t blocks = rows / block;
  auto ones_below = [&](int64_t n, bool diagonal) {
    Tensor i = unsqueeze(arange(int64_t{0}, n), 1), j = arange(int64_t{0}, n);
    return sorus::to(diagonal ? le(j, i) : lt(j, i), x.dtype());
  };
  Tensor parts = reshape(x, Shape{groups, blocks, block, columns});
  Tensor inside = matmul(ones_below(block, true), parts);
  Tensor before = matmul(ones_below(blocks, false), sum(parts, Shape{2}));
  return reshape(inside + unsqueeze(before, 2), x.sizes());
}

// Each token goes to its `top_k` best experts (Lepikhin et al. 2020, GShard). An expert has room for an equal share
// of the tokens; those that come when it is full pass it by. Places are counted by a running sum, so that all shapes
// are known. Each group of tokens counts its own: where ranks have groups of tokens and experts, all that goes
// between them is tokens on their way.
class Experts : public Module {
 public:
  explicit Experts(const DecoderConfig& c) : c_(c) {
    add("router", router_, std::make_shared<nn::Linear>(c.hidden, c.experts, false));
    auto weight = [&](const char* name, Tensor& member, int64_t in, int64_t out) {
      register_parameter(name, member, Tensor::empty({c.experts, in, out}, default_dtype()));
      double bound = 1 / std::sqrt(static_cast<double>(in));
      nn::uniform_(member, -bound, bound);
    };
    if (c.gated) weight("gate", gate_, c.hidden, c.inner());
    weight("up", up_, c.hidden, c.inner());
    weight("down", down_, c.inner(), c.hidden);
  }
  Tensor forward(const Tensor& x) override {
    int64_t g = c_.groups, tokens = x.size(0) * x.size(1), h = c_.hidden, e = c_.experts;
    SORUS_CHECK(tokens % g == 0, ValueError, "Decoder: {} tokens cannot be cut into {} equal groups", tokens, g);
    int64_t rows = tokens / g;
    double share = static_cast<double>(rows * c_.top_k) / static_cast<double>(e);
    int64_t capacity = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(share * c_.capacity_factor)));
    Tensor flat = reshape(x, Shape{g, rows, h});
    Tensor scores = softmax((*router_)(flat), -1), left = scores.detach();
    Tensor in, used = zeros(Shape{g, 1, e}, DType::f32), expert_id = arange(int64_t{0}, e);
    TensorList indices, gates;
    fits_.clear();
    for (int64_t k = 0; k < c_.top_k; ++k) {
      Tensor best = argmax(left, -1);
      Tensor chosen = eq(unsqueeze(best, -1), expert_id);  // [groups, rows, experts]
      Tensor count = sorus::to(chosen, DType::f32);
      Tensor before = running_sum(count) - count + used;
      Tensor rank = sum(where(chosen, before, Tensor::weak_scalar(0.0)), Shape{-1});
      used = used + sum(count, Shape{1}, true);
      // Whoever finds no room goes to a place behind all others, which no expert reads.
      Tensor fits = lt(rank, Tensor::weak_scalar(static_cast<double>(capacity)));
      fits_.push_back(fits);
      Tensor place = where(fits, best * Tensor::weak_scalar(capacity) + sorus::to(rank, DType::i64),
                           Tensor::weak_scalar(e * capacity));
      indices.push_back(expand(unsqueeze(place, -1), Shape{g, rows, h}));
      gates.push_back(
          sum(where(logical_and(chosen, unsqueeze(fits, -1)), scores, Tensor::weak_scalar(0.0)), Shape{-1}));
      left = where(chosen, Tensor::weak_scalar(-1.0), left);
      Tensor base = in.defined() ? in : zeros(Shape{g, e * capacity + 1, h}, x.dtype());
      in = scatter_add(base, 1, indices.back(), flat);
    }
    in = transpose(reshape(slice(in, 1, 0, e * capacity), Shape{g, e, capacity, h}), 0, 1);
    in = reshape(in, Shape{e, g * capacity, h});
    Tensor y = c_.gated ? silu(bmm(in, gate_)) * bmm(in, up_) : gelu(bmm(in, up_), "tanh");
    Tensor out = transpose(reshape(bmm(y, down_), Shape{e, g, capacity, h}), 0, 1);
    out = cat(std::array{reshape(out, Shape{g, e * capacity, h}), zeros(Shape{g, 1, h}, x.dtype())}, 1);
    Tensor total;
    for (int64_t k = 0; k < c_.top_k; ++k) {
      auto i = static_cast<size_t>(k);
      Tensor part = gather(out, 1, indices[i]) * unsqueeze(gates[i], -1);
      total = total.defined() ? total + part : part;
    }
    return reshape(total, x.sizes());
  }
  Tensor dropped() const {
    Tensor total;
    for (const Tensor& fits : fits_) {
      Tensor n = sum(sorus::to(logical_not(fits), DType::i64));
      total = total.defined() ? total + n : n;
    }
    return total;
  }

 private:
  DecoderConfig c_;
  std::shared_ptr<Module> router_;
  Tensor gate_, up_, down_;
  TensorList fits_;  // of the last forward pass: which tokens found room, by choice
};

class DecoderBlock : public Module {
 public:
  explicit DecoderBlock(const DecoderConfig& c) {
    add("norm_1", norm_1_, make_norm(c));
    add("attention", attention_, std::make_shared<Attention>(c));
    add("norm_2", norm_2_, make_norm(c));
    if (c.experts > 0)
      add("experts", inner_, std::make_shared<Experts>(c));
    else
      add("feed_forward", inner_, std::make_shared<FeedForward>(c));
  }
  Tensor forward(const Tensor& input) override {
    Tensor x = input + (*attention_)((*norm_1_)(input));
    return x + (*inner_)((*norm_2_)(x));
  }

 private:
  std::shared_ptr<Module> norm_1_, attention_, norm_2_, inner_;
};

}  // namespace

Decoder::Decoder(const DecoderConfig& c) : config_(c) {
  SORUS_CHECK(
      c.layers >= 0 && c.hidden > 0 && c.heads > 0 && c.vocab > 0 && c.context > 0 && c.experts >= 0 && c.groups > 0,
      ValueError, "Decoder: sizes must be positive: layers {}, hidden {}, heads {}, vocab {}, context {}", c.layers,
      c.hidden, c.heads, c.vocab, c.context);
  SORUS_CHECK(c.hidden % c.heads == 0, ValueError, "Decoder: hidden {} is not a multiple of heads {}", c.hidden,
              c.heads);
  SORUS_CHECK(c.heads % c.kv() == 0, ValueError, "Decoder: heads {} is not a multiple of kv_heads {}", c.heads,
              c.kv());
  add("tokens", tokens_, std::make_shared<nn::Embedding>(c.vocab, c.hidden));
  if (!c.rotary) add("positions", positions_, std::make_shared<nn::Embedding>(c.context, c.hidden));
  add("drop", drop_, std::make_shared<nn::Dropout>(c.dropout));
  auto blocks = std::make_shared<nn::Sequential>();
  for (int64_t i = 0; i < c.layers; ++i) blocks->append(std::make_shared<DecoderBlock>(c));
  add("blocks", blocks_, blocks);
  add("norm", norm_, make_norm(c));
  if (!c.tied) add("head", head_, std::make_shared<nn::Linear>(c.hidden, c.vocab, false));
}

Tensor Decoder::forward(const Tensor& ids) {
  SORUS_CHECK(ids.dim() == 2, ValueError, "Decoder: expected ids [batch, time], found {}", to_string(ids.sizes()));
  SORUS_CHECK(ids.size(1) <= config_.context, ValueError, "Decoder: {} tokens are more than context {}", ids.size(1),
              config_.context);
  Tensor x = (*tokens_)(ids);
  if (!config_.rotary) x = x + slice(positions_->weight, 0, 0, ids.size(1));
  x = (*norm_)((*blocks_)((*drop_)(x)));
  return config_.tied ? linear(x, tokens_->weight) : (*head_)(x);
}

Tensor Decoder::loss(const Tensor& ids, const Tensor& targets) {
  Tensor logits = forward(ids);
  if (!config_.fused_loss) return token_loss(logits, targets);
  static const OpDef& whole = find_op("cross_entropy_classes");
  return call_one(whole, {reshape(logits, Shape{-1, logits.size(-1)}), reshape(targets, Shape{-1})},
                  {Attr(int64_t{-100}), Attr(std::string("mean"))});
}

Tensor Decoder::dropped() {
  Tensor total;
  for (auto& [name, block] : blocks_->children())
    for (auto& [inner, child] : block->children())
      if (auto* experts = dynamic_cast<Experts*>(child.get()))
        if (Tensor n = experts->dropped(); n.defined()) total = total.defined() ? total + n : n;
  SORUS_CHECK(total.defined(), ValueError,
              "Decoder: no token was dropped or kept: the model has no experts, or forward "
              "was not called");
  return total;
}

Tensor token_loss(const Tensor& logits, const Tensor& targets) {
  SORUS_CHECK(logits.dim() == targets.dim() + 1, ValueError, "token_loss: logits {} and targets {} do not fit",
              to_string(logits.sizes()), to_string(targets.sizes()));
  Tensor x = is_half(logits.dtype()) ? to(logits, DType::f32) : logits;
  Tensor shifted = x - amax(x.detach(), Shape{-1}, true);
  Tensor total = log(sum(exp(shifted), Shape{-1}));
  Tensor is_target = eq(arange(int64_t{0}, x.size(-1)), unsqueeze(targets, -1));
  Tensor picked = sum(where(is_target, shifted, Tensor::weak_scalar(0.0)), Shape{-1});
  return mean(total - picked);
}

}  // namespace sorus::models
