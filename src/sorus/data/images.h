// Sets of small labelled images.
//
//   auto train = data::mnist("data/mnist", /*train=*/true);             // {f32[1, 28, 28], i64[]}
//   auto test = data::cifar10("data/cifar-10-batches-bin", false, {.mean = {0.49, 0.48, 0.45}, ...});
//
// The folders are those that the publishers' archives unpack to; MNIST's files may still be compressed by gzip.
#pragma once

#include <filesystem>
#include <vector>

#include "sorus/data/dataset.h"

namespace sorus::data {

/// One number a channel: pixels become (value / 255 - mean) / deviation. Empty: value / 255.
struct Normalization {
  std::vector<double> mean = {}, deviation = {};
};

/// Images kept as bytes; a sample is {f32[channels, height, width], i64[]}.
class ImageDataset final : public Dataset {
 public:
  /// images: u8[n, channels, height, width]; labels: integers [n].
  ImageDataset(const Tensor& images, const Tensor& labels, const Normalization& normalization = {});
  int64_t size() const override { return images_.sizes()[0]; }
  TensorList get(int64_t index) const override;
  const Tensor& images() const { return images_; }
  const Tensor& labels() const { return labels_; }  ///< i64

 private:
  Tensor images_, labels_;
  std::vector<float> scale_, shift_;  // a channel
};

using ImageDatasetPtr = std::shared_ptr<ImageDataset>;

ImageDatasetPtr mnist(const std::filesystem::path& folder, bool train, const Normalization& normalization = {});
/// The binary version: data_batch_1.bin ... data_batch_5.bin and test_batch.bin.
ImageDatasetPtr cifar10(const std::filesystem::path& folder, bool train, const Normalization& normalization = {});
/// train.bin and test.bin; labels are the 100 fine ones, or the 20 coarse ones.
ImageDatasetPtr cifar100(const std::filesystem::path& folder, bool train, const Normalization& normalization = {},
                         bool coarse = false);

/// Files of CIFAR records: `label_bytes` labels, of which `label` is taken, then 3 x 32 x 32 pixels.
struct LabelledImages {
  Tensor images, labels;
};
LabelledImages read_cifar(const std::vector<std::filesystem::path>& files, int label_bytes, int label, int classes);

}  // namespace sorus::data
