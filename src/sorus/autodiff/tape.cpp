#include "sorus/autodiff/tape.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <unordered_map>
#include <unordered_set>

#include "sorus/autodiff/part_gradient.h"
#include "sorus/derive/gradient.h"
#include "sorus/ops.h"
#include "sorus/tensor/copy.h"
#include "sorus/tensor/small_allocator.h"

namespace sorus {
namespace {

std::atomic<uint64_t> next_sequence{1};
bool anomaly = false;
thread_local GradLog* grad_log = nullptr;
// Whether any leaf wants to know when its gradient is there: else nobody counts what can still come.
std::atomic<int64_t> accumulated_hooks{0}, next_hook{1};
thread_local int backward_depth = 0;
thread_local std::vector<std::function<void()>> ends_of_backward;

struct GradNode;

// Hangs on every tensor that takes part in gradients.
struct GradMeta final : RefCounted {
  Ref<GradNode> node;  // null for a leaf
  int output = 0;
  Tensor grad;
  std::function<Tensor()> deferred;  // makes `grad`
  std::vector<Hook> hooks;
  std::vector<std::pair<int64_t, AccumulatedHook>> accumulated;

  ~GradMeta() override {
    if (!accumulated.empty()) accumulated_hooks -= static_cast<int64_t>(accumulated.size());
  }
  static void* operator new(size_t size) { return allocate_small(size); }
  static void operator delete(void* p) { free_small(p, sizeof(GradMeta)); }
};

GradMeta* meta_of(const Tensor& t) { return static_cast<GradMeta*>(t.impl()->autograd.get()); }
GradMeta& need_meta(const Tensor& t) {
  if (!t.impl()->autograd) t.impl()->autograd = make_ref<GradMeta>();
  return *meta_of(t);
}

const Tensor& made_grad(GradMeta& m) {
  if (m.deferred) {
    auto make = std::exchange(m.deferred, nullptr);
    m.grad = make();
  }
  return m.grad;
}

// A value kept for the backward pass. Outputs are kept without their link to the node, which would be a cycle.
struct Saved {
  Tensor value;
  uint32_t version = 0;
  bool is_output = false, kept = false;
};

struct Edge {
  Ref<GradNode> node;  // where the gradient goes on,
  int output = 0;
  Ref<TensorImpl> leaf;  // or the leaf where it ends
};

struct GradNode final : RefCounted {
  const OpDef* op = nullptr;
  Attrs attrs;
  SmallList<Saved> inputs, outputs;
  SmallList<Edge> edges;  // one per input
  std::vector<std::shared_ptr<std::vector<Hook>>> hooks;
  size_t results = 0;
  std::function<TensorList(TensorSpan)> custom;
  std::string custom_name;
  uint64_t sequence = next_sequence++;
  SourceLocation source;
  bool released = false;

  static void* operator new(size_t size) { return allocate_small(size); }
  static void operator delete(void* p) { free_small(p, sizeof(GradNode)); }

  std::string_view name() const { return op ? std::string_view(op->name()) : std::string_view(custom_name); }

  ~GradNode() override {
    // Long chains would recurse through the destructors and overflow the stack: take them apart one by one.
    std::vector<Ref<GradNode>> pending;
    for (Edge& e : edges)
      if (e.node) pending.push_back(std::move(e.node));
    while (!pending.empty()) {
      Ref<GradNode> n = std::move(pending.back());
      pending.pop_back();
      if (n && n->use_count() == 1)
        for (Edge& e : n->edges)
          if (e.node) pending.push_back(std::move(e.node));
    }
  }
};

Edge edge_of(const Tensor& t) {
  if (!t.defined() || !t.requires_grad()) return {};
  GradMeta& m = need_meta(t);
  if (m.node) return {m.node, m.output, {}};
  return {{}, 0, t.ref()};
}

// A stand-in for a value that the rule does not read: it has a type, and asking for data is an error.
Tensor type_only(const Tensor& t) {
  static const Ref<Storage> nowhere = Storage::abstract(0);
  if (!t.defined()) return {};
  return Tensor::from_storage(nowhere, {t.sizes(), contiguous_strides(t.sizes()), 0}, t.dtype());
}

void link(const Tensor& t, const Ref<GradNode>& node, int output) {
  auto meta = make_ref<GradMeta>();
  if (GradMeta* old = meta_of(t)) meta->hooks = std::move(old->hooks);
  meta->node = node;
  meta->output = output;
  t.impl()->autograd = meta;
  t.impl()->requires_grad = true;
}

bool has_nan(const Tensor& t) {
  if (!t.defined() || !is_floating(t.dtype()) || t.is_abstract()) return false;
  GradMode off(false);
  return any(isnan(t)).item().to_bool();
}

// The first operator that makes a NaN of numbers. A NaN that comes from outside of the tape is reported where it
// enters.
void check_results(const OpDef& op, TensorSpan inputs, TensorSpan outputs) {
  if (std::none_of(outputs.begin(), outputs.end(), has_nan)) return;
  for (size_t i = 0; i < inputs.size(); ++i)
    if (has_nan(inputs[i])) fail<Error>("anomaly mode: input {} of {} is NaN already", i, op.name());
  fail<Error>("anomaly mode: the result of {} is NaN, its inputs are not", op.name());
}

Ref<GradNode> make_node(const OpDef& op, TensorSpan inputs, const Attrs& attrs) {
  auto node = make_ref<GradNode>();
  node->op = &op;
  node->attrs = attrs;
  if (anomaly) node->source = current_source();
  node->edges.reserve(inputs.size());
  for (const Tensor& t : inputs) node->edges.push_back(edge_of(t));
  return node;
}

// Bits of the values that the gradients wanted from this call read.
uint64_t reads_of(const GradNode& node) {
  const Signature& s = node.op->signature;
  uint64_t needs = 0;
  int n = static_cast<int>(node.edges.size());
  for (int i = 0; i < n; ++i)
    if (node.edges[static_cast<size_t>(i)].node || node.edges[static_cast<size_t>(i)].leaf)
      needs |= uint64_t{1} << s.tensor_param_of_slot(i, n);
  return gradient_reads(*node.op, needs);
}

void save(GradNode& node, TensorSpan inputs, std::span<Tensor> outputs) {
  const Signature& s = node.op->signature;
  uint64_t reads = reads_of(node);
  // A rule that was written may ask for any type; derived ones ask for those of the inputs that want a gradient.
  bool by_hand = static_cast<bool>(node.op->gradient);
  int n = static_cast<int>(inputs.size());
  node.inputs.reserve(inputs.size());
  node.outputs.reserve(outputs.size());
  node.results = outputs.size();
  for (int i = 0; i < n; ++i) {
    const Tensor& t = inputs[static_cast<size_t>(i)];
    bool keep = t.defined() && (reads >> s.tensor_param_of_slot(i, n) & 1);
    const Edge& e = node.edges[static_cast<size_t>(i)];
    bool typed = !keep && (by_hand || e.node || e.leaf);
    node.inputs.push_back({keep    ? t
                           : typed ? type_only(t)
                                   : Tensor(),
                           keep ? t.storage()->version() : 0, false, keep});
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    bool keep = reads >> (32 + i) & 1;
    node.outputs.push_back({keep      ? outputs[i].detach()
                            : by_hand ? type_only(outputs[i])
                                      : Tensor(),
                            keep ? outputs[i].storage()->version() : 0, true, keep});
  }
}

void record(const OpDef& op, TensorSpan inputs, const Attrs& attrs, std::span<Tensor> outputs) {
  if (anomaly) [[unlikely]]
    check_results(op, inputs, outputs);
  Ref<GradNode> node = make_node(op, inputs, attrs);
  save(*node, inputs, outputs);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (is_differentiable(outputs[i].dtype())) link(outputs[i], node, static_cast<int>(i));
}

// The old value of the target of the write that comes next, where its gradient reads that.
thread_local std::pair<const TensorImpl*, Tensor> overwritten;

void before_write(const OpDef& op, const Tensor& target) {
  overwritten = {};
  if (!grad_enabled() || !target.requires_grad()) return;
  GradMeta* m = meta_of(target);
  SORUS_CHECK(m && m->node, Error,
              "{}: a leaf that requires gradients cannot be changed in place; do it under no_grad, or on a copy",
              op.name());
  // What the gradient reads of the old value is kept: it is about to go.
  if (!op.differentiable || op.expand || op.body || !(gradient_reads(op, 1) & 1)) return;
  GradMode off(false);
  overwritten = {target.impl(), clone(target)};
}

// An in-place write makes the target a result of this call; if it is a view, the tensor it shows gets the written
// part as a new value of its own history.
void record_write(const OpDef& op, TensorSpan inputs, const Attrs& attrs, std::span<const Tensor> targets,
                  TensorSpan) {
  Ref<GradNode> node = make_node(op, inputs, attrs);
  TensorList outs(targets.begin(), targets.end()), values(inputs.begin(), inputs.end());
  for (Tensor& v : values)
    if (v.defined() && v.impl() == overwritten.first) v = overwritten.second;
  overwritten = {};
  save(*node, values, outs);
  // The old value of another input that shares the memory is gone; a rule that reads it finds a newer version and
  // says so.
  for (size_t i = 0; i < values.size(); ++i)
    for (const Tensor& t : targets)
      if (node->inputs[i].kept && values[i].storage() == t.storage()) --node->inputs[i].version;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!is_differentiable(targets[i].dtype())) continue;
    Tensor base(targets[i].impl()->base);
    bool leaf_base = base.defined() && base.requires_grad() && !meta_of(base)->node;
    SORUS_CHECK(!leaf_base || !grad_enabled(), Error,
                "{}: a view of a leaf that requires gradients cannot be changed in place", op.name());
    if (base.defined() && base.is_contiguous()) {
      static const OpDef& scatter = find_op("as_strided_scatter");
      Tensor fresh = targets[i].detach();
      link(fresh, node, static_cast<int>(i));
      Geometry g = targets[i].geometry();
      std::array<Tensor, 2> in{base, fresh};
      Attrs where{Attr(g.sizes), Attr(g.strides), Attr(g.offset - base.geometry().offset)};
      Ref<GradNode> whole = make_node(scatter, in, where);
      std::array<Tensor, 1> out{base};
      save(*whole, in, out);
      link(base, whole, 0);
    }
    link(targets[i], node, static_cast<int>(i));
  }
}

const bool installed = [] {
  set_tape_hooks({record, before_write, record_write});
  return true;
}();

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
    bool early = accumulate && accumulated_hooks.load(std::memory_order_relaxed) > 0;
    if (early) count_uses();
    while (!waiting_.empty()) {
      auto [node, grads] = waiting_.take_newest();
      run_hooks(*node, grads);
      if (auto c = captured_nodes.find(node.get()); c != captured_nodes.end())
        for (auto [output, slot] : c->second) *slot = grads[static_cast<size_t>(output)];
      if (stop_at_captured && captured_nodes.contains(node.get())) continue;
      if (std::none_of(grads.begin(), grads.end(), [](const Tensor& g) { return g.defined(); })) continue;
      if (!add_to_part(*node, grads[0])) {
        TensorList back = apply_node(node, grads);
        if (anomaly) check_anomaly(node, back);
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

  void add_to(Tensor& sum, const Tensor& g) { sum = sum.defined() ? add(sum, g) : g; }

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
    if (!node.op || !node.op->is_view() || create_ || anomaly || node.released || is_tracing()) return false;
    const Edge& e = node.edges[0];
    const Tensor& input = node.inputs[0].value;
    return (e.leaf || e.node) && input.defined() &&
           add_part_gradient(*node.op, node.attrs, input.type(), grad, sum_of(e));
  }

  void run_hooks(GradNode& node, std::span<Tensor> grads) {
    for (size_t i = 0; i < node.hooks.size() && i < grads.size(); ++i)
      if (node.hooks[i] && grads[i].defined())
        for (const Hook& h : *node.hooks[i])
          if (Tensor t = h(grads[i]); t.defined()) grads[i] = t;
  }

  void finish_leaf(const Tensor& leaf, Tensor grad) {
    GradMeta& m = need_meta(leaf);
    for (const Hook& h : m.hooks)
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

void set_requires_grad(const Tensor& t, bool wanted) {
  SORUS_CHECK(!wanted || is_differentiable(t.dtype()), TypeError,
              "requires_grad: only floating and complex tensors have gradients, this one is {}", name(t.dtype()));
  SORUS_CHECK(wanted || is_leaf(t), Error, "requires_grad: only a leaf can stop requiring gradients; use detach()");
  t.impl()->requires_grad = wanted;
}
bool is_leaf(const Tensor& t) {
  GradMeta* m = meta_of(t);
  return !m || !m->node;
}
Tensor grad_of(const Tensor& t) {
  GradMeta* m = meta_of(t);
  if (m) made_grad(*m);
  if (grad_log) grad_log->touch(t, m ? m->grad : Tensor(), true);
  return m ? m->grad : Tensor();
}
bool has_history(const Tensor& t) {
  GradMeta* m = t.defined() ? meta_of(t) : nullptr;
  if (!m || !m->node) return false;
  std::vector<const GradNode*> pending{m->node.get()};
  std::unordered_set<const GradNode*> seen;
  while (!pending.empty()) {
    const GradNode* n = pending.back();
    pending.pop_back();
    if (!seen.insert(n).second) continue;
    if (n->released) return false;
    for (const Edge& e : n->edges)
      if (e.node) pending.push_back(e.node.get());
  }
  return true;
}

GradLog::GradLog() : previous_(grad_log) { grad_log = this; }
GradLog::~GradLog() { grad_log = previous_; }
void GradLog::touch(const Tensor& leaf, const Tensor& before, bool read) {
  if (known_.insert(leaf.impl()).second) entries_.push_back({leaf, before, read});
}

void set_grad(const Tensor& t, const Tensor& grad) {
  SORUS_CHECK(!grad.defined() || grad.sizes() == t.sizes(), ValueError, "grad: shape {} does not fit the tensor's {}",
              to_string(grad.sizes()), to_string(t.sizes()));
  GradMeta& m = need_meta(t);
  if (grad_log) grad_log->touch(t, made_grad(m), false);
  m.deferred = nullptr;
  m.grad = grad;
}
void set_deferred_grad(const Tensor& t, std::function<Tensor()> make) {
  set_grad(t, {});
  need_meta(t).deferred = std::move(make);
}
bool grad_is(const Tensor& t, const Tensor& grad) {
  GradMeta* m = meta_of(t);
  if (!m) return !grad.defined();
  return !m->deferred && m->grad.is(grad);
}
void add_hook(const Tensor& t, Hook hook) {
  SORUS_CHECK(t.requires_grad(), Error, "register_hook: the tensor does not require gradients");
  GradMeta& m = need_meta(t);
  if (!m.node) {
    m.hooks.push_back(std::move(hook));
    return;
  }
  auto& hooks = m.node->hooks;
  if (hooks.size() <= static_cast<size_t>(m.output)) hooks.resize(static_cast<size_t>(m.output) + 1);
  auto& list = hooks[static_cast<size_t>(m.output)];
  if (!list) list = std::make_shared<std::vector<Hook>>();
  list->push_back(std::move(hook));
}
int64_t add_accumulated_hook(const Tensor& t, AccumulatedHook hook) {
  SORUS_CHECK(t.requires_grad() && is_leaf(t), Error,
              "register_post_accumulate_grad_hook: the tensor is not a leaf that requires gradients");
  need_meta(t).accumulated.emplace_back(next_hook, std::move(hook));
  ++accumulated_hooks;
  return next_hook++;
}
void remove_accumulated_hook(const Tensor& t, int64_t number) {
  if (!t.impl()->autograd) return;
  accumulated_hooks -= static_cast<int64_t>(
      std::erase_if(meta_of(t)->accumulated, [&](const auto& hook) { return hook.first == number; }));
}
void at_end_of_backward(std::function<void()> f) { ends_of_backward.push_back(std::move(f)); }
std::string producer_name(const Tensor& t) {
  GradMeta* m = meta_of(t);
  return m && m->node ? std::string(m->node->name()) : "";
}

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

TensorList custom_function(TensorSpan inputs, const std::function<TensorList()>& forward,
                           std::function<TensorList(TensorSpan)> back, std::string name) {
  bool wanted = grad_enabled() && std::any_of(inputs.begin(), inputs.end(),
                                              [](const Tensor& t) { return t.defined() && t.requires_grad(); });
  TensorList out;
  {
    GradMode off(false);
    out = forward();
  }
  if (!wanted) return out;
  auto node = make_ref<GradNode>();
  node->custom = std::move(back);
  node->custom_name = std::move(name);
  for (const Tensor& t : inputs) node->edges.push_back(edge_of(t));
  node->results = out.size();
  for (size_t i = 0; i < out.size(); ++i) {
    for (const Tensor& in : inputs)
      if (in.is(out[i])) out[i] = out[i].detach();
    if (is_differentiable(out[i].dtype())) link(out[i], node, static_cast<int>(i));
  }
  return out;
}

void set_anomaly_mode(bool on) { anomaly = on; }
bool anomaly_mode() { return anomaly; }

}  // namespace sorus
