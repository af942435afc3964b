#include "sorus/tensor/tensor.h"

#include <cstring>

#include "sorus/tensor/meta.h"

namespace sorus {

DType Scalar::dtype() const {
  switch (kind_) {
    case Kind::boolean:
      return DType::boolean;
    case Kind::integer:
      return DType::i64;
    case Kind::real:
      return default_dtype();
    default:
      return complex_of(default_dtype());
  }
}

int64_t TensorType::nbytes() const { return sorus::numel(shape) * static_cast<int64_t>(size_of(dtype)); }
std::string TensorType::to_string() const { return fmt::format("{}{}", short_name(dtype), sorus::to_string(shape)); }

Tensor Tensor::from_storage(Ref<Storage> storage, Geometry g, DType dtype) {
  auto impl = make_ref<TensorImpl>();
  impl->storage = std::move(storage);
  impl->count = sorus::numel(g.sizes);
  impl->contiguous = sorus::is_contiguous(g.sizes, g.strides);
  impl->sizes = std::move(g.sizes);
  impl->strides = std::move(g.strides);
  impl->offset = g.offset;
  impl->dtype = dtype;
  return Tensor(std::move(impl));
}

namespace {
size_t checked_bytes(IntSpan sizes, DType dtype) {
  for (int64_t s : sizes)
    SORUS_CHECK(s >= 0, ValueError, "a tensor cannot have the negative size in {}", to_string(sizes));
  int64_t bytes;
  SORUS_CHECK(!__builtin_mul_overflow(numel(sizes), static_cast<int64_t>(size_of(dtype)), &bytes), ValueError,
              "a tensor of shape {} has more bytes than can be addressed", to_string(sizes));
  return static_cast<size_t>(bytes);
}
}  // namespace

namespace {
thread_local bool empty_is_abstract = false;

Tensor allocated(IntSpan sizes, DType dtype) {
  size_t bytes = checked_bytes(sizes, dtype);
  auto impl = make_ref<TensorImpl>();
  impl->storage = Storage::allocate(bytes);
  impl->count = static_cast<int64_t>(bytes / size_of(dtype));
  impl->sizes = sizes;
  impl->strides = contiguous_strides(sizes);
  impl->dtype = dtype;
  return Tensor(std::move(impl));
}

}  // namespace

AbstractScope::AbstractScope() : previous_(empty_is_abstract) { empty_is_abstract = true; }
AbstractScope::~AbstractScope() { empty_is_abstract = previous_; }

Tensor Tensor::empty(IntSpan sizes, DType dtype) {
  if (empty_is_abstract) [[unlikely]]
    return abstract(sizes, dtype);
  return allocated(sizes, dtype);
}

Tensor Tensor::abstract(IntSpan sizes, DType dtype) {
  return from_storage(Storage::abstract(checked_bytes(sizes, dtype)), {sizes, contiguous_strides(sizes), 0}, dtype);
}

Tensor Tensor::zeros(IntSpan sizes, DType dtype) {
  Tensor t = empty(sizes, dtype);
  if (!t.is_abstract()) std::memset(t.data(), 0, t.nbytes());
  return t;
}

Tensor Tensor::scalar(const Scalar& v, DType dtype) {
  Tensor t = allocated(IntSpan{}, dtype);
  void* p = t.data();
  switch (dtype) {
    case DType::f64:
      *static_cast<double*>(p) = v.to_double();
      break;
    case DType::f32:
      *static_cast<float*>(p) = static_cast<float>(v.to_double());
      break;
    case DType::bf16:
      *static_cast<bfloat16*>(p) = bfloat16(static_cast<float>(v.to_double()));
      break;
    case DType::f16:
      *static_cast<float16*>(p) = float16(static_cast<float>(v.to_double()));
      break;
    case DType::i64:
      *static_cast<int64_t*>(p) = v.to_int();
      break;
    case DType::i32:
      *static_cast<int32_t*>(p) = static_cast<int32_t>(v.to_int());
      break;
    case DType::i16:
      *static_cast<int16_t*>(p) = static_cast<int16_t>(v.to_int());
      break;
    case DType::i8:
      *static_cast<int8_t*>(p) = static_cast<int8_t>(v.to_int());
      break;
    case DType::u8:
      *static_cast<uint8_t*>(p) = static_cast<uint8_t>(v.to_int());
      break;
    case DType::boolean:
      *static_cast<uint8_t*>(p) = v.to_bool();
      break;
    case DType::c64:
      *static_cast<std::complex<float>*>(p) = std::complex<float>(v.to_complex());
      break;
    case DType::c128:
      *static_cast<std::complex<double>*>(p) = v.to_complex();
      break;
  }
  return t;
}

Tensor Tensor::weak_scalar(const Scalar& v) {
  // Kept in the widest type of its kind: nothing is lost before it meets the tensor that decides the type.
  DType t = v.kind() == Scalar::Kind::real ? DType::f64 : v.kind() == Scalar::Kind::complex ? DType::c128 : v.dtype();
  Tensor s = scalar(v, t);
  s.impl()->weak = true;
  return s;
}

template <class T>
Tensor Tensor::of(const std::vector<T>& values, IntSpan sizes) {
  DType t = std::is_same_v<T, float>     ? DType::f32
            : std::is_same_v<T, double>  ? DType::f64
            : std::is_same_v<T, int64_t> ? DType::i64
            : std::is_same_v<T, int32_t> ? DType::i32
                                         : DType::u8;
  Tensor out = allocated(sizes, t);  // values are given, so there is memory
  SORUS_CHECK(out.numel() == static_cast<int64_t>(values.size()), ValueError, "{} values do not fill the shape {}",
              values.size(), to_string(sizes));
  if (!values.empty()) std::memcpy(out.data(), values.data(), out.nbytes());
  return out;
}
template Tensor Tensor::of(const std::vector<float>&, IntSpan);
template Tensor Tensor::of(const std::vector<double>&, IntSpan);
template Tensor Tensor::of(const std::vector<int64_t>&, IntSpan);
template Tensor Tensor::of(const std::vector<int32_t>&, IntSpan);
template Tensor Tensor::of(const std::vector<uint8_t>&, IntSpan);

int64_t Tensor::size(int64_t d) const { return impl_->sizes[wrap_dim(d, dim(), "size")]; }

Tensor Tensor::with_geometry(const Geometry& g) const {
  Tensor t = from_storage(impl_->storage, g, impl_->dtype);
  t.impl()->base = impl_->base ? impl_->base : impl_;
  return t;
}

Tensor Tensor::view_checked(const Geometry& g, std::string_view what) const {
  SORUS_CHECK(g.sizes.size() == g.strides.size(), ValueError, "{}: {} sizes but {} strides", what, g.sizes.size(),
              g.strides.size());
  int64_t low = g.offset, high = g.offset;
  for (size_t i = 0; i < g.sizes.size(); ++i) {
    if (g.sizes[i] == 0) return with_geometry(g);
    (g.strides[i] < 0 ? low : high) += g.strides[i] * (g.sizes[i] - 1);
  }
  int64_t limit = static_cast<int64_t>(storage()->nbytes() / size_of(dtype()));
  SORUS_CHECK(low >= 0 && high < limit, ValueError,
              "{}: sizes {}, strides {}, offset {} reach outside the storage of {} elements", what,
              to_string(g.sizes), to_string(g.strides), g.offset, limit);
  return with_geometry(g);
}

Tensor Tensor::detach() const {
  Tensor t = from_storage(impl_->storage, geometry(), impl_->dtype);
  t.impl()->weak = impl_->weak;
  return t;
}

Scalar Tensor::item() const {
  SORUS_CHECK(numel() == 1, ValueError, "item: only a tensor of one element is a number, this one has shape {}",
              to_string(sizes()));
  const void* p = data();
  switch (dtype()) {
    case DType::f64:
      return *static_cast<const double*>(p);
    case DType::f32:
      return static_cast<double>(*static_cast<const float*>(p));
    case DType::bf16:
      return static_cast<double>(static_cast<float>(*static_cast<const bfloat16*>(p)));
    case DType::f16:
      return static_cast<double>(static_cast<float>(*static_cast<const float16*>(p)));
    case DType::i64:
      return *static_cast<const int64_t*>(p);
    case DType::i32:
      return int64_t{*static_cast<const int32_t*>(p)};
    case DType::i16:
      return int64_t{*static_cast<const int16_t*>(p)};
    case DType::i8:
      return int64_t{*static_cast<const int8_t*>(p)};
    case DType::u8:
      return int64_t{*static_cast<const uint8_t*>(p)};
    case DType::boolean:
      return *static_cast<const uint8_t*>(p) != 0;
    case DType::c64:
      return std::complex<double>(*static_cast<const std::complex<float>*>(p));
    default:
      return *static_cast<const std::complex<double>*>(p);
  }
}

void Tensor::no_data() const {
  fail<Error>(
      "the value of {} is not known while a graph is recorded: move the line that needs it out of the compiled "
      "function, or use sorus.where instead of a branch on it",
      type().to_string());
}

}  // namespace sorus
