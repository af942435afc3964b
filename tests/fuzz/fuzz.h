// Coverage-guided fuzzing of every reader of files, with libFuzzer: `make fuzz` builds two programs, of data and of
// models and plans, and runs one of them for each reader (READER names it). A reader answers a file with a value or
// with a FileError; anything else (another exception, a crash, memory that grows without bound) is a bug. tests/cpp
// has mutational fuzzing of the same readers, in every test run.
#pragma once

#include <filesystem>
#include <span>

namespace sorus::fuzz {

struct Reader {
  const char* name;
  void (*read)(const std::filesystem::path&);
  void (*write_seed)(const std::filesystem::path&);  ///< a small valid file
};

/// Those of the program that this is linked into.
std::span<const Reader> readers();

}  // namespace sorus::fuzz
