// Training: the most frequent pair of neighbouring tokens becomes a token, again and again. Words are counted once;
// then only the words that contain the merged pair are touched, and a heap whose entries are checked when they come
// up gives the next pair.
#include <algorithm>
#include <queue>

#include "sorus/base/error.h"
#include "sorus/base/text.h"
#include "sorus/base/threads.h"
#include "sorus/data/tokenizer.h"
#include "sorus/data/word_splitter.h"

namespace sorus::data {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;

using Counts = std::unordered_map<std::string_view, int64_t>;

Counts count_words(std::span<const std::string_view> texts) {
  std::vector<std::string_view> chunks;
  for (std::string_view text : texts) {
    while (!text.empty()) {
      size_t cut = WordSplitter::safe_cut(text, std::min(kChunkBytes, text.size()));
      chunks.push_back(text.substr(0, cut));
      text.remove_prefix(cut);
    }
  }
  auto threads = static_cast<size_t>(num_threads());
  std::vector<Counts> counts(threads);
  parallel_for(static_cast<int64_t>(threads), 1, [&](int64_t begin, int64_t end) {
    for (auto t = static_cast<size_t>(begin); t < static_cast<size_t>(end); ++t) {
      for (size_t i = t; i < chunks.size(); i += threads) {
        WordSplitter splitter(chunks[i]);
        for (std::string_view word; splitter.next(word);) ++counts[t][word];
      }
    }
  });
  for (size_t t = 1; t < threads; ++t)
    for (auto& [word, count] : counts[t]) counts[0][word] += count;
  return std::move(counts[0]);
}

struct Word {
  std::vector<int32_t> ids;
  int64_t count;
};

struct Pair {
  int64_t count = 0;
  std::vector<int32_t> words;  // where it occurs or once did, perhaps several times
};

struct Entry {
  int64_t count;
  uint64_t pair;
  /// Of equally frequent pairs the one of older tokens first, as in Hugging Face's trainer.
  bool operator<(const Entry& o) const { return count != o.count ? count < o.count : pair > o.pair; }
};

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

std::shared_ptr<BpeTokenizer> BpeTokenizer::train(std::span<const std::string_view> texts,
                                                  const BpeOptions& options) {
  size_t smallest = 256 + options.special_tokens.size();
  SORUS_CHECK(options.vocab_size >= static_cast<int64_t>(smallest) && options.vocab_size <= INT32_MAX, ValueError,
              "BpeTokenizer.train: expected a vocabulary of at least {} (bytes and special tokens), got {}", smallest,
              options.vocab_size);
  std::vector<std::string> tokens;
  std::vector<Special> specials;
  for (const std::string& s : options.special_tokens) {
    specials.push_back({s, static_cast<int32_t>(tokens.size())});
    tokens.push_back(s);
  }
  // Bytes in the order of the characters that stand for them, again as Hugging Face does.
  std::vector<unsigned char> bytes(256);
  for (size_t i = 0; i < 256; ++i) bytes[i] = static_cast<unsigned char>(i);
  std::ranges::sort(bytes, {}, byte_to_character);
  std::array<int32_t, 256> byte_ids;
  for (unsigned char b : bytes) {
    byte_ids[b] = static_cast<int32_t>(tokens.size());
    tokens.push_back(std::string(1, static_cast<char>(b)));
  }

  std::vector<Word> words;
  std::unordered_map<uint64_t, Pair> pairs;
  for (auto& [text, count] : count_words(texts)) {
    Word word{{}, count};
    for (char c : text) word.ids.push_back(byte_ids[static_cast<unsigned char>(c)]);
    words.push_back(std::move(word));
  }
  for (size_t w = 0; w < words.size(); ++w) {
    for (size_t i = 0; i + 1 < words[w].ids.size(); ++i) {
      Pair& pair = pairs[pair_key(words[w].ids[i], words[w].ids[i + 1])];
      pair.count += words[w].count;
      if (pair.words.empty() || pair.words.back() != static_cast<int32_t>(w)) {
        pair.words.push_back(static_cast<int32_t>(w));
      }
    }
  }
  std::priority_queue<Entry> heap;
  for (auto& [key, pair] : pairs) heap.push({pair.count, key});

  std::unordered_map<std::string, int32_t> known;  // two pairs may spell the same token
  for (size_t i = specials.size(); i < tokens.size(); ++i) known[tokens[i]] = static_cast<int32_t>(i);
  std::vector<Merge> merges;
  while (static_cast<int64_t>(tokens.size()) < options.vocab_size && !heap.empty()) {
    Entry top = heap.top();
    heap.pop();
    Pair& best = pairs[top.pair];
    if (top.count != best.count) {
      if (best.count > 0) heap.push({best.count, top.pair});
      continue;
    }
    if (top.count < std::max<int64_t>(options.min_frequency, 1)) break;
    auto left = static_cast<int32_t>(top.pair >> 32), right = static_cast<int32_t>(top.pair);
    std::string spelled = tokens[static_cast<size_t>(left)] + tokens[static_cast<size_t>(right)];
    auto [entry, is_new] = known.try_emplace(spelled, static_cast<int32_t>(tokens.size()));
    if (is_new) tokens.push_back(spelled);
    int32_t result = entry->second;
    merges.push_back({left, right, result});

    std::vector<int32_t> places = std::move(best.words);
    best.words.clear();
    std::ranges::sort(places);
    places.erase(std::unique(places.begin(), places.end()), places.end());
    std::vector<uint64_t> grown;
    for (int32_t w : places) {
      Word& word = words[static_cast<size_t>(w)];
      auto& ids = word.ids;
      std::vector<int32_t> merged;
      for (size_t i = 0; i < ids.size(); ++i) {
        bool here = i + 1 < ids.size() && ids[i] == left && ids[i + 1] == right;
        merged.push_back(here ? result : ids[i]);
        i += here;
      }
      if (merged.size() == ids.size()) continue;
      for (size_t i = 0; i + 1 < ids.size(); ++i) pairs[pair_key(ids[i], ids[i + 1])].count -= word.count;
      for (size_t i = 0; i + 1 < merged.size(); ++i) {
        uint64_t key = pair_key(merged[i], merged[i + 1]);
        Pair& pair = pairs[key];
        pair.count += word.count;
        if (merged[i] != result && merged[i + 1] != result) continue;  // an old pair, which has its places
        if (pair.words.empty() || pair.words.back() != w) pair.words.push_back(w);
        grown.push_back(key);
      }
      ids = std::move(merged);
    }
    std::ranges::sort(grown);
    grown.erase(std::unique(grown.begin(), grown.end()), grown.end());
    for (uint64_t key : grown) heap.push({pairs[key].count, key});
  }
  return std::make_shared<BpeTokenizer>(std::move(tokens), std::move(merges), std::move(specials));
}

}  // namespace sorus::data
