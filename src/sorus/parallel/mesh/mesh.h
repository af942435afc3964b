// DeviceMesh: ranks arranged in a box with named axes.
//
//   DeviceMesh mesh({"dp", "tp"}, {2, 4});     // rank = dp * 4 + tp
//   mesh.coordinate(6, 0)                      // 1
//   mesh.peers(6, 1)                           // {4, 5, 6, 7}: the ranks that differ from it along tp only
//
// A mesh says nothing about machines or threads: graphs for all ranks can be made in one process. Where ranks run,
// the group of an axis is the communicator of that name (`join`).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sorus/tensor/shape.h"

namespace sorus::parallel {

class DeviceMesh {
 public:
  DeviceMesh() = default;  ///< one rank, no axes
  /// ValueError for names that are empty or occur twice, and for sizes below 1.
  DeviceMesh(std::vector<std::string> names, Shape sizes);

  int axes() const { return static_cast<int>(names_.size()); }
  const std::string& name(int axis) const { return names_[static_cast<size_t>(axis)]; }
  const std::vector<std::string>& names() const { return names_; }
  int64_t size(int axis) const { return sizes_[static_cast<size_t>(axis)]; }
  const Shape& sizes() const { return sizes_; }
  /// Number of ranks.
  int64_t size() const { return numel(sizes_); }
  /// KeyError with the names there are.
  int axis(std::string_view name) const;
  int64_t coordinate(int64_t rank, int axis) const;
  Shape coordinates(int64_t rank) const;
  std::vector<int> peers(int64_t rank, int axis) const { return peers(rank, std::vector<int>{axis}); }
  /// Those that differ from it along these ascending axes only, the last one fastest.
  std::vector<int> peers(int64_t rank, const std::vector<int>& axes) const;
  /// The name of the communicator of the ranks along an axis.
  std::string group(int axis) const { return group(std::vector<int>{axis}); }
  /// And of those along several at once: "dp 2 x cp 2/dp+cp".
  std::string group(const std::vector<int>& axes) const;
  bool operator==(const DeviceMesh&) const = default;
  std::string to_string() const;  ///< "dp 2 x tp 4"

 private:
  std::vector<std::string> names_;
  Shape sizes_;
};

}  // namespace sorus::parallel
