// Scalar bodies of integer operators as forms. Nothing is said beside an operator for it: the form is read off its
// body, its types and its constants. From 8 bits to 8 bits the operator is run on all 256 values and becomes a table.
#pragma once

#include "sorus/graph/device_form.h"

namespace sorus::device {

/// The form of a call with a scalar body that reads or writes integers; nothing if it has none.
std::optional<DeviceForm> integer_each(const DeviceCall& c);
/// A call with a scalar body whose only input beside numbers has the result's shape, as a function of elements as
/// they are stored (Step::unary); nothing for others.
std::function<Tensor(const Tensor&)> element_function(const DeviceCall& c);
/// The order in memory for such a call: as the input lies if all others are numbers, else that of the dimensions.
Shape each_order(const DeviceCall& c, const Shape& now);

}  // namespace sorus::device
