// Converters of .ms operators that move elements: moves of quantised values keep their integers.
#include <algorithm>

#include "sorus/import/layers.h"
#include "sorus/import/mslite_reader.h"
#include "sorus/ops.h"

namespace sorus::importer::mslite {
namespace {

void reshaped(Importer& f, const Op& op) {
  f.set(f.output(op), reshaped_batch(f.get(f.input(op, 0)), f.integers(f.input(op, 1))));
}

void transposed(Importer& f, const Op& op) {
  size_t x = f.input(op, 0);
  Shape order = f.integers(f.input(op, 1));
  // The file's own turn from channels last to channels first is how the value lies already.
  if (order == kToImage && f.is_image(x)) return f.set(f.output(op), f.image(x, true));
  Tensor t = f.get(x);
  if (order == kFromImage && t.dim() == 4) return f.set_image(f.output(op), t, true);
  f.set(f.output(op), permute(t, order));
}

void concatenated(Importer& f, const Op& op) {
  TensorList parts;
  for (size_t i = 0; i < op.in.size(); ++i) parts.push_back(f.get(op.in[i]));
  SORUS_CHECK(!parts.empty(), ValueError, "there is no input");
  f.set(f.output(op), cat(parts, op.fields.number<int64_t>(0)));
}

void squeezed(Importer& f, const Op& op) {
  Shape d = longs(op.fields, 0);
  f.set(f.output(op), d.empty() ? squeeze(f.get(f.input(op, 0))) : squeeze(f.get(f.input(op, 0)), d));
}
void unsqueezed(Importer& f, const Op& op) {
  Tensor t = f.get(f.input(op, 0));
  for (int64_t d : longs(op.fields, 0)) t = unsqueeze(t, d);
  f.set(f.output(op), t);
}
void expanded(Importer& f, const Op& op) {
  Shape d = f.integers(f.input(op, 1));
  SORUS_CHECK(d.size() == 1, ValueError, "one dimension is expected, found {}", to_string(d));
  f.set(f.output(op), unsqueeze(f.get(f.input(op, 0)), d[0]));
}
void flattened(Importer& f, const Op& op) {
  f.set(f.output(op), flatten(f.get(f.input(op, 0)), op.fields.number<int64_t>(0, 1)));
}

void gathered(Importer& f, const Op& op) {
  Shape axis = f.integers(f.input(op, 2));
  Tensor index = f.get(f.input(op, 1));
  SORUS_CHECK(axis.size() == 1 && index.dim() == 1, NotImplementedError, "with indices of {} dimensions",
              index.dim());
  f.set(f.output(op), index_select(f.get(f.input(op, 0)), axis[0], index));
}

void split_up(Importer& f, const Op& op) {
  Tensor t = f.get(f.input(op, 0));
  int64_t d = op.fields.number<int64_t>(2), at = 0;
  SORUS_CHECK(d >= -t.dim() && d < t.dim() && !op.out.empty(), ValueError, "dimension {} of {}", d,
              to_string(t.sizes()));
  Shape sizes = longs(op.fields, 1);
  if (sizes.empty()) sizes = Shape(op.out.size(), t.size(d) / static_cast<int64_t>(op.out.size()));
  SORUS_CHECK(sizes.size() == op.out.size(), ValueError, "{} sizes for {} outputs", sizes.size(), op.out.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    int64_t n = sizes[i] == -1 ? t.size(d) - at : sizes[i];
    f.set(f.output(op, i), narrow(t, d, at, n));
    at += n;
  }
}

// Begin, end and, if it is there, stride are inputs.
void sliced_in_strides(Importer& f, const Op& op) {
  Tensor t = f.get(f.input(op, 0));
  Shape begin = f.integers(f.input(op, 1)), end = f.integers(f.input(op, 2)), stride(begin.size(), 1);
  if (f.has(op, 3)) stride = f.integers(op.in[3]);
  SORUS_CHECK(op.in.size() <= 4 && op.fields.number<int64_t>(2) == 0 && op.fields.number<int64_t>(3) == 0,
              NotImplementedError, "with axes, an ellipsis or new dimensions");
  SORUS_CHECK(begin.size() <= t.sizes().size() && end.size() == begin.size() && stride.size() == begin.size() &&
                  begin.size() < 32,
              ValueError, "{} bounds for {}", begin.size(), to_string(t.sizes()));
  Shape gone;
  for (size_t d = 0; d < begin.size(); ++d) {
    auto dim = static_cast<int64_t>(d), n = t.size(dim);
    auto set = [&](int field) { return (op.fields.number<int64_t>(field) >> d & 1) != 0; };
    if (set(4)) {
      t = narrow(t, dim, begin[d] < 0 ? begin[d] + n : begin[d], 1);
      gone.push_back(dim);
      continue;
    }
    bool back = stride[d] < 0;
    int64_t from = set(0) ? (back ? n - 1 : 0) : begin[d], to = set(1) ? (back ? -n - 1 : n) : end[d];
    if (from != 0 || to < n || stride[d] != 1) t = strided_slice(t, dim, from, to, stride[d]);
  }
  f.set(f.output(op), gone.empty() ? t : squeeze(t, gone));
}

void sliced(Importer& f, const Op& op) {
  Tensor t = f.get(f.input(op, 0));
  Shape begin = f.integers(f.input(op, 1)), size = f.integers(f.input(op, 2)), axes = longs(op.fields, 0);
  for (size_t i = axes.size(); i < begin.size() && longs(op.fields, 0).empty(); ++i)
    axes.push_back(static_cast<int64_t>(i));
  SORUS_CHECK(begin.size() == axes.size() && size.size() == axes.size(), ValueError, "begin {} and size {} of {}",
              to_string(begin), to_string(size), to_string(t.sizes()));
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t d = dim_of(axes[i], t);
    t = narrow(t, d, begin[i], size[i] == -1 ? t.size(d) - begin[i] : size[i]);
  }
  f.set(f.output(op), t);
}

// Numbers before and behind each dimension are an input or, in older files, a field.
void padded(Importer& f, const Op& op) {
  size_t x = f.input(op, 0);
  Tensor t = f.get(x);
  Shape p;
  if (f.has(op, 1))
    p = f.integers(op.in[1]);
  else
    for (const FlatTable& row : op.fields.table(0).tables(0))
      for (int64_t n : row.numbers<int64_t>(0)) p.push_back(n);
  SORUS_CHECK(p.size() == 2 * t.sizes().size(), ValueError, "{} numbers of padding for {}", p.size(),
              to_string(t.sizes()));
  for (int64_t n : p) SORUS_CHECK(n >= 0 && n < (1 << 24), ValueError, "a padding of {}", n);
  Shape reversed;  // the last dimension first; whole ones in front are left out
  for (size_t d = t.sizes().size(); d-- > 0;) {
    reversed.push_back(p[2 * d]);
    reversed.push_back(p[2 * d + 1]);
  }
  while (!reversed.empty() && reversed.back() == 0 && reversed[reversed.size() - 2] == 0)
    reversed.resize(reversed.size() - 2);
  int mode = op.fields.number<uint8_t>(1);
  SORUS_CHECK(mode <= 1, NotImplementedError, "in the mode SYMMETRIC");
  if (!reversed.empty())
    t = mode ? pad(t, reversed, "reflect")
             : pad(t, reversed, "constant", f.padding_value(x, op.fields.number<float>(2)));
  f.set(f.output(op), t);
}

void stacked(Importer& f, const Op& op) {
  TensorList parts;
  for (uint32_t i : op.in) parts.push_back(f.get(i));
  SORUS_CHECK(!parts.empty(), ValueError, "there is no input");
  f.set(f.output(op), stack(parts, op.fields.number<int64_t>(0)));
}
void parted(Importer& f, const Op& op) {
  Tensor t = f.get(f.input(op, 0));
  TensorList parts = unstacked(t, dim_of(op.fields.number<int64_t>(0), t), op.out.size());
  for (size_t i = 0; i < parts.size(); ++i) f.set(f.output(op, i), parts[i]);
}

void repeated(Importer& f, const Op& op) {
  f.set(f.output(op), tiled(f.get(f.input(op, 0)), f.has(op, 1) ? f.integers(op.in[1]) : longs(op.fields, 0)));
}
void broadcast(Importer& f, const Op& op) {
  f.set(f.output(op), expand(f.get(f.input(op, 0)), f.has(op, 1) ? f.integers(op.in[1]) : longs(op.fields, 0)));
}

// A new size is an input or two fields.
void resized(Importer& f, const Op& op) {
  bool last = op.channels_last(0);
  Tensor t = f.image(f.input(op, 0), last);
  Shape size{op.fields.number<int64_t>(2), op.fields.number<int64_t>(3)};
  if (f.has(op, 1)) size = f.integers(op.in[1]);
  if (size.size() == 4) size = last ? Shape{size[1], size[2]} : Shape{size[2], size[3]};
  SORUS_CHECK(t.dim() == 4 && size.size() == 2, ValueError, "{} cannot be resized to {}", t.type().to_string(),
              to_string(size));
  int method = op.fields.number<uint8_t>(1), where = op.fields.number<uint8_t>(5);
  SORUS_CHECK(method <= 1 && where <= 2, NotImplementedError, "by method {} with places of kind {}", method, where);
  Places p = where == 1 ? Places::align_corners : where == 2 ? Places::half_pixel : Places::asymmetric;
  for (int64_t d = 0; d < 2; ++d) {
    int64_t n = size[static_cast<size_t>(d)];
    t = method ? resize_nearest(t, d + 2, n, p, where == 1 ? "round_prefer_ceil" : "floor")
               : resize_linear(t, d + 2, n, p);
  }
  f.set_image(f.output(op), t, last);
}

void shape_of(Importer& f, const Op& op) {
  Shape s = f.get(f.input(op, 0)).sizes();
  size_t y = f.output(op);
  DType type = f.tensor(y).type.dtype;
  Tensor t = Tensor::of(std::vector<int64_t>(s.begin(), s.end()), Shape{static_cast<int64_t>(s.size())});
  f.set(y, computed([&] { return to(t, type); }));
}

const OpKind table[] = {
    {27, "BroadcastTo", broadcast, true},
    {31, "Concat", concatenated, true},
    {56, "ExpandDims", expanded, true},
    {61, "Flatten", flattened, true},
    {69, "Gather", gathered, true},
    {107, "PadFusion", padded, true},
    {119, "Reshape", reshaped, true},
    {120, "Resize", resized},
    {130, "Shape", shape_of},
    {135, "SliceFusion", sliced, true},
    {145, "Split", split_up, true},
    {147, "Squeeze", squeezed, true},
    {150, "Stack", stacked, true},
    {151, "StridedSlice", sliced_in_strides, true},
    {160, "TileFusion", repeated, true},
    {162, "Transpose", transposed, true},
    {165, "Unsqueeze", unsqueezed, true},
    {166, "Unstack", parted, true},
};

}  // namespace

std::span<const OpKind> moving_kinds() { return table; }

}  // namespace sorus::importer::mslite
