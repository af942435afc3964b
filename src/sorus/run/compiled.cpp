#include "sorus/run/compiled.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <unordered_map>

#include "sorus/base/profile.h"
#include "sorus/base/threads.h"
#include "sorus/derive/cost.h"
#include "sorus/emit/preamble.h"
#include "sorus/kernels/scatter.h"
#include "sorus/run/execute.h"
#include "sorus/run/fuse.h"
#include "sorus/run/memory_plan.h"
#include "sorus/run/mirror.h"
#include "sorus/run/native_code.h"
#include "sorus/run/passes.h"
#include "sorus/run/schedule.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

using LoopFunction = void (*)(char* const*, int64_t, int64_t, char*);
using FinishFunction = void (*)(char* const*, char* const*, int64_t);

// Where a value lives.
struct Slot {
  enum class Kind : uint8_t { input, arena, output } kind = Kind::arena;
  int index = 0;  // input or explicit output
  int64_t offset = 0;
  TensorType type;
};

struct Step {
  // A loop:
  LoopFunction loop = nullptr;
  FinishFunction finish = nullptr;
  int64_t rows = 0, wanted_threads = 1;
  std::vector<int> slots;  // of the buffers, or of a kernel's results
  // A kernel call:
  const Node* node = nullptr;
  std::vector<int> operand_slots;  // -1: not given
  std::vector<Geometry> views, result_views;
  bool nothing = false;            // its parts are in place
  TensorList inputs, outputs;      // ready-made where nothing changes from run to run
  bool fixed = false;
};

// At the end of a step: `source`, seen through `view`, is copied into an input or an explicit output.
struct Copy {
  int source = -1;
  Geometry view;
  bool to_input = false;
  int target = 0;
  std::optional<Scalar> constant;
};

int64_t bytes_of(const TensorType& t) { return numel(t.shape) * static_cast<int64_t>(size_of(t.dtype)); }
bool linear(const Geometry& g) { return g.offset == 0 && is_contiguous(g.sizes, g.strides); }

void say_once(const std::string& why) {
  static std::once_flag flag;
  std::call_once(flag, [&] {
    fmt::print(stderr, "sorus: compiled graphs run by kernels, more slowly, since no C compiler could be used: {}\n", why);
  });
}

}  // namespace

struct CompiledGraph::Impl {
  TracedGraph traced;
  Graph graph;
  std::unique_ptr<Placement> placement;
  std::vector<Unit> units;
  std::vector<Slot> slots;
  std::unordered_map<Value, int> slot_of;
  std::vector<Step> steps;
  std::vector<Copy> copies;
  std::shared_ptr<NativeCode> code;
  std::string source;
  Tensor arena;
  Tensor scratch;
  int64_t scratch_bytes = 0;
  int scratch_threads = 0;
  CompileReport report;
  std::vector<PeakValue> peak;

  std::vector<Mirror> mirrors;

  explicit Impl(TracedGraph t) : traced(std::move(t)) {
    auto start = std::chrono::steady_clock::now();
    traced.graph = simplify_graph(
        expand_composites(simplify_graph(traced.graph), [](const OpDef& op) { return static_cast<bool>(op.kernel); }));
    mirrors = mirror_casts(traced);
    graph = simplify_graph(join_insets(simplify_graph(traced.graph)));
    placement = std::make_unique<Placement>(graph);
    units = fuse(graph, *placement);
    reorder();
    build_code();
    if (code) {
      place_values();
      make_steps();
    }
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  // ---- loops as C --------------------------------------------------------------------------------------------------

  std::vector<std::string> loop_names;

  void build_code() {
    std::unordered_map<std::string, int> known;
    std::vector<std::string> texts;
    for (const Unit& u : units) {
      if (u.node) {
        ++report.kernels;
        loop_names.emplace_back();
        continue;
      }
      ++report.loops;
      auto [it, fresh] = known.try_emplace(print_fused_loop(u.loop, "f"), static_cast<int>(known.size()));
      loop_names.push_back(fmt::format("sorus_loop{}", it->second));
      if (fresh) texts.push_back(print_fused_loop(u.loop, loop_names.back()));
      scratch_bytes = std::max(scratch_bytes, u.loop.scratch_bytes());
    }
    report.distinct_loops = static_cast<int>(texts.size());
    size_t files = std::clamp<size_t>(texts.size() / 6, 1, 4);
    std::vector<std::string> sources(files, std::string(c_preamble()) + "\n");
    for (const std::string& t : texts) {  // the longest job decides: fill the shortest file
      auto shortest = std::min_element(sources.begin(), sources.end(),
                                       [](const std::string& a, const std::string& b) { return a.size() < b.size(); });
      *shortest += t + "\n";
      source += t + "\n";
    }
    std::string why;
    code = NativeCode::build(sources, &why);
    if (code) {
      report.from_cache = code->from_cache();
    } else {
      report.without_compiler = why;
      say_once(why);
    }
  }

  // ---- memory ------------------------------------------------------------------------------------------------------

  int slot(const Value& v) {
    auto it = slot_of.find(v);
    SORUS_ASSERT(it != slot_of.end());
    return it->second;
  }

  Operand resolved(const Value& v) const {
    if (slot_of.contains(v) || !v.node->op || !v.node->op->is_view()) return placement->home(v);
    Operand in = resolved(v.node->inputs[0]);
    auto types = v.node->input_types();
    auto shown = v.node->op->view(TypeCall{*v.node->op, types, v.node->attrs}, in.view);
    SORUS_ASSERT(shown.has_value());
    return {in.source, *shown};
  }

  // Whether the loop reads graph input `in` only at the element it is about to write.
  static bool reads_elementwise(const Unit& u, const Value& in) {
    if (u.node) return false;
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

  void reorder() {
    std::unordered_map<Value, int> numbers;
    std::vector<int64_t> bytes;
    auto number = [&](const Value& v) {
      auto [it, fresh] = numbers.try_emplace(v, static_cast<int>(bytes.size()));
      if (fresh) bytes.push_back(v.node->is_input() || !(placement->home(v).source == v) ? 0 : bytes_of(v.type()));
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
          (unit.written[b] ? plan[u].makes : plan[u].reads).push_back(number(unit.buffers[b]));
          if (unit.written[b]) made_by[unit.buffers[b]] = u;
        }
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
      Node* target = graph.inputs()[static_cast<size_t>(traced.write_targets[static_cast<size_t>(i - traced.explicit_outputs)])];
      plan[made->second].overwrites.push_back(number({target, 0}));
    }
    std::vector<Unit> ordered;
    for (int u : schedule(plan, bytes)) ordered.push_back(std::move(units[static_cast<size_t>(u)]));
    units = std::move(ordered);
  }

  void place_values() {
    std::unordered_map<Value, int> made_by, last_read;
    for (Node* in : graph.inputs()) {
      slot_of[{in, 0}] = static_cast<int>(slots.size());
      slots.push_back({Slot::Kind::input, static_cast<int>(slots.size()), 0, in->outputs[0]});
    }
    for (size_t u = 0; u < units.size(); ++u) {
      const Unit& unit = units[u];
      int at = static_cast<int>(u);
      auto make = [&](const Value& v) {
        if (!made_by.try_emplace(v, at).second) return;  // another part of it was there before
        slot_of[v] = static_cast<int>(slots.size());
        slots.push_back({Slot::Kind::arena, 0, 0, v.type()});
      };
      if (unit.node) {
        if (placement->is_assembled(unit.node)) continue;
        for (size_t i = 0; i < unit.node->outputs.size(); ++i)
          make(placement->home({const_cast<Node*>(unit.node), static_cast<int>(i)}).source);
        for (const Operand& o : unit.operands)
          if (o.source) last_read[o.source] = at;
      } else {
        for (size_t b = 0; b < unit.buffers.size(); ++b) {
          if (unit.written[b]) make(unit.buffers[b]);
          else last_read[unit.buffers[b]] = at;
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
      int64_t bytes = bytes_of(v.type());
      lives.push_back({std::max<int64_t>(bytes, 1), made, read == last_read.end() ? made : std::max(made, read->second)});
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

  void find_peak(const std::vector<Lifetime>& lives, const std::vector<int>& temporary,
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
      peak.push_back({v.node->op->name(), v.type(), lives[i].bytes, v.node->source});
    }
    std::stable_sort(peak.begin(), peak.end(), [](const PeakValue& a, const PeakValue& b) { return a.bytes > b.bytes; });
  }

  // ---- steps -------------------------------------------------------------------------------------------------------

  void make_steps() {
    for (size_t u = 0; u < units.size(); ++u) {
      const Unit& unit = units[u];
      Step s;
      if (unit.node && placement->is_assembled(unit.node)) {
        s.nothing = true;
      } else if (unit.node) {
        s.node = unit.node;
        for (size_t i = 0; i < unit.node->outputs.size(); ++i) {
          Operand home = placement->home({const_cast<Node*>(unit.node), static_cast<int>(i)});
          s.slots.push_back(slot(home.source));
          s.result_views.push_back(home.view);
        }
        for (const Operand& o : unit.operands) {
          s.operand_slots.push_back(o.source && slot_of.contains(o.source) ? slot(o.source) : -1);
          s.views.push_back(o.view);
        }
        s.fixed = true;
        auto in_arena = [&](int i) { return i < 0 || slots[static_cast<size_t>(i)].kind == Slot::Kind::arena; };
        for (int i : s.slots) s.fixed &= in_arena(i);
        for (int i : s.operand_slots) s.fixed &= in_arena(i);
        for (const Operand& o : unit.operands) s.fixed &= !o.source || slot_of.contains(o.source);
      } else {
        s.loop = reinterpret_cast<LoopFunction>(code->symbol(loop_names[u]));
        SORUS_ASSERT(s.loop);
        if (unit.loop.has_partial_sums())
          s.finish = reinterpret_cast<FinishFunction>(code->symbol(loop_names[u] + "_finish"));
        for (const Value& v : unit.buffers) s.slots.push_back(slot(v));
        s.rows = unit.loop.rows;
        // A parallel region costs microseconds, more when threads sleep between regions; below that it does not pay.
        double bytes = unit.loop.bytes(), in_cache = 4 << 20;
        double nanoseconds = bytes / (bytes <= in_cache ? 100 : 15) + unit.loop.flops() / 40;
        s.wanted_threads = std::max<int64_t>(1, static_cast<int64_t>(nanoseconds / 15000));
      }
      steps.push_back(std::move(s));
    }
  }

  char* address(const Slot& s, const TensorList& inputs, const TensorList& outputs) const {
    switch (s.kind) {
      case Slot::Kind::input:
        return static_cast<char*>(inputs[static_cast<size_t>(s.index)].data());
      case Slot::Kind::output:
        return static_cast<char*>(outputs[static_cast<size_t>(s.index)].data());
      default:
        return static_cast<char*>(arena.data()) + s.offset;
    }
  }

  Tensor tensor(int index, const Geometry& view, const TensorList& inputs, const TensorList& outputs) const {
    const Slot& s = slots[static_cast<size_t>(index)];
    if (s.kind == Slot::Kind::arena) {
      auto* data = static_cast<char*>(arena.data()) + s.offset;
      int64_t bytes = bytes_of(s.type);
      return Tensor::from_storage(Storage::wrap(data, static_cast<size_t>(bytes), {}), view, s.type.dtype);
    }
    const Tensor& whole = s.kind == Slot::Kind::input ? inputs[static_cast<size_t>(s.index)] : outputs[static_cast<size_t>(s.index)];
    Geometry g = view;
    g.offset += whole.impl()->offset;
    return Tensor::from_storage(whole.storage(), g, s.type.dtype);
  }

  void run_loop(const Step& s, const TensorList& inputs, const TensorList& outputs) {
    constexpr size_t kMany = 128;
    std::array<char*, kMany> few;
    std::vector<char*> many;
    char** buffers = few.data();
    if (s.slots.size() > kMany) {
      many.resize(s.slots.size());
      buffers = many.data();
    }
    for (size_t i = 0; i < s.slots.size(); ++i)
      buffers[i] = address(slots[static_cast<size_t>(s.slots[i])], inputs, outputs);
    int64_t threads = std::min({s.wanted_threads, s.rows, static_cast<int64_t>(num_threads())});
    std::array<char*, 1024> parts;
    threads = std::clamp<int64_t>(threads, 1, 1024);
    auto* base = static_cast<char*>(scratch.data());
    for (int64_t i = 0; i < threads; ++i) parts[static_cast<size_t>(i)] = base + i * scratch_bytes;
    if (threads == 1) {
      s.loop(buffers, 0, s.rows, base);
    } else {
#pragma omp parallel num_threads(static_cast<int>(threads))
      {
        FlushDenormals flush;
        int64_t i = omp_get_thread_num(), n = omp_get_num_threads();
        for (int64_t part = i; part < threads; part += n)  // the runtime may give fewer than asked for
          s.loop(buffers, s.rows * part / threads, s.rows * (part + 1) / threads, parts[static_cast<size_t>(part)]);
      }
    }
    if (s.finish) s.finish(buffers, parts.data(), threads);
  }

  void prepare(Step& s, const TensorList& inputs, const TensorList& outputs) {
    s.inputs.clear();
    s.outputs.clear();
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
    for (size_t i = 0; i < s.slots.size(); ++i) s.outputs.push_back(tensor(s.slots[i], s.result_views[i], inputs, outputs));
  }

  static TensorList run_graph_node(const Node& node) {
    TensorList in;
    for (const Value& v : node.inputs) in.push_back(v ? run_graph_node(*v.node)[static_cast<size_t>(v.index)] : Tensor());
    return call(*node.op, in, node.attrs);
  }

  TensorList run(TensorSpan explicit_inputs) {
    for (Mirror& m : mirrors) m.refresh(traced);
    if (!code) return run_without_compiler(explicit_inputs);
    SORUS_CHECK(static_cast<int>(explicit_inputs.size()) == traced.explicit_inputs, ValueError,
                "compiled {}: expected {} inputs, got {}", graph.name(), traced.explicit_inputs, explicit_inputs.size());
    GradMode off(false);
    FlushDenormals flush;
    TensorList inputs(explicit_inputs.begin(), explicit_inputs.end()), packed = inputs;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const TensorType& t = graph.inputs()[i]->outputs[0];
      SORUS_CHECK(inputs[i].sizes() == t.shape && inputs[i].dtype() == t.dtype, ValueError,
                  "compiled {}: input {} is {}, expected {}", graph.name(), i, inputs[i].type().to_string(), t.to_string());
      if (inputs[i].is_contiguous()) continue;
      packed[i] = Tensor::empty(t.shape, t.dtype);
      copy_elements(packed[i], inputs[i]);
    }
    packed.insert(packed.end(), traced.captures.begin(), traced.captures.end());
    TensorList outputs;
    for (int i = 0; i < traced.explicit_outputs; ++i) {
      const TensorType& t = graph.outputs()[static_cast<size_t>(i)].type();
      outputs.push_back(Tensor::empty(t.shape, t.dtype));
    }
    if (scratch_threads < num_threads()) {
      scratch_threads = num_threads();
      scratch = Tensor::empty({std::max<int64_t>(scratch_bytes * scratch_threads, 64)}, DType::u8);
      // Tiny storages are only aligned to a word; loops ask for 64 bytes.
      if (scratch.nbytes() < 4096) scratch = Tensor::empty({4096}, DType::u8);
    }
    for (size_t at = 0; at < steps.size(); ++at) {
      Step& s = steps[at];
      if (s.nothing) continue;
      ProfileSpan span(s.loop ? "loop" : "kernel", [&](ProfileEvent& e) { describe(units[at], e); });
      if (s.loop) {
        for (const Unit::IndexCheck& c : units[at].checks) check_indices(c, packed, outputs);
        run_loop(s, packed, outputs);
        continue;
      }
      if (!s.fixed || s.outputs.empty()) prepare(s, packed, outputs);
      SourceScope source(s.node->source);
      if (s.node->op->is_view()) {
        copy_elements(s.outputs[0].with_geometry({s.inputs[0].sizes(), contiguous_strides(s.inputs[0].sizes()), s.outputs[0].impl()->offset}),
                      s.inputs[0]);
      } else {
        TensorList out = s.outputs;
        current_interpreter().run(*s.node->op, s.inputs, s.node->attrs, out);
      }
      if (!s.fixed) {
        s.inputs.clear();
        s.outputs.clear();
      }
    }
    write_back(packed, outputs);
    for (int i = 0; i < traced.explicit_inputs; ++i) {  // an argument that was written, and was not contiguous
      bool written = std::find(traced.write_targets.begin(), traced.write_targets.end(), i) != traced.write_targets.end();
      if (written && !packed[static_cast<size_t>(i)].is(inputs[static_cast<size_t>(i)]))
        copy_elements(inputs[static_cast<size_t>(i)], packed[static_cast<size_t>(i)]);
    }
    for (int t : traced.write_targets) packed[static_cast<size_t>(t)].storage()->bump_version();
    for (Mirror& m : mirrors) m.keep(traced);
    return outputs;
  }

  TensorList run_without_compiler(TensorSpan inputs) {
    TensorList out = run_traced(traced, inputs);
    for (Mirror& m : mirrors) m.keep(traced);
    return out;
  }

  void check_indices(const Unit::IndexCheck& c, const TensorList& inputs, const TensorList& outputs) const {
    Tensor index = tensor(slot_of.at(c.index.source), c.index.view, inputs, outputs);
    if (!index.is_contiguous()) {
      Tensor packed = Tensor::empty(index.sizes(), index.dtype());
      copy_elements(packed, index);
      index = packed;
    }
    SourceScope source(c.node->source);
    kernels::check_indices(c.node->op->name(), index.data(), index.dtype(), index.numel(), c.size);
  }

  static void describe(const Unit& unit, ProfileEvent& e) {
    if (unit.node) {
      auto types = unit.node->input_types();
      e.name = unit.node->op->name();
      for (const TensorType* t : types) e.detail += (e.detail.empty() ? "" : ", ") + (t ? t->to_string() : "none");
      e.source = unit.node->source;
      Cost c = cost_of(TypeCall{*unit.node->op, types, unit.node->attrs});
      e.flops = c.flops, e.bytes = c.bytes;
      return;
    }
    for (const Node* n : unit.members) {
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

  void write_back(const TensorList& inputs, const TensorList& outputs) {
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
      const Tensor& target = c.to_input ? inputs[static_cast<size_t>(c.target)] : outputs[static_cast<size_t>(c.target)];
      copy_elements(target, c.constant ? Tensor::scalar(*c.constant, target.dtype()) : sources[i]);
    }
  }
};

CompiledGraph::CompiledGraph(TracedGraph traced) : impl_(std::make_unique<Impl>(std::move(traced))) {}
CompiledGraph::~CompiledGraph() = default;
CompiledGraph::CompiledGraph(CompiledGraph&&) noexcept = default;
TensorList CompiledGraph::run(TensorSpan inputs) { return impl_->run(inputs); }
const Graph& CompiledGraph::graph() const { return impl_->graph; }
const CompileReport& CompiledGraph::report() const { return impl_->report; }
const std::vector<PeakValue>& CompiledGraph::peak() const { return impl_->peak; }
const std::string& CompiledGraph::source() const { return impl_->source; }

}  // namespace sorus
