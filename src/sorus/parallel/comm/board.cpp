#include "sorus/parallel/comm/board.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

namespace sorus::comm {
namespace {
constexpr int64_t kMs = 1'000'000;
// A process that sleeps wakes up now and then; less than this in the time after which it hangs is no progress.
constexpr int64_t kProgress = 20 * kMs;

std::string ordinal(int64_t n) {
  int64_t tens = n % 100, ones = n % 10;
  const char* end = tens >= 11 && tens <= 13 ? "th" : ones == 1 ? "st" : ones == 2 ? "nd" : ones == 3 ? "rd" : "th";
  return fmt::format("{}{}", n, end);
}

// Time that the process or thread has computed, or -1 if it is gone.
int64_t computed_ns(const Member& m) {
  if (m.state.load() == Member::absent) return 0;
  timespec t{};
  if (clock_gettime(m.clock, &t) != 0) return -1;
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

// What the system tells of a process, from its state on; a stream that has failed if it tells nothing.
std::istringstream status_of(int pid) {
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  size_t name = text.rfind(')');  // which may have blanks
  std::istringstream fields(name == std::string::npos ? "" : text.substr(name + 1));
  if (name == std::string::npos) fields.setstate(std::ios::failbit);
  return fields;
}

bool is_stopped(int pid) {
  char state = 0;
  status_of(pid) >> state;
  return state == 'T';
}

// Nanoseconds of the processor that programs have used which this process has started, and those which these have; 0
// where the system does not tell.
int64_t started_computed_ns(int pid, bool itself = false) {
  int64_t ticks = 0;
  if (std::istringstream fields = status_of(pid)) {
    std::string skipped;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    int64_t user = 0, system = 0, ended_user = 0, ended_system = 0;
    fields >> user >> system >> ended_user >> ended_system;
    ticks = ended_user + ended_system + (itself ? user + system : 0);
  }
  int64_t ns = ticks * (1'000'000'000 / sysconf(_SC_CLK_TCK));
  std::error_code error;
  for (auto thread = std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error);
       !error && thread != std::filesystem::directory_iterator(); thread.increment(error)) {
    std::ifstream children(thread->path() / "children");
    for (int child = 0; children >> child;) ns += started_computed_ns(child, true);
  }
  return ns;
}
}  // namespace

int64_t steady_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string describe(const Board& board, int member) {
  const Member& m = board.member[member];
  std::string text = fmt::format("rank {} (host {}, process {}; ", m.world_rank, m.host, m.pid.load());
  int64_t number = m.number.load();
  if (number == 0) return text + "no operation yet)";
  Operation last{m.what, m.count.load(), m.dtype, m.op, -1};
  return text + fmt::format("last operation: {} in '{}', its {})", last.to_string(), m.group, ordinal(number));
}

void report_failure(Board& board, int member, const std::string& message, bool hangs) {
  uint32_t none = 0;
  if (!board.failed.compare_exchange_strong(none, 1)) return;
  size_t n = std::min(message.size(), sizeof(board.message) - 1);
  std::memcpy(board.message, message.data(), n);
  board.message[n] = 0;
  board.failed_member = member;
  board.hangs = hangs;
  board.failed.store(2);
}

std::string failure_message(const Board& board) {
  while (board.failed.load() == 1) std::this_thread::yield();
  return board.message;
}

void throw_if_failed(const Board& board) {
  if (board.failed.load(std::memory_order_acquire) != 0) throw CommError(failure_message(board));
}

bool Patience::in_circle(int other) const {
  int at = other;
  for (int steps = 0; steps <= board_.members; ++steps) {
    if (at == self_) return true;
    at = board_.member[at].waits_for.load();
    if (at < 0 || at >= board_.members) return false;
  }
  return false;
}

void Patience::give_up(int other, const std::string& why, const Operation& waiting_in, bool hangs) {
  const Member& self = board_.member[self_];
  std::string message = fmt::format("{} {}; rank {} (host {}) waited for it in {}", describe(board_, other), why,
                                    self.world_rank, self.host, waiting_in.to_string());
  report_failure(board_, other, message, hangs);
  pid_t pid = board_.member[other].pid.load();
  if (hangs && pid != getpid() && is_stopped(pid)) kill(pid, SIGKILL);
  throw CommError(failure_message(board_));
}

void Patience::check(int other, const Operation& waiting_in) {
  throw_if_failed(board_);
  int64_t now = steady_ns();
  Member& m = board_.member[other];
  if (started_ == 0) started_ = now, next_ = now + 50 * kMs;
  if (watched_ != other) {
    watched_ = other;
    progress_at_ = now;
    computed_ = computed_ns(m);
    started_computed_ = -1;
    board_.member[self_].waits_since.store(now);
    board_.member[self_].waits_for.store(other);
  }
  if (now < next_) return;
  next_ = now + 50 * kMs;
  if (m.state.load() == Member::left) give_up(other, "has left the group", waiting_in);
  int64_t computed = computed_ns(m);
  if (computed < 0) give_up(other, "has ended", waiting_in);
  int64_t hang = std::chrono::nanoseconds(options_.hang).count();
  if (started_computed_ < 0) started_computed_ = started_computed_ns(m.pid.load());
  int next = m.waits_for.load();
  if (next >= 0) {  // it waits itself, with little work now and then: nothing to tell from its time
    computed_ = computed, progress_at_ = now;
    if (hang > 0 && now - started_ > hang && now - m.waits_since.load() > hang && in_circle(other))
      give_up(other, "waits for others that wait for it: the ranks do not agree on what to do next", waiting_in);
  } else if (computed - computed_ > kProgress) {
    computed_ = computed, progress_at_ = now;
  } else if (hang > 0 && now - progress_at_ > hang) {
    if (int64_t started = started_computed_ns(m.pid.load()); started - started_computed_ > kProgress) {
      started_computed_ = started, progress_at_ = now;
      return;
    }
    give_up(other,
            fmt::format("hangs: it has neither computed nor communicated for {:.0f} s",
                        static_cast<double>(now - progress_at_) * 1e-9),
            waiting_in, true);
  }
  if (now - started_ > std::chrono::nanoseconds(options_.timeout).count())
    give_up(other, fmt::format("did not come within {:.0f} s", static_cast<double>(now - started_) * 1e-9),
            waiting_in);
}

}  // namespace sorus::comm
