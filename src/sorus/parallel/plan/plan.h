// Plan: how one training step runs on many devices. The one file between planner, simulator and executor.
//
// A plan belongs to a program, which is the program of one device: it names its parameters and the nodes of its
// traced forward graph. Devices form a mesh; `mesh` lists its axes, the slowest first, so that the rank of a device
// is the mixed-radix number of its coordinates:
//
//   mesh: pp 4, dp 2, tp 8          rank = (pp * 2 + dp) * 8 + tp
//
// What an axis does follows from its kind:
//   data      every input is split along dimension 0; gradients are averaged. `zero` says what else is split along
//   it:
//             1 optimizer state, 2 and gradients, 3 and parameters.
//   tensor    operators are split by their sharding rules, starting from the placements in `marks`
//   sequence  the same, but along the tokens (context parallelism)
//   expert    like data, every input is split along dimension 0; parameters of experts are split as marked, and
//   tokens
//             change places by all-to-all in front of them and behind. The other gradients are averaged along it, too
//   pipeline  the stages in `stages`, each a range of the forward graph's nodes; with `chunks` > 1 a device has
//   several
//
// One step takes `global_batch` samples; a data-parallel rank takes global_batch / dp of them, in `micro_batches`
// equal parts of `micro_batch`. Marks, recomputation and offload say where tensors lie; whoever executes the plan
// propagates what is not marked. docs/plan.md describes the file member by member.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sorus::parallel {

enum class AxisKind : uint8_t { data, tensor, sequence, expert, pipeline };
enum class Schedule : uint8_t { none, gpipe, one_f_one_b, interleaved, zero_bubble };
enum class Recompute : uint8_t { none, selective, full };

std::string_view name(AxisKind kind);
std::string_view name(Schedule schedule);
std::string_view name(Recompute recompute);
/// ValueError with the names there are.
AxisKind axis_kind(std::string_view name);
Schedule schedule_kind(std::string_view name);
Recompute recompute_kind(std::string_view name);

struct PlanAxis {
  std::string name;  ///< "dp"
  AxisKind kind = AxisKind::data;
  int64_t size = 1;
  std::string level;       ///< the widest level of the cluster that it crosses, for the reader
  std::string collective;  ///< algorithm: "ring", "tree", "hierarchical"; "" is the executor's choice
};

/// How a tensor lies along one axis of the mesh.
struct AxisPlacement {
  enum class Kind : uint8_t { replicate, shard, partial };
  Kind kind = Kind::replicate;
  int64_t dim = 0;  ///< of a shard
  bool operator==(const AxisPlacement&) const = default;
  std::string to_string() const;  ///< "R", "S(0)", "P"
  static AxisPlacement parse(std::string_view text);
};

/// A tensor whose placement the plan fixes. Axes that are not named replicate.
struct Mark {
  enum class Of : uint8_t { parameter, input, node };
  Of of = Of::parameter;
  std::string name;    ///< parameters: "h.0.attn.c_attn.weight"; inputs and nodes: free text
  int64_t index = 0;   ///< inputs: which; nodes: the id in the forward graph
  int64_t output = 0;  ///< nodes: which result
  std::map<std::string, AxisPlacement> on;
};

/// Bytes on the fullest device of a stage when it is fullest.
struct StageMemory {
  double parameters = 0, gradients = 0, optimizer = 0, activations = 0, buffers = 0;
  double total() const { return parameters + gradients + optimizer + activations + buffers; }
};

/// Consecutive nodes of the forward graph: [first_node, end_node) by their position in Graph::nodes(). The backward
/// pass of a node runs where the node runs. The executor records the program anew, with its gradient, so it finds the
/// borders by the parameters: a stage begins behind what reads those of the stages before it, and not behind the
/// first that reads one of its own.
struct PlanStage {
  int64_t first_node = 0, end_node = 0;
  std::vector<std::string> parameters;  ///< that the stage reads and none before it does
  std::string from, to;                 ///< for the reader: the layers at both ends
  int64_t device = 0;                   ///< coordinate along the pipeline axis; interleaved stages share it
  Recompute recompute = Recompute::none;
  int64_t recompute_layers = -1;  ///< how many of the stage's layers, from its first; -1: all of them
  /// Forward nodes whose results are made again in the backward pass: ranges of positions, half open.
  std::vector<std::pair<int64_t, int64_t>> recomputed;
  StageMemory memory;
  double forward_s = 0, backward_s = 0;  ///< of one micro-batch
};

struct PlanOffload {
  bool optimizer = false, parameters = false, activations = false;
  bool host_update = false;  ///< the optimizer runs on the host
};

/// Seconds of one step on the slowest device.
struct PlanTime {
  double step = 0, lower_bound = 0;
  double compute = 0, recompute = 0, communication = 0, bubble = 0, optimizer = 0, offload = 0;
  double search = 0;
};

struct Plan {
  std::string model, cluster;
  uint64_t graph_hash = 0;  ///< of the forward graph's text; 0: any graph
  int64_t devices = 1;
  std::vector<PlanAxis> mesh;
  /// Device of the cluster for each rank; empty: the same number.
  std::vector<int64_t> device_of_rank;

  int64_t global_batch = 1, micro_batch = 1, micro_batches = 1;
  Schedule schedule = Schedule::none;
  int64_t chunks = 1;             ///< stages of a device
  std::vector<PlanStage> stages;  ///< in order of the forward pass, pipeline size * chunks of them

  int zero = 0;
  bool sequence_parallel = false;  ///< between operators split by `tensor`, tokens are split along the same axis
  bool overlap = true;             ///< gradients are reduced while the backward pass runs
  int64_t bucket_bytes = 25 << 20;
  PlanOffload offload;
  std::vector<Mark> marks;

  PlanTime time;
  double memory_bytes = 0;  ///< the fullest device
  std::vector<std::string> notes;

  /// 1 if there is no such axis.
  int64_t size(AxisKind kind) const;
  const PlanAxis* axis(AxisKind kind) const;
  /// Coordinate of a rank along mesh[axis].
  int64_t coordinate(int64_t rank, size_t axis) const;
  /// "dp 2 x tp 8 x pp 4, 1f1b, 16 micro-batches of 1, ZeRO 1"
  std::string to_string() const;
  /// ValueError that names the member: sizes whose product is not `devices`, stages that leave nodes out, a batch
  /// that does not divide, marks on axes that do not exist.
  void check() const;
};

std::string to_json(const Plan& plan);
/// `file` opens every message. FileError for what is not a plan; the result has been checked.
Plan plan_from_json(std::string_view text, const std::string& file);
Plan read_plan(const std::string& path);
void write_plan(const Plan& plan, const std::string& path);

}  // namespace sorus::parallel
