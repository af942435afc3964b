#include "sorus/io/toml.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "io/mutate.h"
#include "sorus/base/files.h"

namespace sorus::io {
namespace {

using Kind = TomlValue::Kind;

TomlValue only(std::string_view value) { return *parse_toml(fmt::format("x = {}\n", value), "t").find("x"); }

std::string error_of(std::string_view text) {
  try {
    parse_toml(text, "t");
  } catch (const FileError& e) {
    return e.what();
  }
  return "no error";
}
void expect_error(std::string_view text, std::string_view message) {
  std::string found = error_of(text);
  EXPECT_NE(found.find(message), std::string::npos) << text << " gave: " << found;
}

TEST(Toml, Numbers) {
  EXPECT_EQ(only("1_000").integer, 1000);
  EXPECT_EQ(only("-9223372036854775808").integer, std::numeric_limits<int64_t>::min());
  EXPECT_EQ(only("+0").integer, 0);
  EXPECT_EQ(only("0xdead_beef").integer, 0xdeadbeef);
  EXPECT_EQ(only("0o17").integer, 15);
  EXPECT_EQ(only("0b101").integer, 5);
  EXPECT_EQ(only("1.5e+3").real, 1500);
  EXPECT_EQ(only("6e-2").real, 0.06);
  EXPECT_EQ(only("-0.0").number(), 0);
  EXPECT_EQ(only("-inf").real, -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(only("nan").real));
  EXPECT_TRUE(only("true").boolean);
  EXPECT_TRUE(only("3").is(Kind::integer) && only("3.0").is(Kind::real) && only("false").is(Kind::boolean));
  for (const char* bad : {"01", "1.", ".5",   "1._5", "1__0", "_1",  "1_",  "0x",  "0xg",  "-0x1",
                          "1e", "e5", "1.e5", "+",    "--1",  "0b2", "tru", "1 2", "True", "inff"})
    expect_error(fmt::format("x = {}", bad), "t:1: ");
  expect_error("x = 9223372036854775808", "does not fit into 64 bits");
  expect_error("x = 1e999", "does not fit into 64 bits");
  expect_error("x = 1979-05-27T07:32:00Z", "a date or a time");
  expect_error("x = 07:32:00", "a date or a time");
}

TEST(Toml, Texts) {
  EXPECT_EQ(only(R"("a\tb\u00e9\U0001F600\"\\")").string, "a\tb\xC3\xA9\xF0\x9F\x98\x80\"\\");
  EXPECT_EQ(only(R"('C:\n')").string, "C:\\n");
  EXPECT_EQ(only("\"\"\"\na\n  b\\\n   c\"\"\"\"\"").string, "a\n  bc\"\"");
  EXPECT_EQ(only("'''\r\na\r\nb'''").string, "a\nb");
  EXPECT_EQ(only("\"\"").string, "");
  expect_error("x = \"a\ny = 1", "the end of the line");
  expect_error("a = 1\nx = \"\"\"a\n\n", "t:2: the text that begins here does not end");
  expect_error(R"(x = "\q")", "no escape that there is");
  expect_error(R"(x = "\ud800")", "no escape that there is");
  expect_error(R"(x = "\u12")", "no escape that there is");
  expect_error(std::string_view("x = \"\0\"", 7), "control character");
  expect_error("a = 1\nx = \"\xff\"", "t:2: the text is not UTF-8");
  for (std::string_view text :
       {std::string_view("plain"), std::string_view("q\"\\\n\x7f \xC3\xA9"), std::string_view()})
    EXPECT_EQ(only(toml_quoted(text)).string, text);
}

TEST(Toml, TablesAndArrays) {
  TomlValue t = parse_toml(
      "# a comment\n"
      "a.b.c = 1\na.d = 2 # dotted\n"
      "\"quoted key\" = [1, [2, 3],\n  # inside\n  4,\n]\n"
      "[x.y]\nz = {p = 1, q.r = 'two'}\n"
      "[x]\nw = 3\n"
      "[[fruit]]\nname = 'apple'\n[fruit.colour]\nred = true\n[[fruit]]\nname = 'pear'\n",
      "t");
  EXPECT_EQ(t.find("a")->find("b")->find("c")->integer, 1);
  EXPECT_EQ(t.find("a")->find("d")->line, 3);
  EXPECT_EQ(t.find("quoted key")->items.size(), 3u);
  EXPECT_EQ(t.find("quoted key")->items[1].items[1].integer, 3);
  EXPECT_EQ(t.find("x")->find("y")->find("z")->find("q")->find("r")->string, "two");
  EXPECT_EQ(t.find("x")->find("w")->integer, 3);
  ASSERT_EQ(t.find("fruit")->items.size(), 2u);
  EXPECT_TRUE(t.find("fruit")->items[0].find("colour")->find("red")->boolean);
  EXPECT_EQ(t.find("fruit")->items[1].find("name")->string, "pear");
  EXPECT_EQ(t.find("nothing"), nullptr);
  EXPECT_TRUE(parse_toml("", "t").members.empty());
}

TEST(Toml, WhatIsDefinedTwiceIsAnError) {
  for (const char* bad : {"a = 1\na = 2", "a.b = 1\na.b = 2", "[a]\n[a]", "[a]\nb = 1\n[a.b]", "[[a]]\n[a]",
                          "a = []\n[[a]]", "a = {b = 1}\n[a.c]", "a = {b = 1}\na.c = 2", "[a.b]\n[a]\nb.c = 1",
                          "a = {b = 1, b = 2}", "a = 1\na.b = 2", "[a]\nb.c = 1\n[a.b]"})
    EXPECT_NE(error_of(bad), "no error") << bad;
}

TEST(Toml, WhatIsNoTomlIsAnErrorWithItsLine) {
  expect_error("\n[a", "t:2: expected ] behind the name of a table, found the end of the file");
  expect_error("[,[a]]", "expected a key, found ','");
  expect_error("a", "expected = behind a key");
  expect_error("a = ", "expected a value, found the end of the file");
  expect_error("a = [1 2]", "expected , or ] in an array, found '2'");
  expect_error("a = {b = 1,}", "expected a key");
  expect_error("a = 1 b = 2", "expected the end of the line, found 'b'");
  expect_error("[[a]\n", "expected ]]");
  expect_error("a = 1\r", "expected the end of the line");
  expect_error("\"\"\"a\"\"\" = 1", "several lines");
  expect_error("a = " + std::string(100000, '['), "nested more than 100 times");
  std::string deep = "a";
  for (int i = 0; i < 200; ++i) deep += ".a";
  expect_error(deep + " = 1", "more than 100 parts");
}

TEST(Toml, MutatedFilesAreErrorsOrValues) {
  test::mutate(
      "a = 1_0\nb.c = \"x\\u0041\"\n[d]\ne = [1.5, {f = true}]\n[[g]]\nh = '''\nx'''\n[[g]]\n",
      [](const std::filesystem::path& path) { parse_toml(read_file(path), path.string()); }, 2000);
}

}  // namespace
}  // namespace sorus::io
