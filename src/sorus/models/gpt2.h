// GPT-2 models as the transformers library publishes them: a folder with config.json and model.safetensors.
//
//   std::shared_ptr<nn::GPT> model = models::load_gpt2("gpt2");          // also what save_gpt2 wrote
//   auto tokenizer = data::load_tokenizer("gpt2/tokenizer.json");
//
// The files' names may begin with "transformer."; their linear layers (Conv1D) hold the transposed weight; the head
// is the token embedding. What the model here cannot do (another activation, cross-attention, ...) is an error.
#pragma once

#include <filesystem>

#include "sorus/nn/gpt.h"

namespace sorus::models {

/// FileError if config.json is not that of a GPT-2 model, or its sizes are not those of model.safetensors.
nn::GPTConfig read_gpt2_config(const std::filesystem::path& folder);
/// Copies the weights of the folder. FileError if tensors are missing or of another shape.
void load_gpt2_weights(nn::GPT& model, const std::filesystem::path& folder);
/// Both; ready to write, not to train (`model->train()`).
std::shared_ptr<nn::GPT> load_gpt2(const std::filesystem::path& folder);
/// What load_gpt2 and the transformers library read. The folder is made.
void save_gpt2(const nn::GPT& model, const std::filesystem::path& folder);

}  // namespace sorus::models
