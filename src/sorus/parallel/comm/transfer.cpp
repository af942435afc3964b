// Messages between two ranks: a ring of bytes for each direction of each pair, in which messages and the heads of
// those that were handed over follow each other. One with another tag than asked for is set aside.
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
  try {
    if (!is_completed()) waiter(*this);
  } catch (...) {
    transfers->take_back(*this);  // whoever waited will not keep the buffer
    throw;
  }
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
  Handed* handed = message.head.handed ? &channel(item->peer, rank_).handed[message.head.handed - 1] : nullptr;
  if (handed && message.head.bytes == item->bytes)
    take(*handed, *item);
  else if (message.head.bytes == item->bytes)
    move_bytes(item->to, message.data->data(), message.data->nbytes());
  else
    item->error = fmt::format("recv: {} bytes were expected from rank {} (tag {}), which sent {}", item->bytes,
                              item->peer, item->tag, message.head.bytes);
  finish(item);
}

// ---- messages that are handed over

namespace {
constexpr int64_t kLeastHanded = 64 * 1024;           // less takes turns in the ring
constexpr int64_t kMostInBuffers = int64_t{1} << 28;  // of one rank in one group
}  // namespace

// A place for it that the receiver can read; null if there is none, and it has to go through the ring.
Handed* Transfers::hand_over(Item& item) {
  Channel& c = channel(rank_, item.peer);
  Handed* place = nullptr;
  for (Handed& h : c.handed) {
    uint32_t state = h.state.load(std::memory_order_acquire);
    // Messages of threads are freed by `progress_handed`, which tells who waits for them.
    if (state == Handed::taken && !threads_) h.state.store(state = Handed::free);
    if (state == Handed::free && !place) place = &h;
  }
  if (!place) return nullptr;
  if (threads_) {
    place->handle = 0;
    place->address = item.from;
  } else {
    int64_t held = 0;
    Buffer* best = nullptr;
    for (Buffer& b : buffers_) {
      if (b.used_for && b.used_for->state.load(std::memory_order_acquire) != Handed::offered &&
          b.used_for->state.load() != Handed::taking)
        b.used_for = nullptr;
      held += b.bytes;
      if (!b.used_for && b.bytes >= item.bytes && (!best || b.bytes < best->bytes)) best = &b;
    }
    if (!best) {
      if (held + item.bytes > kMostInBuffers) return nullptr;
      auto bytes = static_cast<size_t>(item.bytes);
      int64_t handle = segment_.reserve(bytes);
      buffers_.push_back({handle, item.bytes, segment_.map(handle, bytes), nullptr});
      best = &buffers_.back();
    }
    move_bytes(best->data.get(), item.from, static_cast<size_t>(item.bytes));
    best->used_for = place;
    place->handle = best->handle;
    place->capacity = best->bytes;
  }
  place->state.store(Handed::offered, std::memory_order_release);
  return place;
}

void Transfers::take(Handed& handed, Item& item) {
  uint32_t offered = Handed::offered;
  if (!handed.state.compare_exchange_strong(offered, Handed::taking)) {
    item.error = fmt::format("recv: rank {} has taken back what it sent", item.peer);
    return;
  }
  const std::byte* from = handed.address;
  if (handed.handle) {
    auto& mapped = seen_[handed.handle];
    if (!mapped) mapped = segment_.map(handed.handle, static_cast<size_t>(handed.capacity));
    from = mapped.get();
  }
  move_bytes(item.to, from, static_cast<size_t>(item.bytes));
  handed.state.store(Handed::taken, std::memory_order_release);
  Slot& other = slots_[item.peer];
  other.bell.fetch_add(1);
  futex_wake(other.bell, other.bell_sleepers);
}

// The sender stops waiting, since something failed.
void Transfers::take_back(Item& item) {
  if (!item.handed) return;
  uint32_t offered = Handed::offered;
  if (!item.handed->state.compare_exchange_strong(offered, Handed::free))
    while (item.handed->state.load(std::memory_order_acquire) == Handed::taking) sched_yield();
  item.handed = nullptr;
}

Transfers::~Transfers() {
  for (Peer& p : peers_)
    for (auto& item : p.handed) take_back(*item);
}

bool Transfers::progress_handed(int to) {
  Peer& p = peers_[static_cast<size_t>(to)];
  return std::erase_if(p.handed, [&](const std::shared_ptr<Item>& item) {
           if (item->handed && item->handed->state.load(std::memory_order_acquire) != Handed::taken) return false;
           if (item->handed) item->handed->state.store(Handed::free);
           item->handed = nullptr;
           finish(item);
           return true;
         }) > 0;
}

bool Transfers::progress() {
  std::lock_guard lock(mutex_);
  bool moved = false;
  for (int peer = 0; peer < size_ && pending_ > 0; ++peer) {
    if (progress_handed(peer)) moved = true;
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
  // Collectives have negative tags; all ranks are at them, so that the ring, which stays in the cache, is quicker.
  if (starts && item->tag >= 0 && item->bytes >= kLeastHanded && item->bytes > room - kHead) {
    if (Handed* place = hand_over(*item)) {
      Head head{item->bytes, item->tag, static_cast<int32_t>(place - c.handed) + 1};
      put(&head, kHead);
      c.written.store(written, std::memory_order_release);
      Slot& other = slots_[to];
      other.bell.fetch_add(1);
      futex_wake(other.bell, other.bell_sleepers);
      p.sends.pop_front();
      if (threads_) {
        item->handed = place;
        p.handed.push_back(item);
      } else {
        finish(item);
      }
      return true;
    }
  }
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
  auto read_out = [&](void* data, int64_t n) {
    int64_t at = static_cast<int64_t>(read % kRing), first = std::min(n, kRing - at);
    move_bytes(data, c.ring + at, static_cast<size_t>(first));
    move_bytes(static_cast<std::byte*>(data) + first, c.ring, static_cast<size_t>(n - first));
    read += static_cast<uint64_t>(n);
    there -= n;
  };
  bool moved = false;
  if (!p.in_message) {
    if (there < static_cast<int64_t>(sizeof(Head))) return false;
    read_out(&p.head, sizeof(Head));
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
    if (p.head.handed) p.taken = p.head.bytes;
    if (p.target && p.head.handed) take(channel(from, rank_).handed[p.head.handed - 1], *p.target);
    if (!p.target) {
      p.aside = std::make_shared<Unexpected>();
      p.aside->head = p.head;
      if (!p.head.handed) p.aside->data = Storage::allocate(static_cast<size_t>(p.head.bytes));
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
    read_out((p.target ? p.target->to : p.aside->data->data()) + p.taken, n);
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
