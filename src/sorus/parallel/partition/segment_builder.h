// The parts of `make_program` (segments.h): where every node runs (positions.cpp, stages.cpp), which segments that
// makes (segments.cpp), and in which order a rank runs them (actions.cpp). Nodes are known by their number in the
// graph, which is the same for all micro-batches.
#pragma once

#include <map>
#include <set>

#include "sorus/parallel/partition/segments.h"

namespace sorus::parallel {

class SegmentBuilder {
 public:
  SegmentBuilder(const std::vector<LocalGraph>& graphs, const Propagated& p, int explicit_inputs,
                 int explicit_outputs, const std::vector<int>& targets, const PipelineOptions& options, int rank);
  Program run();

 private:
  static constexpr int kEverywhere = -1;
  struct Key {
    int position = 0, depth = 0, stage = 0;
    bool backward = false, weights = false;  // the second: the part of a backward pass that no other stage waits for
    auto operator<=>(const Key&) const = default;
  };
  const Node& node(int i) const { return *g_.nodes()[static_cast<size_t>(i)]; }
  int index(const Value& v) const { return index_.at(v.node); }
  bool computed(int i) const { return node(i).op != nullptr; }
  bool is_over(int i) const { return graphs_[0].over_micro_batches.contains(&node(i)); }
  bool value_varies(const Value& v) const {
    if (p_.micro_axis < 0) return false;
    auto it = graphs_[0].layouts.find(v);
    return it != graphs_[0].layouts.end() && !it->second[static_cast<size_t>(p_.micro_axis)].is_replicate();
  }
  int pipeline_rank(int stage) const { return stage == kEverywhere ? kEverywhere : stage % options_.ranks; }
  bool on(int stage) const { return stage == kEverywhere || pipeline_rank(stage) == rank_; }

  // positions.cpp: when nodes run: once or for each micro-batch, and in what order
  void find_varying();
  void find_positions();
  void find_depths();

  // stages.cpp: of which stage of a pipeline a node is
  void find_stages();
  void find_for_weights();
  std::vector<std::set<int>> read_inputs() const;
  std::vector<std::pair<size_t, size_t>> given_borders(const std::vector<int>& chain, int stages) const;
  void cut(const std::vector<int>& chain, const std::vector<double>& seconds, double total, int stages);

  // segments.cpp: what runs together
  void group();
  void find_transfers();
  int slot(const Value& v);
  void build(const Key& key, const std::vector<int>& members);
  int last_depth() const;
  bool is_wanted_outside(const Value& v, const Key& key) const;
  Graph extract(size_t m, const std::vector<int>& members, const std::vector<Value>& read,
                const std::vector<int>& captures, const std::vector<Value>& made, const std::vector<Value>& written,
                const std::string& name) const;

  // actions.cpp: the order of one rank
  Action& push(Action::Kind kind, int what, int micro);
  void receive_for(const Key& key, int micro);
  void send_value(const Value& v, int micro);
  void run_segment(const Key& key, int micro);
  void take_over(const Value& v, int micro);
  void order();
  int over_position(int i) const;
  void finish();
  void find_last_uses();

  Key key_of(int i) const {
    auto at = static_cast<size_t>(i);
    if (varies_[at]) return {position_[at], 0, stage_[at], !forward_[at], !forward_[at] && for_weights_[at]};
    // What runs once at one rank is one segment, whatever the stages.
    int r = pipeline_rank(stage_[at]);
    return {position_[at], depth_[at], r, false};
  }
  bool shows_captured(int i) const {
    if (!computed(i) || stage_[static_cast<size_t>(i)] != kEverywhere || !node(i).op->is_view()) return false;
    const Value& v = node(i).inputs[0];
    return input_number(v.node) >= inputs_ || shows_captured(index(v));
  }
  // The ranks that make a value.
  int maker_rank(const Value& v) const { return pipeline_rank(stage_[static_cast<size_t>(index(v))]); }
  int input_number(const Node* n) const {
    for (size_t i = 0; i < g_.inputs().size(); ++i)
      if (g_.inputs()[i] == n) return static_cast<int>(i);
    return -1;
  }
  const std::vector<int>& users_of(const Value& v) const {
    static const std::vector<int> none;
    auto it = users_.find({index(v), v.index});
    return it == users_.end() ? none : it->second;
  }

  const std::vector<LocalGraph>& graphs_;
  const Graph& g_;
  const Propagated& p_;
  int inputs_, outputs_;
  const std::vector<int>& targets_;
  const PipelineOptions& options_;
  int rank_, n_, last_ = 0;
  std::unordered_map<const Node*, int> index_;
  std::vector<char> varies_, forward_, for_weights_;
  std::vector<int> position_, stage_, depth_;
  std::map<Key, std::vector<int>> groups_;
  std::map<Key, std::set<int>> recomputed_;
  std::map<std::pair<int, int>, std::set<int>> readers_;  // of a value: ranks of the pipeline that receive it
  std::map<std::pair<int, int>, int> slots_;
  std::vector<Value> value_of_;                  // by slot
  std::map<int, std::vector<const Key*>> here_;  // groups of this rank that a node is in
  std::map<Key, int> segment_of_;
  std::set<int> in_place_;
  std::set<std::pair<int, int>> received_;
  std::map<std::pair<int, int>, std::vector<int>> users_;
  Program program_;
};

}  // namespace sorus::parallel
