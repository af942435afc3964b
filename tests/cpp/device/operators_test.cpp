// Operators through the generator: each is recorded with random constants, lowered, printed, compiled, and its result
// is compared with Sorus's own execution of the operator, to the bit.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "built.h"
#include "sorus/base/error.h"
#include "sorus/device/lower.h"
#include "sorus/device/passes.h"
#include "sorus/graph/trace.h"
#include "sorus/ops.h"
#include "sorus/tensor/tensor.h"

namespace sorus::device {
namespace {

using testing::Built, testing::RunModel;

class Random {
 public:
  explicit Random(unsigned seed) : random_(seed) {}
  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  /// Any bytes, or numbers.
  Tensor tensor(const Shape& shape, DType type, int64_t low = -128, int64_t high = 127) {
    Tensor t = Tensor::empty(shape, type);
    for (int64_t i = 0; i < t.numel(); ++i) {
      int64_t v = between(low, high);
      if (type == DType::i8) t.data<int8_t>()[i] = static_cast<int8_t>(v);
      if (type == DType::u8) t.data<uint8_t>()[i] = static_cast<uint8_t>(v);
      if (type == DType::i16) t.data<int16_t>()[i] = static_cast<int16_t>(v * 200);
      if (type == DType::i32) t.data<int32_t>()[i] = static_cast<int32_t>(v);
      if (type == DType::f32) t.data<float>()[i] = static_cast<float>(v) / 16;
    }
    return t;
  }
  int64_t multiplier() { return between(int64_t{1} << 30, (int64_t{1} << 31) - 1); }

 private:
  std::mt19937_64 random_;
};

struct Case {
  std::string name;
  std::vector<TensorType> inputs;
  std::function<TensorList(const TensorList&)> compute;
};

TracedGraph recorded(const Case& c) {
  Tracer tracer(c.name);
  {
    InterpreterScope scope(&tracer);
    TensorList inputs;
    for (const TensorType& t : c.inputs) inputs.push_back(tracer.input(t));
    for (const Tensor& t : c.compute(inputs)) tracer.output(t);
  }
  return tracer.finish();
}

Model lowered(const Case& c) {
  TracedGraph traced = recorded(c);
  return lower(traced.graph, traced.captures, traced.explicit_inputs, traced.explicit_outputs, traced.write_targets);
}

std::vector<std::byte> bytes_of(const Tensor& t) {
  Tensor flat = contiguous(t);
  auto* from = static_cast<const std::byte*>(flat.data());
  return {from, from + flat.nbytes()};
}

// All cases in one shared object, each run on a few random inputs.
void expect_same(const std::vector<Case>& cases, const std::string& target = "x86") {
  std::vector<Project> projects;
  for (size_t i = 0; i < cases.size(); ++i) {
    GenerateOptions options;
    options.name = "m" + std::to_string(i);
    SCOPED_TRACE(cases[i].name);
    projects.push_back(generate(lowered(cases[i]), find_target(target), options));
  }
  std::vector<const Project*> list;
  for (const Project& p : projects) list.push_back(&p);
  Built built(list, "-O0 -Werror -fsanitize=undefined -fno-sanitize-recover=all");
  ASSERT_TRUE(built.good());
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    auto run = built.function<RunModel>(("m" + std::to_string(i) + "_run").c_str());
    Random random(static_cast<unsigned>(i + 1));
    std::vector<int64_t> arena(static_cast<size_t>(projects[i].arena.bytes) / 8 + 8, 0x5555);
    auto* aligned = reinterpret_cast<int8_t*>((reinterpret_cast<uintptr_t>(arena.data()) + 15) & ~uintptr_t{15});
    int64_t kept = projects[i].arena.state_bytes;
    if (kept) built.function<void (*)(void*)>(("m" + std::to_string(i) + "_reset").c_str())(aligned);
    for (int trial = 0; trial < 3; ++trial) {
      TensorList inputs;
      for (const TensorType& t : c.inputs)
        inputs.push_back(
            random.tensor(t.shape, t.dtype, t.dtype == DType::u8 ? 0 : -128, t.dtype == DType::u8 ? 255 : 127));
      TensorList expected = c.compute(inputs);
      std::fill(aligned + kept, aligned + projects[i].arena.bytes, static_cast<int8_t>(trial));
      std::vector<const void*> in;
      std::vector<std::vector<int64_t>> memory;
      std::vector<void*> out;
      for (const Tensor& t : inputs) in.push_back(t.data());
      for (const Tensor& t : expected) memory.emplace_back(t.nbytes() / 8 + 2, 0x7777);
      for (auto& m : memory) out.push_back(m.data());
      ASSERT_EQ(run(aligned, in.data(), out.data()), 0) << c.name;
      for (size_t k = 0; k < expected.size(); ++k) {
        std::vector<std::byte> wanted = bytes_of(expected[k]);
        ASSERT_EQ(std::memcmp(out[k], wanted.data(), wanted.size()), 0) << c.name << ", result " << k;
        ASSERT_NE(wanted.size(), 0U);
      }
    }
  }
}

int64_t low_of(DType t) { return t == DType::u8 ? 0 : -128; }
int64_t high_of(DType t) { return t == DType::u8 ? 255 : 127; }
int64_t zero_of(DType t, Random& r) { return low_of(t) + r.between(64, 192); }

constexpr DType kBytes[] = {DType::i8, DType::u8};

TEST(DeviceOperators, FunctionsOfOneElementAreTables) {
  Random r(1);
  std::vector<Case> cases;
  for (DType t : kBytes) {
    int64_t z = zero_of(t, r), y = zero_of(t, r), low = low_of(t), high = high_of(t), m = r.multiplier(),
            n = r.multiplier();
    std::vector<TensorType> in{{t, {1, 3, 4, 5}, false}};
    cases.push_back({"leaky", in, [=](const TensorList& x) -> TensorList {
                       return {quantized_leaky_relu(x[0], z, y, m, -1, n, -3, low, high)};
                     }});
    cases.push_back({"hardswish", in, [=](const TensorList& x) -> TensorList {
                       return {quantized_hardswish(x[0], z, y, 20000, -2, 25000, 3, low, high)};
                     }});
    cases.push_back({"sigmoid", in, [=](const TensorList& x) -> TensorList {
                       return {quantized_sigmoid(x[0], z, m, 20, 200, low, high)};
                     }});
    cases.push_back({"tanh", in, [=](const TensorList& x) -> TensorList {
                       return {quantized_tanh(x[0], z, low + 128, m, 21, 100, low, high)};
                     }});
    cases.push_back({"relu by way of int32", in, [=](const TensorList& x) -> TensorList {
                       Tensor wide = to(x[0], DType::i32) - Tensor::weak_scalar(z);
                       return {
                           requantize(wide, Tensor::weak_scalar(m), Tensor::weak_scalar(int64_t{-1}), y, y, high, t)};
                     }});
    // Two of them: the first is not stored.
    cases.push_back({"tanh of leaky", in, [=](const TensorList& x) -> TensorList {
                       Tensor first = quantized_leaky_relu(x[0], z, y, m, -1, n, -3, low, high);
                       return {quantized_tanh(first, y, low + 128, m, 21, 100, low, high)};
                     }});
  }
  for (const Case& c : cases) {
    Model model = lowered(c);
    simplify(model);
    ASSERT_EQ(model.steps.size(), 1U) << c.name;
    EXPECT_TRUE(std::holds_alternative<TableForm>(model.steps[0].form)) << c.name;
  }
  expect_same(cases);
}

TEST(DeviceOperators, TwoTensorsElementByElement) {
  Random r(2);
  std::vector<Case> cases;
  for (DType t : kBytes) {
    int64_t za = zero_of(t, r), zb = zero_of(t, r), zy = zero_of(t, r), low = low_of(t), high = high_of(t);
    int64_t m = r.multiplier(), n = r.multiplier(), k = r.multiplier();
    Shape image{1, 4, 3, 5};
    Tensor weights = r.tensor({5}, t, low, high), whole = r.tensor(image, t, low, high);
    auto mul = [=](const Tensor& a, const Tensor& b) { return quantized_mul(a, b, za, zb, zy, m, -6, low, high); };
    auto add = [=](const Tensor& a, const Tensor& b) {
      return quantized_add(a, b, 20, za, m, -1, zb, n, 0, zy, k, -18, low, high);
    };
    auto sub = [=](const Tensor& a, const Tensor& b) {
      return quantized_sub(a, b, 20, za, m, -1, zb, n, 0, zy, k, -18, low, high);
    };
    using Two = std::function<Tensor(const Tensor&, const Tensor&)>;
    const std::pair<const char*, Two> functions[] = {
        {"mul", mul},
        {"add", add},
        {"sub", sub},
        {"maximum", [](const Tensor& a, const Tensor& b) { return maximum(a, b); }},
        {"minimum", [](const Tensor& a, const Tensor& b) { return minimum(a, b); }},
        {"prelu", [=](const Tensor& a, const Tensor& b) {
           return quantized_prelu(a, b, za, zb, zy, m, -1, n, -6, low, high);
         }}};
    for (const auto& [name, f] : functions) {
      auto both = [f](const TensorList& x) -> TensorList { return {f(x[0], x[1])}; };
      cases.push_back({std::string(name) + " alike", {{t, image, false}, {t, image, false}}, both});
      cases.push_back({std::string(name) + " by channel", {{t, image, false}, {t, {1, 1, 1, 5}, false}}, both});
      cases.push_back({std::string(name) + " outer", {{t, {1, 4, 1, 5}, false}, {t, {3, 1}, false}}, both});
      cases.push_back({std::string(name) + " with weights",
                       {{t, image, false}},
                       [f, weights](const TensorList& x) -> TensorList { return {f(x[0], weights)}; }});
      cases.push_back({std::string(name) + " with an image",
                       {{t, image, false}},
                       [f, whole](const TensorList& x) -> TensorList { return {f(x[0], whole)}; }});
      cases.push_back({std::string(name) + " with itself",
                       {{t, image, false}},
                       [f](const TensorList& x) -> TensorList { return {f(x[0], x[0])}; }});
    }
  }
  expect_same(cases);
}

TEST(DeviceOperators, BetweenFloatsAndIntegers) {
  std::vector<Case> cases;
  for (DType t : kBytes) {
    int64_t low = low_of(t), high = high_of(t), z = low + 130;
    cases.push_back({"quantize", {{DType::f32, {2, 7}, false}}, [=](const TensorList& x) -> TensorList {
                       return {quantize(x[0], 0.0471, z, low, high, t)};
                     }});
    cases.push_back({"dequantize", {{t, {2, 7}, false}}, [=](const TensorList& x) -> TensorList {
                       return {dequantize(x[0], 0.0471, z)};
                     }});
    cases.push_back({"there and back", {{DType::f32, {2, 7}, false}}, [=](const TensorList& x) -> TensorList {
                       Tensor q = quantize(x[0], 0.0471, z, low, high, t);
                       return {dequantize(maximum(q, Tensor::weak_scalar(z)), 0.0471, z)};
                     }});
  }
  expect_same(cases);
}

TEST(DeviceOperators, Reductions) {
  Random r(4);
  std::vector<Case> cases;
  for (DType t : kBytes) {
    int64_t z = zero_of(t, r), y = zero_of(t, r), low = low_of(t), high = high_of(t), m = r.multiplier();
    std::vector<TensorType> in{{t, {2, 3, 4, 5}, false}};
    for (const Shape& dims : {Shape{1, 2}, Shape{3}, Shape{0, 2}, Shape{0, 1, 2, 3}, Shape{2}})
      for (bool keep : {false, true}) {
        std::string name = fmt::format("{} keep {}", to_string(dims), keep);
        cases.push_back({"sum " + name, in, [=](const TensorList& x) -> TensorList {
                           return {quantized_sum(x[0], dims, keep, z, y, m, -5, low, high)};
                         }});
        cases.push_back(
            {"amax " + name, in, [=](const TensorList& x) -> TensorList { return {amax(x[0], dims, keep)}; }});
        cases.push_back(
            {"amin " + name, in, [=](const TensorList& x) -> TensorList { return {amin(x[0], dims, keep)}; }});
      }
    for (int64_t d = 0; d < 4; ++d) {
      cases.push_back({fmt::format("argmax {}", d), in,
                       [=](const TensorList& x) -> TensorList { return {to(argmax(x[0], d), DType::i32)}; }});
      cases.push_back({fmt::format("argmin {}", d), in,
                       [=](const TensorList& x) -> TensorList { return {argmin(x[0], d, true)}; }});
    }
  }
  expect_same(cases);
}

TEST(DeviceOperators, ImagesOfOtherSizes) {
  Random r(5);
  std::vector<Case> cases;
  for (DType t : kBytes) {
    int64_t z = zero_of(t, r), low = low_of(t), high = high_of(t);
    for (const Shape& size : {Shape{8, 10}, Shape{3, 2}, Shape{5, 1}})
      for (int way = 0; way < 3; ++way)
        cases.push_back({fmt::format("bilinear {} way {}", to_string(size), way),
                         {{t, {2, 4, 5, 3}, false}},
                         [=](const TensorList& x) -> TensorList {
                           return {quantized_resize_bilinear(x[0], size, way == 1, way == 2)};
                         }});
    for (int64_t stride : {1, 2, 3})
      for (int64_t kernel : {2, 3}) {
        Tensor w = r.tensor({4, kernel, kernel, 3}, DType::i8), bias = r.tensor({4}, DType::i32, -2000, 2000);
        Tensor multiplier = Tensor::empty({4}, DType::i32), shift = r.tensor({4}, DType::i32, -9, -7);
        for (int i = 0; i < 4; ++i) multiplier.data<int32_t>()[i] = static_cast<int32_t>(r.multiplier());
        int64_t h = 3 * stride + kernel - 2;
        cases.push_back({fmt::format("transposed {} {}", stride, kernel),
                         {{t, {2, 4, 3, 3}, false}},
                         [=](const TensorList& x) -> TensorList {
                           return {quantized_conv_transpose2d(x[0], w, multiplier, shift, bias, Shape{stride, stride},
                                                              Shape{1, 0}, Shape{h, h + 1}, z, 0, z, low, high)};
                         }});
      }
    Tensor places = Tensor::of(std::vector<int64_t>{0, 0, 1, 3, 3, -1, 2}, Shape{7});
    for (int64_t d : {1, 2, 3})
      cases.push_back({fmt::format("places {}", d),
                       {{t, {2, 4, 4, 5}, false}},
                       [=](const TensorList& x) -> TensorList { return {index_select(x[0], d, places)}; }});
  }
  expect_same(cases);
}

TEST(DeviceOperators, Matrices) {
  Random r(6);
  std::vector<Case> cases;
  for (DType t : kBytes) {
    int64_t za = zero_of(t, r), zb = zero_of(t, r), zy = zero_of(t, r), low = low_of(t), high = high_of(t);
    int64_t m = r.multiplier();
    auto product = [=](const TensorList& x) -> TensorList {
      return {quantized_matmul(x[0], x[1], za, zb, zy, m, -9, low, high)};
    };
    cases.push_back({"matrices", {{t, {3, 7}, false}, {t, {7, 4}, false}}, product});
    cases.push_back({"batch", {{t, {2, 3, 4, 5}, false}, {t, {2, 3, 5, 6}, false}}, product});
    cases.push_back({"batch, broadcast", {{t, {2, 1, 4, 5}, false}, {t, {3, 5, 6}, false}}, product});
    cases.push_back(
        {"turned", {{t, {2, 5, 4}, false}, {t, {2, 6, 5}, false}}, [=](const TensorList& x) -> TensorList {
           return {quantized_matmul(transpose(x[0], -2, -1), transpose(x[1], -2, -1), za, zb, zy, m, -9, low, high)};
         }});
  }
  expect_same(cases);
}

TEST(DeviceOperators, Softmax) {
  std::vector<Case> cases;
  for (DType t : kBytes)
    for (DType to : {t, DType::i16})
      for (int64_t shift : {17, 21, 24}) {  // one column, differences that are all known, and some
        int64_t columns = shift == 17 ? 300 : shift == 21 ? 9 : 1;
        auto least = -static_cast<int64_t>(31.0 * static_cast<double>(int64_t{1} << 26) /
                                           static_cast<double>(int64_t{1} << shift));
        cases.push_back({fmt::format("to {} by {}", name(to), shift),
                         {{t, {3, columns}, false}},
                         [=](const TensorList& x) -> TensorList {
                           return {quantized_softmax(x[0], 1573741824, shift, least, to)};
                         }});
      }
  expect_same(cases);
}

TEST(DeviceOperators, ElementsMoved) {
  std::vector<Case> cases;
  for (DType t : {DType::i8, DType::u8, DType::i16}) {
    std::vector<TensorType> in{{t, {2, 4, 6, 5}, false}}, two{{t, {1, 4, 6, 5}, false}, {t, {1, 4, 6, 3}, false}};
    auto one = [&](const char* name, const std::function<Tensor(const Tensor&)>& f) {
      cases.push_back({name, in, [f](const TensorList& x) -> TensorList { return {f(x[0])}; }});
    };
    one("permute", [](const Tensor& x) { return contiguous(permute(x, Shape{0, 3, 1, 2})); });
    one("slice", [](const Tensor& x) { return contiguous(slice(slice(x, 1, 1, 3), 2, 0, 6, 2)); });
    one("select", [](const Tensor& x) { return contiguous(select(x, 3, 2)); });
    one("pad", [](const Tensor& x) { return pad(x, Shape{0, 0, 1, 2, 2, 1}, "constant", 3); });
    one("pad channels", [](const Tensor& x) { return pad(x, Shape{1, 2}, "constant", 7); });
    one("blocks to depth", [](const Tensor& x) {
      return contiguous(
          reshape(permute(reshape(x, Shape{2, 2, 2, 3, 2, 5}), Shape{0, 1, 3, 2, 4, 5}), Shape{2, 2, 3, 20}));
    });
    one("expand", [](const Tensor& x) { return contiguous(expand(slice(x, 1, 1, 2), Shape{2, 4, 6, 5})); });
    cases.push_back({"join", two, [](const TensorList& x) -> TensorList {
                       return {cat(TensorList{x[0], x[1], x[0]}, 3)};
                     }});
    cases.push_back({"split", in, [](const TensorList& x) -> TensorList {
                       return {contiguous(narrow(x[0], 3, 0, 2)), contiguous(narrow(x[0], 3, 2, 3))};
                     }});
    cases.push_back({"stack", {{t, {2, 3}, false}, {t, {2, 3}, false}}, [](const TensorList& x) -> TensorList {
                       return {stack(TensorList{x[0], x[1]}, 1)};
                     }});
  }
  expect_same(cases);
}

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
