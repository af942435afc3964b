// The order in which a rank runs its segments, and what it sends and receives in between.
#include <algorithm>

#include "sorus/parallel/partition/segment_builder.h"

namespace sorus::parallel {

Action& SegmentBuilder::push(Action::Kind kind, int what, int micro) {
  Action a{};
  a.kind = kind, a.what = what, a.micro_batch = micro;
  program_.actions.push_back(std::move(a));
  return program_.actions.back();
}

void SegmentBuilder::receive_for(const Key& key, int micro) {
  const Segment& s = program_.segments[static_cast<size_t>(segment_of_.at(key))];
  for (int slot : s.reads) {
    if (slot < inputs_) continue;
    const Value v = value_of_[static_cast<size_t>(slot)];
    int from = maker_rank(v);
    if (from == kEverywhere || from == rank_) continue;
    int m = program_.slots[static_cast<size_t>(slot)].varies ? micro : -1;
    if (received_.insert({slot, m}).second) push(Action::Kind::receive, slot, m).peer = from;
  }
}

void SegmentBuilder::send_value(const Value& v, int micro) {
  auto it = readers_.find({index(v), v.index});
  if (it == readers_.end() || maker_rank(v) == kEverywhere) return;
  for (int r : it->second) push(Action::Kind::send, slot(v), micro).peer = r;
}

void SegmentBuilder::run_segment(const Key& key, int micro) {
  auto found = segment_of_.find(key);
  if (found == segment_of_.end()) return;
  receive_for(key, micro);
  push(Action::Kind::run, found->second, micro);
  std::vector<int> makes = program_.segments[static_cast<size_t>(found->second)].makes;
  for (int s : makes) {
    const Value v = value_of_[static_cast<size_t>(s)];
    send_value(v, program_.slots[static_cast<size_t>(s)].varies ? micro : -1);
    take_over(v, micro);
  }
}

// Sums and joins over the micro-batches.
void SegmentBuilder::take_over(const Value& v, int micro) {
  for (int u : users_of(v)) {
    if (!is_over(u)) continue;
    const Move& m = graphs_[0].over_micro_batches.at(&node(u));
    Action& a = push(m.kind == Move::Kind::all_gather ? Action::Kind::join : Action::Kind::add, slot(v), micro);
    a.to = slot({const_cast<Node*>(&node(u)), 0});
    a.dim = m.dim;
    a.op = m.op;
  }
}

void SegmentBuilder::order() {
  for (size_t i = 0; i < static_cast<size_t>(inputs_); ++i)
    for (int m = 0; m < program_.micro_batches; ++m) {  // arguments that are joined or added up as they are
      Value v{g_.inputs()[i], 0};
      bool any = false;
      for (int u : users_of(v)) any |= is_over(u) && on(stage_[static_cast<size_t>(u)]);
      if (any) take_over(v, m);
    }
  PipelineShape shape{options_.ranks, options_.chunks, program_.micro_batches};
  std::vector<Turn> turns;
  if (options_.ranks > 1 || options_.chunks > 1) {
    turns = pipeline_order(options_.order, shape, rank_);
  } else {
    for (int m = 0; m < program_.micro_batches; ++m) turns.push_back({false, 0, m}), turns.push_back({true, 0, m});
  }
  for (int position = 0; position <= last_; ++position) {
    if (position % 2) {
      for (const Turn& t : turns) run_segment({position, 0, t.stage, t.backward, t.weights}, t.micro_batch);
      // What was taken over all micro-batches may be wanted elsewhere.
      for (int i = 0; i < n_; ++i)
        if (is_over(i) && over_position(i) == position && on(stage_[static_cast<size_t>(i)]))
          send_value({const_cast<Node*>(&node(i)), 0}, -1);
      continue;
    }
    int deepest = 0;
    for (const auto& [key, members] : groups_)
      if (key.position == position) deepest = std::max(deepest, key.depth);
    for (int d = 0; d <= deepest; ++d) run_segment({position, d, rank_, false}, -1);
  }
}

int SegmentBuilder::over_position(int i) const {
  int last = -1;
  for (const Value& v : node(i).inputs)
    if (v) last = std::max(last, computed(index(v)) ? position_[static_cast<size_t>(index(v))] : 1);
  return last;
}

void SegmentBuilder::finish() {
  auto captures = g_.inputs().size() - static_cast<size_t>(inputs_);
  program_.used.assign(captures, 0);
  program_.written_by.assign(captures, -2);
  for (const Segment& s : program_.segments)
    for (int c : s.captures) program_.used[static_cast<size_t>(c)] = 1;
  std::vector<std::set<int>> users(captures);
  for (const auto& [key, members] : groups_) {
    int r = key.position % 2 ? pipeline_rank(key.stage) : key.stage;
    for (int i : members)
      for (const Value& v : node(i).inputs)
        if (v && input_number(v.node) >= inputs_)
          users[static_cast<size_t>(input_number(v.node) - inputs_)].insert(r);
  }
  for (size_t w = 0; w < targets_.size(); ++w) {
    const Value& v = g_.outputs()[static_cast<size_t>(outputs_) + w];
    int c = targets_[w] - inputs_;
    SORUS_CHECK(c >= 0 || program_.micro_batches == 1, NotImplementedError,
                "micro-batches: argument {} is written by the step, which is not possible", targets_[w]);
    int from = computed(index(v)) ? maker_rank(v) : kEverywhere;
    if (c < 0) {
      SORUS_CHECK(from == kEverywhere || options_.ranks == 1, NotImplementedError,
                  "pipeline: argument {} is written by the step, which is not possible", targets_[w]);
      push(Action::Kind::write, slot(v), -1).to = targets_[w] - inputs_;
      continue;
    }
    program_.written_by[static_cast<size_t>(c)] = from;
    bool here = from == kEverywhere || from == rank_;
    if (here) {
      program_.used[static_cast<size_t>(c)] = 1;
      if (!in_place_.contains(static_cast<int>(w))) push(Action::Kind::write, slot(v), -1).to = c;
    }
    if (from == kEverywhere) continue;
    for (int r : users[static_cast<size_t>(c)]) {
      if (r == from) continue;
      if (here) push(Action::Kind::send_capture, c, -1).peer = r;
      if (r == rank_) push(Action::Kind::receive_capture, c, -1).peer = from;
    }
  }
  for (int k = 0; k < outputs_; ++k) {
    const Value& v = g_.outputs()[static_cast<size_t>(k)];
    int from = maker_rank(v);
    program_.result_rank.push_back(from);
    program_.results.push_back(from == kEverywhere || from == rank_ ? slot(v) : -1);
  }
}

void SegmentBuilder::find_last_uses() {
  std::set<std::pair<int, int>> later;
  for (int s : program_.results)
    if (s >= 0) later.insert({s, -1});
  for (size_t i = program_.actions.size(); i-- > 0;) {
    Action& a = program_.actions[i];
    auto use = [&](int s) {
      if (s < inputs_) return;
      int m = program_.slots[static_cast<size_t>(s)].varies ? a.micro_batch : -1;
      if (later.insert({s, m}).second) a.last.emplace_back(s, m);
    };
    switch (a.kind) {
      case Action::Kind::run:
        for (int s : program_.segments[static_cast<size_t>(a.what)].reads) use(s);
        for (int s : program_.segments[static_cast<size_t>(a.what)].makes) use(s);
        break;
      case Action::Kind::add:
      case Action::Kind::join:
      case Action::Kind::send:
        use(a.what);
        break;
      case Action::Kind::write:
        use(a.what);
        break;
      default:
        break;
    }
  }
}

std::string Program::to_string() const {
  std::string s;
  static constexpr const char* kNames[] = {
      "run", "add", "join", "send", "receive", "send captured", "receive captured", "write"};
  for (const Action& a : actions) {
    s += kNames[static_cast<size_t>(a.kind)];
    s += a.kind == Action::Kind::run ? " " + segments[static_cast<size_t>(a.what)].name : fmt::format(" {}", a.what);
    if (a.micro_batch >= 0) s += fmt::format(" of micro-batch {}", a.micro_batch);
    if (a.to >= 0) s += fmt::format(" to {}", a.to);
    if (a.peer >= 0) s += fmt::format(" with rank {}", a.peer);
    s += "\n";
  }
  return s;
}

}  // namespace sorus::parallel
