#include "sorus/nn/functional.h"

#include <array>
#include <cmath>
#include <limits>

#include "sorus/ops/wide.h"

namespace sorus::nn {
namespace {

void check_probability(double p) {
  SORUS_CHECK(p >= 0 && p <= 1, ValueError, "dropout: p must lie in [0, 1], not {}", p);
}

// Moves a running statistic in place.
void move(const Tensor& running, const Tensor& to, double momentum) {
  static const OpDef& lerp = find_op("lerp");
  Tensor target = running.detach();
  call_into(lerp, std::array{target, sorus::to(to.detach(), running.dtype()), Tensor::weak_scalar(momentum)}, {},
            std::array{target});
}

Tensor repeat_heads(const Tensor& x, int64_t times) {
  if (times == 1) return x;
  Shape s = x.sizes();
  size_t heads = s.size() - 3;
  Shape wide = s;
  wide.insert(wide.begin() + static_cast<ptrdiff_t>(heads) + 1, times);
  s[heads] *= times;
  return reshape(expand(unsqueeze(x, static_cast<int64_t>(heads) + 1), wide), s);
}

}  // namespace

Tensor dropout(const Tensor& input, double p, Generator& generator) {
  check_probability(p);
  if (p == 0) return input;
  if (p == 1) return input * 0.0;
  return dropout_from(input, generator.next_key(), p);
}

Tensor dropout_channels(const Tensor& input, double p, Generator& generator) {
  check_probability(p);
  SORUS_CHECK(input.dim() >= 2, ValueError, "dropout of channels: expected at least 2 dimensions, got {}",
              to_string(input.sizes()));
  Shape s(static_cast<size_t>(input.dim()), 1);
  s[0] = input.size(0), s[1] = input.size(1);
  return p == 0 ? input : input * dropout(ones(s, input.dtype()), p, generator);
}

Tensor batch_norm(const Tensor& input, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                  const Tensor& bias, bool training, double momentum, double eps) {
  if (input.numel() == 0) return clone(input);
  SORUS_CHECK(input.dim() >= 2, ValueError, "batch_norm: expected at least 2 dimensions, got {}",
              to_string(input.sizes()));
  int64_t channels = input.size(1), count = channels ? input.numel() / channels : 0;
  auto check = [&](const Tensor& t, const char* what) {
    SORUS_CHECK(!t.defined() || t.sizes() == Shape{channels}, ValueError,
                "batch_norm: {} must have shape [{}] for an input of shape {}, not {}", what, channels,
                to_string(input.sizes()), to_string(t.sizes()));
  };
  check(running_mean, "running_mean"), check(running_var, "running_var"), check(weight, "weight"),
      check(bias, "bias");
  Shape dims, shape(static_cast<size_t>(input.dim()), 1);
  for (int64_t d = 0; d < input.dim(); ++d)
    if (d != 1) dims.push_back(d);
  shape[1] = channels;
  Tensor x = widened(input), y;
  auto wide = [&](const Tensor& t) { return reshape(t, shape); };
  bool by_batch = training || !running_mean.defined() || !running_var.defined();
  if (by_batch) {
    SORUS_CHECK(count > 1 || !training, ValueError,
                "batch_norm: expected more than 1 value per channel when training, got input size {}",
                to_string(input.sizes()));
    Tensor average = mean(x, dims, true), centred = x - average, variance = mean(square(centred), dims, true);
    y = centred * rsqrt(variance + eps);
    if (training && running_mean.defined() && running_var.defined()) {
      GradMode off(false);
      double unbias = static_cast<double>(count) / static_cast<double>(count - 1);
      move(running_mean, reshape(average.detach(), Shape{channels}), momentum);
      move(running_var, reshape(variance.detach(), Shape{channels}) * unbias, momentum);
    }
  } else {
    y = (x - wide(running_mean)) * wide(rsqrt(running_var + eps));
  }
  if (weight.defined()) y = y * wide(weight);
  if (bias.defined()) y = y + wide(bias);
  return to(y, input.dtype());
}

Tensor attention(const Tensor& q, const Tensor& key, const Tensor& value, const Tensor& mask,
                 const AttentionOptions& options, Generator& generator) {
  check_probability(options.dropout);
  int64_t groups = 1;
  if (q.dim() >= 3 && key.dim() == q.dim() && key.size(-3) > 0 && q.size(-3) != key.size(-3)) {
    groups = q.size(-3) / key.size(-3);
    SORUS_CHECK(groups * key.size(-3) == q.size(-3), ValueError,
                "attention: {} query heads are not a multiple of {} key heads", q.size(-3), key.size(-3));
  }
  bool grouped = groups == 1 || (!mask.defined() && q.dim() == 4);  // the operator takes the heads as they are
  if (options.dropout == 0) {
    const Tensor &k = grouped ? key : repeat_heads(key, groups), &v = grouped ? value : repeat_heads(value, groups);
    return scaled_dot_product_attention(q, k, v, mask, 0.0, options.causal, options.scale);
  }
  SORUS_CHECK(!(options.causal && mask.defined()), ValueError, "attention: is_causal and a mask exclude each other");
  Tensor k = repeat_heads(key, groups), v = repeat_heads(value, groups);
  double scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(q.size(-1))));
  // Scores of half types are float32, as the operator has them.
  Tensor scores = matmul(widened(q), transpose(widened(k), -2, -1)) * scale;
  Tensor never = Tensor::weak_scalar(-std::numeric_limits<double>::infinity());
  if (mask.defined()) {
    scores = mask.dtype() == DType::boolean ? where(mask, scores, never) : scores + mask;
  } else if (options.causal) {
    Tensor i = unsqueeze(arange(int64_t{0}, scores.size(-2)), 1), j = arange(int64_t{0}, scores.size(-1));
    scores = where(le(j, i), scores, never);
  }
  return matmul(to(dropout(softmax(scores, -1), options.dropout, generator), v.dtype()), v);
}

Tensor rotary(const Tensor& x, int64_t offset, double base) {
  SORUS_CHECK(x.dim() >= 2 && x.size(-1) % 2 == 0, ValueError, "rotary: expected [.., time, even width], got {}",
              to_string(x.sizes()));
  int64_t half = x.size(-1) / 2;
  Tensor position = arange(Scalar(static_cast<double>(offset)), Scalar(static_cast<double>(offset + x.size(-2))),
                           Scalar(1.0), DType::f64);
  Tensor speed = exp(arange(Scalar(0.0), Scalar(static_cast<double>(half)), Scalar(1.0), DType::f64) *
                     (-std::log(base) / static_cast<double>(half)));
  Tensor angle = unsqueeze(position, 1) * speed;
  DType work = is_half(x.dtype()) ? DType::f32 : x.dtype();
  Tensor c = to(cos(angle), work), s = to(sin(angle), work), wide = to(x, work);
  Tensor first = narrow(wide, -1, 0, half), second = narrow(wide, -1, half, half);
  return to(cat(std::array{first * c - second * s, second * c + first * s}, -1), x.dtype());
}

}  // namespace sorus::nn
