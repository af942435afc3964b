// Pieces that kernel sets share: constants of forms, tables, the fused addition.
#pragma once

#include "sorus/device/kernel.h"

namespace sorus::device {

/// "int8_t *in, ..": parameters in the order of calls: inputs, result, scratch, tables.
void set_arguments(Values& values, const Prepared& p, const std::string& in_type, size_t inputs,
                   const std::string& out_type);

/// What `make` makes of the step's form; nothing if it does not take a form of that kind.
template <class F>
std::optional<Prepared> prepare_form(const Step& step, F&& make) {
  return std::visit(
      [&](const auto& form) -> std::optional<Prepared> {
        if constexpr (requires { make(form); })
          return make(form);
        else
          return std::nullopt;
      },
      static_cast<const DeviceForm::variant&>(step.form));
}

/// Makes a kernel of a text, for tensors that may have different types: each parameter has its own.
void finish_typed(const Model& model, const Step& step, Prepared& p, Values& values, const std::string& text);
void set_numbers(Values& values, std::initializer_list<std::pair<const char*, int64_t>> list);
inline Element element(const Model& m, int tensor) { return m.tensors[static_cast<size_t>(tensor)].type; }

/// The name of an input among those parameters: in, in2, in3, ...
std::string input_name(size_t input);
const char* c_name(Element e);
/// The type that pointers to such elements have: 64-bit numbers lie in the arena at multiples of 4.
std::string pointed(Element e, Prepared& p);
/// A float as C.
std::string float_literal(float v);

/// Moves, joins, scalar bodies and lines; nothing for other forms.
std::optional<Prepared> prepare_moves(const Model& model, const Step& step);
/// The forms of graph/integer_forms.h.
std::optional<Prepared> prepare_integers(const Model& model, const Step& step);
/// Those of them that only look elements up, or go between them.
std::optional<Prepared> prepare_places(const Model& model, const Step& step);
/// Those of them that are tables with straight lines between.
std::optional<Prepared> prepare_tables(const Model& model, const Step& step);
/// The forms of graph/layer_forms.h.
std::optional<Prepared> prepare_layers(const Model& model, const Step& step);

/// ZP, LOW, HIGH, CLAMP, UNIFORM, LEFT (some shift goes left), and as expressions of `o` the multiplier and shift:
/// MUL, RIGHT; RESCALED is the whole of `sum` without the zero point. Factors that are floats (REAL) have no shift.
/// Adds tables where they differ from channel to channel, padded to a multiple of `pad`.
void set_rescale(Values& values, Prepared& p, const Rescale& r, int64_t channels, int64_t pad = 1);

/// A table of int32 biases into which the input's zero point is folded: bias - zero * sum(weights). `more`: what the
/// kernel adds to each element.
std::vector<int64_t> folded_bias(const ConvForm& f, int64_t more = 0);
/// The smallest type of C that holds all values.
std::string type_for(const std::vector<int64_t>& values);
/// A constant, in C's type of the elements that it is computed with: uint8 is stored less 128.
void add_constant(Prepared& p, const std::string& type, const std::string& argument, const Tensor& t);
void add_table(Prepared& p, std::string type, std::string argument, std::vector<int64_t> values, int64_t pad = 1);

/// RES and the constants of $FN_add, the text of which goes before a kernel with a residual input.
void set_residual(Values& values, Prepared& p, const std::optional<AddForm>& residual);
extern const char* const kResidualText;

}  // namespace sorus::device
