// What local.cpp (collectives) and transfer.cpp (messages from one rank to another) share.
#pragma once

#include <deque>
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

/// A stream of bytes from one rank to another.
struct alignas(64) Channel {
  std::atomic<uint64_t> written;
  alignas(64) std::atomic<uint64_t> read;
  alignas(64) std::byte ring[kRing];
};

void futex_sleep(std::atomic<uint32_t>& word, uint32_t seen, int64_t ns, std::atomic<uint32_t>& sleepers);
void futex_wake(std::atomic<uint32_t>& word, std::atomic<uint32_t>& sleepers);
/// More ranks than cores: whoever waits should give way at once.
bool crowded(int ranks);

/// The messages of one rank that are on their way. Every wait of that rank moves them on.
class Transfers final : public Progress {
 public:
  Transfers(int rank, int size, Slot* slots, Channel* channels)
      : rank_(rank), size_(size), slots_(slots), channels_(channels), peers_(static_cast<size_t>(size)) {}

  struct Item final : Work {
    Transfers* transfers = nullptr;
    std::function<void(Item&)> waiter;
    const std::byte* from = nullptr;
    std::byte* to = nullptr;
    int64_t bytes = 0, moved = 0;
    int peer = 0, tag = 0;
    bool sends = false, head_out = false;
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
    int32_t tag, pad;
  };
  struct Unexpected {
    Head head;
    Ref<Storage> data;
    std::shared_ptr<Item> claimed;  // asked for while it was coming in
  };
  struct Peer {
    std::deque<std::shared_ptr<Item>> sends, recvs;
    std::deque<std::shared_ptr<Unexpected>> unexpected;
    bool in_message = false;
    Head head{};
    int64_t taken = 0;
    std::shared_ptr<Item> target;
    std::shared_ptr<Unexpected> aside;
  };
  Channel& channel(int from, int to) { return channels_[from * size_ + to]; }
  bool progress_send(int to);
  bool progress_recv(int from);
  void finish(const std::shared_ptr<Item>& item);
  void deliver(const std::shared_ptr<Item>& item, Unexpected& message);

  int rank_, size_;
  Slot* slots_;
  Channel* channels_;
  std::vector<Peer> peers_;
  std::atomic<int> pending_{0};
  std::recursive_mutex mutex_;  // the thread of `start` may wait at the same time
};

}  // namespace sorus::comm
