#include "sorus/data/corpus.h"

#include <gtest/gtest.h>

#include <set>

#include "io/temporary_folder.h"
#include "sorus/data/dataset.h"
#include "sorus/data/text.h"

namespace sorus::data {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::put;
using test::TemporaryFolder;

std::set<std::string> names(const std::vector<CorpusFile>& files) {
  std::set<std::string> result;
  for (auto& f : files) result.insert(f.path.filename().string());
  return result;
}
void fill(const fs::path& folder, int files) {
  fs::create_directories(folder);
  for (int i = 0; i < files; ++i) put(folder / fmt::format("{}.txt", i), fmt::format("text number {}", i));
}

TEST(Corpus, TakesTextOnceAndLeavesTheRest) {
  TemporaryFolder folder;
  fill(folder.path() / "a", 20);
  fill(folder.path() / "b", 25);
  fill(folder.path() / "site-packages", 40);
  put(folder / "a/x.bin", "not wanted");
  put(folder / "a/zero.txt", std::string_view("a\0b", 3));
  put(folder / "a/empty.txt", "");
  Corpus corpus = gather_corpus({folder.path()});
  EXPECT_EQ(corpus.train.size() + corpus.validation.size(), 25u);
  EXPECT_EQ(corpus.duplicates, 20);
  EXPECT_EQ(corpus.binary, 2);
  EXPECT_FALSE(corpus.validation.empty());
  EXPECT_EQ(gather_corpus({folder / "a/x.bin"}).train.size(), 1u);  // asked for by name
}

TEST(Corpus, SplitDependsOnContentOnly) {
  TemporaryFolder one, two;
  fill(one.path(), 200);
  fill(two.path() / "deeper", 200);
  fill(two.path() / "more" / "again", 300);
  Corpus a = gather_corpus({one.path()}), b = gather_corpus({two.path()});
  EXPECT_NEAR(static_cast<double>(a.validation.size()), 20, 15);
  auto before = names(a.validation), after = names(b.validation);
  for (auto& name : before) EXPECT_TRUE(after.contains(name)) << name;
  EXPECT_NE(names(gather_corpus({one.path()}, {.seed = 1}).validation), before);
}

TEST(Corpus, SmallOnesAndErrors) {
  TemporaryFolder folder;
  fill(folder.path() / "two", 2);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Corpus corpus = gather_corpus({folder / "two"}, {.seed = seed});
    EXPECT_EQ(corpus.train.size(), 1u);
    EXPECT_EQ(corpus.validation.size(), 1u);
  }
  fs::create_directories(folder / "none");
  EXPECT_NE(error_of<FileError>([&] { gather_corpus({folder / "none"}); }).find("no text to train on"),
            std::string::npos);
  EXPECT_NE(error_of<FileError>([&] { gather_corpus({folder / "absent"}); }).find("no such file"), std::string::npos);
  EXPECT_THROW(gather_corpus({folder / "two"}, {.validation = 1}), ValueError);
}

TEST(Corpus, TokensAreEncodedOnce) {
  TemporaryFolder folder;
  put(folder / "a.txt", "abc");
  put(folder / "b.txt", "de");
  Corpus corpus = gather_corpus({folder.path()}, {.validation = 0});
  ByteTokenizer bytes;
  Tensor tokens = encode_files(bytes, corpus.train, folder / "cache", 0);
  EXPECT_EQ(std::vector<int32_t>(tokens.data<int32_t>(), tokens.data<int32_t>() + tokens.numel()),
            (std::vector<int32_t>{'a', 'b', 'c', 0, 'd', 'e', 0}));
  auto entries = [&] { return std::distance(fs::directory_iterator(folder / "cache"), fs::directory_iterator()); };
  EXPECT_EQ(entries(), 1);
  encode_files(bytes, corpus.train, folder / "cache", 0);
  EXPECT_EQ(entries(), 1);
  encode_files(CharTokenizer("abcde"), corpus.train, folder / "cache");
  EXPECT_EQ(entries(), 2);
  EXPECT_EQ(TextDataset(tokens, 3).size(), 2);
  for (auto& entry : fs::directory_iterator(folder / "cache")) put(entry.path(), "broken");
  EXPECT_THROW(encode_files(bytes, corpus.train, folder / "cache", 0), FileError);
}

TEST(Text, TokenizerAndTokensAreMadeOnce) {
  TemporaryFolder folder;
  fill(folder.path() / "text", 20);
  TextOptions options{.vocab_size = 262, .cache_folder = folder / "cache"};
  TextData text = load_text({folder / "text"}, options);
  EXPECT_EQ(text.tokenizer->vocab_size(), 262);
  EXPECT_EQ(*text.tokenizer->token_id("<|endoftext|>"), text.train.data<int32_t>()[text.train.numel() - 1]);
  auto entries = [&] { return std::distance(fs::directory_iterator(folder / "cache"), fs::directory_iterator()); };
  EXPECT_EQ(entries(), 3);  // the tokenizer, the tokens of both parts
  EXPECT_EQ(load_text({folder / "text"}, options).train.numel(), text.train.numel());
  EXPECT_EQ(entries(), 3);
  options.tokenizer = std::make_shared<ByteTokenizer>();
  int64_t bytes = 0;
  for (auto& f : text.corpus.train) bytes += static_cast<int64_t>(f.text().size());
  EXPECT_EQ(load_text({folder / "text"}, options).train.numel(), bytes);
  options.corpus.validation = 0;
  EXPECT_FALSE(load_text({folder / "text"}, options).validation.defined());
}

}  // namespace
}  // namespace sorus::data
