#include "sorus/run/schedule.h"

#include <algorithm>
#include <optional>

namespace sorus {
namespace {

// From the last to the first, so that chains move together. What is alive at any moment only becomes less.
void put_off(const std::vector<ScheduleUnit>& units, const std::vector<int64_t>& bytes, std::vector<int>& order) {
  size_t values = bytes.size();
  std::vector<std::vector<int>> readers(values), overwriters(values);
  std::vector<char> made(values, 0);
  std::vector<int> place(units.size());
  for (size_t i = 0; i < order.size(); ++i) {
    int u = order[i];
    const ScheduleUnit& unit = units[static_cast<size_t>(u)];
    place[static_cast<size_t>(u)] = static_cast<int>(i);
    for (int v : unit.makes) made[static_cast<size_t>(v)] = 1;
    for (int v : unit.reads) readers[static_cast<size_t>(v)].push_back(u);
    for (int v : unit.overwrites) overwriters[static_cast<size_t>(v)].push_back(u);
  }
  auto at = [&](int u) { return place[static_cast<size_t>(u)]; };
  for (int i = static_cast<int>(order.size()) - 1; i >= 0; --i) {
    int u = order[static_cast<size_t>(i)];
    const ScheduleUnit& unit = units[static_cast<size_t>(u)];
    if (unit.stays || !unit.overwrites.empty()) continue;
    int64_t more = 0;
    int until = static_cast<int>(order.size());
    bool read = false, in_time = true;  // before somebody overwrites what it reads
    for (int v : unit.makes) {
      more += bytes[static_cast<size_t>(v)];
      for (int r : readers[static_cast<size_t>(v)]) until = std::min(until, at(r)), read = true;
    }
    for (int v : unit.reads) {
      const std::vector<int>& all = readers[static_cast<size_t>(v)];
      if (made[static_cast<size_t>(v)] && std::ranges::all_of(all, [&](int r) { return at(r) <= i; }))
        more -= bytes[static_cast<size_t>(v)];
      for (int w : overwriters[static_cast<size_t>(v)]) in_time &= w == u || at(w) < i || at(w) >= until;
    }
    if (!read || !in_time || more <= 0 || until <= i + 1) continue;
    std::rotate(order.begin() + i, order.begin() + i + 1, order.begin() + until);
    for (int k = i; k < until; ++k) place[static_cast<size_t>(order[static_cast<size_t>(k)])] = k;
  }
}

}  // namespace

std::vector<int> schedule(const std::vector<ScheduleUnit>& units, const std::vector<int64_t>& sizes) {
  // Scalars and the like do not count, so that what computes them never holds up what frees much.
  constexpr int64_t kSmall = 1024;
  std::vector<int64_t> bytes = sizes;
  for (int64_t& b : bytes)
    if (b <= kSmall) b = 0;
  size_t n = units.size();
  std::vector<int> maker(bytes.size(), -1), readers_left(bytes.size(), 0), waits(n, 0), order;
  std::vector<std::vector<int>> readers(bytes.size()), overwriters(bytes.size());
  std::vector<char> done(n, 0);
  for (size_t u = 0; u < n; ++u)
    for (int v : units[u].makes) maker[static_cast<size_t>(v)] = static_cast<int>(u);
  for (size_t u = 0; u < n; ++u) {
    for (int v : units[u].reads) {
      readers[static_cast<size_t>(v)].push_back(static_cast<int>(u));
      ++readers_left[static_cast<size_t>(v)];
      waits[u] += maker[static_cast<size_t>(v)] >= 0;
    }
    for (int v : units[u].overwrites) overwriters[static_cast<size_t>(v)].push_back(static_cast<int>(u));
  }

  // Bytes alive after it that were not before; nothing if it should wait for others that read what it overwrites.
  auto change = [&](int u) -> std::optional<int64_t> {
    const ScheduleUnit& unit = units[static_cast<size_t>(u)];
    int64_t sum = 0;
    for (int v : unit.makes) sum += bytes[static_cast<size_t>(v)];
    for (int v : unit.reads)
      if (readers_left[static_cast<size_t>(v)] == 1 && maker[static_cast<size_t>(v)] >= 0)
        sum -= bytes[static_cast<size_t>(v)];
    for (int v : unit.overwrites) {
      bool own = std::find(unit.reads.begin(), unit.reads.end(), v) != unit.reads.end();
      if (readers_left[static_cast<size_t>(v)] > (own ? 1 : 0)) return std::nullopt;
    }
    return sum;
  };

  // The same for `u` and the one unit that reads all it makes and then needs nothing else: the product that makes a
  // gradient may need more than it frees, but not together with the update that uses it up.
  auto change_with_reader = [&](int u, int64_t alone) -> int64_t {
    const ScheduleUnit& unit = units[static_cast<size_t>(u)];
    int reader = -1;
    for (int v : unit.makes) {
      const std::vector<int>& all = readers[static_cast<size_t>(v)];
      if (all.size() != 1 || (reader >= 0 && all[0] != reader)) return alone;
      reader = all[0];
    }
    if (reader < 0 || waits[static_cast<size_t>(reader)] != static_cast<int>(unit.makes.size())) return alone;
    std::optional<int64_t> then = change(reader);
    return then ? alone + *then : alone;
  };

  std::vector<int> soon;
  auto consider = [&](int u) {
    soon.push_back(u);
    if (waits[static_cast<size_t>(u)] == 0) return;
    for (int v : units[static_cast<size_t>(u)].reads)  // with the one that makes what it waits for
      if (int m = maker[static_cast<size_t>(v)]; m >= 0 && !done[static_cast<size_t>(m)]) soon.push_back(m);
  };
  auto run = [&](int u) {
    done[static_cast<size_t>(u)] = 1;
    order.push_back(u);
    const ScheduleUnit& unit = units[static_cast<size_t>(u)];
    for (int v : unit.makes)
      for (int r : readers[static_cast<size_t>(v)]) {
        --waits[static_cast<size_t>(r)];
        consider(r);
      }
    for (int v : unit.reads) {
      int left = --readers_left[static_cast<size_t>(v)];
      if (left == 1)
        for (int r : readers[static_cast<size_t>(v)]) consider(r);
      if (left <= 1)
        for (int w : overwriters[static_cast<size_t>(v)]) consider(w);
    }
  };

  for (size_t u = 0; u < n; ++u)
    if (waits[u] == 0) soon.push_back(static_cast<int>(u));
  for (size_t next = 0; next < n; ++next) {
    if (!done[next]) run(static_cast<int>(next));
    for (;;) {
      int best = -1;
      int64_t least = 0;
      size_t kept = 0;
      for (int u : soon) {
        if (done[static_cast<size_t>(u)] || waits[static_cast<size_t>(u)] > 0) continue;
        std::optional<int64_t> c = change(u);
        if (c && *c > 0) c = change_with_reader(u, *c);
        if (!c || *c > 0) continue;
        soon[kept++] = u;
        if (best < 0 || *c < least || (*c == least && u < best)) best = u, least = *c;
      }
      soon.resize(kept);
      if (best < 0) break;
      run(best);
    }
  }
  put_off(units, bytes, order);
  return order;
}

}  // namespace sorus
