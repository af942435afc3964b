// Converters of operators that move elements and do not compute with them: the same for floats and integers.
#include <algorithm>

#include "sorus/import/layers.h"
#include "sorus/import/tflite.h"
#include "sorus/import/tflite_tables.h"
#include "sorus/ops.h"

namespace sorus::importer::tflite {
namespace {

bool have_one_scale(Importer& f, int a, int b) {
  const Quantization &p = f.info(a).quantization, &q = f.info(b).quantization;
  return !f.is_quantized(b) || (p.scale == q.scale && p.zero_point == q.zero_point);
}

// Moves keep the integers, so what goes in and what comes out must mean the same.
void same_scale(Importer& f, int a, int b) {
  SORUS_CHECK(have_one_scale(f, a, b), NotImplementedError, "'{}' and '{}' with different scales", f.info(a).name,
              f.info(b).name);
}

void reshaped(Importer& f, const FileOp& op) {
  Shape shape;
  if (f.has(op, 1))
    shape = f.integers(op.in[1]);
  else
    for (int32_t n : op.options.numbers<int32_t>(0)) shape.push_back(n);
  f.set(f.out(op), reshaped_batch(f.get(f.in(op, 0)), shape));
}

void squeezed(Importer& f, const FileOp& op) {
  Shape dims;
  for (int32_t d : op.options.numbers<int32_t>(0)) dims.push_back(d);
  Tensor t = f.get(f.in(op, 0));
  f.set(f.out(op), dims.empty() ? squeeze(t) : squeeze(t, dims));
}

void unsqueezed(Importer& f, const FileOp& op) {
  Shape d = f.integers(f.in(op, 1));
  SORUS_CHECK(d.size() == 1, ValueError, "one dimension is expected, found {}", to_string(d));
  f.set(f.out(op), unsqueeze(f.get(f.in(op, 0)), d[0]));
}

void transposed(Importer& f, const FileOp& op) {
  same_scale(f, f.in(op, 0), f.out(op));
  f.set(f.out(op), permute(f.get(f.in(op, 0)), f.integers(f.in(op, 1))));
}

void concatenated(Importer& f, const FileOp& op) {
  int y = f.out(op);
  SORUS_CHECK(op.options.number<int8_t>(1) == 0, NotImplementedError, "with a fused activation");
  SORUS_CHECK(!op.in.empty(), ValueError, "there is no input");
  int64_t axis = op.options.number<int32_t>(0);
  bool images = true;
  for (size_t i = 0; i < op.in.size(); ++i) images &= f.is_image(f.in(op, i));
  TensorList parts;
  for (int i : op.in) {
    Tensor t = images ? f.image(i) : f.get(i);
    if (!have_one_scale(f, i, y)) t = on_scale_of(f, t, i, y);
    parts.push_back(is_constant(t) ? f.weight(i, t, f.info(i).quantization) : t);
  }
  int64_t d = dim_of(axis, parts[0]);
  if (images)
    f.set_image(y, cat(parts, Shape{0, 2, 3, 1}[static_cast<size_t>(d)]));
  else
    f.set(y, cat(parts, d));
}

void split_into(Importer& f, const FileOp& op, int value, const Shape& sizes, int64_t axis) {
  Tensor t = f.get(value);
  int64_t d = dim_of(axis, t), at = 0;
  SORUS_CHECK(sizes.size() == op.out.size(), ValueError, "{} parts for {} outputs", sizes.size(), op.out.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    f.set(f.out(op, i), narrow(t, d, at, sizes[i]));
    at += sizes[i];
  }
}

void split_evenly(Importer& f, const FileOp& op) {
  Shape axis = f.integers(f.in(op, 0));
  Tensor t = f.get(f.in(op, 1));
  SORUS_CHECK(axis.size() == 1, ValueError, "one dimension is expected");
  auto parts = static_cast<int64_t>(op.out.size());
  int64_t n = t.size(dim_of(axis[0], t));
  SORUS_CHECK(parts > 0 && n % parts == 0, ValueError, "{} elements in {} parts", n, parts);
  split_into(f, op, op.in[1], Shape(static_cast<size_t>(parts), n / parts), axis[0]);
}

void split_by_sizes(Importer& f, const FileOp& op) {
  Shape sizes = f.integers(f.in(op, 1)), axis = f.integers(f.in(op, 2));
  Tensor t = f.get(f.in(op, 0));
  SORUS_CHECK(axis.size() == 1, ValueError, "one dimension is expected");
  int64_t rest = t.size(dim_of(axis[0], t));
  for (int64_t s : sizes) rest -= std::max<int64_t>(s, 0);
  for (int64_t& s : sizes)
    if (s == -1) s = rest;
  split_into(f, op, op.in[0], sizes, axis[0]);
}

void sliced(Importer& f, const FileOp& op) {
  Tensor t = f.get(f.in(op, 0));
  Shape begin = f.integers(f.in(op, 1)), size = f.integers(f.in(op, 2));
  SORUS_CHECK(begin.size() == t.sizes().size() && size.size() == begin.size(), ValueError,
              "begin {} and size {} of {}", to_string(begin), to_string(size), to_string(t.sizes()));
  for (size_t d = 0; d < begin.size(); ++d) {
    auto dim = static_cast<int64_t>(d);
    int64_t n = size[d] == -1 ? t.size(dim) - begin[d] : size[d];
    if (begin[d] != 0 || n != t.size(dim)) t = narrow(t, dim, begin[d], n);
  }
  f.set(f.out(op), t);
}

void sliced_in_strides(Importer& f, const FileOp& op) {
  Tensor t = f.get(f.in(op, 0));
  Shape begin = f.integers(f.in(op, 1)), end = f.integers(f.in(op, 2)), stride = f.integers(f.in(op, 3));
  auto mask = [&](int field) { return op.options.number<int32_t>(field); };
  SORUS_CHECK(mask(2) == 0 && mask(3) == 0, NotImplementedError, "with an ellipsis or new dimensions");
  SORUS_CHECK(begin.size() <= t.sizes().size() && end.size() == begin.size() && stride.size() == begin.size() &&
                  begin.size() < 32,
              ValueError, "{} bounds for {}", begin.size(), to_string(t.sizes()));
  Shape gone;
  for (size_t d = 0; d < begin.size(); ++d) {
    auto dim = static_cast<int64_t>(d);
    auto set = [&](int field) { return (mask(field) >> d & 1) != 0; };
    int64_t n = t.size(dim);
    if (set(4)) {
      int64_t at = begin[d] < 0 ? begin[d] + n : begin[d];
      t = narrow(t, dim, at, 1);
      gone.push_back(dim);
      continue;
    }
    bool back = stride[d] < 0;
    int64_t from = set(0) ? (back ? n - 1 : 0) : begin[d], to = set(1) ? (back ? -n - 1 : n) : end[d];
    if (from == 0 && to >= n && stride[d] == 1) continue;
    t = strided_slice(t, dim, from, to, stride[d]);
  }
  f.set(f.out(op), gone.empty() ? t : squeeze(t, gone));
}

void padded_with(Importer& f, const FileOp& op, const std::string& mode) {
  int x = f.in(op, 0), y = f.out(op);
  same_scale(f, x, y);
  Shape p = f.integers(f.in(op, 1));
  double value = f.is_quantized(y) ? static_cast<double>(f.zero_point(y)) : 0;
  if (mode == "constant" && f.has(op, 2)) {
    std::vector<double> given = f.reals(op.in[2]);
    SORUS_CHECK(given.size() == 1, ValueError, "one value is expected");
    value = given[0];
  }
  bool image = f.is_image(x) && p.size() == 8;
  Tensor t = image ? f.image(x) : f.get(x);
  SORUS_CHECK(p.size() == 2 * t.sizes().size(), ValueError, "{} numbers of padding for {}", p.size(),
              to_string(t.sizes()));
  for (int64_t n : p) SORUS_CHECK(n >= 0 && n < (1 << 24), ValueError, "a padding of {}", n);
  if (image) p = Shape{p[0], p[1], p[6], p[7], p[2], p[3], p[4], p[5]};
  Shape reversed;  // the last dimension first; whole ones in front are left out
  for (size_t d = t.sizes().size(); d-- > 0;) {
    reversed.push_back(p[2 * d]);
    reversed.push_back(p[2 * d + 1]);
  }
  while (!reversed.empty() && reversed.back() == 0 && reversed[reversed.size() - 2] == 0) {
    reversed.pop_back();
    reversed.pop_back();
  }
  if (!reversed.empty()) t = mode == "constant" ? pad(t, reversed, mode, value) : pad(t, reversed, mode);
  if (image)
    f.set_image(y, t);
  else
    f.set(y, t);
}

void mirrored(Importer& f, const FileOp& op) {
  SORUS_CHECK(op.options.number<int8_t>(0) == 0, NotImplementedError, "in the mode SYMMETRIC");
  padded_with(f, op, "reflect");
}

void gathered(Importer& f, const FileOp& op) {
  Tensor t = f.get(f.in(op, 0)), index = f.get(f.in(op, 1));
  SORUS_CHECK(op.options.number<int32_t>(1) == 0, NotImplementedError, "with dimensions of a batch");
  int64_t axis = dim_of(op.options.number<int32_t>(0), t);
  if (is_constant(t)) t = f.weight(op.in[0], t, f.info(op.in[0]).quantization);
  Shape s = t.sizes();
  Tensor y = index_select(t, axis, index.dim() == 1 ? index : reshape(index, Shape{-1}));
  if (index.dim() != 1) {
    Shape shape(s.begin(), s.begin() + axis);
    for (int64_t n : index.sizes()) shape.push_back(n);
    for (int64_t d = axis + 1; d < t.dim(); ++d) shape.push_back(t.size(d));
    y = reshape(y, shape);
  }
  f.set(f.out(op), y);
}

// Elements, rows, ... at places that a row of the index names by one number for each of the first dimensions.
void gathered_at(Importer& f, const FileOp& op) {
  Tensor t = f.get(f.in(op, 0)), index = f.get(f.in(op, 1));
  Shape s = t.sizes(), y(index.sizes());
  SORUS_CHECK(!y.empty() && y.back() > 0 && y.back() <= t.dim(), ValueError, "places {} in {}", to_string(y),
              to_string(s));
  auto depth = y.back();
  y.pop_back();
  int64_t rows = 1;
  auto places = [&] {
    Tensor at;
    for (int64_t d = 0; d < depth; ++d) {
      Tensor part = reshape(narrow(index, -1, d, 1), Shape{-1});
      at = d ? at * Tensor::weak_scalar(t.size(d)) + part : part;
    }
    return at;
  };
  Tensor at = is_constant(index) ? computed(places) : places();
  Shape flat{1};
  for (int64_t d = 0; d < t.dim(); ++d) {
    if (d < depth) {
      rows *= s[static_cast<size_t>(d)];
    } else {
      flat.push_back(s[static_cast<size_t>(d)]);
      y.push_back(flat.back());
    }
  }
  flat[0] = rows;
  if (is_constant(t)) t = f.weight(op.in[0], t, f.info(op.in[0]).quantization);
  f.set(f.out(op), reshape(index_select(reshape(t, flat), 0, at), y));
}

void packed(Importer& f, const FileOp& op) {
  TensorList parts;
  for (size_t i = 0; i < op.in.size(); ++i) parts.push_back(f.get(f.in(op, i)));
  SORUS_CHECK(!parts.empty(), ValueError, "there is no input");
  f.set(f.out(op), stack(parts, op.options.number<int32_t>(1)));
}

void unpacked(Importer& f, const FileOp& op) {
  Tensor t = f.get(f.in(op, 0));
  TensorList parts = unstacked(t, dim_of(op.options.number<int32_t>(1), t), op.out.size());
  for (size_t i = 0; i < parts.size(); ++i) f.set(f.out(op, i), parts[i]);
}

// [n, h, w, c] with blocks of b x b pixels as channels, and back.
void blocks(Importer& f, const FileOp& op, bool to_depth) {
  Tensor t = f.get(f.in(op, 0));
  int64_t b = op.options.number<int32_t>(0);
  SORUS_CHECK(t.dim() == 4 && b > 0 && b < 4096, ValueError, "blocks of {} in {}", b, to_string(t.sizes()));
  int64_t n = t.size(0), h = t.size(1), w = t.size(2), c = t.size(3);
  if (to_depth) {
    SORUS_CHECK(h % b == 0 && w % b == 0, ValueError, "blocks of {} in {}", b, to_string(t.sizes()));
    t = permute(reshape(t, Shape{n, h / b, b, w / b, b, c}), Shape{0, 1, 3, 2, 4, 5});
    f.set(f.out(op), reshape(t, Shape{n, h / b, w / b, b * b * c}));
  } else {
    SORUS_CHECK(c % (b * b) == 0, ValueError, "blocks of {} in {}", b, to_string(t.sizes()));
    t = permute(reshape(t, Shape{n, h, w, b, b, c / (b * b)}), Shape{0, 1, 3, 2, 4, 5});
    f.set(f.out(op), reshape(t, Shape{n, h * b, w * b, c / (b * b)}));
  }
}

void nearest(Importer& f, const FileOp& op) {
  int x = f.in(op, 0), y = f.out(op);
  same_scale(f, x, y);
  Shape size = f.integers(f.in(op, 1));
  bool corners = op.options.flag(0), half = op.options.flag(1), image = f.is_image(x);
  Tensor t = image ? f.image(x) : f.get(x);
  SORUS_CHECK(t.dim() == 4 && size.size() == 2, ValueError, "{} cannot be resized to {}", to_string(t.sizes()),
              to_string(size));
  // With half pixels the place is (i + 1/2) * scale without the half that is taken off elsewhere.
  Places p = corners ? Places::align_corners : half ? Places::half_pixel : Places::asymmetric;
  std::string rounding = corners || half ? "round_prefer_ceil" : "floor";
  for (int64_t d = 0; d < 2; ++d)
    t = resize_nearest(t, d + (image ? 2 : 1), size[static_cast<size_t>(d)], p, rounding);
  if (image)
    f.set_image(y, t);
  else
    f.set(y, t);
}

void expanded(Importer& f, const FileOp& op) {
  f.set(f.out(op), expand(f.get(f.in(op, 0)), f.integers(f.in(op, 1))));
}

void repeated(Importer& f, const FileOp& op) { f.set(f.out(op), tiled(f.get(f.in(op, 0)), f.integers(f.in(op, 1)))); }

void turned(Importer& f, const FileOp& op) {
  Tensor t = f.get(f.in(op, 0));
  for (int64_t d : f.integers(f.in(op, 1))) t = reversed(t, dim_of(d, t));
  f.set(f.out(op), t);
}

void shape_of(Importer& f, const FileOp& op) {
  int y = f.out(op);
  Shape s = f.get(f.in(op, 0)).sizes();
  Tensor t = Tensor::of(std::vector<int64_t>(s.begin(), s.end()), Shape{static_cast<int64_t>(s.size())});
  f.set(y, computed([&] { return to(t, f.info(y).type.dtype); }));
}

void filled(Importer& f, const FileOp& op) {
  Shape s = f.integers(f.in(op, 0));
  for (int64_t n : s) SORUS_CHECK(n >= 0 && n < (1 << 24), ValueError, "a shape {}", to_string(s));
  f.set(f.out(op), computed([&] { return contiguous(expand(f.get(f.in(op, 1)), s)); }));
}

void extreme_place(Importer& f, const FileOp& op, bool largest) {
  Shape d = f.integers(f.in(op, 1));
  SORUS_CHECK(d.size() == 1, ValueError, "one dimension is expected");
  Tensor t = f.get(f.in(op, 0));
  int y = f.out(op);
  f.set(y, to(largest ? argmax(t, d[0]) : argmin(t, d[0]), f.info(y).type.dtype));
}

void extreme(Importer& f, const FileOp& op, bool largest) {
  int a = f.in(op, 0), b = f.in(op, 1), y = f.out(op);
  same_scale(f, a, y);
  same_scale(f, b, y);
  auto value = [&](int i) { return f.weight(i, f.get(i), f.info(i).quantization); };
  f.set(y, largest ? maximum(value(a), value(b)) : minimum(value(a), value(b)));
}

void extremes(Importer& f, const FileOp& op, bool largest) {
  same_scale(f, f.in(op, 0), f.out(op));
  Tensor t = f.get(f.in(op, 0));
  Shape dims = f.integers(f.in(op, 1));
  bool keep = op.options.flag(0);
  f.set(f.out(op), largest ? amax(t, dims, keep) : amin(t, dims, keep));
}

const OpKind kinds[] = {
    {2, concatenated},
    {5, [](Importer& f, const FileOp& op) { blocks(f, op, false); }},
    {22, reshaped},
    {26, [](Importer& f, const FileOp& op) { blocks(f, op, true); }},
    {34, [](Importer& f, const FileOp& op) { padded_with(f, op, "constant"); }},
    {36, gathered},
    {39, transposed},
    {43, squeezed},
    {45, sliced_in_strides},
    {49, split_evenly},
    {55, [](Importer& f, const FileOp& op) { extreme(f, op, true); }},
    {56, [](Importer& f, const FileOp& op) { extreme_place(f, op, true); }},
    {57, [](Importer& f, const FileOp& op) { extreme(f, op, false); }},
    {60, [](Importer& f, const FileOp& op) { padded_with(f, op, "constant"); }},
    {65, sliced},
    {69, repeated},
    {70, unsqueezed},
    {77, shape_of},
    {79, [](Importer& f, const FileOp& op) { extreme_place(f, op, false); }},
    {82, [](Importer& f, const FileOp& op) { extremes(f, op, true); }},
    {83, packed},
    {88, unpacked},
    {89, [](Importer& f, const FileOp& op) { extremes(f, op, false); }},
    {94, filled},
    {97, nearest},
    {100, mirrored},
    {102, split_by_sizes},
    {105, turned},
    {107, gathered_at},
    {124, [](Importer& f, const FileOp& op) { f.set(f.out(op), f.get(f.in(op, 0))); }},
    {129, called_once},
    {130, expanded},
    {142, variable_handle},
    {143, variable_read},
    {144, variable_assigned},
};

}  // namespace

std::span<const OpKind> moving_kinds() { return kinds; }

}  // namespace sorus::importer::tflite
