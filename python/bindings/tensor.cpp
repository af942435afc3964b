// The class sorus.Tensor: what is a property or a conversion. What computes is an operator (operators.cpp).
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <array>

#include "bind.h"
#include "dlpack.h"
#include "indexing.h"
#include "methods.h"
#include "operators.h"
#include "sorus/autodiff/tape.h"
#include "sorus/tensor/copy.h"

namespace sorus::python {

PyTypeObject* tensor_type = nullptr;

namespace {

nb::object element(const Tensor& wide, int64_t i) {
  switch (wide.dtype()) {
    case DType::boolean:
      return nb::bool_(wide.data<uint8_t>()[i] != 0);
    case DType::i64:
      return nb::int_(wide.data<int64_t>()[i]);
    case DType::f64:
      return nb::float_(wide.data<double>()[i]);
    default:
      return wrap_scalar(Scalar(wide.data<std::complex<double>>()[i]));
  }
}
nb::object nested(const Tensor& wide, int64_t dim, int64_t& at) {
  if (dim == wide.dim()) return element(wide, at++);
  nb::list out;
  for (int64_t i = 0; i < wide.sizes()[static_cast<size_t>(dim)]; ++i) out.append(nested(wide, dim + 1, at));
  return out;
}
nb::object to_list(const Tensor& t) {
  DType wide = t.dtype() == DType::boolean ? DType::boolean
               : is_integral(t.dtype())    ? DType::i64
               : is_complex(t.dtype())     ? DType::c128
                                           : DType::f64;
  Tensor copy = Tensor::empty(t.sizes(), wide);
  copy_elements(copy, t.detach());
  int64_t at = 0;
  return nested(copy, 0, at);
}

nb::object to_numpy(Self self, bool force) {
  Tensor t = nb::cast<Tensor>(self);
  if (t.requires_grad() && !force) fail<Error>("numpy: the tensor requires gradients; use detach().numpy()");
  SORUS_CHECK(t.dtype() != DType::bf16, TypeError, "numpy: NumPy has no bfloat16; use float() first");
  auto* keep = new Tensor(t);
  nb::capsule owner(keep, [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  std::vector<size_t> sizes(t.sizes().begin(), t.sizes().end());
  return nb::cast(
      nb::ndarray<nb::numpy>(t.data(), sizes.size(), sizes.data(), owner, t.strides().data(), to_dlpack(t.dtype())),
      nb::rv_policy::reference);
}

Tensor converted(const Tensor& t, DType dtype) {
  static const OpDef& to = find_op("to");
  return t.dtype() == dtype ? t : call_one(to, {t}, {Attr(dtype)});
}

// to(dtype), to(other), to("cpu"), to(device, dtype), in any order, by keyword too.
nb::object to(Self self, nb::args args, nb::kwargs kwargs) {
  std::optional<DType> wanted;
  bool copy = false;
  auto take = [&](nb::handle o) {
    if (auto t = dtype_from(o.ptr()))
      wanted = t;
    else if (is_tensor(o.ptr()))
      wanted = tensor_in(o.ptr()).dtype();
    else if (nb::isinstance<nb::str>(o) && std::string_view(nb::str(o).c_str()).substr(0, 6) != "sorus.")
      check_device(o, "to");
  };
  for (nb::handle o : args) take(o);
  for (auto [key, value] : kwargs) {
    if (std::string_view(nb::str(key).c_str()) == "copy")
      copy = nb::cast<bool>(value);
    else
      take(value);
  }
  const Tensor& t = tensor_in(self.ptr());
  if ((!wanted || *wanted == t.dtype()) && !copy) return nb::borrow(self);
  if (!wanted || *wanted == t.dtype()) return call_group("clone", {self});
  return wrap(converted(t, *wanted));
}

}  // namespace

void check_device(nb::handle device, const char* who) {
  if (device.is_none()) return;
  std::string name = nb::str(device).c_str();
  if (name.substr(0, name.find(':')) != "cpu")
    fail<Error>("{}: there is no device '{}'; the only one is 'cpu'", who, name);
}

namespace {

Tensor move_last_two(const Tensor& t) {
  static const OpDef& transpose = find_op("transpose");
  SORUS_CHECK(t.dim() >= 2, ValueError, "mT: expected at least 2 dimensions, got {}", to_string(t.sizes()));
  return call_one(transpose, {t}, {Attr(-2), Attr(-1)});
}
Tensor reversed(const Tensor& t) {
  static const OpDef& permute = find_op("permute");
  Shape dims;
  for (int64_t d = t.dim() - 1; d >= 0; --d) dims.push_back(d);
  return call_one(permute, {t}, {Attr(dims)});
}

nb::object shape_of(Self self) { return wrap_size(tensor_in(self.ptr()).sizes()); }

bool truth(const Tensor& t) {
  if (t.numel() != 1) fail<Error>("bool: the truth of a tensor with {} elements is ambiguous", t.numel());
  return t.item().to_bool();
}

// Python objects that stand for this tensor's hooks; removing one makes it do nothing.
nb::object register_hook(Self self, nb::object f, bool at_last) {
  nb::list box;
  box.append(f);
  add_hook(
      tensor_in(self.ptr()),
      [box](const Tensor& grad) -> Tensor {
        if (nb::len(box) == 0) return {};
        return unwrap(nb::object(box[0])(wrap(grad)), "register_hook");
      },
      at_last);
  return nb::module_::import_("sorus._python").attr("RemovableHandle")(box);
}

nb::object register_accumulated_hook(Self self, nb::object f) {
  nb::list box;
  box.append(f);
  add_accumulated_hook(tensor_in(self.ptr()), [box](const Tensor& leaf) {
    if (nb::len(box) == 0) return;
    nb::object f = nb::object(box[0]);
    f(wrap(leaf));
  });
  return nb::module_::import_("sorus._python").attr("RemovableHandle")(box);
}

void set_grad_of(Self self, nb::object grad) { set_grad(tensor_in(self.ptr()), unwrap(grad, "grad")); }

void bind_properties(nb::class_<Tensor>& c) {
  c.def(nb::init<const Tensor&>())
      .def_prop_ro("shape", &shape_of)
      .def(
          "size",
          [](Self self, std::optional<int64_t> dim) -> nb::object {
            return dim ? nb::object(nb::int_(tensor_in(self.ptr()).size(*dim))) : shape_of(self);
          },
          nb::arg("dim") = nb::none())
      .def_prop_ro("dtype", [](const Tensor& t) { return t.dtype(); })
      .def_prop_ro("ndim", &Tensor::dim)
      .def("dim", &Tensor::dim)
      .def("ndimension", &Tensor::dim)
      .def("numel", &Tensor::numel)
      .def("nelement", &Tensor::numel)
      .def("element_size", [](const Tensor& t) { return size_of(t.dtype()); })
      .def_prop_ro("itemsize", [](const Tensor& t) { return size_of(t.dtype()); })
      .def_prop_ro("nbytes", &Tensor::nbytes)
      .def(
          "stride",
          [](const Tensor& t, std::optional<int64_t> dim) -> nb::object {
            if (dim) return nb::int_(t.strides()[static_cast<size_t>(wrap_dim(*dim, t.dim(), "stride"))]);
            return nb::tuple(wrap_size(t.strides()));
          },
          nb::arg("dim") = nb::none())
      .def("storage_offset", [](const Tensor& t) { return t.impl()->offset; })
      .def("data_ptr", [](const Tensor& t) { return reinterpret_cast<uintptr_t>(t.data()); })
      .def("is_contiguous", [](const Tensor& t, nb::kwargs) { return t.is_contiguous(); })
      .def("is_floating_point", [](const Tensor& t) { return is_floating(t.dtype()); })
      .def("is_complex", [](const Tensor& t) { return is_complex(t.dtype()); })
      .def_prop_ro("device", [](const Tensor&) { return nb::module_::import_("sorus._python").attr("cpu_device"); })
      .def_prop_ro("is_cuda", [](const Tensor&) { return false; })
      .def_prop_ro("_version", [](const Tensor& t) { return t.storage()->version(); })
      .def_prop_ro("T", &reversed)
      .def_prop_ro("mT", &move_last_two);
}

template <class Value>
nb::object fill(Self self, Value value) {
  set_item(self, nb::handle(Py_Ellipsis), nb::cast(value));
  return nb::borrow(self);
}

void bind_conversions(nb::class_<Tensor>& c) {
  c.def("item", [](const Tensor& t) { return wrap_scalar(t.item()); })
      .def("tolist", &to_list)
      .def(
          "numpy", [](Self self, bool force) { return to_numpy(self, force); }, nb::kw_only(),
          nb::arg("force") = false)
      .def(
          "__array__",
          [](Self self, nb::object dtype, nb::object) {
            nb::object a = to_numpy(self, false);
            return dtype.is_none() ? a : nb::object(a.attr("astype")(dtype));
          },
          nb::arg("dtype") = nb::none(), nb::arg("copy") = nb::none())
      .def("to", &to)
      .def("type_as", [](const Tensor& t, const Tensor& o) { return converted(t, o.dtype()); })
      .def("cpu", [](Self self) { return nb::borrow(self); })
      .def("detach", &Tensor::detach)
      .def("detach_", [](Self self) { return nb::borrow(self); })
      .def("__len__",
           [](const Tensor& t) {
             SORUS_CHECK(t.dim() > 0, TypeError, "len: a tensor without dimensions has no length");
             return t.sizes()[0];
           })
      .def("__iter__",
           [](Self self) {
             SORUS_CHECK(tensor_in(self.ptr()).dim() > 0, TypeError, "iter: a tensor without dimensions has no rows");
             return nb::iter(call_group("unbind", {self}));
           })
      .def("__bool__", &truth)
      .def("__int__", [](const Tensor& t) { return t.item().to_int(); })
      .def("__float__", [](const Tensor& t) { return t.item().to_double(); })
      .def("__complex__", [](const Tensor& t) { return wrap_scalar(Scalar(t.item().to_complex())); })
      .def("__index__",
           [](const Tensor& t) {
             SORUS_CHECK(t.numel() == 1 && !is_floating(t.dtype()) && !is_complex(t.dtype()), TypeError,
                         "only integer tensors of a single element can be an index");
             return t.item().to_int();
           })
      .def("zero_", [](Self self) { return fill(self, 0.0); })
      .def(
          "fill_", [](Self self, nb::handle value) { return fill(self, value); }, nb::arg("value"))
      .def("__hash__", [](const Tensor& t) { return reinterpret_cast<uintptr_t>(t.impl()) >> 4; })
      .def("__getitem__", &get_item, nb::arg("index").none())
      .def("__setitem__", &set_item, nb::arg("index").none(), nb::arg("value"))
      .def("__repr__", [](Self self) { return nb::module_::import_("sorus._format").attr("tensor_text")(self); })
      .def("__format__", [](Self self, nb::str spec) -> nb::object {
        const Tensor& t = tensor_in(self.ptr());
        if (t.dim() == 0) return wrap_scalar(t.item()).attr("__format__")(spec);
        return nb::repr(self);
      });
  static const std::pair<const char*, DType> kNames[] = {
      {"double", DType::f64}, {"float", DType::f32},    {"bfloat16", DType::bf16}, {"half", DType::f16},
      {"long", DType::i64},   {"int", DType::i32},      {"short", DType::i16},     {"char", DType::i8},
      {"byte", DType::u8},    {"bool", DType::boolean}, {"cfloat", DType::c64},    {"cdouble", DType::c128}};
  for (auto [name, type] : kNames)
    c.def(name, [type = type](Self self, nb::kwargs) -> nb::object {
      const Tensor& t = tensor_in(self.ptr());
      return t.dtype() == type ? nb::borrow(self) : wrap(converted(t, type));
    });
}

// What `t` shows and where: that of `other`.
void show(const Tensor& t, const Tensor& other) {
  TensorImpl& a = *t.impl();
  const TensorImpl& b = *other.impl();
  a.storage = b.storage, a.sizes = b.sizes, a.strides = b.strides, a.offset = b.offset, a.dtype = b.dtype;
  a.contiguous = b.contiguous, a.count = b.count;
}

// The Python object becomes a view of what it was, for `unsqueeze_` and its like. A leaf stays the same tensor, which
// others may hold too; what has a history goes on as the result of the view.
void become(Self self, const Tensor& view) {
  const Tensor& t = tensor_in(self.ptr());
  SORUS_CHECK(!(t.requires_grad() && is_leaf(t) && view.requires_grad()), Error,
              "a leaf that requires gradients cannot be changed in place; use no_grad()");
  if (view.requires_grad() || t.is_abstract())
    *nb::inst_ptr<Tensor>(self) = view;
  else
    show(t, view);
}

void bind_gradients(nb::class_<Tensor>& c) {
  c.def_prop_rw("requires_grad", &Tensor::requires_grad,
                [](const Tensor& t, bool wanted) { set_requires_grad(t, wanted); })
      .def(
          "requires_grad_",
          [](Self self, bool wanted) {
            set_requires_grad(tensor_in(self.ptr()), wanted);
            return nb::borrow(self);
          },
          nb::arg("requires_grad") = true)
      .def_prop_rw(
          "grad", [](const Tensor& t) { return wrap(grad_of(t)); }, &set_grad_of, nb::arg("grad").none())
      .def_prop_ro("grad_fn",
                   [](const Tensor& t) -> nb::object {
                     std::string name = producer_name(t);
                     if (name.empty()) return nb::none();
                     return nb::module_::import_("sorus._python").attr("GradFn")(name);
                   })
      .def_prop_ro("is_leaf", &is_leaf)
      .def(
          "backward",
          [](const Tensor& t, nb::object gradient, std::optional<bool> retain, bool create) {
            backward(t, unwrap(gradient, "backward"), retain.value_or(create), create);
          },
          nb::arg("gradient") = nb::none(), nb::arg("retain_graph") = nb::none(), nb::arg("create_graph") = false)
      .def("register_hook", [](Self self, nb::object hook) { return register_hook(self, std::move(hook), false); })
      .def("_register_last_hook",
           [](Self self, nb::object hook) { return register_hook(self, std::move(hook), true); })
      .def("register_post_accumulate_grad_hook", &register_accumulated_hook,
           "Calls the function with this leaf when a backward pass has added to its .grad.")
      .def(
          "_become", [](Self self, const Tensor& view) { become(self, view); }, nb::arg("view"))
      .def_prop_rw("data", &Tensor::detach, [](const Tensor& t, const Tensor& value) { show(t, value); });
}

const Part part{10, [](nb::module_& m) {
                  auto c = nb::class_<Tensor>(m, "Tensor", nb::dynamic_attr(), nb::is_weak_referenceable(),
                                              nb::type_slots(symbol_slots()));
                  tensor_type = reinterpret_cast<PyTypeObject*>(c.ptr());
                  bind_properties(c);
                  bind_conversions(c);
                  bind_gradients(c);
                  m.def(
                      "tensor",
                      [](nb::handle data, std::optional<DType> dtype, nb::object device, bool requires_grad) {
                        check_device(device, "tensor");
                        Tensor t = tensor_from(data, dtype);
                        if (requires_grad) set_requires_grad(t, true);
                        return t;
                      },
                      nb::arg("data"), nb::kw_only(), nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none(),
                      nb::arg("requires_grad") = false);
                  m.def("from_numpy", &tensor_from_buffer);
                  m.def(
                      "as_tensor",
                      [](nb::handle data, std::optional<DType> dtype, nb::object device) -> nb::object {
                        check_device(device, "as_tensor");
                        if (is_tensor(data.ptr()) && (!dtype || *dtype == tensor_in(data.ptr()).dtype()))
                          return nb::borrow(data);
                        if (is_tensor(data.ptr())) return wrap(converted(tensor_in(data.ptr()), *dtype));
                        if (!nb::isinstance<nb::list>(data) && !nb::isinstance<nb::tuple>(data) &&
                            PyObject_CheckBuffer(data.ptr())) {
                          Tensor t = tensor_from_buffer(data);
                          return wrap(dtype ? converted(t, *dtype) : t);
                        }
                        return wrap(tensor_from(data, dtype));
                      },
                      nb::arg("data"), nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none());
                  m.def("get_default_dtype", &default_dtype);
                  m.def("set_default_dtype", &set_default_dtype);
                  m.def("promote_types", &promote);
                }};

}  // namespace

nb::object wrap(Tensor t) {
  if (!t.defined()) return nb::none();
  nb::handle type(reinterpret_cast<PyObject*>(tensor_type));
  nb::object o = nb::inst_alloc(type);
  new (nb::inst_ptr<Tensor>(o)) Tensor(std::move(t));
  nb::inst_mark_ready(o);
  return o;
}
nb::list wrap_list(TensorSpan tensors) {
  nb::list out;
  for (const Tensor& t : tensors) out.append(wrap(t));
  return out;
}
Tensor unwrap(nb::handle o, const char* what) {
  if (o.is_none()) return {};
  SORUS_CHECK(is_tensor(o.ptr()), TypeError, "{}: expected a Tensor or None, got {}", what,
              Py_TYPE(o.ptr())->tp_name);
  return tensor_in(o.ptr());
}
TensorList unwrap_list(nb::handle o, const char* what) {
  if (is_tensor(o.ptr())) return {tensor_in(o.ptr())};
  TensorList out;
  for (nb::handle item : nb::iter(o)) out.push_back(unwrap(item, what));
  return out;
}

}  // namespace sorus::python
