// The communicator of ranks on one machine, threads and processes alike: one algorithm over a block of shared memory.
//
// Ranks keep in step by counters: each writes how many steps it has arrived at and waits for the others to be as far.
// Since nobody can be more than one step ahead, two buffers in turn suffice for everything.
//
//   small      the data lie beside the counter: one step, and every rank reduces all of them for itself
//   shared     ranks see each other's buffers: each reduces its part of all of them and writes it to all
//   otherwise  through buffers in the shared block, in pieces that stay in the cache: while a piece is reduced the
//   one
//              before it is taken out, so a piece costs one step
#pragma once

#include "sorus/parallel/comm/segment.h"

namespace sorus::comm {

/// Bytes of messages from one rank to another, with a head of 16 each, that leave the sender before they are asked
/// for.
inline constexpr int64_t kRing = 2 * 1024 * 1024;

/// `index[i]`: where member i is on the segment's board. All members call it; `handle` is what one of them reserved.
std::shared_ptr<Communicator> join_local(std::shared_ptr<Segment> segment, int64_t handle, int rank,
                                         std::vector<int> members, std::vector<int> index, std::string name,
                                         Options options);
/// Bytes to reserve for a group.
size_t local_block_bytes(int members);

}  // namespace sorus::comm
