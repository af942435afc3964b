// Functions of the scalar language for generated C: c_scalar.h prints calls of sorus_NAME_TYPE, which on a host are
// in the preamble of eager kernels; a device gets only those that a kernel calls, under the program's prefix.
#pragma once

#include "sorus/device/kernel.h"
#include "sorus/graph/scalar.h"

namespace sorus::device {

/// Whether every operation of the body has a spelling or a function here.
bool device_printable(const ScalarFunction& f, DType compute);
/// The lines with the functions' names in the program; what they need is added to the helpers.
std::vector<std::string> device_functions(const std::vector<std::string>& lines, Prepared& p);

}  // namespace sorus::device
