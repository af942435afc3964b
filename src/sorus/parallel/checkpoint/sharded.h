// Checkpoints that do not depend on the plan: tensors that lie in pieces at many ranks, saved by all of them at once
// and read back under any other number of ranks or placement.
//
//   checkpoint::save(world, "out/step-100", pieces, state);          // called by all ranks; complete or absent
//
//   auto saved = checkpoint::Sharded::open("out/step-100");
//   saved.read("fc.weight", {rows * rank, 0}, mine);                  // any box of the whole tensor, into `mine`
//
// A checkpoint is a folder: one safetensors file for each rank that had something to write, and index.json, which
// says for every tensor its type, its shape, and which box of it lies where. What several ranks hold (replicas) is
// written by one of them, so that all write about the same amount. Everything goes into a folder beside the path,
// which takes its place in one step when every rank has written and synchronised its file: a kill at any moment
// leaves the older checkpoint, and a rank that cannot write fails the call at all ranks.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sorus/io/json.h"
#include "sorus/io/safetensors.h"
#include "sorus/parallel/comm/communicator.h"

namespace sorus::checkpoint {

/// A box of a tensor, as this rank holds it: `local` begins at `start` of the tensor of shape `whole`.
struct Piece {
  std::string name;
  Tensor local;
  Shape whole, start;
};

/// `state` of rank 0 is kept beside the tensors. ValueError, at all ranks, if the pieces of a tensor disagree in type
/// or shape, do not fill it or overlap in part; FileError, at all ranks, if any could not write.
void save(comm::Communicator& group, const std::filesystem::path& path, const std::vector<Piece>& pieces,
          const io::Json& state);

class Sharded {
 public:
  /// Reads the index, which is not trusted; files are opened when something of them is read.
  static Sharded open(const std::filesystem::path& path);

  struct Box {
    std::string file, key;
    Shape start, shape;
  };
  struct Entry {
    DType dtype;
    Shape shape;
    std::vector<Box> boxes;
  };
  const std::map<std::string, Entry>& entries() const { return entries_; }
  const io::Json& state() const { return state_; }
  /// Fills `into` with the box of its shape at `start`, converting the type. KeyError for an unknown name, ValueError
  /// if the box reaches outside the tensor.
  void read(const std::string& name, IntSpan start, const Tensor& into) const;

 private:
  std::filesystem::path path_;
  std::map<std::string, Entry> entries_;
  io::Json state_;
  std::shared_ptr<std::map<std::string, io::SafetensorsFile>> files_;
};

}  // namespace sorus::checkpoint
