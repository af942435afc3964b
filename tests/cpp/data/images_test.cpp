// idx, gzip, MNIST and CIFAR: what they hold, files that are wrong, mutations, and the real test set of MNIST.
#include "sorus/data/images.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>

#include "io/mutate.h"
#include "io/temporary_folder.h"
#include "sorus/base/files.h"
#include "sorus/data/loader.h"
#include "sorus/io/idx.h"

namespace sorus::data {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::put;
using test::TemporaryFolder;
using test::touch;

/// Big-endian sizes behind the two zeros, the type and the number of dimensions.
std::string idx(unsigned char type, std::vector<uint32_t> sizes, std::string data) {
  std::string text{0, 0, static_cast<char>(type), static_cast<char>(sizes.size())};
  for (uint32_t n : sizes)
    for (int shift : {24, 16, 8, 0}) text += static_cast<char>(n >> shift);
  return text + data;
}
std::string gzip(const fs::path& at, const std::string& content) {
  gzFile file = gzopen(at.c_str(), "wb");
  gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
  gzclose(file);
  return read_file(at);
}
std::string cifar_record(char label, char pixel) { return std::string(1, label) + std::string(3072, pixel); }

TEST(Idx, TypesAndCompression) {
  TemporaryFolder folder;
  std::string content = idx(0x0B, {2, 1}, std::string("\x01\x02\xFF\xFE", 4));
  std::string packed = gzip(folder / "gz", content);
  for (auto& file : {content, packed}) {
    put(folder / "x", file);
    Tensor t = io::load_idx(folder / "x");
    EXPECT_EQ(t.type(), (TensorType{DType::i16, Shape{2, 1}}));
    EXPECT_EQ(t.data<int16_t>()[0], 0x0102);
    EXPECT_EQ(t.data<int16_t>()[1], -2);
  }
  put(folder / "x", idx(0x0D, {}, std::string("\x3F\x80\0\0", 4)));
  EXPECT_EQ(io::load_idx(folder / "x").item().to_double(), 1);
  put(folder / "x", idx(0x08, {0, 3}, ""));
  EXPECT_EQ(io::load_idx(folder / "x").sizes(), (Shape{0, 3}));
  // Larger than one step of decompression, and in two parts.
  std::string large(700'000, 'x'), whole = idx(0x08, {700'000}, large);
  put(folder / "x", gzip(folder / "gz", whole.substr(0, 300'000)) + gzip(folder / "gz", whole.substr(300'000)));
  Tensor t = io::load_idx(folder / "x");
  EXPECT_EQ(t.numel(), 700'000);
  EXPECT_EQ(touch(t), int64_t{'x'} * 700'000);
}

TEST(Idx, HostileFiles) {
  TemporaryFolder folder;
  std::string packed = gzip(folder / "gz", idx(0x08, {100}, std::string(100, 'y')));
  std::string swollen = gzip(folder / "gz", idx(0x08, {1}, std::string(5'000'000, 'y')));
  std::pair<std::string, const char*> cases[] = {
      {"", "not an idx file"},
      {"\1\0\x08\1", "not an idx file"},
      {idx(0x07, {1}, "a"), "unknown type of elements 0x07"},
      {std::string("\0\0\x08\x03\0\0", 6), "cut short: expected a header of 16 bytes, found 6"},
      {std::string("\0\0\x08\xFF", 4), "255 dimensions"},
      {idx(0x08, {3}, "ab"), "needs 3 bytes of data, found less"},
      {idx(0x08, {3}, "abcd"), "needs 3 bytes of data, found more"},
      {idx(0x08, {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, "ab"), "overflow"},
      {idx(0x08, {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0}, ""), "overflow"},
      {idx(0x08, {0xFFFFFFFF, 0x7FFFFFFF}, "ab"), "found less"},
      {packed.substr(0, packed.size() - 12), "cut short"},
      {packed.substr(0, 5), "cut short"},
      {packed + "garbage", "not valid gzip"},
      {swollen, "needs 1 bytes of data, found more"},
  };
  for (auto& [content, expected] : cases) {
    put(folder / "x", content);
    std::string message = error_of<FileError>([&] { io::load_idx(folder / "x"); });
    EXPECT_TRUE(message.starts_with((folder / "x").string())) << message << "\nexpected: " << expected;
    EXPECT_NE(message.find(expected), std::string::npos) << message << "\nexpected: " << expected;
  }
  std::string damaged = packed;
  damaged[damaged.size() - 6] ^= 1;  // the checksum
  put(folder / "x", damaged);
  EXPECT_THROW(io::load_idx(folder / "x"), FileError);
}

TEST(Mnist, FilesOfAFolder) {
  TemporaryFolder folder;
  put(folder / "train-images-idx3-ubyte", idx(0x08, {2, 1, 2}, std::string("\0\xFF\x33\0", 4)));
  put(folder / "train-labels.idx1-ubyte.gz", gzip(folder / "gz", idx(0x08, {2}, std::string("\7\3", 2))));
  auto train = mnist(folder.path(), true);
  EXPECT_EQ(train->size(), 2);
  TensorList sample = train->get(1);
  EXPECT_EQ(sample[0].sizes(), (Shape{1, 1, 2}));
  EXPECT_FLOAT_EQ(sample[0].data<float>()[0], 0.2F);
  EXPECT_EQ(sample[1].item().to_int(), 3);
  auto normal = mnist(folder.path(), true, {.mean = {0.5}, .deviation = {0.25}});
  EXPECT_FLOAT_EQ(normal->get(0)[0].data<float>()[1], 2);
  EXPECT_THROW(mnist(folder.path(), true, {.mean = {1, 2}}), ValueError);
  EXPECT_NE(error_of<FileError>([&] { mnist(folder.path(), false); }).find("t10k-images-idx3-ubyte or t10k"),
            std::string::npos);
  put(folder / "train-labels-idx1-ubyte", idx(0x08, {3}, "\1\1\1"));
  EXPECT_NE(error_of<FileError>([&] { mnist(folder.path(), true); }).find("3 labels, but"), std::string::npos);
  put(folder / "train-labels-idx1-ubyte", idx(0x08, {2}, "\1\x0A"));
  EXPECT_NE(error_of<FileError>([&] { mnist(folder.path(), true); }).find("label 1 is 10"), std::string::npos);
}

TEST(Cifar, TenAndHundred) {
  TemporaryFolder folder;
  put(folder / "test_batch.bin", cifar_record(3, 'a') + cifar_record(9, 'b'));
  auto test = cifar10(folder.path(), false);
  EXPECT_EQ(test->size(), 2);
  EXPECT_EQ(test->get(1)[0].sizes(), (Shape{3, 32, 32}));
  EXPECT_EQ(test->get(1)[1].item().to_int(), 9);
  EXPECT_FLOAT_EQ(test->get(1)[0].data<float>()[3071], 'b' / 255.0F);
  EXPECT_NE(error_of<FileError>([&] { cifar10(folder.path(), true); }).find("data_batch_1.bin"), std::string::npos);
  for (int i = 1; i <= 5; ++i)
    put(folder / fmt::format("data_batch_{}.bin", i), cifar_record(static_cast<char>(i), 'x'));
  auto train = cifar10(folder.path(), true);
  EXPECT_EQ(train->size(), 5);
  EXPECT_EQ(train->get(4)[1].item().to_int(), 5);

  put(folder / "train.bin", "\2" + cifar_record(77, 'c'));
  EXPECT_EQ(cifar100(folder.path(), true)->get(0)[1].item().to_int(), 77);
  EXPECT_EQ(cifar100(folder.path(), true, {}, true)->get(0)[1].item().to_int(), 2);

  put(folder / "test_batch.bin", cifar_record(3, 'a') + "x");
  EXPECT_NE(error_of<FileError>([&] { cifar10(folder.path(), false); }).find("found 3074 bytes, 1 too many"),
            std::string::npos);
  put(folder / "test_batch.bin", cifar_record(10, 'a'));
  EXPECT_NE(error_of<FileError>([&] { cifar10(folder.path(), false); }).find("image 0 has label 10"),
            std::string::npos);
  put(folder / "test_batch.bin", "");
  EXPECT_THROW(cifar10(folder.path(), false), FileError);
}

TEST(Fuzz, Idx) {
  TemporaryFolder folder;
  std::string plain = idx(0x08, {2, 3}, "abcdef");
  test::mutate(
      plain, [](auto path) { touch(io::load_idx(path)); }, 4000);
  test::mutate(
      gzip(folder / "gz", plain), [](auto path) { touch(io::load_idx(path)); }, 4000);
}

TEST(Fuzz, Cifar) {
  // Changed pixels are pixels: only lengths and labels can be wrong.
  auto load = [](auto path) {
    auto read = read_cifar({path}, 1, 0, 10);
    for (int64_t i = 0; i < read.labels.numel(); ++i)
      if (read.labels.template data<int64_t>()[i] >= 10) std::abort();
    touch(read.images);
  };
  test::mutate(cifar_record(3, 'a') + cifar_record(9, 'b'), load, 1000);
}

TEST(Mnist, RealTestSet) {
  const char* data = std::getenv("SORUS_DATA");
  if (!data) GTEST_SKIP() << "SORUS_DATA is not set: it names a folder with images/t10k-images-idx3-ubyte.gz";
  auto test = mnist(fs::path(data) / "images", false);
  ASSERT_EQ(test->size(), 10'000);
  std::vector<int> counts(10);
  for (int64_t i = 0; i < test->size(); ++i) ++counts[static_cast<size_t>(test->labels().data<int64_t>()[i])];
  EXPECT_EQ(counts, (std::vector<int>{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}));
  // The mean of all pixels, which is widely published as 0.1325 for this part.
  EXPECT_NEAR(static_cast<double>(touch(test->images())) / (255.0 * 784 * 10'000), 0.1325, 1e-4);
  DataLoader loader(test, {.batch_size = 100, .shuffle = true, .num_workers = 2});
  int64_t samples = 0;
  while (auto batch = loader.next()) samples += (*batch)[0].sizes()[0];
  EXPECT_EQ(samples, 10'000);
}

}  // namespace
}  // namespace sorus::data
