// A signature says what an operator takes, in one line that is also its Python signature:
//
//   "leaky_relu(input, negative_slope: float = 0.01)"
//   "max.dim(input, dim: int, keepdim: bool = false) -> values, indices"
//   "conv2d(input, weight, bias: Tensor? = none, stride: int[2] = 1, padding: int[2] = 0)"
//
// A parameter without a type is a Tensor. Types: Tensor, Tensor?, Tensor[], mask (a Tensor that takes no part in type
// promotion, such as a condition or indices), mask?, int, float, bool, scalar (keeps its kind), str, dtype, int[],
// int[n] (one number stands for n equal ones), float[]; each of the attribute types may end in `?` (none allowed).
// The part after a dot tells overloads apart; Python calls the first overload whose parameters fit.
// C++ functions, Python functions and methods, and documentation pages are all made from this line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sorus/graph/attr.h"

namespace sorus {

enum class ParamType : uint8_t { tensor, tensor_list, boolean, integer, real, scalar, string, dtype, ints, reals };

struct Param {
  std::string name;
  ParamType type = ParamType::tensor;
  bool optional = false;  ///< none is allowed
  bool promotes = true;   ///< tensors: takes part in type promotion (not so for `mask`)
  bool has_default = false;
  bool keyword_only = false;
  int list_size = 0;  ///< of int[n]
  Attr default_value;
  bool is_tensor() const { return type <= ParamType::tensor_list; }
};

struct Signature {
  std::string name;  ///< with the overload: "max.dim"
  std::string base;  ///< without: "max"
  std::vector<Param> params;
  std::vector<std::string> outputs;  ///< names; {"output"} unless the signature says otherwise
  int tensors = 0;                   ///< parameters that are tensors or lists of tensors
  int attrs = 0;
  int list_at = -1;  ///< position among the tensor parameters of the one list, or -1

  static Signature parse(std::string_view text);
  std::string to_string() const;

  /// Index among the attributes / the tensor parameters; throws for an unknown name.
  int attr_index(std::string_view name) const;
  int tensor_index(std::string_view name) const;
  const Param& attr_param(int index) const;
  const Param& tensor_param(int index) const;
  /// The parameter that input slot `slot` of `inputs` slots belongs to (a list takes all slots that are left).
  int tensor_param_of_slot(int slot, int inputs) const;
  /// The default of every attribute; throws if one has none.
  Attrs default_attrs() const;
};

}  // namespace sorus
