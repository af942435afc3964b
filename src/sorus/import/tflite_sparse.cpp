// Sparse constants of .tflite files. Elements are stored in a tree: a level for each dimension, in an order that the
// file gives, and below them one for each dimension that is cut into blocks. A dense level has all places, a sparse
// one those that its list of indices names; segments say which of them belong to a place of the level above.
#include <functional>

#include "sorus/import/tflite.h"

namespace sorus::importer::tflite {
namespace {

struct Level {
  bool sparse = false;
  int64_t size = 0;
  std::vector<int64_t> segments, indices;
  int64_t stride = 0;  // bytes in the dense tensor from one place to the next
};

// A union of vectors of int32, uint16 and uint8.
std::vector<int64_t> numbers_of(const FlatTable& dimension, int field) {
  FlatTable list = dimension.table(field + 1);
  auto widened = [](const auto& v) { return std::vector<int64_t>(v.begin(), v.end()); };
  switch (dimension.number<uint8_t>(field)) {
    case 1:
      return widened(list.numbers<int32_t>(0));
    case 2:
      return widened(list.numbers<uint16_t>(0));
    default:
      return widened(list.numbers<uint8_t>(0));
  }
}

}  // namespace

std::string dense_elements(const FlatTable& sparsity, std::string_view data, const FileTensor& tensor,
                           const std::string& path) {
  auto check = [&](bool fine, const char* what) {
    SORUS_CHECK(fine, FileError, "{}: sparse tensor '{}' of shape {}: {}", path, tensor.name,
                to_string(tensor.type.shape), what);
  };
  const Shape& shape = tensor.type.shape;
  auto rank = static_cast<int64_t>(shape.size());
  check(numel(shape) <= int64_t{1} << 28, "too many elements");
  std::vector<int32_t> order = sparsity.numbers<int32_t>(0), blocks = sparsity.numbers<int32_t>(1);
  std::vector<FlatTable> dimensions = sparsity.tables(2);
  check(order.size() == dimensions.size() && order.size() == shape.size() + blocks.size() && !order.empty() &&
            order.size() < 16,
        "the numbers of levels and dimensions do not fit");
  auto element = static_cast<int64_t>(size_of(tensor.type.dtype));
  Shape strides = contiguous_strides(shape), covered(shape.size(), 1), block(shape.size(), 1);
  std::vector<Level> levels(order.size());
  std::vector<char> seen(order.size(), 0);
  auto dimension_of = [&](int64_t k) -> size_t {  // of a level that is the k-th dimension, or a block of one
    int64_t d = k < rank ? k : blocks[static_cast<size_t>(k - rank)];
    check(d >= 0 && d < rank, "a block of a dimension that it does not have");
    return static_cast<size_t>(d);
  };
  for (size_t l = 0; l < order.size(); ++l) {
    auto k = static_cast<size_t>(order[l]);
    check(k < order.size() && !seen[k], "the order of its dimensions is none");
    seen[k] = 1;
    Level& level = levels[l];
    level.sparse = dimensions[l].number<int8_t>(0) == 1;
    level.size = dimensions[l].number<int32_t>(1);
    if (level.sparse) level.segments = numbers_of(dimensions[l], 2), level.indices = numbers_of(dimensions[l], 4);
    if (order[l] >= rank) {
      check(level.size > 0, "a block without places");
      check(block[dimension_of(order[l])] == 1, "a dimension has two blocks");
      block[dimension_of(order[l])] = level.size;
    }
  }
  for (size_t l = 0; l < order.size(); ++l) {
    size_t d = dimension_of(order[l]);
    bool whole = order[l] < rank;
    // The file does not give the number of places of a sparse level.
    if (whole && levels[l].sparse) levels[l].size = shape[d] / block[d];
    levels[l].stride = element * strides[d] * (whole ? block[d] : 1);
    check(levels[l].size >= 0 && levels[l].size <= shape[d], "a level is larger than its dimension");
    covered[d] *= levels[l].size;
  }
  for (size_t d = 0; d < shape.size(); ++d) check(covered[d] == shape[d], "the levels do not cover a dimension");
  std::string out(static_cast<size_t>(numel(shape) * element), '\0');
  int64_t stored = static_cast<int64_t>(data.size()) / element;
  std::function<void(size_t, int64_t, int64_t)> visit = [&](size_t l, int64_t place, int64_t at) {
    if (l == levels.size()) {
      check(place < stored, "it has fewer elements than places for them");
      data.copy(out.data() + at, static_cast<size_t>(element), static_cast<size_t>(place * element));
      return;
    }
    const Level& level = levels[l];
    if (!level.sparse) {
      for (int64_t i = 0; i < level.size; ++i) visit(l + 1, place * level.size + i, at + i * level.stride);
      return;
    }
    check(place + 1 < static_cast<int64_t>(level.segments.size()), "it has fewer segments than places for them");
    int64_t from = level.segments[static_cast<size_t>(place)], to = level.segments[static_cast<size_t>(place) + 1];
    check(from >= 0 && from <= to && to <= static_cast<int64_t>(level.indices.size()), "a segment that it has not");
    for (int64_t i = from; i < to; ++i) {
      int64_t index = level.indices[static_cast<size_t>(i)];
      check(index >= 0 && index < level.size, "an index outside of its dimension");
      check(i == from || index > level.indices[static_cast<size_t>(i) - 1], "indices that are not in order");
      visit(l + 1, i, at + index * level.stride);
    }
  };
  visit(0, 0, 0);
  return out;
}

}  // namespace sorus::importer::tflite
