#include "sorus/parallel/mesh/mesh.h"

#include <algorithm>

#include "sorus/base/error.h"

namespace sorus::parallel {

DeviceMesh::DeviceMesh(std::vector<std::string> names, Shape sizes)
    : names_(std::move(names)), sizes_(std::move(sizes)) {
  SORUS_CHECK(names_.size() == sizes_.size(), ValueError, "device mesh: {} names for {} sizes", names_.size(),
              sizes_.size());
  for (size_t i = 0; i < names_.size(); ++i) {
    SORUS_CHECK(!names_[i].empty() && std::find(names_.begin(), names_.begin() + static_cast<int64_t>(i),
                                                names_[i]) == names_.begin() + static_cast<int64_t>(i),
                ValueError, "device mesh: axis {} needs a name of its own, it has '{}'", i, names_[i]);
    SORUS_CHECK(sizes_[i] >= 1, ValueError, "device mesh: axis '{}' has {} ranks, at least 1 is needed", names_[i],
                sizes_[i]);
  }
}

int DeviceMesh::axis(std::string_view name) const {
  for (size_t i = 0; i < names_.size(); ++i)
    if (names_[i] == name) return static_cast<int>(i);
  fail<KeyError>("device mesh: there is no axis '{}' in {}", name, to_string());
}

Shape DeviceMesh::coordinates(int64_t rank) const {
  SORUS_CHECK(rank >= 0 && rank < size(), IndexError, "device mesh: there is no rank {} in {}", rank, to_string());
  Shape out(sizes_.size(), 0);
  for (size_t i = sizes_.size(); i-- > 0; rank /= sizes_[i]) out[i] = rank % sizes_[i];
  return out;
}

int64_t DeviceMesh::coordinate(int64_t rank, int axis) const { return coordinates(rank)[static_cast<size_t>(axis)]; }

std::vector<int> DeviceMesh::peers(int64_t rank, const std::vector<int>& axes) const {
  std::vector<int> out{static_cast<int>(rank)};
  for (int axis : axes) {
    int64_t step = 1;
    for (int i = this->axes() - 1; i > axis; --i) step *= size(i);
    std::vector<int> more;
    for (int r : out)
      for (int64_t i = 0; i < size(axis); ++i)
        more.push_back(static_cast<int>(r + (i - coordinate(rank, axis)) * step));
    out = std::move(more);
  }
  return out;
}

std::string DeviceMesh::group(const std::vector<int>& axes) const {
  std::string s = to_string();
  for (size_t i = 0; i < axes.size(); ++i) s += (i ? "+" : "/") + name(axes[i]);
  return s;
}

std::string DeviceMesh::to_string() const {
  std::string s;
  for (size_t i = 0; i < names_.size(); ++i) s += fmt::format("{}{} {}", i ? " x " : "", names_[i], sizes_[i]);
  return s.empty() ? "1 rank" : s;
}

}  // namespace sorus::parallel
