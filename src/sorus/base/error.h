// Errors that a person can act on.
//
// Every error of Sorus says what was expected, what was found, and where. "Where" is the user's own line when one is
// known: the Python binding (or a C++ caller) installs a provider with `set_source_provider`, and operators ask for
// it only when something went wrong or when a graph is being recorded, so the fast path never pays for it.
//
//   SORUS_CHECK(a == b, ValueError, "matmul: inner sizes differ: {} and {}", a, b);
//
// The kinds map one to one on Python's built-in exceptions.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace sorus {

/// A place in the user's program. `line` is 0 when nothing is known.
struct SourceLocation {
  std::string file;
  int line = 0;
  std::string function;
  bool known() const { return line > 0; }
  std::string to_string() const;
  bool operator==(const SourceLocation&) const = default;
};

using SourceProvider = SourceLocation (*)();

/// Installs the function that finds the user's line; returns the one before it.
SourceProvider set_source_provider(SourceProvider provider);

/// The user's current line, as far as anyone knows it.
SourceLocation current_source();

/// Replaces the current source for a scope: while a graph is executed, errors show the line that recorded the node.
/// `where` is not copied, for a scope is entered by every node that runs: it must outlive the scope.
class SourceScope {
 public:
  explicit SourceScope(const SourceLocation& where);
  explicit SourceScope(SourceLocation&&) = delete;
  ~SourceScope();
  SourceScope(const SourceScope&) = delete;
  SourceScope& operator=(const SourceScope&) = delete;

 private:
  const SourceLocation* previous_;
};

/// Base of all errors thrown by Sorus; thrown itself where Python would raise RuntimeError.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& what) : std::runtime_error(what) {}
};
class ValueError : public Error {
  using Error::Error;
};
class TypeError : public Error {
  using Error::Error;
};
class IndexError : public Error {
  using Error::Error;
};
class KeyError : public Error {
  using Error::Error;
};
class NotImplementedError : public Error {
  using Error::Error;
};
/// A file that cannot be read, written or understood. The message starts with the path.
class FileError : public Error {
  using Error::Error;
};

namespace detail {
/// `message`, followed by the user's line if it is known.
std::string with_source(std::string message);
}  // namespace detail

/// Throws `E` with a formatted message and the user's line.
template <class E = Error, class... Args>
[[noreturn, gnu::cold, gnu::noinline]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw E(detail::with_source(fmt::format(format, std::forward<Args>(args)...)));
}

}  // namespace sorus

/// Checks something that the user can get wrong.
#define SORUS_CHECK(condition, kind, ...) \
  do {                                    \
    if (!(condition)) [[unlikely]]        \
      ::sorus::fail<kind>(__VA_ARGS__);   \
  } while (0)

/// Checks something that only Sorus can get wrong.
#define SORUS_ASSERT(condition)                                                                            \
  do {                                                                                                     \
    if (!(condition)) [[unlikely]]                                                                         \
      ::sorus::fail<::sorus::Error>("internal error, please report it: {} at {}:{}", #condition, __FILE__, \
                                    __LINE__);                                                             \
  } while (0)
