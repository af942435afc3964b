// The inside of a CompiledGraph, shared by the files that build it, give its values memory, and run it.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>

#include "sorus/base/profile.h"
#include "sorus/run/compiled.h"
#include "sorus/run/fuse.h"
#include "sorus/run/memory_plan.h"
#include "sorus/run/mirror.h"
#include "sorus/run/native_code.h"
#include "sorus/run/residency.h"

namespace sorus {

using LoopFunction = void (*)(char* const*, int64_t, int64_t, char*);
using FinishFunction = void (*)(char* const*, char* const*, int64_t);

// Where a value lives.
struct Slot {
  enum class Kind : uint8_t { input, arena, output } kind = Kind::arena;
  int index = 0;  // input or explicit output
  int64_t offset = 0;
  TensorType type;
};

struct Step {
  // A loop:
  LoopFunction loop = nullptr;
  FinishFunction finish = nullptr;
  int64_t rows = 0, wanted_threads = 1;
  size_t first_buffer = 0;   // its addresses in Impl::buffers
  std::vector<Step> strips;  // kernels of its Unit::strips
  std::vector<int> slots;    // of a kernel's results
  // A kernel call:
  const Node* node = nullptr;
  std::vector<int> operand_slots;  // -1: not given
  std::vector<Geometry> views, result_views;
  bool nothing = false;        // its parts are in place
  TensorList inputs, outputs;  // ready-made where nothing changes from run to run
  std::vector<size_t> waits;   // for these steps, which run beside, before this one
  bool fixed = false;          // reads and writes only the arena and what was captured
  int64_t ready_for = -1;      // the arrangement of the captured tensors (Impl::arrangement) that they were made for
};

// At the end of a step: `source`, seen through `view`, is copied into an input or an explicit output.
struct Copy {
  int source = -1;
  Geometry view;
  bool to_input = false;
  int target = 0;
  std::optional<Scalar> constant;
};

struct CompiledGraph::Impl {
  TracedGraph traced;
  BesideOptions beside;
  Rounding rounding;
  Graph graph;
  std::unique_ptr<Placement> placement;
  std::vector<Unit> units;
  std::vector<Slot> slots;
  std::unordered_map<Value, int> slot_of;
  std::vector<Step> steps;
  std::vector<int> wait_at;  // for each unit: see BesidePlan; by its place
  std::vector<size_t> waits_at_end;
  std::vector<Copy> copies;
  std::shared_ptr<NativeCode> code;
  std::string source;
  Tensor arena;
  Tensor scratch;
  int64_t scratch_bytes = 0;
  int scratch_threads = 0;
  CompileReport report;
  std::vector<PeakValue> peak;
  std::unordered_map<const Node*, int64_t> packed;  // see CompiledGraph::packed_bytes
  std::vector<Mirror> mirrors;
  std::vector<std::string> loop_names;
  // What loops are called with, of all loops one after another. Only the addresses of inputs and outputs change from
  // run to run: `known` are those written there, `places` where they stand (inputs first).
  std::vector<char*> buffers, known;
  std::vector<std::vector<size_t>> places;
  int64_t arrangement = 0;          // another number whenever a captured tensor was found at a new address
  std::vector<bool> written_input;  // whether an explicit input is a write target
  // With a memory limit: what is in reach when, for the addresses that were `known` when it was made.
  std::optional<Residency> residency;
  std::vector<char*> resident_at;

  Impl(TracedGraph t, const BesideOptions& b, Rounding r);

  // Loops as C.
  void build_code();
  // Where values lie (compiled_memory.cpp).
  int slot(const Value& v);
  Operand resolved(const Value& v) const;
  // Whether the loop reads graph input `in` only at the element it is about to write.
  static bool reads_elementwise(const Unit& u, const Value& in);
  void reorder();
  void reorder_beside(const std::vector<ScheduleUnit>& plan, std::vector<int>& order);
  void place_values();
  void find_peak(const std::vector<Lifetime>& lives, const std::vector<int>& temporary,
                 const std::unordered_map<Value, int>& made_by);
  // Running (compiled_run.cpp).
  Step kernel_step(const Node& node, const std::vector<Operand>& operands);
  void make_steps();
  void share_arena(const Tensor& memory);
  void set_addresses(const TensorList& inputs, const TensorList& outputs);
  Tensor tensor(int index, const Geometry& view, const TensorList& inputs, const TensorList& outputs) const;
  void keep_within_limit(const TensorList& inputs);
  double predicted_wait(double seconds, double bytes_per_second) const;
  void run_loop(const Step& s, int64_t first_row, int64_t last_row);
  void run_in_strips(size_t at, const TensorList& inputs, const TensorList& outputs);
  void run_kernel(size_t at);
  // What runs beside, by step; waited for by `land`.
  using Flying = std::vector<std::pair<size_t, std::function<void()>>>;
  void start(size_t at, Flying& flying);
  void land(const std::vector<size_t>& which, Flying& flying) const;
  // The tensors of a kernel's call, and the end of those that are not the same in the next run.
  void prepare(Step& s, const TensorList& inputs, const TensorList& outputs);
  static void let_go(Step& s);
  static TensorList run_graph_node(const Node& node);
  TensorList run(TensorSpan explicit_inputs);
  TensorList run_without_compiler(TensorSpan inputs);
  void check_indices(const Unit::IndexCheck& c, const TensorList& inputs, const TensorList& outputs) const;
  static void describe(const Unit& unit, ProfileEvent& e);
  void write_back(const TensorList& inputs, const TensorList& outputs);
};

}  // namespace sorus
