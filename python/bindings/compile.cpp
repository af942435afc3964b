// sorus.compile: arguments and results of any nesting around a C++ Recording, and guards on the Python values that
// the function read while it was recorded. sorus/_compile.py finds those values and gives the class its usual face.
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "bind.h"
#include "sorus/compile/compile.h"
#include "sorus/nn/module.h"
#include "sorus/parallel/runtime/parallel_step.h"

namespace sorus::python {
namespace {

// Nested arguments as one string of brackets and letters, the tensors, and the constants between them.
struct Flat {
  std::string shape;
  TensorList tensors;
  std::vector<nb::object> constants;
};

void flatten(nb::handle o, Flat& out) {
  PyObject* p = o.ptr();
  if (is_tensor(p)) {
    const Tensor& t = tensor_in(p);
    for (size_t i = 0; i < out.tensors.size(); ++i) {
      if (!out.tensors[i].is(t)) continue;
      out.shape += fmt::format("={};", i);  // the same tensor again
      return;
    }
    out.tensors.push_back(t);
    out.shape += 'T';
  } else if (PyTuple_Check(p)) {
    out.shape += '(';
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(p); ++i) flatten(PyTuple_GET_ITEM(p, i), out);
    out.shape += ')';
    // Named tuples are made again as what they are.
    if (!PyTuple_CheckExact(p)) out.constants.push_back(nb::borrow(reinterpret_cast<PyObject*>(Py_TYPE(p))));
  } else if (PyList_CheckExact(p)) {
    out.shape += '[';
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(p); ++i) flatten(PyList_GET_ITEM(p, i), out);
    out.shape += ']';
  } else if (PyDict_CheckExact(p)) {
    out.shape += '{';
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(p, &at, &key, &value)) {
      out.constants.push_back(nb::borrow(key));
      flatten(value, out);
    }
    out.shape += '}';
  } else {
    out.constants.push_back(nb::borrow(o));
    out.shape += 'C';
  }
}

// Rebuilds what flatten() took apart, with other tensors.
class Unflatten {
 public:
  Unflatten(const Flat& like, TensorSpan tensors) : like_(like), tensors_(tensors) {}

  nb::object next() {
    switch (like_.shape[at_++]) {
      case 'T':
        return made(tensor_++);
      case '=': {
        size_t end = like_.shape.find(';', at_);
        size_t index = std::stoul(like_.shape.substr(at_, end - at_));
        at_ = end + 1;
        return objects_[index];
      }
      case '(': {
        nb::list items = rest(')');
        nb::object t = nb::steal(PyList_AsTuple(items.ptr()));
        if (like_.constants.size() > constant_ && PyType_Check(like_.constants[constant_].ptr()) &&
            PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(like_.constants[constant_].ptr()), &PyTuple_Type) &&
            like_.constants[constant_].ptr() != reinterpret_cast<PyObject*>(&PyTuple_Type)) {
          nb::object type = like_.constants[constant_++];
          return nb::hasattr(type, "_make") ? type.attr("_make")(t) : type(t);
        }
        return t;
      }
      case '[':
        return rest(']');
      case '{': {
        nb::dict d;
        while (like_.shape[at_] != '}') {
          nb::object key = like_.constants[constant_++];
          d[key] = next();
        }
        ++at_;
        return d;
      }
      default:
        return like_.constants[constant_++];
    }
  }

 private:
  nb::list rest(char end) {
    nb::list items;
    while (like_.shape[at_] != end) items.append(next());
    ++at_;
    return items;
  }
  nb::object made(size_t i) {
    objects_.push_back(wrap(tensors_[i]));
    return objects_.back();
  }

  const Flat& like_;
  TensorSpan tensors_;
  std::vector<nb::object> objects_;
  size_t at_ = 0, tensor_ = 0, constant_ = 0;
};

bool same(PyObject* a, PyObject* b) {
  if (a == b) return true;
  if (Py_TYPE(a) != Py_TYPE(b)) return false;
  int equal = PyObject_RichCompareBool(a, b, Py_EQ);
  if (equal < 0) PyErr_Clear();
  return equal == 1;
}

bool same(const std::vector<nb::object>& a, const std::vector<nb::object>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!same(a[i].ptr(), b[i].ptr())) return false;
  return true;
}

// A Python value that the recording relied on: an entry of a dictionary (globals, attributes) or a closure's cell.
struct Guard {
  nb::object holder, key, expected;
  bool holds() const {
    PyObject* found = PyCell_Check(holder.ptr()) ? PyCell_GET(holder.ptr()) : PyDict_GetItem(holder.ptr(), key.ptr());
    return found && same(found, expected.ptr());
  }
};

struct Entry {
  Flat arguments;  // without the tensors
  std::vector<Guard> guards;
  struct Mode {
    nb::object module;
    const nn::Module* inside;
    bool training;
  };
  std::vector<Mode> modules;
  std::shared_ptr<Recording> recording;
  Flat results;

  bool fits(const Flat& given) const {
    if (given.shape != arguments.shape || !same(given.constants, arguments.constants)) return false;
    for (const Guard& g : guards)
      if (!g.holds()) return false;
    for (const Mode& m : modules)
      if (m.inside->is_training() != m.training) return false;
    return recording->fits(given.tensors);
  }
};

// A recording run by the ranks of a mesh. Python decides how tensors lie:
//   layouts(inputs, captures, parameters, written) -> (stored, used, stages), lists of one list of placements
//   ("S(0)") a tensor, and of the stage of a pipeline that reads a captured tensor first, -1 if that is not said
class ParallelExecutor final : public Executor {
 public:
  explicit ParallelExecutor(std::unique_ptr<parallel::ParallelStep> s) : step(std::move(s)) {}
  TensorList run(TensorSpan inputs) override { return step->run(inputs); }
  std::unique_ptr<parallel::ParallelStep> step;
};

parallel::Layout layout_from(nb::handle placements) {
  parallel::Layout out;
  for (nb::handle p : placements) out.push_back(parallel::Placement::parse(nb::cast<std::string>(p)));
  return out;
}

parallel::ExecutionOptions options_from(const nb::dict& d) {
  parallel::ExecutionOptions o;
  o.micro_batches = nb::cast<int>(d["micro_batches"]);
  o.pipeline.ranks = nb::cast<int>(d["pipeline"]);
  o.pipeline.chunks = nb::cast<int>(d["chunks"]);
  o.pipeline.order = nb::cast<std::string>(d["schedule"]);
  o.pipeline.recompute = nb::cast<bool>(d["recompute"]);
  return o;
}

std::shared_ptr<Executor> make_parallel(const parallel::DeviceMesh& mesh, const nb::object& layouts,
                                        parallel::ExecutionOptions options, TracedGraph traced,
                                        TensorSpan parameters) {
  nb::list inputs, captures, is_parameter, written;
  for (int i = 0; i < traced.explicit_inputs; ++i)
    inputs.append(wrap_size(traced.graph.inputs()[static_cast<size_t>(i)]->outputs[0].shape));
  for (size_t i = 0; i < traced.captures.size(); ++i) {
    const Tensor& t = traced.captures[i];
    captures.append(wrap(t));
    bool parameter = false, writes = false;
    for (const Tensor& p : parameters) parameter |= p.storage() == t.storage();
    for (int w : traced.write_targets) writes |= w == traced.explicit_inputs + static_cast<int>(i);
    is_parameter.append(parameter);
    written.append(writes);
  }
  nb::tuple answer = nb::cast<nb::tuple>(layouts(inputs, captures, is_parameter, written));
  parallel::Request request;
  request.mesh = mesh;
  int at = 0;
  for (nb::handle l : nb::cast<nb::list>(answer[0])) request.inputs[at++] = layout_from(l);
  at = 0;
  for (nb::handle l : nb::cast<nb::list>(answer[1])) {
    if (!l.is_none()) request.used_as[at] = layout_from(l);
    ++at;
  }
  auto stages = nb::cast<std::vector<int>>(answer[2]);
  if (std::any_of(stages.begin(), stages.end(), [](int s) { return s >= 0; })) {
    options.pipeline.stage_of_input.assign(static_cast<size_t>(traced.explicit_inputs), -1);
    options.pipeline.stage_of_input.insert(options.pipeline.stage_of_input.end(), stages.begin(), stages.end());
  }
  return std::make_shared<ParallelExecutor>(
      std::make_unique<parallel::ParallelStep>(std::move(traced), std::move(request), options));
}

// `find_guards(f)` returns (holder, key, value) triples and modules.
class Compiled {
 public:
  Compiled(nb::object f, nb::object find_guards, std::string name)
      : f_(std::move(f)), find_guards_(std::move(find_guards)), name_(std::move(name)) {}
  Compiled(nb::object f, nb::object find_guards, std::string name, std::vector<std::string> axes,
           const std::vector<int64_t>& sizes, nb::object layouts, const nb::dict& options)
      : Compiled(std::move(f), std::move(find_guards), std::move(name)) {
    parallel::DeviceMesh mesh(std::move(axes), Shape(sizes.begin(), sizes.end()));
    make_ = [mesh, layouts, chosen = options_from(options)](TracedGraph traced, TensorSpan parameters) {
      return make_parallel(mesh, layouts, chosen, std::move(traced), parameters);
    };
  }

  // `args` is a tuple, `kwargs` a dictionary or null.
  nb::object call(PyObject* args, PyObject* kwargs) {
    if (is_tracing()) {
      nb::object out = nb::steal(PyObject_Call(f_.ptr(), args, kwargs));
      if (!out) throw nb::python_error();
      return out;
    }
    bool has_keywords = kwargs && PyDict_GET_SIZE(kwargs) > 0;
    Flat given;
    given.tensors.reserve(8);
    flatten(args, given);
    if (has_keywords) flatten(kwargs, given);
    for (size_t i = entries_.size(); i-- > 0;)
      if (entries_[i]->fits(given)) return run(*entries_[i], given.tensors);
    entries_.push_back(record(given, has_keywords));
    return run(*entries_.back(), given.tensors);
  }

  nb::list recordings() const {
    nb::list out;
    for (const auto& e : entries_) out.append(nb::cast(e->recording));
    return out;
  }

 private:
  std::shared_ptr<Entry> record(const Flat& given, bool has_keywords) {
    auto entry = std::make_shared<Entry>();
    entry->arguments.shape = given.shape;
    entry->arguments.constants = given.constants;
    nb::tuple found = nb::cast<nb::tuple>(find_guards_(f_));
    for (nb::handle g : nb::cast<nb::list>(found[0])) {
      nb::tuple t = nb::cast<nb::tuple>(g);
      entry->guards.push_back({nb::borrow(t[0]), nb::borrow(t[1]), nb::borrow(t[2])});
    }
    for (nb::handle m : nb::cast<nb::list>(found[1])) {
      const nn::Module* inside = nb::inst_ptr<nn::Module>(m);
      entry->modules.push_back({nb::borrow(m), inside, inside->is_training()});
    }
    TensorFunction f = [&](TensorSpan tensors) {
      Unflatten arguments(given, tensors);
      nb::tuple args = nb::cast<nb::tuple>(arguments.next());
      nb::dict kwargs;
      if (has_keywords) kwargs = nb::cast<nb::dict>(arguments.next());
      nb::object out = nb::steal(PyObject_Call(f_.ptr(), args.ptr(), kwargs.ptr()));
      if (!out) throw nb::python_error();
      flatten(out, entry->results);
      TensorList results = std::move(entry->results.tensors);
      entry->results.tensors.clear();
      return results;
    };
    entry->recording = std::make_shared<Recording>(f, given.tensors, name_, make_);
    return entry;
  }

  static nb::object run(const Entry& entry, const TensorList& tensors) {
    TensorList out = entry.recording->run(tensors);
    if (entry.results.shape == "T") return wrap(out[0]);
    return Unflatten(entry.results, out).next();
  }

  nb::object f_, find_guards_;
  std::string name_;
  MakeExecutor make_;
  std::vector<std::shared_ptr<Entry>> entries_;
};

// Python's `f(...)`, straight from the type: a compiled step may be over in a few microseconds.
PyObject* compiled_call(PyObject* self, PyObject* args, PyObject* kwargs) {
  try {
    return nb::inst_ptr<Compiled>(self)->call(args, kwargs).release().ptr();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

parallel::ParallelStep& parallel_step(const Recording& r) {
  auto* e = dynamic_cast<ParallelExecutor*>(r.executor());
  SORUS_CHECK(e, ValueError, "compile: this recording is run by one device");
  return *e->step;
}

nb::dict report_of(const CompiledGraph& g) {
  const CompileReport& r = g.report();
  nb::dict d;
  d["loops"] = r.loops;
  d["kernels"] = r.kernels;
  d["copies"] = r.copies;
  d["distinct_loops"] = r.distinct_loops;
  d["arena_bytes"] = r.arena_bytes;
  d["arena_lower_bound"] = r.arena_lower_bound;
  d["moved_bytes"] = r.moved_bytes;
  d["moved_ahead_bytes"] = r.moved_ahead_bytes;
  d["from_cache"] = r.from_cache;
  d["without_compiler"] = r.without_compiler;
  d["seconds"] = r.seconds;
  return d;
}

const Part part{
    30, [](nb::module_& m) {
      auto chosen = [](const Recording& r, bool backward) -> const CompiledGraph& {
        SORUS_CHECK(!backward || r.backward(), ValueError, "compile: this recording has no gradient of its own");
        return backward ? *r.backward() : r.forward();
      };
      static auto pick = chosen;
      nb::class_<Recording>(m, "Recording")
          .def(
              "graph", [](const Recording& r, bool backward) { return pick(r, backward).graph().to_string(true); },
              nb::arg("backward") = false)
          .def(
              "source", [](const Recording& r, bool backward) { return pick(r, backward).source(); },
              nb::arg("backward") = false)
          .def(
              "report", [](const Recording& r, bool backward) { return report_of(pick(r, backward)); },
              nb::arg("backward") = false)
          .def(
              "predicted_wait",
              [](const Recording& r, double seconds, double bytes_per_second) {
                return r.forward().predicted_wait(seconds, bytes_per_second);
              },
              nb::arg("seconds"), nb::arg("bytes_per_second"))
          .def(
              "peak",
              [](const Recording& r, bool backward) {
                nb::list out;
                for (const PeakValue& v : pick(r, backward).peak())
                  out.append(nb::make_tuple(v.name, v.type.to_string(), v.bytes,
                                            v.source.known() ? nb::cast(v.source.to_string()) : nb::none()));
                return out;
              },
              nb::arg("backward") = false)
          .def("rank_graph",
               [](const Recording& r, int rank) { return parallel_step(r).rank_graph(rank).to_string(true); })
          .def("rank_program",
               [](const Recording& r, int rank) { return parallel_step(r).rank_program(rank).to_string(); })
          .def("rank_memory",
               [](const Recording& r, int rank) {
                 parallel::RankMemory m = parallel_step(r).rank_memory(rank);
                 nb::dict d;
                 d["captured"] = m.captured, d["arena"] = m.arena, d["values"] = m.values, d["total"] = m.total();
                 return d;
               })
          .def("measured_memory", [](const Recording& r, int rank) { return parallel_step(r).measured_memory(rank); })
          .def("gather", [](const Recording& r) { parallel_step(r).gather(); })
          .def("layouts",
               [](const Recording& r) {
                 nb::list out;
                 for (const parallel::Layout& l : parallel_step(r).layouts().inputs)
                   out.append(parallel::to_string(l));
                 return out;
               })
          .def_prop_ro("is_parallel", [](const Recording& r) { return r.executor() != nullptr; })
          .def_prop_ro("has_backward", [](const Recording& r) { return r.backward() != nullptr; });
      m.def("_is_recording", &is_tracing);
      static PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(compiled_call)}, {0, nullptr}};
      nb::class_<Compiled>(m, "_Compiled", nb::type_slots(slots))
          .def(nb::init<nb::object, nb::object, std::string>())
          .def(nb::init<nb::object, nb::object, std::string, std::vector<std::string>, std::vector<int64_t>,
                        nb::object, nb::dict>())
          .def("recordings", &Compiled::recordings, "One for each signature seen so far; the newest is last.");
    }};

}  // namespace
}  // namespace sorus::python
