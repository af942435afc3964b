// Datasets: numbered samples, each a list of tensors.
//
//   auto train = std::make_shared<data::TensorDataset>(TensorList{images, labels});
//   TensorList sample = train->get(7);                       // {images[7], labels[7]}
//   auto parts = data::random_split(train, Shape{900, 100}, /*seed=*/1);
//
// A dataset is read by several threads at once: `get` is const and does not change anything. What it returns may
// share memory with the dataset; the loader copies it into the batch (loader.h).
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "sorus/tensor/tensor.h"

namespace sorus::data {

class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  /// Sample `index`, 0 <= index < size(); IndexError otherwise.
  virtual TensorList get(int64_t index) const = 0;

 protected:
  void check_index(int64_t index) const;
};

using DatasetPtr = std::shared_ptr<const Dataset>;

/// Tensors of the same first size; a sample is one row of each.
class TensorDataset final : public Dataset {
 public:
  explicit TensorDataset(TensorList tensors);
  int64_t size() const override { return tensors_[0].sizes()[0]; }
  TensorList get(int64_t index) const override;
  const TensorList& tensors() const { return tensors_; }

 private:
  TensorList tensors_;
};

/// Some samples of another dataset, in the order of `indices`.
class Subset final : public Dataset {
 public:
  Subset(DatasetPtr dataset, std::vector<int64_t> indices);
  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  TensorList get(int64_t index) const override;
  const std::vector<int64_t>& indices() const { return indices_; }
  const DatasetPtr& dataset() const { return dataset_; }

 private:
  DatasetPtr dataset_;
  std::vector<int64_t> indices_;
};

/// Subsets of the given sizes, which must add up to the size of the dataset, drawn by `seed`.
std::vector<std::shared_ptr<Subset>> random_split(const DatasetPtr& dataset, IntSpan sizes, uint64_t seed);

/// Samples for a language model: `context` tokens, and the same shifted by one as what is to be predicted, both i64.
/// Sample i begins at token i * stride; stride 0 means `context`, so that every token is predicted once.
class TextDataset final : public Dataset {
 public:
  /// `tokens`: one dimension of integers, such as a mapped file of tokens (corpus.h).
  TextDataset(Tensor tokens, int64_t context, int64_t stride = 0);
  int64_t size() const override { return size_; }
  TensorList get(int64_t index) const override;
  const Tensor& tokens() const { return tokens_; }
  int64_t context() const { return context_; }

 private:
  Tensor tokens_;
  int64_t context_, stride_, size_;
};

}  // namespace sorus::data
