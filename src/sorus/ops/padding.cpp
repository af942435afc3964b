// Padding, and norms over groups of channels.
#include "sorus/ops/wide.h"

namespace sorus {
namespace {

// Where element i of the padded dimension comes from.
Tensor source_of(int64_t n, int64_t before, int64_t after, const std::string& mode) {
  SORUS_CHECK(mode == "reflect" || mode == "replicate" || mode == "circular", ValueError,
              "pad: mode must be 'constant', 'reflect', 'replicate' or 'circular', not '{}'", mode);
  int64_t most = mode == "reflect" ? n - 1 : n;
  SORUS_CHECK(n + before + after >= 0, ValueError, "pad: ({}, {}) takes away more than the {} of a dimension", before,
              after, n);
  SORUS_CHECK(mode == "replicate" ? n > 0 : std::max(before, after) <= most, ValueError,
              "pad: with mode '{}' a dimension of {} can be padded by at most {}, not ({}, {})", mode, n, most,
              before, after);
  std::vector<int64_t> from;
  for (int64_t i = -before; i < n + after; ++i) {
    if (mode == "replicate")
      from.push_back(std::clamp<int64_t>(i, 0, n - 1));
    else if (mode == "circular")
      from.push_back((i + n) % n);
    else
      from.push_back(i < 0 ? -i : i >= n ? 2 * n - 2 - i : i);
  }
  return Tensor::of(from, Shape{static_cast<int64_t>(from.size())});
}

Tensor padded(Tensor x, int64_t d, int64_t before, int64_t after, const std::string& mode, double value) {
  int64_t n = x.size(d);
  SORUS_CHECK(n + before + after >= 0, ValueError, "pad: ({}, {}) takes away more than dimension {} of {}", before,
              after, d, to_string(x.sizes()));
  if (mode == "reflect" || mode == "replicate")
    return before || after ? index_select(x, d, source_of(n, before, after, mode)) : x;
  int64_t cut_before = std::max<int64_t>(-before, 0), cut_after = std::max<int64_t>(-after, 0);
  if (cut_before || cut_after) x = narrow(x, d, cut_before, n - cut_before - cut_after);
  before = std::max<int64_t>(before, 0), after = std::max<int64_t>(after, 0);
  if (!before && !after) return x;
  if (mode != "constant") return index_select(x, d, source_of(x.size(d), before, after, mode));
  TensorList parts;
  auto filled = [&](int64_t count) {
    Shape s = x.sizes();
    s[static_cast<size_t>(d)] = count;
    if (count) parts.push_back(full(s, value, x.dtype()));
  };
  filled(before);
  parts.push_back(x);
  filled(after);
  return cat(parts, d);
}

const bool pads = [] {
  op("pad(input, pad: int[], mode: str = 'constant', value: float? = none)")
      .expand([](const Call& c) -> TensorList {
        const Shape& pad = c.attr(0).ints();
        const std::string& mode = c.attr(1).string();
        Tensor x = c.input(0);
        SORUS_CHECK(pad.size() % 2 == 0 && static_cast<int64_t>(pad.size() / 2) <= x.dim(), ValueError,
                    "pad: expected two numbers for each of at most {} dimensions, found {}", x.dim(), to_string(pad));
        SORUS_CHECK(mode == "constant" || c.attr(2).is_none() || c.attr(2).to_double() == 0, ValueError,
                    "pad: mode '{}' takes no value", mode);
        double value = c.attr(2).is_none() ? 0.0 : c.attr(2).to_double();
        for (size_t i = 0; i < pad.size() / 2; ++i)
          x = padded(x, x.dim() - 1 - static_cast<int64_t>(i), pad[2 * i], pad[2 * i + 1], mode, value);
        return {x};
      })
      .doc(
          "Pads dimensions, last one first: `pad` is (before, after) of the last, then of the one before it; "
          "negative "
          "numbers cut. Modes: constant, reflect, replicate, circular.");
  return true;
}();

const bool norms = [] {
  op("group_norm(input, num_groups: int, weight: Tensor? = none, bias: Tensor? = none, eps: float = 1e-05)")
      .expand([](const Call& c) -> TensorList {
        const Tensor& x = c.input(0);
        int64_t groups = c.attr(0).to_int();
        SORUS_CHECK(x.dim() >= 2 && groups > 0 && x.size(1) % groups == 0, ValueError,
                    "group_norm: the channels of {} (dimension 1) cannot be split into {} groups",
                    to_string(x.sizes()), groups);
        Tensor wide = widened(x);
        int64_t each = x.size(0) * groups == 0 ? 0 : x.numel() / (x.size(0) * groups);
        Tensor g = reshape(wide, Shape{x.size(0), groups, each});
        Tensor centred = g - mean(g, Shape{-1}, true);
        Tensor y =
            reshape(centred * rsqrt(mean(square(centred), Shape{-1}, true) + c.attr(1).to_double()), x.sizes());
        Shape shape(static_cast<size_t>(x.dim()), 1);
        shape[1] = x.size(1);
        if (c.has(1)) y = y * reshape(c.input(1), shape);
        if (c.has(2)) y = y + reshape(c.input(2), shape);
        return {to(y, x.dtype())};
      })
      .doc("Normalizes groups of channels over all their elements (Wu, He 2018).");
  return true;
}();

const bool adaptive = [] {
  op("adaptive_avg_pool1d(input, output_size: int[1])").expand([](const Call& c) -> TensorList {
    const Tensor& x = c.input(0);
    SORUS_CHECK(x.dim() == 2 || x.dim() == 3, ValueError, "adaptive_avg_pool1d: expected 2 or 3 dimensions, got {}",
                to_string(x.sizes()));
    return {squeeze(adaptive_avg_pool2d(unsqueeze(x, -2), Shape{1, c.attr(0).ints()[0]}), Shape{-2})};
  });
  return true;
}();

}  // namespace
}  // namespace sorus
