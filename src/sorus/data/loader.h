// DataLoader: batches of a dataset, prepared ahead by threads.
//
//   data::DataLoader loader(train, {.batch_size = 32, .shuffle = true, .seed = 1, .num_workers = 2});
//   for (int epoch = 0; epoch < 3; ++epoch)
//     while (auto batch = loader.next()) step((*batch)[0], (*batch)[1]);       // stacked samples
//
// The batches do not depend on the number of workers. `state()` says where the reader is, not how far the workers
// are: loaded into another loader of the same dataset and options, that one goes on with the very next batch, also in
// the middle of an epoch. An exception of a sample is thrown by the `next` that would have returned its batch; the
// loader then goes on behind it. Workers only copy memory and call Dataset::get: they start no threads of their own.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "sorus/data/dataset.h"
#include "sorus/data/sampler.h"
#include "sorus/io/json.h"

namespace sorus::data {

/// Samples to a batch: the tensors in each place stacked along a new first dimension. They must agree in shape and
/// type.
TensorList stack_samples(const std::vector<TensorList>& samples);

struct LoaderOptions {
  int64_t batch_size = 1;
  bool shuffle = false;
  bool drop_last = false;
  uint64_t seed = 0;
  int num_workers = 0;                               ///< 0: `next` itself does the work.
  int prefetch = 2;                                  ///< Batches a worker may be ahead.
  std::shared_ptr<const Sampler> sampler = nullptr;  ///< Instead of `shuffle`.
  std::function<TensorList(const std::vector<TensorList>&)> collate = stack_samples;
};

struct LoaderState {
  int64_t epoch = 0;
  int64_t position = 0;  ///< Batches of this epoch that were handed out.
  uint64_t seed = 0;
  int64_t samples = 0, batch_size = 0;  ///< To notice a state of another loader.
  bool operator==(const LoaderState&) const = default;
};
/// For checkpoints: `Json state = loader.state()`, and back by `state.get<LoaderState>()`, a FileError if it is none.
void to_json(io::Json& json, const LoaderState& state);
void from_json(const io::Json& json, LoaderState& state);

class DataLoader {
 public:
  DataLoader(DatasetPtr dataset, LoaderOptions options);
  ~DataLoader();
  DataLoader(const DataLoader&) = delete;
  DataLoader& operator=(const DataLoader&) = delete;

  /// The next batch; nothing at the end of an epoch, after which the next epoch begins.
  std::optional<TensorList> next();
  /// Batches in an epoch.
  int64_t size() const;
  LoaderState state() const;
  /// ValueError for the state of a loader with other samples or another batch size.
  void load_state(const LoaderState& state);
  /// Begins an epoch, even in the middle of another.
  void set_epoch(int64_t epoch);
  const DatasetPtr& dataset() const { return dataset_; }
  const LoaderOptions& options() const { return options_; }

 private:
  class Workers;
  TensorList make_batch(int64_t epoch, int64_t position) const;
  void make_sampler();

  DatasetPtr dataset_;
  LoaderOptions options_;
  std::shared_ptr<const Sampler> sampler_;
  int64_t epoch_ = 0, position_ = 0;
  std::unique_ptr<Workers> workers_;
};

}  // namespace sorus::data
