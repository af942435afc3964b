// Optimizers: the C++ classes. sorus/optim/optimizer.py shows their groups and state in PyTorch's form.
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "sorus/nn/utils.h"
#include "sorus/optim/optimizer.h"

namespace sorus::python {
namespace {

using GivenGroup = std::pair<nb::object, optim::Settings>;

optim::Group group_from(const GivenGroup& given) {
  return {unwrap_list(given.first, "optimizer"), {}, {}, given.second};
}

// The settings come by name; those that are absent are the optimizer's defaults.
template <class Algorithm>
void bind_algorithm(nb::module_& m, const char* name) {
  using Options = typename Algorithm::Options;
  nb::class_<Algorithm, optim::Optimizer>(m, name).def(
      "__init__", [](Algorithm* self, const std::vector<GivenGroup>& given, const optim::Settings& settings) {
        std::vector<optim::Group> groups;
        for (const GivenGroup& g : given) groups.push_back(group_from(g));
        Options options;
        optim::Settings unknown = settings;
        Options::each(options, [&](const char* field, auto& to) {
          if (auto it = settings.find(field); it != settings.end())
            to = static_cast<std::remove_reference_t<decltype(to)>>(it->second);
          unknown.erase(field);
        });
        SORUS_CHECK(unknown.empty(), TypeError, "optimizer: there is no setting '{}' that is one number",
                    unknown.begin()->first);
        new (self) Algorithm(groups, options);
      });
}

const Part optimizers{
    20, [](nb::module_& root) {
      nb::module_ m = root.def_submodule("_optim");
      nb::class_<optim::Optimizer>(m, "Optimizer")
          .def(
              "step", [](optim::Optimizer& o, nb::handle skip) { o.step(unwrap(skip, "step")); },
              nb::arg("skip").none() = nb::none())
          .def("zero_grad", &optim::Optimizer::zero_grad)
          .def("add_group", [](optim::Optimizer& o, const GivenGroup& g) { o.add_group(group_from(g)); })
          .def("num_groups", &optim::Optimizer::num_groups)
          .def("parameters", [](const optim::Optimizer& o, size_t i) { return wrap_list(o.parameters(i)); })
          .def("settings", &optim::Optimizer::settings)
          .def("set", &optim::Optimizer::set)
          .def("constants_version", &optim::Optimizer::constants_version)
          .def("steps", &optim::Optimizer::steps)
          .def("state_dict", &optim::Optimizer::state_dict)
          .def("initial_state_dict", &optim::Optimizer::initial_state_dict)
          .def("load_state_dict", &optim::Optimizer::load_state_dict);
      bind_algorithm<optim::Adam>(m, "Adam");
      bind_algorithm<optim::AdamW>(m, "AdamW");
      bind_algorithm<optim::SGD>(m, "SGD");
      bind_algorithm<optim::RMSprop>(m, "RMSprop");
      bind_algorithm<optim::Adagrad>(m, "Adagrad");
      bind_algorithm<optim::Adadelta>(m, "Adadelta");
      bind_algorithm<optim::Adamax>(m, "Adamax");
      bind_algorithm<optim::NAdam>(m, "NAdam");
      bind_algorithm<optim::RAdam>(m, "RAdam");
      bind_algorithm<optim::Rprop>(m, "Rprop");
      bind_algorithm<optim::ASGD>(m, "ASGD");
      bind_algorithm<optim::Adafactor>(m, "Adafactor");
      bind_algorithm<optim::Muon>(m, "Muon");
    }};

const Part utils{
    20, [](nb::module_& root) {
      nb::module_ m = root.def_submodule("_nn_utils");
      m.def(
          "clip_grad_norm_",
          [](nb::handle parameters, double max_norm, double norm_type, bool error_if_nonfinite, nb::handle) {
            return wrap(nn::clip_grad_norm(unwrap_list(parameters, "clip_grad_norm_"), max_norm, norm_type,
                                           error_if_nonfinite));
          },
          nb::arg("parameters"), nb::arg("max_norm"), nb::arg("norm_type") = 2.0,
          nb::arg("error_if_nonfinite") = false, nb::arg("foreach").none() = nb::none());
      m.def(
          "get_total_norm",
          [](nb::handle tensors, double norm_type, bool error_if_nonfinite, nb::handle) {
            return wrap(nn::total_norm(unwrap_list(tensors, "get_total_norm"), norm_type, error_if_nonfinite));
          },
          nb::arg("tensors"), nb::arg("norm_type") = 2.0, nb::arg("error_if_nonfinite") = false,
          nb::arg("foreach").none() = nb::none());
      m.def(
          "clip_grad_value_",
          [](nb::handle parameters, double clip_value, nb::handle) {
            nn::clip_grad_value(unwrap_list(parameters, "clip_grad_value_"), clip_value);
          },
          nb::arg("parameters"), nb::arg("clip_value"), nb::arg("foreach").none() = nb::none());
      m.def(
          "parameters_to_vector",
          [](nb::handle parameters) {
            return wrap(nn::parameters_to_vector(unwrap_list(parameters, "parameters_to_vector")));
          },
          nb::arg("parameters"));
      m.def(
          "vector_to_parameters",
          [](nb::handle vector, nb::handle parameters) {
            nn::vector_to_parameters(unwrap(vector, "vector_to_parameters"),
                                     unwrap_list(parameters, "vector_to_parameters"));
          },
          nb::arg("vec"), nb::arg("parameters"));
    }};

}  // namespace
}  // namespace sorus::python
