// Readers of models, graphs and plans. They record operators, which lie in libsorus.so as `make build` left it,
// without checks of memory; the readers themselves are built with them.
#include "fuzz.h"
#include "import/small_models.h"
#include "sorus/base/files.h"
#include "sorus/graph/graph.h"
#include "sorus/import/mslite.h"
#include "sorus/import/onnx.h"
#include "sorus/import/tflite.h"
#include "sorus/parallel/cluster/cluster.h"
#include "sorus/parallel/plan/plan.h"
#include "sorus/parallel/solver/budget.h"

namespace {

using namespace sorus;
namespace fs = std::filesystem;
using fuzz::Reader;

// A file with other operators than those that were meant is no bug.
void import_as(importer::ImportedModel (*import)(std::string_view, const std::string&), const fs::path& path) {
  try {
    import(read_file(path), path.string());
  } catch (const NotImplementedError&) {
  }
}

const Reader kReaders[] = {
    {"onnx", [](const fs::path& p) { import_as(importer::import_onnx, p); },
     [](const fs::path& p) { write_file(p, test::small_onnx()); }},
    {"tflite", [](const fs::path& p) { import_as(importer::import_tflite, p); },
     [](const fs::path& p) {
       write_file(p, test::convolution(true));
       write_file(p.string() + "-float", test::convolution(false));
     }},
    {"mslite", [](const fs::path& p) { import_as(importer::import_mslite, p); },
     [](const fs::path& p) { write_file(p, test::small_ms(true)); }},
    // The text of a graph is not a file's: its errors are those of what it says.
    {"graph",
     [](const fs::path& p) {
       std::string text = read_file(p);
       try {
         Graph g = Graph::parse(text);
         if (Graph::parse(g.to_string()).to_string() != g.to_string()) std::abort();
       } catch (const Error& e) {
         if (std::string_view(e.what()).starts_with("internal error")) throw;
       }
     },
     [](const fs::path& p) {
       write_file(p,
                  "graph g(%0: f32[2, 3] \"x\", %1: f32[3] quantized(scale=[0.5], zero_point=[1], axis=0)) {\n"
                  "  %2 = add(%0, %1, alpha=1) : f32[2, 3]\n"
                  "  %3 = constant 2.5 : f32[] weak\n"
                  "  %4, %5 = topk(%2, k=2, dim=-1, largest=true, sorted=true) : f32[2, 2], i64[2, 2]\n"
                  "  %6 = mul(%4, %3) : f32[2, 2]  # model.py:3\n"
                  "  return %6, %5\n}\n");
     }},
    {"plan", [](const fs::path& p) { parallel::read_plan(p.string()); },
     [](const fs::path& p) {
       parallel::Plan plan;
       plan.mesh = {{"dp", {}, 2, "", ""}};
       plan.devices = 2;
       plan.stages.resize(1);
       plan.notes = {"a note"};
       write_plan(plan, p.string());
     }},
    {"cluster", [](const fs::path& p) { parallel::read_cluster(p.string()); },
     [](const fs::path& p) { write_file(p, parallel::to_toml(parallel::preset_cluster("dgx-a100"))); }},
    {"contest", [](const fs::path& p) { parallel::read_contest(p.string()); },
     [](const fs::path& p) {
       write_file(p, R"({"problem": {"name": "x", "nodes": {"intervals": [[0, 2], [1, 3]], "costs": [[1, 2], [3]],
                         "usages": [[5, 1], [2]]}, "edges": {"nodes": [[0, 1]], "costs": [[7, 8]]},
                         "usage_limit": 6}})");
     }},
};

}  // namespace

std::span<const sorus::fuzz::Reader> sorus::fuzz::readers() { return kReaders; }
