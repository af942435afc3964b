// What one call of an operator costs forward and backward, read from its definition: floating-point operations and
// bytes from derive/cost.h, the backward pass by recording the operator's own gradient.
#pragma once

#include "sorus/graph/op.h"
#include "sorus/parallel/cluster/cluster.h"

namespace sorus::parallel {

/// One kernel. Work of matrix units and work of memory are apart, since a device has different speeds for them.
struct KernelWork {
  double flops = 0, bytes = 0;
  bool matrix = false;
  bool composite = false;  ///< products with other arithmetic between them: no index notation says it all
  bool window = false;     ///< products under a window: an index is a sum of axes
};

struct OperatorCost {
  std::vector<KernelWork> forward, backward;
  std::vector<char> saves_input, saves_output;  ///< values that the backward pass reads
  bool matrix = false;                          ///< its work is arithmetic: products, convolutions, attention
};

/// `needs`: which inputs want a gradient; `read`: which results are read, so that a gradient comes back for them
/// (what attention keeps for its own backward pass has none).
OperatorCost operator_cost(const OpDef& op, const std::vector<const TensorType*>& inputs, const Attrs& attrs,
                           const std::vector<char>& needs, const std::vector<char>& read);
/// Seconds of a kernel on a device. `products`: the type that products are done in, but for those of composites.
double kernel_time(const Cluster& cluster, const KernelWork& kernel, std::string_view dtype,
                   std::string_view products);

}  // namespace sorus::parallel
