#include "sorus/device/scalar_helpers.h"

#include <cctype>

#include <fmt/format.h>

#include "sorus/graph/scalar_ops.h"

namespace sorus::device {
namespace {

constexpr std::string_view kCall = "sorus_";

// "min_i64" of "sorus_min_i64(..".
std::string_view name_at(std::string_view line, size_t at) {
  size_t end = at + kCall.size();
  while (end < line.size() && (std::isalnum(static_cast<unsigned char>(line[end])) != 0 || line[end] == '_')) ++end;
  return line.substr(at + kCall.size(), end - at - kCall.size());
}

}  // namespace

bool device_printable(const ScalarFunction& f, DType compute) {
  if (compute != DType::i64 && compute != DType::f32) return false;
  if (!supports(f, compute)) return false;
  for (const ScalarNode* n : topological_order(specialize(f, compute).results)) {
    if (n->kind == ScalarNode::Kind::position || n->kind == ScalarNode::Kind::parameter) return false;
    if (n->kind == ScalarNode::Kind::real && compute == DType::i64) return false;
    if (n->kind != ScalarNode::Kind::call) continue;
    if (n->op->integer_inputs || !n->op->exists_in(compute)) return false;
    if (n->op->c.empty() && !has_helper(fmt::format("{}_{}", n->op->name, compute == DType::i64 ? "i64" : "f32")))
      return false;
  }
  return true;
}

std::vector<std::string> device_functions(const std::vector<std::string>& lines, Prepared& p) {
  std::vector<std::string> result;
  for (std::string line : lines) {
    for (size_t at = 0; (at = line.find(kCall, at)) != std::string::npos;) {
      p.helpers.emplace_back(name_at(line, at));
      line.replace(at, kCall.size(), "$P_");
    }
    result.push_back(std::move(line));
  }
  return result;
}

}  // namespace sorus::device
