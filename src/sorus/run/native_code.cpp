#include "sorus/run/native_code.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "sorus/base/error.h"
#include "sorus/base/files.h"
#include "sorus/kernels/measure.h"

extern char** environ;

namespace sorus {
namespace {

namespace fs = std::filesystem;

// -march=native is for this processor: its features are part of the key. NaN and infinities keep their meaning.
const std::vector<std::string> kFlags{"-std=gnu11", "-O3",           "-march=native",   "-mprefer-vector-width=512",
                                      "-fPIC",      "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math",
                                      "-w"};

std::vector<std::string> flags_for(Rounding rounding) {
  std::vector<std::string> flags = kFlags;
  flags.push_back(rounding == Rounding::joint ? "-ffp-contract=fast" : "-ffp-contract=off");
  return flags;
}

std::string compiler() {
  const char* cc = std::getenv("SORUS_CC");
  return cc && *cc ? cc : "cc";
}

uint64_t fnv(std::string_view text, uint64_t h = 1469598103934665603u) {
  for (unsigned char c : text) h = (h ^ c) * 1099511628211u;
  return h;
}

pid_t start(std::vector<std::string> arguments, const fs::path& log) {
  std::vector<char*> argv;
  for (std::string& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 2, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  if (posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ) != 0) pid = -1;
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

bool succeeded(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string first_lines(const fs::path& log) {
  std::error_code ignored;
  if (!fs::exists(log, ignored)) return "";
  return read_file(log).substr(0, 600);
}

}  // namespace

NativeCode::~NativeCode() { dlclose(handle_); }
void* NativeCode::symbol(const std::string& name) const { return dlsym(handle_, name.c_str()); }

std::shared_ptr<NativeCode> NativeCode::build(const std::vector<std::string>& sources, std::string* why,
                                              Rounding rounding) {
  const std::vector<std::string> flags = flags_for(rounding);
  uint64_t key = fnv(kernels::cpu_name() + compiler());
  for (const std::string& f : flags) key = fnv(f, key);
  for (const std::string& s : sources) key = fnv(s, key);
  fs::path folder = cache_folder(), object = folder / fmt::format("{:016x}.so", key);
  auto load = [&](bool cached) -> std::shared_ptr<NativeCode> {
    void* handle = dlopen(object.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
      *why = dlerror();
      return nullptr;
    }
    return std::shared_ptr<NativeCode>(new NativeCode(handle, cached));
  };
  std::error_code error;
  if (fs::exists(object, error))
    if (auto code = load(true)) return code;  // a damaged file is built again
  fs::create_directories(folder, error);
  fs::path work = folder / fmt::format("{:016x}.{}", key, getpid());
  fs::create_directories(work, error);
  if (error) {
    *why = fmt::format("{}: {}", work.string(), error.message());
    return nullptr;
  }
  struct Cleanup {
    fs::path path;
    ~Cleanup() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
  } cleanup{work};
  std::vector<std::pair<pid_t, fs::path>> running;
  std::vector<std::string> link{compiler(), "-shared", "-o", (work / "out.so").string()};
  bool good = true;
  for (size_t i = 0; i < sources.size(); ++i) {
    fs::path c = work / fmt::format("{}.c", i), o = work / fmt::format("{}.o", i),
             log = work / fmt::format("{}.log", i);
    write_file(c, sources[i]);
    std::vector<std::string> command{compiler()};
    command.insert(command.end(), flags.begin(), flags.end());
    command.insert(command.end(), {"-c", c.string(), "-o", o.string()});
    link.push_back(o.string());
    running.emplace_back(start(command, log), log);
  }
  for (auto& [pid, log] : running) {
    bool ok = pid > 0 && succeeded(pid);
    if (!ok && good) *why = pid > 0 ? first_lines(log) : fmt::format("cannot start '{}'", compiler());
    good &= ok;
  }
  if (!good) return nullptr;
  link.push_back("-lm");
  fs::path log = work / "link.log";
  pid_t pid = start(link, log);
  if (pid <= 0 || !succeeded(pid)) {
    *why = first_lines(log);
    return nullptr;
  }
  fs::rename(work / "out.so", object, error);  // whole or not at all, also when several processes build the same
  if (error) {
    *why = fmt::format("{}: {}", object.string(), error.message());
    return nullptr;
  }
  return load(false);
}

}  // namespace sorus
