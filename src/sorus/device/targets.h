// Targets: a kernel set, a compiler with its flags, and how a program runs on this machine. Adding one is a line in
// targets.cpp, and a kernel set of its own where plain C is not enough.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sorus/device/kernel.h"

namespace sorus::device {

struct Target {
  std::string name, description;
  std::string compiler;  ///< "arm-none-eabi-gcc"
  std::string flags;     ///< of the processor
  std::string machine;   ///< of qemu-system-arm, for bare metal
  /// Of programs for Linux, the most able processor first; an empty one, or neither: this machine.
  std::vector<std::string> emulators;
  double instructions_a_tick = 0;  ///< of SysTick, under -icount shift=0
  std::string memory;              ///< symbols of the linker script: "vector_base=0,code_base=0x400,.."
  const KernelSet& (*kernels)() = plain_kernels;
  std::string level = {};  ///< the helper with $P_level(): below 0 where this processor lacks what kernels use
  /// Where CMSIS-NN can be called: how its functions end that say the room they want here (cmsis_nn.h).
  std::optional<std::string> cmsis_nn = {};
};

const std::vector<Target>& targets();
/// ValueError with the names there are.
const Target& find_target(std::string_view name);

}  // namespace sorus::device
