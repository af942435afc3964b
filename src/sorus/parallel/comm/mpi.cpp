#include "sorus/parallel/comm/mpi.h"

#include <dlfcn.h>

#include <filesystem>

namespace sorus::comm {
namespace {

using Join = std::shared_ptr<Communicator> (*)(const Options&);

std::filesystem::path own_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&join_mpi), &info) == 0 || !info.dli_fname) return {};
  std::error_code ignored;
  return std::filesystem::canonical(info.dli_fname, ignored).parent_path();
}

Join find(std::string* problem) {
  static std::string why;
  static Join found = []() -> Join {
    std::filesystem::path path = own_folder() / "libsorus_mpi.so";
    if (!std::filesystem::exists(path)) {
      why = fmt::format(
          "{} is not there: Sorus was built without MPI (on Debian: apt-get install libopenmpi-dev "
          "openmpi-bin, then make build)",
          path.string());
      return nullptr;
    }
    // Global: MPI loads parts of itself that look for its symbols.
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
      const char* error = dlerror();
      why = fmt::format("{} cannot be loaded: {} (on Debian: apt-get install openmpi-bin)", path.string(),
                        error ? error : "?");
      return nullptr;
    }
    return reinterpret_cast<Join>(dlsym(library, "sorus_join_mpi"));
  }();
  if (problem) *problem = why;
  return found;
}

}  // namespace

std::string mpi_problem() {
  std::string problem;
  find(&problem);
  return problem;
}

std::shared_ptr<Communicator> join_mpi(Options options) {
  std::string problem;
  Join join = find(&problem);
  SORUS_CHECK(join != nullptr, CommError, "there is no MPI here: {}", problem);
  return join(options);
}

}  // namespace sorus::comm
