// Printed C becomes callable functions: the system compiler builds a shared object, which is kept on disk under the
// hash of all that went into it, so the next process loads it without compiling.
//
// The folder is $SORUS_CACHE, else $XDG_CACHE_HOME/sorus, else ~/.cache/sorus. The compiler is $SORUS_CC, else cc.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace sorus {

/// How many digits products keep that loops add to something at once.
enum class Rounding : uint8_t {
  joint,       ///< all, where the compiler sees both: fastest, but what it sees depends on what is fused
  by_operator  ///< none: every operator rounds as it does by itself, whatever stands beside it in the graph
};

class NativeCode {
 public:
  ~NativeCode();
  /// Null if the object has no such function.
  void* symbol(const std::string& name) const;
  bool from_cache() const { return from_cache_; }

  /// Builds the sources (in parallel) into one object. Null without a compiler, with the reason in `why`.
  static std::shared_ptr<NativeCode> build(const std::vector<std::string>& sources, std::string* why,
                                           Rounding rounding = Rounding::joint);

 private:
  NativeCode(void* handle, bool from_cache) : handle_(handle), from_cache_(from_cache) {}
  void* handle_;
  bool from_cache_;
};

}  // namespace sorus
