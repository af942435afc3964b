#include "sorus/kernels/measure.h"

#include <time.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>

#include "sorus/base/threads.h"
#include "sorus/kernels/gemm.h"
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace sorus::kernels {
namespace {

// Of the processor where one thread does everything: what others take of the machine does not count then.
double seconds() {
  if (num_threads() == 1) {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Buffer {
  explicit Buffer(size_t bytes) : data(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)) {}
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void* data;
};

#if defined(__x86_64__)
__attribute__((target("avx"))) void triad_avx(float* to, const float* x, const float* y, int64_t n) {
  __m256 half = _mm256_set1_ps(0.5f);
  for (int64_t i = 0; i < n; i += 8)
    _mm256_stream_ps(to + i, _mm256_add_ps(_mm256_load_ps(x + i), _mm256_mul_ps(half, _mm256_load_ps(y + i))));
  _mm_sfence();
}
#endif

void triad(float* to, const float* x, const float* y, int64_t n) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx")) return triad_avx(to, x, y, n);
#endif
  for (int64_t i = 0; i < n; ++i) to[i] = x[i] + 0.5f * y[i];
}

}  // namespace

double measure_gemm_gflops(DType type) {
  double best = 0;
  const int64_t shapes[][3] = {{1024, 1024, 1024}, {512, 2048, 512}, {1024, 768, 2048}};
  for (const auto& s : shapes) {
    GemmArgs g;
    g.type = g.out_type = type;
    g.m = s[0], g.n = s[1], g.k = s[2];
    size_t size = size_of(type);
    Buffer a(static_cast<size_t>(g.m * g.k) * size), b(static_cast<size_t>(g.k * g.n) * size),
        c(static_cast<size_t>(g.m * g.n) * size);
    for (auto [p, n] : {std::pair{a.data, g.m * g.k}, {b.data, g.k * g.n}}) {
      // Any finite bits will do: 0x3f is 0.74 in f32, 0.0004 in f64, 0.72 in bf16 and 1.8 in f16.
      for (int64_t i = 0; i < n * static_cast<int64_t>(size); ++i) static_cast<unsigned char*>(p)[i] = 0x3f;
    }
    g.a = a.data, g.a_row = g.k, g.b = b.data, g.b_row = g.n, g.c = c.data, g.c_row = g.n;
    double flops = 2.0 * static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
    double start = seconds();
    gemm(g);
    do {
      double t = seconds();
      gemm(g);
      best = std::max(best, flops / (seconds() - t) * 1e-9);
    } while (seconds() - start < 0.1);
  }
  return best;
}

double measure_memory_gbs() {
  constexpr int64_t kCount = int64_t{1} << 24;  // 64 MiB each: beyond any last-level cache we may meet alone
  Buffer x(kCount * 4), y(kCount * 4), z(kCount * 4);
  auto *px = static_cast<float*>(x.data), *py = static_cast<float*>(y.data), *pz = static_cast<float*>(z.data);
  parallel_for(kCount, 4096, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) px[i] = 1, py[i] = 2, pz[i] = 0;
  });
  double best = 0, start = seconds();
  do {
    double t = seconds();
    parallel_for(kCount / 4096, 1,
                 [&](int64_t b, int64_t e) { triad(pz + b * 4096, px + b * 4096, py + b * 4096, (e - b) * 4096); });
    best = std::max(best, 12.0 * kCount / (seconds() - t) * 1e-9);
  } while (seconds() - start < 0.3);
  return best;
}

std::vector<std::string> cpu_features() {
  std::vector<std::string> found;
#if defined(__x86_64__)
#define SORUS_FEATURE(gcc_name, name) \
  if (__builtin_cpu_supports(gcc_name)) found.push_back(name)
  SORUS_FEATURE("sse4.2", "sse4.2");
  SORUS_FEATURE("avx", "avx");
  SORUS_FEATURE("avx2", "avx2");
  SORUS_FEATURE("fma", "fma");
  SORUS_FEATURE("avx512f", "avx512f");
  SORUS_FEATURE("avx512bw", "avx512bw");
  SORUS_FEATURE("avx512vl", "avx512vl");
  SORUS_FEATURE("avx512vnni", "avx512_vnni");
  SORUS_FEATURE("avx512bf16", "avx512_bf16");
#undef SORUS_FEATURE
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    if (d & (1u << 23)) found.push_back("avx512_fp16");
    if (d & (1u << 24)) found.push_back("amx_tile");
    if (d & (1u << 22)) found.push_back("amx_bf16");
    if (d & (1u << 25)) found.push_back("amx_int8");
  }
#elif defined(__aarch64__)
  found.push_back("neon");
#endif
  return found;
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line))
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  return "unknown";
}

}  // namespace sorus::kernels
