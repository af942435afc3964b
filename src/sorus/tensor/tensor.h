// Tensor: a handle on elements of one type that lie with strides in a shared storage.
//
//   Tensor t = Tensor::empty({2, 3}, DType::f32);
//   float* p = t.data<float>();                 // the first element, offset included
//   Tensor column = t.with_geometry({{2}, {3}, 1});   // a view; both see each other's writes
//
// A Tensor is a pointer: copies are cheap and mean the same tensor. What a tensor computes with (operators), how it
// remembers where it came from (gradients) and how it stands for a value in a graph (tracing) belongs to later
// layers; this one only holds the place where the gradient's record hangs.
#pragma once

#include <complex>
#include <string>
#include <vector>

#include "sorus/base/error.h"
#include "sorus/tensor/dtype.h"
#include "sorus/tensor/shape.h"
#include "sorus/tensor/storage.h"

namespace sorus {

/// A number from the user's program that keeps its kind: 2 and 2.0 promote differently.
class Scalar {
 public:
  enum class Kind : uint8_t { boolean, integer, real, complex };
  Scalar() : Scalar(int64_t{0}) {}
  Scalar(bool v) : kind_(Kind::boolean), integer_(v), value_(v) {}
  Scalar(int v) : Scalar(int64_t{v}) {}
  Scalar(int64_t v) : kind_(Kind::integer), integer_(v), value_(static_cast<double>(v)) {}
  Scalar(double v) : kind_(Kind::real), integer_(0), value_(v) {}
  Scalar(std::complex<double> v) : kind_(Kind::complex), integer_(0), value_(v) {}

  Kind kind() const { return kind_; }
  int64_t to_int() const { return kind_ <= Kind::integer ? integer_ : static_cast<int64_t>(value_.real()); }
  double to_double() const { return kind_ <= Kind::integer ? static_cast<double>(integer_) : value_.real(); }
  std::complex<double> to_complex() const { return kind_ <= Kind::integer ? to_double() : value_; }
  bool to_bool() const { return kind_ <= Kind::integer ? integer_ != 0 : value_ != 0.0; }
  /// boolean, i64, default_dtype() or its complex.
  DType dtype() const;
  bool operator==(const Scalar& o) const { return kind_ == o.kind_ && integer_ == o.integer_ && value_ == o.value_; }

 private:
  Kind kind_;
  int64_t integer_;
  std::complex<double> value_;
};

/// What is known of a tensor without its elements. `weak` marks a Python number: it promotes only across kinds.
struct TensorType {
  DType dtype = DType::f32;
  Shape shape;
  bool weak = false;
  bool operator==(const TensorType&) const = default;
  int64_t nbytes() const;         ///< of a contiguous tensor
  std::string to_string() const;  ///< "f32[2, 3]"
};

class Tensor;

struct TensorImpl final : RefCounted {
  Ref<Storage> storage;
  Shape sizes, strides;
  int64_t offset = 0;
  DType dtype = DType::f32;
  bool weak = false;
  bool contiguous = true;
  bool requires_grad = false;  ///< Leaf asked for gradients, or result of something that did.
  int64_t count = 0;           ///< Number of elements.
  Ref<RefCounted> autograd;    ///< autodiff's record (producer, gradient, hooks).
  Ref<TensorImpl> base;        ///< The tensor whose memory a view shows, if it is a view.

  static void* operator new(size_t size) { return allocate_small(size); }
  static void operator delete(void* p) { free_small(p, sizeof(TensorImpl)); }
};

class Tensor {
 public:
  Tensor() = default;  ///< Undefined: an optional input that was not given.
  explicit Tensor(Ref<TensorImpl> impl) : impl_(std::move(impl)) {}

  static Tensor empty(IntSpan sizes, DType dtype);
  static Tensor empty(std::initializer_list<int64_t> sizes, DType dtype) { return empty(Shape(sizes), dtype); }
  /// No memory behind it.
  static Tensor abstract(IntSpan sizes, DType dtype);
  static Tensor from_storage(Ref<Storage> storage, Geometry geometry, DType dtype);
  static Tensor zeros(IntSpan sizes, DType dtype);
  /// 0-d. A weak scalar is what a Python number becomes.
  static Tensor scalar(const Scalar& value, DType dtype);
  static Tensor weak_scalar(const Scalar& value);
  template <class T>
  static Tensor of(const std::vector<T>& values, IntSpan sizes);  ///< float, double, int64_t, int32_t, bool as u8

  bool defined() const { return static_cast<bool>(impl_); }
  explicit operator bool() const { return defined(); }
  TensorImpl* impl() const { return impl_.get(); }
  const Ref<TensorImpl>& ref() const { return impl_; }
  bool is(const Tensor& other) const { return impl_ == other.impl_; }

  const Shape& sizes() const { return impl_->sizes; }
  const Shape& strides() const { return impl_->strides; }
  int64_t size(int64_t dim) const;
  int64_t dim() const { return static_cast<int64_t>(impl_->sizes.size()); }
  int64_t numel() const { return impl_->count; }
  DType dtype() const { return impl_->dtype; }
  bool is_contiguous() const { return impl_->contiguous; }
  bool is_abstract() const { return impl_->storage->is_abstract(); }
  size_t nbytes() const { return static_cast<size_t>(numel()) * size_of(dtype()); }
  TensorType type() const { return {dtype(), sizes(), impl_->weak}; }
  Geometry geometry() const { return {impl_->sizes, impl_->strides, impl_->offset}; }
  const Ref<Storage>& storage() const { return impl_->storage; }
  bool requires_grad() const { return impl_->requires_grad; }

  /// The address of the first element; throws for an abstract tensor.
  void* data() const {
    if (is_abstract()) [[unlikely]]
      no_data();
    return impl_->storage->data() + impl_->offset * static_cast<int64_t>(size_of(impl_->dtype));
  }
  template <class T>
  T* data() const {
    return static_cast<T*>(data());
  }

  /// Another view of the same storage. No check that it stays inside; `view_checked` does that.
  Tensor with_geometry(const Geometry& g) const;
  Tensor view_checked(const Geometry& g, std::string_view what) const;
  /// The same memory without any record of gradients.
  Tensor detach() const;

  /// The only element; throws unless there is exactly one.
  Scalar item() const;

 private:
  [[noreturn]] void no_data() const;
  Ref<TensorImpl> impl_;
};

using TensorList = std::vector<Tensor>;
using TensorSpan = std::span<const Tensor>;

}  // namespace sorus
