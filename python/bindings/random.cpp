// Generators and the functions that draw from them.
#include <nanobind/stl/optional.h>

#include "bind.h"
#include "methods.h"
#include "sorus/nn/random.h"
#include "sorus/tensor/copy.h"

namespace sorus::python {
namespace {

using nn::Generator;

Generator& chosen(Generator* g) { return g ? *g : nn::default_generator(); }

// randn(2, 3), randn((2, 3)), randn(size=...)
Shape size_from(nb::args args, const nb::object& size) {
  Shape out;
  nb::object items = args;
  if (!size.is_none())
    items = size;
  else if (nb::len(args) == 1 && !PyLong_Check(args[0].ptr()))
    items = args[0];
  for (nb::handle i : nb::iter(items)) {
    nb::object n = nb::steal(PyNumber_Index(i.ptr()));  // an error that says what it was
    if (!n.is_valid()) nb::raise_python_error();
    out.push_back(PyLong_AsLongLong(n.ptr()));
    if (PyErr_Occurred()) nb::raise_python_error();
  }
  return out;
}

using Draw = Tensor (*)(const Shape&, DType, Generator&);
template <Draw draw>
Tensor drawn(nb::args args, nb::kwargs kwargs) {
  auto option = [&](const char* name) -> nb::object {
    return kwargs.contains(name) ? nb::object(kwargs[name]) : nb::none();
  };
  nb::object dtype = option("dtype"), generator = option("generator"), grad = option("requires_grad");
  Generator* g = generator.is_none() ? nullptr : nb::cast<Generator*>(generator);
  Tensor t =
      draw(size_from(args, option("size")), dtype.is_none() ? default_dtype() : nb::cast<DType>(dtype), chosen(g));
  if (!grad.is_none() && nb::cast<bool>(grad)) t.impl()->requires_grad = true;
  return t;
}

const Part part{
    30, [](nb::module_& m) {
      nb::class_<Generator>(m, "Generator")
          .def(
              "__init__", [](Generator* self, nb::object) { new (self) Generator; }, nb::arg("device") = nb::none())
          .def("manual_seed",
               [](nb::handle self, int64_t seed) {
                 nb::cast<Generator&>(self).manual_seed(seed);
                 return nb::borrow(self);
               })
          .def("get_state", &Generator::state)
          .def("set_state", &Generator::set_state);
      m.attr("default_generator") = nb::cast(&nn::default_generator(), nb::rv_policy::reference);
      m.def(
          "manual_seed",
          [](int64_t seed) {
            nn::manual_seed(seed);
            return &nn::default_generator();
          },
          nb::rv_policy::reference);
      m.def("get_rng_state", [] { return nn::default_generator().state(); });
      m.def("set_rng_state", [](const Tensor& state) { nn::default_generator().set_state(state); });
      m.def("rand", &drawn<nn::rand>);
      m.def("randn", &drawn<nn::randn>);
      m.def(
          "rand_like",
          [](const Tensor& t, std::optional<DType> dtype) { return nn::rand(t.sizes(), dtype.value_or(t.dtype())); },
          nb::arg("input"), nb::kw_only(), nb::arg("dtype") = nb::none());
      m.def(
          "randn_like",
          [](const Tensor& t, std::optional<DType> dtype) { return nn::randn(t.sizes(), dtype.value_or(t.dtype())); },
          nb::arg("input"), nb::kw_only(), nb::arg("dtype") = nb::none());
      // randint(high, size) and randint(low, high, size)
      m.def(
          "randint",
          [](int64_t a, nb::object b, nb::object c, Generator* g, std::optional<DType> dtype, nb::object) {
            int64_t low = c.is_none() ? 0 : a, high = c.is_none() ? a : nb::cast<int64_t>(b);
            Shape size = size_from(nb::borrow<nb::args>(nb::make_tuple()), c.is_none() ? b : c);
            SORUS_CHECK(high > low, ValueError, "randint: there is no number from {} up to, but not with, {}", low,
                        high);
            Tensor unit = nn::rand(size, DType::f64, chosen(g)), out = Tensor::empty(size, DType::i64);
            for (int64_t i = 0; i < out.numel(); ++i)
              out.data<int64_t>()[i] =
                  low + static_cast<int64_t>(unit.data<double>()[i] * static_cast<double>(high - low));
            if (!dtype || *dtype == DType::i64) return out;
            Tensor other = Tensor::empty(size, *dtype);
            copy_elements(other, out);
            return other;
          },
          nb::arg("low"), nb::arg("high"), nb::arg("size") = nb::none(), nb::kw_only(),
          nb::arg("generator").none() = nb::none(), nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none());
      nb::handle type(reinterpret_cast<PyObject*>(tensor_type));
      nb::setattr(type, "normal_",
                  nb::cpp_function(
                      [](Self self, double mean, double std, Generator* g) {
                        nn::normal_(tensor_in(self.ptr()), mean, std, chosen(g));
                        return nb::borrow(self);
                      },
                      nb::is_method(), nb::scope(type), nb::name("normal_"), nb::arg("mean") = 0.0,
                      nb::arg("std") = 1.0, nb::kw_only(), nb::arg("generator").none() = nb::none()));
      nb::setattr(type, "uniform_",
                  nb::cpp_function(
                      [](Self self, double low, double high, Generator* g) {
                        nn::uniform_(tensor_in(self.ptr()), low, high, chosen(g));
                        return nb::borrow(self);
                      },
                      nb::is_method(), nb::scope(type), nb::name("uniform_"), nb::arg("from") = 0.0,
                      nb::arg("to") = 1.0, nb::kw_only(), nb::arg("generator").none() = nb::none()));
    }};

}  // namespace
}  // namespace sorus::python
