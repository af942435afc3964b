// x[...] and x[...] = v.
#pragma once

#include "bind.h"

namespace sorus::python {

nb::object get_item(nb::handle self, nb::handle index);
void set_item(nb::handle self, nb::handle index, nb::handle value);

}  // namespace sorus::python
