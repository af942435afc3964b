// Fusion: cuts a graph into units, each a fused loop (several elementwise operators and reductions in one pass over
// memory) or a single call of a kernel, in an order in which they can run.
//
// Views are no units: they change how a unit reads. Whether operators fit into one loop is decided by where their
// elements lie (emit/fused_loop.h), never by their names.
#pragma once

#include "sorus/emit/fused_loop.h"
#include "sorus/run/placement.h"

namespace sorus {

/// A kernel whose result the loop reads strip by strip (run/strips.h).
struct Strip {
  const Node* node = nullptr;
  std::vector<Operand> operands;
  int buffer = -1;           ///< of the loop
  int64_t rows = 0;          ///< of the result in one strip; the last one may be shorter
  std::vector<Attrs> attrs;  ///< of the calls that make the strips
  /// Rows of a loop of `columns` that pass over one strip.
  int64_t loop_rows(int64_t columns) const;
};

struct Unit {
  const Node* node = nullptr;     ///< a kernel call; null for a loop
  std::vector<Operand> operands;  ///< of the node, in order of its inputs (source null where none is given)
  FusedLoop loop;
  std::vector<const Node*> members;  ///< of a loop
  std::vector<Value> buffers;        ///< of a loop: the value behind each buffer
  std::vector<bool> written;         ///< of a loop: whether the buffer is a result
  struct IndexCheck {
    const Node* node;
    Operand index;
    int64_t size;
  };
  std::vector<IndexCheck> checks;  ///< of a loop: indices that have to be in range before it runs
  std::vector<Strip> strips;       ///< of a loop
  bool is_strip(size_t buffer) const;
};

std::vector<Unit> fuse(const Graph& graph, const Placement& placement);

}  // namespace sorus
