// The space of plans: every combination of dimensions that a request allows, and, where there is none, why.
#pragma once

#include <string>
#include <vector>

#include "sorus/parallel/solver/search.h"

namespace sorus::parallel {

/// Unless they are given, so many ranks share the tokens of a sample that each has at least these: with fewer, rings
/// of keys and values have nothing to run beside, and the space would grow for nothing.
constexpr int64_t kLeastTokens = 2048;

class Combinations {
 public:
  /// All of these must outlive it.
  Combinations(const UnitCosts& costs, const SearchRequest& request)
      : costs_(costs), chain_(costs.chain()), request_(request) {}
  /// Whether they fit is not looked at.
  std::vector<Candidate> all() const;
  /// Which given dimensions contradict each other or the request, and the nearest that do not; empty if none do.
  std::string contradiction() const;
  /// The devices cannot share the batch: why, and the nearest batch that they can.
  std::string nearest_batch() const;

 private:
  int64_t fixed(const char* name, int64_t otherwise = -1) const;
  bool allowed(const char* name, int64_t value) const;
  struct Replicas {
    int64_t data, context;
  };
  std::vector<Candidate> variants(Replicas replicas, int64_t tensor, int64_t pipeline, int64_t micro,
                                  int64_t m) const;

  const UnitCosts& costs_;
  const Chain& chain_;
  const SearchRequest& request_;
};

}  // namespace sorus::parallel
