#include "sorus/parallel/runtime/rank_pool.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <thread>

#include "sorus/base/threads.h"
#include "sorus/parallel/comm/groups.h"
#include "sorus/parallel/comm/threads.h"
#include "sorus/parallel/partition/partition.h"

namespace sorus::parallel {

void join_mesh(const DeviceMesh& mesh, const std::set<std::vector<int>>& joint) {
  comm::Communicator& world = comm::group();
  SORUS_CHECK(world.size() == mesh.size(), ValueError, "the mesh {} has {} ranks, but {} are running",
              mesh.to_string(), mesh.size(), world.size());
  std::vector<std::string> known = comm::groups().names();
  std::vector<std::vector<int>> groups;
  for (int a = 0; a < mesh.axes(); ++a) groups.push_back({a});
  groups.insert(groups.end(), joint.begin(), joint.end());
  for (const std::vector<int>& axes : groups) {
    // A mesh that was joined before, for another step, has its groups: the name says all about them.
    std::string name = mesh.group(axes);
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    for (int first = 0; first < world.size(); ++first) {
      std::vector<int> peers = mesh.peers(first, axes);
      if (peers[0] != first) continue;
      std::shared_ptr<comm::Communicator> made = world.split(peers, name);
      if (made) comm::groups().add(name, made);
    }
  }
}

struct RankPool::Impl {
  DeviceMesh mesh;
  std::vector<int> local;
  std::set<std::vector<int>> joint;
  bool threads = false, joined = false;

  std::thread host;
  std::mutex mutex;
  std::condition_variable wake, finished;
  const std::function<void(int)>* job = nullptr;
  int64_t round = 0;
  int left = 0;
  bool stop = false, ended = true;
  std::exception_ptr error;

  explicit Impl(DeviceMesh m) : mesh(std::move(m)) {
    bool alone = !comm::has_groups() || comm::group().size() == 1;
    threads = alone && mesh.size() > 1;
    if (alone) {
      local.resize(static_cast<size_t>(mesh.size()));
      std::iota(local.begin(), local.end(), 0);
      return;
    }
    SORUS_CHECK(comm::group().size() == mesh.size(), ValueError,
                "the mesh {} has {} ranks, but this job runs {} processes", mesh.to_string(), mesh.size(),
                comm::group().size());
    local = {comm::group().rank()};
  }
  ~Impl() {
    {
      std::lock_guard lock(mutex);
      stop = true;
    }
    wake.notify_all();
    if (host.joinable()) host.join();
  }

  void start() {
    if (host.joinable()) host.join();
    ended = false;
    error = nullptr;
    int64_t from = round;
    host = std::thread([this, from] {
      std::exception_ptr failure;
      try {
        comm::run_ranks(static_cast<int>(mesh.size()), [this, from] { work(from); });
      } catch (...) {
        failure = std::current_exception();
      }
      std::lock_guard lock(mutex);
      ended = true;
      error = failure;
      finished.notify_all();
    });
  }

  void work(int64_t seen) {
    join_mesh(mesh, joint);
    int rank = comm::group().rank();
    for (;;) {
      const std::function<void(int)>* f;
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return stop || round > seen; });
        if (stop) return;
        seen = round;
        f = job;
      }
      (*f)(rank);
      std::lock_guard lock(mutex);
      if (--left == 0) finished.notify_all();
    }
  }

  void run(const std::function<void(int)>& f) {
    if (!threads) {
      if (!joined) join_mesh(mesh, joint);
      joined = true;
      return f(local[0]);
    }
    if (ended) start();
    std::unique_lock lock(mutex);
    job = &f;
    left = static_cast<int>(mesh.size());
    ++round;
    wake.notify_all();
    finished.wait(lock, [&] { return left == 0 || ended; });
    if (left == 0) return;
    // Ranks that were waiting for a job have to notice as well.
    std::rethrow_exception(error);
  }
};

RankPool::RankPool(DeviceMesh mesh) : impl_(std::make_unique<Impl>(std::move(mesh))) {}
RankPool::~RankPool() = default;
const DeviceMesh& RankPool::mesh() const { return impl_->mesh; }
const std::vector<int>& RankPool::local() const { return impl_->local; }
int RankPool::threads_each() const {  // as comm::run_ranks shares them
  return impl_->threads ? std::max(1, num_threads() / static_cast<int>(impl_->mesh.size())) : num_threads();
}
void RankPool::join(const std::set<std::vector<int>>& axes) { impl_->joint = axes; }
void RankPool::run(const std::function<void(int)>& f) { impl_->run(f); }

}  // namespace sorus::parallel
