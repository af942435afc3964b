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
// the attribute `dim` names is d. `+k` behind an input's bracket: it is added to the result once, so that it has to
// be a partial sum over k as well. Behind the results may stand which attributes change with a shard:
//
//   "key[k!] -> output[a..]; sized by size; placed by whole start"
//   "input[a..], weight[v, d] -> output[a.., d]+v; v placed by whole start"
//
// `size` states the first result's shape; `whole` and `start` are none or the shape of what it is a block of and
// where that block starts. With a factor in front they are numbers, of that factor; one attribute alone is `start`.
// So a shard of a table knows which rows it has, and attention which queries. With nothing in front of the clauses
// the rule is derived.
#pragma once

#include <string>
#include <vector>

#include "sorus/graph/op.h"

namespace sorus {

struct ShardFactor {
  /// Of a `kept` factor an output without it is the same everywhere; of a reduced one it is partial.
  enum class Kind : uint8_t { kept, sum, prod, max, min, whole, halo };
  std::string name;
  int64_t size = 0;  ///< of what is not cut: a dimension of it has `size` blocks of as many elements each
  Kind kind = Kind::whole;
  bool placed = false;  ///< shards have to know where they begin
  bool can_split() const { return kind < Kind::whole; }
};

struct ShardingRule {
  std::vector<ShardFactor> factors;
  std::vector<std::vector<int>> inputs, outputs;  ///< factor of each dimension, or -1
  std::vector<std::vector<int>> added;            ///< for each input the factors over which it has to be partial
  bool is_added(size_t input, int factor) const;
  std::string to_string() const;
};

/// Part `index` of `parts`, in elements: blocks of `unit`s, the first ones larger by one if it does not divide.
struct ShardPart {
  int64_t start = 0, size = 0;
};
ShardPart shard_part(int64_t size, int64_t parts, int64_t index, int64_t unit = 1);

ShardingRule sharding_rule(const TypeCall& call);

/// The attributes with which a device does its part of a call: `parts` has what it has of each factor.
Attrs shard_attrs(const TypeCall& call, const ShardingRule& rule, const std::vector<ShardPart>& parts);

/// Whether there are attributes that say which block a call makes.
bool has_shard_attrs(const OpDef& op);

/// Whether the results for partial sums in `slots` (beside whole values in the other inputs) add up to the result for
/// their sums: derived from the scalar body. Views let every kind of partial value through.
bool is_linear(const OpDef& op, std::span<const int> slots);

/// Executes shards of the call for every placement of one dimension per input, recombines and compares. The messages
/// tell wrong rules (allowed, but the results differ) and missing ones (right, but not in the rule).
std::vector<std::string> check_sharding(const OpDef& op, TensorSpan inputs, const Attrs& attrs, int parts = 2);

}  // namespace sorus
