// sorus._core._device: C for small devices (src/sorus/device), and Sorus's own execution of the same graph beside it.
#include <nanobind/stl/string.h>

#include <cmath>
#include <cstring>
#include <random>

#include "bind.h"
#include "sorus/base/error.h"
#include "sorus/device/lower.h"
#include "sorus/device/project.h"
#include "sorus/device/targets.h"
#include "sorus/import/model.h"
#include "sorus/run/execute.h"

namespace sorus::python {
namespace {

using importer::ImportedModel, importer::Port;

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
    d["machine"] = t.machine, d["emulator"] = t.emulator, d["instructions_a_tick"] = t.instructions_a_tick;
    d["memory"] = t.memory;
    list.append(d);
  }
  return list;
}

nb::dict generate(const std::string& path, const std::string& target, const std::string& name, bool size,
                  int64_t ram_limit) {
  const device::Target& t = device::find_target(target);
  ImportedModel model = importer::import_model(path);
  const TracedGraph& traced = model.traced;
  SORUS_CHECK(traced.write_targets.empty(), NotImplementedError,
              "codegen: {} keeps state from run to run in {} tensor(s); generated code has no state yet", path,
              traced.write_targets.size());
  device::GenerateOptions options{name, size, ram_limit};
  device::Project project = device::generate(
      device::lower(traced.graph, traced.captures, traced.explicit_inputs, traced.explicit_outputs), t, options);
  nb::dict files;
  for (const device::ProjectFile& f : project.files) files[f.path.c_str()] = f.text;
  return files;
}

// Integers of all values; floats between -1 and 1.
nb::bytes random_inputs(const std::string& path, int64_t runs, uint64_t seed) {
  ImportedModel model = importer::import_model(path);
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

nb::bytes run(const std::string& path, const nb::bytes& inputs) {
  ImportedModel model = importer::import_model(path);
  std::string all;
  auto given = static_cast<int64_t>(inputs.size()), one = bytes_of(model.inputs);
  SORUS_CHECK(one > 0 && given % one == 0, ValueError, "codegen: expected a multiple of {} bytes of inputs, found {}",
              one, given);
  const char* from = inputs.c_str();
  for (int64_t r = 0; r < given / one; ++r) {
    TensorList tensors;
    for (const Port& p : model.inputs) {
      Tensor t = Tensor::empty(p.type.shape, p.type.dtype);
      std::memcpy(t.data(), from, t.nbytes());
      from += t.nbytes();
      tensors.push_back(std::move(t));
    }
    for (const Tensor& t : run_traced(model.traced, tensors)) {
      SORUS_CHECK(t.is_contiguous(), Error, "codegen: an output is not contiguous");
      all.append(static_cast<const char*>(t.data()), t.nbytes());
    }
  }
  return nb::bytes(all.data(), all.size());
}

// Equal bytes for integers; floats within 1e-5 of the largest expected one.
bool outputs_agree(const std::string& path, const nb::bytes& found, const nb::bytes& expected) {
  ImportedModel model = importer::import_model(path);
  if (found.size() != expected.size()) return false;
  const char *a = found.c_str(), *b = expected.c_str();
  for (const Port& p : model.outputs) {
    auto n = static_cast<size_t>(numel(p.type.shape));
    size_t bytes = n * size_of(p.type.dtype);
    if (p.type.dtype == DType::f32) {
      std::vector<float> x(n), y(n);
      std::memcpy(x.data(), a, bytes), std::memcpy(y.data(), b, bytes);
      float most = 0;
      for (float v : y) most = std::max(most, std::abs(v));
      for (size_t i = 0; i < n; ++i)
        if (!(std::abs(x[i] - y[i]) <= 1e-5F * most)) return false;
    } else if (std::memcmp(a, b, bytes) != 0) {
      return false;
    }
    a += bytes, b += bytes;
  }
  return true;
}

const Part device_part{26, [](nb::module_& root) {
                         nb::module_ m = root.def_submodule("_device");
                         m.def("targets", &targets);
                         m.def("generate", &generate);
                         m.def("random_inputs", &random_inputs);
                         m.def("run", &run);
                         m.def("outputs_agree", &outputs_agree);
                       }};

}  // namespace
}  // namespace sorus::python
