#include "sorus/device/arena.h"

#include <algorithm>
#include <map>

#include "sorus/run/interval_packing.h"
#include "sorus/run/packing.h"

namespace sorus::device {
namespace {

constexpr int64_t kAlignment = 4;  // what kernels may assume of tensors; inputs and outputs need it too

int64_t aligned(int64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

void order_steps(Model& model) {
  size_t n = model.steps.size();
  if (n > 63) return;  // sets of steps are bit masks; longer models are chains in practice
  // Bytes alive after a set of steps is done.
  auto alive = [&](uint64_t done) {
    int64_t sum = 0;
    for (size_t t = 0; t < model.tensors.size(); ++t) {
      int writer = model.writer(static_cast<int>(t));
      bool made = writer < 0 ? model.is_input(static_cast<int>(t)) : (done >> writer & 1) != 0;
      if (!made) continue;
      bool wanted = model.is_output(static_cast<int>(t));
      for (size_t r : model.readers(static_cast<int>(t))) wanted |= (done >> r & 1) == 0;
      if (wanted) sum += model.tensors[t].bytes();
    }
    return sum;
  };
  struct Way {
    int64_t peak;
    std::vector<int> order;
  };
  // A state is written when nobody reads what the last run left in it any more.
  std::vector<uint64_t> first(n, 0);
  for (size_t s = 0; s < n; ++s) {
    const Step& step = model.steps[s];
    auto writes = [&](int t) {
      return step.output == t || std::find(step.changes.begin(), step.changes.end(), t) != step.changes.end();
    };
    for (const State& state : model.states)
      if (writes(state.tensor))
        for (size_t r : model.readers(state.tensor))
          if (r != s) first[s] |= uint64_t{1} << r;
  }
  // Breadth first over sets of done steps: of two ways to the same set the one with the lower peak is enough.
  std::map<uint64_t, Way> level{{0, {0, {}}}};
  constexpr size_t kWidth = 2000;
  for (size_t depth = 0; depth < n; ++depth) {
    std::map<uint64_t, Way> next;
    for (const auto& [done, state] : level) {
      int64_t before = alive(done);
      for (size_t s = 0; s < n; ++s) {
        if (done >> s & 1) continue;
        bool ready = (first[s] & ~done) == 0;
        for (int t : model.steps[s].inputs) {
          int writer = model.is_state(t) ? -1 : model.writer(t);
          ready &= writer < 0 || (done >> writer & 1) != 0;
        }
        if (!ready) continue;
        uint64_t after = done | uint64_t{1} << s;
        int64_t peak =
            std::max(state.peak, before + model.tensors[static_cast<size_t>(model.steps[s].output)].bytes());
        auto it = next.find(after);
        if (it != next.end() && it->second.peak <= peak) continue;
        Way better{peak, state.order};
        better.order.push_back(static_cast<int>(s));
        next[after] = std::move(better);
      }
    }
    while (next.size() > kWidth) {
      auto worst =
          std::max_element(next.begin(), next.end(), [](auto& a, auto& b) { return a.second.peak < b.second.peak; });
      next.erase(worst);
    }
    level = std::move(next);
  }
  std::vector<Step> steps;
  for (int s : level.begin()->second.order) steps.push_back(std::move(model.steps[static_cast<size_t>(s)]));
  model.steps = std::move(steps);
}

ArenaPlan plan_arena(const Model& model, const std::vector<Prepared>& prepared) {
  ArenaPlan plan;
  int steps = static_cast<int>(model.steps.size());
  plan.of_tensor.assign(model.tensors.size(), -1);
  plan.of_scratch.assign(model.steps.size(), -1);
  for (size_t t = 0; t < model.tensors.size(); ++t) {
    int tensor = static_cast<int>(t), writer = model.writer(tensor);
    std::vector<size_t> readers = model.readers(tensor);
    if ((writer < 0 && !model.is_input(tensor)) || model.is_state(tensor)) continue;
    ArenaBuffer b{model.tensors[t].name, tensor, aligned(model.tensors[t].bytes()), 0, std::max(writer, 0),
                  std::max(writer, 0)};
    for (size_t r : readers) b.last = std::max(b.last, static_cast<int>(r));
    if (model.is_output(tensor)) b.last = steps - 1;
    // Inputs are there before the first step, outputs until after the last.
    plan.of_tensor[t] = static_cast<int>(plan.buffers.size());
    plan.buffers.push_back(b);
  }
  for (int s = 0; s < steps; ++s) {
    int64_t room = std::max(prepared[static_cast<size_t>(s)].scratch, prepared[static_cast<size_t>(s)].room);
    if (room == 0) continue;
    plan.of_scratch[static_cast<size_t>(s)] = static_cast<int>(plan.buffers.size());
    plan.buffers.push_back({"scratch of " + model.steps[static_cast<size_t>(s)].name, -1, aligned(room), 0, s, s});
  }

  PackingProblem problem;
  problem.alignment = kAlignment;
  for (const ArenaBuffer& b : plan.buffers) problem.add(b.bytes);
  int n = static_cast<int>(plan.buffers.size());
  for (int i = 0; i < n; ++i)
    for (int j = i + 1; j < n; ++j) {
      const ArenaBuffer &a = plan.buffers[static_cast<size_t>(i)], &b = plan.buffers[static_cast<size_t>(j)];
      if (a.first > b.last || b.first > a.last) continue;
      PackingConflict& c = problem.conflict(i, j);
      // One is the result of the step with which the other dies.
      auto relax = [&](const ArenaBuffer& in, const ArenaBuffer& out, int64_t& gap) {
        if (in.tensor < 0 || out.tensor < 0 || in.last != out.first || model.is_output(in.tensor)) return;
        const Step& step = model.steps[static_cast<size_t>(out.first)];
        if (step.output != out.tensor) return;
        bool same = true, any = false;
        for (size_t k = 0; k < step.inputs.size(); ++k) {
          if (step.inputs[k] != in.tensor) continue;
          const Overlap& o = prepared[static_cast<size_t>(out.first)].overlaps[k];
          gap = any     ? std::max(gap, o.gap ? std::min(*o.gap, out.bytes) : out.bytes)
                : o.gap ? std::min(*o.gap, out.bytes)
                        : out.bytes;
          same = same && o.same;
          any = true;
        }
        c.same = any && same;
      };
      relax(a, b, c.gap_ji);
      relax(b, a, c.gap_ij);
    }
  for (int s = 0; s < steps; ++s) {
    std::vector<int> set;
    int64_t side_by_side = 0;
    for (int i = 0; i < n; ++i) {
      const ArenaBuffer& b = plan.buffers[static_cast<size_t>(i)];
      if (b.first > s || b.last < s) continue;
      set.push_back(i);
      if (b.tensor >= 0) side_by_side += b.bytes;
    }
    plan.layer_bound = std::max(plan.layer_bound, side_by_side);
    problem.together.push_back(std::move(set));
  }
  Packing packing = pack(problem);
  if (!packing.optimal) {
    // Without the bytes that results may share with inputs it is a packing of intervals, which is searched much
    // faster; from there the search goes another way.
    std::vector<PackInterval> intervals;
    for (const ArenaBuffer& b : plan.buffers)
      intervals.push_back({b.bytes, b.first, int64_t{b.last} + 1, kAlignment});
    Packing other = pack(problem, 200000, least_packing(intervals, {}, {.nodes = 20000}).offsets);
    other.lower_bound = std::max(other.lower_bound, packing.lower_bound);
    if (other.bytes < packing.bytes || other.optimal) packing = other;
    packing.lower_bound = other.lower_bound;
  }
  // States come first, everything else behind them.
  for (const State& state : model.states) {
    auto t = static_cast<size_t>(state.tensor);
    plan.of_tensor[t] = static_cast<int>(plan.buffers.size());
    plan.buffers.push_back({model.tensors[t].name, state.tensor, aligned(model.tensors[t].bytes()), plan.state_bytes,
                            0, std::max(steps - 1, 0)});
    plan.state_bytes += plan.buffers.back().bytes;
  }
  for (int i = 0; i < n; ++i)
    plan.buffers[static_cast<size_t>(i)].offset = plan.state_bytes + packing.offsets[static_cast<size_t>(i)];
  plan.bytes = plan.state_bytes + packing.bytes;
  plan.lower_bound = plan.state_bytes + packing.lower_bound;
  plan.layer_bound += plan.state_bytes;
  plan.optimal = packing.optimal;
  plan.nodes = packing.nodes;
  return plan;
}

}  // namespace sorus::device
