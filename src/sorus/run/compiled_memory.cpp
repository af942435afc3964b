// Memory of a compiled graph: the order of its units, a place for each value, which results need no copy, and what is
// in reach when under a memory limit.
#include <omp.h>

#include <algorithm>

#include "sorus/base/threads.h"
#include "sorus/run/compiled_impl.h"
#include "sorus/run/schedule.h"
#include "sorus/tensor/storage.h"

namespace sorus {
namespace {

bool linear(const Geometry& g) { return g.offset == 0 && is_contiguous(g.sizes, g.strides); }

}  // namespace

int CompiledGraph::Impl::slot(const Value& v) {
  auto it = slot_of.find(v);
  SORUS_ASSERT(it != slot_of.end());
  return it->second;
}

Operand CompiledGraph::Impl::resolved(const Value& v) const {
  if (slot_of.contains(v) || !v.node->op || !v.node->op->is_view()) return placement->home(v);
  Operand in = resolved(v.node->inputs[0]);
  auto types = v.node->input_types();
  auto shown = v.node->op->view(TypeCall{*v.node->op, types, v.node->attrs}, in.view);
  if (!shown) return placement->home(v);  // a copy of its own: no strides can show it
  return {in.source, *shown};
}

// Whether the loop reads graph input `in` only at the element it is about to write.
bool CompiledGraph::Impl::reads_elementwise(const Unit& u, const Value& in) {
  if (u.node) return false;
  for (const Strip& s : u.strips)  // which are made again and again while it runs
    for (const Operand& o : s.operands)
      if (o.source == in) return false;
  for (const FusedValue& v : u.loop.values) {
    if (v.domain == Domain::row) return false;  // the row is walked again when it is known
    for (const FusedInput& i : v.inputs) {
      if (i.kind != FusedInput::Kind::buffer || !(u.buffers[static_cast<size_t>(i.index)] == in)) continue;
      bool whole = i.offset == 0 && (u.loop.columns == 1 || i.access.inner == 1) && i.access.rows.size() <= 1 &&
                   (i.access.rows.empty() || i.access.rows[0].stride == u.loop.columns);
      if (!whole || v.domain != Domain::full) return false;
    }
  }
  return true;
}

void CompiledGraph::Impl::reorder() {
  std::unordered_map<Value, int> numbers;
  std::vector<int64_t> bytes;
  auto number = [&](const Value& v) {
    auto [it, fresh] = numbers.try_emplace(v, static_cast<int>(bytes.size()));
    if (fresh) bytes.push_back(v.node->is_input() || !(placement->home(v).source == v) ? 0 : v.type().nbytes());
    return it->second;
  };
  std::vector<ScheduleUnit> plan(units.size());
  std::unordered_map<Value, size_t> made_by;
  for (size_t u = 0; u < units.size(); ++u) {
    const Unit& unit = units[u];
    if (unit.node) {
      for (size_t i = 0; i < unit.node->outputs.size(); ++i) {
        Value v{const_cast<Node*>(unit.node), static_cast<int>(i)};
        plan[u].makes.push_back(number(v));
        made_by[v] = u;
      }
      for (const Operand& o : unit.operands)
        if (o.source) plan[u].reads.push_back(number(o.source));
    } else {
      for (size_t b = 0; b < unit.buffers.size(); ++b) {
        if (unit.is_strip(b)) continue;
        (unit.written[b] ? plan[u].makes : plan[u].reads).push_back(number(unit.buffers[b]));
        if (unit.written[b]) made_by[unit.buffers[b]] = u;
      }
      for (const Strip& s : unit.strips)
        for (const Operand& o : s.operands)
          if (o.source) plan[u].reads.push_back(number(o.source));
    }
    std::sort(plan[u].reads.begin(), plan[u].reads.end());
    plan[u].reads.erase(std::unique(plan[u].reads.begin(), plan[u].reads.end()), plan[u].reads.end());
  }
  // New values of captured tensors are computed into their memory, results into memory of the caller.
  for (int i = 0; i < static_cast<int>(graph.outputs().size()); ++i) {
    Operand o = resolved(graph.outputs()[static_cast<size_t>(i)]);
    auto made = made_by.find(o.source);
    if (made == made_by.end()) continue;
    bytes[static_cast<size_t>(number(o.source))] = 0;
    if (i < traced.explicit_outputs) continue;
    Node* target =
        graph.inputs()[static_cast<size_t>(traced.write_targets[static_cast<size_t>(i - traced.explicit_outputs)])];
    plan[made->second].overwrites.push_back(number({target, 0}));
  }
  std::vector<ScheduleUnit> chained = plan;
  int before = -1;  // calls of other ranks wait for each other
  for (size_t u = 0; u < units.size(); ++u) {
    if (!units[u].node || !units[u].node->op->calls_ranks()) continue;
    chained[u].stays = true;
    if (before >= 0) chained[u].reads.push_back(before);
    before = static_cast<int>(bytes.size());
    bytes.push_back(0);
    chained[u].makes.push_back(before);
  }
  std::vector<int> order = schedule(chained, bytes);
  wait_at.assign(units.size(), 0);
  if (before >= 0) reorder_beside(plan, order);
  std::vector<Unit> ordered;
  for (int u : order) ordered.push_back(std::move(units[static_cast<size_t>(u)]));
  units = std::move(ordered);
}

void CompiledGraph::Impl::reorder_beside(const std::vector<ScheduleUnit>& plan, std::vector<int>& order) {
  // A second, of what one core does: only their ratio counts, and what it says of the order.
  constexpr double kFlops = 4e10, kBytes = 1e10, kExchangedBytes = 2e9, kExchange = 20e-6;
  std::vector<BesideUnit> what(units.size());
  for (size_t u = 0; u < units.size(); ++u) {
    const Node* node = units[u].node;
    if (node && node->op->calls_ranks()) {
      auto types = node->input_types();
      Exchange e = node->op->exchange(TypeCall{*node->op, types, node->attrs});
      what[u] = {kExchange + static_cast<double>(e.bytes) / kExchangedBytes, true, e.bytes, e.group, false};
      what[u].may_run_beside = node->op->beside && std::ranges::all_of(units[u].operands, [](const Operand& o) {
                                 return !o.source || is_contiguous(o.view.sizes, o.view.strides);
                               });
      for (size_t i = 0; i < node->outputs.size(); ++i) {
        Geometry home = placement->home({const_cast<Node*>(node), static_cast<int>(i)}).view;
        what[u].may_run_beside &= is_contiguous(home.sizes, home.strides);
      }
      ++report.exchanges;
    } else {
      ProfileEvent e;
      describe(units[u], e);
      what[u].seconds = std::max(e.flops / kFlops, e.bytes / kBytes);
    }
  }
  BesidePlan best = run_beside(plan, what, order, beside);
  order = std::move(best.order);
  for (size_t i = 0; i < order.size(); ++i) {
    wait_at[i] = best.wait_at[static_cast<size_t>(order[i])];
    report.beside += wait_at[i] > 0;
  }
}

void CompiledGraph::Impl::place_values() {
  std::unordered_map<Value, int> made_by, last_read;
  for (Node* in : graph.inputs()) {
    slot_of[{in, 0}] = static_cast<int>(slots.size());
    slots.push_back({Slot::Kind::input, static_cast<int>(slots.size()), 0, in->outputs[0]});
  }
  for (size_t u = 0; u < units.size(); ++u) {
    const Unit& unit = units[u];
    int at = static_cast<int>(u);
    auto read = [&](const Value& v, int when) {
      int& last = last_read.try_emplace(v, when).first->second;
      last = std::max(last, when);
    };
    auto make = [&](const Value& v, const TensorType& type) {
      if (!made_by.try_emplace(v, at).second) return;  // another part of it was there before
      slot_of[v] = static_cast<int>(slots.size());
      slots.push_back({Slot::Kind::arena, 0, 0, type});
    };
    if (unit.node) {
      if (placement->is_assembled(unit.node)) continue;
      for (size_t i = 0; i < unit.node->outputs.size(); ++i) {
        Value home = placement->home({const_cast<Node*>(unit.node), static_cast<int>(i)}).source;
        make(home, home.type());
      }
      int last = std::max(at, wait_at[u] - 1);  // until it is waited for nobody else has this memory
      for (const Operand& o : unit.operands)
        if (o.source) read(o.source, last);
      for (size_t i = 0; last > at && i < unit.node->outputs.size(); ++i)
        read(placement->home({const_cast<Node*>(unit.node), static_cast<int>(i)}).source, last);
    } else {
      for (size_t b = 0; b < unit.buffers.size(); ++b) {
        if (unit.written[b])
          make(unit.buffers[b], unit.buffers[b].type());
        else if (!unit.is_strip(b))
          read(unit.buffers[b], at);
      }
      for (const Strip& s : unit.strips) {
        TensorType strip = s.node->outputs[0];
        strip.shape[0] = s.rows;
        make(unit.buffers[static_cast<size_t>(s.buffer)], strip);
        for (const Operand& o : s.operands)
          if (o.source) read(o.source, at);
      }
    }
  }
  int end = static_cast<int>(units.size());
  auto whole_of = [&](const Operand& o) {
    return made_by.contains(o.source) && slots[static_cast<size_t>(slot(o.source))].kind == Slot::Kind::arena &&
           linear(o.view) && numel(o.view.sizes) == numel(o.source.type().shape);
  };
  auto copy_to = [&](const Value& v, bool to_input, int target) {
    Copy c;
    c.to_input = to_input;
    c.target = target;
    Operand o = resolved(v);
    if (o.source.node->is_constant()) {
      c.constant = o.source.node->constant.scalar();
    } else if (!slot_of.contains(o.source)) {  // a filled tensor that only the caller sees
      const Node& n = *o.source.node;
      SORUS_ASSERT(n.op && n.op->each);
      const Expr& e = n.op->each->results[0];
      const std::string& param = n.op->each->params[static_cast<size_t>(e->index)];
      c.constant = n.attrs[static_cast<size_t>(n.op->signature.attr_index(param))].scalar();
    } else {
      c.source = slot(o.source);
      c.view = o.view;
      last_read[o.source] = end;
    }
    copies.push_back(std::move(c));
    ++report.copies;
  };
  // New values of captured tensors first: an update in place saves more than an output that is not copied.
  const auto& outputs = graph.outputs();
  for (size_t w = 0; w < traced.write_targets.size(); ++w) {
    const Value& v = outputs[static_cast<size_t>(traced.explicit_outputs) + w];
    int target = traced.write_targets[w];
    Value in{graph.inputs()[static_cast<size_t>(target)], 0};
    Operand o = resolved(v);
    if (o.source == in && linear(o.view)) continue;  // unchanged after all
    bool direct = whole_of(o) && o.source.type().dtype == in.type().dtype;
    if (direct) {
      int made = made_by[o.source];
      auto read = last_read.find(in);
      direct = read == last_read.end() || read->second < made ||
               (read->second == made && reads_elementwise(units[static_cast<size_t>(made)], in));
      for (const Value& out : outputs)  // the caller wants the old value as well
        direct &= !(resolved(out).source == in);
    }
    if (direct) {
      Slot& s = slots[static_cast<size_t>(slot(o.source))];
      s.kind = Slot::Kind::input;
      s.index = target;
    } else {
      copy_to(v, true, target);
    }
  }
  for (int i = 0; i < traced.explicit_outputs; ++i) {
    const Value& v = outputs[static_cast<size_t>(i)];
    Operand o = resolved(v);
    if (whole_of(o) && last_read[o.source] < end) {
      Slot& s = slots[static_cast<size_t>(slot(o.source))];
      s.kind = Slot::Kind::output;
      s.index = i;
    } else {
      copy_to(v, false, i);
    }
  }
  std::vector<Lifetime> lives;
  std::vector<int> temporary;
  for (auto& [v, made] : made_by) {
    int s = slot(v);
    if (slots[static_cast<size_t>(s)].kind != Slot::Kind::arena) continue;
    auto read = last_read.find(v);
    int64_t bytes = slots[static_cast<size_t>(s)].type.nbytes();
    lives.push_back(
        {std::max<int64_t>(bytes, 1), made, read == last_read.end() ? made : std::max(made, read->second)});
    temporary.push_back(s);
  }
  MemoryPlan plan = plan_memory(lives);
  for (size_t i = 0; i < temporary.size(); ++i) slots[static_cast<size_t>(temporary[i])].offset = plan.offsets[i];
  find_peak(lives, temporary, made_by);
  report.arena_bytes = plan.bytes;
  report.arena_lower_bound = plan.lower_bound;
  if (plan.bytes > (int64_t{64} << 20)) empty_cache();  // what eager code left is not needed beside the arena
  arena = Tensor::empty({plan.bytes}, DType::u8);
}

void CompiledGraph::Impl::find_peak(const std::vector<Lifetime>& lives, const std::vector<int>& temporary,
                                    const std::unordered_map<Value, int>& made_by) {
  std::vector<int64_t> change(units.size() + 1, 0);
  for (const Lifetime& l : lives) {
    change[static_cast<size_t>(l.first)] += l.bytes;
    if (static_cast<size_t>(l.last) + 1 < change.size()) change[static_cast<size_t>(l.last) + 1] -= l.bytes;
  }
  int64_t alive = 0, most = 0;
  int at = 0;
  for (size_t i = 0; i < change.size(); ++i)
    if ((alive += change[i]) > most) most = alive, at = static_cast<int>(i);
  std::unordered_map<int, Value> values;
  for (const auto& [v, made] : made_by) values[slot(v)] = v;
  for (size_t i = 0; i < lives.size(); ++i) {
    if (lives[i].first > at || lives[i].last < at) continue;
    const Value& v = values.at(temporary[i]);
    const TensorType& type = slots[static_cast<size_t>(temporary[i])].type;
    peak.push_back({v.node->op->name(), type, lives[i].bytes, v.node->source});
  }
  std::stable_sort(peak.begin(), peak.end(),
                   [](const PeakValue& a, const PeakValue& b) { return a.bytes > b.bytes; });
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

}  // namespace sorus
