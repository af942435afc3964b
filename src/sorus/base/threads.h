// Threads: one pool for everything. oneDNN and the loops that Sorus prints both use OpenMP, and mixing two thread
// runtimes costs a factor of ten to a hundred, so `parallel_for` is OpenMP as well.
//
//   parallel_for(n, 4096, [&](int64_t begin, int64_t end) { ... });
//
// Compute threads flush denormals to zero (a saturated softmax otherwise makes a training step ten times slower).
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace sorus {

/// Number of threads that compute for the calling thread: its ThreadLimit, else what was set; at first
/// OMP_NUM_THREADS or the number of cores this process may use.
int num_threads();
void set_num_threads(int n);

/// Another number for the calling thread while it lives: ranks that are threads of one process share the cores.
class ThreadLimit {
 public:
  explicit ThreadLimit(int n);
  ~ThreadLimit();
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  int saved_, saved_openmp_;
};

/// Turns denormals into zeros in the calling thread for the lifetime of the object.
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned saved_;
};

namespace detail {
void run_parallel(int64_t n, int64_t chunks, void (*body)(void*, int64_t, int64_t), void* context);
bool inside_parallel();
}  // namespace detail

/// Calls `f(begin, end)` on disjoint ranges that cover [0, n), in parallel when there are at least two grains.
/// Exceptions must not leave `f`.
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& f) {
  if (n <= 0) return;
  int64_t threads = num_threads();
  if (threads == 1 || n < 2 * grain || detail::inside_parallel()) {
    f(int64_t{0}, n);
    return;
  }
  int64_t chunks = std::min(threads, n / grain);
  detail::run_parallel(
      n, chunks,
      [](void* context, int64_t b, int64_t e) { (*static_cast<std::remove_reference_t<F>*>(context))(b, e); }, &f);
}

}  // namespace sorus
