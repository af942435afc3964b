#include "sorus/device/targets.h"

#include "sorus/base/error.h"

namespace sorus::device {
namespace {
// The largest memories of the boards that QEMU has: of 16 MB of PSRAM half for code and half for data; PSRAM for data
// alone where the processor, which starts in its secure state, executes nothing from there; DDR.
constexpr const char* kMps2 =
    "vector_base=0,code_base=0x21000000,code_bytes=0x800000,ram_base=0x21800000,ram_bytes=0x800000";
constexpr const char* kAn500 =
    "vector_base=0,code_base=0x60000000,code_bytes=0x800000,ram_base=0x60800000,ram_bytes=0x800000";
constexpr const char* kAn505 =
    "vector_base=0x10000000,code_base=0x10000400,code_bytes=0x3ffc00,ram_base=0x80000000,ram_bytes=0x1000000";
constexpr const char* kAn547 =
    "vector_base=0x10000000,code_base=0x70000000,code_bytes=0x4000000,ram_base=0x74000000,ram_bytes=0x4000000";
}  // namespace

const std::vector<Target>& targets() {
  static const std::vector<Target> list{
      {"c", "plain C99, any processor", "cc", "", "", {}, 0, ""},
      {"x86",
       "x86-64 with AVX2 and FMA under Linux",
       "gcc",
       "",
       "",
       {"", "qemu-x86_64 -cpu max"},
       0,
       "",
       avx2_kernels,
       "avx2_level"},
      {"arm64",
       "64-bit Arm under Linux",
       "aarch64-linux-gnu-gcc",
       "",
       "",
       {"qemu-aarch64 -cpu max", "qemu-aarch64 -cpu cortex-a76", "qemu-aarch64 -cpu cortex-a72"},
       0,
       "",
       neon64_kernels,
       "neon64_level"},
      {"arm32",
       "32-bit Arm A-class with NEON under Linux",
       "arm-linux-gnueabihf-gcc",
       "",
       "",
       {"qemu-arm -cpu max"},
       0,
       "",
       neon32_kernels,
       "neon32_level"},
      {"cortex-m0",
       "Cortex-M0 and M0+",
       "arm-none-eabi-gcc",
       "-mcpu=cortex-m0 -mthumb",
       "mps2-an385",
       {},
       40,
       kMps2,
       plain_kernels,
       {},
       ""},
      {"cortex-m3",
       "Cortex-M3",
       "arm-none-eabi-gcc",
       "-mcpu=cortex-m3 -mthumb",
       "mps2-an385",
       {},
       40,
       kMps2,
       plain_kernels,
       {},
       ""},
      {"cortex-m4",
       "Cortex-M4 with FPU",
       "arm-none-eabi-gcc",
       "-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16",
       "mps2-an386",
       {},
       40,
       kMps2,
       dsp_kernels,
       {},
       "_dsp"},
      {"cortex-m7",
       "Cortex-M7 with FPU",
       "arm-none-eabi-gcc",
       "-mcpu=cortex-m7 -mthumb -mfloat-abi=hard -mfpu=fpv5-sp-d16",
       "mps2-an500",
       {},
       40,
       kAn500,
       dsp_kernels,
       {},
       "_dsp"},
      {"cortex-m33",
       "Cortex-M33 with DSP and FPU",
       "arm-none-eabi-gcc",
       "-mcpu=cortex-m33 -mthumb -mfloat-abi=hard -mfpu=fpv5-sp-d16",
       "mps2-an505",
       {},
       50,
       kAn505,
       dsp_kernels,
       {},
       "_dsp"},
      {"cortex-m55",
       "Cortex-M55 with Helium",
       "arm-none-eabi-gcc",
       "-mcpu=cortex-m55 -mthumb -mfloat-abi=hard",
       "mps3-an547",
       {},
       31.25,
       kAn547,
       mve_kernels,
       {},
       "_mve"},
      {"riscv", "RISC-V, plain C99", "riscv64-linux-gnu-gcc", "", "", {"qemu-riscv64"}, 0, ""},
  };
  return list;
}

const Target& find_target(std::string_view name) {
  std::string names;
  for (const Target& t : targets()) {
    if (t.name == name) return t;
    names += (names.empty() ? "" : ", ") + t.name;
  }
  fail<ValueError>("codegen: there is no target '{}'; targets are {}", name, names);
}

}  // namespace sorus::device
