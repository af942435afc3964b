// Which stage of a pipeline every node belongs to: see the top of segments.h.
#include <algorithm>
#include <cmath>

#include "sorus/derive/cost.h"
#include "sorus/parallel/partition/segment_builder.h"

namespace sorus::parallel {

void SegmentBuilder::find_stages() {
  auto at = [](int x) { return static_cast<size_t>(x); };
  stage_.assign(at(n_), kEverywhere);
  forward_.assign(at(n_), 0);
  int stages = options_.stages();
  // The forward pass.
  if (outputs_ > 0) forward_[at(index(g_.outputs()[0]))] = 1;
  for (int i = n_; i-- > 0;)
    if (forward_[at(i)])
      for (const Value& v : node(i).inputs)
        if (v) forward_[at(index(v))] = 1;
  std::vector<int> chain;
  std::vector<double> seconds, across;
  double total = 0;
  for (int i = 0; i < n_; ++i) {
    if (!computed(i) || !forward_[at(i)] || !varies_[at(i)]) continue;
    auto types = node(i).input_types();
    Cost c = sorus::cost_of(TypeCall{*node(i).op, types, node(i).attrs});
    chain.push_back(i);
    total += c.flops / options_.flops_per_second + c.bytes / options_.memory_bytes_per_second;
    seconds.push_back(total);
  }
  SORUS_CHECK(stages == 1 || static_cast<int>(chain.size()) >= stages, ValueError,
              "pipeline: the forward pass has {} operators that depend on the batch, too few for {} stages",
              chain.size(), stages);
  cut(chain, seconds, total, stages);
  for (int i = 0; i < n_; ++i) {
    if (!computed(i) || (varies_[at(i)] && forward_[at(i)])) continue;
    int lowest = stages, highest = kEverywhere;
    double most = -1;
    int heaviest = kEverywhere;
    for (const Value& v : node(i).inputs) {
      if (!v) continue;
      int s = stage_[at(index(v))];
      if (s == kEverywhere) continue;
      highest = std::max(highest, s);
      if (value_varies(v)) lowest = std::min(lowest, s);
      if (v.type().nbytes() > most) most = v.type().nbytes(), heaviest = s;
    }
    if (varies_[at(i)])
      stage_[at(i)] = lowest < stages ? lowest : highest >= 0 ? highest : stages - 1;
    else
      stage_[at(i)] = heaviest;
    if (is_over(i) && stage_[at(i)] == kEverywhere) stage_[at(i)] = stages - 1;  // of an argument
  }
}

// What of the backward passes is for no other stage, if the schedule runs that apart.
void SegmentBuilder::find_for_weights() {
  for_weights_.assign(static_cast<size_t>(n_), 0);
  if (options_.stages() == 1 || !is_parted(options_.order)) return;
  SORUS_CHECK(
      !options_.recompute, ValueError,
      "pipeline: the schedule {} keeps activations for the gradients of weights, which it computes later; leave "
      "recomputation out, or take another schedule",
      options_.order);
  for (int i = n_; i-- > 0;) {
    auto at = static_cast<size_t>(i);
    if (!computed(i) || !varies_[at] || forward_[at]) continue;
    bool handed_on = false;
    for (size_t o = 0; o < node(i).outputs.size(); ++o)
      for (int u : users_of({const_cast<Node*>(&node(i)), static_cast<int>(o)})) {
        auto user = static_cast<size_t>(u);
        if (is_over(u)) continue;
        bool same = stage_[user] == stage_[at] && position_[user] == position_[at];
        handed_on = handed_on || !same || !for_weights_[user];
      }
    for_weights_[at] = !handed_on;
  }
}

// Which inputs with a stage a node reads, itself or through what is the same for all micro-batches (casts, views).
std::vector<std::set<int>> SegmentBuilder::read_inputs() const {
  std::vector<std::set<int>> reads(static_cast<size_t>(n_));
  for (int i = 0; i < n_; ++i) {
    auto at = static_cast<size_t>(i);
    if (int in = input_number(&node(i)); in >= 0) {
      if (static_cast<size_t>(in) < options_.stage_of_input.size() &&
          options_.stage_of_input[static_cast<size_t>(in)] >= 0)
        reads[at].insert(in);
      continue;
    }
    for (const Value& v : node(i).inputs)
      if (v && !(varies_[static_cast<size_t>(index(v))] && computed(index(v))))
        reads[at].insert(reads[static_cast<size_t>(index(v))].begin(), reads[static_cast<size_t>(index(v))].end());
  }
  return reads;
}

// Between which places of the chain each stage but the first may begin.
std::vector<std::pair<size_t, size_t>> SegmentBuilder::given_borders(const std::vector<int>& chain,
                                                                     int stages) const {
  std::vector<std::set<int>> reads = read_inputs();
  auto stages_read = [&](size_t k) {
    std::set<int> out;
    for (int in : reads[static_cast<size_t>(chain[k])]) out.insert(options_.stage_of_input[static_cast<size_t>(in)]);
    return out;
  };
  std::vector<std::pair<size_t, size_t>> out;
  for (int s = 1; s < stages; ++s) {
    size_t first = 0;
    while (first < chain.size() && !stages_read(first).contains(s)) ++first;
    SORUS_CHECK(first < chain.size(), ValueError,
                "pipeline: no operator of the forward pass reads a parameter that is given to stage {}; where it "
                "begins cannot be told",
                s);
    size_t begin = 0;
    for (size_t k = 0; k < first; ++k) {
      std::set<int> read = stages_read(k);
      SORUS_CHECK(read.empty() || *read.rbegin() < s, ValueError,
                  "pipeline: parameters of stage {} are read before those of stage {}", *read.rbegin(), s);
      if (!read.empty()) begin = k + 1;
    }
    SORUS_CHECK(begin > 0, ValueError, "pipeline: no parameter is read before those of stage {}", s);
    out.emplace_back(begin, first);
  }
  return out;
}

// Equal time, and where little goes across: among the places near an equal share the one that fewest bytes cross.
// With parameters given to the stages the one that fewest bytes cross among those that fit.
void SegmentBuilder::cut(const std::vector<int>& chain, const std::vector<double>& seconds, double total,
                         int stages) {
  auto at = [](int x) { return static_cast<size_t>(x); };
  size_t length = chain.size();
  std::vector<int> order_of(at(n_), -1);
  for (size_t k = 0; k < length; ++k) order_of[at(chain[k])] = static_cast<int>(k);
  std::vector<double> change(length + 1, 0), crossing(length + 1, 0);
  for (size_t k = 0; k < length; ++k)
    for (size_t o = 0; o < node(chain[k]).outputs.size(); ++o) {
      int last = -1;
      Value v{const_cast<Node*>(&node(chain[k])), static_cast<int>(o)};
      for (size_t j = k + 1; j < length; ++j) {
        const auto& in = node(chain[j]).inputs;
        if (std::find(in.begin(), in.end(), v) != in.end()) last = static_cast<int>(j);
      }
      if (last < 0) continue;
      change[k + 1] += v.type().nbytes();
      change[at(last) + 1] -= v.type().nbytes();
    }
  for (size_t k = 1; k <= length; ++k) crossing[k] = crossing[k - 1] + change[k];
  std::vector<std::pair<size_t, size_t>> given;
  if (!options_.stage_of_input.empty()) given = given_borders(chain, stages);
  size_t begin = 0;
  for (int s = 0; s < stages; ++s) {
    size_t end = length;
    if (s + 1 < stages && !given.empty()) {
      auto [from, to] = given[at(s)];
      end = from;
      for (size_t k = from; k <= to; ++k)
        if (crossing[k] < crossing[end]) end = k;
    } else if (s + 1 < stages) {
      double target = total * (s + 1) / stages, slack = total / stages * 0.2;
      end = begin + 1;
      double best = -1;
      size_t limit = length - static_cast<size_t>(stages - s - 1);
      for (size_t k = begin + 1; k <= limit; ++k) {
        double away = std::abs(seconds[k - 1] - target);
        double cost = crossing[k] / options_.memory_bytes_per_second * 4 + (away > slack ? away * 100 : away * 0.1);
        if (best < 0 || cost < best) best = cost, end = k;
      }
    }
    for (size_t k = begin; k < end; ++k) stage_[at(chain[k])] = s;
    begin = end;
  }
}

}  // namespace sorus::parallel
