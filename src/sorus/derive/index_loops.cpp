#include "sorus/derive/index_loops.h"

#include <atomic>
#include <cmath>
#include <complex>
#include <limits>
#include <unordered_map>

#include "sorus/base/threads.h"
#include "sorus/graph/scalar_ops.h"
#include "sorus/kernels/element.h"

namespace sorus {
namespace {

using kernels::element_cast;
using kernels::ElementOf;
using Complex = std::complex<double>;
constexpr int64_t kRow = 512;

/// Reads `n` elements with a stride, converted to C.
template <class C>
using Load = void (*)(const void* p, int64_t offset, int64_t stride, int64_t n, C* to);
template <class C>
Load<C> loader(DType t) {
  return kernels::visit_dtype(t, []<DType T>() -> Load<C> {
    return [](const void* p, int64_t offset, int64_t stride, int64_t n, C* to) {
      auto* from = static_cast<const typename ElementOf<T>::type*>(p) + offset;
      if (stride == 1) {
        for (int64_t i = 0; i < n; ++i) to[i] = element_cast<C>(from[i]);
      } else {
        for (int64_t i = 0; i < n; ++i) to[i] = element_cast<C>(from[i * stride]);
      }
    };
  });
}

template <class C>
C apply(const ScalarOp& op, const C* v) {
  if constexpr (std::is_same_v<C, double>)
    return op.real(v);
  else if constexpr (std::is_same_v<C, int64_t>)
    return op.integer(v);
  else
    return op.complex(v);
}

template <class C>
C constant_value(const ScalarNode& n) {
  if (n.kind != ScalarNode::Kind::real) return C(static_cast<double>(n.integer));
  return element_cast<C>(n.real);
}

/// Evaluates a body for a row of elements, operation by operation.
template <class C>
class RowBody {
 public:
  RowBody(const ScalarFunction& f, std::span<const double> params, DType compute) : f_(specialize(f, compute)) {
    SORUS_CHECK(supports(f_, compute), TypeError, "the body '{}' does not exist in {}", f.to_string(), name(compute));
    order_ = topological_order(std::span<const Expr>(f_.results.data(), 1));
    for (const ScalarNode* n : order_) at_[n] = static_cast<int>(at_.size());
    for (double p : params) params_.push_back(element_cast<C>(p));
    root_ = f_.results[0].get();
  }
  bool reads(int argument) const {
    for (const ScalarNode* n : order_)
      if (n->kind == ScalarNode::Kind::argument && n->index == argument) return true;
    return false;
  }
  size_t buffers() const { return order_.size(); }

  /// `args[i]` is a row; `memory` has buffers() rows.
  const C* run(const C* const* args, int64_t n, C* memory) const {
    std::vector<const C*> values(order_.size());
    for (size_t k = 0; k < order_.size(); ++k) {
      const ScalarNode& node = *order_[k];
      C* to = memory + static_cast<int64_t>(k) * kRow;
      values[k] = to;
      switch (node.kind) {
        case ScalarNode::Kind::argument:
          values[k] = args[node.index];
          break;
        case ScalarNode::Kind::parameter:
          std::fill(to, to + n, params_[static_cast<size_t>(node.index)]);
          break;
        case ScalarNode::Kind::call:
          call(node, values, n, to);
          break;
        default:
          std::fill(to, to + n, constant_value<C>(node));
      }
    }
    return values[static_cast<size_t>(at_.at(root_))];
  }

 private:
  void call(const ScalarNode& node, const std::vector<const C*>& values, int64_t n, C* to) const {
    const C* in[3] = {};
    for (size_t i = 0; i < node.inputs.size(); ++i) in[i] = values[static_cast<size_t>(at_.at(node.inputs[i].get()))];
    if (node.op->name == "mul") {
      for (int64_t i = 0; i < n; ++i) to[i] = in[0][i] * in[1][i];
    } else if (node.op->name == "add") {
      for (int64_t i = 0; i < n; ++i) to[i] = in[0][i] + in[1][i];
    } else {
      for (int64_t i = 0; i < n; ++i) {
        C v[3] = {};
        for (size_t k = 0; k < node.inputs.size(); ++k) v[k] = in[k][i];
        to[i] = apply<C>(*node.op, v);
      }
    }
  }
  ScalarFunction f_;
  std::vector<const ScalarNode*> order_;
  std::unordered_map<const ScalarNode*, int> at_;
  std::vector<C> params_;
  const ScalarNode* root_;
};

template <class C>
C identity(Reduction r) {
  if (r == Reduction::prod || r == Reduction::all) return C(1);
  if constexpr (!std::is_same_v<C, Complex>) {
    using L = std::numeric_limits<C>;
    if (r == Reduction::max) return L::has_infinity ? -L::infinity() : L::lowest();
    if (r == Reduction::min) return L::has_infinity ? L::infinity() : L::max();
  }
  return C(0);
}

template <class C>
void combine(Reduction r, C& to, C v) {
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
      to = C((to != C(0)) || (v != C(0)));
      return;
    case Reduction::all:
      to = C((to != C(0)) && (v != C(0)));
      return;
    default:
      if constexpr (!std::is_same_v<C, Complex>) {
        bool better = r == Reduction::max ? v > to : v < to;
        if (better || v != v) to = v;
      }
  }
}

// Sums in four lanes: fast, and more accurate than one running sum.
template <class C>
void reduce_row(Reduction r, C& to, const C* v, int64_t n) {
  if (r == Reduction::sum) {
    C lanes[4] = {};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
      for (int l = 0; l < 4; ++l) lanes[l] += v[i + l];
    for (; i < n; ++i) lanes[0] += v[i];
    to += (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
  } else {
    for (int64_t i = 0; i < n; ++i) combine(r, to, v[i]);
  }
}

struct Access {
  const void* data = nullptr;
  int64_t base = 0;              // offset of the point 0
  SmallVector<int64_t, 8> step;  // of each axis, in elements
  struct Guard {
    int64_t constant, size;
    SmallVector<int64_t, 8> coefficients;
  };
  std::vector<Guard> guards;
  struct ByData {
    int source;  // access whose element is the index
    int64_t stride, factor, constant, size;
    SmallVector<int64_t, 8> coefficients;
  };
  std::vector<ByData> by_data;
};

Access make_access(const LoopOperand& o, const void* data, IntSpan strides, size_t axes) {
  Access a;
  a.data = data;
  a.step.resize(axes, 0);
  for (size_t d = 0; d < o.dims.size(); ++d) {
    const AffineIndex& x = o.dims[d];
    a.base += x.constant * strides[d];
    for (size_t k = 0; k < axes; ++k) a.step[k] += x.coefficients[k] * strides[d];
    if (x.data >= 0) {
      a.by_data.push_back({x.data, strides[d], x.data_factor, x.constant, x.size, x.coefficients});
    } else if (x.guarded) {
      a.guards.push_back({x.constant, x.size, x.coefficients});
    }
  }
  return a;
}

template <class C>
class Runner {
 public:
  Runner(const LoopNest& nest, const ScalarFunction& body, Reduction reduction, TensorSpan inputs, IntSpan out_shape,
         DType compute, std::string_view who)
      : nest_(nest), reduction_(reduction), body_(body, nest.params, compute), who_(who) {
    for (size_t i = 0; i < nest.inputs.size(); ++i) {
      const LoopOperand& o = nest.inputs[i];
      const Tensor* t =
          static_cast<size_t>(o.slot) < inputs.size() && inputs[o.slot].defined() ? &inputs[o.slot] : nullptr;
      bool read = body_.reads(static_cast<int>(i));
      SORUS_CHECK(t || !read, ValueError, "{}: input {} is missing", who, o.slot);
      accesses_.push_back(t ? make_access(o, t->data(), t->strides(), nest.axes.size()) : Access{});
      load_.push_back(t ? loader<C>(t->dtype()) : nullptr);
      load_index_.push_back(t ? loader<int64_t>(t->dtype()) : nullptr);
      read_.push_back(read);
    }
    out_ = make_access(nest.output, nullptr, contiguous_strides(out_shape), nest.axes.size());
  }

  void run(C* out) {
    int inner = choose_inner();
    // Axes that alone make up a dimension of the result can be split between threads: nobody else writes there.
    std::vector<int> safe, rest;
    for (size_t a = 0; a < nest_.axes.size(); ++a) {
      if (static_cast<int>(a) == inner) continue;
      bool alone = false;
      for (const AffineIndex& d : nest_.output.dims) alone |= d.plain_axis() == static_cast<int>(a);
      (alone ? safe : rest).push_back(static_cast<int>(a));
    }
    if (nest_.points() == 0) return;
    int64_t outer = 1;
    for (int a : safe) outer *= nest_.axes[static_cast<size_t>(a)].extent;
    auto per_outer = static_cast<int64_t>(nest_.points()) / outer;
    std::string error;
    parallel_for(outer, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, per_outer)),
                 [&](int64_t begin, int64_t end) {
                   std::vector<C> memory((body_.buffers() + accesses_.size()) * kRow);
                   SmallVector<int64_t, 8> point(nest_.axes.size(), 0);
                   for (int64_t i = begin; i < end; ++i) {
                     int64_t left = i;
                     for (size_t s = safe.size(); s-- > 0;) {
                       int64_t extent = nest_.axes[static_cast<size_t>(safe[s])].extent;
                       point[static_cast<size_t>(safe[s])] = left % extent;
                       left /= extent;
                     }
                     for (int a : rest) point[static_cast<size_t>(a)] = 0;
                     for (bool more = true; more;) {
                       if (!row(point, inner, out, memory.data())) return;
                       more = false;
                       for (size_t r = rest.size(); r-- > 0;) {
                         auto a = static_cast<size_t>(rest[r]);
                         if (++point[a] < nest_.axes[a].extent) {
                           more = true;
                           break;
                         }
                         point[a] = 0;
                       }
                     }
                   }
                 });
    if (bad_.load() != kNoIndex)
      fail<IndexError>("{}: index {} is out of range for size {}", who_, bad_.load(), bad_size_.load());
  }

 private:
  int choose_inner() const {
    int best = -1;
    double best_score = -1;
    for (size_t a = 0; a < nest_.axes.size(); ++a) {
      double score = 0.5;
      for (size_t i = 0; i <= accesses_.size(); ++i) {
        const Access& x = i < accesses_.size() ? accesses_[i] : out_;
        if (i < accesses_.size() && !read_[i]) continue;
        if (x.step.size() > a && (x.step[a] == 0 || x.step[a] == 1)) score += 1;
        for (const auto& d : x.by_data)
          if (accesses_[static_cast<size_t>(d.source)].step[a] != 0) score -= 2;
      }
      score *= static_cast<double>(std::min<int64_t>(nest_.axes[a].extent, 64));
      if (score > best_score) {
        best_score = score;
        best = static_cast<int>(a);
      }
    }
    return best;
  }

  static int64_t dot(const SmallVector<int64_t, 8>& c, const SmallVector<int64_t, 8>& point) {
    int64_t v = 0;
    for (size_t a = 0; a < c.size(); ++a) v += c[a] * point[a];
    return v;
  }

  // Narrows [lo, hi) of the inner axis to where the guard holds.
  static void clip(const Access& x, const SmallVector<int64_t, 8>& point, int inner, int64_t& lo, int64_t& hi) {
    for (const Access::Guard& g : x.guards) {
      int64_t at = g.constant + dot(g.coefficients, point);  // the inner axis is 0 here
      int64_t c = inner < 0 ? 0 : g.coefficients[static_cast<size_t>(inner)];
      if (c == 0) {
        if (at < 0 || at >= g.size) hi = lo;
      } else if (c > 0) {
        lo = std::max(lo, at >= 0 ? 0 : (-at + c - 1) / c);
        hi = std::min(hi, at >= g.size ? 0 : (g.size - 1 - at) / c + 1);
      } else {
        lo = std::max(lo, at < g.size ? 0 : (at - g.size + 1 - c - 1) / -c);
        hi = std::min(hi, at < 0 ? 0 : at / -c + 1);
      }
    }
  }

  // Offset by data; false if an index is bad.
  bool data_offset(const Access& x, const SmallVector<int64_t, 8>& point, int64_t& offset) {
    for (const auto& d : x.by_data) {
      const Access& s = accesses_[static_cast<size_t>(d.source)];
      int64_t at = s.base + dot(s.step, point), v = 0;
      load_index_[static_cast<size_t>(d.source)](s.data, at, 1, 1, &v);
      int64_t whole = v * d.factor + d.constant + dot(d.coefficients, point);
      if (whole < 0 || whole >= d.size) {
        bad_ = v;
        bad_size_ = d.size;
        return false;
      }
      offset += v * d.factor * d.stride;
    }
    return true;
  }

  bool row(SmallVector<int64_t, 8>& point, int inner, C* out, C* memory) {
    int64_t lo = 0, hi = inner < 0 ? 1 : nest_.axes[static_cast<size_t>(inner)].extent;
    if (inner >= 0) point[static_cast<size_t>(inner)] = 0;
    for (size_t i = 0; i < accesses_.size(); ++i)
      if (read_[i]) clip(accesses_[i], point, inner, lo, hi);
    clip(out_, point, inner, lo, hi);
    const C* args[32] = {};
    SORUS_ASSERT(accesses_.size() <= 32);
    auto step_of = [&](const Access& x) { return inner < 0 ? 0 : x.step[static_cast<size_t>(inner)]; };
    auto varies = [&](const Access& x) {
      for (const auto& d : x.by_data)
        if (step_of(accesses_[static_cast<size_t>(d.source)]) != 0) return true;
      return false;
    };
    for (int64_t from = lo; from < hi; from += kRow) {
      int64_t n = std::min(kRow, hi - from);
      for (size_t i = 0; i < accesses_.size(); ++i) {
        if (!read_[i]) continue;
        const Access& x = accesses_[i];
        C* to = memory + static_cast<int64_t>(i) * kRow;
        args[i] = to;
        if (inner >= 0) point[static_cast<size_t>(inner)] = from;
        int64_t offset = x.base + dot(x.step, point);
        if (varies(x)) {
          for (int64_t e = 0; e < n; ++e) {
            point[static_cast<size_t>(inner)] = from + e;
            int64_t at = x.base + dot(x.step, point);
            if (!data_offset(x, point, at)) return false;
            load_[i](x.data, at, 1, 1, to + e);
          }
        } else {
          if (!data_offset(x, point, offset)) return false;
          load_[i](x.data, offset, step_of(x), n, to);
        }
      }
      if (inner >= 0) point[static_cast<size_t>(inner)] = from;
      const C* v = body_.run(args, n, memory + static_cast<int64_t>(accesses_.size()) * kRow);
      int64_t offset = out_.base + dot(out_.step, point), step = step_of(out_);
      if (varies(out_)) {
        for (int64_t e = 0; e < n; ++e) {
          point[static_cast<size_t>(inner)] = from + e;
          int64_t at = out_.base + dot(out_.step, point);
          if (!data_offset(out_, point, at)) return false;
          combine(reduction_, out[at], v[e]);
        }
      } else {
        if (!data_offset(out_, point, offset)) return false;
        if (step == 0) {
          reduce_row(reduction_, out[offset], v, n);
        } else if (reduction_ == Reduction::sum) {
          for (int64_t e = 0; e < n; ++e) out[offset + e * step] += v[e];
        } else {
          for (int64_t e = 0; e < n; ++e) combine(reduction_, out[offset + e * step], v[e]);
        }
      }
      if (inner >= 0) point[static_cast<size_t>(inner)] = 0;
    }
    return true;
  }

  static constexpr int64_t kNoIndex = std::numeric_limits<int64_t>::min();
  const LoopNest& nest_;
  Reduction reduction_;
  RowBody<C> body_;
  std::string_view who_;
  std::vector<Access> accesses_;
  std::vector<Load<C>> load_;
  std::vector<Load<int64_t>> load_index_;
  std::vector<bool> read_;
  Access out_;
  std::atomic<int64_t> bad_{kNoIndex}, bad_size_{0};
};

// The loops of the part before the reduction: the axes of the result only.
LoopNest initial_nest(const LoopNest& nest) {
  LoopNest first = nest;
  first.initial.reset();
  for (size_t a = 0; a < first.axes.size(); ++a)
    if (nest.is_reduced(static_cast<int>(a))) first.axes[a].extent = 1;
  return first;
}

template <class C>
void run_typed(const LoopNest& nest, TensorSpan inputs, Tensor& out, DType compute, std::string_view who) {
  // The results as they stand, in the type of the computation; one pass converts them at the end.
  std::vector<C> sums;
  C* to;
  bool in_place = false;
  if constexpr (!std::is_same_v<C, Complex>)
    in_place = out.dtype() == (std::is_same_v<C, double> ? DType::f64 : DType::i64);
  else
    in_place = out.dtype() == DType::c128;
  int64_t count = out.numel();
  if (in_place) {
    to = static_cast<C*>(out.data());
  } else {
    sums.resize(static_cast<size_t>(count));
    to = sums.data();
  }
  std::fill(to, to + count, identity<C>(nest.reduction));
  if (nest.initial) {
    LoopNest first = initial_nest(nest);
    Runner<C>(first, *nest.initial, Reduction::none, inputs, out.sizes(), compute, who).run(to);
  }
  Runner<C>(nest, nest.body, nest.reduction, inputs, out.sizes(), compute, who).run(to);
  if (in_place) return;
  kernels::visit_dtype(out.dtype(), [&]<DType T>() {
    auto* p = static_cast<typename ElementOf<T>::type*>(out.data());
    for (int64_t i = 0; i < count; ++i) p[i] = element_cast<typename ElementOf<T>::type>(to[i]);
  });
}

}  // namespace

void run_initial(const LoopNest& nest, TensorSpan inputs, Tensor& out) {
  LoopNest first = initial_nest(nest);
  first.body = *nest.initial;
  first.reduction = Reduction::none;
  run_nest(first, inputs, out, "initial");
}

void run_nest(const LoopNest& nest, TensorSpan inputs, Tensor& out, std::string_view who) {
  DType compute = out.dtype();
  if (nest.reduction == Reduction::any || nest.reduction == Reduction::all) {
    compute = DType::boolean;
    for (const LoopOperand& o : nest.inputs)
      if (!o.only_index && static_cast<size_t>(o.slot) < inputs.size() && inputs[o.slot].defined())
        compute = promote(compute, inputs[o.slot].dtype());
  }
  if (is_complex(compute)) return run_typed<Complex>(nest, inputs, out, DType::c128, who);
  if (is_floating(compute)) return run_typed<double>(nest, inputs, out, DType::f64, who);
  run_typed<int64_t>(nest, inputs, out, DType::i64, who);
}

}  // namespace sorus
