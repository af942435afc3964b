// Kernels for processors with vectors, written once for all of them.
//
// The texts of simd_floats.cpp, simd_bytes.cpp and simd_depthwise.cpp are made of words ($P_LOADF: load a vector of
// floats) that avx2_helpers.cpp and neon_helpers.cpp define for vectors of their length, and of numbers that an
// instruction set has in a `Simd`:
//
//   s0 = $P_FMA(s0, t, w0);       // _mm256_fmadd_ps(t, w0, s0), vfmaq_f32(s0, t, w0)
//
// Products: some pixels times some vectors of channels stay in registers while the loop goes over the depth.
// Depthwise: a block of channels' weights stays in registers along a row. What lies under a window is known when the
// text is made, so there is a loop for each part of the image whose windows see the same taps, and no test inside.
//
// A processor may have a better way of multiplying than the least one of its kind. The kernel is then printed in all
// ways, which share weights, and the program asks the processor which one to take: $P_level().
#pragma once

#include <functional>

#include "sorus/device/kernel_parts.h"

namespace sorus::device {

/// A way of multiplying bytes; its words begin with its name in capitals. An accumulator is one vector of sums.
struct Way {
  std::string name;        ///< "dot"
  int64_t channels;        ///< of an accumulator
  int64_t sums;            ///< of a channel in an accumulator; they are added at the end
  int64_t pixels;          ///< of an accumulator
  int64_t accumulators;    ///< in registers, at most
  bool halves = false;     ///< two products are added in 16 bits; for weights of -128 side by side ADD is ADD128
  bool brings = false;     ///< pixels are copied to the scratch before they are read
  std::string wide = {};   ///< a helper that makes 16 bits of a byte there; the words of such elements end in 16
  std::string shown = {};  ///< its instructions, for reports
};

/// A way of multiplying floats; its words end in its name.
struct FloatWay {
  std::string name;      ///< "16"; none for the least way
  int64_t level;         ///< of $P_level(), at least
  int64_t lanes;         ///< floats in a vector; a multiple of those of the least way
  int64_t accumulators;  ///< vectors in registers
  std::string shown;     ///< its instructions, for reports
};

struct Simd {
  std::string name;                     ///< "NEON", for reports
  std::string floats, bytes, residual;  ///< helpers
  std::string real;                     ///< helper: sums times floats
  std::string dot;                      ///< helper: products of bytes outside of convolutions (with_dot)
  std::string wide_floats = {};         ///< helper with the words of all ways of floats, where there are more
  int64_t lanes;                        ///< sums in a vector: floats of the least way, or 32-bit integers
  int64_t vectors;                      ///< of channels, where there are many pixels: of floats...
  int64_t byte_vectors;                 ///< ... and of bytes' sums
  int64_t group;                        ///< so many weights of a channel lie together
  int64_t step;                         ///< elements of the depth in one round of the loop; a multiple of `group`
  int64_t taps;                         ///< of a depthwise convolution, that one instruction multiplies
  bool flips = false;  ///< bytes are multiplied as unsigned ones; words of those in the scratch end in 8
  bool crossed;        ///< 2 vectors hold the channels 0-3, 8-11 and 4-7, 12-15 (AVX2)
  int64_t right;       ///< how a shift to the right by one is written: 1 or -1
  std::vector<FloatWay> float_ways;  ///< the least first
  std::vector<Way> ways;             ///< by level, the least first
};

/// A target's kernels; what has none takes the plain ones.
class SimdKernels : public KernelSet {
 public:
  explicit SimdKernels(Simd simd) : simd_(std::move(simd)) {}
  Prepared prepare(const Model& model, const Step& step, const PrepareOptions& options) const override;

 private:
  Simd simd_;
};

namespace simd {

/// Vectors of channels in registers beside each other, of `most` where there are many pixels.
int64_t vectors_for(int64_t pixels, int64_t channels, int64_t lanes, int64_t most);
constexpr int64_t kMostPixels = 12;  // at a time; more need much scratch
/// Pixels at a time for which `each` accumulators fit into `all`.
int64_t rows_for(int64_t pixels, int64_t all, int64_t each);

/// One pixel of the result is one pixel of the input; the window is the whole image.
bool pointwise(const Window& w);
bool whole(const Window& w);

/// $FN_gather(in, p, n, to): what lies under the windows of n pixels from p on, one after the other, each filled up
/// with zeros to a multiple of `step`. `copy`: the helper that copies a run. `outside`: the value there.
std::string gather_text(const Window& w, const std::string& name, const std::string& type, const std::string& to,
                        const std::string& copy, const std::string& outside, int64_t step);

/// Loops over pixels, `rows` at a time, then what is left; `group` says what happens to so many from p on.
std::string over_pixels(int64_t pixels, int64_t rows, const std::function<std::string(int64_t)>& group);
/// Loops over channels from o on, `block` at a time, then what is left; `body` is told how many.
std::string over_channels(int64_t channels, int64_t block, const std::string& indent,
                          const std::function<std::string(int64_t)>& body);

/// Places from..to of the result whose windows have the taps low..high inside the input, along one dimension.
struct Span {
  int64_t from, to, low, high;
};
/// How a depthwise kernel goes over an image: in parts whose windows see the same taps.
struct Parts {
  std::vector<Span> rows, columns;
  explicit Parts(const Window& w);
  /// Whether the text stays short.
  bool few(const Window& w) const;
  /// Loops over `block` channels at a time, images b, rows y and columns z. `constants`: text before a row's loops;
  /// `place`: at `at`, the first element under the window, in a part. Both are told how many channels there are.
  std::string text(const Window& w, int64_t block, const std::function<std::string(const Span&, int64_t)>& constants,
                   const std::function<std::string(const Span&, const Span&, int64_t)>& place) const;
};
/// Where a depthwise kernel's result of b, y, z and channel o lies.
std::string result_place(const Window& w);

/// Kernels; nothing if there is none for this layer.
std::optional<Prepared> floats(const Simd& s, const Step& step, const ConvForm& f);
std::optional<Prepared> bytes(const Simd& s, const Step& step, const ConvForm& f, const PrepareOptions& options);
std::optional<Prepared> depthwise_bytes(const Simd& s, const Step& step, const ConvForm& f);

/// Sets the text, its arguments ($ARGS, their $NAMES) and whether there is scratch ($SCRATCH).
void finish(Prepared& p, const Step& step, const std::string& type, const std::string& text);

// ---- Bytes
// --------------------------------------------------------------------------------------------------------

constexpr int64_t kPartForScratch = 20;  // one of so many bytes of a layer's images
int64_t image_bytes(const Window& w);

/// The channel at a place of a block of `vectors` vectors of sums, when they are finished.
int64_t channel_at(const Simd& s, int64_t vectors, int64_t place);

/// From sums to bytes: bias, multipliers and shifts as tables in the order of a block's places, padded to whole
/// blocks; a multiplier or shift that is the same for all is a number in the text.
class Rounding {
 public:
  /// `more`: what the kernel adds to each element.
  Rounding(Prepared& p, const Simd& s, const Step& step, const ConvForm& f, int64_t vectors, int64_t more = 0);
  /// One or two vectors of sums, whose tables begin at `table`, become `left` bytes at `at`.
  std::string store(const std::vector<std::string>& sums, const std::string& table, const std::string& at,
                    int64_t left) const;

 private:
  const Simd& s_;
  const Step& step_;
  const ConvForm& f_;
  std::string multiplier_, shift_;  // C with {} for the place
};

}  // namespace simd
}  // namespace sorus::device
