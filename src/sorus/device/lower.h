// From a graph to a model of steps (model.h): each node says its form itself, by the rule beside its operator
// (device_form). What needs no facet:
//
//   views that keep all bytes in order (reshape, squeeze)       nothing happens on the device
//   a scalar body from 8 bits to 8 bits                         a table of its 256 results, computed by running it
//
// Weights are the constants of the graph: its inputs behind the first `inputs`.
#pragma once

#include "sorus/device/model.h"
#include "sorus/graph/graph.h"

namespace sorus::device {

/// `constants`: the values of the graph's inputs behind the first `inputs`, in order. The first `outputs` outputs of
/// the graph are the model's. NotImplementedError that lists all operators without a form, with their nodes.
Model lower(const Graph& graph, const TensorList& constants, int inputs, int outputs);

}  // namespace sorus::device
