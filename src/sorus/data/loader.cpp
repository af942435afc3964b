#include "sorus/data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "sorus/io/contiguous.h"

namespace sorus::data {

TensorList stack_samples(const std::vector<TensorList>& samples) {
  SORUS_CHECK(!samples.empty(), ValueError, "DataLoader: a batch without samples");
  const TensorList& first = samples[0];
  TensorList batch;
  for (const Tensor& t : first) {
    Shape sizes = t.sizes();
    sizes.insert(sizes.begin(), static_cast<int64_t>(samples.size()));
    batch.push_back(Tensor::empty(sizes, t.dtype()));
  }
  for (size_t s = 0; s < samples.size(); ++s) {
    SORUS_CHECK(samples[s].size() == first.size(), ValueError,
                "DataLoader: samples of {} and of {} tensors cannot be one batch", first.size(), samples[s].size());
    for (size_t i = 0; i < first.size(); ++i) {
      const Tensor& t = samples[s][i];
      SORUS_CHECK(
          t.sizes() == first[i].sizes() && t.dtype() == first[i].dtype(), ValueError,
          "DataLoader: tensor {} is {} in one sample and {} in another, which cannot be stacked; pass `collate`", i,
          first[i].type().to_string(), t.type().to_string());
      if (t.numel()) io::copy_elements(t, static_cast<std::byte*>(batch[i].data()) + s * t.nbytes());
    }
  }
  return batch;
}

/// Threads that make the batches first, first+1, ... of one epoch, in order of their numbers but not one by one.
class DataLoader::Workers {
 public:
  Workers(const DataLoader& loader, int64_t epoch, int64_t first)
      : loader_(loader), epoch_(epoch), next_(first), end_(loader.size()), consumed_(first) {
    int64_t ahead = int64_t{loader.options_.num_workers} * loader.options_.prefetch;
    slots_.resize(static_cast<size_t>(std::max<int64_t>(ahead, loader.options_.num_workers)));
    try {
      for (int i = 0; i < loader.options_.num_workers; ++i) threads_.emplace_back([this] { work(); });
    } catch (...) {
      stop();
      throw;
    }
  }
  ~Workers() { stop(); }

  int64_t epoch() const { return epoch_; }
  int64_t consumed() const { return consumed_; }

  TensorList take() {
    Slot slot;
    {
      std::unique_lock lock(mutex_);
      Slot& mine = slot_of(consumed_);
      ready_.wait(lock, [&] { return mine.done; });
      slot = std::exchange(mine, {});
      ++consumed_;
    }
    room_.notify_all();
    if (slot.error) std::rethrow_exception(slot.error);
    return std::move(slot.batch);
  }

 private:
  struct Slot {
    bool done = false;
    TensorList batch;
    std::exception_ptr error;
  };
  Slot& slot_of(int64_t position) { return slots_[static_cast<size_t>(position) % slots_.size()]; }

  void work() {
    for (;;) {
      int64_t position;
      {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [&] {
          return stopping_ || next_ >= end_ || next_ < consumed_ + static_cast<int64_t>(slots_.size());
        });
        if (stopping_ || next_ >= end_) return;
        position = next_++;
      }
      Slot slot{true, {}, nullptr};
      try {
        slot.batch = loader_.make_batch(epoch_, position);
      } catch (...) {
        slot.error = std::current_exception();
      }
      {
        std::lock_guard lock(mutex_);
        slot_of(position) = std::move(slot);
      }
      ready_.notify_one();
    }
  }
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    room_.notify_all();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }

  const DataLoader& loader_;
  const int64_t epoch_;
  std::mutex mutex_;
  std::condition_variable ready_, room_;
  std::vector<Slot> slots_;  // a ring: batch p is in slot p % size
  int64_t next_, end_, consumed_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

void to_json(io::Json& json, const LoaderState& s) {
  json = {{"epoch", s.epoch},
          {"position", s.position},
          {"seed", static_cast<int64_t>(s.seed)},
          {"samples", s.samples},
          {"batch_size", s.batch_size}};
}

void from_json(const io::Json& json, LoaderState& s) {
  auto number = [&](const char* key) {
    return io::member(
               json, key, "a number", [](const io::Json& v) { return v.is_number_integer(); },
               "state of a DataLoader")
        .get<int64_t>();
  };
  s = {number("epoch"), number("position"), static_cast<uint64_t>(number("seed")), number("samples"),
       number("batch_size")};
}

DataLoader::DataLoader(DatasetPtr dataset, LoaderOptions options)
    : dataset_(std::move(dataset)), options_(std::move(options)) {
  SORUS_CHECK(dataset_, ValueError, "DataLoader: no dataset");
  SORUS_CHECK(options_.batch_size > 0, ValueError, "DataLoader: batch_size is {}, expected at least 1",
              options_.batch_size);
  SORUS_CHECK(options_.num_workers >= 0 && options_.prefetch > 0, ValueError,
              "DataLoader: num_workers is {} and prefetch {}, expected at least 0 and 1", options_.num_workers,
              options_.prefetch);
  SORUS_CHECK(!(options_.sampler && options_.shuffle), ValueError,
              "DataLoader: either shuffle or a sampler, not both");
  make_sampler();
}

DataLoader::~DataLoader() = default;

void DataLoader::make_sampler() {
  if (options_.sampler) {
    sampler_ = options_.sampler;
  } else if (options_.shuffle) {
    sampler_ = std::make_shared<RandomSampler>(dataset_->size(), options_.seed);
  } else {
    sampler_ = std::make_shared<SequentialSampler>(dataset_->size());
  }
}

int64_t DataLoader::size() const {
  int64_t n = sampler_->size(), batch = options_.batch_size;
  return n / batch + (!options_.drop_last && n % batch != 0);
}

TensorList DataLoader::make_batch(int64_t epoch, int64_t position) const {
  int64_t begin = position * options_.batch_size, end = std::min(begin + options_.batch_size, sampler_->size());
  std::vector<TensorList> samples;
  samples.reserve(static_cast<size_t>(end - begin));
  for (int64_t i = begin; i < end; ++i) samples.push_back(dataset_->get(sampler_->index(epoch, i)));
  return options_.collate(samples);
}

std::optional<TensorList> DataLoader::next() {
  if (position_ >= size()) {
    workers_.reset();
    ++epoch_;
    position_ = 0;
    return std::nullopt;
  }
  int64_t position = position_++;
  if (options_.num_workers == 0) return make_batch(epoch_, position);
  if (!workers_) workers_ = std::make_unique<Workers>(*this, epoch_, position);
  return workers_->take();
}

LoaderState DataLoader::state() const {
  return {epoch_, position_, options_.seed, sampler_->size(), options_.batch_size};
}

void DataLoader::load_state(const LoaderState& state) {
  SORUS_CHECK(state.samples == sampler_->size() && state.batch_size == options_.batch_size, ValueError,
              "DataLoader: the state is of a loader of {} samples in batches of {}, this one has {} in batches of {}",
              state.samples, state.batch_size, sampler_->size(), options_.batch_size);
  SORUS_CHECK(state.epoch >= 0 && state.position >= 0 && state.position <= size(), ValueError,
              "DataLoader: a state of epoch {} and batch {} of {}", state.epoch, state.position, size());
  workers_.reset();
  options_.seed = state.seed;
  make_sampler();
  epoch_ = state.epoch;
  position_ = state.position;
}

void DataLoader::set_epoch(int64_t epoch) {
  SORUS_CHECK(epoch >= 0, ValueError, "DataLoader: epoch {}", epoch);
  workers_.reset();
  epoch_ = epoch;
  position_ = 0;
}

}  // namespace sorus::data
