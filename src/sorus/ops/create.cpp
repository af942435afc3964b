// Operators that make tensors from nothing, copy them, and change their type.
#include <cmath>
#include <complex>
#include <cstring>

#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

TypesRule shape_and_dtype(int shape_at, int dtype_at) {
  return [=](const TypeCall& c) -> std::vector<TensorType> {
    const Attr& t = c.attr(dtype_at);
    return {{t.is_none() ? default_dtype() : t.dtype(), c.attr(shape_at).ints(), false}};
  };
}

const bool creation = [] {
  op("full(size: int[], fill_value: scalar, *, dtype: dtype? = none)")
      .each("fill_value")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        return {{c.attr(2).is_none() ? c.attr(1).scalar().dtype() : c.attr(2).dtype(), c.attr(0).ints(), false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        copy_elements(out[0], Tensor::scalar(c.attr(1).scalar(), out[0].dtype()));
      })
      .axes("-> output[a..]; sized by size")
      .not_differentiable();
  op("zeros(size: int[], *, dtype: dtype? = none)").expand([](const Call& c) -> TensorList {
    return {full(c.attr(0).ints(), 0.0, c.attr(1).is_none() ? default_dtype() : c.attr(1).dtype())};
  });
  op("ones(size: int[], *, dtype: dtype? = none)").expand([](const Call& c) -> TensorList {
    return {full(c.attr(0).ints(), 1.0, c.attr(1).is_none() ? default_dtype() : c.attr(1).dtype())};
  });
  op("empty(size: int[], *, dtype: dtype? = none)")
      .types(shape_and_dtype(0, 1))
      .kernel([](const Call&, std::span<Tensor>) {})
      .axes("-> output[a..]; sized by size")
      .not_differentiable();
  op("full_like(input: mask, fill_value: scalar, *, dtype: dtype? = none)").expand([](const Call& c) -> TensorList {
    return {
        full(c.input(0).sizes(), c.attr(0).scalar(), c.attr(1).is_none() ? c.input(0).dtype() : c.attr(1).dtype())};
  });
  op("zeros_like(input: mask, *, dtype: dtype? = none)").expand([](const Call& c) -> TensorList {
    return {full(c.input(0).sizes(), 0.0, c.attr(0).is_none() ? c.input(0).dtype() : c.attr(0).dtype())};
  });
  op("ones_like(input: mask, *, dtype: dtype? = none)").expand([](const Call& c) -> TensorList {
    return {full(c.input(0).sizes(), 1.0, c.attr(0).is_none() ? c.input(0).dtype() : c.attr(0).dtype())};
  });
  op("arange(start: scalar, end: scalar, step: scalar = 1, *, dtype: dtype? = none)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const Scalar &a = c.attr(0).scalar(), &b = c.attr(1).scalar(), &s = c.attr(2).scalar();
        bool integers = std::max({a.kind(), b.kind(), s.kind()}) <= Scalar::Kind::integer;
        bool whole = !c.attr(3).is_none() && c.attr(3).dtype() == DType::i64;  // the ends are then integers as well
        auto end = [&](const Scalar& v) { return whole ? std::trunc(v.to_double()) : v.to_double(); };
        SORUS_CHECK(end(s) != 0, ValueError, "arange: the step must not be 0");
        double n = std::ceil((end(b) - end(a)) / end(s));
        SORUS_CHECK(n >= 0, ValueError, "arange: from {} to {} there is no step of {}", a.to_double(), b.to_double(),
                    s.to_double());
        SORUS_CHECK(n < 0x1p62, ValueError, "arange: from {} to {} there are too many steps of {}", a.to_double(),
                    b.to_double(), s.to_double());
        DType t = !c.attr(3).is_none() ? c.attr(3).dtype() : integers ? DType::i64 : default_dtype();
        return {{t, Shape{static_cast<int64_t>(n)}, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        Scalar a = c.attr(0).scalar(), s = c.attr(2).scalar();
        bool integers = is_integral(out[0].dtype());
        auto whole = [](const Scalar& v) {
          return v.kind() <= Scalar::Kind::integer ? v.to_int() : static_cast<int64_t>(v.to_double());
        };
        Tensor wide = Tensor::empty(out[0].sizes(), integers ? DType::i64 : DType::f64);
        for (int64_t i = 0; i < wide.numel(); ++i) {
          if (integers)
            wide.data<int64_t>()[i] = whole(a) + i * whole(s);
          else
            wide.data<double>()[i] = a.to_double() + static_cast<double>(i) * s.to_double();
        }
        copy_elements(out[0], wide);
      })
      .not_differentiable();
  op("arange.end(end: scalar, *, dtype: dtype? = none)").expand([](const Call& c) -> TensorList {
    const Scalar& end = c.attr(0).scalar();
    bool integers = end.kind() <= Scalar::Kind::integer;
    DType t = !c.attr(1).is_none() ? c.attr(1).dtype() : integers ? DType::i64 : default_dtype();
    return {arange(Scalar(int64_t{0}), end, Scalar(int64_t{1}), t)};
  });
  op("linspace(start: scalar, end: scalar, steps: int, *, dtype: dtype? = none)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        SORUS_CHECK(c.attr(2).to_int() >= 0, ValueError,
                    "linspace: the number of steps must not be negative, it is {}", c.attr(2).to_int());
        bool complex =
            c.attr(0).scalar().kind() == Scalar::Kind::complex || c.attr(1).scalar().kind() == Scalar::Kind::complex;
        DType t = default_dtype();
        if (complex) t = t == DType::f64 ? DType::c128 : DType::c64;
        return {{c.attr(3).is_none() ? t : c.attr(3).dtype(), Shape{c.attr(2).to_int()}, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        // From both ends, so that the last element is exactly `end`.
        std::complex<double> a = c.attr(0).scalar().to_complex(), b = c.attr(1).scalar().to_complex();
        if (is_integral(out[0].dtype())) a = std::trunc(a.real()), b = std::trunc(b.real());  // ends of its type
        Tensor wide = Tensor::empty(out[0].sizes(), is_complex(out[0].dtype()) ? DType::c128 : DType::f64);
        int64_t n = wide.numel();
        for (int64_t i = 0; i < n; ++i) {
          auto step = n > 1 ? (b - a) / static_cast<double>(n - 1) : std::complex<double>(0);
          auto v =
              i < n / 2 || n == 1 ? a + step * static_cast<double>(i) : b - step * static_cast<double>(n - 1 - i);
          if (wide.dtype() == DType::c128)
            wide.data<std::complex<double>>()[i] = v;
          else
            wide.data<double>()[i] = v.real();
        }
        copy_elements(out[0], wide);
      })
      .not_differentiable()
      .doc("`steps` numbers from start to end, both included, at equal distances.");
  op("logspace(start: scalar, end: scalar, steps: int, base: float = 10.0, *, dtype: dtype? = none)")
      .expand([](const Call& c) -> TensorList {
        DType t = c.attr(4).is_none() ? default_dtype() : c.attr(4).dtype();
        auto end = [t](const Scalar& s) { return is_integral(t) ? Scalar(std::trunc(s.to_double())) : s; };
        Tensor e = linspace(end(c.attr(0).scalar()), end(c.attr(1).scalar()), c.attr(2).to_int(), DType::f64);
        return {to(pow(Tensor::weak_scalar(c.attr(3).to_double()), e), t)};
      });
  op("eye(n: int, m: int? = none, *, dtype: dtype? = none)").expand([](const Call& c) -> TensorList {
    int64_t n = c.attr(0).to_int(), m = c.attr(1).is_none() ? n : c.attr(1).to_int();
    SORUS_CHECK(n >= 0 && m >= 0, ValueError, "eye: sizes must not be negative, they are {} and {}", n, m);
    Tensor same = eq(unsqueeze(arange(n), 1), arange(m));
    return {to(same, c.attr(2).is_none() ? default_dtype() : c.attr(2).dtype())};
  });
  op("empty_like(input: mask, *, dtype: dtype? = none)").expand([](const Call& c) -> TensorList {
    return {empty(c.input(0).sizes(), c.attr(0).is_none() ? c.input(0).dtype() : c.attr(0).dtype())};
  });
  op("new_full(input: mask, size: int[], fill_value: scalar, *, dtype: dtype? = none)")
      .expand([](const Call& c) -> TensorList {
        return {
            full(c.attr(0).ints(), c.attr(1).scalar(), c.attr(2).is_none() ? c.input(0).dtype() : c.attr(2).dtype())};
      });
  op("new_zeros(input: mask, size: int[], *, dtype: dtype? = none)").expand([](const Call& c) -> TensorList {
    return {zeros(c.attr(0).ints(), c.attr(1).is_none() ? c.input(0).dtype() : c.attr(1).dtype())};
  });
  op("new_ones(input: mask, size: int[], *, dtype: dtype? = none)").expand([](const Call& c) -> TensorList {
    return {ones(c.attr(0).ints(), c.attr(1).is_none() ? c.input(0).dtype() : c.attr(1).dtype())};
  });
  op("new_empty(input: mask, size: int[], *, dtype: dtype? = none)").expand([](const Call& c) -> TensorList {
    return {empty(c.attr(0).ints(), c.attr(1).is_none() ? c.input(0).dtype() : c.attr(1).dtype())};
  });
  return true;
}();

// Tensors of shape [0] may stand among others of any rank, as in PyTorch.
bool is_legacy_empty(const Shape& s) { return s.size() == 1 && s[0] == 0; }

const bool copies = [] {
  op("clone(input)")
      .each("input")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        return {{c.input(0).dtype, c.input(0).shape, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) { copy_elements(out[0], c.input(0)); }, true)
      .gradient([](const GradCall& c) -> TensorList { return {c.grad()}; })
      .axes("input[a..] -> output[a..]");
  op("cast(input, dtype: dtype)")
      .each("input")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        return {{c.attr(0).dtype(), c.input(0).shape, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) { copy_elements(out[0], c.input(0)); }, true)
      .gradient([](const GradCall& c) -> TensorList {
        if (!is_differentiable(c.grad().dtype())) return {Tensor()};
        return {cast(c.grad(), c.input(0).dtype())};
      })
      .axes("input[a..] -> output[a..]");
  op("to(input, dtype: dtype)").expand([](const Call& c) -> TensorList {
    return {c.input(0).dtype() == c.attr(0).dtype() ? c.input(0) : cast(c.input(0), c.attr(0).dtype())};
  });
  op("contiguous(input)").expand([](const Call& c) -> TensorList {
    return {c.input(0).is_contiguous() ? c.input(0) : clone(c.input(0))};
  });
  // What `copy_` writes: the source in the target's shape and type.
  op("copy(input: mask, src: mask)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        SORUS_CHECK(broadcast_shapes(c.input(0).shape, c.input(1).shape, "copy_") == c.input(0).shape, ValueError,
                    "copy_: a tensor of shape {} does not fit into one of shape {}", to_string(c.input(1).shape),
                    to_string(c.input(0).shape));
        return {{c.input(0).dtype, c.input(0).shape, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) { copy_elements(out[0], c.input(1)); }, true)
      .gradient([](const GradCall& c) -> TensorList {
        Tensor g = sum_to_size(c.grad(), c.input(1).sizes());
        return {c.needs[0] ? zeros_like(c.grad()) : Tensor(), cast(g, c.input(1).dtype())};
      })
      .axes("input[a..], src[a..] -> output[a..]");
  op("cat(tensors: Tensor[], dim: int = 0)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        SORUS_CHECK(!c.inputs.empty(), ValueError, "cat: expected at least one tensor");
        const TensorType* first = c.inputs[0];
        for (const TensorType* t : c.inputs)
          if (!is_legacy_empty(t->shape)) {
            first = t;
            break;
          }
        Shape shape = first->shape;
        int64_t d = wrap_dim(c.attr(0).to_int(), static_cast<int64_t>(shape.size()), "cat");
        SORUS_CHECK(!shape.empty(), ValueError, "cat: tensors without dimensions cannot be joined");
        shape[d] = 0;
        for (size_t i = 0; i < c.inputs.size(); ++i) {
          const Shape& s = c.inputs[i]->shape;
          if (is_legacy_empty(s)) continue;
          bool fits = s.size() == shape.size();
          for (size_t k = 0; fits && k < s.size(); ++k) fits = static_cast<int64_t>(k) == d || s[k] == shape[k];
          SORUS_CHECK(fits, ValueError, "cat: tensor {} has shape {}, which does not fit {} outside of dimension {}",
                      i, to_string(s), to_string(first->shape), d);
          shape[d] += s[d];
        }
        return {{promoted_type(c), shape, false}};
      })
      .kernel(
          [](const Call& c, std::span<Tensor> out) {
            int64_t d = wrap_dim(c.attr(0).to_int(), out[0].dim(), "cat"), at = 0;
            for (const Tensor& t : c.inputs) {
              if (is_legacy_empty(t.sizes())) continue;
              Geometry g = out[0].geometry();
              g.offset += at * g.strides[d];
              g.sizes[d] = t.sizes()[d];
              copy_elements(out[0].with_geometry(g), t);
              at += t.sizes()[d];
            }
          },
          true)
      .axes("tensors[a..; dim d!] -> output[a..; dim d!]")
      .joins([](const TypeCall& c) {
        for (const TensorType* t : c.inputs)
          if (is_legacy_empty(t->shape)) return int64_t{-1};
        return wrap_dim(c.attr(0).to_int(), static_cast<int64_t>(c.input(0).shape.size()), "cat");
      })
      .gradient([](const GradCall& c) -> TensorList {
        int64_t d = wrap_dim(c.attrs[0].to_int(), c.grad().dim(), "cat"), at = 0;
        TensorList out;
        for (const Tensor& t : c.inputs) {
          if (is_legacy_empty(t.sizes())) {
            out.push_back(zeros(t.sizes(), t.dtype()));
            continue;
          }
          int64_t n = t.sizes()[d];
          out.push_back(to(slice(c.grad(), d, at, at + n), t.dtype()));
          at += n;
        }
        return out;
      });
  op("stack(tensors: Tensor[], dim: int = 0)").expand([](const Call& c) -> TensorList {
    SORUS_CHECK(!c.inputs.empty(), ValueError, "stack: expected at least one tensor");
    TensorList parts;
    for (const Tensor& t : c.inputs) {
      SORUS_CHECK(t.sizes() == c.input(0).sizes(), ValueError, "stack: shapes {} and {} differ", to_string(t.sizes()),
                  to_string(c.input(0).sizes()));
      parts.push_back(unsqueeze(t, c.attr(0).to_int()));
    }
    return {cat(parts, wrap_dim(c.attr(0).to_int(), c.input(0).dim() + 1, "stack"))};
  });
  // Places what a slice, a view or an in-place write touched into zeros or into the old value.
  op("slice_backward(grad, size: int[], dim: int, start: int, step: int)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const Shape &part = c.input(0).shape, &whole = c.attr(0).ints();
        int64_t d = c.attr(1).to_int(), start = c.attr(2).to_int(), step = c.attr(3).to_int();
        bool fits = part.size() == whole.size() && d >= 0 && d < static_cast<int64_t>(whole.size()) && step > 0;
        for (size_t i = 0; fits && i < whole.size(); ++i)
          fits = static_cast<int64_t>(i) == d
                     ? start >= 0 && part[i] <= whole[i] &&
                           (part[i] == 0 || (start < whole[i] && part[i] - 1 <= (whole[i] - 1 - start) / step))
                     : part[i] == whole[i];
        SORUS_CHECK(fits, ValueError,
                    "slice_backward: {} is not what a slice from {} by {} of dimension {} of {} leaves",
                    to_string(part), start, step, d, to_string(whole));
        return {{c.input(0).dtype, c.attr(0).ints(), false}};
      })
      .kernel(
          [](const Call& c, std::span<Tensor> out) {
            std::memset(out[0].data(), 0, out[0].nbytes());
            int64_t d = c.attr(1).to_int();
            Geometry g = out[0].geometry();
            g.offset += c.attr(2).to_int() * g.strides[d];
            g.strides[d] *= c.attr(3).to_int();
            g.sizes[d] = c.input(0).sizes()[d];
            copy_elements(out[0].with_geometry(g), c.input(0));
          },
          true)
      .axes("grad[a..; dim d!] -> output[a..; dim d!]; sized by size")
      .inset([](const TypeCall& c) -> std::optional<Inset> {
        if (c.attr(3).to_int() != 1) return std::nullopt;
        return Inset{c.attr(1).to_int(), c.attr(2).to_int()};
      })
      .gradient([](const GradCall& c) -> TensorList {
        int64_t d = c.attrs[1].to_int(), start = c.attrs[2].to_int(), step = c.attrs[3].to_int();
        return {slice(c.grad(), d, start, start + (c.input(0).sizes()[d] - 1) * step + 1, step)};
      });
  op("as_strided_scatter(input, src, size: int[], stride: int[], storage_offset: int = 0)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        return {{c.input(0).dtype, c.input(0).shape, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        copy_elements(out[0], c.input(0));
        copy_elements(
            out[0].view_checked({c.attr(0).ints(), c.attr(1).ints(), c.attr(2).to_int()}, "as_strided_scatter"),
            c.input(1));
      })
      .gradient([](const GradCall& c) -> TensorList {
        const Shape &size = c.attrs[0].ints(), &stride = c.attrs[1].ints();
        int64_t offset = c.attrs[2].to_int();
        Tensor g = contiguous(c.grad());
        return {as_strided_scatter(g, zeros(size, g.dtype()), size, stride, offset),
                as_strided(g, size, stride, offset)};
      });
  op("as_strided_backward(grad, input_size: int[], size: int[], stride: int[], storage_offset: int = 0)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        return {{c.input(0).dtype, c.attr(0).ints(), false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        // Elements may be shown several times: gradients add up.
        std::memset(out[0].data(), 0, out[0].nbytes());
        add_elements(out[0].view_checked({c.attr(1).ints(), c.attr(2).ints(), c.attr(3).to_int()}, "as_strided"),
                     c.input(0));
      })
      .gradient([](const GradCall& c) -> TensorList {
        return {as_strided(contiguous(c.grad()), c.attrs[1].ints(), c.attrs[2].ints(), c.attrs[3].to_int())};
      });
  return true;
}();

}  // namespace
}  // namespace sorus
