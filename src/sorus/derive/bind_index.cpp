// Numbers for the names of a rule: extents of axes from the shapes of a call, attributes, windows.
#include <algorithm>

#include "sorus/derive/loop_nest.h"

namespace sorus {
namespace {

int64_t floor_div(int64_t a, int64_t b) { return b == 0 ? 0 : a / b - ((a % b != 0) && ((a < 0) != (b < 0))); }

// Gives numbers to the names of a rule.
class Binder {
 public:
  Binder(const IndexRule& rule, std::string_view who, const OptionalShapes& inputs, const Attrs& attrs,
         const std::optional<Shape>& result)
      : rule_(rule), who_(who), inputs_(inputs), attrs_(attrs), result_(result) {}

  LoopNest bind() {
    for (const std::string& name : rule_.axes) nest_.axes.push_back({name, -1});
    group_axes();
    batch_axes();
    for (size_t i = 0; i < rule_.accesses.size(); ++i) nest_.inputs.push_back(open(rule_.accesses[i]));
    nest_.output = open(rule_.result);
    extents();
    for (LoopOperand& o : nest_.inputs) close(o, false);
    close(nest_.output, true);
    for (LoopOperand& o : nest_.inputs)
      for (AffineIndex& d : o.dims)
        if (d.data >= 0) nest_.inputs[static_cast<size_t>(d.data)].only_index = true;
    for (AffineIndex& d : nest_.output.dims)
      if (d.data >= 0) nest_.inputs[static_cast<size_t>(d.data)].only_index = true;
    nest_.reduction = rule_.reduction;
    nest_.body = rule_.body;
    if (rule_.initial) nest_.initial = *rule_.initial;
    for (int a : rule_.param_attrs) {
      const Attr& attr = attrs_[static_cast<size_t>(a)];
      nest_.params.push_back(attr.is_scalar() ? attr.to_double() : 0);
    }
    for (LoopOperand& o : nest_.inputs) drop_single(o);
    drop_single(nest_.output);
    drop_absent();
    return std::move(nest_);
  }

 private:
  const std::optional<Shape>& shape_of(const IndexAccess& a) const {
    return a.tensor < 0 ? result_ : inputs_[static_cast<size_t>(a.tensor)];
  }

  // ---- dimensions named by an attribute ----
  void group_axes() {
    if (rule_.group_attr < 0) return;
    const IndexAccess* with = nullptr;
    for (const IndexAccess& a : rule_.accesses)
      for (const IndexDim& d : a.dims)
        if (d.kind == IndexDim::Kind::group) with = &a;
    SORUS_ASSERT(with && shape_of(*with));
    const Shape& shape = *shape_of(*with);
    auto rank = static_cast<int64_t>(shape.size());
    in_group_.assign(shape.size(), false);
    const Attr& attr = attrs_[static_cast<size_t>(rule_.group_attr)];
    if (attr.is_none() || (attr.is_ints() && attr.ints().empty())) {
      in_group_.assign(shape.size(), true);
    } else {
      Shape dims = attr.is_ints() ? attr.ints() : Shape{attr.to_int()};
      for (int64_t d : dims) {
        if (rank == 0) {
          wrap_dim(d, 1, who_);
          continue;
        }
        auto w = static_cast<size_t>(wrap_dim(d, rank, who_));
        SORUS_CHECK(!in_group_[w], Error, "{}: dim {} appears multiple times in the list of dims", who_, w);
        in_group_[w] = true;
      }
    }
    for (size_t d = 0; d < shape.size(); ++d) {
      dim_axis_.push_back(static_cast<int>(nest_.axes.size()));
      nest_.axes.push_back({fmt::format("d{}", d), shape[d]});
    }
    keepdim_ = rule_.keepdim_attr >= 0 && attrs_[static_cast<size_t>(rule_.keepdim_attr)].to_bool();
  }

  void batch_axes() {
    if (rule_.group_attr >= 0) return;
    size_t count = 0;
    auto look = [&](const IndexAccess& a) {
      bool ellipsis = false;
      for (const IndexDim& d : a.dims) ellipsis |= d.kind == IndexDim::Kind::ellipsis;
      if (!shape_of(a)) return;
      const Shape& s = *shape_of(a);
      size_t named = a.dims.size() - (ellipsis ? 1 : 0);
      SORUS_CHECK(ellipsis ? s.size() >= named : s.size() == named, ValueError,
                  "{}: {} has shape {}, expected {}{} dimensions", who_, name_of(a), sorus::to_string(s),
                  ellipsis ? "at least " : "", named);
      if (!ellipsis) return;
      size_t batch = s.size() - named;
      count = std::max(count, batch);
      batch_shapes_.push_back(Shape(s.begin(), s.begin() + static_cast<long>(batch)));
    };
    for (const IndexAccess& a : rule_.accesses) look(a);
    look(rule_.result);
    Shape all(count, 1);
    for (const Shape& s : batch_shapes_)
      for (size_t i = 0; i < s.size(); ++i) {
        int64_t& to = all[count - s.size() + i];
        SORUS_CHECK(to == 1 || s[i] == 1 || to == s[i], ValueError,
                    "{}: the leading dimensions of the inputs do not broadcast: {} and {}", who_, to, s[i]);
        if (s[i] != 1) to = s[i];
      }
    for (size_t i = 0; i < count; ++i) {
      batch_.push_back(static_cast<int>(nest_.axes.size()));
      nest_.axes.push_back({fmt::format("b{}", i), all[i]});
    }
  }

  std::string name_of(const IndexAccess& a) const {
    if (a.tensor < 0) return "the result";
    for (size_t i = 0; i < rule_.accesses.size(); ++i)
      if (rule_.accesses[i].tensor == a.tensor) return rule_.body.args[i];
    return fmt::format("input {}", a.tensor);
  }

  // ---- sizes ----
  std::optional<int64_t> value(const SizeExpr& e) const {
    using K = SizeExpr::Kind;
    switch (e.kind) {
      case K::number:
        return e.number;
      case K::attr: {
        const Attr& a = attrs_[static_cast<size_t>(e.index)];
        if (e.number < 0) return a.to_int();
        const Shape& list = a.ints();
        SORUS_CHECK(!list.empty(), ValueError, "{}: an empty list of sizes", who_);
        return list.size() == 1 ? list[0] : list[static_cast<size_t>(e.number) % list.size()];
      }
      case K::definition:
        return value(rule_.definitions[static_cast<size_t>(e.index)].second);
      case K::size: {
        const auto& s = inputs_[static_cast<size_t>(e.index)];
        if (!s) return {};
        return (*s)[static_cast<size_t>(wrap_dim(e.number, static_cast<int64_t>(s->size()), who_))];
      }
      case K::axis: {
        int64_t x = nest_.axes[static_cast<size_t>(e.index)].extent;
        if (x < 0) return {};
        return x;
      }
      default:
        break;
    }
    auto a = value(e.operands[0]), b = value(e.operands[1]);
    if (!a || !b) return {};
    switch (e.kind) {
      case K::add:
        return *a + *b;
      case K::sub:
        return *a - *b;
      case K::mul:
        return *a * *b;
      case K::div:
        return floor_div(*a, *b);
      case K::mod:
        return *b ? *a % *b : 0;
      case K::min:
        return std::min(*a, *b);
      default:
        return std::max(*a, *b);
    }
  }

  // ---- accesses ----
  // An axis of one point adds nothing to a sum of axes: "g*O + o" of a convolution with one group is plainly o.
  void drop_single(LoopOperand& o) const {
    for (AffineIndex& d : o.dims) {
      auto terms = std::count_if(d.coefficients.begin(), d.coefficients.end(), [](int64_t c) { return c != 0; });
      for (size_t a = 0; a < d.coefficients.size() && terms > 1; ++a)
        if (d.coefficients[a] != 0 && nest_.axes[a].extent == 1) d.coefficients[a] = 0, --terms;
    }
  }
  // Which dimension of the tensor each written index is; coefficients are filled by `close`.
  struct Written {
    const IndexDim* dim = nullptr;
    int axis = -1;  // of an ellipsis or group; -2: a dimension of size one
    int64_t size = -1;
  };
  LoopOperand open(const IndexAccess& a) {
    LoopOperand o;
    o.slot = a.tensor;
    std::vector<Written> written;
    const auto& shape = shape_of(a);
    for (const IndexDim& d : a.dims) {
      if (d.kind == IndexDim::Kind::affine) {
        written.push_back({&d, -1, -1});
      } else if (rule_.group_attr >= 0) {
        if (a.tensor < 0) {
          for (size_t i = 0; i < dim_axis_.size(); ++i)
            if (!in_group_[i]) {
              written.push_back({nullptr, dim_axis_[i], -1});
            } else if (keepdim_) {
              written.push_back({nullptr, -2, -1});
            }
        } else if (d.kind == IndexDim::Kind::group) {
          for (int axis : dim_axis_) written.push_back({nullptr, axis, -1});
        }
      } else {
        size_t named = a.dims.size() - 1, count = shape ? shape->size() - named : batch_.size();
        for (size_t i = 0; i < count; ++i) written.push_back({nullptr, batch_[batch_.size() - count + i], -1});
      }
    }
    if (shape) {
      SORUS_CHECK(shape->size() == written.size(), ValueError, "{}: {} has shape {}, expected {} dimensions", who_,
                  name_of(a), sorus::to_string(*shape), written.size());
      for (size_t i = 0; i < written.size(); ++i) written[i].size = (*shape)[i];
    }
    written_.push_back(std::move(written));
    return o;
  }

  // The dimension as an affine form; false while a factor is unknown.
  bool affine(const IndexDim& d, AffineIndex& out) const {
    out.coefficients.resize(0);
    out.coefficients.resize(nest_.axes.size(), 0);
    out.constant = 0;
    for (const IndexTerm& t : d.terms) {
      int64_t factor = t.negative ? -1 : 1;
      for (const SizeExpr& f : t.factors) {
        auto v = value(f);
        if (!v) return false;
        factor *= *v;
      }
      if (t.access >= 0) {
        out.data = t.access;
        out.data_factor = factor;
      } else if (t.axis >= 0) {
        out.coefficients[static_cast<size_t>(t.axis)] += factor;
      } else {
        out.constant += factor;
      }
    }
    return true;
  }

  void set(int axis, int64_t extent, const char* what) {
    LoopAxis& a = nest_.axes[static_cast<size_t>(axis)];
    if (a.extent < 0) {
      a.extent = extent;
    } else if (a.extent != extent) {
      fail<ValueError>("{}: {}", who_, mismatch(a, extent, what));
    }
  }
  std::string mismatch(const LoopAxis& a, int64_t extent, const char* what) const {
    std::string shapes;
    for (const IndexAccess& x : rule_.accesses)
      if (shape_of(x))
        shapes += fmt::format("{}{} {}", shapes.empty() ? "" : ", ", name_of(x), sorus::to_string(*shape_of(x)));
    return fmt::format("sizes differ along {}: {} and {}{} (shapes: {})", a.name, a.extent, extent, what, shapes);
  }

  void extents() {
    for (size_t k = 0; k < written_.size(); ++k)
      for (Written& w : written_[k]) {
        AffineIndex f;
        if (w.dim && w.size >= 0 && affine(*w.dim, f) && f.data < 0 && f.plain_axis() >= 0)
          set(f.plain_axis(), w.size, "");
      }
    // Windows: the one unknown axis of a sum. A few rounds, since one may wait for another.
    for (size_t round = 0; round <= nest_.axes.size(); ++round) {
      for (const auto& [axis, e] : rule_.bounds)
        if (nest_.axes[static_cast<size_t>(axis)].extent < 0)
          if (auto v = value(e)) set(axis, std::max<int64_t>(*v, 0), "");
      for (size_t k = 0; k + 1 < written_.size(); ++k)
        for (Written& w : written_[k]) window(w);
    }
    for (const LoopAxis& a : nest_.axes)
      SORUS_CHECK(a.extent >= 0 || !used(a), ValueError, "{}: the extent of {} is not determined by the inputs", who_,
                  a.name);
    for (LoopAxis& a : nest_.axes) a.extent = std::max<int64_t>(a.extent, 0);
  }
  // Axes that occur only in tensors that are not given, or in attributes, do not count.
  bool used(const LoopAxis& a) const {
    auto axis = static_cast<size_t>(&a - nest_.axes.data());
    for (size_t k = 0; k < written_.size(); ++k) {
      bool is_result = k + 1 == written_.size();
      if (!is_result && !shape_of(rule_.accesses[k])) continue;
      for (const Written& w : written_[k])
        if (w.dim)
          for (const IndexTerm& t : w.dim->terms)
            if (t.axis == static_cast<int>(axis)) return true;
    }
    return false;
  }
  void window(Written& w) {
    AffineIndex f;
    if (!w.dim || w.size < 0 || !affine(*w.dim, f) || f.data >= 0) return;
    int unknown = -1;
    int64_t reach = 0;
    for (size_t a = 0; a < f.coefficients.size(); ++a) {
      if (f.coefficients[a] == 0) continue;
      if (nest_.axes[a].extent < 0) {
        if (unknown >= 0) return;
        unknown = static_cast<int>(a);
      } else {
        reach += f.coefficients[a] * (nest_.axes[a].extent - 1);
      }
    }
    if (unknown < 0 || f.plain_axis() >= 0) return;
    int64_t step = f.coefficients[static_cast<size_t>(unknown)];
    SORUS_CHECK(step > 0, ValueError, "{}: steps must be positive, found {}", who_, step);
    int64_t places = floor_div(w.size - 2 * f.constant - reach - 1, step) + 1;
    if (inputs_.size() && !result_)
      SORUS_CHECK(places > 0 || w.size == 0, Error, "{}: the window of {} is larger than the padded input of {}",
                  who_, reach + 1, w.size - 2 * f.constant);
    set(unknown, std::max<int64_t>(places, 0), "");
    derived_.push_back(w.dim);
  }

  void close(LoopOperand& o, bool is_result) {
    size_t k = is_result ? written_.size() - 1 : static_cast<size_t>(&o - nest_.inputs.data());
    bool given = is_result || static_cast<bool>(shape_of(rule_.accesses[k]));
    for (Written& w : written_[k]) {
      AffineIndex f;
      f.coefficients.resize(nest_.axes.size(), 0);
      if (w.axis == -2) {
        f.size = 1;
      } else if (!w.dim) {
        int64_t extent = nest_.axes[static_cast<size_t>(w.axis)].extent;
        f.size = w.size >= 0 ? w.size : extent;
        if (f.size == extent) f.coefficients[static_cast<size_t>(w.axis)] = 1;
      } else if (given) {
        SORUS_CHECK(affine(*w.dim, f), ValueError, "{}: an index cannot be computed without all inputs", who_);
        f.size = w.size;
        if (f.size < 0 && w.dim->size) f.size = value(*w.dim->size).value_or(-1);
        if (f.size < 0) f.size = f.highest(nest_.axes) + 1;
        if (f.data < 0) {
          int64_t high = f.highest(nest_.axes), low = f.lowest(nest_.axes);
          bool empty = false;
          for (size_t a = 0; a < f.coefficients.size(); ++a)
            empty |= f.coefficients[a] != 0 && nest_.axes[a].extent == 0;
          f.guarded = !empty && (low < 0 || high >= f.size);
          bool free = w.dim->may_leave || std::find(derived_.begin(), derived_.end(), w.dim) != derived_.end();
          if (!is_result && !result_ && !free && f.constant == 0 && !empty)
            SORUS_CHECK(high + 1 == f.size, ValueError, "{}: {} has size {} in dimension {}, expected {}", who_,
                        name_of(rule_.accesses[k]), f.size, o.dims.size(), high + 1);
        }
      }
      o.dims.push_back(std::move(f));
    }
  }

  // Optional tensors that are not given, and those a derivative does not need.
  void drop_absent() {
    std::vector<Expr> zero;
    for (size_t k = 0; k < nest_.inputs.size(); ++k)
      zero.push_back(shape_of(rule_.accesses[k]) ? argument(static_cast<int>(k)) : constant(0));
    if (nest_.initial)
      for (size_t k = 0; k < nest_.inputs.size(); ++k)
        if (!shape_of(rule_.accesses[k]) && depends_on_argument(nest_.initial->results[0], static_cast<int>(k))) {
          nest_.initial.reset();
          break;
        }
  }

  const IndexRule& rule_;
  std::string_view who_;
  const OptionalShapes& inputs_;
  const Attrs& attrs_;
  const std::optional<Shape>& result_;
  LoopNest nest_;
  std::vector<bool> in_group_;
  std::vector<int> dim_axis_, batch_;
  std::vector<Shape> batch_shapes_;
  bool keepdim_ = false;
  std::vector<std::vector<Written>> written_;
  std::vector<const IndexDim*> derived_;
};

}  // namespace

LoopNest bind_own(const IndexRule& rule, std::string_view who, const OptionalShapes& inputs, const Attrs& attrs,
                  const std::optional<Shape>& result) {
  return Binder(rule, who, inputs, attrs, result).bind();
}

}  // namespace sorus
