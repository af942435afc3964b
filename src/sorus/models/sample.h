// Choosing the next token from a model's logits.
//
//   int64_t next = models::sample(last_logits, {.temperature = 0.8, .top_k = 50}, generator);
#pragma once

#include "sorus/nn/gpt.h"
#include "sorus/nn/random.h"

namespace sorus::models {

struct SampleOptions {
  double temperature = 1;  ///< 0: the most likely token.
  int64_t top_k = 0;       ///< Only the k most likely; 0: all.
};

/// `logits`: [vocabulary], of any floating type. Error if all of them are NaN or none is finite.
int64_t sample(const Tensor& logits, const SampleOptions& options, nn::Generator& generator);

/// The next token after `ids`, of which the last block_size are looked at. With a cache that holds the first of them
/// only the others are computed; beyond block_size positions change, and all are.
int64_t next_token(nn::GPT& model, const std::vector<int64_t>& ids, const SampleOptions& options,
                   nn::Generator& generator, nn::GPTCache* cache = nullptr);

}  // namespace sorus::models
