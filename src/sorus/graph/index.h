// Index notation: what an operator that is more than elementwise computes, in one line.
//
//   y[.., m, n] = sum(k) input[.., m, k] * other[.., k, n]
//   y[.., o, h] = bias[o] + sum(c, i) input[.., c, h*stride[0] + i*dilation[0] - padding[0]] * weight[o, c, i]
//   y[..] = max(dim) input[.., dim]                  dim: an attribute, the dimensions that are reduced
//   y[.., d] = weight[input[..], d]                  an index that is data
//
// Every name in an index is an axis, a loop over 0 .. its extent, unless it is an attribute or a definition. Extents
// follow from the inputs' sizes; where an index is a sum (a window), the one axis that nothing else determines gets
// as many places as the window has, with what is subtracted as padding on both sides. A point of the loops that
// falls outside of an input contributes nothing. `..` are any leading dimensions, which broadcast.
//
// The reduction is one of sum prod max min any all; without one, every element is computed once. The part before the
// reduction is added to its result. Both are bodies in the scalar language (graph/scalar.h) whose arguments are the
// accesses; a tensor is accessed once. After `where` come definitions and extents, separated by commas:
//
//   ... where g < groups, O = size(weight, 0) / groups
//
// The result's index may be a sum too, or data (that is what gradients are: the same loops with the roles of the
// result and an input exchanged, see derive/loop_nest.h). Its size is then one more than the largest index, or given
// behind a colon: y[h*stride[0] + i : (size(input, 0) - 1) * stride[0] + 1].
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sorus/graph/op.h"
#include "sorus/graph/scalar.h"

namespace sorus {

enum class Reduction : uint8_t { none, sum, prod, max, min, any, all };
std::string_view to_string(Reduction r);

/// Integer arithmetic on attributes and sizes: + - * / (floor) % min max size(tensor, dim) len(attribute).
struct SizeExpr {
  enum class Kind : uint8_t { number, attr, definition, size, axis, add, sub, mul, div, mod, min, max };
  Kind kind = Kind::number;
  int64_t number = 0;  ///< value; element of a list attribute or -1; dimension
  int index = 0;       ///< attribute, definition, tensor parameter or axis
  std::vector<SizeExpr> operands;
};

/// One summand of an index: an axis or another access, times constants.
struct IndexTerm {
  int axis = -1;
  int access = -1;
  std::vector<SizeExpr> factors;
  bool negative = false;
};

struct IndexDim {
  enum class Kind : uint8_t { affine, ellipsis, group } kind = Kind::affine;
  std::vector<IndexTerm> terms;
  bool may_leave = false;          ///< written with a `?`: the index may leave the tensor
  std::shared_ptr<SizeExpr> size;  ///< behind a colon, in results
};

struct IndexAccess {
  int tensor = -1;  ///< tensor parameter; -1 is the result
  std::vector<IndexDim> dims;
};

struct IndexRule {
  std::string text;
  std::vector<std::string> axes;
  std::vector<bool> reduced;  ///< of axes
  Reduction reduction = Reduction::none;
  int group_attr = -1;  ///< attribute that names the reduced dimensions
  int keepdim_attr = -1;
  IndexAccess result;
  std::vector<IndexAccess> accesses;
  ScalarFunction body;  ///< arguments: the accesses; parameters: numeric attributes
  std::shared_ptr<const ScalarFunction> initial;
  std::vector<int> param_attrs;  ///< attribute behind each parameter of the bodies
  std::vector<std::pair<std::string, SizeExpr>> definitions;
  std::vector<std::pair<int, SizeExpr>> bounds;  ///< axis < expression

  /// Rules of derived operators: the loops of `base` with roles exchanged.
  enum class Derived : uint8_t { no, gradient, ties };
  Derived derived = Derived::no;
  std::shared_ptr<const IndexRule> base;
  int target = -1;              ///< tensor parameter of the base the gradient is of
  std::vector<int> base_slots;  ///< for each tensor parameter: the base's, -1 its gradient, -2 its result

  int tensor_count = 0;
};

/// Errors are ValueErrors that show the notation.
std::shared_ptr<const IndexRule> parse_index(std::string_view notation, const Signature& signature);

/// Result types of a call of an operator with index notation (derive/index_rules.cpp).
std::vector<TensorType> index_types(const TypeCall& call);

/// Hand work for a derived operator: gradient_kernel("conv2d:grad0", kernel), in the entry of conv2d.
bool gradient_kernel(std::string_view derived_name, Kernel kernel);
Kernel find_gradient_kernel(std::string_view derived_name);

}  // namespace sorus
