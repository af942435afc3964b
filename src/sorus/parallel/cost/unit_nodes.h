// The operators of the chain's units with all that does not depend on how they are split: sharding rules, which
// dimensions go together, which results stay in registers, what belongs to attention and to experts.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "sorus/parallel/cost/operator_cost.h"
#include "sorus/parallel/cost/unit_cost.h"
#include "sorus/parallel/space/chain.h"
#include "sorus/parallel/space/layout.h"

namespace sorus::parallel {

/// Which dimension of each input and of the first result is dealt out among the ranks of the context axis; -1: none.
struct TokenDims {
  std::vector<int> in;
  std::vector<char> whole_in;  ///< inputs with tokens all of which the operator looks at
  int factor = -1;             ///< of the rule, that all of these dimensions are of
};

struct UnitNode {
  const Node* node = nullptr;
  ShardingRule rule;
  bool active = false;         ///< depends on a parameter or on what comes in
  std::vector<char> needs;     ///< inputs that want a gradient
  std::vector<char> read;      ///< results that somebody reads
  std::vector<char> fused_in;  ///< inputs that the same kernel has just made
  bool fused_out = false;      ///< its result is read by the kernel that makes it, and by nobody else
  bool products = false;       ///< its work is arithmetic
  bool in_region = false;      ///< products of activations, and what lies between them
  bool in_experts = false;     ///< products with experts' parameters, and what lies between them
  int expert_slot = -1;        ///< the input that is such a parameter, and which of its dimensions counts experts
  size_t expert_dim = 0;
  TokenDims tokens;
};

/// Where each of a unit's nodes stands in the list of its UnitNodes.
using NodePlaces = std::unordered_map<const Node*, size_t>;

/// The model and the chain must outlive it.
class UnitNodes {
 public:
  UnitNodes(const Model& model, const Chain& chain);
  const std::vector<UnitNode>& of(int type) const { return units_[static_cast<size_t>(type)]; }
  const Model& model() const { return model_; }
  const Chain& chain() const { return chain_; }
  int position(const Node* n) const { return position_.at(n); }
  /// Depends on what the program is given.
  bool flows(const Node* n) const { return chain_.flows[static_cast<size_t>(position(n))]; }
  /// The dimension is one of the batch, or of tokens.
  bool in_batch(Value v, size_t dim) { return in_class(batch_classes_, v, dim); }
  bool in_tokens(Value v, size_t dim) { return in_class(token_classes_, v, dim); }
  /// The greatest number that divides the experts of all layers; 0: there are none.
  int64_t experts() const { return experts_; }
  /// Types of the inputs as they are in the graph; of one that is not given, an empty one.
  static std::vector<TensorType> types_of(const Node& n);
  /// See UnitCosts.
  int64_t tokens() const { return tokens_; }
  /// `scale`: what to divide by if the operator cannot be called with these types. `blocks` > 1: of so many blocks of
  /// the tokens, the last.
  OperatorCost cost(const UnitNode& u, const std::vector<TensorType>& types, double scale = 1,
                    int64_t blocks = 1) const;
  /// The shape that a rank sees: its part of the batch, of the tokens and of what is split.
  TensorType local(Value v, const TensorType& type, Layout layout, const UnitRequest& r, bool parameter);
  /// The same for what an operator reads.
  std::vector<TensorType> local_inputs(const UnitNode& u, const Strategy& strategy, const UnitRequest& r);

 private:
  // Dimensions that must be split together: joined through the factors of sharding rules.
  class DimClasses {
   public:
    int id(Value v, size_t dim);
    void join(int a, int b) { parent_[static_cast<size_t>(find(a))] = find(b); }
    int find(int a);

   private:
    struct Key {
      const Node* node;
      int output;
      size_t dim;
      bool operator==(const Key&) const = default;
    };
    struct Hash {
      size_t operator()(const Key& k) const {
        return std::hash<const void*>()(k.node) * 31 + static_cast<size_t>(k.output) * 7 + k.dim * 1000003;
      }
    };
    std::unordered_map<Key, int, Hash> ids_;
    std::vector<int> parent_;
  };

  Value canonical(Value v) const;
  bool inside(const Node* n, const UnitType& t) const;
  bool in_class(const std::vector<int>& wanted, Value v, size_t dim);
  TensorType part(Value v, const TensorType& type, Layout layout, const UnitRequest& r, bool parameter, int tokens);
  int token_dim(Value v);
  void find_tokens();
  std::vector<UnitNode> describe(const UnitType& t);
  void find_experts(std::vector<UnitNode>& out, NodePlaces& at, const std::vector<char>& is_matrix);
  void add_places(const UnitNode& u, size_t parameter);
  void find_region(std::vector<UnitNode>& out, NodePlaces& at, const std::vector<char>& is_matrix) const;

  const Model& model_;
  const Chain& chain_;
  std::unordered_map<const Node*, int> position_, unit_of_;
  std::unordered_set<Value> read_;
  DimClasses classes_;
  std::vector<int> batch_classes_, token_classes_;
  std::vector<std::pair<Value, size_t>> places_;  ///< dimensions that are places at experts
  std::vector<int> place_classes_;
  std::vector<int> context_classes_;  ///< of dimension 1 of the inputs: what the context axis deals out
  int64_t tokens_ = 1;
  std::vector<std::vector<UnitNode>> units_;  // by type
  int64_t experts_ = 0;
};

}  // namespace sorus::parallel
