// x[...] and x[...] = v.
#pragma once

#include "methods.h"

namespace sorus::python {

nb::object get_item(Self self, nb::handle index);
void set_item(Self self, nb::handle index, nb::handle value);

}  // namespace sorus::python
