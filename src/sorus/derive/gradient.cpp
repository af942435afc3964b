#include "sorus/derive/gradient.h"

#include <algorithm>
#include <unordered_map>

#include "sorus/derive/index_rules.h"
#include "sorus/derive/scalar_derivative.h"
#include "sorus/graph/scalar.h"
#include "sorus/ops.h"

namespace sorus {
namespace {

// "gelu:grad0": the gradient of an `each` operator with respect to its first tensor, itself an `each` operator of
// those of (grad, inputs...) that it reads. So it has a kernel, a cost, a sharding rule and a gradient of its own.
std::unique_ptr<OpDef> derive_each(const OpDef& base, std::string_view suffix) {
  if (!base.each || !suffix.starts_with("grad") || base.each->results.size() != 1) return nullptr;
  int wanted = std::stoi(std::string(suffix.substr(4)));
  if (!has_derivative(*base.each, wanted)) return nullptr;
  ScalarFunction g = gradient(*base.each, wanted);
  auto def = std::make_unique<OpDef>();
  Signature& s = def->signature;
  s.name = s.base = fmt::format("{}:{}", base.name(), suffix);
  s.outputs = {"output"};
  // The gradient comes first and is always there, so that the result has its shape; of the inputs only those read.
  std::vector<Expr> places{argument(0)};
  std::vector<std::string> args{"grad"};
  s.params.emplace_back().name = "grad";
  int tensor = 0;
  for (const Param& p : base.signature.params) {
    if (!p.is_tensor()) continue;
    bool read = depends_on_argument(g.results[0], 1 + tensor);
    places.push_back(read ? argument(static_cast<int>(args.size())) : constant(0));
    if (read) {
      Param copy = p;
      while (std::find(args.begin(), args.end(), copy.name) != args.end()) copy.name += "_";
      args.push_back(copy.name);
      s.params.push_back(copy);
      def->base_inputs.push_back(tensor);
    }
    ++tensor;
  }
  s.tensors = static_cast<int>(args.size());
  for (const Param& p : base.signature.params)
    if (!p.is_tensor()) {
      s.params.push_back(p);
      s.params.back().promotes = false;  // a number has had its say in the type of the result
    }
  s.attrs = base.signature.attrs;
  auto body = std::make_shared<ScalarFunction>();
  body->args = args;
  body->params = base.each->params;
  body->results = {substitute(g.results[0], places)};
  def->each_text = body->to_string();
  def->result_text = base.result_text.starts_with("real") ? "promote" : base.result_text;
  def->each = body;
  def->doc = fmt::format("Gradient of {} with respect to '{}', made from its body.", base.name(),
                         base.signature.tensor_param(wanted).name);
  return def;
}

// The gradient of an `each` operator with respect to one input.
struct EachGradient {
  const OpDef* op = nullptr;  // "gelu:grad0"
  // Its body is nothing but the incoming gradient, or that times the number at `scale` of the attributes.
  bool passes = false;
  int scale = -1;

  bool hands_on(const Attrs& attrs) const {
    return passes && (scale < 0 || attrs[static_cast<size_t>(scale)].scalar().to_complex() == 1.0);
  }
};

EachGradient make_each_gradient(const OpDef& op, size_t input) {
  EachGradient g{find_op_or_null(fmt::format("{}:grad{}", op.name(), input))};
  SORUS_CHECK(g.op, NotImplementedError, "{}: there is no gradient by '{}'", op.name(),
              op.signature.tensor_param(static_cast<int>(input)).name);
  const Expr body = simplify(g.op->each->results[0]);
  auto is_grad = [](const Expr& e) { return e->kind == ScalarNode::Kind::argument && e->index == 0; };
  g.passes = is_grad(body);
  if (!body->is_call("mul")) return g;
  for (size_t i = 0; i < 2; ++i) {
    const Expr &side = body->inputs[i], &factor = side->is_call("conj") ? side->inputs[0] : side;
    if (factor->kind != ScalarNode::Kind::parameter || !is_grad(body->inputs[1 - i])) continue;
    g.passes = true;
    g.scale = g.op->signature.attr_index(g.op->each->params[static_cast<size_t>(factor->index)]);
  }
  return g;
}

// Those of each operator, found once.
const EachGradient& each_gradient_of(const OpDef& op, size_t input) {
  thread_local std::unordered_map<const OpDef*, std::vector<EachGradient>> found;
  std::vector<EachGradient>& known = found[&op];
  if (known.size() <= input) known.resize(input + 1);
  if (!known[input].op) known[input] = make_each_gradient(op, input);
  return known[input];
}

TensorList each_gradient(const GradCall& c) {
  TensorList out(c.inputs.size());
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    if (!c.needs[i] || !c.inputs[i].defined() || !is_differentiable(c.inputs[i].dtype())) continue;
    const EachGradient& g = each_gradient_of(c.op, i);
    // abs and imag have real results: the gradient of their complex input is computed among complex numbers.
    DType t = c.inputs[i].dtype();
    TensorList in;
    in.reserve(1 + g.op->base_inputs.size());
    in.push_back(is_complex(t) && !is_complex(c.grad().dtype()) ? to(c.grad(), complex_of(c.grad().dtype()))
                                                                : c.grad());
    // A sum's gradient is that of its operands as it is; `fitted` sees to shape and type.
    if (g.hands_on(c.attrs)) {
      out[i] = in[0];
      continue;
    }
    for (int k : g.op->base_inputs) in.push_back(c.inputs[static_cast<size_t>(k)]);
    out[i] = call_one(*g.op, in, c.attrs);
  }
  return out;
}

// Every gradient leaves in the shape and type of its input, whatever the rule handed back.
Tensor fitted(Tensor g, const Tensor& input) {
  if (!g.defined()) return g;
  if (g.sizes() != input.sizes()) g = sum_to_size(g, input.sizes());
  if (g.dtype() != input.dtype()) {
    if (is_complex(g.dtype()) && !is_complex(input.dtype())) g = real_part(g);
    g = to(g, input.dtype());
  }
  return g;
}

// One for each thread, so that nobody waits.
thread_local std::unordered_map<const OpDef*, std::vector<uint64_t>> reads_by_input;

uint64_t mask_of(const OpDef& op, const std::vector<std::string>& names) {
  uint64_t mask = 0;
  for (const std::string& name : names) {
    const auto& outputs = op.signature.outputs;
    auto out = std::find(outputs.begin(), outputs.end(), name);
    if (out != outputs.end()) {
      mask |= uint64_t{1} << (32 + (out - outputs.begin()));
    } else {
      mask |= uint64_t{1} << op.signature.tensor_index(name);
    }
  }
  return mask;
}

const bool installed = [] {
  set_derivation([](const OpDef& base, std::string_view suffix) {
    return base.each ? derive_each(base, suffix) : derive_index(base, suffix);
  });
  return true;
}();

}  // namespace

TensorList apply_gradient(const GradCall& c) {
  TensorList out;
  if (c.op.gradient) {
    out = c.op.gradient(c);
  } else if (c.op.each) {
    out = each_gradient(c);
  } else if (c.op.index) {
    out = index_gradient(c);
  } else {
    fail<NotImplementedError>("operator {} has no gradient", c.op.name());
  }
  out.resize(c.inputs.size());
  for (size_t i = 0; i < out.size(); ++i)
    if (out[i].defined()) out[i] = c.needs[i] ? fitted(out[i], c.inputs[i]) : Tensor();
  return out;
}

uint64_t gradient_reads(const OpDef& op, uint64_t needs) {
  auto [it, fresh] = reads_by_input.try_emplace(&op);
  std::vector<uint64_t>& masks = it->second;
  if (fresh) {
    masks.resize(static_cast<size_t>(op.signature.tensors));
    for (int i = 0; i < op.signature.tensors; ++i) {
      uint64_t& mask = masks[static_cast<size_t>(i)];
      if (op.gradient) {
        mask = mask_of(op, op.gradient_saves);
      } else if (op.each) {
        const OpDef* g =
            find_op_or_null(fmt::format("{}:grad{}", op.name(), i));  // none: an error when it is asked for
        if (!g) continue;
        for (int k : g->base_inputs) mask |= uint64_t{1} << k;
      } else if (op.index) {
        mask = mask_of(op, index_gradient_saves(op));
      }
    }
  }
  uint64_t all = 0;
  for (size_t i = 0; i < masks.size(); ++i)
    if (needs >> i & 1) all |= masks[i];
  return all;
}

}  // namespace sorus
