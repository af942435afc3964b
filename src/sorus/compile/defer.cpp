#include "sorus/compile/defer.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "sorus/compile/split.h"
#include "sorus/derive/cost.h"

namespace sorus {
namespace {

constexpr double kSmallest = 16384;  // bytes: less is stored faster than it is put off
constexpr double kShare = 16, kFlops = 8;
constexpr size_t kMaxNodes = 16;

struct Recipe {
  std::unordered_set<const Node*> nodes;
  std::vector<Value> kept;
};

class Search {
 public:
  Search(const Value& wanted, const std::unordered_set<const Node*>& written)
      : written_(written),
        left_(wanted.type().nbytes() / kShare),
        single_(left_),
        flops_left_(kFlops * static_cast<double>(numel(wanted.type().shape))) {}

  bool expand(const Value& v) {
    const Node& n = *v.node;
    if (recipe.nodes.contains(&n)) return true;
    bool simple = n.op && !n.op->random && !n.op->value_shaped && n.outputs.size() == 1 &&
                  (n.op->is_view() || n.op->each || n.op->index);
    if (!simple || recipe.nodes.size() >= kMaxNodes) return false;
    auto types = n.input_types();
    if (!n.op->is_view() && (flops_left_ -= cost_of(TypeCall{*n.op, types, n.attrs}).flops) < 0) return false;
    recipe.nodes.insert(&n);
    return std::all_of(n.inputs.begin(), n.inputs.end(), [&](const Value& in) { return !in || provide(in); });
  }
  Recipe recipe;

 private:
  bool provide(const Value& v) {
    if (v.node->is_constant()) {
      recipe.nodes.insert(v.node);
      return true;
    }
    if (std::find(recipe.kept.begin(), recipe.kept.end(), v) != recipe.kept.end()) return true;
    double bytes = v.type().nbytes();
    // Keeping the old value of a tensor that the step writes would cost more than it saves.
    if (bytes > single_ || written_.contains(v.node)) return expand(v);
    recipe.kept.push_back(v);
    return (left_ -= bytes) >= 0;
  }

  const std::unordered_set<const Node*>& written_;
  double left_, single_, flops_left_;
};

}  // namespace

std::vector<DeferredOutput> defer_outputs(TracedGraph& traced, int first, int last, std::vector<int>& moved) {
  Graph& g = traced.graph;
  std::unordered_set<const Node*> written;
  for (int w : traced.write_targets) written.insert(g.inputs()[static_cast<size_t>(w)]);
  std::vector<Value> outputs, writes(g.outputs().begin() + traced.explicit_outputs, g.outputs().end());
  std::vector<DeferredOutput> out;
  std::vector<Recipe> recipes;
  moved.clear();
  for (int i = 0; i < traced.explicit_outputs; ++i) {
    const Value& v = g.outputs()[static_cast<size_t>(i)];
    Search search(v, written);
    if (i >= first && i < last && v.type().nbytes() >= kSmallest && search.expand(v)) {
      moved.push_back(-1);
      recipes.push_back(std::move(search.recipe));
      DeferredOutput d;
      d.output = i;
      ValueMap map;
      for (const Value& k : recipes.back().kept) map[k] = d.recipe.add_input(k.type());
      copy_nodes(g, recipes.back().nodes, d.recipe, map);
      d.recipe.set_outputs({map.at(v)});
      out.push_back(std::move(d));
    } else {
      moved.push_back(static_cast<int>(outputs.size()));
      outputs.push_back(v);
    }
  }
  for (size_t i = 0; i < out.size(); ++i)
    for (const Value& k : recipes[i].kept) {
      auto at = std::find(outputs.begin(), outputs.end(), k) - outputs.begin();
      if (at == static_cast<ptrdiff_t>(outputs.size())) outputs.push_back(k);
      out[i].kept.push_back(static_cast<int>(at));
    }
  traced.explicit_outputs = static_cast<int>(outputs.size());
  outputs.insert(outputs.end(), writes.begin(), writes.end());
  g.set_outputs(std::move(outputs));
  return out;
}

}  // namespace sorus
