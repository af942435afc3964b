// Samplers: in which order a dataset is read. An order is a function of (epoch, position), not a list, so that any
// place of any epoch is known at once: a run resumes there, and workers agree on it without talking.
#pragma once

#include <cstdint>

namespace sorus::data {

/// A random order of 0 .. size-1 that needs no memory: a Feistel network on the smallest even number of bits that
/// holds all indices, repeated until the result is in range (on average less than four times).
class Permutation {
 public:
  Permutation(int64_t size, uint64_t seed);
  int64_t operator[](int64_t position) const;
  int64_t size() const { return size_; }

 private:
  static constexpr int kRounds = 6;
  int64_t size_;
  int half_bits_;
  uint64_t keys_[kRounds];
};

class Sampler {
 public:
  virtual ~Sampler() = default;
  /// Samples in an epoch.
  virtual int64_t size() const = 0;
  virtual int64_t index(int64_t epoch, int64_t position) const = 0;
};

class SequentialSampler final : public Sampler {
 public:
  explicit SequentialSampler(int64_t size);
  int64_t size() const override { return size_; }
  int64_t index(int64_t, int64_t position) const override { return position; }

 private:
  int64_t size_;
};

/// A new order in every epoch; with replacement, `samples` independent draws.
class RandomSampler final : public Sampler {
 public:
  RandomSampler(int64_t size, uint64_t seed, bool replacement = false, int64_t samples = 0);
  int64_t size() const override { return samples_; }
  int64_t index(int64_t epoch, int64_t position) const override;

 private:
  int64_t size_, samples_;
  uint64_t seed_;
  bool replacement_;
};

}  // namespace sorus::data
