// Normalisation over the last dimensions. Each is a formula that a graph fuses with its neighbours; where operators
// run one by one, one kernel computes it and one its gradients, row by row.
#include <array>
#include <cstring>

#include "sorus/kernels/norm.h"
#include "sorus/ops/wide.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

Shape trailing(int64_t rank, const Shape& normalized) {
  Shape dims;
  for (int64_t i = rank - static_cast<int64_t>(normalized.size()); i < rank; ++i) dims.push_back(i);
  return dims;
}

void check_normalized(const TypeCall& c, int input, bool complex) {
  const TensorType& x = c.input(input);
  const Shape &n = c.attr(0).ints(), &s = x.shape;
  bool fits = n.size() <= s.size() && !n.empty();
  for (size_t i = 0; fits && i < n.size(); ++i) fits = n[i] == s[s.size() - n.size() + i];
  SORUS_CHECK(fits, ValueError, "{}: the input {} does not end in normalized_shape {}", c.op.name(), to_string(s),
              to_string(n));
  SORUS_CHECK(is_floating(x.dtype) || (complex && is_complex(x.dtype)), TypeError,
              "{}: the input must be floating, not {}", c.op.name(), name(x.dtype));
  for (size_t i = static_cast<size_t>(input) + 1; i < c.inputs.size(); ++i)
    SORUS_CHECK(!c.inputs[i] || c.inputs[i]->shape == n, ValueError, "{}: {} is {}, expected normalized_shape {}",
                c.op.name(), c.op.signature.tensor_param(static_cast<int>(i)).name, to_string(c.inputs[i]->shape),
                to_string(n));
}

TypesRule like_checked_input(bool complex) {
  return [complex](const TypeCall& c) -> std::vector<TensorType> {
    check_normalized(c, 0, complex);
    return {{c.input(0).dtype, c.input(0).shape, false}};
  };
}

double rms_eps(const Attr& eps, DType input) {
  if (!eps.is_none()) return eps.to_double();
  return input == DType::f64 || input == DType::c128 ? 2.220446049250313e-16 : 1.1920928955078125e-07;
}

// (x - mean) / sqrt(mean((x - mean)^2) + eps), or the same without the means, and the reciprocal of the root.
std::array<Tensor, 2> normalized(const Tensor& x, const Shape& dims, bool centred, double eps) {
  Tensor shifted = centred ? x - mean(x, dims, true) : x;
  Tensor scale = rsqrt(mean(square(shifted), dims, true) + eps);
  return {shifted * scale, scale};
}

TensorList layer_norm_body(const Call& c) {
  Tensor x = widened(c.input(0));
  Tensor y = normalized(x, trailing(x.dim(), c.attr(0).ints()), true, c.attr(1).to_double())[0];
  if (c.has(1)) y = y * c.input(1);
  if (c.has(2)) y = y + c.input(2);
  return {to(y, c.input(0).dtype())};
}

TensorList rms_norm_body(const Call& c) {
  Tensor x = widened(c.input(0));
  double eps = rms_eps(c.attr(1), x.dtype());
  Tensor y = normalized(x, trailing(x.dim(), c.attr(0).ints()), false, eps)[0];
  if (c.has(1)) y = y * c.input(1);
  return {to(y, c.input(0).dtype())};
}

TensorList backward_body(const Call& c) {
  Tensor g = widened(c.input(0)), x = widened(c.input(1));
  const Shape dims = trailing(x.dim(), c.attr(0).ints());
  const bool centred = c.attr(2).to_bool();
  auto [y, scale] = normalized(x, dims, centred, c.attr(1).to_double());
  Tensor w = c.has(2) ? g * c.input(2) : g, inside = w - y * mean(w * y, dims, true);
  if (centred) inside = inside - mean(w, dims, true);
  Shape rows;
  for (int64_t d = 0; d < x.dim() - static_cast<int64_t>(dims.size()); ++d) rows.push_back(d);
  auto over_rows = [&](const Tensor& t) { return to(rows.empty() ? t : sum(t, rows), x.dtype()); };
  return {to(inside * scale, c.input(1).dtype()), over_rows(g * y), over_rows(g)};
}

// ---- kernels

Tensor vector_of(const Call& c, int slot, DType type) {
  if (!c.has(slot)) return {};
  GradMode off(false);
  return contiguous(to(c.input(slot), type));
}
kernels::NormArgs arguments(const Tensor& x, const Shape& normalized, double eps, bool centred) {
  kernels::NormArgs a;
  a.type = x.dtype();
  a.n = numel(normalized);
  a.rows = a.n == 0 ? 0 : x.numel() / a.n;
  a.centred = centred;
  a.eps = eps;
  a.input = x.data();
  return a;
}
// Complex numbers, for which there are no kernels.
void run_body(const BodyRule& body, const Call& c, std::span<Tensor> out) {
  GradMode off(false);
  TensorList results = body(c);
  for (size_t i = 0; i < out.size(); ++i) copy_elements(out[i], results[i]);
}
void run_norm(const Call& c, kernels::NormArgs a, const Tensor& out) {
  if (a.rows == 0) return;
  Tensor weight = vector_of(c, 1, computed_in(a.type)), bias = vector_of(c, 2, computed_in(a.type));
  if (weight.defined()) a.weight = weight.data();
  if (bias.defined()) a.bias = bias.data();
  kernels::norm(a, out.data());
}

// What the gradients of the normalisations are made of; nobody else calls it, it has no C++ function.
constexpr const char* kBackward =
    "norm_backward(grad, input, weight: Tensor? = none, normalized_shape: int[], eps: float, centred: bool) -> "
    "grad_input, grad_weight, grad_bias";

TensorList gradients(const GradCall& c, double eps, bool centred) {
  static const OpDef& backward = find_op("norm_backward");
  // Of a holomorphic function the gradient is the derivative at the conjugates.
  auto conjugate = [&](int i) { return is_complex(c.input(i).dtype()) ? conj(c.input(i)) : c.input(i); };
  TensorList out = call(backward, {c.grad(), conjugate(0), c.has(1) ? conjugate(1) : Tensor()},
                        {c.attrs[0], Attr(eps), Attr(centred)});
  out.resize(c.inputs.size());
  for (int i = 1; i < static_cast<int>(out.size()); ++i) {
    Tensor& g = out[static_cast<size_t>(i)];
    g = c.has(i) ? to(g, c.input(i).dtype()) : Tensor();
  }
  return out;
}

const bool norms = [] {
  op("layer_norm(input, normalized_shape: int[], weight: Tensor? = none, bias: Tensor? = none, eps: float = 1e-05)")
      .types(like_checked_input(false))
      .eager_kernel([](const Call& c, std::span<Tensor> out) {
        run_norm(c, arguments(c.input(0), c.attr(0).ints(), c.attr(1).to_double(), true), out[0]);
      })
      .body(layer_norm_body)
      .gradient([](const GradCall& c) { return gradients(c, c.attrs[1].to_double(), true); }, "input weight")
      .doc("(x - mean) / sqrt(var + eps) * weight + bias over the last dimensions (Ba, Kiros, Hinton 2016).");
  op("rms_norm(input, normalized_shape: int[], weight: Tensor? = none, eps: float? = none)")
      .types(like_checked_input(true))
      .eager_kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& x = c.input(0);
        if (is_complex(x.dtype())) return run_body(rms_norm_body, c, out);
        run_norm(c, arguments(x, c.attr(0).ints(), rms_eps(c.attr(1), computed_in(x.dtype())), false), out[0]);
      })
      .body(rms_norm_body)
      .gradient(
          [](const GradCall& c) { return gradients(c, rms_eps(c.attrs[1], computed_in(c.input(0).dtype())), false); },
          "input weight")
      .doc("x / sqrt(mean(x^2) + eps) * weight over the last dimensions (Zhang, Sennrich 2019).");
  op(kBackward)
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        check_normalized(c, 1, true);
        const TensorType& x = c.input(1);
        TensorType sums{computed_in(x.dtype), c.attr(0).ints(), false};
        return {{x.dtype, x.shape, false}, sums, sums};
      })
      .eager_kernel([](const Call& c, std::span<Tensor> out) {
        if (is_complex(c.input(1).dtype())) return run_body(backward_body, c, out);
        kernels::NormArgs a = arguments(c.input(1), c.attr(0).ints(), c.attr(1).to_double(), c.attr(2).to_bool());
        if (a.rows == 0) {
          for (size_t i = 1; i < out.size(); ++i) std::memset(out[i].data(), 0, out[i].nbytes());
          return;
        }
        Tensor weight = vector_of(c, 2, computed_in(a.type));
        if (weight.defined()) a.weight = weight.data();
        kernels::norm_backward(a, c.input(0).data(), out[0].data(), out[1].data(), out[2].data());
      })
      .body(backward_body);
  return true;
}();

}  // namespace
}  // namespace sorus
