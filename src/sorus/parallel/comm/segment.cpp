#include "sorus/parallel/comm/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sorus::comm {
namespace {

constexpr size_t kPage = 4096;
size_t whole_pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

std::shared_ptr<std::byte> mapped(int descriptor, int64_t offset, size_t bytes) {
  int flags = descriptor < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, descriptor, offset);
  SORUS_CHECK(p != MAP_FAILED, CommError, "cannot map {} bytes of memory shared by ranks: {}", bytes,
              std::strerror(errno));
  return {static_cast<std::byte*>(p), [bytes](std::byte* q) { munmap(q, bytes); }};
}

class ThreadSegment final : public Segment {
 public:
  explicit ThreadSegment(int members) : block_(mapped(-1, 0, whole_pages(Board::bytes(members)))) {
    board_ = reinterpret_cast<Board*>(block_.get());
  }
  int64_t reserve(size_t bytes) override {
    auto block = mapped(-1, 0, whole_pages(bytes));
    std::lock_guard lock(mutex_);
    // Whoever maps it keeps it; what nobody maps any more goes away with the next reservation.
    std::erase_if(blocks_, [](const auto& b) { return b.second.second && b.second.first.use_count() == 1; });
    blocks_[next_] = {std::move(block), false};
    return next_++;
  }
  std::shared_ptr<std::byte> map(int64_t handle, size_t) override {
    std::lock_guard lock(mutex_);
    auto it = blocks_.find(handle);
    SORUS_ASSERT(it != blocks_.end());
    it->second.second = true;
    return it->second.first;
  }
  void discard(std::byte*, size_t) override {}
  Place place_of(const void* data, size_t) const override { return {1, reinterpret_cast<uint64_t>(data)}; }
  void* at(Place place) const override { return reinterpret_cast<void*>(place.at); }
  std::string_view backend() const override { return "threads"; }

 private:
  std::shared_ptr<std::byte> block_;
  std::mutex mutex_;
  std::map<int64_t, std::pair<std::shared_ptr<std::byte>, bool>> blocks_;
  int64_t next_ = 1;
};

class FileSegment final : public Segment {
 public:
  FileSegment(int members, int descriptor) : descriptor_(descriptor) {
    block_ = mapped(descriptor, 0, whole_pages(Board::bytes(members)));
    board_ = reinterpret_cast<Board*>(block_.get());
  }
  ~FileSegment() override {
    companion.reset();  // it looks at the board
    maps_.clear();
    block_.reset();
    close(descriptor_);
  }
  int64_t reserve(size_t bytes) override { return board_->top.fetch_add(static_cast<int64_t>(whole_pages(bytes))); }
  std::shared_ptr<std::byte> map(int64_t handle, size_t bytes) override {
    auto block = mapped(descriptor_, handle, whole_pages(bytes));
    std::lock_guard lock(mutex_);
    maps_[reinterpret_cast<uint64_t>(block.get())] = {handle, bytes, block};
    return block;
  }
  // Mappings stay until the end, so that all ranks always agree on which memory is shared; pages do not.
  void discard(std::byte* data, size_t bytes) override {
    Place p = place_of(data, bytes);
    if (p.shared)
      fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(p.at),
                static_cast<off_t>(whole_pages(bytes)));
  }
  Place place_of(const void* data, size_t bytes) const override {
    auto address = reinterpret_cast<uint64_t>(data);
    std::lock_guard lock(mutex_);
    auto it = maps_.upper_bound(address);
    if (it == maps_.begin()) return {};
    --it;
    if (address + bytes > it->first + it->second.bytes) return {};
    return {1, static_cast<uint64_t>(it->second.offset) + (address - it->first)};
  }
  void* at(Place place) const override {
    std::lock_guard lock(mutex_);
    for (const auto& [address, m] : maps_)
      if (place.at >= static_cast<uint64_t>(m.offset) && place.at < static_cast<uint64_t>(m.offset) + m.bytes)
        return reinterpret_cast<void*>(address + (place.at - static_cast<uint64_t>(m.offset)));
    SORUS_ASSERT(false && "a shared buffer of another rank is not mapped here");
    return nullptr;
  }
  std::string_view backend() const override { return "shm"; }

 private:
  struct Mapped {
    int64_t offset;
    size_t bytes;
    std::shared_ptr<std::byte> block;
  };
  int descriptor_;
  std::shared_ptr<std::byte> block_;
  mutable std::mutex mutex_;
  std::map<uint64_t, Mapped> maps_;
};

void prepare(Board& board, int members) {
  board.members = members;
  board.failed_member = -1;
  for (int i = 0; i < members; ++i) board.member[i].waits_for.store(-1);
}

}  // namespace

std::shared_ptr<Segment> make_thread_segment(int members) {
  auto segment = std::make_shared<ThreadSegment>(members);
  prepare(segment->board(), members);
  return segment;
}

std::shared_ptr<Segment> make_file_segment(int members, int* descriptor) {
  // The size is address space, not memory: pages come when they are touched.
  constexpr off_t kSize = off_t{1} << 42;
  int fd = memfd_create("sorus-ranks", MFD_CLOEXEC);
  SORUS_CHECK(fd >= 0 && ftruncate(fd, kSize) == 0, CommError, "cannot make memory that ranks share: {}",
              std::strerror(errno));
  *descriptor = fd;
  auto segment = std::make_shared<FileSegment>(members, fd);
  prepare(segment->board(), members);
  segment->board().top.store(static_cast<int64_t>(whole_pages(Board::bytes(members))));
  return segment;
}

std::shared_ptr<Segment> open_file_segment(int members, int descriptor) {
  return std::make_shared<FileSegment>(members, descriptor);
}

}  // namespace sorus::comm
