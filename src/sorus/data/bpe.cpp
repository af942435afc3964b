// Encoding and decoding by byte-pair encoding.
#include <algorithm>
#include <exception>
#include <queue>

#include "sorus/base/error.h"
#include "sorus/base/text.h"
#include "sorus/base/threads.h"
#include "sorus/data/tokenizer.h"
#include "sorus/data/word_splitter.h"

namespace sorus::data {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 18;

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

BpeTokenizer::BpeTokenizer(std::vector<std::string> tokens, std::vector<Merge> merges, std::vector<Special> specials,
                           bool add_prefix_space, bool ignore_merges)
    : tokens_(std::move(tokens)),
      merges_(std::move(merges)),
      specials_(std::move(specials)),
      add_prefix_space_(add_prefix_space),
      ignore_merges_(ignore_merges) {
  auto count = static_cast<int64_t>(tokens_.size());
  SORUS_CHECK(count <= INT32_MAX, ValueError, "tokenizer: {} tokens are too many", count);
  std::vector<bool> is_special(tokens_.size());
  for (const Special& s : specials_) {
    SORUS_CHECK(!s.content.empty() && s.id >= 0 && s.id < count, ValueError,
                "tokenizer: special token {} has the id {}, expected one below {}", quote(s.content), s.id, count);
    is_special[static_cast<size_t>(s.id)] = true;
  }
  byte_ids_.fill(-1);
  for (int32_t id = 0; id < count; ++id) {
    const std::string& token = tokens_[static_cast<size_t>(id)];
    if (is_special[static_cast<size_t>(id)] || token.empty()) continue;
    SORUS_CHECK(ids_.emplace(token, id).second, ValueError, "tokenizer: token {} appears twice", quote(token));
    if (token.size() == 1) byte_ids_[static_cast<unsigned char>(token[0])] = id;
  }
  auto known = [&](int32_t id) { return id >= 0 && id < count; };
  for (size_t i = 0; i < merges_.size(); ++i) {
    const Merge& m = merges_[i];
    SORUS_CHECK(known(m.left) && known(m.right) && known(m.result), ValueError,
                "tokenizer: merge {} names a token outside the vocabulary of {}", i, count);
    rules_[pair_key(m.left, m.right)] = {static_cast<int32_t>(i), m.result};
  }
}

const BpeTokenizer::Rule* BpeTokenizer::find_rule(int32_t left, int32_t right) const {
  auto found = rules_.find(pair_key(left, right));
  return found == rules_.end() ? nullptr : &found->second;
}

void BpeTokenizer::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    if (auto whole = ids_.find(word); whole != ids_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  // A doubly linked list of tokens, and a heap of the merges that are possible now: the earliest rule first, then the
  // leftmost place. An entry is out of date if its pair has changed since.
  struct Part {
    int32_t id, previous, next;
  };
  struct Candidate {
    int32_t rank, at, result;
    bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : at > o.at; }
  };
  auto size = static_cast<int32_t>(word.size());
  std::vector<Part> parts(word.size());
  for (int32_t i = 0; i < size; ++i) {
    auto byte = static_cast<unsigned char>(word[static_cast<size_t>(i)]);
    SORUS_CHECK(byte_ids_[byte] >= 0, ValueError, "encode: byte 0x{:02x} of {} is not in the vocabulary", byte,
                quote(word));
    parts[static_cast<size_t>(i)] = {byte_ids_[byte], i - 1, i + 1 < size ? i + 1 : -1};
  }
  auto part = [&](int32_t i) -> Part& { return parts[static_cast<size_t>(i)]; };
  std::vector<Candidate> heap;
  auto consider = [&](int32_t at) {
    if (at < 0 || part(at).next < 0) return;
    if (const Rule* rule = find_rule(part(at).id, part(part(at).next).id)) {
      heap.push_back({rule->rank, at, rule->result});
      std::push_heap(heap.begin(), heap.end());
    }
  };
  for (int32_t i = 0; i < size; ++i) consider(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    Candidate c = heap.back();
    heap.pop_back();
    Part& left = part(c.at);
    if (left.id < 0 || left.next < 0) continue;
    Part& right = part(left.next);
    const Rule* rule = find_rule(left.id, right.id);
    if (!rule || rule->result != c.result) continue;
    left.id = c.result;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) part(left.next).previous = c.at;
    consider(left.previous);
    consider(c.at);
  }
  for (const Part& p : parts)
    if (p.id >= 0) ids.push_back(p.id);
}

void BpeTokenizer::encode_words(std::string_view text, std::vector<int32_t>& ids) const {
  // Text repeats its words: what one became is found again in `ids`.
  std::unordered_map<std::string_view, std::pair<size_t, size_t>> cache;
  WordSplitter splitter(text);
  for (std::string_view word; splitter.next(word);) {
    auto [entry, is_new] = cache.try_emplace(word, ids.size(), 0);
    if (is_new) {
      encode_word(word, ids);
      entry->second.second = ids.size();
    } else {
      auto [begin, end] = entry->second;
      for (size_t i = begin; i < end; ++i) ids.push_back(ids[i]);
    }
  }
}

void BpeTokenizer::encode_section(std::string_view text, std::vector<int32_t>& ids) const {
  std::string prefixed;
  if (add_prefix_space_ && !text.empty() && text[0] != ' ') {
    prefixed = " " + std::string(text);
    text = prefixed;
  }
  if (text.size() < 2 * kChunkBytes) return encode_words(text, ids);

  std::vector<std::string_view> chunks;
  size_t wanted = std::max(kChunkBytes, text.size() / (4 * static_cast<size_t>(num_threads())));
  while (!text.empty()) {
    size_t cut = WordSplitter::safe_cut(text, std::min(wanted, text.size()));
    chunks.push_back(text.substr(0, cut));
    text.remove_prefix(cut);
  }
  std::vector<std::vector<int32_t>> parts(chunks.size());
  std::vector<std::exception_ptr> errors(chunks.size());
  parallel_for(static_cast<int64_t>(chunks.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      try {
        encode_words(chunks[i], parts[i]);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    }
  });
  for (auto& error : errors)
    if (error) std::rethrow_exception(error);
  for (auto& part : parts) ids.insert(ids.end(), part.begin(), part.end());
}

std::vector<int32_t> BpeTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  // Where each special token comes next; the leftmost one is taken, of several there the longest.
  std::vector<size_t> next(specials_.size());
  for (size_t i = 0; i < specials_.size(); ++i) next[i] = text.find(specials_[i].content);
  size_t at = 0;
  while (true) {
    const Special* best = nullptr;
    size_t where = std::string_view::npos;
    for (size_t i = 0; i < specials_.size(); ++i) {
      const std::string& content = specials_[i].content;
      if (next[i] != std::string_view::npos && next[i] < at) next[i] = text.find(content, at);
      if (next[i] == std::string_view::npos) continue;
      if (!best || next[i] < where || (next[i] == where && content.size() > best->content.size())) {
        best = &specials_[i];
        where = next[i];
      }
    }
    if (!best) break;
    std::string_view section = text.substr(at, where - at);
    auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
    while (best->lstrip && !section.empty() && is_space(section.back())) section.remove_suffix(1);
    encode_section(section, ids);
    ids.push_back(best->id);
    at = where + best->content.size();
    while (best->rstrip && at < text.size() && is_space(text[at])) ++at;
  }
  encode_section(text.substr(at), ids);
  return ids;
}

std::string BpeTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (int32_t id : ids) {
    SORUS_CHECK(id >= 0 && id < vocab_size(), IndexError, "decode: token {} is outside the vocabulary of {}", id,
                vocab_size());
    text += tokens_[static_cast<size_t>(id)];
  }
  return text;
}

std::optional<int32_t> BpeTokenizer::token_id(std::string_view token) const {
  for (const Special& s : specials_)
    if (s.content == token) return s.id;
  auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace sorus::data
