// The folder that `sorus codegen` writes: header, source, build files, report, example.
#pragma once

#include <string>
#include <vector>

#include "sorus/device/arena.h"
#include "sorus/device/targets.h"

namespace sorus::device {

struct ProjectFile {
  std::string path, text;
};

/// What of CMSIS-NN the program is built with; nothing if it does not call it.
struct LibraryFiles {
  std::string path;
  std::vector<std::string> sources;
};

struct GenerateOptions {
  std::string name;           ///< prefix of every exported symbol; a C identifier in lower case
  bool size = false;          ///< --optimize size
  int64_t ram_limit = 0;      ///< bytes of the arena at most; 0: no limit
  std::string cmsis_nn;       ///< folder of CMSIS-NN, which is called where it can be; empty: own kernels alone
  bool pack_weights = false;  ///< weights of few bits lie packed in flash and are unpacked into the arena
};

struct Project {
  std::vector<ProjectFile> files;
  ArenaPlan arena;
  int64_t constant_bytes = 0;
};

/// Simplifies the model, chooses kernels, plans the arena and prints everything. ValueError if the name is no C
/// identifier, or if no plan keeps the RAM limit (the message says what is possible).
Project generate(Model model, const Target& target, const GenerateOptions& options);

/// report.json of a generated model.
std::string print_report(const Model& model, const std::vector<Prepared>& prepared, const ArenaPlan& plan,
                         const Target& target, const GenerateOptions& options, int64_t constant_bytes,
                         const LibraryFiles& library);

}  // namespace sorus::device
