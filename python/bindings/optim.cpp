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
template <class Options>
struct Reader {
  optim::Settings given;
  void read(const char* name, double& to) const {
    if (auto it = given.find(name); it != given.end()) to = it->second;
  }
  void read(const char* name, bool& to) const {
    if (auto it = given.find(name); it != given.end()) to = it->second != 0;
  }
};

template <class Optimizer, class Options, class Fill>
void bind_algorithm(nb::module_& m, const char* name, Fill fill) {
  nb::class_<Optimizer, optim::Optimizer>(m, name).def(
      "__init__", [fill](Optimizer* self, const std::vector<GivenGroup>& given, const optim::Settings& settings) {
        std::vector<optim::Group> groups;
        for (const GivenGroup& g : given) groups.push_back(group_from(g));
        Options options;
        fill(Reader<Options>{settings}, options);
        new (self) Optimizer(groups, options);
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
      auto adam = [](const auto& given, auto& o) {
        given.read("lr", o.lr), given.read("beta1", o.beta1), given.read("beta2", o.beta2), given.read("eps", o.eps);
        given.read("weight_decay", o.weight_decay), given.read("amsgrad", o.amsgrad),
            given.read("maximize", o.maximize);
      };
      bind_algorithm<optim::Adam, optim::AdamOptions>(m, "Adam", adam);
      bind_algorithm<optim::AdamW, optim::AdamWOptions>(m, "AdamW", adam);
      bind_algorithm<optim::RMSprop, optim::RMSpropOptions>(m, "RMSprop", [](const auto& given, auto& o) {
        given.read("lr", o.lr), given.read("alpha", o.alpha), given.read("eps", o.eps),
            given.read("momentum", o.momentum);
        given.read("weight_decay", o.weight_decay), given.read("centered", o.centered),
            given.read("maximize", o.maximize);
      });
      bind_algorithm<optim::Adagrad, optim::AdagradOptions>(m, "Adagrad", [](const auto& given, auto& o) {
        given.read("lr", o.lr), given.read("lr_decay", o.lr_decay), given.read("eps", o.eps),
            given.read("maximize", o.maximize);
        given.read("weight_decay", o.weight_decay),
            given.read("initial_accumulator_value", o.initial_accumulator_value);
      });
      bind_algorithm<optim::Adadelta, optim::AdadeltaOptions>(m, "Adadelta", [](const auto& given, auto& o) {
        given.read("lr", o.lr), given.read("rho", o.rho), given.read("eps", o.eps);
        given.read("weight_decay", o.weight_decay), given.read("maximize", o.maximize);
      });
      bind_algorithm<optim::Adamax, optim::AdamaxOptions>(m, "Adamax", [](const auto& given, auto& o) {
        given.read("lr", o.lr), given.read("beta1", o.beta1), given.read("beta2", o.beta2), given.read("eps", o.eps);
        given.read("weight_decay", o.weight_decay), given.read("maximize", o.maximize);
      });
      auto moments = [](const auto& given, auto& o) {
        given.read("lr", o.lr), given.read("beta1", o.beta1), given.read("beta2", o.beta2), given.read("eps", o.eps);
        given.read("weight_decay", o.weight_decay), given.read("maximize", o.maximize),
            given.read("decoupled_weight_decay", o.decoupled_weight_decay);
      };
      bind_algorithm<optim::NAdam, optim::NAdamOptions>(m, "NAdam", [moments](const auto& given, auto& o) {
        moments(given, o), given.read("momentum_decay", o.momentum_decay);
      });
      bind_algorithm<optim::RAdam, optim::RAdamOptions>(m, "RAdam", moments);
      bind_algorithm<optim::Rprop, optim::RpropOptions>(m, "Rprop", [](const auto& given, auto& o) {
        given.read("lr", o.lr), given.read("eta_minus", o.eta_minus), given.read("eta_plus", o.eta_plus);
        given.read("step_size_min", o.step_size_min), given.read("step_size_max", o.step_size_max),
            given.read("maximize", o.maximize);
      });
      bind_algorithm<optim::ASGD, optim::ASGDOptions>(m, "ASGD", [](const auto& given, auto& o) {
        given.read("lr", o.lr), given.read("lambd", o.lambd), given.read("alpha", o.alpha), given.read("t0", o.t0);
        given.read("weight_decay", o.weight_decay), given.read("maximize", o.maximize);
      });
      bind_algorithm<optim::SGD, optim::SGDOptions>(m, "SGD", [](const auto& given, auto& o) {
        given.read("lr", o.lr), given.read("momentum", o.momentum), given.read("dampening", o.dampening);
        given.read("weight_decay", o.weight_decay), given.read("nesterov", o.nesterov),
            given.read("maximize", o.maximize);
      });
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
