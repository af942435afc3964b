// Planning and simulation for Python: what goes in and out is JSON, so that the command and a service see the same.
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "sorus/graph/meta.h"
#include "sorus/models/decoder.h"
#include "sorus/parallel/cluster/cluster.h"
#include "sorus/parallel/comm/measure.h"
#include "sorus/parallel/plan/plan.h"
#include "sorus/parallel/report/published.h"
#include "sorus/parallel/report/report.h"
#include "sorus/parallel/solver/budget.h"
#include "sorus/run/interval_packing.h"

namespace sorus::python {
namespace {

struct Meta {
  std::unique_ptr<MetaScope> scope;
};

using Input = std::pair<std::vector<int64_t>, DType>;

std::vector<TensorType> types_of(const std::vector<Input>& inputs) {
  std::vector<TensorType> types;
  for (const auto& [shape, dtype] : inputs) types.push_back({dtype, Shape(shape.begin(), shape.end()), false});
  return types;
}

models::DecoderConfig decoder_config(const nb::dict& d) {
  models::DecoderConfig c;
  for (auto [key, value] : d) {
    std::string name = nb::cast<std::string>(key);
    auto integer = [&](const char* field, int64_t& to) {
      if (name == field) to = nb::cast<int64_t>(value);
      return name == field;
    };
    auto flag = [&](const char* field, bool& to) {
      if (name == field) to = nb::cast<bool>(value);
      return name == field;
    };
    bool known = integer("layers", c.layers) || integer("hidden", c.hidden) || integer("heads", c.heads) ||
                 integer("kv_heads", c.kv_heads) || integer("ffn", c.ffn) || integer("vocab", c.vocab) ||
                 integer("context", c.context) || integer("experts", c.experts) || integer("top_k", c.top_k) ||
                 integer("groups", c.groups) || flag("gated", c.gated) || flag("rms", c.rms) ||
                 flag("rotary", c.rotary) || flag("tied", c.tied) || flag("bias", c.bias) ||
                 flag("fused_attention", c.fused_attention);
    if (name == "dropout") c.dropout = nb::cast<double>(value), known = true;
    if (name == "capacity_factor") c.capacity_factor = nb::cast<double>(value), known = true;
    SORUS_CHECK(known, TypeError, "Decoder: there is no setting '{}'", name);
  }
  return c;
}

const Part planning{
    60, [](nb::module_& root) {
      nb::module_ m = root.def_submodule("_planning");
      nb::class_<Meta>(m, "Meta")
          .def(nb::init<>())
          .def("enter", [](Meta& s) { s.scope = std::make_unique<MetaScope>(); })
          .def("exit", [](Meta& s) { s.scope.reset(); });
      nb::class_<parallel::Model>(m, "Model")
          .def_prop_ro("name", [](const parallel::Model& t) { return t.name; })
          .def_prop_ro("parameters", &parallel::Model::parameter_count)
          .def_prop_ro("graph", [](const parallel::Model& t) { return t.graph.to_string(); })
          .def("units", [](const parallel::Model& t) {
            std::vector<std::string> names;
            for (const parallel::Unit& u : parallel::fold(t).units) names.push_back(u.name);
            return names;
          });
      m.def("trace", [](const std::string& name, const std::vector<Input>& inputs, nb::list parameters,
                        nb::list buffers, nb::callable loss) {
        nn::NamedTensors named, others;
        for (nb::handle pair : buffers)
          others.emplace_back(nb::cast<std::string>(pair[0]), unwrap(nb::object(pair[1]), "trace"));
        for (nb::handle pair : parameters)
          named.emplace_back(nb::cast<std::string>(pair[0]), unwrap(nb::object(pair[1]), "trace"));
        return parallel::trace_model(
            name, types_of(inputs), named,
            [&](TensorSpan in) {
              nb::list arguments;
              for (const Tensor& t : in) arguments.append(wrap(t));
              return unwrap(loss(*arguments), "trace: the loss");
            },
            others);
      });
      m.def("trace_decoder", [](const std::string& name, const nb::dict& settings, int64_t batch, DType dtype) {
        models::DecoderConfig c = decoder_config(settings);
        DType before = default_dtype();
        set_default_dtype(dtype);
        std::shared_ptr<models::Decoder> model;
        try {
          MetaScope meta;
          model = std::make_shared<models::Decoder>(c);
        } catch (...) {
          set_default_dtype(before);
          throw;
        }
        set_default_dtype(before);
        TensorType ids{DType::i64, Shape{batch, c.context}, false};
        return parallel::trace_model(name, {ids, ids}, model->named_parameters(),
                                     [&](TensorSpan in) { return model->loss(in[0], in[1]); });
      });
      // Each buffer: bytes, first time, end, alignment. Returns (state, offsets, bytes, lower bound, steps of the
      // search).
      m.def(
          "pack_intervals",
          [](const std::vector<std::array<int64_t, 4>>& buffers, int64_t capacity, double seconds) {
            std::vector<PackInterval> intervals;
            for (const auto& b : buffers) intervals.push_back({b[0], b[1], b[2], b[3]});
            IntervalPacking p;
            {
              nb::gil_scoped_release release;
              p = capacity >= 0 ? pack_intervals(intervals, capacity, {.seconds = seconds})
                                : least_packing(intervals, {}, {.seconds = seconds});
            }
            const char* state = p.state == PackState::solved       ? "solved"
                                : p.state == PackState::impossible ? "impossible"
                                                                   : "gave up";
            return nb::make_tuple(state, p.offsets, p.bytes, p.lower_bound, p.nodes);
          },
          nb::arg("buffers"), nb::arg("capacity"), nb::arg("seconds"));
      // (choice, fits, cost, most bytes, passes, seconds of the processor)
      m.def(
          "solve_contest",
          [](const std::string& file, double seconds, unsigned seed) {
            parallel::BudgetedSolution s;
            {
              nb::gil_scoped_release release;
              s = parallel::solve(parallel::read_contest(file), {.seconds = seconds, .seed = seed});
            }
            return nb::make_tuple(s.choice, s.feasible, s.cost, s.peak, s.passes, s.seconds);
          },
          nb::arg("file"), nb::arg("seconds"), nb::arg("seed") = 1);
      m.def("read_plan", [](const std::string& path) { return parallel::to_json(parallel::read_plan(path)); });
      // (seconds of a call, processor seconds of a call at one rank)
      m.def(
          "measure_all_reduce",
          [](int ranks, int64_t bytes, int calls) {
            comm::CollectiveSpeed s;
            {
              nb::gil_scoped_release release;
              s = comm::measure_all_reduce(ranks, bytes, calls);
            }
            return nb::make_tuple(s.seconds, s.cpu_seconds);
          },
          nb::arg("ranks"), nb::arg("bytes"), nb::arg("calls") = 20);
      m.def("preset_clusters", &parallel::preset_clusters);
      m.def("cluster_toml", [](const std::string& name) { return parallel::to_toml(parallel::find_cluster(name)); });
      m.def("simulate_published", &parallel::simulate_published, nb::arg("row"), nb::arg("cluster"),
            nb::call_guard<nb::gil_scoped_release>());
      m.def("compare_published", &parallel::compare_published, nb::arg("row"), nb::arg("cluster"),
            nb::arg("time_limit") = 0.0, nb::call_guard<nb::gil_scoped_release>());
      m.def(
          "plan",
          [](const parallel::Model& model, const std::string& cluster, const std::string& request,
             nb::object progress) {
            std::function<bool(double, double, size_t)> report;
            if (!progress.is_none())
              report = [&](double best, double bound, size_t left) {
                if (PyErr_CheckSignals() != 0) throw nb::python_error();
                return nb::cast<bool>(progress(best, bound, left));
              };
            return parallel::plan_report(model, cluster, request, report);
          },
          nb::arg("model"), nb::arg("cluster"), nb::arg("request"), nb::arg("progress").none() = nb::none());
    }};

}  // namespace
}  // namespace sorus::python
