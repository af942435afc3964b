// The parser of the scalar language: recursive descent, with operator precedence taken from the table.

#include <charconv>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "sorus/base/error.h"
#include "sorus/graph/scalar.h"
#include "sorus/graph/scalar_ops.h"

namespace sorus {
namespace {

constexpr int kMaxDepth = 500;

// Infix and prefix signs of the table, longest first, so that "<=" is not read as "<".
struct Sign {
  std::string_view text;
  const ScalarOp* op;
};
const std::vector<Sign>& signs(int arity) {
  static const std::array<std::vector<Sign>, 2> tables = [] {
    std::array<std::vector<Sign>, 2> made;
    for (size_t length : {size_t{2}, size_t{1}}) {
      for (const ScalarOp& op : scalar_ops()) {
        if (op.arity <= 2 && op.sign.size() == length)
          made[static_cast<size_t>(op.arity - 1)].push_back({op.sign, &op});
      }
    }
    return made;
  }();
  return tables[static_cast<size_t>(arity - 1)];
}

class Parser {
 public:
  Parser(std::string_view text, std::vector<std::string> args, std::vector<std::string> params) : text_(text) {
    function_.args = std::move(args);
    function_.params = std::move(params);
    names_ = {{"true", constant(true)},
              {"false", constant(false)},
              {"inf", constant(std::numeric_limits<double>::infinity())},
              {"nan", constant(std::numeric_limits<double>::quiet_NaN())},
              {"pi", constant(3.14159265358979323846)}};
    for (size_t i = 0; i < function_.params.size(); ++i) names_[function_.params[i]] = parameter(static_cast<int>(i));
    for (size_t i = 0; i < function_.args.size(); ++i) names_[function_.args[i]] = argument(static_cast<int>(i));
  }

  ScalarFunction function() {
    while (binding()) {
    }
    do {
      function_.results.push_back(expression(0));
    } while (accept(","));
    skip_space();
    if (at_ != text_.size()) error("expected an operator or the end");
    return std::move(function_);
  }

 private:
  [[noreturn]] void error(std::string_view what) {
    fail<ValueError>("scalar expression: {}\n  {}\n  {:>{}}", what, text_, '^', at_ + 1);
  }

  void skip_space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool peek(std::string_view what) {
    skip_space();
    return text_.substr(at_).starts_with(what);
  }
  bool accept(std::string_view what) {
    if (!peek(what)) return false;
    at_ += what.size();
    return true;
  }
  void expect(std::string_view what) {
    if (!accept(what)) error(fmt::format("expected '{}'", what));
  }
  std::string_view identifier() {
    skip_space();
    size_t end = at_;
    auto is_name = [&](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
    if (end < text_.size() && !std::isdigit(static_cast<unsigned char>(text_[end]))) {
      while (end < text_.size() && is_name(text_[end])) ++end;
    }
    std::string_view name = text_.substr(at_, end - at_);
    at_ = end;
    return name;
  }

  // name = expression ;
  bool binding() {
    size_t start = at_;
    std::string_view name = identifier();
    if (name.empty() || peek("==") || !accept("=")) {
      at_ = start;
      return false;
    }
    Expr value = expression(0);
    expect(";");
    names_[std::string(name)] = value;
    return true;
  }

  Expr expression(int tightness) {
    if (++depth_ > kMaxDepth) error("nested too deeply");
    Expr left = prefix();
    while (true) {
      const Sign* sign = next_infix();
      if (sign && sign->op->precedence >= tightness) {
        at_ += sign->text.size();
        Expr right = expression(sign->op->precedence + 1);
        left = call(*sign->op, {left, right});
      } else if (!sign && tightness <= 1 && accept("?")) {
        Expr yes = expression(1);
        expect(":");
        left = call("select", {left, yes, expression(1)});
      } else {
        break;
      }
    }
    --depth_;
    return left;
  }

  const Sign* next_infix() {
    skip_space();
    for (const Sign& sign : signs(2)) {
      if (text_.substr(at_).starts_with(sign.text)) return &sign;
    }
    return nullptr;
  }

  Expr prefix() {
    skip_space();
    for (const Sign& sign : signs(1)) {
      if (!accept(sign.text)) continue;
      // A minus right before a number belongs to the number.
      bool number_follows =
          at_ < text_.size() && (std::isdigit(static_cast<unsigned char>(text_[at_])) || text_[at_] == '.');
      if (sign.text == "-" && number_follows) return number(true);
      if (sign.text == "-" && text_.substr(at_).starts_with("inf") && text_.substr(at_, 4) != "inf_") {
        size_t before = at_;
        if (identifier() == "inf") return constant(-std::numeric_limits<double>::infinity());
        at_ = before;
      }
      return call(*sign.op, {expression(sign.op->precedence)});
    }
    return primary();
  }

  Expr number(bool negative) {
    skip_space();
    const char *first = text_.data() + at_, *last = text_.data() + text_.size();
    uint64_t whole = 0;
    auto [after_whole, whole_error] = std::from_chars(first, last, whole);
    bool is_integer = whole_error == std::errc() &&
                      (after_whole == last || (*after_whole != '.' && *after_whole != 'e' && *after_whole != 'E'));
    uint64_t limit = static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) + (negative ? 1 : 0);
    if (is_integer && whole <= limit) {
      at_ += static_cast<size_t>(after_whole - first);
      if (negative && whole == 0) return constant(-0.0);
      return constant(static_cast<int64_t>(negative ? -whole : whole));
    }
    double value = 0;
    auto [end, problem] = std::from_chars(first, last, value);
    if (problem == std::errc::invalid_argument) error("expected a number");
    at_ += static_cast<size_t>(end - first);
    return constant(negative ? -value : value);
  }

  Expr primary() {
    skip_space();
    if (at_ == text_.size()) error("unexpected end");
    char c = text_[at_];
    if (std::isdigit(static_cast<unsigned char>(c)) || c == '.') return number(false);
    if (accept("(")) {
      Expr e = expression(0);
      expect(")");
      return e;
    }
    size_t start = at_;
    std::string name(identifier());
    if (name.empty()) error("expected a number, a name or '('");
    if (!accept("(")) {
      auto it = names_.find(name);
      if (it != names_.end()) return it->second;
      at_ = start;
      error(fmt::format("unknown name '{}'{}", name, find_scalar_op(name) ? " (a function: write its inputs)" : ""));
    }
    std::vector<Expr> inputs;
    if (!accept(")")) {
      do {
        inputs.push_back(expression(0));
      } while (accept(","));
      expect(")");
    }
    if (name == "position" && inputs.empty()) return position();
    const ScalarOp* op = find_scalar_op(name);
    if (!op) {
      at_ = start;
      error(fmt::format("unknown function '{}'", name));
    }
    // uniform(key0, key1) draws for the element at hand.
    if (op->integer_inputs && inputs.size() + 1 == static_cast<size_t>(op->arity)) inputs.push_back(position());
    if (inputs.size() != static_cast<size_t>(op->arity)) {
      at_ = start;
      error(fmt::format("'{}' takes {} inputs, not {}", name, op->arity, inputs.size()));
    }
    return call(*op, std::move(inputs));
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  ScalarFunction function_;
  std::unordered_map<std::string, Expr> names_;
};

}  // namespace

ScalarFunction parse_scalar(std::string_view text, std::vector<std::string> args, std::vector<std::string> params) {
  return Parser(text, std::move(args), std::move(params)).function();
}

}  // namespace sorus
