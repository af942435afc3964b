// Checkpoints: the state of a training run in one file, of which a kill at any moment never loses an older one.
//
//   io::CheckpointFolder folder("out/run/checkpoints", /*keep=*/3);
//   io::Checkpoint c{.state = {{"step", step}, {"loader", loader.state()}}};
//   c.add("model", model.state_dict());
//   folder.save(step, c);                               // step-000001200.safetensors, complete or absent
//
//   if (auto path = folder.latest()) {
//     io::Checkpoint c = io::load_checkpoint(*path);
//     model.load_state_dict(c.part("model"));
//   }
//
// A checkpoint is a safetensors file whose metadata holds the rest of the state as JSON: other programs read the
// weights, and nothing in it is ever executed. There is no file that points at the latest one, which could be torn
// from it: the latest is the complete file with the highest step.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "sorus/io/json.h"
#include "sorus/io/safetensors.h"

namespace sorus::io {

struct Checkpoint {
  TensorMap tensors = {};
  Json state = Json::object();

  /// Tensors under "<part>.<name>"; ValueError if there is one already.
  void add(const std::string& part, const TensorMap& named);
  /// The tensors that were added as this part, under their own names; FileError if there are none.
  TensorMap part(const std::string& name) const;
};

/// Written atomically.
void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);
/// Tensors are mapped. A safetensors file of another program has an empty state.
Checkpoint load_checkpoint(const std::filesystem::path& path);

class CheckpointFolder {
 public:
  /// Makes the folder when something is saved. `keep` is at least 1; 0 keeps all.
  explicit CheckpointFolder(std::filesystem::path folder, int64_t keep = 3);

  /// Writes the checkpoint, then removes the oldest ones beyond `keep` and what killed writers left behind.
  std::filesystem::path save(int64_t step, const Checkpoint& checkpoint) const;
  /// Complete or not, by ascending step.
  std::vector<std::filesystem::path> list() const;
  /// The one with the highest step that is whole. What is wrong with newer ones is added to `problems`.
  std::optional<std::filesystem::path> latest(std::vector<std::string>* problems = nullptr) const;

 private:
  std::filesystem::path folder_;
  int64_t keep_;
};

/// Whether `found` has the names and shapes of `expected`: "" or what differs, in a few lines. Types may differ.
std::string describe_mismatch(const TensorMap& expected, const TensorMap& found);

/// Copies the elements of `from` into the tensors of `to`, converting types. ValueError, with nothing copied, if
/// names or shapes differ; `where` opens the message.
void copy_tensors(const TensorMap& from, const TensorMap& to, const std::string& where);

}  // namespace sorus::io
