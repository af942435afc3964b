#include "sorus/parallel/plan/plan.h"

#include <charconv>
#include <set>

#include "sorus/base/error.h"

namespace sorus::parallel {
namespace {

constexpr std::string_view kAxisKinds[] = {"data", "tensor", "sequence", "expert", "pipeline"};
constexpr std::string_view kSchedules[] = {"none", "gpipe", "1f1b", "interleaved", "zero-bubble"};
constexpr std::string_view kRecomputes[] = {"none", "selective", "full"};

template <class E, size_t N>
E by_name(const std::string_view (&names)[N], std::string_view name, const char* what) {
  for (size_t i = 0; i < N; ++i)
    if (names[i] == name) return static_cast<E>(i);
  fail<ValueError>("'{}' is not a {}; there are {}", name, what, fmt::join(names, ", "));
}

}  // namespace

std::string_view name(AxisKind kind) { return kAxisKinds[static_cast<size_t>(kind)]; }
std::string_view name(Schedule schedule) { return kSchedules[static_cast<size_t>(schedule)]; }
std::string_view name(Recompute recompute) { return kRecomputes[static_cast<size_t>(recompute)]; }
AxisKind axis_kind(std::string_view name) { return by_name<AxisKind>(kAxisKinds, name, "kind of mesh axis"); }
Schedule schedule_kind(std::string_view name) { return by_name<Schedule>(kSchedules, name, "schedule"); }
Recompute recompute_kind(std::string_view name) {
  return by_name<Recompute>(kRecomputes, name, "kind of recomputation");
}

std::string AxisPlacement::to_string() const {
  if (kind == Kind::shard) return fmt::format("S({})", dim);
  return kind == Kind::partial ? "P" : "R";
}

AxisPlacement AxisPlacement::parse(std::string_view text) {
  if (text == "R") return {};
  if (text == "P") return {Kind::partial, 0};
  if (text.size() > 3 && text.starts_with("S(") && text.back() == ')') {
    int64_t dim = 0;
    auto [end, error] = std::from_chars(text.data() + 2, text.data() + text.size() - 1, dim);
    if (error == std::errc() && end == text.data() + text.size() - 1 && dim >= 0) return {Kind::shard, dim};
  }
  fail<ValueError>("'{}' is not a placement; write R, P or S(dimension)", text);
}

const PlanAxis* Plan::axis(AxisKind kind) const {
  for (const PlanAxis& a : mesh)
    if (a.kind == kind) return &a;
  return nullptr;
}

int64_t Plan::size(AxisKind kind) const {
  const PlanAxis* a = axis(kind);
  return a ? a->size : 1;
}

int64_t Plan::coordinate(int64_t rank, size_t at) const {
  for (size_t i = mesh.size(); i-- > at + 1;) rank /= mesh[i].size;
  return rank % mesh[at].size;
}

std::string Plan::to_string() const {
  std::string s;
  for (const PlanAxis& a : mesh)
    if (a.size > 1) s += fmt::format("{}{} {}", s.empty() ? "" : " x ", a.name, a.size);
  if (s.empty()) s = "one device";
  if (schedule != Schedule::none) s += fmt::format(", {}", name(schedule));
  if (chunks > 1) s += fmt::format(" with {} chunks", chunks);
  s += fmt::format(", {} micro-batch{} of {}", micro_batches, micro_batches == 1 ? "" : "es", micro_batch);
  if (sequence_parallel) s += ", sequence parallel";
  if (zero) s += fmt::format(", ZeRO {}", zero);
  Recompute most = Recompute::none;
  for (const PlanStage& stage : stages) most = std::max(most, stage.recompute);
  if (most != Recompute::none) s += fmt::format(", {} recomputation", name(most));
  if (offload.optimizer) s += ", optimizer state on the host";
  if (offload.parameters) s += ", parameters on the host";
  if (offload.activations) s += ", activations on the host";
  return s;
}

void Plan::check() const {
  SORUS_CHECK(devices > 0 && devices <= (int64_t{1} << 40), ValueError, "plan: 'devices' must be positive, not {}",
              devices);
  std::set<std::string> names;
  std::set<AxisKind> kinds;
  int64_t product = 1;
  for (const PlanAxis& a : mesh) {
    SORUS_CHECK(a.size > 0 && a.size <= devices, ValueError, "plan: mesh axis '{}' has size {} on {} devices", a.name,
                a.size, devices);
    SORUS_CHECK(names.insert(a.name).second, ValueError, "plan: two mesh axes are called '{}'", a.name);
    SORUS_CHECK(kinds.insert(a.kind).second || a.kind == AxisKind::tensor, ValueError,
                "plan: two mesh axes are of kind '{}'; only tensor axes may be several", name(a.kind));
    product *= a.size;
    SORUS_CHECK(product <= devices, ValueError, "plan: the mesh has more than the plan's {} devices", devices);
  }
  SORUS_CHECK(product == devices, ValueError, "plan: the mesh has {} devices, 'devices' says {}", product, devices);
  SORUS_CHECK(device_of_rank.empty() || static_cast<int64_t>(device_of_rank.size()) == devices, ValueError,
              "plan: 'device_of_rank' names {} devices, the plan has {}", device_of_rank.size(), devices);
  SORUS_CHECK(std::set<int64_t>(device_of_rank.begin(), device_of_rank.end()).size() == device_of_rank.size(),
              ValueError, "plan: 'device_of_rank' names a device twice");

  SORUS_CHECK(global_batch > 0 && micro_batch > 0 && micro_batches > 0, ValueError,
              "plan: batches must be positive: global {}, micro {} x {}", global_batch, micro_batch, micro_batches);
  int64_t dp = size(AxisKind::data) * size(AxisKind::expert);
  SORUS_CHECK(global_batch % dp == 0 && global_batch / dp % micro_batch == 0 &&
                  global_batch / dp / micro_batch == micro_batches,
              ValueError,
              "plan: {} data-parallel ranks x {} micro-batches of {} are not the {} samples of 'global_batch'", dp,
              micro_batches, micro_batch, global_batch);
  SORUS_CHECK(zero >= 0 && zero <= 3, ValueError, "plan: 'zero' must be 0, 1, 2 or 3, not {}", zero);
  SORUS_CHECK(bucket_bytes > 0, ValueError, "plan: 'bucket_bytes' must be positive, not {}", bucket_bytes);

  int64_t pp = size(AxisKind::pipeline);
  SORUS_CHECK(chunks > 0 && chunks <= (int64_t{1} << 20), ValueError, "plan: 'chunks' must be positive, not {}",
              chunks);
  SORUS_CHECK(chunks == 1 || schedule == Schedule::interleaved || schedule == Schedule::zero_bubble, ValueError,
              "plan: {} chunks need the interleaved or a zero-bubble schedule, not '{}'", chunks, name(schedule));
  SORUS_CHECK(pp == 1 || schedule != Schedule::none, ValueError, "plan: {} pipeline stages need a schedule", pp);
  SORUS_CHECK(static_cast<int64_t>(stages.size()) == pp * chunks, ValueError,
              "plan: {} stages; a pipeline of {} with {} chunks a device has {}", stages.size(), pp, chunks,
              pp * chunks);
  for (size_t i = 0; i < stages.size(); ++i) {
    const PlanStage& s = stages[i];
    SORUS_CHECK(s.first_node >= 0 && s.end_node >= s.first_node, ValueError, "plan: stage {} has the nodes [{}, {})",
                i, s.first_node, s.end_node);
    SORUS_CHECK(i == 0 ? s.first_node == 0 : s.first_node == stages[i - 1].end_node, ValueError,
                "plan: stage {} begins at node {}, the one before ends at {}", i, s.first_node,
                i ? stages[i - 1].end_node : 0);
    SORUS_CHECK(s.device >= 0 && s.device < pp, ValueError, "plan: stage {} is on pipeline rank {} of {}", i,
                s.device, pp);
    for (auto [from, to] : s.recomputed)
      SORUS_CHECK(from >= s.first_node && from <= to && to <= s.end_node, ValueError,
                  "plan: stage {} recomputes [{}, {}), its nodes are [{}, {})", i, from, to, s.first_node,
                  s.end_node);
  }
  for (const Mark& m : marks)
    for (const auto& [axis, placement] : m.on)
      SORUS_CHECK(names.contains(axis), ValueError,
                  "plan: the mark of '{}' names the mesh axis '{}', which is not there", m.name, axis);
}

}  // namespace sorus::parallel
