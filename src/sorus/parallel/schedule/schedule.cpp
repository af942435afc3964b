#include "sorus/parallel/schedule/schedule.h"

#include <algorithm>
#include <cmath>

#include "sorus/base/error.h"
#include "sorus/parallel/pipeline/order.h"

namespace sorus::parallel {
namespace {

using Kind = Timeline::Kind;

/// The order that is executed. One stage a device is 1F1B, whatever it is called.
std::string_view order_of(Schedule schedule, int chunks) {
  bool plain = schedule == Schedule::none || (schedule == Schedule::interleaved && chunks == 1);
  return name(plain ? Schedule::one_f_one_b : schedule);
}

/// Whether every pass of a group of micro-batches ends as much later than that of the group before as all others do,
/// twice before the pipeline runs dry. What follows depends on these times alone, so that it goes on like this.
/// `ends` has the micro-batches of each stage one after another.
bool is_periodic(const std::vector<const std::vector<double>*>& ends, int64_t stages, int64_t p, int64_t m) {
  if (m < 16 * p) return false;
  double period = (*ends[0])[static_cast<size_t>(m - 5 * p)] - (*ends[0])[static_cast<size_t>(m - 6 * p)];
  for (const std::vector<double>* list : ends)
    for (int64_t s = 0; s < stages; ++s)
      for (int64_t i = m - 6 * p; i < m - 4 * p; ++i) {
        auto at = static_cast<size_t>(s * m + i);
        if (std::abs((*list)[at] - (*list)[at - static_cast<size_t>(p)] - period) > 1e-9 * period) return false;
      }
  return true;
}

Timeline play(Schedule schedule, const std::vector<StageTime>& stages, int p, int m, bool events,
              bool* periodic = nullptr) {
  int total = static_cast<int>(stages.size()), v = total / p;
  auto slot = [&](int stage, int micro) {
    return static_cast<size_t>(stage) * static_cast<size_t>(m) + static_cast<size_t>(micro);
  };
  std::vector<double> forward(static_cast<size_t>(total) * static_cast<size_t>(m), -1), backward(forward.size(), -1);
  std::vector<std::vector<Turn>> lists;
  const std::string_view order = order_of(schedule, v);
  for (int d = 0; d < p; ++d) lists.push_back(pipeline_order(order, {p, v, m}, d));
  const bool split = is_parted(order);
  Timeline t;
  t.busy.assign(static_cast<size_t>(p), 0);
  t.last_end.assign(static_cast<size_t>(p), 0);
  t.most_alive.assign(static_cast<size_t>(total), 0);
  std::vector<int64_t> alive(static_cast<size_t>(total), 0);
  std::vector<size_t> next(static_cast<size_t>(p), 0);
  // A device goes on as long as what its next pass waits for is known.
  std::vector<int> todo;
  for (int d = p; d-- > 0;) todo.push_back(d);
  std::vector<char> queued(static_cast<size_t>(p), 1);
  while (!todo.empty()) {
    int d = todo.back();
    todo.pop_back();
    auto at = static_cast<size_t>(d);
    queued[at] = 0;
    while (next[at] < lists[at].size()) {
      const Turn& turn = lists[at][next[at]];
      const Kind kind = turn.weights ? Kind::weights : turn.backward ? Kind::backward : Kind::forward;
      const int stage = turn.stage;
      const StageTime& s = stages[static_cast<size_t>(stage)];
      double ready = 0, length = 0;
      if (kind == Kind::forward) {
        if (stage > 0) {
          ready = forward[slot(stage - 1, turn.micro_batch)];
          if (ready < 0) break;
          ready += stages[static_cast<size_t>(stage) - 1].send;
        }
        length = s.forward;
      } else if (kind == Kind::backward) {
        ready =
            stage + 1 < total ? backward[slot(stage + 1, turn.micro_batch)] : forward[slot(stage, turn.micro_batch)];
        if (ready < 0) break;
        if (stage + 1 < total) ready += s.send;
        length = s.backward - (split ? s.weights : 0);
      } else {
        length = s.weights;
      }
      double begin = std::max(t.last_end[at], ready), end = begin + length;
      t.last_end[at] = end;
      t.busy[at] += length;
      if (kind == Kind::forward) {
        forward[slot(stage, turn.micro_batch)] = end;
        int64_t& n = alive[static_cast<size_t>(stage)];
        t.most_alive[static_cast<size_t>(stage)] = std::max(t.most_alive[static_cast<size_t>(stage)], ++n);
      } else if (kind == Kind::backward) {
        backward[slot(stage, turn.micro_batch)] = end;
        --alive[static_cast<size_t>(stage)];
      }
      if (events) t.events.push_back({d, stage, turn.micro_batch, kind, begin, end});
      ++next[at];
      for (int other : {(d + 1) % p, (d + p - 1) % p})
        if (!queued[static_cast<size_t>(other)] && other != d)
          queued[static_cast<size_t>(other)] = 1, todo.push_back(other);
    }
  }
  for (int d = 0; d < p; ++d) {
    SORUS_ASSERT(next[static_cast<size_t>(d)] == lists[static_cast<size_t>(d)].size());
    t.time = std::max(t.time, t.last_end[static_cast<size_t>(d)]);
  }
  if (periodic) *periodic = is_periodic({&forward, &backward}, total, p, m);
  return t;
}

/// `t` for few micro-batches, and what `groups` more add: each what the last one added to `before`.
Timeline go_on(Timeline t, const Timeline& before, double groups) {
  auto more = [&](double& now, double then) { now += groups * (now - then); };
  more(t.time, before.time);
  for (size_t d = 0; d < t.busy.size(); ++d) {
    more(t.busy[d], before.busy[d]);
    more(t.last_end[d], before.last_end[d]);
  }
  // GPipe keeps all micro-batches.
  for (size_t s = 0; s < t.most_alive.size(); ++s)
    t.most_alive[s] += static_cast<int64_t>(groups) * (t.most_alive[s] - before.most_alive[s]);
  return t;
}

}  // namespace

Timeline run(Schedule schedule, const std::vector<StageTime>& stages, int p, int64_t m, bool events) {
  auto total = static_cast<int64_t>(stages.size());
  SORUS_CHECK(p > 0 && m > 0 && total > 0 && total % p == 0, ValueError, "schedule: {} stages on {} devices", total,
              p);
  const int64_t most = std::max<int64_t>(kMostPlayed / total, 8 * static_cast<int64_t>(p));
  auto played = [&](int64_t count, bool* periodic = nullptr) {
    return play(schedule, stages, p, static_cast<int>(count), events, periodic);
  };
  // GPipe's forward passes end long before its backward passes: each go on at the pace of the slowest.
  double forward = 0, backward = 0;
  for (const StageTime& s : stages) forward = std::max(forward, s.forward), backward = std::max(backward, s.backward);
  const double slowest = p * (forward + backward);
  // As many behind the last whole group as there are. If nothing is to be shown, a few groups usually tell all.
  for (int64_t few = 16 * p + m % p; !events && 3 * few < std::min(m, most); few += 3 * (few - m % p)) {
    bool steady = false;
    Timeline t = played(few, &steady);
    if (!steady && schedule != Schedule::gpipe) continue;
    Timeline before = played(few - p);
    if (schedule == Schedule::gpipe && std::abs(t.time - before.time - slowest) > 1e-9 * slowest) continue;
    return go_on(std::move(t), before, static_cast<double>((m - few) / p));
  }
  if (m <= most) return played(m);
  const int64_t few = most - most % p + m % p - p;
  return go_on(played(few), play(schedule, stages, p, static_cast<int>(few - p), false),
               static_cast<double>((m - few) / p));
}

}  // namespace sorus::parallel
