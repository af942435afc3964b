#include "sorus/tensor/host_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "sorus/base/error.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE \
  23  // Linux 5.14; older kernels refuse, and the pages come one by one when they are touched
#endif

namespace sorus {
namespace {

// Address space only: pages exist from their first touch to their free().
constexpr size_t kReserved = size_t{1} << 40;

HostMemory* memory = nullptr;  // never freed: tensors may outlive the limit
bool limited = false;
std::recursive_mutex mutex;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

int open_backing(const std::string& folder) {
  if (folder.empty()) {
    int fd = memfd_create("sorus-host-memory", MFD_CLOEXEC);
    SORUS_CHECK(fd >= 0, FileError, "host memory: cannot be made: {}", std::strerror(errno));
    return fd;
  }
  std::string path = folder + "/sorus-host-memory-XXXXXX";
  int fd = mkostemp(path.data(), O_CLOEXEC);
  SORUS_CHECK(fd >= 0, FileError, "{}: no file can be made there for host memory: {}", folder, std::strerror(errno));
  unlink(path.c_str());
  return fd;
}

}  // namespace

HostMemory* HostMemory::active() { return limited ? memory : nullptr; }

HostMemory::HostMemory(size_t limit, const std::string& folder) : limit_(limit) {
  int fd = open_backing(folder);
  bool sized = ftruncate(fd, static_cast<off_t>(kReserved)) == 0;
  void* p = sized ? mmap(nullptr, kReserved, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0) : MAP_FAILED;
  int problem = errno;
  close(fd);
  SORUS_CHECK(p != MAP_FAILED, FileError, "{}: cannot be mapped: {}", folder.empty() ? "host memory" : folder,
              std::strerror(problem));
  base_ = static_cast<std::byte*>(p);
  free_.push_back({0, static_cast<Block>(kReserved / kBlock)});
}

std::byte* HostMemory::allocate(size_t bytes) {
  std::lock_guard lock(mutex);
  auto count = static_cast<Block>((bytes + kBlock - 1) / kBlock);
  auto place = std::find_if(free_.begin(), free_.end(), [&](const Range& r) { return r.count >= count; });
  SORUS_CHECK(place != free_.end(), Error, "host memory: {} bytes asked for, none left", bytes);
  Block first = place->first;
  place->first += count;
  if ((place->count -= count) == 0) free_.erase(place);
  held_ += count;
  if (in_reach_.size() < first + count) in_reach_.resize(first + count);
  // Whoever asks writes it next. What does not fit at once is brought in by its use.
  auto most = static_cast<Block>(std::min<size_t>(count, limit_ / kBlock));
  make_room(most);
  hold(first, most);
  for (Block b = first; b < first + count; ++b) queue_.push_back(b);
  return base_ + size_t{first} * kBlock;
}

void HostMemory::free(std::byte* p, size_t bytes) {
  std::lock_guard lock(mutex);
  Range r = range_of(p, bytes);
  for (Block b = r.first; b < r.first + r.count; ++b) {
    if (in_reach_[b]) --resident_;
    in_reach_[b] = false;
  }
  std::erase_if(queue_, [&](Block b) { return b >= r.first && b < r.first + r.count; });
  madvise(p, size_t{r.count} * kBlock, MADV_REMOVE);
  held_ -= r.count;
  auto at = std::lower_bound(free_.begin(), free_.end(), r.first,
                             [](const Range& a, Block first) { return a.first < first; });
  at = free_.insert(at, r);
  if (auto next = at + 1; next != free_.end() && at->first + at->count == next->first) {
    at->count += next->count;
    at = free_.erase(next) - 1;
  }
  if (at != free_.begin() && (at - 1)->first + (at - 1)->count == at->first) {
    (at - 1)->count += at->count;
    free_.erase(at);
  }
}

HostMemory::Range HostMemory::range_of(const void* p, size_t bytes) const {
  auto* at = static_cast<const std::byte*>(p);
  if (bytes == 0 || at < base_ || at >= base_ + kReserved) return {};
  auto first = static_cast<Block>(static_cast<size_t>(at - base_) / kBlock);
  auto last = static_cast<Block>((static_cast<size_t>(at - base_) + bytes - 1) / kBlock);
  return {first, last - first + 1};
}

std::vector<HostMemory::Block> HostMemory::resident_blocks() const {
  std::lock_guard lock(mutex);
  std::vector<Block> found;
  for (size_t b = 0; b < in_reach_.size(); ++b)
    if (in_reach_[b]) found.push_back(static_cast<Block>(b));
  return found;
}

void HostMemory::hold(Block first, Block count) {
  for (Block b = first; b < first + count; ++b)
    if (!in_reach_[b]) in_reach_[b] = true, ++resident_;
  peak_ = std::max(peak_, resident_);
}

void HostMemory::make_room(Block count) {
  size_t most = limit_ / kBlock;
  for (size_t i = 0; i < queue_.size() && resident_ + count > most;) {
    Block first = queue_[i], n = 0;
    while (i < queue_.size() && queue_[i] == first + n && resident_ + count > most + n) ++n, ++i;
    put_out(first, n);
  }
  std::erase_if(queue_, [&](Block b) { return !in_reach_[b]; });
}

void HostMemory::bring_in(Block first, Block count) {
  std::lock_guard lock(mutex);
  double begin = now();
  madvise(base_ + size_t{first} * kBlock, size_t{count} * kBlock, MADV_POPULATE_WRITE);
  hold(first, count);
  brought_ += count;
  seconds_ += now() - begin;
}

void HostMemory::put_out(Block first, Block count) {
  std::lock_guard lock(mutex);
  double begin = now();
  madvise(base_ + size_t{first} * kBlock, size_t{count} * kBlock, MADV_DONTNEED);
  for (Block b = first; b < first + count; ++b)
    if (in_reach_[b]) in_reach_[b] = false, --resident_;
  put_ += count;
  seconds_ += now() - begin;
}

void HostMemory::move(const Moves& moves) {
  if (moves.empty()) return;
  double begin = now();
  for (const Range& r : moves.out) put_out(r.first, r.count);
  for (const Range& r : moves.in) bring_in(r.first, r.count);
  waited_ += now() - begin;
}

void HostMemory::start(Moves moves) {
  if (moves.empty()) return;
  wait();
  std::lock_guard lock(moves_mutex_);
  moves_ = std::move(moves);
  moving_ = true;
  // It lives as long as the process, as the memory does.
  if (!has_thread_) std::thread([this] { run_moves(); }).detach();
  has_thread_ = true;
  moves_changed_.notify_all();
}

void HostMemory::run_moves() {
  for (;;) {
    std::unique_lock lock(moves_mutex_);
    moves_changed_.wait(lock, [&] { return moving_; });
    Moves moves = std::move(moves_);
    lock.unlock();
    for (const Range& r : moves.out) put_out(r.first, r.count);
    for (const Range& r : moves.in) bring_in(r.first, r.count);
    lock.lock();
    moving_ = false;
    moves_changed_.notify_all();
  }
}

void HostMemory::wait() {
  std::unique_lock lock(moves_mutex_);
  if (!moving_) return;
  double begin = now();
  moves_changed_.wait(lock, [&] { return !moving_; });
  waited_ += now() - begin;
}

void HostMemory::settle() {
  std::lock_guard lock(mutex);
  for (size_t b = 0; b < in_reach_.size();) {
    size_t end = b;
    while (end < in_reach_.size() && !in_reach_[end]) ++end;
    if (end > b) madvise(base_ + b * kBlock, (end - b) * kBlock, MADV_DONTNEED);
    b = end + 1;
  }
}

HostMemory::Statistics HostMemory::statistics() const {
  std::lock_guard lock(mutex);
  return {limit_,   held_ * kBlock, resident_ * kBlock, peak_ * kBlock, brought_ * kBlock, put_ * kBlock,
          seconds_, waited_};
}

double HostMemory::rate() {
  constexpr Block kTried = 64;  // 4 MiB
  auto blocks = static_cast<Block>(std::clamp<size_t>(limit_ / kBlock, 1, kTried));
  size_t bytes = size_t{blocks} * kBlock;
  std::byte* p = allocate(bytes);
  Range r = range_of(p, bytes);
  bring_in(r.first, r.count);
  std::vector<double> seconds;
  for (int i = 0; i < 5; ++i) {
    double begin = now();
    put_out(r.first, r.count);
    bring_in(r.first, r.count);
    seconds.push_back(now() - begin);
  }
  free(p, bytes);
  std::sort(seconds.begin(), seconds.end());
  return static_cast<double>(bytes) / seconds[2];
}

void set_memory_limit(size_t bytes, const std::string& folder) {
  std::lock_guard lock(mutex);
  constexpr size_t kLeast = 1 << 20;
  SORUS_CHECK(bytes == 0 || bytes >= kLeast, ValueError, "set_memory_limit: expected at least {} bytes, got {}",
              kLeast, bytes);
  limited = bytes > 0;
  if (!limited) return;
  if (!memory) memory = new HostMemory(bytes, folder);
  memory->limit_ = bytes;
  memory->make_room(0);
}

}  // namespace sorus
