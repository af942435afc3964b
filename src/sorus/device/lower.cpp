#include "sorus/device/lower.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>

#include "sorus/base/error.h"
#include "sorus/device/integer_each.h"
#include "sorus/device/stored.h"
#include "sorus/emit/c_scalar.h"
#include "sorus/graph/call.h"
#include "sorus/ops.h"
#include "sorus/run/passes.h"

namespace sorus::device {
namespace {

class Lowering {
 public:
  Lowering(const Graph& graph, const TensorList& constants) : graph_(graph), constants_(constants) {}

  Model run(int inputs, int outputs, const std::vector<int>& write_targets) {
    for (size_t i = 0; i < graph_.inputs().size(); ++i) {
      Value v{graph_.inputs()[i], 0};
      if (static_cast<int>(i) < inputs)
        model_.inputs.push_back(input(v, graph_.inputs()[i]->label));
      else if (std::find(write_targets.begin(), write_targets.end(), static_cast<int>(i)) != write_targets.end())
        state(v, constants_[i - static_cast<size_t>(inputs)]);
      else
        known_[v] = constants_[i - static_cast<size_t>(inputs)];
    }
    for (const auto& node : graph_.nodes()) {
      if (node->is_input()) continue;
      if (node->is_constant())
        known_[Value{node.get(), 0}] = Tensor::scalar(node->constant.scalar(), node->outputs[0].dtype);
      else
        lower(*node);
    }
    check_missing();
    for (int i = 0; i < outputs; ++i) {
      const Value& v = graph_.outputs()[static_cast<size_t>(i)];
      SORUS_CHECK(stored_.count(v), ValueError, "codegen: output {} of the model is a constant", i);
      model_.outputs.push_back(output(v, i));
    }
    for (size_t i = 0; i < write_targets.size(); ++i)
      keep(graph_.outputs()[static_cast<size_t>(outputs) + i],
           stored_.at(Value{graph_.inputs()[static_cast<size_t>(write_targets[i])], 0}).tensor);
    for (const Step& step : model_.steps)
      for (int t : step.changes)
        SORUS_CHECK(model_.readers(t).size() == 1 && model_.writer(t) < 0, NotImplementedError,
                    "codegen: {} changes a state that others read or write", step.name);
    if (views_) model_.notes.push_back(fmt::format("{} change(s) of shape or order removed", views_));
    return std::move(model_);
  }

 private:
  int add(const std::string& name, const Shape& dims, Element type) {
    DeviceTensor d;
    d.name = name;
    d.dims = dims;
    d.type = type;
    model_.tensors.push_back(d);
    return static_cast<int>(model_.tensors.size()) - 1;
  }

  int add(const Value& v, const std::string& name, const Shape& order, bool as_user_sees_it) {
    Element type = element_of(v.type().dtype, name);
    int32_t offset = 0;
    if (type == Element::u8 && !as_user_sees_it) type = Element::i8, offset = 128;
    int t = add(name, reordered(v.type().shape, order), type);
    set_scale(model_.tensors[static_cast<size_t>(t)], v, offset);
    return t;
  }

  // A tensor that holds exactly this value, its dimensions in this order.
  int tensor(const Value& v, const std::string& name, const Shape& order) {
    int t = add(v, name, order, false);
    stored_[v] = {t, ordered_geometry(v.type().shape, order)};
    return t;
  }

  static void set_scale(DeviceTensor& d, const Value& v, int32_t offset) {
    const Quantization& q = v.quantization();
    if (q.scale.size() != 1) return;
    d.scale = q.scale[0];
    d.zero_point = static_cast<int32_t>(q.zero_point[0]) - offset;
  }

  // Inside, uint8 is stored less 128; inputs and outputs keep what the user knows.
  void convert(int from, int to, const std::string& name) {
    TableForm f;
    f.elements = model_.tensors[static_cast<size_t>(from)].elements();
    for (int i = -128; i < 128; ++i) f.table.push_back(static_cast<int8_t>(i ^ -128));
    model_.steps.push_back({f, {from}, to, name, {}, {}});
  }
  int input(const Value& v, const std::string& name) {
    Shape order = natural(v.type().shape.size());
    if (v.type().dtype != DType::u8) return tensor(v, name, order);
    int outside = add(v, name, order, true);
    convert(outside, tensor(v, name + ", less 128", order), "input less 128");
    return outside;
  }
  int output(const Value& v, int i) {
    Shape order = natural(v.type().shape.size());
    int inside = placed(stored_.at(v), order);
    if (v.type().dtype == DType::u8) {
      int outside = add(v, fmt::format("output {}", i), order, true);
      convert(inside, outside, "output plus 128");
      return outside;
    }
    bool own = model_.tensors[static_cast<size_t>(inside)].dims == v.type().shape && !model_.is_input(inside) &&
               !model_.is_output(inside);
    if (own) return inside;
    // As the user sees it; what writes `inside` will write this directly if it can (remove_renames).
    int to = add(v, fmt::format("output {}", i), order, false);
    model_.steps.push_back({RenameForm{}, {inside}, to, fmt::format("output {}", i), {}, {}});
    return to;
  }

  // ---- states

  void state(const Value& v, const Tensor& initial) {
    int t = tensor(v, v.node->label.empty() ? "state" : v.node->label, natural(v.type().shape.size()));
    Tensor bytes = Tensor::empty(initial.sizes(), initial.dtype());
    call_into(find_op("copy"), std::array{bytes, initial}, {}, std::array{bytes});
    if (bytes.dtype() == DType::u8)
      for (int64_t i = 0; i < bytes.numel(); ++i) bytes.data<uint8_t>()[i] ^= 128;
    model_.states.push_back({t, bytes});
  }

  // The value that a state has for the next run.
  void keep(const Value& v, int state) {
    auto it = stored_.find(v);
    SORUS_CHECK(it != stored_.end(), NotImplementedError, "codegen: a state that becomes a constant");
    if (it->second.tensor == state && fills(it->second.geometry, natural(it->second.geometry.sizes.size()),
                                            model_.tensors[static_cast<size_t>(state)].elements()))
      return;  // unchanged, or changed in place
    int from = placed(it->second, natural(v.type().shape.size()));
    Step step;
    step.form = MoveForm{{{model_.tensors[static_cast<size_t>(from)].elements()}, {1}, 0}};
    step.inputs = {from}, step.output = state;
    step.name = fmt::format("{} kept", model_.steps.size());
    model_.steps.push_back(std::move(step));
  }

  // Result 1 is an input, a state, changed in place.
  void change_in_place(const Node& node, Step& step, int input) {
    int state = step.inputs[static_cast<size_t>(input)];
    Value next{const_cast<Node*>(&node), 1};
    SORUS_CHECK(model_.is_state(state), NotImplementedError, "codegen: {} (node {}) with a state that is not kept",
                node.op->name(), node.id);
    step.changes = {state};
    stored_[next] = {state, ordered_geometry(next.type().shape, natural(next.type().shape.size()))};
  }

  const Stored& stored(const Value& v) const {
    auto it = stored_.find(v);
    SORUS_CHECK(it != stored_.end(), NotImplementedError,
                "codegen: result {} of {} (node {}) is used; on devices only result 0 of an operator is computed",
                v.index, v.node->op ? v.node->op->name() : "a constant", v.node->id);
    return it->second;
  }

  // A tensor whose memory is the value with its dimensions in this order, and nothing else.
  int placed(const Stored& s, const Shape& order) {
    if (fills(s.geometry, order, model_.tensors[static_cast<size_t>(s.tensor)].elements())) return s.tensor;
    MoveForm f{reordered(s.geometry, order)};
    for (const auto& [from, geometry, to] : moved_)
      if (from == s.tensor && geometry == f.from) return to;
    const DeviceTensor& from = model_.tensors[static_cast<size_t>(s.tensor)];
    int to = add(from.name + ", moved", f.from.sizes, from.type);
    model_.tensors.back().scale = model_.tensors[static_cast<size_t>(s.tensor)].scale;
    model_.tensors.back().zero_point = model_.tensors[static_cast<size_t>(s.tensor)].zero_point;
    model_.steps.push_back({f, {s.tensor}, to, fmt::format("{} move", model_.steps.size()), {}, {}});
    moved_.push_back({s.tensor, f.from, to});
    return to;
  }

  void lower(const Node& node) {
    Value result{const_cast<Node*>(&node), 0};
    std::vector<const TensorType*> types = node.input_types();
    TensorList constants(node.inputs.size());
    int first = -1;  // computed input
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!node.inputs[i]) continue;
      auto it = known_.find(node.inputs[i]);
      if (it != known_.end())
        constants[i] = it->second;
      else if (first < 0)
        first = static_cast<int>(i);
    }
    if (first < 0) {  // depends on constants only: computed now
      TensorList results = call(*node.op, constants, node.attrs);
      for (size_t i = 0; i < results.size(); ++i)
        known_[Value{result.node, static_cast<int>(i)}] = contiguous(results[i]);
      return;
    }
    const Stored& from = stored(node.inputs[static_cast<size_t>(first)]);
    const DeviceRule* rule = device_rule(*node.op);
    if (!rule && node.op->view) return view(node, types, from);
    std::string name = fmt::format("{} {}", model_.steps.size(), node.op->name());
    if (rule) {
      DeviceCall c{*node.op, node.attrs, types, constants, node.outputs};
      c.used = used_results(node);
      c.order = order_of(from.geometry);
      c.order = device_order(*node.op)(c, c.order);
      if (std::optional<DeviceForm> form = (*rule)(c)) return by_rule(node, c, std::move(*form), name);
    }
    DeviceCall c{*node.op, node.attrs, types, constants, node.outputs};
    c.order = each_order(c, order_of(from.geometry));
    if (std::optional<DeviceForm> form = integer_each(c)) return by_rule(node, c, std::move(*form), name);
    if (body(node, types, constants, name)) {
      model_.steps.back().unary = element_function(c);
      return;
    }
    missing_[node.op->name()].push_back(node.id);
    const TensorType& type = node.outputs[0];
    bool known_type = type.dtype == DType::i8 || type.dtype == DType::i32 || type.dtype == DType::f32;
    stored_[result] = {add(name, type.shape, known_type ? element_of(type.dtype, name) : Element::i8),
                       ordered_geometry(type.shape, natural(type.shape.size()))};
  }

  void view(const Node& node, const std::vector<const TensorType*>& types, const Stored& from) {
    TypeCall c{*node.op, types, node.attrs};
    std::optional<Geometry> g = node.op->view(c, from.geometry);
    Stored result{from.tensor, {}};
    if (!g) {  // a reshape of elements that lie in another order
      Shape order = natural(types[0]->shape.size());
      result.tensor = placed(from, order);
      g = node.op->view(c, ordered_geometry(types[0]->shape, order));
    }
    result.geometry = *g;
    ++views_;
    stored_[Value{const_cast<Node*>(&node), 0}] = result;
  }

  void by_rule(const Node& node, const DeviceCall& c, DeviceForm form, const std::string& name) {
    Value result{const_cast<Node*>(&node), 0};
    if (auto* constant = std::get_if<ConstantForm>(&form)) {
      known_[result] = contiguous(constant->value);
      return;
    }
    Step step;
    step.name = name;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!node.inputs[i] || c.constants[i].defined()) continue;
      size_t rank = c.inputs[i]->shape.size();
      step.inputs.push_back(placed(stored(node.inputs[i]), rank == c.order.size() ? c.order : natural(rank)));
    }
    const Shape& shape = node.outputs[0].shape;
    Shape order = c.result_order ? *c.result_order : shape.size() == c.order.size() ? c.order : natural(shape.size());
    if (std::holds_alternative<RenameForm>(form)) {
      stored_[result] = {step.inputs[std::get<RenameForm>(form).of], ordered_geometry(shape, order)};
      ++views_;
      return;
    }
    auto has_all = [](const auto& f) {
      return requires { f.all_results; };
    };
    auto changed = [](const auto& f) {
      if constexpr (requires { f.changed_input; })
        return f.changed_input;
      else
        return -1;
    };
    const auto& variant = static_cast<const DeviceForm::variant&>(form);
    if (int input = std::visit(changed, variant); input >= 0) change_in_place(node, step, input);
    bool all = std::visit(has_all, variant) && c.uses(1);
    step.unary = element_function(c);
    step.form = std::move(form);
    step.output = all ? side_by_side(node, name) : tensor(result, name, order);
    model_.steps.push_back(std::move(step));
  }

  // One tensor for all results of a node, which have one type, one behind the other.
  int side_by_side(const Node& node, const std::string& name) {
    int64_t elements = 0;
    int t = add(name, {}, element_of(node.outputs[0].dtype, name));
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const Shape& shape = node.outputs[i].shape;
      stored_[Value{const_cast<Node*>(&node), static_cast<int>(i)}] = {t,
                                                                       {shape, contiguous_strides(shape), elements}};
      elements += numel(shape);
    }
    model_.tensors[static_cast<size_t>(t)].dims = {elements};
    return t;
  }

  std::vector<char> used_results(const Node& node) const {
    std::vector<char> used(node.outputs.size(), node.outputs.size() == 1);
    if (used.size() == 1) return used;
    auto see = [&](const Value& v) {
      if (v.node == &node) used[static_cast<size_t>(v.index)] = 1;
    };
    for (const auto& reader : graph_.nodes())
      for (const Value& v : reader->inputs) see(v);
    for (const Value& v : graph_.outputs()) see(v);
    return used;
  }

  // A scalar body on floats.
  bool body(const Node& node, const std::vector<const TensorType*>& types, const TensorList& constants,
            const std::string& name) {
    const TensorType& out = node.outputs[0];
    if (!node.op->each || node.outputs.size() != 1 || out.dtype != DType::f32 ||
        !printable(*node.op->each, DType::f32) || node.op->each->args.size() != types.size())
      return false;
    // The result lies as the first input of its shape does.
    Shape order = natural(out.shape.size());
    bool found = false;
    for (size_t i = 0; i < types.size(); ++i) {
      if (!types[i]) return false;
      if (constants[i].defined()) continue;
      if (types[i]->dtype != DType::f32) return false;
      if (!found && types[i]->shape == out.shape) order = order_of(stored(node.inputs[i]).geometry), found = true;
    }
    EachForm f;
    f.sizes = reordered(out.shape, order);
    f.body = node.op->each;
    Step step;
    for (size_t i = 0; i < types.size(); ++i) {
      EachForm::Operand operand;
      const Shape& shape = types[i]->shape;
      Geometry g{shape, contiguous_strides(shape), 0};
      if (constants[i].defined()) {
        operand.values = reals_of(contiguous(constants[i]));
      } else {
        const Stored& s = stored(node.inputs[i]);
        g = s.geometry;
        step.inputs.push_back(s.tensor);
      }
      operand.geometry =
          reordered(Geometry{out.shape, broadcast_strides(g.sizes, g.strides, out.shape), g.offset}, order);
      f.operands.push_back(std::move(operand));
    }
    for (const std::string& p : node.op->each->params) {
      const Attr& a = TypeCall{*node.op, types, node.attrs}.attr(p);
      if (!a.is_scalar()) return false;
      f.params.push_back(a.to_double());
    }
    step.form = std::move(f);
    step.name = name;
    step.output = tensor(Value{const_cast<Node*>(&node), 0}, name, order);
    model_.steps.push_back(std::move(step));
    return true;
  }

  void check_missing() const {
    if (missing_.empty()) return;
    std::string list;
    for (const auto& [op, nodes] : missing_)
      list += fmt::format("\n  {} (node{} {})", op, nodes.size() > 1 ? "s" : "", fmt::join(nodes, ", "));
    fail<NotImplementedError>("codegen: these operators have no form for devices:{}", list);
  }

  struct Moved {
    int from;
    Geometry geometry;
    int to;
  };

  const Graph& graph_;
  const TensorList& constants_;
  Model model_;
  std::unordered_map<Value, Stored> stored_;
  std::unordered_map<Value, Tensor> known_;
  std::vector<Moved> moved_;
  std::map<std::string, std::vector<int>> missing_;
  int views_ = 0;
};

}  // namespace

Model lower(const Graph& graph, const TensorList& constants, int inputs, int outputs,
            const std::vector<int>& write_targets) {
  // Composites of floats without a form are what their bodies say; those of integers stay what an error can name.
  std::set<const OpDef*> expanded;
  for (const auto& node : graph.nodes())
    if (node->op && node->op->body && !device_rule(*node->op) && node->outputs[0].dtype == DType::f32)
      expanded.insert(node->op);
  if (expanded.empty()) return Lowering(graph, constants).run(inputs, outputs, write_targets);
  Graph opened = expand_composites(graph, [&](const OpDef& op) { return device_rule(op) || !expanded.count(&op); });
  return Lowering(opened, constants).run(inputs, outputs, write_targets);
}

}  // namespace sorus::device
