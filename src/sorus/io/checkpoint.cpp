#include "sorus/io/checkpoint.h"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "sorus/base/text.h"
#include "sorus/tensor/copy.h"

namespace sorus::io {
namespace fs = std::filesystem;
namespace {

constexpr const char* kStateKey = "sorus.state";
constexpr std::string_view kPrefix = "step-", kSuffix = ".safetensors", kTemporary = ".tmp-";

/// The number that all of `text` is, or -1.
int64_t number(std::string_view text) {
  int64_t value = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 0 ? value : -1;
}

/// The step of "step-<n>.safetensors", or -1.
int64_t step_of(std::string_view name) {
  if (name.size() <= kPrefix.size() + kSuffix.size() || !name.starts_with(kPrefix) || !name.ends_with(kSuffix))
    return -1;
  return number(name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size()));
}

/// Whether `name` is the temporary of a checkpoint (see AtomicWriter) whose process is gone.
bool is_left_behind(std::string_view name) {
  size_t at = name.rfind(kTemporary);
  if (at == name.npos || step_of(name.substr(0, at)) < 0) return false;
  std::string_view rest = name.substr(at + kTemporary.size());
  int64_t process = number(rest.substr(0, rest.find('-')));
  return process > 0 && ::kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH;
}

}  // namespace

void Checkpoint::add(const std::string& part, const TensorMap& named) {
  for (auto& [name, t] : named)
    SORUS_CHECK(tensors.emplace(fmt::format("{}.{}", part, name), t).second, ValueError,
                "checkpoint: {}.{} is there already", part, name);
}

TensorMap Checkpoint::part(const std::string& name) const {
  TensorMap found;
  std::string prefix = name + ".";
  for (auto& [full, t] : tensors)
    if (full.starts_with(prefix)) found.emplace(full.substr(prefix.size()), t);
  SORUS_CHECK(!found.empty(), FileError, "checkpoint: expected tensors of '{}', found none among {}", name,
              tensors.size());
  return found;
}

void save_checkpoint(const fs::path& path, const Checkpoint& checkpoint) {
  std::string state;
  try {
    state = checkpoint.state.dump();
  } catch (const Json::exception&) {
    fail<ValueError>("save_checkpoint: the state for {} holds text that is not valid UTF-8", path.string());
  }
  // "format" is what the transformers library wants to find.
  save_safetensors(path, checkpoint.tensors, {{"format", "pt"}, {kStateKey, state}});
}

Checkpoint load_checkpoint(const fs::path& path) {
  auto file = SafetensorsFile::open(path);
  Checkpoint checkpoint{file.tensors(), Json::object()};
  auto found = file.metadata().find(kStateKey);
  if (found != file.metadata().end()) {
    std::string where = fmt::format("{}: {}", path.string(), kStateKey);
    checkpoint.state = parse_json(found->second, where);
    SORUS_CHECK(checkpoint.state.is_object(), FileError, "{}: expected an object, found {}", where,
                describe(checkpoint.state));
  }
  return checkpoint;
}

CheckpointFolder::CheckpointFolder(fs::path folder, int64_t keep) : folder_(std::move(folder)), keep_(keep) {
  SORUS_CHECK(keep >= 0, ValueError, "checkpoints to keep: {}, expected 1 or more, or 0 for all", keep);
}

fs::path CheckpointFolder::save(int64_t step, const Checkpoint& checkpoint) const {
  SORUS_CHECK(step >= 0, ValueError, "checkpoint of step {}", step);
  std::error_code error;
  fs::create_directories(folder_, error);
  SORUS_CHECK(!error, FileError, "{}: cannot make the folder: {}", folder_.string(), error.message());
  fs::path path = folder_ / fmt::format("{}{:09}{}", kPrefix, step, kSuffix);
  save_checkpoint(path, checkpoint);

  // The new one is safe on disk; only now may others go. Never the one just written, even where a run went back to an
  // earlier step and older files have higher numbers.
  auto all = list();
  if (keep_ > 0 && all.size() > static_cast<size_t>(keep_)) {
    size_t surplus = all.size() - static_cast<size_t>(keep_);
    for (auto& old : all) {
      if (surplus == 0) break;
      if (old == path) continue;
      fs::remove(old, error);
      --surplus;
    }
  }
  for (auto& entry : fs::directory_iterator(folder_, error)) {
    std::error_code ignored;
    if (is_left_behind(entry.path().filename().string())) fs::remove(entry.path(), ignored);
  }
  return path;
}

std::vector<fs::path> CheckpointFolder::list() const {
  std::vector<std::pair<int64_t, fs::path>> found;
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    int64_t step = step_of(it->path().filename().string());
    if (step >= 0) found.emplace_back(step, it->path());
  }
  std::ranges::sort(found);
  std::vector<fs::path> paths;
  for (auto& [step, path] : found) paths.push_back(std::move(path));
  return paths;
}

std::optional<fs::path> CheckpointFolder::latest(std::vector<std::string>* problems) const {
  auto all = list();
  for (auto path = all.rbegin(); path != all.rend(); ++path) {
    try {
      SafetensorsFile::open(*path);  // checks that every byte that the header promises is there
      return *path;
    } catch (const FileError& e) {
      if (problems) problems->push_back(e.what());
    }
  }
  return std::nullopt;
}

std::string describe_mismatch(const TensorMap& expected, const TensorMap& found) {
  std::vector<std::string> missing, unexpected, shapes;
  for (auto& [name, tensor] : expected) {
    auto other = found.find(name);
    if (other == found.end()) {
      missing.push_back(quote(name));
    } else if (tensor.sizes() != other->second.sizes()) {
      shapes.push_back(fmt::format("{}: expected {}, found {}", quote(name), to_string(tensor.sizes()),
                                   to_string(other->second.sizes())));
    }
  }
  for (auto& [name, tensor] : found)
    if (!expected.contains(name)) unexpected.push_back(quote(name));

  std::string text;
  auto add = [&](std::string_view title, const std::vector<std::string>& items) {
    if (!items.empty()) text += fmt::format("\n  {} {}: {}", items.size(), title, abbreviated_list(items));
  };
  add("missing", missing);
  add("unexpected", unexpected);
  add("of another shape", shapes);
  return text;
}

void copy_tensors(const TensorMap& from, const TensorMap& to, const std::string& where) {
  std::string mismatch = describe_mismatch(to, from);
  SORUS_CHECK(mismatch.empty(), ValueError, "{}: the tensors are those of another model ({} expected, {} found):{}",
              where, to.size(), from.size(), mismatch);
  for (auto& [name, target] : to) {
    copy_elements(target, from.at(name));
    target.storage()->bump_version();
  }
}

}  // namespace sorus::io
