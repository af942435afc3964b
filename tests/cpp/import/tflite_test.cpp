// .tflite files made here: what is read, what is refused and how, and files that are damaged.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "import/small_models.h"
#include "io/mutate.h"
#include "sorus/base/files.h"
#include "sorus/import/load.h"
#include "sorus/ops.h"

namespace sorus::importer {
namespace {

using namespace test;

TEST(Tflite, FloatConvolutionKeepsTheOrderOfTheFile) {
  ImportedModel m = import_tflite(convolution(false), "x.tflite");
  ASSERT_EQ(m.operators, (std::vector<std::pair<std::string, int>>{{"CONV_2D", 1}}));
  EXPECT_EQ(m.outputs[0].type.to_string(), "f32[1, 2, 2, 2]");
  Tensor x = Tensor::empty({1, 4, 4, 1}, DType::f32);
  for (int i = 0; i < 16; ++i) x.data<float>()[i] = static_cast<float>(i % 5) - 1;
  ImportedModule module(std::move(m));
  EXPECT_EQ(module.num_parameters(), 20);
  Tensor y = module.run({x})[0];
  ASSERT_EQ(y.type().to_string(), "f32[1, 2, 2, 2]");
  // SAME with stride 2 over 4 places pads behind only.
  for (int h = 0; h < 2; ++h)
    for (int v = 0; v < 2; ++v)
      for (int o = 0; o < 2; ++o) {
        double sum = o ? -0.25 : 0.5;
        for (int i = 0; i < 3; ++i)
          for (int j = 0; j < 3; ++j)
            if (2 * h + i < 4 && 2 * v + j < 4)
              sum += (0.1 * (o * 9 + i * 3 + j) - 0.8) * (((2 * h + i) * 4 + 2 * v + j) % 5 - 1);
        EXPECT_NEAR(contiguous(y).data<float>()[(h * 2 + v) * 2 + o], std::max(sum, 0.0), 1e-5) << h << v << o;
      }
}

TEST(Tflite, QuantizedWithAnAxisThatDoesNotExist) {
  ImportedModel m = import_tflite(convolution(true), "x.tflite");
  EXPECT_EQ(m.outputs[0].quantization.scale[0], 0.25);
  Tensor x = Tensor::empty({1, 4, 4, 1}, DType::i8);
  for (int i = 0; i < 16; ++i) x.data<int8_t>()[i] = static_cast<int8_t>(11 * i - 90);
  TensorList weights(m.traced.captures);
  Tensor y = run_model(m, std::array{x}, weights)[0];
  const double scale[] = {0.5 * static_cast<double>(0.01f) / 0.25, 0.5 * static_cast<double>(0.02f) / 0.25};
  for (int h = 0; h < 2; ++h)
    for (int v = 0; v < 2; ++v)
      for (int o = 0; o < 2; ++o) {
        int sum = o ? -50 : 100;
        for (int i = 0; i < 3; ++i)
          for (int j = 0; j < 3; ++j)
            if (2 * h + i < 4 && 2 * v + j < 4)
              sum += (7 * (o * 9 + i * 3 + j) - 60) * (11 * ((2 * h + i) * 4 + 2 * v + j) - 90 + 3);
        double exact = std::clamp(sum * scale[o] - 128, -128.0, 127.0);
        EXPECT_NEAR(y.data<int8_t>()[(h * 2 + v) * 2 + o], exact, 0.51) << h << v << o;
      }
}

TEST(Tflite, AllUnknownOperatorsInOneError) {
  std::string file = model_of({{{1, 4}, 0}, {{1, 4}, 0}, {{1, 4}, 0}, {{1, 4}, 0}},
                              {{32, {0}, {1}}, {24, {1}, {2}}, {32, {2}, {3}}}, {0}, {3}, "MyOp");
  try {
    import_tflite(file, "x.tflite");
    FAIL() << "it was read";
  } catch (const NotImplementedError& e) {
    std::string what = e.what();
    EXPECT_NE(what.find("CUSTOM 'MyOp' (operator"), std::string::npos) << what;
    EXPECT_NE(what.find("RNN (operator 2)"), std::string::npos) << what;
  }
}

TEST(Tflite, ErrorsNameTheOperator) {
  // A convolution over something that is no image.
  std::string file = model_of({{{1, 4}, 0}, {{2, 3, 3, 1}, 0, std::string(72, '\0')}, {{1, 2, 2, 2}, 0}},
                              {{3, {0, 1}, {2}}}, {0}, {2});
  try {
    import_tflite(file, "x.tflite");
    FAIL() << "it was read";
  } catch (const FileError& e) {
    EXPECT_NE(std::string(e.what()).find("x.tflite: operator 1 (CONV_2D)"), std::string::npos) << e.what();
  }
  // What the file says of a result has to be so.
  file = convolution(false);
  ImportedModel m = import_tflite(file, "x.tflite");
  EXPECT_THROW(import_tflite(model_of({{{1, 4}, 0}, {{1, 5}, 0}}, {{19, {0}, {1}}}, {0}, {1}), "x"), FileError);
  EXPECT_THROW(import_tflite(model_of({{{1, 4}, 0}, {{1, 4}, 0}}, {{19, {7}, {1}}}, {0}, {1}), "x"), FileError);
  EXPECT_THROW(import_tflite(model_of({{{1, 4}, 0}, {{1, 4}, 0}}, {{19, {1}, {1}}}, {0}, {1}), "x"), FileError);
  EXPECT_THROW(import_tflite("TFL3", "x"), FileError);
  // Its product is small again beyond 64 bits.
  std::vector<int32_t> huge{4, 2147483647, 2147483647};
  EXPECT_THROW(import_tflite(model_of({{huge, 0}, {huge, 0}}, {{19, {0}, {1}}}, {0}, {1}), "x"), FileError);
}

TEST(Tflite, InputsThatDoNotFitAreNamed) {
  ImportedModule m(import_tflite(convolution(false), "x.tflite"));
  EXPECT_THROW(m.run({Tensor::zeros(Shape{1, 4, 5, 1}, DType::f32)}), ValueError);
  EXPECT_THROW(m.run({Tensor::zeros(Shape{1, 4, 4, 1}, DType::i8)}), TypeError);
  EXPECT_EQ(m.run({Tensor::zeros(Shape{3, 4, 4, 1}, DType::f32)})[0].size(0), 3);  // another batch
}

TEST(Tflite, DamagedFiles) {
  for (bool quantized : {false, true})
    test::mutate(
        convolution(quantized),
        [](const std::filesystem::path& p) {
          try {
            for (const Tensor& t : import_model(p).traced.captures) test::touch(t);
          } catch (const NotImplementedError&) {  // other operators than those that were meant
            throw FileError("not implemented");
          }
        },
        3000);
}

}  // namespace
}  // namespace sorus::importer
