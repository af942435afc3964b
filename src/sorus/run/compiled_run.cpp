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

Step CompiledGraph::Impl::kernel_step(const Node& node, const std::vector<Operand>& operands) {
  Step s;
  s.node = &node;
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    Operand home = placement->home({const_cast<Node*>(&node), static_cast<int>(i)});
    s.slots.push_back(slot(home.source));
    s.result_views.push_back(home.view);
  }
  for (const Operand& o : operands) {
    s.operand_slots.push_back(o.source && slot_of.contains(o.source) ? slot(o.source) : -1);
    s.views.push_back(o.view);
    size_t i = s.views.size() - 1;
    const Value& v = node.inputs[i];
    const OpDef& op = *node.op;
    if (s.operand_slots[i] < 0 && v && !v.node->is_constant()) report.filled_bytes += v.type().nbytes();
    if (s.operand_slots[i] >= 0 && op.kernel && !op.kernel_takes_strides && !op.is_view() &&
        !is_contiguous(o.view.sizes, o.view.strides))
      packed[&node] += v.type().nbytes();
  }
  auto stays = [&](int i) {
    const Slot* at = i < 0 ? nullptr : &slots[static_cast<size_t>(i)];
    return !at || at->kind == Slot::Kind::arena ||
           (at->kind == Slot::Kind::input && at->index >= traced.explicit_inputs);
  };
  s.fixed = std::ranges::all_of(s.slots, stays) && std::ranges::all_of(s.operand_slots, stays);
  for (const Operand& o : operands) s.fixed &= !o.source || slot_of.contains(o.source);
  return s;
}

void CompiledGraph::Impl::make_steps() {
  size_t inputs = graph.inputs().size();
  places.resize(inputs + static_cast<size_t>(traced.explicit_outputs));
  known.resize(places.size());
  for (int i = 0; i < traced.explicit_inputs; ++i)
    written_input.push_back(std::find(traced.write_targets.begin(), traced.write_targets.end(), i) !=
                            traced.write_targets.end());
  for (size_t u = 0; u < units.size(); ++u) {
    const Unit& unit = units[u];
    Step s;
    if (unit.node && placement->is_assembled(unit.node)) {
      s.nothing = true;
    } else if (unit.node) {
      s = kernel_step(*unit.node, unit.operands);
    } else {
      s.loop = reinterpret_cast<LoopFunction>(code->symbol(loop_names[u]));
      SORUS_ASSERT(s.loop);
      if (unit.loop.has_partial_sums())
        s.finish = reinterpret_cast<FinishFunction>(code->symbol(loop_names[u] + "_finish"));
      s.first_buffer = buffers.size();
      for (const Value& v : unit.buffers) {
        const Slot& at = slots[static_cast<size_t>(slot(v))];
        auto index = static_cast<size_t>(at.index);
        if (at.kind != Slot::Kind::arena)
          places[at.kind == Slot::Kind::input ? index : inputs + index].push_back(buffers.size());
        buffers.push_back(at.kind == Slot::Kind::arena ? static_cast<char*>(arena.data()) + at.offset : nullptr);
      }
      for (const Strip& strip : unit.strips) {
        s.strips.push_back(kernel_step(*strip.node, strip.operands));
        s.strips.back().result_views[0].sizes[0] = strip.rows;
      }
      s.rows = unit.loop.rows;
      // A parallel region costs microseconds, more when threads sleep between regions; below that it does not pay.
      double bytes = unit.loop.bytes(), in_cache = 4 << 20;
      double nanoseconds = bytes / (bytes <= in_cache ? 100 : 15) + unit.loop.flops() / 40;
      s.wanted_threads = std::max<int64_t>(1, static_cast<int64_t>(nanoseconds / 15000));
    }
    steps.push_back(std::move(s));
  }
  for (size_t u = 0; u < units.size(); ++u)
    if (auto when = static_cast<size_t>(wait_at[u]); when > 0)
      (when < steps.size() ? steps[when].waits : waits_at_end).push_back(u);
}

void CompiledGraph::Impl::share_arena(const Tensor& memory) {
  SORUS_CHECK(static_cast<int64_t>(memory.nbytes()) >= report.arena_bytes, ValueError,
              "compiled {}: an arena of {} bytes was given, {} are needed", graph.name(), memory.nbytes(),
              report.arena_bytes);
  if (!arena.defined()) return;  // runs by kernels
  SORUS_CHECK(std::all_of(known.begin(), known.end(), [](const char* p) { return !p; }), Error,
              "compiled {}: it has run already, its arena cannot be changed", graph.name());
  const auto* from = static_cast<const char*>(arena.data());
  for (char*& b : buffers)  // those of inputs and outputs are not known yet
    if (b) b = static_cast<char*>(memory.data()) + (b - from);
  arena = memory;
}

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

Tensor CompiledGraph::Impl::tensor(int index, const Geometry& view, const TensorList& inputs,
                                   const TensorList& outputs) const {
  const Slot& s = slots[static_cast<size_t>(index)];
  if (s.kind == Slot::Kind::arena) {
    auto* data = static_cast<char*>(arena.data()) + s.offset;
    int64_t bytes = s.type.nbytes();
    return Tensor::from_storage(Storage::wrap(data, static_cast<size_t>(bytes), {}), view, s.type.dtype);
  }
  const Tensor& whole =
      s.kind == Slot::Kind::input ? inputs[static_cast<size_t>(s.index)] : outputs[static_cast<size_t>(s.index)];
  Geometry g = view;
  g.offset += whole.impl()->offset;
  return Tensor::from_storage(whole.storage(), g, s.type.dtype);
}

// Arguments are new in every run and stay out of it: their blocks go first when room is needed.
void CompiledGraph::Impl::keep_within_limit(const TensorList& inputs) {
  HostMemory* memory = HostMemory::active();
  if (!memory) return residency.reset();
  std::vector<char*> captured(known.begin() + traced.explicit_inputs,
                              known.begin() + static_cast<ptrdiff_t>(inputs.size()));
  bool ahead = num_threads() < omp_get_num_procs();  // who moves needs a core
  if (!residency || residency->limit() != memory->limit() || residency->ahead() != ahead || resident_at != captured) {
    std::vector<std::vector<HostMemory::Range>> touched(units.size());
    for (size_t u = 0; u < units.size(); ++u) {
      auto touch = [&](int number) {
        if (number < 0) return;
        const Slot& s = slots[static_cast<size_t>(number)];
        if (s.kind == Slot::Kind::arena) {
          touched[u].push_back(
              memory->range_of(static_cast<char*>(arena.data()) + s.offset, static_cast<size_t>(s.type.nbytes())));
        } else if (s.kind == Slot::Kind::input && s.index >= traced.explicit_inputs) {
          const Ref<Storage>& storage = inputs[static_cast<size_t>(s.index)].storage();
          touched[u].push_back(memory->range_of(storage->data(), storage->nbytes()));
        }
      };
      for (int s : steps[u].slots) touch(s);
      for (int s : steps[u].operand_slots) touch(s);
      for (const Value& v : units[u].buffers) touch(slot(v));
      for (const Step& strip : steps[u].strips)
        for (int s : strip.operand_slots) touch(s);
    }
    auto describe = [&](size_t u) {
      ProfileEvent e;
      this->describe(units[u], e);
      return e.source.known() ? fmt::format("{} at {}", e.name, e.source.to_string()) : e.name;
    };
    residency.emplace(*memory, touched, describe, ahead);
    resident_at = std::move(captured);
    report.moved_bytes = report.moved_ahead_bytes = 0;
    for (const Residency::Traffic& t : residency->traffic()) {
      report.moved_ahead_bytes += static_cast<int64_t>(t.ahead);
      report.moved_bytes += static_cast<int64_t>(t.ahead + t.at_once);
    }
  }
  residency->begin();
}

double CompiledGraph::Impl::predicted_wait(double seconds, double bytes_per_second) const {
  if (!residency) return 0;
  constexpr double kFlops = 4e10, kBytes = 1e10;  // a second; only their ratio counts
  std::vector<double> share;
  double all = 0, wait = 0;
  for (const Unit& u : units) {
    ProfileEvent e;
    describe(u, e);
    share.push_back(std::max(e.flops / kFlops, e.bytes / kBytes));
    all += share.back();
  }
  std::vector<Residency::Traffic> traffic = residency->traffic();
  for (size_t s = 0; s < traffic.size(); ++s) {
    double computing = s == 0 || all == 0 ? 0 : seconds * share[s - 1] / all;
    wait += static_cast<double>(traffic[s].at_once) / bytes_per_second;
    wait += std::max(0.0, static_cast<double>(traffic[s].ahead) / bytes_per_second - computing);
  }
  return wait;
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
  for (Step& kernel : s.strips)
    if (!kernel.fixed || kernel.ready_for != arrangement) prepare(kernel, inputs, outputs);
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

void CompiledGraph::Impl::prepare(Step& s, const TensorList& inputs, const TensorList& outputs) {
  s.inputs.clear();
  s.outputs.clear();
  s.ready_for = arrangement;
  for (size_t i = 0; i < s.operand_slots.size(); ++i) {
    const Value& v = s.node->inputs[i];
    if (s.operand_slots[i] >= 0) {
      s.inputs.push_back(tensor(s.operand_slots[i], s.views[i], inputs, outputs));
    } else if (v && v.node->is_constant()) {
      const TensorType& t = v.type();
      s.inputs.push_back(t.weak ? Tensor::weak_scalar(v.node->constant.scalar())
                                : Tensor::scalar(v.node->constant.scalar(), t.dtype));
    } else if (v) {  // filled with one number, and a kernel wants to see it
      TensorList one = run_graph_node(*v.node);
      s.inputs.push_back(one[static_cast<size_t>(v.index)]);
    } else {
      s.inputs.emplace_back();
    }
  }
  for (size_t i = 0; i < s.slots.size(); ++i)
    s.outputs.push_back(tensor(s.slots[i], s.result_views[i], inputs, outputs));
}

TensorList CompiledGraph::Impl::run_graph_node(const Node& node) {
  TensorList in;
  for (const Value& v : node.inputs)
    in.push_back(v ? run_graph_node(*v.node)[static_cast<size_t>(v.index)] : Tensor());
  return call(*node.op, in, node.attrs);
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
    if (!s.fixed || s.ready_for != arrangement) prepare(s, packed, outputs);
    // What goes out to host memory must not be in use.
    if (wait_at[at] > 0 && !residency)
      start(at, flying);
    else
      run_kernel(at);
    if (!s.fixed) {
      s.inputs.clear();
      s.outputs.clear();
    }
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
