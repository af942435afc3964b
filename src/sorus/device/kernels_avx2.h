// What the kernels for AVX2 share: floats (kernels_avx2.cpp) and bytes (kernels_avx2_bytes.cpp).
#pragma once

#include "sorus/device/kernel_parts.h"

namespace sorus::device::avx2 {

/// How many pixels and vectors of eight channels a kernel of products holds in registers.
struct Tile {
  int64_t rows, vectors;
};
Tile tile_for(int64_t pixels, int64_t channels);

/// Places from..to of the result whose windows have the taps low..high inside the input, along one dimension.
struct Span {
  int64_t from, to, low, high;
};
std::vector<Span> spans(int64_t outputs, int64_t inputs, int64_t kernel, int64_t stride, int64_t dilation,
                        int64_t pad);

/// One pixel of the result is one pixel of the input; the window is the whole image.
bool pointwise(const Window& w);
bool whole(const Window& w);

/// $FN_gather(in, p, n, to): what lies under the windows of n pixels from p on, one after the other. `convert`: the
/// helper that copies a run, "copy" (floats), "bring" (bytes) or "widen" (bytes to 16 bits); an odd number of bytes
/// gets one more. `outside`: the value there.
std::string gather_text(const Window& w, const std::string& type, const std::string& to, const std::string& convert,
                        const std::string& outside);

/// The kernel of a convolution, depthwise convolution or dense layer of bytes; nothing if there is none.
std::optional<Prepared> bytes(const Step& step, const ConvForm& f, const PrepareOptions& options);

/// Sets the text and its arguments.
void finish(Prepared& p, const Step& step, const std::string& type, const std::string& text);

}  // namespace sorus::device::avx2
