#include "sorus/import/builder.h"

#include <fmt/ranges.h>
#include <algorithm>

#include "sorus/ops.h"

namespace sorus::importer {

GraphBuilder::GraphBuilder(std::string format, const std::string& path)
    : path_(path), file_(std::filesystem::path(path).filename().string()), tracer_("main") {
  model_.format = std::move(format);
}

Tensor GraphBuilder::input(const std::string& name, const TensorType& type, const Quantization& quantization) {
  Tensor t = tracer_.input(type, name);
  annotate(t, quantization);
  model_.inputs.push_back({name, type, quantization});
  names_.push_back(name);
  return t;
}

void GraphBuilder::output(const std::string& name, const Tensor& t, const Quantization& quantization) {
  tracer_.output(t);
  model_.outputs.push_back({name, t.type(), quantization});
}

void GraphBuilder::annotate(const Tensor& t, const Quantization& quantization) {
  if (quantization.known()) tracer_.value_of(t).set_quantization(quantization);
}

void GraphBuilder::name_weight(const Tensor& t, const std::string& name, const Quantization& quantization) {
  Value v = tracer_.value_of(t);
  if (!v.node->is_input()) return;
  std::string unique = name;
  for (int n = 2; std::ranges::find(names_, unique) != names_.end(); ++n) unique = fmt::format("{}_{}", name, n);
  names_.push_back(unique);
  v.node->label = unique;
  if (quantization.known()) v.set_quantization(quantization);
}

void GraphBuilder::remember(const Tensor& constant, const std::string& name) {
  if (constant.defined()) remembered_.try_emplace(constant.storage().get(), Named{constant, name});
}

Tensor GraphBuilder::stand_in(const TensorType& type) { return tracer_.late_input(type, ""); }

void GraphBuilder::unknown(int number, const std::string& op, const std::string& why) {
  auto found = std::ranges::find_if(missing_, [&](const Missing& m) { return m.op == op && m.why == why; });
  if (found == missing_.end()) found = missing_.insert(missing_.end(), {op, why, {}});
  found->nodes.push_back(number);
}

bool GraphBuilder::convert(int number, const std::string& op, const std::function<void()>& f) {
  auto counted = std::ranges::find(model_.operators, op, &std::pair<std::string, int>::first);
  if (counted == model_.operators.end()) counted = model_.operators.insert(counted, {op, 0});
  ++counted->second;
  const SourceLocation where{file_, number, op};
  SourceScope scope(where);
  InterpreterScope recording(&tracer_);
  GradMode off(false);
  try {
    f();
    return true;
  } catch (const NotImplementedError& e) {
    std::string why = e.what();
    unknown(number, op, why.substr(0, why.find("\n  at ")));
    return false;
  } catch (const FileError&) {
    throw;
  } catch (const Error& e) {
    throw FileError(fmt::format("{}: operator {} ({}): {}", path_, number, op, e.what()));
  }
}

void GraphBuilder::guarded(const std::function<void()>& f) {
  InterpreterScope recording(&tracer_);
  GradMode off(false);
  try {
    f();
  } catch (const FileError&) {
    throw;
  } catch (const Error& e) {
    throw FileError(fmt::format("{}: {}", path_, e.what()));
  }
}

ImportedModel GraphBuilder::finish() {
  if (!missing_.empty()) {
    std::vector<std::string> lines;
    for (const Missing& m : missing_)
      lines.push_back(fmt::format("  {}{} (operator{} {})", m.op, m.why.empty() ? "" : ": " + m.why,
                                  m.nodes.size() > 1 ? "s" : "", fmt::join(m.nodes, ", ")));
    fail<NotImplementedError>("{}: {} cannot be converted:\n{}", path_,
                              missing_.size() == 1 ? "one kind of operator" : "these operators",
                              fmt::join(lines, "\n"));
  }
  model_.traced = tracer_.finish();
  for (size_t i = 0; i < model_.traced.captures.size(); ++i) {
    Node* node = model_.traced.graph.inputs()[model_.inputs.size() + i];
    if (!node->label.starts_with("captured")) continue;
    auto known = remembered_.find(model_.traced.captures[i].storage().get());
    std::string name = known == remembered_.end() ? fmt::format("constant_{}", i) : known->second.name, unique = name;
    for (int n = 2; std::ranges::find(names_, unique) != names_.end(); ++n) unique = fmt::format("{}_{}", name, n);
    names_.push_back(unique);
    node->label = unique;
  }
  model_.traced.graph.verify();
  return std::move(model_);
}

}  // namespace sorus::importer
