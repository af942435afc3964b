#include "sorus/parallel/cost/collective.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sorus::parallel {

std::vector<int64_t> members(const Cluster& c, Span span) {
  std::vector<int64_t> out;
  int64_t unit = 1, left = span.size, stride = span.stride;
  for (size_t l = 0; l < c.levels.size(); ++l) {
    bool last = l + 1 == c.levels.size();
    int64_t next = c.levels[l].count ? unit * c.levels[l].count : 0;
    // Positions that the group has in one unit of this level.
    int64_t fit = last || next == 0 ? left : stride >= next ? 1 : std::gcd(left, std::max<int64_t>(1, next / stride));
    out.push_back(fit);
    left /= fit;
    stride *= fit;
    if (next) unit = next;
  }
  return out;
}

int widest_level(const Cluster& c, Span span) {
  std::vector<int64_t> in = members(c, span);
  for (size_t l = in.size(); l-- > 0;)
    if (in[l] > 1) return static_cast<int>(l);
  return -1;
}

double collective_time(const Cluster& c, Collective kind, double bytes, Span span, const char** algorithm) {
  if (algorithm) *algorithm = "";
  if (span.size <= 1 || bytes <= 0) return 0;
  if (kind == Collective::send) {
    // One rank to the next: across the level on which neighbours differ.
    int64_t unit = 1;
    size_t l = 0;
    while (l + 1 < c.levels.size() && c.levels[l].count && span.stride >= unit * c.levels[l].count)
      unit *= c.levels[l++].count;
    const Level& level = c.levels[l];
    return level.latency + bytes / (level.bandwidth * c.efficiency.network);
  }
  std::vector<int64_t> in = members(c, span);
  double ring = 0, tree = 0, left = bytes;
  for (size_t l = 0; l < in.size(); ++l) {
    auto n = static_cast<double>(in[l]);
    if (in[l] <= 1) continue;
    const Level& level = c.levels[l];
    // In a torus a group along one dimension has the two links of that dimension.
    double rate = level.bandwidth * c.efficiency.network;
    if (level.torus && !level.dims.empty())
      rate *= std::min(1.0, std::ceil(std::log2(n + 1) / 4) / static_cast<double>(level.dims.size()));
    double factor = kind == Collective::all_reduce ? 2 : 1;
    if (kind == Collective::all_to_all) {
      ring += (n - 1) * level.latency + bytes * (n - 1) / n / rate;
      continue;
    }
    ring += factor * ((n - 1) * level.latency + (n - 1) / n * left / rate);
    tree += factor * (std::ceil(std::log2(n)) * level.latency + left / rate);
    left /= n;
  }
  double best = kind == Collective::all_to_all ? ring : std::min(ring, tree);
  if (algorithm)
    *algorithm = kind == Collective::all_to_all                         ? "pairwise"
                 : tree < ring                                          ? "tree"
                 : widest_level(c, span) > 0 && members(c, span)[0] > 1 ? "hierarchical"
                                                                        : "ring";
  return best;
}

}  // namespace sorus::parallel
