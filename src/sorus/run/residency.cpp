#include "sorus/run/residency.h"

#include <algorithm>

#include "sorus/base/error.h"

namespace sorus {

Residency::Residency(HostMemory& memory, const std::vector<std::vector<HostMemory::Range>>& steps,
                     const std::function<std::string(size_t)>& describe, bool ahead)
    : memory_(&memory), ahead_(ahead), limit_(memory.limit() / HostMemory::kBlock), steps_(steps.size()) {
  std::vector<std::vector<Block>> touched(steps.size());
  for (size_t s = 0; s < steps.size(); ++s) {
    for (const HostMemory::Range& r : steps[s])
      for (Block b = r.first; b < r.first + r.count; ++b) touched[s].push_back(b);
    std::sort(touched[s].begin(), touched[s].end());
    touched[s].erase(std::unique(touched[s].begin(), touched[s].end()), touched[s].end());
    SORUS_CHECK(
        touched[s].size() <= limit_, Error,
        "memory limit: {} works on {:.1f} MiB at once, {:.1f} more than the limit of {:.1f} MiB; give a limit of "
        "at least {} bytes",
        describe(s), static_cast<double>(touched[s].size()) / 16,
        static_cast<double>(touched[s].size() - limit_) / 16, static_cast<double>(limit_) / 16,
        touched[s].size() * HostMemory::kBlock);
    blocks_.insert(blocks_.end(), touched[s].begin(), touched[s].end());
  }
  std::sort(blocks_.begin(), blocks_.end());
  blocks_.erase(std::unique(blocks_.begin(), blocks_.end()), blocks_.end());
  uses_.resize(blocks_.size());
  for (size_t s = 0; s < steps.size(); ++s)
    for (Block b : touched[s]) {
      auto id = static_cast<uint32_t>(std::lower_bound(blocks_.begin(), blocks_.end(), b) - blocks_.begin());
      steps_[s].push_back(id);
      uses_[id].push_back(static_cast<uint32_t>(s));
    }
}

// The step of the next use after `after`; a use in the next run counts from the end of this one.
size_t Residency::next_use(size_t id, size_t after) const {
  const auto& uses = uses_[id];
  auto next = std::upper_bound(uses.begin(), uses.end(), after);
  return next == uses.end() ? steps_.size() + uses.front() : *next;
}

void Residency::start(const std::vector<Block>& resident) {
  candidates_ = {};
  in_reach_.assign(blocks_.size(), 0);
  next_.resize(blocks_.size());
  touched_.assign(blocks_.size(), kNever);
  for (size_t id = 0; id < blocks_.size(); ++id) next_[id] = uses_[id].front();
  resident_ = resident.size();
  for (Block b : resident) {
    auto at = std::lower_bound(blocks_.begin(), blocks_.end(), b);
    bool ours = at != blocks_.end() && *at == b;
    auto id = static_cast<uint32_t>(ours ? at - blocks_.begin() : blocks_.size());
    if (ours) in_reach_[id] = 1;
    candidates_.push({ours ? next_[id] : kNever, b, id});
  }
}

Residency::Moves Residency::plan(size_t step) {
  Moves moves;
  for (uint32_t id : steps_[step]) {
    touched_[id] = step;
    next_[id] = next_use(id, step);
    if (!in_reach_[id]) moves.in.push_back(blocks_[id]);
  }
  while (resident_ + moves.in.size() > limit_ && !candidates_.empty()) {
    Candidate c = candidates_.top();
    candidates_.pop();
    if (c.id < blocks_.size()) {
      // Out already, or listed again with a later use.
      if (!in_reach_[c.id] || c.next != next_[c.id] || touched_[c.id] == step) continue;
      in_reach_[c.id] = 0;
    }
    moves.out.push_back(c.block);
    --resident_;
  }
  for (uint32_t id : steps_[step]) {
    in_reach_[id] = 1;
    candidates_.push({next_[id], blocks_[id], id});
  }
  resident_ += moves.in.size();
  return moves;
}

// What the next step needs and has room beside the running one. Nothing goes that is needed as soon.
Residency::Moves Residency::plan_ahead(size_t running) {
  Moves moves;
  size_t next = running + 1;
  if (next >= steps_.size()) return moves;
  std::vector<Candidate> kept;
  for (uint32_t id : steps_[next]) {
    if (in_reach_[id]) continue;
    while (resident_ >= limit_ && !candidates_.empty()) {
      Candidate c = candidates_.top();
      if (c.next <= next) break;
      candidates_.pop();
      if (c.id < blocks_.size()) {
        if (!in_reach_[c.id] || c.next != next_[c.id]) continue;
        if (touched_[c.id] == running) {
          kept.push_back(c);
          continue;
        }
        in_reach_[c.id] = 0;
      }
      moves.out.push_back(c.block);
      --resident_;
    }
    if (resident_ >= limit_) break;
    moves.in.push_back(blocks_[id]);
    in_reach_[id] = 1;
    ++resident_;
    kept.push_back({next_[id], blocks_[id], id});
  }
  for (const Candidate& c : kept) candidates_.push(c);
  return moves;
}

HostMemory::Moves Residency::in_ranges(Moves blocks) {
  auto joined = [](std::vector<Block>& from) {
    std::vector<HostMemory::Range> ranges;
    std::sort(from.begin(), from.end());
    for (Block b : from)
      if (!ranges.empty() && ranges.back().first + ranges.back().count == b)
        ++ranges.back().count;
      else
        ranges.push_back({b, 1});
    return ranges;
  };
  return {joined(blocks.out), joined(blocks.in)};
}

void Residency::begin() {
  memory_->wait();  // of a run that failed
  start(memory_->resident_blocks());
}

void Residency::before(size_t step) {
  memory_->wait();
  memory_->move(in_ranges(plan(step)));
  if (ahead_) memory_->start(in_ranges(plan_ahead(step)));
}

std::vector<Residency::Traffic> Residency::traffic() const {
  Residency played = *this;
  played.start({});
  std::vector<Traffic> moved(steps_.size());
  for (int run = 0; run < 2; ++run) {
    size_t ahead = 0;
    for (size_t s = 0; s < steps_.size(); ++s) {
      moved[s] = {ahead * HostMemory::kBlock, played.plan(s).in.size() * HostMemory::kBlock};
      ahead = ahead_ ? played.plan_ahead(s).in.size() : 0;
    }
    std::vector<Block> resident;
    for (size_t id = 0; id < blocks_.size(); ++id)
      if (played.in_reach_[id]) resident.push_back(blocks_[id]);
    played.start(resident);
  }
  return moved;
}

}  // namespace sorus
