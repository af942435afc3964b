// What hangs on tensors while gradients are recorded, and what of it the recording (recording.cpp), the backward pass
// (engine.cpp) and the public functions (tape.cpp) share.
//
//   Tensor --autograd--> GradMeta --node--> GradNode --edges--> GradNodes of its inputs, or the leaves where it ends
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sorus/autodiff/tape.h"
#include "sorus/tensor/small_allocator.h"

namespace sorus {

struct TapeState {
  std::atomic<uint64_t> next_sequence{1};
  // Leaves that want to know when their gradient is there: without any, nobody counts what can still come.
  std::atomic<int64_t> accumulated_hooks{0}, next_hook{1};
  bool anomaly = false;
};
extern TapeState tape_state;
extern constinit thread_local GradLog* grad_log;

struct GradNode;

struct Hooks {
  std::vector<Hook> all;
  size_t last = 0;  // so many at the end stay there
  void add(Hook hook, bool at_last) {
    all.insert(all.end() - (at_last ? 0 : static_cast<ptrdiff_t>(last)), std::move(hook));
    last += at_last;
  }
};

// Hangs on every tensor that takes part in gradients.
struct GradMeta final : RefCounted {
  Ref<GradNode> node;  // null for a leaf
  int output = 0;
  Tensor grad;
  std::function<Tensor()> deferred;  // makes `grad`
  Hooks hooks;
  std::vector<std::pair<int64_t, AccumulatedHook>> accumulated;

  ~GradMeta() override {
    if (!accumulated.empty()) tape_state.accumulated_hooks -= static_cast<int64_t>(accumulated.size());
  }
  static void* operator new(size_t size) { return allocate_small(size); }
  static void operator delete(void* p) { free_small(p, sizeof(GradMeta)); }
};

inline GradMeta* meta_of(const Tensor& t) { return static_cast<GradMeta*>(t.impl()->autograd.get()); }
inline GradMeta& need_meta(const Tensor& t) {
  if (!t.impl()->autograd) t.impl()->autograd = make_ref<GradMeta>();
  return *meta_of(t);
}

inline const Tensor& made_grad(GradMeta& m) {
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
  std::vector<std::shared_ptr<Hooks>> hooks;
  size_t results = 0;
  std::function<TensorList(TensorSpan)> custom;
  std::string custom_name;
  uint64_t sequence = tape_state.next_sequence++;
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

inline Edge edge_of(const Tensor& t) {
  if (!t.defined() || !t.requires_grad()) return {};
  GradMeta& m = need_meta(t);
  if (m.node) return {m.node, m.output, {}};
  return {{}, 0, t.ref()};
}

inline void link(const Tensor& t, const Ref<GradNode>& node, int output) {
  auto meta = make_ref<GradMeta>();
  if (GradMeta* old = meta_of(t)) meta->hooks = std::move(old->hooks);
  meta->node = node;
  meta->output = output;
  t.impl()->autograd = meta;
  t.impl()->requires_grad = true;
}

bool has_nan(const Tensor& t);

}  // namespace sorus
