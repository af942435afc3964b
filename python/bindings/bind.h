// What the files of the Python module share.
//
// sorus._core is split by subject; each file registers a function that adds its part to the module:
//
//   static const Part losses{20, [](nb::module_& m) { m.def("...", ...); }};
//
// Parts run by ascending order: 0 errors and dtypes, 10 Tensor, 20 operators and everything that only uses them.
// Operators are never listed here: operators.cpp makes functions and methods of whatever the registry holds.
#pragma once

#include <nanobind/nanobind.h>

#include "sorus/graph/call.h"

namespace nb = nanobind;

namespace sorus::python {

struct Part {
  Part(int order, void (*add)(nb::module_&));
};

/// The Python class sorus.Tensor.
extern PyTypeObject* tensor_type;
inline bool is_tensor(PyObject* o) { return PyObject_TypeCheck(o, tensor_type); }
/// The tensor inside an instance of sorus.Tensor (unchecked).
inline Tensor& tensor_in(PyObject* o) { return *nb::inst_ptr<Tensor>(o); }
/// A new Python object for a tensor; None for an undefined one.
nb::object wrap(Tensor t);
nb::list wrap_list(TensorSpan tensors);
/// From a tensor or None.
Tensor unwrap(nb::handle o, const char* what);
/// From a tensor, or from a sequence of tensors and Nones.
TensorList unwrap_list(nb::handle o, const char* what);

/// Turns the C++ exception that is being handled into the Python error.
void set_python_error() noexcept;

nb::object wrap_dtype(DType t);
/// dtype objects, their names, Python's float, int, bool and complex, and NumPy's types; nothing for anything else.
std::optional<DType> dtype_from(PyObject* o);

nb::object wrap_size(IntSpan shape);
nb::object wrap_scalar(const Scalar& s);
/// What __index__ gives; nothing for what only looks like an integer until it is asked, such as an array.
/// OverflowError beyond 64 bits.
std::optional<int64_t> index_from(PyObject* o);
/// Numbers only (Python's and NumPy's).
std::optional<Scalar> scalar_from(PyObject* o);
/// Numbers, nested sequences, arrays: always a copy.
Tensor tensor_from(nb::handle data, std::optional<DType> dtype);
/// Shares the memory of an object with the buffer protocol.
Tensor tensor_from_buffer(nb::handle array);

/// Calls an operator group ("add") as Python does.
nb::object call_group(const char* base, std::initializer_list<nb::handle> args);

}  // namespace sorus::python

/// DType converts to and from the dtype objects in signatures of bound functions.
namespace nanobind::detail {
template <>
struct type_caster<sorus::DType> {
  NB_TYPE_CASTER(sorus::DType, const_name("dtype"))
  bool from_python(handle src, uint8_t, cleanup_list*) noexcept {
    auto t = sorus::python::dtype_from(src.ptr());
    if (t) value = *t;
    return t.has_value();
  }
  static handle from_cpp(sorus::DType t, rv_policy, cleanup_list*) noexcept {
    return sorus::python::wrap_dtype(t).release();
  }
};
}  // namespace nanobind::detail
