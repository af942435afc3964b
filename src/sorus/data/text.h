// Files or folders of text to tokens, in one call: what a language model is trained on.
//
//   data::TextData text = data::load_text({"/usr/lib/python3.11"}, {.vocab_size = 1024});
//   auto train = std::make_shared<data::TextDataset>(text.train, /*context=*/64);
//   std::cout << text.tokenizer->decode(ids);
//
// The tokenizer is trained on the text unless one is given. It and the tokens are kept in the cache folder under
// names made of the contents, so that the second call takes as long as reading the files.
#pragma once

#include "sorus/data/corpus.h"

namespace sorus::data {

struct TextOptions {
  CorpusOptions corpus = {};
  int64_t vocab_size = 4096;                             ///< Of the tokenizer that is trained.
  std::shared_ptr<const Tokenizer> tokenizer = nullptr;  ///< Instead of training one.
  size_t tokenizer_bytes = size_t{8} << 20;              ///< It is trained on about this much of the text.
  std::filesystem::path cache_folder = sorus::cache_folder() / "text";
};

struct TextData {
  Corpus corpus;
  std::shared_ptr<const Tokenizer> tokenizer;
  Tensor train, validation;  ///< Tokens, i32; `validation` is undefined if the corpus has none.
};

/// Every file ends with the token "<|endoftext|>" if the tokenizer has it (one that is trained here has). FileError
/// for roots without text.
TextData load_text(const std::vector<std::filesystem::path>& roots, const TextOptions& options = {});

}  // namespace sorus::data
