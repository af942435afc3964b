// Attention: an operator with a kernel of its own, its gradient, and scaled_dot_product_attention on top of them.
#include <array>
#include <cmath>

#include "sorus/graph/scalar.h"
#include "sorus/kernels/attention.h"
#include "sorus/ops/wide.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

kernels::AttentionStrides strides_of(const Tensor& t) { return {t.strides()[0], t.strides()[1], t.strides()[2]}; }

// `attrs`: is_causal, scale, start.
kernels::AttentionArgs attention_args(const Tensor& q, const Tensor& k, const Tensor& v, const Attrs& attrs) {
  kernels::AttentionArgs a;
  a.type = q.dtype();
  a.batch = q.sizes()[0], a.heads = q.sizes()[1], a.kv_heads = k.sizes()[1];
  a.q_len = q.sizes()[2], a.kv_len = k.sizes()[2], a.head_dim = q.sizes()[3], a.value_dim = v.sizes()[3];
  a.q = q.data(), a.k = k.data(), a.v = v.data();
  a.q_stride = strides_of(q), a.k_stride = strides_of(k), a.v_stride = strides_of(v);
  a.causal = attrs[0].to_bool();
  a.scale = attrs[1].to_double();
  a.q_start = attrs[2].to_int();
  return a;
}

// The kernel wants the last dimension side by side; nothing else.
Tensor rows(const Tensor& t) {
  if (t.strides().back() == 1 || t.sizes().back() <= 1) return t;
  Tensor copy = Tensor::empty(t.sizes(), t.dtype());
  copy_elements(copy, t);
  return copy;
}

DType lse_type(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

// Attention in small operators, for what the kernels do not do: second derivatives, and gradients of `lse`.
struct SmallAttention {
  const Tensor& q;
  int64_t batch, groups, shared;  // `shared` heads of queries read one head of keys and values
  Tensor k, v, p;
  double scale;

  // Heads that are shared are repeated, and their gradients added.
  Tensor repeated(const Tensor& t) const {
    if (shared == 1) return t;
    return reshape(expand(unsqueeze(t, 2), Shape{batch, groups, shared, t.size(2), t.size(3)}),
                   Shape{batch, groups * shared, t.size(2), t.size(3)});
  }
  Tensor folded(const Tensor& t) const {
    if (shared == 1) return t;
    return sum(reshape(t, Shape{batch, groups, shared, t.size(2), t.size(3)}), Shape{2});
  }
  SmallAttention(const Tensor& query, const Tensor& key, const Tensor& value, const Attrs& attrs)
      : q(query), batch(q.size(0)), groups(key.size(1)), shared(q.size(1) / groups), scale(attrs[1].to_double()) {
    k = repeated(key), v = repeated(value);
    Tensor scores = matmul(q, transpose(k, -2, -1)) * scale;
    if (attrs[0].to_bool()) {
      int64_t start = attrs[2].to_int();
      Tensor i = unsqueeze(arange(start, start + scores.size(-2)), 1), j = arange(int64_t{0}, scores.size(-1));
      scores = where(le(j, i), scores, Tensor::weak_scalar(-std::numeric_limits<double>::infinity()));
    }
    p = softmax(scores, -1);
  }
  // Gradients of query and key from that of the scores.
  std::array<Tensor, 2> from_scores(const Tensor& ds) const {
    return {matmul(ds, k) * scale, folded(matmul(transpose(ds, -2, -1), q)) * scale};
  }
};

//   dV = P' dO,  dP = dO V',  dS = P (dP - sum(P dP)),  dQ = scale dS K,  dK = scale dS' Q
// Of each element along the inner dimension of a product of queries and keys: an add and a multiplication for every
// pair that sees each other. `query`: its input; the key is the next.
double attention_flops(const TypeCall& c, int query) {
  const Shape &q = c.input(query).shape, &k = c.input(query + 1).shape;
  auto rows = static_cast<double>(q[2]), keys = static_cast<double>(k[2]);
  auto start = static_cast<double>(c.attr(2).to_int());
  double pairs = static_cast<double>(q[0] * q[1]) * rows * keys;
  if (!c.attr(0).to_bool()) return 2 * pairs;
  // Half of them, or of a block of the sequence the keys in front of it and half of its own.
  return start == 0 ? pairs : 2 * static_cast<double>(q[0] * q[1]) * rows * std::min(keys, start + rows / 2);
}

TensorList attention_backward_body(const Call& c) {
  SmallAttention a(c.input(1), c.input(2), c.input(3), c.attrs);
  Tensor dp = matmul(c.input(0), transpose(a.v, -2, -1));
  auto [dq, dk] = a.from_scores(a.p * (dp - sum(a.p * dp, Shape{-1}, true)));
  return {dq, dk, a.folded(matmul(transpose(a.p, -2, -1), c.input(0)))};
}

TensorList attention_gradient(const GradCall& c) {
  std::array<Tensor, 3> g;
  if (c.grad(0).defined())
    g = flash_attention_backward(c.grad(0), c.input(0), c.input(1), c.input(2), c.output(0), c.output(1),
                                 c.attrs[0].to_bool(), c.attrs[1].to_double(), c.attrs[2].to_int());
  if (c.grad(1).defined()) {  // d lse = P . dS
    SmallAttention a(c.input(0), c.input(1), c.input(2), c.attrs);
    auto [dq, dk] = a.from_scores(a.p * unsqueeze(to(c.grad(1), a.p.dtype()), -1));
    g[0] = g[0].defined() ? g[0] + dq : dq;
    g[1] = g[1].defined() ? g[1] + dk : dk;
  }
  return {g[0], g[1], g[2]};
}

const bool attention = [] {
  op("flash_attention(query, key, value, is_causal: bool, scale: float, *, start: int = 0) -> output, lse")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const Shape &q = c.input(0).shape, &k = c.input(1).shape, &v = c.input(2).shape;
        SORUS_CHECK(q.size() == 4 && k.size() == 4 && v.size() == 4 && q[3] == k[3] && k[2] == v[2] && k[1] == v[1] &&
                        k[1] > 0 && q[1] % k[1] == 0 && q[0] == k[0] && k[0] == v[0],
                    ValueError, "scaled_dot_product_attention: query {}, key {} and value {} do not fit together",
                    to_string(q), to_string(k), to_string(v));
        DType t = c.input(0).dtype;
        SORUS_CHECK(
            is_floating(t) && c.input(1).dtype == t && c.input(2).dtype == t, TypeError,
            "scaled_dot_product_attention: expected query, key and value of one floating type, got {}, {} and {}",
            name(t), name(c.input(1).dtype), name(c.input(2).dtype));
        return {{c.input(0).dtype, Shape{q[0], q[1], q[2], v[3]}, false},
                {lse_type(c.input(0).dtype), Shape{q[0], q[1], q[2]}, false}};
      })
      .kernel(
          [](const Call& c, std::span<Tensor> out) {
            Tensor q = rows(c.input(0)), k = rows(c.input(1)), v = rows(c.input(2));
            auto a = attention_args(q, k, v, c.attrs);
            a.o = out[0].data();
            a.o_stride = strides_of(out[0]);
            a.lse = out[1].data();
            kernels::attention_forward(a);
          },
          true)
      // By tokens, so that heads side by side are rows of the projection that follows.
      .memory_order({{0, 2, 1, 3}})
      .writes_strided()
      .axes(
          "query[b, h%, l, d!], key[b, h%, s!, d!], value[b, h%, s!, e!] -> output[b, h%, l, e!], lse[b, h%, l]; "
          "l placed by start")
      .doc(
          "softmax(scale query key') value by blocks; if causal, row i sees the keys up to `start` + i: `start` is "
          "where "
          "the block of a sequence begins that `query` is.")
      .cost([](const TypeCall& c, std::span<const TensorType>) {  // two products
        return attention_flops(c, 0) * static_cast<double>(c.input(0).shape[3] + c.input(2).shape[3]);
      })
      .gradient(attention_gradient, "query key value output lse")
      .autocast(Autocast::lower);
  op("flash_attention_backward(grad, query, key, value, output, lse, is_causal: bool, scale: float, *, start: int = "
     "0) "
     "-> grad_query, grad_key, grad_value")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        return {{c.input(1).dtype, c.input(1).shape, false},
                {c.input(1).dtype, c.input(2).shape, false},
                {c.input(1).dtype, c.input(3).shape, false}};
      })
      .kernel(
          [](const Call& c, std::span<Tensor> out) {
            Tensor g = rows(c.input(0)), q = rows(c.input(1)), k = rows(c.input(2)), v = rows(c.input(3)),
                   o = rows(c.input(4));
            auto a = attention_args(q, k, v, c.attrs);
            a.o = o.data();
            a.o_stride = strides_of(o);
            a.lse = c.input(5).data();
            kernels::AttentionGradArgs grads;
            grads.grad_o = g.data();
            grads.grad_o_stride = strides_of(g);
            grads.grad_q = out[0].data(), grads.grad_k = out[1].data(), grads.grad_v = out[2].data();
            grads.grad_q_stride = strides_of(out[0]), grads.grad_k_stride = strides_of(out[1]),
            grads.grad_v_stride = strides_of(out[2]);
            kernels::attention_backward(a, grads);
          },
          true)
      .memory_order({{0, 2, 1, 3}, {0, 2, 1, 3}, {0, 2, 1, 3}})
      .writes_strided()
      .axes(
          "grad[b, h%, l, e!], query[b, h%, l, d!], key[b, h%, s!, d!], value[b, h%, s!, e!], "
          "output[b, h%, l, e!], lse[b, h%, l] -> "
          "grad_query[b, h%, l, d!], grad_key[b, h%, s!, d!]+l, grad_value[b, h%, s!, e!]+l; l placed by start")
      .cost([](const TypeCall& c, std::span<const TensorType>) {  // five: the scores are made again
        return attention_flops(c, 1) * static_cast<double>(3 * c.input(1).shape[3] + 2 * c.input(3).shape[3]);
      })
      .body(attention_backward_body);
  op("scaled_dot_product_attention(query, key, value, attn_mask: Tensor? = none, dropout_p: float = 0.0, "
     "is_causal: bool = false, *, scale: float? = none, enable_gqa: bool = false)")
      .expand([](const Call& c) -> TensorList {
        const Tensor &q = c.input(0), &k = c.input(1), &v = c.input(2);
        double scale = c.attr(2).is_none() ? 1 / std::sqrt(static_cast<double>(q.size(-1))) : c.attr(2).to_double();
        bool causal = c.attr(1).to_bool();
        SORUS_CHECK(!(causal && c.has(3)), ValueError,
                    "scaled_dot_product_attention: is_causal and attn_mask exclude each other");
        SORUS_CHECK(c.attr(0).to_double() == 0, NotImplementedError,
                    "scaled_dot_product_attention: dropout_p other than 0 is not there yet");
        bool whole = !c.has(3) && q.dim() == 4 && q.sizes()[0] == k.sizes()[0];
        if (whole) return {flash_attention(q, k, v, causal, scale)[0]};
        // In half types a score of 100 has steps of 0.5, which is a factor of 1.6 in its weight.
        Tensor scores = matmul(widened(q), transpose(widened(k), -2, -1)) * scale;
        if (c.has(3)) {
          const Tensor& m = c.input(3);
          scores = m.dtype() == DType::boolean
                       ? where(m, scores, Tensor::weak_scalar(-std::numeric_limits<double>::infinity()))
                       : scores + m;
        } else if (causal) {
          Tensor i = unsqueeze(arange(int64_t{0}, scores.size(-2)), 1), j = arange(int64_t{0}, scores.size(-1));
          scores = where(le(j, i), scores, Tensor::weak_scalar(-std::numeric_limits<double>::infinity()));
        }
        return {matmul(to(softmax(scores, -1), v.dtype()), v)};
      });
  return true;
}();

}  // namespace
}  // namespace sorus
