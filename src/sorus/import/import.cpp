// Which reader a file is for is told by its first bytes.
#include <algorithm>

#include "sorus/base/files.h"
#include "sorus/base/text.h"
#include "sorus/import/flatbuffer.h"
#include "sorus/import/model.h"
#include "sorus/import/mslite.h"

namespace sorus::importer {
namespace {

// The version that wrote a file, where it says one: field 1 has always been that.
std::string mslite_version(std::string_view bytes) {
  try {
    std::string version = sanitize_utf8(FlatTable::root(bytes, "", "").text(1));
    return version.empty() ? "" : fmt::format(", written by '{}'", version.substr(0, 64));
  } catch (const FileError&) {
    return "";
  }
}

}  // namespace

ImportedModel import_model(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  std::string_view bytes = file->text();
  std::string name = path.string();
  std::string_view mark = bytes.substr(std::min<size_t>(bytes.size(), 4), 4);
  std::string kind(mark.begin(), std::ranges::find_if_not(mark, [](char c) { return c > ' ' && c < 127; }));
  if (mark == "TFL3") return import_tflite(bytes, name);
  if (mark == "MSL2") return import_mslite(bytes, name);
  SORUS_CHECK(!mark.starts_with("TFL"), FileError,
              "{}: a TensorFlow Lite file of the kind '{}'; the kind 'TFL3' can be read", name, kind);
  SORUS_CHECK(
      path.extension() != ".ms" && !mark.starts_with("MSL"), FileError,
      "{}: a MindSpore Lite file of the kind '{}'{}; the kind 'MSL2' can be read: files that were written before "
      "version 1.1 have other numbers of operators; convert the model again with a newer converter",
      name, kind, mslite_version(bytes));
  // ONNX has no mark: its first field is the version of the format, a small number.
  if (bytes.size() >= 2 && bytes[0] == 8 && bytes[1] > 0 && bytes[1] < 64) return import_onnx(bytes, name);
  fail<FileError>("{}: this is none of the formats that can be read (.tflite, .onnx, .ms)", name);
}

}  // namespace sorus::importer
