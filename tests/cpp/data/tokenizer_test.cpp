// The ids below marked "reference" were made by the `tokenizers` library from the same file.
#include "sorus/data/tokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "io/temporary_folder.h"
#include "sorus/base/error.h"
#include "sorus/base/files.h"
#include "sorus/base/text.h"
#include "sorus/data/word_splitter.h"

namespace sorus::data {
namespace {

using test::error_of;
using test::put;
using test::TemporaryFolder;
using Ids = std::vector<int32_t>;

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  WordSplitter splitter(text);
  for (std::string_view word; splitter.next(word);) words.emplace_back(word);
  return words;
}
std::shared_ptr<BpeTokenizer> trained(std::string_view text, int64_t vocab, std::vector<std::string> special = {}) {
  return BpeTokenizer::train(std::span(&text, 1), {.vocab_size = vocab, .special_tokens = std::move(special)});
}
std::string random_text(size_t characters, unsigned seed) {
  std::u32string alphabet = U"  \n\t\u00a0\u180e\u3000'sdtlvremäßñ漢字かな12٣²½😀.,!-_\u0301";
  std::mt19937 random(seed);
  std::string text;
  for (size_t i = 0; i < characters; ++i) append_utf8(text, alphabet[random() % alphabet.size()]);
  return text;
}

TEST(WordSplitter, CutsAsGpt2) {
  EXPECT_EQ(words_of("Hello, it's  12 \n\n dogs!"),
            (std::vector<std::string>{"Hello", ",", " it", "'s", " ", " 12", " \n\n", " dogs", "!"}));
  EXPECT_EQ(words_of("a \xFF\xFE b"), (std::vector<std::string>{"a", " ", "\xFF", "\xFE", " b"}));
  EXPECT_EQ(words_of("x   "), (std::vector<std::string>{"x", "   "}));
  EXPECT_EQ(words_of("a\u180e"), (std::vector<std::string>{"a", "\u180e"}));
}

TEST(WordSplitter, SafeCutsDoNotChangeWords) {
  std::string text = random_text(5000, 3);
  auto whole = words_of(text);
  for (size_t from = 1; from < 2000; from += 37) {
    size_t cut = WordSplitter::safe_cut(text, from);
    auto parts = words_of(std::string_view(text).substr(0, cut));
    auto rest = words_of(std::string_view(text).substr(cut));
    parts.insert(parts.end(), rest.begin(), rest.end());
    EXPECT_EQ(parts, whole);
  }
}

TEST(Bpe, TrainsTheMostFrequentPairsAsTheReference) {
  auto t = trained("hello world hello", 262, {"<|endoftext|>"});
  // Reference: el 257, hel 258, lo 259, hello 260; with min_frequency 2 nothing more.
  EXPECT_EQ(t->vocab_size(), 261);
  EXPECT_EQ(t->token_id("hello"), 260);
  EXPECT_EQ(t->encode("hello"), (Ids{260}));
  EXPECT_EQ(t->encode("hello<|endoftext|>!"), (Ids{260, 0, 1}));
  EXPECT_EQ(t->decode(Ids{0, 260, 1}), "<|endoftext|>hello!");
  EXPECT_EQ(error_of<ValueError>([&] { trained("x", 10); }).find("BpeTokenizer.train: expected a vocabulary"), 0u);
}

TEST(Bpe, EveryTextAndEveryByteComesBack) {
  auto t = trained(random_text(20000, 1), 600, {"<|endoftext|>", "<|end"});
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  for (const std::string& text : {std::string(), bytes, random_text(3000, 2), std::string(20000, 'a'),
                                  std::string("<|end<|endoftext|>|>"), random_text(400000, 4)}) {
    EXPECT_EQ(t->decode(t->encode(text)), text);
  }
  EXPECT_EQ(t->encode("<|endoftext|>").size(), 1u);  // the longest special token
  EXPECT_THROW(t->decode(Ids{600}), IndexError);
}

TEST(Bpe, ThreadsDoNotChangeTheIds) {
  auto t = trained(random_text(20000, 1), 500);
  std::string line = random_text(200, 5) + "x\n", text;
  while (text.size() < 2'000'000) text += line;
  Ids whole = t->encode(text), one = t->encode(line);
  Ids expected;
  for (size_t i = 0; i < text.size(); i += line.size()) expected.insert(expected.end(), one.begin(), one.end());
  // Lines end where words do if the next begins with a letter; else the comparison of the text has to do.
  EXPECT_EQ(t->decode(whole), t->decode(expected));
}

TEST(Bpe, FilesRoundTrip) {
  TemporaryFolder folder;
  auto t = trained(random_text(20000, 1), 700, {"<|endoftext|>"});
  t->save(folder / "tokenizer.json");
  auto same = load_tokenizer(folder / "tokenizer.json");
  std::string text = random_text(3000, 9) + "<|endoftext|>";
  EXPECT_EQ(same->encode(text), t->encode(text));
  EXPECT_EQ(same->vocab_size(), 700);
}

std::string small_file(const std::string& merges, const std::string& extra = "") {
  return R"({"added_tokens":[{"id":4,"content":"<e>","special":true}],"normalizer":null,)"
         R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true},"decoder":{"type":"ByteLevel"},)" +
         extra + R"("model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"Ġ":3},"merges":)" + merges + "}}";
}

TEST(Bpe, ReadsMergesAsStringsAndAsPairs) {
  TemporaryFolder folder;
  for (std::string merges : {R"(["a b"])", R"([["a","b"]])"}) {
    put(folder / "t", small_file(merges));
    auto t = load_tokenizer(folder / "t");
    EXPECT_EQ(t->encode("abba<e>a"), (Ids{3, 2, 1, 0, 4, 3, 0}));  // reference, with add_prefix_space
    EXPECT_EQ(error_of<ValueError>([&] { t->encode("abc"); }).find("encode: byte 0x63"), 0u);
  }
}

TEST(Bpe, HostileFiles) {
  TemporaryFolder folder;
  std::pair<std::string, const char*> cases[] = {
      {"", "malformed JSON"},
      {"[]", "expected an object"},
      {"{}", "'model' is missing"},
      {R"({"model":{"type":"Unigram"}})", "only BPE is supported, found 'Unigram'"},
      {small_file("3"), "'merges': expected an array, found the number 3"},
      {small_file(R"(["a"])"), "expected a merge"},
      {small_file(R"(["b a"])"), "needs 'ba', which is not in the vocabulary"},
      {small_file("[]", R"("post_processor":{"type":"TemplateProcessing"},)"), "only ByteLevel is supported"},
      {R"({"pre_tokenizer":{"type":"ByteLevel"},"model":{"vocab":{"a":0,"b":0},"merges":[]}})", "given twice"},
      {R"({"pre_tokenizer":{"type":"ByteLevel"},"model":{"vocab":{"a":-1},"merges":[]}})", "expected an id"},
      {R"({"pre_tokenizer":{"type":"ByteLevel"},"model":{"vocab":{"a":16000000},"merges":[]}})",
       "expected an id below 1026"},
      {R"({"pre_tokenizer":{"type":"ByteLevel"},"model":{"vocab":{"€":0},"merges":[]}})", "stands for no byte"},
  };
  for (auto& [content, expected] : cases) {
    put(folder / "t", content);
    std::string message = error_of<FileError>([&] { load_tokenizer(folder / "t"); });
    EXPECT_TRUE(message.starts_with((folder / "t").string())) << message;
    EXPECT_NE(message.find(expected), std::string::npos) << message << "\nexpected: " << expected;
  }
}

TEST(Fuzz, TokenizerJson) {
  TemporaryFolder folder;
  std::string valid = small_file(R"(["a b"])");
  std::mt19937 random(1);
  for (int round = 0; round < 4000; ++round) {
    std::string s = valid;
    for (int n = 1 + static_cast<int>(random() % 3); n > 0; --n) {
      size_t at = random() % s.size();
      if (random() % 2) {
        s[at] = static_cast<char>(random());
      } else {
        s.erase(at, 1 + random() % 6);
      }
    }
    put(folder / "t", s);
    try {
      load_tokenizer(folder / "t")->encode("ab");
    } catch (const FileError&) {
    } catch (const ValueError&) {
    }
  }
}

TEST(SimpleTokenizers, RoundTrip) {
  TemporaryFolder folder;
  CharTokenizer characters("hällo");
  EXPECT_EQ(characters.encode("ohä"), (Ids{2, 0, 3}));
  EXPECT_EQ(characters.decode(Ids{2, 0, 3}), "ohä");
  EXPECT_EQ(characters.token_id("l"), 1);
  EXPECT_NE(error_of<ValueError>([&] { characters.encode("hx"); }).find("'x' at byte 1"), std::string::npos);
  characters.save(folder / "c");
  EXPECT_EQ(load_tokenizer(folder / "c")->encode("ohä"), (Ids{2, 0, 3}));
  ByteTokenizer bytes;
  bytes.save(folder / "b");
  EXPECT_EQ(load_tokenizer(folder / "b")->decode(bytes.encode("a\xFF")), "a\xFF");
}

}  // namespace
}  // namespace sorus::data
