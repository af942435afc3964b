// Messages between two ranks: a ring of bytes for each direction of each pair. Messages that were not asked for yet
// stay in the ring, which holds the sender back; one with another tag than asked for is set aside.
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sorus/base/move_bytes.h"
#include "sorus/parallel/comm/local_impl.h"

namespace sorus::comm {

void futex_sleep(std::atomic<uint32_t>& word, uint32_t seen, int64_t ns, std::atomic<uint32_t>& sleepers) {
  sleepers.fetch_add(1);
  if (word.load() == seen) {
    timespec t{ns / 1'000'000'000, ns % 1'000'000'000};
    syscall(SYS_futex, &word, FUTEX_WAIT, seen, &t, nullptr, 0);
  }
  sleepers.fetch_sub(1);
}

void futex_wake(std::atomic<uint32_t>& word, std::atomic<uint32_t>& sleepers) {
  if (sleepers.load() != 0) syscall(SYS_futex, &word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

bool crowded(int ranks) {
  static const int cores = [] {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  }();
  return ranks > cores;
}

bool Transfers::Item::is_completed() {
  if (!done.load(std::memory_order_acquire)) transfers->progress();
  return done.load(std::memory_order_acquire);
}
void Transfers::Item::wait() {
  if (!is_completed()) waiter(*this);
  if (!error.empty()) fail<CommError>("{}", error);
}

std::shared_ptr<Transfers::Item> Transfers::send(const void* data, int64_t bytes, int to, int tag) {
  std::lock_guard lock(mutex_);
  auto item = std::make_shared<Item>();
  item->transfers = this;
  item->from = static_cast<const std::byte*>(data);
  item->bytes = bytes, item->peer = to, item->tag = tag, item->sends = true;
  peers_[static_cast<size_t>(to)].sends.push_back(item);
  ++pending_;
  progress();
  return item;
}

std::shared_ptr<Transfers::Item> Transfers::recv(void* data, int64_t bytes, int from, int tag) {
  std::lock_guard lock(mutex_);
  auto item = std::make_shared<Item>();
  item->transfers = this;
  item->to = static_cast<std::byte*>(data);
  item->bytes = bytes, item->peer = from, item->tag = tag;
  ++pending_;
  Peer& p = peers_[static_cast<size_t>(from)];
  for (size_t i = 0; i < p.unexpected.size(); ++i) {
    auto message = p.unexpected[i];
    if (message->head.tag != tag || message->claimed) continue;
    if (message == p.aside) {  // still coming in
      message->claimed = item;
    } else {
      deliver(item, *message);
      p.unexpected.erase(p.unexpected.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return item;
  }
  p.recvs.push_back(item);
  progress();
  return item;
}

void Transfers::finish(const std::shared_ptr<Item>& item) {
  --pending_;
  item->done.store(true, std::memory_order_release);
}

void Transfers::deliver(const std::shared_ptr<Item>& item, Unexpected& message) {
  if (message.head.bytes == item->bytes)
    move_bytes(item->to, message.data->data(), message.data->nbytes());
  else
    item->error = fmt::format("recv: {} bytes were expected from rank {} (tag {}), which sent {}", item->bytes,
                              item->peer, item->tag, message.head.bytes);
  finish(item);
}

bool Transfers::progress() {
  std::lock_guard lock(mutex_);
  bool moved = false;
  for (int peer = 0; peer < size_ && pending_ > 0; ++peer) {
    while (progress_send(peer)) moved = true;
    while (progress_recv(peer)) moved = true;
  }
  return moved;
}

bool Transfers::progress_send(int to) {
  Peer& p = peers_[static_cast<size_t>(to)];
  if (p.sends.empty()) return false;
  std::shared_ptr<Item> item = p.sends.front();
  Channel& c = channel(rank_, to);
  uint64_t written = c.written.load(std::memory_order_relaxed);
  int64_t room = kRing - static_cast<int64_t>(written - c.read.load(std::memory_order_acquire));
  constexpr auto kHead = static_cast<int64_t>(sizeof(Head));
  if (room < kHead) return false;
  auto put = [&](const void* data, int64_t n) {
    int64_t at = static_cast<int64_t>(written % kRing), first = std::min(n, kRing - at);
    move_bytes(c.ring + at, data, static_cast<size_t>(first));
    move_bytes(c.ring, static_cast<const std::byte*>(data) + first, static_cast<size_t>(n - first));
    written += static_cast<uint64_t>(n);
    room -= n;
  };
  bool starts = !item->head_out;
  if (starts) {
    Head head{item->bytes, item->tag, 0};
    put(&head, kHead);
    item->head_out = true;
  }
  int64_t n = std::min(room, item->bytes - item->moved);
  if (n > 0) put(item->from + item->moved, n), item->moved += n;
  if (n == 0 && !starts && item->moved < item->bytes) return false;
  c.written.store(written, std::memory_order_release);
  Slot& other = slots_[to];
  other.bell.fetch_add(1);
  futex_wake(other.bell, other.bell_sleepers);
  if (item->moved == item->bytes) {
    p.sends.pop_front();
    finish(item);
  }
  return true;
}

bool Transfers::progress_recv(int from) {
  Peer& p = peers_[static_cast<size_t>(from)];
  if (!p.in_message && p.recvs.empty()) return false;
  Channel& c = channel(from, rank_);
  uint64_t read = c.read.load(std::memory_order_relaxed);
  int64_t there = static_cast<int64_t>(c.written.load(std::memory_order_acquire) - read);
  auto take = [&](void* data, int64_t n) {
    int64_t at = static_cast<int64_t>(read % kRing), first = std::min(n, kRing - at);
    move_bytes(data, c.ring + at, static_cast<size_t>(first));
    move_bytes(static_cast<std::byte*>(data) + first, c.ring, static_cast<size_t>(n - first));
    read += static_cast<uint64_t>(n);
    there -= n;
  };
  bool moved = false;
  if (!p.in_message) {
    if (there < static_cast<int64_t>(sizeof(Head))) return false;
    take(&p.head, sizeof(Head));
    p.in_message = true;
    p.taken = 0;
    p.target = nullptr;
    p.aside = nullptr;
    for (size_t i = 0; i < p.recvs.size() && !p.target; ++i)
      if (p.recvs[i]->tag == p.head.tag && p.recvs[i]->bytes == p.head.bytes) {
        p.target = p.recvs[i];
        p.recvs.erase(p.recvs.begin() + static_cast<std::ptrdiff_t>(i));
      } else if (p.recvs[i]->tag == p.head.tag) {
        break;  // of another size: an error, found when the message is complete
      }
    if (!p.target) {
      p.aside = std::make_shared<Unexpected>();
      p.aside->head = p.head;
      p.aside->data = Storage::allocate(static_cast<size_t>(p.head.bytes));
      for (size_t i = 0; i < p.recvs.size(); ++i)
        if (p.recvs[i]->tag == p.head.tag) {
          p.aside->claimed = p.recvs[i];
          p.recvs.erase(p.recvs.begin() + static_cast<std::ptrdiff_t>(i));
          break;
        }
      p.unexpected.push_back(p.aside);
    }
    moved = true;
  }
  int64_t n = std::min(there, p.head.bytes - p.taken);
  if (n > 0) {
    take((p.target ? p.target->to : p.aside->data->data()) + p.taken, n);
    p.taken += n;
    moved = true;
  }
  if (moved) {
    c.read.store(read, std::memory_order_release);
    Slot& other = slots_[from];
    other.bell.fetch_add(1);
    futex_wake(other.bell, other.bell_sleepers);
  }
  if (p.taken == p.head.bytes) {
    p.in_message = false;
    if (p.target) {
      finish(p.target);
      p.target = nullptr;
    } else if (p.aside->claimed) {
      deliver(p.aside->claimed, *p.aside);
      std::erase(p.unexpected, p.aside);
    }
    p.aside = nullptr;
    moved = true;
  }
  return moved;
}

}  // namespace sorus::comm
