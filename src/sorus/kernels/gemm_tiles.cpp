// Products of bf16 in the tile registers of recent Intel processors (AMX). A tile is 16 rows of 64 bytes; one
// instruction adds the product of a tile of A (16 rows of 32 numbers) and a tile of B (16 pairs of k, 16 columns) to
// 16 x 16 sums, in 16 cycles. Two tiles of A and two of B meet in four tiles of sums, so that as many bytes are read
// as the caches can give.
//
// One side of the product, the shorter one, is packed whole and stays in the second-level cache; strips of the
// other are packed by the thread that uses them, just before use, so that they are met in the first-level cache and
// a weight that is used once never lies packed in memory. A strip is 32 rows of A or 32 columns of B:
//   [steps of 32 k][parts][two tiles][16 x 64 bytes]
// Numbers in f32, where less than their precision is asked for (`set_float32_precision`), are packed as one bf16 part
// or two, whose sum has 16 bits: (h + l)(h' + l') is h h' + h l' + l h' but for 2^-16 of it, three products on tiles
// that are an order of magnitude faster than one in f32.
#include "sorus/base/threads.h"
#include "sorus/base/work_shares.h"
#include "sorus/kernels/gemm_internal.h"
#include "sorus/kernels/gemm_isa.h"
#include "sorus/kernels/onednn.h"
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>
#pragma GCC diagnostic ignored "-Wuninitialized"  // gcc 12 on its own intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

namespace sorus::kernels {
namespace {

constexpr int64_t kTile = kTileSide, kStep = 32, kStrip = 32, kTileBytes = 1024, kStepBytes = 2 * kTileBytes;
constexpr int64_t kMostSteps = 48;  // of a strip; longer sums pass through f32 memory
constexpr int64_t kFewColumns = 1024, kPageNumbers = 2048;
constexpr int64_t kKeptBytes = 1024 * 1024;  // of the side that stays in the second-level cache

/// A or B: number (k, x), where x is a row of A or a column of B, at k * stride + x or x * stride + k.
struct Side {
  const void* data;
  DType type;  ///< bf16 or f32
  int64_t stride, count;
  bool k_major;
  bool pairs;  ///< the tile has a pair of k for each x side by side (B), not a row of k for each x (A)

  int64_t strips() const { return (count + kStrip - 1) / kStrip; }
  template <class T>
  const T* at(int64_t x, int64_t k) const {
    return static_cast<const T*>(data) + (k_major ? k * stride + x : x * stride + k);
  }
};

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16,prefer-vector-width=512")

#include "sorus/kernels/transpose_avx512.h"

/// `count` numbers of one row, the rest zero.
inline __attribute__((always_inline)) __m512i load_row(const uint16_t* p, int64_t count) {
  if (count >= 32) return _mm512_loadu_si512(p);
  return count <= 0 ? _mm512_setzero_si512() : _mm512_maskz_loadu_epi16((1u << count) - 1, p);
}
inline __attribute__((always_inline)) __m512i load_words(const uint16_t* p, int64_t count) {
  if (count >= 16) return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  auto mask = static_cast<__mmask16>(count <= 0 ? 0 : (1u << count) - 1);
  return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p));
}

inline __attribute__((always_inline)) __m512 load_floats(const float* p, int64_t count) {
  if (count >= 16) return _mm512_loadu_ps(p);
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>(count <= 0 ? 0 : (1u << count) - 1), p);
}
inline __attribute__((always_inline)) __m512 widened(__m256bh x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)x), 16));
}
inline __attribute__((always_inline)) __m512i words(__m256bh low, __m256bh high) {  ///< pairs (low, high)
  return _mm512_or_si512(_mm512_cvtepu16_epi32((__m256i)low),
                         _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)high), 16));
}
inline __attribute__((always_inline)) __m512i joined(__m256bh first, __m256bh then) {
  return _mm512_inserti64x4(_mm512_castsi256_si512((__m256i)first), (__m256i)then, 1);
}

/// 16 registers for x .. x + 16 and k .. k + 32: pairs of k for all x if `k_major`, else all k of an x. Rows lie far
/// apart, so what the next call for greater k needs is fetched here. `rest` is not used.
template <bool k_major>
inline __attribute__((always_inline)) void read_tile(const Side& s, const uint16_t* from, int64_t across,
                                                     int64_t along, bool fetch, __m512i* r, __m512i*) {
  if constexpr (k_major) {
    if (along >= 2 * kStep && across > 0 && fetch)
      for (int64_t p = kStep; p < 2 * kStep; ++p) _mm_prefetch(from + p * s.stride, _MM_HINT_T0);
#pragma GCC unroll 16
    for (int64_t p = 0; p < kTile; ++p) {
      __m512i low = load_words(from + 2 * p * s.stride, along > 2 * p ? across : 0),
              high = load_words(from + (2 * p + 1) * s.stride, along > 2 * p + 1 ? across : 0);
      r[p] = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
    }
  } else {
    constexpr int64_t kAhead = 4 * kStep;
    if (along > kAhead && across >= kTile)
      for (int64_t i = 0; i < kTile; ++i) _mm_prefetch(from + i * s.stride + kAhead, _MM_HINT_T0);
    if (along >= kStep && across >= kTile) {
#pragma GCC unroll 16
      for (int64_t i = 0; i < kTile; ++i) r[i] = _mm512_loadu_si512(from + i * s.stride);
    } else {
#pragma GCC unroll 16
      for (int64_t i = 0; i < kTile; ++i) r[i] = load_row(from + i * s.stride, i < across ? along : 0);
    }
  }
}

/// The same of f32, rounded to bf16, and what rounding took away in `rest`, rounded as well.
template <bool k_major>
inline __attribute__((always_inline)) void read_tile(const Side& s, const float* from, int64_t across, int64_t along,
                                                     bool, __m512i* r, __m512i* rest) {
#pragma GCC unroll 16
  for (int64_t i = 0; i < kTile; ++i) {
    const float* row = from + (k_major ? 2 * i : i) * s.stride;
    __m512 x, y;
    if constexpr (k_major) {
      x = load_floats(row, along > 2 * i ? across : 0),
      y = load_floats(row + s.stride, along > 2 * i + 1 ? across : 0);
    } else {
      x = load_floats(row, i < across ? along : 0), y = load_floats(row + 16, i < across ? along - 16 : 0);
      if (along > 3 * kStep && i < across) _mm_prefetch(row + 3 * kStep, _MM_HINT_T0);
    }
    __m256bh hx = _mm512_cvtneps_pbh(x), hy = _mm512_cvtneps_pbh(y);
    __m256bh lx = _mm512_cvtneps_pbh(_mm512_sub_ps(x, widened(hx))),
             ly = _mm512_cvtneps_pbh(_mm512_sub_ps(y, widened(hy)));
    r[i] = k_major ? words(hx, hy) : joined(hx, hy);
    rest[i] = k_major ? words(lx, ly) : joined(lx, ly);
  }
}

/// The tile of x .. x + 16 and k .. k + 32 in `parts` parts; beyond `k_end` and the side's end it holds zeros.
template <class T, bool k_major, bool turn>
void pack_tile(const Side& s, int64_t x, int64_t k, int64_t k_end, int64_t parts, char* to) {
  __m512i r[2][16];
  read_tile<k_major>(s, s.at<T>(x, k), s.count - x, k_end - k, x % kStrip == 0, r[0], r[1]);
  for (int64_t part = 0; part < parts; ++part, to += kStepBytes) {
    __m512i* words = r[std::is_same_v<T, float> ? part : 0];
    if constexpr (turn) transpose_words(words);
#pragma GCC unroll 16
    for (int i = 0; i < kTile; ++i) _mm512_store_si512(to + i * 64, words[i]);
  }
}

struct alignas(64) TileConfiguration {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constinit const TileConfiguration kTiles8;  // not a local: gcc 12 believes that 8 bytes of it are read
void load_tile_configuration() { _tile_loadconfig(&kTiles8); }
void release_tiles() { _tile_release(); }

/// Two neighbouring tiles of A or B for each step: packed, or as they lie in memory if their rows do.
struct Strip {
  const char* data;
  int64_t row = 64, step = kStepBytes, second = kTileBytes;  ///< bytes to the next row, step and the second tile
};

// The sums of a block are in tiles 0 to 3 from `begin_sums` to `store_sums`: 32 x 32 of them, or 16 rows without
// `tall`, or 16 columns without `wide`.

/// The sums begin with what is in memory if `add`; rows lie `c_row` bytes apart.
template <bool tall, bool wide>
void begin_sums(const float* c, int64_t c_row, bool add) {
  if (!add) {
    _tile_zero(0);
    if constexpr (wide) _tile_zero(1);
    if constexpr (tall) _tile_zero(2);
    if constexpr (tall && wide) _tile_zero(3);
    return;
  }
  const float* below = c + kTile * (c_row / 4);
  _tile_loadd(0, c, c_row);
  if constexpr (wide) _tile_loadd(1, c + kTile, c_row);
  if constexpr (tall) _tile_loadd(2, below, c_row);
  if constexpr (tall && wide) _tile_loadd(3, below + kTile, c_row);
}

template <bool tall, bool wide>
void add_products(const Strip& a, const Strip& b, int64_t steps) {
  const char *pa = a.data, *pb = b.data;
  for (int64_t i = 0; i < steps; ++i, pa += a.step, pb += b.step) {
    _tile_loadd(6, pb, b.row);
    _tile_loadd(4, pa, a.row);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (wide) {
      _tile_loadd(7, pb + b.second, b.row);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (tall) {
      _tile_loadd(5, pa + a.second, a.row);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (tall && wide) _tile_dpbf16ps(3, 5, 7);
  }
}

/// Of numbers in two parts, packed: high by high, high by low, low by high.
template <bool tall>
void add_split_products(const char* a, const char* b, int64_t steps) {
  for (int64_t i = 0; i < steps; ++i, a += 2 * kStepBytes, b += 2 * kStepBytes) {
    _tile_loadd(6, b, 64);
    _tile_loadd(4, a, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + kTileBytes, 64);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (tall) {
      _tile_loadd(5, a + kTileBytes, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_loadd(6, b + kStepBytes, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (tall) _tile_dpbf16ps(2, 5, 6);
    _tile_loadd(7, b + kStepBytes + kTileBytes, 64);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (tall) _tile_dpbf16ps(3, 5, 7);
    _tile_loadd(4, a + kStepBytes, 64);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + kTileBytes, 64);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (tall) {
      _tile_loadd(5, a + kStepBytes + kTileBytes, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
}

template <bool tall, bool wide>
void store_sums(float* c, int64_t c_row) {
  float* below = c + kTile * (c_row / 4);
  _tile_stored(0, c, c_row);
  if constexpr (wide) _tile_stored(1, c + kTile, c_row);
  if constexpr (tall) _tile_stored(2, below, c_row);
  if constexpr (tall && wide) _tile_stored(3, below + kTile, c_row);
}

/// 16 x 16 words from rows `from_row` words apart to rows `to_row` words apart, turned.
void turn_words(const uint32_t* from, int64_t from_row, uint32_t* to, int64_t to_row) {
  __m512i r[16];
#pragma GCC unroll 16
  for (int i = 0; i < kTile; ++i) r[i] = _mm512_loadu_si512(from + i * from_row);
  transpose_words(r);
#pragma GCC unroll 16
  for (int i = 0; i < kTile; ++i) _mm512_storeu_si512(to + i * to_row, r[i]);
}

#pragma GCC pop_options

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// One product without batch dimensions.
struct Product {
  const GemmArgs& g;
  const BlockResult& out;
  Side a{out.a, g.type, g.a_col != 1 ? g.a_col : g.a_row, g.m, g.a_col != 1, false};
  Side b{out.b, g.type, g.b_row != 1 ? g.b_row : g.b_col, g.n, g.b_row != 1, true};
  int64_t parts = g.type == DType::f32 && float32_precision() == Float32Precision::high ? 2 : 1;
  bool kept_a = g.m <= g.n;  ///< A is the side that is kept packed
  const Side &kept = kept_a ? a : b, &other = kept_a ? b : a;
  int64_t steps = ceil_div(g.k, kStep), k_blocks = ceil_div(steps, kMostSteps), block = ceil_div(steps, k_blocks);
  bool simple = g.alpha == 1 && (g.beta == 0 || g.beta == 1) && !g.bias && g.epilogue == Epilogue::none &&
                !g.sink.store && g.out_type == DType::f32;
  int64_t sums_row = b.strips() * kStrip;

  template <class T>
  static auto packing(const Side& s) {
    return s.k_major ? (s.pairs ? pack_tile<T, true, false> : pack_tile<T, true, true>)
                     : (s.pairs ? pack_tile<T, false, true> : pack_tile<T, false, false>);
  }

  /// Steps [from, from + count) of one strip.
  void pack_strip(const Side& s, int64_t strip, int64_t from, int64_t count, char* to) const {
    auto* pack = s.type == DType::f32 ? packing<float>(s) : packing<uint16_t>(s);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t x = 0; x < kStrip; x += kTile)
        pack(s, strip * kStrip + x, (from + i) * kStep, g.k, parts,
             to + i * parts * kStepBytes + x / kTile * kTileBytes);
  }
  /// What a thread has in hand: the sums of the last block, which are finished while the tiles are at work on the
  /// next (a vector load that waits for a tile's store would stop both).
  struct Hand {
    alignas(64) float blocks[2][kStrip * kStrip];
    int which = 0;
    float* sums = nullptr;
    int64_t sums_row = 0, row = 0, rows = 0, col = 0, cols = 0;
  };

  void finish_rows(Hand& hand) const {
    if (hand.rows > 0)
      finish_block(g, Arithmetic::f32, out, reinterpret_cast<char*>(hand.sums), hand.sums_row, hand.row, hand.rows,
                   hand.col, hand.cols);
    hand.rows = 0;
  }

  /// A is read as it lies where packing would take longer than the few products with each of its tiles.
  bool direct =
      g.type == DType::bf16 && !a.k_major && g.n <= kFewColumns && g.k % kStep == 0 && g.a_row % kPageNumbers != 0;

  bool is_direct(const Side& s, int64_t strip) const {
    return direct && &s == &a && g.m - strip * kStrip >= kStrip;  // the last strip is packed with its padding
  }
  Strip strip_of_a(int64_t strip, int64_t from, const char* packed) const {
    if (!is_direct(a, strip)) return {packed};
    const auto* at = a.at<uint16_t>(strip * kStrip, from * kStep);
    return {reinterpret_cast<const char*>(at), a.stride * 2, 2 * kStep, kTile * a.stride * 2};
  }

  template <bool tall>
  void meet(Hand& hand, int64_t row, int64_t col, const Strip& pa, const Strip& pb, int64_t count, bool first,
            bool last, float* sums) const {
    const int64_t rows = std::min(kStrip, g.m - row), cols = std::min(kStrip, g.n - col);
    const bool straight = simple && rows % kTile == 0 && cols == kStrip;
    float* to = straight ? reinterpret_cast<float*>(out.c) + row * g.c_row + col
                : sums   ? sums + row * sums_row + col
                         : hand.blocks[hand.which ^= 1];
    const int64_t to_row = straight ? g.c_row : sums ? sums_row : kStrip;
    begin_sums<tall, true>(to, to_row * 4, !first || (straight && g.beta == 1));
    if (parts == 2)
      add_split_products<tall>(pa.data, pb.data, count);
    else
      add_products<tall, true>(pa, pb, count);
    finish_rows(hand);
    store_sums<tall, true>(to, to_row * 4);
    if (last && !straight)
      hand.sums = to, hand.sums_row = to_row, hand.row = row, hand.rows = rows, hand.col = col, hand.cols = cols;
  }

  void run(bool threaded) {
    thread_local Scratch kept_scratch, sum_scratch;
    const int threads = threaded ? num_threads() : 1;
    const int64_t strip_bytes = block * parts * kStepBytes, kept_strips = kept.strips(),
                  other_strips = other.strips();
    char* packed = static_cast<char*>(kept_scratch.get(static_cast<size_t>(kept_strips * strip_bytes)));
    float* sums = k_blocks > 1 ? static_cast<float*>(sum_scratch.get(
                                     static_cast<size_t>(a.strips() * kStrip * sums_row) * sizeof(float)))
                               : nullptr;
    const int64_t group = ceil_div(kept_strips, ceil_div(kept_strips * strip_bytes, kKeptBytes));
    for (int64_t from = 0; from < steps; from += block) {
      const int64_t count = std::min(block, steps - from);
      const bool first = from == 0, last = from + count == steps;
      WorkShares packing(kept_strips, threads);
      std::vector<WorkShares> meeting(static_cast<size_t>(ceil_div(kept_strips, group)), {other_strips, threads});
#pragma omp parallel num_threads(threads) if (threads > 1)
      {
        FlushDenormals flush;
        thread_local Scratch other_scratch;
        char* strip = static_cast<char*>(other_scratch.get(static_cast<size_t>(strip_bytes)));
        Hand hand;
        load_tile_configuration();
        const int thread = omp_get_thread_num();
        for (int64_t i; (i = packing.next(thread)) >= 0;)
          if (!is_direct(kept, i)) pack_strip(kept, i, from, count, packed + i * strip_bytes);
#pragma omp barrier
        for (int64_t begin = 0; begin < kept_strips; begin += group) {
          const int64_t end = std::min(kept_strips, begin + group);
          for (int64_t i; (i = meeting[static_cast<size_t>(begin / group)].next(thread)) >= 0;) {
            if (!is_direct(other, i)) pack_strip(other, i, from, count, strip);
            for (int64_t j = begin; j < end; ++j) {
              const char* p = packed + j * strip_bytes;
              const int64_t row = (kept_a ? j : i) * kStrip, col = (kept_a ? i : j) * kStrip;
              const Strip pa = strip_of_a(row / kStrip, from, kept_a ? p : strip);
              const Strip pb{kept_a ? strip : p};
              if (g.m - row > kTile)
                meet<true>(hand, row, col, pa, pb, count, first, last, sums);
              else
                meet<false>(hand, row, col, pa, pb, count, first, last, sums);
            }
          }
        }
        finish_rows(hand);
        release_tiles();
      }
    }
  }
};

bool have_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kTiles = 1u << 24, kBf16 = 1u << 22;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & kTiles) || !(d & kBf16) || !gemm_isa().bf16_dot) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // the kernel gives a process tiles when it asks
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

bool gemm_amx_available() {
  static const bool available = have_amx();
  return available;
}

bool gemm_amx_supports(const GemmArgs& g) {
  bool type = g.type == DType::bf16 || (g.type == DType::f32 && float32_precision() != Float32Precision::highest);
  return type && gemm_amx_available() && (g.a_row == 1 || g.a_col == 1) && (g.b_row == 1 || g.b_col == 1) &&
         !g.b_packed && g.m > 0 && g.n > 0 && g.k > 0 && gemm_own_supports(g);
}

TilesInUse::TilesInUse() {
  if (gemm_amx_available()) load_tile_configuration();
}
TilesInUse::~TilesInUse() {
  if (gemm_amx_available()) release_tiles();
}

void tiles_product(const TilesProduct& p) {
  constexpr int64_t kWords = kStep / 2;
  for (int64_t i = 0; i < p.rows; i += kStrip) {
    const bool tall = p.rows - i > kTile;
    const int64_t rows = tall ? kStrip : kTile;
    const int64_t first = p.from_diagonal ? i / kStep * kWords : 0,
                  last = p.to_diagonal ? std::min(p.steps, ceil_div(i + rows, kStep) * kWords) : p.steps;
    const Strip a{reinterpret_cast<const char*>(p.a + i * p.a_row + first), p.a_row * 4, 64, kTile * p.a_row * 4};
    for (int64_t j = 0; j < p.cols; j += kStrip) {
      const Strip b{reinterpret_cast<const char*>(p.b + first * p.b_row + j), p.b_row * 4, kWords * p.b_row * 4, 64};
      float* c = p.c + i * p.c_row + j;
      auto block = [&]<bool kTall, bool kWide>() {
        begin_sums<kTall, kWide>(c, p.c_row * 4, p.add);
        add_products<kTall, kWide>(a, b, (last - first) / kWords);
        store_sums<kTall, kWide>(c, p.c_row * 4);
      };
      const bool wide = p.cols - j > kTile;
      if (tall)
        wide ? block.template operator()<true, true>() : block.template operator()<true, false>();
      else
        wide ? block.template operator()<false, true>() : block.template operator()<false, false>();
    }
  }
}

void tiles_turn(const uint32_t* from, int64_t from_row, int64_t rows, int64_t cols, uint32_t* to, int64_t to_row) {
  for (int64_t i = 0; i < rows; i += kTile)
    for (int64_t j = 0; j < cols; j += kTile)
      turn_words(from + i * from_row + j, from_row, to + j * to_row + i, to_row);
}

void gemm_amx(const GemmArgs& g) {
  run_batches(g, [&](const GemmArgs& one, const BlockResult& out, bool threaded) {
    Product{one, out}.run(threaded);
  });
}

}  // namespace sorus::kernels
#else
namespace sorus::kernels {
bool gemm_amx_available() { return false; }
bool gemm_amx_supports(const GemmArgs&) { return false; }
void gemm_amx(const GemmArgs&) {}
TilesInUse::TilesInUse() = default;
TilesInUse::~TilesInUse() = default;
void tiles_product(const TilesProduct&) {}
void tiles_turn(const uint32_t*, int64_t, int64_t, int64_t, uint32_t*, int64_t) {}
}  // namespace sorus::kernels
#endif
