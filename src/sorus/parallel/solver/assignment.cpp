#include "sorus/parallel/solver/assignment.h"

#include <algorithm>
#include <limits>
#include <set>

#include "sorus/base/error.h"

namespace sorus::parallel {
namespace {

// A table over some variables; the last varies fastest.
struct Factor {
  std::vector<int> vars;
  std::vector<double> values;
};

class Elimination {
 public:
  Elimination(const Assignment& p, size_t limit) : p_(p), limit_(limit) {
    for (size_t v = 0; v < p.nodes.size(); ++v) factors_.push_back({{static_cast<int>(v)}, p.nodes[v]});
    for (const Assignment::Edge& e : p.edges)
      if (e.a == e.b) {
        for (size_t i = 0; i < size(e.a); ++i)
          factors_[static_cast<size_t>(e.a)].values[i] += e.cost[i * size(e.a) + i];
      } else {
        factors_.push_back({{e.a, e.b}, e.cost});
      }
  }

  Solution run() {
    size_t n = p_.nodes.size();
    std::vector<std::set<int>> near(n);
    for (const Assignment::Edge& e : p_.edges)
      if (e.a != e.b) near[static_cast<size_t>(e.a)].insert(e.b), near[static_cast<size_t>(e.b)].insert(e.a);
    std::vector<char> gone(n, 0);
    struct Step {
      int var;
      std::vector<Factor> bucket;
    };
    std::vector<Step> steps;
    for (size_t round = 0; round < n; ++round) {
      // The variable whose table is smallest.
      int best = -1;
      double least = std::numeric_limits<double>::infinity();
      for (size_t v = 0; v < n; ++v) {
        if (gone[v]) continue;
        double table = 1;
        for (int u : near[v]) table *= static_cast<double>(size(u));
        if (table < least) least = table, best = static_cast<int>(v);
      }
      Step step{best, {}};
      std::vector<Factor> rest;
      for (Factor& f : factors_) {
        bool has = std::find(f.vars.begin(), f.vars.end(), best) != f.vars.end();
        (has ? step.bucket : rest).push_back(std::move(f));
      }
      factors_ = std::move(rest);
      for (Factor& made : eliminate(best, step.bucket)) factors_.push_back(std::move(made));
      auto& around = near[static_cast<size_t>(best)];
      for (int u : around) {
        near[static_cast<size_t>(u)].erase(best);
        for (int w : around)
          if (u != w) near[static_cast<size_t>(u)].insert(w);
      }
      gone[static_cast<size_t>(best)] = 1;
      steps.push_back(std::move(step));
    }
    Solution s;
    for (const Factor& f : factors_) s.bound += f.values[0];
    s.choice.assign(n, 0);
    for (size_t i = steps.size(); i-- > 0;) {
      auto v = static_cast<size_t>(steps[i].var);
      double least = std::numeric_limits<double>::infinity();
      int best = 0;
      for (size_t k = 0; k < size(steps[i].var); ++k) {
        s.choice[v] = static_cast<int>(k);
        double sum = 0;
        for (const Factor& f : steps[i].bucket) sum += f.values[index(f, s.choice)];
        if (sum < least) least = sum, best = static_cast<int>(k);
      }
      s.choice[v] = best;
    }
    s.cost = p_.cost_of(s.choice);
    if (exact_) s.bound = s.cost;
    return s;
  }

 private:
  size_t size(int v) const { return p_.nodes[static_cast<size_t>(v)].size(); }
  size_t index(const Factor& f, const std::vector<int>& choice) const {
    size_t at = 0;
    for (int v : f.vars) at = at * size(v) + static_cast<size_t>(choice[static_cast<size_t>(v)]);
    return at;
  }

  // Minimum over `var` of the sum of the bucket: as one table, or, where that is too large, as several whose sum is
  // not more than it (mini-buckets).
  std::vector<Factor> eliminate(int var, const std::vector<Factor>& bucket) {
    std::vector<std::vector<const Factor*>> groups;
    std::vector<std::set<int>> scopes;
    std::vector<const Factor*> order;
    for (const Factor& f : bucket) order.push_back(&f);
    std::sort(order.begin(), order.end(),
              [](const Factor* a, const Factor* b) { return a->vars.size() > b->vars.size(); });
    for (const Factor* f : order) {
      bool placed = false;
      for (size_t g = 0; g < groups.size() && !placed; ++g) {
        std::set<int> scope = scopes[g];
        scope.insert(f->vars.begin(), f->vars.end());
        double table = 1;
        for (int v : scope) table *= static_cast<double>(size(v));
        if (table > static_cast<double>(limit_) && scope.size() > scopes[g].size()) continue;
        groups[g].push_back(f), scopes[g] = std::move(scope), placed = true;
      }
      if (!placed) groups.push_back({f}), scopes.emplace_back(f->vars.begin(), f->vars.end());
    }
    exact_ &= groups.size() <= 1;
    std::vector<Factor> made;
    for (size_t g = 0; g < groups.size(); ++g) {
      Factor out;
      for (int v : scopes[g])
        if (v != var) out.vars.push_back(v);
      size_t total = 1;
      for (int v : out.vars) total *= size(v);
      out.values.assign(total, std::numeric_limits<double>::infinity());
      std::vector<int> choice(p_.nodes.size(), 0);
      for (size_t at = 0; at < total; ++at) {
        size_t rest = at;
        for (size_t i = out.vars.size(); i-- > 0;) {
          choice[static_cast<size_t>(out.vars[i])] = static_cast<int>(rest % size(out.vars[i]));
          rest /= size(out.vars[i]);
        }
        for (size_t k = 0; k < size(var); ++k) {
          choice[static_cast<size_t>(var)] = static_cast<int>(k);
          double sum = 0;
          for (const Factor* f : groups[g]) sum += f->values[index(*f, choice)];
          out.values[at] = std::min(out.values[at], sum);
        }
      }
      made.push_back(std::move(out));
    }
    return made;
  }

  const Assignment& p_;
  size_t limit_;
  bool exact_ = true;
  std::vector<Factor> factors_;
};

// Changes one choice at a time while that helps.
void improve(const Assignment& p, Solution& s) {
  size_t n = p.nodes.size();
  std::vector<std::vector<std::pair<const Assignment::Edge*, bool>>> near(n);
  for (const auto& e : p.edges)
    if (e.a != e.b)
      near[static_cast<size_t>(e.a)].emplace_back(&e, true), near[static_cast<size_t>(e.b)].emplace_back(&e, false);
  bool changed = true;
  for (int round = 0; changed && round < 100; ++round) {
    changed = false;
    for (size_t v = 0; v < n; ++v) {
      auto local = [&](size_t k) {
        double sum = p.nodes[v][k];
        for (auto [e, first] : near[v]) {
          size_t columns = p.nodes[static_cast<size_t>(e->b)].size();
          size_t i = first ? k : static_cast<size_t>(s.choice[static_cast<size_t>(e->a)]);
          size_t j = first ? static_cast<size_t>(s.choice[static_cast<size_t>(e->b)]) : k;
          sum += e->cost[i * columns + j];
        }
        return sum;
      };
      auto now = static_cast<size_t>(s.choice[v]);
      double least = local(now) - 1e-15;
      for (size_t k = 0; k < p.nodes[v].size(); ++k)
        if (double c = local(k); c < least) least = c, s.choice[v] = static_cast<int>(k), changed = true;
    }
  }
  s.cost = p.cost_of(s.choice);
}

}  // namespace

double Assignment::cost_of(const std::vector<int>& choice) const {
  double sum = 0;
  for (size_t v = 0; v < nodes.size(); ++v) sum += nodes[v][static_cast<size_t>(choice[v])];
  for (const Edge& e : edges)
    sum += e.cost[static_cast<size_t>(choice[static_cast<size_t>(e.a)]) * nodes[static_cast<size_t>(e.b)].size() +
                  static_cast<size_t>(choice[static_cast<size_t>(e.b)])];
  return sum;
}

Solution solve(const Assignment& p, size_t table_limit) {
  for (size_t v = 0; v < p.nodes.size(); ++v)
    SORUS_CHECK(!p.nodes[v].empty(), ValueError, "assignment: variable {} has no choice", v);
  for (const Assignment::Edge& e : p.edges) {
    auto n = static_cast<int>(p.nodes.size());
    SORUS_CHECK(e.a >= 0 && e.b >= 0 && e.a < n && e.b < n, ValueError, "assignment: an edge between {} and {} of {}",
                e.a, e.b, n);
    size_t expected = p.nodes[static_cast<size_t>(e.a)].size() * p.nodes[static_cast<size_t>(e.b)].size();
    SORUS_CHECK(e.cost.size() == expected, ValueError,
                "assignment: the edge between {} and {} has {} costs, expected {}", e.a, e.b, e.cost.size(),
                expected);
  }
  Solution s = Elimination(p, table_limit).run();
  if (s.bound < s.cost) improve(p, s);
  return s;
}

}  // namespace sorus::parallel
