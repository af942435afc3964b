#include "sorus/parallel/comm/measure.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <vector>

#include "sorus/parallel/comm/groups.h"
#include "sorus/parallel/comm/threads.h"

namespace sorus::comm {
namespace {

double wall() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
double thread_cpu() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace

CollectiveSpeed measure_all_reduce(int ranks, int64_t bytes, int calls) {
  SORUS_CHECK(ranks >= 1 && bytes >= 4 && calls >= 1, ValueError,
              "measure_all_reduce: {} ranks, {} bytes, {} calls; all have to be positive", ranks, bytes, calls);
  int64_t n = bytes / 4;
  std::mutex mutex;
  CollectiveSpeed found{.seconds = 1e9};
  run_ranks(ranks, [&] {
    std::vector<float> in(static_cast<size_t>(n), 1.0f), out(static_cast<size_t>(n));
    Communicator& g = group();
    auto once = [&] { g.all_reduce(in.data(), out.data(), n, DType::f32, ReduceOp::sum); };
    once();
    double quickest = 1e9, cpu = thread_cpu();
    for (int i = 0; i < calls; ++i) {
      double from = wall();
      once();
      quickest = std::min(quickest, wall() - from);
    }
    cpu = (thread_cpu() - cpu) / calls;
    std::lock_guard lock(mutex);
    found.seconds = std::min(found.seconds, quickest);
    found.cpu_seconds += cpu / ranks;
  });
  return found;
}

}  // namespace sorus::comm
