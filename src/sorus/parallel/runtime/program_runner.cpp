#include "sorus/parallel/runtime/program_runner.h"

#include <algorithm>
#include <array>
#include <list>
#include <map>
#include <set>

#include "sorus/base/error.h"
#include "sorus/graph/call.h"
#include "sorus/parallel/comm/groups.h"
#include "sorus/parallel/comm/local.h"
#include "sorus/run/compiled.h"
#include "sorus/run/execute.h"
#include "sorus/tensor/copy.h"

namespace sorus::parallel {
namespace {

// How two partial values become one.
const OpDef& combination(ShardFactor::Kind op) {
  switch (op) {
    case ShardFactor::Kind::sum:
      return find_op("add");
    case ShardFactor::Kind::prod:
      return find_op("mul");
    case ShardFactor::Kind::max:
      return find_op("maximum");
    default:
      return find_op("minimum");
  }
}

}  // namespace

struct ProgramRunner::Impl {
  Program program;
  TensorList captures;
  std::string group;
  bool compiled;
  std::vector<std::vector<std::unique_ptr<CompiledGraph>>> ready;  // by segment and graph
  std::vector<std::vector<TracedGraph>> traced;
  std::vector<TensorList> values;  // by slot and micro-batch; the first where it does not vary
  Tensor arena;                    // of all segments

  struct Leaving {
    std::shared_ptr<comm::Work> work;
    Tensor tensor;
  };
  std::vector<Leaving> leaving;

  Impl(Program p, TensorList c, std::string g, bool use_compiler, const BesideOptions& beside)
      : program(std::move(p)), captures(std::move(c)), group(std::move(g)), compiled(use_compiler) {
    // What is fused depends on where stages begin; their numbers shall not.
    Rounding rounding = program.micro_batches > 1 ? Rounding::by_operator : Rounding::joint;
    for (Segment& s : program.segments) {
      ready.emplace_back();
      traced.emplace_back();
      for (Graph& graph : s.graphs) {
        TracedGraph t;
        t.graph = std::move(graph);
        t.explicit_inputs = static_cast<int>(s.reads.size());
        t.explicit_outputs = static_cast<int>(s.makes.size());
        for (int c : s.captures) t.captures.push_back(captures[static_cast<size_t>(c)]);
        for (int c : s.writes)
          for (size_t i = 0; i < s.captures.size(); ++i)
            if (s.captures[i] == c) t.write_targets.push_back(t.explicit_inputs + static_cast<int>(i));
        if (compiled)
          ready.back().push_back(std::make_unique<CompiledGraph>(std::move(t), beside, rounding));
        else
          traced.back().push_back(std::move(t));
        if (compiled) share_arena(*ready.back().back());
      }
    }
    for (auto& graphs : ready)
      for (auto& g : graphs) g->share_arena(arena);
  }

  // The largest so far at once, so that they do not all lie beside each other first.
  void share_arena(CompiledGraph& g) {
    int64_t bytes = g.report().arena_bytes;
    if (!arena.defined() || bytes > static_cast<int64_t>(arena.nbytes()))
      arena = Tensor::empty({std::max<int64_t>(bytes, 4096)}, DType::u8);  // small storages are less aligned
    g.share_arena(arena);
  }

  // What a kernel of a segment needs beside its operands; kernels run one after the other.
  int64_t workspace(size_t segment) const {
    int64_t most = 0;
    for (const auto& g : ready[segment])
      for (const auto& n : g->graph().nodes()) {
        if (!n->op) continue;
        int64_t bytes = g->packed_bytes(*n);
        if (auto types = n->input_types(); n->op->calls_ranks())
          bytes += n->op->exchange(TypeCall{*n->op, types, n->attrs}).workspace;
        most = std::max(most, bytes);
      }
    return most;
  }

  // Values by the actions that make them and drop them; one that is on its way is there until it is taken.
  RankMemory memory(int threads, const std::vector<int>& taken) const {
    RankMemory m;
    for (const Tensor& t : captures)
      if (t.defined()) m.captured += static_cast<int64_t>(t.nbytes());
    if (arena.defined()) m.arena = static_cast<int64_t>(arena.nbytes());
    for (const auto& graphs : ready)
      for (const auto& g : graphs) {
        m.arena += std::max<int64_t>(g->report().scratch_bytes * threads, 4096) + g->report().filled_bytes;
        m.captured += g->report().mirrored_bytes;
      }
    int64_t now = 0;
    using Key = std::pair<int, int>;
    std::set<Key> alive, dropped;
    auto key = [&](int slot, int micro) {
      return Key{slot, program.slots[static_cast<size_t>(slot)].varies ? micro : -1};
    };
    auto bytes = [&](const Key& k) { return program.slots[static_cast<size_t>(k.first)].type.nbytes(); };
    std::map<int, std::list<Key>> leaving;  // to each rank, in the order of sending
    // What does not fit where messages wait stays with the sender, whole.
    auto leaves_later = [&](const Key& k) {
      for (const auto& [peer, messages] : leaving) {
        int64_t before = 0;
        for (const Key& m : messages)
          if ((before += bytes(m) + 16) > comm::kRing && m == k) return true;
      }
      return false;
    };
    auto let_go = [&] {
      std::erase_if(dropped, [&](const Key& k) {
        bool gone = !leaves_later(k);
        if (gone) now -= bytes(k);
        return gone;
      });
    };
    auto make = [&](int slot, int micro) {
      if (alive.insert(key(slot, micro)).second) now += bytes(key(slot, micro));
    };
    for (size_t s = 0; s < static_cast<size_t>(program.arguments); ++s)
      for (int micro = 0; micro < (program.slots[s].varies ? program.micro_batches : 1); ++micro)
        make(static_cast<int>(s), micro);
    m.values = now;
    std::multimap<int, std::pair<int, Key>> taken_at;
    for (int i = 0; i < static_cast<int>(program.actions.size()); ++i) {
      const Action& a = program.actions[static_cast<size_t>(i)];
      auto [first, end] = taken_at.equal_range(i);
      for (auto it = first; it != end; ++it) {
        std::list<Key>& messages = leaving[it->second.first];
        messages.erase(std::find(messages.begin(), messages.end(), it->second.second));
      }
      if (first != end) let_go();
      int64_t beside = 0;
      if (a.kind == Action::Kind::run) {
        for (int s : program.segments[static_cast<size_t>(a.what)].makes) make(s, a.micro_batch);
        beside = workspace(static_cast<size_t>(a.what));
      }
      if (a.kind == Action::Kind::receive) make(a.what, a.micro_batch);
      if (a.kind == Action::Kind::add || a.kind == Action::Kind::join) make(a.to, -1);
      if (a.kind == Action::Kind::send) {
        leaving[a.peer].push_back(key(a.what, a.micro_batch));
        taken_at.emplace(taken[static_cast<size_t>(i)], std::pair(a.peer, key(a.what, a.micro_batch)));
      }
      m.values = std::max(m.values, now + beside);
      for (auto [slot, micro] : a.last) {
        Key k = key(slot, micro);
        if (!alive.erase(k)) continue;
        if (leaves_later(k))
          dropped.insert(k);
        else
          now -= bytes(k);
      }
    }
    return m;
  }

  Tensor& value(int slot, int micro) {
    bool varies = program.slots[static_cast<size_t>(slot)].varies;
    return values[static_cast<size_t>(slot)][varies ? static_cast<size_t>(micro) : 0];
  }
  int tag(int slot, int micro) const {
    return program.slots[static_cast<size_t>(slot)].id * program.micro_batches + std::max(micro, 0);
  }
  int capture_tag(int capture) const { return (1 << 30) + capture; }

  void run_segment(int which, int micro) {
    const Segment& s = program.segments[static_cast<size_t>(which)];
    auto at = static_cast<size_t>(s.graph_of[micro < 0 ? 0 : static_cast<size_t>(micro)]);
    TensorList in;
    for (int slot : s.reads) in.push_back(value(slot, micro));
    TensorList out = compiled ? ready[static_cast<size_t>(which)][at]->run(in)
                              : run_traced(traced[static_cast<size_t>(which)][at], in);
    for (size_t i = 0; i < s.makes.size(); ++i) value(s.makes[i], micro) = out[i];
  }

  void add(const Action& a) {
    Tensor& sum = value(a.to, -1);
    const Tensor& v = value(a.what, a.micro_batch);
    if (sum.defined()) {
      call_into(combination(a.op), std::array{sum, v}, a.op == ShardFactor::Kind::sum ? Attrs{Attr(1)} : Attrs{},
                std::array{sum});
      return;
    }
    // A copy: what was made may show the memory of something that is still read.
    sum = Tensor::empty(v.sizes(), v.dtype());
    copy_elements(sum, v);
  }

  void join(const Action& a) {
    Tensor& whole = value(a.to, -1);
    const Tensor& v = value(a.what, a.micro_batch);
    const TensorType& t = program.slots[static_cast<size_t>(a.to)].type;
    if (!whole.defined()) whole = Tensor::empty(t.shape, t.dtype);
    Geometry g = whole.geometry();
    auto d = static_cast<size_t>(a.dim);
    g.offset += a.micro_batch * v.sizes()[d] * g.strides[d];
    g.sizes = v.sizes();
    copy_elements(whole.with_geometry(g), v);
  }

  // What has left is not kept.
  void let_go() {
    std::erase_if(leaving, [](const Leaving& l) { return l.work->is_completed(); });
  }
  void send(const Tensor& v, int peer, int tag) {
    Tensor t = v;
    if (!t.is_contiguous()) {
      t = Tensor::empty(v.sizes(), v.dtype());
      copy_elements(t, v);
    }
    leaving.push_back({comm::group(group).isend(t.data(), static_cast<int64_t>(t.nbytes()), peer, tag), t});
    let_go();
  }

  void act(const Action& a, const TensorList& arguments) {
    switch (a.kind) {
      case Action::Kind::run:
        run_segment(a.what, a.micro_batch);
        break;
      case Action::Kind::add:
        add(a);
        break;
      case Action::Kind::join:
        join(a);
        break;
      case Action::Kind::send:
        send(value(a.what, a.micro_batch), a.peer, tag(a.what, a.micro_batch));
        break;
      case Action::Kind::receive: {
        const TensorType& t = program.slots[static_cast<size_t>(a.what)].type;
        Tensor v = Tensor::empty(t.shape, t.dtype);
        comm::group(group).recv(v.data(), static_cast<int64_t>(v.nbytes()), a.peer, tag(a.what, a.micro_batch));
        value(a.what, a.micro_batch) = v;
        break;
      }
      case Action::Kind::send_capture:
        send(captures[static_cast<size_t>(a.what)], a.peer, capture_tag(a.what));
        break;
      case Action::Kind::receive_capture: {
        const Tensor& t = captures[static_cast<size_t>(a.what)];
        comm::group(group).recv(t.data(), static_cast<int64_t>(t.nbytes()), a.peer, capture_tag(a.what));
        t.storage()->bump_version();
        break;
      }
      case Action::Kind::write: {
        const Tensor& t =
            a.to >= 0 ? captures[static_cast<size_t>(a.to)] : arguments[static_cast<size_t>(a.to) + arguments.size()];
        copy_elements(t, value(a.what, -1));
        t.storage()->bump_version();
        break;
      }
    }
    for (auto [slot, micro] : a.last) value(slot, micro) = Tensor();
  }

  TensorList run(const std::vector<TensorList>& inputs) {
    values.assign(program.slots.size(), TensorList());
    for (size_t s = 0; s < values.size(); ++s)
      values[s].resize(program.slots[s].varies ? static_cast<size_t>(program.micro_batches) : 1);
    for (size_t m = 0; m < inputs.size(); ++m)
      for (size_t i = 0; i < inputs[m].size(); ++i)
        if (m < values[i].size()) values[i][m] = inputs[m][i];
    for (const Action& a : program.actions) {
      act(a, inputs[0]);
      if (!leaving.empty()) let_go();
    }
    TensorList out;
    for (int s : program.results) out.push_back(s < 0 ? Tensor() : value(s, -1));
    for (Leaving& l : leaving) l.work->wait();
    leaving.clear();
    values.clear();
    return out;
  }
};

ProgramRunner::ProgramRunner(Program program, TensorList captures, std::string group, bool compiled,
                             BesideOptions beside)
    : impl_(std::make_unique<Impl>(std::move(program), std::move(captures), std::move(group), compiled, beside)) {}
ProgramRunner::~ProgramRunner() = default;
TensorList ProgramRunner::run(const std::vector<TensorList>& inputs) { return impl_->run(inputs); }
const Program& ProgramRunner::program() const { return impl_->program; }
RankMemory ProgramRunner::memory(int threads, const std::vector<int>& taken) const {
  return impl_->memory(threads, taken);
}

}  // namespace sorus::parallel
