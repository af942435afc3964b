// The text form of graphs: printing and parsing. One line a node; what is printed parses back to the same graph.
#include <fmt/ranges.h>

#include <charconv>
#include <map>
#include <optional>

#include "sorus/graph/graph.h"

namespace sorus {
namespace {

using NameMap = std::unordered_map<Value, std::string>;

std::string operands(const Node& node, const NameMap& names) {
  const Signature& s = node.op->signature;
  std::vector<std::string> items;
  for (const Value& v : node.inputs) items.push_back(v ? names.at(v) : "none");
  int i = 0;
  for (const Param& p : s.params)
    if (!p.is_tensor()) items.push_back(p.name + "=" + node.attrs[static_cast<size_t>(i++)].to_string());
  return fmt::format("{}", fmt::join(items, ", "));
}

std::string type_text(const Node& node, int i) {
  const TensorType& t = node.outputs[static_cast<size_t>(i)];
  const Quantization& q = Value{const_cast<Node*>(&node), i}.quantization();
  return t.to_string() + (t.weak ? " weak" : "") + (q.known() ? " " + q.to_string() : "");
}

}  // namespace

std::string Graph::to_string(bool with_sources) const {
  NameMap names;
  int next = 0;
  auto name = [&](const Node* n, int i) {
    auto& text = names[{const_cast<Node*>(n), i}];
    text = fmt::format("%{}", next++);
    return text;
  };
  std::vector<std::string> params;
  for (const Node* in : inputs_)
    params.push_back(fmt::format("{}: {}{}", name(in, 0), type_text(*in, 0),
                                 in->label.empty() ? "" : " " + Attr(in->label).to_string()));
  std::string out = fmt::format("graph {}({}) {{\n", name_, fmt::join(params, ", "));
  for (const auto& node : nodes_) {
    if (node->is_input()) continue;
    std::vector<std::string> results, types;
    std::string right = node->is_constant() ? "constant " + node->constant.to_string()
                                            : fmt::format("{}({})", node->op->name(), operands(*node, names));
    for (size_t i = 0; i < node->outputs.size(); ++i) {
      results.push_back(name(node.get(), static_cast<int>(i)));
      types.push_back(type_text(*node, static_cast<int>(i)));
    }
    out += fmt::format("  {} = {} : {}", fmt::join(results, ", "), right, fmt::join(types, ", "));
    if (with_sources && node->source.known()) out += fmt::format("  # {}", node->source.to_string());
    out += "\n";
  }
  std::vector<std::string> results;
  for (const Value& v : outputs_) results.push_back(names.at(v));
  return out + fmt::format("  return {}\n}}\n", fmt::join(results, ", "));
}

namespace {

// A cursor over the text that can say where it is.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '#')) {
      if (text_[at_] == '#')
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      else
        ++at_;
    }
  }
  bool take(std::string_view token) {
    skip();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  void expect(std::string_view token) {
    if (!take(token)) wrong(fmt::format("expected '{}'", token));
  }
  bool peek(std::string_view token) {
    skip();
    return text_.substr(at_).starts_with(token);
  }
  std::string_view word(std::string_view also = "") {
    skip();
    size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_' ||
                                  also.find(text_[at_]) != std::string_view::npos))
      ++at_;
    if (at_ == begin) wrong("expected a name");
    return text_.substr(begin, at_ - begin);
  }
  // An attribute ends at a comma or bracket outside of lists and strings.
  Attr attr() {
    skip();
    size_t begin = at_;
    int depth = 0;
    bool quoted = false;
    for (; at_ < text_.size(); ++at_) {
      char c = text_[at_];
      if (quoted) {
        if (c == '\\')
          ++at_;
        else if (c == '"')
          quoted = false;
        continue;
      }
      if (c == '"') quoted = true;
      if (c == '[' || c == '(') ++depth;
      if ((c == ',' || c == ')' || c == '\n' || c == ':') && depth == 0) break;
      if (c == ']' || c == ')') --depth;
    }
    return Attr::parse(text_.substr(begin, std::min(at_, text_.size()) - begin));
  }
  TensorType type() {
    TensorType t;
    t.dtype = dtype_from_name(word());
    expect("[");
    while (!take("]")) {
      int64_t n = 0;
      auto digits = word();
      auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
      if (error != std::errc() || end != digits.data() + digits.size()) wrong("expected a size");
      t.shape.push_back(n);
      take(",");
    }
    t.weak = take("weak");
    return t;
  }
  // "quantized(scale=[..], zero_point=[..], axis=n)" behind a type, if it is there.
  std::optional<Quantization> quantization() {
    if (!take("quantized(")) return std::nullopt;
    Quantization q;
    expect("scale=");
    Attr scale = attr();  // an empty list or one of whole numbers reads as integers
    if (scale.is_ints())
      q.scale.assign(scale.ints().begin(), scale.ints().end());
    else
      q.scale = scale.reals();
    expect(",");
    expect("zero_point=");
    q.zero_point = attr().ints();
    expect(",");
    expect("axis=");
    q.axis = static_cast<int>(attr().to_int());
    expect(")");
    if (q.scale.size() != q.zero_point.size()) wrong("as many zero points as scales are expected");
    return q;
  }
  [[noreturn]] void wrong(const std::string& what) {
    auto line =
        std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(std::min(at_, text_.size())), '\n') + 1;
    fail<ValueError>("graph text, line {}: {}, found '{}'", line, what,
                     text_.substr(std::min(at_, text_.size()), 20));
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Graph Graph::parse(std::string_view text) {
  Reader r(text);
  r.expect("graph");
  Graph g{std::string(r.word())};
  std::map<std::string, Value, std::less<>> values;
  auto use = [&]() -> Value {
    r.expect("%");
    std::string name(r.word());
    auto it = values.find(name);
    if (it == values.end()) r.wrong("%" + name + " is not computed before it is used");
    return it->second;
  };
  r.expect("(");
  while (!r.take(")")) {
    r.expect("%");
    std::string name(r.word());
    r.expect(":");
    TensorType t = r.type();
    auto quantization = r.quantization();
    std::string label;
    if (r.peek("\"")) label = r.attr().string();
    values[name] = g.add_input(t, label);
    if (quantization) values[name].set_quantization(*quantization);
    r.take(",");
  }
  r.expect("{");
  while (!r.take("return")) {
    std::vector<std::string> names;
    do {
      r.expect("%");
      names.emplace_back(r.word());
    } while (r.take(","));
    r.expect("=");
    if (r.take("constant ")) {
      Attr a = r.attr();
      r.expect(":");
      TensorType t = r.type();
      values[names[0]] = g.add_constant(a.scalar(), t.dtype, t.weak);
      continue;
    }
    const OpDef& op = find_op(r.word(".:/"));
    r.expect("(");
    std::vector<Value> inputs;
    Attrs attrs;
    while (!r.take(")")) {
      if (r.peek("%")) {
        inputs.push_back(use());
      } else if (r.peek("none")) {
        r.expect("none");
        inputs.push_back({});
      } else {
        r.word();
        r.expect("=");
        attrs.push_back(r.attr());
      }
      r.take(",");
    }
    r.expect(":");
    Node* node = g.add(op, std::move(inputs), std::move(attrs));
    for (size_t i = 0; i < node->outputs.size(); ++i) {
      if (i) r.expect(",");
      TensorType t = r.type();
      if (t.dtype != node->outputs[i].dtype || t.shape != node->outputs[i].shape)
        r.wrong(fmt::format("{} gives {}", op.name(), node->outputs[i].to_string()));
      if (auto q = r.quantization()) Value{node, static_cast<int>(i)}.set_quantization(*q);
      if (i < names.size()) values[names[i]] = {node, static_cast<int>(i)};
    }
  }
  std::vector<Value> outputs;
  while (!r.take("}")) {
    outputs.push_back(use());
    r.take(",");
  }
  g.set_outputs(std::move(outputs));
  return g;
}

}  // namespace sorus
