#include "sorus/parallel/comm/threads.h"

#include <pthread.h>
#include <unistd.h>

#include <cstring>
#include <mutex>
#include <numeric>
#include <thread>

#include "sorus/base/threads.h"
#include "sorus/parallel/comm/local.h"

namespace sorus::comm {
namespace {

void enter_board(Board& board, int rank) {
  Member& m = board.member[rank];
  m.world_rank = rank;
  m.pid.store(getpid());
  clockid_t clock{};
  pthread_getcpuclockid(pthread_self(), &clock);
  m.clock = clock;
  if (gethostname(m.host, sizeof m.host - 1) != 0) std::strcpy(m.host, "?");
  m.state.store(Member::running);
}

}  // namespace

struct ThreadWorld::Shared {
  std::shared_ptr<Segment> segment;
  int64_t handle = 0;
  std::vector<int> all;
  Options options;
};

ThreadWorld::ThreadWorld(int ranks, Options options) : shared_(std::make_shared<Shared>()), size_(ranks) {
  SORUS_CHECK(ranks >= 1, ValueError, "a group needs at least one rank, {} were asked for", ranks);
  shared_->segment = make_thread_segment(ranks);
  shared_->handle = shared_->segment->reserve(local_block_bytes(ranks));
  shared_->all.resize(static_cast<size_t>(ranks));
  std::iota(shared_->all.begin(), shared_->all.end(), 0);
  shared_->options = options;
}

std::shared_ptr<Communicator> ThreadWorld::join(int rank) const {
  SORUS_CHECK(rank >= 0 && rank < size_, ValueError, "rank {} is not in a world of {}", rank, size_);
  SORUS_CHECK(shared_->segment->board().member[rank].state.load() == Member::absent, ValueError,
              "there is a rank {} in this world already", rank);
  enter_board(shared_->segment->board(), rank);
  return join_local(shared_->segment, shared_->handle, rank, shared_->all, shared_->all, "world", shared_->options);
}

std::vector<std::shared_ptr<Communicator>> make_threads(int ranks, Options options) {
  ThreadWorld world(ranks, options);
  std::vector<std::shared_ptr<Communicator>> out;
  for (int r = 0; r < ranks; ++r) out.push_back(world.join(r));
  return out;
}

void run_ranks(int ranks, const std::function<void()>& f, Options options, int threads_each) {
  ThreadWorld shared(ranks, options);
  int each = threads_each > 0 ? threads_each : std::max(1, num_threads() / ranks);
  std::mutex mutex;
  std::exception_ptr first;
  std::atomic<int> running{ranks};
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      ThreadLimit limit(each);
      FlushDenormals flush;
      auto world = shared.join(r);
      try {
        GroupScope scope(std::make_shared<Groups>(world));
        f();
      } catch (const std::exception& e) {
        {
          std::lock_guard lock(mutex);
          if (!first) first = std::current_exception();
        }
        world->abort(e.what());
      } catch (...) {
        {
          std::lock_guard lock(mutex);
          if (!first) first = std::current_exception();
        }
        world->abort("it threw something that is not an exception");
      }
      world.reset();
      // Others may look at the time this thread has computed.
      --running;
      while (running.load() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  {
    Blocking blocking;
    for (auto& t : threads) t.join();
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace sorus::comm
