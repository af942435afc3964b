// Board: what the ranks of one machine know of each other, in memory that they share.
//
// Each writes what it does (computes, waits for whom, has left) and its last operation; whoever waits too long looks
// there why. The first failure is written on the board and ends every wait of every rank. Nobody sends heartbeats:
// the system knows how much time each process (or thread) has computed, and one that neither computes nor
// communicates while others wait for it hangs, unless a program that it has started computes (the compiler of its
// loops). Ranks that wait for each other in a circle are told apart from that. One that hangs because it is stopped
// (SIGSTOP) cannot even end itself; who finds that out kills it, as nobody else may be left that would.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "sorus/parallel/comm/communicator.h"

namespace sorus::comm {

struct alignas(128) Member {
  enum State : uint32_t { absent, running, left };
  std::atomic<uint32_t> state;
  std::atomic<int32_t> waits_for;    ///< index on the board, -1: it runs
  std::atomic<int64_t> waits_since;  ///< nanoseconds of the steady clock
  std::atomic<int32_t> pid;
  int32_t clock;  ///< of the time it has computed
  int32_t world_rank;
  char host[64];
  // The last operation. Torn reads only make a message wrong.
  std::atomic<int64_t> number, count;
  char what[24], group[32];
  DType dtype;
  ReduceOp op;
};

struct Board {
  std::atomic<uint32_t> failed;  ///< 1: being written, 2: `message` is there
  int32_t members;
  int32_t failed_member;  ///< or -1
  int32_t hangs;          ///< whether the failed member did nothing any more: it is not given time to end by itself
  char message[1024];
  std::atomic<int64_t> top;  ///< of the memory behind, see segment.h
  Member member[1];          ///< `members` of them

  static size_t bytes(int members) { return sizeof(Board) + sizeof(Member) * static_cast<size_t>(members); }
};

int64_t steady_ns();

/// "rank 2 (host node7, process 4711; last operation: all_reduce of 100 f32 in 'world', its 17th)"
std::string describe(const Board& board, int member);
/// Writes the first failure; later ones change nothing.
void report_failure(Board& board, int member, const std::string& message, bool hangs = false);
/// Throws the failure that is on the board, if there is one.
void throw_if_failed(const Board& board);
std::string failure_message(const Board& board);

/// Looks now and then at somebody that is waited for.
class Patience {
 public:
  Patience(Board& board, int self, const Options& options) : board_(board), self_(self), options_(options) {}
  /// To be called every few milliseconds while `self` waits for `other`. Throws when there is no hope.
  void check(int other, const Operation& waiting_in);

 private:
  [[noreturn]] void give_up(int other, const std::string& why, const Operation& waiting_in, bool hangs = false);
  bool in_circle(int other) const;

  Board& board_;
  int self_;
  Options options_;
  int64_t started_ = 0, next_ = 0;
  int watched_ = -1;
  int64_t computed_ = 0, progress_at_ = 0;
  int64_t started_computed_ = -1;  // by programs that `watched_` has started
};

}  // namespace sorus::comm
