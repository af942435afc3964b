// A world of two levels: shared memory inside a machine, another communicator across.
#include <algorithm>

#include "sorus/base/move_bytes.h"
#include "sorus/parallel/comm/mpi.h"
#include "sorus/parallel/comm/reduce.h"

namespace sorus::comm {
namespace {

class LevelCommunicator final : public Communicator {
 public:
  LevelCommunicator(Levels levels, const std::string& name, Options options)
      : Communicator(levels.world->rank(), levels.world->members(), name, options), levels_(std::move(levels)) {
    int here = machine(rank());
    for (int r = 0; r < size(); ++r) {
      place_.push_back(machine(r) == here ? static_cast<int>(std::count(levels_.machine_of.begin(),
                                                                        levels_.machine_of.begin() + r, here))
                                          : -1);
    }
  }
  ~LevelCommunicator() override { stop_thread(); }

  std::string_view backend() const override { return levels_.world->backend(); }

  std::shared_ptr<Communicator> split(std::span<const int> ranks, const std::string& name) override {
    std::shared_ptr<Communicator> world = levels_.world->split(ranks, name);
    // The members on this machine, and whether every machine has as many.
    std::vector<int> here, machines;
    std::vector<int> counts(
        static_cast<size_t>(*std::max_element(levels_.machine_of.begin(), levels_.machine_of.end())) + 1);
    for (int r : ranks) {
      machines.push_back(machine(r));
      ++counts[static_cast<size_t>(machine(r))];
      if (place_[static_cast<size_t>(r)] >= 0) here.push_back(place_[static_cast<size_t>(r)]);
    }
    std::shared_ptr<Communicator> local;
    if (!here.empty()) local = levels_.local->split(here, name);
    std::erase(counts, 0);
    std::shared_ptr<Communicator> across;
    bool even = std::all_of(counts.begin(), counts.end(), [&](int n) { return n == counts[0]; });
    // All ranks take part in making the groups across, one for each place.
    for (int place = 0; even && place < counts[0]; ++place) {
      std::vector<int> same, seen(levels_.machine_of.size(), 0);
      for (int r : ranks)
        if (seen[static_cast<size_t>(machine(r))]++ == place) same.push_back(r);
      auto made = levels_.world->split(same, fmt::format("{}.{}", name, place));
      if (made) across = made;
    }
    if (!world) return nullptr;
    if (counts.size() == 1) return local;
    return join_levels({world, local, across, machines}, name, options());
  }

  // Only the ranks of this machine can see it; operations across copy anyway.
  Ref<Storage> allocate_shared(size_t nbytes) override { return levels_.local->allocate_shared(nbytes); }

  void abort(const std::string& why) override {
    levels_.local->abort(why);
    levels_.world->abort(why);
  }

 protected:
  void do_all_reduce(const void* in, void* out, int64_t count, DType dtype, ReduceOp op) override {
    // Averages of unequal machines are not averages of averages: the sum is divided at the end.
    ReduceOp inner = op == ReduceOp::avg ? ReduceOp::sum : op;
    int n = levels_.local->size();
    size_t element = size_of(dtype);
    if (!levels_.across) {
      levels_.local->all_reduce(in, out, count, dtype, inner);
      // One rank of each machine brings its sum, the others what changes nothing: their machine's sum is not theirs.
      leaders_all_reduce(out, count, dtype, inner);
    } else if (count % n == 0 && count > 0) {
      int64_t part = count / n;
      auto* own = static_cast<std::byte*>(out) + static_cast<size_t>(part * levels_.local->rank()) * element;
      levels_.local->reduce_scatter(in, own, part, dtype, inner);
      levels_.across->all_reduce(own, part, dtype, inner);
      levels_.local->all_gather(own, out, part * static_cast<int64_t>(element));
    } else {
      levels_.local->all_reduce(in, out, count, dtype, inner);
      levels_.across->all_reduce(out, count, dtype, inner);
    }
    if (op == ReduceOp::avg) divide_array(out, count, dtype, size());
  }
  void do_all_gather_v(const void* in, void* out, std::span<const int64_t> bytes, bool) override {
    levels_.world->all_gather_v(in, out, bytes);
  }
  void do_all_to_all_v(const void* in, std::span<const int64_t> send_bytes, void* out,
                       std::span<const int64_t> recv_bytes) override {
    levels_.world->all_to_all_v(in, send_bytes, out, recv_bytes);
  }
  void do_broadcast(void* data, int64_t bytes, int root) override { levels_.world->broadcast(data, bytes, root); }
  void do_barrier() override {
    levels_.local->barrier();
    levels_.world->barrier();
  }
  std::shared_ptr<Work> do_isend(const void* data, int64_t bytes, int to, int tag) override {
    int place = place_[static_cast<size_t>(to)];
    return place >= 0 ? levels_.local->isend(data, bytes, place, tag) : levels_.world->isend(data, bytes, to, tag);
  }
  std::shared_ptr<Work> do_irecv(void* data, int64_t bytes, int from, int tag) override {
    int place = place_[static_cast<size_t>(from)];
    return place >= 0 ? levels_.local->irecv(data, bytes, place, tag) : levels_.world->irecv(data, bytes, from, tag);
  }

 private:
  int machine(int rank) const { return levels_.machine_of[static_cast<size_t>(rank)]; }

  void leaders_all_reduce(void* data, int64_t count, DType dtype, ReduceOp op) {
    auto bytes = count * static_cast<int64_t>(size_of(dtype));
    std::vector<int64_t> sizes(static_cast<size_t>(size()), 0);
    std::vector<bool> seen(levels_.machine_of.size() + 1, false);
    int64_t machines = 0;
    for (int r = 0; r < size(); ++r) {
      auto m = static_cast<size_t>(machine(r));
      if (seen.size() <= m) seen.resize(m + 1, false);
      if (!seen[m]) sizes[static_cast<size_t>(r)] = bytes, ++machines;
      seen[m] = true;
    }
    std::vector<std::byte> all(static_cast<size_t>(bytes * machines));
    levels_.world->all_gather_v(data, all.data(), sizes);
    std::vector<const void*> sums;
    for (int64_t m = 0; m < machines; ++m) sums.push_back(all.data() + bytes * m);
    reduce_arrays(sums, data, count, dtype, op);
  }

  Levels levels_;
  std::vector<int> place_;  // in the local group, -1 for ranks of other machines
};

}  // namespace

std::shared_ptr<Communicator> join_levels(Levels levels, const std::string& name, Options options) {
  return std::make_shared<LevelCommunicator>(std::move(levels), name, options);
}

}  // namespace sorus::comm
