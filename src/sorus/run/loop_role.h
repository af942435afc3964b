// What a node can be to a fused loop, read off its operator's facets: a body for each element, or a reduction.
#pragma once

#include <memory>
#include <optional>

#include "sorus/graph/graph.h"
#include "sorus/graph/index.h"
#include "sorus/graph/scalar.h"

namespace sorus {

struct Role {
  enum class Kind : uint8_t { none, each, reduce } kind = Kind::none;
  std::shared_ptr<const ScalarFunction> body;
  Attrs params;
  DType compute = DType::f32;
  Shape points;  ///< the shape that is walked
  Reduction reduction = Reduction::none;
  int64_t columns = 0;                          ///< reduce: of a row; 0 if all is reduced to one element
  bool over_rows = false;                       ///< reduce: the leading dimensions are reduced
  std::shared_ptr<const ScalarFunction> after;  ///< reduce: of the arguments and the result, for each row
  /// With index notation: the input behind each argument of the body, and for each of its dimensions the dimension of
  /// `points` it runs along (-1: it has one element).
  std::vector<int> slots;
  std::vector<std::vector<int>> dims;
  bool position = false;  ///< the body's last argument is the column: rows must be the last dimension of `points`
  int index_slot = -1;
  int64_t index_size = 0;
};

Role role_of(const Node& node);

/// The number that all elements of a value are, if the graph says so.
std::optional<Scalar> constant_of(const Value& v);

}  // namespace sorus
