// Kernels: how one step becomes C.
//
// A kernel is a C function as text, written once with names for the constants of a layer ($OC: output channels) and
// printed with numbers in their place. Lines that begin with "?NAME " are printed where that constant is not zero,
// with "!NAME " where it is:
//
//   static void $FN(const int8_t *in, int8_t *out)
//   {
//     for (int i = 0; i < $N; i++) {
//   ?LOW     if (v < $LOW) v = $LOW;
//
// `KernelSet::prepare` chooses the kernel for a step, packs its weights in the order in which that kernel reads them,
// and says what the arena planner has to know: scratch, and how far the result may overlap the inputs. A target is a
// KernelSet and a compiler (targets.h); what it has nothing better for, it takes from the plain set.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sorus/device/model.h"

namespace sorus::device {

/// Constants of a kernel by name.
using Values = std::map<std::string, std::string, std::less<>>;

/// Replaces $NAMES and keeps or drops conditional lines; a name that is not in `values` is an error.
std::string fill(std::string_view text, const Values& values);

/// A constant array of the generated program.
struct Table {
  std::string type;  ///< "int8_t", "uint8_t", "int32_t", "float", "double"
  std::vector<int64_t> integers;
  std::vector<float> reals;
  std::string argument;  ///< its name in the kernel
  int bits = 8;          ///< 4 or 2: `integers` are bytes of several int8 each, which are unpacked before the step...
  int64_t unpacked = 0;  ///< ...so many...
  int64_t place = 0;     ///< ...to this place of the step's room
  int64_t bytes() const;
  bool operator==(const Table& o) const {
    return type == o.type && integers == o.integers && reals == o.reals && bits == o.bits;
  }
};

/// How the result may lie over an input that dies in this step.
struct Overlap {
  std::optional<int64_t> gap;  ///< allowed: offset(out) + gap <= offset(in)
  bool same = false;           ///< allowed: the same offset
};

struct Prepared {
  std::string text;                  ///< the function; $FN is still to be named
  std::vector<std::string> helpers;  ///< by name, in helpers.cpp
  std::vector<Table> tables;         ///< in the order of the function's last parameters
  std::vector<Overlap> overlaps;     ///< one an input
  int64_t scratch = 0;               ///< bytes, aligned to 4, that the function is given
  int64_t room = 0;         ///< bytes for scratch and, behind it, for tables that are unpacked; 0: scratch alone
  double instructions = 0;  ///< estimate
  std::string kernel;       ///< name for the report
  bool level = false;       ///< the function's last parameter is what the target's $P_level() says
  std::vector<std::string> calls;  ///< functions of CMSIS-NN
  std::vector<std::string> notes;  ///< for the report, behind the step's own
};

struct PrepareOptions {
  bool size = false;  ///< small code rather than fast
  int64_t group = 4;  ///< pixels a kernel gathers at once, at most: scratch against speed
};

class KernelSet {
 public:
  virtual ~KernelSet() = default;
  virtual Prepared prepare(const Model& model, const Step& step, const PrepareOptions& options) const = 0;
};

/// C99 without anything of a processor.
const KernelSet& plain_kernels();
/// A plain kernel whose sums of products of bytes that lie one behind the other are made by this helper, which says
/// in instructions of a processor what `dot` says.
Prepared with_dot(std::string_view helper, Prepared plain);
/// Arm's DSP extension: two 16-bit products an instruction (Cortex-M4, M7, M33).
const KernelSet& dsp_kernels();
/// Helium: sixteen 8-bit products an instruction (Cortex-M55).
const KernelSet& mve_kernels();
/// AVX2 and FMA (x86-64 since 2013).
const KernelSet& avx2_kernels();
/// NEON of 64-bit Arm, with SDOT and SMMLA where the processor has them.
const KernelSet& neon64_kernels();
/// NEON of 32-bit Arm.
const KernelSet& neon32_kernels();

/// Lets int8 tables whose numbers fit into 4 or 2 bits lie packed in flash (`--pack-weights`). Before the step they
/// are unpacked into the arena, which has room for one step's tables at a time: flash for RAM and a few instructions
/// a number. Returns the bytes of flash that this saves.
int64_t pack_tables(Prepared& p);

bool has_helper(std::string_view name);
/// Text of a helper function; $P is the program's prefix.
std::string_view helper_text(std::string_view name);
/// Names of the helpers that this one calls.
std::vector<std::string> helper_needs(std::string_view name);

// ---- For kernel sets
// ------------------------------------------------------------------------------------------------

/// The constants of a window: IH, IW, IC, OH, OW, OC, KH, KW, SH, SW, DH, DW, PT, PL, B, PAD (leaves the input).
Values window_values(const Window& w);
/// How far below its input the result may start when pixels are made in order, in groups of `group` whose inputs are
/// all read (`reads_first`) before any of the group is written.
int64_t sliding_gap(const Window& w, int64_t element_bytes, int64_t group, bool reads_first);

}  // namespace sorus::device
