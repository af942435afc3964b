#include "sorus/compile/compile.h"

#include <optional>

#include "sorus/autodiff/tape.h"
#include "sorus/compile/defer.h"
#include "sorus/compile/split.h"
#include "sorus/graph/call.h"
#include "sorus/graph/trace.h"
#include "sorus/run/execute.h"

namespace sorus {
namespace {

// Where a leaf is found when the recording runs: among the arguments, or it is the tensor itself.
struct Place {
  int argument = -1;
  Tensor tensor;
  const Tensor& in(TensorSpan inputs) const { return argument < 0 ? tensor : inputs[static_cast<size_t>(argument)]; }
};

// What a run leaves in the `.grad` of a leaf.
struct GradUpdate {
  Place leaf;
  bool read = false;  // the recording relied on `before`
  Tensor before;
  enum class After : uint8_t { same, cleared, output, deferred, tensor } after = After::same;
  int output = -1;  // or which of the deferred ones
  Tensor given;
};

// How to make a gradient from values that a run kept, see defer.h.
struct Deferred {
  std::shared_ptr<const Graph> recipe;
  std::vector<int> kept;
};

struct Argument {
  TensorType type;
  bool requires_grad;
};

}  // namespace

struct Recording::Impl {
  std::vector<Argument> arguments;
  bool grad_mode = false;
  std::optional<DType> autocast, default_type;
  std::vector<std::pair<Tensor, bool>> captured;  // and whether it required gradients
  std::vector<GradUpdate> updates;
  std::vector<Deferred> deferred;
  int results = 0;       // what the function returned
  int grad_outputs = 0;  // gradients that are left in `.grad`, after the results
  std::unique_ptr<CompiledGraph> forward, backward;
  std::shared_ptr<Executor> executor;
  std::vector<int> carries;           // results through which gradients flow
  std::vector<Place> differentiable;  // where they flow to
  struct BackwardInput {
    Place place;
    int seed;  // >= 0: the gradient of the result `carries[seed]`
  };
  std::vector<BackwardInput> backward_inputs;  // after the saved values
  int saved = 0;

  void record(const TensorFunction& f, TensorSpan inputs, const std::string& name, const MakeExecutor& make) {
    for (const Tensor& t : inputs) arguments.push_back({t.type(), t.requires_grad()});
    grad_mode = grad_enabled();
    autocast = autocast_dtype();
    default_type = default_dtype();
    TracedGraph joint;
    TensorList seeds;
    int gradients_wanted = 0;
    {
      GradLog log;
      struct Restore {  // recording must not change what the program sees
        GradLog& log;
        ~Restore() {
          std::vector<GradLog::Entry> entries = log.entries();
          for (const auto& e : entries) set_grad(e.leaf, e.before);
        }
      } restore{log};
      Tracer tracer(name);
      TensorList stand_ins;
      for (const Tensor& t : inputs) {
        stand_ins.push_back(tracer.input(t.type()));
        if (t.requires_grad()) set_requires_grad(stand_ins.back(), true);
      }
      auto place_of = [&](const Tensor& t) {
        for (size_t i = 0; i < stand_ins.size(); ++i)
          if (stand_ins[i].is(t)) return Place{static_cast<int>(i), {}};
        return Place{-1, t};
      };
      InterpreterScope scope(&tracer);
      TensorList out = f(stand_ins);
      results = static_cast<int>(out.size());
      for (const Tensor& t : out) tracer.output(t);
      for (const GradLog::Entry& e : std::vector<GradLog::Entry>(log.entries())) {
        Place leaf = place_of(e.leaf);
        if (leaf.argument < 0 && e.leaf.is_abstract()) continue;  // made inside, gone with the recording
        GradUpdate u;
        u.leaf = leaf, u.read = e.read, u.before = e.before;
        Tensor now = grad_of(e.leaf);
        if (!now.defined()) {
          u.after = e.before.defined() ? GradUpdate::After::cleared : GradUpdate::After::same;
          if (!e.read) u.after = GradUpdate::After::cleared;
        } else if (make) {
          u.after = GradUpdate::After::cleared;
        } else if (now.is_abstract()) {
          u.after = GradUpdate::After::output;
          u.output = results + grad_outputs++;
          tracer.output(now);
        } else if (!now.is(e.before)) {
          u.after = GradUpdate::After::tensor;
          u.given = now;
        }
        updates.push_back(std::move(u));
      }
      // Results that gradients can flow through, and the tensors outside that they flow to.
      TensorList roots, targets;
      if (grad_mode) {
        for (int i = 0; i < results; ++i) {
          const Tensor& t = out[static_cast<size_t>(i)];
          if (t.is_abstract() && t.requires_grad() && has_history(t)) carries.push_back(i), roots.push_back(t);
        }
      }
      if (!roots.empty()) {
        for (size_t i = 0; i < stand_ins.size(); ++i)
          if (stand_ins[i].requires_grad() && is_leaf(stand_ins[i]))
            targets.push_back(stand_ins[i]), differentiable.push_back({static_cast<int>(i), {}});
        for (const Tensor& t : tracer.differentiable()) targets.push_back(t), differentiable.push_back({-1, t});
        for (const Tensor& t : roots) seeds.push_back(tracer.late_input(t.type(), "gradient"));
        TensorList found = gradients_up_to(roots, targets, seeds);
        std::vector<Place> reached;
        for (size_t i = 0; i < found.size(); ++i) {
          if (!found[i].defined()) continue;
          tracer.output(found[i]);
          reached.push_back(differentiable[i]);
          ++gradients_wanted;
        }
        differentiable = std::move(reached);
      }
      for (const Tensor& t : tracer.differentiable()) captured.emplace_back(t, true);
      joint = tracer.finish();
    }
    if (make) {
      SORUS_CHECK(
          carries.empty(), Error,
          "{}: result {} could carry gradients on, which a step of several devices cannot; call backward() inside "
          "of the function, or return result.detach()",
          name, carries[0]);
      TensorList parameters;
      for (const auto& [t, required] : captured) parameters.push_back(t);
      executor = make(std::move(joint), parameters);
      return;
    }
    if (carries.empty()) {
      defer(joint);
      forward = std::make_unique<CompiledGraph>(std::move(joint));
      return;
    }
    SplitGraph parts = split_joint(joint, results + grad_outputs, gradients_wanted);
    saved = parts.saved;
    for (int i : parts.reads_inputs) {
      if (i < joint.explicit_inputs) {
        backward_inputs.push_back({{i, {}}, -1});
        continue;
      }
      const Tensor& t = joint.captures[static_cast<size_t>(i - joint.explicit_inputs)];
      int seed = -1;
      for (size_t k = 0; k < seeds.size(); ++k)
        if (seeds[k].is(t)) seed = static_cast<int>(k);
      backward_inputs.push_back({{-1, t}, seed});
    }
    forward = std::make_unique<CompiledGraph>(std::move(parts.forward));
    TracedGraph back;
    back.explicit_inputs = static_cast<int>(parts.backward.inputs().size());
    back.explicit_outputs = gradients_wanted;
    back.graph = std::move(parts.backward);
    backward = std::make_unique<CompiledGraph>(std::move(back));
  }

  void defer(TracedGraph& joint) {
    std::vector<int> moved;
    std::vector<DeferredOutput> found = defer_outputs(joint, results, results + grad_outputs, moved);
    for (GradUpdate& u : updates) {
      if (u.after != GradUpdate::After::output) continue;
      int before = u.output;
      u.output = moved[static_cast<size_t>(before)];
      for (DeferredOutput& d : found)
        if (d.output == before) {
          u.after = GradUpdate::After::deferred;
          u.output = static_cast<int>(deferred.size());
          deferred.push_back({std::make_shared<const Graph>(std::move(d.recipe)), std::move(d.kept)});
        }
    }
  }

  bool fits(TensorSpan inputs) const {
    if (inputs.size() != arguments.size() || grad_mode != grad_enabled() || autocast != autocast_dtype() ||
        default_type != default_dtype())
      return false;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Argument& a = arguments[i];
      const TensorImpl& t = *inputs[i].impl();
      if (t.dtype != a.type.dtype || t.sizes != a.type.shape || t.weak != a.type.weak ||
          t.requires_grad != a.requires_grad)
        return false;
    }
    for (const auto& [t, required] : captured)
      if (t.requires_grad() != required) return false;
    for (const GradUpdate& u : updates)
      if (u.read && !grad_is(u.leaf.in(inputs), u.before)) return false;
    return true;
  }

  TensorList run(TensorSpan inputs) {
    // Gradients that this run replaces are given back before it needs memory for new ones.
    for (const GradUpdate& u : updates)
      if (!u.read && u.after != GradUpdate::After::same) set_grad(u.leaf.in(inputs), {});
    TensorList out = executor ? executor->run(inputs) : backward ? run_differentiable(inputs) : forward->run(inputs);
    for (const GradUpdate& u : updates) {
      const Tensor& leaf = u.leaf.in(inputs);
      if (u.after == GradUpdate::After::output) set_grad(leaf, out[static_cast<size_t>(u.output)]);
      if (u.after == GradUpdate::After::deferred) {
        const Deferred& d = deferred[static_cast<size_t>(u.output)];
        TensorList kept;
        for (int i : d.kept) kept.push_back(out[static_cast<size_t>(i)]);
        set_deferred_grad(leaf, [recipe = d.recipe, kept = std::move(kept)] {
          InterpreterScope eager(nullptr);  // whoever asks, these are numbers
          return run_graph(*recipe, kept)[0];
        });
      }
      if (u.after == GradUpdate::After::tensor) set_grad(leaf, u.given);
      if (u.after == GradUpdate::After::cleared && u.read) set_grad(leaf, {});
    }
    out.resize(static_cast<size_t>(results));
    return out;
  }

  TensorList run_differentiable(TensorSpan inputs) {
    TensorList sources;
    for (const Place& p : differentiable) sources.push_back(p.in(inputs));
    TensorList all;
    auto kept = std::make_shared<TensorList>();  // what the backward graph reads; seeds are filled in later
    auto compute = [&] {
      all = forward->run(inputs);
      auto first_saved = all.begin() + results + grad_outputs;
      kept->assign(first_saved, all.end());
      for (const BackwardInput& b : backward_inputs)
        kept->push_back(b.seed < 0 ? b.place.in(inputs).detach() : Tensor());
      TensorList carried;
      for (int i : carries) carried.push_back(all[static_cast<size_t>(i)]);
      return carried;
    };
    auto gradient = [this, kept](TensorSpan grads) {
      TensorList in = *kept;
      for (size_t i = 0; i < backward_inputs.size(); ++i) {
        int seed = backward_inputs[i].seed;
        if (seed < 0) continue;
        const Tensor& g = grads[static_cast<size_t>(seed)];
        const TensorType& t = backward->graph().inputs()[static_cast<size_t>(saved) + i]->outputs[0];
        in[static_cast<size_t>(saved) + i] = g.defined() ? g : Tensor::zeros(t.shape, t.dtype);
      }
      return backward->run(in);
    };
    TensorList carried = custom_function(sources, compute, gradient, "compiled");
    for (size_t i = 0; i < carries.size(); ++i) all[static_cast<size_t>(carries[i])] = carried[i];
    all.resize(static_cast<size_t>(results) + static_cast<size_t>(grad_outputs));
    return all;
  }
};

Recording::Recording(const TensorFunction& f, TensorSpan inputs, const std::string& name, const MakeExecutor& make)
    : impl_(std::make_unique<Impl>()) {
  impl_->record(f, inputs, name, make);
}
Recording::~Recording() = default;
bool Recording::fits(TensorSpan inputs) const { return impl_->fits(inputs); }
TensorList Recording::run(TensorSpan inputs) { return impl_->run(inputs); }
const CompiledGraph& Recording::forward() const {
  SORUS_CHECK(impl_->forward != nullptr, Error,
              "compile: this recording is run by several devices; ask for a rank's graph");
  return *impl_->forward;
}
Executor* Recording::executor() const { return impl_->executor.get(); }
const CompiledGraph* Recording::backward() const { return impl_->backward.get(); }

TensorList CompiledFunction::operator()(TensorSpan inputs) {
  if (is_tracing()) return f_(inputs);  // part of a larger recording
  for (size_t i = recordings_.size(); i-- > 0;)
    if (recordings_[i]->fits(inputs)) return recordings_[i]->run(inputs);
  recordings_.push_back(std::make_shared<Recording>(f_, inputs, name_));
  return recordings_.back()->run(inputs);
}

}  // namespace sorus
