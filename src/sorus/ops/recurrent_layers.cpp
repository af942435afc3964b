// Recurrent layers over a whole sequence: LSTM and GRU, of floats and (LSTM) quantised. Sequences are [time, batch,
// features]. Each is a composite, one step after the other; a backend with a loop over time can take it whole, as
// small devices do (recurrent_forms.cpp), where a graph of all steps would be a program of all steps.
#include "sorus/ops.h"
#include "sorus/ops/fixed_functions.h"
#include "sorus/ops/fixed_point.h"

namespace sorus {
namespace {

Tensor whole(int64_t v) { return Tensor::weak_scalar(v); }

// ---- floats
// --------------------------------------------------------------------------------------------------------------

// The order in which the steps are made.
std::vector<size_t> places(size_t steps, bool reverse) {
  std::vector<size_t> order;
  for (size_t i = 0; i < steps; ++i) order.push_back(reverse ? steps - 1 - i : i);
  return order;
}

// Inputs: input, hidden, cell, weight_ih, weight_hh, bias_ih, bias_hh.
TensorList lstm_body(const Call& c) {
  Tensor bias = c.has(5) ? c.input(5) : Tensor();
  if (c.has(6)) bias = bias.defined() ? bias + c.input(6) : c.input(6);
  TensorList rows = unbind(linear(c.input(0), c.input(3), bias), 0), out(rows.size());
  Tensor hidden = c.input(1), cell = c.input(2);
  for (size_t t : places(rows.size(), c.attr(0).to_bool())) {
    TensorList g = chunk(rows[t] + linear(hidden, c.input(4)), 4, -1);
    cell = lstm_memory(g[0], g[1], g[2], cell);
    if (double clip = c.attr(1).to_double(); clip > 0) cell = clamp(cell, Scalar(-clip), Scalar(clip));
    out[t] = hidden = lstm_hidden(g[3], cell);
  }
  return {stack(out, 0), cell};
}

// Inputs: input, hidden, weight_ih, weight_hh, bias_ih, bias_hh.
TensorList gru_body(const Call& c) {
  const Tensor& w = c.input(3);
  Tensor b = c.has(5) ? c.input(5) : Tensor(), hidden = c.input(1);
  TensorList rows = unbind(linear(c.input(0), c.input(2), c.has(4) ? c.input(4) : Tensor()), 0), out(rows.size());
  int64_t units = hidden.size(-1);
  auto part = [&](const Tensor& t, int64_t from, int64_t n) {
    return t.defined() ? narrow(t, 0, from * units, n * units) : t;
  };
  for (size_t t : places(rows.size(), c.attr(0).to_bool())) {
    TensorList x = chunk(rows[t], 3, -1);
    if (c.attr(1).to_bool()) {
      TensorList h = chunk(linear(hidden, w, b), 3, -1);
      hidden = gru_gates(x[0], x[1], x[2], h[0], h[1], h[2], hidden);
    } else {
      TensorList h = chunk(linear(hidden, part(w, 0, 2), part(b, 0, 2)), 2, -1);
      Tensor reset = sigmoid(x[0] + h[0]), update = sigmoid(x[1] + h[1]);
      Tensor fresh = tanh(x[2] + linear(reset * hidden, part(w, 2, 1), part(b, 2, 1)));
      hidden = fresh + update * (hidden - fresh);
    }
    out[t] = hidden;
  }
  return {stack(out, 0)};
}

// Shapes of a layer with this many gates; `states` inputs behind the first are states. The type of the results.
DType check_layer(const TypeCall& c, int64_t gates, int states) {
  const Shape &x = c.input(0).shape, &h = c.input(1).shape;
  bool fits = x.size() == 3 && x[0] > 0 && h.size() == 2 && h[0] == x[1] && c.input(states).shape == h;
  if (fits) {
    int64_t rows = gates * h[1];
    fits = c.input(states + 1).shape == Shape{rows, x[2]} && c.input(states + 2).shape == Shape{rows, h[1]};
    for (int b = states + 3; b < states + 5; ++b) fits = fits && (!c.has(b) || c.input(b).shape == Shape{rows});
  }
  auto shape_of = [&](int i) { return to_string(c.input(i).shape); };
  SORUS_CHECK(
      fits, ValueError,
      "{}: an input {}, a state {} and weights {} and {} do not fit: expected [time, batch, features], [batch, "
      "units], [{} units, features], [{} units, units] and biases [{} units]",
      c.op.name(), to_string(x), to_string(h), shape_of(states + 1), shape_of(states + 2), gates, gates, gates);
  DType t = promoted_type(c);
  SORUS_CHECK(is_floating(t), TypeError, "{}: expected floating types, got {}", c.op.name(), name(t));
  return t;
}

Shape outputs(const TypeCall& c) { return {c.input(0).shape[0], c.input(0).shape[1], c.input(1).shape[1]}; }

const bool layers = [] {
  op("lstm_layer(input, hidden, cell, weight_ih, weight_hh, bias_ih: Tensor? = none, bias_hh: Tensor? = none, "
     "reverse: "
     "bool = false, cell_clip: float = 0.0) -> output, new_cell")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        DType t = check_layer(c, 4, 2);
        return {{t, outputs(c), false}, {t, c.input(2).shape, false}};
      })
      .body(lstm_body)
      .doc(
          "One layer and direction of an LSTM (Hochreiter, Schmidhuber 1997) over `input` [time, batch, features], "
          "with "
          "PyTorch's weights and order of gates. `output` [time, batch, units] is the hidden state after each step: "
          "the "
          "last one (with `reverse` the first) is that which goes on, beside `new_cell`. With a `cell_clip` above 0 "
          "cells stay "
          "between it and its negative.");
  op("gru_layer(input, hidden, weight_ih, weight_hh, bias_ih: Tensor? = none, bias_hh: Tensor? = none, reverse: bool "
     "= "
     "false, reset_after: bool = true)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        return {{check_layer(c, 3, 1), outputs(c), false}};
      })
      .body(gru_body)
      .doc(
          "One layer and direction of a GRU (Cho et al. 2014) over `input` [time, batch, features], with PyTorch's "
          "weights "
          "and order of gates. With `reset_after` the reset gate scales the product with the hidden state, as in "
          "PyTorch; "
          "without it the hidden state itself, as in the article.");
  return true;
}();

// ---- integers
// ------------------------------------------------------------------------------------------------------------

// Inputs: input, hidden, cell, weight, recurrent_weight, bias. Attributes: input_zero_point, hidden_zero_point,
// input_multiplier, input_shift, hidden_multiplier, hidden_shift, cell_bits, cell_clip, zero_point, multiplier,
// shift, quant_min, quant_max.
TensorList quantized_lstm_body(const Call& c) {
  auto n = [&](int i) { return c.attr(i).to_int(); };
  Tensor hidden = c.input(1), cell = c.input(2);
  int64_t units = cell.size(-1);
  // The four gates less than a factor each, which brings them to steps of 2^-12.
  auto scaled = [&](const Tensor& sums, int factors, int64_t low, int64_t high, DType type) {
    TensorList gates(4);
    for (size_t g = 0; g < 4; ++g)
      gates[g] =
          requantize(narrow(sums, -1, static_cast<int64_t>(g) * units, units), whole(c.attr(factors).ints()[g]),
                     whole(c.attr(factors + 1).ints()[g]), 0, low, high, type);
    return gates;
  };
  TensorList rows = unbind(integer_linear(c.input(0), c.input(3), c.input(5), n(0), 0), 0), out(rows.size());
  for (size_t t = 0; t < rows.size(); ++t) {
    TensorList x = scaled(rows[t], 2, -32768, 32767, DType::i16),
               h = scaled(integer_linear(hidden, c.input(4), {}, n(1), 0), 4, INT32_MIN, INT32_MAX, DType::i64);
    TensorList gates(4);
    for (size_t g = 0; g < 4; ++g)
      gates[g] = to(clamp_range(h[g] + x[g], int64_t{-32768}, int64_t{32767}), DType::i16);
    cell = quantized_lstm_memory(gates[0], gates[1], gates[2], cell, 15 + n(6), n(7));
    out[t] = hidden =
        quantized_lstm_hidden(gates[3], cell, n(6), n(8), n(9), n(10), n(11), n(12), c.input(0).dtype());
  }
  return {stack(out, 0), cell};
}

// The type of the result; inputs are int16, or other integers with such values.
std::vector<TensorType> from_sixteen_bits(const TypeCall& c, DType result) {
  Shape s = c.input(0).shape;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const TensorType& t = c.input(static_cast<int>(i));
    SORUS_CHECK(is_integral(t.dtype), TypeError, "{}: expected integers, got {}", c.op.name(), name(t.dtype));
    s = broadcast_shapes(s, t.shape, c.op.name());
  }
  return {{result, s, false}};
}

const bool integers = [] {
  op("quantized_lstm_memory(input_gate, forget_gate, cell_gate, cell, shift: int, clip: int)")
      .each(fixed::sigmoid16("i", "input_gate") + fixed::sigmoid16("f", "forget_gate") +
            fixed::tanh16("g", "cell_gate", "3") + fixed::rounded_shift("kept", "f * cell", "15") +
            fixed::rounded_shift("fresh", "i * g", "shift") +
            "y = max(-32768, min(32767, kept + fresh)); clip > 0 ? max(-clip, min(clip, y)) : y")
      .types([](const TypeCall& c) { return from_sixteen_bits(c, DType::i16); })
      .not_differentiable()
      .doc(
          "The new cell of a quantised LSTM. Gates are int16 in steps of 2^-12; products of two of them have 30 bits "
          "behind "
          "the point and are shifted to the cell's steps.");
  op("quantized_lstm_hidden(output_gate, cell, cell_bits: int, zero_point: int, multiplier: int, shift: int, "
     "quant_min: "
     "int, quant_max: int, dtype: dtype)")
      .each(fixed::sigmoid16("o", "output_gate") + fixed::tanh16("t", "cell", "cell_bits") +
            fixed::product("y", "o * t", "multiplier", "shift") + fixed::clamped("y"))
      .types([](const TypeCall& c) { return from_sixteen_bits(c, c.attr("dtype").dtype()); })
      .not_differentiable()
      .doc("The hidden state of a quantised LSTM from its cell, int16 with `cell_bits` bits before the point.");
  op("quantized_lstm(input, hidden: mask, cell: mask, weight: mask, recurrent_weight: mask, bias: mask, "
     "input_zero_point: int, hidden_zero_point: int, input_multiplier: int[4], input_shift: int[4], "
     "hidden_multiplier: "
     "int[4], hidden_shift: int[4], cell_bits: int, cell_clip: int, zero_point: int, multiplier: int, shift: int, "
     "quant_min: int = -128, quant_max: int = 127) -> output, new_cell")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const Shape &x = c.input(0).shape, &h = c.input(1).shape;
        bool fits = x.size() == 3 && x[0] > 0 && h.size() == 2 && h[0] == x[1] && c.input(2).shape == h &&
                    c.input(3).shape == Shape{4 * h[1], x[2]} && c.input(4).shape == Shape{4 * h[1], h[1]} &&
                    c.input(5).shape == Shape{4 * h[1]};
        SORUS_CHECK(fits, ValueError,
                    "quantized_lstm: an input {}, states {} and {} and weights {} and {} do not fit", to_string(x),
                    to_string(h), to_string(c.input(2).shape), to_string(c.input(3).shape),
                    to_string(c.input(4).shape));
        SORUS_CHECK(c.input(0).dtype == DType::i8 && c.input(1).dtype == DType::i8 && c.input(2).dtype == DType::i16,
                    TypeError, "quantized_lstm: expected an int8 input and hidden state and an int16 cell");
        int64_t bits = c.attr("cell_bits").to_int();
        SORUS_CHECK(bits >= 0 && bits <= 6, ValueError,
                    "quantized_lstm: {} bits before the point of the cell; 0 to 6", bits);
        return {{DType::i8, Shape{x[0], x[1], h[1]}, false}, {DType::i16, h, false}};
      })
      .body(quantized_lstm_body)
      .not_differentiable()
      .doc(
          "An LSTM layer over int8 [time, batch, features], gates in the order input, forget, cell, output, with the "
          "integer "
          "arithmetic of TensorFlow Lite's kernel for int8 with an int16 cell: products of the input and of the "
          "hidden state "
          "have factors of their own for each gate; sigmoid and tanh have 16 bits.");
  return true;
}();

}  // namespace
}  // namespace sorus
