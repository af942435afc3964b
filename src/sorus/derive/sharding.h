// Sharding rules: along which dimensions a call can be split, and what its results then are.
//
//   sharding_rule(matmul)   ([m, k], [k, n]) -> ([m, n]); sum k
//
// Every dimension of an input or result is a factor. A *kept* factor occurs in the result: shards give shards. A
// *reduced* one does not: shards give partial results that are added (or of which the largest is taken). A *whole* one
// cannot be split; a *halo* one is a window, and would need its neighbours' edges. A dimension without a factor has
// size one and is replicated. The rule follows from index notation, from the broadcasting of scalar bodies, or from what
// an entry says: .axes("input[b.., d!] -> output[b.., d!]"), where a letter is a factor, `!` makes it whole, `b..` are
// any leading dimensions, and `+k` behind an output's bracket says that it is a partial sum over k.
#pragma once

#include <string>
#include <vector>

#include "sorus/graph/op.h"

namespace sorus {

struct ShardFactor {
  enum class Kind : uint8_t { kept, sum, prod, max, min, whole, halo };
  std::string name;
  int64_t size = 0;
  Kind kind = Kind::whole;
  bool can_split() const { return kind < Kind::whole; }
};

struct ShardingRule {
  std::vector<ShardFactor> factors;
  std::vector<std::vector<int>> inputs, outputs;  ///< factor of each dimension, or -1
  std::string to_string() const;
};

ShardingRule sharding_rule(const TypeCall& call);

/// Executes shards of the call for every placement of one dimension per input, recombines and compares. The messages
/// tell wrong rules (allowed, but the results differ) and missing ones (right, but not in the rule).
std::vector<std::string> check_sharding(const OpDef& op, TensorSpan inputs, const Attrs& attrs, int parts = 2);

}  // namespace sorus
