// Single operators of integers on devices (same.h).
#include "same.h"

namespace sorus::device {
namespace {

using namespace testing;

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
    Tensor one = Tensor::weak_scalar(int64_t{1});
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
        {"floor_divide", [=](const Tensor& a, const Tensor& b) { return floor_divide(a, bitwise_or(b, one)); }},
        {"remainder", [=](const Tensor& a, const Tensor& b) { return remainder(a, bitwise_or(b, one)); }},
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
    Tensor image = r.tensor({2, 4, 4, 5}, t, low, high), floats = r.tensor({2, 4, 4, 5}, DType::f32);
    for (int64_t d : {1, 2, 3}) {
      cases.push_back({fmt::format("places {}", d),
                       {{t, {2, 4, 4, 5}, false}},
                       [=](const TensorList& x) -> TensorList { return {index_select(x[0], d, places)}; }});
      // Where something is largest along the dimension: in what is computed, and in constants.
      auto largest = [=](const Tensor& v) { return reshape(argmax(v, d), Shape{-1}); };
      cases.push_back(
          {fmt::format("computed places {}", d), {{t, {2, 4, 4, 5}, false}}, [=](const TensorList& x) -> TensorList {
             return {index_select(x[0], d, largest(x[0])), index_select(image, d, largest(x[0]))};
           }});
      cases.push_back({fmt::format("computed places {} among floats", d),
                       {{t, {2, 4, 4, 5}, false}},
                       [=](const TensorList& x) -> TensorList {
                         return {index_select(floats, d, to(largest(x[0]), DType::i32))};
                       }});
      cases.push_back(
          {fmt::format("beside constants {}", d), {{t, {2, 4, 4, 5}, false}}, [=](const TensorList& x) -> TensorList {
             return {cat(std::vector{image, x[0], image}, d)};
           }});
    }
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

}  // namespace
}  // namespace sorus::device
