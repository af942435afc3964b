// Layout: how a tensor lies on a mesh, one placement for each axis of it.
//
//   Replicate()     every rank along the axis has all of it
//   Shard(d)        dimension d is cut into blocks, one a rank; several axes may cut the same dimension, the
//                   first axis of the mesh into the largest blocks
//   Partial(op)     every rank has a summand (factor, candidate for the maximum, ...) of each element
//
// `redistribution` turns one layout into another by collectives along single axes:
//
//   [Shard(0), Partial()] -> [Replicate(), Shard(1)] = reduce_scatter 1 along tp, all_gather 0 along dp
//
// Where the ranks do not divide a dimension, the first of them have one more: 10 rows among 4 are 3, 3, 2 and 2. A
// dimension of which only blocks may be cut apart (5 heads of 64) is counted in them: among 2 that is 192 and 128.
#pragma once

#include <string>
#include <vector>

#include "sorus/derive/sharding.h"
#include "sorus/parallel/mesh/mesh.h"

namespace sorus::parallel {

struct Placement {
  enum class Kind : uint8_t { replicate, shard, partial };
  Kind kind = Kind::replicate;
  int dim = -1;                                   ///< of a shard
  int64_t unit = 1;                               ///< of a shard: elements that stay together
  ShardFactor::Kind op = ShardFactor::Kind::sum;  ///< of a partial: sum, prod, max or min
  bool is_replicate() const { return kind == Kind::replicate; }
  bool is_shard() const { return kind == Kind::shard; }
  bool is_shard(int d) const { return kind == Kind::shard && dim == d; }
  bool is_partial() const { return kind == Kind::partial; }
  bool operator==(const Placement& o) const {
    return kind == o.kind && (!is_shard() || (dim == o.dim && unit == o.unit)) && (!is_partial() || op == o.op);
  }
  std::string to_string() const;  ///< "R", "S(0)", "S(0 by 64)", "P(sum)"
  static Placement parse(std::string_view text);
};

inline Placement Replicate() { return {}; }
inline Placement Shard(int dim, int64_t unit = 1) { return {Placement::Kind::shard, dim, unit}; }
inline Placement Partial(ShardFactor::Kind op = ShardFactor::Kind::sum) {
  return {Placement::Kind::partial, -1, 1, op};
}
std::string_view reduction_name(ShardFactor::Kind op);  ///< "sum", "product", "max", "min": the communicator's names

using Layout = std::vector<Placement>;
std::string to_string(const Layout& layout);
Layout replicated(const DeviceMesh& mesh);
/// ValueError that names `what` if a placement does not fit the shape: a dimension that it has not, or one of fewer
/// elements than there are ranks.
void check_layout(const DeviceMesh& mesh, const Layout& layout, const Shape& shape, std::string_view what);

/// A rank's block of a tensor of that shape.
struct Block {
  Shape sizes, start;
};
Block block_of(const DeviceMesh& mesh, const Layout& layout, const Shape& shape, int64_t rank);
/// The sizes, in the dimension that `layout` cuts along `axis`, of the blocks of the ranks that differ from `rank`
/// along `axis` only. No later axis cuts that dimension.
Shape cut_sizes(const DeviceMesh& mesh, const Layout& layout, const Shape& shape, int64_t rank, int axis);
bool all_equal(const Shape& sizes);

/// One collective along one axis.
struct Move {
  enum class Kind : uint8_t {
    slice,           ///< R -> S(dim): nothing is sent
    all_gather,      ///< S(dim) -> R
    all_reduce,      ///< P -> R
    reduce_scatter,  ///< P -> S(dim)
    all_to_all,      ///< S(from) -> S(dim)
    mask             ///< R -> P: one rank keeps it, the others have the neutral element
  } kind;
  int axis = 0;
  int dim = -1, from = -1;
  ShardFactor::Kind op = ShardFactor::Kind::sum;
  int64_t unit = 1;  ///< of the cut of `dim`
  std::string to_string(const DeviceMesh& mesh) const;
};

/// How many moves from `first` on one collective does, among the ranks of all their axes together: sums over several
/// axes, sums of which each axis takes its cut of one dimension, joins of what several axes have cut. The axis
/// `alone` (that of micro-batches) is in none.
size_t joint_moves(const std::vector<Move>& moves, size_t first, int alone = -1);
/// What a move makes of a layout.
void apply_move(const Move& move, Layout& layout);
/// Sums along the axis `time`, of micro-batches, come first: ranks then exchange what is left once a step.
std::vector<Move> redistribution(const DeviceMesh& mesh, const Layout& from, const Layout& to, int time = -1);
/// Seconds that the moves take by a simple model: bytes a rank sends over the bandwidth, and a latency each.
struct CommunicationModel {
  double bytes_per_second = 4e9, latency = 1e-5;
};
double cost_of(const DeviceMesh& mesh, const std::vector<Move>& moves, const Layout& from, const TensorType& type,
               const CommunicationModel& model = {});

}  // namespace sorus::parallel
