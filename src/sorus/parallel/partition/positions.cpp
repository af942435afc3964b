// When every node runs: see the top of segments.h.
#include <algorithm>

#include "sorus/parallel/partition/segment_builder.h"

namespace sorus::parallel {

void SegmentBuilder::find_varying() {
  varies_.assign(static_cast<size_t>(n_), 0);
  for (int i = 0; i < n_; ++i) {
    for (size_t o = 0; o < node(i).outputs.size(); ++o)
      varies_[static_cast<size_t>(i)] |= value_varies({const_cast<Node*>(&node(i)), static_cast<int>(o)});
    if (is_over(i)) varies_[static_cast<size_t>(i)] = 0;
  }
}

void SegmentBuilder::find_positions() {
  auto at = [](int x) { return static_cast<size_t>(x); };
  std::vector<int> early(at(n_), 0);
  int last = 0;
  for (int i = 0; i < n_; ++i) {
    if (!computed(i)) continue;
    int base = 0;
    for (const Value& v : node(i).inputs) {
      if (!v) continue;
      int u = index(v), from = computed(u) ? early[at(u)] : 0;
      if (is_over(i) && value_varies(v)) from = computed(u) ? early[at(u)] + 1 : 2;
      SORUS_CHECK(is_over(i) || varies_[at(i)] || !value_varies(v), NotImplementedError,
                  "micro-batches: {} is the same for all of them but reads a value that is not", node(i).op->name());
      base = std::max(base, from);
    }
    bool odd = varies_[at(i)];
    early[at(i)] = base + (base % 2 != (odd ? 1 : 0));
    last = std::max(last, early[at(i)]);
  }
  last_ = last + last % 2;
  position_.assign(at(n_), last_);
  std::vector<int> late(at(n_), last_);
  for (const Value& v : g_.outputs())
    SORUS_CHECK(!value_varies(v), NotImplementedError, "micro-batches: a result was not joined");
  for (int i = n_; i-- > 0;) {
    if (!computed(i)) continue;
    bool odd = varies_[at(i)];
    position_[at(i)] = late[at(i)] - (late[at(i)] % 2 != (odd ? 1 : 0));
    for (const Value& v : node(i).inputs)
      if (v) late[at(index(v))] = std::min(late[at(index(v))], position_[at(i)] - (is_over(i) ? 1 : 0));
  }
}

// Among what runs once at one position, how often a value has come from another rank.
void SegmentBuilder::find_depths() {
  auto at = [](int x) { return static_cast<size_t>(x); };
  depth_.assign(at(n_), 0);
  for (int i = 0; i < n_; ++i) {
    if (!computed(i) || varies_[at(i)] || is_over(i)) continue;
    for (const Value& v : node(i).inputs) {
      if (!v || !computed(index(v)) || varies_[at(index(v))] || position_[at(index(v))] != position_[at(i)]) continue;
      int u = index(v);
      bool away = stage_[at(u)] != kEverywhere && stage_[at(i)] != kEverywhere &&
                  pipeline_rank(stage_[at(u)]) != pipeline_rank(stage_[at(i)]);
      depth_[at(i)] = std::max(depth_[at(i)], depth_[at(u)] + (away ? 1 : 0));
    }
  }
}

}  // namespace sorus::parallel
