// Sharding rules: along which dimensions a call can be split, and what its results then are.
//
//   sharding_rule(matmul)   ([m, k], [k, n]) -> ([m, n]); sum k
//
// Every dimension of an input or result is a factor. A *kept* factor occurs in the result: shards give shards. A
// *reduced* one does not: shards give partial results that are added (or of which the largest is taken). A *whole*
// one cannot be split; a *halo* one is a window, and would need its neighbours' edges. A dimension without a factor
// has size one and is replicated. The rule follows from index notation, from the broadcasting of scalar bodies, from
// how a view moves elements, or from what an entry says: .axes("input[b.., d!] -> output[b.., d!]"), where a letter
// is a factor,
// `!` makes it whole, `b..` are any leading dimensions, and `+k` behind an output's bracket says that it is a partial
// sum over k (`+b..`: over all of them). A factor whose dimensions differ in size is whole, unless they are marked
// `%`: blocks of one belong to blocks of the other in proportion. `[a..; dim d!]` are any dimensions, the one that
// the attribute `dim` names is d. Behind the results may stand which attributes change with a shard:
//
//   "key[k!] -> output[a..]; sized by size; placed by whole start"
//
// `size` states the first result's shape; `whole` and `start` are none or the shape of what it is a block of and
// where that block starts. With nothing in front of them the rule is derived.
#pragma once

#include <string>
#include <vector>

#include "sorus/graph/op.h"

namespace sorus {

struct ShardFactor {
  /// Of a `kept` factor an output without it is the same everywhere; of a reduced one it is partial.
  enum class Kind : uint8_t { kept, sum, prod, max, min, whole, halo };
  std::string name;
  int64_t size = 0;  ///< the number of parts must divide it; parts are blocks of whole elements of every dimension
  Kind kind = Kind::whole;
  bool can_split() const { return kind < Kind::whole; }
};

struct ShardingRule {
  std::vector<ShardFactor> factors;
  std::vector<std::vector<int>> inputs, outputs;  ///< factor of each dimension, or -1
  std::string to_string() const;
};

ShardingRule sharding_rule(const TypeCall& call);

/// The attributes with which a device makes the block of the first result that has this shape and starts there.
Attrs shard_attrs(const TypeCall& call, const Shape& block, const Shape& start);

/// Whether there are attributes that say which block a call makes.
bool has_shard_attrs(const OpDef& op);

/// Whether the results for partial sums in `slots` (beside whole values in the other inputs) add up to the result for
/// their sums: derived from the scalar body. Views let every kind of partial value through.
bool is_linear(const OpDef& op, std::span<const int> slots);

/// Executes shards of the call for every placement of one dimension per input, recombines and compares. The messages
/// tell wrong rules (allowed, but the results differ) and missing ones (right, but not in the rule).
std::vector<std::string> check_sharding(const OpDef& op, TensorSpan inputs, const Attrs& attrs, int parts = 2);

}  // namespace sorus
