#include "sorus/base/files.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "io/temporary_folder.h"
#include "sorus/base/text.h"

namespace sorus {
namespace {

using test::error_of;
using test::TemporaryFolder;

size_t count_files(const std::filesystem::path& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

TEST(Files, WritesAndReads) {
  TemporaryFolder folder;
  std::string big(300'000, 'x');
  write_file(folder / "a", "hello " + big);
  EXPECT_EQ(read_file(folder / "a"), "hello " + big);
  auto mapped = MappedFile::open(folder / "a");
  EXPECT_EQ(mapped->text(), "hello " + big);
  write_file(folder / "empty", "");
  EXPECT_EQ(MappedFile::open(folder / "empty")->bytes().size(), 0u);
  EXPECT_EQ(count_files(folder.path()), 2u);
}

TEST(Files, MappedFileIsPrivate) {
  TemporaryFolder folder;
  write_file(folder / "a", "abc");
  auto mapped = MappedFile::open(folder / "a");
  mapped->bytes()[0] = std::byte{'z'};
  EXPECT_EQ(mapped->text(), "zbc");
  EXPECT_EQ(read_file(folder / "a"), "abc");
}

TEST(Files, WithoutCommitTheOlderFileStays) {
  TemporaryFolder folder;
  write_file(folder / "a", "old");
  {
    AtomicWriter out(folder / "a");
    out.write("new");
    EXPECT_EQ(read_file(folder / "a"), "old");
  }
  EXPECT_EQ(read_file(folder / "a"), "old");
  EXPECT_EQ(count_files(folder.path()), 1u);
}

TEST(Files, AFullDiskKeepsTheOlderFile) {
  TemporaryFolder folder;
  write_file(folder / "a", "old");
  // A limit on the size of files fails as a full disk does, without one.
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{100'000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  std::string message = error_of<FileError>([&] { write_file(folder / "a", std::string(1'000'000, 'x')); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(message.starts_with((folder / "a").string() + ": cannot write")) << message;
  EXPECT_EQ(read_file(folder / "a"), "old");
  EXPECT_EQ(count_files(folder.path()), 1u);
}

TEST(Files, ErrorsNameThePath) {
  TemporaryFolder folder;
  EXPECT_NE(error_of<FileError>([&] { read_file(folder / "none"); }).find("none: cannot open"), std::string::npos);
  EXPECT_NE(error_of<FileError>([&] { MappedFile::open(folder.path()); }).find("found a folder"), std::string::npos);
  EXPECT_THROW(write_file(folder / "no/such", "x"), FileError);
}

TEST(Text, Utf8) {
  EXPECT_TRUE(is_valid_utf8("aä€😀 and a longer line of plain text"));
  EXPECT_FALSE(is_valid_utf8("\xC0\x80"));          // overlong
  EXPECT_FALSE(is_valid_utf8("\xED\xA0\x80"));      // surrogate
  EXPECT_FALSE(is_valid_utf8("\xF4\x90\x80\x80"));  // beyond U+10FFFF
  EXPECT_FALSE(is_valid_utf8("abc\xE2\x82"));
  EXPECT_EQ(sanitize_utf8("a\xFFz"), "a\xEF\xBF\xBDz");
  for (char32_t c : {U'a', U'ä', U'€', U'😀'}) {
    std::string s;
    append_utf8(s, c);
    size_t at = 0;
    EXPECT_EQ(next_codepoint(s, at), c);
    EXPECT_EQ(at, s.size());
  }
}

TEST(Text, ForMessages) {
  EXPECT_EQ(quote("a\nb\x01"), "'a\\nb\\x01'");
  EXPECT_EQ(abbreviated_list(std::vector<std::string>{"a", "b", "c", "d", "e", "f"}), "a, b, c, d and 2 more");
  EXPECT_EQ(human_bytes(1'500'000), "1.5 MB");
  EXPECT_EQ(human_bytes(12), "12 B");
}

TEST(Text, ContentHashSeesEveryByte) {
  std::string text(100, 'a');
  ContentHash first = content_hash(text);
  EXPECT_EQ(first, content_hash(text));
  EXPECT_NE(first, content_hash(text, 1));
  for (size_t i = 0; i < text.size(); ++i) {
    std::string other = text;
    other[i] = 'b';
    EXPECT_NE(first, content_hash(other));
  }
  EXPECT_NE(content_hash("a"), content_hash(std::string_view("a\0", 2)));
}

}  // namespace
}  // namespace sorus
