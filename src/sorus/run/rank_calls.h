// Calls of other ranks, the collectives: they name a group of ranks. All ranks make them in the same order, that of
// the graph, which is the same for all of them; sizes, by which units are fused and ordered, need not be.
#pragma once

#include "sorus/graph/graph.h"

namespace sorus {

inline bool calls_ranks(const Node& node) {
  const Signature& s = node.op->signature;
  for (int i = 0; i < s.attrs; ++i)
    if (s.attr_param(i).name == "group") return true;
  return false;
}

}  // namespace sorus
