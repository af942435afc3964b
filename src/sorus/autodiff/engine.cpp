// The backward pass: walks the tape from results to leaves.
#include <algorithm>
#include <array>
#include <unordered_map>
#include <unordered_set>

#include "sorus/autodiff/part_gradient.h"
#include "sorus/autodiff/tape_node.h"
#include "sorus/derive/gradient.h"
#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

thread_local int backward_depth = 0;
thread_local std::vector<std::function<void()>> ends_of_backward;

Tensor unpack(const Saved& s, const Ref<GradNode>& node, int output) {
  if (!s.kept) return s.value;
  SORUS_CHECK(s.value.storage()->version() == s.version, Error,
              "backward: a value of shape {} that {} needs for its gradient was changed in place since (version {}, "
              "expected {}); change a clone instead",
              to_string(s.value.sizes()), node->name(), s.value.storage()->version(), s.version);
  if (!s.is_output) return s.value;
  Tensor t = s.value.detach();
  auto meta = make_ref<GradMeta>();
  meta->node = node;
  meta->output = output;
  t.impl()->autograd = meta;
  t.impl()->requires_grad = true;
  return t;
}

TensorList apply_node(const Ref<GradNode>& node, TensorSpan grads) {
  SORUS_CHECK(
      !node->released, Error,
      "backward: the graph of {} was already used and its values freed; pass retain_graph=True the first time",
      node->name());
  if (node->custom) return node->custom(grads);
  SmallList<Tensor> inputs, outputs;
  SmallVector<char, 16> needs_storage;
  inputs.reserve(node->inputs.size());
  outputs.reserve(node->outputs.size());
  for (size_t i = 0; i < node->inputs.size(); ++i) inputs.push_back(unpack(node->inputs[i], node, 0));
  for (size_t i = 0; i < node->outputs.size(); ++i)
    outputs.push_back(unpack(node->outputs[i], node, static_cast<int>(i)));
  for (const Edge& e : node->edges) needs_storage.push_back(e.node || e.leaf);
  GradCall c{*node->op, node->attrs, inputs,
             outputs,   grads,       {reinterpret_cast<const bool*>(needs_storage.data()), needs_storage.size()}};
  return apply_gradient(c);
}

void check_anomaly(const Ref<GradNode>& node, TensorSpan grads) {
  for (const Tensor& g : grads)
    if (has_nan(g))
      fail<Error>("anomaly mode: the gradient of {} is NaN; the forward call was made at {}", node->name(),
                  node->source.to_string());
}

// The gradients that have reached the results of a node, until all have.
struct Pending {
  Ref<GradNode> node;
  SmallList<Tensor> grads;
  explicit Pending(const Ref<GradNode>& n) : node(n), grads(std::max<size_t>(n->results, 1)) {}
};

// Nodes that wait, the newest last. Few wait at a time, whatever the size of the graph, so that a sorted list is
// found through faster than a table.
class Waiting {
 public:
  bool empty() const { return items_.empty(); }
  Pending& operator[](const Ref<GradNode>& node) {
    auto at = std::lower_bound(items_.begin(), items_.end(), node->sequence,
                               [](const Pending& p, uint64_t sequence) { return p.node->sequence < sequence; });
    if (at == items_.end() || at->node != node) at = items_.emplace(at, node);
    return *at;
  }
  Pending take_newest() {
    Pending p = std::move(items_.back());
    items_.pop_back();
    return p;
  }
  const SmallList<Pending>& items() const { return items_; }

 private:
  SmallList<Pending> items_;
};

// The gradients of leaves, in the order in which they were reached: recorded graphs must not depend on addresses.
class LeafSums {
 public:
  struct Item {
    Ref<TensorImpl> leaf;
    Tensor sum;
  };
  Tensor& operator[](const Ref<TensorImpl>& leaf) {
    if (Tensor* found = find(leaf.get())) return *found;
    if (items_.size() >= kFew) {
      if (places_.empty())
        for (size_t i = 0; i < items_.size(); ++i) places_.emplace(items_[i].leaf.get(), i);
      places_.emplace(leaf.get(), items_.size());
    }
    items_.push_back({leaf, {}});
    return items_.back().sum;
  }
  Tensor* find(const TensorImpl* leaf) {
    if (places_.empty()) {
      for (Item& i : items_)
        if (i.leaf.get() == leaf) return &i.sum;
      return nullptr;
    }
    auto found = places_.find(leaf);
    return found == places_.end() ? nullptr : &items_[found->second].sum;
  }
  SmallList<Item>& items() { return items_; }

 private:
  static constexpr size_t kFew = 8;
  SmallList<Item> items_;
  std::unordered_map<const TensorImpl*, size_t> places_;  // once they are many
};

// Walks the nodes in the reverse order of their creation, which is a topological order.
class Engine {
 public:
  Engine(bool retain, bool create) : retain_(retain), create_(create) {}

  std::unordered_map<const TensorImpl*, Tensor> captured_leaves;  // gradients asked for by `gradients`
  std::unordered_map<const GradNode*, std::vector<std::pair<int, Tensor*>>> captured_nodes;
  bool accumulate = true;
  bool stop_at_captured = false;

  void seed(const Tensor& root, const Tensor& grad) { send(edge_of(root), grad); }

  void run() {
    bool early = accumulate && tape_state.accumulated_hooks.load(std::memory_order_relaxed) > 0;
    if (early) count_uses();
    while (!waiting_.empty()) {
      auto [node, grads] = waiting_.take_newest();
      for (const Tensor& g : grads) parts_.complete(g);
      run_hooks(*node, grads);
      if (auto c = captured_nodes.find(node.get()); c != captured_nodes.end())
        for (auto [output, slot] : c->second) *slot = grads[static_cast<size_t>(output)];
      if (stop_at_captured && captured_nodes.contains(node.get())) continue;
      if (std::none_of(grads.begin(), grads.end(), [](const Tensor& g) { return g.defined(); })) continue;
      if (!add_to_part(*node, grads[0])) {
        TensorList back = apply_node(node, grads);
        if (tape_state.anomaly) check_anomaly(node, back);
        for (size_t i = 0; i < node->edges.size() && i < back.size(); ++i)
          if (back[i].defined()) send(node->edges[i], back[i]);
      }
      if (!retain_) {
        node->released = true;
        node->inputs.clear();
        node->outputs.clear();
        node->custom = nullptr;
      }
      if (early) finish_complete_leaves(*node);
    }
    for (auto& [leaf, sum] : leaves_.items())
      if (sum.defined()) finish_leaf(Tensor(leaf), std::exchange(sum, {}));
  }

 private:
  // How often each leaf is used by what will be walked.
  void count_uses() {
    std::vector<const GradNode*> pending;
    std::unordered_set<const GradNode*> seen;
    for (const Pending& p : waiting_.items()) pending.push_back(p.node.get());
    while (!pending.empty()) {
      const GradNode* n = pending.back();
      pending.pop_back();
      if (!seen.insert(n).second) continue;
      for (const Edge& e : n->edges)
        if (e.leaf)
          ++uses_left_[e.leaf.get()];
        else if (e.node)
          pending.push_back(e.node.get());
    }
  }
  // A node that nothing flows into is never run; leaves behind it are finished at the end.
  void finish_complete_leaves(const GradNode& node) {
    for (const Edge& e : node.edges) {
      if (!e.leaf || --uses_left_[e.leaf.get()] != 0) continue;
      Tensor* sum = leaves_.find(e.leaf.get());
      if (sum && sum->defined()) finish_leaf(Tensor(e.leaf), std::exchange(*sum, {}));
    }
  }

  void add_to(Tensor& sum, const Tensor& g) {
    parts_.complete(sum);
    sum = sum.defined() ? add(sum, g) : g;
  }

  // What has come so far along an edge, and along others to the same place.
  Tensor& sum_of(const Edge& e) {
    if (e.leaf) return leaves_[e.leaf];
    auto& grads = waiting_[e.node].grads;
    auto output = static_cast<size_t>(e.output);
    if (grads.size() <= output) grads.resize(output + 1);
    return grads[output];
  }
  void send(const Edge& e, const Tensor& g) {
    if (e.leaf || e.node) add_to(sum_of(e), g);
  }
  bool add_to_part(const GradNode& node, const Tensor& grad) {
    if (!node.op || !node.op->is_view() || create_ || tape_state.anomaly || node.released || is_tracing())
      return false;
    const Edge& e = node.edges[0];
    const Tensor& input = node.inputs[0].value;
    return (e.leaf || e.node) && input.defined() && parts_.add(*node.op, node.attrs, input.type(), grad, sum_of(e));
  }

  void run_hooks(GradNode& node, std::span<Tensor> grads) {
    for (size_t i = 0; i < node.hooks.size() && i < grads.size(); ++i)
      if (node.hooks[i] && grads[i].defined())
        for (const Hook& h : node.hooks[i]->all)
          if (Tensor t = h(grads[i]); t.defined()) grads[i] = t;
  }

  void finish_leaf(const Tensor& leaf, Tensor grad) {
    parts_.complete(grad);
    GradMeta& m = need_meta(leaf);
    for (const Hook& h : m.hooks.all)
      if (Tensor t = h(grad); t.defined()) grad = t;
    if (auto c = captured_leaves.find(leaf.impl()); c != captured_leaves.end()) {
      c->second = grad;
      return;
    }
    if (!accumulate) return;
    made_grad(m);
    if (grad_log) grad_log->touch(leaf, m.grad, true);
    // What is kept must be the leaf's own: a rule may have handed the same tensor to several inputs, or a broadcast
    // view.
    if (m.grad.defined()) {
      static const OpDef& add_op = find_op("add");
      if (create_ || m.grad.requires_grad())
        m.grad = add(m.grad, grad);
      else
        call_into(add_op, std::array{m.grad, grad}, add_op.signature.default_attrs(), std::array{m.grad});
    } else {
      bool own = grad.is_contiguous() && !grad.impl()->base && grad.storage()->use_count() == 1 &&
                 grad.ref()->use_count() <= 2;
      m.grad = own || create_ ? grad : clone(grad);
    }
    for (size_t i = 0; i < m.accumulated.size(); ++i) m.accumulated[i].second(leaf);
  }

  bool retain_, create_;
  Waiting waiting_;
  LeafSums leaves_;
  PartGradients parts_;
  std::unordered_map<const TensorImpl*, int64_t> uses_left_;
};

Tensor root_grad(const Tensor& root, const Tensor& grad) {
  SORUS_CHECK(root.defined() && root.requires_grad(), Error,
              "backward: the tensor does not depend on anything that requires gradients");
  if (grad.defined()) {
    SORUS_CHECK(grad.sizes() == root.sizes(), ValueError, "backward: the gradient has shape {}, the tensor {}",
                to_string(grad.sizes()), to_string(root.sizes()));
    return grad;
  }
  SORUS_CHECK(root.numel() == 1, Error,
              "backward: only a tensor of one element needs no gradient to start from, this one has shape {}",
              to_string(root.sizes()));
  if (root.is_abstract() || is_tracing()) return ones_like(root);
  Tensor one = Tensor::empty(root.sizes(), root.dtype());
  copy_elements(one, Tensor::scalar(1.0, root.dtype()));
  return one;
}

}  // namespace

void at_end_of_backward(std::function<void()> f) { ends_of_backward.push_back(std::move(f)); }

void backward(const Tensor& root, const Tensor& grad, bool retain_graph, bool create_graph) {
  Tensor seed = root_grad(root, grad);
  GradMode mode(create_graph);
  Engine engine(retain_graph || create_graph, create_graph);
  engine.seed(root, seed);
  {
    struct Depth {
      Depth() { ++backward_depth; }
      ~Depth() {
        if (--backward_depth == 0 && std::uncaught_exceptions() > exceptions) ends_of_backward.clear();
      }
      int exceptions = std::uncaught_exceptions();
    } depth;
    engine.run();
  }
  if (backward_depth > 0) return;
  for (auto& f : std::exchange(ends_of_backward, {})) f();
}

namespace {
TensorList gradients_of(TensorSpan outputs, TensorSpan inputs, TensorSpan grad_outputs, bool retain_graph,
                        bool create_graph, bool allow_unused, bool stop_at_inputs) {
  TensorList found(inputs.size());
  Engine engine(retain_graph || create_graph, create_graph);
  engine.accumulate = false;
  engine.stop_at_captured = stop_at_inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    SORUS_CHECK(inputs[i].requires_grad(), Error, "grad: input {} does not require gradients", i);
    GradMeta& m = need_meta(inputs[i]);
    if (m.node)
      engine.captured_nodes[m.node.get()].emplace_back(m.output, &found[i]);
    else
      engine.captured_leaves.emplace(inputs[i].impl(), Tensor());
  }
  {
    GradMode mode(create_graph);
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!outputs[i].requires_grad()) continue;
      engine.seed(outputs[i], root_grad(outputs[i], i < grad_outputs.size() ? grad_outputs[i] : Tensor()));
    }
    engine.run();
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (auto it = engine.captured_leaves.find(inputs[i].impl()); it != engine.captured_leaves.end())
      found[i] = it->second;
    SORUS_CHECK(found[i].defined() || allow_unused, Error,
                "grad: input {} was not used in the computation of the outputs; pass allow_unused=True to get None",
                i);
  }
  return found;
}
}  // namespace

TensorList gradients(TensorSpan outputs, TensorSpan inputs, TensorSpan grad_outputs, bool retain_graph,
                     bool create_graph, bool allow_unused) {
  return gradients_of(outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused, false);
}
TensorList gradients_up_to(TensorSpan outputs, TensorSpan inputs, TensorSpan grad_outputs) {
  return gradients_of(outputs, inputs, grad_outputs, false, false, true, true);
}

}  // namespace sorus
