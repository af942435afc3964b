// The communicators of this rank, by name. Graphs and plans say "dp" or "world", since the same program runs at every
// rank, be it a thread or a process.
//
//   comm::run_ranks(4, [] { comm::group().barrier(); });      // four threads, each with a "world"
//
// A thread has the groups of its GroupScope, else those of the process (`process_groups`), which the launcher's
// environment or Python's init_process_group fills. Without either there is a world of this one rank.
#pragma once

#include <map>

#include "sorus/parallel/comm/communicator.h"

namespace sorus::comm {

class Groups {
 public:
  explicit Groups(std::shared_ptr<Communicator> world);
  const std::shared_ptr<Communicator>& world() const { return world_; }
  /// KeyError with the known names.
  const std::shared_ptr<Communicator>& find(std::string_view name) const;
  /// The same name again replaces it. Null: this rank is not a member.
  void add(const std::string& name, std::shared_ptr<Communicator> group);
  void remove(const std::string& name);
  std::vector<std::string> names() const;

 private:
  std::shared_ptr<Communicator> world_;
  std::map<std::string, std::shared_ptr<Communicator>, std::less<>> groups_;
};

/// Of this thread or else of the process; made with a world of one rank if there is none.
Groups& groups();
bool has_groups();
/// Replaces those of the process; null takes them away.
void set_process_groups(std::shared_ptr<Groups> groups);

/// "world" or what `groups().add` named.
Communicator& group(std::string_view name = "world");

/// The groups of this thread while it lives.
class GroupScope {
 public:
  explicit GroupScope(std::shared_ptr<Groups> groups);
  ~GroupScope();
  GroupScope(const GroupScope&) = delete;
  GroupScope& operator=(const GroupScope&) = delete;

 private:
  std::shared_ptr<Groups> previous_;
};
/// To hand on to a thread that works for this rank.
std::shared_ptr<Groups> current_groups();

}  // namespace sorus::comm
