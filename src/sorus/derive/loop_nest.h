// LoopNest: an index rule with numbers in it. Everything that is derived from index notation is derived from this
// form.
//
//   for all points of `axes`:  output[index] = reduce(output[index], body(inputs[index]...))
//
// It is the same form for an operator and for all its derivatives: the gradient of a sum with respect to an input
// runs the same loops, reads the gradient where the result was written and adds to where the input was read. So a
// transposed convolution, a scatter-add and a broadcast need no words of their own, and a derivative of any order is
// a LoopNest.
//
// Points whose index leaves a tensor contribute nothing; an index that is data and leaves it is an error.
#pragma once

#include <optional>

#include "sorus/graph/index.h"
#include "sorus/graph/op.h"

namespace sorus {

struct LoopAxis {
  std::string name;
  int64_t extent = 0;
};

/// constant + sum(coefficients[a] * axis a) (+ the element of input `data`, times data_factor)
struct AffineIndex {
  int64_t constant = 0;
  SmallVector<int64_t, 8> coefficients;
  int data = -1;
  int64_t data_factor = 1;
  int64_t size = 0;      ///< of the tensor in this dimension
  bool guarded = false;  ///< may leave [0, size)

  int64_t lowest(const std::vector<LoopAxis>& axes) const;
  int64_t highest(const std::vector<LoopAxis>& axes) const;
  /// The only axis, if the index is just that; else -1.
  int plain_axis() const;
};

struct LoopOperand {
  int slot = -1;  ///< input of the call; -1 is the result
  std::vector<AffineIndex> dims;
  bool only_index = false;  ///< used as an index, not in the body
};

struct LoopNest {
  std::vector<LoopAxis> axes;
  std::vector<LoopOperand> inputs;  ///< arguments of the body, in order
  LoopOperand output;
  Reduction reduction = Reduction::none;
  ScalarFunction body;
  std::optional<ScalarFunction> initial;  ///< added to a sum; depends on axes of the output only
  std::vector<double> params;

  Shape output_shape() const;
  /// Whether an axis does not occur in the output's index.
  bool is_reduced(int axis) const;
  /// Whether every element of the output is met by exactly the points with its own index (no sums or data in it).
  bool is_gather() const;
  double points() const;
  /// "for i < 3, j < 4: y[i] += x[i, j]"
  std::string to_string() const;
};

/// The loops of a call, whatever the operator's index rule is derived from.
LoopNest bind_index(const TypeCall& call);

using OptionalShapes = std::vector<std::optional<Shape>>;
/// Of any rule, and of one that is not derived from another.
LoopNest bind_rule(const IndexRule& rule, std::string_view who, const OptionalShapes& inputs, const Attrs& attrs,
                   const std::optional<Shape>& result);
LoopNest bind_own(const IndexRule& rule, std::string_view who, const OptionalShapes& inputs, const Attrs& attrs,
                  const std::optional<Shape>& result);

}  // namespace sorus
