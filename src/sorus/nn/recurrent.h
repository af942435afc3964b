// Recurrent networks, with PyTorch's names and order of gates.
//
//   nn::LSTM lstm(10, 20, {.num_layers = 2, .bidirectional = true});
//   auto [output, state] = lstm.run(x);          // x: [time, batch, 10]; state: {h, c}, each [4, batch, 20]
#pragma once

#include "sorus/nn/module.h"

namespace sorus::nn {

enum class Cell : uint8_t { rnn_tanh, rnn_relu, lstm, gru };

struct RecurrentOptions {
  int64_t num_layers = 1;
  bool bias = true, batch_first = false;
  double dropout = 0;  ///< between layers, while training
  bool bidirectional = false;
  int64_t proj_size = 0;  ///< of an LSTM: h is a product of so many rows with what it would be (Sak et al. 2014)
};

class Recurrent : public Module {
 public:
  Recurrent(Cell cell, int64_t input_size, int64_t hidden_size, RecurrentOptions options);
  struct Result {
    Tensor output;     ///< [time, batch, directions * output_size] (batch first if asked for)
    TensorList state;  ///< h [layers * directions, batch, output_size], and c of an LSTM, of hidden_size
  };
  /// `state` empty: zeros. Without a batch dimension the results have none either.
  Result run(const Tensor& input, const TensorList& state = {});
  /// Of sequences of different lengths, the longest first: `data` has the rows of all of them at the first step, then
  /// those at the second, ..; `batch_sizes` says how many there are at each step. So has the output.
  Result run_packed(const Tensor& data, const Shape& batch_sizes, const TensorList& state = {});
  /// The output alone, from a state of zeros.
  Tensor forward(const Tensor& input) override { return run(input).output; }
  std::string extra_repr() const override;
  void reset_parameters();

  const int64_t input_size, hidden_size;
  const RecurrentOptions options;
  int64_t output_size() const { return options.proj_size ? options.proj_size : hidden_size; }

 private:
  struct Weights {
    Tensor ih, hh, bias_ih, bias_hh, hr;
  };
  struct Stretch {  // steps that equally many sequences have
    int64_t row, steps, batch;
  };
  std::vector<TensorList> first_states(const Tensor& input, int64_t batch, const TensorList& given,
                                       bool batched) const;
  /// All layers; without stretches x is [time, batch, features], with them [rows, features].
  Tensor sweep_layers(Tensor x, const std::vector<Stretch>& stretches, std::vector<TensorList>& states) const;
  Tensor sweep(const Weights& w, const Tensor& x, TensorList& state, bool backwards) const;
  Tensor sweep_packed(const Weights& w, const Tensor& x, const std::vector<Stretch>& stretches, TensorList& state,
                      bool backwards) const;
  Cell cell_;
  std::vector<std::unique_ptr<Weights>> weights_;  // by layer, then direction
};
struct RNN : Recurrent {
  RNN(int64_t input_size, int64_t hidden_size, RecurrentOptions o = {}, bool use_relu = false)
      : Recurrent(use_relu ? Cell::rnn_relu : Cell::rnn_tanh, input_size, hidden_size, o) {}
};
struct LSTM : Recurrent {
  LSTM(int64_t input_size, int64_t hidden_size, RecurrentOptions o = {})
      : Recurrent(Cell::lstm, input_size, hidden_size, o) {}
};
struct GRU : Recurrent {
  GRU(int64_t input_size, int64_t hidden_size, RecurrentOptions o = {})
      : Recurrent(Cell::gru, input_size, hidden_size, o) {}
};

/// One step of one layer: weight_ih, weight_hh, bias_ih, bias_hh.
class RecurrentCell : public Module {
 public:
  RecurrentCell(Cell cell, int64_t input_size, int64_t hidden_size, bool bias = true);
  /// The new state, h first; `state` empty: zeros.
  TensorList step(const Tensor& input, const TensorList& state = {});
  Tensor forward(const Tensor& input) override { return step(input)[0]; }
  std::string extra_repr() const override;
  const int64_t input_size, hidden_size;
  Tensor weight_ih, weight_hh, bias_ih, bias_hh;

 private:
  Cell cell_;
};

}  // namespace sorus::nn
