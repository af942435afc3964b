#include "sorus/parallel/comm/local.h"

#include <sched.h>

#include <algorithm>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "sorus/base/move_bytes.h"
#include "sorus/base/threads.h"
#include "sorus/parallel/comm/local_impl.h"
#include "sorus/parallel/comm/reduce.h"

namespace sorus::comm {
namespace {

void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}
size_t aligned(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

// Where things are in the block of a group.
struct Layout {
  size_t slots, channels, stages, total;
  explicit Layout(int n) {
    auto count = static_cast<size_t>(n);
    slots = 0;
    channels = aligned(sizeof(Slot) * count);
    stages = channels + aligned(sizeof(Channel) * count * count);
    total = stages + count * 4 * static_cast<size_t>(kStage);
  }
};

// Elements [begin, end) of part r, in whole cache lines.
struct Part {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};
Part part_of(int64_t count, int parts, int r, size_t element) {
  int64_t line = std::max<int64_t>(1, 64 / static_cast<int64_t>(element));
  int64_t each = (count + parts - 1) / parts;
  each = (each + line - 1) / line * line;
  return {std::min(count, each * r), std::min(count, each * (r + 1))};
}

void copy_bytes(void* to, const void* from, int64_t bytes) {
  if (to == from || bytes == 0) return;
  parallel_for(bytes, int64_t{1} << 20, [&](int64_t b, int64_t e) {
    move_bytes(static_cast<std::byte*>(to) + b, static_cast<const std::byte*>(from) + b, static_cast<size_t>(e - b));
  });
}

const std::byte* at(const void* p, int64_t bytes) { return static_cast<const std::byte*>(p) + bytes; }
std::byte* at(void* p, int64_t bytes) { return static_cast<std::byte*>(p) + bytes; }

class LocalCommunicator final : public Communicator {
 public:
  LocalCommunicator(std::shared_ptr<Segment> segment, int64_t handle, int rank, std::vector<int> members,
                    std::vector<int> index, std::string name, Options options)
      : Communicator(rank, std::move(members), std::move(name), options),
        segment_(std::move(segment)),
        index_(std::move(index)),
        layout_(size()),
        block_(segment_->map(handle, layout_.total)),
        slots_(reinterpret_cast<Slot*>(block_.get() + layout_.slots)),
        transfers_(std::make_shared<Transfers>(
            rank, size(), slots_, reinterpret_cast<Channel*>(block_.get() + layout_.channels), *segment_)),
        crowded_(crowded(segment_->board().members)),
        threads_(segment_->backend() == "threads") {}

  ~LocalCommunicator() override {
    stop_thread();
    if (size() == segment_->board().members) self().state.store(Member::left);
  }

  std::string_view backend() const override { return segment_->backend(); }

  std::shared_ptr<Communicator> split(std::span<const int> ranks, const std::string& name) override {
    auto sub = std::find(ranks.begin(), ranks.end(), rank());
    for (size_t i = 0; i < ranks.size(); ++i) {
      SORUS_CHECK(ranks[i] >= 0 && ranks[i] < size(), ValueError,
                  "group '{}': rank {} is not in the group '{}' of {} ranks", name, ranks[i], this->name(), size());
      SORUS_CHECK(std::count(ranks.begin(), ranks.end(), ranks[i]) == 1, ValueError,
                  "group '{}': rank {} is named twice", name, ranks[i]);
    }
    SORUS_CHECK(!ranks.empty(), ValueError, "group '{}': it has no ranks", name);
    int64_t handle = 0;
    if (rank() == ranks[0]) handle = segment_->reserve(local_block_bytes(static_cast<int>(ranks.size())));
    broadcast(&handle, sizeof handle, ranks[0]);
    std::shared_ptr<Communicator> made;
    if (sub != ranks.end()) {
      std::vector<int> members, index;
      for (int r : ranks) {
        members.push_back(this->members()[static_cast<size_t>(r)]);
        index.push_back(index_[static_cast<size_t>(r)]);
      }
      made = join_local(segment_, handle, static_cast<int>(sub - ranks.begin()), members, index, name, options());
    }
    barrier();  // everybody has mapped it before the memory of threads may be taken away
    return made;
  }

  Ref<Storage> allocate_shared(size_t nbytes) override {
    if (threads_) return Storage::allocate(nbytes);
    size_t each = aligned(nbytes);
    int64_t handle = 0;
    if (rank() == 0) handle = segment_->reserve(each * static_cast<size_t>(size()));
    broadcast(&handle, sizeof handle, 0);
    auto all = segment_->map(handle, each * static_cast<size_t>(size()));
    barrier();
    std::byte* own = all.get() + each * static_cast<size_t>(rank());
    return Storage::wrap(own, nbytes, [segment = segment_, all, own, each] { segment->discard(own, each); });
  }

  void abort(const std::string& why) override {
    report_failure(segment_->board(), index_[static_cast<size_t>(rank())],
                   describe(segment_->board(), index_[static_cast<size_t>(rank())]) + " failed: " + why);
    ring_all();
  }

 protected:
  // ---- collectives

  void do_all_reduce(const void* in, void* out, int64_t count, DType dtype, ReduceOp op) override {
    size_t element = size_of(dtype);
    auto bytes = count * static_cast<int64_t>(element);
    Operation what{"all_reduce", count, dtype, op, -1};
    int n = size();
    std::vector<const void*> inputs(static_cast<size_t>(n));
    if (bytes <= kInline) {
      begin(what, {}, {}, in, bytes);
      for (int r = 0; r < n; ++r) inputs[static_cast<size_t>(r)] = half(r).data;
      return reduce_arrays(inputs, out, count, dtype, op);
    }
    if (begin_shared(what, in, bytes, out, bytes)) {
      std::vector<void*> outputs(static_cast<size_t>(n));
      for (int r = 0; r < n; ++r) {
        inputs[static_cast<size_t>(r)] = r == rank() ? in : segment_->at(half(r).announcement.in);
        outputs[static_cast<size_t>(r)] = r == rank() ? out : segment_->at(half(r).announcement.out);
      }
      Part part = part_of(count, n, rank(), element);
      int64_t block = 16384;
      parallel_for((part.size() + block - 1) / block, 4, [&](int64_t b, int64_t e) {
        std::vector<const void*> sources(inputs.size());
        for (int64_t i = part.begin + b * block; i < std::min(part.end, part.begin + e * block); i += block) {
          int64_t size = std::min(block, part.end - i), offset = i * static_cast<int64_t>(element);
          for (size_t r = 0; r < sources.size(); ++r) sources[r] = at(inputs[r], offset);
          reduce_arrays(sources, at(out, offset), size, dtype, op);
          for (int r = 0; r < n; ++r)
            if (r != rank())
              move_bytes(at(outputs[static_cast<size_t>(r)], offset), at(out, offset),
                         static_cast<size_t>(size) * element);
        }
      });
      return step();
    }
    // Iteration i brings the others' parts of piece i, reduces the own one, and takes the results of piece i - 1.
    // Small pieces go from one core's cache to the other's; where ranks take turns on a core, or somebody sleeps
    // while it waits, a step costs more.
    bool gently = false;
    for (int r = 0; r < n; ++r) gently |= half(r).announcement.gently;
    int64_t each = (crowded_ || gently ? kStage : kStage / 4) / static_cast<int64_t>(element),
            pieces = (count + each - 1) / each;
    auto piece = [&](int64_t i) { return Part{i * each, std::min(count, (i + 1) * each)}; };
    for (int64_t i = 0; i <= pieces; ++i) {
      Part now = i < pieces ? piece(i) : Part{0, 0};
      auto of = [&](const Part& p, int r) { return part_of(p.size(), n, r, element); };
      auto size = [&](const Part& p) { return static_cast<size_t>(p.size()) * element; };
      auto offset = [&](int64_t elements) { return elements * static_cast<int64_t>(element); };
      for (int r = 0; r < n; ++r)
        if (r != rank()) {
          Part p = of(now, r);
          move_bytes(stage(rank(), i) + offset(p.begin), at(in, offset(now.begin + p.begin)), size(p));
        }
      step();
      Part own = of(now, rank());
      if (own.size() > 0) {
        std::byte* to = at(out, offset(now.begin + own.begin));
        for (int r = 0; r < n; ++r)
          inputs[static_cast<size_t>(r)] =
              r == rank() ? at(in, offset(now.begin + own.begin)) : stage(r, i) + offset(own.begin);
        reduce_arrays(inputs, to, own.size(), dtype, op);
        move_bytes(result(rank(), i), to, size(own));
      }
      if (i == 0) continue;
      Part before = piece(i - 1);
      for (int r = 0; r < n; ++r)
        if (r != rank()) {
          Part p = of(before, r);
          move_bytes(at(out, offset(before.begin + p.begin)), result(r, i - 1), size(p));
        }
    }
  }

  void do_reduce_scatter(const void* in, void* out, int64_t count, DType dtype, ReduceOp op) override {
    size_t element = size_of(dtype);
    auto bytes = count * static_cast<int64_t>(element);
    int n = size();
    Operation what{"reduce_scatter", count, dtype, op, -1};
    std::vector<const void*> inputs(static_cast<size_t>(n));
    if (bytes * n <= kInline) {
      begin(what, {}, {}, in, bytes * n);
      for (int r = 0; r < n; ++r) inputs[static_cast<size_t>(r)] = half(r).data + bytes * rank();
      return reduce_arrays(inputs, out, count, dtype, op);
    }
    if (begin_shared(what, in, bytes * n, in, 0)) {
      for (int r = 0; r < n; ++r)
        inputs[static_cast<size_t>(r)] = at(r == rank() ? in : segment_->at(half(r).announcement.in), bytes * rank());
      parallel_for(count, 65536, [&](int64_t b, int64_t e) {
        std::vector<const void*> sources(inputs);
        for (auto& s : sources) s = at(s, b * static_cast<int64_t>(element));
        reduce_arrays(sources, at(out, b * static_cast<int64_t>(element)), e - b, dtype, op);
      });
      return step();
    }
    int64_t each = kStage / static_cast<int64_t>(element) / n;
    for (int64_t i = 0, begin = 0; begin < count; ++i, begin += each) {
      int64_t size = std::min(each, count - begin), offset = begin * static_cast<int64_t>(element);
      int64_t part = size * static_cast<int64_t>(element);
      for (int r = 0; r < n; ++r)
        if (r != rank())
          move_bytes(stage(rank(), i) + part * r, at(in, bytes * r + offset), static_cast<size_t>(part));
      step();
      for (int r = 0; r < n; ++r)
        inputs[static_cast<size_t>(r)] = r == rank() ? at(in, bytes * r + offset) : stage(r, i) + part * rank();
      reduce_arrays(inputs, at(out, offset), size, dtype, op);
    }
  }

  void do_all_gather_v(const void* in, void* out, std::span<const int64_t> bytes, bool equal) override {
    int n = size();
    int64_t most = *std::max_element(bytes.begin(), bytes.end()), own = bytes[static_cast<size_t>(rank())];
    Operation what{"all_gather", equal ? most : 0, DType::u8, ReduceOp::sum, -1};
    std::vector<int64_t> start(static_cast<size_t>(n) + 1, 0);
    for (size_t r = 0; r < bytes.size(); ++r) start[r + 1] = start[r] + bytes[r];
    auto to = [&](int r) { return at(out, start[static_cast<size_t>(r)]); };
    auto count = [&](int r) { return bytes[static_cast<size_t>(r)]; };
    if (most <= kInline) {
      begin(what, {}, {}, in, own);
      for (int r = 0; r < n; ++r) move_bytes(to(r), half(r).data, static_cast<size_t>(count(r)));
      return;
    }
    if (begin_shared(what, in, own, in, 0)) {
      for (int r = 0; r < n; ++r)
        copy_bytes(to(r), r == rank() ? in : segment_->at(half(r).announcement.in), count(r));
      return step();
    }
    copy_bytes(to(rank()), in, own);
    for (int64_t i = 0, begin = 0; begin < most; ++i, begin += kStage) {
      auto size = [&](int r) { return static_cast<size_t>(std::clamp<int64_t>(count(r) - begin, 0, kStage)); };
      move_bytes(stage(rank(), i), at(in, begin), size(rank()));
      step();
      for (int r = 0; r < n; ++r)
        if (r != rank()) move_bytes(to(r) + begin, stage(r, i), size(r));
    }
  }

  void do_all_to_all_v(const void* in, std::span<const int64_t> send_bytes, void* out,
                       std::span<const int64_t> recv_bytes) override {
    int n = size();
    Operation what{"all_to_all", 0, DType::u8, ReduceOp::sum, -1};
    SORUS_CHECK(static_cast<size_t>(n) * sizeof(int64_t) <= kInline, ValueError, "all_to_all: {} ranks are too many",
                n);
    int64_t total = 0;
    for (int64_t b : send_bytes) total += b;
    std::vector<int64_t> sizes(send_bytes.begin(), send_bytes.end());
    begin(what, segment_->place_of(in, static_cast<size_t>(total)), {}, sizes.data(),
          static_cast<int64_t>(sizes.size() * sizeof(int64_t)));
    bool shared = true;
    std::vector<int64_t> from(static_cast<size_t>(n), 0), incoming(static_cast<size_t>(n), 0);
    for (int r = 0; r < n; ++r) {
      shared = shared && half(r).announcement.in.shared;
      const auto* theirs = reinterpret_cast<const int64_t*>(half(r).data);
      for (int k = 0; k < rank(); ++k) from[static_cast<size_t>(r)] += theirs[k];
      incoming[static_cast<size_t>(r)] = theirs[rank()];
    }
    for (int r = 0; r < n; ++r)
      if (incoming[static_cast<size_t>(r)] != recv_bytes[static_cast<size_t>(r)]) {
        abort(fmt::format("all_to_all: it expects {} bytes from rank {}, which sends {}",
                          recv_bytes[static_cast<size_t>(r)], r, incoming[static_cast<size_t>(r)]));
        throw_if_failed(segment_->board());
      }
    std::byte* to = static_cast<std::byte*>(out);
    if (shared) {
      for (int r = 0; r < n; ++r) {
        const void* source = r == rank() ? in : segment_->at(half(r).announcement.in);
        copy_bytes(to, at(source, from[static_cast<size_t>(r)]), recv_bytes[static_cast<size_t>(r)]);
        to += recv_bytes[static_cast<size_t>(r)];
      }
      return step();
    }
    std::vector<std::shared_ptr<Work>> works;
    const std::byte* source = static_cast<const std::byte*>(in);
    constexpr int kTag = -1;
    for (int r = 0; r < n; ++r) {
      int64_t receive = recv_bytes[static_cast<size_t>(r)], send = send_bytes[static_cast<size_t>(r)];
      if (r == rank())
        move_bytes(to, source, static_cast<size_t>(send));
      else {
        if (receive > 0) works.push_back(do_irecv(to, receive, r, kTag));
        if (send > 0) works.push_back(do_isend(source, send, r, kTag));
      }
      to += receive;
      source += send;
    }
    for (auto& w : works) w->wait();
  }

  void do_broadcast(void* data, int64_t bytes, int root) override {
    Operation what{"broadcast", bytes, DType::u8, ReduceOp::sum, root};
    if (bytes <= kInline) {
      begin(what, {}, {}, data, rank() == root ? bytes : 0);
      if (rank() != root) move_bytes(data, half(root).data, static_cast<size_t>(bytes));
      return;
    }
    if (begin_shared(what, data, bytes, data, 0)) {
      if (rank() != root) copy_bytes(data, segment_->at(half(root).announcement.in), bytes);
      return step();
    }
    for (int64_t i = 0, begin = 0; begin < bytes; ++i, begin += kStage) {
      auto n = static_cast<size_t>(std::min(kStage, bytes - begin));
      if (rank() == root) move_bytes(stage(root, i), at(data, begin), n);
      step();
      if (rank() != root) move_bytes(at(data, begin), stage(root, i), n);
    }
  }

  void do_barrier() override { begin({"barrier", 0, DType::u8, ReduceOp::sum, -1}, {}, {}, nullptr, 0); }

  std::shared_ptr<Work> do_isend(const void* data, int64_t bytes, int to, int tag) override {
    note({"send", bytes, DType::u8, ReduceOp::sum, -1});
    add_progress(transfers_);
    return watched(transfers_->send(data, bytes, to, tag));
  }
  std::shared_ptr<Work> do_irecv(void* data, int64_t bytes, int from, int tag) override {
    note({"recv", bytes, DType::u8, ReduceOp::sum, -1});
    add_progress(transfers_);
    return watched(transfers_->recv(data, bytes, from, tag));
  }

 private:
  Member& self() { return segment_->board().member[index_[static_cast<size_t>(rank())]]; }
  Slot::Half& half(int r) { return slots_[r].half[phase_ & 1]; }
  std::byte* stage(int r, int64_t piece) {
    return block_.get() + layout_.stages + (4 * static_cast<int64_t>(r) + (piece & 1)) * kStage;
  }
  std::byte* result(int r, int64_t piece) { return stage(r, piece) + 2 * kStage; }

  std::shared_ptr<Work> watched(std::shared_ptr<Transfers::Item> item) {
    item->waiter = [this](Transfers::Item& i) {
      Slot& own = transfers_->own_slot();
      wait_until([&] { return i.is_completed(); }, own.bell, own.bell_sleepers, i.peer);
    };
    return item;
  }

  void note(const Operation& what) {
    Member& m = self();
    std::strncpy(m.what, what.what, sizeof m.what - 1);
    std::strncpy(m.group, name().c_str(), sizeof m.group - 1);
    m.count.store(what.count, std::memory_order_relaxed);
    m.dtype = what.dtype;
    m.op = what.op;
    m.number.store(m.number.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    current_ = what;
  }

  // ---- steps

  void arrive() {
    Slot& own = slots_[rank()];
    own.arrived.store(++phase_);
    futex_wake(own.arrived, own.sleepers);
  }
  void wait_for_all() {
    for (int k = 1; k < size(); ++k) {
      int r = (rank() + k) % size();
      Slot& slot = slots_[r];
      wait_until([&] { return static_cast<int32_t>(slot.arrived.load(std::memory_order_acquire) - phase_) >= 0; },
                 slot.arrived, slot.sleepers, r);
    }
  }
  void step() {
    arrive();
    wait_for_all();
  }

  // Opens an operation: tells the others what it is, with `bytes` of data, and checks that they are at the same.
  void begin(const Operation& what, Place in, Place out, const void* data, int64_t bytes) {
    note(what);
    throw_if_failed(segment_->board());
    Slot::Half& own = slots_[rank()].half[(phase_ + 1) & 1];
    Announcement& a = own.announcement;
    std::strncpy(a.what, what.what, sizeof a.what - 1);
    a.count = what.count, a.dtype = what.dtype, a.op = what.op, a.root = what.root, a.gently = waits_gently();
    a.in = in, a.out = out;
    move_bytes(own.data, data, static_cast<size_t>(bytes));
    step();
    for (int r = 0; r < size(); ++r) {
      const Announcement& other = half(r).announcement;
      if (other.count == a.count && other.dtype == a.dtype && other.op == a.op && other.root == a.root &&
          std::strncmp(other.what, a.what, sizeof a.what) == 0)
        continue;
      Operation theirs{other.what, other.count, other.dtype, other.op, other.root};
      int member = index_[static_cast<size_t>(r)];
      report_failure(segment_->board(), member,
                     fmt::format("the ranks of group '{}' disagree: rank {} called {}, rank {} called {}", name(),
                                 members()[static_cast<size_t>(rank())], what.to_string(),
                                 members()[static_cast<size_t>(r)], theirs.to_string()));
      throw_if_failed(segment_->board());
    }
  }
  // The same for buffers; whether every rank can see those of all.
  bool begin_shared(const Operation& what, const void* in, int64_t in_bytes, const void* out, int64_t out_bytes) {
    begin(what, segment_->place_of(in, static_cast<size_t>(in_bytes)),
          segment_->place_of(out, static_cast<size_t>(out_bytes)), nullptr, 0);
    if (threads_) return true;
    for (int r = 0; r < size(); ++r)
      if (!half(r).announcement.in.shared || !half(r).announcement.out.shared) return false;
    return true;
  }

  template <class Ready>
  void wait_until(Ready ready, std::atomic<uint32_t>& word, std::atomic<uint32_t>& sleepers, int other) {
    if (ready()) return;
    bool gently = waits_gently();
    // Ranks that are Python threads need the interpreter's lock, which is given up below.
    int spins = crowded_ || gently ? 0 : threads_ && blocking_hooks().enter ? 100 : 2000;
    for (int i = 0; i < spins; ++i) {
      pause_cpu();
      if (ready()) return;
    }
    Blocking blocking;
    Patience patience(segment_->board(), index_[static_cast<size_t>(rank())], options());
    struct Waiting {
      Member& self;
      ~Waiting() { self.waits_for.store(-1, std::memory_order_relaxed); }
    } waiting{self()};
    // Giving way is quick among the ranks alone, and slow when other programs want the core: the clock limits it.
    for (int64_t until = steady_ns() + (gently ? 0 : 200'000);;) {
      do {
        if (ready()) return;
        if (!any_pending() || !progress_all()) sched_yield();
      } while (steady_ns() < until);
      uint32_t seen = word.load();
      if (ready()) return;
      patience.check(index_[static_cast<size_t>(other)], current_);
      blocking.poll();
      futex_sleep(word, seen, any_pending() ? 200'000 : 10'000'000, sleepers);
    }
  }

  void ring_all() {
    for (int r = 0; r < size(); ++r) {
      slots_[r].bell.fetch_add(1);
      futex_wake(slots_[r].bell, slots_[r].bell_sleepers);
    }
  }

  std::shared_ptr<Segment> segment_;
  std::vector<int> index_;
  Layout layout_;
  std::shared_ptr<std::byte> block_;
  Slot* slots_;
  std::shared_ptr<Transfers> transfers_;
  bool crowded_, threads_;
  uint32_t phase_ = 0;
  Operation current_;
};

}  // namespace

size_t local_block_bytes(int members) { return Layout(members).total; }

std::shared_ptr<Communicator> join_local(std::shared_ptr<Segment> segment, int64_t handle, int rank,
                                         std::vector<int> members, std::vector<int> index, std::string name,
                                         Options options) {
  return std::make_shared<LocalCommunicator>(std::move(segment), handle, rank, std::move(members), std::move(index),
                                             std::move(name), options);
}

}  // namespace sorus::comm
