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

struct UnitNode {
  const Node* node = nullptr;
  ShardingRule rule;
  bool active = false;         ///< depends on a parameter or on what comes in
  std::vector<char> needs;     ///< inputs that want a gradient
  std::vector<char> read;      ///< results that somebody reads
  std::vector<char> fused_in;  ///< inputs that the same kernel has just made
  bool fused_out = false;      ///< its result is read by the kernel that makes it, and by nobody else
  bool in_region = false;      ///< products of activations, and what lies between them
  bool in_experts = false;     ///< products with experts' parameters, and what lies between them
  int expert_slot = -1;        ///< the input that is such a parameter, and which of its dimensions counts experts
  size_t expert_dim = 0;
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
  /// `scale`: what to divide by if the operator cannot be called with these types.
  OperatorCost cost(const UnitNode& u, const std::vector<TensorType>& types, double scale = 1) const;
  /// The shape that a rank sees: its part of the batch, and of what is split.
  TensorType local(Value v, const TensorType& type, Layout layout, const UnitRequest& r, bool parameter);

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
  std::vector<UnitNode> describe(const UnitType& t);
  void find_experts(std::vector<UnitNode>& out, NodePlaces& at, const std::vector<char>& is_matrix);
  void find_region(std::vector<UnitNode>& out, NodePlaces& at, const std::vector<char>& is_matrix) const;

  const Model& model_;
  const Chain& chain_;
  std::unordered_map<const Node*, int> position_, unit_of_;
  std::unordered_set<Value> read_;
  DimClasses classes_;
  std::vector<int> batch_classes_, token_classes_;
  std::vector<std::vector<UnitNode>> units_;  // by type
  int64_t experts_ = 0;
};

}  // namespace sorus::parallel
