// Layers of images [n, c, h, w] as the formats have them: padding may differ between the two ends of a dimension.
#pragma once

#include "sorus/tensor/tensor.h"

namespace sorus::importer {

struct Window2d {
  Shape kernel{1, 1}, stride{1, 1}, dilation{1, 1};
  Shape padding{0, 0, 0, 0};  ///< top, bottom, left, right
};

Tensor convolution2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Window2d& w, int64_t groups);
/// Means of windows; what is outside counts as zeros, or not at all.
Tensor average_pool2d(const Tensor& x, const Window2d& w, bool count_outside);
Tensor maximum_pool2d(const Tensor& x, const Window2d& w);
/// A transposed convolution whose result has this size; weights [in, out / groups, kh, kw]. `before` is cut off at
/// the top and left.
Tensor transposed_convolution2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Window2d& w,
                                const Shape& before, const Shape& size, int64_t groups);

/// Resizing along one dimension. `places` says which place of the input (a fraction) each place of the result shows;
/// `factor` is the ratio of sizes where it is not that of the numbers of places.
enum class Places { half_pixel, align_corners, asymmetric, half_pixel_unless_one };
Tensor resize_nearest(const Tensor& x, int64_t dim, int64_t size, Places places, const std::string& rounding,
                      double factor = 0);
Tensor resize_linear(const Tensor& x, int64_t dim, int64_t size, Places places, double factor = 0);

/// A dimension that may be counted from the end, as one counted from the start. ValueError if t has not that many.
int64_t dim_of(int64_t d, const Tensor& t);

/// Sizes, bounds and strides of a slice as Python's, for any combination of signs.
Tensor strided_slice(const Tensor& x, int64_t dim, int64_t start, int64_t end, int64_t step);
/// Elements in reverse order.
Tensor reversed(const Tensor& x, int64_t dim);
/// x in another shape, as a file has it. Its first size stands for the batch where x has it too: when the graph is
/// run that may be another.
Tensor reshaped_batch(const Tensor& x, Shape shape);
Tensor tiled(const Tensor& x, const Shape& repeats);
/// The parts of x along `dim`, without it. ValueError if there are not `outputs` of them.
TensorList unstacked(const Tensor& x, int64_t dim, size_t outputs);

}  // namespace sorus::importer
