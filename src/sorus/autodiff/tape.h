// The tape: reverse-mode gradients of whatever was executed.
//
// Every call whose inputs require gradients leaves a GradNode: the operator, its attributes, and those values its
// gradient rule reads. `backward` walks the nodes from the result to the leaves. Gradient rules are written with the
// public operators, so they run in eager mode, are recorded by a tracer, and (with create_graph) can be
// differentiated again; there is no second set of rules for any of these.
//
//   Tensor loss = mean(square(x - y));
//   backward(loss);                        // x.grad is now grad_of(x)
//   TensorList g = gradients(outputs, inputs);    // or without touching any .grad
#pragma once

#include <functional>
#include <unordered_set>

#include "sorus/graph/call.h"

namespace sorus {

using Hook = std::function<Tensor(const Tensor& grad)>;

void set_requires_grad(const Tensor& t, bool wanted);
bool is_leaf(const Tensor& t);
/// The accumulated gradient of a leaf; undefined if there is none.
Tensor grad_of(const Tensor& t);
void set_grad(const Tensor& t, const Tensor& grad);
/// A gradient that is made when somebody asks for it, and kept from then on.
void set_deferred_grad(const Tensor& t, std::function<Tensor()> make);
/// Whether `grad` is the gradient of `t`, which is not made for the answer; undefined: whether there is none.
bool grad_is(const Tensor& t, const Tensor& grad);
/// Whether gradients can flow through `t` to what it was made from: it has a history of which nothing was freed.
bool has_history(const Tensor& t);
/// Called with the gradient of `t` when it is complete; what it returns (if defined) replaces it. Hooks run in the
/// order in which they were added, those that are to see what is left at last after all others.
void add_hook(const Tensor& t, Hook hook, bool at_last = false);
/// Called when `.grad` of the leaf `t` was added to, which is as soon as nothing of the backward pass that still runs
/// can add more. Returns a number for remove_accumulated_hook.
using AccumulatedHook = std::function<void(const Tensor& leaf)>;
int64_t add_accumulated_hook(const Tensor& t, AccumulatedHook hook);
void remove_accumulated_hook(const Tensor& t, int64_t number);
/// To be called from within a hook: `f` runs when the (outermost) backward pass of this thread has ended without an
/// error.
void at_end_of_backward(std::function<void()> f);
/// The operator that made `t`: "mul", or "" for a leaf.
std::string producer_name(const Tensor& t);

/// Adds the gradients of `root` to the leaves' `.grad`. `grad` may be left out for a single element.
void backward(const Tensor& root, const Tensor& grad = {}, bool retain_graph = false, bool create_graph = false);
/// Gradients of the weighted sum of `outputs` with respect to `inputs`; undefined where there is none.
TensorList gradients(TensorSpan outputs, TensorSpan inputs, TensorSpan grad_outputs = {}, bool retain_graph = false,
                     bool create_graph = false, bool allow_unused = true);
/// The same, but nothing is walked that lies behind an input: the inputs are where the graph ends.
TensorList gradients_up_to(TensorSpan outputs, TensorSpan inputs, TensorSpan grad_outputs);

/// While one is alive on this thread: what happens to the leaves' `.grad`. A recorder of whole training steps needs
/// to know it, since `.grad` is state of the program that no operator shows.
class GradLog {
 public:
  struct Entry {
    Tensor leaf, before;  ///< `before`: its .grad when it was first touched
    bool read;            ///< whether that was looked at before it was replaced
  };
  GradLog();
  ~GradLog();
  GradLog(const GradLog&) = delete;
  GradLog& operator=(const GradLog&) = delete;
  const std::vector<Entry>& entries() const { return entries_; }
  void touch(const Tensor& leaf, const Tensor& before, bool read);

 private:
  std::vector<Entry> entries_;
  std::unordered_set<const TensorImpl*> known_;
  GradLog* previous_;
};

/// A function with a gradient of its own: `backward` gets the gradients of the outputs and returns those of `inputs`.
TensorList custom_function(TensorSpan inputs, const std::function<TensorList()>& forward,
                           std::function<TensorList(TensorSpan grads)> backward, std::string name = "custom");

/// Stops with the first operator whose gradient has a NaN, naming the line that made the forward value.
void set_anomaly_mode(bool on);
bool anomaly_mode();

}  // namespace sorus
