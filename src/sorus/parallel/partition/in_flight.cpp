#include "sorus/parallel/partition/in_flight.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "sorus/base/error.h"

namespace sorus::parallel {
namespace {

using Kind = Action::Kind;
// Sender, receiver, whether it is a captured tensor, the value's number at all ranks, micro-batch.
using Message = std::tuple<int, int, bool, int, int>;

bool sends(const Action& a) { return a.kind == Kind::send || a.kind == Kind::send_capture; }
bool receives(const Action& a) { return a.kind == Kind::receive || a.kind == Kind::receive_capture; }

Message message_of(const Program& p, const Action& a, int rank) {
  bool captured = a.kind == Kind::send_capture || a.kind == Kind::receive_capture;
  int number = captured ? a.what : p.slots[static_cast<size_t>(a.what)].id;
  return sends(a) ? Message{rank, a.peer, captured, number, a.micro_batch}
                  : Message{a.peer, rank, captured, number, a.micro_batch};
}

}  // namespace

std::vector<int> taken_by(const std::vector<Program>& programs, int rank) {
  size_t ranks = programs.size();
  auto at = [](int i) { return static_cast<size_t>(i); };
  std::map<Message, int> received_at;  // the action of the receiver
  for (size_t r = 0; r < ranks; ++r)
    for (size_t i = 0; i < programs[r].actions.size(); ++i)
      if (const Action& a = programs[r].actions[i]; receives(a))
        received_at[message_of(programs[r], a, static_cast<int>(r))] = static_cast<int>(i);
  // Each rank in its order, as far as what it receives has been sent; `known`: of every rank how many actions are
  // done for certain.
  std::vector<int> next(ranks, 0);
  std::vector<std::vector<int>> known(ranks, std::vector<int>(ranks, 0));
  std::map<Message, std::vector<int>> sent;
  std::vector<int> taken(programs[at(rank)].actions.size(), -1);
  std::vector<std::pair<int, std::pair<int, int>>> waiting;  // an action of `rank`, its receiver and the action there
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t r = 0; r < ranks; ++r) {
      const Program& p = programs[r];
      while (next[r] < static_cast<int>(p.actions.size())) {
        const Action& a = p.actions[at(next[r])];
        if (static_cast<int>(r) == rank)
          std::erase_if(waiting, [&](const auto& w) {
            bool gone = known[r][at(w.second.first)] > w.second.second;
            if (gone) taken[at(w.first)] = next[r];
            return gone;
          });
        if (receives(a)) {
          auto from = sent.find(message_of(p, a, static_cast<int>(r)));
          if (from == sent.end()) break;
          for (size_t other = 0; other < ranks; ++other)
            known[r][other] = std::max(known[r][other], from->second[other]);
        }
        known[r][r] = next[r] + 1;
        if (sends(a)) {
          Message m = message_of(p, a, static_cast<int>(r));
          sent[m] = known[r];
          if (static_cast<int>(r) == rank) {
            taken[at(next[r])] = static_cast<int>(p.actions.size());
            if (auto to = received_at.find(m); to != received_at.end())
              waiting.push_back({next[r], {a.peer, to->second}});
          }
        }
        ++next[r];
        moved = true;
      }
    }
  }
  for (size_t r = 0; r < ranks; ++r)
    SORUS_CHECK(next[r] == static_cast<int>(programs[r].actions.size()), Error,
                "pipeline: rank {} waits for a message that no rank sends (action {} of {})", r, next[r],
                programs[r].actions.size());
  return taken;
}

}  // namespace sorus::parallel
