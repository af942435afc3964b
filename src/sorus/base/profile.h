// What ran, when, for how long, and which line of the program asked for it.
//
//   Profile profile;                       // recording begins
//   step(...);
//   for (const ProfileEvent& e : profile.events()) ...
//   write_file("trace.json", profile.chrome_trace());   // chrome://tracing, ui.perfetto.dev
//
// Whoever executes something wraps it in a ProfileSpan. Without a Profile alive that costs one load and a branch.
#pragma once

#include <string>
#include <vector>

#include "sorus/base/error.h"

namespace sorus {

struct ProfileEvent {
  std::string name;    ///< operator, or the operators of a fused loop: "gelu+mul"
  std::string detail;  ///< types of the operands
  SourceLocation source;
  const char* kind = "";          ///< "eager", "kernel", "loop"
  double begin = 0, seconds = 0;  ///< begin: since the profile began
  double flops = 0, bytes = 0;    ///< what the operation needs at least; 0 if nobody knows
  int depth = 0;                  ///< how many events it lies in
};

class Profile {
 public:
  Profile();
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;
  void stop();  ///< Nothing is recorded from now on.
  const std::vector<ProfileEvent>& events() const { return events_; }
  double seconds() const;  ///< from the beginning to stop(), or to now
  /// The events as JSON in the Trace Event Format.
  std::string chrome_trace() const;

 private:
  friend class ProfileSpan;
  std::vector<ProfileEvent> events_;
  double start_, end_ = 0;
  int depth_ = 0;
};

extern Profile* active_profile;

class ProfileSpan {
 public:
  /// `describe` fills name, detail, source, flops and bytes; it is called only if a profile is active.
  template <class Describe>
  explicit ProfileSpan(const char* kind, Describe&& describe) {
    if (active_profile) [[unlikely]] {
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
