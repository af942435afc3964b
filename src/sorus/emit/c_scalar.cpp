#include "sorus/emit/c_scalar.h"

#include <fmt/format.h>

#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "sorus/base/error.h"
#include "sorus/emit/preamble.h"
#include "sorus/graph/scalar_ops.h"

namespace sorus {
namespace {

std::string c_suffix(DType t) { return std::string(short_name(t)); }

std::string spelling(const ScalarOp& op, DType compute) {
  if (is_complex(compute) && !op.c_complex.empty()) return std::string(op.c_complex);
  if (!op.c.empty()) return std::string(op.c);
  std::string text = fmt::format("sorus_{}_{}(", op.name, c_suffix(compute));
  for (int i = 0; i < op.arity; ++i) text += fmt::format("{}${}", i ? ", " : "", i);
  return text + ")";
}

// The functions that the preamble defines, found in its text: macros there name them by pasting.
bool defined_in_preamble(std::string_view name, DType t) {
  std::string_view text = c_preamble();
  std::string suffix = c_suffix(t);
  auto has = [&](const std::string& s) { return text.find(s) != std::string_view::npos; };
  if (has(fmt::format(" sorus_{}_{}(", name, suffix))) return true;
  if (!is_floating(t)) return false;
  if (has(fmt::format(" sorus_{}_##t(", name))) return true;
  if (has(fmt::format("SORUS_LIBRARY({})", name)) || has(fmt::format("SORUS_LIBRARY2({})", name))) return true;
  return t == DType::f64 && has(fmt::format("SORUS_LIBRARY1({})", name));
}

std::string number(const ScalarNode& n, DType compute) {
  if (compute == DType::i64) return fmt::format("INT64_C({})", n.kind == ScalarNode::Kind::real ? 0 : n.integer);
  double v = n.as_double();
  if (std::isnan(v)) return "NAN";
  if (std::isinf(v)) return v > 0 ? "INFINITY" : "(-INFINITY)";
  std::string text = compute == DType::f32 ? fmt::format("{}", static_cast<float>(v)) : fmt::format("{}", v);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  if (compute == DType::f32) text += "f";
  return std::signbit(v) ? fmt::format("({})", text) : text;
}

std::string filled(const std::string& pattern, const std::vector<std::string>& inputs) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '$')
      out += inputs[static_cast<size_t>(pattern[++i] - '0')];
    else
      out += pattern[i];
  }
  return out;
}

}  // namespace

std::string c_type(DType t) {
  switch (t) {
    case DType::f32:
      return "float";
    case DType::f64:
      return "double";
    case DType::i64:
      return "int64_t";
    default:
      return "double _Complex";
  }
}

bool printable(const ScalarFunction& f, DType compute) {
  if (!supports(f, compute)) return false;
  if (compute == DType::i64 && !divisors(f).empty()) return false;  // a loop cannot say that one of them is 0
  ScalarFunction g = specialize(f, compute);
  for (const ScalarNode* n : topological_order(g.results)) {
    if (n->kind == ScalarNode::Kind::real && compute == DType::i64) return false;
    if (n->kind != ScalarNode::Kind::call) continue;
    if (n->op->integer_inputs || !n->op->exists_in(compute)) return false;
    if (n->op->c.empty() && !defined_in_preamble(n->op->name, compute)) return false;
  }
  return true;
}

CBody print_c(const ScalarFunction& function, DType compute, const std::vector<std::string>& args,
              const std::vector<std::string>& params, const std::string& position, const std::string& prefix) {
  using Kind = ScalarNode::Kind;
  ScalarFunction f = specialize(function, compute);
  CBody body;
  std::unordered_map<const ScalarNode*, std::string> names;
  for (const ScalarNode* n : topological_order(f.results)) {
    std::string& name = names[n];
    std::string value;
    switch (n->kind) {
      case Kind::real:
      case Kind::integer:
        name = number(*n, compute);
        continue;
      case Kind::boolean:
        name = n->integer ? "1" : "0";
        continue;
      case Kind::parameter:
        name = params[static_cast<size_t>(n->index)];
        continue;
      case Kind::argument:
        value = args[static_cast<size_t>(n->index)];
        break;
      case Kind::position:
        value = fmt::format("({})({})", c_type(compute), position);
        break;
      case Kind::call: {
        std::vector<std::string> inputs;
        for (size_t i = 0; i < n->inputs.size(); ++i) {
          std::string in = names.at(n->inputs[i].get());
          bool condition = n->op->conditions >> i & 1;
          // A number where a truth value is read, and the other way round.
          if (condition && !n->inputs[i]->is_boolean) in = fmt::format("({} != 0)", in);
          if (!condition && n->inputs[i]->is_boolean) in = fmt::format("({}){}", c_type(compute), in);
          inputs.push_back(std::move(in));
        }
        value = filled(spelling(*n->op, compute), inputs);
      }
    }
    name = fmt::format("{}{}", prefix, body.lines.size());
    body.lines.push_back(fmt::format("const {} {} = {};", n->is_boolean ? "int" : c_type(compute), name, value));
  }
  for (const Expr& r : f.results) body.results.push_back(names.at(r.get()));
  return body;
}

}  // namespace sorus
