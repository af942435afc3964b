#include "sorus/parallel/ddp/reducer.h"

#include <algorithm>
#include <cstring>

#include "sorus/autodiff/tape.h"
#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus::ddp {
namespace {

struct Bucket {
  std::vector<size_t> members;  // parameters
  Tensor flat;
  size_t missing = 0;
  bool started = false;
  std::shared_ptr<comm::Work> work;
  TensorList recorded;  // gradients, while a graph is recorded
};

// The same number at every rank that has the same parameters.
int64_t fingerprint(const TensorList& parameters) {
  uint64_t h = 1469598103934665603u;
  auto mix = [&](int64_t v) { h = (h ^ static_cast<uint64_t>(v)) * 1099511628211u; };
  for (const Tensor& p : parameters) {
    mix(static_cast<int64_t>(p.dtype()));
    mix(p.dim());
    for (int64_t n : p.sizes()) mix(n);
  }
  return static_cast<int64_t>(h);
}

}  // namespace

struct Reducer::Impl : std::enable_shared_from_this<Reducer::Impl> {
  std::shared_ptr<comm::Communicator> group;
  TensorList parameters;
  std::vector<std::string> names;
  ReducerOptions options;
  std::vector<Bucket> buckets;
  std::vector<size_t> bucket_of;
  TensorList slots;  // views of the buckets, shaped as the parameters
  std::vector<int64_t> hooks;
  std::vector<char> ready;
  size_t next = 0;  // bucket to start: all ranks start them in the same order
  bool active = false, sync = true;
  int64_t early = 0;

  void check_and_broadcast() {
    std::vector<int64_t> mine{static_cast<int64_t>(parameters.size()), fingerprint(parameters)};
    std::vector<int64_t> all(mine.size() * static_cast<size_t>(group->size()));
    group->all_gather(mine.data(), all.data(), static_cast<int64_t>(mine.size() * sizeof(int64_t)));
    for (int r = 0; r < group->size(); ++r)
      SORUS_CHECK(
          std::memcmp(&all[2 * static_cast<size_t>(r)], all.data(), 16) == 0, ValueError,
          "DistributedDataParallel: rank {} has {} parameters and rank 0 has {}, or their shapes or types differ; "
          "all ranks must make the same model",
          r, all[2 * static_cast<size_t>(r)], all[0]);
    if (!options.broadcast_parameters) return;
    for (const Tensor& p : parameters) {
      SORUS_CHECK(p.is_contiguous(), ValueError, "DistributedDataParallel: parameters must be contiguous");
      group->broadcast(p.data(), static_cast<int64_t>(p.nbytes()), 0);
      p.storage()->bump_version();
    }
  }

  void make_buckets() {
    bucket_of.resize(parameters.size());
    slots.resize(parameters.size());
    int64_t bytes = 0, limit = options.first_bucket_bytes;
    for (size_t i = parameters.size(); i-- > 0;) {
      const Tensor& p = parameters[i];
      bool fits = !buckets.empty() && parameters[buckets.back().members[0]].dtype() == p.dtype() &&
                  bytes + static_cast<int64_t>(p.nbytes()) <= limit;
      if (!fits) {
        if (!buckets.empty()) limit = options.bucket_bytes;
        buckets.emplace_back();
        bytes = 0;
      }
      buckets.back().members.push_back(i);
      bucket_of[i] = buckets.size() - 1;
      bytes += static_cast<int64_t>(p.nbytes());
    }
    for (Bucket& b : buckets) {
      DType dtype = parameters[b.members[0]].dtype();
      int64_t line = 64 / static_cast<int64_t>(size_of(dtype)), total = 0;
      std::vector<int64_t> starts;
      for (size_t i : b.members) {
        starts.push_back(total);
        total += (parameters[i].numel() + line - 1) / line * line;
      }
      Ref<Storage> memory = group->allocate_shared(static_cast<size_t>(total) * size_of(dtype));
      std::memset(memory->data(), 0, memory->nbytes());
      b.flat = Tensor::from_storage(memory, {{total}, {1}, 0}, dtype);
      for (size_t k = 0; k < b.members.size(); ++k) {
        const Shape& s = parameters[b.members[k]].sizes();
        slots[b.members[k]] = b.flat.with_geometry({s, contiguous_strides(s), starts[k]});
      }
    }
  }

  void add_hooks() {
    std::weak_ptr<Impl> weak = weak_from_this();
    for (size_t i = 0; i < parameters.size(); ++i)
      hooks.push_back(add_accumulated_hook(parameters[i], [weak, i](const Tensor&) {
        if (auto self = weak.lock()) self->arrived(i);
      }));
  }

  void begin() {
    active = true;
    early = 0;
    next = 0;
    ready.assign(parameters.size(), 0);
    for (Bucket& b : buckets) {
      b.missing = b.members.size();
      b.started = false;
      b.work = nullptr;
      b.recorded.assign(b.members.size(), {});
    }
    std::weak_ptr<Impl> weak = weak_from_this();
    at_end_of_backward([weak] {
      if (auto self = weak.lock()) self->finish();
    });
  }

  std::string named(size_t i) const { return i < names.size() ? names[i] : fmt::format("number {}", i); }

  void arrived(size_t i) {
    if (!sync) return;
    if (!active) begin();
    SORUS_CHECK(
        !ready[i], Error,
        "DistributedDataParallel: parameter {} got its gradient twice in one backward pass; is it used again by "
        "a recomputed part of the model?",
        named(i));
    ready[i] = 1;
    Bucket& b = buckets[bucket_of[i]];
    Tensor grad = grad_of(parameters[i]);
    if (is_tracing())
      b.recorded[static_cast<size_t>(std::find(b.members.begin(), b.members.end(), i) - b.members.begin())] = grad;
    else if (grad.data() != slots[i].data())
      copy_elements(slots[i], grad);
    if (--b.missing > 0) return;
    while (next < buckets.size() && buckets[next].missing == 0) start(buckets[next++]);
  }

  void start(Bucket& b) {
    b.started = true;
    ++early;
    if (is_tracing()) return record(b);
    Tensor flat = b.flat;
    b.work = group->start([flat](comm::Communicator& c) {
      c.all_reduce(flat.data(), flat.numel(), flat.dtype(), comm::ReduceOp::avg);
    });
  }

  // The same as operators of the graph that is recorded.
  void record(Bucket& b) {
    static const OpDef& reduce = find_op("all_reduce");
    GradMode off(false);
    TensorList parts;
    for (const Tensor& g : b.recorded) parts.push_back(reshape(g, {g.numel()}));
    Tensor flat = parts.size() == 1 ? parts[0] : cat(parts, 0);
    flat = call_one(reduce, {flat}, {Attr("avg"), Attr(group->name())});
    int64_t at = 0;
    for (size_t k = 0; k < b.members.size(); ++k) {
      const Tensor& p = parameters[b.members[k]];
      set_grad(p, reshape(narrow(flat, 0, at, p.numel()), p.sizes()));
      at += p.numel();
    }
    b.recorded.clear();
  }

  void finish() {
    active = false;
    int64_t early_ones = early;
    if (is_tracing()) {
      SORUS_CHECK(next == buckets.size(), Error, "{}", missing_message());
      return;
    }
    std::vector<uint8_t> used(ready.begin(), ready.end());
    if (options.find_unused_parameters) {
      for (size_t i = 0; i < parameters.size(); ++i)
        if (!ready[i]) std::memset(slots[i].data(), 0, slots[i].nbytes());
      while (next < buckets.size()) start(buckets[next++]);
      group->all_reduce(used.data(), static_cast<int64_t>(used.size()), DType::u8, comm::ReduceOp::max);
    } else if (next < buckets.size()) {
      for (Bucket& b : buckets)
        if (b.work) b.work->wait();
      fail<Error>("{}", missing_message());
    }
    for (Bucket& b : buckets) {
      b.work->wait();
      b.work = nullptr;
      for (size_t i : b.members) {
        if (!used[i]) continue;
        if (options.gradient_as_bucket_view) {
          set_grad(parameters[i], slots[i]);
          continue;
        }
        Tensor grad = ready[i] ? grad_of(parameters[i]) : Tensor();
        if (!grad.defined()) {
          grad = Tensor::empty(parameters[i].sizes(), parameters[i].dtype());
          set_grad(parameters[i], grad);
        }
        copy_elements(grad, slots[i]);
        grad.storage()->bump_version();
      }
    }
    early = early_ones;
  }

  std::string missing_message() const {
    std::string missing;
    int shown = 0;
    for (size_t i = 0; i < parameters.size(); ++i)
      if (!ready[i] && ++shown <= 4) missing += (missing.empty() ? "" : ", ") + named(i);
    return fmt::format(
        "DistributedDataParallel: {} parameters got no gradient in this backward pass: {}{}; if they take no part in "
        "the loss, pass find_unused_parameters=True",
        std::count(ready.begin(), ready.end(), 0), missing, shown > 4 ? ", ..." : "");
  }
};

Reducer::Reducer(std::shared_ptr<comm::Communicator> group, TensorList parameters, std::vector<std::string> names,
                 ReducerOptions options)
    : impl_(std::make_shared<Impl>()) {
  SORUS_CHECK(!parameters.empty(), ValueError, "DistributedDataParallel: no parameter requires a gradient");
  impl_->group = std::move(group);
  impl_->parameters = std::move(parameters);
  impl_->names = std::move(names);
  impl_->options = options;
  impl_->check_and_broadcast();
  impl_->make_buckets();
  impl_->add_hooks();
}

Reducer::~Reducer() {
  for (size_t i = 0; i < impl_->hooks.size(); ++i) remove_accumulated_hook(impl_->parameters[i], impl_->hooks[i]);
}

void Reducer::prepare() {
  if (!impl_->active) return;
  for (Bucket& b : impl_->buckets)
    if (auto work = std::exchange(b.work, nullptr)) work->wait();
  impl_->active = false;
}
void Reducer::set_sync(bool on) { impl_->sync = on; }
bool Reducer::sync() const { return impl_->sync; }
int64_t Reducer::started_early() const { return impl_->early; }
std::vector<int64_t> Reducer::bucket_sizes() const {
  std::vector<int64_t> out;
  for (const Bucket& b : impl_->buckets) out.push_back(b.flat.numel());
  return out;
}

}  // namespace sorus::ddp
