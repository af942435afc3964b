// sorus_generate_kernels FOLDER: prints the eager kernels of all `each` operators and their gradients as C, into a
// fixed number of files. Each file is compiled once per instruction set, with SORUS_VARIANT naming it.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <map>

#include "sorus/emit/c_scalar.h"
#include "sorus/emit/eager_kernels.h"
#include "sorus/emit/preamble.h"
#include "sorus/graph/op.h"

namespace sorus {
namespace {

constexpr int kShards = 8;

// Every body that eager execution can meet without a second derivative, once, however many operators share it.
std::map<std::string, const ScalarFunction*> bodies() {
  std::map<std::string, const ScalarFunction*> found;
  auto add = [&](const OpDef& op) { found.emplace(op.each->canonical(), op.each.get()); };
  for (const OpDef* op : all_ops()) {
    if (!op->each) continue;
    add(*op);
    if (!op->differentiable || op->gradient || op->each->results.size() != 1) continue;
    for (int i = 0; i < op->signature.tensors; ++i)
      if (const OpDef* g = find_op_or_null(fmt::format("{}:grad{}", op->name(), i))) add(*g);
  }
  return found;
}

std::string kernel(const std::string& name, const ScalarFunction& f, DType compute) {
  std::string type = c_type(compute);
  std::vector<std::string> args, params;
  std::string text = fmt::format(
      "static void {}(int64_t n, void* const* out, const void* const* in, const void* params, int64_t position) {{\n",
      name);
  for (size_t i = 0; i < f.args.size(); ++i) {
    text += fmt::format("  const {0}* in{1} = (const {0}*)in[{1}];\n", type, i);
    args.push_back(fmt::format("in{}[i]", i));
  }
  for (size_t i = 0; i < f.params.size(); ++i) {
    text += fmt::format("  const {0} p{1} = ((const {0}*)params)[{1}];\n", type, i);
    params.push_back(fmt::format("p{}", i));
  }
  for (size_t r = 0; r < f.results.size(); ++r)
    text += fmt::format("  {0}* out{1} = ({0}*)out[{1}];\n", f.results[r]->is_boolean ? "uint8_t" : type, r);
  // Operands are the same memory or apart, never shifted: no element depends on another.
  text += "#pragma GCC ivdep\n  for (int64_t i = 0; i < n; ++i) {\n";
  CBody body = print_c(f, compute, args, params, "position + i");
  for (const std::string& line : body.lines) text += "    " + line + "\n";
  for (size_t r = 0; r < f.results.size(); ++r) text += fmt::format("    out{}[i] = {};\n", r, body.results[r]);
  return text + "  }\n  (void)in, (void)params, (void)position;\n}\n\n";
}

int generate(const std::string& folder) {
  std::vector<std::string> files(kShards,
                                 "/* Made by sorus_generate_kernels; do not edit. */\n" + std::string(c_preamble()) +
                                     "\n#define SORUS_PASTE(a, b) a##b\n#define SORUS_NAME(a, b) SORUS_PASTE(a, b)\n"
                                     "struct sorus_entry { uint64_t hash; int compute; void (*kernel)(int64_t, "
                                     "void* const*, const void* const*, const void*, int64_t); };\n\n");
  std::vector<std::string> tables(kShards);
  int count = 0;
  for (auto& [canonical, f] : bodies()) {
    for (DType t : {DType::f32, DType::f64, DType::i64}) {
      if (!printable(*f, t)) continue;
      size_t shard = static_cast<size_t>(count) % kShards;
      std::string name = fmt::format("k{}", count++);
      files[shard] += fmt::format("/* {} */\n", canonical) + kernel(name, *f, t);
      tables[shard] += fmt::format("  {{UINT64_C({}), {}, {}}},\n", f->hash(), static_cast<int>(t), name);
    }
  }
  for (int s = 0; s < kShards; ++s) {
    std::ofstream out(fmt::format("{}/kernels_{}.c", folder, s));
    out << files[static_cast<size_t>(s)]
        << fmt::format(
               "const struct sorus_entry SORUS_NAME(sorus_kernels_{}_, SORUS_VARIANT)[] = {{\n{}  {{0, 0, 0}}}};\n",
               s, tables[static_cast<size_t>(s)]);
    if (!out.flush()) {
      fmt::print(stderr, "sorus_generate_kernels: cannot write into {}\n", folder);
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace sorus

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: sorus_generate_kernels FOLDER\n");
    return 2;
  }
  return sorus::generate(argv[1]);
}
