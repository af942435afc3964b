// call(): the one door through which every operator goes, from C++ and from Python, eager or recorded.
//
//   Tensor y = call_one(find_op("gelu"), {x}, {Attr("tanh")});     // what sorus::gelu(x, "tanh") does
//
// It expands what is only convenience, applies autocast, hands the call to the interpreter (eager execution, or the
// tracer that records a graph), and tells the tape (autodiff) when a gradient may be asked for later.
#pragma once

#include "sorus/graph/op.h"

namespace sorus {

TensorList call(const OpDef& op, TensorSpan inputs, const Attrs& attrs = {});
inline TensorList call(const OpDef& op, std::initializer_list<Tensor> inputs, const Attrs& attrs = {}) {
  return call(op, TensorSpan(inputs.begin(), inputs.size()), attrs);
}
/// For operators with one result.
Tensor call_one(const OpDef& op, TensorSpan inputs, const Attrs& attrs = {});
inline Tensor call_one(const OpDef& op, std::initializer_list<Tensor> inputs, const Attrs& attrs = {}) {
  return call_one(op, TensorSpan(inputs.begin(), inputs.size()), attrs);
}
/// Computes the operator and writes its results into `targets` (which may be among the inputs): in-place operations,
/// `out=`, and optimizer updates. Shapes must agree; types are converted.
void call_into(const OpDef& op, TensorSpan inputs, const Attrs& attrs, TensorSpan targets);

/// Executes calls. There are two: eager execution (run/) and the tracer (graph/trace.h).
class Interpreter {
 public:
  virtual ~Interpreter() = default;
  /// Appends the results to `out`; if `out` already holds tensors, the results are written into those.
  virtual void run(const OpDef& op, TensorSpan inputs, const Attrs& attrs, TensorList& out) = 0;
  /// Whether a composite should be handed over whole. `recording`: a gradient may be asked for.
  virtual bool takes_whole(const OpDef& op, TensorSpan inputs, const Attrs& attrs, bool recording) = 0;
};

/// The interpreter of this thread: the innermost InterpreterScope, or the eager one.
Interpreter& current_interpreter();
void set_eager_interpreter(Interpreter* eager);
class InterpreterScope {
 public:
  explicit InterpreterScope(Interpreter* interpreter);
  ~InterpreterScope();
  InterpreterScope(const InterpreterScope&) = delete;
  InterpreterScope& operator=(const InterpreterScope&) = delete;

 private:
  Interpreter* previous_;
};
bool is_tracing();

/// Gradient recording on this thread (on at first).
bool grad_enabled();
void set_grad_enabled(bool enabled);
class GradMode {
 public:
  explicit GradMode(bool enabled);
  ~GradMode();
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool previous_;
};

/// Autocast on this thread: the type in which operators marked `lower` compute, if any.
std::optional<DType> autocast_dtype();
void set_autocast_dtype(std::optional<DType> dtype);

/// The tape's side of the door, installed by autodiff/.
struct TapeHooks {
  /// Results of a call whose inputs require gradients.
  void (*record)(const OpDef& op, TensorSpan inputs, const Attrs& attrs, std::span<Tensor> outputs) = nullptr;
  /// Before and after an in-place write into `target`.
  void (*before_write)(const OpDef& op, const Tensor& target) = nullptr;
  void (*record_write)(const OpDef& op, TensorSpan inputs, const Attrs& attrs, std::span<const Tensor> targets,
                       TensorSpan old_targets) = nullptr;
};
void set_tape_hooks(const TapeHooks& hooks);

}  // namespace sorus
