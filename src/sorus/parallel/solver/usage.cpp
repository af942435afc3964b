#include "sorus/parallel/solver/usage.h"

#include <algorithm>

namespace sorus::parallel {

Usage::Usage(const BudgetedAssignment& p) : problem_(p) {
  std::vector<std::pair<int64_t, int>> events;
  for (const auto& [begin, end] : p.interval)
    if (begin < end) events.emplace_back(begin, 1), events.emplace_back(end, 0);
  std::sort(events.begin(), events.end());
  std::vector<int64_t> times;
  for (size_t i = 0; i < events.size(); ++i)
    if (events[i].second == 1 && (i + 1 == events.size() || events[i + 1].second == 0))
      times.push_back(events[i].first);
  for (const auto& [begin, end] : p.interval) {
    auto place = [&](int64_t t) {
      return static_cast<size_t>(std::lower_bound(times.begin(), times.end(), t) - times.begin());
    };
    ranges_.emplace_back(place(begin), begin < end ? place(end) : place(begin));
  }
  count_ = times.size();
  use_.assign(count_, 0);
  blocks_.assign((count_ + kBlock - 1) / kBlock, {});
}

void Usage::measure(const std::vector<int>& choice) {
  std::vector<int64_t> change(count_ + 1, 0);
  for (size_t v = 0; v < ranges_.size(); ++v) {
    auto [first, end] = ranges_[v];
    if (first >= end) continue;
    int64_t u = problem_.usage[v][static_cast<size_t>(choice[v])];
    change[first] += u, change[end] -= u;
  }
  blocks_.assign(blocks_.size(), {});
  int64_t sum = 0;
  excess_ = 0;
  for (size_t t = 0; t < count_; ++t) {
    use_[t] = sum += change[t];
    Block& b = blocks_[t / kBlock];
    b.most = std::max(b.most, sum);
    if (problem_.limit >= 0) excess_ += static_cast<double>(std::max<int64_t>(sum - problem_.limit, 0));
  }
}

int64_t Usage::peak() const {
  int64_t most = 0;
  for (const Block& b : blocks_) most = std::max(most, b.added + b.most);
  return most;
}

std::vector<int64_t> Usage::at_each_time() const {
  std::vector<int64_t> all = use_;
  for (size_t t = 0; t < count_; ++t) all[t] += blocks_[t / kBlock].added;
  return all;
}

void Usage::change(size_t v, int64_t bytes) {
  auto [first, end] = ranges_[v];
  if (bytes != 0 && first < end) events_.emplace_back(first, bytes), events_.emplace_back(end, -bytes);
}

template <class F>
bool Usage::each_stretch(const F& f) {
  int64_t sum = 0;
  for (size_t i = 0; i < events_.size(); ++i) {
    sum += events_[i].second;
    if (sum != 0 && i + 1 < events_.size() && events_[i].first < events_[i + 1].first &&
        !f(events_[i].first, events_[i + 1].first, sum))
      return false;
  }
  return true;
}

int64_t Usage::most_in(size_t first, size_t end) const {
  int64_t most = INT64_MIN;
  while (first < end) {
    const Block& b = blocks_[first / kBlock];
    size_t next = std::min(end, (first / kBlock + 1) * kBlock);
    if (first % kBlock == 0 && (next - first == kBlock || next == count_)) {
      most = std::max(most, b.added + b.most);
    } else {
      for (size_t t = first; t < next; ++t) most = std::max(most, b.added + use_[t]);
    }
    first = next;
  }
  return most;
}

void Usage::add(size_t first, size_t end, int64_t bytes) {
  while (first < end) {
    Block& b = blocks_[first / kBlock];
    size_t begin = first / kBlock * kBlock, next = std::min(end, begin + kBlock);
    if (first == begin && (next - first == kBlock || next == count_)) {
      b.added += bytes;
    } else {
      for (size_t t = first; t < next; ++t) use_[t] += bytes;
      b.most = *std::max_element(use_.begin() + static_cast<std::ptrdiff_t>(begin),
                                 use_.begin() + static_cast<std::ptrdiff_t>(std::min(begin + kBlock, count_)));
    }
    first = next;
  }
}

double Usage::excess_after(double most) {
  std::sort(events_.begin(), events_.end());
  if (problem_.limit < 0) return 0;
  if (excess_ == 0) {
    bool fits = each_stretch([&](size_t first, size_t end, int64_t bytes) {
      return bytes < 0 || most_in(first, end) + bytes <= problem_.limit;
    });
    if (fits || most <= 0) return fits ? 0 : 1;
  }
  double sum = excess_;
  each_stretch([&](size_t first, size_t end, int64_t bytes) {
    for (size_t t = first; t < end; ++t) {
      int64_t now = use_[t] + blocks_[t / kBlock].added - problem_.limit;
      sum += static_cast<double>(std::max<int64_t>(now + bytes, 0) - std::max<int64_t>(now, 0));
    }
    return true;
  });
  return sum;
}

void Usage::apply(double excess_after) {
  each_stretch([&](size_t first, size_t end, int64_t bytes) {
    add(first, end, bytes);
    return true;
  });
  excess_ = excess_after;
  events_.clear();
}

}  // namespace sorus::parallel
