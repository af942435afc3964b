// safetensors: named tensors in one file, as published models use it.
//
//   auto weights = io::load_safetensors("model.safetensors");     // std::map<std::string, Tensor>, nothing copied
//   io::save_safetensors("copy.safetensors", weights, {{"format", "pt"}});
//
//   auto file = io::SafetensorsFile::open("model.safetensors");   // the header only; tensors one by one
//   Tensor w = file.tensor("wte.weight");
//
// Loaded tensors show the mapped file: pages are read when touched, and writing to such a tensor stays in memory.
// The header is not trusted: sizes that overflow, ranges that overlap, leave holes or reach outside the file, unknown
// types, keys that appear twice are FileErrors that name file, tensor, what was expected and what was found.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "sorus/base/files.h"
#include "sorus/tensor/tensor.h"

namespace sorus::io {

using TensorMap = std::map<std::string, Tensor>;
using Metadata = std::map<std::string, std::string>;

class SafetensorsFile {
 public:
  /// What the header says of one tensor. Types that Sorus lacks (U16, F8_E4M3, ...) are listed but cannot be loaded.
  struct Entry {
    std::string format_type;  ///< "F32"
    Shape shape;
    size_t begin = 0, end = 0;  ///< Bytes, from the start of the data.
  };

  static SafetensorsFile open(const std::filesystem::path& path);

  const std::map<std::string, Entry>& entries() const { return entries_; }
  const Metadata& metadata() const { return metadata_; }
  bool contains(const std::string& name) const { return entries_.count(name) != 0; }
  Tensor tensor(const std::string& name) const;
  TensorMap tensors() const;

 private:
  Ref<MappedFile> file_;
  size_t data_start_ = 0;
  std::map<std::string, Entry> entries_;
  Metadata metadata_;
};

TensorMap load_safetensors(const std::filesystem::path& path);

/// Written atomically: largest elements first and then by name, the data aligned to 64 bytes. Tensors need not be
/// contiguous. complex128 has no name in the format (ValueError).
void save_safetensors(const std::filesystem::path& path, const TensorMap& tensors, const Metadata& metadata = {});

}  // namespace sorus::io
