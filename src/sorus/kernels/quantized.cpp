#include "sorus/kernels/quantized.h"

#include <algorithm>

#include "sorus/base/clones.h"
#include "sorus/base/error.h"
#include "sorus/base/threads.h"

namespace sorus::kernels {

int64_t QuantizedOutput::operator()(int64_t sum, int64_t channel) const {
  auto c = static_cast<size_t>(channel);
  if (!bias.empty()) sum += bias[c];
  int64_t m = multiplier[c], s = shift[c], y;
  if (wide) {
    int64_t rounded = m < 0x7FFF0000 ? (m + (1 << 15)) >> 16 : 0x7FFF, right = 15 - s;
    y = (sum * rounded + (int64_t{1} << (right - 1))) >> right;
  } else {
    int64_t p = (sum << std::max<int64_t>(s, 0)) * m;
    int64_t d = p >= 0 ? (p + (1 << 30)) >> 31 : -(((1 << 30) - 1 - p) >> 31);
    int64_t right = std::max<int64_t>(-s, 0), mask = (int64_t{1} << right) - 1;
    y = (d >> right) + ((d & mask) > (mask >> 1) + (d < 0));
  }
  return std::clamp(y + zero_point, low, high);
}

namespace {

// Windows are laid out as rows of 16-bit differences from the zero point, so that the inner loop is one product of
// two such rows, which compilers turn into multiply-add instructions of pairs.
SORUS_CLONES int32_t dot(const int16_t* a, const int16_t* b, int64_t n) {
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += int32_t{a[i]} * int32_t{b[i]};
  return sum;
}

// One input channel a group: rows of channels, side by side.
SORUS_CLONES void add_products(int32_t* sums, const int16_t* a, const int16_t* b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sums[i] += int32_t{a[i]} * int32_t{b[i]};
}

template <class T>
void differences(const T* from, int64_t n, int64_t zero_point, int16_t* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<int16_t>(from[i] - zero_point);
}

std::vector<int16_t> widened(DType type, const void* p, int64_t n, int64_t zero_point) {
  std::vector<int16_t> out(static_cast<size_t>(n));
  if (type == DType::i8)
    differences(static_cast<const int8_t*>(p), n, zero_point, out.data());
  else
    differences(static_cast<const uint8_t*>(p), n, zero_point, out.data());
  return out;
}

struct Work {
  const QuantizedConv& c;
  const QuantizedOutput& o;
  int64_t in_per_group, out_per_group, window;

  bool inside(int64_t h, int64_t v) const { return h >= 0 && h < c.in[1] && v >= 0 && v < c.in[2]; }

  // f(place in the window, offset of the pixel or -1)
  template <class F>
  void for_window(int64_t n, int64_t h, int64_t v, F f) const {
    for (int64_t i = 0; i < c.weight[1]; ++i)
      for (int64_t j = 0; j < c.weight[2]; ++j) {
        int64_t y = h * c.stride[0] + i * c.dilation[0] - c.padding[0];
        int64_t x = v * c.stride[1] + j * c.dilation[1] - c.padding[1];
        f(i * c.weight[2] + j, inside(y, x) ? ((n * c.in[1] + y) * c.in[2] + x) * c.in[3] : -1);
      }
  }

  template <class T>
  void dense(const T* x, const std::vector<int16_t>& w, T* out, int64_t begin, int64_t end) const {
    std::vector<int16_t> row(static_cast<size_t>(window));
    for (int64_t p = begin; p < end; ++p) {
      int64_t v = p % c.out[2], h = p / c.out[2] % c.out[1], n = p / c.out[2] / c.out[1];
      for (int64_t g = 0; g < c.groups; ++g) {
        for_window(n, h, v, [&](int64_t k, int64_t at) {
          int16_t* to = row.data() + k * in_per_group;
          if (at < 0)
            std::fill_n(to, in_per_group, int16_t{0});
          else
            differences(x + at + g * in_per_group, in_per_group, c.input_zero_point, to);
        });
        for (int64_t k = g * out_per_group; k < (g + 1) * out_per_group; ++k)
          out[p * c.out[3] + k] = static_cast<T>(o(product(row.data(), w.data() + k * window), k));
      }
    }
  }

  // 16-bit inputs times 8-bit weights fill 32 bits after some hundred terms.
  int64_t product(const int16_t* a, const int16_t* b) const {
    constexpr int64_t block = 128;
    int64_t sum = 0;
    for (int64_t i = 0; i < window; i += block) sum += dot(a + i, b + i, std::min(block, window - i));
    return sum;
  }

  template <class T>
  void depthwise(const T* x, const std::vector<int16_t>& w, T* out, int64_t begin, int64_t end) const {
    auto channels = static_cast<size_t>(c.out[3]), taps = static_cast<size_t>(window);
    std::vector<int16_t> by_tap(channels * taps), row(channels);
    for (size_t k = 0; k < channels; ++k)
      for (size_t t = 0; t < taps; ++t) by_tap[t * channels + k] = w[k * taps + t];
    std::vector<int32_t> sums(channels);
    std::vector<int64_t> wide(channels);
    for (int64_t p = begin; p < end; ++p) {
      int64_t v = p % c.out[2], h = p / c.out[2] % c.out[1], n = p / c.out[2] / c.out[1];
      std::fill(sums.begin(), sums.end(), 0);
      std::fill(wide.begin(), wide.end(), 0);
      int64_t terms = 0;
      for_window(n, h, v, [&](int64_t k, int64_t at) {
        if (at < 0) return;
        if (out_per_group == 1)
          differences(x + at, c.in[3], c.input_zero_point, row.data());
        else
          for (size_t i = 0; i < channels; ++i)
            row[i] = static_cast<int16_t>(x[at + static_cast<int64_t>(i) / out_per_group] - c.input_zero_point);
        add_products(sums.data(), row.data(), by_tap.data() + k * c.out[3], c.out[3]);
        if (++terms % 128 == 0) spill(sums, wide);
      });
      spill(sums, wide);
      for (size_t k = 0; k < channels; ++k)
        out[p * c.out[3] + static_cast<int64_t>(k)] = static_cast<T>(o(wide[k], static_cast<int64_t>(k)));
    }
  }
  static void spill(std::vector<int32_t>& sums, std::vector<int64_t>& wide) {
    for (size_t k = 0; k < sums.size(); ++k) {
      wide[k] += sums[k];
      sums[k] = 0;
    }
  }

  template <class T>
  void run(const T* x, const std::vector<int16_t>& w, T* out) const {
    int64_t points = c.out[0] * c.out[1] * c.out[2];
    int64_t work = std::max<int64_t>(1, window * c.out[3]);
    parallel_for(points, std::max<int64_t>(1, 65536 / work), [&](int64_t begin, int64_t end) {
      if (in_per_group == 1 && c.groups > 1)
        depthwise(x, w, out, begin, end);
      else
        dense(x, w, out, begin, end);
    });
  }
};

}  // namespace

void quantized_conv(const QuantizedConv& c, const QuantizedOutput& o, DType type, const void* input,
                    DType weight_type, const void* weight, void* out) {
  if (c.out[0] * c.out[1] * c.out[2] * c.out[3] == 0) return;
  int64_t window = c.weight[1] * c.weight[2] * c.weight[3];
  Work work{c, o, c.weight[3], c.weight[0] / std::max<int64_t>(c.groups, 1), window};
  std::vector<int16_t> w = widened(weight_type, weight, c.weight[0] * window, c.weight_zero_point);
  switch (type) {
    case DType::i8:
      return work.run(static_cast<const int8_t*>(input), w, static_cast<int8_t*>(out));
    case DType::u8:
      return work.run(static_cast<const uint8_t*>(input), w, static_cast<uint8_t*>(out));
    case DType::i16:
      return work.run(static_cast<const int16_t*>(input), w, static_cast<int16_t*>(out));
    default:
      fail<TypeError>("quantized_conv: {} is no type of quantised activations", name(type));
  }
}

}  // namespace sorus::kernels
