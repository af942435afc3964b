#include "sorus/emit/eager_kernels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "sorus/base/error.h"
#include "sorus/graph/scalar_ops.h"

namespace sorus {
namespace {
constexpr int64_t kBlock = 256;

// One operation on a block; registers hold kBlock values each.
struct Step {
  const ScalarNode* node;
  int target;
  std::array<int, 3> inputs{-1, -1, -1};
};
}  // namespace

struct EachKernel::Program {
  ScalarFunction function;
  DType compute;
  std::vector<Step> steps;
  std::vector<int> results;
  std::vector<int> divisors;
  int registers = 0;
};

namespace {

template <class T>
auto evaluator(const ScalarOp& op) {
  if constexpr (std::is_same_v<T, int64_t>)
    return op.integer;
  else if constexpr (std::is_same_v<T, double>)
    return op.real;
  else
    return op.complex;
}

template <class T>
void operate(const ScalarOp& op, T* out, const T* a, const T* b, const T* c, int64_t n) {
  // The operations that are one instruction are loops of their own; the others cost far more than a call.
  std::string_view name = op.name;
  auto loop = [&](auto f) {
    for (int64_t i = 0; i < n; ++i) out[i] = f(i);
  };
  if constexpr (!std::is_same_v<T, int64_t>) {
    if (name == "add") return loop([&](int64_t i) { return a[i] + b[i]; });
    if (name == "sub") return loop([&](int64_t i) { return a[i] - b[i]; });
    if (name == "mul") return loop([&](int64_t i) { return a[i] * b[i]; });
    if (name == "div") return loop([&](int64_t i) { return a[i] / b[i]; });
    if (name == "neg") return loop([&](int64_t i) { return -a[i]; });
    if (name == "select") return loop([&](int64_t i) { return a[i] != T(0) ? b[i] : c[i]; });
  }
  auto f = evaluator<T>(op);
  SORUS_CHECK(f != nullptr, TypeError, "the operation '{}' does not exist for {} numbers", name,
              std::is_same_v<T, int64_t>  ? "whole"
              : std::is_same_v<T, double> ? "floating-point"
                                          : "complex");
  for (int64_t i = 0; i < n; ++i) {
    T v[3] = {a[i], b ? b[i] : T(0), c ? c[i] : T(0)};
    out[i] = f(v);
  }
}

// T: the type of the registers, S: that of the memory.
template <class T, class S>
void execute(const EachKernel::Program& p, int64_t total, void* const* out, const void* const* in, const void* params,
             int64_t position) {
  thread_local std::vector<T> memory;
  memory.resize(static_cast<size_t>(p.registers) * kBlock);
  auto reg = [&](int r) { return r < 0 ? nullptr : memory.data() + static_cast<int64_t>(r) * kBlock; };
  using Kind = ScalarNode::Kind;
  for (int64_t at = 0; at < total; at += kBlock) {
    int64_t n = std::min(kBlock, total - at);
    for (const Step& s : p.steps) {
      T* to = reg(s.target);
      const ScalarNode& node = *s.node;
      switch (node.kind) {
        case Kind::real:
          std::fill_n(to, n, static_cast<T>(node.real));
          break;
        case Kind::integer:
        case Kind::boolean:
          std::fill_n(to, n, static_cast<T>(static_cast<double>(node.integer)));
          if constexpr (std::is_same_v<T, int64_t>) std::fill_n(to, n, node.integer);
          break;
        case Kind::argument: {
          const S* from = static_cast<const S*>(in[node.index]) + at;
          for (int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(from[i]);
          break;
        }
        case Kind::parameter:
          std::fill_n(to, n, static_cast<T>(static_cast<const S*>(params)[node.index]));
          break;
        case Kind::position:
          for (int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(static_cast<double>(position + at + i));
          break;
        case Kind::call:
          operate<T>(*node.op, to, reg(s.inputs[0]), reg(s.inputs[1]), reg(s.inputs[2]), n);
      }
    }
    for (size_t r = 0; r < p.results.size(); ++r) {
      const T* from = reg(p.results[r]);
      if (p.function.results[r]->is_boolean) {
        auto* to = static_cast<uint8_t*>(out[r]) + at;
        for (int64_t i = 0; i < n; ++i) to[i] = from[i] != T(0);
      } else {
        S* to = static_cast<S*>(out[r]) + at;
        for (int64_t i = 0; i < n; ++i) to[i] = static_cast<S>(from[i]);
      }
    }
  }
}

std::unique_ptr<EachKernel::Program> build(const ScalarFunction& f, DType compute) {
  auto p = std::make_unique<EachKernel::Program>();
  p->function = specialize(f, compute);
  p->compute = compute;
  std::unordered_map<const ScalarNode*, int> registers;
  for (const ScalarNode* node : topological_order(p->function.results)) {
    Step s{node, p->registers++, {-1, -1, -1}};
    for (size_t i = 0; i < node->inputs.size(); ++i) s.inputs[i] = registers.at(node->inputs[i].get());
    registers[node] = s.target;
    p->steps.push_back(s);
  }
  for (const Expr& r : p->function.results) p->results.push_back(registers.at(r.get()));
  if (compute == DType::i64) p->divisors = divisors(f);
  return p;
}

}  // namespace

std::span<const int> EachKernel::divisors() const { return program_ ? program_->divisors : std::span<const int>{}; }

void EachKernel::interpret(int64_t n, void* const* out, const void* const* in, const void* params,
                           int64_t position) const {
  switch (program_->compute) {
    case DType::f32:
      return execute<double, float>(*program_, n, out, in, params, position);
    case DType::f64:
      return execute<double, double>(*program_, n, out, in, params, position);
    case DType::i64:
      return execute<int64_t, int64_t>(*program_, n, out, in, params, position);
    default:
      return execute<std::complex<double>, std::complex<double>>(*program_, n, out, in, params, position);
  }
}

namespace {

struct Entry {
  uint64_t hash;
  int compute;
  EachFunction kernel;
};

}  // namespace

// Weak: the generator itself is linked without kernels, and machines other than x86-64 have only one variant.
#define SORUS_SHARDS(variant) \
  SORUS_SHARD(0, variant)     \
  SORUS_SHARD(1, variant)     \
  SORUS_SHARD(2, variant)     \
  SORUS_SHARD(3, variant)     \
  SORUS_SHARD(4, variant) SORUS_SHARD(5, variant) SORUS_SHARD(6, variant) SORUS_SHARD(7, variant)
#define SORUS_SHARD(i, variant) extern "C" __attribute__((weak)) const Entry sorus_kernels_##i##_##variant[];
SORUS_SHARDS(baseline)
SORUS_SHARDS(avx2)
SORUS_SHARDS(avx512)
#undef SORUS_SHARD
#define SORUS_SHARD(i, variant) sorus_kernels_##i##_##variant,

namespace {

struct Variant {
  const char* name;
  std::array<const Entry*, 8> shards;
};

const Variant& best_variant() {
  static const Variant variant = [] {
    Variant baseline{"baseline", {SORUS_SHARDS(baseline)}};
#if defined(__x86_64__)
    Variant avx512{"avx512", {SORUS_SHARDS(avx512)}}, avx2{"avx2", {SORUS_SHARDS(avx2)}};
    __builtin_cpu_init();
    if (avx512.shards[0] && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
      return avx512;
    if (avx2.shards[0] && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2"))
      return avx2;
#endif
    return baseline;
  }();
  return variant;
}

EachFunction find_printed(uint64_t hash, DType compute) {
  static const auto table = [] {
    std::map<std::pair<uint64_t, int>, EachFunction> made;
    for (const Entry* shard : best_variant().shards)
      for (const Entry* e = shard; e && e->kernel; ++e) made.emplace(std::pair{e->hash, e->compute}, e->kernel);
    return made;
  }();
  auto it = table.find({hash, static_cast<int>(compute)});
  return it == table.end() ? nullptr : it->second;
}

}  // namespace

const char* kernel_variant() { return best_variant().name; }

EachKernel find_each_kernel(const ScalarFunction& f, DType compute) {
  // Looked up for every eager operator: a small table, one per thread. Results are interned, so comparing them is
  // comparing addresses; the map's key keeps them alive, so an address never comes to mean another body.
  using Key = std::pair<std::vector<Expr>, DType>;
  struct Slot {
    const Key* key = nullptr;
    EachFunction kernel = nullptr;
    const EachKernel::Program* program = nullptr;
  };
  thread_local std::array<Slot, 256> slots;
  size_t place = f.results[0]->hash * 4 + static_cast<size_t>(compute);
  Slot& slot = slots[place % slots.size()];
  if (slot.key && slot.key->second == compute && slot.key->first == f.results) {
    return EachKernel(slot.kernel, slot.program);
  }
  static std::mutex mutex;
  static std::map<Key, std::pair<EachFunction, std::unique_ptr<EachKernel::Program>>> found;
  std::lock_guard lock(mutex);
  auto [it, fresh] = found.try_emplace({f.results, compute});
  if (fresh) {
    it->second.first = find_printed(f.hash(), compute);
    if (!it->second.first) it->second.second = build(f, compute);
  }
  slot = {&it->first, it->second.first, it->second.second.get()};
  return EachKernel(slot.kernel, slot.program);
}

}  // namespace sorus
