#include "sorus/kernels/gemm.h"

#include <atomic>
#include <string_view>

#include "sorus/base/error.h"
#include "sorus/kernels/gemm_internal.h"

namespace sorus::kernels {
namespace {

enum class Path { plain, tiny, own, onednn, amx };
constexpr const char* kNames[] = {"plain", "tiny", "own", "onednn", "amx"};
int forced = -1;
std::atomic<Float32Precision> precision{Float32Precision::highest};

bool can_be_tiny(const GemmArgs& g) {
  if (g.b_packed || g.sink.store || (g.epilogue != Epilogue::none && g.type != DType::f32) || g.alpha != 1 ||
      (g.beta != 0 && g.beta != 1))
    return false;
  if ((g.type != DType::f32 && g.type != DType::f64) || g.out_type != g.type) return false;
  return !g.bias || g.bias_type == g.type;
}

Path choose(const GemmArgs& g) {
  // Packing pays from about 32^3; a vector times a matrix reads the matrix once and never pays it back.
  double work = static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
  bool vector = (g.m <= 2 && work < 2e6) || g.k <= 2;
  bool dense = g.b_col == 1 || (g.b_row == 1 && g.a_col == 1);
  bool tiny = can_be_tiny(g) && (work < 32768 || (vector && dense));
  bool own = gemm_own_supports(g);
  if (forced == 0 && !g.b_packed) return Path::plain;
  if (forced == 1 && can_be_tiny(g)) return Path::tiny;
  if (forced == 2 && own) return Path::own;
  if (forced == 3 && gemm_onednn_supports(g)) return Path::onednn;
  if (forced == 4 && gemm_amx_supports(g)) return Path::amx;
  if (tiny) return Path::tiny;
  // Measured on Sapphire Rapids: sums over many rows (a weight's gradient) are 1.2-1.5x faster in the own tiles,
  // others as fast; short ones are slower alone, but leave rows with the core that goes on with them.
  if (work > 64 * 64 * 64 && gemm_amx_supports(g)) return Path::amx;
  bool straight = gemm_onednn_direct(g) && gemm_onednn_supports(g);
  // Measured on Zen 4 and 5 (benchmarks/kernels): plain operands and plain stores are 5-10% faster through oneDNN
  // from a few million products on.
  if (work >= 4e6 && straight) return Path::onednn;
  return own ? Path::own : Path::plain;
}

void check(const GemmArgs& g) {
  bool same = g.out_type == g.type || (is_half(g.type) && g.out_type == DType::f32);
  SORUS_CHECK(same, TypeError, "matmul: no kernel from {} to {}", short_name(g.type), short_name(g.out_type));
  SORUS_CHECK(g.batch_dims >= 0 && g.batch_dims <= GemmArgs::kMaxBatch, ValueError,
              "matmul: at most {} batch dimensions, got {}", GemmArgs::kMaxBatch, g.batch_dims);
}

}  // namespace

void gemm(const GemmArgs& args) {
  check(args);
  if (args.b_packed && args.type == DType::bf16 && gemm_amx_available()) {
    GemmArgs plain = args;  // see pack_layout
    plain.b_packed = false, plain.b_row = 1, plain.b_col = args.k;
    return gemm(plain);
  }
  Path path = choose(args);
  if (path == Path::tiny) return gemm_small(args);
  if (path == Path::onednn) return gemm_onednn(args);
  if (path == Path::amx) return gemm_amx(args);
  if (path == Path::own) return gemm_own(args);
  SORUS_ASSERT(!args.b_packed);
  gemm_plain(args);
}

void set_float32_precision(Float32Precision p) { precision = p; }
Float32Precision float32_precision() { return precision.load(std::memory_order_relaxed); }

const char* gemm_path(const GemmArgs& args) { return kNames[static_cast<int>(choose(args))]; }

void force_gemm_path(const char* path) {
  forced = -1;
  for (int i = 0; i < 5; ++i)
    if (std::string_view(kNames[i]) == path) forced = i;
}

}  // namespace sorus::kernels
