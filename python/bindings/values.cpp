// Values that cross the border: dtypes, sizes, numbers, nested lists, and buffers.
#include <array>
#include <cstring>

#include "bind.h"
#include "sorus/tensor/copy.h"

namespace sorus::python {
namespace {

struct DTypeObject {
  DType type;
};
std::array<PyObject*, kNumDTypes> dtype_objects{};
PyTypeObject* dtype_type = nullptr;
PyObject* size_type = nullptr;

const Part part{
    1, [](nb::module_& m) {
      auto c = nb::class_<DTypeObject>(m, "dtype")
                   .def("__repr__",
                        [](const DTypeObject& d) { return nb::str(("sorus." + std::string(name(d.type))).c_str()); })
                   .def("__reduce__", [](const DTypeObject& d) { return nb::str(std::string(name(d.type)).c_str()); })
                   .def_prop_ro("is_floating_point", [](const DTypeObject& d) { return is_floating(d.type); })
                   .def_prop_ro("is_complex", [](const DTypeObject& d) { return is_complex(d.type); })
                   .def_prop_ro("is_signed",
                                [](const DTypeObject& d) { return d.type != DType::u8 && d.type != DType::boolean; })
                   .def_prop_ro("itemsize", [](const DTypeObject& d) { return size_of(d.type); });
      dtype_type = reinterpret_cast<PyTypeObject*>(c.ptr());
      for (int i = 0; i < kNumDTypes; ++i) {
        DType t = static_cast<DType>(i);
        nb::object o = nb::cast(DTypeObject{t});
        dtype_objects[static_cast<size_t>(i)] = o.inc_ref().ptr();
        m.attr(t == DType::boolean ? "bool" : std::string(name(t)).c_str()) = o;
      }
      nb::dict scope;
      scope["__builtins__"] = nb::module_::import_("builtins");
      PyObject* done = PyRun_String(
          "class Size(tuple):\n"
          "    'The lengths of the dimensions of a tensor.'\n"
          "    __slots__ = ()\n"
          "    __module__ = 'sorus'\n"
          "    def numel(self):\n"
          "        n = 1\n"
          "        for d in self:\n"
          "            n *= d\n"
          "        return n\n"
          "    def __getitem__(self, i):\n"
          "        r = tuple.__getitem__(self, i)\n"
          "        return Size(r) if isinstance(i, slice) else r\n"
          "    def __add__(self, other):\n"
          "        return Size(tuple.__add__(self, tuple(other)))\n"
          "    def __repr__(self):\n"
          "        return f'sorus.Size({list(self)})'\n",
          Py_file_input, scope.ptr(), scope.ptr());
      if (!done) nb::raise_python_error();
      Py_DECREF(done);
      nb::object size = scope["Size"];
      size_type = size.inc_ref().ptr();
      m.attr("Size") = size;
    }};

// ---- nested sequences

// Flattens `o` into `out`; all sequences of one depth must have one length.
struct Flattener {
  Shape shape;
  std::vector<Scalar> values;
  Scalar::Kind kind = Scalar::Kind::boolean;
  bool huge = false;  ///< an integer is beyond int64

  void walk(PyObject* o, size_t depth) {
    if (depth > kMostDimensions)  // a list may hold itself
      fail<ValueError>("tensor: the sequences are nested deeper than {} times", kMostDimensions);
    if (is_tensor(o) || (!PyList_Check(o) && !PyTuple_Check(o) && PyObject_HasAttrString(o, "tolist"))) {
      nb::object list = nb::steal(PyObject_CallMethod(o, "tolist", nullptr));
      if (!list.is_valid()) nb::raise_python_error();
      return walk(list.ptr(), depth);
    }
    if (auto s = scalar_from(o)) {
      if (depth != shape.size() || (leaf_depth_ >= 0 && leaf_depth_ != static_cast<int64_t>(depth)))
        fail<ValueError>("tensor: the nested sequences have different depths");
      leaf_depth_ = static_cast<int64_t>(depth);
      kind = std::max(kind, s->kind());
      huge = huge || (PyLong_Check(o) && s->kind() == Scalar::Kind::real);
      values.push_back(*s);
      return;
    }
    if (!PySequence_Check(o) || PyUnicode_Check(o))
      fail<TypeError>("tensor: expected numbers or nested sequences of numbers, got {}", Py_TYPE(o)->tp_name);
    nb::object items = nb::steal(PySequence_Fast(o, "expected a sequence"));
    if (!items.is_valid()) nb::raise_python_error();
    int64_t n = PySequence_Fast_GET_SIZE(items.ptr());
    if (depth == shape.size() && leaf_depth_ < 0) {
      shape.push_back(n);
    } else if (depth >= shape.size() || shape[depth] != n) {
      fail<ValueError>("tensor: expected a sequence of length {} at depth {}, got length {}",
                       depth < shape.size() ? shape[depth] : 0, depth, n);
    }
    for (int64_t i = 0; i < n; ++i) walk(PySequence_Fast_GET_ITEM(items.ptr(), i), depth + 1);
  }

 private:
  static constexpr size_t kMostDimensions = 64;
  int64_t leaf_depth_ = -1;
};

// ---- buffers

DType dtype_of_format(const char* f, Py_ssize_t size) {
  std::string_view format = f ? f : "B";
  if (!format.empty() && (format[0] == '<' || format[0] == '=' || format[0] == '@')) format.remove_prefix(1);
  if (format == "Zf") return DType::c64;
  if (format == "Zd") return DType::c128;
  if (format.size() == 1) switch (format[0]) {
      case 'd':
        return DType::f64;
      case 'f':
        return DType::f32;
      case 'e':
        return DType::f16;
      case '?':
        return DType::boolean;
      case 'b':
        return DType::i8;
      case 'B':
        return DType::u8;
      case 'h':
        return DType::i16;
      case 'i':
        return DType::i32;
      case 'l':
      case 'q':
        if (size == 8) return DType::i64;
        return DType::i32;
    }
  fail<TypeError>("from_numpy: arrays of format '{}' are not supported", format);
}

}  // namespace

nb::object wrap_dtype(DType t) { return nb::borrow(dtype_objects[static_cast<size_t>(t)]); }

std::optional<DType> dtype_from(PyObject* o) {
  if (Py_TYPE(o) == dtype_type) return nb::inst_ptr<DTypeObject>(o)->type;
  if (o == reinterpret_cast<PyObject*>(&PyFloat_Type)) return default_dtype();
  if (o == reinterpret_cast<PyObject*>(&PyLong_Type)) return DType::i64;
  if (o == reinterpret_cast<PyObject*>(&PyBool_Type)) return DType::boolean;
  if (o == reinterpret_cast<PyObject*>(&PyComplex_Type)) return complex_of(default_dtype());
  return std::nullopt;
}

nb::object wrap_size(IntSpan shape) {
  nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(shape.size())));
  for (size_t i = 0; i < shape.size(); ++i)
    PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), PyLong_FromLongLong(shape[i]));
  return nb::steal(PyObject_CallOneArg(size_type, tuple.ptr()));
}

nb::object wrap_scalar(const Scalar& s) {
  switch (s.kind()) {
    case Scalar::Kind::boolean:
      return nb::bool_(s.to_bool());
    case Scalar::Kind::integer:
      return nb::int_(s.to_int());
    case Scalar::Kind::real:
      return nb::float_(s.to_double());
    default:
      return nb::steal(PyComplex_FromDoubles(s.to_complex().real(), s.to_complex().imag()));
  }
}

std::optional<int64_t> index_from(PyObject* o) {
  nb::object index = nb::steal(PyNumber_Index(o));
  if (!index.is_valid()) {
    PyErr_Clear();
    return std::nullopt;
  }
  long long v = PyLong_AsLongLong(index.ptr());
  if (v == -1 && PyErr_Occurred()) nb::raise_python_error();
  return v;
}

std::optional<Scalar> scalar_from(PyObject* o) {
  if (PyBool_Check(o)) return Scalar(o == Py_True);
  if (PyLong_Check(o)) {
    int overflow = 0;
    long long v = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow) {
      double d = PyLong_AsDouble(o);
      if (d == -1.0 && PyErr_Occurred()) nb::raise_python_error();
      return Scalar(d);
    }
    return Scalar(static_cast<int64_t>(v));
  }
  if (PyFloat_Check(o)) return Scalar(PyFloat_AS_DOUBLE(o));
  if (PyComplex_Check(o)) return Scalar(std::complex<double>(PyComplex_RealAsDouble(o), PyComplex_ImagAsDouble(o)));
  if (is_tensor(o) || PyList_Check(o) || PyTuple_Check(o) || o == Py_None || PyUnicode_Check(o)) return std::nullopt;
  // NumPy's numbers: they have `item`, and no length.
  if (PyObject_HasAttrString(o, "item") && PyObject_HasAttrString(o, "dtype")) {
    nb::object dims = nb::getattr(nb::handle(o), "ndim", nb::none());
    if (dims.is_none() || nb::cast<int>(dims) != 0) return std::nullopt;
    nb::object v = nb::handle(o).attr("item")();
    return v.ptr() == o ? std::nullopt : scalar_from(v.ptr());
  }
  return std::nullopt;
}

Tensor tensor_from_buffer(nb::handle array) {
  auto* view = new Py_buffer;
  bool writable = PyObject_GetBuffer(array.ptr(), view, PyBUF_FULL) == 0;
  if (!writable) {
    PyErr_Clear();
    if (PyObject_GetBuffer(array.ptr(), view, PyBUF_FULL_RO) != 0) {
      delete view;
      nb::raise_python_error();
    }
  }
  auto release = [view] {
    nb::gil_scoped_acquire gil;
    PyBuffer_Release(view);
    delete view;
  };
  try {
    DType t = dtype_of_format(view->format, view->itemsize);
    Geometry g;
    size_t span = 0;
    for (int i = 0; i < view->ndim; ++i) {
      SORUS_CHECK(view->strides[i] % view->itemsize == 0, ValueError, "from_numpy: strides of {} bytes do not fit {}",
                  view->strides[i], name(t));
      SORUS_CHECK(view->strides[i] >= 0 || view->shape[i] < 2, ValueError,
                  "from_numpy: negative strides are not supported; make a copy first");
      g.sizes.push_back(view->shape[i]);
      g.strides.push_back(std::max<int64_t>(view->strides[i] / view->itemsize, 0));
      if (view->shape[i] > 0) span += static_cast<size_t>((view->shape[i] - 1) * g.strides.back());
    }
    size_t bytes = (span + 1) * static_cast<size_t>(view->itemsize);
    if (numel(g.sizes) == 0) bytes = 0;
    return Tensor::from_storage(Storage::wrap(view->buf, bytes, release, writable), g, t);
  } catch (...) {
    release();
    throw;
  }
}

Tensor tensor_from(nb::handle data, std::optional<DType> dtype) {
  PyObject* o = data.ptr();
  if (is_tensor(o)) {
    const Tensor& t = tensor_in(o);
    Tensor out = Tensor::empty(t.sizes(), dtype.value_or(t.dtype()));
    copy_elements(out, t.detach());
    return out;
  }
  if (!PyList_Check(o) && !PyTuple_Check(o) && PyObject_CheckBuffer(o)) {
    Tensor shared = tensor_from_buffer(data);
    Tensor out = Tensor::empty(shared.sizes(), dtype.value_or(shared.dtype()));
    copy_elements(out, shared);
    return out;
  }
  Flattener f;
  f.walk(o, 0);
  SORUS_CHECK(!f.huge || (dtype && is_differentiable(*dtype)), ValueError, "tensor: an integer does not fit into {}",
              name(dtype.value_or(DType::i64)));
  DType natural = f.values.empty()                  ? default_dtype()
                  : f.kind == Scalar::Kind::boolean ? DType::boolean
                  : f.kind == Scalar::Kind::integer ? DType::i64
                  : f.kind == Scalar::Kind::real    ? default_dtype()
                                                    : complex_of(default_dtype());
  DType wide = f.kind == Scalar::Kind::complex ? DType::c128 : f.kind == Scalar::Kind::real ? DType::f64 : DType::i64;
  if (dtype && wide == DType::i64 && is_integral(*dtype) && *dtype != DType::i64) {
    // As in PyTorch, -1 may stand for the largest unsigned number.
    int bits = static_cast<int>(8 * size_of(*dtype)) - (*dtype == DType::u8 ? 0 : 1);
    int64_t most = (int64_t{1} << bits) - 1, least = *dtype == DType::u8 ? -most : -most - 1;
    for (const Scalar& v : f.values)
      SORUS_CHECK(v.to_int() >= least && v.to_int() <= most, ValueError, "tensor: {} does not fit into {}",
                  v.to_int(), name(*dtype));
  }
  Tensor flat = Tensor::empty(f.shape, wide);
  for (size_t i = 0; i < f.values.size(); ++i) {
    if (wide == DType::i64) flat.data<int64_t>()[i] = f.values[i].to_int();
    if (wide == DType::f64) flat.data<double>()[i] = f.values[i].to_double();
    if (wide == DType::c128) flat.data<std::complex<double>>()[i] = f.values[i].to_complex();
  }
  Tensor out = Tensor::empty(f.shape, dtype.value_or(natural));
  copy_elements(out, flat);
  return out;
}

}  // namespace sorus::python
