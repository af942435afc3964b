#include "sorus/parallel/comm/groups.h"

#include "sorus/parallel/comm/threads.h"

namespace sorus::comm {
namespace {
thread_local std::shared_ptr<Groups> of_thread;
std::shared_ptr<Groups> of_process;  // set before threads start that use it

std::shared_ptr<Groups>& alone() {
  static std::shared_ptr<Groups> one = std::make_shared<Groups>(make_threads(1)[0]);
  return one;
}
}  // namespace

Groups::Groups(std::shared_ptr<Communicator> world) : world_(std::move(world)) { groups_["world"] = world_; }

const std::shared_ptr<Communicator>& Groups::find(std::string_view name) const {
  auto it = groups_.find(name);
  if (it == groups_.end()) {
    std::string known;
    for (const auto& [n, g] : groups_) known += (known.empty() ? "" : ", ") + n;
    fail<KeyError>("there is no group '{}' of ranks; known are: {}", name, known);
  }
  return it->second;
}
void Groups::add(const std::string& name, std::shared_ptr<Communicator> group) { groups_[name] = std::move(group); }
void Groups::remove(const std::string& name) {
  if (name != "world") groups_.erase(name);
}
std::vector<std::string> Groups::names() const {
  std::vector<std::string> out;
  for (const auto& [n, g] : groups_) out.push_back(n);
  return out;
}

std::shared_ptr<Groups> current_groups() { return of_thread ? of_thread : of_process ? of_process : alone(); }
Groups& groups() { return of_thread ? *of_thread : of_process ? *of_process : *alone(); }
bool has_groups() { return of_thread || of_process; }
void set_process_groups(std::shared_ptr<Groups> groups) { of_process = std::move(groups); }

Communicator& group(std::string_view name) {
  const std::shared_ptr<Communicator>& found = groups().find(name);
  SORUS_CHECK(found != nullptr, ValueError, "this rank is not a member of the group '{}'", name);
  return *found;
}

GroupScope::GroupScope(std::shared_ptr<Groups> groups) : previous_(std::move(of_thread)) {
  of_thread = std::move(groups);
}
GroupScope::~GroupScope() { of_thread = std::move(previous_); }

}  // namespace sorus::comm
