// All registered operators as Python functions, methods of Tensor, and Python's own operators.
//
// Operators whose names differ only after the dot are one function ("max", "max.dim", "max.other"): the first
// overload whose parameters fit the arguments is called. Nothing here knows an operator by name, except the table
// that says which of them Python's `+`, `@`, ... mean.
#include <Python.h>
#include <structmember.h>

#include <array>
#include <map>

#include "bind.h"
#include "operators.h"
#include "sorus/autodiff/tape.h"

namespace sorus::python {
namespace {

constexpr Py_ssize_t kMaxParams = 32;

// ---- one argument

bool is_int(PyObject* o) {
  if (PyLong_Check(o)) return !PyBool_Check(o);
  return !is_tensor(o) && !PyBool_Check(o) && !PyFloat_Check(o) && PyIndex_Check(o);
}
std::optional<int64_t> int_from(PyObject* o) {
  if (is_tensor(o)) {
    const Tensor& t = tensor_in(o);
    if (t.dim() != 0 || !is_integral(t.dtype())) return std::nullopt;
    return t.item().to_int();
  }
  if (!is_int(o)) return std::nullopt;
  return index_from(o);
}

bool tensor_arg(PyObject* o, const Param& p, Tensor& out) {
  if (is_tensor(o)) {
    out = tensor_in(o);
    return true;
  }
  if (o == Py_None) return p.optional;
  auto s = scalar_from(o);
  if (!s) return false;
  out = Tensor::weak_scalar(*s);
  return true;
}

bool ints_arg(PyObject* o, const Param& p, Attr& out) {
  if (auto one = int_from(o)) {
    out = Attr(Shape(static_cast<size_t>(p.list_size ? p.list_size : 1), *one));
    return true;
  }
  if (!PyTuple_Check(o) && !PyList_Check(o)) return false;
  Shape ints;
  Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
  for (Py_ssize_t i = 0; i < n; ++i) {
    auto v = int_from(PySequence_Fast_GET_ITEM(o, i));
    if (!v) return false;
    ints.push_back(*v);
  }
  if (p.list_size > 1 && n == 1) ints = Shape(static_cast<size_t>(p.list_size), ints[0]);
  out = Attr(std::move(ints));
  return true;
}

bool attr_arg(PyObject* o, const Param& p, Attr& out) {
  if (o == Py_None) {
    out = Attr();
    return p.optional;
  }
  switch (p.type) {
    case ParamType::boolean: {
      if (PyBool_Check(o)) {
        out = Attr(o == Py_True);
        return true;
      }
      auto s = is_tensor(o) ? std::nullopt : scalar_from(o);
      if (!s || s->kind() > Scalar::Kind::integer) return false;
      out = Attr(s->to_bool());
      return true;
    }
    case ParamType::integer: {
      auto v = int_from(o);
      if (v) out = Attr(*v);
      return v.has_value();
    }
    case ParamType::real:
    case ParamType::scalar: {
      auto s = scalar_from(o);
      // A number that a gradient is asked for is left to overloads that take tensors.
      if (!s && is_tensor(o) && tensor_in(o).dim() == 0 && !tensor_in(o).requires_grad()) s = tensor_in(o).item();
      if (!s) return false;
      out = p.type == ParamType::real ? Attr(s->to_double()) : Attr(*s);
      return true;
    }
    case ParamType::string: {
      if (!PyUnicode_Check(o)) return false;
      out = Attr(std::string(PyUnicode_AsUTF8(o)));
      return true;
    }
    case ParamType::dtype: {
      auto t = dtype_from(o);
      if (t) out = Attr(*t);
      return t.has_value();
    }
    case ParamType::ints:
      return ints_arg(o, p, out);
    case ParamType::reals: {
      if (!PyTuple_Check(o) && !PyList_Check(o)) {
        auto s = scalar_from(o);
        if (s) out = Attr(std::vector<double>{s->to_double()});
        return s.has_value();
      }
      std::vector<double> v;
      for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(o); ++i) {
        auto s = scalar_from(PySequence_Fast_GET_ITEM(o, i));
        if (!s) return false;
        v.push_back(s->to_double());
      }
      out = Attr(std::move(v));
      return true;
    }
    default:
      return false;
  }
}

// ---- one call

// What a call asks for beside the operator's own parameters.
struct Extras {
  PyObject* out = nullptr;
  bool requires_grad = false;
};

// PyTorch's and NumPy's other names of parameters.
std::string_view usual_name(std::string_view name) {
  if (name == "axis") return "dim";
  if (name == "keepdims") return "keepdim";
  return name;
}
bool ignored(std::string_view name) {
  return name == "layout" || name == "pin_memory" || name == "memory_format" || name == "non_blocking" ||
         name == "generator" || name == "copy" || name == "names";
}

struct Arguments {
  TensorList inputs;
  Attrs attrs;
  Extras extras;
};

/// `numbers`: a tensor of one integer may stand for a number.
bool parse(const Signature& s, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, Arguments& a,
           bool numbers_from_tensors) {
  std::array<PyObject*, kMaxParams> given{};
  nb::object rest;  // numbers given one by one for a list of integers
  Py_ssize_t count = static_cast<Py_ssize_t>(s.params.size()), at = 0;
  for (Py_ssize_t i = 0; i < nargs; ++i, ++at) {
    if (at >= count || s.params[static_cast<size_t>(at)].keyword_only) return false;
    const Param& p = s.params[static_cast<size_t>(at)];
    bool last = at + 1 == count || s.params[static_cast<size_t>(at) + 1].keyword_only;
    bool numbers = p.type == ParamType::ints && is_int(args[i]);
    bool tensors = p.type == ParamType::tensor_list && is_tensor(args[i]);
    if (last && (numbers || tensors) && i + 1 < nargs) {
      rest = nb::steal(PyTuple_New(nargs - i));
      for (Py_ssize_t j = i; j < nargs; ++j) PyTuple_SET_ITEM(rest.ptr(), j - i, nb::borrow(args[j]).release().ptr());
      given[static_cast<size_t>(at)] = rest.ptr();
      break;
    }
    given[static_cast<size_t>(at)] = args[i];
  }
  if (kwnames) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); ++i) {
      std::string_view name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(kwnames, i));
      PyObject* value = args[nargs + i];
      Py_ssize_t found = -1;
      for (Py_ssize_t j = 0; j < count && found < 0; ++j)
        if (s.params[static_cast<size_t>(j)].name == name) found = j;
      for (Py_ssize_t j = 0; j < count && found < 0; ++j)
        if (s.params[static_cast<size_t>(j)].name == usual_name(name)) found = j;
      if (found >= 0) {
        if (given[static_cast<size_t>(found)]) return false;
        given[static_cast<size_t>(found)] = value;
      } else if (name == "out") {
        a.extras.out = value == Py_None ? nullptr : value;
      } else if (name == "requires_grad") {
        a.extras.requires_grad = PyObject_IsTrue(value);
      } else if (name == "device") {
        check_device(value, s.base.c_str());
      } else if (!ignored(name)) {
        return false;
      }
    }
  }
  a.inputs.reserve(static_cast<size_t>(s.tensors));
  a.attrs.reserve(static_cast<size_t>(s.attrs));
  for (Py_ssize_t i = 0; i < count; ++i) {
    const Param& p = s.params[static_cast<size_t>(i)];
    PyObject* o = given[static_cast<size_t>(i)];
    if (p.type == ParamType::tensor) {
      Tensor t;
      if (o ? !tensor_arg(o, p, t) : !(p.has_default || p.optional)) return false;
      a.inputs.push_back(std::move(t));
    } else if (p.type == ParamType::tensor_list) {
      if (!o) return false;
      if (is_tensor(o) && s.name == s.base && o != rest.ptr()) {
        a.inputs.push_back(tensor_in(o));
        continue;
      }
      if (!PyTuple_Check(o) && !PyList_Check(o)) return false;
      for (Py_ssize_t j = 0; j < PySequence_Fast_GET_SIZE(o); ++j) {
        PyObject* item = PySequence_Fast_GET_ITEM(o, j);
        if (!is_tensor(item)) return false;
        a.inputs.push_back(tensor_in(item));
      }
    } else if (!o) {
      if (!p.has_default) return false;
      a.attrs.push_back(p.default_value);
    } else {
      Attr v;
      if (!numbers_from_tensors && is_tensor(o) && p.type == ParamType::integer) return false;
      if (!attr_arg(o, p, v)) return false;
      a.attrs.push_back(std::move(v));
    }
  }
  return true;
}

std::string describe(PyObject* o) {
  if (is_tensor(o)) return "Tensor";
  if (PyTuple_Check(o) || PyList_Check(o)) {
    std::string text = PyTuple_Check(o) ? "(" : "[";
    for (Py_ssize_t i = 0; i < std::min<Py_ssize_t>(PySequence_Fast_GET_SIZE(o), 4); ++i)
      text += (i ? ", " : "") + describe(PySequence_Fast_GET_ITEM(o, i));
    return text + (PyTuple_Check(o) ? ")" : "]");
  }
  return Py_TYPE(o)->tp_name;
}

[[noreturn]] void no_overload(const Group& g, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  std::string got;
  for (Py_ssize_t i = 0; i < nargs; ++i) got += (i ? ", " : "") + describe(args[i]);
  for (Py_ssize_t i = 0; kwnames && i < PyTuple_GET_SIZE(kwnames); ++i)
    got += fmt::format("{}{}={}", got.empty() ? "" : ", ", PyUnicode_AsUTF8(PyTuple_GET_ITEM(kwnames, i)),
                       describe(args[nargs + i]));
  std::string expected;
  for (const OpDef* op : g.overloads) expected += "\n  " + op->signature.to_string();
  fail<TypeError>("{}: the arguments ({}) fit none of{}", g.name, got, expected);
}

// Several results: a tuple with their names.
PyObject* result_class(const OpDef& op) {
  static std::map<const OpDef*, PyObject*> classes;
  PyObject*& c = classes[&op];
  if (!c) {
    nb::list names;
    for (auto& n : op.signature.outputs) names.append(nb::str(n.c_str()));
    c = nb::module_::import_("collections").attr("namedtuple")(op.signature.base.c_str(), names).release().ptr();
  }
  return c;
}

bool is_list(const Signature& s) { return s.outputs.size() == 1 && s.outputs[0] == "list"; }

nb::object wrap_results(const OpDef& op, TensorList& results) {
  const Signature& s = op.signature;
  if (s.outputs.size() == 1 && !is_list(s)) return wrap(std::move(results[0]));
  nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(results.size())));
  for (size_t i = 0; i < results.size(); ++i)
    PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), wrap(std::move(results[i])).release().ptr());
  if (is_list(s)) return tuple;
  return nb::handle(result_class(op)).attr("_make")(tuple);
}

// `out=`: what is given is made to hold the result. An empty or wrong size is taken over by the result's.
nb::object write_out(const OpDef& op, TensorList& results, PyObject* out) {
  TensorList targets = is_tensor(out) ? TensorList{tensor_in(out)} : unwrap_list(out, "out");
  SORUS_CHECK(targets.size() == results.size(), ValueError, "{}: out= has {} tensors, there are {} results",
              op.name(), targets.size(), results.size());
  static const OpDef& copy = find_op("copy");
  for (size_t i = 0; i < targets.size(); ++i) {
    Tensor& t = targets[i];
    SORUS_CHECK(t.sizes() == results[i].sizes(), ValueError, "{}: out= has the shape {}, the result has {}",
                op.name(), to_string(t.sizes()), to_string(results[i].sizes()));
    call_into(copy, std::array{t, results[i]}, {}, std::array{t});
  }
  return nb::borrow(out);
}

nb::object run(const Group& g, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, bool in_place,
               bool* unfit = nullptr) {
  // A tensor is taken for a tensor if any overload has one there: max(x, other) and max(x, dim).
  for (bool numbers : {false, true})
    for (const OpDef* op : g.overloads) {
      Arguments a;
      if (!parse(op->signature, args, nargs, kwnames, a, numbers)) continue;
      if (in_place) {
        SORUS_CHECK(nargs > 0 && is_tensor(args[0]), TypeError, "{}_: the first argument must be a tensor", g.name);
        call_into(*op, a.inputs, a.attrs, std::span<const Tensor>(&tensor_in(args[0]), 1));
        return nb::borrow(args[0]);
      }
      TensorList results = call(*op, a.inputs, a.attrs);
      if (a.extras.requires_grad) [[unlikely]]
        for (Tensor& t : results) set_requires_grad(t, true);
      if (a.extras.out) [[unlikely]]
        return write_out(*op, results, a.extras.out);
      return wrap_results(*op, results);
    }
  if (unfit) {
    *unfit = true;
    return {};
  }
  no_overload(g, args, nargs, kwnames);
}

// ---- the Python type of operators

struct OperatorObject {
  PyObject_HEAD vectorcallfunc vectorcall;
  const Group* group;
  bool in_place;
};
PyTypeObject* operator_type = nullptr;

PyObject* operator_call(PyObject* self, PyObject* const* args, size_t flags, PyObject* kwnames) {
  auto* o = reinterpret_cast<OperatorObject*>(self);
  try {
    return run(*o->group, args, PyVectorcall_NARGS(flags), kwnames, o->in_place).release().ptr();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}
PyObject* operator_bind(PyObject* self, PyObject* object, PyObject*) {
  return object ? PyMethod_New(self, object) : Py_NewRef(self);
}
PyObject* operator_name(PyObject* self, void*) {
  auto* o = reinterpret_cast<OperatorObject*>(self);
  std::string text = o->group->name.substr(o->group->name.rfind('.') + 1) + (o->in_place ? "_" : "");
  return PyUnicode_FromString(text.c_str());
}
PyObject* operator_doc(PyObject* self, void*) {
  auto* o = reinterpret_cast<OperatorObject*>(self);
  std::string text;
  for (const OpDef* op : o->group->overloads) text += op->signature.to_string() + "\n";
  for (const OpDef* op : o->group->overloads)
    if (!op->doc.empty()) text += "\n" + op->doc + "\n";
  return PyUnicode_FromString(text.c_str());
}
PyObject* operator_module(PyObject*, void*) { return PyUnicode_FromString("sorus"); }
PyObject* operator_repr(PyObject* self) {
  auto* o = reinterpret_cast<OperatorObject*>(self);
  return PyUnicode_FromFormat("<operator %s%s>", o->group->name.c_str(), o->in_place ? "_" : "");
}

PyTypeObject* make_operator_type() {
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(OperatorObject, vectorcall), READONLY, nullptr},
      {nullptr, 0, 0, 0, nullptr}};
  static PyGetSetDef properties[] = {{"__name__", operator_name, nullptr, nullptr, nullptr},
                                     {"__qualname__", operator_name, nullptr, nullptr, nullptr},
                                     {"__doc__", operator_doc, nullptr, nullptr, nullptr},
                                     {"__module__", operator_module, nullptr, nullptr, nullptr},
                                     {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_members, members},
                                {Py_tp_getset, properties},
                                {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                {Py_tp_descr_get, reinterpret_cast<void*>(operator_bind)},
                                {Py_tp_repr, reinterpret_cast<void*>(operator_repr)},
                                {0, nullptr}};
  static PyType_Spec spec = {"sorus._core.Operator", sizeof(OperatorObject), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR |
                                 Py_TPFLAGS_DISALLOW_INSTANTIATION,
                             slots};
  return reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
}

nb::object make_operator(const Group& g, bool in_place) {
  auto* o = PyObject_New(OperatorObject, operator_type);
  o->vectorcall = operator_call;
  o->group = &g;
  o->in_place = in_place;
  return nb::steal(reinterpret_cast<PyObject*>(o));
}

std::map<std::string, Group, std::less<>>& groups() {
  static std::map<std::string, Group, std::less<>> all;
  return all;
}

bool takes_tensor_first(const Group& g) {
  for (const OpDef* op : g.overloads)
    if (!op->signature.params.empty() && op->signature.params[0].type == ParamType::tensor) return true;
  return false;
}

const Part part{20, [](nb::module_& m) {
                  for (const OpDef* op : all_ops()) {
                    if (op->signature.params.size() > static_cast<size_t>(kMaxParams)) continue;
                    Group& g = groups()[op->signature.base];
                    g.name = op->signature.base;
                    g.overloads.push_back(op);
                  }
                  operator_type = make_operator_type();
                  nb::dict functions;
                  nb::handle type(reinterpret_cast<PyObject*>(tensor_type));
                  auto defined = [own = nb::object(type.attr("__dict__"))](const std::string& name) {
                    return PyMapping_HasKeyString(own.ptr(), name.c_str()) != 0;
                  };
                  for (auto& [name, g] : groups()) {
                    nb::object f = make_operator(g, false);
                    functions[name.c_str()] = f;
                    if (name.find('.') != name.npos || !takes_tensor_first(g)) continue;
                    if (!defined(name)) nb::setattr(type, name.c_str(), f);
                    bool writes = !g.overloads[0]->is_view() && g.overloads[0]->signature.outputs.size() == 1;
                    std::string in_place = name + "_";
                    if (!writes || defined(in_place) || groups().contains(in_place)) continue;
                    nb::object f_ = make_operator(g, true);
                    functions[in_place.c_str()] = f_;
                    nb::setattr(type, in_place.c_str(), f_);
                  }
                  m.attr("operators") = functions;
                }};

// ---- Python's operators

struct Symbol {
  const char* name;
  const Group* group = nullptr;
  const Group* find() {
    if (!group) group = find_group(name);
    if (!group) fail<NotImplementedError>("there is no operator {}", name);
    return group;
  }
};
enum SymbolIndex {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kRemainder,
  kMatmul,
  kAnd,
  kOr,
  kXor,
  kPow,
  kNeg,
  kAbs,
  kNot,
  kLt,
  kLe,
  kEq,
  kNe,
  kGt,
  kGe
};
Symbol symbols[] = {{"add"},       {"sub"},    {"mul"},         {"div"},         {"floor_divide"},
                    {"remainder"}, {"matmul"}, {"bitwise_and"}, {"bitwise_or"},  {"bitwise_xor"},
                    {"pow"},       {"neg"},    {"abs"},         {"bitwise_not"}, {"lt"},
                    {"le"},        {"eq"},     {"ne"},          {"gt"},          {"ge"}};

PyObject* apply_symbol(Symbol& symbol, PyObject* const* args, Py_ssize_t n, bool in_place) noexcept {
  try {
    bool unfit = false;
    nb::object r = run(*symbol.find(), args, n, nullptr, in_place, &unfit);
    if (unfit) return Py_NewRef(Py_NotImplemented);
    return r.release().ptr();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}
template <int I>
PyObject* binary(PyObject* a, PyObject* b) {
  PyObject* args[] = {a, b};
  return apply_symbol(symbols[I], args, 2, false);
}
template <int I>
PyObject* binary_in_place(PyObject* a, PyObject* b) {
  PyObject* args[] = {a, b};
  return apply_symbol(symbols[I], args, 2, true);
}
template <int I>
PyObject* unary(PyObject* a) {
  return apply_symbol(symbols[I], &a, 1, false);
}
PyObject* power(PyObject* a, PyObject* b, PyObject*) { return binary<kPow>(a, b); }
PyObject* power_in_place(PyObject* a, PyObject* b, PyObject*) { return binary_in_place<kPow>(a, b); }
PyObject* compare(PyObject* a, PyObject* b, int how) {
  static constexpr int kOrder[] = {kLt, kLe, kEq, kNe, kGt, kGe};  // Py_LT .. Py_GE
  if (b == Py_None) return Py_NewRef(Py_NotImplemented);
  PyObject* args[] = {a, b};
  return apply_symbol(symbols[kOrder[how]], args, 2, false);
}
PyObject* positive(PyObject* a) { return Py_NewRef(a); }

template <class F>
void* slot(F* f) {
  return reinterpret_cast<void*>(f);
}

}  // namespace

PyType_Slot* symbol_slots() {
  static PyType_Slot slots[] = {{Py_nb_add, slot(binary<kAdd>)},
                                {Py_nb_inplace_add, slot(binary_in_place<kAdd>)},
                                {Py_nb_subtract, slot(binary<kSub>)},
                                {Py_nb_inplace_subtract, slot(binary_in_place<kSub>)},
                                {Py_nb_multiply, slot(binary<kMul>)},
                                {Py_nb_inplace_multiply, slot(binary_in_place<kMul>)},
                                {Py_nb_true_divide, slot(binary<kDiv>)},
                                {Py_nb_inplace_true_divide, slot(binary_in_place<kDiv>)},
                                {Py_nb_floor_divide, slot(binary<kFloorDiv>)},
                                {Py_nb_inplace_floor_divide, slot(binary_in_place<kFloorDiv>)},
                                {Py_nb_remainder, slot(binary<kRemainder>)},
                                {Py_nb_inplace_remainder, slot(binary_in_place<kRemainder>)},
                                {Py_nb_matrix_multiply, slot(binary<kMatmul>)},
                                {Py_nb_and, slot(binary<kAnd>)},
                                {Py_nb_inplace_and, slot(binary_in_place<kAnd>)},
                                {Py_nb_or, slot(binary<kOr>)},
                                {Py_nb_inplace_or, slot(binary_in_place<kOr>)},
                                {Py_nb_xor, slot(binary<kXor>)},
                                {Py_nb_inplace_xor, slot(binary_in_place<kXor>)},
                                {Py_nb_power, slot(power)},
                                {Py_nb_inplace_power, slot(power_in_place)},
                                {Py_nb_negative, slot(unary<kNeg>)},
                                {Py_nb_positive, slot(positive)},
                                {Py_nb_absolute, slot(unary<kAbs>)},
                                {Py_nb_invert, slot(unary<kNot>)},
                                {Py_tp_richcompare, slot(compare)},
                                {0, nullptr}};
  return slots;
}

const Group* find_group(std::string_view base) {
  auto it = groups().find(base);
  return it == groups().end() ? nullptr : &it->second;
}

nb::object call_group(const char* base, std::initializer_list<nb::handle> args) {
  const Group* g = find_group(base);
  SORUS_CHECK(g, NotImplementedError, "there is no operator {}", base);
  std::array<PyObject*, 8> pointers{};
  size_t n = 0;
  for (nb::handle a : args) pointers[n++] = a.ptr();
  return run(*g, pointers.data(), static_cast<Py_ssize_t>(n), nullptr, false);
}

}  // namespace sorus::python
