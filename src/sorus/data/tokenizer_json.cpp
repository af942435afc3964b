// tokenizer.json: Hugging Face's file format, as far as GPT-2-like models use it. What would change the ids and is
// not understood is an error, not ignored.
#include <algorithm>

#include "sorus/base/files.h"
#include "sorus/base/text.h"
#include "sorus/data/tokenizer.h"
#include "sorus/io/json.h"

namespace sorus::data {
namespace {

using io::Json;
constexpr size_t kMaxFile = size_t{1} << 30;

bool stands_for_itself(unsigned c) {
  return (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255);
}

/// The bytes that a token's characters stand for.
std::string token_bytes(std::string_view spelled, const std::string& where) {
  static const std::unordered_map<char32_t, char> bytes = [] {
    std::unordered_map<char32_t, char> map;
    for (int b = 0; b < 256; ++b) map[byte_to_character(static_cast<unsigned char>(b))] = static_cast<char>(b);
    return map;
  }();
  std::string result;
  for (size_t at = 0; at < spelled.size();) {
    auto found = bytes.find(next_codepoint(spelled, at));
    SORUS_CHECK(found != bytes.end(), FileError, "{}: token {} has a character that stands for no byte", where,
                quote(spelled));
    result += found->second;
  }
  return result;
}

std::string spell(std::string_view bytes) {
  std::string result;
  for (char c : bytes) append_utf8(result, byte_to_character(static_cast<unsigned char>(c)));
  return result;
}

int32_t read_id(const Json& value, size_t limit, const std::string& where) {
  SORUS_CHECK(value.is_number_unsigned() && value.get<uint64_t>() < limit, FileError,
              "{}: expected an id below {}, found {}", where, limit, io::describe(value));
  return value.get<int32_t>();
}

void expect_type(const Json& root, const char* key, bool required, const std::string& file) {
  auto found = root.find(key);
  if (found == root.end() || found->is_null()) {
    SORUS_CHECK(!required, FileError, "{}: {}: expected ByteLevel, found none", file, key);
    return;
  }
  std::string type = io::string_member(*found, "type", file + ": " + key);
  SORUS_CHECK(type == "ByteLevel", FileError, "{}: {}: only ByteLevel is supported, found {}", file, key,
              quote(type));
}

std::pair<std::string, std::string> read_merge(const Json& merge, const std::string& where) {
  if (merge.is_string()) {
    std::string text = merge.get<std::string>();
    size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  }
  fail<FileError>("{}: expected a merge \"a b\" or [\"a\", \"b\"], found {}", where, io::describe(merge));
}

}  // namespace

char32_t byte_to_character(unsigned char byte) {
  if (stands_for_itself(byte)) return byte;
  char32_t c = 256;
  for (unsigned b = 0; b < byte; ++b) c += !stands_for_itself(b);
  return c;
}

std::shared_ptr<BpeTokenizer> BpeTokenizer::load(const std::filesystem::path& path) {
  std::string file = path.string();
  Json root = io::parse_json(read_file(path, kMaxFile), file);
  const Json& model = io::object_member(root, "model", file);
  std::string where = file + ": model";
  std::string type = model.contains("type") ? io::string_member(model, "type", where) : "BPE";
  SORUS_CHECK(type == "BPE", FileError, "{}: only BPE is supported, found {}", where, quote(type));
  for (const char* key : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"}) {
    auto found = model.find(key);
    bool absent = found == model.end() || found->is_null() || *found == "";
    // GPT-2's own files name an unknown token that byte-level encoding never needs.
    SORUS_CHECK(absent || std::string_view(key) == "unk_token", FileError, "{}: {} is not supported, found {}", where,
                key, io::describe(*found));
  }
  SORUS_CHECK(!io::bool_member(model, "byte_fallback", false, where), FileError, "{}: byte_fallback is not supported",
              where);
  SORUS_CHECK(!root.contains("normalizer") || root["normalizer"].is_null(), FileError,
              "{}: a normalizer is not supported", file);
  expect_type(root, "pre_tokenizer", true, file);
  expect_type(root, "decoder", false, file);
  expect_type(root, "post_processor", false, file);
  const Json& pre = root["pre_tokenizer"];
  SORUS_CHECK(io::bool_member(pre, "use_regex", true, file), FileError, "{}: pre_tokenizer: expected use_regex",
              file);

  const Json& vocab = io::object_member(model, "vocab", where);
  // Tokens are a dense array here: an id far beyond their number must not make it huge.
  size_t limit = std::min<size_t>(
      INT32_MAX, 2 * (vocab.size() + (root.contains("added_tokens") ? root["added_tokens"].size() : 0)) + 1024);

  std::vector<std::string> tokens;
  std::vector<bool> taken;
  auto place = [&](int32_t id, std::string bytes, const std::string& what) {
    auto i = static_cast<size_t>(id);
    if (i >= tokens.size()) tokens.resize(i + 1), taken.resize(i + 1);
    SORUS_CHECK(!taken[i], FileError, "{}: {}: the id {} is given twice", file, quote(what), id);
    taken[i] = true;
    tokens[i] = std::move(bytes);
  };

  std::vector<Special> specials;
  std::unordered_map<std::string, int32_t> special_ids;
  if (root.contains("added_tokens")) {
    for (const Json& added : io::array_member(root, "added_tokens", file)) {
      std::string entry = file + ": added_tokens";
      std::string content = io::string_member(added, "content", entry);
      auto is_number = [](const Json& v) { return v.is_number_unsigned(); };
      int32_t id = read_id(io::member(added, "id", "an id", is_number, entry), limit, entry);
      SORUS_CHECK(!content.empty(), FileError, "{}: a token without content", entry);
      SORUS_CHECK(!io::bool_member(added, "single_word", false, entry), FileError,
                  "{}: {}: single_word is not supported", entry, quote(content));
      place(id, content, content);
      special_ids[content] = id;
      specials.push_back({content, id, io::bool_member(added, "lstrip", false, entry),
                          io::bool_member(added, "rstrip", false, entry),
                          io::bool_member(added, "special", false, entry)});
    }
  }
  std::unordered_map<std::string, int32_t> ids;
  for (auto& [spelled, value] : vocab.items()) {
    int32_t id = read_id(value, limit, where + ": vocab " + quote(spelled));
    ids[spelled] = id;
    auto special = special_ids.find(spelled);
    if (special == special_ids.end()) {
      place(id, token_bytes(spelled, where), spelled);
    } else {
      SORUS_CHECK(special->second == id, FileError, "{}: {} is {} in vocab and {} in added_tokens", file,
                  quote(spelled), id, special->second);
    }
  }

  std::vector<Merge> merges;
  for (const Json& merge : io::array_member(model, "merges", where)) {
    std::pair<std::string, std::string> parts = read_merge(merge, where + ": merges");
    const std::string &left = parts.first, &right = parts.second;
    auto id = [&](const std::string& token) {
      auto found = ids.find(token);
      SORUS_CHECK(found != ids.end(), FileError, "{}: merge {} of {} and {} needs {}, which is not in the vocabulary",
                  where, merges.size(), quote(left), quote(right), quote(token));
      return found->second;
    };
    merges.push_back({id(left), id(right), id(left + right)});
  }
  try {
    return std::make_shared<BpeTokenizer>(std::move(tokens), std::move(merges), std::move(specials),
                                          io::bool_member(pre, "add_prefix_space", true, file),
                                          io::bool_member(model, "ignore_merges", false, where));
  } catch (const ValueError& e) {
    fail<FileError>("{}: {}", file, e.what());
  }
}

void BpeTokenizer::save(const std::filesystem::path& path) const {
  using Ordered = nlohmann::ordered_json;
  Ordered byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space_}, {"trim_offsets", true}, {"use_regex", true}};
  Ordered root = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  root["added_tokens"] = Ordered::array();
  std::unordered_map<int32_t, const Special*> special_at;
  for (const Special& s : specials_) {
    special_at[s.id] = &s;
    root["added_tokens"].push_back({{"id", s.id},
                                    {"content", s.content},
                                    {"single_word", false},
                                    {"lstrip", s.lstrip},
                                    {"rstrip", s.rstrip},
                                    {"normalized", false},
                                    {"special", s.special}});
  }
  root["normalizer"] = nullptr;
  root["pre_tokenizer"] = root["post_processor"] = root["decoder"] = byte_level;
  // Printed by hand: an ordered object would look every new key up among all before it.
  std::string vocab = "{", merges = "[";
  auto spelled = [&](int32_t id) {
    return Json(special_at.count(id) ? special_at[id]->content : spell(tokens_[static_cast<size_t>(id)])).dump();
  };
  for (int32_t id = 0; id < vocab_size(); ++id) {
    if (tokens_[static_cast<size_t>(id)].empty()) continue;
    vocab += fmt::format("{}{}:{}", vocab.size() > 1 ? "," : "", spelled(id), id);
  }
  for (const Merge& m : merges_) {
    merges += fmt::format("{}[{},{}]", merges.size() > 1 ? "," : "", spelled(m.left), spelled(m.right));
  }
  std::string text = root.dump();
  text.pop_back();
  text += fmt::format(
      R"(,"model":{{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,)"
      R"("end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":{},"vocab":{}}},"merges":{}]}}}})",
      ignore_merges_, vocab, merges);
  write_file(path, text);
}

std::shared_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  std::string file = path.string();
  std::string text = read_file(path, kMaxFile);
  // The two small kinds are written by simple_tokenizers.cpp.
  if (text.starts_with(R"({"sorus_tokenizer":)")) {
    Json root = io::parse_json(text, file);
    std::string kind = io::string_member(root, "sorus_tokenizer", file);
    if (kind == "bytes") return std::make_shared<ByteTokenizer>();
    SORUS_CHECK(kind == "characters", FileError, "{}: expected bytes or characters, found {}", file, quote(kind));
    return std::make_shared<CharTokenizer>(io::string_member(root, "characters", file));
  }
  return BpeTokenizer::load(path);
}

}  // namespace sorus::data
