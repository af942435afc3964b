// Watch: a thread of each process that sees when another one ends, so that a failure ends all of them within seconds,
// also those that compute for long or sleep and would not look.
//
// A process that ended without leaving its group is a failure at once (the system tells by the descriptor of the
// process). Then, and after a failure that somebody else reported, a rank that waits gets a CommError right away; one
// that has not ended after a grace period is ended, with the message on its standard error; one that hangs, at once.
// One that is stopped (SIGSTOP) is killed by who found out that it hangs (board.h), or by the others.
#pragma once

#include "sorus/parallel/comm/segment.h"

namespace sorus::comm {

/// Exit status of a rank that was ended because another one failed.
inline constexpr int kEndedByFailure = 70;

/// Watches until the returned object is gone. Called when all processes are on the board.
std::shared_ptr<void> watch_processes(Board& board, int self,
                                      std::chrono::milliseconds grace = std::chrono::seconds(3));

}  // namespace sorus::comm
