#include "sorus/data/images.h"

#include <cstring>

#include "sorus/base/files.h"
#include "sorus/base/text.h"
#include "sorus/io/contiguous.h"
#include "sorus/io/idx.h"
#include "sorus/tensor/copy.h"

namespace sorus::data {
namespace fs = std::filesystem;
namespace {

constexpr size_t kCifarPixels = 3 * 32 * 32;

/// The first of the names that exists in the folder.
fs::path find_file(const fs::path& folder, const std::vector<std::string>& names) {
  std::error_code ignored;
  for (auto& name : names)
    if (fs::exists(folder / name, ignored)) return folder / name;
  fail<FileError>("{}: expected a file {} in this folder, found none", folder.string(), fmt::join(names, " or "));
}

}  // namespace

ImageDataset::ImageDataset(const Tensor& images, const Tensor& labels, const Normalization& normalization) {
  SORUS_CHECK(images.defined() && images.dim() == 4 && images.dtype() == DType::u8, ValueError,
              "ImageDataset: expected images u8[n, channels, height, width]");
  SORUS_CHECK(labels.defined() && labels.dim() == 1 && is_integral(labels.dtype()), ValueError,
              "ImageDataset: expected integer labels [n]");
  SORUS_CHECK(images.sizes()[0] == labels.sizes()[0], ValueError, "ImageDataset: {} images but {} labels",
              images.sizes()[0], labels.sizes()[0]);
  images_ = io::contiguous(images);
  labels_ = Tensor::empty(labels.sizes(), DType::i64);
  copy_elements(labels_, labels);
  auto channels = static_cast<size_t>(images.sizes()[1]);
  auto& [mean, deviation] = normalization;
  SORUS_CHECK((mean.empty() || mean.size() == channels) && (deviation.empty() || deviation.size() == channels),
              ValueError, "ImageDataset: expected a mean and a deviation for each of {} channels, found {} and {}",
              channels, mean.size(), deviation.size());
  for (size_t c = 0; c < channels; ++c) {
    double d = deviation.empty() ? 1 : deviation[c], m = mean.empty() ? 0 : mean[c];
    SORUS_CHECK(d > 0, ValueError, "ImageDataset: a deviation of {}", d);
    scale_.push_back(static_cast<float>(1 / (255 * d)));
    shift_.push_back(static_cast<float>(-m / d));
  }
}

TensorList ImageDataset::get(int64_t index) const {
  check_index(index);
  const Shape& s = images_.sizes();
  int64_t area = s[2] * s[3];
  Tensor image = Tensor::empty({s[1], s[2], s[3]}, DType::f32), label = Tensor::empty(Shape{}, DType::i64);
  *label.data<int64_t>() = labels_.data<int64_t>()[index];
  if (image.numel() == 0) return {image, label};
  auto* from = images_.data<uint8_t>() + index * s[1] * area;
  auto* to = image.data<float>();
  for (size_t c = 0; c < scale_.size(); ++c)
    for (int64_t i = 0; i < area; ++i) *to++ = static_cast<float>(*from++) * scale_[c] + shift_[c];
  return {image, label};
}

ImageDatasetPtr mnist(const fs::path& folder, bool train, const Normalization& normalization) {
  const char* part = train ? "train" : "t10k";
  auto load = [&](const char* kind, int dims) {
    std::string dashed = fmt::format("{}-{}-idx{}-ubyte", part, kind, dims);
    std::string dotted = fmt::format("{}-{}.idx{}-ubyte", part, kind, dims);
    fs::path path = find_file(folder, {dashed, dashed + ".gz", dotted, dotted + ".gz"});
    Tensor t = io::load_idx(path);
    SORUS_CHECK(t.dim() == dims && t.dtype() == DType::u8, FileError, "{}: expected {} dimensions of u8, found {}",
                path.string(), dims, t.type().to_string());
    return std::pair(t, path.string());
  };
  auto [images, images_file] = load("images", 3);
  auto [labels, labels_file] = load("labels", 1);
  const Shape& s = images.sizes();
  SORUS_CHECK(s[0] == labels.sizes()[0], FileError, "{}: {} labels, but {} holds {} images", labels_file,
              labels.sizes()[0], images_file, s[0]);
  for (int64_t i = 0; i < s[0]; ++i)
    SORUS_CHECK(labels.data<uint8_t>()[i] < 10, FileError, "{}: label {} is {}, expected less than 10", labels_file,
                i, labels.data<uint8_t>()[i]);
  Shape sizes{s[0], 1, s[1], s[2]};
  return std::make_shared<ImageDataset>(images.with_geometry({sizes, contiguous_strides(sizes), 0}), labels,
                                        normalization);
}

LabelledImages read_cifar(const std::vector<fs::path>& files, int label_bytes, int label, int classes) {
  SORUS_ASSERT(label >= 0 && label < label_bytes);
  size_t record = static_cast<size_t>(label_bytes) + kCifarPixels, total = 0;
  std::vector<Ref<MappedFile>> mapped;
  for (auto& path : files) {
    mapped.push_back(MappedFile::open(path));
    size_t size = mapped.back()->bytes().size();
    SORUS_CHECK(
        size > 0 && size % record == 0, FileError,
        "{}: expected records of {} bytes ({} for labels, 3 x 32 x 32 for pixels), found {} bytes, {} too many",
        path.string(), record, label_bytes, size, size % record);
    total += size / record;
  }
  auto n = static_cast<int64_t>(total);
  LabelledImages result{Tensor::empty({n, 3, 32, 32}, DType::u8), Tensor::empty({n}, DType::i64)};
  auto* pixels = result.images.data<uint8_t>();
  auto* labels = result.labels.data<int64_t>();
  for (auto& file : mapped) {
    auto bytes = file->bytes();
    for (size_t at = 0; at < bytes.size(); at += record) {
      int value = std::to_integer<int>(bytes[at + static_cast<size_t>(label)]);
      SORUS_CHECK(value < classes, FileError, "{}: image {} has label {}, expected less than {}",
                  file->path().string(), at / record, value, classes);
      *labels++ = value;
      std::memcpy(pixels, bytes.data() + at + label_bytes, kCifarPixels);
      pixels += kCifarPixels;
    }
  }
  return result;
}

ImageDatasetPtr cifar10(const fs::path& folder, bool train, const Normalization& normalization) {
  std::vector<fs::path> files;
  if (train) {
    for (int i = 1; i <= 5; ++i) files.push_back(find_file(folder, {fmt::format("data_batch_{}.bin", i)}));
  } else {
    files.push_back(find_file(folder, {"test_batch.bin"}));
  }
  auto [images, labels] = read_cifar(files, 1, 0, 10);
  return std::make_shared<ImageDataset>(images, labels, normalization);
}

ImageDatasetPtr cifar100(const fs::path& folder, bool train, const Normalization& normalization, bool coarse) {
  fs::path file = find_file(folder, {train ? "train.bin" : "test.bin"});
  auto [images, labels] = read_cifar({file}, 2, coarse ? 0 : 1, coarse ? 20 : 100);
  return std::make_shared<ImageDataset>(images, labels, normalization);
}

}  // namespace sorus::data
