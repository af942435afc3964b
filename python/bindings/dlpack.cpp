// DLPack, both ways: memory shared with any library that speaks it (dmlc.github.io/dlpack), on the CPU.
#include "dlpack.h"

#include <algorithm>

#include "methods.h"

namespace sorus::python {

nb::dlpack::dtype to_dlpack(DType t) {
  using Code = nb::dlpack::dtype_code;
  Code code = t == DType::boolean ? Code::Bool
              : is_complex(t)     ? Code::Complex
              : t == DType::bf16  ? Code::Bfloat
              : is_floating(t)    ? Code::Float
              : t == DType::u8    ? Code::UInt
                                  : Code::Int;
  return {static_cast<uint8_t>(code), static_cast<uint8_t>(size_of(t) * 8), 1};
}

namespace {

DType from_dlpack(nb::dlpack::dtype t) {
  for (DType d : {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32, DType::i16, DType::i8,
                  DType::u8, DType::boolean, DType::c64, DType::c128})
    if (to_dlpack(d) == t) return d;
  fail<TypeError>("from_dlpack: there is no type for DLPack's code {} with {} bits and {} lanes", int{t.code},
                  int{t.bits}, int{t.lanes});
}

nb::object give(Self self, nb::kwargs options) {
  const Tensor& t = tensor_in(self.ptr());
  if (t.requires_grad()) fail<Error>("__dlpack__: the tensor requires gradients; use detach() first");
  auto* keep = new Tensor(t);
  nb::capsule owner(keep, [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  std::vector<size_t> sizes(t.sizes().begin(), t.sizes().end());
  nb::object array =
      nb::cast(nb::ndarray<nb::array_api>(t.data(), sizes.size(), sizes.data(), owner, t.strides().data(),
                                          to_dlpack(t.dtype()), nb::device::cpu::value, 0),
               nb::rv_policy::reference);
  return array.attr("__dlpack__")(**options);
}

nb::object take(nb::handle source) {
  if (is_tensor(source.ptr())) return wrap(tensor_in(source.ptr()).detach());
  SORUS_CHECK(nb::hasattr(source, "__dlpack__") || PyCapsule_IsValid(source.ptr(), "dltensor"), TypeError,
              "from_dlpack: expected an object with __dlpack__, found {}", Py_TYPE(source.ptr())->tp_name);
  if (nb::hasattr(source, "__dlpack_device__")) {
    int kind = nb::cast<int>(source.attr("__dlpack_device__")()[0]);
    SORUS_CHECK(kind == nb::device::cpu::value, ValueError,
                "from_dlpack: expected memory of the CPU, found device {}", kind);
  }
  auto* array = new nb::ndarray<>();
  auto release = [array] {
    nb::gil_scoped_acquire gil;
    delete array;
  };
  try {
    if (!nb::try_cast(source, *array))
      fail<ValueError>("from_dlpack: the memory of this {} cannot be shared (is it read-only?)",
                       Py_TYPE(source.ptr())->tp_name);
    DType t = from_dlpack(array->dtype());
    Geometry g;
    size_t span = 0;
    for (size_t i = 0; i < array->ndim(); ++i) {
      auto size = static_cast<int64_t>(array->shape(i));
      SORUS_CHECK(array->stride(i) >= 0 || size < 2, ValueError,
                  "from_dlpack: negative strides are not supported; make a copy first");
      g.sizes.push_back(size);
      g.strides.push_back(std::max<int64_t>(array->stride(i), 0));
      if (size > 0) span += static_cast<size_t>((size - 1) * g.strides.back());
    }
    size_t bytes = numel(g.sizes) == 0 ? 0 : (span + 1) * size_of(t);
    return wrap(Tensor::from_storage(Storage::wrap(array->data(), bytes, release, true), g, t));
  } catch (...) {
    release();
    throw;
  }
}

const Part part{
    20, [](nb::module_& m) {
      nb::handle type(reinterpret_cast<PyObject*>(tensor_type));
      nb::setattr(type, "__dlpack__", nb::cpp_function(&give, nb::is_method()));
      nb::setattr(type, "__dlpack_device__",
                  nb::cpp_function([](nb::handle) { return nb::make_tuple(1, 0); }, nb::is_method()));
      m.def("from_dlpack", &take, nb::arg("ext_tensor"),
            "A tensor that shares the memory of an object with __dlpack__ (NumPy, PyTorch, JAX, ...), on the CPU.");
    }};

}  // namespace
}  // namespace sorus::python
