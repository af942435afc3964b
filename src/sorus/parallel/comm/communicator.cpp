#include "sorus/parallel/comm/communicator.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <numeric>
#include <thread>

#include "sorus/base/move_bytes.h"
#include "sorus/base/threads.h"
#include "sorus/run/compiled.h"

namespace sorus::comm {
namespace {
constexpr std::array<std::string_view, 8> kReduceNames{"sum", "avg", "product", "min", "max", "band", "bor", "bxor"};
BlockingHooks hooks;

void check_reduction(DType dtype, ReduceOp op) {
  bool bitwise = op >= ReduceOp::band;
  bool ordered = op == ReduceOp::min || op == ReduceOp::max;
  SORUS_CHECK(!bitwise || is_integral(dtype) || dtype == DType::boolean, TypeError,
              "reduction '{}' takes integers and booleans, these are {}", name(op), name(dtype));
  SORUS_CHECK(!ordered || !is_complex(dtype), TypeError, "reduction '{}' has no meaning for {}", name(op),
              name(dtype));
  SORUS_CHECK(op != ReduceOp::avg || is_differentiable(dtype), TypeError,
              "reduction 'avg' takes floating and complex numbers, these are {}", name(dtype));
}
}  // namespace

std::string_view name(ReduceOp op) { return kReduceNames[static_cast<size_t>(op)]; }

ReduceOp reduce_op_from_name(std::string_view text) {
  for (size_t i = 0; i < kReduceNames.size(); ++i)
    if (kReduceNames[i] == text) return static_cast<ReduceOp>(i);
  fail<ValueError>("there is no reduction '{}'; known are sum, avg, product, min, max, band, bor, bxor", text);
}

std::string Operation::to_string() const {
  std::string text = what;
  if (count) text += fmt::format(" of {} {}", count, sorus::name(dtype));
  if (op != ReduceOp::sum) text += fmt::format(" ({})", comm::name(op));
  if (root >= 0) text += fmt::format(", root {}", root);
  return text;
}

void set_blocking_hooks(const BlockingHooks& h) { hooks = h; }
const BlockingHooks& blocking_hooks() { return hooks; }
namespace {
thread_local std::vector<std::weak_ptr<Progress>> moving;
}
void add_progress(const std::shared_ptr<Progress>& p) {
  // A rank that computes moves its messages on as well, where others cannot do without it.
  static const bool hooked = [] {
    set_between_steps([] {
      if (any_pending()) progress_all();
    });
    return true;
  }();
  (void)hooked;
  std::erase_if(moving, [](const auto& w) { return w.expired(); });
  for (const auto& w : moving)
    if (w.lock() == p) return;
  moving.push_back(p);
}
bool any_pending() {
  for (const auto& w : moving)
    if (auto p = w.lock(); p && p->pending()) return true;
  return false;
}
bool progress_all() {
  bool moved = false;
  for (const auto& w : moving)
    if (auto p = w.lock(); p && p->pending()) moved = p->progress() || moved;
  return moved;
}
bool& waits_gently() {
  static thread_local bool gently = false;
  return gently;
}

// ---- the thread of `start`

// One thread that runs what was started, in order. It is made when first needed and sleeps when there is nothing.
class Communicator::Queue {
 public:
  explicit Queue(Communicator& owner) : owner_(owner), threads_(num_threads()) {
    thread_ = std::thread([this] { run(); });
  }
  ~Queue() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  struct Item final : Work {
    std::function<void(Communicator&)> run;
    Queue* queue = nullptr;
    std::exception_ptr error;
    std::atomic<bool> done{false};

    bool is_completed() override { return done.load(std::memory_order_acquire); }
    void wait() override {
      if (!done.load(std::memory_order_acquire)) {
        Blocking blocking;
        std::unique_lock lock(queue->mutex_);
        // Messages of this thread move on meanwhile: another rank may need them to come to what is waited for.
        auto pause = [] { return std::chrono::microseconds(any_pending() ? 200 : 50'000); };
        while (!queue->finished_.wait_for(lock, pause(), [&] { return done.load(); })) {
          lock.unlock();
          if (!any_pending() || !progress_all()) blocking.poll();
          lock.lock();
        }
      }
      if (error) std::rethrow_exception(error);
    }
  };

  std::shared_ptr<Item> add(std::function<void(Communicator&)> f) {
    auto item = std::make_shared<Item>();
    item->run = std::move(f);
    item->queue = this;
    {
      std::lock_guard lock(mutex_);
      items_.push_back(item);
      last_ = item;
    }
    wake_.notify_one();
    return item;
  }
  bool is_own_thread() const { return std::this_thread::get_id() == thread_.get_id(); }
  std::shared_ptr<Item> last() {
    std::lock_guard lock(mutex_);
    return last_;
  }

 private:
  void run() {
    waits_gently() = true;
    ThreadLimit limit(threads_);
    FlushDenormals flush;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return stop_ || !items_.empty(); });
      if (items_.empty()) return;
      std::shared_ptr<Item> item = std::move(items_.front());
      items_.pop_front();
      lock.unlock();
      try {
        item->run(owner_);
      } catch (...) {
        item->error = std::current_exception();
      }
      item->run = nullptr;
      lock.lock();
      item->done.store(true, std::memory_order_release);
      finished_.notify_all();
    }
  }

  Communicator& owner_;
  int threads_;
  std::mutex mutex_;
  std::condition_variable wake_, finished_;
  std::deque<std::shared_ptr<Item>> items_;
  std::shared_ptr<Item> last_;
  bool stop_ = false;
  std::thread thread_;
};

Communicator::~Communicator() = default;
void Communicator::stop_thread() { queue_.reset(); }

std::shared_ptr<Work> Communicator::start(std::function<void(Communicator&)> f) {
  if (!queue_) queue_ = std::make_shared<Queue>(*this);
  return queue_->add(std::move(f));
}

void Communicator::drain() {
  if (!queue_ || queue_->is_own_thread()) return;
  if (auto last = queue_->last()) last->wait();
}

// ---- collectives

void Communicator::check_member(int rank, const char* what) const {
  SORUS_CHECK(rank >= 0 && rank < size(), ValueError, "{}: rank {} is not in the group '{}' of {} ranks", what, rank,
              name_, size());
}

void Communicator::all_reduce(const void* in, void* out, int64_t count, DType dtype, ReduceOp op) {
  check_reduction(dtype, op);
  drain();
  if (size() > 1) return do_all_reduce(in, out, count, dtype, op);
  move_bytes(out, in, static_cast<size_t>(count) * size_of(dtype));
}

void Communicator::do_reduce_scatter(const void* in, void* out, int64_t count, DType dtype, ReduceOp op) {
  size_t bytes = static_cast<size_t>(count) * size_of(dtype);
  std::vector<std::byte> all(bytes * static_cast<size_t>(size()));
  do_all_reduce(in, all.data(), count * size(), dtype, op);
  move_bytes(out, all.data() + bytes * static_cast<size_t>(rank()), bytes);
}
void Communicator::reduce_scatter(const void* in, void* out, int64_t count, DType dtype, ReduceOp op) {
  check_reduction(dtype, op);
  drain();
  if (size() > 1) return do_reduce_scatter(in, out, count, dtype, op);
  move_bytes(out, in, static_cast<size_t>(count) * size_of(dtype));
}

// Everybody reduces a part, the root collects the parts.
void Communicator::reduce(const void* in, void* out, int64_t count, DType dtype, ReduceOp op, int root) {
  check_member(root, "reduce");
  check_reduction(dtype, op);
  drain();
  size_t bytes = static_cast<size_t>(count) * size_of(dtype);
  if (size() == 1) {
    move_bytes(out, in, bytes);
    return;
  }
  if (rank_ == root) return do_all_reduce(in, out, count, dtype, op);
  std::vector<std::byte> result(bytes);
  do_all_reduce(in, result.data(), count, dtype, op);
}

void Communicator::all_gather(const void* in, void* out, int64_t bytes) {
  drain();
  std::vector<int64_t> sizes(members_.size(), bytes);
  if (size() > 1) return do_all_gather_v(in, out, sizes, true);
  move_bytes(out, in, static_cast<size_t>(bytes));
}

void Communicator::all_gather_v(const void* in, void* out, std::span<const int64_t> bytes) {
  SORUS_CHECK(bytes.size() == members_.size(), ValueError, "all_gather: {} sizes for {} ranks", bytes.size(), size());
  drain();
  if (size() > 1) return do_all_gather_v(in, out, bytes, false);
  move_bytes(out, in, static_cast<size_t>(bytes[0]));
}

void Communicator::all_to_all(const void* in, void* out, int64_t bytes) {
  std::vector<int64_t> sizes(members_.size(), bytes);
  all_to_all_v(in, sizes, out, sizes);
}

void Communicator::all_to_all_v(const void* in, std::span<const int64_t> send_bytes, void* out,
                                std::span<const int64_t> recv_bytes) {
  SORUS_CHECK(send_bytes.size() == members_.size() && recv_bytes.size() == members_.size(), ValueError,
              "all_to_all: {} sizes to send and {} to receive for {} ranks", send_bytes.size(), recv_bytes.size(),
              size());
  drain();
  if (size() > 1) return do_all_to_all_v(in, send_bytes, out, recv_bytes);
  SORUS_CHECK(send_bytes[0] == recv_bytes[0], ValueError, "all_to_all: {} bytes are sent to rank 0, which expects {}",
              send_bytes[0], recv_bytes[0]);
  move_bytes(out, in, static_cast<size_t>(send_bytes[0]));
}

void Communicator::broadcast(void* data, int64_t bytes, int root) {
  check_member(root, "broadcast");
  drain();
  if (size() > 1) do_broadcast(data, bytes, root);
}

void Communicator::scatter(const void* in, void* out, int64_t bytes, int root) {
  check_member(root, "scatter");
  std::vector<int64_t> send(members_.size(), rank_ == root ? bytes : 0), recv(members_.size(), 0);
  recv[static_cast<size_t>(root)] = bytes;
  all_to_all_v(in, send, out, recv);
}

void Communicator::gather(const void* in, void* out, int64_t bytes, int root) {
  check_member(root, "gather");
  std::vector<int64_t> recv(members_.size(), rank_ == root ? bytes : 0), send(members_.size(), 0);
  send[static_cast<size_t>(root)] = bytes;
  all_to_all_v(in, send, out, recv);
}

void Communicator::barrier() {
  drain();
  if (size() > 1) do_barrier();
}

std::shared_ptr<Work> Communicator::isend(const void* data, int64_t bytes, int to, int tag) {
  check_member(to, "send");
  drain();
  return do_isend(data, bytes, to, tag);
}
std::shared_ptr<Work> Communicator::irecv(void* data, int64_t bytes, int from, int tag) {
  check_member(from, "recv");
  drain();
  return do_irecv(data, bytes, from, tag);
}
void Communicator::send(const void* data, int64_t bytes, int to, int tag) { isend(data, bytes, to, tag)->wait(); }
void Communicator::recv(void* data, int64_t bytes, int from, int tag) { irecv(data, bytes, from, tag)->wait(); }

}  // namespace sorus::comm
