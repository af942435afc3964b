#include "sorus/run/packing.h"

#include <algorithm>
#include <numeric>

namespace sorus {
namespace {

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Below zero, "at least -5 apart" rounds up to a multiple too.
int64_t gap_up(int64_t gap, int64_t to) { return gap >= 0 ? round_up(gap, to) : -((-gap) / to * to); }

struct Edge {
  int from, to;
  int64_t gap;
};

// Offsets are the least that satisfy the chosen edges; pushing an edge raises what depends on it.
class Search {
 public:
  Search(const PackingProblem& p, int64_t bound, int64_t limit) : p_(p), bound_(bound), limit_(limit) {
    n_ = p.sizes.size();
    offsets_.assign(n_, 0);
    tails_ = p.sizes;
    out_.resize(n_);
    in_.resize(n_);
    open_.resize(p.conflicts.size());
    std::iota(open_.begin(), open_.end(), size_t{0});
    // One above the other is always right, and a bound that ends cycles of positive length.
    best_ = 0;
    for (int64_t size : p.sizes) best_offsets_.push_back(best_), best_ += round_up(size, p.alignment);
  }

  // Offsets that hold the conflicts, if they are lower than what is known.
  void begin_from(const std::vector<int64_t>& offsets) {
    if (offsets.size() != n_) return;
    for (const PackingConflict& c : p_.conflicts) {
      int64_t i = offsets[static_cast<size_t>(c.i)], j = offsets[static_cast<size_t>(c.j)];
      if (!(i + gap(c.gap_ij) <= j || j + gap(c.gap_ji) <= i || (c.same && i == j))) return;
    }
    int64_t top = 0;
    for (size_t b = 0; b < n_; ++b) {
      if (offsets[b] % p_.alignment != 0) return;
      top = std::max(top, offsets[b] + p_.sizes[b]);
    }
    if (top < best_) best_ = top, best_offsets_ = offsets;
  }

  void run() { branch(open_); }

  std::vector<int64_t> best_offsets_;
  int64_t best_ = 0;
  int64_t nodes_ = 0;
  bool finished_ = true;

 private:
  struct Undo {
    std::vector<std::pair<int, int64_t>> offsets, tails;
    std::vector<Edge> edges;
  };

  int64_t gap(int64_t g) const { return gap_up(g, p_.alignment); }

  // How high the packing becomes at least with offset(from) + g <= offset(to).
  int64_t height(int from, int to, int64_t g) const {
    return offsets_[static_cast<size_t>(from)] + g + tails_[static_cast<size_t>(to)];
  }

  bool push(int from, int to, int64_t g, Undo& undo) {
    out_[static_cast<size_t>(from)].push_back({from, to, g});
    in_[static_cast<size_t>(to)].push_back({from, to, g});
    undo.edges.push_back({from, to, g});
    return raise(to, offsets_[static_cast<size_t>(from)] + g, undo) &&
           raise_tail(from, g + tails_[static_cast<size_t>(to)], undo);
  }

  bool raise(int start, int64_t least, Undo& undo) {
    std::vector<std::pair<int, int64_t>> stack{{start, least}};
    while (!stack.empty()) {
      auto [at, value] = stack.back();
      stack.pop_back();
      int64_t& offset = offsets_[static_cast<size_t>(at)];
      if (value <= offset) continue;
      undo.offsets.emplace_back(at, offset);
      offset = value;
      // A cycle of positive length would raise its members for ever; the bound ends it.
      if (offset + tails_[static_cast<size_t>(at)] >= best_) return false;
      for (const Edge& e : out_[static_cast<size_t>(at)]) stack.emplace_back(e.to, value + e.gap);
    }
    return true;
  }

  bool raise_tail(int start, int64_t least, Undo& undo) {
    std::vector<std::pair<int, int64_t>> stack{{start, least}};
    while (!stack.empty()) {
      auto [at, value] = stack.back();
      stack.pop_back();
      int64_t& tail = tails_[static_cast<size_t>(at)];
      if (value <= tail) continue;
      undo.tails.emplace_back(at, tail);
      tail = value;
      if (tail + offsets_[static_cast<size_t>(at)] >= best_) return false;
      for (const Edge& e : in_[static_cast<size_t>(at)]) stack.emplace_back(e.from, value + e.gap);
    }
    return true;
  }

  void pop(const Undo& undo) {
    for (auto it = undo.offsets.rbegin(); it != undo.offsets.rend(); ++it)
      offsets_[static_cast<size_t>(it->first)] = it->second;
    for (auto it = undo.tails.rbegin(); it != undo.tails.rend(); ++it)
      tails_[static_cast<size_t>(it->first)] = it->second;
    for (const Edge& e : undo.edges)
      out_[static_cast<size_t>(e.from)].pop_back(), in_[static_cast<size_t>(e.to)].pop_back();
  }

  struct Choice {
    int64_t height;
    int way;  ///< 0: i below j, 1: j below i, 2: the same offset
  };

  std::vector<Choice> choices(const PackingConflict& c) const {
    std::vector<Choice> list;
    int64_t ij = height(c.i, c.j, gap(c.gap_ij)), ji = height(c.j, c.i, gap(c.gap_ji));
    if (c.same) list.push_back({std::max(height(c.i, c.j, 0), height(c.j, c.i, 0)), 2});
    list.push_back({ij, 0});
    list.push_back({ji, 1});
    std::erase_if(list, [&](const Choice& choice) { return choice.height >= best_; });
    std::stable_sort(list.begin(), list.end(), [](const Choice& a, const Choice& b) { return a.height < b.height; });
    return list;
  }

  bool settled(const PackingConflict& c) const {
    int64_t i = offsets_[static_cast<size_t>(c.i)], j = offsets_[static_cast<size_t>(c.j)];
    return i + gap(c.gap_ij) <= j || j + gap(c.gap_ji) <= i || (c.same && i == j);
  }

  void branch(const std::vector<size_t>& open) {
    if (best_ <= bound_) return;
    if (++nodes_ > limit_) {
      finished_ = false;
      return;
    }
    // The conflict with the fewest ways left, and of those the one that costs most.
    std::vector<size_t> rest;
    size_t pick = 0;
    std::vector<Choice> ways;
    bool found = false, all_settled = true;
    for (size_t k : open) {
      const PackingConflict& c = p_.conflicts[k];
      std::vector<Choice> list = choices(c);
      if (list.empty()) return;
      all_settled &= settled(c);
      if (!found || list.size() < ways.size() || (list.size() == ways.size() && list[0].height > ways[0].height))
        pick = k, ways = list, found = true;
    }
    if (all_settled) {  // least offsets happen to satisfy all that is undecided
      int64_t top = 0;
      for (size_t b = 0; b < n_; ++b) top = std::max(top, offsets_[b] + p_.sizes[b]);
      if (top < best_) best_ = top, best_offsets_ = offsets_;
      return;
    }
    for (size_t k : open)
      if (k != pick) rest.push_back(k);
    const PackingConflict& c = p_.conflicts[pick];
    for (const Choice& choice : ways) {
      if (choice.height >= best_) continue;
      Undo undo;
      bool fits = choice.way == 0   ? push(c.i, c.j, gap(c.gap_ij), undo)
                  : choice.way == 1 ? push(c.j, c.i, gap(c.gap_ji), undo)
                                    : push(c.i, c.j, 0, undo) && push(c.j, c.i, 0, undo);
      if (fits) branch(rest);
      pop(undo);
      if (best_ <= bound_ || nodes_ > limit_) return;
    }
  }

  const PackingProblem& p_;
  int64_t bound_, limit_;
  size_t n_ = 0;
  std::vector<int64_t> offsets_, tails_;  ///< tail: bytes from the offset to the top, at least
  std::vector<std::vector<Edge>> out_, in_;
  std::vector<size_t> open_;
};

// The part of a problem that concerns these buffers only.
PackingProblem restricted(const PackingProblem& p, const std::vector<int>& buffers) {
  PackingProblem part;
  part.alignment = p.alignment;
  std::vector<int> index(p.sizes.size(), -1);
  for (int b : buffers) index[static_cast<size_t>(b)] = part.add(p.sizes[static_cast<size_t>(b)]);
  for (PackingConflict c : p.conflicts) {
    c.i = index[static_cast<size_t>(c.i)], c.j = index[static_cast<size_t>(c.j)];
    if (c.i >= 0 && c.j >= 0) part.conflicts.push_back(c);
  }
  return part;
}

}  // namespace

PackingConflict& PackingProblem::conflict(int i, int j) {
  conflicts.push_back({i, j, sizes[static_cast<size_t>(i)], sizes[static_cast<size_t>(j)], false});
  return conflicts.back();
}

Packing pack(const PackingProblem& problem, int64_t node_limit, const std::vector<int64_t>& known) {
  Packing result;
  for (int64_t size : problem.sizes) result.lower_bound = std::max(result.lower_bound, size);
  for (const std::vector<int>& set : problem.together) {
    PackingProblem part = restricted(problem, set);
    Search search(part, 0, node_limit / 10 + 100);
    search.run();
    if (search.finished_) result.lower_bound = std::max(result.lower_bound, search.best_);
  }
  Search search(problem, result.lower_bound, node_limit);
  search.begin_from(known);
  search.run();
  result.offsets = search.best_offsets_;
  result.bytes = search.best_;
  result.nodes = search.nodes_;
  result.optimal = search.finished_ || result.bytes <= result.lower_bound;
  return result;
}

}  // namespace sorus
