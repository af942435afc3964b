// Module and the containers. sorus/nn/module.py adds what only Python has: attributes that register themselves,
// __call__ with any arguments, hooks, copies.
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include "nn_bind.h"
#include "sorus/nn/gpt.h"

namespace sorus::python {
namespace {

// The arguments of a container's constructor are added by Python's `add_all`, which subclasses may see.
template <class M>
void container(nb::module_& m, const char* name) {
  LayerClass<M>(m, name, nb::dynamic_attr())
      .def("__init__",
           [](Place<M> self, nb::args modules) {
             make(self);
             nb::handle object = self.h;
             nb::inst_mark_ready(object);  // its methods are called before the constructor is over
             object.attr("_add_all")(*modules);
           })
      .def("_arguments", [](M&) { return nb::make_tuple(); });
}

// The model and its parts are made from the same configuration.
template <class M>
LayerClass<M> gpt_part(nb::module_& m, const char* name) {
  LayerClass<M> c(m, name, nb::dynamic_attr());
  c.def(
       "__init__",
       [](Place<M> self, int64_t vocab_size, int64_t block_size, int64_t n_layer, int64_t n_head, int64_t n_embd,
          double dropout, bool bias) {
         make(self, nn::GPTConfig{vocab_size, block_size, n_layer, n_head, n_embd, dropout, bias});
       },
       nb::arg("vocab_size") = 50257, nb::arg("block_size") = 1024, nb::arg("n_layer") = 12, nb::arg("n_head") = 12,
       nb::arg("n_embd") = 768, nb::arg("dropout") = 0.0, nb::arg("bias") = true)
      .def("_arguments",
           [](const M& g) {
             const nn::GPTConfig& o = g.config();
             return nb::make_tuple(o.vocab_size, o.block_size, o.n_layer, o.n_head, o.n_embd, o.dropout, o.bias);
           })
      .def(
          "forward", [](M& self, const Tensor& x) { return self.M::forward(x); }, nb::arg("input"));
  return c;
}

const Part modules{
    20, [](nb::module_& root) {
      nb::module_ m = root.def_submodule("_nn");
      nb::class_<nn::Module, Overridable<nn::Module>>(m, "Module", nb::dynamic_attr(), nb::is_weak_referenceable())
          .def(nb::init<>())
          .def("_arguments", [](nn::Module&) { return nb::make_tuple(); })
          .def("forward", [](nn::Module& self, const Tensor& x) { return self.nn::Module::forward(x); })
          .def("extra_repr", &nn::Module::extra_repr)
          .def(
              "_register_parameter",
              [](nn::Module& self, const std::string& name, nb::handle t) {
                self.register_parameter(name, unwrap(t, "register_parameter"));
              },
              nb::arg("name"), nb::arg("param").none())
          .def(
              "_register_buffer",
              [](nn::Module& self, const std::string& name, nb::handle t, bool persistent) {
                self.register_buffer(name, unwrap(t, "register_buffer"), persistent);
              },
              nb::arg("name"), nb::arg("tensor").none(), nb::arg("persistent"))
          .def("_register_module", &nn::Module::register_module, nb::arg("name"), nb::arg("module").none())
          .def(
              "_set_tensor",
              [](nn::Module& self, const std::string& name, nb::handle t) {
                self.set_tensor(name, unwrap(t, "set"));
              },
              nb::arg("name"), nb::arg("tensor").none())
          .def("_remove", &nn::Module::remove)
          // (tensor, is a parameter) or nothing
          .def("_find_tensor",
               [](const nn::Module& self, const std::string& name) -> nb::object {
                 const nn::Module::Slot* s = self.find_tensor(name);
                 return s ? nb::object(nb::make_tuple(wrap(s->tensor()), s->is_parameter)) : nb::none();
               })
          .def("_tensors",
               [](const nn::Module& self) {
                 nb::list out;
                 for (const auto& s : self.tensors())
                   out.append(nb::make_tuple(s.name, s.is_parameter, s.persistent));
                 return out;
               })
          .def("_children", &nn::Module::children)
          .def("num_parameters", &nn::Module::num_parameters)
          .def("_load",
               [](nn::Module& self, const std::map<std::string, Tensor>& state, bool strict) {
                 nn::LoadResult r = self.load_state_dict(state, strict);
                 return std::pair(r.missing, r.unexpected);
               })
          .def("_named_state", &nn::Module::named_state)
          .def("_to", &nn::Module::to)
          .def("_set_training", &nn::Module::set_training)
          .def_prop_rw("training", &nn::Module::is_training, &nn::Module::set_training)
          // Calls from C++ go through Python's __call__ too, where the hooks are.
          .def("_route_calls", [](nb::handle self, bool on) {
            nn::Module& module = nb::cast<nn::Module&>(self);
            if (!on) return module.set_call({});
            nb::weakref weak(self);
            module.set_call([weak](const Tensor& x) { return nb::cast<Tensor>(weak()(x)); });
          });
      container<nn::Sequential>(m, "Sequential");
      container<nn::ModuleList>(m, "ModuleList");
      container<nn::ModuleDict>(m, "ModuleDict");
      m.def("set_data", &nn::set_data);
      m.def(
          "is_begun", [](nb::handle module) { return nb::inst_ready(module); },
          "Whether its __init__ has called that of Module.");

      gpt_part<nn::Mlp>(m, "Mlp");
      gpt_part<nn::Block>(m, "Block");
      nb::class_<nn::GPTCache>(m, "GPTCache").def(nb::init<>()).def("__len__", &nn::GPTCache::length);
      gpt_part<nn::GPT>(m, "GPT")
          .def(
              "forward",
              [](nn::GPT& self, const Tensor& x, nn::GPTCache* cache) { return self.nn::GPT::forward(x, cache); },
              nb::arg("input"), nb::arg("cache"))
          .def("loss", &nn::GPT::loss, nb::arg("ids"), nb::arg("targets"));
    }};

}  // namespace
}  // namespace sorus::python
