#include <algorithm>
#include <vector>

#include "bind.h"
#include "sorus/base/files.h"
#include "sorus/base/threads.h"
#include "sorus/kernels/gemm.h"

namespace sorus::python {
namespace {

struct Entry {
  int order;
  void (*add)(nb::module_&);
};
std::vector<Entry>& parts() {
  static std::vector<Entry> all;
  return all;
}

// The innermost Python line that is not Sorus' own.
SourceLocation user_line() {
  SourceLocation where;
  if (!Py_IsInitialized() || !PyGILState_Check()) return where;
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyFrameObject* frame = PyEval_GetFrame();
  Py_XINCREF(frame);
  while (frame) {
    PyCodeObject* code = PyFrame_GetCode(frame);
    const char* file = PyUnicode_AsUTF8(code->co_filename);
    std::string_view path = file ? file : "";
    bool own = path.find("/sorus/") != path.npos && path.find("/python/sorus/") != path.npos;
    own = own || path.find("-packages/sorus/") != path.npos || path.starts_with("<frozen");
    if (!own) {
      const char* function = PyUnicode_AsUTF8(code->co_name);
      where = {std::string(path), PyFrame_GetLineNumber(frame), function ? function : ""};
      Py_DECREF(code);
      Py_DECREF(frame);
      break;
    }
    Py_DECREF(code);
    PyFrameObject* outer = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = outer;
  }
  PyErr_Restore(type, value, trace);
  return where;
}

// What is a ValueError by its nature is a RuntimeError in PyTorch, and programs catch that: it is both.
PyObject* value_error = PyExc_ValueError;
PyObject* type_error = PyExc_TypeError;
PyObject* index_error = PyExc_IndexError;

void add_error(nb::module_& m, PyObject*& kind, const char* name, const char* doc) {
  nb::object both = nb::steal(PyTuple_Pack(2, kind, PyExc_RuntimeError));
  kind = PyErr_NewExceptionWithDoc(fmt::format("sorus.errors.{}", name).c_str(), doc, both.ptr(), nullptr);
  if (!kind) throw nb::python_error();
  m.attr(fmt::format("_{}", name).c_str()) = nb::borrow(kind);
}

PyObject* error_class(const std::exception& e) {
  if (dynamic_cast<const ValueError*>(&e)) return value_error;
  if (dynamic_cast<const TypeError*>(&e)) return type_error;
  if (dynamic_cast<const IndexError*>(&e)) return index_error;
  if (dynamic_cast<const KeyError*>(&e)) return PyExc_KeyError;
  if (dynamic_cast<const NotImplementedError*>(&e)) return PyExc_NotImplementedError;
  if (dynamic_cast<const MissingFileError*>(&e)) return PyExc_FileNotFoundError;
  if (dynamic_cast<const FileError*>(&e)) return PyExc_OSError;
  if (dynamic_cast<const Error*>(&e)) return PyExc_RuntimeError;
  if (dynamic_cast<const std::bad_alloc*>(&e)) return PyExc_MemoryError;
  return PyExc_RuntimeError;
}

const Part basics{
    0, [](nb::module_& m) {
      nb::set_leak_warnings(false);  // dtypes, classes and the tape live as long as the process
      set_source_provider(user_line);
      add_error(m, value_error, "ValueError", "Arguments that do not fit, such as shapes.");
      add_error(m, type_error, "TypeError", "Arguments of a type that has no meaning here.");
      add_error(m, index_error, "IndexError", "An index outside of what it names.");
      nb::register_exception_translator([](const std::exception_ptr& p, void*) {
        try {
          std::rethrow_exception(p);
        } catch (const Error& e) {
          PyErr_SetString(error_class(e), e.what());
        } catch (const std::bad_cast&) {
          PyErr_SetString(type_error, detail::with_source("an argument is not of the type that is expected").c_str());
        }
      });
      m.def("set_num_threads", &set_num_threads);
      m.def("get_num_threads", &num_threads);
      m.def("_set_float32_precision",
            [](int p) { kernels::set_float32_precision(static_cast<kernels::Float32Precision>(p)); });
      m.def("_float32_precision", [] { return static_cast<int>(kernels::float32_precision()); });
    }};

}  // namespace

Part::Part(int order, void (*add)(nb::module_&)) { parts().push_back({order, add}); }

void set_python_error() noexcept {
  try {
    throw;
  } catch (nb::python_error& e) {
    e.restore();
  } catch (const nb::builtin_exception& e) {
    PyErr_SetString(PyExc_TypeError, e.what());
  } catch (const std::exception& e) {
    PyErr_SetString(error_class(e), e.what());
  } catch (...) {
    PyErr_SetString(PyExc_RuntimeError, "unknown C++ exception");
  }
}

}  // namespace sorus::python

NB_MODULE(_core, m) {
  auto& all = sorus::python::parts();
  std::stable_sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.order < b.order; });
  for (auto& part : all) part.add(m);
}
