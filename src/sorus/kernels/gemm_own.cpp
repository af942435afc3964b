// The driver of the own packed products. B is packed whole by all threads (unless the caller keeps it packed), then
// blocks of rows of A are packed by the thread that uses them, just before use, so that they come from its own cache.
// Sums stay in registers along k up to kMaxSteps; longer sums pass through f32 memory.
#include <omp.h>

#include <atomic>

#include "sorus/base/threads.h"
#include "sorus/kernels/element.h"
#include "sorus/kernels/gemm_internal.h"
#include "sorus/kernels/gemm_isa.h"
#include "sorus/kernels/onednn.h"

namespace sorus::kernels {
namespace {

constexpr int64_t kMaxSteps = 2048, kBlockBytes = 256 * 1024;
constexpr int64_t kFewRows = 512, kPanelBytes = 16 * 1024;

Arithmetic arithmetic_of(DType t) {
  if (t == DType::f64) return Arithmetic::f64;
  return t == DType::bf16 && gemm_isa().bf16_dot ? Arithmetic::bf16_dot : Arithmetic::f32;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
const char* at(const void* base, DType t, int64_t offset) {
  return static_cast<const char*>(base) + offset * static_cast<int64_t>(size_of(t));
}

/// One product without batch dimensions.
struct Product {
  const GemmArgs& g;
  const GemmIsa& isa = gemm_isa();
  Arithmetic t = arithmetic_of(g.type);
  int64_t group = group_of(t), bytes = step_bytes(t), panel = isa.panel(t);
  int64_t steps = ceil_div(g.k, group), panels = ceil_div(g.n, panel), sum_bytes = t == Arithmetic::f64 ? 8 : 4;
  int64_t k_blocks = std::max<int64_t>(1, ceil_div(steps, kMaxSteps));
  int64_t k_block = k_blocks == 1 ? steps : ceil_div(ceil_div(steps, k_blocks), kChunk) * kChunk;
  bool k_major = g.a_col != 1 || t == Arithmetic::f64;
  bool simple = g.alpha == 1 && (g.beta == 0 || g.beta == 1) && !g.bias && g.epilogue == Epilogue::none &&
                !g.sink.store && g.out_type == (t == Arithmetic::f64 ? DType::f64 : DType::f32);

  /// `count` steps of `r` rows of A and panel `p` of B. Sums of more steps than these are kept in C if nothing else
  /// happens to them, and in `sums` otherwise.
  void tile(const BlockResult& out, const char* pa, const char* pb, int64_t count, bool first, bool last, int64_t row,
            int64_t r, int64_t p, char* sums, int64_t sums_row) const {
    const int64_t out_size = static_cast<int64_t>(size_of(g.out_type)), cols = std::min(panel, g.n - p * panel);
    const int64_t offset = (row * g.c_row + p * panel) * out_size;
    if (simple && cols == panel)
      return isa.tile(t, k_major, r, pa, pb, count, out.c + offset, g.c_row, !first || g.beta != 0);
    alignas(64) char own[kMaxRows * kMaxPanel * 8];
    char* to = sums ? sums : own;
    int64_t to_row = sums ? sums_row : panel;
    isa.tile(t, k_major, r, pa, pb, count, to, to_row, !first);
    if (!last) return;
    finish_block(g, t, out, to, to_row, row, r, p * panel, cols);
  }

  /// Steps [k0, k0 + count) of rows [row, row + rows), the tile of row i at i * room.
  void pack_rows(const char* a, int64_t row, int64_t rows, int64_t k0, int64_t count, char* to, int64_t room) const {
    int64_t numbers = std::min(count * group, g.k - k0 * group);
    // Columns of a transposed A lie pages apart: a few of them for all tiles, then the next.
    int64_t part = k_major ? 16 * group : std::max<int64_t>(1, numbers);
    for (int64_t p = 0; p < numbers; p += part)
      for (int64_t i = 0; i < rows; i += isa.rows) {
        int64_t r = std::min<int64_t>(isa.rows, rows - i);
        isa.pack_a(t, g.type, at(a, g.type, (row + i) * g.a_row + (k0 * group + p) * g.a_col), g.a_row, g.a_col, r,
                   std::min(part, numbers - p), to + i * room + p / group * r * bytes, k_major);
      }
  }

  /// Panels [first, last) of B, or steps [k0, k0 + count) of them, each panel `room` bytes after the other.
  void pack_panels(const char* b, int64_t first, int64_t last, int64_t k0, int64_t count, char* to,
                   int64_t room) const {
    // A row of a panel is one or two cache lines of a row of B: bands of rows over several panels keep pages open.
    int64_t begin = k0 * group, end = std::min(g.k, (k0 + count) * group);
    int64_t band = last - first > 1 && g.b_col == 1 ? 16 * group : std::max<int64_t>(1, end - begin);
    for (int64_t k = begin; k < end; k += band)
      for (int64_t p = first; p < last; ++p)
        isa.pack_b(t, g.type, at(b, g.type, k * g.b_row + p * panel * g.b_col), g.b_row, g.b_col,
                   std::min(panel, g.n - p * panel), std::min(band, end - k),
                   to + (p - first) * room + (k - begin) / group * panel * bytes);
  }

  /// Fetches share `part` of `parts` of what `pack_panels` will read, if it lies in rows.
  void fetch_panels(const char* b, int64_t first, int64_t last, int64_t k0, int64_t count, int64_t part,
                    int64_t parts) const {
    constexpr int64_t kLine = 64;
    if (g.b_col != 1 && g.b_row != 1) return;
    const int64_t size = static_cast<int64_t>(size_of(g.type)), begin = k0 * group,
                  numbers = std::min(count * group, g.k - begin);
    const int64_t col = first * panel, cols = std::min(last * panel, g.n) - col;
    const int64_t rows = g.b_col == 1 ? numbers : cols, bytes_row = (g.b_col == 1 ? cols : numbers) * size;
    const int64_t lines = ceil_div(bytes_row, kLine), stride = (g.b_col == 1 ? g.b_row : g.b_col) * size;
    const char* from = at(b, g.type, begin * g.b_row + col * g.b_col);
    for (int64_t i = rows * lines * part / parts; i < rows * lines * (part + 1) / parts; ++i)
      __builtin_prefetch(from + i / lines * stride + i % lines * kLine, 0, 2);
  }

  /// Rows [row, row + rows) with panels [p0, p1).
  void block(const char* a, const char* b, const BlockResult& out, char* sums, int64_t row, int64_t rows, int64_t p0,
             int64_t p1, char* packed_a) const {
    for (int64_t k0 = 0; k0 < std::max<int64_t>(1, steps); k0 += std::max<int64_t>(1, k_block)) {
      int64_t count = std::min(k_block, steps - k0);
      bool first = k0 == 0, last = k0 + count >= steps;
      // A row-major chunk is never short within a tile's rows, so room is counted in whole chunks.
      int64_t tile_room = ceil_div(std::max<int64_t>(count, 1), kChunk) * kChunk * bytes;
      pack_rows(a, row, rows, k0, count, packed_a, tile_room);
      for (int64_t p = p0; p < p1; ++p)
        for (int64_t i = 0; i < rows; i += isa.rows)
          tile(out, packed_a + i * tile_room, b + (p * steps + k0) * panel * bytes, count, first, last, row + i,
               std::min<int64_t>(isa.rows, rows - i), p,
               sums ? sums + ((row + i) * panels + p) * panel * sum_bytes : nullptr, panels * panel);
    }
  }

  /// Few rows, as with one sequence, and a B that is used once for each of them: A is packed whole, and each panel of
  /// B just before all rows meet it, so that B never lies packed in memory. Steps in blocks, for which a panel fits
  /// the first-level cache and A the second.
  void run_few_rows(const char* a, const char* b, const BlockResult& out, bool threaded) const {
    constexpr int64_t kPackedA = 4 << 20, kGroup = 4;
    thread_local Scratch a_scratch, sum_scratch;
    const int threads = threaded ? num_threads() : 1;
    auto even = [](int64_t whole, int64_t most) {
      return ceil_div(ceil_div(whole, ceil_div(whole, most)), kChunk) * kChunk;
    };
    const int64_t fit = std::max<int64_t>(kChunk, kPanelBytes / (panel * bytes) / kChunk * kChunk),
                  block = even(steps, fit);
    const int64_t room = block * bytes, panel_room = block * panel * bytes;  // of a row and of a panel
    const int64_t blocks = ceil_div(steps, block), together = std::clamp<int64_t>(kPackedA / (g.m * room), 1, blocks);
    const int64_t wide = std::clamp<int64_t>(panels / (4 * threads), 1, kGroup), groups = ceil_div(panels, wide);
    const int64_t parts = ceil_div(g.m, 8 * isa.rows), tiles = ceil_div(g.m, isa.rows);
    char* packed_a = static_cast<char*>(a_scratch.get(static_cast<size_t>(together * g.m * room) + 64));
    // Sums of a group stay with their thread if all steps are met in one go.
    bool kept = !(simple && g.n % panel == 0) && blocks > 1;
    char* all_sums = kept && together < blocks
                         ? static_cast<char*>(sum_scratch.get(static_cast<size_t>(g.m * panels * panel * sum_bytes)))
                         : nullptr;
    for (int64_t from = 0; from < blocks; from += together) {
      const int64_t to = std::min(blocks, from + together);
#pragma omp parallel num_threads(threads) if (threads > 1)
      {
        FlushDenormals flush;
        thread_local Scratch b_scratch, own_sums;
        char* packed_b = static_cast<char*>(b_scratch.get(static_cast<size_t>(wide * panel_room) + 64));
        char* sums = kept && !all_sums
                         ? static_cast<char*>(own_sums.get(static_cast<size_t>(g.m * wide * panel * sum_bytes)))
                         : nullptr;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < parts * (to - from); ++i) {
          int64_t q = from + i / parts, row = i % parts * 8 * isa.rows;
          pack_rows(a, row, std::min<int64_t>(8 * isa.rows, g.m - row), q * block, std::min(block, steps - q * block),
                    packed_a + ((q - from) * g.m + row) * room, room);
        }
#pragma omp for schedule(dynamic) nowait
        for (int64_t group = 0; group < groups; ++group) {
          const int64_t first = panels * group / groups, last = panels * (group + 1) / groups;
          for (int64_t q = from; q < to; ++q) {
            const int64_t count = std::min(block, steps - q * block);
            pack_panels(b, first, last, q * block, count, packed_b, panel_room);
            for (int64_t p = first; p < last; ++p)
              for (int64_t i = 0; i < g.m; i += isa.rows) {
                if (q + 1 < to)
                  fetch_panels(b, first, last, (q + 1) * block, std::min(block, steps - (q + 1) * block),
                               (p - first) * tiles + i / isa.rows, (last - first) * tiles);
                char* at_sums = all_sums ? all_sums + (i * panels + p) * panel * sum_bytes
                                : sums   ? sums + (i * wide + p - first) * panel * sum_bytes
                                         : nullptr;
                tile(out, packed_a + ((q - from) * g.m + i) * room, packed_b + (p - first) * panel_room, count,
                     q == 0, q + 1 == blocks, i, std::min<int64_t>(isa.rows, g.m - i), p, at_sums,
                     (all_sums ? panels : wide) * panel);
              }
          }
        }
      }
    }
  }

  void run(const char* a, const char* b, const BlockResult& out, bool threaded) const {
    if (g.m <= kFewRows && !g.b_packed && panels >= 16 && steps >= 32) return run_few_rows(a, b, out, threaded);
    thread_local Scratch b_scratch, sum_scratch;
    const int64_t panel_bytes = steps * panel * bytes;
    char* packed_b = g.b_packed ? const_cast<char*>(b)
                                : static_cast<char*>(b_scratch.get(static_cast<size_t>(panels * panel_bytes) + 64));
    char* sums = k_blocks > 1 && !(simple && g.n % panel == 0)
                     ? static_cast<char*>(sum_scratch.get(static_cast<size_t>(g.m * panels * panel * sum_bytes)))
                     : nullptr;
    int threads = threaded ? num_threads() : 1;
    // Blocks of whole tiles, small enough for the second-level cache, and enough of them for all threads.
    int64_t fit = kBlockBytes / std::max<int64_t>(1, k_block * bytes) / isa.rows * isa.rows;
    int64_t even = ceil_div(ceil_div(g.m, threads), isa.rows) * isa.rows;
    int64_t rows = std::max<int64_t>(isa.rows, std::min<int64_t>({fit, even, 240}));
    if (threads > 1) {  // the last round should keep everybody busy
      int64_t rounds = ceil_div(ceil_div(g.m, rows), threads);
      rows = std::max<int64_t>(isa.rows, ceil_div(ceil_div(g.m, rounds * threads), isa.rows) * isa.rows);
    }
    int64_t row_blocks = ceil_div(g.m, rows);
    int64_t col_blocks = row_blocks >= threads ? 1 : std::min(panels, ceil_div(int64_t{2} * threads, row_blocks));
    std::atomic<int64_t> next_pack{0}, next{0};
    int64_t wide = g.b_col == 1 ? std::clamp<int64_t>(panels / (2 * threads), 1, 16) : 1;
    auto pack = [&] {
      for (int64_t first; (first = next_pack.fetch_add(wide, std::memory_order_relaxed)) < panels;)
        pack_panels(b, first, std::min(panels, first + wide), 0, steps, packed_b + first * panel_bytes, panel_bytes);
    };
    auto work = [&] {
      thread_local Scratch a_scratch;
      int64_t room =
          ceil_div(rows, isa.rows) * isa.rows * (ceil_div(std::max<int64_t>(k_block, 1), kChunk) * kChunk) * bytes;
      char* packed_a = static_cast<char*>(a_scratch.get(static_cast<size_t>(room) + 64));
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < row_blocks * col_blocks;) {
        int64_t row = i / col_blocks * rows, col = i % col_blocks;
        block(a, packed_b, out, sums, row, std::min(rows, g.m - row), panels * col / col_blocks,
              panels * (col + 1) / col_blocks, packed_a);
      }
    };
    if (threads == 1) {
      FlushDenormals flush;
      if (!g.b_packed) pack();
      return work();
    }
#pragma omp parallel num_threads(threads)
    {
      FlushDenormals flush;
      if (!g.b_packed) {
        pack();
#pragma omp barrier
      }
      work();
    }
  }
};

}  // namespace

const GemmIsa& gemm_isa() {
  static const GemmIsa* isa = [] {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
      return __builtin_cpu_supports("avx512bf16") ? gemm_isa_avx512_bf16() : gemm_isa_avx512();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return gemm_isa_avx2();
#endif
    return gemm_isa_portable();
  }();
  return *isa;
}

bool gemm_own_supports(const GemmArgs& g) {
  return is_floating(g.type) && !(g.type == DType::f64 && (g.epilogue != Epilogue::none || g.sink.store)) &&
         !(g.sink.store && (g.beta != 0 || g.epilogue != Epilogue::none));
}

void gemm_own(const GemmArgs& g) {
  run_batches(g, [](const GemmArgs& one, const BlockResult& out, bool threaded) {
    Product{one}.run(out.a, out.b, out, threaded);
  });
}

void finish_block(const GemmArgs& g, Arithmetic t, const BlockResult& out, char* sums, int64_t sums_row, int64_t row,
                  int64_t rows, int64_t col, int64_t cols) {
  const GemmIsa& isa = gemm_isa();
  const int64_t offset = (row * g.c_row + col) * static_cast<int64_t>(size_of(g.out_type));
  Finish f{g.out_type,
           g.alpha,
           g.beta,
           g.bias ? at(g.bias, g.bias_type, col) : nullptr,
           g.bias_type,
           g.epilogue,
           out.c ? out.c + offset : nullptr,
           out.aux ? out.aux + offset : nullptr,
           g.c_row};
  if (!g.sink.store) return isa.finish(f, t, sums, sums_row, rows, cols);
  if (f.bias || g.alpha != 1) {
    f.out_type = DType::f32, f.c = sums, f.c_row = sums_row, f.beta = 0;
    isa.finish(f, t, sums, sums_row, rows, cols);
  }
  g.sink.store(g.sink.context, reinterpret_cast<float*>(sums), sums_row, out.batch, row, col, rows, cols);
}

namespace {
/// Bias and epilogue for sums, in f32, that are in C already.
void finish_small(const GemmArgs& g, int64_t offset) {
  const GemmIsa& isa = gemm_isa();
  alignas(64) float tail[kMaxPanel];
  float* c = static_cast<float*>(g.c) + offset;
  for (int64_t j = 0; j < g.n; j += kMaxPanel) {
    int64_t cols = std::min<int64_t>(kMaxPanel, g.n - j);
    bool whole = cols == kMaxPanel;  // else the last row could be read beyond its end
    for (int64_t i = 0; i < g.m; i += whole ? g.m : 1) {
      float* from = c + i * g.c_row + j;
      Finish f{DType::f32,
               1,
               0,
               g.bias ? static_cast<const float*>(g.bias) + j : nullptr,
               DType::f32,
               g.epilogue,
               reinterpret_cast<char*>(from),
               g.aux ? reinterpret_cast<char*>(static_cast<float*>(g.aux) + offset + i * g.c_row + j) : nullptr,
               g.c_row};
      if (!whole) std::copy(from, from + cols, tail);
      isa.finish(f, Arithmetic::f32, whole ? from : tail, whole ? g.c_row : kMaxPanel, whole ? g.m : 1, cols);
    }
  }
}
}  // namespace

void gemm_small(const GemmArgs& g) {
  const GemmIsa& isa = gemm_isa();
  for_each_batch(g, [&](int64_t, int64_t a, int64_t b, int64_t c) {
    if (g.type == DType::f64)
      isa.small_f64(static_cast<const double*>(g.a) + a, g.a_row, g.a_col, static_cast<const double*>(g.b) + b,
                    g.b_row, g.b_col, g.m, g.n, g.k, static_cast<double*>(g.c) + c, g.c_row, g.beta != 0);
    else
      isa.small_f32(static_cast<const float*>(g.a) + a, g.a_row, g.a_col, static_cast<const float*>(g.b) + b, g.b_row,
                    g.b_col, g.m, g.n, g.k, static_cast<float*>(g.c) + c, g.c_row, g.beta != 0);
    if (g.epilogue != Epilogue::none) return finish_small(g, c);
    if (!g.bias) return;
    for (int64_t i = 0; i < g.m; ++i)
      for (int64_t j = 0; j < g.n; ++j) {
        if (g.type == DType::f64)
          static_cast<double*>(g.c)[c + i * g.c_row + j] += static_cast<const double*>(g.bias)[j];
        else
          static_cast<float*>(g.c)[c + i * g.c_row + j] += static_cast<const float*>(g.bias)[j];
      }
  });
}

PackLayout pack_layout(DType type, int64_t k, int64_t n, int64_t) {
  SORUS_CHECK(is_floating(type), TypeError, "pack_b: expected a floating type, got {}", short_name(type));
  Arithmetic t = arithmetic_of(type);
  PackLayout l;
  if (type == DType::bf16 && gemm_amx_available()) {  // its kernel packs strips of columns as it meets them
    l.type = l.source = type, l.k = l.k_padded = k, l.n = l.n_padded = n,
    l.bytes = k * n * static_cast<int64_t>(size_of(type));
    return l;
  }
  l.type = t == Arithmetic::f32 ? DType::f32 : type;
  l.k = k, l.n = n, l.panel = gemm_isa().panel(t), l.group = group_of(t);
  l.k_padded = ceil_div(k, l.group) * l.group, l.n_padded = ceil_div(n, l.panel) * l.panel;
  l.source = type;
  l.bytes = l.k_padded * l.n_padded * static_cast<int64_t>(size_of(l.type));
  return l;
}

void pack_b(const PackLayout& l, const void* b, int64_t b_row, int64_t b_col, void* packed) {
  if (l.panel == 1) {
    parallel_for(l.n, 16, [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j)
        for (int64_t p = 0; p < l.k; ++p)
          static_cast<uint16_t*>(packed)[j * l.k + p] = static_cast<const uint16_t*>(b)[p * b_row + j * b_col];
    });
    return;
  }
  Arithmetic t = arithmetic_of(l.source);
  int64_t panel_bytes = l.k_padded / l.group * l.panel * step_bytes(t);
  parallel_for(l.n_padded / l.panel, 4, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      gemm_isa().pack_b(t, l.source, at(b, l.source, p * l.panel * b_col), b_row, b_col,
                        std::min(l.panel, l.n - p * l.panel), l.k, static_cast<char*>(packed) + p * panel_bytes);
  });
}

}  // namespace sorus::kernels
