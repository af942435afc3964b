// Host memory: more than a rank may hold at once.
//
//   set_memory_limit(300 << 20);               // from here on, at most 300 MiB of large tensors are in reach at a
//   time CompiledGraph step(trace(f, inputs));      // brings in what each of its steps needs, and puts the rest out
//
// A rank of a cluster has little memory of its own and much behind it: that of the host, or a file. Here both are one
// mapping: what is in reach is mapped, what is put out stays in the host's pages (or the file) and costs a page fault
// to come back. So putting something out can never change a number, whatever the policy; and a program that touches
// more than it said only holds more than it said.
//
// Storages of kBlock and more are made here while a limit is set (Storage::allocate asks). Who knows what comes next
// says so (run/residency.h); otherwise what was made longest ago goes first.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace sorus {

class HostMemory {
 public:
  static constexpr size_t kBlock = 64 << 10;  ///< what is brought in and put out as one
  using Block = uint32_t;

  /// A part of the mapping: blocks [first, first + count).
  struct Range {
    Block first = 0, count = 0;
  };

  /// The memory of this process, if a limit is set.
  static HostMemory* active();

  std::byte* allocate(size_t bytes);
  void free(std::byte* p, size_t bytes);
  /// The blocks under `bytes` at `p`; none if they lie elsewhere.
  Range range_of(const void* p, size_t bytes) const;

  size_t limit() const { return limit_; }
  size_t resident() const { return resident_ * kBlock; }
  std::vector<Block> resident_blocks() const;
  void bring_in(Block first, Block count);
  void put_out(Block first, Block count);
  struct Moves {
    std::vector<Range> out, in;
    bool empty() const { return out.empty() && in.empty(); }
  };
  /// Puts out, then brings in; the caller waits.
  void move(const Moves& moves);
  /// The same beside the caller. Whoever touches what is on its way only waits for its page.
  void start(Moves moves);
  /// Until all that was started is done.
  void wait();
  /// Puts out what was touched without being brought in: by whoever went through much (a checkpoint).
  void settle();

  struct Statistics {
    size_t limit = 0, held = 0, resident = 0, peak_resident = 0;  ///< bytes
    size_t brought_in = 0, put_out = 0;                           ///< bytes since the start
    double seconds = 0;                                           ///< spent on both
    double waited = 0;                                            ///< the part of them in which nothing else was done
  };
  Statistics statistics() const;
  /// Bytes a second that go out and come back, measured on some of its own.
  double rate();

 private:
  friend void set_memory_limit(size_t bytes, const std::string& folder);
  HostMemory(size_t limit, const std::string& folder);
  void hold(Block first, Block count);
  void make_room(Block count);
  void run_moves();

  std::byte* base_ = nullptr;
  size_t limit_ = 0, held_ = 0, resident_ = 0, peak_ = 0, brought_ = 0, put_ = 0;
  double seconds_ = 0, waited_ = 0;
  std::vector<bool> in_reach_;
  std::vector<Range> free_;   // sorted by place, neighbours joined
  std::vector<Block> queue_;  // in the order of their making, for programs that do not say what comes next

  // The thread that moves, made by the first `start`.
  bool has_thread_ = false, moving_ = false;
  Moves moves_;
  std::mutex moves_mutex_;
  std::condition_variable moves_changed_;
};

/// From now on tensors of 64 KiB and more are kept in host memory (with `folder`, in a file there that vanishes with
/// the process), of which at most `bytes` are in reach at a time. 0: tensors made from now on are ordinary again.
///
/// Raises: FileError if the memory or the file cannot be made, ValueError for a limit below 1 MiB.
void set_memory_limit(size_t bytes, const std::string& folder = "");

}  // namespace sorus
