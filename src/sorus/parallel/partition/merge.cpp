#include "sorus/parallel/partition/merge.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "sorus/graph/copy.h"

namespace sorus::parallel {
namespace {

class Merge {
 public:
  Merge(const Graph& from, const MergeOptions& options) : from_(from), options_(options), to_(from.name()) {}

  Graph run() {
    find_levels();
    find_buckets();
    map_ = copy_inputs(from_, to_);
    std::vector<const Node*> order;
    for (const auto& n : from_.nodes())
      if (!n->is_input()) order.push_back(n.get());
    std::stable_sort(order.begin(), order.end(), [&](const Node* a, const Node* b) {
      return std::pair(level_.at(a), !is_collective(*a)) < std::pair(level_.at(b), !is_collective(*b));
    });
    for (const Node* n : order) {
      auto bucket = bucket_of_.find(n);
      if (bucket == bucket_of_.end())
        copy_node(*n, to_, map_);
      else if (buckets_[bucket->second].back() == n)  // as late as its last part is ready
        merge(buckets_[bucket->second]);
    }
    copy_outputs(from_, to_, map_);
    return std::move(to_);
  }

 private:
  // Element by element, so that tensors can lie side by side.
  static bool is_collective(const Node& n) {
    return n.op && n.op->calls_ranks() && exchange(n).kind == Exchange::Kind::all_reduce;
  }
  static Exchange exchange(const Node& n) {
    auto types = n.input_types();
    return n.op->exchange(TypeCall{*n.op, types, n.attrs});
  }
  // What has to be the same besides: operator, attributes, type.
  static std::string sort(const Node& n) {
    std::string text = n.op->name();
    for (const Attr& a : n.attrs) text += "," + a.to_string();
    return text;
  }

  void find_levels() {
    for (const auto& n : from_.nodes()) {
      int level = 0;
      for (const Value& v : n->inputs)
        if (v) level = std::max(level, level_.at(v.node));
      level_[n.get()] = level + (is_collective(*n) ? 1 : 0);
    }
  }

  void find_buckets() {
    std::map<std::tuple<int, std::string, DType>, std::pair<size_t, int64_t>> open;
    for (const auto& n : from_.nodes()) {
      if (!is_collective(*n)) continue;
      int64_t bytes = n->outputs[0].nbytes();
      if (bytes > options_.small_bytes || bytes == 0) continue;
      auto [it, fresh] = open.try_emplace({level_.at(n.get()), sort(*n), n->outputs[0].dtype}, 0, 0);
      if (fresh || it->second.second + bytes > options_.bucket_bytes) {
        it->second = {buckets_.size(), 0};
        buckets_.emplace_back();
      }
      it->second.second += bytes;
      buckets_[it->second.first].push_back(n.get());
    }
    for (size_t b = 0; b < buckets_.size(); ++b)
      if (buckets_[b].size() > 1)
        for (const Node* n : buckets_[b]) bucket_of_[n] = b;
  }

  void merge(const std::vector<const Node*>& bucket) {
    static const OpDef &reshape = find_op("reshape"), &cat = find_op("cat"), &slice = find_op("slice");
    const Node& first = *bucket[0];
    std::vector<Value> flat;
    for (const Node* n : bucket) {
      const Value& v = map_.at(n->inputs[0]);
      flat.push_back({to_.add(reshape, {v}, {Attr(Shape{numel(v.type().shape)})}, n->source), 0});
    }
    Value all{to_.add(cat, flat, {Attr(0)}, first.source), 0};
    Value sum{to_.add(*first.op, {all}, first.attrs, first.source), 0};
    int64_t at = 0;
    for (const Node* n : bucket) {
      int64_t length = numel(n->outputs[0].shape);
      Value part{to_.add(slice, {sum}, {Attr(0), Attr(at), Attr(at + length), Attr(1)}, n->source), 0};
      map_[{const_cast<Node*>(n), 0}] = {to_.add(reshape, {part}, {Attr(n->outputs[0].shape)}, n->source), 0};
      at += length;
    }
  }

  const Graph& from_;
  const MergeOptions& options_;
  Graph to_;
  std::unordered_map<const Node*, int> level_;
  std::vector<std::vector<const Node*>> buckets_;
  std::unordered_map<const Node*, size_t> bucket_of_;
  ValueMap map_;
};

}  // namespace

Graph merge_collectives(const Graph& graph, const MergeOptions& options) { return Merge(graph, options).run(); }

}  // namespace sorus::parallel
