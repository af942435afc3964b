#include "operators/reference.h"

#include <cmath>
#include <functional>
#include <limits>

#include "sorus/derive/loop_nest.h"
#include "sorus/graph/scalar.h"
#include "sorus/tensor/copy.h"

namespace sorus::harness {
namespace {

using Complex = std::complex<double>;
using Elements = std::vector<Complex>;

template <class T>
T narrow(Complex v) {
  if constexpr (std::is_same_v<T, Complex>)
    return v;
  else
    return static_cast<T>(v.real());
}

// Calls f(index) for all places of a shape.
template <class F>
void for_all(const Shape& shape, F f) {
  Shape index(shape.size(), 0);
  for (int64_t i = 0; i < numel(shape); ++i) {
    int64_t rest = i;
    for (size_t d = shape.size(); d-- > 0;) {
      index[d] = rest % shape[d];
      rest /= shape[d];
    }
    f(index, i);
  }
}

int64_t offset_of(const Shape& shape, const Shape& index) {
  int64_t at = 0;
  for (size_t d = 0; d < shape.size(); ++d) at = at * shape[d] + index[d];
  return at;
}

template <class T>
std::vector<Elements> each_reference(const OpDef& op, TensorSpan inputs, const Attrs& attrs, const Shape& shape) {
  std::vector<Elements> values, out(op.each->results.size(), Elements(static_cast<size_t>(numel(shape))));
  for (const Tensor& t : inputs) values.push_back(elements(t));
  std::vector<T> params;
  for (const Attr& a : attrs) params.push_back(a.is_scalar() ? narrow<T>(a.scalar().to_complex()) : T(0));
  for_all(shape, [&](const Shape& index, int64_t at) {
    std::vector<T> args;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Shape& s = inputs[i].sizes();
      Shape inside(s.size(), 0);
      for (size_t d = 0; d < s.size(); ++d) inside[d] = s[d] == 1 ? 0 : index[index.size() - s.size() + d];
      args.push_back(narrow<T>(values[i][static_cast<size_t>(offset_of(s, inside))]));
    }
    std::vector<T> r = evaluate<T>(*op.each, std::span<const T>(args), std::span<const T>(params), at);
    for (size_t k = 0; k < out.size(); ++k) out[k][static_cast<size_t>(at)] = Complex(r[k]);
  });
  return out;
}

template <class T>
void combine(Reduction r, T& to, T v) {
  switch (r) {
    case Reduction::none:
      to = v;
      return;
    case Reduction::sum:
      to += v;
      return;
    case Reduction::prod:
      to *= v;
      return;
    case Reduction::any:
      to = T(to != T(0) || v != T(0));
      return;
    case Reduction::all:
      to = T(to != T(0) && v != T(0));
      return;
    default:
      if constexpr (!std::is_same_v<T, Complex>)
        if ((r == Reduction::max ? v > to : v < to) || v != v) to = v;
  }
}
template <class T>
T start(Reduction r) {
  if (r == Reduction::prod || r == Reduction::all) return T(1);
  if constexpr (!std::is_same_v<T, Complex>) {
    constexpr bool infinite = std::numeric_limits<T>::has_infinity;
    T top = infinite ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
    T bottom = infinite ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
    if (r == Reduction::max) return bottom;
    if (r == Reduction::min) return top;
  }
  return T(0);
}

template <class T>
Elements index_reference(const LoopNest& nest, TensorSpan inputs) {
  std::vector<Elements> values;
  for (const Tensor& t : inputs) values.push_back(t.defined() ? elements(t) : Elements());
  Shape out_shape = nest.output_shape(), extents;
  for (const LoopAxis& a : nest.axes) extents.push_back(a.extent);
  std::vector<T> out(static_cast<size_t>(numel(out_shape)), start<T>(nest.reduction));
  std::vector<bool> begun(out.size(), false), reads;
  for (size_t k = 0; k < nest.inputs.size(); ++k)
    reads.push_back(depends_on_argument(nest.body.results[0], static_cast<int>(k)));
  std::vector<T> params;
  for (double p : nest.params) params.push_back(T(p));
  Shape point;
  // Where an operand is read; nothing if the point falls outside of it.
  std::function<std::optional<int64_t>(const LoopOperand&)> place =
      [&](const LoopOperand& o) -> std::optional<int64_t> {
    int64_t at = 0;
    for (const AffineIndex& d : o.dims) {
      int64_t i = d.constant;
      for (size_t a = 0; a < point.size(); ++a) i += d.coefficients[a] * point[a];
      if (d.data >= 0) {
        const LoopOperand& source = nest.inputs[static_cast<size_t>(d.data)];
        auto from = place(source);
        if (!from) return std::nullopt;
        i += d.data_factor *
             static_cast<int64_t>(values[static_cast<size_t>(source.slot)][static_cast<size_t>(*from)].real());
      }
      if (i < 0 || i >= d.size) return std::nullopt;
      at = at * d.size + i;
    }
    return at;
  };
  auto given = [&](const LoopOperand& o) {
    return static_cast<size_t>(o.slot) < inputs.size() && inputs[static_cast<size_t>(o.slot)].defined();
  };
  auto element = [&](const LoopOperand& o, int64_t at) {
    return narrow<T>(values[static_cast<size_t>(o.slot)][static_cast<size_t>(at)]);
  };
  for_all(extents, [&](const Shape& index, int64_t) {
    point = index;
    std::vector<T> args(nest.inputs.size(), T(0));
    for (size_t k = 0; k < nest.inputs.size(); ++k) {
      if (!reads[k] || !given(nest.inputs[k])) continue;
      auto at = place(nest.inputs[k]);
      if (!at) return;
      args[k] = element(nest.inputs[k], *at);
    }
    auto to = place(nest.output);
    if (!to) return;
    T v = evaluate<T>(nest.body, std::span<const T>(args), std::span<const T>(params))[0];
    if (nest.reduction == Reduction::any || nest.reduction == Reduction::all) v = T(v != T(0));
    combine(nest.reduction, out[static_cast<size_t>(*to)], v);
  });
  if (nest.initial) {  // once for every element of the result, also where the sum is empty
    for (size_t a = 0; a < nest.axes.size(); ++a)
      if (nest.is_reduced(static_cast<int>(a))) extents[a] = 1;
    for_all(extents, [&](const Shape& index, int64_t) {
      point = index;
      auto to = place(nest.output);
      if (!to || begun[static_cast<size_t>(*to)]) return;
      begun[static_cast<size_t>(*to)] = true;
      std::vector<T> args(nest.inputs.size(), T(0));
      for (size_t k = 0; k < nest.inputs.size(); ++k)
        if (given(nest.inputs[k]))
          if (auto at = place(nest.inputs[k])) args[k] = element(nest.inputs[k], *at);
      out[static_cast<size_t>(*to)] +=
          evaluate<T>(*nest.initial, std::span<const T>(args), std::span<const T>(params))[0];
    });
  }
  Elements result;
  for (const T& v : out) result.push_back(Complex(v));
  return result;
}

double tolerance(DType t) {
  switch (t) {
    case DType::f64:
    case DType::c128:
      return 1e-9;
    case DType::f32:
    case DType::c64:
      return 3e-5;
    case DType::bf16:
      return 2e-2;
    case DType::f16:
      return 3e-3;
    default:
      return 0;
  }
}

}  // namespace

std::vector<Complex> elements(const Tensor& t) {
  Tensor wide = Tensor::empty(t.sizes(), DType::c128);
  copy_elements(wide, t);
  auto* p = wide.data<Complex>();
  return {p, p + wide.numel()};
}

Tensor widened(const Tensor& t) {
  DType to = is_complex(t.dtype()) ? DType::c128 : is_floating(t.dtype()) ? DType::f64 : DType::i64;
  Tensor wide = Tensor::empty(t.sizes(), to);
  copy_elements(wide, t);
  return wide;
}

std::optional<std::vector<Elements>> reference(const OpDef& op, TensorSpan inputs, const Attrs& attrs) {
  if (!op.each && !op.index) return std::nullopt;
  std::vector<TensorType> types(inputs.size());
  std::vector<const TensorType*> pointers(inputs.size(), nullptr);
  bool complex = false, real = false;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined()) continue;
    types[i] = inputs[i].type();
    pointers[i] = &types[i];
    bool counts =
        op.signature
            .tensor_param(op.signature.tensor_param_of_slot(static_cast<int>(i), static_cast<int>(inputs.size())))
            .promotes;
    complex |= counts && is_complex(types[i].dtype);
    real |= counts && is_floating(types[i].dtype);
  }
  TypeCall call{op, pointers, attrs};
  auto results = infer_types(call);
  for (const TensorType& t : results) {
    complex |= is_complex(t.dtype);
    real |= is_floating(t.dtype);
  }
  if (op.each) {
    for (const Tensor& t : inputs)
      if (!t.defined()) return std::nullopt;
    const Shape& shape = results[0].shape;
    if (complex) return each_reference<Complex>(op, inputs, attrs, shape);
    return real ? each_reference<double>(op, inputs, attrs, shape)
                : each_reference<int64_t>(op, inputs, attrs, shape);
  }
  LoopNest nest = bind_index(call);
  if (complex) return std::vector<Elements>{index_reference<Complex>(nest, inputs)};
  if (real) return std::vector<Elements>{index_reference<double>(nest, inputs)};
  return std::vector<Elements>{index_reference<int64_t>(nest, inputs)};
}

std::string difference(const Tensor& found, const std::vector<Complex>& expected, double slack) {
  std::vector<Complex> f = elements(found);
  if (f.size() != expected.size()) return fmt::format("{} elements, expected {}", f.size(), expected.size());
  for (size_t i = 0; i < f.size(); ++i) {
    double allowed = slack * tolerance(found.dtype()) * std::max(1.0, std::abs(expected[i]));
    auto same = [&](double a, double b) { return a == b || (a != a && b != b) || std::abs(a - b) <= allowed; };
    if (!same(f[i].real(), expected[i].real()) || !same(f[i].imag(), expected[i].imag()))
      return fmt::format("element {} of {} is {}{:+}i, expected {}{:+}i", i, found.type().to_string(), f[i].real(),
                         f[i].imag(), expected[i].real(), expected[i].imag());
  }
  return "";
}

std::string difference(const Tensor& found, const Tensor& expected, double slack) {
  if (found.type() != expected.type())
    return fmt::format("is {}, expected {}", found.type().to_string(), expected.type().to_string());
  return difference(found, elements(expected), slack);
}

}  // namespace sorus::harness
