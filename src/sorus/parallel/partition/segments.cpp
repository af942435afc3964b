#include "sorus/parallel/partition/segments.h"

#include <algorithm>

#include "sorus/parallel/partition/merge.h"
#include "sorus/parallel/partition/segment_builder.h"

namespace sorus::parallel {

SegmentBuilder::SegmentBuilder(const std::vector<LocalGraph>& graphs, const Propagated& p, int explicit_inputs,
                               int explicit_outputs, const std::vector<int>& targets, const PipelineOptions& options,
                               int rank)
    : graphs_(graphs),
      g_(graphs[0].graph),
      p_(p),
      inputs_(explicit_inputs),
      outputs_(explicit_outputs),
      targets_(targets),
      options_(options),
      rank_(rank),
      n_(static_cast<int>(g_.size())) {
  for (int i = 0; i < n_; ++i) index_[g_.nodes()[static_cast<size_t>(i)].get()] = i;
  for (const LocalGraph& l : graphs) SORUS_ASSERT(static_cast<int>(l.graph.size()) == n_);
  program_.micro_batches = static_cast<int>(graphs.size());
  program_.arguments = inputs_;
  for (int i = 0; i < inputs_; ++i) {
    Value v{g_.inputs()[static_cast<size_t>(i)], 0};
    program_.slots.push_back({v.type(), value_varies(v), 4 * index(v)});
    value_of_.push_back(v);
  }
  for (int i = 0; i < n_; ++i)
    for (const Value& in : node(i).inputs)
      if (in) users_[{index(in), in.index}].push_back(i);
}

Program SegmentBuilder::run() {
  find_varying();
  find_positions();
  find_stages();
  find_for_weights();
  find_depths();
  group();
  find_transfers();
  for (const auto& [key, members] : groups_)
    if (on(key.stage))
      for (int i : members) here_[i].push_back(&key);
  for (auto& [key, members] : groups_)
    if (on(key.stage)) build(key, members);
  order();
  finish();
  find_last_uses();
  return std::move(program_);
}

void SegmentBuilder::group() {
  // What every rank can compute, a rank computes where it needs it.
  auto at = [](int x) { return static_cast<size_t>(x); };
  for (int r = 0; r < options_.ranks; ++r) {
    std::vector<char> needed(at(n_), 0);
    for (const Value& v : g_.outputs()) needed[at(index(v))] = 1;
    for (int i = n_; i-- > 0;) {
      if (!computed(i)) continue;
      bool here = stage_[at(i)] == kEverywhere ? needed[at(i)] : pipeline_rank(stage_[at(i)]) == r;
      if (!here) continue;
      for (const Value& v : node(i).inputs)
        if (v) needed[at(index(v))] = 1;
      if (is_over(i)) continue;
      if (stage_[at(i)] == kEverywhere)
        groups_[{position_[at(i)], 0, r, false}].push_back(i);
      else
        groups_[key_of(i)].push_back(i);
    }
  }
  for (auto& [key, members] : groups_) {
    auto forward = groups_.find({key.position, 0, key.stage, false});
    if (options_.recompute && key.backward && forward != groups_.end()) {
      recomputed_[key] = std::set<int>(forward->second.begin(), forward->second.end());
      members.insert(members.end(), forward->second.begin(), forward->second.end());
    }
    // Views of captured tensors cost nothing where they are read.
    for (size_t k = 0; k < members.size(); ++k)
      for (const Value& v : node(members[k]).inputs)
        if (v && shows_captured(index(v)) && std::find(members.begin(), members.end(), index(v)) == members.end())
          members.push_back(index(v));
    std::sort(members.begin(), members.end());
  }
}

void SegmentBuilder::find_transfers() {
  for (const auto& [key, members] : groups_) {
    std::set<int> inside(members.begin(), members.end());
    int r = key.position % 2 ? pipeline_rank(key.stage) : key.stage;
    for (int i : members)
      for (const Value& v : node(i).inputs) {
        if (!v || inside.contains(index(v)) || !computed(index(v))) continue;
        if (maker_rank(v) == kEverywhere || maker_rank(v) == r) continue;
        readers_[{index(v), v.index}].insert(r);
      }
  }
}

int SegmentBuilder::slot(const Value& v) {
  if (int in = input_number(v.node); in >= 0) {
    SORUS_ASSERT(in < inputs_);
    return in;
  }
  auto [it, fresh] = slots_.try_emplace({index(v), v.index}, static_cast<int>(program_.slots.size()));
  if (fresh) {
    program_.slots.push_back({v.type(), value_varies(v), 4 * index(v) + v.index});
    value_of_.push_back(v);
  }
  return it->second;
}

void SegmentBuilder::build(const Key& key, const std::vector<int>& members) {
  Segment s;
  bool each = key.position % 2 == 1;
  s.name = each
               ? fmt::format("{} {}{}",
                             key.weights    ? "weights"
                             : key.backward ? "backward"
                                            : "forward",
                             key.stage,
                             last_ > 2 && key.position + 1 < last_ ? fmt::format(" (position {})", key.position) : "")
               : fmt::format("once {}.{}", key.position, key.depth);
  std::set<int> inside(members.begin(), members.end());
  std::vector<Value> made, read;
  std::vector<int> captures;
  std::set<std::pair<int, int>> seen_read;
  for (int i : members)
    for (const Value& v : node(i).inputs) {
      if (!v || inside.contains(index(v)) || v.node->is_constant()) continue;
      if (!seen_read.insert({index(v), v.index}).second) continue;
      int in = input_number(v.node);
      if (in >= inputs_)
        captures.push_back(in - inputs_);
      else
        read.push_back(v);
    }
  auto rec = recomputed_.find(key);
  for (int i : members) {
    if (rec != recomputed_.end() && rec->second.contains(i)) continue;
    for (size_t o = 0; o < node(i).outputs.size(); ++o) {
      Value v{const_cast<Node*>(&node(i)), static_cast<int>(o)};
      if (is_wanted_outside(v, key)) made.push_back(v);
    }
  }
  // New values of captured tensors in the last segment go straight into them.
  std::vector<Value> written;
  if (key.position == last_ && key.depth == last_depth()) {
    for (size_t w = 0; w < targets_.size(); ++w) {
      const Value& v = g_.outputs()[static_cast<size_t>(outputs_) + w];
      int c = targets_[w] - inputs_;
      if (c < 0 || !inside.contains(index(v))) continue;
      in_place_.insert(static_cast<int>(w));
      if (std::find(captures.begin(), captures.end(), c) == captures.end()) captures.push_back(c);
      s.writes.push_back(c);
      written.push_back(v);
    }
    std::erase_if(made, [&](const Value& v) { return !is_wanted_outside(v, key); });
  }
  for (const Value& v : read) s.reads.push_back(slot(v));
  for (const Value& v : made) s.makes.push_back(slot(v));
  s.captures = captures;
  int copies = each ? program_.micro_batches : 1;
  std::vector<std::string> texts;
  for (int m = 0; m < copies; ++m) {
    Graph graph = extract(static_cast<size_t>(m), members, read, captures, made, written, s.name);
    std::string text = graph.to_string();
    auto same = std::find(texts.begin(), texts.end(), text);
    s.graph_of.push_back(static_cast<int>(same - texts.begin()));
    if (same != texts.end()) continue;
    texts.push_back(std::move(text));
    s.graphs.push_back(std::move(graph));
  }
  segment_of_[key] = static_cast<int>(program_.segments.size());
  program_.segments.push_back(std::move(s));
}

int SegmentBuilder::last_depth() const {
  int d = 0;
  for (const auto& [key, members] : groups_)
    if (key.position == last_ && key.stage == rank_) d = std::max(d, key.depth);
  return d;
}

bool SegmentBuilder::is_wanted_outside(const Value& v, const Key& key) const {
  std::pair<int, int> id{index(v), v.index};
  if (readers_.contains(id)) return true;
  for (size_t k = 0; k < g_.outputs().size(); ++k)
    if (g_.outputs()[k] == v &&
        (static_cast<int>(k) < outputs_ || !in_place_.contains(static_cast<int>(k) - outputs_)))
      return true;
  auto is_in = [&](int i, const Key* k) {
    auto it = here_.find(i);
    return it != here_.end() && std::find(it->second.begin(), it->second.end(), k) != it->second.end();
  };
  for (int u : users_of(v)) {
    if (is_over(u)) return true;
    auto it = here_.find(u);
    if (it == here_.end()) continue;
    for (const Key* other : it->second)
      if (*other != key && !is_in(index(v), other)) return true;  // else it makes the value itself
  }
  return false;
}

Graph SegmentBuilder::extract(size_t m, const std::vector<int>& members, const std::vector<Value>& read,
                              const std::vector<int>& captures, const std::vector<Value>& made,
                              const std::vector<Value>& written, const std::string& name) const {
  const Graph& from = graphs_[m].graph;
  Graph g(from.name() + ", " + name);
  std::map<std::pair<int, int>, Value> map;
  for (const Value& v : read) map[{index(v), v.index}] = g.add_input(v.type());
  for (int c : captures) {
    const size_t at = static_cast<size_t>(inputs_) + static_cast<size_t>(c);
    Node* in = from.inputs()[at];
    map[{index({g_.inputs()[at], 0}), 0}] = g.add_input(in->outputs[0], in->label);
  }
  for (int i : members) {
    const Node& n = *from.nodes()[static_cast<size_t>(i)];
    std::vector<Value> in;
    for (const Value& v : node(i).inputs) {
      if (!v) {
        in.emplace_back();
        continue;
      }
      auto [it, fresh] = map.try_emplace({index(v), v.index});
      if (fresh) {
        SORUS_ASSERT(v.node->is_constant());
        it->second = g.add_constant(v.node->constant.scalar(), v.type().dtype, v.type().weak);
      }
      in.push_back(it->second);
    }
    Node* made_node = g.add(*n.op, std::move(in), n.attrs, n.source);
    for (size_t o = 0; o < n.outputs.size(); ++o) map[{i, static_cast<int>(o)}] = {made_node, static_cast<int>(o)};
  }
  std::vector<Value> out;
  for (const auto* list : {&made, &written})
    for (const Value& v : *list) out.push_back(map.at({index(v), v.index}));
  g.set_outputs(std::move(out));
  return merge_collectives(g);
}

Program make_program(const std::vector<LocalGraph>& graphs, const Propagated& propagated, int explicit_inputs,
                     int explicit_outputs, const std::vector<int>& write_targets, const PipelineOptions& options,
                     int rank) {
  return SegmentBuilder(graphs, propagated, explicit_inputs, explicit_outputs, write_targets, options, rank).run();
}

}  // namespace sorus::parallel
