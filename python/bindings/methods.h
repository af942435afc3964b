// Methods of Tensor that take the Python object itself.
#pragma once

#include "bind.h"

namespace sorus::python {

/// The object that a method is called on. Nothing but a tensor is taken for it, also in `Tensor.cpu(3)`.
using Self = nb::handle_t<Tensor>;

}  // namespace sorus::python
