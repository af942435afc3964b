#include "sorus/data/dataset.h"

#include <numeric>

#include "sorus/data/sampler.h"
#include "sorus/tensor/copy.h"

namespace sorus::data {

void Dataset::check_index(int64_t index) const {
  SORUS_CHECK(index >= 0 && index < size(), IndexError, "dataset: sample {} of {}", index, size());
}

TensorDataset::TensorDataset(TensorList tensors) : tensors_(std::move(tensors)) {
  SORUS_CHECK(!tensors_.empty(), ValueError, "TensorDataset: expected at least one tensor");
  for (size_t i = 0; i < tensors_.size(); ++i) {
    Tensor& t = tensors_[i];
    SORUS_CHECK(t.defined() && t.dim() > 0, ValueError, "TensorDataset: tensor {} has no first dimension", i);
    SORUS_CHECK(t.sizes()[0] == tensors_[0].sizes()[0], ValueError,
                "TensorDataset: expected tensors of the same first size, found {} and {}",
                to_string(tensors_[0].sizes()), to_string(t.sizes()));
    t = t.detach();
  }
}

TensorList TensorDataset::get(int64_t index) const {
  check_index(index);
  TensorList sample;
  for (const Tensor& t : tensors_) {
    Geometry g = t.geometry();
    g.offset += index * g.strides[0];
    g.sizes.erase(g.sizes.begin());
    g.strides.erase(g.strides.begin());
    sample.push_back(t.with_geometry(g));
  }
  return sample;
}

Subset::Subset(DatasetPtr dataset, std::vector<int64_t> indices)
    : dataset_(std::move(dataset)), indices_(std::move(indices)) {
  for (int64_t i : indices_)
    SORUS_CHECK(i >= 0 && i < dataset_->size(), IndexError, "Subset: sample {} of a dataset of {}", i,
                dataset_->size());
}

TensorList Subset::get(int64_t index) const {
  check_index(index);
  return dataset_->get(indices_[static_cast<size_t>(index)]);
}

std::vector<std::shared_ptr<Subset>> random_split(const DatasetPtr& dataset, IntSpan sizes, uint64_t seed) {
  int64_t total = 0;
  for (int64_t n : sizes) {
    SORUS_CHECK(n >= 0, ValueError, "random_split: a size of {}", n);
    total += n;
  }
  SORUS_CHECK(total == dataset->size(), ValueError, "random_split: the sizes {} add up to {}, the dataset has {}",
              to_string(sizes), total, dataset->size());
  Permutation order(total, seed);
  std::vector<std::shared_ptr<Subset>> parts;
  int64_t at = 0;
  for (int64_t n : sizes) {
    std::vector<int64_t> indices(static_cast<size_t>(n));
    for (int64_t& i : indices) i = order[at++];
    parts.push_back(std::make_shared<Subset>(dataset, std::move(indices)));
  }
  return parts;
}

TextDataset::TextDataset(Tensor tokens, int64_t context, int64_t stride)
    : tokens_(std::move(tokens)), context_(context), stride_(stride ? stride : context) {
  SORUS_CHECK(context > 0 && stride_ > 0, ValueError, "TextDataset: context {} and stride {} must be positive",
              context, stride_);
  SORUS_CHECK(tokens_.defined() && tokens_.dim() == 1, ValueError, "TextDataset: expected one dimension of tokens");
  SORUS_CHECK(is_integral(tokens_.dtype()), TypeError, "TextDataset: expected tokens of an integer type, found {}",
              name(tokens_.dtype()));
  int64_t n = tokens_.numel();
  SORUS_CHECK(n > context, ValueError, "TextDataset: {} tokens are too few for a context of {}, which needs {}", n,
              context, context + 1);
  size_ = (n - context - 1) / stride_ + 1;
}

TensorList TextDataset::get(int64_t index) const {
  check_index(index);
  Tensor both = Tensor::empty({context_ + 1}, DType::i64);
  int64_t step = tokens_.strides()[0];
  auto* from = static_cast<const std::byte*>(tokens_.data()) +
               index * stride_ * step * static_cast<int64_t>(size_of(tokens_.dtype()));
  convert_strided(DType::i64, both.data(), 1, tokens_.dtype(), from, step, context_ + 1);
  return {both.with_geometry({{context_}, {1}, 0}), both.with_geometry({{context_}, {1}, 1})};
}

}  // namespace sorus::data
