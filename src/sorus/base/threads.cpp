#include "sorus/base/threads.h"

#include <omp.h>

#include <algorithm>

#include "sorus/base/error.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sorus {
namespace {
// omp_get_max_threads() is a call into the runtime; eager operators ask far too often for that.
int thread_count = omp_get_max_threads();
thread_local int thread_limit = 0;
#if defined(__x86_64__)
constexpr unsigned kFlushToZeroAndDenormalsAreZero = 0x8040;
#endif
}  // namespace

int num_threads() { return thread_limit ? thread_limit : thread_count; }

// The runtime keeps its number by thread, so that products see the limit as well.
ThreadLimit::ThreadLimit(int n) : saved_(thread_limit), saved_openmp_(omp_get_max_threads()) {
  SORUS_CHECK(n >= 1, ValueError, "ThreadLimit: expected at least 1, got {}", n);
  thread_limit = n;
  omp_set_num_threads(n);
}
ThreadLimit::~ThreadLimit() {
  thread_limit = saved_;
  omp_set_num_threads(saved_openmp_);
}

void set_num_threads(int n) {
  SORUS_CHECK(n >= 1, ValueError, "set_num_threads: expected at least 1, got {}", n);
  thread_count = n;
  omp_set_num_threads(n);
}

FlushDenormals::FlushDenormals() : saved_(0) {
#if defined(__x86_64__)
  saved_ = _mm_getcsr();
  _mm_setcsr(saved_ | kFlushToZeroAndDenormalsAreZero);
#endif
}
FlushDenormals::~FlushDenormals() {
#if defined(__x86_64__)
  _mm_setcsr(saved_);
#endif
}

namespace detail {
bool inside_parallel() { return omp_in_parallel() != 0; }

void run_parallel(int64_t n, int64_t chunks, void (*body)(void*, int64_t, int64_t), void* context) {
#pragma omp parallel num_threads(static_cast <int>(chunks))
  {
    FlushDenormals flush;
    int64_t i = omp_get_thread_num(), count = omp_get_num_threads();
    int64_t begin = n * i / count, end = n * (i + 1) / count;
    if (begin < end) body(context, begin, end);
  }
}
}  // namespace detail
}  // namespace sorus
