// Switches of the tape and functions on it; sorus/autograd.py gives them their usual forms.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "bind.h"
#include "sorus/autodiff/tape.h"

namespace sorus::python {
namespace {

const Part part{
    20, [](nb::module_& m) {
      m.def("is_grad_enabled", &grad_enabled);
      m.def("_set_grad_enabled", [](bool on) {
        bool before = grad_enabled();
        set_grad_enabled(on);
        return before;
      });
      m.def("_autocast_dtype", &autocast_dtype);
      m.def("_set_autocast_dtype", &set_autocast_dtype, nb::arg("dtype").none());
      m.def("_set_anomaly_mode", &set_anomaly_mode);
      m.def("_gradients", [](nb::handle outputs, nb::handle inputs, nb::handle grads, bool retain, bool create) {
        return wrap_list(gradients(unwrap_list(outputs, "grad"), unwrap_list(inputs, "grad"),
                                   unwrap_list(grads, "grad"), retain, create));
      });
      m.def("_custom_function", [](nb::handle inputs, nb::object forward, nb::object backward, std::string name) {
        return wrap_list(custom_function(
            unwrap_list(inputs, "Function"), [forward] { return unwrap_list(forward(), "forward"); },
            [backward](TensorSpan grads) { return unwrap_list(backward(wrap_list(grads)), "backward"); }, name));
      });
    }};

}  // namespace
}  // namespace sorus::python
