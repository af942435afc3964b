// How layers are bound: each is the C++ class itself, which Python may subclass.
#pragma once

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/trampoline.h>

#include "bind.h"
#include "sorus/nn/layers.h"

namespace sorus::python {

/// A Python subclass may define forward; C++ containers then call it.
template <class Base>
struct Overridable : Base {
  NB_TRAMPOLINE(Base);
  Tensor forward(const Tensor& input) override { NB_OVERRIDE(forward, input); }
  std::string class_name() const override {
    nb::handle self = nb_trampoline.base();
    return self.is_valid() ? nb::cast<std::string>(self.type().attr("__name__")) : Base::class_name();
  }
};

template <class M>
using LayerClass = nb::class_<M, nn::Module, Overridable<M>>;

/// What a constructor gets: the place of the new object, and the Python object around it.
template <class M>
using Place = nb::pointer_and_handle<M>;
template <class M, class... Args>
void make(Place<M> place, Args&&... args) {
  if (nb::inst_python_derived(place.h))
    new (static_cast<void*>(place.p)) Overridable<M>(std::forward<Args>(args)...);
  else
    new (static_cast<void*>(place.p)) M(std::forward<Args>(args)...);
}

/// A class with the constructor `__init__(args..., device=None, dtype=None)`. `arguments(layer)` gives the tuple that
/// makes such a layer again (for copies and pickles).
template <class... Args>
struct Constructor {
  template <class M, class Arguments, class... Names>
  static LayerClass<M> bind(nb::module_& m, const char* name, Arguments arguments, Names... names) {
    LayerClass<M> c(m, name, nb::dynamic_attr());
    c.def(
         "__init__",
         [](Place<M> self, Args... args, nb::handle, std::optional<DType> dtype) {
           make(self, std::move(args)...);
           if (dtype) self.p->to(*dtype);
         },
         names..., nb::arg("device").none() = nb::none(), nb::arg("dtype").none() = nb::none())
        .def("_arguments", [arguments](M& layer) { return arguments(layer); })
        .def(
            "forward", [](M& self, const Tensor& x) { return self.M::forward(x); }, nb::arg("input"));
    return c;
  }
};

}  // namespace sorus::python

/// A list of integers, or one integer, which is a list of one.
namespace nanobind::detail {
template <>
struct type_caster<sorus::Shape> {
  NB_TYPE_CASTER(sorus::Shape, const_name("int | Sequence[int]"))
  bool from_python(handle src, uint8_t, cleanup_list*) noexcept {
    value.clear();
    if (PyLong_Check(src.ptr())) return add(src.ptr());
    if (!PyTuple_Check(src.ptr()) && !PyList_Check(src.ptr())) return false;
    Py_ssize_t n = PySequence_Fast_GET_SIZE(src.ptr());
    for (Py_ssize_t i = 0; i < n; ++i)
      if (!add(PySequence_Fast_GET_ITEM(src.ptr(), i))) return false;
    return true;
  }
  static handle from_cpp(const sorus::Shape& s, rv_policy, cleanup_list*) noexcept {
    PyObject* t = PyTuple_New(static_cast<Py_ssize_t>(s.size()));
    for (size_t i = 0; i < s.size(); ++i) PyTuple_SET_ITEM(t, static_cast<Py_ssize_t>(i), PyLong_FromLongLong(s[i]));
    return t;
  }

 private:
  bool add(PyObject* o) noexcept {
    if (!PyIndex_Check(o)) return false;
    object index = steal(PyNumber_Index(o));
    long long v = index.is_valid() ? PyLong_AsLongLong(index.ptr()) : -1;
    if (PyErr_Occurred()) {
      PyErr_Clear();
      return false;
    }
    value.push_back(v);
    return true;
  }
};
}  // namespace nanobind::detail
