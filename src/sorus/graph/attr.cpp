#include "sorus/graph/attr.h"

#include <fmt/ranges.h>

#include <charconv>
#include <cmath>

namespace sorus {
namespace {

std::string print_real(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  std::string s = fmt::format("{}", v);  // the shortest text that reads back to the same number
  if (s.find_first_of(".e") == std::string::npos) s += ".0";
  return s;
}

double parse_real(std::string_view text) {
  double v = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  SORUS_CHECK(error == std::errc() && end == text.data() + text.size(), ValueError, "'{}' is not a number", text);
  return v;
}

std::vector<std::string_view> split_list(std::string_view inside) {
  std::vector<std::string_view> items;
  while (!inside.empty()) {
    size_t comma = inside.find(',');
    std::string_view item = inside.substr(0, comma);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
    if (!item.empty()) items.push_back(item);
    if (comma == std::string_view::npos) break;
    inside.remove_prefix(comma + 1);
  }
  return items;
}

}  // namespace

std::string Attr::to_string() const {
  struct Printer {
    std::string operator()(std::monostate) const { return "none"; }
    std::string operator()(const Scalar& s) const {
      switch (s.kind()) {
        case Scalar::Kind::boolean:
          return s.to_bool() ? "true" : "false";
        case Scalar::Kind::integer:
          return fmt::format("{}", s.to_int());
        case Scalar::Kind::real:
          return print_real(s.to_double());
        default:
          return fmt::format("complex({}, {})", print_real(s.to_complex().real()), print_real(s.to_complex().imag()));
      }
    }
    std::string operator()(const Shape& v) const { return sorus::to_string(v); }
    std::string operator()(const std::vector<double>& v) const {
      std::vector<std::string> items;
      for (double d : v) items.push_back(print_real(d));
      return fmt::format("[{}{}]", fmt::join(items, ", "), items.empty() ? ".0" : "");
    }
    std::string operator()(DType t) const { return std::string(short_name(t)); }
    std::string operator()(const std::string& s) const {
      std::string out = "\"";
      for (char c : s) {
        if (c == '"' || c == '\\') out += '\\';
        if (c == '\n') {
          out += "\\n";
          continue;
        }
        out += c;
      }
      return out + "\"";
    }
  };
  return std::visit(Printer{}, v_);
}

Attr Attr::parse(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  SORUS_CHECK(!text.empty(), ValueError, "an attribute is missing");
  if (text == "none" || text == "None") return {};
  if (text == "true" || text == "True") return Attr(true);
  if (text == "false" || text == "False") return Attr(false);
  if (text.front() == '"' || text.front() == '\'') {
    SORUS_CHECK(text.size() >= 2 && text.back() == text.front(), ValueError, "the string {} does not end", text);
    std::string s;
    for (size_t i = 1; i + 1 < text.size(); ++i) {
      if (text[i] == '\\' && i + 2 < text.size()) {
        ++i;
        s += text[i] == 'n' ? '\n' : text[i];
      } else {
        s += text[i];
      }
    }
    return Attr(std::move(s));
  }
  if (text.front() == '[') {
    SORUS_CHECK(text.back() == ']', ValueError, "the list {} does not end", text);
    std::string_view inside = text.substr(1, text.size() - 2);
    auto items = split_list(inside);
    bool reals = inside.find_first_of(".en") != std::string_view::npos;
    if (reals) {
      std::vector<double> v;
      if (inside == ".0") return Attr(std::move(v));
      for (auto item : items) v.push_back(parse_real(item));
      return Attr(std::move(v));
    }
    Shape v;
    for (auto item : items) v.push_back(static_cast<int64_t>(Attr::parse(item).to_int()));
    return Attr(std::move(v));
  }
  if (text.starts_with("complex(") && text.back() == ')') {
    auto items = split_list(text.substr(8, text.size() - 9));
    SORUS_CHECK(items.size() == 2, ValueError, "'{}' is not a complex number", text);
    return Attr(Scalar(std::complex<double>(parse_real(items[0]), parse_real(items[1]))));
  }
  bool number = text.find_first_not_of("0123456789+-.e") == std::string_view::npos || text == "inf" ||
                text == "-inf" || text == "nan";
  if (!number) return Attr(dtype_from_name(text));
  if (text.find_first_of(".en") != std::string_view::npos) return Attr(parse_real(text));
  int64_t v = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  SORUS_CHECK(error == std::errc() && end == text.data() + text.size(), ValueError, "'{}' is not a number", text);
  return Attr(v);
}

size_t Attr::hash() const { return std::hash<std::string>()(to_string()) * 8 + v_.index(); }

void Attr::wrong(const char* expected) const { fail<TypeError>("expected {}, found {}", expected, to_string()); }

}  // namespace sorus
