// .onnx and .ms files made here, and damaged ones.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>

#include "import/flat_writer.h"
#include "io/mutate.h"
#include "sorus/base/files.h"
#include "sorus/import/load.h"
#include "sorus/import/mslite.h"

namespace sorus::importer {
namespace {

using test::Flat;
namespace fs = std::filesystem;

// ---- protocol buffers: fields as they are written
// ------------------------------------------------------------------------

std::string varint(uint64_t v) {
  std::string s;
  for (; v > 127; v >>= 7) s += static_cast<char>(v | 128);
  return s + static_cast<char>(v);
}
std::string number(int field, uint64_t v) { return varint(static_cast<uint64_t>(field) << 3) + varint(v); }
std::string bytes(int field, const std::string& s) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(s.size()) + s;
}

std::string floats(const std::string& name, const std::vector<int64_t>& dims, const std::vector<float>& v) {
  std::string s;
  for (int64_t d : dims) s += number(1, static_cast<uint64_t>(d));
  s += number(2, 1) + bytes(8, name);
  return s + bytes(9, {reinterpret_cast<const char*>(v.data()), v.size() * 4});
}
std::string port(const std::string& name, const std::vector<int64_t>& dims) {
  std::string shape;
  for (int64_t d : dims) shape += bytes(1, number(1, static_cast<uint64_t>(d)));
  return bytes(1, name) + bytes(2, bytes(1, number(1, 1) + bytes(2, shape)));
}
std::string node(const std::string& op, const std::vector<std::string>& in, const std::string& out) {
  std::string s;
  for (const auto& i : in) s += bytes(1, i);
  return s + bytes(2, out) + bytes(4, op);
}
std::string onnx_file(const std::string& graph, int64_t opset = 17) {
  return number(1, 8) + bytes(7, graph) + bytes(8, number(2, static_cast<uint64_t>(opset)));
}
// relu(x w + b)
std::string small_onnx() {
  return onnx_file(bytes(1, node("MatMul", {"x", "w"}, "p")) + bytes(1, node("Add", {"p", "b"}, "s")) +
                   bytes(1, node("Relu", {"s"}, "y")) + bytes(5, floats("w", {2, 3}, {1, 2, 3, 4, 5, 6})) +
                   bytes(5, floats("b", {3}, {-20, 0, 1})) + bytes(11, port("x", {1, 2})) +
                   bytes(12, port("y", {1, 3})));
}

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

// A 3x3 convolution with padding 1 and RELU over a 4x4 image; channels first or last.
std::string small_ms(bool last) {
  std::vector<float> w(18);
  for (size_t i = 0; i < 18; ++i) w[i] = static_cast<float>(i % 7) - 3;
  auto tensor = [](const std::string& name, const std::vector<int32_t>& dims, const std::string& data = "") {
    std::map<int, Flat> f{{1, Flat::number<int32_t>(43)}, {2, Flat::numbers(dims)}, {9, Flat::text(name)}};
    if (!data.empty()) f[6] = Flat::text(data);
    return Flat::table(f);
  };
  Flat conv = Flat::table({{0, Flat::number<int32_t>(last ? 1 : 0)},
                           {1, Flat::numbers<int64_t>({3, 3})},
                           {2, Flat::numbers<int64_t>({1, 1})},
                           {3, Flat::numbers<int64_t>({1, 1})},
                           {4, Flat::number<int8_t>(0)},
                           {5, Flat::numbers<int64_t>({1, 1, 1, 1})},
                           {7, Flat::number<int64_t>(1)},
                           {10, Flat::number<int8_t>(1)}});
  Flat op = Flat::table({{2, Flat::table({{0, Flat::number<uint8_t>(35)}, {1, conv}})},
                         {3, Flat::numbers<uint32_t>({0, 1})},
                         {4, Flat::numbers<uint32_t>({2})}});
  std::string data(reinterpret_cast<const char*>(w.data()), 72);
  std::vector<Flat> tensors =
      last ? std::vector<Flat>{tensor("x", {1, 4, 4, 1}), tensor("w", {2, 3, 3, 1}, data), tensor("y", {1, 4, 4, 2})}
           : std::vector<Flat>{tensor("x", {1, 1, 4, 4}), tensor("w", {2, 1, 3, 3}, data), tensor("y", {1, 2, 4, 4})};
  return test::flat_file(Flat::table({{1, Flat::text("made in a test")},
                                      {3, Flat::numbers<uint32_t>({0})},
                                      {4, Flat::numbers<uint32_t>({2})},
                                      {6, Flat::tables({op})},
                                      {7, Flat::tables(tensors)}}),
                         "MSL2");
}

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
