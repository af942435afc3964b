// Basic indexing is a chain of views: select, slice, unsqueeze. Arrays of indices and masks gather.
#include "indexing.h"

#include <array>

#include "operators.h"

namespace sorus::python {
namespace {

struct Selection {
  Tensor view;                  ///< after all basic parts
  std::vector<Tensor> indices;  ///< by dimension of `view`; undefined where the dimension is kept
  bool advanced = false;
};

std::optional<int64_t> whole_number(nb::handle o) {
  if (PyBool_Check(o.ptr()) || is_tensor(o.ptr()) || !PyIndex_Check(o.ptr())) return std::nullopt;
  return index_from(o.ptr());
}
Attr slice_end(PyObject* o) {
  if (o == Py_None) return {};
  nb::object i = nb::steal(PyNumber_Index(o));
  if (!i.is_valid()) nb::raise_python_error();
  return Attr(static_cast<int64_t>(PyNumber_AsSsize_t(i.ptr(), nullptr)));
}

int64_t dims_taken(nb::handle item) {
  if (item.is_none() || item.ptr() == Py_Ellipsis || PyBool_Check(item.ptr())) return 0;
  if (is_tensor(item.ptr()) && tensor_in(item.ptr()).dtype() == DType::boolean) return tensor_in(item.ptr()).dim();
  return 1;
}

// A mask stands for one array of indices per dimension it covers.
void add_mask(Selection& s, const Tensor& mask, int64_t& at) {
  static const OpDef& nonzero = find_op("nonzero");
  static const OpDef& select = find_op("select");
  for (int64_t d = 0; d < mask.dim(); ++d)
    SORUS_CHECK(at + d < s.view.dim() && mask.size(d) == s.view.size(at + d), IndexError,
                "the mask of shape {} does not fit the tensor of shape {} at dimension {}", to_string(mask.sizes()),
                to_string(s.view.sizes()), at + d);
  Tensor places = call_one(nonzero, {mask});
  for (int64_t d = 0; d < mask.dim(); ++d) {
    s.indices[static_cast<size_t>(at)] = call_one(select, {places}, {Attr(1), Attr(d)});
    ++at;
  }
  s.advanced = true;
}

Selection resolve(const Tensor& t, nb::handle index) {
  static const OpDef& select = find_op("select");
  static const OpDef& slice = find_op("slice");
  static const OpDef& unsqueeze = find_op("unsqueeze");
  Selection s{t, {}, false};
  nb::tuple items = nb::isinstance<nb::tuple>(index) ? nb::borrow<nb::tuple>(index) : nb::make_tuple(index);
  std::vector<nb::object> parts;
  int64_t taken = 0;
  for (nb::handle item : items) {
    nb::object o = nb::borrow(item);
    bool array = !is_tensor(o.ptr()) && !whole_number(o) && !nb::isinstance<nb::slice>(o) && !o.is_none() &&
                 o.ptr() != Py_Ellipsis && !PyBool_Check(o.ptr());
    if (array) {
      Tensor converted = tensor_from(o, std::nullopt);
      if (converted.numel() == 0 && is_floating(converted.dtype())) converted = tensor_from(o, DType::i64);
      o = wrap(converted);
    }
    taken += dims_taken(o);
    parts.push_back(o);
  }
  SORUS_CHECK(taken <= t.dim(), IndexError, "too many indices: {} for a tensor of shape {}", taken,
              to_string(t.sizes()));
  int64_t at = 0;
  s.indices.resize(static_cast<size_t>(t.dim()));
  auto keep = [&] { ++at; };
  for (const nb::object& o : parts) {
    if (o.is_none()) {
      s.view = call_one(unsqueeze, {s.view}, {Attr(at)});
      s.indices.insert(s.indices.begin() + at, Tensor());
      keep();
    } else if (o.ptr() == Py_Ellipsis) {
      at += t.dim() - taken;
    } else if (auto i = whole_number(o)) {
      s.view = call_one(select, {s.view}, {Attr(at), Attr(*i)});
      s.indices.erase(s.indices.begin() + at);
    } else if (nb::isinstance<nb::slice>(o)) {
      auto* p = reinterpret_cast<PySliceObject*>(o.ptr());
      Attr step = slice_end(p->step);
      if (p->start != Py_None || p->stop != Py_None || p->step != Py_None)
        s.view = call_one(slice, {s.view},
                          {Attr(at), slice_end(p->start), slice_end(p->stop), step.is_none() ? Attr(1) : step});
      keep();
    } else {
      Tensor index_tensor;
      if (PyBool_Check(o.ptr()))
        index_tensor = Tensor::scalar(Scalar(o.ptr() == Py_True), DType::boolean);
      else
        index_tensor = tensor_in(o.ptr());
      if (index_tensor.dtype() == DType::boolean) {
        if (index_tensor.dim() == 0) {  // adds a dimension of length 0 or 1
          s.view = call_one(unsqueeze, {s.view}, {Attr(at)});
          s.indices.insert(s.indices.begin() + at, Tensor());
          static const OpDef& reshape = find_op("reshape");
          index_tensor = call_one(reshape, {index_tensor}, {Attr(Shape{1})});
        }
        add_mask(s, index_tensor, at);
      } else {
        SORUS_CHECK(is_integral(index_tensor.dtype()), IndexError, "an index must be of integers or bool, got {}",
                    name(index_tensor.dtype()));
        s.indices[static_cast<size_t>(at)] = index_tensor;
        s.advanced = true;
        keep();
      }
    }
  }
  return s;
}

std::pair<Shape, TensorList> given_indices(const Selection& s) {
  std::pair<Shape, TensorList> out;
  for (size_t d = 0; d < s.indices.size(); ++d) {
    if (!s.indices[d].defined()) continue;
    out.first.push_back(static_cast<int64_t>(d));
    out.second.push_back(s.indices[d]);
  }
  return out;
}

}  // namespace

nb::object get_item(Self self, nb::handle index) {
  const Tensor& t = tensor_in(self.ptr());
  Selection s = resolve(t, index);
  if (s.advanced) {
    static const OpDef& gather = find_op("index");
    auto [dims, indices] = given_indices(s);
    TensorList inputs{s.view};
    inputs.insert(inputs.end(), indices.begin(), indices.end());
    return wrap(call_one(gather, inputs, {Attr(dims)}));
  }
  if (s.view.is(t)) {  // x[:] and x[...] are other tensors on the same memory
    static const OpDef& reshape = find_op("reshape");
    return wrap(call_one(reshape, {t}, {Attr(t.sizes())}));
  }
  return wrap(s.view);
}

void set_item(Self self, nb::handle index, nb::handle value) {
  static const OpDef& copy = find_op("copy");
  const Tensor& t = tensor_in(self.ptr());
  Selection s = resolve(t, index);
  Tensor v = is_tensor(value.ptr())     ? tensor_in(value.ptr())
             : scalar_from(value.ptr()) ? Tensor::scalar(*scalar_from(value.ptr()), t.dtype())
                                        : tensor_from(value, t.dtype());
  if (!s.advanced) {
    call_into(copy, std::array{s.view, v}, {}, std::array{s.view});
    return;
  }
  static const OpDef& put = find_op("index_put");
  auto [dims, indices] = given_indices(s);
  TensorList inputs{s.view};
  inputs.insert(inputs.end(), indices.begin(), indices.end());
  inputs.push_back(v);
  call_into(put, inputs, {Attr(dims), Attr(false)}, std::array{s.view});
}

}  // namespace sorus::python
