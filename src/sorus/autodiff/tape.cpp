#include "sorus/autodiff/tape.h"

#include <algorithm>
#include <unordered_set>

#include "sorus/autodiff/tape_node.h"
#include "sorus/ops.h"

namespace sorus {

TapeState tape_state;
constinit thread_local GradLog* grad_log = nullptr;

bool has_nan(const Tensor& t) {
  if (!t.defined() || !is_floating(t.dtype()) || t.is_abstract()) return false;
  GradMode off(false);
  return any(isnan(t)).item().to_bool();
}

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
void add_hook(const Tensor& t, Hook hook, bool at_last) {
  SORUS_CHECK(t.requires_grad(), Error, "register_hook: the tensor does not require gradients");
  GradMeta& m = need_meta(t);
  if (!m.node) {
    m.hooks.add(std::move(hook), at_last);
    return;
  }
  auto& hooks = m.node->hooks;
  if (hooks.size() <= static_cast<size_t>(m.output)) hooks.resize(static_cast<size_t>(m.output) + 1);
  auto& list = hooks[static_cast<size_t>(m.output)];
  if (!list) list = std::make_shared<Hooks>();
  list->add(std::move(hook), at_last);
}
int64_t add_accumulated_hook(const Tensor& t, AccumulatedHook hook) {
  SORUS_CHECK(t.requires_grad() && is_leaf(t), Error,
              "register_post_accumulate_grad_hook: the tensor is not a leaf that requires gradients");
  need_meta(t).accumulated.emplace_back(tape_state.next_hook, std::move(hook));
  ++tape_state.accumulated_hooks;
  return tape_state.next_hook++;
}
void remove_accumulated_hook(const Tensor& t, int64_t number) {
  if (!t.impl()->autograd) return;
  tape_state.accumulated_hooks -= static_cast<int64_t>(
      std::erase_if(meta_of(t)->accumulated, [&](const auto& hook) { return hook.first == number; }));
}
std::string producer_name(const Tensor& t) {
  GradMeta* m = meta_of(t);
  return m && m->node ? std::string(m->node->name()) : "";
}

void set_anomaly_mode(bool on) { tape_state.anomaly = on; }
bool anomaly_mode() { return tape_state.anomaly; }

}  // namespace sorus
