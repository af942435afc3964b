#include "sorus/derive/cost.h"

#include "sorus/derive/index_rules.h"
#include "sorus/graph/scalar.h"

namespace sorus {

Cost cost_of(const TypeCall& call) {
  if (call.op.is_view()) return {};
  std::vector<TensorType> out = infer_types(call);
  Cost c;
  auto bytes = [](const TensorType& t) {
    return static_cast<double>(numel(t.shape)) * static_cast<double>(size_of(t.dtype));
  };
  for (const TensorType* t : call.inputs)
    if (t) c.bytes += bytes(*t);
  double elements = 0;
  for (const TensorType& t : out) {
    c.bytes += bytes(t);
    elements += static_cast<double>(numel(t.shape));
  }
  if (call.op.cost)
    c.flops = call.op.cost(call, out);
  else if (call.op.each)
    c.flops = flops(*call.op.each) * elements / static_cast<double>(out.size());
  else if (call.op.index)
    c.flops = index_flops(call);
  return c;
}

}  // namespace sorus
