// A user's copy of CMSIS-NN, Arm's library of kernels for Cortex-M (--cmsis-nn PATH): which functions it has, which
// of its files a program needs, and how much room its functions want.
//
// Nothing of the library is in Sorus. Its files are read when C is generated; what a function calls is found in their
// text, so that releases may move functions between files. The room is asked of the library's own functions, which
// the system compiler builds for this machine: releases differ in it, and a formula of ours would be wrong one day.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sorus/graph/device_form.h"
#include "sorus/run/native_code.h"

namespace sorus::device {

class CmsisNn {
 public:
  /// `core`: how names of functions end that say the room on such a processor: "", "_dsp", "_mve". ValueError where
  /// the folder is no CMSIS-NN, or one that cannot be asked (before release 4.1); RuntimeError without a compiler.
  CmsisNn(const std::string& path, const std::string& core);

  const std::string& path() const { return path_; }
  bool has(const std::string& function) const { return file_of_.count(function) != 0; }
  /// The files with these functions and all that they call, below path().
  std::vector<std::string> sources(const std::set<std::string>& functions) const;

  int64_t conv_bytes(const Window& w) const { return ask("sorus_conv", w); }
  int64_t depthwise_bytes(const Window& w) const { return ask("sorus_depthwise", w); }
  int64_t mean_bytes(const Window& w) const { return ask("sorus_mean", w); }

 private:
  int64_t ask(const char* function, const Window& w) const;

  std::string path_;
  std::map<std::string, std::string> file_of_;          ///< of a function, below path_
  std::map<std::string, std::set<std::string>> words_;  ///< names in a file that begin like functions of the library
  std::shared_ptr<NativeCode> rooms_;
};

}  // namespace sorus::device
