// How long collectives take on a cluster.
//
// Ranks are numbered from the inside of the cluster outwards, so an axis of the mesh is given by its stride and size:
// tensor parallelism of 8 inside of a node has stride 1, data parallelism outside of it stride 8. At each level of
// the network a group has so many members in one unit; what it moves across a level is what the levels inside have
// left. Groups that lie beside each other (all tensor ranks of a node reduce their gradients at once) share the links
// that leave the unit: a rank has its own share of them and no more. Ignoring this is the largest error that a
// planner can make.
//
// Rings: Patarasuk and Yuan 2009; trees: Sanders, Speck and Traeff 2009 (two trees, pipelined); hierarchical: Jia et
// al. 2018. S bytes, n ranks, latency a, bandwidth B:
//   ring all-reduce 2(n-1)a + 2(n-1)/n S/B, tree 2 ceil(log2 n) a + 2S/B; gather and scatter: half of the ring's.
#pragma once

#include "sorus/parallel/cluster/cluster.h"

namespace sorus::parallel {

enum class Collective : uint8_t { all_reduce, all_gather, reduce_scatter, all_to_all, send };

/// The members of a group: `size` ranks, `stride` apart.
struct Span {
  int64_t size = 1, stride = 1;
};

/// Members of a group in one unit of each level: their product is the size.
std::vector<int64_t> members(const Cluster& cluster, Span span);
/// Seconds to do it with `bytes` of the whole tensor (all_to_all and send: of what one rank has). `algorithm`, if
/// given, is set to the name of the fastest.
double collective_time(const Cluster& cluster, Collective kind, double bytes, Span span,
                       const char** algorithm = nullptr);
/// Of a collective that runs beside arithmetic: the first bucket has nothing to run beside, and both share the
/// memory.
constexpr double kExposed = 0.1;
/// What is left to wait for of `time` seconds of communication that run beside so much arithmetic.
constexpr double exposed(double time, double arithmetic) {
  return time * kExposed > time - arithmetic ? time * kExposed : time - arithmetic;
}
/// The widest level that the group crosses; -1 for a group of one.
int widest_level(const Cluster& cluster, Span span);

}  // namespace sorus::parallel
