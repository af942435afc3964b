#include "sorus/data/sampler.h"

#include <bit>

#include "sorus/base/error.h"
#include "sorus/base/text.h"

namespace sorus::data {
namespace {

/// Draws of different (seed, number) look independent; `mix_bits` alone keeps 0.
uint64_t draw(uint64_t seed, uint64_t number) {
  return mix_bits(mix_bits(seed + 0x9e3779b97f4a7c15) ^ (number * 0xbf58476d1ce4e5b9 + 0x94d049bb133111eb));
}

}  // namespace

Permutation::Permutation(int64_t size, uint64_t seed) : size_(size) {
  SORUS_CHECK(size >= 0, ValueError, "permutation of {} elements", size);
  int bits = size > 1 ? std::bit_width(static_cast<uint64_t>(size - 1)) : 1;
  half_bits_ = (bits + 1) / 2;
  for (int r = 0; r < kRounds; ++r) keys_[r] = draw(seed, static_cast<uint64_t>(r));
}

int64_t Permutation::operator[](int64_t position) const {
  SORUS_CHECK(position >= 0 && position < size_, IndexError, "permutation: position {} of {}", position, size_);
  uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  auto x = static_cast<uint64_t>(position);
  do {
    uint64_t left = x >> half_bits_, right = x & mask;
    for (uint64_t key : keys_) {
      uint64_t next = left ^ (mix_bits(right + key) & mask);
      left = right;
      right = next;
    }
    x = left << half_bits_ | right;
  } while (x >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(x);
}

SequentialSampler::SequentialSampler(int64_t size) : size_(size) {
  SORUS_CHECK(size >= 0, ValueError, "SequentialSampler: a dataset of {} samples", size);
}

RandomSampler::RandomSampler(int64_t size, uint64_t seed, bool replacement, int64_t samples)
    : size_(size), samples_(samples ? samples : size), seed_(seed), replacement_(replacement) {
  SORUS_CHECK(size >= 0 && samples_ >= 0, ValueError, "RandomSampler: {} samples of {}", samples_, size);
  SORUS_CHECK(size > 0 || samples_ == 0, ValueError, "RandomSampler: {} samples of an empty dataset", samples_);
}

int64_t RandomSampler::index(int64_t epoch, int64_t position) const {
  uint64_t key = draw(seed_, static_cast<uint64_t>(epoch));
  if (replacement_) {
    // The high half of a 128-bit product: a draw below size_ without division.
    return static_cast<int64_t>(
        (static_cast<unsigned __int128>(draw(key, static_cast<uint64_t>(position))) * static_cast<uint64_t>(size_)) >>
        64);
  }
  // More samples than the dataset has: one order after the other.
  int64_t pass = position / size_;
  return Permutation(size_, pass ? draw(key, ~static_cast<uint64_t>(pass)) : key)[position % size_];
}

}  // namespace sorus::data
