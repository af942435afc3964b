// From a graph to a model of steps (model.h): each node says its form itself, by the rule beside its operator
// (device_form). What needs no facet:
//
//   views (reshape, permute, slice, expand)       nothing happens on the device: the value lies where its input lies
//   a scalar body from 8 bits to 8 bits           a table of its 256 results, computed by running it
//   a scalar body on floats                       the body as C
//
// A value is a tensor of the model and a geometry: where in that tensor's memory its elements lie. So an image that
// the graph calls [n, c, h, w] lies as n, h, w, c from one convolution to the next, and a permutation of a model's
// input costs nothing. Where a rule wants another order than the one there is, a step moves the elements.
//
// Weights are the constants of the graph: its inputs behind the first `inputs`.
#pragma once

#include "sorus/device/model.h"
#include "sorus/graph/graph.h"

namespace sorus::device {

/// `constants`: the values of the graph's inputs behind the first `inputs`, in order. The first `outputs` outputs of
/// the graph are the model's; each further one is the new value of the graph input that `write_targets` names, a
/// state that the caller keeps from run to run. NotImplementedError that lists all operators without a form, with
/// their nodes.
Model lower(const Graph& graph, const TensorList& constants, int inputs, int outputs,
            const std::vector<int>& write_targets = {});

}  // namespace sorus::device
