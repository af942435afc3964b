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
};

struct OperatorCost {
  std::vector<KernelWork> forward, backward;
  std::vector<char> saves_input, saves_output;  ///< values that the backward pass reads
  bool matrix = false;                          ///< its work is arithmetic: products, convolutions, attention
};

/// `needs`: which inputs want a gradient.
OperatorCost operator_cost(const OpDef& op, const std::vector<const TensorType*>& inputs, const Attrs& attrs,
                           const std::vector<char>& needs);
/// Seconds of a kernel on a device.
double kernel_time(const Cluster& cluster, const KernelWork& kernel, std::string_view dtype);

}  // namespace sorus::parallel
