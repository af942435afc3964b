// FusedLoop: several operators as one pass over memory, and its text in C.
//
// The loop runs over rows of `columns` elements. Each of its values is one scalar body and lives on one of four
// domains:
//
//   full    one element per (row, column)
//   row     one per row: a reduction of full values over the columns, or a body of such
//   column  one per column: a reduction of full values over the rows (written at the end)
//   total   one in all (written at the end)
//
//   layer norm = full x (loaded); row sum; row mean; full centred; row sum of squares; row rsqrt; full result
//
// A row is walked in stages: a full value that needs a row value of stage s belongs to stage s + 1. What a later
// stage reads again is loaded or computed again if that is cheap, else kept in a buffer of one row, which stays in
// the cache. Operands in memory are read with strides, so views cost nothing.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sorus/graph/attr.h"
#include "sorus/graph/index.h"
#include "sorus/graph/scalar.h"

namespace sorus {

enum class Domain : uint8_t { full, row, column, total };

/// Where the element of an operand lies for (row, column): offset + sum(row indices * strides) + column * inner.
struct RowAccess {
  struct Dim {
    int64_t size, stride;
    bool operator==(const Dim&) const = default;
  };
  std::vector<Dim> rows;  ///< outermost first; the product of sizes is the number of rows
  int64_t inner = 0;
  bool operator==(const RowAccess&) const = default;
};

struct FusedInput {
  /// `column`: the number of the column, for bodies that compare it.
  enum class Kind : uint8_t { value, buffer, constant, column } kind = Kind::value;
  int index = 0;       ///< of the value or the buffer
  RowAccess access;    ///< of a buffer
  int64_t offset = 0;  ///< of a buffer, in elements
  Scalar constant;
};

struct FusedValue {
  Domain domain = Domain::full;
  DType compute = DType::f32;
  std::shared_ptr<const ScalarFunction> body;  ///< arguments: `inputs`
  int result = 0;                              ///< which of the body's results
  Attrs params;
  std::vector<FusedInput> inputs;
  Reduction reduction = Reduction::none;  ///< of the body over columns (row), rows (column) or both (total)
  DType type = DType::f32;                ///< of the value as the program sees it
  int output = -1;                        ///< buffer it is written to
  bool boolean() const;
};

struct FusedLoop {
  int64_t rows = 1, columns = 1;
  /// Type of each buffer; reads and writes.
  std::vector<DType> buffers;
  /// Inputs before users.
  std::vector<FusedValue> values;

  /// Bytes of scratch one thread needs: buffers of a row, sums of columns.
  int64_t scratch_bytes() const;
  bool has_partial_sums() const;  ///< column or total values: `finish` must be called
  double flops() const;
  double bytes() const;
};

/// Two functions:
///   void NAME(char* const* buffers, int64_t row_begin, int64_t row_end, char* scratch)
///   void NAME_finish(char* const* buffers, char* const* scratch, int64_t threads)    (if has_partial_sums)
/// `scratch` is 64-byte aligned. The text depends on the loop only, so equal loops have equal text.
std::string print_fused_loop(const FusedLoop& loop, const std::string& name);

}  // namespace sorus
