// Layers: the C++ classes themselves. sorus/nn/__init__.py adds what only Python has
// (attributes that register themselves, __call__ with any arguments).
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <nanobind/trampoline.h>

#include "bind.h"
#include "sorus/nn/gpt.h"

namespace sorus::python {
namespace {

// A Python subclass may define forward; C++ containers then call it.
template <class Base>
struct Overridable : Base {
  NB_TRAMPOLINE(Base, 1);
  Tensor forward(const Tensor& input) override { NB_OVERRIDE(forward, input); }
};

template <class M, class... Args, class... Extra>
auto layer(nb::module_& m, const char* name, nb::init<Args...> init, Extra... extra) {
  return nb::class_<M, nn::Module, Overridable<M>>(m, name, nb::dynamic_attr())
      .def(std::move(init), extra...)
      .def("forward", [](M& self, const Tensor& x) { return self.M::forward(x); });
}

Shape shape_from(const nb::object& o) {
  if (nb::isinstance<nb::int_>(o)) return Shape{nb::cast<int64_t>(o)};
  Shape s;
  for (nb::handle h : o) s.push_back(nb::cast<int64_t>(h));
  return s;
}

const Part modules{20, [](nb::module_& root) {
  nb::module_ m = root.def_submodule("_nn");
  nb::class_<nn::Module, Overridable<nn::Module>>(m, "Module", nb::dynamic_attr(), nb::is_weak_referenceable())
      .def(nb::init<>())
      .def("forward", [](nn::Module& self, const Tensor& x) { return self.nn::Module::forward(x); })
      .def("register_parameter", [](nn::Module& self, const std::string& name, nb::handle t) {
        self.register_parameter(name, unwrap(t, "register_parameter"));
      }, nb::arg("name"), nb::arg("param").none())
      .def("register_buffer", [](nn::Module& self, const std::string& name, nb::handle t) {
        self.register_buffer(name, unwrap(t, "register_buffer"));
      }, nb::arg("name"), nb::arg("tensor").none())
      .def("register_module", &nn::Module::register_module)
      .def("named_parameters", &nn::Module::named_parameters)
      .def("parameters", [](const nn::Module& self) { return wrap_list(self.parameters()); })
      .def("named_children", &nn::Module::children)
      .def("num_parameters", &nn::Module::num_parameters)
      .def("state_dict", &nn::Module::state_dict)
      .def("load_state_dict", &nn::Module::load_state_dict, nb::arg("state_dict"), nb::arg("strict") = true)
      .def_prop_ro("training", &nn::Module::is_training)
      .def("train", [](nb::handle self, bool on) {
        nb::cast<nn::Module&>(self).train(on);
        return nb::borrow(self);
      }, nb::arg("mode") = true)
      .def("eval", [](nb::handle self) {
        nb::cast<nn::Module&>(self).eval();
        return nb::borrow(self);
      })
      .def("zero_grad", [](nn::Module& self, bool) { self.zero_grad(); }, nb::arg("set_to_none") = true);
  layer<nn::Linear>(m, "Linear", nb::init<int64_t, int64_t, bool>(), nb::arg("in_features"), nb::arg("out_features"),
                    nb::arg("bias") = true)
      .def_prop_ro("weight", [](nn::Linear& l) { return wrap(l.weight); })
      .def_prop_ro("bias", [](nn::Linear& l) { return wrap(l.bias); });
  layer<nn::Embedding>(m, "Embedding", nb::init<int64_t, int64_t>(), nb::arg("num_embeddings"),
                       nb::arg("embedding_dim"))
      .def_prop_ro("weight", [](nn::Embedding& l) { return wrap(l.weight); });
  nb::class_<nn::LayerNorm, nn::Module, Overridable<nn::LayerNorm>>(m, "LayerNorm", nb::dynamic_attr())
      .def("__init__", [](Overridable<nn::LayerNorm>* self, const nb::object& shape, double eps, bool bias) {
        new (self) Overridable<nn::LayerNorm>(shape_from(shape), eps, bias);
      }, nb::arg("normalized_shape"), nb::arg("eps") = 1e-5, nb::arg("bias") = true)
      .def("forward", [](nn::LayerNorm& self, const Tensor& x) { return self.nn::LayerNorm::forward(x); })
      .def_prop_ro("weight", [](nn::LayerNorm& l) { return wrap(l.weight); })
      .def_prop_ro("bias", [](nn::LayerNorm& l) { return wrap(l.bias); });
  layer<nn::Dropout>(m, "Dropout", nb::init<double>(), nb::arg("p") = 0.5);
  layer<nn::CausalSelfAttention>(m, "CausalSelfAttention", nb::init<int64_t, int64_t, double, bool>(),
                                 nb::arg("n_embd"), nb::arg("n_head"), nb::arg("dropout") = 0.0, nb::arg("bias") = true);
  nb::class_<nn::GPT, nn::Module>(m, "GPT", nb::dynamic_attr())
      .def("__init__", [](nn::GPT* self, int64_t vocab_size, int64_t block_size, int64_t n_layer, int64_t n_head,
                          int64_t n_embd, double dropout, bool bias) {
        new (self) nn::GPT({vocab_size, block_size, n_layer, n_head, n_embd, dropout, bias});
      }, nb::arg("vocab_size") = 50257, nb::arg("block_size") = 1024, nb::arg("n_layer") = 12, nb::arg("n_head") = 12,
           nb::arg("n_embd") = 768, nb::arg("dropout") = 0.0, nb::arg("bias") = true)
      .def("forward", [](nn::GPT& self, const Tensor& ids) { return self.forward(ids); })
      .def("loss", &nn::GPT::loss, nb::arg("ids"), nb::arg("targets"));
}};

}  // namespace
}  // namespace sorus::python
