// Which reader a file is for is told by its first bytes.
#include "sorus/base/files.h"
#include "sorus/import/model.h"
#include "sorus/import/mslite.h"

namespace sorus::importer {

ImportedModel import_model(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  std::string_view bytes = file->text();
  std::string name = path.string();
  if (bytes.size() >= 8 && bytes.substr(4, 4) == "TFL3") return import_tflite(bytes, name);
  if (bytes.size() >= 8 && bytes.substr(4, 4) == "MSL2") return import_mslite(bytes, name);
  SORUS_CHECK(path.extension() != ".ms", FileError,
              "{}: expected the letters MSL2 at byte 4: files that MindSpore Lite wrote before version 1.1 have "
              "other numbers "
              "of operators and cannot be read; convert the model again with a newer converter",
              name);
  // ONNX has no mark: its first field is the version of the format, a small number.
  if (bytes.size() >= 2 && bytes[0] == 8 && bytes[1] > 0 && bytes[1] < 64) return import_onnx(bytes, name);
  fail<FileError>("{}: this is none of the formats that can be read (.tflite, .onnx, .ms)", name);
}

}  // namespace sorus::importer
