// What rules for devices share (graph/device_form.h), of floats and of integers.
#pragma once

#include "sorus/graph/device_form.h"

namespace sorus::device_rules {

/// Sizes of products of matrices whose dimensions lie in order.
inline MatmulForm matrices(const Shape& a, const Shape& b, const Shape& y) {
  MatmulForm f;
  f.rows = y[y.size() - 2], f.columns = y.back(), f.depth = a.back();
  f.batch.assign(y.begin(), y.end() - 2);
  auto steps = [&](const Shape& s) {
    Shape batch(s.begin(), s.end() - 2), strides = contiguous_strides(s);
    strides.resize(batch.size());
    return broadcast_strides(batch, strides, f.batch);
  };
  f.a_steps = steps(a), f.b_steps = steps(b);
  return f;
}

/// The order of the result where some dimensions go (`reduced`: by place in memory) and the others keep their order.
inline Shape kept_order(const DeviceCall& c, const std::vector<char>& reduced) {
  bool keep = c.outputs[0].shape.size() == c.input(0).shape.size();
  Shape order;
  for (size_t p = 0; p < reduced.size(); ++p) {
    int64_t d = c.order[p], before = 0;
    if (keep) order.push_back(d);
    if (keep || reduced[p]) continue;
    for (size_t q = 0; q < reduced.size(); ++q) before += reduced[q] && c.order[q] < d;
    order.push_back(d - before);
  }
  return order;
}

}  // namespace sorus::device_rules
