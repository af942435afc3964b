#include "sorus/run/strips.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "sorus/derive/sharding.h"

namespace sorus {
namespace {

// A strip and what the loop reads and writes beside it should stay in the cache of a core.
constexpr int64_t kStripBytes = int64_t{1} << 20;
constexpr int64_t kWorthwhile = 4 * kStripBytes;

bool whole_in_order(const Geometry& g) { return g.offset == 0 && is_contiguous(g.sizes, g.strides); }

class Taker {
 public:
  Taker(std::vector<Unit> units, const Graph& graph, const Placement& placement)
      : units_(std::move(units)), placement_(placement) {
    for (size_t u = 0; u < units_.size(); ++u) {
      for (const Operand& o : units_[u].operands) note(o.source, u);
      for (size_t b = 0; b < units_[u].buffers.size(); ++b)
        if (!units_[u].written[b]) note(units_[u].buffers[b], u);
    }
    for (Value v : graph.outputs()) {
      for (; v.node->op && v.node->op->is_view(); v = v.node->inputs[0]) note(v, units_.size());
      note(placement_.home(v).source, units_.size());
    }
  }

  std::vector<Unit> run() {
    std::vector<char> gone(units_.size(), 0);
    for (size_t u = 0; u < units_.size(); ++u) gone[u] = taken(u);
    std::vector<Unit> left;
    for (size_t u = 0; u < units_.size(); ++u)
      if (!gone[u]) left.push_back(std::move(units_[u]));
    return left;
  }

 private:
  void note(const Value& v, size_t reader) {
    if (!v) return;
    auto [it, fresh] = reader_.try_emplace(v, reader);
    if (!fresh && it->second != reader) it->second = units_.size();  // several, or the caller
  }

  // Whether the loop walks through buffer `b` once, each row behind the one before.
  static bool reads_in_order(const FusedLoop& loop, int b) {
    if (loop.has_partial_sums()) return false;  // they would begin again with every strip
    for (const FusedValue& v : loop.values)
      for (const FusedInput& in : v.inputs) {
        if (in.kind != FusedInput::Kind::buffer || in.index != b) continue;
        const std::vector<RowAccess::Dim>& rows = in.access.rows;
        bool each_row = rows.size() == 1 && rows[0].stride == loop.columns;
        if (v.domain != Domain::full || in.offset != 0 || in.access.inner != 1 || !each_row) return false;
      }
    return true;
  }

  bool taken(size_t at) {
    const Node* node = units_[at].node;
    if (!node || node->outputs.size() != 1 || node->op->is_view() || node->op->calls_ranks() || !node->op->kernel)
      return false;
    const TensorType& type = node->outputs[0];
    if (type.nbytes() < kWorthwhile || placement_.is_assembled(node)) return false;
    Value made{const_cast<Node*>(node), 0};
    Operand home = placement_.home(made);
    auto found = reader_.find(made);
    if (!(home.source == made) || !whole_in_order(home.view) || found == reader_.end()) return false;
    if (found->second >= units_.size() || units_[found->second].node) return false;
    Unit& loop = units_[found->second];
    // Its operands live on until the loop has run: that must not cost what is saved.
    int64_t bytes = 0;
    for (const Operand& o : units_[at].operands) {
      if (!o.source) continue;
      if (!is_contiguous(o.view.sizes, o.view.strides)) return false;
      bytes += o.source.type().nbytes();
    }
    int buffer = static_cast<int>(std::find(loop.buffers.begin(), loop.buffers.end(), made) - loop.buffers.begin());
    if (4 * bytes > type.nbytes() || !reads_in_order(loop.loop, buffer)) return false;
    return cut(*node, units_[at].operands, buffer, loop);
  }

  static bool cut(const Node& node, const std::vector<Operand>& operands, int buffer, Unit& loop) {
    auto types = node.input_types();
    TypeCall call{*node.op, types, node.attrs};
    ShardingRule rule = sharding_rule(call);
    int factor = rule.outputs[0].empty() ? -1 : rule.outputs[0][0];
    if (factor < 0 || !has_shard_attrs(*node.op)) return false;
    const ShardFactor& f = rule.factors[static_cast<size_t>(factor)];
    for (const std::vector<int>& dims : rule.inputs)
      if (std::find(dims.begin(), dims.end(), factor) != dims.end()) return false;
    const TensorType& type = node.outputs[0];
    if (!f.placed || f.size != type.shape[0]) return false;
    int64_t width = numel(type.shape) / f.size, columns = loop.loop.columns;
    // Whole rows of the table and whole rows of the loop.
    int64_t step = columns / std::gcd(columns, width);
    int64_t wanted = kStripBytes / std::max<int64_t>(1, width * static_cast<int64_t>(size_of(type.dtype)));
    int64_t rows = std::max<int64_t>(1, wanted / step) * step;
    if (rows * 2 > f.size) return false;
    Strip strip{&node, operands, buffer, rows, {}};
    if (!loop.strips.empty() && loop.strips[0].loop_rows(columns) != strip.loop_rows(columns)) return false;
    for (int64_t start = 0; start < f.size; start += rows) {
      std::vector<ShardPart> parts;
      for (const ShardFactor& other : rule.factors) parts.push_back({0, other.size});
      parts[static_cast<size_t>(factor)] = {start, std::min(rows, f.size - start)};
      strip.attrs.push_back(shard_attrs(call, rule, parts));
    }
    loop.strips.push_back(std::move(strip));
    return true;
  }

  std::vector<Unit> units_;
  const Placement& placement_;
  std::unordered_map<Value, size_t> reader_;
};

}  // namespace

int64_t Strip::loop_rows(int64_t columns) const {
  const Shape& s = node->outputs[0].shape;
  return rows * (numel(s) / s[0]) / columns;
}

bool Unit::is_strip(size_t buffer) const {
  return std::ranges::any_of(strips, [&](const Strip& s) { return static_cast<size_t>(s.buffer) == buffer; });
}

std::vector<Unit> take_in_strips(std::vector<Unit> units, const Graph& graph, const Placement& placement) {
  return Taker(std::move(units), graph, placement).run();
}

}  // namespace sorus
