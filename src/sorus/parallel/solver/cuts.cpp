#include "sorus/parallel/solver/cuts.h"

#include <algorithm>
#include <limits>

#include "sorus/base/error.h"

namespace sorus::parallel {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// Sums over units before a place, so that those of a stage are differences.
class Filling {
 public:
  explicit Filling(const CutProblem& p) : p_(p), n_(static_cast<int64_t>(p.units.size())) {
    sums_.resize(p.units.size() + 1);
    for (size_t i = 0; i < p.units.size(); ++i) {
      const CutUnit& u = p.units[i];
      CutUnit& s = sums_[i + 1];
      s = sums_[i];
      s.forward += u.forward, s.backward += u.backward, s.weights += u.weights;
      s.parameters += u.parameters, s.saved += u.saved;
    }
  }

  const CutUnit& total() const { return sums_.back(); }

  // Stages filled from the first, each as far as it may go.
  bool fill(double limit, std::vector<int>* cuts) const {
    if (cuts) cuts->assign(1, 0);
    int64_t first = 0;
    for (int64_t d = 0; d < p_.stages; ++d) {
      // Each of the stages behind has a unit; the last one takes what is left.
      int64_t most = n_ - (p_.stages - 1 - d);
      int64_t low = first, high = most;
      if (d + 1 == p_.stages) {
        if (!allowed(d, first, n_, limit)) return false;
        low = n_;
      }
      while (low < high) {
        int64_t middle = (low + high + 1) / 2;
        allowed(d, first, middle, limit) ? low = middle : high = middle - 1;
      }
      if (low == first) return false;
      first = low;
      if (cuts) cuts->push_back(static_cast<int>(first));
    }
    return true;
  }

 private:
  bool allowed(int64_t d, int64_t first, int64_t end, double limit) const {
    const CutUnit &a = sums_[static_cast<size_t>(first)], &b = sums_[static_cast<size_t>(end)];
    int64_t behind = p_.stages - 1 - d, warm = std::min(p_.micro_batches, behind);
    auto m = static_cast<double>(p_.micro_batches);
    double parameters = b.parameters - a.parameters;
    auto alive = static_cast<double>(p_.schedule == Schedule::gpipe ? p_.micro_batches
                                                                    : std::min(p_.micro_batches, behind + 1));
    if (parameters * p_.resident + std::max(0.0, b.saved - a.saved - p_.slack) * alive > p_.memory) return false;

    double f = b.forward - a.forward + (behind > 0 ? p_.send : 0);
    double back = b.backward - a.backward + (behind > 0 && d > 0 ? p_.send : 0);
    double before = a.forward, before_back = a.backward;
    double rest = total().forward - b.forward + total().backward - b.backward;
    double after = parameters * (p_.finish + p_.exposed * p_.reduce);
    if (p_.schedule == Schedule::gpipe) {
      // Forward passes flow through all stages before the last one turns: two flow shops, in each of which the stage
      // is passed m times.
      double time = before + before_back + rest + m * (f + back);
      return time * p_.waiting <= limit && (before + m * (f + back)) * p_.waiting + after <= limit;
    }
    // The weights' gradients of a zero-bubble schedule are not waited for.
    bool split = p_.schedule == Schedule::zero_bubble;
    if (split) rest -= total().weights - b.weights, before_back -= a.weights;
    int64_t between = warm < p_.micro_batches ? warm : p_.micro_batches - 1;
    auto c = static_cast<double>(between);
    double idle = 0;
    if (p_.micro_batches >= between + 2) {
      idle = std::max(0.0, rest - c * f) + std::max(0.0, rest - c * back);
      // Reducing hides behind the last backward pass. (Below m = c + 3 this would not grow with the stage.)
      if (p_.micro_batches >= between + 3)
        after = parameters * p_.finish + reduce(parameters, b.backward - a.backward);
    } else {
      // Both waits may be the same one.
      idle = std::max(0.0, rest - c * std::min(f, back));
    }
    double busy = before + m * (f + back) + idle;
    if (busy * p_.waiting + after > limit) return false;
    // Then the backward passes of the stages before. What zero-bubble devices put off they do meanwhile (with fewer
    // micro-batches the difference would not grow with the stage).
    if (split && p_.micro_batches <= p_.stages) return true;
    double put_off = split ? static_cast<double>(std::min(p_.micro_batches, d + 1)) * (b.weights - a.weights) : 0;
    return (busy + before_back - put_off) * p_.waiting <= limit;
  }

  double reduce(double parameters, double backward) const {
    double all = parameters * p_.reduce;
    return std::max(all * p_.exposed, all - backward);
  }

  const CutProblem& p_;
  int64_t n_;
  std::vector<CutUnit> sums_;
};

}  // namespace

CutBound bound_of_all_cuts(const CutProblem& p, double limit) {
  SORUS_CHECK(p.stages >= 1 && p.micro_batches >= 1, ValueError, "a pipeline of {} stages and {} micro-batches",
              p.stages, p.micro_batches);
  CutBound bound;
  Filling filling(p);
  if (static_cast<int64_t>(p.units.size()) < p.stages || !filling.fill(limit, nullptr)) return {kNever, {}};
  double low = 0, high = limit;
  if (high == kNever) {
    // Above every bound: all of the work, one micro-batch and one stage after the other.
    const CutUnit& all = filling.total();
    auto m = static_cast<double>(p.micro_batches), stages = static_cast<double>(p.stages);
    high = (m + 3) * (all.forward + all.backward + 2 * stages * p.send) * p.waiting +
           all.parameters * (p.finish + p.reduce);
  }
  for (int i = 0; i < 40 && high - low > 1e-6 * high; ++i) {
    double middle = (low + high) / 2;
    (filling.fill(middle, nullptr) ? high : low) = middle;
  }
  filling.fill(high, &bound.cuts);
  bound.time = low;
  return bound;
}

std::vector<int> balanced_cuts(const std::vector<double>& cost, int64_t parts) {
  auto n = static_cast<int64_t>(cost.size());
  SORUS_CHECK(parts >= 1 && parts <= n, ValueError, "{} layers cannot be cut into {} stages", n, parts);
  // The least limit under which greedy filling needs no more parts; each part has at least one unit.
  auto fill = [&](double limit, std::vector<int>* cuts) {
    int64_t used = 1;
    double sum = 0;
    if (cuts) *cuts = {0};
    for (int64_t i = 0; i < n; ++i) {
      double c = cost[static_cast<size_t>(i)];
      bool must = n - i == parts - used && i > 0 && (!cuts || cuts->back() != i);
      if ((sum + c > limit && sum > 0) || (must && sum > 0)) {
        ++used, sum = 0;
        if (cuts) cuts->push_back(static_cast<int>(i));
      }
      sum += c;
      if (c > limit) return false;
    }
    if (cuts) cuts->push_back(static_cast<int>(n));
    return used <= parts;
  };
  double low = 0, high = 0;
  for (double c : cost) low = std::max(low, c), high += c;
  for (int i = 0; i < 60 && high - low > 1e-12 * high; ++i) {
    double middle = (low + high) / 2;
    (fill(middle, nullptr) ? high : low) = middle;
  }
  std::vector<int> cuts;
  fill(high * (1 + 1e-12), &cuts);
  // Greedy may need fewer parts: split the largest ones.
  while (static_cast<int64_t>(cuts.size()) - 1 < parts) {
    size_t best = 0;
    double most = -1;
    for (size_t s = 0; s + 1 < cuts.size(); ++s) {
      double sum = 0;
      for (int i = cuts[s]; i < cuts[s + 1]; ++i) sum += cost[static_cast<size_t>(i)];
      if (cuts[s + 1] - cuts[s] > 1 && sum > most) most = sum, best = s;
    }
    double half = 0;
    int at = cuts[best] + 1;
    for (int i = cuts[best]; i < cuts[best + 1] - 1; ++i) {
      half += cost[static_cast<size_t>(i)];
      at = i + 1;
      if (half >= most / 2) break;
    }
    cuts.insert(cuts.begin() + static_cast<ptrdiff_t>(best) + 1, at);
  }
  return cuts;
}

}  // namespace sorus::parallel
