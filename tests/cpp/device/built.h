// Generated projects, compiled by the system's compiler and loaded.
#pragma once

#include <dlfcn.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "sorus/device/project.h"

namespace sorus::device::testing {

using RunModel = int (*)(void*, const void* const*, void* const*);
using RunIn = int (*)(void*, size_t, const void* const*, void* const*);

// Folders of generated projects as one shared object.
class Built {
 public:
  explicit Built(const std::vector<const Project*>& projects, const std::string& flags = "-O1 -Werror") {
    char pattern[] = "/tmp/sorus_device_XXXXXX";
    folder_ = ::mkdtemp(pattern);
    std::string sources;
    for (const Project* p : projects)
      for (const ProjectFile& f : p->files) {
        std::filesystem::path path = folder_ / f.path;
        std::filesystem::create_directories(path.parent_path());
        std::ofstream(path) << f.text;
        if (path.extension() == ".c" && path.parent_path().filename() == "src") sources += " " + path.string();
      }
    std::string command = "cc -shared -fPIC -std=c99 -Wall -Wextra -pedantic " + flags + " -I" +
                          (folder_ / "include").string() + sources + " -lm -o " + (folder_ / "m.so").string() +
                          " 2>&1";
    status_ = std::system(command.c_str());
    if (status_ == 0) library_ = ::dlopen((folder_ / "m.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  }
  Built(const Built&) = delete;
  Built& operator=(const Built&) = delete;
  ~Built() {
    if (library_) ::dlclose(library_);
    std::filesystem::remove_all(folder_);
  }
  bool good() const { return library_ != nullptr; }
  template <class F>
  F function(const char* name) const {
    return reinterpret_cast<F>(::dlsym(library_, name));
  }

 private:
  std::filesystem::path folder_;
  int status_ = -1;
  void* library_ = nullptr;
};

}  // namespace sorus::device::testing
