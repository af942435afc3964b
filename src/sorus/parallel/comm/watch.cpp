#include "sorus/parallel/comm/watch.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <thread>
#include <vector>

namespace sorus::comm {
namespace {

class Watch {
 public:
  Watch(Board& board, int self, std::chrono::milliseconds grace)
      : board_(board), self_(self), grace_(grace), stop_(eventfd(0, EFD_CLOEXEC)) {
    for (int i = 0; i < board.members; ++i) {
      auto pid = static_cast<pid_t>(board.member[i].pid.load());
      long descriptor = i == self ? -1 : syscall(SYS_pidfd_open, pid, 0);
      descriptors_.push_back({static_cast<int>(descriptor), POLLIN, 0});
    }
    descriptors_.push_back({stop_, POLLIN, 0});
    thread_ = std::thread([this] { run(); });
  }
  ~Watch() {
    uint64_t one = 1;
    [[maybe_unused]] auto n = write(stop_, &one, sizeof one);
    thread_.join();
    for (const pollfd& p : descriptors_)
      if (p.fd >= 0) close(p.fd);
  }

 private:
  void run() {
    int64_t failed_at = 0;
    for (;;) {
      poll(descriptors_.data(), descriptors_.size(), 100);
      if (descriptors_.back().revents) return;
      for (size_t i = 0; i + 1 < descriptors_.size(); ++i) {
        if (!(descriptors_[i].revents & POLLIN)) continue;
        descriptors_[i].fd = -descriptors_[i].fd - 1;  // poll skips it from now on
        descriptors_[i].revents = 0;
        int member = static_cast<int>(i);
        if (board_.member[i].state.load() == Member::running)
          report_failure(board_, member, describe(board_, member) + " was killed or ended without leaving the group");
      }
      if (board_.failed.load() == 0) continue;
      if (failed_at == 0) failed_at = steady_ns();
      // One that hangs has had its time.
      bool hangs = board_.failed.load() == 2 && board_.hangs && board_.failed_member == self_;
      if (hangs || steady_ns() - failed_at > std::chrono::nanoseconds(grace_).count()) end();
    }
  }

  [[noreturn]] void end() {
    std::fprintf(stderr, "sorus: rank %d is ended, since another failed: %s\n", board_.member[self_].world_rank,
                 failure_message(board_).c_str());
    std::fflush(stderr);
    // Whoever does not end by itself now is stopped, or its watch is.
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    int culprit = board_.failed_member;
    if (culprit >= 0 && culprit != self_ && descriptors_[static_cast<size_t>(culprit)].fd >= 0)
      syscall(SYS_pidfd_send_signal, descriptors_[static_cast<size_t>(culprit)].fd, SIGKILL, nullptr, 0);
    _exit(kEndedByFailure);
  }

  Board& board_;
  int self_;
  std::chrono::milliseconds grace_;
  int stop_;
  std::vector<pollfd> descriptors_;
  std::thread thread_;
};

}  // namespace

std::shared_ptr<void> watch_processes(Board& board, int self, std::chrono::milliseconds grace) {
  return std::make_shared<Watch>(board, self, grace);
}

}  // namespace sorus::comm
