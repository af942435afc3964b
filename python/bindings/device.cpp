// sorus._core._device: C for small devices (src/sorus/device), and Sorus's own execution of the same graph beside it.
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "bind.h"
#include "sorus/base/error.h"
#include "sorus/device/lower.h"
#include "sorus/device/project.h"
#include "sorus/device/targets.h"
#include "sorus/import/model.h"
#include "sorus/ops.h"
#include "sorus/run/execute.h"

namespace sorus::python {
namespace {

using importer::Port;

// A model that C is generated for: a file, or a recorded function.
struct Source {
  std::string name;
  TracedGraph traced;
  std::vector<Port> inputs, outputs;
};

std::shared_ptr<Source> from_file(const std::string& path) {
  importer::ImportedModel m = importer::import_model(path);
  return std::make_shared<Source>(Source{path, std::move(m.traced), std::move(m.inputs), std::move(m.outputs)});
}

std::shared_ptr<Source> from_function(const nb::callable& f, const nb::list& examples) {
  auto s = std::make_shared<Source>();
  s->name = nb::cast<std::string>(nb::object(nb::handle(f.ptr()).type().attr("__name__")));
  TensorList inputs;
  for (nb::handle h : examples) inputs.push_back(nb::cast<Tensor>(h));
  GradMode off(false);
  s->traced = trace(
      [&](TensorSpan in) {
        nb::list args;
        for (const Tensor& t : in) args.append(t);
        nb::object result = f(*nb::tuple(args));
        if (!nb::isinstance<nb::tuple>(result) && !nb::isinstance<nb::list>(result))
          return TensorList{nb::cast<Tensor>(result)};
        TensorList out;
        for (nb::handle h : result) out.push_back(nb::cast<Tensor>(h));
        return out;
      },
      inputs);
  for (int i = 0; i < s->traced.explicit_inputs; ++i)
    s->inputs.push_back(
        {fmt::format("input {}", i), s->traced.graph.inputs()[static_cast<size_t>(i)]->outputs[0], {}});
  for (int i = 0; i < s->traced.explicit_outputs; ++i)
    s->outputs.push_back({fmt::format("output {}", i), s->traced.graph.outputs()[static_cast<size_t>(i)].type(), {}});
  return s;
}

int64_t bytes_of(const std::vector<Port>& ports) {
  int64_t n = 0;
  for (const Port& p : ports) n += numel(p.type.shape) * static_cast<int64_t>(size_of(p.type.dtype));
  return n;
}

nb::list targets() {
  nb::list list;
  for (const device::Target& t : device::targets()) {
    nb::dict d;
    d["name"] = t.name, d["description"] = t.description, d["compiler"] = t.compiler, d["flags"] = t.flags;
    d["machine"] = t.machine, d["emulators"] = t.emulators, d["instructions_a_tick"] = t.instructions_a_tick;
    d["memory"] = t.memory;
    list.append(d);
  }
  return list;
}

nb::dict generate(const Source& model, const std::string& target, const std::string& name, bool size,
                  int64_t ram_limit, const std::string& cmsis_nn, bool pack_weights) {
  const device::Target& t = device::find_target(target);
  const TracedGraph& traced = model.traced;
  device::GenerateOptions options{name, size, ram_limit, cmsis_nn, pack_weights};
  device::Project project = device::generate(device::lower(traced.graph, traced.captures, traced.explicit_inputs,
                                                           traced.explicit_outputs, traced.write_targets),
                                             t, options);
  nb::dict files;
  for (const device::ProjectFile& f : project.files) files[f.path.c_str()] = f.text;
  return files;
}

// Integers of all values; floats between -1 and 1.
nb::bytes random_inputs(const Source& model, int64_t runs, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string all;
  for (int64_t r = 0; r < runs; ++r)
    for (const Port& p : model.inputs)
      for (int64_t i = 0; i < numel(p.type.shape); ++i) {
        if (p.type.dtype == DType::f32) {
          float v = static_cast<float>(random() >> 40) * 0x1p-23F - 1;
          all.append(reinterpret_cast<const char*>(&v), 4);
        } else {
          for (size_t b = 0; b < size_of(p.type.dtype); ++b) all.push_back(static_cast<char>(random() >> 56));
        }
      }
  return nb::bytes(all.data(), all.size());
}

nb::bytes run(const Source& model, const nb::bytes& inputs) {
  std::string all;
  auto given = static_cast<int64_t>(inputs.size()), one = bytes_of(model.inputs);
  SORUS_CHECK(one > 0 && given % one == 0, ValueError, "codegen: expected a multiple of {} bytes of inputs, found {}",
              one, given);
  // States begin as they are and are put back: a module's own stay what they were.
  const TracedGraph& traced = model.traced;
  TensorList states, before;
  for (int target : traced.write_targets) {
    states.push_back(traced.captures[static_cast<size_t>(target - traced.explicit_inputs)].detach());
    before.push_back(clone(states.back()));
  }
  const char* from = inputs.c_str();
  for (int64_t r = 0; r < given / one; ++r) {
    TensorList tensors;
    for (const Port& p : model.inputs) {
      Tensor t = Tensor::empty(p.type.shape, p.type.dtype);
      std::memcpy(t.data(), from, t.nbytes());
      from += t.nbytes();
      tensors.push_back(std::move(t));
    }
    for (const Tensor& given : run_traced(model.traced, tensors)) {
      Tensor t = contiguous(given);
      all.append(static_cast<const char*>(t.data()), t.nbytes());
    }
  }
  static const OpDef& copy = find_op("copy");
  GradMode off(false);
  for (size_t i = 0; i < states.size(); ++i)
    call_into(copy, std::array{states[i], before[i]}, {}, std::array{states[i]});
  return nb::bytes(all.data(), all.size());
}

// How far the outputs of one run are from those expected: 0 if all integers are equal, infinite if not; of floats the
// largest difference, as a part of the largest value expected or, if that is below 1, absolute.
double difference(const Source& model, const nb::bytes& found, const nb::bytes& expected) {
  constexpr double kDifferent = std::numeric_limits<double>::infinity();
  if (found.size() != expected.size()) return kDifferent;
  const char *a = found.c_str(), *b = expected.c_str();
  double worst = 0;
  for (const Port& p : model.outputs) {
    auto n = static_cast<size_t>(numel(p.type.shape));
    size_t bytes = n * size_of(p.type.dtype);
    if (p.type.dtype == DType::f32) {
      std::vector<float> x(n), y(n);
      std::memcpy(x.data(), a, bytes), std::memcpy(y.data(), b, bytes);
      double most = 1;
      for (float v : y) most = std::max(most, std::abs(static_cast<double>(v)));
      for (size_t i = 0; i < n; ++i) {
        if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
        double d = std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])) / most;
        worst = std::isnan(d) ? kDifferent : std::max(worst, d);
      }
    } else if (std::memcmp(a, b, bytes) != 0) {
      return kDifferent;
    }
    a += bytes, b += bytes;
  }
  return worst;
}

const Part device_part{26, [](nb::module_& root) {
                         nb::module_ m = root.def_submodule("_device");
                         nb::class_<Source>(m, "Source").def_prop_ro("has_floats", [](const Source& s) {
                           return std::any_of(s.outputs.begin(), s.outputs.end(),
                                              [](const Port& p) { return is_floating(p.type.dtype); });
                         });
                         m.def("from_file", &from_file);
                         m.def("from_function", &from_function);
                         m.def("targets", &targets);
                         m.def("generate", &generate);
                         m.def("random_inputs", &random_inputs);
                         m.def("run", &run);
                         m.def("difference", &difference);
                       }};

}  // namespace
}  // namespace sorus::python
