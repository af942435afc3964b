#include "sorus/data/corpus.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>

#include "sorus/base/error.h"
#include "sorus/base/threads.h"
#include "sorus/io/npy.h"

namespace sorus::data {
namespace fs = std::filesystem;
namespace {

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::ranges::find(list, item) != list.end();
}

void add_folder(const fs::path& root, const CorpusOptions& options, std::vector<fs::path>& paths) {
  std::error_code error;
  fs::recursive_directory_iterator it(root, fs::directory_options::skip_permission_denied, error), end;
  SORUS_CHECK(!error, FileError, "{}: cannot list the folder: {}", root.string(), error.message());
  for (; it != end; it.increment(error)) {
    // A folder that vanishes or breaks while it is read is skipped, as one without permission is.
    if (error) break;
    std::error_code ignored;
    if (it->is_directory(ignored)) {
      if (contains(options.without, it->path().filename().string())) it.disable_recursion_pending();
    } else if (it->is_regular_file(ignored) &&
               (options.extensions.empty() || contains(options.extensions, it->path().extension().string()))) {
      paths.push_back(it->path());
    }
  }
}

/// In [0, 1), the same for the same content.
double lot(const ContentHash& hash, uint64_t seed) {
  return static_cast<double>(mix_bits(hash.low ^ mix_bits(seed + 1)) >> 11) * 0x1p-53;
}

}  // namespace

size_t Corpus::bytes() const {
  size_t sum = 0;
  for (auto* part : {&train, &validation})
    for (auto& f : *part) sum += f.text().size();
  return sum;
}

Corpus gather_corpus(const std::vector<fs::path>& roots, const CorpusOptions& options) {
  SORUS_CHECK(options.validation >= 0 && options.validation < 1, ValueError,
              "corpus: a validation share of {}, expected at least 0 and less than 1", options.validation);
  std::vector<fs::path> paths;
  for (auto& root : roots) {
    std::error_code ignored;
    SORUS_CHECK(fs::exists(root, ignored), FileError, "{}: no such file or folder", root.string());
    if (fs::is_directory(root, ignored)) {
      add_folder(root, options, paths);
    } else {
      paths.push_back(root);
    }
  }
  std::ranges::sort(paths);
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());

  Corpus corpus;
  std::map<ContentHash, bool> seen;
  for (auto& path : paths) {
    CorpusFile file{path, MappedFile::open(path), {}};
    std::string_view text = file.text();
    if (text.empty() || std::memchr(text.data(), 0, text.size())) {
      ++corpus.binary;
      continue;
    }
    file.hash = content_hash(text);
    if (!seen.emplace(file.hash, true).second) {
      ++corpus.duplicates;
      continue;
    }
    (lot(file.hash, options.seed) < options.validation ? corpus.validation : corpus.train).push_back(std::move(file));
  }
  size_t count = corpus.train.size() + corpus.validation.size();
  if (count == 0) {
    std::vector<std::string> names;
    for (auto& root : roots) names.push_back(root.string());
    fail<FileError>("{}: no text to train on: {} files looked at, wanted those that end in {}",
                    abbreviated_list(names), paths.size(), fmt::join(options.extensions, " "));
  }
  // Small corpora: neither part may be empty.
  auto move_one = [&](std::vector<CorpusFile>& from, std::vector<CorpusFile>& to) {
    auto chosen = std::ranges::min_element(from, {}, [&](auto& f) { return lot(f.hash, options.seed); });
    to.push_back(std::move(*chosen));
    from.erase(chosen);
  };
  if (corpus.train.empty()) move_one(corpus.validation, corpus.train);
  if (options.validation > 0 && corpus.validation.empty() && count > 1) move_one(corpus.train, corpus.validation);
  return corpus;
}

Tensor encode_files(const Tokenizer& tokenizer, const std::vector<CorpusFile>& files, const fs::path& cache_folder,
                    int32_t end) {
  std::error_code error;
  fs::create_directories(cache_folder, error);
  SORUS_CHECK(!error, FileError, "{}: cannot make the folder: {}", cache_folder.string(), error.message());

  // What the tokens depend on. A tokenizer is known by the file it would be saved as.
  static std::atomic<unsigned> counter{0};
  fs::path saved = cache_folder / fmt::format("tokenizer-{}-{}.json", reinterpret_cast<uintptr_t>(&files), counter++);
  tokenizer.save(saved);
  std::string key = content_hash(read_file(saved)).hex() + std::to_string(end);
  fs::remove(saved, error);
  for (auto& f : files) key += f.hash.hex();
  fs::path path = cache_folder / fmt::format("tokens-{}.npy", content_hash(key).hex());

  if (!fs::exists(path, error)) {
    std::vector<std::vector<int32_t>> parts(files.size());
    std::mutex mutex;
    std::exception_ptr problem;
    parallel_for(static_cast<int64_t>(files.size()), 1, [&](int64_t from, int64_t to) {
      try {
        for (auto i = static_cast<size_t>(from); i < static_cast<size_t>(to); ++i) {
          parts[i] = tokenizer.encode(files[i].text());
          if (end >= 0) parts[i].push_back(end);
        }
      } catch (...) {
        std::lock_guard lock(mutex);
        problem = std::current_exception();
      }
    });
    if (problem) std::rethrow_exception(problem);
    std::vector<int32_t> tokens;
    for (auto& part : parts) tokens.insert(tokens.end(), part.begin(), part.end());
    io::save_npy(path, Tensor::of(tokens, Shape{static_cast<int64_t>(tokens.size())}));
  }
  Tensor tokens = io::load_npy(path);
  SORUS_CHECK(tokens.dim() == 1 && tokens.dtype() == DType::i32, FileError,
              "{}: expected tokens as written by Sorus (i32, one dimension), found {}; remove the file",
              path.string(), tokens.type().to_string());
  return tokens;
}

}  // namespace sorus::data
