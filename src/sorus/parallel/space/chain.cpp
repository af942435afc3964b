#include "sorus/parallel/space/chain.h"

#include <algorithm>
#include <unordered_map>

#include "sorus/graph/trace.h"

namespace sorus::parallel {

bool Model::is_parameter(const Node& node) const {
  const auto& in = graph.inputs();
  auto begin = in.begin() + inputs, end = begin + parameters;
  return node.is_input() && !in.empty() && node.id >= (*begin)->id && node.id <= (*(end - 1))->id && begin != end;
}

double Model::parameter_count() const {
  double n = 0;
  for (int i = inputs; i < inputs + parameters; ++i)
    n += static_cast<double>(numel(graph.inputs()[static_cast<size_t>(i)]->outputs[0].shape));
  return n;
}

Model trace_model(const std::string& name, const std::vector<TensorType>& inputs, const nn::NamedTensors& parameters,
                  const std::function<Tensor(TensorSpan)>& loss, const nn::NamedTensors& buffers) {
  Tracer tracer(name);
  TensorList in;
  for (size_t i = 0; i < inputs.size(); ++i) in.push_back(tracer.input(inputs[i], fmt::format("input{}", i)));
  for (const auto* list : {&parameters, &buffers})
    for (const auto& [label, t] : *list) tracer.bind_input(t, label);
  {
    InterpreterScope scope(&tracer);
    GradMode off(false);  // the gradient of each unit type is worked out where its cost is
    tracer.output(loss(in));
  }
  Model m;
  m.name = name;
  m.graph = tracer.finish().graph;
  m.inputs = static_cast<int>(inputs.size());
  m.parameters = static_cast<int>(parameters.size());
  m.batch = inputs.empty() || inputs[0].shape.empty() ? 1 : inputs[0].shape[0];
  return m;
}

namespace {

// "blocks.3.attention" for the parameters "blocks.3.attention.qkv.weight" and "blocks.3.attention.proj.weight".
std::string common_name(const std::vector<std::string>& names) {
  std::string common;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i == 0) common = names[0].substr(0, names[0].rfind('.'));
    while (!common.empty() && !names[i].starts_with(common + ".")) {
      size_t dot = common.rfind('.');
      common = dot == std::string::npos ? "" : common.substr(0, dot);
    }
  }
  return common;
}

// "blocks.3.attention" -> "blocks.*.attention"
std::string without_numbers(const std::string& name) {
  std::string out;
  for (size_t at = 0; at <= name.size();) {
    size_t end = std::min(name.find('.', at), name.size());
    std::string part = name.substr(at, end - at);
    bool number = !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    out += (out.empty() ? "" : ".") + (number ? std::string("*") : part);
    at = end + 1;
  }
  return out;
}

class Folder {
 public:
  explicit Folder(const Model& model) : model_(model), nodes_(model.graph.nodes()) {
    int n = static_cast<int>(nodes_.size());
    position_.reserve(nodes_.size());
    for (int i = 0; i < n; ++i) position_[nodes_[at(i)].get()] = i;
    find_crossing();
  }

  Chain fold() {
    int n = static_cast<int>(nodes_.size()), begin = 0;
    while (begin < n && nodes_[at(begin)]->is_input()) ++begin;
    bool work = false;  // the part so far reads a parameter
    for (int j = begin + 1; j <= n; ++j) {
      const Node& node = *nodes_[at(j - 1)];
      for (const Value& v : node.inputs) work |= v && model_.is_parameter(*v.node);
      if (j < n && !(work && cuts_here(j) && work_behind(j))) continue;
      add(begin, j);
      begin = j;
      work = false;
    }
    chain_.flows = counts_;
    // The period that fits most units.
    size_t best = 0;
    for (size_t period = 1; period <= 8 && period < chain_.units.size(); ++period) {
      size_t same = 0;
      for (size_t i = period; i < chain_.units.size(); ++i)
        same += chain_.units[i].type == chain_.units[i - period].type;
      if (same > best) best = same, chain_.period = static_cast<int>(period);
    }
    return std::move(chain_);
  }

 private:
  static size_t at(int i) { return static_cast<size_t>(i); }

  void find_crossing() {
    size_t n = nodes_.size();
    // What is made of nothing (constants, positions, masks) does not cross: each part makes its own.
    counts_.assign(n, 0);
    std::vector<int> last(n, -1);
    for (size_t i = 0; i < n; ++i) {
      const Node& node = *nodes_[i];
      for (const Value& v : node.inputs)
        if (v) {
          size_t p = at(position_.at(v.node));
          last[p] = static_cast<int>(i);
          bool input = v.node->is_input() && p < at(model_.inputs) && is_floating(v.type().dtype);
          if (counts_[p] || input || model_.is_parameter(*v.node)) counts_[i] = 1;
        }
      if (node.is_input() || node.is_constant()) counts_[i] = 0;
    }
    std::vector<int> change(n + 2, 0);
    for (size_t i = 0; i < n; ++i)
      if (counts_[i] && last[i] > static_cast<int>(i)) ++change[i + 1], --change[at(last[i]) + 1];
    crossing_.assign(n + 1, 0);
    for (size_t j = 1; j <= n; ++j) crossing_[j] = crossing_[j - 1] + change[j];
    last_parameter_ = 0;
    for (size_t i = 0; i < n; ++i)
      for (const Value& v : nodes_[i]->inputs)
        if (v && model_.is_parameter(*v.node)) last_parameter_ = static_cast<int>(i);
  }

  // Behind node j - 1 only what it made lives on, and it joins two values or what follows forks: a layer ends. Where
  // long skip connections live on beside it (U-Net), the number that lives on is the least for a while in both
  // directions.
  bool cuts_here(int j) const {
    const Node& node = *nodes_[at(j - 1)];
    if (!counts_[at(j - 1)] || crossing_[at(j)] < 1) return false;
    int live = 0;
    for (const Value& v : node.inputs) live += v && counts_[at(position_.at(v.node))];
    if (crossing_[at(j)] == 1) {
      if (forks(j)) return true;
      if (live < 2) return false;
      // What follows without a parameter still belongs to this layer, if it is where the next branch begins.
      for (int i = j + 1; i < static_cast<int>(nodes_.size()) && i < j + 16; ++i) {
        for (const Value& v : nodes_[at(i - 1)]->inputs)
          if (v && model_.is_parameter(*v.node)) return true;
        if (counts_[at(i - 1)] && crossing_[at(i)] == 1 && forks(i)) return false;
      }
      return true;
    }
    constexpr int kWindow = 40;
    int n = static_cast<int>(nodes_.size());
    for (int i = std::max(1, j - kWindow); i < std::min(n, j + kWindow); ++i)
      if (crossing_[at(i)] >= 1 && crossing_[at(i)] < crossing_[at(j)]) return false;
    return live > 1;
  }
  // The value behind j - 1 is read more than once.
  bool forks(int j) const {
    int reads = 0;
    const Node* made = nodes_[at(j - 1)].get();
    for (int i = j; i < static_cast<int>(nodes_.size()) && i < j + 64 && reads < 2; ++i)
      for (const Value& v : nodes_[at(i)]->inputs) reads += v && v.node == made;
    return reads > 1;
  }
  bool work_behind(int j) const { return last_parameter_ >= j; }

  void add(int begin, int end) {
    std::string text;
    std::vector<std::string> names;
    for (int i = begin; i < end; ++i) {
      const Node& node = *nodes_[at(i)];
      if (node.is_input()) continue;
      if (node.is_constant()) {
        text += node.constant.to_string() + ";";
        continue;
      }
      text += node.op->name();
      for (const Attr& a : node.attrs) text += "," + a.to_string();
      for (const Value& v : node.inputs) {
        if (!v) {
          text += " -";
          continue;
        }
        int p = position_.at(v.node);
        if (p >= begin && !v.node->is_input()) {
          text += fmt::format(" {}.{}", p - begin, v.index);
          continue;
        }
        bool parameter = model_.is_parameter(*v.node);
        text += (parameter ? " p" : v.node->is_input() ? " i" : " x") + v.type().to_string();
        if (parameter && std::find(names.begin(), names.end(), v.node->label) == names.end())
          names.push_back(v.node->label);
      }
      text += ";";
    }
    Unit u;
    u.first = begin, u.end = end, u.name = common_name(names);
    if (u.name.empty()) u.name = names.empty() ? fmt::format("part{}", chain_.units.size()) : names[0];
    auto [it, fresh] = types_.emplace(text, static_cast<int>(chain_.types.size()));
    if (fresh) chain_.types.push_back({without_numbers(u.name), begin, end, 0});
    u.type = it->second;
    ++chain_.types[at(u.type)].count;
    chain_.units.push_back(u);
  }

  const Model& model_;
  const std::vector<std::unique_ptr<Node>>& nodes_;
  std::unordered_map<const Node*, int> position_;
  std::vector<char> counts_;
  std::vector<int> crossing_;
  int last_parameter_ = 0;
  std::unordered_map<std::string, int> types_;
  Chain chain_;
};

}  // namespace

Chain fold(const Model& model) { return Folder(model).fold(); }

}  // namespace sorus::parallel
