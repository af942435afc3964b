#include "sorus/models/sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus::models {

int64_t sample(const Tensor& logits, const SampleOptions& options, nn::Generator& generator) {
  SORUS_CHECK(logits.dim() == 1 && logits.numel() > 0 && is_floating(logits.dtype()), ValueError,
              "sample: expected the logits of one token, floating [vocabulary], found {}", logits.type().to_string());
  SORUS_CHECK(options.temperature >= 0 && std::isfinite(options.temperature), ValueError,
              "sample: temperature {}, expected 0 or more", options.temperature);
  SORUS_CHECK(options.top_k >= 0, ValueError, "sample: top_k {}, expected 0 (all) or more", options.top_k);
  Tensor wide = Tensor::empty(logits.sizes(), DType::f64);
  copy_elements(wide, logits.detach());
  const double* x = wide.data<double>();
  int64_t n = wide.numel();

  std::vector<int64_t> order;
  for (int64_t i = 0; i < n; ++i)
    if (!std::isnan(x[i])) order.push_back(i);
  SORUS_CHECK(!order.empty(), Error, "sample: all logits are NaN");
  auto more_likely = [&](int64_t a, int64_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; };
  auto kept = options.temperature == 0 ? 1 : options.top_k ? std::min<int64_t>(options.top_k, n) : n;
  kept = std::min(kept, static_cast<int64_t>(order.size()));
  std::partial_sort(order.begin(), order.begin() + kept, order.end(), more_likely);
  double highest = x[order[0]];
  SORUS_CHECK(std::isfinite(highest), Error, "sample: the highest of the logits is {}", highest);
  if (kept == 1) return order[0];

  std::vector<double> weights;
  for (int64_t k = 0; k < kept; ++k)
    weights.push_back(std::exp((x[order[static_cast<size_t>(k)]] - highest) / options.temperature));
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double left = static_cast<double>(generator.next_bits() >> 10) * 0x1p-53 * total;
  for (size_t k = 0; k < weights.size(); ++k)
    if ((left -= weights[k]) < 0) return order[k];
  return order[0];  // rounding used up the weights
}

int64_t next_token(nn::GPT& model, const std::vector<int64_t>& ids, const SampleOptions& options,
                   nn::Generator& generator, nn::GPTCache* cache) {
  SORUS_CHECK(!ids.empty(), ValueError, "next_token: expected at least one token to go on from");
  GradMode off(false);
  auto total = static_cast<int64_t>(ids.size()), n = std::min(total, model.config().block_size);
  if (total > n) cache = nullptr;
  if (cache) {
    SORUS_CHECK(cache->length() < total, ValueError, "next_token: the cache holds {} tokens of {}", cache->length(),
                total);
    n -= cache->length();
  }
  std::vector<int64_t> window(ids.end() - n, ids.end());
  Tensor logits = model.forward(Tensor::of(window, Shape{1, n}), cache);
  return sample(select(select(logits, 0, 0), 0, -1), options, generator);
}

}  // namespace sorus::models
