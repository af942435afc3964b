#include "sorus/nn/recurrent.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "sorus/nn/basic.h"
#include "sorus/nn/functional.h"
#include "sorus/ops.h"

namespace sorus::nn {
namespace {

int64_t gates_of(Cell c) { return c == Cell::lstm ? 4 : c == Cell::gru ? 3 : 1; }
size_t states_of(Cell c) { return c == Cell::lstm ? 2 : 1; }
const char* name_of(Cell c) { return c == Cell::lstm ? "LSTM" : c == Cell::gru ? "GRU" : "RNN"; }

// One step; `from_x` holds the input's part of all gates, both biases included unless the cell is a GRU.
void advance(Cell cell, const Tensor& from_x, const Tensor& w_hh, const Tensor& gru_bias, TensorList& state) {
  Tensor from_h = linear(state[0], w_hh, cell == Cell::gru ? gru_bias : Tensor());
  if (cell == Cell::gru) {
    TensorList x = chunk(from_x, 3, -1), h = chunk(from_h, 3, -1);
    state[0] = gru_gates(x[0], x[1], x[2], h[0], h[1], h[2], state[0]);
    return;
  }
  Tensor all = from_x + from_h;
  if (cell == Cell::lstm) {
    TensorList g = chunk(all, 4, -1);
    state[1] = lstm_memory(g[0], g[1], g[2], state[1]);
    state[0] = lstm_hidden(g[3], state[1]);
  } else {
    state[0] = cell == Cell::rnn_relu ? relu(all) : tanh(all);
  }
}

Tensor input_part(Cell cell, const Tensor& x, const Tensor& w, const Tensor& bias_ih, const Tensor& bias_hh) {
  bool both = cell != Cell::gru && bias_ih.defined() && bias_hh.defined();
  return linear(x, w, both ? bias_ih + bias_hh : bias_ih);
}

}  // namespace

Recurrent::Recurrent(Cell cell, int64_t in, int64_t hidden, RecurrentOptions o)
    : input_size(in), hidden_size(hidden), options(o), cell_(cell) {
  SORUS_CHECK(in > 0 && hidden > 0 && o.num_layers > 0, ValueError,
              "{}: input_size {}, hidden_size {} and num_layers {} must be positive", name_of(cell), in, hidden,
              o.num_layers);
  SORUS_CHECK(o.dropout >= 0 && o.dropout <= 1, ValueError, "{}: dropout must lie in [0, 1], not {}", name_of(cell),
              o.dropout);
  SORUS_CHECK(o.proj_size == 0 || cell == Cell::lstm, ValueError, "{}: only an LSTM has a proj_size, found {}",
              name_of(cell), o.proj_size);
  SORUS_CHECK(o.proj_size >= 0 && o.proj_size < hidden, ValueError,
              "{}: proj_size must be smaller than hidden_size {} and not negative, found {}", name_of(cell), hidden,
              o.proj_size);
  int64_t rows = gates_of(cell) * hidden;
  for (int64_t layer = 0; layer < o.num_layers; ++layer)
    for (int64_t direction = 0; direction < (o.bidirectional ? 2 : 1); ++direction) {
      auto& w = *weights_.emplace_back(std::make_unique<Weights>());
      std::string end = fmt::format("_l{}{}", layer, direction ? "_reverse" : "");
      int64_t width = layer == 0 ? in : output_size() * (o.bidirectional ? 2 : 1);
      auto make = [](Shape s) { return Tensor::empty(s, default_dtype()); };
      register_parameter("weight_ih" + end, w.ih, make({rows, width}));
      register_parameter("weight_hh" + end, w.hh, make({rows, output_size()}));
      if (o.bias) register_parameter("bias_ih" + end, w.bias_ih, make({rows}));
      if (o.bias) register_parameter("bias_hh" + end, w.bias_hh, make({rows}));
      if (o.proj_size) register_parameter("weight_hr" + end, w.hr, make({o.proj_size, hidden}));
    }
  reset_parameters();
}

void Recurrent::reset_parameters() {
  double bound = 1 / std::sqrt(static_cast<double>(hidden_size));
  for (const Tensor& t : parameters()) uniform_(t, -bound, bound);
}

// One layer and direction; the state is that after the last step. A plain network and an LSTM with a projection are
// made of their steps, the others are operators over the whole sequence.
Tensor Recurrent::sweep(const Weights& w, const Tensor& x, TensorList& state, bool backwards) const {
  int64_t last = backwards ? 0 : x.size(0) - 1;
  if (cell_ == Cell::lstm && !w.hr.defined()) {
    auto out = lstm_layer(x, state[0], state[1], w.ih, w.hh, w.bias_ih, w.bias_hh, backwards);
    state = {select(out[0], 0, last), out[1]};
    return out[0];
  }
  if (cell_ == Cell::gru) {
    Tensor out = gru_layer(x, state[0], w.ih, w.hh, w.bias_ih, w.bias_hh, backwards);
    state[0] = select(out, 0, last);
    return out;
  }
  TensorList rows = unbind(input_part(cell_, x, w.ih, w.bias_ih, w.bias_hh), 0);
  TensorList out(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    size_t t = backwards ? rows.size() - 1 - i : i;
    advance(cell_, rows[t], w.hh, w.bias_hh, state);
    if (w.hr.defined()) state[0] = linear(state[0], w.hr);
    out[t] = state[0];
  }
  return stack(out, 0);
}

// Where a sequence ends, its last state is put aside; backwards, where one begins, its first state joins.
Tensor Recurrent::sweep_packed(const Weights& w, const Tensor& x, const std::vector<Stretch>& stretches,
                               TensorList& state, bool backwards) const {
  TensorList first = state, outs(stretches.size());
  std::vector<TensorList> ended(state.size());
  int64_t running = backwards ? 0 : stretches[0].batch;
  for (Tensor& s : state) s = narrow(s, 0, 0, running);
  for (size_t i = 0; i < stretches.size(); ++i) {
    size_t at = backwards ? stretches.size() - 1 - i : i;
    auto [row, steps, batch] = stretches[at];
    for (size_t k = 0; k < state.size(); ++k) {
      if (batch < running) {
        ended[k].push_back(narrow(state[k], 0, batch, running - batch));
        state[k] = narrow(state[k], 0, 0, batch);
      } else if (batch > running) {
        Tensor joining = narrow(first[k], 0, running, batch - running);
        state[k] = running ? cat(TensorList{state[k], joining}, 0) : joining;
      }
    }
    running = batch;
    Tensor part = reshape(narrow(x, 0, row, steps * batch), Shape{steps, batch, x.size(-1)});
    outs[at] = reshape(sweep(w, part, state, backwards), Shape{steps * batch, output_size()});
  }
  for (size_t k = 0; k < state.size(); ++k) {
    if (ended[k].empty()) continue;
    ended[k].push_back(state[k]);
    std::reverse(ended[k].begin(), ended[k].end());  // the longest sequences come first
    state[k] = cat(ended[k], 0);
  }
  return outs.size() == 1 ? outs[0] : cat(outs, 0);
}

// By kind of state, then layer and direction: those given, or zeros.
std::vector<TensorList> Recurrent::first_states(const Tensor& input, int64_t batch, const TensorList& given,
                                                bool batched) const {
  const char* who = name_of(cell_);
  int64_t count = options.num_layers * (options.bidirectional ? 2 : 1);
  SORUS_CHECK(given.empty() || given.size() == states_of(cell_), ValueError,
              "{}: expected {} tensors of state, got {}", who, states_of(cell_), given.size());
  std::vector<TensorList> parts;
  for (size_t k = 0; k < states_of(cell_); ++k) {
    const int64_t width = k == 0 ? output_size() : hidden_size;
    const Shape shown = batched ? Shape{count, batch, width} : Shape{count, width};
    if (given.empty()) {
      parts.emplace_back(static_cast<size_t>(count), zeros(Shape{batch, width}, input.dtype()));
      continue;
    }
    SORUS_CHECK(given[k].sizes() == shown, ValueError, "{}: expected a state of shape {}, got {}", who,
                to_string(shown), to_string(given[k].sizes()));
    parts.push_back(unbind(batched ? given[k] : unsqueeze(given[k], 1), 0));
  }
  return parts;
}

Tensor Recurrent::sweep_layers(Tensor x, const std::vector<Stretch>& stretches,
                               std::vector<TensorList>& states) const {
  int64_t directions = options.bidirectional ? 2 : 1;
  for (int64_t layer = 0; layer < options.num_layers; ++layer) {
    TensorList outs;
    for (int64_t d = 0; d < directions; ++d) {
      auto i = static_cast<size_t>(layer * directions + d);
      TensorList state;
      for (TensorList& p : states) state.push_back(p[i]);
      outs.push_back(stretches.empty() ? sweep(*weights_[i], x, state, d == 1)
                                       : sweep_packed(*weights_[i], x, stretches, state, d == 1));
      for (size_t k = 0; k < states.size(); ++k) states[k][i] = state[k];
    }
    x = directions == 2 ? cat(outs, -1) : outs[0];
    if (is_training() && layer + 1 < options.num_layers) x = dropout(x, options.dropout);
  }
  return x;
}

Recurrent::Result Recurrent::run(const Tensor& input, const TensorList& given) {
  const char* who = name_of(cell_);
  SORUS_CHECK((input.dim() == 2 || input.dim() == 3) && input.size(-1) == input_size, ValueError,
              "{}: expected [{}, {}] or [time, {}], got {}", who, options.batch_first ? "batch, time" : "time, batch",
              input_size, input_size, to_string(input.sizes()));
  bool batched = input.dim() == 3;
  Tensor x = !batched ? unsqueeze(input, 1) : options.batch_first ? transpose(input, 0, 1) : input;
  SORUS_CHECK(x.size(0) > 0, ValueError, "{}: the sequence is empty", who);
  std::vector<TensorList> parts = first_states(input, x.size(1), given, batched);
  x = sweep_layers(x, {}, parts);
  Result r{!batched ? squeeze(x, Shape{1}) : options.batch_first ? transpose(x, 0, 1) : x, {}};
  for (TensorList& p : parts) {
    Tensor s = stack(p, 0);
    r.state.push_back(batched ? s : squeeze(s, Shape{1}));
  }
  return r;
}

Recurrent::Result Recurrent::run_packed(const Tensor& data, const Shape& batch_sizes, const TensorList& given) {
  const char* who = name_of(cell_);
  SORUS_CHECK(data.dim() == 2 && data.size(1) == input_size, ValueError, "{}: expected rows of {} features, got {}",
              who, input_size, to_string(data.sizes()));
  std::vector<Stretch> stretches;
  int64_t rows = 0;
  for (int64_t n : batch_sizes) {
    SORUS_CHECK(n > 0 && (stretches.empty() || n <= stretches.back().batch), ValueError,
                "{}: the numbers of sequences at each step, {}, must be positive and not grow", who,
                to_string(batch_sizes));
    if (!stretches.empty() && stretches.back().batch == n)
      ++stretches.back().steps;
    else
      stretches.push_back({rows, 1, n});
    rows += n;
  }
  SORUS_CHECK(rows > 0 && rows == data.size(0), ValueError, "{}: {} steps of sequences do not fit {} rows", who, rows,
              data.size(0));
  std::vector<TensorList> parts = first_states(data, batch_sizes[0], given, true);
  Result r{sweep_layers(data, stretches, parts), {}};
  for (TensorList& p : parts) r.state.push_back(stack(p, 0));
  return r;
}

std::string Recurrent::extra_repr() const {
  std::string s = fmt::format("{}, {}", input_size, hidden_size);
  if (options.proj_size != 0) s += fmt::format(", proj_size={}", options.proj_size);
  if (options.num_layers != 1) s += fmt::format(", num_layers={}", options.num_layers);
  if (!options.bias) s += ", bias=False";
  if (options.batch_first) s += ", batch_first=True";
  if (options.dropout != 0) s += ", dropout=" + python_text(options.dropout);
  if (options.bidirectional) s += ", bidirectional=True";
  return s;
}

RecurrentCell::RecurrentCell(Cell cell, int64_t in, int64_t hidden, bool bias)
    : input_size(in), hidden_size(hidden), cell_(cell) {
  SORUS_CHECK(in > 0 && hidden > 0, ValueError, "{}Cell: input_size {} and hidden_size {} must be positive",
              name_of(cell), in, hidden);
  int64_t rows = gates_of(cell) * hidden;
  register_parameter("weight_ih", weight_ih, Tensor::empty({rows, in}, default_dtype()));
  register_parameter("weight_hh", weight_hh, Tensor::empty({rows, hidden}, default_dtype()));
  register_parameter("bias_ih", bias_ih, bias ? Tensor::empty({rows}, default_dtype()) : Tensor());
  register_parameter("bias_hh", bias_hh, bias ? Tensor::empty({rows}, default_dtype()) : Tensor());
  double bound = 1 / std::sqrt(static_cast<double>(hidden));
  for (const Tensor& t : parameters()) uniform_(t, -bound, bound);
}

TensorList RecurrentCell::step(const Tensor& input, const TensorList& given) {
  SORUS_CHECK((input.dim() == 1 || input.dim() == 2) && input.size(-1) == input_size, ValueError,
              "{}Cell: expected [batch, {}] or [{}], got {}", name_of(cell_), input_size, input_size,
              to_string(input.sizes()));
  SORUS_CHECK(given.empty() || given.size() == states_of(cell_), ValueError,
              "{}Cell: expected {} tensors of state, got {}", name_of(cell_), states_of(cell_), given.size());
  Shape expected = input.sizes();
  expected.back() = hidden_size;
  TensorList state = given;
  if (state.empty()) state.assign(states_of(cell_), zeros(expected, input.dtype()));
  for (const Tensor& s : state)
    SORUS_CHECK(s.sizes() == expected, ValueError, "{}Cell: expected a state of shape {}, got {}", name_of(cell_),
                to_string(expected), to_string(s.sizes()));
  advance(cell_, input_part(cell_, input, weight_ih, bias_ih, bias_hh), weight_hh, bias_hh, state);
  return state;
}
std::string RecurrentCell::extra_repr() const {
  return fmt::format("{}, {}{}", input_size, hidden_size, bias_ih.defined() ? "" : ", bias=False");
}

}  // namespace sorus::nn
