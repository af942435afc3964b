#include "sorus/base/profile.h"

#include <chrono>

namespace sorus {

std::atomic<Profile*> active_profile{nullptr};

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out + '"';
}

}  // namespace

Profile::Profile() : start_(now()) {
  Profile* none = nullptr;
  SORUS_CHECK(active_profile.compare_exchange_strong(none, this), Error,
              "profile: another profile is being recorded; end it first");
}
Profile::~Profile() { stop(); }

void Profile::stop() {
  Profile* self = this;
  if (active_profile.compare_exchange_strong(self, nullptr)) end_ = now();
}

double Profile::seconds() const { return (end_ > 0 ? end_ : now()) - start_; }

std::string Profile::chrome_trace() const {
  std::string out = "{\"traceEvents\":[\n";
  for (size_t i = 0; i < events_.size(); ++i) {
    const ProfileEvent& e = events_[i];
    out += fmt::format(
        R"({{"name":{},"cat":"{}","ph":"X","pid":1,"tid":{},"ts":{:.3f},"dur":{:.3f},"args":{{"operands":{},"line":{},"flops":{:.0f},"bytes":{:.0f}}}}}{})",
        quoted(e.name), e.kind, e.lane + 1, e.begin * 1e6, e.seconds * 1e6, quoted(e.detail),
        quoted(e.source.known() ? e.source.to_string() : ""), e.flops, e.bytes,
        i + 1 < events_.size() ? ",\n" : "\n");
  }
  return out + "]}\n";
}

void ProfileSpan::begin(ProfileEvent e) {
  profile_ = active_profile.load();
  if (!profile_) return;  // it ended just now
  std::lock_guard lock(profile_->mutex_);
  auto [lane, fresh] = profile_->lanes_.try_emplace(std::this_thread::get_id());
  if (fresh) lane->second.number = static_cast<int>(profile_->lanes_.size()) - 1;
  e.lane = lane->second.number;
  e.depth = lane->second.depth++;
  index_ = static_cast<int64_t>(profile_->events_.size());
  profile_->events_.push_back(std::move(e));
  profile_->events_.back().begin = now() - profile_->start_;
}

void ProfileSpan::end() {
  if (active_profile.load() != profile_) return;  // it ended while this ran
  std::lock_guard lock(profile_->mutex_);
  ProfileEvent& e = profile_->events_[static_cast<size_t>(index_)];
  e.seconds = now() - profile_->start_ - e.begin;
  --profile_->lanes_.at(std::this_thread::get_id()).depth;
}

}  // namespace sorus
