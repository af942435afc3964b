// The list of steps that a compiled graph is run as, and the tensors its kernels are called with.
#include <algorithm>

#include "sorus/run/compiled_impl.h"
#include "sorus/run/execute.h"

namespace sorus {

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

void CompiledGraph::Impl::prepare(Step& s, const TensorList& inputs, const TensorList& outputs) {
  if (s.fixed && s.ready_for == arrangement) return;
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

void CompiledGraph::Impl::let_go(Step& s) {
  if (s.fixed) return;
  s.inputs.clear();
  s.outputs.clear();
}

TensorList CompiledGraph::Impl::run_graph_node(const Node& node) {
  TensorList in;
  for (const Value& v : node.inputs)
    in.push_back(v ? run_graph_node(*v.node)[static_cast<size_t>(v.index)] : Tensor());
  return call(*node.op, in, node.attrs);
}

}  // namespace sorus
