// The little of oneDNN that gemm and convolution share: one engine, streams, and a cache of primitives.
//
// Making a primitive costs from 50 us to milliseconds (it generates code), so each is made once for a full
// description of the problem, a `ProblemKey`, and found again with a hash in about 50 ns. Primitives are immutable
// and executed with memory objects and a scratchpad that belong to the calling thread, so the cache can be used from
// any thread.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <dnnl.hpp>
#include <memory>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <unordered_map>

#include "sorus/base/error.h"
#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

inline dnnl::engine& dnnl_engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

inline dnnl::stream& dnnl_stream() {
  thread_local dnnl::stream stream(dnnl_engine());
  return stream;
}

inline dnnl::memory::data_type dnnl_type(DType t) {
  return t == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

/// A growing buffer; one for each thread and purpose.
class Scratch {
 public:
  Scratch() = default;
  ~Scratch() { std::free(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* get(size_t bytes) {
    if (bytes > size_) {
      std::free(data_);
      size_ = (bytes + 4095) / 4096 * 4096;
      data_ = std::aligned_alloc(4096, size_);
      if (!data_) {
        size_ = 0;
        throw std::bad_alloc();
      }
    }
    return data_;
  }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

/// All that decides which primitive is needed, as a list of numbers.
class ProblemKey {
 public:
  void add(int64_t value) {
    SORUS_ASSERT(size_ < values_.size());
    values_[size_++] = value;
  }
  bool operator==(const ProblemKey& o) const {
    return size_ == o.size_ &&
           std::equal(values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(size_), o.values_.begin());
  }
  size_t hash() const {
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < size_; ++i)
      h = (h ^ static_cast<uint64_t>(values_[i])) * 0xff51afd7ed558ccdu, h ^= h >> 32;
    return h;
  }

 private:
  std::array<int64_t, 64> values_;
  size_t size_ = 0;
};

template <class Plan>
class PlanCache {
 public:
  /// The plan for `key`, made by `make()` if it is new. Plans are never dropped.
  template <class Make>
  const Plan& find(const ProblemKey& key, Make&& make) {
    {
      std::shared_lock lock(mutex_);
      auto it = plans_.find(key);
      if (it != plans_.end()) return *it->second;
    }
    auto plan = std::make_unique<Plan>(make());
    std::unique_lock lock(mutex_);
    return *plans_.emplace(key, std::move(plan)).first->second;
  }

 private:
  struct Hash {
    size_t operator()(const ProblemKey& k) const { return k.hash(); }
  };
  std::shared_mutex mutex_;
  std::unordered_map<ProblemKey, std::unique_ptr<Plan>, Hash> plans_;
};

}  // namespace sorus::kernels
