// libsorus_mpi.so: the communicator over MPI, and joining the world that mpirun made.
#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>

#include "sorus/base/move_bytes.h"
#include "sorus/parallel/comm/mpi.h"
#include "sorus/parallel/comm/reduce.h"
#include "sorus/parallel/comm/shared_memory.h"

namespace sorus::comm {
namespace {

void check(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int n = 0;
  MPI_Error_string(code, text, &n);
  fail<CommError>("MPI: {}: {}", what, text);
}

MPI_Datatype type_of(DType t) {
  switch (t) {
    case DType::f64:
      return MPI_DOUBLE;
    case DType::f32:
      return MPI_FLOAT;
    case DType::i64:
      return MPI_INT64_T;
    case DType::i32:
      return MPI_INT32_T;
    case DType::i16:
      return MPI_INT16_T;
    case DType::i8:
      return MPI_INT8_T;
    case DType::u8:
      return MPI_UINT8_T;
    case DType::boolean:
      return MPI_UINT8_T;
    case DType::c64:
      return MPI_C_FLOAT_COMPLEX;
    case DType::c128:
      return MPI_C_DOUBLE_COMPLEX;
    default:
      return MPI_DATATYPE_NULL;  // halves: see do_all_reduce
  }
}

MPI_Op operation_of(DType t, ReduceOp op) {
  bool truth = t == DType::boolean;
  switch (op) {
    case ReduceOp::product:
      return truth ? MPI_BAND : MPI_PROD;
    case ReduceOp::min:
      return truth ? MPI_BAND : MPI_MIN;
    case ReduceOp::max:
      return truth ? MPI_BOR : MPI_MAX;
    case ReduceOp::band:
      return MPI_BAND;
    case ReduceOp::bor:
      return MPI_BOR;
    case ReduceOp::bxor:
      return MPI_BXOR;
    default:
      return truth ? MPI_BOR : MPI_SUM;
  }
}

// MPI counts in int; more goes in pieces.
constexpr int64_t kMost = int64_t{1} << 30;

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(MPI_Comm comm, int rank, std::vector<int> members, std::string name, Options options)
      : Communicator(rank, std::move(members), std::move(name), options), comm_(comm) {}
  ~MpiCommunicator() override {
    stop_thread();
    // Freeing is collective, and others may be gone: the communicator lives until the program ends.
  }
  std::string_view backend() const override { return "mpi"; }

  std::shared_ptr<Communicator> split(std::span<const int> ranks, const std::string& name) override {
    auto at = std::find(ranks.begin(), ranks.end(), rank());
    for (int r : ranks)
      SORUS_CHECK(r >= 0 && r < size(), ValueError, "group '{}': rank {} is not in the group '{}' of {} ranks", name,
                  r, this->name(), size());
    MPI_Comm made = MPI_COMM_NULL;
    check(MPI_Comm_split(comm_, at == ranks.end() ? MPI_UNDEFINED : 0, static_cast<int>(at - ranks.begin()), &made),
          "split");
    if (made == MPI_COMM_NULL) return nullptr;
    std::vector<int> members;
    for (int r : ranks) members.push_back(this->members()[static_cast<size_t>(r)]);
    return std::make_shared<MpiCommunicator>(made, static_cast<int>(at - ranks.begin()), members, name, options());
  }
  Ref<Storage> allocate_shared(size_t nbytes) override { return Storage::allocate(nbytes); }
  void abort(const std::string&) override { MPI_Abort(MPI_COMM_WORLD, 70); }

 protected:
  void do_all_reduce(const void* in, void* out, int64_t count, DType dtype, ReduceOp op) override {
    if (op == ReduceOp::avg) {
      do_all_reduce(in, out, count, dtype, ReduceOp::sum);
      return divide_array(out, count, dtype, size());
    }
    if (is_half(dtype)) {  // every rank takes all of them together: rounded once, as in one machine
      std::vector<std::byte> all(static_cast<size_t>(count) * 2 * static_cast<size_t>(size()));
      std::vector<int64_t> bytes(static_cast<size_t>(size()), count * 2);
      do_all_gather_v(in, all.data(), bytes, true);
      std::vector<const void*> parts;
      for (int r = 0; r < size(); ++r)
        parts.push_back(all.data() + static_cast<size_t>(count) * 2 * static_cast<size_t>(r));
      return reduce_arrays(parts, out, count, dtype, op);
    }
    size_t element = size_of(dtype);
    for (int64_t i = 0; i < count; i += kMost) {
      auto n = static_cast<int>(std::min(kMost, count - i));
      const auto* from = static_cast<const std::byte*>(in) + static_cast<size_t>(i) * element;
      auto* to = static_cast<std::byte*>(out) + static_cast<size_t>(i) * element;
      MPI_Request request;
      check(MPI_Iallreduce(from == to ? MPI_IN_PLACE : from, to, n, type_of(dtype), operation_of(dtype, op), comm_,
                           &request),
            "all_reduce");
      finish(request, "all_reduce");
    }
  }
  void do_all_gather_v(const void* in, void* out, std::span<const int64_t> bytes, bool) override {
    std::vector<int> counts, starts;
    int64_t total = 0;
    for (int64_t b : bytes) {
      counts.push_back(count_of(b, "all_gather"));
      starts.push_back(count_of(total, "all_gather"));
      total += b;
    }
    auto me = static_cast<size_t>(rank());
    bool in_place = in == static_cast<std::byte*>(out) + starts[me];
    MPI_Request request;
    check(MPI_Iallgatherv(in_place ? MPI_IN_PLACE : in, counts[me], MPI_BYTE, out, counts.data(), starts.data(),
                          MPI_BYTE, comm_, &request),
          "all_gather");
    finish(request, "all_gather");
  }
  void do_all_to_all_v(const void* in, std::span<const int64_t> send_bytes, void* out,
                       std::span<const int64_t> recv_bytes) override {
    std::vector<int> counts[2], starts[2];
    std::span<const int64_t> both[2] = {send_bytes, recv_bytes};
    for (int k = 0; k < 2; ++k) {
      int64_t total = 0;
      for (int64_t b : both[k]) {
        counts[k].push_back(count_of(b, "all_to_all"));
        starts[k].push_back(count_of(total, "all_to_all"));
        total += b;
      }
    }
    MPI_Request request;
    check(MPI_Ialltoallv(in, counts[0].data(), starts[0].data(), MPI_BYTE, out, counts[1].data(), starts[1].data(),
                         MPI_BYTE, comm_, &request),
          "all_to_all");
    finish(request, "all_to_all");
  }
  void do_broadcast(void* data, int64_t bytes, int root) override {
    for (int64_t i = 0; i < bytes; i += kMost) {
      MPI_Request request;
      check(MPI_Ibcast(static_cast<std::byte*>(data) + i, static_cast<int>(std::min(kMost, bytes - i)), MPI_BYTE,
                       root, comm_, &request),
            "broadcast");
      finish(request, "broadcast");
    }
  }
  void do_barrier() override {
    MPI_Request request;
    check(MPI_Ibarrier(comm_, &request), "barrier");
    finish(request, "barrier");
  }

  // MPI moves messages on when it is called.
  struct Pending final : Progress {
    MPI_Comm comm;
    std::atomic<int> count{0};
    explicit Pending(MPI_Comm c) : comm(c) {}
    bool pending() const override { return count.load() > 0; }
    bool progress() override {
      int flag = 0;
      MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm, &flag, MPI_STATUS_IGNORE);
      return false;
    }
  };

  struct Message final : Work {
    MpiCommunicator* owner = nullptr;
    std::shared_ptr<Pending> counted;
    MPI_Request request = MPI_REQUEST_NULL;
    const char* what = "";
    bool done = false;
    bool is_completed() override {
      int flag = done;
      if (!done) check(MPI_Test(&request, &flag, MPI_STATUS_IGNORE), what);
      if (flag && !done) --counted->count;
      return done = flag != 0;
    }
    void wait() override {
      if (done) return;
      owner->finish(request, what);
      --counted->count;
      done = true;
    }
  };
  std::shared_ptr<Work> do_isend(const void* data, int64_t bytes, int to, int tag) override {
    auto m = std::make_shared<Message>();
    m->owner = this, m->what = "send";
    count(*m);
    check(MPI_Isend(data, count_of(bytes, "send"), MPI_BYTE, to, tag, comm_, &m->request), "send");
    return m;
  }
  std::shared_ptr<Work> do_irecv(void* data, int64_t bytes, int from, int tag) override {
    auto m = std::make_shared<Message>();
    m->owner = this, m->what = "recv";
    count(*m);
    check(MPI_Irecv(data, count_of(bytes, "recv"), MPI_BYTE, from, tag, comm_, &m->request), "recv");
    return m;
  }

 private:
  void count(Message& m) {
    m.counted = pending_;
    ++pending_->count;
    add_progress(pending_);
  }
  static int count_of(int64_t bytes, const char* what) {
    SORUS_CHECK(bytes <= INT32_MAX, ValueError, "{}: {} bytes at once are more than MPI can count", what, bytes);
    return static_cast<int>(bytes);
  }

  void finish(MPI_Request& request, const char* what) {
    int done = 0;
    check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), what);
    if (done) return;
    Blocking blocking;
    auto start = std::chrono::steady_clock::now();
    for (int round = 0; !done; ++round) {
      check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), what);
      if (done) return;
      if (any_pending() && progress_all()) continue;
      if (round < 200)
        sched_yield();
      else
        std::this_thread::sleep_for(std::chrono::microseconds(round < 2000 ? 20 : 500));
      if (round % 1000 != 999) continue;
      blocking.poll();
      SORUS_CHECK(std::chrono::steady_clock::now() - start < options().timeout, CommError,
                  "rank {} waited in {} of group '{}' for more than {} s", members()[static_cast<size_t>(rank())],
                  what, name(), options().timeout.count() / 1000);
    }
  }

  MPI_Comm comm_;
  std::shared_ptr<Pending> pending_ = std::make_shared<Pending>(comm_);
};

// MPI ends with the last thing that uses it, if all went well: after a failure it would wait for the dead.
struct Session {
  Session() {
    int ready = 0, level = 0;
    MPI_Initialized(&ready);
    if (!ready) check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &level), "init");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  }
  static void end() {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (!finalized) MPI_Finalize();
  }
};

// Which ranks share a machine. SORUS_MPI_MACHINE_SIZE pretends that machines have so many ranks, to try out two
// levels.
std::vector<int> machines_of(int rank, int size) {
  int mine = 0;
  const char* pretended = std::getenv("SORUS_MPI_MACHINE_SIZE");
  if (pretended && std::atoi(pretended) > 0) {
    mine = rank / std::atoi(pretended) * std::atoi(pretended);
  } else {
    MPI_Comm shared;
    check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &shared), "split");
    mine = rank;
    check(MPI_Bcast(&mine, 1, MPI_INT, 0, shared), "broadcast");
    MPI_Comm_free(&shared);
  }
  std::vector<int> first(static_cast<size_t>(size));
  check(MPI_Allgather(&mine, 1, MPI_INT, first.data(), 1, MPI_INT, MPI_COMM_WORLD), "all_gather");
  std::vector<int> names(first);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (int& f : first) f = static_cast<int>(std::lower_bound(names.begin(), names.end(), f) - names.begin());
  return first;
}

}  // namespace

// By a plain name, to be found in the library; only C++ calls it.
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wreturn-type-c-linkage"
#endif
extern "C" std::shared_ptr<Communicator> sorus_join_mpi(const Options& options) {
  static Session session;
  static bool at_end = (std::atexit(Session::end), true);
  (void)at_end;
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  std::vector<int> all, machine = machines_of(rank, size), here;
  for (int r = 0; r < size; ++r) {
    all.push_back(r);
    if (machine[static_cast<size_t>(r)] == machine[static_cast<size_t>(rank)]) here.push_back(r);
  }
  MPI_Comm own;
  check(MPI_Comm_dup(MPI_COMM_WORLD, &own), "dup");
  MPI_Comm_set_errhandler(own, MPI_ERRORS_RETURN);
  auto world = std::make_shared<MpiCommunicator>(own, rank, all, "world", options);
  uint64_t key = std::random_device{}();
  key = key << 32 | std::random_device{}();
  world->broadcast(&key, sizeof key, 0);
  auto place = static_cast<int>(std::find(here.begin(), here.end(), rank) - here.begin());
  auto local = join_shared_memory({.rank = place,
                                   .size = static_cast<int>(here.size()),
                                   .key = fmt::format("mpi-{:x}-{}", key, machine[static_cast<size_t>(rank)]),
                                   .members = here,
                                   .options = options});
  if (static_cast<int>(here.size()) == size) return local;
  int machines = *std::max_element(machine.begin(), machine.end()) + 1;
  bool even = true;
  for (int m = 0; m < machines; ++m)
    even = even && std::count(machine.begin(), machine.end(), m) == static_cast<std::ptrdiff_t>(here.size());
  std::shared_ptr<Communicator> across;
  if (even) {
    for (int p = 0; p < static_cast<int>(here.size()); ++p) {
      std::vector<int> same, seen(static_cast<size_t>(machines), 0);
      for (int r = 0; r < size; ++r)
        if (seen[static_cast<size_t>(machine[static_cast<size_t>(r)])]++ == p) same.push_back(r);
      auto made = world->split(same, fmt::format("world.{}", p));
      if (made) across = made;
    }
  }
  return join_levels({world, local, across, machine}, "world", options);
}

}  // namespace sorus::comm
