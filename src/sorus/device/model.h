// Model: what is left of a graph on its way to C: steps on tensors, each step one form with its constants.
//
//   Model m = lower(graph, constants);      // forms beside the operators, device/lower.h
//   simplify(m);                            // device/passes.h
//   ArenaPlan plan = plan_arena(m, ...);    // device/arena.h
//   Project p = print_project(m, plan, ...) // device/project.h
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "sorus/graph/device_form.h"

namespace sorus::device {

enum class Element : uint8_t { i8, u8, i16, i32, i64, f32 };
int64_t bytes_of(Element e);

struct DeviceTensor {
  std::string name;
  Shape dims;  ///< with the batch in front; four dimensions are batch, height, width, channels
  Element type = Element::i8;
  double scale = 0;  ///< of quantised tensors; 0 otherwise
  int32_t zero_point = 0;

  int64_t elements() const;
  int64_t bytes() const { return elements() * bytes_of(type); }
};

struct Step {
  DeviceForm form;
  std::vector<int> inputs;  ///< tensors; the first is the one a window slides over
  int output = -1;
  std::string name;                ///< what the report calls it
  std::vector<std::string> notes;  ///< what was fused into it, removed from it, moved offline
  /// A second input that is added to the result before the last clamp: a residual connection.
  std::optional<AddForm> residual;
  std::vector<int> changes = {};  ///< states among the inputs that the step changes in place
  /// Of a function of one element of its only input: the result for any tensor of elements as they are stored, so
  /// that a chain of such steps that begins and ends in 8 bits becomes one table (fold_tables).
  std::function<Tensor(const Tensor&)> unary = {};
};

/// Memory that the caller keeps from run to run, in the arena's first bytes.
struct State {
  int tensor =
      -1;          ///< what reads it sees what the last run left; the step whose output it is comes after all readers
  Tensor initial;  ///< as stored
};

struct Model {
  std::vector<DeviceTensor> tensors;
  std::vector<Step> steps;  ///< in an order in which they can be computed
  std::vector<int> inputs, outputs;
  std::vector<State> states;
  std::vector<std::string> notes;  ///< what happened to the whole

  bool is_input(int tensor) const;
  /// Whether the tensor is there after a run: an output or a state.
  bool is_output(int tensor) const;
  bool is_state(int tensor) const;
  std::vector<size_t> readers(int tensor) const;
  int writer(int tensor) const;  ///< step, or -1
};

}  // namespace sorus::device
