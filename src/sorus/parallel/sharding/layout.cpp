#include "sorus/parallel/sharding/layout.h"

#include <algorithm>

#include "sorus/base/error.h"

namespace sorus::parallel {

std::string_view reduction_name(ShardFactor::Kind op) {
  switch (op) {
    case ShardFactor::Kind::sum:
      return "sum";
    case ShardFactor::Kind::prod:
      return "product";
    case ShardFactor::Kind::max:
      return "max";
    case ShardFactor::Kind::min:
      return "min";
    default:
      fail<ValueError>("partial values are of a sum, a product, a maximum or a minimum");
  }
}

std::string Placement::to_string() const {
  if (is_replicate()) return "R";
  if (is_shard()) return unit == 1 ? fmt::format("S({})", dim) : fmt::format("S({} by {})", dim, unit);
  return fmt::format("P({})", reduction_name(op));
}

Placement Placement::parse(std::string_view text) {
  if (text == "R") return Replicate();
  if (text == "P") return Partial();
  for (auto op : {ShardFactor::Kind::sum, ShardFactor::Kind::prod, ShardFactor::Kind::max, ShardFactor::Kind::min})
    if (text == Partial(op).to_string()) return Partial(op);
  if (text.starts_with("S(") && text.ends_with(")")) {
    std::string digits(text.substr(2, text.size() - 3));
    bool number = !digits.empty() && digits.size() < 4 && digits.find_first_not_of("0123456789") == std::string::npos;
    if (number) return Shard(std::stoi(digits));
  }
  fail<ValueError>("placement: expected R, S(0), P or P(max), found '{}'", text);
}

std::string to_string(const Layout& layout) {
  std::string s = "[";
  for (size_t i = 0; i < layout.size(); ++i) s += (i ? ", " : "") + layout[i].to_string();
  return s + "]";
}

Layout replicated(const DeviceMesh& mesh) { return Layout(static_cast<size_t>(mesh.axes())); }

void check_layout(const DeviceMesh& mesh, const Layout& layout, const Shape& shape, std::string_view what) {
  SORUS_CHECK(static_cast<int>(layout.size()) == mesh.axes(), ValueError,
              "{}: {} placements for a mesh of {} axes ({})", what, layout.size(), mesh.axes(), mesh.to_string());
  Shape parts(shape.size(), 1);
  for (int a = 0; a < mesh.axes(); ++a) {
    const Placement& p = layout[static_cast<size_t>(a)];
    if (!p.is_shard()) continue;
    SORUS_CHECK(p.dim >= 0 && p.dim < static_cast<int>(shape.size()), ValueError,
                "{}: {} along '{}', but its shape is {}", what, p.to_string(), mesh.name(a), sorus::to_string(shape));
    auto d = static_cast<size_t>(p.dim);
    parts[d] *= mesh.size(a);
    SORUS_CHECK(shape[d] % p.unit == 0 && (shape[d] / p.unit >= parts[d] || shape[d] == 0), ValueError,
                "{}: dimension {} of {} cannot be cut into {} blocks, as {} on the mesh {} asks; {} or more would do",
                what, d, sorus::to_string(shape), parts[d], to_string(layout), mesh.to_string(), parts[d] * p.unit);
  }
}

Block block_of(const DeviceMesh& mesh, const Layout& layout, const Shape& shape, int64_t rank) {
  Block b{shape, Shape(shape.size(), 0)};
  for (int a = 0; a < mesh.axes(); ++a) {
    const Placement& p = layout[static_cast<size_t>(a)];
    if (!p.is_shard()) continue;
    auto d = static_cast<size_t>(p.dim);
    ShardPart part = shard_part(b.sizes[d], mesh.size(a), mesh.coordinate(rank, a), p.unit);
    b.sizes[d] = part.size;
    b.start[d] += part.start;
  }
  return b;
}

Shape cut_sizes(const DeviceMesh& mesh, const Layout& layout, const Shape& shape, int64_t rank, int axis) {
  Layout outer = layout;
  const Placement p = layout[static_cast<size_t>(axis)];
  outer[static_cast<size_t>(axis)] = Replicate();
  int64_t whole = block_of(mesh, outer, shape, rank).sizes[static_cast<size_t>(p.dim)];
  Shape out;
  for (int64_t i = 0; i < mesh.size(axis); ++i) out.push_back(shard_part(whole, mesh.size(axis), i, p.unit).size);
  return out;
}

bool all_equal(const Shape& sizes) {
  for (int64_t n : sizes)
    if (n != sizes[0]) return false;
  return true;
}

std::string Move::to_string(const DeviceMesh& mesh) const {
  static constexpr const char* kNames[] = {"slice",          "all_gather", "all_reduce",
                                           "reduce_scatter", "all_to_all", "mask"};
  std::string s = kNames[static_cast<size_t>(kind)];
  if (kind == Kind::all_to_all) s += fmt::format(" {}", from);
  if (dim >= 0) s += fmt::format(" {}", dim);
  return s + " along " + mesh.name(axis);
}

namespace {

// Cuts of one dimension are undone from the innermost axis outwards.
bool is_innermost(const Layout& l, size_t axis) {
  for (size_t a = axis + 1; a < l.size(); ++a)
    if (l[a].is_shard(l[axis].dim)) return false;
  return true;
}
bool cut_otherwise(const Placement& now, const Placement& to, int dim) {
  return (now.is_shard(dim) || to.is_shard(dim)) && !(now == to);
}
// Whether cutting `dim` along `axis` makes the next cut that the target has of it.
bool can_cut(const Layout& now, const Layout& to, size_t axis, int dim) {
  for (size_t a = 0; a < now.size(); ++a) {
    if (a < axis && cut_otherwise(now[a], to[a], dim)) return false;
    if (a > axis && now[a].is_shard(dim)) return false;
  }
  return true;
}

// The next move, by what makes the following ones cheapest: cut first, sum before gathering.
Move next_move(const Layout& now, const Layout& to, int time) {
  size_t n = now.size();
  auto make = [&](Move::Kind kind, size_t axis, int dim = -1, int from = -1) {
    Move m{kind, static_cast<int>(axis), dim, from};
    m.unit = to[axis].unit;
    return m;
  };
  if (auto t = static_cast<size_t>(time);
      time >= 0 && now[t].is_partial() && !(now[t] == to[t]) && !to[t].is_shard()) {
    Move m = make(Move::Kind::all_reduce, t);
    m.op = now[t].op;
    return m;
  }
  for (size_t a = 0; a < n; ++a)
    if (!(now[a] == to[a]) && to[a].is_shard() && can_cut(now, to, a, to[a].dim)) {
      if (now[a].is_replicate()) return make(Move::Kind::slice, a, to[a].dim);
      if (now[a].is_partial()) {
        Move m = make(Move::Kind::reduce_scatter, a, to[a].dim);
        m.op = now[a].op;
        return m;
      }
      if (is_innermost(now, a) && now[a].dim != to[a].dim)
        return make(Move::Kind::all_to_all, a, to[a].dim, now[a].dim);
    }
  for (size_t a = 0; a < n; ++a)
    if (!(now[a] == to[a]) && now[a].is_partial() && !to[a].is_shard()) {
      Move m = make(Move::Kind::all_reduce, a);
      m.op = now[a].op;
      return m;
    }
  for (size_t a = n; a-- > 0;)
    if (!(now[a] == to[a]) && now[a].is_shard() && is_innermost(now, a))
      return make(Move::Kind::all_gather, a, now[a].dim);
  for (size_t a = 0; a < n; ++a)
    if (!(now[a] == to[a]) && now[a].is_partial()) {
      Move m = make(Move::Kind::all_reduce, a);
      m.op = now[a].op;
      return m;
    }
  for (size_t a = 0; a < n; ++a)
    if (now[a].is_replicate() && to[a].is_partial()) {
      Move m = make(Move::Kind::mask, a);
      m.op = to[a].op;
      return m;
    }
  // What is in place, but in the way: an inner cut of a dimension that gets another outer one.
  for (size_t a = n; a-- > 0;)
    if (now[a].is_shard() && is_innermost(now, a))
      for (size_t b = 0; b < a; ++b)
        if (cut_otherwise(now[b], to[b], now[a].dim)) return make(Move::Kind::all_gather, a, now[a].dim);
  fail<Error>("no move leads from {} to {}", to_string(now), to_string(to));
}

}  // namespace

size_t joint_moves(const std::vector<Move>& moves, size_t first, int alone) {
  const Move& m = moves[first];
  size_t end = first + 1;
  for (; end < moves.size(); ++end) {
    const Move &next = moves[end], &last = moves[end - 1];
    if (next.kind != m.kind || m.axis == alone || next.axis == alone) break;
    // Blocks lie in the order of the mesh: cuts go from the outer axis to the inner one, joins the other way.
    bool joins = m.kind == Move::Kind::all_reduce && next.op == m.op;
    if (m.kind == Move::Kind::reduce_scatter) joins = next.op == m.op && next.dim == m.dim && next.axis > last.axis;
    if (m.kind == Move::Kind::all_gather) joins = next.dim == m.dim && next.axis < last.axis;
    if (!joins) break;
  }
  return end - first;
}

void apply_move(const Move& m, Layout& l) {
  Placement& p = l[static_cast<size_t>(m.axis)];
  switch (m.kind) {
    case Move::Kind::slice:
    case Move::Kind::reduce_scatter:
    case Move::Kind::all_to_all:
      p = Shard(m.dim, m.unit);
      break;
    case Move::Kind::all_gather:
    case Move::Kind::all_reduce:
      p = Replicate();
      break;
    case Move::Kind::mask:
      p = Partial(m.op);
  }
}

std::vector<Move> redistribution(const DeviceMesh& mesh, const Layout& from, const Layout& to, int time) {
  std::vector<Move> moves;
  Layout now = from;
  while (now != to) {
    SORUS_CHECK(moves.size() <= 4 * static_cast<size_t>(mesh.axes()), Error,
                "redistribution from {} to {} goes in circles", to_string(from), to_string(to));
    moves.push_back(next_move(now, to, time));
    apply_move(moves.back(), now);
  }
  return moves;
}

double cost_of(const DeviceMesh& mesh, const std::vector<Move>& moves, const Layout& from, const TensorType& type,
               const CommunicationModel& model) {
  double bytes = static_cast<double>(numel(type.shape)) * static_cast<double>(size_of(type.dtype)), seconds = 0;
  for (int a = 0; a < mesh.axes(); ++a)
    if (from[static_cast<size_t>(a)].is_shard()) bytes /= static_cast<double>(mesh.size(a));
  for (const Move& m : moves) {
    double n = static_cast<double>(mesh.size(m.axis)), sent = 0;
    switch (m.kind) {
      case Move::Kind::slice:
        bytes /= n;
        continue;
      case Move::Kind::mask:
        continue;
      case Move::Kind::all_gather:
        sent = bytes * (n - 1), bytes *= n;
        break;
      case Move::Kind::all_reduce:
        sent = bytes * 2 * (n - 1) / n;
        break;
      case Move::Kind::reduce_scatter:
        sent = bytes * (n - 1) / n, bytes /= n;
        break;
      case Move::Kind::all_to_all:
        sent = bytes * (n - 1) / n;
        break;
    }
    if (n > 1) seconds += sent / model.bytes_per_second + model.latency;
  }
  return seconds;
}

}  // namespace sorus::parallel
