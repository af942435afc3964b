#include "sorus/nn/attention.h"

#include <array>
#include <cmath>
#include <limits>

#include "sorus/nn/functional.h"
#include "sorus/nn/init.h"
#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus::nn {
namespace {

Tensor never() { return Tensor::weak_scalar(-std::numeric_limits<double>::infinity()); }

// As numbers to add: true means "do not look".
Tensor additive(const Tensor& mask, DType type) {
  if (mask.dtype() != DType::boolean) return to(mask, type);
  return where(mask, never(), zeros(Shape{}, type));
}

GroupedQueryAttention::Options with_kv_heads(GroupedQueryAttention::Options o) {
  if (o.num_kv_heads == 0) o.num_kv_heads = o.num_heads;
  return o;
}

}  // namespace

void KeyValueCache::truncate(int64_t length) {
  SORUS_CHECK(length >= 0 && length <= length_, ValueError, "KeyValueCache: cannot keep {} of {} tokens", length,
              length_);
  length_ = length;
}

std::pair<Tensor, Tensor> KeyValueCache::append(const Tensor& key, const Tensor& value) {
  SORUS_CHECK(!is_tracing(), NotImplementedError, "KeyValueCache: its length changes, which a recorded graph cannot");
  int64_t wanted = length_ + key.size(2);
  auto grow = [&](Tensor& kept, const Tensor& like) {
    if (kept.defined() && length_ > 0)
      SORUS_CHECK(kept.size(0) == like.size(0) && kept.size(1) == like.size(1) && kept.size(3) == like.size(3) &&
                      kept.dtype() == like.dtype(),
                  ValueError, "KeyValueCache: {} does not continue {}", like.type().to_string(),
                  kept.type().to_string());
    if (kept.defined() && length_ > 0 && kept.size(2) >= wanted) return;
    Shape s = like.sizes();
    s[2] = std::max<int64_t>({wanted, 2 * length_, 16});
    Tensor bigger = Tensor::zeros(s, like.dtype());
    if (length_ > 0) copy_elements(narrow(bigger, 2, 0, length_), narrow(kept, 2, 0, length_));
    kept = bigger;
  };
  GradMode off(false);
  grow(keys_, key), grow(values_, value);
  copy_elements(narrow(keys_, 2, length_, key.size(2)), key.detach());
  copy_elements(narrow(values_, 2, length_, value.size(2)), value.detach());
  length_ = wanted;
  return {narrow(keys_, 2, 0, length_), narrow(values_, 2, 0, length_)};
}

namespace {

/// Attention of new tokens to those in the cache and to each other, none of them to later ones.
Tensor causal_attention(const Tensor& q, Tensor k, Tensor v, KeyValueCache* cache, double dropout) {
  int64_t t = q.size(2), before = cache ? cache->length() : 0;
  if (cache) std::tie(k, v) = cache->append(k, v);
  if (before > 0 && t > 1) {  // row i stands at position before + i
    Tensor i = unsqueeze(arange(Scalar(before), Scalar(before + t)), 1), j = arange(Scalar(before + t));
    return attention(q, k, v, le(j, i), {.dropout = dropout, .causal = false, .scale = {}});
  }
  return attention(q, k, v, {}, {.dropout = dropout, .causal = before == 0, .scale = {}});
}

}  // namespace

CausalSelfAttention::CausalSelfAttention(int64_t n_embd, int64_t heads, double dropout, bool bias)
    : n_embd(n_embd), n_head(heads), dropout(dropout), bias(bias) {
  SORUS_CHECK(heads > 0 && n_embd % heads == 0, ValueError,
              "CausalSelfAttention: n_embd {} is not a multiple of n_head {}", n_embd, heads);
  add("c_attn", c_attn_, std::make_shared<Linear>(n_embd, 3 * n_embd, bias));
  add("c_proj", c_proj_, std::make_shared<Linear>(n_embd, n_embd, bias));
  add("resid_dropout", resid_dropout_, std::make_shared<Dropout>(dropout));
}

Tensor CausalSelfAttention::forward(const Tensor& x, KeyValueCache* cache) {
  int64_t b = x.size(0), t = x.size(1), d = x.size(2);
  Tensor qkv = reshape((*c_attn_)(x), Shape{b, t, 3, n_head, d / n_head});
  auto part = [&](int64_t k) { return transpose(select(qkv, 2, k), 1, 2); };
  Tensor y = causal_attention(part(0), part(1), part(2), cache, is_training() ? dropout : 0);
  return (*resid_dropout_)((*c_proj_)(reshape(transpose(y, 1, 2), Shape{b, t, d})));
}

MultiheadAttention::MultiheadAttention(int64_t dim, int64_t heads, Options o)
    : embed_dim(dim), num_heads(heads), head_dim(heads > 0 ? dim / heads : 0), options(o) {
  SORUS_CHECK(dim > 0 && heads > 0 && dim % heads == 0, ValueError,
              "MultiheadAttention: embed_dim {} must be divisible by num_heads {}", dim, heads);
  SORUS_CHECK(!o.add_bias_kv && !o.add_zero_attn, NotImplementedError,
              "MultiheadAttention: add_bias_kv and add_zero_attn are not there");
  auto matrix = [](int64_t rows, int64_t cols) { return Tensor::empty({rows, cols}, default_dtype()); };
  bool same = o.kdim.value_or(dim) == dim && o.vdim.value_or(dim) == dim;
  register_parameter("q_proj_weight", q_proj_weight, same ? Tensor() : matrix(dim, dim));
  register_parameter("k_proj_weight", k_proj_weight, same ? Tensor() : matrix(dim, o.kdim.value_or(dim)));
  register_parameter("v_proj_weight", v_proj_weight, same ? Tensor() : matrix(dim, o.vdim.value_or(dim)));
  register_parameter("in_proj_weight", in_proj_weight, same ? matrix(3 * dim, dim) : Tensor());
  register_parameter("in_proj_bias", in_proj_bias, o.bias ? Tensor::empty({3 * dim}, default_dtype()) : Tensor());
  add("out_proj", out_proj_, std::make_shared<Linear>(dim, dim, o.bias));
  reset_parameters();
}

void MultiheadAttention::reset_parameters() {
  for (const Tensor& w : {in_proj_weight, q_proj_weight, k_proj_weight, v_proj_weight})
    if (w.defined()) init::xavier_uniform_(w);
  if (in_proj_bias.defined()) init::constant_(in_proj_bias, 0);
  if (const Slot* b = out_proj_->find_tensor("bias"); b && b->tensor().defined()) init::constant_(b->tensor(), 0);
}

TensorList MultiheadAttention::project(const Tensor& q, const Tensor& k, const Tensor& v) const {
  auto bias = [&](int64_t i) {
    return in_proj_bias.defined() ? narrow(in_proj_bias, 0, i * embed_dim, embed_dim) : Tensor();
  };
  if (!in_proj_weight.defined())
    return {linear(q, q_proj_weight, bias(0)), linear(k, k_proj_weight, bias(1)), linear(v, v_proj_weight, bias(2))};
  // Self-attention is one product.
  if (q.is(k) && k.is(v)) return chunk(linear(q, in_proj_weight, in_proj_bias), 3, -1);
  auto weight = [&](int64_t i) { return narrow(in_proj_weight, 0, i * embed_dim, embed_dim); };
  return {linear(q, weight(0), bias(0)), linear(k, weight(1), bias(1)), linear(v, weight(2), bias(2))};
}

MultiheadAttention::Result MultiheadAttention::forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                                       const Mask& mask, bool need_weights, bool average_weights) {
  bool batched = query.dim() == 3;
  SORUS_CHECK((batched || query.dim() == 2) && key.dim() == query.dim() && value.dim() == query.dim(), ValueError,
              "MultiheadAttention: expected query, key and value of 2 or 3 dimensions each, got {}, {} and {}",
              to_string(query.sizes()), to_string(key.sizes()), to_string(value.sizes()));
  SORUS_CHECK(query.size(-1) == embed_dim && key.size(-1) == options.kdim.value_or(embed_dim) &&
                  value.size(-1) == options.vdim.value_or(embed_dim),
              ValueError, "MultiheadAttention: query, key and value must end in {}, {} and {}, got {}, {} and {}",
              embed_dim, options.kdim.value_or(embed_dim), options.vdim.value_or(embed_dim), to_string(query.sizes()),
              to_string(key.sizes()), to_string(value.sizes()));
  // To [batch, heads, time, width].
  bool time_first = batched && !options.batch_first;
  TensorList qkv = project(query, key, value);
  auto heads = [&](const Tensor& x) {
    Tensor y = batched ? x : unsqueeze(x, 0);
    if (time_first) y = transpose(y, 0, 1);
    return transpose(reshape(y, Shape{y.size(0), y.size(1), num_heads, head_dim}), 1, 2);
  };
  Tensor q = heads(qkv[0]), k = heads(qkv[1]), v = heads(qkv[2]);
  int64_t b = q.size(0), tq = q.size(2), tk = k.size(2);

  Tensor bias;
  if (mask.attention.defined()) {
    const Tensor& m = mask.attention;
    bool flat = m.dim() == 2 && m.sizes() == Shape{tq, tk},
         full = m.dim() == 3 && m.sizes() == Shape{b * num_heads, tq, tk};
    SORUS_CHECK(flat || full, ValueError, "MultiheadAttention: attn_mask must be [{}, {}] or [{}, {}, {}], got {}",
                tq, tk, b * num_heads, tq, tk, to_string(m.sizes()));
    bias = additive(full ? reshape(m, Shape{b, num_heads, tq, tk}) : m, q.dtype());
  }
  if (mask.key_padding.defined()) {
    Tensor m = mask.key_padding.dim() == 1 ? unsqueeze(mask.key_padding, 0) : mask.key_padding;
    SORUS_CHECK(m.sizes() == (Shape{b, tk}), ValueError,
                "MultiheadAttention: key_padding_mask must be [{}, {}], got {}", b, tk,
                to_string(mask.key_padding.sizes()));
    Tensor pad = additive(reshape(m, Shape{b, 1, 1, tk}), q.dtype());
    bias = bias.defined() ? bias + pad : pad;
  }
  bool causal = mask.causal && !bias.defined();
  double p = is_training() ? options.dropout : 0;
  Result result;
  Tensor y;
  if (!need_weights) {
    y = attention(q, k, v, bias, {.dropout = p, .causal = causal, .scale = {}});
  } else {
    Tensor scores = matmul(q, transpose(k, -2, -1)) * (1 / std::sqrt(static_cast<double>(head_dim)));
    if (bias.defined()) scores = scores + bias;
    if (causal) {
      Tensor i = unsqueeze(arange(int64_t{0}, tq), 1), j = arange(int64_t{0}, tk);
      scores = where(le(j, i), scores, never());
    }
    Tensor weights = dropout(softmax(scores, -1), p);
    y = matmul(weights, v);
    result.weights = average_weights ? mean(weights, Shape{1}) : weights;
    if (!batched) result.weights = squeeze(result.weights, Shape{0});
  }
  y = (*out_proj_)(reshape(transpose(y, 1, 2), Shape{b, tq, embed_dim}));
  result.output = time_first ? transpose(y, 0, 1) : batched ? y : squeeze(y, Shape{0});
  return result;
}

GroupedQueryAttention::GroupedQueryAttention(const Options& given) : options(with_kv_heads(given)) {
  const Options& o = options;
  SORUS_CHECK(
      o.num_heads > 0 && o.embed_dim % o.num_heads == 0 && o.num_kv_heads > 0 && o.num_heads % o.num_kv_heads == 0,
      ValueError,
      "GroupedQueryAttention: embed_dim {} must be divisible by num_heads {}, and that by num_kv_heads {}",
      o.embed_dim, o.num_heads, o.num_kv_heads);
  int64_t width = o.embed_dim / o.num_heads;
  SORUS_CHECK(o.rope_base == 0 || width % 2 == 0, ValueError,
              "GroupedQueryAttention: heads of odd width {} cannot be rotated", width);
  add("q_proj", q_proj_, std::make_shared<Linear>(o.embed_dim, o.num_heads * width, o.bias));
  add("k_proj", k_proj_, std::make_shared<Linear>(o.embed_dim, o.num_kv_heads * width, o.bias));
  add("v_proj", v_proj_, std::make_shared<Linear>(o.embed_dim, o.num_kv_heads * width, o.bias));
  add("o_proj", o_proj_, std::make_shared<Linear>(o.num_heads * width, o.embed_dim, o.bias));
}

Tensor GroupedQueryAttention::forward(const Tensor& x, KeyValueCache* cache) {
  SORUS_CHECK(x.dim() == 3 && x.size(2) == options.embed_dim, ValueError,
              "GroupedQueryAttention: expected [batch, time, {}], got {}", options.embed_dim, to_string(x.sizes()));
  int64_t b = x.size(0), t = x.size(1), before = cache ? cache->length() : 0;
  auto heads = [&](Module& m, int64_t n) { return transpose(reshape(m(x), Shape{b, t, n, -1}), 1, 2); };
  Tensor q = heads(*q_proj_, options.num_heads), k = heads(*k_proj_, options.num_kv_heads),
         v = heads(*v_proj_, options.num_kv_heads);
  if (options.rope_base != 0) {
    q = rotary(q, before, options.rope_base);
    k = rotary(k, before, options.rope_base);
  }
  Tensor y = causal_attention(q, k, v, cache, is_training() ? options.dropout : 0);
  return (*o_proj_)(reshape(transpose(y, 1, 2), Shape{b, t, -1}));
}

std::string GroupedQueryAttention::extra_repr() const {
  return fmt::format("embed_dim={}, num_heads={}, num_kv_heads={}, rope_base={}", options.embed_dim,
                     options.num_heads, options.num_kv_heads, python_text(options.rope_base));
}

}  // namespace sorus::nn
