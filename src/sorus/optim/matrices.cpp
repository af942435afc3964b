// Optimizers that look at a parameter as a matrix: Adafactor, whose second moments are one of each row and one of
// each column, and Muon, whose steps are made orthogonal.
#include <cmath>

#include "sorus/optim/update.h"

namespace sorus::optim {
namespace {

/// The distance from 1 to the next number.
double epsilon_of(DType t) {
  if (t == DType::f64) return 0x1p-52;
  if (t == DType::f32) return 0x1p-23;
  return t == DType::bf16 ? 0x1p-7 : 0x1p-10;
}

struct AdafactorRule : Rule {
  void check_setting(const std::string& name, double value) const override {
    if (name == "eps1" && std::isnan(value)) return;
    SORUS_CHECK(name != "beta2_decay" || value <= 0, ValueError, "Adafactor: beta2_decay must be <= 0, found {}",
                value);
    SORUS_CHECK(name != "d" || value >= 1, ValueError, "Adafactor: d must be >= 1, found {}", value);
    if (name == "eps1" || name == "eps2") check_setting_of("Adafactor", name, value);
  }
  std::vector<const char*> state_names(const ParameterGroup&, const Tensor& p) const override {
    if (p.dim() > 1) return {"row_var", "col_var"};
    return {"variance"};
  }
  Tensor initial_state(const ParameterGroup& g, std::string_view name, const Tensor& p) const override {
    if (name == "variance") return Rule::initial_state(g, name, p);
    Shape s = p.sizes();
    s[s.size() - (name == "row_var" ? 1 : 2)] = 1;
    return Tensor::zeros(s, p.dtype());
  }
  // What new squares count for, the relative size of a step, and what decay leaves.
  TensorList prepare(const ParameterGroup& g, const Tensor& step) const override {
    Tensor n = to(step, DType::f64);
    TensorList out{pow(n, Tensor::weak_scalar(g.setting("beta2_decay"))), minimum(g.lr, rsqrt(n)),
                   1.0 - g.lr * g.weight_decay};
    for (Tensor& t : out) t = to(t, g.scalar_type);
    return out;
  }
  void update(const ParameterGroup& g, Slot& s, const Tensor& grad, TensorSpan k) const override {
    Tensor p = s.parameter.detach();
    const double given = g.setting("eps1"), eps = std::isnan(given) ? epsilon_of(p.dtype()) : given;
    auto of_type = [&](const Tensor& scalar) { return to(scalar, p.dtype()); };
    auto root_mean_square = [](const Tensor& t) { return norm(t) / std::sqrt(static_cast<double>(t.numel())); };
    auto at_least = [](const Tensor& t, double least) { return clamp_min(t, Tensor::weak_scalar(least)); };
    Tensor squares = grad * grad, share = of_type(k[0]), estimate;
    if (p.dim() > 1) {
      Tensor rows = lerp(s.state[0], mean(squares, Shape{-1}, true), share),
             columns = lerp(s.state[1], mean(squares, Shape{-2}, true), share);
      write(s.state[0], rows);
      write(s.state[1], columns);
      estimate = rows * columns / at_least(mean(rows, Shape{-2}, true), eps);
    } else {
      estimate = lerp(s.state[0], squares, share);
      write(s.state[0], estimate);
    }
    Tensor step = rsqrt(at_least(estimate, eps * eps)) * grad;
    Tensor size = at_least(root_mean_square(p), g.setting("eps2")) * of_type(k[1]);
    Tensor shrink = at_least(root_mean_square(step) / g.setting("d"), 1.0);
    write(p, p * of_type(k[2]) - size / shrink * step);
  }
};

struct MuonRule : Rule {
  static constexpr double kMatchRmsAdamw = 2;  // of adjust_lr_fn
  void check_setting(const std::string& name, double value) const override {
    if (name == "momentum" || name == "eps") check_setting_of("Muon", name, value);
    SORUS_CHECK(name != "ns_steps" || (value >= 0 && value < 100), ValueError,
                "Muon: ns_steps must lie in [0, 100), found {}", value);
  }
  std::vector<const char*> state_names(const ParameterGroup&, const Tensor& p) const override {
    SORUS_CHECK(p.dim() == 2, ValueError, "Muon: parameters must be matrices, found {}; give the others to AdamW",
                p.type().to_string());
    return {"momentum_buffer"};
  }
  bool counts_steps(const ParameterGroup&) const override { return false; }

  /// U V^T of the matrix U S V^T, roughly: steps of Newton and Schulz in bf16, which take the singular values into
  /// [0.7, 1.2].
  static Tensor orthogonal(const ParameterGroup& g, const Tensor& matrix) {
    const bool tall = matrix.size(0) > matrix.size(1);
    Tensor x = to(matrix, DType::bf16);
    if (tall) x = transpose(x, 0, 1);
    x = x / clamp_min(norm(x), Tensor::weak_scalar(g.setting("eps")));
    for (int i = 0; i < static_cast<int>(g.setting("ns_steps")); ++i) {
      Tensor gram = matmul(x, transpose(x, 0, 1));
      Tensor change = addmm(gram, gram, gram, Scalar(g.setting("ns_b")), Scalar(g.setting("ns_c")));
      x = addmm(x, change, x, Scalar(g.setting("ns_a")));
    }
    return tall ? transpose(x, 0, 1) : x;
  }
  void update(const ParameterGroup& g, Slot& s, const Tensor& grad, TensorSpan k) const override {
    Tensor p = s.parameter.detach(), average = towards(s.state[0], grad, 1 - g.setting("momentum"));
    write(s.state[0], average);
    Tensor step = g.setting("nesterov") != 0 ? towards(grad, average, g.setting("momentum")) : average;
    const auto rows = static_cast<double>(p.size(0)), columns = static_cast<double>(p.size(1));
    double ratio = g.setting("adjust_lr_fn") == kMatchRmsAdamw ? 0.2 * std::sqrt(std::max(rows, columns))
                                                               : std::sqrt(std::max(1.0, rows / columns));
    Tensor lr = to(k[0], p.dtype()), decay = to(k[1], p.dtype());
    write(p, p * (1.0 - lr * decay) - lr * ratio * to(orthogonal(g, step), p.dtype()));
  }
};

}  // namespace

template <>
const Rule& rule_of<AdafactorOptions>() {
  return the<AdafactorRule>();
}

template <>
const Rule& rule_of<MuonOptions>() {
  return the<MuonRule>();
}

}  // namespace sorus::optim
