#include "sorus/data/text.h"

#include <algorithm>

namespace sorus::data {
namespace fs = std::filesystem;
namespace {

constexpr const char* kEnd = "<|endoftext|>";

std::shared_ptr<const Tokenizer> trained_tokenizer(const std::vector<CorpusFile>& files, const TextOptions& options) {
  // In order of their hashes: a part of them is then from all over the corpus.
  std::vector<const CorpusFile*> chosen;
  for (auto& f : files) chosen.push_back(&f);
  std::ranges::sort(chosen, {}, [](auto* f) { return f->hash; });
  size_t bytes = 0, count = 0;
  while (count < chosen.size() && bytes < options.tokenizer_bytes) bytes += chosen[count++]->text().size();
  chosen.resize(count);

  std::string key = fmt::format("bpe 1 {}", options.vocab_size);
  std::vector<std::string_view> texts;
  for (auto* f : chosen) {
    key += f->hash.hex();
    texts.push_back(f->text());
  }
  fs::path path = options.cache_folder / fmt::format("tokenizer-{}.json", content_hash(key).hex());
  std::error_code error;
  if (fs::exists(path, error)) return load_tokenizer(path);
  auto tokenizer = BpeTokenizer::train(texts, {.vocab_size = options.vocab_size, .special_tokens = {kEnd}});
  fs::create_directories(options.cache_folder, error);
  SORUS_CHECK(!error, FileError, "{}: cannot make the folder: {}", options.cache_folder.string(), error.message());
  tokenizer->save(path);
  return tokenizer;
}

}  // namespace

TextData load_text(const std::vector<fs::path>& roots, const TextOptions& options) {
  TextData text{gather_corpus(roots, options.corpus), options.tokenizer, {}, {}};
  if (!text.tokenizer) text.tokenizer = trained_tokenizer(text.corpus.train, options);
  int32_t end = text.tokenizer->token_id(kEnd).value_or(-1);
  text.train = encode_files(*text.tokenizer, text.corpus.train, options.cache_folder, end);
  if (!text.corpus.validation.empty())
    text.validation = encode_files(*text.tokenizer, text.corpus.validation, options.cache_folder, end);
  return text;
}

}  // namespace sorus::data
