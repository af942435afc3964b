// safetensors and npy: round trips, what NumPy and the safetensors library write, hostile headers, and mutations.
#include <gtest/gtest.h>

#include <cstring>

#include "io/mutate.h"
#include "io/temporary_folder.h"
#include "sorus/base/files.h"
#include "sorus/io/npy.h"
#include "sorus/io/safetensors.h"

namespace sorus::io {
namespace {

using test::error_of;
using test::mutate;
using test::put;
using test::TemporaryFolder;
using test::touch;

Tensor counting(IntSpan shape, DType dtype) {
  Tensor t = Tensor::empty(shape, dtype);
  auto* bytes = static_cast<unsigned char*>(t.data());
  for (size_t i = 0; i < t.nbytes(); ++i)
    bytes[i] = static_cast<unsigned char>(dtype == DType::boolean ? i & 1 : i * 7);
  return t;
}
void expect_same(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.type(), b.type());
  ASSERT_TRUE(b.is_contiguous());
  if (a.numel()) {
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.nbytes()), 0);
  }
}
std::string with_header(const std::string& header, size_t data_bytes) {
  uint64_t n = header.size();
  return std::string(reinterpret_cast<char*>(&n), 8) + header + std::string(data_bytes, '\1');
}

TEST(Safetensors, RoundTripOfAllTypes) {
  TemporaryFolder folder;
  TensorMap tensors;
  for (int i = 0; i < kNumDTypes; ++i) {
    auto dtype = static_cast<DType>(i);
    if (dtype == DType::c128) continue;
    std::string name(short_name(dtype));
    tensors[name] = counting(Shape{3, 5}, dtype);
    tensors[name + ".scalar"] = counting(Shape{}, dtype);
    tensors[name + ".empty"] = counting(Shape{0, 4}, dtype);
  }
  save_safetensors(folder / "x", tensors, {{"format", "pt"}, {"ä", "\"quoted\""}});
  auto file = SafetensorsFile::open(folder / "x");
  EXPECT_EQ(file.metadata(), (Metadata{{"format", "pt"}, {"ä", "\"quoted\""}}));
  TensorMap loaded = file.tensors();
  ASSERT_EQ(loaded.size(), tensors.size());
  for (auto& [name, t] : tensors) expect_same(t, loaded.at(name));
}

TEST(Safetensors, WritesViewsInOrder) {
  TemporaryFolder folder;
  Tensor t = Tensor::of<float>({0, 1, 2, 3, 4, 5}, Shape{2, 3});
  save_safetensors(folder / "x", {{"t", t.with_geometry({{3, 2}, {1, 3}, 0})}});
  expect_same(Tensor::of<float>({0, 3, 1, 4, 2, 5}, Shape{3, 2}), load_safetensors(folder / "x").at("t"));
}

TEST(Safetensors, LoadedTensorsOutliveTheFileAndMayBeWritten) {
  TemporaryFolder folder;
  save_safetensors(folder / "x", {{"t", Tensor::of<float>({1, 2}, Shape{2})}});
  Tensor t = load_safetensors(folder / "x").at("t");
  std::filesystem::remove(folder / "x");
  t.data<float>()[0] = 5;
  EXPECT_EQ(t.data<float>()[0] + t.data<float>()[1], 7);
}

TEST(Safetensors, RefusesWhatItCannotWrite) {
  TemporaryFolder folder;
  EXPECT_NE(error_of<ValueError>([&] {
              save_safetensors(folder / "x", {{"z", counting(Shape{1}, DType::c128)}});
            }).find("'z' is complex128"),
            std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder / "x"));
}

TEST(Safetensors, HostileHeaders) {
  TemporaryFolder folder;
  struct Case {
    std::string header;
    size_t data;
    const char* message;
  };
  std::string a = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  std::vector<Case> cases{
      {"{", 0, "malformed JSON"},
      {"[]", 0, "must begin with"},
      {R"({"a":3})", 0, "tensor 'a': expected an object, found the number 3"},
      {R"({"a":)" + a + R"(,"a":)" + a + "}", 8, "'a' appears twice"},
      {R"({"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", 8, "unknown dtype 'F31'"},
      {R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8, "'dtype' is missing"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "found the number -2"},
      {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8, "found the number 2.0"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", 8, "overflow"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615,0],"data_offsets":[0,0]}})", 0, "overflow"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9]}})", 9, "needs 8 bytes, data_offsets [0, 9] are 9"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "reach outside the 8 bytes"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})", 8, "reach outside the 8 bytes"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})", 8, "expected 2 numbers, found 3"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
       12, "overlap those of 'a'"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12, "expected to begin at byte 0"},
      {R"({"a":)" + a + "}", 9, "need 8 bytes of data, the file has 9"},
      {R"({"__metadata__":{"k":1},"a":)" + a + "}", 8, "expected a string, found the number 1"},
      {R"({"a":)" + std::string(1000, '['), 0, "nested deeper"},
  };
  for (auto& c : cases) {
    put(folder / "x", with_header(c.header, c.data));
    std::string message = error_of<FileError>([&] { load_safetensors(folder / "x"); });
    EXPECT_TRUE(message.starts_with((folder / "x").string())) << c.header << "\n" << message;
    EXPECT_NE(message.find(c.message), std::string::npos) << c.header << "\n" << message;
  }
  put(folder / "x", std::string(8, '\xFF'));
  EXPECT_NE(error_of<FileError>([&] { load_safetensors(folder / "x"); }).find("claims a header"), std::string::npos);
  put(folder / "x", with_header(std::string(100, ' '), 0).substr(0, 50));
  EXPECT_NE(error_of<FileError>([&] { load_safetensors(folder / "x"); }).find("cut short"), std::string::npos);
  put(folder / "x", with_header(R"({"a":{"dtype":"U16","shape":[2],"data_offsets":[0,4]}})", 4));
  EXPECT_NE(error_of<FileError>([&] { load_safetensors(folder / "x"); }).find("U16 are not supported"),
            std::string::npos);
}

TEST(Npy, RoundTripOfAllTypes) {
  TemporaryFolder folder;
  for (int i = 0; i < kNumDTypes; ++i) {
    auto dtype = static_cast<DType>(i);
    if (dtype == DType::bf16) continue;
    for (Shape shape : {Shape{}, Shape{7}, Shape{2, 0, 3}, Shape{2, 3, 4}}) {
      Tensor t = counting(shape, dtype);
      save_npy(folder / "x.npy", t);
      expect_same(t, load_npy(folder / "x.npy"));
    }
  }
  EXPECT_THROW(save_npy(folder / "x.npy", counting(Shape{1}, DType::bf16)), ValueError);
}

std::string npy(const std::string& dict, const std::string& data, int version = 1) {
  std::string text = std::string("\x93NUMPY", 6) + static_cast<char>(version) + '\0';
  uint32_t n = static_cast<uint32_t>(dict.size());
  text.append(reinterpret_cast<char*>(&n), version == 1 ? 2 : 4);
  return text + dict + data;
}

TEST(Npy, OrdersAndVersions) {
  TemporaryFolder folder;
  std::string big_endian("\0\1\0\2\0\3\0\4\0\5\0\6", 12);
  for (int version : {1, 2, 3}) {
    put(folder / "x", npy("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n", big_endian, version));
    Tensor t = load_npy(folder / "x");
    EXPECT_EQ(t.type(), (TensorType{DType::i16, Shape{2, 3}}));
    EXPECT_EQ(t.strides(), (Shape{1, 2}));
    for (int i = 0; i < 6; ++i) EXPECT_EQ(t.data<int16_t>()[i], i + 1);
  }
}

TEST(Npy, HostileHeaders) {
  TemporaryFolder folder;
  std::pair<std::string, const char*> cases[] = {
      {"", "not an npy file"},
      {std::string("\x93NUMPY", 6), "cut short"},
      {npy("{}", "", 9), "version 1, 2 or 3"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "1234"), "needs 12 bytes of data, found 4"},
      {npy("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", ""), "'|O' are not supported"},
      {npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", ""), "structured arrays"},
      {npy("{'descr': '<f4', 'fortran_order': 1, 'shape': (3,), }", ""), "expected True or False"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }", ""), "expected sizes"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9), }", ""), "overflow"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9, 0), }", ""), "overflow"},
      {npy("{'descr': '<f4', 'descr': '<f4', 'shape': (3,), }", ""), "once in the header"},
      {npy("{'descr': '<f4', }", ""), "lacks one of"},
      {npy("{'descr': '<f4", ""), "expected a string"},
  };
  for (auto& [content, expected] : cases) {
    put(folder / "x", content);
    std::string message = error_of<FileError>([&] { load_npy(folder / "x"); });
    EXPECT_TRUE(message.starts_with((folder / "x").string())) << message;
    EXPECT_NE(message.find(expected), std::string::npos) << message << "\nexpected: " << expected;
  }
}

TEST(Fuzz, Safetensors) {
  TemporaryFolder folder;
  save_safetensors(folder / "v", {{"a", counting(Shape{2}, DType::f32)}, {"b", counting(Shape{0, 3}, DType::u8)}},
                   {{"k", "v"}});
  std::string valid = read_file(folder / "v");
  mutate(
      valid,
      [](auto path) {
        for (auto& [name, t] : load_safetensors(path)) touch(t);
      },
      6000);
}

TEST(Fuzz, Npy) {
  mutate(
      npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", std::string(16, '\1')),
      [](auto path) { touch(load_npy(path)); }, 6000);
}

}  // namespace
}  // namespace sorus::io
