// Activations beyond the common ones of elementwise.cpp. Where a function has a kink its derivative there is
// PyTorch's: it follows from the branch that the comparison takes.
#include "sorus/ops.h"

namespace sorus {
namespace {

const bool activations = [] {
  op("hardtanh(input, min_val: float = -1.0, max_val: float = 1.0)")
      .each("input <= min_val ? min_val : input >= max_val ? max_val : input");
  op("relu6(input)").each("input <= 0 ? 0 : input >= 6 ? 6 : input");
  op("hardsigmoid(input)").each("input <= -3 ? 0 : input >= 3 ? 1 : input / 6 + 0.5");
  op("hardswish(input)").each("input <= -3 ? 0 : input >= 3 ? input : input * (input + 3) / 6");
  op("hardshrink(input, lambd: float = 0.5)").each("input >= -lambd && input <= lambd ? 0 : input");
  op("softshrink(input, lambd: float = 0.5)")
      .each("input > lambd ? input - lambd : input < -lambd ? input + lambd : 0 * input");
  op("tanhshrink(input)").each("input - tanh(input)", "float");
  op("softsign(input)").each("input / (1 + abs(input))", "float");
  op("threshold(input, threshold: float, value: float)").each("input <= threshold ? value : input");
  op("mish(input)").each("input * tanh(input > 20 ? input : log1p(exp(input)))");
  op("selu(input)")
      .each(
          "input > 0 ? 1.0507009873554804934193349852946 * input :"
          "1.0507009873554804934193349852946 * 1.6732632423543772848170429916717 * expm1(input)")
      .doc("Klambauer et al. 2017.");
  op("celu(input, alpha: float = 1.0)").each("input > 0 ? input : alpha * expm1(input / alpha)");
  op("prelu_each(input, weight)").each("input > 0 ? input : weight * input");
  op("prelu(input, weight)")
      .expand([](const Call& c) -> TensorList {
        const Tensor &x = c.input(0), &w = c.input(1);
        int64_t channels = x.dim() > 1 ? x.size(1) : 1;
        SORUS_CHECK(w.dim() <= 1 && (w.numel() == 1 || w.numel() == channels), ValueError,
                    "prelu: expected a weight of 1 or {} elements for an input of shape {}, found {}", channels,
                    to_string(x.sizes()), to_string(w.sizes()));
        Shape shape(static_cast<size_t>(std::max<int64_t>(x.dim(), 1)), 1);
        if (x.dim() == 0) shape.clear();
        if (x.dim() > 1 && w.numel() > 1) shape[1] = channels;
        return {prelu_each(x, reshape(w, shape))};
      })
      .doc("max(0, x) + weight * min(0, x), with one weight or one for each channel (dimension 1).");
  op("glu(input, dim: int = -1)")
      .expand([](const Call& c) -> TensorList {
        int64_t d = wrap_dim(c.attr(0).to_int(), c.input(0).dim(), "glu"), n = c.input(0).size(d);
        SORUS_CHECK(n % 2 == 0, ValueError, "glu: dimension {} of {} must be even to be halved", d,
                    to_string(c.input(0).sizes()));
        return {narrow(c.input(0), d, 0, n / 2) * sigmoid(narrow(c.input(0), d, n / 2, n / 2))};
      })
      .doc("The first half of `dim` times the sigmoid of the second (Dauphin et al. 2017).");
  op("softmin(input, dim: int, dtype: dtype? = none)").expand([](const Call& c) -> TensorList {
    return {softmax(neg(c.input(0)), c.attr(0).to_int(),
                    c.attr(1).is_none() ? std::nullopt : std::optional(c.attr(1).dtype()))};
  });
  return true;
}();

// A step of recurrent networks after the products: the gates of all units, four or three side by side.
const bool recurrent = [] {
  op("lstm_memory(input_gate, forget_gate, cell_gate, cell)")
      .each("sigmoid(forget_gate) * cell + sigmoid(input_gate) * tanh(cell_gate)", "float")
      .doc("The new cell of an LSTM (Hochreiter, Schmidhuber 1997; forget gate: Gers et al. 2000).");
  op("lstm_hidden(output_gate, cell)").each("sigmoid(output_gate) * tanh(cell)", "float");
  op("gru_gates(reset_x, update_x, new_x, reset_h, update_h, new_h, hidden)")
      .each(
          "z = sigmoid(update_x + update_h); n = tanh(new_x + sigmoid(reset_x + reset_h) * new_h);"
          "n + z * (hidden - n)",
          "float")
      .doc("Cho et al. 2014; `_x` come from the input, `_h` from the hidden state.");
  return true;
}();

}  // namespace
}  // namespace sorus
