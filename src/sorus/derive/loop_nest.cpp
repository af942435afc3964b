#include "sorus/derive/loop_nest.h"

namespace sorus {

int64_t AffineIndex::lowest(const std::vector<LoopAxis>& axes) const {
  int64_t v = constant;
  for (size_t a = 0; a < coefficients.size(); ++a)
    if (coefficients[a] < 0) v += coefficients[a] * (axes[a].extent - 1);
  return v;
}
int64_t AffineIndex::highest(const std::vector<LoopAxis>& axes) const {
  int64_t v = constant;
  for (size_t a = 0; a < coefficients.size(); ++a) {
    if (coefficients[a] > 0) v += coefficients[a] * (axes[a].extent - 1);
  }
  return v;
}
int AffineIndex::plain_axis() const {
  if (data >= 0 || constant != 0) return -1;
  int found = -1;
  for (size_t a = 0; a < coefficients.size(); ++a) {
    if (coefficients[a] == 0) continue;
    if (found >= 0 || coefficients[a] != 1) return -1;
    found = static_cast<int>(a);
  }
  return found;
}

Shape LoopNest::output_shape() const {
  Shape s;
  for (const AffineIndex& d : output.dims) s.push_back(d.size);
  return s;
}
bool LoopNest::is_reduced(int axis) const {
  for (const AffineIndex& d : output.dims)
    if (d.coefficients[static_cast<size_t>(axis)] != 0) return false;
  return true;
}
bool LoopNest::is_gather() const {
  SmallVector<int64_t, 8> seen(axes.size(), 0);
  for (const AffineIndex& d : output.dims) {
    int a = d.plain_axis();
    if (a < 0) {
      if (d.size == 1 && d.data < 0 && d.constant == 0 && d.highest(axes) == 0 && d.lowest(axes) == 0) continue;
      return false;
    }
    if (seen[static_cast<size_t>(a)]++ || axes[static_cast<size_t>(a)].extent != d.size) return false;
  }
  return true;
}
double LoopNest::points() const {
  double n = 1;
  for (const LoopAxis& a : axes) n *= static_cast<double>(a.extent);
  return n;
}

std::string LoopNest::to_string() const {
  auto index = [&](const LoopOperand& o, auto&& self) -> std::string {
    std::string s = "[";
    for (size_t i = 0; i < o.dims.size(); ++i) {
      const AffineIndex& d = o.dims[i];
      std::string t;
      for (size_t a = 0; a < axes.size(); ++a) {
        int64_t c = d.coefficients[a];
        if (c == 0) continue;
        if (!t.empty() || c < 0) t += c < 0 ? "-" : "+";
        t += (std::abs(c) != 1 ? fmt::format("{}*", std::abs(c)) : "") + axes[a].name;
      }
      if (d.data >= 0) {
        const LoopOperand& by = inputs[static_cast<size_t>(d.data)];
        t += (t.empty() ? "" : "+") + body.args[static_cast<size_t>(d.data)] + self(by, self);
      }
      if (d.constant != 0 || t.empty())
        t += fmt::format("{}{}", d.constant >= 0 && !t.empty() ? "+" : "", d.constant);
      s += (i ? ", " : "") + t + (d.guarded ? "?" : "");
    }
    return s + "]";
  };
  std::string s = "for";
  for (size_t a = 0; a < axes.size(); ++a) s += fmt::format("{} {} < {}", a ? "," : "", axes[a].name, axes[a].extent);
  std::vector<std::string> names;
  for (size_t i = 0; i < inputs.size(); ++i) names.push_back(body.args[i] + index(inputs[i], index));
  s += fmt::format(": y{} {}= {}", index(output, index),
                   reduction == Reduction::none ? "" : sorus::to_string(reduction),
                   sorus::to_string(body.results[0], names, body.params));
  return s;
}

}  // namespace sorus
