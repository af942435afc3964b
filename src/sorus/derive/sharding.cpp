#include "sorus/derive/sharding.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "sorus/derive/loop_nest.h"
#include "sorus/derive/scalar_derivative.h"
#include "sorus/graph/call.h"

namespace sorus {
namespace {

using Kind = ShardFactor::Kind;

std::vector<std::vector<int>> unknown(std::span<const TensorType* const> types) {
  std::vector<std::vector<int>> out;
  for (const TensorType* t : types) out.emplace_back(t ? t->shape.size() : 0, -1);
  return out;
}

ShardingRule of_each(const TypeCall& call, const std::vector<TensorType>& results) {
  ShardingRule r;
  const Shape& shape = results[0].shape;
  for (size_t d = 0; d < shape.size(); ++d) r.factors.push_back({fmt::format("d{}", d), shape[d], Kind::kept});
  r.inputs = unknown(call.inputs);
  for (size_t i = 0; i < call.inputs.size(); ++i)
    for (size_t d = 0; d < r.inputs[i].size(); ++d) {
      size_t to = shape.size() - r.inputs[i].size() + d;
      if (call.inputs[i]->shape[d] == shape[to]) r.inputs[i][d] = static_cast<int>(to);
    }
  for (const TensorType& t : results) {
    auto& dims = r.outputs.emplace_back();
    for (size_t d = 0; d < t.shape.size(); ++d) dims.push_back(static_cast<int>(d));
  }
  return r;
}

ShardingRule of_index(const TypeCall& call) {
  LoopNest nest = bind_index(call);
  ShardingRule r;
  for (size_t a = 0; a < nest.axes.size(); ++a) {
    Kind kind = Kind::kept;
    if (nest.is_reduced(static_cast<int>(a))) {
      switch (nest.reduction) {
        case Reduction::sum:
          kind = Kind::sum;
          break;
        case Reduction::prod:
          kind = Kind::prod;
          break;
        case Reduction::max:
        case Reduction::any:
          kind = Kind::max;
          break;
        case Reduction::min:
        case Reduction::all:
          kind = Kind::min;
          break;
        case Reduction::none:
          kind = Kind::whole;
      }
      if (nest.initial) kind = Kind::whole;  // every shard would add it
    }
    r.factors.push_back({nest.axes[a].name, nest.axes[a].extent, kind});
  }
  // An axis inside of a sum cannot be split by splitting that dimension; without data in it, that is a halo.
  auto place = [&](const LoopOperand& o, std::vector<int>& dims) {
    for (const AffineIndex& d : o.dims) {
      int axis = d.plain_axis();
      bool plain = axis >= 0 && nest.axes[static_cast<size_t>(axis)].extent == d.size;
      dims.push_back(plain ? axis : -1);
      if (plain) continue;
      bool used = d.data >= 0;
      for (size_t a = 0; a < d.coefficients.size(); ++a)
        if (d.coefficients[a] != 0) {
          used = true;
          ShardFactor& f = r.factors[a];
          bool window = f.kind == Kind::kept && o.slot >= 0 && d.data < 0;
          if (f.kind != Kind::whole) f.kind = window ? Kind::halo : Kind::whole;
        }
      if (used) {
        dims.back() = static_cast<int>(r.factors.size());
        r.factors.push_back({fmt::format("w{}", r.factors.size()), d.size, Kind::whole});
      }
    }
  };
  r.inputs = unknown(call.inputs);
  for (const LoopOperand& o : nest.inputs) {
    if (o.slot < 0 || static_cast<size_t>(o.slot) >= call.inputs.size() || !call.inputs[o.slot]) continue;
    auto& dims = r.inputs[static_cast<size_t>(o.slot)];
    dims.clear();
    place(o, dims);
  }
  place(nest.output, r.outputs.emplace_back());
  // Attributes that state sizes would have to be split as well: derived operators carry their result's shape.
  return r;
}

std::string_view axes_part(std::string_view text) {
  // The clauses behind come after the last bracket.
  size_t close = text.rfind(']');
  return close == std::string_view::npos ? std::string_view()
                                         : text.substr(0, std::min(text.find(';', close), text.size()));
}

// What stands behind the results: "sized by shape", "v placed by whole start".
struct Clause {
  std::string factor;  // empty: of the first result
  bool placed = false;
  std::vector<int> attrs;
};
std::vector<Clause> clauses_of(const OpDef& op) {
  std::vector<Clause> out;
  std::string_view text = op.axes_text;
  size_t close = text.rfind(']'), at = text.find(';', close == std::string_view::npos ? 0 : close);
  bool sized = false;
  while (at != std::string_view::npos) {
    size_t end = text.find(';', at + 1);
    std::vector<std::string> words;
    std::string_view rest = text.substr(at + 1, (end == std::string_view::npos ? text.size() : end) - at - 1);
    for (size_t i = 0; i < rest.size();) {
      size_t j = std::min(rest.find(' ', i), rest.size());
      if (j > i) words.emplace_back(rest.substr(i, j - i));
      i = j + 1;
    }
    at = end;
    auto by = static_cast<size_t>(std::find(words.begin(), words.end(), "by") - words.begin());
    SORUS_CHECK(
        (by == 1 || by == 2) && by + 1 < words.size() && (words[by - 1] == "sized" || words[by - 1] == "placed"),
        ValueError, "axes of {}: expected 'sized by ...' or 'placed by ...' in '{}'", op.name(), rest);
    Clause c{by == 2 ? words[0] : "", words[by - 1] == "placed", {}};
    for (size_t w = by + 1; w < words.size(); ++w) c.attrs.push_back(op.signature.attr_index(words[w]));
    sized = sized || !c.placed;
    out.push_back(std::move(c));
  }
  // Gradients of index notation end with the shape of what they are the gradient of.
  if (!sized && op.index && op.index->derived == IndexRule::Derived::gradient)
    out.push_back({"", false, {op.signature.attrs - 1}});
  return out;
}
bool states_size(const OpDef& op) {
  std::vector<Clause> clauses = clauses_of(op);
  return std::any_of(clauses.begin(), clauses.end(), [](const Clause& c) { return !c.placed; });
}

// Follows the elements: where the view shows a dimension of its input unchanged, both split together. Where it only
// counts the same elements in other steps, the outermost dimensions do.
std::optional<ShardingRule> of_view(const TypeCall& call, const std::vector<TensorType>& results) {
  const Shape &in = call.input(0).shape, &out = results[0].shape;
  if (numel(in) == 0 || numel(out) == 0) return std::nullopt;
  Geometry g{in, contiguous_strides(in), 0};
  std::optional<Geometry> shown = call.op.view(call, g);
  if (!shown) return std::nullopt;
  ShardingRule r;
  r.inputs = unknown(call.inputs);
  r.outputs.emplace_back(out.size(), -1);
  auto add = [&](int64_t size, Kind kind) {
    r.factors.push_back({fmt::format("{}{}", kind == Kind::whole ? "w" : "d", r.factors.size()), size, kind});
    return static_cast<int>(r.factors.size()) - 1;
  };
  auto ends = [&] {  // what nothing was said about must not be split
    for (auto* side : {&r.inputs[0], &r.outputs[0]}) {
      const Shape& shape = side == &r.inputs[0] ? in : out;
      for (size_t d = 0; d < side->size(); ++d)
        if ((*side)[d] < 0 && shape[d] != 1) (*side)[d] = add(shape[d], Kind::whole);
    }
    return r;
  };
  if (shown->offset == 0 && numel(out) == numel(in) && is_contiguous(shown->sizes, shown->strides)) {
    size_t i = 0, j = 0;
    auto skip = [](const Shape& s, size_t& at) {
      while (at < s.size() && s[at] == 1) ++at;
    };
    for (skip(in, i), skip(out, j); i < in.size() && j < out.size(); skip(in, i), skip(out, j)) {
      size_t first_i = i, first_j = j;
      int64_t a = in[i++], b = out[j++];
      while (a != b) (a < b ? a *= in[i++] : b *= out[j++]);
      r.inputs[0][first_i] = r.outputs[0][first_j] = add(std::gcd(in[first_i], out[first_j]), Kind::kept);
    }
    return ends();
  }
  for (size_t d = 0; d < out.size(); ++d) {
    if (out[d] == 1) continue;
    if (shown->strides[d] == 0) {
      if (states_size(call.op)) r.outputs[0][d] = add(out[d], Kind::kept);
      continue;
    }
    for (size_t e = 0; e < in.size(); ++e)
      if (in[e] == out[d] && g.strides[e] == shown->strides[d] && r.inputs[0][e] < 0) {
        r.inputs[0][e] = r.outputs[0][d] = add(in[e], Kind::kept);
        break;
      }
  }
  return ends();
}

// "input[b.., d!], w[d!] -> output[b.., d!]+k"
class Axes {
 public:
  Axes(const TypeCall& call, const std::vector<TensorType>& results) : call_(call), results_(results) {}

  ShardingRule parse() {
    std::string_view text = axes_part(call_.op.axes_text);
    size_t arrow = text.find("->");
    SORUS_CHECK(arrow != std::string_view::npos, ValueError, "axes of {}: expected inputs -> outputs in '{}'",
                call_.op.name(), text);
    r_.inputs = unknown(call_.inputs);
    r_.added.resize(call_.inputs.size());
    std::vector<Clause> clauses = clauses_of(call_.op);
    added_.resize(call_.inputs.size());
    for (const TensorType& t : results_) r_.outputs.emplace_back(t.shape.size(), -1);
    side(text.substr(0, arrow), false);
    side(text.substr(arrow + 2), true);
    for (ShardFactor& f : r_.factors) {
      auto index = static_cast<int>(&f - r_.factors.data());
      f.placed = std::any_of(clauses.begin(), clauses.end(), [&](const Clause& c) { return c.factor == f.name; });
      bool kept = false;
      for (const auto& o : r_.outputs) kept |= std::find(o.begin(), o.end(), index) != o.end();
      if (whole_[f.name] || uneven_[f.name])
        f.kind = Kind::whole;
      else if (partial(f.name))
        f.kind = Kind::sum;
      else
        f.kind = kept ? Kind::kept : Kind::whole;
      for (size_t i = 0; i < added_.size(); ++i)
        if (f.can_split() && names(added_[i], f.name)) r_.added[i].push_back(index);
    }
    return std::move(r_);
  }

 private:
  // "+b.." is said of b1, b2, ...
  static bool names(const std::map<std::string, bool>& said, const std::string& name) {
    std::string stem = name.substr(0, name.find_last_not_of("0123456789") + 1);
    return said.contains(name) || (stem != name && said.contains(stem + ".."));
  }
  bool partial(const std::string& name) const { return names(partial_, name); }
  void side(std::string_view s, bool outputs) {
    for (size_t at = 0; (at = s.find('[', at)) != std::string_view::npos;) {
      size_t begin = at;
      while (begin > 0 && s[begin - 1] != ' ' && s[begin - 1] != ',') --begin;
      std::string_view name = s.substr(begin, at - begin);
      size_t close = s.find(']', at);
      std::string_view dims = s.substr(at + 1, close - at - 1);
      at = close + 1;
      const auto& results = call_.op.signature.outputs;
      size_t slot = outputs ? static_cast<size_t>(std::find(results.begin(), results.end(), name) - results.begin())
                            : static_cast<size_t>(call_.op.signature.tensor_index(name));
      while (at < s.size() && s[at] == '+') {
        size_t end = std::min(s.find_first_of(" ,+", at + 1), s.size());
        std::string over(s.substr(at + 1, end - at - 1));
        if (outputs)
          partial_[over] = true;
        else if (slot < added_.size())
          added_[slot][over] = true;
        at = end;
      }
      if (outputs && slot < results_.size()) fill(dims, results_[slot].shape, r_.outputs[slot]);
      bool list = !outputs && call_.op.signature.tensor_param(static_cast<int>(slot)).type == ParamType::tensor_list;
      for (size_t s = slot; !outputs && s < (list ? call_.inputs.size() : slot + 1) && s < call_.inputs.size(); ++s)
        if (call_.inputs[s]) fill(dims, call_.inputs[s]->shape, r_.inputs[s]);
    }
  }
  void fill(std::string_view text, const Shape& shape, std::vector<int>& out) {
    if (size_t semicolon = text.find(';'); semicolon != std::string_view::npos)
      return fill_by_attribute(text.substr(0, semicolon), text.substr(semicolon + 1), shape, out);
    std::vector<std::string> names;
    for (size_t i = 0; i < text.size();) {
      size_t j = std::min(text.find(',', i), text.size());
      std::string n(text.substr(i, j - i));
      std::erase(n, ' ');
      if (!n.empty()) names.push_back(n);
      i = j + 1;
    }
    out.clear();
    for (const std::string& n : names) {
      size_t dots = n.find("..");
      size_t count = dots == std::string::npos ? 1 : shape.size() - (names.size() - 1);
      std::string stem = n.substr(0, std::min(dots, n.find_first_of("!%")));
      for (size_t i = 0; i < count && out.size() < shape.size(); ++i) {
        std::string name = dots == std::string::npos ? stem : fmt::format("{}{}", stem, count - i);
        if (n.back() == '!') whole_[name] = true;
        out.push_back(factor(name, shape[out.size()], n.back() == '%'));
      }
    }
    out.resize(shape.size(), -1);
  }
  // "a..; dim d!"
  void fill_by_attribute(std::string_view dots, std::string_view named, const Shape& shape, std::vector<int>& out) {
    std::string stem(dots.substr(0, dots.find("..")));
    named.remove_prefix(named.find_first_not_of(' '));
    size_t space = named.find(' ');
    std::string other(named.substr(space + 1));
    int at = call_.op.signature.attr_index(named.substr(0, space));
    SORUS_CHECK(at >= 0, ValueError, "axes of {}: there is no attribute '{}'", call_.op.name(),
                named.substr(0, space));
    auto rank = static_cast<int64_t>(shape.size());
    int64_t dim = rank == 0 ? 0 : wrap_dim(call_.attr(at).to_int(), rank, call_.op.name());
    bool whole = other.back() == '!';
    if (whole) other.pop_back();
    if (whole) whole_[other] = true;
    out.clear();
    for (int64_t d = 0; d < rank; ++d)
      out.push_back(
          factor(d == dim ? other : fmt::format("{}{}", stem, d), shape[static_cast<size_t>(d)], d == dim && whole));
  }
  int factor(const std::string& name, int64_t size, bool in_proportion) {
    for (size_t i = 0; i < r_.factors.size(); ++i)
      if (r_.factors[i].name == name) {
        if (!in_proportion && r_.factors[i].size != size) uneven_[name] = true;
        r_.factors[i].size = std::gcd(r_.factors[i].size, size);
        return static_cast<int>(i);
      }
    r_.factors.push_back({name, size, Kind::whole});
    return static_cast<int>(r_.factors.size()) - 1;
  }

  const TypeCall& call_;
  const std::vector<TensorType>& results_;
  ShardingRule r_;
  std::map<std::string, bool> whole_, partial_, uneven_;
  std::vector<std::map<std::string, bool>> added_;  // by input
};

constexpr const char* kNames[] = {"kept", "sum", "prod", "max", "min", "whole", "halo"};

}  // namespace

std::string ShardingRule::to_string() const {
  auto side = [&](const std::vector<std::vector<int>>& tensors) {
    std::string s = "(";
    for (size_t i = 0; i < tensors.size(); ++i) {
      s += i ? ", [" : "[";
      for (size_t d = 0; d < tensors[i].size(); ++d) {
        int f = tensors[i][d];
        s += (d ? ", " : "") + (f < 0 ? std::string("1") : factors[static_cast<size_t>(f)].name);
      }
      s += "]";
    }
    return s + ")";
  };
  std::string s = side(inputs) + " -> " + side(outputs);
  for (const ShardFactor& f : factors)
    if (f.kind != Kind::kept) s += fmt::format("; {} {}", kNames[static_cast<size_t>(f.kind)], f.name);
  return s;
}

ShardingRule sharding_rule(const TypeCall& call) {
  std::vector<TensorType> results = infer_types(call);
  if (!axes_part(call.op.axes_text).empty()) return Axes(call, results).parse();
  if (call.op.each) return of_each(call, results);
  if (call.op.index) return of_index(call);
  if (call.op.is_view())
    if (auto r = of_view(call, results)) return *r;
  // Nothing is known, so nothing may be split.
  ShardingRule r;
  auto whole = [&](const Shape& shape) {
    std::vector<int> dims;
    for (int64_t n : shape) {
      dims.push_back(static_cast<int>(r.factors.size()));
      r.factors.push_back({fmt::format("w{}", r.factors.size()), n, Kind::whole});
    }
    return dims;
  };
  for (const TensorType* t : call.inputs) r.inputs.push_back(t ? whole(t->shape) : std::vector<int>());
  for (const TensorType& t : results) r.outputs.push_back(whole(t.shape));
  return r;
}

ShardPart shard_part(int64_t size, int64_t parts, int64_t index, int64_t unit) {
  int64_t units = size / unit, each = units / parts, more = units % parts;
  return {(index * each + std::min(index, more)) * unit, (each + (index < more ? 1 : 0)) * unit};
}

Attrs shard_attrs(const TypeCall& call, const ShardingRule& rule, const std::vector<ShardPart>& parts) {
  Attrs attrs = call.attrs;
  std::vector<Clause> clauses = clauses_of(call.op);
  if (clauses.empty()) return attrs;
  Shape whole = infer_types(call)[0].shape, block = whole, start(whole.size(), 0);
  for (size_t d = 0; d < whole.size(); ++d) {
    int f = rule.outputs[0][d];
    if (f < 0) continue;
    int64_t unit = whole[d] / std::max<int64_t>(rule.factors[static_cast<size_t>(f)].size, 1);
    block[d] = parts[static_cast<size_t>(f)].size * unit;
    start[d] = parts[static_cast<size_t>(f)].start * unit;
  }
  auto set = [&](int at, const Attr& value) { attrs[static_cast<size_t>(at)] = value; };
  for (const Clause& c : clauses) {
    const Attr& last = call.attr(c.attrs.back());  // where what is cut here begins, itself a block
    bool is_block = c.attrs.size() < 2 || !call.attr(c.attrs[0]).is_none();
    if (c.factor.empty()) {
      if (!c.placed) {
        for (int at : c.attrs) set(at, Attr(block));
        continue;
      }
      Shape from = start;
      for (size_t d = 0; is_block && d < from.size(); ++d) from[d] += last.ints()[d];
      if (!is_block) set(c.attrs[0], Attr(whole));
      set(c.attrs.back(), Attr(from));
      continue;
    }
    for (size_t f = 0; f < rule.factors.size(); ++f) {
      if (rule.factors[f].name != c.factor || parts[f].size == rule.factors[f].size) continue;
      if (!c.placed) {
        for (int at : c.attrs) set(at, Attr(parts[f].size));
        continue;
      }
      if (!is_block) set(c.attrs[0], Attr(rule.factors[f].size));
      set(c.attrs.back(), Attr(last.to_int() + parts[f].start));
    }
  }
  return attrs;
}

bool has_shard_attrs(const OpDef& op) { return !clauses_of(op).empty(); }

bool ShardingRule::is_added(size_t input, int factor) const {
  return input < added.size() && std::find(added[input].begin(), added[input].end(), factor) != added[input].end();
}

bool is_linear(const OpDef& op, std::span<const int> slots) {
  if (op.is_view()) return true;
  auto among = [&](int argument, const std::vector<int>& slot_of) {
    int slot = slot_of.empty() ? argument : slot_of[static_cast<size_t>(argument)];
    return std::find(slots.begin(), slots.end(), slot) != slots.end();
  };
  // Zero at zero, and no derivative depends on what is partial.
  auto linear = [&](const ScalarFunction& f, const std::vector<int>& slot_of) {
    int n = static_cast<int>(f.args.size());
    for (const Expr& e : f.results)
      if (e->is_boolean || e->uses_position) return false;
    for (double point : {0.37, 1.9}) {
      std::vector<double> args, params;
      for (int i = 0; i < n; ++i) args.push_back(among(i, slot_of) ? 0 : point + 0.1 * i);
      for (size_t i = 0; i < f.params.size(); ++i) params.push_back(point + 0.3 + 0.1 * static_cast<double>(i));
      for (double y : evaluate<double>(f, args, params))
        if (y != 0) return false;
    }
    for (int i = 0; i < n; ++i) {
      if (!among(i, slot_of)) continue;
      ScalarFunction d = gradient(f, i);
      int outer = static_cast<int>(d.args.size()) - n;
      for (int j = 0; j < n; ++j)
        if (among(j, slot_of) && depends_on_argument(d.results[0], outer + j)) return false;
    }
    return true;
  };
  if (op.inset) return std::ranges::all_of(slots, [](int slot) { return slot == 0; });  // its input among zeros
  if (op.each) return op.differentiable && linear(*op.each, {});
  if (op.index && op.index->derived == IndexRule::Derived::no && !op.index->initial &&
      (op.index->reduction == Reduction::sum || op.index->reduction == Reduction::none)) {
    std::vector<int> slot_of;
    for (const IndexAccess& a : op.index->accesses) slot_of.push_back(a.tensor);
    return linear(op.index->body, slot_of);
  }
  return false;
}

}  // namespace sorus
