// A corpus: the text files that a language model is trained on.
//
//   auto corpus = data::gather_corpus({"/usr/lib/python3.11"}, {.extensions = {".py"}});
//   Tensor tokens = data::encode_files(tokenizer, corpus.train, "out/cache");    // i32, a mapped file
//   data::TextDataset train(tokens, 256);
//
// Files of equal content count once, and whether a file is for training or for validation depends on its content and
// the seed alone: not on where the folder lies, what else is in it, or the order in which it is listed.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "sorus/base/files.h"
#include "sorus/base/text.h"
#include "sorus/data/tokenizer.h"
#include "sorus/tensor/tensor.h"

namespace sorus::data {

struct CorpusOptions {
  /// Which files are taken from folders; empty: all. A file that is named itself is always taken.
  std::vector<std::string> extensions = {".py", ".txt", ".md", ".rst"};
  /// Folders of these names are left out.
  std::vector<std::string> without = {"site-packages", "dist-packages", "__pycache__", ".git"};
  double validation = 0.1;  ///< The share of the files, as near as chance allows; at least one file of two or more.
  uint64_t seed = 0;
};

struct CorpusFile {
  std::filesystem::path path;
  Ref<MappedFile> file;
  ContentHash hash;
  std::string_view text() const { return file->text(); }
};

struct Corpus {
  std::vector<CorpusFile> train, validation;  ///< In order of their paths.
  int64_t duplicates = 0;                     ///< Files that were dropped because another has the same content.
  int64_t binary = 0;                         ///< Files that were dropped because they hold a NUL byte, or nothing.
  size_t bytes() const;
};

/// FileError if a root does not exist or there is no text at all.
Corpus gather_corpus(const std::vector<std::filesystem::path>& roots, const CorpusOptions& options = {});

/// The tokens of all files (i32), each file closed by `end` if that is not negative. Encoded once: they are kept in
/// `cache_folder` under a name made of the contents and the tokenizer, and mapped from there.
Tensor encode_files(const Tokenizer& tokenizer, const std::vector<CorpusFile>& files,
                    const std::filesystem::path& cache_folder, int32_t end = -1);

}  // namespace sorus::data
