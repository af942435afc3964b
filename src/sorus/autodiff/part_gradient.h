// Gradients of views that show a part of their input (a slice, a row, one of the parts of a split): each is added in
// place to that part of the input's gradient, instead of being laid into zeros of the whole size, once for each view,
// which are then added up.
//
// Parts that are blocks of one dimension are not even laid into zeros: they are written one beside the other, as the
// three of a joint product for queries, keys and values, and only what nobody has written when the sum is read
// becomes zero.
#pragma once

#include <optional>
#include <vector>

#include "sorus/graph/call.h"

namespace sorus {

/// The sums of one backward pass that are made of parts.
class PartGradients {
 public:
  /// Adds `grad`, the gradient of the view `op` of an `input` of that type, to `sum`, what is known of the gradient
  /// of the input (undefined: nothing yet). False, and nothing changed, if the view does not show a part without
  /// overlap: then the rule of the operator has to be asked. `sum` may be replaced by memory of its own.
  bool add(const OpDef& op, const Attrs& attrs, const TensorType& input, const Tensor& grad, Tensor& sum);
  /// To be called before a sum is read or anything else is added to it.
  void complete(const Tensor& sum) {
    if (!open_.empty()) [[unlikely]]
      fill_gaps(sum);
  }

 private:
  /// Elements [begin, end) along one dimension, of all of the others.
  struct Block {
    size_t dim;
    int64_t begin, end;
  };
  struct Open {
    Tensor sum;
    std::vector<Block> written;  ///< along the same dimension, without overlap
  };
  static std::optional<Block> block_of(const Geometry& part, const Shape& whole);
  Open* find(const Tensor& sum);
  void fill_gaps(const Tensor& sum);

  std::vector<Open> open_;  // few at a time
};

}  // namespace sorus
