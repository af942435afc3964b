// Communicator: a group of ranks that exchange memory.
//
//   comm::Communicator& world = comm::group();            // of this rank; comm::run_ranks or the launcher made it
//   world.all_reduce(grad.data(), grad.numel(), grad.dtype(), comm::ReduceOp::sum);       // in place
//   auto work = world.start([&](comm::Communicator& c) { c.all_gather(mine, all, bytes); });
//   ...;                                                   // meanwhile
//   work->wait();
//
// Ranks are threads of one process (threads.h), processes of one machine (shared_memory.h), or processes of several,
// started by mpirun (mpi.h: shared memory inside a machine, MPI across). All three give the same numbers: a sum is
// taken in the order of the ranks, by one of them, so that every rank holds the same bits, and (within one machine)
// the same bits whatever the ranks are.
//
// All members call the same operations in the same order. That is checked: another operation, size or type at another
// rank is an error at once. A member that ended, stopped or hangs ends every wait for it with a CommError that names
// the rank, its host and what it did last (watch.h). Buffers of an operation may be the same (in place) or apart,
// never overlap otherwise. A communicator belongs to one thread; `start` runs operations beside it, in the order
// given.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sorus/base/error.h"
#include "sorus/tensor/tensor.h"

namespace sorus::comm {

/// Element by element over the ranks. `avg` is the sum divided by their number. Booleans: sum and max are "or",
/// product and min "and". Bitwise operations take integers and booleans.
enum class ReduceOp : uint8_t { sum, avg, product, min, max, band, bor, bxor };
std::string_view name(ReduceOp op);
ReduceOp reduce_op_from_name(std::string_view name);  ///< ValueError names the known ones.

/// A member is gone or does not answer, or the members disagree about what to do. The group is unusable from then on.
class CommError : public Error {
  using Error::Error;
};

/// An operation as others see it; they must agree on all but the name's text.
struct Operation {
  const char* what = "";  ///< "all_reduce"; a literal
  int64_t count = 0;      ///< elements or bytes at each rank; 0 where ranks may differ
  DType dtype = DType::u8;
  ReduceOp op = ReduceOp::sum;
  int root = -1;
  std::string to_string() const;  ///< "all_reduce of 1000 float32"
};

/// Something that goes on beside the caller.
class Work {
 public:
  virtual ~Work() = default;
  virtual bool is_completed() = 0;
  /// Returns when it is done; throws what it threw.
  virtual void wait() = 0;
};

struct Options {
  /// A wait longer than this is an error, even if the others are computing.
  std::chrono::milliseconds timeout = std::chrono::minutes(30);
  /// A member that neither computes nor communicates for so long, while others wait for it, hangs. 0: never.
  std::chrono::milliseconds hang = std::chrono::seconds(8);
};

class Communicator : public std::enable_shared_from_this<Communicator> {
 public:
  virtual ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(members_.size()); }
  const std::string& name() const { return name_; }
  virtual std::string_view backend() const = 0;
  /// The rank in the world of each member, ascending or as given to `split`.
  const std::vector<int>& members() const { return members_; }

  // ---- collectives; sizes in elements for reductions, in bytes otherwise

  void all_reduce(const void* in, void* out, int64_t count, DType dtype, ReduceOp op = ReduceOp::sum);
  void all_reduce(void* data, int64_t count, DType dtype, ReduceOp op = ReduceOp::sum) {
    all_reduce(data, data, count, dtype, op);
  }
  /// `in` has size() * count elements; rank r gets the r-th part, which may lie in `in` at its own place.
  void reduce_scatter(const void* in, void* out, int64_t count, DType dtype, ReduceOp op = ReduceOp::sum);
  /// Only `root` gets the result; `out` of the others is not touched.
  void reduce(const void* in, void* out, int64_t count, DType dtype, ReduceOp op, int root);
  /// `out` has size() * bytes; `in` may lie in it at the own place.
  void all_gather(const void* in, void* out, int64_t bytes);
  /// The same with `bytes[r]` from rank r, one behind the other.
  void all_gather_v(const void* in, void* out, std::span<const int64_t> bytes);
  /// Part r of `in` goes to rank r; part r of `out` comes from it. Not in place.
  void all_to_all(const void* in, void* out, int64_t bytes);
  void all_to_all_v(const void* in, std::span<const int64_t> send_bytes, void* out,
                    std::span<const int64_t> recv_bytes);
  void broadcast(void* data, int64_t bytes, int root);
  /// Part r of `in` at `root` (null elsewhere) goes to rank r, and back.
  void scatter(const void* in, void* out, int64_t bytes, int root);
  void gather(const void* in, void* out, int64_t bytes, int root);
  void barrier();

  // ---- from one to another; messages between two ranks with one tag keep their order

  void send(const void* data, int64_t bytes, int to, int tag = 0);
  void recv(void* data, int64_t bytes, int from, int tag = 0);
  /// The buffers must live until `wait`. All that are pending move on whenever this rank waits for anything.
  std::shared_ptr<Work> isend(const void* data, int64_t bytes, int to, int tag = 0);
  std::shared_ptr<Work> irecv(void* data, int64_t bytes, int from, int tag = 0);

  // ---- beside the caller

  /// Runs `f` on this communicator's own thread, after what was started before. A call of any collective waits for
  /// all that was started.
  std::shared_ptr<Work> start(std::function<void(Communicator&)> f);

  // ---- groups and memory

  /// Called by all members with the same list; null for those that are not in it. `ranks` are ranks of this group.
  virtual std::shared_ptr<Communicator> split(std::span<const int> ranks, const std::string& name) = 0;
  /// Called by all members with the same size: memory that the others can read, each its own. Operations whose
  /// buffers all lie in such memory copy nothing. Where ranks are threads any memory is so.
  virtual Ref<Storage> allocate_shared(size_t nbytes) = 0;

  /// Tells the others that this rank will take part in nothing more, and why if it is a failure.
  virtual void abort(const std::string& why) = 0;
  const Options& options() const { return options_; }

 protected:
  Communicator(int rank, std::vector<int> members, std::string name, Options options)
      : options_(options), rank_(rank), members_(std::move(members)), name_(std::move(name)) {}

  virtual void do_all_reduce(const void* in, void* out, int64_t count, DType dtype, ReduceOp op) = 0;
  virtual void do_reduce_scatter(const void* in, void* out, int64_t count, DType dtype,
                                 ReduceOp op);  ///< by all_reduce
  virtual void do_all_gather_v(const void* in, void* out, std::span<const int64_t> bytes, bool equal) = 0;
  virtual void do_all_to_all_v(const void* in, std::span<const int64_t> send_bytes, void* out,
                               std::span<const int64_t> recv_bytes) = 0;
  virtual void do_broadcast(void* data, int64_t bytes, int root) = 0;
  virtual void do_barrier() = 0;
  virtual std::shared_ptr<Work> do_isend(const void* data, int64_t bytes, int to, int tag) = 0;
  virtual std::shared_ptr<Work> do_irecv(void* data, int64_t bytes, int from, int tag) = 0;
  /// Ends the thread of `start`; to be called first in destructors of derived classes.
  void stop_thread();

  Options options_;

 private:
  class Queue;
  void drain();
  void check_member(int rank, const char* what) const;

  int rank_;
  std::vector<int> members_;
  std::string name_;
  std::shared_ptr<Queue> queue_;
};

/// What surrounds a wait that takes long, installed by the Python module: others may run meanwhile, Ctrl-C is
/// noticed.
struct BlockingHooks {
  void* (*enter)() = nullptr;
  void (*leave)(void* token) = nullptr;
  void (*poll)(void* token) = nullptr;  ///< now and then; may throw
};
void set_blocking_hooks(const BlockingHooks& hooks);
const BlockingHooks& blocking_hooks();
/// `enter` .. `leave` around a wait, as a scope.
class Blocking {
 public:
  Blocking() : token_(blocking_hooks().enter ? blocking_hooks().enter() : nullptr) {}
  ~Blocking() {
    if (blocking_hooks().leave) blocking_hooks().leave(token_);
  }
  Blocking(const Blocking&) = delete;
  Blocking& operator=(const Blocking&) = delete;
  void poll() const {
    if (blocking_hooks().poll) blocking_hooks().poll(token_);
  }

 private:
  void* token_;
};
/// Messages on their way that move on only when their rank does something for them: all of a thread's do whenever it
/// waits for anything, in whatever group.
class Progress {
 public:
  virtual ~Progress() = default;
  virtual bool pending() const = 0;
  /// Whether anything moved.
  virtual bool progress() = 0;
};
/// Of the calling thread, for as long as somebody else holds it.
void add_progress(const std::shared_ptr<Progress>& p);
bool any_pending();
bool progress_all();
/// Whether the calling thread sleeps at once when it waits, since another thread of its rank computes meanwhile.
bool& waits_gently();

}  // namespace sorus::comm
