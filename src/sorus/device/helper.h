// Small functions and words that kernels use (helper_text in kernel.h); each list is one file.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace sorus::device {

struct Helper {
  std::string_view name;
  std::vector<std::string_view> needs;  ///< helpers that are printed before this one
  std::string_view text;
};

/// Of vectors: AVX2, NEON (simd.h says which words there are).
std::span<const Helper> avx2_helpers();
std::span<const Helper> neon_helpers();
/// Of the DSP extension and of Helium.
std::span<const Helper> dsp_helpers();
std::span<const Helper> mve_helpers();
/// Of recurrent layers and attention.
std::span<const Helper> layer_helpers();

}  // namespace sorus::device
