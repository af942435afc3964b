// Cluster: devices and the network between them, from the device outwards.
//
//   Cluster c = read_cluster("my.toml");          // or preset("dgx-a100")
//   c.levels[0]                                   // "node": 8 devices, 300 GB/s each
//   c.levels[1]                                   // "fabric": nodes, 25 GB/s for each device
//
// A group of ranks that communicate is described by how many of them lie in one unit of each level; the slowest level
// that the group crosses decides, and groups that cross it at the same time share what is shared there (Group in
// cost/collective.h). docs/cluster.md describes the file; errors name the line and the field.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sorus::parallel {

/// Constants of how much of what is printed on the box is reached. They are few, and physical; `sorus calibrate` fits
/// them.
struct Efficiency {
  double matrix = 0.75;    ///< of the peak of matrix units, for large products
  double matrix_size = 0;  ///< bytes of memory traffic at full rate, which a product costs beside its arithmetic
  /// Of the speed of products, what those reach between which the same kernel does other things (attention).
  double composite = 1;
  /// Like matrix_size, beside it: of products under a window, whose kernels bring their operands into an order of
  /// their own first (convolutions).
  double window_size = 0;
  double memory = 0.8;   ///< of the memory bandwidth
  double network = 0.8;  ///< of the bandwidth of links
  /// Passes in which gradients of micro-batches are added up (each reads both and writes one); 0: products add to
  /// what is there.
  double accumulate = 0;
  double launch_s = 4e-6;  ///< of each kernel
  double spread = 0;       ///< of the time that equal replicas take, relative; a step waits for the slowest
};

struct Device {
  std::string name = "device";
  double memory_bytes = 0, memory_bandwidth = 0;  ///< bytes, bytes/s
  std::map<std::string, double> flops;            ///< peak by data type: "f32", "bf16", "f16", "f8"
  /// Of kernels that are not products: exponentials and the like count as the operations they are made of. 0: such
  /// kernels wait for memory only.
  double vector_flops = 0;
  double peak(std::string_view dtype) const;  ///< the nearest wider type if the device has none for it
};

struct Host {
  double memory_bytes = 0;      ///< for each device
  double bandwidth = 0;         ///< of the link between a device and its host, bytes/s
  double memory_bandwidth = 0;  ///< of the host's memory, for each device
  double flops = 0;             ///< for each device
};

struct Level {
  std::string name;
  int64_t count = 0;     ///< units of the level below in one unit of this; 0: as many as there are (outermost)
  double bandwidth = 0;  ///< bytes/s that one device can send out of its unit of the level below
  double latency = 0;    ///< s
  /// Bytes/s that leave one unit of the level below, shared by all devices in it; 0: each device has its own link.
  double shared_bandwidth = 0;
  bool torus = false;         ///< links to neighbours only, instead of switches
  std::vector<int64_t> dims;  ///< of the torus
};

/// A device or the links of one that are slower than the others; factor 0: broken.
struct Exception {
  int64_t device = 0;
  std::string level;  ///< empty: the device's arithmetic; else its link at this level
  double factor = 1;
};

struct Cluster {
  std::string name;
  Device device;
  Host host;
  Efficiency efficiency;
  std::vector<Level> levels;  ///< from the inside
  std::vector<Exception> exceptions;
  int64_t max_devices() const;  ///< 0: no limit
  /// Devices that can be used, the fastest first in whole units; those that are broken are left out.
  std::vector<int64_t> usable(int64_t wanted) const;
  /// The cluster as so many of its devices see it. A collective waits for its slowest member and a step for the
  /// slowest device, so the links of a level, and the arithmetic, are as slow as the slowest among `usable(wanted)`.
  /// ValueError if fewer work.
  Cluster as_used(int64_t wanted) const;
  void check() const;
};

/// TOML. `file` opens every message, with the line: FileError.
Cluster parse_cluster(std::string_view text, const std::string& file);
Cluster read_cluster(const std::string& path);
std::string to_toml(const Cluster& cluster);
std::vector<std::string> preset_clusters();
/// KeyError with the names there are.
Cluster preset_cluster(std::string_view name);
/// By a preset's name, the text of a file (it has several lines), or else the path of one.
Cluster find_cluster(const std::string& given);

}  // namespace sorus::parallel
