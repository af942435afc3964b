// Sharding rules tried: every placement of one dimension an input is executed in shards and put together again.
#include <algorithm>
#include <cmath>
#include <utility>

#include "sorus/derive/sharding.h"
#include "sorus/graph/call.h"

namespace sorus {
namespace {

using Kind = ShardFactor::Kind;

Tensor part_of(const Tensor& t, int dim, int part, int parts, int64_t unit) {
  if (dim < 0) return t;
  ShardPart p = shard_part(t.size(dim), parts, part, unit);
  Geometry g = t.geometry();
  g.offset += p.start * g.strides[static_cast<size_t>(dim)];
  g.sizes[static_cast<size_t>(dim)] = p.size;
  return t.with_geometry(g);
}

double element(const Tensor& t, const Shape& index) {
  Geometry g = t.geometry();
  for (size_t d = 0; d < index.size(); ++d) g.offset += index[d] * g.strides[d];
  g.sizes.clear();
  g.strides.clear();
  return t.with_geometry(g).item().to_double();
}

// Whether shards recombined along `dim` (or, for -1, by `kind`) are the whole. Blocks along `dim` are of `unit`s;
// with unit 0 they have to be equal.
bool agrees(const Tensor& whole, const TensorList& shards, int dim, Kind kind, int64_t unit = 0) {
  Shape index(whole.sizes().size(), 0);
  auto d = static_cast<size_t>(std::max(dim, 0));
  auto parts = static_cast<int64_t>(shards.size());
  if (dim >= 0 && unit == 0 && whole.size(dim) % parts != 0) return false;
  std::vector<std::pair<size_t, int64_t>> place;  // of an index along `dim`: the shard, and the index in it
  for (int64_t p = 0; p < parts; ++p) {
    Shape expected = whole.sizes();
    if (dim >= 0) {
      expected[d] = shard_part(whole.size(dim), parts, p, std::max<int64_t>(unit, 1)).size;
      for (int64_t i = 0; i < expected[d]; ++i) place.emplace_back(static_cast<size_t>(p), i);
    }
    if (!(shards[static_cast<size_t>(p)].sizes() == expected)) return false;
  }
  for (int64_t i = 0; i < whole.numel(); ++i) {
    int64_t rest = i;
    for (size_t d = index.size(); d-- > 0;) {
      index[d] = rest % whole.sizes()[d];
      rest /= whole.sizes()[d];
    }
    double value = 0;
    if (dim >= 0) {
      Shape inside = index;
      auto [shard, at] = place[static_cast<size_t>(index[d])];
      inside[d] = at;
      value = element(shards[shard], inside);
    } else {
      for (size_t s = 0; s < shards.size(); ++s) {
        double v = element(shards[s], index);
        if (s == 0)
          value = v;
        else if (kind == Kind::sum)
          value += v;
        else if (kind == Kind::prod)
          value *= v;
        else
          value = kind == Kind::max ? std::max(value, v) : std::min(value, v);
      }
    }
    double w = element(whole, index);
    bool same = value == w || (value != value && w != w) ||
                std::abs(value - w) <= 1e-4 * std::max({1.0, std::abs(w), std::abs(value)});
    if (!same) return false;
  }
  return true;
}

constexpr std::pair<Kind, const char*> kPartials[] = {
    {Kind::sum, "sum"}, {Kind::prod, "prod"}, {Kind::max, "max"}, {Kind::min, "min"}};

}  // namespace

std::vector<std::string> check_sharding(const OpDef& op, TensorSpan inputs, const Attrs& attrs, int parts) {
  std::vector<std::string> problems;
  std::vector<TensorType> types(inputs.size());
  std::vector<const TensorType*> pointers(inputs.size(), nullptr);
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].defined()) {
      types[i] = inputs[i].type();
      pointers[i] = &types[i];
    }
  GradMode off(false);
  ShardingRule rule = sharding_rule(TypeCall{op, pointers, attrs});
  TensorList whole = call(op, inputs, attrs);

  // One choice per input: a dimension to split, or -1.
  std::vector<int> choice(inputs.size(), -1);
  auto next = [&] {
    for (size_t i = 0; i < choice.size(); ++i) {
      int rank = inputs[i].defined() ? static_cast<int>(inputs[i].dim()) : 0;
      while (++choice[i] < rank)
        if (inputs[i].size(choice[i]) >= parts) return true;
      choice[i] = -1;
    }
    return false;
  };
  while (next()) {
    // The factor this placement splits, if it is one of the rule's.
    int factor = -2;
    for (size_t i = 0; i < choice.size(); ++i)
      if (choice[i] >= 0) {
        int f = rule.inputs[i][static_cast<size_t>(choice[i])];
        factor = factor == -2 || factor == f ? f : -1;
      }
    bool allowed = factor >= 0 && rule.factors[static_cast<size_t>(factor)].can_split();
    for (size_t i = 0; allowed && i < choice.size(); ++i)
      for (size_t d = 0; d < rule.inputs[i].size(); ++d)
        if (rule.inputs[i][d] == factor && choice[i] != static_cast<int>(d)) allowed = false;
    // Blocks that differ say whether a rule is wrong; a rule that is missing shows with equal ones.
    if (allowed && rule.factors[static_cast<size_t>(factor)].size < parts) continue;
    bool equal = true;
    for (size_t i = 0; i < choice.size(); ++i)
      equal = equal && (choice[i] < 0 || inputs[i].size(choice[i]) % parts == 0);
    if (!allowed && !equal) continue;
    auto unit_of = [&](int64_t size) { return allowed ? size / rule.factors[static_cast<size_t>(factor)].size : 1; };

    std::vector<TensorList> shards(whole.size());
    bool ran = true;
    for (int p = 0; p < parts && ran; ++p) {
      TensorList in;
      for (size_t i = 0; i < inputs.size(); ++i) {
        in.push_back(part_of(inputs[i], choice[i], p, parts, choice[i] < 0 ? 1 : unit_of(inputs[i].size(choice[i]))));
        if (allowed && p > 0 && rule.is_added(i, factor)) in.back() = Tensor::zeros(in[i].sizes(), in[i].dtype());
      }
      Attrs own = attrs;
      if (allowed) {
        std::vector<ShardPart> held;
        for (const ShardFactor& f : rule.factors) held.push_back({0, f.size});
        held[static_cast<size_t>(factor)] = shard_part(rule.factors[static_cast<size_t>(factor)].size, parts, p);
        own = shard_attrs(TypeCall{op, pointers, attrs}, rule, held);
      }
      try {
        TensorList out = call(op, in, own);
        for (size_t o = 0; o < out.size(); ++o) shards[o].push_back(out[o]);
      } catch (const Error&) {
        ran = false;
      }
    }
    std::string where = fmt::format("{} {} split at", op.name(), rule.to_string());
    for (int c : choice) where += fmt::format(" {}", c);
    if (!ran) {
      if (allowed) problems.push_back("wrong: " + where + ": the shards cannot be computed");
      continue;
    }
    for (size_t o = 0; o < whole.size(); ++o) {
      int dim = -1;
      if (factor >= 0)
        for (size_t d = 0; d < rule.outputs[o].size(); ++d)
          if (rule.outputs[o][d] == factor) dim = static_cast<int>(d);
      if (allowed) {
        Kind kind = rule.factors[static_cast<size_t>(factor)].kind;
        if (!agrees(whole[o], shards[o], dim, kind, dim < 0 ? 0 : unit_of(whole[o].size(dim))))
          problems.push_back("wrong: " + where);
        continue;
      }
      for (int d = 0; d < static_cast<int>(whole[o].dim()); ++d)
        if (whole[o].size(d) > 1 && agrees(whole[o], shards[o], d, Kind::kept))
          problems.push_back(fmt::format("missing: {}: result {} split at {}", where, o, d));
      for (auto [kind, name] : kPartials)
        if (whole[o].numel() > 0 && agrees(whole[o], shards[o], -1, kind))
          problems.push_back(fmt::format("missing: {}: result {} is a partial {}", where, o, name));
    }
  }
  return problems;
}

}  // namespace sorus
