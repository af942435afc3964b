// Reference evaluation, one element at a time.

#include <unordered_map>

#include "sorus/base/error.h"
#include "sorus/graph/scalar.h"
#include "sorus/graph/scalar_ops.h"

namespace sorus {
namespace {

template <class T>
auto evaluator(const ScalarOp& op) {
  if constexpr (std::is_same_v<T, double>)
    return op.real;
  else if constexpr (std::is_same_v<T, int64_t>)
    return op.integer;
  else
    return op.complex;
}

}  // namespace

template <class T>
std::vector<T> evaluate(const ScalarFunction& f, std::span<const T> args, std::span<const T> params,
                        int64_t position) {
  using Kind = ScalarNode::Kind;
  std::unordered_map<const ScalarNode*, T> values;
  for (const ScalarNode* n : topological_order(f.results)) {
    T value{};
    auto index = static_cast<size_t>(n->index);
    switch (n->kind) {
      case Kind::real:
        value = static_cast<T>(n->real);
        break;
      case Kind::integer:
      case Kind::boolean:
        value = static_cast<T>(n->integer);
        break;
      case Kind::argument:
        value = args[index];
        break;
      case Kind::parameter:
        value = params[index];
        break;
      case Kind::position:
        value = static_cast<T>(position);
        break;
      case Kind::call: {
        T inputs[3] = {};
        for (size_t i = 0; i < n->inputs.size(); ++i) inputs[i] = values.at(n->inputs[i].get());
        auto run = evaluator<T>(*n->op);
        SORUS_CHECK(run, TypeError, "scalar operation '{}' does not exist in this type", n->op->name);
        value = run(inputs);
      }
    }
    values.emplace(n, value);
  }
  std::vector<T> results;
  for (const Expr& r : f.results) results.push_back(values.at(r.get()));
  return results;
}

template <class T>
T evaluate(const Expr& e, std::span<const T> args, std::span<const T> params, int64_t position) {
  return evaluate(ScalarFunction{{}, {}, {e}}, args, params, position)[0];
}

#define SORUS_INSTANTIATE(T)                                                         \
  template T evaluate(const Expr&, std::span<const T>, std::span<const T>, int64_t); \
  template std::vector<T> evaluate(const ScalarFunction&, std::span<const T>, std::span<const T>, int64_t);
SORUS_INSTANTIATE(double)
SORUS_INSTANTIATE(int64_t)
SORUS_INSTANTIATE(std::complex<double>)

}  // namespace sorus
