// Converters of ONNX operators that move elements, make constants, or ask for shapes.
#include <algorithm>

#include "sorus/import/layers.h"
#include "sorus/import/onnx.h"
#include "sorus/ops.h"

namespace sorus::importer::onnx {
namespace {

Tensor int64s(const Shape& s) {
  return Tensor::of(std::vector<int64_t>(s.begin(), s.end()), Shape{static_cast<int64_t>(s.size())});
}

void check_size(const Shape& s) {
  int64_t count = 1;
  for (int64_t n : s) {
    SORUS_CHECK(n >= 0 && (n == 0 || count <= kMaxElements / n), ValueError, "a shape {}", to_string(s));
    count *= std::max<int64_t>(n, 1);
  }
}

TensorList reshaped(const Node& n) {
  const Tensor& x = n.at(0);
  Shape s = n.constant_integers(1);
  for (size_t d = 0; d < s.size(); ++d)
    if (s[d] == 0 && !n.integer("allowzero", 0)) s[d] = x.size(static_cast<int64_t>(d));
  return {reshaped_batch(x, s)};
}

TensorList flattened(const Node& n) {
  const Tensor& x = n.at(0);
  int64_t axis = n.integer("axis", 1);
  SORUS_CHECK(axis >= -x.dim() && axis <= x.dim(), ValueError, "dimension {} of {}", axis, to_string(x.sizes()));
  if (axis < 0) axis += x.dim();
  int64_t columns = 1;
  for (int64_t d = axis; d < x.dim(); ++d) columns *= x.size(d);
  return {reshape(x, x.numel() > 0 ? Shape{-1, columns} : Shape{x.size(0), columns})};
}

TensorList squeezed(const Node& n) {
  auto axes = n.list(1, "axes");
  return {axes ? squeeze(n.at(0), *axes) : squeeze(n.at(0))};
}

TensorList unsqueezed(const Node& n) {
  Tensor y = n.at(0);
  Shape axes = n.list(1, "axes").value_or(Shape());
  int64_t rank = y.dim() + static_cast<int64_t>(axes.size());
  SORUS_CHECK(rank <= 16, ValueError, "{} dimensions", rank);
  for (int64_t& d : axes) {
    SORUS_CHECK(d >= -rank && d < rank, ValueError, "dimension {} of {}", d, rank);
    if (d < 0) d += rank;
  }
  std::ranges::sort(axes);
  for (int64_t d : axes) y = unsqueeze(y, d);
  return {y};
}

TensorList transposed(const Node& n) {
  const Tensor& x = n.at(0);
  Shape order = n.integers("perm");
  if (order.empty())
    for (int64_t d = x.dim(); d-- > 0;) order.push_back(d);
  return {permute(x, order)};
}

TensorList split_up(const Node& n) {
  const Tensor& x = n.at(0);
  int64_t d = n.dim(n.integer("axis", 0), x), size = x.size(d), parts = static_cast<int64_t>(n.outputs);
  SORUS_CHECK(parts > 0, ValueError, "no outputs");
  Shape sizes;
  if (auto given = n.list(1, "split"))
    sizes = *given;
  else
    for (int64_t i = 0, each = (size + parts - 1) / parts; i < parts; ++i)
      sizes.push_back(std::clamp<int64_t>(size - i * each, 0, each));
  SORUS_CHECK(static_cast<int64_t>(sizes.size()) == parts, ValueError, "{} sizes for {} outputs", sizes.size(),
              parts);
  TensorList out;
  int64_t at = 0;
  for (int64_t s : sizes) {
    out.push_back(narrow(x, d, at, s));
    at += s;
  }
  return out;
}

TensorList sliced(const Node& n) {
  Tensor y = n.at(0);
  bool inputs = n.opset >= 10;
  Shape starts = inputs ? n.constant_integers(1) : n.integers("starts"),
        ends = inputs ? n.constant_integers(2) : n.integers("ends");
  Shape axes = inputs ? (n.has(3) ? n.constant_integers(3) : Shape()) : n.integers("axes");
  Shape steps = inputs && n.has(4) ? n.constant_integers(4) : Shape(starts.size(), 1);
  if (axes.empty())
    for (size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  SORUS_CHECK(ends.size() == starts.size() && axes.size() == starts.size() && steps.size() == starts.size(),
              ValueError, "{} starts, {} ends, {} axes and {} steps", starts.size(), ends.size(), axes.size(),
              steps.size());
  for (size_t i = 0; i < starts.size(); ++i) y = strided_slice(y, n.dim(axes[i], y), starts[i], ends[i], steps[i]);
  return {y};
}

// Indices may count from the end.
Tensor counted(const Tensor& index, int64_t size) {
  return where(lt(index, Tensor::weak_scalar(int64_t{0})), index + Tensor::weak_scalar(size), index);
}

TensorList gathered(const Node& n) {
  const Tensor &x = n.at(0), &index = n.at(1);
  int64_t d = n.dim(n.integer("axis", 0), x);
  Tensor at = is_constant(index) ? computed([&] { return counted(index, x.size(d)); }) : counted(index, x.size(d));
  if (index.dim() == 0 && is_constant(index)) return {select(x, d, at.item().to_int())};
  Tensor y = index_select(x, d, at.dim() == 1 ? at : reshape(at, Shape{-1}));
  if (index.dim() == 1) return {y};
  Shape s(x.sizes().begin(), x.sizes().begin() + d);
  for (int64_t k : index.sizes()) s.push_back(k);
  for (int64_t k = d + 1; k < x.dim(); ++k) s.push_back(x.size(k));
  return {reshape(y, s)};
}

TensorList padded(const Node& n) {
  const Tensor& x = n.at(0);
  Shape p = n.opset >= 11 ? n.constant_integers(1) : n.integers("pads");
  std::string mode = n.text("mode", "constant");
  auto rank = static_cast<size_t>(x.dim());
  Shape axes;
  if (n.has(3))
    axes = n.constant_integers(3);
  else
    for (size_t d = 0; d < rank; ++d) axes.push_back(static_cast<int64_t>(d));
  SORUS_CHECK(p.size() == 2 * axes.size(), ValueError, "{} numbers of padding for {}", p.size(),
              to_string(x.sizes()));
  Shape before(rank, 0), behind(rank, 0), reversed;
  for (size_t i = 0; i < axes.size(); ++i) {
    auto d = static_cast<size_t>(n.dim(axes[i], x));
    before[d] = p[i], behind[d] = p[i + axes.size()];
    SORUS_CHECK(std::abs(p[i]) < (1 << 24) && std::abs(p[i + axes.size()]) < (1 << 24), ValueError, "a padding of {}",
                p[i]);
  }
  for (size_t d = rank; d-- > 0;) {
    reversed.push_back(before[d]);
    reversed.push_back(behind[d]);
  }
  while (!reversed.empty() && reversed.back() == 0 && reversed[reversed.size() - 2] == 0) {
    reversed.pop_back();
    reversed.pop_back();
  }
  if (reversed.empty()) return {x};
  if (mode != "constant") {
    SORUS_CHECK(mode == "reflect" || mode == "edge" || mode == "wrap", NotImplementedError, "in the mode '{}'", mode);
    return {pad(x, reversed, mode == "edge" ? "replicate" : mode == "wrap" ? "circular" : mode)};
  }
  double value = n.real("value", 0);
  if (n.opset >= 11 && n.has(2)) {
    std::vector<double> v = n.constant_reals(2);
    SORUS_CHECK(v.size() == 1, ValueError, "one value is expected");
    value = v[0];
  }
  return {pad(x, reversed, mode, value)};
}

TensorList expanded(const Node& n) {
  Shape s = broadcast_shapes(n.at(0).sizes(), n.constant_integers(1), "Expand");
  check_size(s);
  return {expand(n.at(0), s)};
}

TensorList constant(const Node& n) {
  auto value = n.attributes.find("value");
  if (value != n.attributes.end()) {
    SORUS_CHECK(value->second.tensor.defined(), ValueError, "the value is no tensor");
    return {value->second.tensor};
  }
  if (n.has_attribute("value_int")) return {Tensor::of(std::vector<int64_t>{n.integer("value_int", 0)}, Shape{})};
  if (n.has_attribute("value_float"))
    return {Tensor::of(std::vector<float>{static_cast<float>(n.real("value_float", 0))}, Shape{})};
  if (n.has_attribute("value_ints")) return {int64s(n.integers("value_ints"))};
  if (auto a = n.attributes.find("value_floats"); a != n.attributes.end())
    return {Tensor::of(a->second.reals, Shape{static_cast<int64_t>(a->second.reals.size())})};
  fail<NotImplementedError>("of a kind that is not known");
}

TensorList filled(const Node& n) {
  Shape s = n.constant_integers(0);
  check_size(s);
  SORUS_CHECK(numel(s) < (1 << 26), NotImplementedError, "with {} elements", numel(s));
  auto value = n.attributes.find("value");
  Tensor one = value != n.attributes.end() && value->second.tensor.defined() ? value->second.tensor
                                                                             : Tensor::zeros(Shape{1}, DType::f32);
  SORUS_CHECK(one.numel() == 1, ValueError, "one value is expected");
  return {computed([&] { return contiguous(expand(reshape(one, Shape{}), s)); })};
}

TensorList shape_of(const Node& n) {
  Shape s = n.at(0).sizes();
  auto rank = static_cast<int64_t>(s.size());
  auto bound = [&](const char* name, int64_t otherwise) {
    int64_t d = n.integer(name, otherwise);
    return std::clamp<int64_t>(d < 0 ? d + rank : d, 0, rank);
  };
  int64_t from = bound("start", 0), to = std::max(from, bound("end", rank));
  return {int64s(Shape(s.begin() + from, s.begin() + to))};
}

TensorList ranged(const Node& n) {
  std::vector<double> a = n.constant_reals(0), b = n.constant_reals(1), step = n.constant_reals(2);
  SORUS_CHECK(a.size() == 1 && b.size() == 1 && step.size() == 1 && step[0] != 0 &&
                  std::abs((b[0] - a[0]) / step[0]) < (1 << 24),
              ValueError, "a range that cannot be made");
  DType t = n.at(0).dtype();
  return {computed([&] { return arange(Scalar(a[0]), Scalar(b[0]), Scalar(step[0]), t); })};
}

// Channels as blocks of pixels, and back.
TensorList depth_to_space(const Node& n) {
  const Tensor& x = n.at(0);
  int64_t b = n.integer("blocksize", 0);
  SORUS_CHECK(x.dim() == 4 && b > 0 && b < 4096 && x.size(1) % (b * b) == 0, ValueError, "blocks of {} in {}", b,
              to_string(x.sizes()));
  int64_t batch = x.size(0), c = x.size(1) / (b * b), h = x.size(2), w = x.size(3);
  bool crd = n.text("mode", "DCR") == "CRD";
  Tensor y = crd ? permute(reshape(x, Shape{batch, c, b, b, h, w}), Shape{0, 1, 4, 2, 5, 3})
                 : permute(reshape(x, Shape{batch, b, b, c, h, w}), Shape{0, 3, 4, 1, 5, 2});
  return {reshape(y, Shape{batch, c, h * b, w * b})};
}
TensorList space_to_depth(const Node& n) {
  const Tensor& x = n.at(0);
  int64_t b = n.integer("blocksize", 0);
  SORUS_CHECK(x.dim() == 4 && b > 0 && b < 4096 && x.size(2) % b == 0 && x.size(3) % b == 0, ValueError,
              "blocks of {} in {}", b, to_string(x.sizes()));
  int64_t batch = x.size(0), c = x.size(1), h = x.size(2) / b, w = x.size(3) / b;
  Tensor y = permute(reshape(x, Shape{batch, c, h, b, w, b}), Shape{0, 3, 5, 1, 2, 4});
  return {reshape(y, Shape{batch, c * b * b, h, w})};
}

}  // namespace

TensorList resized(const Node& n) {
  Tensor y = n.at(0);
  bool old = n.op == "Upsample" || n.opset < 11;
  std::string mode = n.text("mode", "nearest"),
              place = old ? "asymmetric" : n.text("coordinate_transformation_mode", "half_pixel");
  std::string rounding = old ? "floor" : n.text("nearest_mode", "round_prefer_floor");
  size_t scales_at = old ? 1 : 2;
  SORUS_CHECK(!n.has_attribute("axes") && n.integer("antialias", 0) == 0, NotImplementedError,
              "with axes or antialias");
  std::vector<double> size, factor(static_cast<size_t>(y.dim()), 0);
  if (n.has(3)) {
    for (int64_t s : n.constant_integers(3)) size.push_back(static_cast<double>(s));
  } else {
    std::vector<double> scales;
    if (n.has(scales_at))
      scales = n.constant_reals(scales_at);
    else if (auto a = n.attributes.find("scales"); a != n.attributes.end())
      scales.assign(a->second.reals.begin(), a->second.reals.end());
    for (size_t d = 0; d < scales.size() && d < static_cast<size_t>(y.dim()); ++d)
      size.push_back(std::floor(static_cast<double>(y.size(static_cast<int64_t>(d))) * scales[d])),
          factor[d] = scales[d];
  }
  SORUS_CHECK(size.size() == static_cast<size_t>(y.dim()), ValueError, "{} sizes for {}", size.size(),
              to_string(y.sizes()));
  Places p = Places::half_pixel;
  if (place == "asymmetric")
    p = Places::asymmetric;
  else if (place == "align_corners")
    p = Places::align_corners;
  else if (place == "pytorch_half_pixel")
    p = Places::half_pixel_unless_one;
  else
    SORUS_CHECK(place == "half_pixel", NotImplementedError, "with places '{}'", place);
  // Between integers there are fractions, which are cut off in the end.
  DType given = y.dtype();
  if (mode == "linear" && !is_floating(given)) y = to(y, DType::f32);
  for (int64_t d = 0; d < y.dim(); ++d) {
    double s = size[static_cast<size_t>(d)];
    SORUS_CHECK(s >= 1 && s < (1 << 24), ValueError, "a size of {}", s);
    auto to = static_cast<int64_t>(s);
    if (to == y.size(d)) continue;
    double by = factor[static_cast<size_t>(d)];
    if (mode == "nearest")
      y = resize_nearest(y, d, to, p, rounding, by);
    else if (mode == "linear")
      y = resize_linear(y, d, to, p, by);
    else
      fail<NotImplementedError>("in the mode '{}'", mode);
  }
  return {y.dtype() == given ? y : to(y, given)};
}

namespace {

const OpKind kinds[] = {
    {"Reshape", reshaped},
    {"Flatten", flattened},
    {"Squeeze", squeezed},
    {"Unsqueeze", unsqueezed},
    {"Transpose", transposed},
    {"Concat", [](const Node& n) { return TensorList{cat(n.in, n.dim(n.integer("axis", 0), n.at(0)))}; }},
    {"Split", split_up},
    {"Slice", sliced},
    {"Gather", gathered},
    {"GatherElements",
     [](const Node& n) {
       int64_t d = n.dim(n.integer("axis", 0), n.at(0));
       return TensorList{gather(n.at(0), d, counted(n.at(1), n.at(0).size(d)))};
     }},
    {"Pad", padded},
    {"Expand", expanded},
    {"Tile", [](const Node& n) { return TensorList{tiled(n.at(0), n.constant_integers(1))}; }},
    {"Constant", constant},
    {"ConstantOfShape", filled},
    {"Shape", shape_of},
    {"Size", [](const Node& n) { return TensorList{Tensor::of(std::vector<int64_t>{n.at(0).numel()}, Shape{})}; }},
    {"Range", ranged},
    {"DepthToSpace", depth_to_space},
    {"SpaceToDepth", space_to_depth},
    {"Resize", resized},
    {"Upsample", resized},
};

}  // namespace

std::span<const OpKind> shape_kinds() { return kinds; }

}  // namespace sorus::importer::onnx
