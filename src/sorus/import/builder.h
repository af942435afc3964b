// What the readers of all formats share: a graph is recorded (graph/trace.h) by calling operators, one operator of
// the file after the other. What does not depend on the inputs is a real tensor and computed at once, so shapes and
// tables that a file computes are gone from the graph.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "sorus/graph/call.h"
#include "sorus/import/model.h"

namespace sorus::importer {

class GraphBuilder {
 public:
  GraphBuilder(std::string format, const std::string& path);

  Tensor input(const std::string& name, const TensorType& type, const Quantization& quantization = {});
  void output(const std::string& name, const Tensor& t, const Quantization& quantization = {});
  /// Writes down what the integers of a value mean.
  void annotate(const Tensor& t, const Quantization& quantization);
  /// Makes a constant a weight of the graph under this name (numbered if another has it).
  void name_weight(const Tensor& t, const std::string& name, const Quantization& quantization = {});
  /// The name that a constant gets if the graph uses it.
  void remember(const Tensor& constant, const std::string& name);
  /// A tensor that stands for what an unknown operator would give.
  Tensor stand_in(const TensorType& type);

  /// Runs `f`, which converts operator `number` (from 1) of the file. Operators that cannot be converted are
  /// collected, and `f` is false; errors of operators become FileErrors.
  bool convert(int number, const std::string& op, const std::function<void()>& f);
  /// Runs `f` with the recording on; errors become FileErrors.
  void guarded(const std::function<void()>& f);
  /// Notes an operator nobody knows.
  void unknown(int number, const std::string& op, const std::string& why = "");

  /// The model; NotImplementedError if there were operators that cannot be converted.
  ImportedModel finish();

 private:
  std::string path_, file_;
  ImportedModel model_;
  Tracer tracer_;
  struct Named {
    Tensor keep;  ///< so that its storage is not taken by another
    std::string name;
  };
  std::unordered_map<const Storage*, Named> remembered_;
  struct Missing {
    std::string op, why;
    std::vector<int> nodes;
  };
  std::vector<Missing> missing_;
  std::vector<std::string> names_;
};

/// Runs `f` outside of the recording: on constants.
template <class F>
auto computed(F f) {
  InterpreterScope eager(nullptr);
  GradMode off(false);
  return f();
}
inline bool is_constant(const Tensor& t) { return !t.defined() || !t.is_abstract(); }
/// Elements that a model may make out of constants while it is read.
inline constexpr int64_t kMaxElements = int64_t{1} << 31;

}  // namespace sorus::importer
