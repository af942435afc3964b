#include "sorus/run/beside.h"

#include <algorithm>
#include <deque>
#include <map>
#include <set>

namespace sorus {
namespace {

class Beside {
 public:
  Beside(const std::vector<ScheduleUnit>& units, const std::vector<BesideUnit>& what, const BesideOptions& options)
      : units_(units), what_(what), options_(options) {
    plan_.wait_at.assign(units.size(), 0);
  }

  BesidePlan run(const std::vector<int>& order) {
    for (int u : order) {
      while (!flying_.empty() && flying_.front().ready_at <= clock_) land();
      const BesideUnit& w = what_[at(u)];
      if (!w.exchanges) {
        if (must_wait(u))
          put_off(u);
        else
          emit(u);
        continue;
      }
      // Collectives are never put off: their order is that of all ranks.
      while (must_wait(u)) land();
      bool beside = w.may_run_beside && options_.least_bytes >= 0 && w.bytes >= options_.least_bytes;
      while (beside && !flying_.empty() && bytes_on_their_way() + w.bytes > options_.most_on_its_way) land();
      if (!beside) {
        emit(u);
        continue;
      }
      double& free_at = free_at_[w.group];
      free_at = std::max(free_at, clock_) + w.seconds;
      plan_.order.push_back(u);
      flying_.push_back({u, free_at, work_});
      for (int v : units_[at(u)].makes) not_there_.insert(v);
    }
    while (!flying_.empty()) land();
    return std::move(plan_);
  }

 private:
  struct Flight {
    int unit;
    double ready_at, work_before;
  };
  static size_t at(int i) { return static_cast<size_t>(i); }

  int64_t bytes_on_their_way() const {
    int64_t sum = 0;
    for (const Flight& f : flying_) sum += what_[at(f.unit)].bytes;
    return sum;
  }

  // It reads what is not there yet, or replaces what a unit that was put off has to read first.
  bool must_wait(int u) const {
    const ScheduleUnit& unit = units_[at(u)];
    return std::any_of(unit.reads.begin(), unit.reads.end(), [&](int v) { return not_there_.contains(v); }) ||
           std::any_of(unit.overwrites.begin(), unit.overwrites.end(),
                       [&](int v) { return to_be_read_.contains(v); });
  }
  void put_off(int u) {
    put_off_.push_back(u);
    for (int v : units_[at(u)].makes) not_there_.insert(v);
    for (int v : units_[at(u)].reads) to_be_read_.insert(v);
  }
  void emit(int u) {
    plan_.order.push_back(u);
    clock_ += what_[at(u)].seconds;
    if (!what_[at(u)].exchanges) work_ += what_[at(u)].seconds;
  }

  // Waits for the first that was started, and runs what has waited for that alone.
  void land() {
    Flight f = flying_.front();
    flying_.pop_front();
    // With nothing in between it is as good to call it and wait.
    if (work_ > f.work_before) plan_.wait_at[at(f.unit)] = static_cast<int>(plan_.order.size());
    clock_ = std::max(clock_, f.ready_at);
    for (int v : units_[at(f.unit)].makes) not_there_.erase(v);
    std::deque<int> before = std::move(put_off_);
    put_off_.clear();
    for (int u : before)
      for (int v : units_[at(u)].makes) not_there_.erase(v);
    to_be_read_.clear();
    for (const Flight& other : flying_)
      for (int v : units_[at(other.unit)].makes) not_there_.insert(v);
    for (int u : before)
      if (must_wait(u))
        put_off(u);
      else
        emit(u);
  }

  const std::vector<ScheduleUnit>& units_;
  const std::vector<BesideUnit>& what_;
  const BesideOptions& options_;
  BesidePlan plan_;
  double clock_ = 0, work_ = 0;  // the second without what is exchanged
  std::map<std::string, double> free_at_;
  std::deque<Flight> flying_;  // in the order in which they were started
  std::deque<int> put_off_;
  std::set<int> not_there_;   // values
  std::set<int> to_be_read_;  // by what was put off
};

}  // namespace

BesidePlan run_beside(const std::vector<ScheduleUnit>& units, const std::vector<BesideUnit>& what,
                      const std::vector<int>& order, const BesideOptions& options) {
  return Beside(units, what, options).run(order);
}

}  // namespace sorus
