#include "sorus/run/interval_packing.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <numeric>
#include <unordered_map>

#include "sorus/base/error.h"

namespace sorus {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int64_t kFar = std::numeric_limits<int64_t>::max() / 4;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

struct Hash128 {
  uint64_t a = 0, b = 0;
  bool operator==(const Hash128&) const = default;
};
struct HashOf {
  size_t operator()(const Hash128& h) const { return static_cast<size_t>(h.a); }
};

struct Buffer {
  int64_t bytes, alignment;
  int first, end;  // sections
};

// Sections whose floors, as high as they are, make a part impossible.
class Reasons {
 public:
  explicit Reasons(size_t sections) : words_((sections + 63) / 64, 0) {}
  void add(int s) { words_[static_cast<size_t>(s) / 64] |= uint64_t{1} << (s % 64); }
  void add(const Reasons& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  }
  bool any(int first, int end) const {
    for (int s = first; s < end; ++s)
      if ((words_[static_cast<size_t>(s) / 64] >> (s % 64) & 1) != 0) return true;
    return false;
  }
  void remove(int first, int end) {
    for (int s = first; s < end; ++s) words_[static_cast<size_t>(s) / 64] &= ~(uint64_t{1} << (s % 64));
  }

 private:
  std::vector<uint64_t> words_;
};

class Search {
 public:
  Search(const std::vector<PackInterval>& buffers, int64_t capacity, PackLimits limits)
      : capacity_(capacity), limits_(limits), begin_(Clock::now()) {
    std::vector<int64_t> points;
    for (const PackInterval& b : buffers) points.push_back(b.first), points.push_back(b.end);
    std::sort(points.begin(), points.end());
    points.erase(std::unique(points.begin(), points.end()), points.end());
    auto section = [&](int64_t t) {
      return static_cast<int>(std::lower_bound(points.begin(), points.end(), t) - points.begin());
    };
    for (const PackInterval& b : buffers)
      buffers_.push_back({b.bytes, b.alignment, section(b.first), section(b.end)});
    floors_.assign(points.size(), 0);
    heights_.assign(points.size(), 0);
    rest_.assign(points.size(), 0);
    ways_.assign(points.size(), 0);
    offsets_.assign(buffers.size(), 0);
    least_.assign(buffers.size(), 0);
    highest_.assign(buffers.size(), 0);
  }

  IntervalPacking run() {
    IntervalPacking result;
    std::vector<int> all(buffers_.size());
    std::iota(all.begin(), all.end(), 0);
    // What takes neither time nor room lies at zero.
    std::erase_if(all, [&](int b) { return of(b).bytes == 0 || of(b).first == of(b).end; });
    std::sort(all.begin(), all.end(), [&](int a, int b) { return of(a).first < of(b).first; });
    int64_t patience = 2000;
    for (size_t round = 0;; ++round) {
      rank_buffers(round);
      by_slack_ = round / kOrders % 2 == 1;
      budget_ = patience, stopped_ = false;
      std::fill(floors_.begin(), floors_.end(), 0);
      Reasons why(floors_.size());
      bool found = solve_parts(all, why);
      if (found) {
        result.state = PackState::solved;
        result.offsets = offsets_;
        for (size_t b = 0; b < buffers_.size(); ++b)
          result.bytes = std::max(result.bytes, offsets_[b] + buffers_[b].bytes);
        break;
      }
      if (!stopped_) {
        result.state = PackState::impossible;
        break;
      }
      if (out_of_limits()) break;
      if (round % (2 * kOrders) == 2 * kOrders - 1) patience += patience / 2;
    }
    result.nodes = nodes_;
    return result;
  }

 private:
  static constexpr size_t kOrders = 4;

  const Buffer& of(int b) const { return buffers_[static_cast<size_t>(b)]; }
  int64_t& floor(int s) { return floors_[static_cast<size_t>(s)]; }
  int64_t& least(int b) { return least_[static_cast<size_t>(b)]; }

  bool out_of_limits() const {
    if (limits_.nodes > 0 && nodes_ >= limits_.nodes) return true;
    return limits_.seconds > 0 && std::chrono::duration<double>(Clock::now() - begin_).count() > limits_.seconds;
  }

  // Which of several buffers is tried first: no one order is best.
  void rank_buffers(size_t round) {
    std::vector<int64_t> load(floors_.size(), 0), worst(buffers_.size(), 0);
    for (const Buffer& b : buffers_)
      for (int s = b.first; s < b.end; ++s) load[static_cast<size_t>(s)] += b.bytes;
    for (size_t b = 0; b < buffers_.size(); ++b)
      for (int s = buffers_[b].first; s < buffers_[b].end; ++s)
        worst[b] = std::max(worst[b], load[static_cast<size_t>(s)]);
    auto key = [&](int b) -> std::array<int64_t, 3> {
      int64_t width = of(b).end - of(b).first, area = width * of(b).bytes, total = worst[static_cast<size_t>(b)];
      switch (round % kOrders) {
        case 0:
          return {width, area, total};
        case 1:
          return {total, area, width};
        case 2:
          return {area, width, total};
        default:
          return {of(b).bytes, width, total};
      }
    };
    std::vector<int> order(buffers_.size());
    std::iota(order.begin(), order.end(), 0);
    std::vector<std::array<int64_t, 3>> keys;
    for (int b : order) keys.push_back(key(b));
    if (round >= kOrders)  // later rounds disturb the order a little, differently each time
      for (size_t b = 0; b < keys.size(); ++b)
        for (int64_t& k : keys[b])
          k += static_cast<int64_t>(static_cast<double>(k) * static_cast<double>(mixed(b * 977 + round) % 1000) /
                                    2000.0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return keys[static_cast<size_t>(a)] > keys[static_cast<size_t>(b)]; });
    rank_.assign(buffers_.size(), 0);
    for (size_t i = 0; i < order.size(); ++i) rank_[static_cast<size_t>(order[i])] = static_cast<int>(i);
  }

  // Buffers, sorted by their first section, in parts that share no section.
  bool solve_parts(const std::vector<int>& buffers, Reasons& why) {
    std::vector<std::vector<int>> parts;
    int reach = -1;
    for (int b : buffers) {
      if (parts.empty() || of(b).first >= reach) parts.emplace_back();
      parts.back().push_back(b);
      reach = std::max(reach, of(b).end);
    }
    std::stable_sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
    return std::all_of(parts.begin(), parts.end(), [&](const auto& part) { return solve(part, why); });
  }

  // Fills in the lowest offset of each buffer; false if some section would grow too high.
  bool bound(const std::vector<int>& part, int first, int end, std::vector<int>& by_offset, Reasons& why) {
    std::fill(rest_.begin() + first, rest_.begin() + end, 0);
    for (int b : part) {
      int at = of(b).first;
      for (int s = of(b).first; s < of(b).end; ++s) {
        if (floor(s) > floor(at)) at = s;
        rest_[static_cast<size_t>(s)] += of(b).bytes;
      }
      highest_[static_cast<size_t>(b)] = at;
      least(b) = round_up(floor(at), of(b).alignment);
    }
    by_offset = part;
    std::sort(by_offset.begin(), by_offset.end(), [&](int a, int b) { return least(a) < least(b); });
    std::fill(heights_.begin() + first, heights_.begin() + end, 0);
    for (int b : by_offset)
      for (int s = of(b).first; s < of(b).end; ++s) {
        int64_t& height = heights_[static_cast<size_t>(s)];
        height = std::max(height, least(b)) + of(b).bytes;
        if (height > capacity_) {
          explain_height(by_offset, s, why);
          return false;
        }
      }
    return true;
  }

  // The buffers that lie on each other without a gap up to the overflow could not begin lower than they do.
  void explain_height(const std::vector<int>& by_offset, int section, Reasons& why) {
    std::vector<int> block;
    int64_t height = 0, sum = 0;
    for (int b : by_offset) {
      if (of(b).first > section || of(b).end <= section) continue;
      if (least(b) > height) block.clear(), height = least(b), sum = 0;
      block.push_back(b);
      height += of(b).bytes, sum += of(b).bytes;
      if (height > capacity_) break;
    }
    for (int b : block) explain_least(b, capacity_ - sum + 1, section, why);
  }

  // Why the buffer begins at `offset` or above: a section whose floor is that high, `better` if it is one.
  void explain_least(int b, int64_t offset, int better, Reasons& why) {
    if (offset <= 0) return;
    bool right = of(b).first <= better && better < of(b).end && round_up(floor(better), of(b).alignment) >= offset;
    why.add(right ? better : highest_[static_cast<size_t>(b)]);
  }

  Hash128 state_of(const std::vector<int>& part, int first, int end) {
    Hash128 h;
    for (int b : part) {
      uint64_t m = mixed(static_cast<uint64_t>(b) + 1);
      h.a ^= m, h.b += mixed(m ^ 0x5bd1e995u);
    }
    for (int s = first; s < end; ++s) {
      if (rest_[static_cast<size_t>(s)] == 0) continue;  // nothing will lie there
      uint64_t m = mixed(static_cast<uint64_t>(floor(s)) * 0x100000001b3u ^ mixed(static_cast<uint64_t>(s)));
      h.a ^= mixed(m), h.b += m;
    }
    return h;
  }

  // Whether the buffers of a part fit; if not, `why` gets the sections whose floors are the reason.
  bool solve(const std::vector<int>& part, Reasons& why) {
    if (stopped_) return false;
    ++nodes_;
    if (--budget_ <= 0 || (nodes_ % 256 == 0 && out_of_limits())) {
      stopped_ = true;
      return false;
    }
    int first = of(part[0]).first, end = first;
    for (int b : part) end = std::max(end, of(b).end);
    std::vector<int> by_offset;
    if (!bound(part, first, end, by_offset, why)) return false;
    if (part.size() == 1) {
      offsets_[static_cast<size_t>(part[0])] = least(part[0]);
      return true;
    }
    Hash128 state = state_of(part, first, end);
    if (auto known = failed_.find(state); known != failed_.end()) {
      why.add(known->second);
      return false;
    }
    std::vector<int64_t> floors(floors_.begin() + first, floors_.begin() + end);
    Reasons mine(floors_.size());
    bool found = branch(part, by_offset, first, end, mine);
    if (!found) {
      std::copy(floors.begin(), floors.end(), floors_.begin() + first);
      why.add(mine);
      if (!stopped_ && failed_.size() < kMostFailed) failed_.emplace(state, std::move(mine));
    }
    return found;
  }

  // Of the sections in which something can lie at the level, the one with the fewest ways, or with the least slack.
  int pick_section(const std::vector<int>& by_offset, int64_t level, int first, int end) {
    std::fill(ways_.begin() + first, ways_.begin() + end, 0);
    for (int b : by_offset) {
      if (least(b) > level) break;
      for (int s = of(b).first; s < of(b).end; ++s) ++ways_[static_cast<size_t>(s)];
    }
    int pick = -1;
    std::pair<int64_t, int64_t> fewest;
    for (int s = first; s < end; ++s) {
      int64_t ways = ways_[static_cast<size_t>(s)], slack = capacity_ - heights_[static_cast<size_t>(s)];
      if (ways == 0) continue;
      std::pair<int64_t, int64_t> key = by_slack_ ? std::pair{slack, ways} : std::pair{ways, slack};
      if (pick < 0 || key < fewest) fewest = key, pick = s;
    }
    return pick;
  }

  bool branch(const std::vector<int>& part, const std::vector<int>& by_offset, int first, int end, Reasons& why) {
    int64_t level = least(by_offset[0]);
    int pick = pick_section(by_offset, level, first, end);
    std::vector<int> here;
    for (int b : by_offset) {
      if (least(b) > level) break;
      if (crosses(b, pick)) here.push_back(b);
    }
    std::sort(here.begin(), here.end(),
              [&](int a, int b) { return rank_[static_cast<size_t>(a)] < rank_[static_cast<size_t>(b)]; });

    // If no buffer of the section lies at the level, the lowest lies on one outside, or on a higher floor.
    int64_t rise = kFar;
    for (int b : part) {
      if (!crosses(b, pick)) continue;
      if (least(b) > level) {
        rise = std::min(rise, least(b));
      } else {
        for (int d : part)
          if (meet(b, d) && !crosses(d, pick))
            rise = std::min(rise, round_up(least(d) + of(d).bytes, of(b).alignment));
      }
    }
    bool too_high = rise + rest_[static_cast<size_t>(pick)] > capacity_;
    // What follows uses no more than this of how high it rises.
    int64_t needed = too_high ? std::min(rise, capacity_ - rest_[static_cast<size_t>(pick)] + 1) : rise;
    for (int b : part) {
      if (!crosses(b, pick)) continue;
      explain_least(b, least(b) > level ? needed : level, pick, why);
      if (least(b) > level) continue;
      for (int d : part)
        if (meet(b, d) && !crosses(d, pick))
          explain_least(d, needed - of(d).bytes - (of(b).alignment - 1), highest_[static_cast<size_t>(b)], why);
    }
    std::vector<int64_t> floors(floors_.begin() + first, floors_.begin() + end);
    std::vector<int> rest;
    rest.reserve(part.size());
    for (size_t i = 0; i < here.size(); ++i) {
      int b = here[i];
      bool again = false;  // one of two equals is enough
      for (size_t k = 0; k < i && !again; ++k) again = same(here[k], b);
      if (again) continue;
      for (int s = of(b).first; s < of(b).end; ++s) floor(s) = level + of(b).bytes;
      offsets_[static_cast<size_t>(b)] = level;
      rest.clear();
      for (int d : part)
        if (d != b) rest.push_back(d);
      Reasons theirs(floors_.size());
      if (solve_parts(rest, theirs)) return true;
      if (stopped_) return false;
      std::copy(floors.begin(), floors.end(), floors_.begin() + first);
      // Without this buffer it fails as well: its other places need no try.
      if (!theirs.any(of(b).first, of(b).end)) {
        why = std::move(theirs);
        return false;
      }
      theirs.remove(of(b).first, of(b).end);
      why.add(theirs);
    }
    if (too_high) return false;
    floor(pick) = rise;
    Reasons theirs(floors_.size());
    if (solve(part, theirs)) return true;
    if (!theirs.any(pick, pick + 1)) {
      why = std::move(theirs);
    } else {
      theirs.remove(pick, pick + 1);
      why.add(theirs);
    }
    return false;
  }

  bool crosses(int b, int section) const { return of(b).first <= section && section < of(b).end; }
  bool meet(int a, int b) const { return of(a).first < of(b).end && of(b).first < of(a).end; }

  bool same(int a, int b) const {
    const Buffer &x = of(a), &y = of(b);
    return x.first == y.first && x.end == y.end && x.bytes == y.bytes && x.alignment == y.alignment;
  }

  static constexpr size_t kMostFailed = 1000000;

  int64_t capacity_;
  PackLimits limits_;
  Clock::time_point begin_;
  std::vector<Buffer> buffers_;
  std::vector<int64_t> floors_, heights_, rest_, offsets_, least_;
  std::vector<int> ways_, rank_, highest_;
  bool by_slack_ = false;
  std::unordered_map<Hash128, Reasons, HashOf> failed_;
  int64_t nodes_ = 0, budget_ = 0;
  bool stopped_ = false;
};

}  // namespace

int64_t most_alive(const std::vector<PackInterval>& buffers) {
  std::vector<std::pair<int64_t, int64_t>> changes;
  for (const PackInterval& b : buffers)
    if (b.first < b.end) changes.emplace_back(b.first, b.bytes), changes.emplace_back(b.end, -b.bytes);
  std::sort(changes.begin(), changes.end());  // at one time, what ends comes first
  int64_t alive = 0, most = 0;
  for (const auto& [time, bytes] : changes) most = std::max(most, alive += bytes);
  return most;
}

IntervalPacking pack_intervals(const std::vector<PackInterval>& buffers, int64_t capacity, PackLimits limits) {
  for (size_t i = 0; i < buffers.size(); ++i) {
    const PackInterval& b = buffers[i];
    SORUS_CHECK(b.bytes >= 0 && b.first <= b.end && b.alignment >= 1, ValueError,
                "pack_intervals: buffer {} has {} bytes from {} to {}, aligned to {}", i, b.bytes, b.first, b.end,
                b.alignment);
  }
  int64_t bound = most_alive(buffers);
  IntervalPacking result;
  if (bound > capacity) {
    result.state = PackState::impossible;
  } else {
    result = Search(buffers, capacity, limits).run();
  }
  result.lower_bound = bound;
  return result;
}

IntervalPacking least_packing(const std::vector<PackInterval>& buffers, const std::vector<int64_t>& known,
                              PackLimits limits) {
  IntervalPacking best;
  best.lower_bound = most_alive(buffers);
  best.state = PackState::solved;
  if (known.empty()) {  // one above the other
    for (const PackInterval& b : buffers) {
      best.offsets.push_back(round_up(best.bytes, b.alignment));
      best.bytes = best.offsets.back() + b.bytes;
    }
  } else {
    SORUS_CHECK(known.size() == buffers.size(), ValueError, "least_packing: {} offsets of {} buffers", known.size(),
                buffers.size());
    best.offsets = known;
    for (size_t b = 0; b < buffers.size(); ++b) best.bytes = std::max(best.bytes, known[b] + buffers[b].bytes);
  }
  // Heights are sums of sizes, rounded up.
  int64_t unit = 0;
  for (const PackInterval& b : buffers) unit = std::gcd(unit, std::gcd(b.bytes, b.alignment));
  unit = std::max<int64_t>(unit, 1);
  Clock::time_point begin = Clock::now();
  int64_t low = best.lower_bound;  // what is below is impossible or too hard
  for (bool first = true; low < best.bytes; first = false) {
    int64_t middle = first ? low : low + (best.bytes - low) / 2 / unit * unit;
    PackLimits left = limits;
    if (limits.nodes > 0) left.nodes = std::max<int64_t>(limits.nodes / 2 - best.nodes / 2, 1);
    if (limits.seconds > 0) {
      left.seconds = (limits.seconds - std::chrono::duration<double>(Clock::now() - begin).count()) / 2;
      if (left.seconds <= 0) break;
    }
    IntervalPacking next = pack_intervals(buffers, middle, left);
    best.nodes += next.nodes;
    if (next.state == PackState::solved) {
      best.offsets = std::move(next.offsets), best.bytes = next.bytes;
    } else {
      if (next.state == PackState::impossible && low == best.lower_bound) best.lower_bound = middle + unit;
      low = middle + unit;
    }
    if (limits.nodes > 0 && best.nodes >= limits.nodes - 1) break;
  }
  return best;
}

}  // namespace sorus
