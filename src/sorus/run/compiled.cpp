#include "sorus/run/compiled.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>

#include "sorus/emit/preamble.h"
#include "sorus/run/compiled_impl.h"
#include "sorus/run/passes.h"
#include "sorus/run/strips.h"

namespace sorus {
namespace {

void say_once(const std::string& why) {
  static std::once_flag flag;
  std::call_once(flag, [&] {
    fmt::print(stderr, "sorus: compiled graphs run by kernels, more slowly, since no C compiler could be used: {}\n",
               why);
  });
}

}  // namespace

CompiledGraph::Impl::Impl(TracedGraph t, const BesideOptions& b, Rounding r)
    : traced(std::move(t)), beside(b), rounding(r) {
  auto start = std::chrono::steady_clock::now();
  traced.graph = simplify_graph(
      expand_composites(simplify_graph(traced.graph), [](const OpDef& op) { return op.is_kernel_in_graphs(); }));
  mirrors = mirror_casts(traced);
  for (const Mirror& m : mirrors)
    report.mirrored_bytes += static_cast<int64_t>(traced.captures[static_cast<size_t>(m.copy)].nbytes());
  graph = simplify_graph(join_insets(simplify_graph(traced.graph)));
  placement = std::make_unique<Placement>(graph);
  units = take_in_strips(fuse(graph, *placement), graph, *placement);
  reorder();
  build_code();
  if (code) {
    place_values();
    make_steps();
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void CompiledGraph::Impl::build_code() {
  std::unordered_map<std::string, int> known;
  std::vector<std::string> texts;
  for (const Unit& u : units) {
    if (u.node) {
      ++report.kernels;
      loop_names.emplace_back();
      continue;
    }
    ++report.loops;
    report.strips += static_cast<int>(u.strips.size());
    auto [it, fresh] = known.try_emplace(print_fused_loop(u.loop, "f"), static_cast<int>(known.size()));
    loop_names.push_back(fmt::format("sorus_loop{}", it->second));
    if (fresh) texts.push_back(print_fused_loop(u.loop, loop_names.back()));
    scratch_bytes = std::max(scratch_bytes, u.loop.scratch_bytes());
  }
  report.distinct_loops = static_cast<int>(texts.size());
  report.scratch_bytes = scratch_bytes;
  size_t files = std::clamp<size_t>(texts.size() / 6, 1, 4);
  std::vector<std::string> sources(files, std::string(c_preamble()) + "\n");
  for (const std::string& t : texts) {  // the longest job decides: fill the shortest file
    auto shortest = std::min_element(sources.begin(), sources.end(),
                                     [](const std::string& a, const std::string& b) { return a.size() < b.size(); });
    *shortest += t + "\n";
    source += t + "\n";
  }
  std::string why;
  code = NativeCode::build(sources, &why, rounding);
  if (code) {
    report.from_cache = code->from_cache();
  } else {
    report.without_compiler = why;
    say_once(why);
  }
}

CompiledGraph::CompiledGraph(TracedGraph traced, BesideOptions beside, Rounding rounding)
    : impl_(std::make_unique<Impl>(std::move(traced), beside, rounding)) {}
CompiledGraph::~CompiledGraph() = default;
CompiledGraph::CompiledGraph(CompiledGraph&&) noexcept = default;
TensorList CompiledGraph::run(TensorSpan inputs) { return impl_->run(inputs); }
const Graph& CompiledGraph::graph() const { return impl_->graph; }
const CompileReport& CompiledGraph::report() const { return impl_->report; }
void CompiledGraph::share_arena(const Tensor& memory) { impl_->share_arena(memory); }
double CompiledGraph::predicted_wait(double seconds, double bytes_per_second) const {
  return impl_->predicted_wait(seconds, bytes_per_second);
}
const std::vector<PeakValue>& CompiledGraph::peak() const { return impl_->peak; }
int64_t CompiledGraph::packed_bytes(const Node& kernel) const {
  auto it = impl_->packed.find(&kernel);
  return it == impl_->packed.end() ? 0 : it->second;
}
const std::string& CompiledGraph::source() const { return impl_->source; }

}  // namespace sorus
