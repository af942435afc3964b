// Calls of operators by name inside composites, with the defaults of the attributes that are left out.
#pragma once

#include "sorus/graph/call.h"

namespace sorus {

inline Attrs with_defaults(const OpDef& op, Attrs attrs) {
  Attrs out = std::move(attrs);
  for (int i = static_cast<int>(out.size()); i < op.signature.attrs; ++i)
    out.push_back(op.signature.attr_param(i).default_value);
  return out;
}
inline TensorList apply_all(std::string_view name, std::initializer_list<Tensor> inputs, Attrs attrs = {}) {
  const OpDef& op = find_op(name);
  return call(op, inputs, with_defaults(op, std::move(attrs)));
}
inline Tensor apply(std::string_view name, std::initializer_list<Tensor> inputs, Attrs attrs = {}) {
  const OpDef& op = find_op(name);
  return call_one(op, inputs, with_defaults(op, std::move(attrs)));
}

}  // namespace sorus
