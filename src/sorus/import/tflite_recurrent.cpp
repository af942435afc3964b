// Converters of what a .tflite model keeps from run to run: the LSTM layer and variables.
#include <algorithm>
#include <cmath>

#include "sorus/import/tflite.h"
#include "sorus/ops.h"

namespace sorus::importer::tflite {
namespace {

// Places of the layer's inputs; four gates each: input, forget, cell, output.
enum : size_t {
  kInput = 0,
  kWeights = 1,
  kRecurrent = 5,
  kPeepholes = 9,
  kBiases = 12,
  kProjection = 16,
  kHidden = 18,
  kCell = 19,
  kNorms = 20
};

struct Layer {
  Tensor x, hidden, cell;  ///< x: [time, batch, features]
  bool time_major = false;
  double clip = 0;
};

Layer layer_of(Importer& f, const FileOp& op) {
  SORUS_CHECK(op.options.number<int8_t>(0) == kTanh, NotImplementedError, "with a fused activation of kind {}",
              op.options.number<int8_t>(0));
  SORUS_CHECK(f.has(op, kWeights) && f.has(op, kRecurrent), NotImplementedError,
              "with coupled input and forget gates");
  for (size_t i = 0; i < 3; ++i) SORUS_CHECK(!f.has(op, kPeepholes + i), NotImplementedError, "with peepholes");
  SORUS_CHECK(!f.has(op, kProjection), NotImplementedError, "with a projection");
  for (size_t g = 0; g < 4; ++g) SORUS_CHECK(!f.has(op, kNorms + g), NotImplementedError, "with normalised gates");
  Layer l;
  l.clip = op.options.number<float>(1);
  l.time_major = op.options.flag(3);
  Tensor x = f.get(f.in(op, kInput));
  SORUS_CHECK(x.dim() == 3, ValueError, "expected a sequence of three dimensions, found {}", x.type().to_string());
  l.x = l.time_major ? x : transpose(x, 0, 1);
  auto state = [&](size_t i) {
    Tensor s = f.state(f.in(op, i));
    return s.dim() == 2 ? s : reshape(s, Shape{l.x.size(1), -1});
  };
  l.hidden = state(kHidden), l.cell = state(kCell);
  return l;
}

// The gates' tensors below each other, as one weight.
Tensor gates(Importer& f, const FileOp& op, size_t first, bool floats) {
  TensorList parts;
  for (size_t g = 0; g < 4; ++g) {
    int part = f.in(op, first + g);
    parts.push_back(floats ? f.real_weight(part) : f.get(part));
    SORUS_CHECK(is_constant(parts.back()), NotImplementedError, "with weights that are computed");
  }
  return f.weight_named(f.info(op.in[first]).name, computed([&] { return cat(parts, 0); }));
}

void finish(Importer& f, const FileOp& op, const Layer& l, const Tensor& out, const Tensor& cell) {
  auto keep = [&](size_t i, const Tensor& value) {
    Tensor s = f.state(f.in(op, i));
    f.update(s, s.dim() == 2 ? value : reshape(value, s.sizes()));
  };
  f.set(f.out(op), l.time_major ? out : transpose(out, 0, 1));
  keep(kHidden, select(out, 0, out.size(0) - 1));
  keep(kCell, cell);
}

int64_t power_of_two(double scale) {
  double bits = std::log2(scale);
  SORUS_CHECK(bits == std::round(bits), NotImplementedError, "with a cell whose scale {} is no power of two", scale);
  return static_cast<int64_t>(bits);
}

// Variables are resources: a tensor of the file that stands for one has no value, only the variable's name.
std::string handle_name(const FileOp& op) { return fmt::format("{}/{}", op.options.text(0), op.options.text(1)); }

}  // namespace

void quantized_lstm_layer(Importer& f, const FileOp& op) {
  int x = f.in(op, kInput), y = f.out(op), h = f.in(op, kHidden), c = f.in(op, kCell);
  SORUS_CHECK(f.info(x).type.dtype == DType::i8 && f.info(c).type.dtype == DType::i16, NotImplementedError,
              "on {} with a cell of {}", name(f.info(x).type.dtype), name(f.info(c).type.dtype));
  SORUS_CHECK(op.intermediates.size() == 5 && op.intermediates[4] >= 0, ValueError, "the hidden state has no scale");
  Layer l = layer_of(f, op);
  // As the kernel computes them when a model is loaded: in f32; gates have steps of 2^-12.
  auto factors = [&](size_t weights, int input, Shape& multiplier, Shape& shift) {
    for (size_t g = 0; g < 4; ++g) {
      float w = static_cast<float>(f.scale(f.in(op, weights + g))), s = static_cast<float>(f.scale(input));
      SORUS_CHECK(f.zero_point(op.in[weights + g]) == 0, NotImplementedError, "weights with a zero point");
      Factor k = fixed_factor(static_cast<double>(w * s * 4096.0F));
      multiplier.push_back(k.multiplier), shift.push_back(k.shift);
    }
  };
  Shape mx, sx, mh, sh;
  factors(kWeights, x, mx, sx), factors(kRecurrent, h, mh, sh);
  int64_t bits = power_of_two(f.scale(c));
  SORUS_CHECK(bits >= -15 && bits <= -9, NotImplementedError, "with a cell in steps of 2^{}", bits);
  double clip = std::clamp(l.clip / f.scale(c), 0.0, 32767.0);
  Factor out = fixed_factor(static_cast<double>(0x1p-30F / static_cast<float>(f.scale(op.intermediates[4]))));
  auto [low, high] = code_range(DType::i8);
  auto r = quantized_lstm(l.x, l.hidden, l.cell, gates(f, op, kWeights, false), gates(f, op, kRecurrent, false),
                          gates(f, op, kBiases, false), f.zero_point(x), f.zero_point(h), mx, sx, mh, sh, 15 + bits,
                          static_cast<int64_t>(clip), f.zero_point(op.intermediates[4]), out.multiplier, out.shift,
                          low, high);
  SORUS_CHECK(f.scale(y) == f.scale(h), NotImplementedError, "whose output has another scale than its state");
  finish(f, op, l, r[0], r[1]);
}

void lstm_layer_of_floats(Importer& f, const FileOp& op) {
  DType t = f.info(f.in(op, kInput)).type.dtype;
  SORUS_CHECK(is_floating(t), NotImplementedError, "on {}", name(t));
  Layer l = layer_of(f, op);
  auto r = lstm_layer(l.x, l.hidden, l.cell, gates(f, op, kWeights, true), gates(f, op, kRecurrent, true),
                      gates(f, op, kBiases, true), {}, false, l.clip);
  finish(f, op, l, r[0], r[1]);
}

void Importer::name_variable(int handle, const std::string& name) { handles_[handle] = name; }

Tensor Importer::variable(int handle, const FileTensor& like) {
  auto name = handles_.find(handle);
  SORUS_CHECK(name != handles_.end(), ValueError, "'{}' stands for no variable", info(handle).name);
  Tensor& v = variables_[name->second];
  if (!v.defined()) {
    const TensorType& t = like.type;
    SORUS_CHECK(like.known_type && numel(t.shape) < kMaxElements / 8, ValueError, "'{}' cannot be a variable",
                like.name);
    auto first = first_values_.find(name->second);
    v = computed([&] { return first == first_values_.end() ? zeros(t.shape, t.dtype) : clone(first->second); });
    builder_.name_weight(v, name->second, like.quantization);
  }
  SORUS_CHECK(v.type().shape == like.type.shape && v.dtype() == like.type.dtype, ValueError,
              "the variable '{}' is {}, but '{}' is {}", name->second, v.type().to_string(), like.name,
              like.type.to_string());
  return v;
}

void Importer::assign(int handle, int value) {
  Tensor t = get(value);
  if (!once_) return update(variable(handle, info(value)), t);
  SORUS_CHECK(is_constant(t) && handles_.contains(handle), ValueError, "'{}' is no first value of a variable",
              info(value).name);
  first_values_[handles_[handle]] = t;
}

void Importer::run_once(int graph) {
  SORUS_CHECK(graph > 0 && static_cast<size_t>(graph) < graphs_.size() && !once_, ValueError,
              "it calls graph {} of {}", graph, graphs_.size());
  auto tensors = std::move(tensors_);
  auto held = std::move(held_);
  auto handles = std::move(handles_);
  once_ = true;
  read_tensors(graphs_[static_cast<size_t>(graph)]);
  int number = 0;
  for (const FlatTable& op : graphs_[static_cast<size_t>(graph)].tables(3)) convert(op, ++number);
  once_ = false;
  tensors_ = std::move(tensors), held_ = std::move(held), handles_ = std::move(handles);
}

void variable_handle(Importer& f, const FileOp& op) { f.name_variable(f.out(op), handle_name(op)); }
void variable_read(Importer& f, const FileOp& op) {
  // A copy: what is written later does not change it.
  f.set(f.out(op), clone(f.variable(f.in(op, 0), f.info(f.out(op)))));
}
void variable_assigned(Importer& f, const FileOp& op) { f.assign(f.in(op, 0), f.in(op, 1)); }
void called_once(Importer& f, const FileOp& op) { f.run_once(op.options.number<int32_t>(0)); }

}  // namespace sorus::importer::tflite
