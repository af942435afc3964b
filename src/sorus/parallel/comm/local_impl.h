// What local.cpp (collectives) and transfer.cpp (messages from one rank to another) share.
#pragma once

#include <deque>
#include <map>
#include <mutex>

#include "sorus/parallel/comm/local.h"

namespace sorus::comm {

inline constexpr int64_t kInline = 4096;       // bytes beside the counter
inline constexpr int64_t kStage = 512 * 1024;  // of a piece

/// What a rank says when it arrives at the first step of an operation.
struct Announcement {
  char what[16];
  int64_t count;
  DType dtype;
  ReduceOp op;
  int32_t root;
  bool gently;  ///< it sleeps whenever it waits
  Place in, out;
};

struct alignas(64) Slot {
  std::atomic<uint32_t> arrived, sleepers;
  std::atomic<uint32_t> bell, bell_sleepers;  ///< rung when a channel of this rank changed
  struct alignas(64) Half {
    Announcement announcement;
    alignas(64) std::byte data[kInline];
  } half[2];
};

/// A message that lies where the receiver can read it: with the sender if ranks are threads, else in shared memory.
struct alignas(64) Handed {
  enum State : uint32_t { free, offered, taking, taken };
  std::atomic<uint32_t> state;
  int64_t handle;  ///< of the segment, 0: `address`
  int64_t capacity;
  const std::byte* address;
};
inline constexpr int kHanded = 32;

/// A stream of bytes from one rank to another.
struct alignas(64) Channel {
  Handed handed[kHanded];
  std::atomic<uint64_t> written;
  alignas(64) std::atomic<uint64_t> read;
  alignas(64) std::byte ring[kRing];
};

void futex_sleep(std::atomic<uint32_t>& word, uint32_t seen, int64_t ns, std::atomic<uint32_t>& sleepers);
void futex_wake(std::atomic<uint32_t>& word, std::atomic<uint32_t>& sleepers);
/// More ranks than cores: whoever waits should give way at once.
bool crowded(int ranks);

/// The messages of one rank that are on their way. Every wait of that rank moves them on. A message for which the
/// ring has no room is handed over, so that its receiver needs nothing more from the sender, who may compute for
/// long: threads read it where it is, processes from a copy in shared memory. All of these are copied once.
class Transfers final : public Progress {
 public:
  Transfers(int rank, int size, Slot* slots, Channel* channels, Segment& segment)
      : rank_(rank),
        size_(size),
        slots_(slots),
        channels_(channels),
        segment_(segment),
        threads_(segment.backend() == "threads"),
        peers_(static_cast<size_t>(size)) {}
  ~Transfers() override;

  struct Item final : Work {
    Transfers* transfers = nullptr;
    std::function<void(Item&)> waiter;
    const std::byte* from = nullptr;
    std::byte* to = nullptr;
    int64_t bytes = 0, moved = 0;
    int peer = 0, tag = 0;
    bool sends = false, head_out = false;
    Handed* handed = nullptr;  // where it waits to be taken
    std::atomic<bool> done{false};
    std::string error;

    bool is_completed() override;
    void wait() override;
  };

  std::shared_ptr<Item> send(const void* data, int64_t bytes, int to, int tag);
  std::shared_ptr<Item> recv(void* data, int64_t bytes, int from, int tag);
  bool pending() const override { return pending_.load(std::memory_order_relaxed) > 0; }
  bool progress() override;
  Slot& own_slot() { return slots_[rank_]; }

 private:
  struct Head {
    int64_t bytes;
    int32_t tag;
    int32_t handed;  // 0: it follows in the ring; else the number of the one, counted from 1
  };
  struct Unexpected {
    Head head;
    Ref<Storage> data;              // null if it was handed over
    std::shared_ptr<Item> claimed;  // asked for while it was coming in
  };
  struct Peer {
    std::deque<std::shared_ptr<Item>> sends, recvs, handed;
    std::deque<std::shared_ptr<Unexpected>> unexpected;
    bool in_message = false;
    Head head{};
    int64_t taken = 0;
    std::shared_ptr<Item> target;
    std::shared_ptr<Unexpected> aside;
  };
  Channel& channel(int from, int to) { return channels_[from * size_ + to]; }
  bool progress_send(int to);
  bool progress_handed(int to);
  Handed* hand_over(Item& item);
  void take(Handed& handed, Item& item);
  void take_back(Item& item);
  bool progress_recv(int from);
  void finish(const std::shared_ptr<Item>& item);
  void deliver(const std::shared_ptr<Item>& item, Unexpected& message);

  int rank_, size_;
  Slot* slots_;
  Channel* channels_;
  Segment& segment_;
  bool threads_;
  // Shared memory in which messages of processes wait, this rank's and, by their handles, those of others.
  struct Buffer {
    int64_t handle = 0, bytes = 0;
    std::shared_ptr<std::byte> data;
    Handed* used_for = nullptr;
  };
  std::vector<Buffer> buffers_;
  std::map<int64_t, std::shared_ptr<std::byte>> seen_;
  std::vector<Peer> peers_;
  std::atomic<int> pending_{0};
  std::recursive_mutex mutex_;  // the thread of `start` may wait at the same time
};

}  // namespace sorus::comm
