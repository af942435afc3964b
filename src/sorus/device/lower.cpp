#include "sorus/device/lower.h"

#include <map>
#include <numeric>
#include <unordered_map>

#include "sorus/base/error.h"
#include "sorus/graph/call.h"

namespace sorus::device {
namespace {

Element element_of(DType t, const std::string& what) {
  switch (t) {
    case DType::i8:
      return Element::i8;
    case DType::u8:
      return Element::u8;
    case DType::i32:
      return Element::i32;
    case DType::f32:
      return Element::f32;
    default:
      fail<TypeError>("codegen: {} has the type {}; generated code has int8, uint8, int32 and float32", what,
                      name(t));
  }
}

class Lowering {
 public:
  Lowering(const Graph& graph, const TensorList& constants) : graph_(graph), constants_(constants) {}

  Model run(int inputs, int outputs) {
    for (size_t i = 0; i < graph_.inputs().size(); ++i) {
      Value v{graph_.inputs()[i], 0};
      if (static_cast<int>(i) < inputs)
        model_.inputs.push_back(input(v, graph_.inputs()[i]->label));
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
      SORUS_CHECK(tensors_.count(v), ValueError, "codegen: output {} of the model is a constant", i);
      model_.outputs.push_back(output(v, i));
    }
    return std::move(model_);
  }

 private:
  int add(const Value& v, const std::string& name, bool as_user_sees_it) {
    DeviceTensor d;
    d.name = name;
    d.dims = v.type().shape;
    d.type = element_of(v.type().dtype, name);
    int32_t offset = 0;
    if (d.type == Element::u8 && !as_user_sees_it) d.type = Element::i8, offset = 128;
    set_scale(d, v, offset);
    model_.tensors.push_back(d);
    return static_cast<int>(model_.tensors.size()) - 1;
  }

  int tensor(const Value& v, const std::string& name) { return tensors_[v] = add(v, name, false); }

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
    if (v.type().dtype != DType::u8) return tensor(v, name);
    int outside = add(v, name, true);
    convert(outside, tensor(v, name + ", less 128"), "input less 128");
    return outside;
  }
  int output(const Value& v, int i) {
    int inside = tensors_.at(v);
    if (v.type().dtype != DType::u8) return inside;
    int outside = add(v, fmt::format("output {}", i), true);
    convert(inside, outside, "output plus 128");
    return outside;
  }

  void lower(const Node& node) {
    std::vector<const TensorType*> types = node.input_types();
    TensorList constants(node.inputs.size());
    bool all_known = true;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      auto it = node.inputs[i] ? known_.find(node.inputs[i]) : known_.end();
      if (it != known_.end()) constants[i] = it->second;
      all_known = all_known && (!node.inputs[i] || it != known_.end());
    }
    if (all_known) {  // depends on constants only: computed now
      TensorList results = call(*node.op, constants, node.attrs);
      for (size_t i = 0; i < results.size(); ++i)
        known_[Value{const_cast<Node*>(&node), static_cast<int>(i)}] = results[i];
      return;
    }
    std::optional<DeviceForm> form;
    if (const DeviceRule* rule = device_rule(*node.op))
      form = (*rule)({*node.op, node.attrs, types, constants, node.outputs});
    if (!form) form = derived(node, types, constants);
    if (!form) {
      missing_[node.op->name()].push_back(node.id);
      tensor(Value{const_cast<Node*>(&node), 0}, node.op->name());
      return;
    }
    Step step;
    step.form = *form;
    step.name = fmt::format("{} {}", model_.steps.size(), node.op->name());
    for (size_t i = 0; i < node.inputs.size(); ++i)
      if (node.inputs[i] && !constants[i].defined()) step.inputs.push_back(tensors_.at(node.inputs[i]));
    step.output = tensor(Value{const_cast<Node*>(&node), 0}, step.name);
    model_.steps.push_back(std::move(step));
  }

  // Forms that follow from the other facets.
  static std::optional<DeviceForm> derived(const Node& node, const std::vector<const TensorType*>& types,
                                           const TensorList& constants) {
    if (node.outputs.size() != 1) return std::nullopt;
    const TensorType& out = node.outputs[0];
    if (node.op->view) {
      Geometry in{types[0]->shape, contiguous_strides(types[0]->shape), 0};
      std::optional<Geometry> g = node.op->view(TypeCall{*node.op, types, node.attrs}, in);
      bool same =
          g && g->offset == 0 && is_contiguous(g->sizes, g->strides) && numel(g->sizes) == numel(types[0]->shape);
      return same ? std::optional<DeviceForm>(RenameForm{}) : std::nullopt;
    }
    int computed = -1;
    for (size_t i = 0; i < types.size(); ++i) {
      if (!types[i]) continue;
      if (!constants[i].defined()) {
        if (computed >= 0) return std::nullopt;
        computed = static_cast<int>(i);
      } else if (constants[i].numel() != 1) {
        return std::nullopt;
      }
    }
    const TensorType& in = *types[static_cast<size_t>(computed)];
    if (!node.op->each || in.dtype != DType::i8 || out.dtype != DType::i8 || in.shape != out.shape)
      return std::nullopt;
    Tensor all = Tensor::empty({256}, DType::i8);
    std::iota(all.data<int8_t>(), all.data<int8_t>() + 256, static_cast<int8_t>(-128));
    TensorList inputs = constants;
    inputs[static_cast<size_t>(computed)] = all;
    for (Tensor& t : inputs)
      if (t.defined() && t.numel() == 1) t = t.with_geometry({{}, {}, t.geometry().offset});
    Tensor results = call_one(*node.op, inputs, node.attrs);
    TableForm f;
    f.elements = numel(in.shape);
    f.table.assign(results.data<int8_t>(), results.data<int8_t>() + 256);
    return f;
  }

  void check_missing() const {
    if (missing_.empty()) return;
    std::string list;
    for (const auto& [op, nodes] : missing_)
      list += fmt::format("\n  {} (node{} {})", op, nodes.size() > 1 ? "s" : "", fmt::join(nodes, ", "));
    fail<NotImplementedError>("codegen: these operators have no form for devices:{}", list);
  }

  const Graph& graph_;
  const TensorList& constants_;
  Model model_;
  std::unordered_map<Value, int> tensors_;
  std::unordered_map<Value, Tensor> known_;
  std::map<std::string, std::vector<int>> missing_;
};

}  // namespace

Model lower(const Graph& graph, const TensorList& constants, int inputs, int outputs) {
  return Lowering(graph, constants).run(inputs, outputs);
}

}  // namespace sorus::device
