#include "sorus/parallel/solver/messages.h"

#include <algorithm>
#include <limits>

namespace sorus::parallel {

Messages::Messages(const std::vector<int>& sizes, const std::vector<Assignment::Edge>& edges)
    : sizes_(sizes), before_(sizes.size()), behind_(sizes.size()) {
  costs_.reserve(2 * edges.size());
  size_t at = 0;
  for (const Assignment::Edge& e : edges) {
    auto rows = static_cast<size_t>(sizes[static_cast<size_t>(e.a)]),
         columns = static_cast<size_t>(sizes[static_cast<size_t>(e.b)]);
    std::vector<float> there(rows * columns), back(rows * columns);
    for (size_t i = 0; i < rows; ++i)
      for (size_t j = 0; j < columns; ++j)
        there[i * columns + j] = back[j * rows + i] = static_cast<float>(e.cost[i * columns + j]);
    costs_.push_back(std::move(there)), costs_.push_back(std::move(back));
    // The message to a lies at `at`, that to b behind it.
    behind_[static_cast<size_t>(e.a)].push_back({e.b, at, at + rows, costs_[costs_.size() - 2].data()});
    before_[static_cast<size_t>(e.b)].push_back({e.a, at + rows, at, costs_.back().data()});
    at += rows + columns;
  }
  messages_.assign(at, 0);
}

void Messages::reset() { std::fill(messages_.begin(), messages_.end(), 0.0F); }

// From a variable to its neighbours on one side.
void Messages::pass_on(size_t v, const std::vector<double>& unary, bool forward) {
  const std::vector<Link>& to = forward ? behind_[v] : before_[v];
  if (to.empty()) return;
  auto n = static_cast<size_t>(sizes_[v]);
  sum_.assign(unary.begin(), unary.end());
  for (const auto* side : {&before_[v], &behind_[v]})
    for (const Link& l : *side)
      for (size_t i = 0; i < n; ++i) sum_[i] += messages_[l.in + i];
  // The cost of a variable is shared among the chains that go through it.
  float share = 1.0F / static_cast<float>(std::max(before_[v].size(), behind_[v].size()));
  for (const Link& l : to) {
    auto columns = static_cast<size_t>(sizes_[static_cast<size_t>(l.to)]);
    float* out = messages_.data() + l.out;
    std::fill(out, out + columns, std::numeric_limits<float>::infinity());
    for (size_t i = 0; i < n; ++i) {
      float own = share * sum_[i] - messages_[l.in + i];
      const float* row = l.cost + i * columns;
      for (size_t j = 0; j < columns; ++j) out[j] = std::min(out[j], own + row[j]);
    }
    float least = *std::min_element(out, out + columns);
    for (size_t j = 0; j < columns; ++j) out[j] -= least;
  }
}

void Messages::sweep(const std::vector<std::vector<double>>& unary) {
  for (size_t v = 0; v < sizes_.size(); ++v) pass_on(v, unary[v], true);
  for (size_t v = sizes_.size(); v-- > 0;) pass_on(v, unary[v], false);
}

void Messages::round(const std::vector<std::vector<double>>& unary, std::vector<int>& choice) const {
  std::vector<double> cost;
  for (size_t v = 0; v < sizes_.size(); ++v) {
    cost = unary[v];
    for (const Link& l : before_[v]) {
      auto columns = static_cast<size_t>(sizes_[static_cast<size_t>(l.to)]);
      auto j = static_cast<size_t>(choice[static_cast<size_t>(l.to)]);
      for (size_t i = 0; i < cost.size(); ++i) cost[i] += static_cast<double>(l.cost[i * columns + j]);
    }
    for (const Link& l : behind_[v])
      for (size_t i = 0; i < cost.size(); ++i) cost[i] += static_cast<double>(messages_[l.in + i]);
    choice[v] = static_cast<int>(std::min_element(cost.begin(), cost.end()) - cost.begin());
  }
}

}  // namespace sorus::parallel
