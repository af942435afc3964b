// Types as DLPack and NumPy's ndarray bindings name them.
#pragma once

#include <nanobind/ndarray.h>

#include "bind.h"

namespace sorus::python {

nb::dlpack::dtype to_dlpack(DType t);

}  // namespace sorus::python
