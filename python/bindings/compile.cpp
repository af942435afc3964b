// sorus.compile: arguments and results of any nesting around a C++ Recording, and guards on the Python values that the
// function read while it was recorded. sorus/_compile.py finds those values and gives the class its usual face.
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include "bind.h"
#include "sorus/compile/compile.h"
#include "sorus/nn/module.h"

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
      case 'T': return made(tensor_++);
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
      case '[': return rest(']');
      case '{': {
        nb::dict d;
        while (like_.shape[at_] != '}') {
          nb::object key = like_.constants[constant_++];
          d[key] = next();
        }
        ++at_;
        return d;
      }
      default: return like_.constants[constant_++];
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

// `find_guards(f)` returns (holder, key, value) triples and modules.
class Compiled {
 public:
  Compiled(nb::object f, nb::object find_guards, std::string name)
      : f_(std::move(f)), find_guards_(std::move(find_guards)), name_(std::move(name)) {}

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
    entry->recording = std::make_shared<Recording>(f, given.tensors, name_);
    return entry;
  }

  static nb::object run(const Entry& entry, const TensorList& tensors) {
    TensorList out = entry.recording->run(tensors);
    if (entry.results.shape == "T") return wrap(out[0]);
    return Unflatten(entry.results, out).next();
  }

  nb::object f_, find_guards_;
  std::string name_;
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

nb::dict report_of(const CompiledGraph& g) {
  const CompileReport& r = g.report();
  nb::dict d;
  d["loops"] = r.loops;
  d["kernels"] = r.kernels;
  d["copies"] = r.copies;
  d["distinct_loops"] = r.distinct_loops;
  d["arena_bytes"] = r.arena_bytes;
  d["arena_lower_bound"] = r.arena_lower_bound;
  d["from_cache"] = r.from_cache;
  d["without_compiler"] = r.without_compiler;
  d["seconds"] = r.seconds;
  return d;
}

const Part part{30, [](nb::module_& m) {
  auto chosen = [](const Recording& r, bool backward) -> const CompiledGraph& {
    SORUS_CHECK(!backward || r.backward(), ValueError, "compile: this recording has no gradient of its own");
    return backward ? *r.backward() : r.forward();
  };
  static auto pick = chosen;
  nb::class_<Recording>(m, "Recording")
      .def("graph", [](const Recording& r, bool backward) { return pick(r, backward).graph().to_string(true); },
           nb::arg("backward") = false)
      .def("source", [](const Recording& r, bool backward) { return pick(r, backward).source(); },
           nb::arg("backward") = false)
      .def("report", [](const Recording& r, bool backward) { return report_of(pick(r, backward)); },
           nb::arg("backward") = false)
      .def("peak", [](const Recording& r, bool backward) {
        nb::list out;
        for (const PeakValue& v : pick(r, backward).peak())
          out.append(nb::make_tuple(v.name, v.type.to_string(), v.bytes,
                                    v.source.known() ? nb::cast(v.source.to_string()) : nb::none()));
        return out;
      }, nb::arg("backward") = false)
      .def_prop_ro("has_backward", [](const Recording& r) { return r.backward() != nullptr; });
  static PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(compiled_call)}, {0, nullptr}};
  nb::class_<Compiled>(m, "_Compiled", nb::type_slots(slots))
      .def(nb::init<nb::object, nb::object, std::string>())
      .def("recordings", &Compiled::recordings, "One for each signature seen so far; the newest is last.");
}};

}  // namespace
}  // namespace sorus::python
