// Operators as Python sees them: groups of overloads.
#pragma once

#include <string>
#include <vector>

#include "bind.h"

namespace sorus::python {

struct Group {
  std::string name;
  std::vector<const OpDef*> overloads;
};

/// Null if the registry has no operator of that base name.
const Group* find_group(std::string_view base);

/// The slots of Python's number protocol and comparisons, for the class Tensor.
PyType_Slot* symbol_slots();

/// RuntimeError unless it is None or the processor.
void check_device(nb::handle device, const char* who);

}  // namespace sorus::python
