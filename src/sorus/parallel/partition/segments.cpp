#include "sorus/parallel/partition/segments.h"

#include <algorithm>
#include <map>
#include <set>

#include "sorus/derive/cost.h"
#include "sorus/parallel/partition/merge.h"

namespace sorus::parallel {
namespace {

constexpr int kEverywhere = -1;

class Builder {
 public:
  Builder(const std::vector<LocalGraph>& graphs, const Propagated& p, int explicit_inputs, int explicit_outputs,
          const std::vector<int>& targets, const PipelineOptions& options, int rank)
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

  Program run() {
    find_varying();
    find_positions();
    find_stages();
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

 private:
  struct Key {
    int position = 0, depth = 0, stage = 0;
    bool backward = false;
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

  void find_varying() {
    varies_.assign(static_cast<size_t>(n_), 0);
    for (int i = 0; i < n_; ++i) {
      for (size_t o = 0; o < node(i).outputs.size(); ++o)
        varies_[static_cast<size_t>(i)] |= value_varies({const_cast<Node*>(&node(i)), static_cast<int>(o)});
      if (is_over(i)) varies_[static_cast<size_t>(i)] = 0;
    }
  }

  void find_positions() {
    auto at = [](int x) { return static_cast<size_t>(x); };
    std::vector<int> early(at(n_), 0);
    int last = 0;
    for (int i = 0; i < n_; ++i) {
      if (!computed(i)) continue;
      int base = 0;
      for (const Value& v : node(i).inputs) {
        if (!v) continue;
        int u = index(v), from = computed(u) ? early[at(u)] : 0;
        if (is_over(i) && value_varies(v)) from = computed(u) ? early[at(u)] + 1 : 2;
        SORUS_CHECK(is_over(i) || varies_[at(i)] || !value_varies(v), NotImplementedError,
                    "micro-batches: {} is the same for all of them but reads a value that is not",
                    node(i).op->name());
        base = std::max(base, from);
      }
      bool odd = varies_[at(i)];
      early[at(i)] = base + (base % 2 != (odd ? 1 : 0));
      last = std::max(last, early[at(i)]);
    }
    last_ = last + last % 2;
    position_.assign(at(n_), last_);
    std::vector<int> late(at(n_), last_);
    for (const Value& v : g_.outputs())
      SORUS_CHECK(!value_varies(v), NotImplementedError, "micro-batches: a result was not joined");
    for (int i = n_; i-- > 0;) {
      if (!computed(i)) continue;
      bool odd = varies_[at(i)];
      position_[at(i)] = late[at(i)] - (late[at(i)] % 2 != (odd ? 1 : 0));
      for (const Value& v : node(i).inputs)
        if (v) late[at(index(v))] = std::min(late[at(index(v))], position_[at(i)] - (is_over(i) ? 1 : 0));
    }
  }

  void find_stages() {
    auto at = [](int x) { return static_cast<size_t>(x); };
    stage_.assign(at(n_), kEverywhere);
    forward_.assign(at(n_), 0);
    int stages = options_.stages();
    // The forward pass.
    if (outputs_ > 0) forward_[at(index(g_.outputs()[0]))] = 1;
    for (int i = n_; i-- > 0;)
      if (forward_[at(i)])
        for (const Value& v : node(i).inputs)
          if (v) forward_[at(index(v))] = 1;
    std::vector<int> chain;
    std::vector<double> seconds, across;
    double total = 0;
    for (int i = 0; i < n_; ++i) {
      if (!computed(i) || !forward_[at(i)] || !varies_[at(i)]) continue;
      auto types = node(i).input_types();
      Cost c = sorus::cost_of(TypeCall{*node(i).op, types, node(i).attrs});
      chain.push_back(i);
      total += c.flops / options_.flops_per_second + c.bytes / options_.memory_bytes_per_second;
      seconds.push_back(total);
    }
    SORUS_CHECK(stages == 1 || static_cast<int>(chain.size()) >= stages, ValueError,
                "pipeline: the forward pass has {} operators that depend on the batch, too few for {} stages",
                chain.size(), stages);
    cut(chain, seconds, total, stages);
    for (int i = 0; i < n_; ++i) {
      if (!computed(i) || (varies_[at(i)] && forward_[at(i)])) continue;
      int lowest = stages, highest = kEverywhere;
      double most = -1;
      int heaviest = kEverywhere;
      for (const Value& v : node(i).inputs) {
        if (!v) continue;
        int s = stage_[at(index(v))];
        if (s == kEverywhere) continue;
        highest = std::max(highest, s);
        if (value_varies(v)) lowest = std::min(lowest, s);
        if (v.type().nbytes() > most) most = v.type().nbytes(), heaviest = s;
      }
      if (varies_[at(i)])
        stage_[at(i)] = lowest < stages ? lowest : highest >= 0 ? highest : stages - 1;
      else
        stage_[at(i)] = heaviest;
      if (is_over(i) && stage_[at(i)] == kEverywhere) stage_[at(i)] = stages - 1;  // of an argument
    }
  }

  // Which inputs with a stage a node reads, itself or through what is the same for all micro-batches (casts, views).
  std::vector<std::set<int>> read_inputs() const {
    std::vector<std::set<int>> reads(static_cast<size_t>(n_));
    for (int i = 0; i < n_; ++i) {
      auto at = static_cast<size_t>(i);
      if (int in = input_number(&node(i)); in >= 0) {
        if (static_cast<size_t>(in) < options_.stage_of_input.size() &&
            options_.stage_of_input[static_cast<size_t>(in)] >= 0)
          reads[at].insert(in);
        continue;
      }
      for (const Value& v : node(i).inputs)
        if (v && !(varies_[static_cast<size_t>(index(v))] && computed(index(v))))
          reads[at].insert(reads[static_cast<size_t>(index(v))].begin(), reads[static_cast<size_t>(index(v))].end());
    }
    return reads;
  }

  // Between which places of the chain each stage but the first may begin.
  std::vector<std::pair<size_t, size_t>> given_borders(const std::vector<int>& chain, int stages) const {
    std::vector<std::set<int>> reads = read_inputs();
    auto stages_read = [&](size_t k) {
      std::set<int> out;
      for (int in : reads[static_cast<size_t>(chain[k])])
        out.insert(options_.stage_of_input[static_cast<size_t>(in)]);
      return out;
    };
    std::vector<std::pair<size_t, size_t>> out;
    for (int s = 1; s < stages; ++s) {
      size_t first = 0;
      while (first < chain.size() && !stages_read(first).contains(s)) ++first;
      SORUS_CHECK(first < chain.size(), ValueError,
                  "pipeline: no operator of the forward pass reads a parameter that is given to stage {}; where it "
                  "begins cannot be told",
                  s);
      size_t begin = 0;
      for (size_t k = 0; k < first; ++k) {
        std::set<int> read = stages_read(k);
        SORUS_CHECK(read.empty() || *read.rbegin() < s, ValueError,
                    "pipeline: parameters of stage {} are read before those of stage {}", *read.rbegin(), s);
        if (!read.empty()) begin = k + 1;
      }
      SORUS_CHECK(begin > 0, ValueError, "pipeline: no parameter is read before those of stage {}", s);
      out.emplace_back(begin, first);
    }
    return out;
  }

  // Equal time, and where little goes across: among the places near an equal share the one that fewest bytes cross.
  // With parameters given to the stages the one that fewest bytes cross among those that fit.
  void cut(const std::vector<int>& chain, const std::vector<double>& seconds, double total, int stages) {
    auto at = [](int x) { return static_cast<size_t>(x); };
    size_t length = chain.size();
    std::vector<int> order_of(at(n_), -1);
    for (size_t k = 0; k < length; ++k) order_of[at(chain[k])] = static_cast<int>(k);
    std::vector<double> change(length + 1, 0), crossing(length + 1, 0);
    for (size_t k = 0; k < length; ++k)
      for (size_t o = 0; o < node(chain[k]).outputs.size(); ++o) {
        int last = -1;
        Value v{const_cast<Node*>(&node(chain[k])), static_cast<int>(o)};
        for (size_t j = k + 1; j < length; ++j) {
          const auto& in = node(chain[j]).inputs;
          if (std::find(in.begin(), in.end(), v) != in.end()) last = static_cast<int>(j);
        }
        if (last < 0) continue;
        change[k + 1] += v.type().nbytes();
        change[at(last) + 1] -= v.type().nbytes();
      }
    for (size_t k = 1; k <= length; ++k) crossing[k] = crossing[k - 1] + change[k];
    std::vector<std::pair<size_t, size_t>> given;
    if (!options_.stage_of_input.empty()) given = given_borders(chain, stages);
    size_t begin = 0;
    for (int s = 0; s < stages; ++s) {
      size_t end = length;
      if (s + 1 < stages && !given.empty()) {
        auto [from, to] = given[at(s)];
        end = from;
        for (size_t k = from; k <= to; ++k)
          if (crossing[k] < crossing[end]) end = k;
      } else if (s + 1 < stages) {
        double target = total * (s + 1) / stages, slack = total / stages * 0.2;
        end = begin + 1;
        double best = -1;
        size_t limit = length - static_cast<size_t>(stages - s - 1);
        for (size_t k = begin + 1; k <= limit; ++k) {
          double away = std::abs(seconds[k - 1] - target);
          double cost = crossing[k] / options_.memory_bytes_per_second * 4 + (away > slack ? away * 100 : away * 0.1);
          if (best < 0 || cost < best) best = cost, end = k;
        }
      }
      for (size_t k = begin; k < end; ++k) stage_[at(chain[k])] = s;
      begin = end;
    }
  }

  // Among what runs once at one position, how often a value has come from another rank.
  void find_depths() {
    auto at = [](int x) { return static_cast<size_t>(x); };
    depth_.assign(at(n_), 0);
    for (int i = 0; i < n_; ++i) {
      if (!computed(i) || varies_[at(i)] || is_over(i)) continue;
      for (const Value& v : node(i).inputs) {
        if (!v || !computed(index(v)) || varies_[at(index(v))] || position_[at(index(v))] != position_[at(i)])
          continue;
        int u = index(v);
        bool away = stage_[at(u)] != kEverywhere && stage_[at(i)] != kEverywhere &&
                    pipeline_rank(stage_[at(u)]) != pipeline_rank(stage_[at(i)]);
        depth_[at(i)] = std::max(depth_[at(i)], depth_[at(u)] + (away ? 1 : 0));
      }
    }
  }

  Key key_of(int i) const {
    auto at = static_cast<size_t>(i);
    if (varies_[at]) return {position_[at], 0, stage_[at], !forward_[at]};
    // What runs once at one rank is one segment, whatever the stages.
    int r = pipeline_rank(stage_[at]);
    return {position_[at], depth_[at], r, false};
  }

  void group() {
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

  bool shows_captured(int i) const {
    if (!computed(i) || stage_[static_cast<size_t>(i)] != kEverywhere || !node(i).op->is_view()) return false;
    const Value& v = node(i).inputs[0];
    return input_number(v.node) >= inputs_ || shows_captured(index(v));
  }

  // The ranks that make a value.
  int maker_rank(const Value& v) const { return pipeline_rank(stage_[static_cast<size_t>(index(v))]); }

  void find_transfers() {
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

  int slot(const Value& v) {
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

  int input_number(const Node* n) const {
    for (size_t i = 0; i < g_.inputs().size(); ++i)
      if (g_.inputs()[i] == n) return static_cast<int>(i);
    return -1;
  }

  void build(const Key& key, const std::vector<int>& members) {
    Segment s;
    bool each = key.position % 2 == 1;
    s.name =
        each ? fmt::format("{} {}{}", key.backward ? "backward" : "forward", key.stage,
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

  int last_depth() const {
    int d = 0;
    for (const auto& [key, members] : groups_)
      if (key.position == last_ && key.stage == rank_) d = std::max(d, key.depth);
    return d;
  }

  bool is_wanted_outside(const Value& v, const Key& key) const {
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

  const std::vector<int>& users_of(const Value& v) const {
    static const std::vector<int> none;
    auto it = users_.find({index(v), v.index});
    return it == users_.end() ? none : it->second;
  }

  Graph extract(size_t m, const std::vector<int>& members, const std::vector<Value>& read,
                const std::vector<int>& captures, const std::vector<Value>& made, const std::vector<Value>& written,
                const std::string& name) const {
    const Graph& from = graphs_[m].graph;
    Graph g(from.name() + ", " + name);
    std::map<std::pair<int, int>, Value> map;
    for (const Value& v : read) map[{index(v), v.index}] = g.add_input(v.type());
    for (int c : captures) {
      Node* in = from.inputs()[static_cast<size_t>(inputs_ + c)];
      map[{index({g_.inputs()[static_cast<size_t>(inputs_ + c)], 0}), 0}] = g.add_input(in->outputs[0], in->label);
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

  // ---- the order
  // ------------------------------------------------------------------------------------------------------

  Action& push(Action::Kind kind, int what, int micro) {
    Action a{};
    a.kind = kind, a.what = what, a.micro_batch = micro;
    program_.actions.push_back(std::move(a));
    return program_.actions.back();
  }

  void receive_for(const Key& key, int micro) {
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

  void send_value(const Value& v, int micro) {
    auto it = readers_.find({index(v), v.index});
    if (it == readers_.end() || maker_rank(v) == kEverywhere) return;
    for (int r : it->second) push(Action::Kind::send, slot(v), micro).peer = r;
  }

  void run_segment(const Key& key, int micro) {
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
  void take_over(const Value& v, int micro) {
    for (int u : users_of(v)) {
      if (!is_over(u)) continue;
      const Move& m = graphs_[0].over_micro_batches.at(&node(u));
      Action& a = push(m.kind == Move::Kind::all_gather ? Action::Kind::join : Action::Kind::add, slot(v), micro);
      a.to = slot({const_cast<Node*>(&node(u)), 0});
      a.dim = m.dim;
      a.op = m.op;
    }
  }

  void order() {
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
        for (const Turn& t : turns) run_segment({position, 0, t.stage, t.backward}, t.micro_batch);
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

  int over_position(int i) const {
    int last = -1;
    for (const Value& v : node(i).inputs)
      if (v) last = std::max(last, computed(index(v)) ? position_[static_cast<size_t>(index(v))] : 1);
    return last;
  }

  void finish() {
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

  void find_last_uses() {
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

  const std::vector<LocalGraph>& graphs_;
  const Graph& g_;
  const Propagated& p_;
  int inputs_, outputs_;
  const std::vector<int>& targets_;
  const PipelineOptions& options_;
  int rank_, n_, last_ = 0;
  std::unordered_map<const Node*, int> index_;
  std::vector<char> varies_, forward_;
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

}  // namespace

Program make_program(const std::vector<LocalGraph>& graphs, const Propagated& propagated, int explicit_inputs,
                     int explicit_outputs, const std::vector<int>& write_targets, const PipelineOptions& options,
                     int rank) {
  return Builder(graphs, propagated, explicit_inputs, explicit_outputs, write_targets, options, rank).run();
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
