// Runs a function at each rank: threads of the test, or processes of their own that are always waited for.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "sorus/base/threads.h"
#include "sorus/parallel/comm/mpi.h"
#include "sorus/parallel/comm/shared_memory.h"
#include "sorus/parallel/comm/threads.h"

namespace sorus::test {

/// What each process wrote to its standard error and how it ended.
struct Ended {
  int status = 0;
  std::string error;
};

inline std::vector<Ended> run_processes(int ranks, const std::function<void(comm::Communicator&)>& f,
                                        comm::Options options = {}) {
  static std::atomic<int> next{0};
  std::string key = "test-" + std::to_string(getpid()) + "-" + std::to_string(next++);
  std::vector<pid_t> children;
  std::vector<int> outputs;
  for (int r = 0; r < ranks; ++r) {
    int ends[2];
    if (pipe(ends) != 0) throw Error("pipe");
    pid_t child = fork();
    if (child == 0) {
      alarm(60);  // a test that hangs leaves nothing
      dup2(ends[1], 2);
      close(ends[0]);
      int status = 0;
      try {
        ThreadLimit one(1);  // the runtime's threads did not survive the fork
        auto world = comm::join_shared_memory({.rank = r, .size = ranks, .key = key, .options = options});
        comm::GroupScope scope(std::make_shared<comm::Groups>(world));
        f(*world);
      } catch (const std::exception& e) {
        fprintf(stderr, "%s\n", e.what());
        status = 1;
      }
      _exit(status);
    }
    close(ends[1]);
    children.push_back(child);
    outputs.push_back(ends[0]);
  }
  std::vector<Ended> ended(children.size());
  for (size_t r = 0; r < children.size(); ++r) {
    char buffer[4096];
    for (ssize_t n; (n = read(outputs[r], buffer, sizeof buffer)) > 0;)
      ended[r].error.append(buffer, static_cast<size_t>(n));
    close(outputs[r]);
    waitpid(children[r], &ended[r].status, 0);
  }
  return ended;
}

/// Two levels as with several machines, each of two ranks (the last may have one); all are threads.
inline void at_levels(int ranks, const std::function<void(comm::Communicator&)>& f) {
  comm::run_ranks(ranks, [&] {
    auto world = comm::groups().world();
    comm::Levels levels{world, nullptr, nullptr, {}};
    for (int r = 0; r < ranks; ++r) levels.machine_of.push_back(r / 2);
    for (int first = 0; first < ranks; first += 2) {
      std::vector<int> here{first};
      if (first + 1 < ranks) here.push_back(first + 1);
      if (auto made = world->split(here, "local")) levels.local = made;
    }
    for (int place = 0; ranks % 2 == 0 && place < 2; ++place) {
      std::vector<int> same;
      for (int r = place; r < ranks; r += 2) same.push_back(r);
      if (auto made = world->split(same, "across")) levels.across = made;
    }
    f(*comm::join_levels(levels, "world", world->options()));
  });
}

enum class Kind { threads, processes, levels };

/// Fails the test where a rank fails.
inline void at_ranks(Kind kind, int ranks, const std::function<void(comm::Communicator&)>& f) {
  if (kind == Kind::threads) return comm::run_ranks(ranks, [&] { f(comm::group()); });
  if (kind == Kind::levels) return at_levels(ranks, f);
  for (const Ended& e : run_processes(ranks, f)) EXPECT_EQ(e.status, 0) << e.error;
}

/// In functions of ranks, where gtest's own checks do not reach the test.
inline void require(bool condition, const std::string& what) {
  if (!condition) throw Error(what);
}

}  // namespace sorus::test
