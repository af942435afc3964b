#include "sorus/graph/call.h"

#include <array>

#include "sorus/graph/scalar.h"

namespace sorus {
namespace {

Interpreter* eager = nullptr;
constinit thread_local Interpreter* scoped = nullptr;
constinit thread_local bool recording = true;
constinit thread_local std::optional<DType> autocast;
TapeHooks tape;

bool any_requires_grad(TensorSpan inputs) {
  for (const Tensor& t : inputs)
    if (t.defined() && t.requires_grad()) return true;
  return false;
}

// Autocast changes what an operator sees of floating inputs; integers and double stay as they are.
TensorList casted(const OpDef& op, TensorSpan inputs, DType lower) {
  static const OpDef& to = find_op("to");
  DType wanted = op.autocast == Autocast::lower ? lower : DType::f32;
  TensorList out(inputs.begin(), inputs.end());
  for (Tensor& t : out)
    if (t.defined() && is_floating(t.dtype()) && t.dtype() != DType::f64 && t.dtype() != wanted && !t.impl()->weak)
      t = call_one(to, {t}, {Attr(wanted)});
  return out;
}

// Result types; a wrong input is an error here. A body does not look at all that its types rule does.
std::vector<TensorType> check_types(const OpDef& op, TensorSpan inputs, const Attrs& attrs) {
  std::vector<TensorType> types;
  std::vector<const TensorType*> pointers;
  types.reserve(inputs.size());
  for (const Tensor& t : inputs) {
    types.push_back(t.defined() ? t.type() : TensorType{});
    pointers.push_back(t.defined() ? &types.back() : nullptr);
  }
  return infer_types(TypeCall{op, pointers, attrs});
}

// Whether the results are plainly of the targets' types: a body of elements of one shape and type, and numbers of it.
bool plainly_fits(const OpDef& op, TensorSpan inputs, TensorSpan targets) {
  if (!op.each || op.types || op.result_text != "promote" || op.each->results.size() != targets.size()) return false;
  const Tensor& first = targets[0];
  if (!is_differentiable(first.dtype())) return false;
  for (size_t i = 0; i < targets.size(); ++i)
    if (targets[i].dtype() != first.dtype() || targets[i].sizes() != first.sizes() || op.each->results[i]->is_boolean)
      return false;
  bool shaped = false;
  for (const Tensor& t : inputs) {
    if (!t.defined() || t.impl()->weak || t.dtype() != first.dtype()) return false;
    bool same = t.sizes() == first.sizes();
    if (!same && t.dim() != 0) return false;
    shaped |= same;
  }
  return shaped;
}

// Whether writing `targets` as the results come would change an input before it is read: a scalar body may write the
// very elements it reads, everything else needs memory of its own. (A graph has no memory, so nothing to protect.)
bool writes_what_it_reads(const OpDef& op, TensorSpan inputs, size_t first, TensorSpan targets) {
  if (is_tracing()) return false;
  for (const Tensor& t : targets)
    for (size_t i = first; i < inputs.size(); ++i) {
      const Tensor& x = inputs[i];
      if (!x.defined() || x.storage() != t.storage() || x.numel() == 0) continue;
      bool same = x.dtype() == t.dtype() && x.geometry() == t.geometry();
      if (!same || !op.each) return true;
    }
  return false;
}

// An error of what an operator is made of names the operator that was called as well: "gather: index 7 is out of
// range for a dimension of size 3, in cross_entropy".
std::string within(const OpDef& op, const Error& e) {
  std::string text = e.what();
  if (text.find(op.signature.base) != std::string::npos) return text;
  size_t end = std::min(text.find("\n  at "), text.size());
  return text.insert(end, fmt::format(", in {}", op.signature.base));
}
TensorList run_rule(const OpDef& op, const BodyRule& rule, TensorSpan inputs, const Attrs& attrs) {
  try {
    return rule(Call{op, inputs, attrs});
  } catch (const IndexError& e) {
    throw IndexError(within(op, e));
  } catch (const ValueError& e) {
    throw ValueError(within(op, e));
  } catch (const TypeError& e) {
    throw TypeError(within(op, e));
  } catch (const NotImplementedError& e) {
    throw NotImplementedError(within(op, e));
  }
}

}  // namespace

TensorList call(const OpDef& op, TensorSpan inputs, const Attrs& attrs) {
  TensorList cast;
  if (autocast && op.autocast != Autocast::none) [[unlikely]] {
    cast = casted(op, inputs, *autocast);
    inputs = cast;
  }
  if (op.expand && !(op.value_shaped && is_tracing())) return run_rule(op, op.expand, inputs, attrs);
  Interpreter& interpreter = current_interpreter();
  bool record = recording && op.differentiable && any_requires_grad(inputs);
  if (op.body && !interpreter.takes_whole(op, inputs, attrs, record)) {
    check_types(op, inputs, attrs);
    if (!record || !op.gradient) return run_rule(op, op.body, inputs, attrs);
    TensorList out;  // its gradient is not that of what it is made of
    {
      GradMode off(false);
      out = run_rule(op, op.body, inputs, attrs);
    }
    if (tape.record) tape.record(op, inputs, attrs, out);
    return out;
  }
  TensorList out;
  interpreter.run(op, inputs, attrs, out);
  if (record && tape.record) tape.record(op, inputs, attrs, out);
  return out;
}

Tensor call_one(const OpDef& op, TensorSpan inputs, const Attrs& attrs) {
  return std::move(call(op, inputs, attrs)[0]);
}

void call_into(const OpDef& op, TensorSpan inputs, const Attrs& attrs, TensorSpan targets) {
  static const OpDef& copy = find_op("copy");
  for (const Tensor& t : targets) {
    SORUS_CHECK(t.storage()->writable(), Error, "{}: cannot write into read-only memory", op.name());
    if (tape.before_write) tape.before_write(op, t);
  }
  bool record = recording && op.differentiable && (any_requires_grad(inputs) || any_requires_grad(targets));
  // What can be written in place is one call; composites, conversions and broadcasts go through `copy`.
  bool casts = autocast && op.autocast != Autocast::none;
  bool direct = !op.expand && !op.is_view() && !op.body && !casts;
  TensorList results;
  // (`copy` never reads what it writes over.)
  if (direct && (op.each || op.kernel) && !writes_what_it_reads(op, inputs, &op == &copy ? 1 : 0, targets)) {
    if (!plainly_fits(op, inputs, targets)) {
      auto outputs = check_types(op, inputs, attrs);
      direct = outputs.size() == targets.size();
      for (size_t i = 0; direct && i < outputs.size(); ++i)
        direct = outputs[i].shape == targets[i].sizes() && outputs[i].dtype == targets[i].dtype();
    }
  } else {
    direct = false;
  }
  if (direct) {
    TensorList old;
    if (record)
      for (const Tensor& t : targets) old.push_back(t.detach());
    TensorList out(targets.begin(), targets.end());
    current_interpreter().run(op, inputs, attrs, out);
    for (const Tensor& t : targets) t.storage()->bump_version();
    if (record && tape.record_write) tape.record_write(op, inputs, attrs, targets, old);
    return;
  }
  if (&op == &copy && !writes_what_it_reads(op, inputs, 1, targets))
    fail<ValueError>("copy_: cannot write a {} into a {}", inputs[1].type().to_string(),
                     targets[0].type().to_string());
  // A gradient may read what is about to be written over: then it reads a copy.
  TensorList kept(inputs.begin(), inputs.end());
  if (record && &op != &copy)
    for (Tensor& x : kept)
      for (const Tensor& t : targets)
        if (x.defined() && x.requires_grad() && x.is(t)) x = call_one(find_op("clone"), {x});
  results = call(op, kept, attrs);
  for (size_t i = 0; i < targets.size(); ++i) {
    SORUS_CHECK(broadcast_shapes(results[i].sizes(), targets[i].sizes(), op.name()) == targets[i].sizes(), ValueError,
                "{}: the result of shape {} does not fit in place into a tensor of shape {}", op.name(),
                to_string(results[i].sizes()), to_string(targets[i].sizes()));
    call_into(copy, std::array{targets[i], results[i]}, {}, std::array{targets[i]});
  }
}

Interpreter& current_interpreter() {
  if (scoped) return *scoped;
  SORUS_ASSERT(eager != nullptr);
  return *eager;
}
void set_eager_interpreter(Interpreter* interpreter) { eager = interpreter; }
InterpreterScope::InterpreterScope(Interpreter* interpreter) : previous_(scoped) { scoped = interpreter; }
InterpreterScope::~InterpreterScope() { scoped = previous_; }
bool is_tracing() { return scoped != nullptr && scoped != eager; }

bool grad_enabled() { return recording; }
void set_grad_enabled(bool enabled) { recording = enabled; }
GradMode::GradMode(bool enabled) : previous_(recording) { recording = enabled; }
GradMode::~GradMode() { recording = previous_; }

std::optional<DType> autocast_dtype() { return autocast; }
void set_autocast_dtype(std::optional<DType> dtype) { autocast = dtype; }

void set_tape_hooks(const TapeHooks& hooks) { tape = hooks; }

}  // namespace sorus
