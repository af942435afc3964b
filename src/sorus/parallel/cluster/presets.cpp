// Clusters that can be named. Peak speeds, memory and links are those of the vendors' data sheets; bandwidths count
// one direction. Efficiencies of the A100 are fitted to published training steps (`sorus calibrate --table`), and
// stand for the others where nothing better is known.

#include "sorus/base/error.h"
#include "sorus/parallel/cluster/cluster.h"

namespace sorus::parallel {
namespace {

struct Preset {
  const char* name;
  const char* text;
  double launch_us = 30;  // of eager frameworks on GPUs; compiled programs take less
  // Of the A100's share of the printed peak, what is reached of another device's. The largest products that were ever
  // measured on an A100 reach 87% of its peak, on an H100 80% (ml-engineering's table of achievable matmul FLOPS).
  double sustained = 1;
  // Attention, of the speed of products. Dao 2023 measures forward and backward passes of its first version at 25 to
  // 35% of an A100's peak and of its second at 50 to 70%, on an H100 at 34%; published steps are of both.
  double composite = 0.4;
  const char* around = "";  // host and network, where devices share them
};

constexpr const char* kDgxA100 = R"([host]
memory_gb = 128
gb_per_s = 25
memory_gb_per_s = 40
tflops = 0.3
[[level]]
name = "node"
count = 8
gb_per_s = 300
latency_us = 3
[[level]]
name = "fabric"
gb_per_s = 25
latency_us = 6
shared_gb_per_s = 200
)";

constexpr const char* kEfficiency = R"(
[efficiency]
matrix_size = 0.967
memory = 0.897
network = 0.873
spread = 0.0414
)";

constexpr double kMatrix = 0.836;

constexpr Preset kPresets[] = {
    {"dgx-a100", R"(
[device]
name = "A100-SXM-80GB"
memory_gb = 80
memory_gb_per_s = 2039
tflops = { f16 = 312, bf16 = 312, f32 = 19.5 }
)",
     30, 1, 0.4, kDgxA100},
    {"dgx-a100-40gb", R"(
[device]
name = "A100-SXM-40GB"
memory_gb = 40
memory_gb_per_s = 1555
tflops = { f16 = 312, bf16 = 312, f32 = 19.5 }
)",
     30, 1, 0.4, kDgxA100},
    {"dgx-h100", R"(
[device]
name = "H100-SXM-80GB"
memory_gb = 80
memory_gb_per_s = 3350
tflops = { f8 = 1979, f16 = 989, bf16 = 989, f32 = 67 }
[host]
memory_gb = 256
gb_per_s = 55
memory_gb_per_s = 70
tflops = 0.5
[[level]]
name = "node"
count = 8
gb_per_s = 450
latency_us = 3
[[level]]
name = "fabric"
gb_per_s = 50
latency_us = 6
shared_gb_per_s = 400
)",
     30, 0.924, 0.25},
    {"gb200-nvl72", R"(
[device]
name = "GB200"
memory_gb = 186
memory_gb_per_s = 8000
tflops = { f8 = 5000, f16 = 2500, bf16 = 2500, f32 = 80 }
[host]
memory_gb = 240
gb_per_s = 225
memory_gb_per_s = 250
tflops = 1.5
[[level]]
name = "rack"
count = 72
gb_per_s = 900
latency_us = 3
[[level]]
name = "fabric"
gb_per_s = 50
latency_us = 6
)",
     30, 0.924, 0.25},
    {"tpu-v4", R"(
[device]
name = "TPU v4"
memory_gb = 32
memory_gb_per_s = 1228
tflops = { bf16 = 275, f32 = 137 }
[host]
memory_gb = 128
gb_per_s = 16
memory_gb_per_s = 40
tflops = 0.3
[[level]]
name = "pod"
count = 4096
dims = [16, 16, 16]
gb_per_s = 150
latency_us = 1
[[level]]
name = "fabric"
gb_per_s = 3
latency_us = 20
)",
     2},
    {"tpu-v5p", R"(
[device]
name = "TPU v5p"
memory_gb = 95
memory_gb_per_s = 2765
tflops = { bf16 = 459, f32 = 229 }
[host]
memory_gb = 128
gb_per_s = 32
memory_gb_per_s = 50
tflops = 0.4
[[level]]
name = "pod"
count = 8960
dims = [16, 20, 28]
gb_per_s = 300
latency_us = 1
[[level]]
name = "fabric"
gb_per_s = 6
latency_us = 20
)",
     2},
    {"dgx-v100", R"(
[device]
name = "V100-SXM2-32GB"
memory_gb = 32
memory_gb_per_s = 900
tflops = { f16 = 125, f32 = 15.7 }
[host]
memory_gb = 96
gb_per_s = 12
memory_gb_per_s = 30
tflops = 0.3
[[level]]
name = "node"
count = 16
gb_per_s = 150
latency_us = 3
[[level]]
name = "fabric"
gb_per_s = 6.25
latency_us = 6
)"},
    {"cpu", R"(
[device]
name = "CPU socket"
memory_gb = 256
memory_gb_per_s = 200
tflops = { bf16 = 60, f32 = 5 }
[host]
memory_gb = 256
gb_per_s = 100
memory_gb_per_s = 200
tflops = 5
[[level]]
name = "machine"
count = 2
gb_per_s = 40
latency_us = 1
[[level]]
name = "network"
gb_per_s = 6
latency_us = 10
shared_gb_per_s = 12.5
)",
     1},
};

}  // namespace

std::vector<std::string> preset_clusters() {
  std::vector<std::string> names;
  for (const Preset& p : kPresets) names.emplace_back(p.name);
  return names;
}

Cluster preset_cluster(std::string_view name) {
  for (const Preset& p : kPresets)
    if (name == p.name)
      return parse_cluster(
          fmt::format("name = \"{}\"\n{}matrix = {}\ncomposite = {}\nlaunch_us = {}\n{}{}", p.name, kEfficiency,
                      kMatrix * p.sustained, p.composite, p.launch_us, p.text, p.around),
          std::string(p.name));
  fail<KeyError>("there is no preset cluster '{}'; there are {}", name, fmt::join(preset_clusters(), ", "));
}

}  // namespace sorus::parallel
