// Attributes: the arguments of an operator that are not tensors. They are kept in the order of the operator's
// signature, so a call is a list of tensors and a list of attributes, and nothing has to be looked up by name to run.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "sorus/tensor/tensor.h"

namespace sorus {

class Attr {
 public:
  using Variant = std::variant<std::monostate, Scalar, Shape, std::vector<double>, DType, std::string>;

  Attr() = default;
  Attr(bool v) : v_(Scalar(v)) {}
  Attr(int v) : v_(Scalar(v)) {}
  Attr(int64_t v) : v_(Scalar(v)) {}
  Attr(double v) : v_(Scalar(v)) {}
  Attr(Scalar v) : v_(v) {}
  Attr(Shape v) : v_(std::move(v)) {}
  Attr(std::vector<double> v) : v_(std::move(v)) {}
  Attr(DType v) : v_(v) {}
  Attr(std::string v) : v_(std::move(v)) {}
  Attr(const char* v) : v_(std::string(v)) {}

  bool is_none() const { return v_.index() == 0; }
  bool is_scalar() const { return std::holds_alternative<Scalar>(v_); }
  bool is_ints() const { return std::holds_alternative<Shape>(v_); }
  bool is_string() const { return std::holds_alternative<std::string>(v_); }
  bool is_dtype() const { return std::holds_alternative<DType>(v_); }
  const Variant& variant() const { return v_; }

  const Scalar& scalar() const { return get<Scalar>("a number"); }
  bool to_bool() const { return scalar().to_bool(); }
  int64_t to_int() const { return scalar().to_int(); }
  double to_double() const { return scalar().to_double(); }
  const Shape& ints() const { return get<Shape>("a list of integers"); }
  const std::vector<double>& reals() const { return get<std::vector<double>>("a list of numbers"); }
  DType dtype() const { return get<DType>("an element type"); }
  const std::string& string() const { return get<std::string>("a string"); }

  bool operator==(const Attr&) const = default;
  std::string to_string() const;  ///< As in the text form: none, true, 3, 0.5, [1, 2], "tanh", f32.
  static Attr parse(std::string_view text);
  size_t hash() const;

 private:
  template <class T>
  const T& get(const char* expected) const {
    if (auto* p = std::get_if<T>(&v_)) [[likely]]
      return *p;
    wrong(expected);
  }
  [[noreturn]] void wrong(const char* expected) const;
  Variant v_;
};

using Attrs = std::vector<Attr>;

}  // namespace sorus
