// Running a compiled graph: down the list of its loops and kernels.
#include <omp.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "sorus/base/threads.h"
#include "sorus/derive/cost.h"
#include "sorus/kernels/scatter.h"
#include "sorus/run/compiled_impl.h"
#include "sorus/run/execute.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {
std::atomic<void (*)()> between_steps{nullptr};
}
void set_between_steps(void (*f)()) { between_steps.store(f); }

void CompiledGraph::Impl::set_addresses(const TensorList& inputs, const TensorList& outputs) {
  size_t at = 0;
  for (const TensorList* list : {&inputs, &outputs})
    for (const Tensor& t : *list) {
      auto* address = static_cast<char*>(t.data());
      if (known[at] != address) {
        known[at] = address;
        arrangement += list == &inputs && at >= static_cast<size_t>(traced.explicit_inputs);
        for (size_t p : places[at]) buffers[p] = address;
      }
      ++at;
    }
}

void CompiledGraph::Impl::run_loop(const Step& s, int64_t first_row, int64_t last_row) {
  char* const* with = buffers.data() + s.first_buffer;
  int64_t rows = last_row - first_row;
  int64_t threads = std::min({s.wanted_threads, rows, static_cast<int64_t>(num_threads())});
  std::array<char*, 1024> parts;
  threads = std::clamp<int64_t>(threads, 1, 1024);
  auto* base = static_cast<char*>(scratch.data());
  for (int64_t i = 0; i < threads; ++i) parts[static_cast<size_t>(i)] = base + i * scratch_bytes;
  if (threads == 1) {
    s.loop(with, first_row, last_row, base);
  } else {
#pragma omp parallel num_threads(static_cast <int>(threads))
    {
      FlushDenormals flush;
      int64_t i = omp_get_thread_num(), n = omp_get_num_threads();
      for (int64_t part = i; part < threads; part += n)  // the runtime may give fewer than asked for
        s.loop(with, first_row + rows * part / threads, first_row + rows * (part + 1) / threads,
               parts[static_cast<size_t>(part)]);
    }
  }
  if (s.finish) s.finish(with, parts.data(), threads);
}

void CompiledGraph::Impl::run_in_strips(size_t at, const TensorList& inputs, const TensorList& outputs) {
  Step& s = steps[at];
  const std::vector<Strip>& strips = units[at].strips;
  for (Step& kernel : s.strips) prepare(kernel, inputs, outputs);
  int64_t rows = strips[0].loop_rows(units[at].loop.columns);
  for (size_t n = 0; n < strips[0].attrs.size(); ++n) {
    int64_t first = static_cast<int64_t>(n) * rows, last = std::min(s.rows, first + rows);
    for (size_t i = 0; i < strips.size(); ++i) {
      Step& kernel = s.strips[i];
      SourceScope source(kernel.node->source);
      TensorList out{kernel.outputs[0]};
      const Shape& sizes = out[0].sizes();
      if (int64_t left = strips[i].node->outputs[0].shape[0] - static_cast<int64_t>(n) * strips[i].rows;
          left < sizes[0]) {
        Shape less = sizes;
        less[0] = left;
        out[0] = out[0].with_geometry({less, contiguous_strides(less), out[0].impl()->offset});
      }
      current_interpreter().run(*kernel.node->op, kernel.inputs, strips[i].attrs[n], out);
      int64_t before = first * units[at].loop.columns * static_cast<int64_t>(size_of(out[0].dtype()));
      // Where the whole result would begin, for the loop to find its rows.
      buffers[s.first_buffer + static_cast<size_t>(strips[i].buffer)] = static_cast<char*>(out[0].data()) - before;
    }
    run_loop(s, first, last);
  }
  for (Step& kernel : s.strips) let_go(kernel);
}

void CompiledGraph::Impl::run_kernel(size_t at) {
  Step& s = steps[at];
  const OpDef& op = *s.node->op;
  ProfileSpan span(op.calls_ranks() ? "exchange" : "kernel", [&](ProfileEvent& e) { describe(units[at], e); });
  SourceScope source(s.node->source);
  if (op.is_view()) {
    copy_elements(s.outputs[0].with_geometry(
                      {s.inputs[0].sizes(), contiguous_strides(s.inputs[0].sizes()), s.outputs[0].impl()->offset}),
                  s.inputs[0]);
    return;
  }
  TensorList out = s.outputs;
  current_interpreter().run(op, s.inputs, s.node->attrs, out);
}

void CompiledGraph::Impl::start(size_t at, Flying& flying) {
  Step& s = steps[at];
  ProfileSpan span("start", [&](ProfileEvent& e) { describe(units[at], e); });
  TensorList out = s.outputs;
  // Temporaries do not own their memory: the arena has to stay as long as somebody writes into it.
  auto keep = std::make_shared<Tensor>(arena);
  flying.emplace_back(at, s.node->op->beside({*s.node->op, s.inputs, s.node->attrs}, out, keep));
}

void CompiledGraph::Impl::land(const std::vector<size_t>& which, Flying& flying) const {
  for (size_t at : which) {
    auto it = std::find_if(flying.begin(), flying.end(), [&](const auto& f) { return f.first == at; });
    if (it == flying.end()) continue;  // it did not run beside this time
    ProfileSpan span("wait", [&](ProfileEvent& e) { describe(units[at], e); });
    it->second();
    flying.erase(it);
  }
}

TensorList CompiledGraph::Impl::run(TensorSpan explicit_inputs) {
  for (Mirror& m : mirrors) m.refresh(traced);
  if (!code) return run_without_compiler(explicit_inputs);
  SORUS_CHECK(static_cast<int>(explicit_inputs.size()) == traced.explicit_inputs, ValueError,
              "compiled {}: expected {} inputs, got {}", graph.name(), traced.explicit_inputs,
              explicit_inputs.size());
  GradMode off(false);
  FlushDenormals flush;
  TensorList packed, outputs;
  packed.reserve(explicit_inputs.size() + traced.captures.size());
  outputs.reserve(static_cast<size_t>(traced.explicit_outputs));
  for (size_t i = 0; i < explicit_inputs.size(); ++i) {
    const Tensor& given = explicit_inputs[i];
    const TensorType& t = graph.inputs()[i]->outputs[0];
    SORUS_CHECK(given.sizes() == t.shape && given.dtype() == t.dtype, ValueError,
                "compiled {}: input {} is {}, expected {}", graph.name(), i, given.type().to_string(), t.to_string());
    packed.push_back(given.is_contiguous() ? given : Tensor::empty(t.shape, t.dtype));
    if (!given.is_contiguous()) copy_elements(packed.back(), given);
  }
  packed.insert(packed.end(), traced.captures.begin(), traced.captures.end());
  for (int i = 0; i < traced.explicit_outputs; ++i) {
    const TensorType& t = graph.outputs()[static_cast<size_t>(i)].type();
    outputs.push_back(Tensor::empty(t.shape, t.dtype));
  }
  if (scratch_threads < num_threads()) {
    scratch_threads = num_threads();
    // Tiny storages are only aligned to a word; loops ask for 64 bytes.
    scratch = Tensor::empty({std::max<int64_t>(scratch_bytes * scratch_threads, 4096)}, DType::u8);
  }
  set_addresses(packed, outputs);
  keep_within_limit(packed);
  Flying flying;
  for (size_t at = 0; at < steps.size(); ++at) {
    Step& s = steps[at];
    if (auto* f = between_steps.load(std::memory_order_relaxed)) f();
    if (residency) residency->before(at);
    if (!s.waits.empty()) land(s.waits, flying);
    if (s.nothing) continue;
    if (s.loop) {
      ProfileSpan span("loop", [&](ProfileEvent& e) { describe(units[at], e); });
      for (const Unit::IndexCheck& c : units[at].checks) check_indices(c, packed, outputs);
      if (s.strips.empty())
        run_loop(s, 0, s.rows);
      else
        run_in_strips(at, packed, outputs);
      continue;
    }
    prepare(s, packed, outputs);
    // What goes out to host memory must not be in use.
    if (wait_at[at] > 0 && !residency)
      start(at, flying);
    else
      run_kernel(at);
    let_go(s);
  }
  land(waits_at_end, flying);
  if (!copies.empty()) write_back(packed, outputs);
  for (size_t i = 0; i < explicit_inputs.size(); ++i)  // an argument that was written, and was not contiguous
    if (written_input[i] && !packed[i].is(explicit_inputs[i])) copy_elements(explicit_inputs[i], packed[i]);
  for (int t : traced.write_targets) packed[static_cast<size_t>(t)].storage()->bump_version();
  for (Mirror& m : mirrors) m.keep(traced);
  return outputs;
}

TensorList CompiledGraph::Impl::run_without_compiler(TensorSpan inputs) {
  TensorList out = run_traced(traced, inputs);
  for (Mirror& m : mirrors) m.keep(traced);
  return out;
}

void CompiledGraph::Impl::check_indices(const Unit::IndexCheck& c, const TensorList& inputs,
                                        const TensorList& outputs) const {
  SourceScope source(c.node->source);
  if (is_contiguous(c.index.view.sizes, c.index.view.strides)) {
    const Slot& s = slots[static_cast<size_t>(slot_of.at(c.index.source))];
    auto* base = s.kind == Slot::Kind::arena   ? static_cast<char*>(arena.data()) + s.offset
                 : s.kind == Slot::Kind::input ? known[static_cast<size_t>(s.index)]
                                               : known[inputs.size() + static_cast<size_t>(s.index)];
    base += c.index.view.offset * static_cast<int64_t>(size_of(s.type.dtype));
    return kernels::check_indices(c.node->op->name(), base, s.type.dtype, numel(c.index.view.sizes), c.size);
  }
  Tensor index = tensor(slot_of.at(c.index.source), c.index.view, inputs, outputs);
  if (!index.is_contiguous()) {
    Tensor packed = Tensor::empty(index.sizes(), index.dtype());
    copy_elements(packed, index);
    index = packed;
  }
  kernels::check_indices(c.node->op->name(), index.data(), index.dtype(), index.numel(), c.size);
}

void CompiledGraph::Impl::describe(const Unit& unit, ProfileEvent& e) {
  if (unit.node) {
    auto types = unit.node->input_types();
    e.name = unit.node->op->name();
    for (const TensorType* t : types) e.detail += (e.detail.empty() ? "" : ", ") + (t ? t->to_string() : "none");
    e.source = unit.node->source;
    Cost c = cost_of(TypeCall{*unit.node->op, types, unit.node->attrs});
    e.flops = c.flops, e.bytes = c.bytes;
    if (unit.node->op->calls_ranks())
      e.bytes = static_cast<double>(unit.node->op->exchange(TypeCall{*unit.node->op, types, unit.node->attrs}).bytes);
    return;
  }
  std::vector<const Node*> nodes;
  for (const Strip& s : unit.strips) nodes.push_back(s.node);
  nodes.insert(nodes.end(), unit.members.begin(), unit.members.end());
  for (const Node* n : nodes) {
    if (e.name.size() > 160) {
      e.name += "+...";
      break;
    }
    e.name += (e.name.empty() ? "" : "+") + n->op->name();
  }
  e.detail = fmt::format("{} rows of {}", unit.loop.rows, unit.loop.columns);
  e.source = unit.members.back()->source;
  e.flops = unit.loop.flops(), e.bytes = unit.loop.bytes();
}

void CompiledGraph::Impl::write_back(const TensorList& inputs, const TensorList& outputs) {
  // An old value that is written elsewhere must be read before it is overwritten.
  std::vector<Tensor> sources;
  for (const Copy& c : copies) {
    if (c.source < 0) {
      sources.emplace_back();
      continue;
    }
    Tensor t = tensor(c.source, c.view, inputs, outputs);
    if (slots[static_cast<size_t>(c.source)].kind == Slot::Kind::input && copies.size() > 1) {
      Tensor kept = Tensor::empty(t.sizes(), t.dtype());
      copy_elements(kept, t);
      t = kept;
    }
    sources.push_back(std::move(t));
  }
  for (size_t i = 0; i < copies.size(); ++i) {
    const Copy& c = copies[i];
    const Tensor& target =
        c.to_input ? inputs[static_cast<size_t>(c.target)] : outputs[static_cast<size_t>(c.target)];
    copy_elements(target, c.constant ? Tensor::scalar(*c.constant, target.dtype()) : sources[i]);
  }
}

}  // namespace sorus
