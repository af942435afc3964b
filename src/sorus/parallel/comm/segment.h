// Segment: memory that the ranks of one machine share. It starts with the board; groups and buffers are reserved
// behind it. For threads it is the process' own memory, for processes an anonymous file of which each maps what it
// uses.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "sorus/parallel/comm/board.h"

namespace sorus::comm {

/// Where a buffer lies, as others can find it: an address (threads) or an offset in the file (processes).
struct Place {
  int64_t shared = 0;  ///< 0: nobody else can see it
  uint64_t at = 0;
};

class Segment {
 public:
  virtual ~Segment() = default;
  Board& board() const { return *board_; }
  /// Zeroed memory by a handle that all ranks can map. Untouched pages cost nothing.
  virtual int64_t reserve(size_t bytes) = 0;
  virtual std::shared_ptr<std::byte> map(int64_t handle, size_t bytes) = 0;
  /// Gives the pages back to the system; the memory stays mapped.
  virtual void discard(std::byte* data, size_t bytes) = 0;
  virtual Place place_of(const void* data, size_t bytes) const = 0;
  virtual void* at(Place place) const = 0;
  virtual std::string_view backend() const = 0;
  /// What is kept for the communicator's lifetime beside it, such as the thread that watches the others.
  std::shared_ptr<void> companion;

 protected:
  Board* board_ = nullptr;
};

/// For threads of this process.
std::shared_ptr<Segment> make_thread_segment(int members);
/// For processes: an anonymous file made here, or the one that somebody else made.
std::shared_ptr<Segment> make_file_segment(int members, int* descriptor);
std::shared_ptr<Segment> open_file_segment(int members, int descriptor);

}  // namespace sorus::comm
