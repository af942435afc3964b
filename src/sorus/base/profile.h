// What ran, when, for how long, and which line of the program asked for it.
//
//   Profile profile;                       // recording begins
//   step(...);
//   for (const ProfileEvent& e : profile.events()) ...
//   write_file("trace.json", profile.chrome_trace());   // chrome://tracing, ui.perfetto.dev
//
// Whoever executes something wraps it in a ProfileSpan. Without a Profile alive that costs one load and a branch.
// Threads have a lane each: ranks may be threads, and what is exchanged may run beside what is computed. Seconds in
// which a rank only communicates are those of the kinds "exchange" and "wait".
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "sorus/base/error.h"

namespace sorus {

struct ProfileEvent {
  std::string name;    ///< operator, or the operators of a fused loop: "gelu+mul"
  std::string detail;  ///< types of the operands
  SourceLocation source;
  /// "eager", "kernel", "loop"; of collectives "exchange" if the caller waits, else "start", "wait", and "beside" in
  /// the lane where it runs.
  const char* kind = "";
  double begin = 0, seconds = 0;  ///< begin: since the profile began
  double flops = 0, bytes = 0;    ///< what the operation needs at least; 0 if nobody knows
  int depth = 0;                  ///< how many events of its lane it lies in
  int lane = 0;                   ///< of the thread; 0 recorded first
};

class Profile {
 public:
  Profile();
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;
  void stop();  ///< Nothing is recorded from now on.
  /// In the order in which they began. To be read when nothing runs.
  const std::vector<ProfileEvent>& events() const { return events_; }
  double seconds() const;  ///< from the beginning to stop(), or to now
  /// The events as JSON in the Trace Event Format.
  std::string chrome_trace() const;

 private:
  friend class ProfileSpan;
  struct Lane {
    int number = 0, depth = 0;
  };
  std::mutex mutex_;
  std::vector<ProfileEvent> events_;
  std::map<std::thread::id, Lane> lanes_;
  double start_, end_ = 0;
};

extern std::atomic<Profile*> active_profile;

class ProfileSpan {
 public:
  /// `describe` fills name, detail, source, flops and bytes; it is called only if a profile is active.
  template <class Describe>
  explicit ProfileSpan(const char* kind, Describe&& describe) {
    if (active_profile.load(std::memory_order_relaxed)) [[unlikely]] {
      ProfileEvent e;
      e.kind = kind;
      describe(e);
      begin(std::move(e));
    }
  }
  ~ProfileSpan() {
    if (index_ >= 0) [[unlikely]]
      end();
  }
  ProfileSpan(const ProfileSpan&) = delete;
  ProfileSpan& operator=(const ProfileSpan&) = delete;

 private:
  void begin(ProfileEvent e);
  void end();
  int64_t index_ = -1;
  Profile* profile_ = nullptr;
};

}  // namespace sorus
