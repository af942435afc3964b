// Loops over the elements of a result, as text: what kernels made from sizes and strides are written with.
#pragma once

#include <fmt/format.h>

#include "sorus/device/kernel_parts.h"

namespace sorus::device {

/// Contiguous.
inline Geometry whole(const Shape& sizes) { return {sizes, contiguous_strides(sizes), 0}; }

/// Loops over `sizes` around `body`, which is one line; neighbouring dimensions that all operands cross in one step
/// become one. Operand k is at `at[k]` in the body.
struct Nest {
  Shape sizes;
  std::vector<Shape> strides;
  std::vector<int64_t> offsets;

  Nest(const Shape& given, const std::vector<Geometry>& operands) {
    strides.resize(operands.size());
    for (const Geometry& g : operands) offsets.push_back(g.offset);
    for (size_t d = 0; d < given.size(); ++d) {
      if (given[d] == 1) continue;
      bool merges = !sizes.empty();
      for (size_t k = 0; k < operands.size(); ++k)
        merges = merges && strides[k].back() == operands[k].strides[d] * given[d];
      if (merges) {
        sizes.back() *= given[d];
        for (size_t k = 0; k < operands.size(); ++k) strides[k].back() = operands[k].strides[d];
      } else {
        sizes.push_back(given[d]);
        for (size_t k = 0; k < operands.size(); ++k) strides[k].push_back(operands[k].strides[d]);
      }
    }
    if (sizes.empty()) {
      sizes.push_back(1);
      for (Shape& s : strides) s.push_back(0);
    }
  }

  std::string at(size_t k) const {
    std::string text;
    for (size_t d = 0; d < sizes.size(); ++d) {
      if (strides[k][d] == 0) continue;
      text += (text.empty() ? "" : " + ") +
              (strides[k][d] == 1 ? fmt::format("i{}", d) : fmt::format("i{} * {}", d, strides[k][d]));
    }
    if (offsets[k]) text += (text.empty() ? "" : " + ") + std::to_string(offsets[k]);
    return text.empty() ? "0" : text;
  }

  bool one_run(size_t k) const { return sizes.size() == 1 && strides[k][0] == 1 && offsets[k] == 0; }

  std::string around(const std::vector<std::string>& body) const {
    std::string text = "  int i0";
    for (size_t d = 1; d < sizes.size(); ++d) text += fmt::format(", i{}", d);
    text += ";\n";
    std::string indent = "  ";
    for (size_t d = 0; d < sizes.size(); ++d, indent += "  ")
      text += fmt::format("{}for (i{} = 0; i{} < {}; i{}++){}\n", indent, d, d, sizes[d], d,
                          d + 1 == sizes.size() && body.size() > 1 ? " {" : "");
    for (const std::string& line : body) text += indent + line + "\n";
    if (body.size() > 1) text += indent.substr(2) + "}\n";
    return text;
  }
};

}  // namespace sorus::device
