#include "sorus/parallel/cost/operator_cost.h"

#include <algorithm>
#include <unordered_set>

#include "sorus/autodiff/tape.h"
#include "sorus/derive/cost.h"
#include "sorus/graph/index.h"
#include "sorus/graph/trace.h"

namespace sorus::parallel {
namespace {

double elements(const TensorType& t) { return static_cast<double>(numel(t.shape)); }
double bytes(const TensorType& t) { return elements(t) * static_cast<double>(size_of(t.dtype)); }

// Arithmetic that grows faster than the tensors it reads and writes runs on matrix units. (A sum takes one operation
// for each element, a product with few rows two for each row.)
bool is_matrix(const OpDef& op, double flops, double largest) { return !op.each && flops > 4 * largest; }

// In the operator's notation some index is a sum of axes. (A window of one pixel counts: it has the same kernel.)
bool under_window(const OpDef& op) {
  if (!op.index) return false;
  const IndexRule& rule = op.index->base ? *op.index->base : *op.index;
  auto slides = [](const IndexAccess& a) {
    return std::any_of(a.dims.begin(), a.dims.end(), [](const IndexDim& d) {
      return std::count_if(d.terms.begin(), d.terms.end(), [](const IndexTerm& t) { return t.axis >= 0; }) > 1;
    });
  };
  return slides(rule.result) || std::any_of(rule.accesses.begin(), rule.accesses.end(), slides);
}

KernelWork work(const TypeCall& call, const std::vector<TensorType>& results) {
  Cost c = cost_of(call);
  double largest = 1;
  for (const TensorType* t : call.inputs)
    if (t) largest = std::max(largest, elements(*t));
  for (const TensorType& t : results) largest = std::max(largest, elements(t));
  KernelWork k{c.flops, c.bytes, is_matrix(call.op, c.flops, largest)};
  if (k.matrix) k.composite = call.op.index == nullptr, k.window = under_window(call.op);
  return k;
}

}  // namespace

OperatorCost operator_cost(const OpDef& op, const std::vector<const TensorType*>& types, const Attrs& attrs,
                           const std::vector<char>& needs, const std::vector<char>& read) {
  OperatorCost out;
  out.saves_input.assign(types.size(), 0);
  TypeCall typed{op, types, attrs};
  std::vector<TensorType> results = infer_types(typed);
  out.saves_output.assign(results.size(), 0);
  if (op.is_view()) return out;
  double grad_bytes = 0;
  out.forward.push_back(work(typed, results));
  out.matrix = out.forward.back().matrix;
  bool any = std::find(needs.begin(), needs.end(), 1) != needs.end();
  if (!any || !op.differentiable) return out;

  Tracer tracer("gradient");
  TensorList in, wanted, given;
  for (size_t i = 0; i < types.size(); ++i) {
    in.push_back(types[i] ? tracer.input(*types[i]) : Tensor());
    if (types[i] && needs[i]) {
      set_requires_grad(in.back(), true);
      wanted.push_back(in.back());
    }
  }
  for (size_t i = 0; i < results.size(); ++i) {
    const TensorType& t = results[i];
    given.push_back(read[i] && is_floating(t.dtype) ? tracer.input({t.dtype, t.shape, false}) : Tensor());
  }
  std::vector<Value> input_values, output_values, grad_values;
  int last_forward = -1;
  {
    InterpreterScope scope(&tracer);
    GradMode on(true);
    TensorList y = call(op, in, attrs);
    for (const Tensor& t : y) {
      output_values.push_back(tracer.value_of(t));
      last_forward = std::max(last_forward, output_values.back().node->id);
    }
    TensorList roots, grads;
    for (size_t i = 0; i < y.size(); ++i)
      if (y[i].requires_grad() && i < given.size() && given[i].defined())
        roots.push_back(y[i]), grads.push_back(given[i]);
    if (roots.empty()) return out;
    for (const Tensor& g : gradients(roots, wanted, grads))
      if (g.defined()) grad_values.push_back(tracer.value_of(g));
    for (const Tensor& t : in) input_values.push_back(t.defined() ? tracer.value_of(t) : Value{});
    for (const Tensor& g : grads) grad_bytes += bytes(g.type());
  }
  // Behind the forward nodes, as far as the gradients need it.
  std::unordered_set<const Node*> seen;
  std::vector<const Node*> todo;
  auto reads = [&](Value v) {
    for (size_t i = 0; i < input_values.size(); ++i)
      if (input_values[i] == v) out.saves_input[i] = 1;
    for (size_t i = 0; i < output_values.size(); ++i)
      if (output_values[i] == v) out.saves_output[i] = 1;
    if (v.node->id > last_forward && seen.insert(v.node).second) todo.push_back(v.node);
    // A composite's own gradient looks inside: one kernel makes that again from the inputs.
    bool known = std::find(output_values.begin(), output_values.end(), v) != output_values.end();
    if (v.node->op && v.node->id <= last_forward && !known)
      for (size_t i = 0; i < needs.size(); ++i) out.saves_input[i] |= needs[i];
  };
  for (const Value& v : grad_values) reads(v);
  double saved = 0, simple_flops = 0;
  std::vector<KernelWork> products;
  while (!todo.empty()) {
    const Node* n = todo.back();
    todo.pop_back();
    for (const Value& v : n->inputs)
      if (v) reads(v);
    if (!n->op || n->op->is_view()) continue;
    std::vector<const TensorType*> in = n->input_types();
    KernelWork k = work(TypeCall{*n->op, in, n->attrs}, n->outputs);
    if (k.matrix)
      products.push_back(k);
    else
      simple_flops += k.flops;
  }
  double results_bytes = 0;
  for (const Value& v : grad_values) results_bytes += bytes(v.type());
  for (size_t i = 0; i < types.size(); ++i)
    if (out.saves_input[i]) saved += bytes(*types[i]);
  for (size_t i = 0; i < results.size(); ++i)
    if (out.saves_output[i]) saved += bytes(results[i]);
  // Products are kernels of their own; all the rest is one pass over what is read and written.
  if (products.empty())
    out.backward.push_back({simple_flops, saved + grad_bytes + results_bytes, false});
  else
    out.backward = std::move(products);
  return out;
}

double kernel_time(const Cluster& c, const KernelWork& k, std::string_view dtype, std::string_view products) {
  const Efficiency& e = c.efficiency;
  double memory = k.bytes / (c.device.memory_bandwidth * e.memory);
  if (!k.matrix)
    return e.launch_s + (c.device.vector_flops > 0 ? std::max(memory, k.flops / c.device.vector_flops) : memory);
  double arithmetic =
      k.flops / (k.composite ? c.device.peak(dtype) * e.matrix * e.composite : c.device.peak(products) * e.matrix);
  double beside = e.matrix_size + (k.window ? e.window_size : 0);
  return e.launch_s + std::max(arithmetic + beside * memory, memory);
}

}  // namespace sorus::parallel
