// Networks of several operators, models with a state, and what is refused (same.h).
#include "same.h"

namespace sorus::device {
namespace {

using namespace testing;

// Layers of networks that users bring, with random weights.
class Layers {
 public:
  Layers(unsigned seed, DType type) : r_(seed), type_(type), low_(low_of(type)), high_(high_of(type)) {}

  Tensor conv(const Tensor& x, int64_t out, int64_t kernel, int64_t stride, bool depthwise = false) {
    int64_t in = x.size(3), pad = kernel / 2;
    Tensor w = r_.tensor(depthwise ? Shape{in, kernel, kernel, 1} : Shape{out, kernel, kernel, in}, DType::i8);
    int64_t channels = depthwise ? in : out, depth = kernel * kernel * (depthwise ? 1 : in), bits = 0;
    while ((int64_t{1} << (2 * bits)) < depth) ++bits;
    auto [m, s] = factors(channels, -6 - bits);
    return quantized_conv2d(x, w, m, s, r_.tensor({channels}, DType::i32, -3000, 3000), Shape{stride, stride},
                            Shape{pad, pad, pad, pad}, Shape{1, 1}, depthwise ? in : 1, zero(), 0, zero(), low_,
                            high_);
  }
  Tensor wider(const Tensor& x, int64_t out) {  // a transposed convolution with a stride of 2
    auto [m, s] = factors(out, -8);
    Tensor w = r_.tensor({out, 2, 2, x.size(3)}, DType::i8);
    return quantized_conv_transpose2d(x, w, m, s, r_.tensor({out}, DType::i32, -3000, 3000), Shape{2, 2}, Shape{0, 0},
                                      Shape{2 * x.size(1), 2 * x.size(2)}, zero(), 0, zero(), low_, high_);
  }
  Tensor swish(const Tensor& x) { return quantized_hardswish(x, zero(), zero(), 24000, -1, 26000, 2, low_, high_); }
  Tensor sigmoid(const Tensor& x) { return quantized_sigmoid(x, zero(), r_.multiplier(), 21, 200, low_, high_); }
  Tensor leaky(const Tensor& x) {
    return quantized_leaky_relu(x, zero(), zero(), r_.multiplier(), 0, r_.multiplier(), -3, low_, high_);
  }
  Tensor mean(const Tensor& x) {
    int64_t n = x.size(1) * x.size(2);
    return quantized_sum(x, Shape{1, 2}, true, zero(), zero(), r_.multiplier() / n, 1, low_, high_);
  }
  Tensor mul(const Tensor& a, const Tensor& b) {
    return quantized_mul(a, b, zero(), low_, zero(), r_.multiplier(), -7, low_, high_);
  }
  Tensor add(const Tensor& a, const Tensor& b) {
    return quantized_add(a, b, 20, zero(), r_.multiplier(), -1, zero(), r_.multiplier(), -1, zero(), r_.multiplier(),
                         -18, low_, high_);
  }
  Tensor pool(const Tensor& x) {
    return quantized_max_pool2d(x, Shape{2, 2}, Shape{2, 2}, Shape{0, 0, 0, 0}, low_, high_);
  }
  int64_t zero() const { return low_ + 131; }

 private:
  std::pair<Tensor, Tensor> factors(int64_t n, int64_t shift) {
    Tensor m = Tensor::empty({n}, DType::i32);
    for (int64_t i = 0; i < n; ++i) m.data<int32_t>()[i] = static_cast<int32_t>(r_.multiplier());
    return {m, r_.tensor({n}, DType::i32, shift - 1, shift)};
  }
  Random r_;
  DType type_;
  int64_t low_, high_;
};

std::vector<Case> networks() {
  std::vector<Case> cases;
  for (DType t : kBytes) {
    // Squeeze and excitation, as in MobileNetV3.
    cases.push_back({"mobile", {{t, {1, 12, 10, 3}, false}}, [t](const TensorList& x) -> TensorList {
                       Layers l(7, t);
                       Tensor y = l.swish(l.conv(x[0], 8, 3, 2)), z = l.conv(y, 8, 3, 1, true);
                       Tensor gate = l.sigmoid(l.conv(l.leaky(l.conv(l.mean(z), 4, 1, 1)), 8, 1, 1));
                       y = l.add(l.conv(l.mul(z, gate), 8, 1, 1), y);
                       return {reshape(l.mean(l.swish(l.conv(y, 9, 1, 1))), Shape{1, 9})};
                     }});
    // Down and up again with what was on the way, as in U-Net; classes of pixels at the end.
    cases.push_back({"segmentation", {{t, {1, 8, 12, 3}, false}}, [t](const TensorList& x) -> TensorList {
                       Layers l(8, t);
                       Tensor a = l.conv(x[0], 5, 3, 1), b = l.conv(l.pool(a), 7, 3, 1);
                       Tensor c = l.conv(cat(TensorList{l.wider(b, 5), a}, 3), 6, 3, 1);
                       Tensor d = quantized_resize_bilinear(b, Shape{8, 12}, false, true);
                       Tensor y = l.conv(cat(TensorList{c, d}, 3), 4, 1, 1);
                       return {y, to(argmax(y, 3), DType::i32)};
                     }});
    // A part of the time, halves of channels exchanged, products of what was computed twice.
    cases.push_back({"sequence", {{t, {1, 16, 4, 6}, false}}, [t](const TensorList& x) -> TensorList {
                       Layers l(9, t);
                       Tensor y = slice(l.conv(x[0], 6, 3, 1), 1, 2, 14, 2);
                       y = cat(TensorList{narrow(y, 3, 3, 3), narrow(y, 3, 0, 3)}, 3);
                       y = pad(l.leaky(y), Shape{0, 0, 1, 1, 0, 0}, "constant", static_cast<double>(l.zero()));
                       Tensor m = reshape(y, Shape{1, 6, 36});
                       Tensor p = quantized_matmul(m, transpose(m, -2, -1), l.zero(), l.zero(), l.zero(), 1 << 30,
                                                   -10, low_of(t), high_of(t));
                       return {amax(p, Shape{2}, false), minimum(p, Tensor::weak_scalar(l.zero()))};
                     }});
  }
  return cases;
}

TEST(DeviceOperators, Networks) { expect_same(networks()); }

void write(const Tensor& state, const Tensor& value) {
  static const OpDef& copy = find_op("copy");
  call_into(copy, std::array{state, value}, {}, std::array{state});
}

// The caller keeps what one run leaves for the next in the arena's first bytes.
TEST(DeviceOperators, States) {
  Random r(10);
  std::vector<Case> cases;
  for (DType t : kBytes) {
    int64_t low = low_of(t), high = high_of(t), z = zero_of(t, r);
    for (int64_t rank : {1, 2}) {
      Tensor state = Tensor::zeros(Shape{2, 6 * 4}, DType::i16), feature = r.tensor({6, 5}, DType::i8);
      Tensor time = Tensor::empty(Shape{6, 4}, DType::i16), bias = r.tensor({6 / rank}, DType::i32, -900, 900);
      for (int i = 0; i < 24; ++i) time.data<int16_t>()[i] = static_cast<int16_t>(r.between(-3000, 3000));
      int64_t m = r.multiplier(), n = r.multiplier();
      cases.push_back({fmt::format("svdf {}", rank), {{t, {2, 5}, false}}, [=](const TensorList& x) -> TensorList {
                         auto y =
                             quantized_svdf(x[0], state, feature, time, bias, rank, z, m, -4, z, n, -12, low, high);
                         write(state, y[1]);
                         return {y[0]};
                       }});
    }
    // Weights over time of 16 bits: a sum of four products may need more than 32.
    {
      Tensor state = Tensor::zeros(Shape{2, 6 * 4}, DType::i16), feature = r.tensor({6, 5}, DType::i8);
      Tensor time = Tensor::empty(Shape{6, 4}, DType::i16);
      for (int i = 0; i < 24; ++i) time.data<int16_t>()[i] = static_cast<int16_t>(r.between(-30000, 30000));
      int64_t m = r.multiplier(), n = r.multiplier();
      cases.push_back({"svdf, large", {{t, {2, 5}, false}}, [=](const TensorList& x) -> TensorList {
                         auto y = quantized_svdf(x[0], state, feature, time, {}, 1, z, m, 0, z, n, -18, low, high);
                         write(state, y[1]);
                         return {y[0]};
                       }});
    }
    // The last rows of an input that comes piece by piece, in front of a convolution.
    Tensor last = r.tensor({1, 2, 3, 2}, t, low, high);
    cases.push_back({"stream", {{t, {1, 4, 3, 2}, false}}, [=](const TensorList& x) -> TensorList {
                       Layers l(11, t);
                       Tensor all = cat(TensorList{last, x[0]}, 1);
                       write(last, narrow(all, 1, 4, 2));
                       return {l.conv(all, 5, 3, 1)};
                     }});
    // Two states that change places, and one that is the result.
    Tensor a = r.tensor({7}, t, low, high), b = r.tensor({7}, t, low, high);
    cases.push_back({"exchanged", {{t, {7}, false}}, [=](const TensorList& x) -> TensorList {
                       Tensor sum = maximum(a, x[0]), old = a + Tensor::weak_scalar(int64_t{0});
                       write(a, minimum(b, x[0]));
                       write(b, old);
                       return {sum};
                     }});
  }
  expect_same(cases);
}

TEST(DeviceOperators, WhatHasNoFormIsListed) {
  Case c{"running sum", {{DType::i8, {4, 5}, false}}, [](const TensorList& x) -> TensorList {
           return {cumsum(x[0], 1, DType::i32)};
         }};
  try {
    lowered(c);
    FAIL();
  } catch (const NotImplementedError& e) {
    EXPECT_NE(std::string(e.what()).find("running_sum (node "), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace sorus::device
