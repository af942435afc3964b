#include "sorus/parallel/solver/folded.h"

#include <algorithm>
#include <map>
#include <queue>

namespace sorus::parallel {
namespace {

// The graph while it shrinks: costs between a pair in one table, rows for the lesser variable.
class Folding {
 public:
  explicit Folding(const BudgetedAssignment& p) {
    size_t n = p.assignment.nodes.size();
    cost_ = p.assignment.nodes;
    near_.resize(n);
    result_.of.resize(n), result_.choice_of.resize(n), members_.resize(n);
    for (size_t v = 0; v < n; ++v) {
      result_.of[v] = static_cast<int>(v);
      members_[v] = {static_cast<int>(v)};
      for (size_t k = 0; k < cost_[v].size(); ++k) result_.choice_of[v].push_back(static_cast<int>(k));
    }
    for (const Assignment::Edge& e : p.assignment.edges) {
      if (e.a == e.b) {
        size_t k = size(e.a);
        for (size_t i = 0; i < k; ++i) cost(e.a)[i] += e.cost[i * k + i];
      } else {
        add_edge(e.a, e.b, e.cost);
      }
    }
  }

  Folded run() {
    for (size_t v = 0; v < cost_.size(); ++v) {
      forbid_own(static_cast<int>(v));
      push_edges(static_cast<int>(v));
    }
    while (!waiting_.empty()) {
      auto [v, u] = waiting_.front();
      waiting_.pop();
      if (gone(v) || gone(u) || !near(v).contains(u)) continue;
      if (restrict(v, u)) continue;
      std::vector<size_t> choice;
      if (!decides(v, u, choice)) continue;
      // Where each decides the other, the one with more neighbours stays.
      if (std::vector<size_t> other; near(u).size() > near(v).size() && decides(u, v, other))
        join(u, v, other);
      else
        join(v, u, choice);
    }
    return finish();
  }

 private:
  size_t size(int v) const { return cost_[static_cast<size_t>(v)].size(); }
  std::vector<double>& cost(int v) { return cost_[static_cast<size_t>(v)]; }
  std::map<int, std::vector<double>>& near(int v) { return near_[static_cast<size_t>(v)]; }
  bool gone(int v) const { return result_.of[static_cast<size_t>(v)] != v; }

  // Tables lie at the lesser variable; the other knows of them by an empty entry.
  std::vector<double>& table(int a, int b) { return near(std::min(a, b))[std::max(a, b)]; }
  double at(int a, int b, size_t i, size_t j) {
    return a < b ? table(a, b)[i * size(b) + j] : table(a, b)[j * size(a) + i];
  }

  // `values`: rows for a.
  void add_edge(int a, int b, const std::vector<double>& values) {
    near(std::max(a, b))[std::min(a, b)];
    std::vector<double>& into = table(a, b);
    if (into.empty()) into.assign(values.size(), 0);
    for (size_t i = 0; i < size(a); ++i)
      for (size_t j = 0; j < size(b); ++j) into[a < b ? i * size(b) + j : j * size(a) + i] += values[i * size(b) + j];
  }

  void push_edges(int v) {
    for (auto& [u, unused] : near(v)) waiting_.emplace(v, u), waiting_.emplace(u, v);
  }

  // Drops choices; true if any. None left is infeasible, and found out later.
  bool keep_only(int v, const std::vector<char>& right) {
    std::vector<size_t> keep;
    for (size_t k = 0; k < right.size(); ++k)
      if (right[k]) keep.push_back(k);
    if (keep.size() == right.size() || keep.empty()) return false;
    select(v, keep);
    push_edges(v);
    return true;
  }

  void forbid_own(int v) {
    std::vector<char> right(size(v));
    for (size_t k = 0; k < size(v); ++k) right[k] = cost(v)[k] < kForbidden;
    keep_only(v, right);
  }

  // Drops choices of v that u allows with none of its own.
  bool restrict(int v, int u) {
    std::vector<char> right(size(v), 0);
    const std::vector<double>& t = table(v, u);
    size_t columns = size(std::max(v, u));
    for (size_t i = 0; i < size(v); ++i)
      for (size_t j = 0; j < size(u) && !right[i]; ++j)
        right[i] = (v < u ? t[i * columns + j] : t[j * columns + i]) < kForbidden;
    return keep_only(v, right);
  }

  // The choices of v become those named, in that order.
  void select(int v, const std::vector<size_t>& keep) {
    for (auto& [u, unused] : near(v)) {
      std::vector<double> next;
      std::vector<double>& t = table(v, u);
      if (v < u) {
        for (size_t k : keep)
          next.insert(next.end(), t.begin() + static_cast<std::ptrdiff_t>(k * size(u)),
                      t.begin() + static_cast<std::ptrdiff_t>((k + 1) * size(u)));
      } else {
        for (size_t j = 0; j < size(u); ++j)
          for (size_t k : keep) next.push_back(t[j * size(v) + k]);
      }
      t = std::move(next);
    }
    std::vector<double> costs;
    for (size_t k : keep) costs.push_back(cost(v)[k]);
    cost(v) = std::move(costs);
    for (int m : members_[static_cast<size_t>(v)]) {
      std::vector<int> choices;
      for (size_t k : keep) choices.push_back(result_.choice_of[static_cast<size_t>(m)][k]);
      result_.choice_of[static_cast<size_t>(m)] = std::move(choices);
    }
  }

  // Whether each choice of v leaves u one: which.
  bool decides(int v, int u, std::vector<size_t>& choice) {
    choice.assign(size(v), 0);
    const std::vector<double>& t = table(v, u);
    size_t columns = size(std::max(v, u));
    for (size_t k = 0; k < size(v); ++k) {
      int count = 0;
      for (size_t j = 0; j < size(u) && count < 2; ++j)
        if ((v < u ? t[k * columns + j] : t[j * columns + k]) < kForbidden) ++count, choice[k] = j;
      if (count != 1) return false;
    }
    return true;
  }

  void join(int v, int u, const std::vector<size_t>& choice) {
    for (size_t k = 0; k < size(v); ++k) cost(v)[k] += cost(u)[choice[k]] + at(v, u, k, choice[k]);
    std::vector<int> others;
    for (auto& [w, unused] : near(u))
      if (w != v) others.push_back(w);
    for (int w : others) {
      std::vector<double> moved;
      moved.reserve(size(v) * size(w));
      for (size_t k = 0; k < size(v); ++k)
        for (size_t j = 0; j < size(w); ++j) moved.push_back(at(u, w, choice[k], j));
      add_edge(v, w, moved);
      near(w).erase(u);
      waiting_.emplace(v, w), waiting_.emplace(w, v);
    }
    near(v).erase(u);
    near(u).clear();
    for (int m : members_[static_cast<size_t>(u)]) {
      std::vector<int> choices;
      for (size_t k : choice) choices.push_back(result_.choice_of[static_cast<size_t>(m)][k]);
      result_.choice_of[static_cast<size_t>(m)] = std::move(choices);
      result_.of[static_cast<size_t>(m)] = v;
      members_[static_cast<size_t>(v)].push_back(m);
    }
    members_[static_cast<size_t>(u)].clear();
  }

  Folded finish() {
    size_t n = cost_.size();
    std::vector<int> index(n, -1);
    // A penalty above all that is allowed, small enough for sums to keep their last digits.
    double most = 1;
    for (size_t v = 0; v < n; ++v) {
      if (gone(static_cast<int>(v))) continue;
      for (double c : cost_[v])
        if (c < kForbidden) most = std::max(most, c);
      for (auto& [u, t] : near_[v])
        for (double c : t)
          if (c < kForbidden) most = std::max(most, c);
    }
    result_.penalty = most * 1000;
    auto allowed = [&](std::vector<double>& costs) {
      for (double& c : costs)
        if (c >= kForbidden) c = result_.penalty;
    };
    for (size_t v = 0; v < n; ++v) {
      if (gone(static_cast<int>(v))) continue;
      index[v] = static_cast<int>(result_.sizes.size());
      result_.sizes.push_back(static_cast<int>(cost_[v].size()));
      allowed(cost_[v]);
      result_.unary.push_back(std::move(cost_[v]));
    }
    for (size_t v = 0; v < n; ++v) {
      if (index[v] < 0) continue;
      for (auto& [u, t] : near_[v]) {
        if (u < static_cast<int>(v)) continue;
        allowed(t);
        result_.edges.push_back({index[v], index[static_cast<size_t>(u)], std::move(t)});
      }
    }
    for (int& v : result_.of) v = index[static_cast<size_t>(v)];
    return std::move(result_);
  }

  Folded result_;
  std::vector<std::vector<double>> cost_;
  std::vector<std::map<int, std::vector<double>>> near_;
  std::vector<std::vector<int>> members_;
  std::queue<std::pair<int, int>> waiting_;  ///< edges to look at, from the first's side
};

}  // namespace

std::vector<int> Folded::unfold(const std::vector<int>& choice) const {
  std::vector<int> all(of.size());
  for (size_t v = 0; v < of.size(); ++v)
    all[v] = choice_of[v][static_cast<size_t>(choice[static_cast<size_t>(of[v])])];
  return all;
}

Folded fold(const BudgetedAssignment& problem) { return Folding(problem).run(); }

}  // namespace sorus::parallel
