// OpDef: all there is to know about an operator, in one place.
//
// An operator states *what* it computes; what can be derived is derived. An entry in src/sorus/ops is one statement:
//
//   static const auto& leaky_relu = op("leaky_relu(input, negative_slope: float = 0.01)")
//       .each("input > 0 ? input : negative_slope * input");
//   static const auto& matmul = op("matmul(input, other)")
//       .index("y[.., m, n] = sum(k) input[.., m, k] * other[.., k, n]").kernel(gemm_kernel);
//
// The facets:
//   each      a scalar body: shape (broadcast), type, gradient, cost, sharding, C and eager kernel follow
//   index     index notation: a sum-product or reduction over affine accesses; the same follows
//   view      the result shows the input's memory; only geometry is computed
//   body      a composite: smaller operators; keeps its name in graphs, so that a backend can take it whole
//   expand    a composite that never appears in graphs: convenience such as chunk or einsum
//   kernel    hand work, where it pays or where a body cannot say it (sort, random permutation)
//   types, gradient, axes, cost   what cannot be derived
//   loop      how a kernel that looks elements up is said as a loop, so that it fuses with others
//   exchange  a collective: what it moves among which ranks, and how it runs beside other work
//   inset, joins, memory_order, writes_strided   how results lie in memory, so that graphs need no copies between
//   them
//
// Everything in Sorus that works on operators reads these facets. Nobody keeps a second table.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sorus/graph/signature.h"

namespace sorus {

struct OpDef;
struct ScalarFunction;  // graph/scalar.h
struct IndexRule;       // graph/index.h
struct ShardingRule;    // derive/sharding.h

/// A call seen without values: types and attributes. `inputs[i]` is null for an optional tensor that is not given.
struct TypeCall {
  const OpDef& op;
  std::span<const TensorType* const> inputs;
  const Attrs& attrs;
  const TensorType& input(int slot) const { return *inputs[static_cast<size_t>(slot)]; }
  bool has(int slot) const { return static_cast<size_t>(slot) < inputs.size() && inputs[slot] != nullptr; }
  const Attr& attr(std::string_view name) const;
  const Attr& attr(int index) const { return attrs[static_cast<size_t>(index)]; }
};

/// A call with tensors (real ones, or ones that stand for values of a graph that is being recorded).
struct Call {
  const OpDef& op;
  TensorSpan inputs;
  const Attrs& attrs;
  const Tensor& input(int slot) const { return inputs[static_cast<size_t>(slot)]; }
  bool has(int slot) const { return static_cast<size_t>(slot) < inputs.size() && inputs[slot].defined(); }
  const Attr& attr(std::string_view name) const;
  const Attr& attr(int index) const { return attrs[static_cast<size_t>(index)]; }
};

/// What a gradient rule sees. Rules are written with the public operators, so the result can be differentiated again.
struct GradCall {
  const OpDef& op;
  const Attrs& attrs;
  std::span<const Tensor> inputs;   ///< values only where the rule's `saves` names the parameter; else types only
  std::span<const Tensor> outputs;  ///< the same
  std::span<const Tensor> grads;    ///< of the outputs; undefined where nothing flows
  std::span<const bool> needs;      ///< which inputs want a gradient
  const Tensor& input(int slot) const { return inputs[static_cast<size_t>(slot)]; }
  const Tensor& output(int i = 0) const { return outputs[static_cast<size_t>(i)]; }
  const Tensor& grad(int i = 0) const { return grads[static_cast<size_t>(i)]; }
  bool has(int slot) const { return static_cast<size_t>(slot) < inputs.size() && inputs[slot].defined(); }
  const Attr& attr(std::string_view name) const;
};

using TypesRule = std::function<std::vector<TensorType>(const TypeCall&)>;
/// Sizes, strides and offset of the view, given the input's. Nothing if no view can show it (reshape then copies).
using ViewRule = std::function<std::optional<Geometry>(const TypeCall&, const Geometry& input)>;
/// Fills `out`, which is allocated and contiguous unless the kernel's caller says otherwise.
using Kernel = std::function<void(const Call&, std::span<Tensor> out)>;
using BodyRule = std::function<TensorList(const Call&)>;
/// One gradient per input; undefined where there is none.
using GradientRule = std::function<TensorList(const GradCall&)>;
/// Floating-point operations of one call.
using CostRule = std::function<double(const TypeCall&, std::span<const TensorType> outputs)>;

/// A result that is zero but for a box, which is the first input: all of its dimensions but one are the result's.
struct Inset {
  int64_t dim = 0, start = 0;
};
using InsetRule = std::function<std::optional<Inset>(const TypeCall&)>;
/// The dimension along which the result is the inputs side by side.
using JoinRule = std::function<int64_t(const TypeCall&)>;

/// A call said as one loop, for operators whose kernel looks elements up: gather picks the column that the index
/// names, which a loop over all columns finds by comparing. Where that loop runs anyway, looking up costs nothing.
struct LoopForm {
  Shape points;
  std::shared_ptr<const ScalarFunction>
      body;  ///< of the inputs `slots` and then the position along the last dimension
  std::vector<int> slots;
  std::vector<std::vector<int>>
      dims;               ///< for each dimension of each input the one of `points`, -1: it has one element
  bool sum_last = false;  ///< the result is the sum over the last dimension
  int index_slot = -1;    ///< this input has to lie in [-index_size, index_size): checked before the loop
  int64_t index_size = 0;
};
using LoopRule = std::function<std::optional<LoopForm>(const TypeCall&)>;

/// What a collective moves. The ranks of its group all call it, in the order of the graph, which is the same for all.
struct Exchange {
  enum class Kind : uint8_t { all_reduce, reduce_scatter, all_gather, all_to_all } kind = Kind::all_reduce;
  std::string group;      ///< the name of the ranks
  int64_t bytes = 0;      ///< of the whole tensor; all_to_all: of what one rank has
  int64_t workspace = 0;  ///< what the kernel takes beside its operands
};
using ExchangeRule = std::function<Exchange(const TypeCall&)>;
/// Begins the kernel beside the caller. What it returns waits for the end, and throws what the kernel threw. `keep`
/// lives as long as the kernel runs, even if nobody waits.
using BesideRule =
    std::function<std::function<void()>(const Call&, std::span<Tensor> out, std::shared_ptr<const void> keep)>;

/// What autocast does with the inputs of an operator.
enum class Autocast : uint8_t { none, lower, full };

struct OpDef {
  Signature signature;
  std::string each_text, index_text, axes_text, result_text;  ///< as written in the entry
  std::shared_ptr<const ScalarFunction> each;
  std::shared_ptr<const IndexRule> index;
  ViewRule view;
  BodyRule body;
  BodyRule expand;
  Kernel kernel;
  /// Whether the kernel accepts inputs that are not contiguous.
  bool kernel_takes_strides = false;
  /// Whether the kernel only serves operators that run one by one: a graph takes the body and fuses it.
  bool kernel_is_eager = false;
  /// Whether the kernel writes results that are not contiguous, as long as the last dimension is.
  bool kernel_writes_strides = false;
  InsetRule inset;
  JoinRule joins;
  LoopRule loop;
  /// For each result, its dimensions from outermost to innermost in memory; empty: in order.
  std::vector<std::vector<int>> memory_order;
  TypesRule types;
  GradientRule gradient;
  std::vector<std::string> gradient_saves;  ///< parameters and outputs whose values the rule reads
  CostRule cost;
  Autocast autocast = Autocast::none;
  bool differentiable = true;
  bool random = false;        ///< takes a key and draws numbers; never merged with an equal call
  bool value_shaped = false;  ///< the result's shape depends on values: eager only
  std::string doc;
  const OpDef* derived_from = nullptr;  ///< gelu for "gelu:grad0"
  std::vector<int> base_inputs;         ///< gradients of `each`: the tensors of gelu it reads, after the gradient
  ExchangeRule exchange;                ///< of collectives
  BesideRule beside;                    ///< the kernel, started and left to itself

  const std::string& name() const { return signature.name; }
  bool is_view() const { return static_cast<bool>(view); }
  /// Whether other ranks have to make the same call.
  bool calls_ranks() const { return static_cast<bool>(exchange); }
  /// Whether a compiled graph calls the kernel, even if there is a body.
  bool is_kernel_in_graphs() const { return kernel && !kernel_is_eager; }
};

/// Fluent construction of a registered operator; see the top of this file.
class OpBuilder {
 public:
  explicit OpBuilder(OpDef& def) : def_(def) {}
  /// `result`: "promote" (default), "float" (integers become the default float), "bool", "real" (of a complex), or a
  /// type's name. Boolean bodies give bool anyway.
  OpBuilder& each(std::string_view body, std::string_view result = "promote");
  OpBuilder& index(std::string_view notation, std::string_view result = "promote");
  OpBuilder& view(ViewRule rule);
  OpBuilder& body(BodyRule rule);
  OpBuilder& expand(BodyRule rule);
  OpBuilder& kernel(Kernel k, bool takes_strides = false);
  /// Beside a body, for operators that run one by one.
  OpBuilder& eager_kernel(Kernel k);
  OpBuilder& writes_strided();
  OpBuilder& memory_order(std::vector<std::vector<int>> order);
  OpBuilder& inset(InsetRule rule);
  OpBuilder& joins(JoinRule rule);
  OpBuilder& loop(LoopRule rule);
  OpBuilder& types(TypesRule rule);
  /// `saves`: names of parameters and outputs whose values the rule reads, separated by spaces.
  OpBuilder& gradient(GradientRule rule, std::string_view saves = "");
  OpBuilder& not_differentiable();
  /// Sharding, where it cannot be derived: "input[b.., d!] -> output[b.., d!]"; see derive/sharding.h.
  OpBuilder& axes(std::string_view notation);
  OpBuilder& cost(CostRule rule);
  OpBuilder& exchange(ExchangeRule rule, BesideRule beside);
  OpBuilder& autocast(Autocast kind);
  OpBuilder& random();
  OpBuilder& value_shaped();
  OpBuilder& doc(std::string_view text);
  operator const OpDef&() const { return def_; }

 private:
  OpDef& def_;
};

/// Registers an operator. The signature is the first string literal of the entry (scripts read it from there).
OpBuilder op(std::string_view signature);

/// By full name ("max.dim", "gelu:grad0"); KeyError with the nearest names if there is none.
const OpDef& find_op(std::string_view name);
const OpDef* find_op_or_null(std::string_view name);
/// All registered operators in order of registration (derived ones, such as gradients, are not among them).
std::vector<const OpDef*> all_ops();
/// Makes operators whose name has a colon ("gelu:grad0") when they are first asked for; installed by derive/.
using Derivation = std::function<std::unique_ptr<OpDef>(const OpDef& base, std::string_view suffix)>;
void set_derivation(Derivation derivation);
/// How index notation implies result types; installed by derive/.
void set_index_types(TypesRule rule);
const TypesRule& index_types_rule();

/// Result types of a call: the operator's rule, or what its body or index notation implies. Checks the inputs.
std::vector<TensorType> infer_types(const TypeCall& call);
/// Strides of result `index` in memory order.
Shape result_strides(const OpDef& op, size_t index, const Shape& shape);
/// The type in which the inputs of an `each` operator meet.
DType promoted_type(const TypeCall& call);

}  // namespace sorus
