#include "sorus/derive/index_rules.h"

#include <algorithm>
#include <unordered_map>

#include "sorus/derive/scalar_derivative.h"
#include "sorus/graph/call.h"

namespace sorus {
namespace {

bool is_extremum(const IndexRule& r) { return r.reduction == Reduction::max || r.reduction == Reduction::min; }

// The body, the reduction and the accesses that a rule amounts to, without sizes. Derived rules inherit those of
// their base with roles exchanged; `reads[s]` says for tensor parameter s whether its value matters to the gradient
// of t.
struct Outline {
  std::vector<int> slots;        // tensor parameter of each argument
  std::vector<bool> index_only;  // by argument
  ScalarFunction body;
  std::shared_ptr<const ScalarFunction> initial;
  Reduction reduction = Reduction::none;
};

Outline outline(const IndexRule& rule);

int argument_of(const Outline& o, int slot) {
  for (size_t i = 0; i < o.slots.size(); ++i)
    if (o.slots[i] == slot) return static_cast<int>(i);
  return -1;
}

bool in_initial(const Outline& o, int arg) { return o.initial && depends_on_argument(o.initial->results[0], arg); }

// What reaches argument `arg`, as a body of (g, arguments.., y).
Expr gradient_body(const Outline& o, int arg) {
  const ScalarFunction& f = in_initial(o, arg) ? *o.initial : o.body;
  Expr e = gradient(f, arg).results[0];
  if (o.reduction == Reduction::max || o.reduction == Reduction::min) {
    std::vector<Expr> shifted;
    for (size_t i = 0; i < o.slots.size(); ++i) shifted.push_back(argument(static_cast<int>(i) + 1));
    e = call("select",
             {call("eq", {substitute(f.results[0], shifted), argument(static_cast<int>(o.slots.size()) + 1)}), e,
              constant(0)});
  }
  return e;
}

Outline outline(const IndexRule& rule) {
  Outline o;
  if (rule.derived == IndexRule::Derived::no) {
    o.body = rule.body;
    o.initial = rule.initial;
    o.reduction = rule.reduction;
    o.index_only.assign(rule.accesses.size(), false);
    auto mark = [&](const IndexAccess& a) {
      for (const IndexDim& d : a.dims)
        for (const IndexTerm& t : d.terms)
          if (t.access >= 0) o.index_only[static_cast<size_t>(t.access)] = true;
    };
    for (const IndexAccess& a : rule.accesses) {
      o.slots.push_back(a.tensor);
      mark(a);
    }
    mark(rule.result);
    return o;
  }
  Outline base = outline(*rule.base);
  o.reduction = Reduction::sum;
  Expr body = constant(1);
  if (rule.derived == IndexRule::Derived::gradient) body = gradient_body(base, argument_of(base, rule.target));
  std::vector<Expr> to(base.slots.size() + 2, constant(0));
  for (size_t s = 0; s < rule.base_slots.size(); ++s) {
    int b = rule.base_slots[s];
    size_t at = b == -1 ? 0 : b == -2 ? base.slots.size() + 1 : static_cast<size_t>(argument_of(base, b)) + 1;
    to[at] = argument(static_cast<int>(s));
    o.slots.push_back(static_cast<int>(s));
    o.index_only.push_back(b >= 0 && base.index_only[static_cast<size_t>(argument_of(base, b))]);
    o.body.args.push_back(fmt::format("x{}", s));
  }
  o.body.params = base.body.params;
  o.body.results = {simplify(substitute(body, to))};
  return o;
}

// Whether the values of a tensor parameter matter to the result; some are there for their shape only.
bool reaches(const Outline& o, int slot) {
  int arg = argument_of(o, slot);
  if (arg < 0 || o.index_only[static_cast<size_t>(arg)]) return false;
  Expr e = gradient_body(o, arg);
  return !(e->kind == ScalarNode::Kind::integer && e->integer == 0);
}

void sized_tensors(const SizeExpr& e, std::vector<int>& out) {
  if (e.kind == SizeExpr::Kind::size) out.push_back(e.index);
  for (const SizeExpr& x : e.operands) sized_tensors(x, out);
}

// The tensor parameters (-1 gradient, -2 result) that the gradient with respect to `slot` reads.
std::vector<int> needed(const OpDef& op, int slot) {
  Outline o = outline(*op.index);
  int arg = argument_of(o, slot);
  Expr e = gradient_body(o, arg);
  std::vector<int> out{-1};
  for (size_t i = 0; i < o.slots.size(); ++i)
    if (depends_on_argument(e, static_cast<int>(i) + 1) || (o.index_only[i] && !in_initial(o, arg)))
      out.push_back(o.slots[i]);
  // Sizes that the notation asks for come from the tensors themselves.
  if (op.index->derived == IndexRule::Derived::no) {
    std::vector<int> sized;
    for (const auto& [name, size] : op.index->definitions) sized_tensors(size, sized);
    for (const auto& [axis, size] : op.index->bounds) sized_tensors(size, sized);
    for (int t : sized)
      if (t != slot && std::find(out.begin(), out.end(), t) == out.end()) out.push_back(t);
  } else {
    for (size_t t = 0; t < o.slots.size(); ++t)
      if (op.index->base_slots[t] >= 0 && o.slots[t] != slot &&
          std::find(out.begin(), out.end(), o.slots[t]) == out.end())
        out.push_back(o.slots[t]);
  }
  if (depends_on_argument(e, static_cast<int>(o.slots.size()) + 1)) out.push_back(-2);
  return out;
}

Param tensor_param(std::string name) {
  Param p;
  p.name = std::move(name);
  return p;
}

}  // namespace

std::vector<TensorType> index_types(const TypeCall& call) {
  const OpDef& op = call.op;
  LoopNest nest = bind_index(call);
  DType t = DType::boolean;
  bool any = false;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    if (!call.inputs[i] || !op.signature.tensor_param(static_cast<int>(i)).promotes) continue;
    t = any ? promote(t, call.inputs[i]->dtype) : call.inputs[i]->dtype;
    any = true;
  }
  const std::string& r = op.result_text;
  if (r == "float") {
    if (!is_differentiable(t)) t = default_dtype();
  } else if (r == "truth") {  // PyTorch keeps truth values of bytes as bytes
    t = t == DType::u8 ? DType::u8 : DType::boolean;
  } else if (r == "real") {
    t = real_of(t);
  } else if (r == "sum") {
    if (!is_differentiable(t)) t = DType::i64;
  } else if (!r.empty() && r != "promote") {
    t = dtype_from_name(r);
  }
  for (int i = 0; i < op.signature.attrs; ++i)
    if (op.signature.attr_param(i).name == "dtype" && !call.attr(i).is_none()) t = call.attr(i).dtype();
  if (is_extremum(*op.index)) {
    SORUS_CHECK(!is_complex(t), TypeError, "{}: complex numbers have no order", op.name());
    bool empty = nest.points() == 0 && numel(nest.output_shape()) > 0;
    SORUS_CHECK(!empty, IndexError, "{}: expected a dimension with elements to reduce, found shape {}", op.name(),
                to_string(call.input(0).shape));
  }
  return {TensorType{t, nest.output_shape(), false}};
}

std::unique_ptr<OpDef> derive_index(const OpDef& base, std::string_view suffix) {
  if (!base.index) return nullptr;
  auto def = std::make_unique<OpDef>();
  auto rule = std::make_shared<IndexRule>();
  rule->base = base.index;
  rule->text = base.index->text;
  rule->reduction = Reduction::sum;
  if (suffix.starts_with("grad") && suffix.size() == 5 && std::isdigit(static_cast<unsigned char>(suffix[4]))) {
    rule->derived = IndexRule::Derived::gradient;
    rule->target = suffix[4] - '0';
    if (!reaches(outline(*base.index), rule->target)) return nullptr;
    rule->base_slots = needed(base, rule->target);
  } else if (suffix == "ties" && is_extremum(*base.index)) {
    rule->derived = IndexRule::Derived::ties;
    for (int i = 0; i < base.signature.tensors; ++i) rule->base_slots.push_back(i);
    rule->base_slots.push_back(-2);
    def->differentiable = false;
  } else {
    return nullptr;
  }
  rule->tensor_count = static_cast<int>(rule->base_slots.size());

  Signature& s = def->signature;
  s.name = s.base = fmt::format("{}:{}", base.name(), suffix);
  s.outputs = {"output"};
  for (int b : rule->base_slots) {
    std::string name = b == -1 ? "grad" : b == -2 ? "output" : base.signature.tensor_param(b).name;
    Param p = tensor_param(name);
    while (std::any_of(s.params.begin(), s.params.end(), [&](const Param& q) { return q.name == p.name; }))
      p.name += "_";
    if (b >= 0) p.promotes = base.signature.tensor_param(b).promotes;
    s.params.push_back(std::move(p));
    ++s.tensors;
  }
  for (const Param& p : base.signature.params)
    if (!p.is_tensor() && p.name != "dtype") {
      s.params.push_back(p);
      ++s.attrs;
    } else if (!p.is_tensor()) {
      // The type of the result was the base's affair; the gradient's follows from its inputs.
      Param q = p;
      q.name = "dtype_";
      s.params.push_back(std::move(q));
      ++s.attrs;
    }
  if (rule->derived == IndexRule::Derived::gradient) {
    Param p;
    p.name = "sizes" + std::string(static_cast<size_t>(std::count(s.base.begin(), s.base.end(), ':') - 1), '_');
    p.type = ParamType::ints;
    s.params.push_back(std::move(p));
    ++s.attrs;
  }
  def->index = std::move(rule);
  def->index_text = base.index_text;
  def->result_text = "promote";
  def->autocast = base.autocast;
  def->kernel = find_gradient_kernel(def->name());
  return def;
}

std::vector<std::string> index_gradient_saves(const OpDef& op) {
  std::vector<std::string> names;
  auto add = [&](const std::string& n) {
    if (std::find(names.begin(), names.end(), n) == names.end()) names.push_back(n);
  };
  Outline o = outline(*op.index);
  for (size_t i = 0; i < o.slots.size(); ++i) {
    if (o.index_only[i]) continue;
    for (int b : needed(op, o.slots[i])) {
      if (b >= 0) add(op.signature.tensor_param(b).name);
      if (b == -2) add(op.signature.outputs[0]);
    }
  }
  if (is_extremum(*op.index)) {
    for (int i = 0; i < op.signature.tensors; ++i) add(op.signature.tensor_param(i).name);
    add(op.signature.outputs[0]);
  }
  return names;
}

namespace {
// The gradient operator of each input, null where the gradient is zero; working that out is symbolic, so once.
const std::vector<const OpDef*>& gradient_operators(const OpDef& op) {
  thread_local std::unordered_map<const OpDef*, std::vector<const OpDef*>> found;
  auto [it, fresh] = found.try_emplace(&op);
  if (fresh) {
    Outline o = outline(*op.index);
    std::vector<const OpDef*> made;
    for (int i = 0; i < op.signature.tensors; ++i)
      made.push_back(reaches(o, i) ? &find_op(fmt::format("{}:grad{}", op.name(), i)) : nullptr);
    found[&op] = std::move(made);
    return found[&op];
  }
  return it->second;
}
}  // namespace

TensorList index_gradient(const GradCall& c) {
  const OpDef& op = c.op;
  TensorList result(c.inputs.size());
  Tensor g = c.grad(0);
  if (!g.defined()) return result;
  const std::vector<const OpDef*>& operators = gradient_operators(op);
  if (is_extremum(*op.index)) {
    // Elements that tie share the gradient evenly.
    TensorList in(c.inputs.begin(), c.inputs.end());
    in.push_back(c.output());
    g = call_one(find_op("div"), {g, call_one(find_op(op.name() + ":ties"), in, c.attrs)});
  }
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    if (!c.needs[i] || !c.inputs[i].defined() || !operators[i]) continue;
    const OpDef& d = *operators[i];
    TensorList in;
    in.reserve(d.index->base_slots.size());
    for (int b : d.index->base_slots) in.push_back(b == -1 ? g : b == -2 ? c.output() : c.input(b));
    Attrs attrs = c.attrs;
    attrs.push_back(Attr(c.inputs[i].sizes()));
    result[i] = call_one(d, in, attrs);
  }
  return result;
}

[[maybe_unused]] const bool installed = [] {
  set_index_types(index_types);
  return true;
}();

double index_flops(const TypeCall& call) {
  LoopNest nest = bind_index(call);
  double each = flops(nest.body) + (nest.reduction == Reduction::none ? 0 : 1);
  return nest.points() * each;
}

}  // namespace sorus
