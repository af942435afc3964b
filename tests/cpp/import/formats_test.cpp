// .onnx and .ms files made here, and damaged ones.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>

#include "import/small_models.h"
#include "io/mutate.h"
#include "sorus/base/files.h"
#include "sorus/import/load.h"
#include "sorus/import/mslite.h"

namespace sorus::importer {
namespace {

using namespace test;
namespace fs = std::filesystem;

TEST(Onnx, SmallModel) {
  ImportedModule m(import_onnx(small_onnx(), "x.onnx"));
  EXPECT_EQ(m.num_parameters(), 9);
  Tensor x = Tensor::of(std::vector<float>{1, 2, 3, -1}, Shape{2, 2});
  Tensor y = m.run({x})[0];
  ASSERT_EQ(y.type().to_string(), "f32[2, 3]");
  const float expected[] = {0, 12, 16, 0, 1, 4};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(y.data<float>()[i], expected[i]) << i;
}

TEST(Onnx, Mistakes) {
  std::string unknown =
      onnx_file(bytes(1, node("Foo", {"x"}, "p")) + bytes(1, node("Relu", {"p"}, "q")) +
                bytes(1, node("Bar", {"q"}, "y")) + bytes(11, port("x", {1, 2})) + bytes(12, port("y", {1, 2})));
  try {
    import_onnx(unknown, "x.onnx");
    FAIL() << "it was read";
  } catch (const NotImplementedError& e) {
    EXPECT_NE(std::string(e.what()).find("Foo (operator 1)"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("Bar (operator 3)"), std::string::npos) << e.what();
  }
  EXPECT_THROW(import_onnx(onnx_file("", 3), "x"), FileError);
  EXPECT_THROW(import_onnx(onnx_file(bytes(1, node("Relu", {"nothing"}, "y")) + bytes(12, port("y", {1}))), "x"),
               FileError);
}

template <class Load>
auto or_file_error(Load load) {
  return [load](const fs::path& p) {
    try {
      for (const Tensor& t : load(p).traced.captures) test::touch(t);
    } catch (const NotImplementedError&) {  // other operators than those that were meant
      throw FileError("not implemented");
    }
  };
}

TEST(Onnx, DamagedFiles) {
  test::mutate(small_onnx(), or_file_error([](const fs::path& p) { return import_onnx(read_file(p), p.string()); }),
               3000);
}

// ---- MindSpore Lite
// ----------------------------------------------------------------------------------------------------

TEST(MsLite, BothLayoutsGiveTheSame) {
  Tensor x = Tensor::empty({1, 4, 4, 1}, DType::f32);
  for (int i = 0; i < 16; ++i) x.data<float>()[i] = static_cast<float>(i % 5) - 2;
  ImportedModule last(import_mslite(small_ms(true), "x.ms")), first(import_mslite(small_ms(false), "x.ms"));
  Tensor a = last.run({x})[0],
         b = first.run({Tensor::from_storage(x.storage(), {{1, 1, 4, 4}, {16, 16, 4, 1}, 0}, DType::f32)})[0];
  ASSERT_EQ(a.type().to_string(), "f32[1, 4, 4, 2]");
  ASSERT_EQ(b.type().to_string(), "f32[1, 2, 4, 4]");
  bool some = false;
  for (int c = 0; c < 2; ++c)
    for (int p = 0; p < 16; ++p) {
      const auto& s = a.strides();
      float value = a.data<float>()[p / 4 * s[1] + p % 4 * s[2] + c * s[3]];
      EXPECT_EQ(value, b.data<float>()[c * 16 + p]) << c << " " << p;
      some |= value > 0;
    }
  EXPECT_TRUE(some);
}

TEST(MsLite, DamagedFiles) {
  test::mutate(small_ms(true),
               or_file_error([](const fs::path& p) { return import_mslite(read_file(p), p.string()); }), 3000);
}

TEST(MsLite, FilesOfTheFramework) {
  const char* data = std::getenv("SORUS_DATA");
  if (!data || !fs::exists(fs::path(data) / "ms")) GTEST_SKIP() << "SORUS_DATA does not name the folder with ms/";
  ImportedModule lenet(import_model(fs::path(data) / "ms" / "lenet_tod_infer.ms"));
  EXPECT_EQ(lenet.num_parameters(), 6 * 25 + 16 * 6 * 25 + 400 * 120 + 120 + 120 * 84 + 84 + 84 * 10 + 10);
  EXPECT_EQ(lenet.run({Tensor::zeros(Shape{2, 32, 32, 1}, DType::f32)})[0].type().to_string(), "f32[2, 10]");
  try {  // a training graph: what has no meaning here is listed
    import_model(fs::path(data) / "ms" / "conv_train_model.ms");
    FAIL() << "it was read";
  } catch (const NotImplementedError& e) {
    EXPECT_NE(std::string(e.what()).find("number 10"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace sorus::importer
