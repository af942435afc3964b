#include "sorus/parallel/runtime/parallel_step.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "sorus/graph/call.h"
#include "sorus/parallel/comm/groups.h"
#include "sorus/parallel/partition/in_flight.h"
#include "sorus/parallel/runtime/program_runner.h"
#include "sorus/parallel/runtime/rank_pool.h"
#include "sorus/tensor/copy.h"
#include "sorus/tensor/memory_account.h"

namespace sorus::parallel {
namespace {

Tensor view_of(const Tensor& whole, const Block& b) {
  Geometry g = whole.geometry();
  for (size_t d = 0; d < b.sizes.size(); ++d) g.offset += b.start[d] * g.strides[d];
  g.sizes = b.sizes;
  return whole.with_geometry(g);
}

Tensor copied(const Tensor& t) {
  Tensor out = Tensor::empty(t.sizes(), t.dtype());
  copy_elements(out, t);
  return out;
}

// All ranks: the pipeline's axis in front.
DeviceMesh with_pipeline(const DeviceMesh& mesh, int ranks) {
  if (ranks == 1) return mesh;
  std::vector<std::string> names = mesh.names();
  Shape sizes = mesh.sizes();
  names.insert(names.begin(), "pp");
  sizes.insert(sizes.begin(), ranks);
  return DeviceMesh(names, sizes);
}

// Ranks that do not cut dimension 0.
int64_t others(const DeviceMesh& mesh, const Layout& l) {
  int64_t n = 1;
  for (int a = 0; a < mesh.axes(); ++a)
    if (!l[static_cast<size_t>(a)].is_shard(0)) n *= mesh.size(a);
  return n;
}

Request with_micro_batches(Request r, const TracedGraph& traced, int count) {
  if (count == 1) return r;
  std::vector<std::string> names = r.mesh.names();
  Shape sizes = r.mesh.sizes();
  names.push_back("micro-batch");
  sizes.push_back(count);
  auto axes = static_cast<size_t>(r.mesh.axes());
  r.mesh = DeviceMesh(names, sizes);
  r.micro = true;
  for (auto* map : {&r.inputs, &r.used_as, &r.outputs})
    for (auto& [i, layout] : *map) layout.push_back(Replicate());
  for (auto& [v, layout] : r.marks) layout.push_back(Replicate());
  for (int i = 0; i < traced.explicit_inputs; ++i) {
    const Shape& shape = traced.graph.inputs()[static_cast<size_t>(i)]->outputs[0].shape;
    if (shape.empty()) continue;
    Layout& l = r.inputs.try_emplace(i, Layout(axes + 1)).first->second;
    l.back() = Shard(0);
    std::string what = fmt::format("argument {} in {} micro-batches", i, count);
    check_layout(r.mesh, l, shape, what);
    for (int64_t rank = 0; rank < r.mesh.size(); rank += count) {
      Shape sizes = cut_sizes(r.mesh, l, shape, rank, static_cast<int>(axes));
      SORUS_CHECK(all_equal(sizes), ValueError,
                  "{}: micro-batches are of one size, but a rank has {} of the {} samples; give a batch that is a "
                  "multiple of {}",
                  what, std::accumulate(sizes.begin(), sizes.end(), int64_t{0}), shape[0],
                  r.mesh.size() / std::max<int64_t>(1, others(r.mesh, l)));
    }
  }
  return r;
}

}  // namespace

struct ParallelStep::Impl {
  // One captured tensor at one rank.
  struct Piece {
    Block block;
    Tensor tensor;
    bool lies_in_whole = false, writes_whole = false;
  };
  struct Rank {
    int number = 0;
    std::vector<Piece> pieces;
    std::unique_ptr<ProgramRunner> runner;
    TensorList results;
    std::shared_ptr<MemoryAccount> account = std::make_shared<MemoryAccount>();
    int64_t elsewhere = 0;  // bytes of pieces that lie in the whole tensors, which no account has
    bool ran = false;
  };

  ExecutionOptions options;
  TracedGraph whole;
  Request request;   // with the micro-batches
  DeviceMesh inner;  // ranks of one stage
  DeviceMesh all;
  Propagated layouts;
  RankPool pool;
  std::vector<Rank> ranks;
  std::vector<uint32_t> versions;    // of captured storages after the last run
  std::vector<char> written;         // by the graph
  std::vector<int> result_rank;      // of the pipeline, -1: all
  std::set<std::vector<int>> joint;  // axes along which ranks meet at once

  Impl(TracedGraph t, const Request& r, ExecutionOptions o)
      : options(std::move(o)),
        whole(std::move(t)),
        request(with_micro_batches(r, whole, options.micro_batches)),
        inner(r.mesh),
        all(with_pipeline(r.mesh, options.pipeline.ranks)),
        pool(all) {
    SORUS_CHECK(options.pipeline.stages() == 1 || options.micro_batches > 1, ValueError,
                "a pipeline of {} stages needs at least 2 micro-batches", options.pipeline.stages());
    whole.graph = prepare_for_partition(whole.graph);
    for (size_t i = 0; i < whole.write_targets.size(); ++i) {
      int target = whole.write_targets[i];
      if (auto it = request.inputs.find(target); it != request.inputs.end())
        request.outputs[whole.explicit_outputs + static_cast<int>(i)] = it->second;
    }
    layouts = propagate(whole.graph, request);
    layouts.ranks = all;
    layouts.first_axis = options.pipeline.ranks > 1 ? 1 : 0;
    for (size_t i = 0; i < layouts.outputs.size(); ++i)
      for (const Placement& p : layouts.outputs[i])
        SORUS_CHECK(!p.is_partial(), ValueError, "output {} cannot stay a partial value", i);
    written.assign(whole.captures.size(), 0);
    for (int i : whole.write_targets)
      if (i >= whole.explicit_inputs) written[static_cast<size_t>(i - whole.explicit_inputs)] = 1;
    for (int rank : pool.local()) ranks.push_back(make_rank(rank));
    pool.join(joint);
    result_rank = ranks[0].runner->program().result_rank;
    remember();
  }

  const Rank& here(int number) const {
    for (const Rank& r : ranks)
      if (r.number == number) return r;
    fail<ValueError>("rank {} is not a rank of this process, which has {}", number, fmt::join(pool.local(), ", "));
  }
  int pipeline_rank(int number) const { return number / static_cast<int>(inner.size()); }
  int inner_rank(int number) const { return number % static_cast<int>(inner.size()); }
  bool one_process_each() const { return pool.local().size() == 1; }
  const Layout& capture_layout(size_t i) const {
    return layouts.inputs[static_cast<size_t>(whole.explicit_inputs) + i];
  }
  int64_t virtual_rank(int number, int micro) const {
    return int64_t{inner_rank(number)} * options.micro_batches + micro;
  }
  Block block(const Layout& layout, const Shape& shape, int number, int micro = 0) const {
    return block_of(request.mesh, layout, shape, virtual_rank(number, micro));
  }

  Program program_of(int number) {
    std::vector<LocalGraph> graphs;
    for (int m = 0; m < options.micro_batches; ++m) {
      graphs.push_back(partition_local(whole.graph, layouts, virtual_rank(number, m)));
      for (std::vector<int> axes : graphs.back().joint_axes) {
        for (int& a : axes) a += layouts.first_axis;
        joint.insert(std::move(axes));
      }
    }
    return make_program(graphs, layouts, whole.explicit_inputs, whole.explicit_outputs, whole.write_targets,
                        options.pipeline, pipeline_rank(number));
  }

  // Of ranks of one stage with the same block, the first.
  bool is_first(const Layout& layout, int number) const {
    for (int a = 0; a < inner.axes(); ++a)
      if (!layout[static_cast<size_t>(a)].is_shard() && inner.coordinate(inner_rank(number), a) != 0) return false;
    return true;
  }

  Rank make_rank(int number) {
    Rank r;
    r.number = number;
    AccountScope scope(r.account);
    Program program = program_of(number);
    TensorList captures;
    for (size_t i = 0; i < whole.captures.size(); ++i) {
      const Tensor& t = whole.captures[i];
      const Layout& layout = capture_layout(i);
      Piece p;
      p.block = block(layout, t.sizes(), number);
      int by = program.written_by[i];
      bool owner = by == pipeline_rank(number) || (by == -1 && pipeline_rank(number) == 0);
      p.writes_whole = written[i] && (one_process_each() || (owner && is_first(layout, number)));
      if (program.used[i]) {
        Tensor view = view_of(t, p.block);
        // What nobody writes all ranks read where it is.
        p.lies_in_whole = (p.writes_whole || !written[i]) && view.is_contiguous();
        if (p.lies_in_whole) r.elsewhere += static_cast<int64_t>(view.nbytes());
        if (!p.lies_in_whole) {
          p.tensor = copied(view);
        } else if (p.block.sizes == t.sizes()) {
          p.tensor = t;
        } else {
          // A storage of its own, so that ranks do not count each other's writes.
          p.tensor = Tensor::from_storage(Storage::wrap(view.data(), view.nbytes(), [t] {}),
                                          {p.block.sizes, contiguous_strides(p.block.sizes), 0}, t.dtype());
        }
      } else {
        p.writes_whole = false;
      }
      captures.push_back(p.tensor);
      r.pieces.push_back(std::move(p));
    }
    std::string group = options.pipeline.ranks > 1 ? all.group(0) : "";
    r.runner = std::make_unique<ProgramRunner>(std::move(program), std::move(captures), group, options.compiled,
                                               options.beside);
    return r;
  }

  void remember() {
    versions.clear();
    for (const Tensor& t : whole.captures) versions.push_back(t.storage()->version());
  }

  // What somebody else wrote.
  void refresh(Rank& r) {
    for (size_t i = 0; i < r.pieces.size(); ++i) {
      Piece& p = r.pieces[i];
      if (!p.tensor.defined() || whole.captures[i].storage()->version() == versions[i]) continue;
      if (!p.lies_in_whole) copy_elements(p.tensor, view_of(whole.captures[i], p.block));
      if (!p.tensor.is(whole.captures[i])) p.tensor.storage()->bump_version();
    }
  }

  void step(int number, TensorSpan inputs) {
    GradMode off(false);
    Rank& r = *std::find_if(ranks.begin(), ranks.end(), [&](const Rank& x) { return x.number == number; });
    AccountScope scope(r.account);
    r.account->reset_peak();
    r.ran = true;
    refresh(r);
    std::vector<TensorList> mine(static_cast<size_t>(options.micro_batches));
    for (int m = 0; m < options.micro_batches; ++m)
      for (size_t i = 0; i < inputs.size(); ++i)
        mine[static_cast<size_t>(m)].push_back(
            copied(view_of(inputs[i], block(layouts.inputs[i], inputs[i].sizes(), number, m))));
    r.results = r.runner->run(mine);
    for (size_t i = 0; i < r.pieces.size(); ++i)
      if (r.pieces[i].writes_whole && !r.pieces[i].lies_in_whole)
        copy_elements(view_of(whole.captures[i], r.pieces[i].block), r.pieces[i].tensor);
    for (int t : whole.write_targets) {  // arguments that the graph writes
      if (t >= whole.explicit_inputs) continue;
      auto i = static_cast<size_t>(t);
      if (one_process_each() || is_first(layouts.inputs[i], number))
        copy_elements(view_of(inputs[i], block(layouts.inputs[i], inputs[i].sizes(), number)), mine[0][i]);
    }
    if (one_process_each() && all.size() > 1) share_results(r);
  }

  TensorList run(TensorSpan inputs) {
    SORUS_CHECK(static_cast<int>(inputs.size()) == whole.explicit_inputs, ValueError,
                "parallel {}: expected {} inputs, got {}", whole.graph.name(), whole.explicit_inputs, inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      const TensorType& t = whole.graph.inputs()[i]->outputs[0];
      SORUS_CHECK(inputs[i].sizes() == t.shape && inputs[i].dtype() == t.dtype, ValueError,
                  "parallel {}: input {} is {}, expected {}", whole.graph.name(), i, inputs[i].type().to_string(),
                  t.to_string());
    }
    pool.run([&](int number) { step(number, inputs); });
    for (size_t i = 0; i < whole.captures.size(); ++i)
      if (written[i]) whole.captures[i].storage()->bump_version();
    remember();
    return assemble();
  }

  TensorList assemble() {
    TensorList out;
    for (size_t i = 0; i < static_cast<size_t>(whole.explicit_outputs); ++i) {
      const TensorType& t = whole.graph.outputs()[i].type();
      const Layout& layout = layouts.outputs[i];
      int from = std::max(result_rank[i], 0) * static_cast<int>(inner.size());
      Tensor& first = ranks[one_process_each() ? 0 : static_cast<size_t>(from)].results[i];
      if (first.sizes() == t.shape) {
        out.push_back(first);
        continue;
      }
      Tensor joined = Tensor::empty(t.shape, t.dtype);
      for (Rank& r : ranks)
        if (pipeline_rank(r.number) == std::max(result_rank[i], 0) && is_first(layout, r.number))
          copy_elements(view_of(joined, block(layout, t.shape, r.number)), r.results[i]);
      out.push_back(joined);
    }
    for (Rank& r : ranks) r.results.clear();
    return out;
  }

  // Cuts undone from the innermost outwards, among the ranks of one stage.
  Tensor gathered(Tensor t, Layout layout, const Shape& whole, int number) const {
    static const OpDef& op = find_op("all_gather");
    int64_t rank = virtual_rank(number, 0);
    for (const Move& m : redistribution(request.mesh, layout, replicated(request.mesh))) {
      Shape sizes = cut_sizes(request.mesh, layout, whole, rank, m.axis);
      t = call_one(op, {t, Tensor()},
                   {Attr(m.dim), Attr(request.mesh.size(m.axis)), Attr(layouts.group({m.axis})),
                    all_equal(sizes) ? Attr() : Attr(sizes), Attr(request.mesh.coordinate(rank, m.axis))});
      apply_move(m, layout);
    }
    return t;
  }
  // From the rank of the pipeline that has it to all of them.
  void spread(Tensor& t, const TensorType& type, int from) const {
    if (options.pipeline.ranks == 1 || from < 0) return;
    if (!t.defined()) t = Tensor::empty(type.shape, type.dtype);
    comm::group(all.group(0)).broadcast(t.data(), static_cast<int64_t>(t.nbytes()), from);
  }
  void share_results(Rank& r) {
    for (size_t i = 0; i < r.results.size(); ++i) {
      if (r.results[i].defined())
        r.results[i] = gathered(r.results[i], layouts.outputs[i], whole.graph.outputs()[i].type().shape, r.number);
      spread(r.results[i], whole.graph.outputs()[i].type(), result_rank[i]);
    }
  }
  void gather() {
    if (!one_process_each() || all.size() == 1) return;  // threads keep them up to date
    pool.run([&](int number) {
      GradMode off(false);
      const std::vector<int>& by = ranks[0].runner->program().written_by;
      for (size_t i = 0; i < whole.captures.size(); ++i) {
        if (!written[i]) continue;
        Tensor t;
        if (by[i] == -1 || by[i] == pipeline_rank(number))
          t = gathered(copied(ranks[0].pieces[i].tensor), capture_layout(i), whole.captures[i].sizes(), number);
        spread(t, whole.captures[i].type(), by[i]);
        copy_elements(whole.captures[i], t);
      }
    });
  }
};

ParallelStep::ParallelStep(TracedGraph traced, const Request& request, ExecutionOptions options)
    : impl_(std::make_unique<Impl>(std::move(traced), request, std::move(options))) {}
ParallelStep::~ParallelStep() = default;
TensorList ParallelStep::run(TensorSpan inputs) { return impl_->run(inputs); }
void ParallelStep::gather() { impl_->gather(); }
const DeviceMesh& ParallelStep::mesh() const { return impl_->all; }
const Graph& ParallelStep::graph() const { return impl_->whole.graph; }
const Propagated& ParallelStep::layouts() const { return impl_->layouts; }
Graph ParallelStep::rank_graph(int rank) const {
  return partition(impl_->whole.graph, impl_->layouts, impl_->virtual_rank(rank, 0));
}
Program ParallelStep::rank_program(int rank) const { return impl_->program_of(rank); }
RankMemory ParallelStep::rank_memory(int rank) const {
  const Impl::Rank& r = impl_->here(rank);
  std::vector<Program> stages;  // of the ranks that this one exchanges messages with
  for (int p = 0; p < impl_->options.pipeline.ranks; ++p)
    stages.push_back(impl_->program_of(p * static_cast<int>(impl_->inner.size()) + impl_->inner_rank(rank)));
  return r.runner->memory(impl_->pool.threads_each(), taken_by(stages, impl_->pipeline_rank(rank)));
}
int64_t ParallelStep::measured_memory(int rank) const {
  const Impl::Rank& r = impl_->here(rank);
  return r.ran ? r.account->peak() + r.elsewhere : 0;
}

}  // namespace sorus::parallel
