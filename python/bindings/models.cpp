// GPT-2's files, sampling, and what this machine can do.
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "sorus/emit/eager_kernels.h"
#include "sorus/kernels/measure.h"
#include "sorus/models/gpt2.h"
#include "sorus/models/sample.h"
#include "sorus/tensor/host_memory.h"

namespace sorus::python {
namespace {

namespace fs = std::filesystem;

const Part models_part{
    25, [](nb::module_& root) {
      nb::module_ m = root.def_submodule("_models");
      m.def("read_gpt2_config", [](const fs::path& folder) {
        nn::GPTConfig c = models::read_gpt2_config(folder);
        nb::dict d;
        d["vocab_size"] = c.vocab_size;
        d["block_size"] = c.block_size;
        d["n_layer"] = c.n_layer;
        d["n_head"] = c.n_head;
        d["n_embd"] = c.n_embd;
        d["dropout"] = c.dropout;
        return d;
      });
      m.def("load_gpt2_weights", &models::load_gpt2_weights);
      m.def("save_gpt2", &models::save_gpt2);
      m.def(
          "sample",
          [](const Tensor& logits, double temperature, int64_t top_k, nn::Generator* generator) {
            return models::sample(logits, {temperature, top_k}, generator ? *generator : nn::default_generator());
          },
          nb::arg("logits"), nb::arg("temperature") = 1.0, nb::arg("top_k") = 0,
          nb::arg("generator").none() = nb::none());
    }};

const Part machine{25, [](nb::module_& root) {
                     nb::module_ m = root.def_submodule("_machine");
                     m.def("cpu_name", &kernels::cpu_name);
                     m.def("cpu_features", &kernels::cpu_features);
                     m.def("kernel_variant", [] { return std::string(kernel_variant()); });
                     m.def("measure_gemm_gflops", &kernels::measure_gemm_gflops, nb::arg("dtype"),
                           nb::call_guard<nb::gil_scoped_release>());
                     m.def("measure_memory_gbs", &kernels::measure_memory_gbs,
                           nb::call_guard<nb::gil_scoped_release>());
                     m.def("set_memory_limit", &set_memory_limit, nb::arg("bytes"), nb::arg("folder") = "");
                     m.def("host_memory", []() -> nb::object {
                       const HostMemory* host = HostMemory::active();
                       if (!host) return nb::none();
                       HostMemory::Statistics s = host->statistics();
                       nb::dict d;
                       d["limit"] = s.limit;
                       d["held"] = s.held;
                       d["resident"] = s.resident;
                       d["peak_resident"] = s.peak_resident;
                       d["brought_in"] = s.brought_in;
                       d["put_out"] = s.put_out;
                       d["seconds"] = s.seconds;
                       d["waited"] = s.waited;
                       return d;
                     });
                     m.def("host_memory_rate", [] {
                       HostMemory* host = HostMemory::active();
                       return host ? host->rate() : 0;
                     });
                     m.def("memory_stats", [] {
                       MemoryStats s = memory_stats();
                       nb::dict d;
                       d["in_use"] = s.in_use;
                       d["peak_in_use"] = s.peak_in_use;
                       d["cached"] = s.cached;
                       return d;
                     });
                   }};

}  // namespace
}  // namespace sorus::python
