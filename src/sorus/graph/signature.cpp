#include "sorus/graph/signature.h"

#include <fmt/ranges.h>

#include <map>

namespace sorus {
namespace {

std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

// Splits at commas outside of brackets and quotes.
std::vector<std::string_view> split(std::string_view s) {
  std::vector<std::string_view> out;
  int depth = 0;
  bool quoted = false;
  size_t begin = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '\'' || s[i] == '"') quoted = !quoted;
    if (quoted) continue;
    if (s[i] == '[' || s[i] == '(') ++depth;
    if (s[i] == ']' || s[i] == ')') --depth;
    if (s[i] == ',' && depth == 0) {
      out.push_back(trim(s.substr(begin, i - begin)));
      begin = i + 1;
    }
  }
  if (!trim(s.substr(begin)).empty()) out.push_back(trim(s.substr(begin)));
  return out;
}

const std::map<std::string_view, ParamType> kTypes{
    {"Tensor", ParamType::tensor}, {"mask", ParamType::tensor},   {"Tensor[]", ParamType::tensor_list},
    {"bool", ParamType::boolean},  {"int", ParamType::integer},   {"float", ParamType::real},
    {"scalar", ParamType::scalar}, {"str", ParamType::string},    {"dtype", ParamType::dtype},
    {"int[]", ParamType::ints},    {"float[]", ParamType::reals},
};

void parse_type(Param& p, std::string_view text, std::string_view whole) {
  p.promotes = !text.starts_with("mask");
  if (text.ends_with('?')) {
    p.optional = true;
    text.remove_suffix(1);
  }
  if (text.starts_with("int[") && text.ends_with("]") && text.size() > 5) {
    p.type = ParamType::ints;
    p.list_size = std::stoi(std::string(text.substr(4)));
    return;
  }
  auto it = kTypes.find(text);
  SORUS_CHECK(it != kTypes.end(), ValueError, "signature '{}': unknown type '{}'", whole, text);
  p.type = it->second;
}

std::string type_text(const Param& p) {
  std::string t;
  for (auto& [name, type] : kTypes)
    if (type == p.type && (name == "mask") == (p.type == ParamType::tensor && !p.promotes)) t = name;
  if (p.list_size) t = fmt::format("int[{}]", p.list_size);
  return p.optional ? t + "?" : t;
}

}  // namespace

Signature Signature::parse(std::string_view text) {
  Signature s;
  size_t open = text.find('('), close = text.rfind(')');
  SORUS_CHECK(open != std::string_view::npos && close != std::string_view::npos && open < close, ValueError,
              "signature '{}': expected name(parameters)", text);
  s.name = trim(text.substr(0, open));
  // The dot of a namespace (linalg.vector_norm) belongs to the base; the next one starts the overload.
  size_t from = 0;
  for (std::string_view space : {"linalg.", "special.", "fft."})
    if (s.name.starts_with(space)) from = space.size();
  s.base = s.name.substr(0, s.name.find('.', from));
  bool keyword_only = false;
  for (std::string_view item : split(text.substr(open + 1, close - open - 1))) {
    if (item == "*") {
      keyword_only = true;
      continue;
    }
    Param p;
    p.keyword_only = keyword_only;
    if (size_t equals = item.find('='); equals != std::string_view::npos) {
      p.has_default = true;
      p.default_value = Attr::parse(trim(item.substr(equals + 1)));
      item = trim(item.substr(0, equals));
    }
    if (size_t colon = item.find(':'); colon != std::string_view::npos) {
      parse_type(p, trim(item.substr(colon + 1)), text);
      item = trim(item.substr(0, colon));
    }
    p.name = item;
    if (p.has_default && p.list_size && p.default_value.is_scalar())
      p.default_value = Attr(Shape(static_cast<size_t>(p.list_size), p.default_value.to_int()));
    if (p.has_default && p.type == ParamType::real && p.default_value.is_scalar())
      p.default_value = Attr(p.default_value.to_double());
    if (p.is_tensor()) {
      if (p.type == ParamType::tensor_list) s.list_at = s.tensors;
      ++s.tensors;
    } else {
      ++s.attrs;
    }
    s.params.push_back(std::move(p));
  }
  std::string_view rest = trim(text.substr(close + 1));
  if (rest.starts_with("->"))
    for (auto item : split(rest.substr(2))) s.outputs.emplace_back(item);
  if (s.outputs.empty()) s.outputs = {"output"};
  return s;
}

std::string Signature::to_string() const {
  std::vector<std::string> items;
  bool keyword_only = false;
  for (const Param& p : params) {
    if (p.keyword_only && !keyword_only) items.push_back("*");
    keyword_only = p.keyword_only;
    std::string item = p.name;
    std::string type = type_text(p);
    if (type != "Tensor") item += ": " + type;
    if (p.has_default) {
      Attr d = p.default_value;
      if (p.list_size && d.is_ints() && !d.ints().empty()) d = Attr(d.ints()[0]);
      item += (type != "Tensor" ? " = " : "=") + d.to_string();
    }
    items.push_back(item);
  }
  std::string text = fmt::format("{}({})", name, fmt::join(items, ", "));
  if (outputs.size() > 1 || outputs[0] != "output") text += fmt::format(" -> {}", fmt::join(outputs, ", "));
  return text;
}

namespace {
int position(const Signature& s, std::string_view name, bool tensor) {
  int i = 0;
  for (const Param& p : s.params) {
    if (p.is_tensor() != tensor) continue;
    if (p.name == name) return i;
    ++i;
  }
  fail<KeyError>("operator {} has no {} '{}'; its signature is {}", s.name, tensor ? "tensor" : "attribute", name,
                 s.to_string());
}
const Param& at(const Signature& s, int index, bool tensor) {
  for (const Param& p : s.params)
    if (p.is_tensor() == tensor && index-- == 0) return p;
  fail<KeyError>("operator {}: parameter out of range", s.name);
}
}  // namespace

int Signature::attr_index(std::string_view name) const { return position(*this, name, false); }
int Signature::tensor_index(std::string_view name) const { return position(*this, name, true); }
const Param& Signature::attr_param(int index) const { return at(*this, index, false); }
const Param& Signature::tensor_param(int index) const { return at(*this, index, true); }

int Signature::tensor_param_of_slot(int slot, int inputs) const {
  if (list_at < 0 || slot < list_at) return slot;
  int in_list = inputs - (tensors - 1);
  return slot < list_at + in_list ? list_at : slot - in_list + 1;
}

Attrs Signature::default_attrs() const {
  Attrs out;
  for (const Param& p : params) {
    if (p.is_tensor()) continue;
    SORUS_CHECK(p.has_default, TypeError, "{}: missing argument '{}'", name, p.name);
    out.push_back(p.default_value);
  }
  return out;
}

}  // namespace sorus
