// Forms of whole layers of floats, and of recurrent ones (graph/device_form.h, which includes this).
#pragma once

#include <cstdint>
#include <vector>

#include "sorus/tensor/shape.h"

namespace sorus {

/// A recurrent layer of floats over a sequence (ops/recurrent_layers.cpp): inputs are the sequence [steps, batch,
/// features] and those initial states that are not constants. Results are the hidden states after each step and, if
/// `keeps_cell`, behind them the last cell.
struct RecurrentForm {
  static constexpr bool all_results = true;
  enum class Cell : uint8_t { lstm, gru, gru_reset_before } cell = Cell::lstm;
  int64_t steps = 1, batch = 1, features = 1, units = 1;
  bool reverse = false, keeps_cell = false;
  float cell_clip = 0;                          ///< 0: none
  std::vector<float> weight, recurrent;         ///< [gates * units, features], [gates * units, units]
  std::vector<float> bias, recurrent_bias;      ///< gates * units; of an LSTM both are in the first
  std::vector<float> first_hidden, first_cell;  ///< constants [batch, units]; empty: the next input
  int64_t gates() const { return cell == Cell::lstm ? 4 : 3; }
  int64_t macs() const { return steps * batch * gates() * units * (features + units); }
};

/// The quantised LSTM: inputs are the sequence, the hidden state and the cell, int16, which is changed in place.
struct LstmForm {
  static constexpr int changed_input = 2;
  struct Factor {
    int32_t multiplier = 0, shift = 0;
  };
  int64_t steps = 1, batch = 1, features = 1, units = 1;
  std::vector<int8_t> weight, recurrent;
  std::vector<int32_t> bias, recurrent_bias;  ///< with the zero points of what they are multiplied with
  Factor input[4], hidden[4], output;         ///< by gate
  int32_t cell_bits = 4, cell_clip = 0, zero_point = 0, low = -128, high = 127;
  int64_t macs() const { return steps * batch * 4 * units * (features + units); }
};

/// softmax(query key^T scale) value, for each index of a batch and each head; `steps` are strides by batch, head,
/// token.
struct AttentionForm {
  int64_t batch = 1, heads = 1, key_heads = 1, queries = 1, keys = 1, width = 1, value_width = 1;
  Shape query_steps, key_steps, value_steps, result_steps;
  bool causal = false;
  float scale = 1;
  int64_t macs() const { return batch * heads * queries * keys * (width + value_width); }
};

/// Rows of a constant table at computed places.
struct LookupForm {
  int64_t count = 1, rows = 1, width = 1;
  std::vector<float> table;
};

}  // namespace sorus
