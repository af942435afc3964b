#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "fuzz.h"
#include "sorus/base/error.h"

namespace {

using namespace sorus;
namespace fs = std::filesystem;
using fuzz::Reader;

const Reader& chosen() {
  static const Reader& reader = []() -> const Reader& {
    const char* wanted = std::getenv("READER");
    for (const Reader& r : sorus::fuzz::readers())
      if (wanted && std::string_view(wanted) == r.name) return r;
    std::abort();  // scripts/fuzz.sh names one
  }();
  return reader;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  if (const char* folder = std::getenv("WRITE_SEED")) {
    chosen().write_seed(fs::path(folder) / "seed");
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int file = memfd_create("input", 0);
  static const fs::path path = fmt::format("/proc/self/fd/{}", file);
  if (ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  try {
    chosen().read(path);
  } catch (const FileError&) {
  }
  return 0;
}
