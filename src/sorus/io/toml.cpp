#include "sorus/io/toml.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "sorus/base/error.h"
#include "sorus/base/text.h"

namespace sorus::io {
namespace {

using Kind = TomlValue::Kind;
using Origin = TomlValue::Origin;
using Key = std::vector<std::string>;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_bare(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  TomlValue document() {
    size_t valid = valid_utf8_prefix(text_);
    if (valid != text_.size()) {
      line_ += static_cast<int>(std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(valid), '\n'));
      wrong("the text is not UTF-8");
    }
    TomlValue root;
    TomlValue* current = &root;
    for (;;) {
      skip_lines();
      if (at_end()) return root;
      if (peek() == '[')
        current = &header(root);
      else
        pair(*current);
      end_of_line();
    }
  }

 private:
  static constexpr int kMostDepth = 100;

  bool at_end() const { return at_ == text_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool starts(std::string_view s) const { return text_.substr(at_).starts_with(s); }
  bool take(std::string_view s) {
    if (!starts(s)) return false;
    at_ += s.size();
    return true;
  }

  template <class... Args>
  [[noreturn]] void wrong(fmt::format_string<Args...> format, Args&&... args) const {
    fail<FileError>("{}:{}: {}", file_, line_, fmt::format(format, std::forward<Args>(args)...));
  }
  std::string found() const {
    if (at_end()) return "the end of the file";
    if (peek() == '\n' || starts("\r\n")) return "the end of the line";
    size_t end = at_;
    next_codepoint(text_, end);
    return quote(text_.substr(at_, end - at_));
  }

  // ---- what stands between values

  void skip_spaces() {
    while (!at_end() && (peek() == ' ' || peek() == '\t')) ++at_;
  }
  void skip_comment() {
    if (peek() != '#') return;
    while (!at_end() && peek() != '\n' && !starts("\r\n")) {
      if (is_control(peek())) wrong("a comment has the control character {}", found());
      ++at_;
    }
  }
  bool take_newline() {
    if (!take("\n") && !take("\r\n")) return false;
    ++line_;
    return true;
  }
  void skip_lines() {
    do {
      skip_spaces();
      skip_comment();
    } while (take_newline());
  }
  void end_of_line() {
    skip_spaces();
    skip_comment();
    if (!at_end() && !take_newline()) wrong("expected the end of the line, found {}", found());
  }
  static bool is_control(char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; }

  // ---- keys and tables

  Key key() {
    Key parts;
    do {
      skip_spaces();
      if (peek() == '"' || peek() == '\'') {
        if (starts("\"\"\"") || starts("'''")) wrong("a key cannot have several lines");
        parts.push_back(string());
      } else {
        size_t begin = at_;
        while (!at_end() && is_bare(peek())) ++at_;
        if (at_ == begin) wrong("expected a key, found {}", found());
        parts.emplace_back(text_.substr(begin, at_ - begin));
      }
      if (parts.size() > kMostDepth) wrong("a key has more than {} parts", kMostDepth);
      skip_spaces();
    } while (take("."));
    return parts;
  }

  TomlValue& add(TomlValue& table, const std::string& name, Kind kind, Origin origin) {
    TomlValue& v = table.members.emplace_back(TomlMember{name, {}}).value;
    v.kind = kind, v.origin = origin, v.line = line_;
    return v;
  }

  // The table that [a.b] or the last of [[a.b]] names.
  TomlValue& header(TomlValue& root) {
    bool one_of_many = take("[[");
    if (!one_of_many) take("[");
    Key path = key();
    if (!take(one_of_many ? "]]" : "]"))
      wrong("expected {} behind the name of a table, found {}", one_of_many ? "]]" : "]", found());
    TomlValue* t = &root;
    for (size_t i = 0; i + 1 < path.size(); ++i) {
      TomlValue* m = t->find(path[i]);
      if (!m) m = &add(*t, path[i], Kind::table, Origin::implied);
      bool many = m->is(Kind::array) && m->origin == Origin::header;
      if (!many && (!m->is(Kind::table) || m->origin == Origin::value))
        wrong("{} is a value, to which no table can be added", quote(path[i]));
      t = many ? &m->items.back() : m;
    }
    TomlValue* m = t->find(path.back());
    if (one_of_many) {
      if (!m) m = &add(*t, path.back(), Kind::array, Origin::header);
      if (!m->is(Kind::array) || m->origin != Origin::header) wrong("{} is there already", quote(path.back()));
      TomlValue& last = m->items.emplace_back();
      last.origin = Origin::header, last.line = line_;
      return last;
    }
    if (!m) return add(*t, path.back(), Kind::table, Origin::header);
    if (!m->is(Kind::table) || m->origin != Origin::implied) wrong("{} is there already", quote(path.back()));
    m->origin = Origin::header, m->line = line_;
    return *m;
  }

  // a.b = value
  void pair(TomlValue& table) {
    int line = line_;
    Key path = key();
    if (!take("=")) wrong("expected = behind a key, found {}", found());
    TomlValue* t = &table;
    for (size_t i = 0; i + 1 < path.size(); ++i) {
      TomlValue* m = t->find(path[i]);
      if (!m) m = &add(*t, path[i], Kind::table, Origin::dotted);
      if (!m->is(Kind::table) || m->origin != Origin::dotted) wrong("{} is there already", quote(path[i]));
      t = m;
    }
    if (t->find(path.back())) wrong("{} is given twice", quote(path.back()));
    TomlValue v = value();
    v.line = line;
    t->members.push_back({path.back(), std::move(v)});
  }

  // ---- values

  TomlValue value() {
    skip_spaces();
    TomlValue v;
    v.line = line_;
    char c = peek();
    if (c == '"' || c == '\'') {
      v.kind = Kind::string;
      v.string = string();
    } else if (c == '[' || c == '{') {
      if (++depth_ > kMostDepth) wrong("values are nested more than {} times", kMostDepth);
      c == '[' ? array(v) : inline_table(v);
      --depth_;
    } else if (take("true") || take("false")) {
      v.kind = Kind::boolean;
      v.boolean = c == 't';
    } else {
      number(v);
    }
    return v;
  }

  void array(TomlValue& v) {
    v.kind = Kind::array;
    take("[");
    for (;;) {
      skip_lines();
      if (take("]")) return;
      v.items.push_back(value());
      skip_lines();
      if (take("]")) return;
      if (!take(",")) wrong("expected , or ] in an array, found {}", found());
    }
  }

  void inline_table(TomlValue& v) {
    take("{");
    skip_spaces();
    if (take("}")) return;
    for (;;) {
      pair(v);
      skip_spaces();
      if (take("}")) return;
      if (!take(",")) wrong("expected , or }} in a table, found {}", found());
    }
  }

  // 1_000, 0xff, -1e3, inf.
  void number(TomlValue& v) {
    size_t begin = at_;
    while (!at_end() && (is_bare(peek()) || peek() == '+' || peek() == '.' || peek() == ':')) ++at_;
    std::string_view word = text_.substr(begin, at_ - begin), digits = word;
    if (word.empty()) wrong("expected a value, found {}", found());
    bool minus = digits[0] == '-', sign = minus || digits[0] == '+';
    if (sign) digits.remove_prefix(1);
    if (!sign && ((word.size() > 4 && word[4] == '-' && std::all_of(word.begin(), word.begin() + 4, is_digit)) ||
                  (word.size() > 2 && word[2] == ':')))
      wrong("{} is a date or a time, which have no place here", quote(word));
    if (digits == "inf" || digits == "nan") {
      v.kind = Kind::real;
      v.real = digits == "inf" ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
      if (minus) v.real = -v.real;
      return;
    }
    int base = sign                       ? 10
               : digits.starts_with("0x") ? 16
               : digits.starts_with("0o") ? 8
               : digits.starts_with("0b") ? 2
                                          : 10;
    if (base != 10) digits.remove_prefix(2);
    std::string plain = without_underscores(digits, word, base);
    bool real = base == 10 && plain.find_first_of(".eE") != plain.npos;
    if (base == 10) {
      size_t whole = plain.find_first_not_of("0123456789");
      if (whole == plain.npos) whole = plain.size();
      if (whole == 0 || (whole > 1 && plain[0] == '0')) wrong("{} is not a value", quote(word));
      size_t point = plain.find('.');
      if (point != plain.npos && (point != whole || point + 1 == plain.size() || !is_digit(plain[point + 1])))
        wrong("{} is not a value: a point stands between digits", quote(word));
    }
    if (minus) plain.insert(plain.begin(), '-');
    const char *first = plain.data(), *last = first + plain.size();
    std::from_chars_result read{};
    if (real) {
      v.kind = Kind::real;
      read = std::from_chars(first, last, v.real);
    } else {
      v.kind = Kind::integer;
      read = std::from_chars(first, last, v.integer, base);
    }
    if (read.ec == std::errc::result_out_of_range) wrong("{} does not fit into 64 bits", quote(word));
    if (read.ec != std::errc{} || read.ptr != last) wrong("{} is not a value", quote(word));
  }

  // Underscores stand between digits.
  std::string without_underscores(std::string_view digits, std::string_view word, int base) const {
    auto digit = [&](size_t i) {
      if (i >= digits.size()) return false;
      char c = digits[i];
      return is_digit(c) || (base == 16 && ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')));
    };
    std::string out;
    for (size_t i = 0; i < digits.size(); ++i) {
      if (digits[i] != '_')
        out += digits[i];
      else if (i == 0 || !digit(i - 1) || !digit(i + 1))
        wrong("{} is not a value: underscores stand between digits", quote(word));
    }
    return out;
  }

  // ---- strings

  std::string string() {
    char mark = peek();
    bool escapes = mark == '"', lines = starts(escapes ? "\"\"\"" : "'''");
    std::string end(lines ? 3 : 1, mark), out;
    int first = line_;
    take(end);
    if (lines) take_newline();
    for (;;) {
      if (at_end()) {
        line_ = first;
        wrong("the text that begins here does not end");
      }
      if (take(end)) {
        // Up to two more marks belong to the text.
        for (int i = 0; lines && i < 2 && peek() == mark; ++i) out += mark, ++at_;
        return out;
      }
      if (lines && (peek() == '\n' || starts("\r\n"))) {
        take_newline();
        out += '\n';
      } else if (is_control(peek())) {
        wrong("text has {}",
              peek() == '\n' || peek() == '\r' ? "the end of the line" : "the control character " + found());
      } else if (escapes && take("\\")) {
        escape(lines, out);
      } else {
        out += text_[at_++];
      }
    }
  }

  void escape(bool lines, std::string& out) {
    static constexpr std::string_view kLetters = "btnfr\"\\", kMeanings = "\b\t\n\f\r\"\\";
    if (lines) {  // at the end of a line it takes away what is white up to the next character
      size_t ahead = 0;
      while (peek(ahead) == ' ' || peek(ahead) == '\t') ++ahead;
      if (peek(ahead) == '\n' || text_.substr(at_ + ahead).starts_with("\r\n")) {
        at_ += ahead;
        while (take_newline()) skip_spaces();
        return;
      }
    }
    char c = at_end() ? '\0' : text_[at_++];
    size_t place = kLetters.find(c);
    if (c != '\0' && place != kLetters.npos) {
      out += kMeanings[place];
      return;
    }
    size_t count = c == 'u' ? 4 : c == 'U' ? 8 : 0;
    uint32_t code = 0;
    std::string_view digits = text_.substr(at_, count);
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    bool whole = count > 0 && digits.size() == count && error == std::errc{} && end == digits.data() + count;
    if (!whole || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
      wrong("{} is no escape that there is", quote(std::string("\\") + c + std::string(digits)));
    at_ += count;
    append_utf8(out, code);
  }

  std::string_view text_;
  const std::string& file_;
  size_t at_ = 0;
  int line_ = 1, depth_ = 0;
};

}  // namespace

const TomlValue* TomlValue::find(std::string_view key) const {
  for (const auto& [name, value] : members)
    if (name == key) return &value;
  return nullptr;
}
TomlValue* TomlValue::find(std::string_view key) { return const_cast<TomlValue*>(std::as_const(*this).find(key)); }

std::string toml_quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\')
      out += '\\', out += c;
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out + '"';
}

TomlValue parse_toml(std::string_view text, const std::string& file) { return Parser(text, file).document(); }

}  // namespace sorus::io
