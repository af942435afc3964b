// Chain: a traced forward graph seen as layers one after another.
//
// Between two layers only one value lives on, such as the sum behind a residual branch. The graph is cut there; parts
// with the same operators, types and wiring are of one *unit type*, and whatever is worked out for a type is worked
// out once, however deep the model is.
//
//   Model model = trace_model("gpt", inputs, parameters, [&](TensorSpan in) { return gpt.loss(in[0], in[1]); });
//   Chain chain = fold(model);
//   chain.units.size()      // 194 for 96 blocks
//   chain.types.size()      // 4: embedding, attention, feed forward, head with loss
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "sorus/graph/graph.h"
#include "sorus/nn/module.h"

namespace sorus::parallel {

/// A program of one device: its forward graph at one batch size. Graph inputs are first the explicit ones, then the
/// parameters, then what else was captured.
struct Model {
  std::string name;
  Graph graph;
  int inputs = 0;      ///< explicit inputs, split along dimension 0 by data parallelism
  int parameters = 0;  ///< their names are the labels of the graph's inputs
  int64_t batch = 1;   ///< size of dimension 0 of the inputs
  double parameter_count() const;
  bool is_parameter(const Node& node) const;  ///< one of the graph's inputs that is a parameter
};

/// Records `loss` of inputs of these types. Parameters and buffers may be abstract (graph/meta.h).
Model trace_model(const std::string& name, const std::vector<TensorType>& inputs, const nn::NamedTensors& parameters,
                  const std::function<Tensor(TensorSpan)>& loss, const nn::NamedTensors& buffers = {});

struct UnitType {
  std::string name;        ///< what its parameters have in common: "blocks.*.attention"
  int first = 0, end = 0;  ///< positions in the graph of the first unit of this type
  int count = 0;           ///< units of this type in the chain
};

struct Unit {
  int type = 0;
  int first = 0, end = 0;  ///< positions in Graph::nodes()
  std::string name;        ///< "blocks.3.attention"
};

struct Chain {
  std::vector<UnitType> types;
  std::vector<Unit> units;
  /// By position in Graph::nodes(): whether the node depends on a parameter or on an input of real numbers. What does
  /// not (positions, masks, keys of random numbers) each unit makes for itself.
  std::vector<char> flows;
  /// The types repeat after this many units: 2 for attention and feed forward in turns.
  int period = 1;
};

Chain fold(const Model& model);

}  // namespace sorus::parallel
