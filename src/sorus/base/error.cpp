#include "sorus/base/error.h"

namespace sorus {
namespace {
SourceProvider provider = nullptr;
thread_local const SourceLocation* scoped = nullptr;
}  // namespace

std::string SourceLocation::to_string() const {
  if (!known()) return "unknown line";
  return function.empty() ? fmt::format("{}:{}", file, line) : fmt::format("{}:{} in {}", file, line, function);
}

SourceProvider set_source_provider(SourceProvider next) {
  SourceProvider before = provider;
  provider = next;
  return before;
}

SourceLocation current_source() {
  if (scoped) return *scoped;
  return provider ? provider() : SourceLocation{};
}

SourceScope::SourceScope(const SourceLocation& where) : previous_(scoped) { scoped = &where; }
SourceScope::~SourceScope() { scoped = previous_; }

namespace detail {
std::string with_source(std::string message) {
  SourceLocation where = current_source();
  if (where.known()) message += fmt::format("\n  at {}", where.to_string());
  return message;
}
}  // namespace detail
}  // namespace sorus
