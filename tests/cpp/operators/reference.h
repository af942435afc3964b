// What an operator should compute, by the slowest and plainest means: scalar bodies are evaluated element by element,
// index notation is run point by point, composites are replaced by their bodies, all in double precision.
#pragma once

#include <complex>
#include <optional>

#include "sorus/graph/op.h"

namespace sorus::harness {

/// All elements in row-major order.
std::vector<std::complex<double>> elements(const Tensor& t);

/// Results of a call in wide types (f64, c128, i64), with `inputs` of those types; nothing if the operator has
/// neither a scalar body nor index notation, so that there is no way but its kernel.
std::optional<std::vector<std::vector<std::complex<double>>>> reference(const OpDef& op, TensorSpan inputs,
                                                                        const Attrs& attrs);

/// The same elements in the wide type of their kind: f64, c128, i64 (also for truth values).
Tensor widened(const Tensor& t);

/// "" if the elements are near those expected, else what differs. `slack` multiplies the tolerance of the type.
std::string difference(const Tensor& found, const std::vector<std::complex<double>>& expected, double slack = 1);
std::string difference(const Tensor& found, const Tensor& expected, double slack = 1);

}  // namespace sorus::harness
