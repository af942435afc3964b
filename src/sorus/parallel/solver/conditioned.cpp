#include "sorus/parallel/solver/conditioned.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>

namespace sorus::parallel {
namespace {

constexpr int kMany = 16;
constexpr double kNever = std::numeric_limits<double>::infinity();

// A table over a few variables, sorted; the last varies fastest.
struct Table {
  std::vector<int> vars;
  const double* values = nullptr;
  double* owned = nullptr;  ///< where it may be added to
  bool gone = false;
};

// Memory of one pass, given back all at once.
class Pool {
 public:
  double* take(size_t n) {
    while (at_ < chunks_.size() && used_ + n > chunks_[at_].size()) ++at_, used_ = 0;
    if (at_ == chunks_.size()) chunks_.emplace_back(std::max(n, size_t{1} << 18)), used_ = 0;
    double* p = chunks_[at_].data() + used_;
    used_ += n;
    return p;
  }
  void reset() { at_ = used_ = 0; }

 private:
  std::vector<std::vector<double>> chunks_;
  size_t at_ = 0, used_ = 0;
};

}  // namespace

struct ConditionedElimination::State {
  std::vector<int> sizes;
  std::vector<std::vector<double>> edge_costs;
  std::vector<std::pair<int, int>> ends;
  std::vector<std::vector<int>> edges_of, near;

  // Of a pass.
  Pool pool;
  std::vector<Table> tables;
  std::vector<std::vector<int>> tables_of;
  std::vector<std::vector<double>> own;
  std::vector<char> active;
  std::vector<double> weight, current;
  std::vector<int> mark, live;  ///< live: tables that a variable is in
  int marks = 0;
  int64_t kept = 0;
  struct Step {
    int var;
    std::vector<int> vars;  ///< that its best choice depends on
    std::vector<uint16_t> best;
  };
  std::vector<Step> steps;

  size_t size(int v) const { return static_cast<size_t>(sizes[static_cast<size_t>(v)]); }
  std::vector<int>& tables_at(int v) { return tables_of[static_cast<size_t>(v)]; }

  std::vector<int> neighbours(int v) {
    ++marks;
    mark[static_cast<size_t>(v)] = marks;
    std::vector<int> found;
    std::erase_if(tables_at(v), [&](int t) { return tables[static_cast<size_t>(t)].gone; });
    for (int t : tables_at(v))
      for (int u : tables[static_cast<size_t>(t)].vars)
        if (mark[static_cast<size_t>(u)] != marks) mark[static_cast<size_t>(u)] = marks, found.push_back(u);
    std::sort(found.begin(), found.end());
    return found;
  }

  double table_size(int v, const std::vector<int>& near) const {
    double product = static_cast<double>(size(v));
    for (int u : near) product *= static_cast<double>(size(u));
    return product;
  }

  void drop(int t) {
    tables[static_cast<size_t>(t)].gone = true;
    for (int v : tables[static_cast<size_t>(t)].vars) --live[static_cast<size_t>(v)];
  }

  void add_table(std::vector<int> vars, const double* values, double* owned) {
    if (vars.size() == 1) {
      for (size_t k = 0; k < size(vars[0]); ++k) own[static_cast<size_t>(vars[0])][k] += values[k];
      return;
    }
    size_t total = 1;
    for (int v : vars) total *= size(v);
    int few = vars[0];
    for (int v : vars)
      if (tables_at(v).size() < tables_at(few).size()) few = v;
    for (int t : tables_at(few)) {  // over the same variables: one table
      Table& other = tables[static_cast<size_t>(t)];
      if (other.gone || other.vars != vars) continue;
      double* into = other.owned;
      if (into == nullptr) {
        into = pool.take(total);
        std::copy(other.values, other.values + total, into);
        other.owned = into, other.values = into;
      }
      for (size_t i = 0; i < total; ++i) into[i] += values[i];
      return;
    }
    int id = static_cast<int>(tables.size());
    for (int v : vars) tables_at(v).push_back(id), ++live[static_cast<size_t>(v)];
    tables.push_back({std::move(vars), values, owned, false});
  }

  // into[...] += the table, where `vars` are the dimensions of `into` and hold those of the table.
  void spread(const Table& t, const std::vector<int>& vars, double* into) {
    size_t n = vars.size();
    std::vector<size_t> stride(n, 0), at(n, 0);
    size_t step = 1, total = 1;
    for (size_t i = t.vars.size(); i-- > 0;) {
      size_t where = static_cast<size_t>(std::find(vars.begin(), vars.end(), t.vars[i]) - vars.begin());
      stride[where] = step;
      step *= size(t.vars[i]);
    }
    for (int v : vars) total *= size(v);
    size_t inner = size(vars[n - 1]), inner_stride = stride[n - 1], from = 0;
    for (size_t out = 0; out < total; out += inner) {
      const double* p = t.values + from;
      for (size_t k = 0; k < inner; ++k) into[out + k] += p[k * inner_stride];
      for (size_t d = n - 1; d-- > 0;) {
        from += stride[d];
        if (++at[d] < size(vars[d])) break;
        from -= stride[d] * at[d];
        at[d] = 0;
      }
    }
  }

  void eliminate(int v, std::vector<int> near) {
    std::vector<int> vars = near;
    vars.push_back(v);
    size_t k = size(v), total = 1;
    for (int u : near) total *= size(u);
    double* sum = pool.take(total * k);
    const std::vector<double>& mine = own[static_cast<size_t>(v)];
    for (size_t i = 0; i < total; ++i) std::copy(mine.begin(), mine.end(), sum + i * k);
    for (int t : tables_at(v)) {
      spread(tables[static_cast<size_t>(t)], vars, sum);
      drop(t);
    }
    Step step{v, near, std::vector<uint16_t>(total)};
    double* least = pool.take(total);
    for (size_t i = 0; i < total; ++i) {
      const double* row = sum + i * k;
      size_t best = 0;
      for (size_t j = 1; j < k; ++j)
        if (row[j] < row[best]) best = j;
      least[i] = row[best], step.best[i] = static_cast<uint16_t>(best);
    }
    steps.push_back(std::move(step));
    active[static_cast<size_t>(v)] = 0;
    if (!near.empty()) add_table(std::move(near), least, least);
  }

  // Takes a variable out at a choice.
  void fix(int v, size_t choice) {
    active[static_cast<size_t>(v)] = 0;
    std::vector<int> list = tables_at(v);
    for (int id : list) {
      if (tables[static_cast<size_t>(id)].gone) continue;
      Table t = tables[static_cast<size_t>(id)];
      drop(id);
      std::vector<int> rest;
      size_t outer = 1, inner = 1;
      bool before = true;
      for (int u : t.vars) {
        if (u == v) {
          before = false;
          continue;
        }
        rest.push_back(u);
        (before ? outer : inner) *= size(u);
      }
      double* values = pool.take(outer * inner);
      for (size_t o = 0; o < outer; ++o)
        std::copy_n(t.values + (o * size(v) + choice) * inner, inner, values + o * inner);
      add_table(std::move(rest), values, values);
    }
  }

  // What looks best for a variable if its neighbours choose for its sake.
  size_t guess(int v) {
    std::vector<double> cost = own[static_cast<size_t>(v)];
    for (int id : tables_at(v)) {
      const Table& t = tables[static_cast<size_t>(id)];
      if (t.gone) continue;
      size_t outer = 1, inner = 1;
      bool before = true;
      for (int u : t.vars) {
        if (u == v)
          before = false;
        else
          (before ? outer : inner) *= size(u);
      }
      for (size_t k = 0; k < size(v); ++k) {
        double least = kNever;
        for (size_t o = 0; o < outer; ++o)
          for (size_t i = 0; i < inner; ++i) least = std::min(least, t.values[(o * size(v) + k) * inner + i]);
        cost[k] += least;
      }
    }
    return static_cast<size_t>(std::min_element(cost.begin(), cost.end()) - cost.begin());
  }
};

ConditionedElimination::ConditionedElimination(std::vector<int> sizes, const std::vector<Assignment::Edge>& edges)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.sizes = std::move(sizes);
  size_t n = s.sizes.size();
  s.edges_of.resize(n);
  for (const Assignment::Edge& e : edges) {
    int a = e.a, b = e.b;
    std::vector<double> cost = e.cost;
    if (a > b) {
      for (size_t i = 0; i < s.size(e.a); ++i)
        for (size_t j = 0; j < s.size(e.b); ++j) cost[j * s.size(e.a) + i] = e.cost[i * s.size(e.b) + j];
      std::swap(a, b);
    }
    s.edges_of[static_cast<size_t>(a)].push_back(static_cast<int>(s.ends.size()));
    s.edges_of[static_cast<size_t>(b)].push_back(static_cast<int>(s.ends.size()));
    s.ends.emplace_back(a, b);
    s.edge_costs.push_back(std::move(cost));
  }
  s.tables_of.resize(n), s.active.resize(n), s.weight.resize(n), s.mark.assign(n, 0);
  s.own.resize(n), s.live.resize(n), s.current.resize(n);
  s.near.resize(n);
  for (auto [a, b] : s.ends) s.near[static_cast<size_t>(a)].push_back(b), s.near[static_cast<size_t>(b)].push_back(a);
}

ConditionedElimination::~ConditionedElimination() = default;

const std::vector<int>& ConditionedElimination::neighbours(int v) const {
  return state_->near[static_cast<size_t>(v)];
}

int64_t ConditionedElimination::kept() const { return state_->kept; }

void ConditionedElimination::pass(const std::vector<std::vector<double>>& unary, std::vector<int>& choice,
                                  const Pass& how, std::mt19937& random) {
  State& s = *state_;
  size_t n = s.sizes.size();
  s.pool.reset();
  s.tables.clear(), s.steps.clear();
  s.kept = 0;
  std::vector<int> everything;
  if (how.only == nullptr)
    for (size_t v = 0; v < n; ++v) everything.push_back(static_cast<int>(v));
  const std::vector<int>& some = how.only == nullptr ? everything : *how.only;
  for (size_t i = 0; i < some.size(); ++i) {
    auto v = static_cast<size_t>(some[i]);
    s.own[v] = unary[i];
    s.tables_of[v].clear();
    s.active[v] = 1;
    s.live[v] = 0;
    s.weight[v] = std::exp2(static_cast<double>(random() % 1024) * how.spread / 1024);
  }
  for (int v : some)
    for (int e : s.edges_of[static_cast<size_t>(v)]) {
      auto [a, b] = s.ends[static_cast<size_t>(e)];
      const std::vector<double>& cost = s.edge_costs[static_cast<size_t>(e)];
      size_t columns = s.size(b);
      int other = v == a ? b : a;
      std::vector<double>& mine = s.own[static_cast<size_t>(v)];
      if (s.active[static_cast<size_t>(other)] != 0) {
        if (v == a) s.add_table({a, b}, cost.data(), nullptr);
      } else if (v == a) {
        auto j = static_cast<size_t>(choice[static_cast<size_t>(b)]);
        for (size_t i = 0; i < mine.size(); ++i) mine[i] += cost[i * columns + j];
      } else {
        auto i = static_cast<size_t>(choice[static_cast<size_t>(a)]);
        for (size_t j = 0; j < columns; ++j) mine[j] += cost[i * columns + j];
      }
    }
  using Item = std::pair<double, int>;
  std::priority_queue<Item, std::vector<Item>, std::greater<>> queue;
  std::vector<double>& current = s.current;
  auto put = [&](int v) {
    // Who has many neighbours has too large a table; counting them each time would take most of the time.
    int live = s.live[static_cast<size_t>(v)];
    current[static_cast<size_t>(v)] = live > kMany ? 1e30 * live : s.table_size(v, s.neighbours(v));
    queue.emplace(current[static_cast<size_t>(v)], v);
  };
  for (int v : some) put(v);
  while (!queue.empty()) {
    auto [table, v] = queue.top();
    queue.pop();
    if (!s.active[static_cast<size_t>(v)] || table != current[static_cast<size_t>(v)]) continue;
    std::vector<int> near = s.neighbours(v);
    if (table <= static_cast<double>(how.table_limit)) {
      std::vector<int> again = near;
      s.eliminate(v, std::move(near));
      for (int u : again) put(u);
      continue;
    }
    // The neighbour whose leaving helps most, with some chance.
    int out = v;
    double best = -1;
    near.push_back(v);
    for (int u : near) {
      double gain = static_cast<double>(s.live[static_cast<size_t>(u)]) * s.weight[static_cast<size_t>(u)];
      if (gain > best) best = gain, out = u;
    }
    std::vector<int> again = s.neighbours(out);
    size_t at = how.first ? s.guess(out) : static_cast<size_t>(choice[static_cast<size_t>(out)]);
    choice[static_cast<size_t>(out)] = static_cast<int>(at);
    s.fix(out, at);
    ++s.kept;
    for (int u : again) put(u);
    if (out != v && std::find(again.begin(), again.end(), v) == again.end()) put(v);
  }
  for (size_t i = s.steps.size(); i-- > 0;) {
    const State::Step& step = s.steps[i];
    size_t at = 0;
    for (int u : step.vars) at = at * s.size(u) + static_cast<size_t>(choice[static_cast<size_t>(u)]);
    choice[static_cast<size_t>(step.var)] = step.best[at];
  }
}

}  // namespace sorus::parallel
