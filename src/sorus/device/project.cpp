#include "sorus/device/project.h"

#include <algorithm>
#include <cctype>
#include <set>

#include <fmt/format.h>

#include "sorus/base/error.h"
#include "sorus/device/kernel_parts.h"
#include "sorus/device/kernels_cmsis.h"
#include "sorus/device/passes.h"

namespace sorus::device {
namespace {

std::string upper(std::string s) {
  for (char& c : s) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return s;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

bool calls_library(const std::vector<Prepared>& prepared) {
  return std::any_of(prepared.begin(), prepared.end(), [](const Prepared& p) { return !p.calls.empty(); });
}

class Printer {
 public:
  Printer(const Model& m, const std::vector<Prepared>& prepared, const ArenaPlan& plan, const Target& target,
          const GenerateOptions& o)
      : m_(m), prepared_(prepared), plan_(plan), target_(target), name_(o.name), upper_(upper(o.name)) {}

  std::string header() const {
    std::string t = fmt::format(
        "/* {0}: written by `sorus codegen` for {1}. Everything lies in the arena, which the caller owns. */\n"
        "#ifndef {2}_H\n#define {2}_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n#ifdef __cplusplus\nextern "
        "\"C\" {{\n#endif\n\n"
        "#define {2}_ARENA_BYTES {3} /* aligned to 16; inputs and outputs to 4 */\n"
        "#define {2}_NUM_INPUTS {4}\n#define {2}_NUM_OUTPUTS {5}\n\n",
        name_, target_.name, upper_, plan_.bytes, m_.inputs.size(), m_.outputs.size());
    if (plan_.state_bytes)
      t += fmt::format(
          "/* What runs leave for the next one lies in the arena's first bytes; the rest may be used between them. "
          "*/\n"
          "#define {}_STATE_BYTES {}\n\n",
          upper_, plan_.state_bytes);
    auto describe = [&](const char* kind, const std::vector<int>& list) {
      for (size_t i = 0; i < list.size(); ++i) {
        const DeviceTensor& d = m_.tensors[static_cast<size_t>(list[i])];
        std::string p = fmt::format("{}_{}{}", upper_, kind, i);
        t += fmt::format("/* {} */\n#define {}_BYTES {}\n", d.name, p, d.bytes());
        t += fmt::format("#define {}_TYPE {}\n#define {}_DIMS {{{}}}\n", p, c_name(d.type), p,
                         fmt::join(d.dims, ", "));
        if (d.scale != 0)
          t += fmt::format("#define {0}_SCALE {1:.9g}\n#define {0}_ZERO_POINT ({2})\n", p, d.scale, d.zero_point);
        int b = plan_.of_tensor[static_cast<size_t>(list[i])];
        t += fmt::format("#define {}_OFFSET {}\n", p, plan_.buffers[static_cast<size_t>(b)].offset);
      }
      t += "\n";
    };
    describe("INPUT", m_.inputs);
    describe("OUTPUT", m_.outputs);
    t += fmt::format(
        "enum {{\n  {0}_OK = 0,\n  {0}_NULL_POINTER = 1, /* the arena, a list or one of its pointers */\n"
        "  {0}_NOT_ALIGNED = 2,  /* the arena to 16, an input or output to 4 */\n  {0}_ARENA_TOO_SMALL = "
        "3{3}\n}};\n\n"
        "/* One inference. An input or output may lie in the arena at its OFFSET, where the run destroys inputs, or "
        "in other\n"
        "   memory. Returns {0}_OK, or what is wrong before anything was written. May run in several threads at "
        "once, each\n"
        "   with an arena of its own. */\n"
        "int {1}_run(void *arena, const void *const inputs[], void *const outputs[]);\n"
        "/* The same for an arena of `bytes` bytes, which is checked. */\n"
        "int {1}_run_in(void *arena, size_t bytes, const void *const inputs[], void *const outputs[]);\n"
        "{2}\n#ifdef __cplusplus\n}}\n#endif\n#endif\n",
        upper_, name_,
        plan_.state_bytes
            ? fmt::format("/* The state as it is before the first run. */\nvoid {}_reset(void *arena);\n", name_)
            : "",
        target_.level.empty()
            ? ""
            : fmt::format(",\n  {}_NOT_SUPPORTED = 4 /* the processor is not {} */", upper_, target_.description));
    return t;
  }

  std::string source() {
    std::string layers, calls;
    bool level = false;
    if (!target_.level.empty()) need(target_.level);
    for (size_t s = 0; s < m_.steps.size(); ++s) {
      const Step& step = m_.steps[s];
      const Prepared& p = prepared_[s];
      for (const std::string& h : p.helpers) need(h);
      std::string function = function_of(p, s, layers);
      std::string args;
      for (int t : step.inputs) {
        bool read = std::find(step.changes.begin(), step.changes.end(), t) == step.changes.end();
        args += (args.empty() ? "" : ", ") + pointer(t, read);
      }
      args += ", " + pointer(step.output, false);
      int room = plan_.of_scratch[s];
      int64_t scratch = room < 0 ? 0 : plan_.buffers[static_cast<size_t>(room)].offset;
      if (p.scratch) args += fmt::format(", a + {}", scratch);
      calls += fmt::format("  /* {} */\n", step.name);
      for (const Table& t : p.tables) {
        std::string name = table(t, s);
        if (t.bits < 8) {
          std::string place = fmt::format("(int8_t *)(a + {})", scratch + t.place);
          calls += fmt::format("  {}_unpack{}({}, {}, {});\n", name_, t.bits, place, name, t.unpacked);
          name = place;
        }
        args += ", " + name;
      }
      if (p.level) args += ", level", level = true;
      calls += fmt::format("  {}({});\n", function, args);
    }
    std::string text = fmt::format(
        "/* Written by `sorus codegen` for {}; see {}.h. */\n#include <stdint.h>\n\n{}#include \"{}.h\"\n#include "
        "\"{}_data.h\"\n",
        target_.name, name_, calls_library(prepared_) ? "#include <arm_nnfunctions.h>\n\n" : "", name_, name_);
    text += helpers_ + layers + checks() +
            fmt::format("\nint {}_run(void *arena, const void *const inputs[], void *const outputs[])\n{{\n", name_) +
            (calls.find("a + ") == std::string::npos ? "" : "  uint8_t *const a = arena;\n") +
            (level ? "  const int level = $P_level();\n" : "") +
            fmt::format("  const int error = {}_check(arena, inputs, outputs);\n  if (error) return error;\n", name_);
    text += calls + fmt::format("  return {}_OK;\n}}\n\n", upper_);
    text += fmt::format(
        "int {0}_run_in(void *arena, size_t bytes, const void *const inputs[], void *const outputs[])\n{{\n"
        "  if (bytes < {1}_ARENA_BYTES) return {1}_ARENA_TOO_SMALL;\n  return {0}_run(arena, inputs, outputs);\n}}\n",
        name_, upper_);
    if (plan_.state_bytes) text += reset();
    replace_all(text, "$P", name_);
    return text;
  }

  /// After source(): the constants that it named.
  std::string data() const {
    std::string t = fmt::format(
        "/* Weights and constants of {}, in the order in which kernels read them. */\n#ifndef {}_DATA_H\n#define "
        "{}_DATA_H\n",
        name_, upper_, upper_);
    for (size_t i = 0; i < tables_.size(); ++i) {
      const Table& table = tables_[i];
      size_t n = std::max(table.integers.size(), table.reals.size());
      // Kernels read weights four at a time.
      t += fmt::format("\nstatic const {} {}[{}]{} = {{", table.type, table_names_[i], n,
                       table.type == "int8_t" ? " __attribute__((aligned(4)))" : "");
      std::string line;
      for (size_t k = 0; k < n; ++k) {
        std::string v = table.reals.empty() ? literal(table.integers[k]) : fmt::format("{:.9g}f", table.reals[k]);
        if (!table.reals.empty() && v.find_first_of(".en") == std::string::npos) v.insert(v.size() - 1, ".0");
        if (table.type == "double") v = fmt::format("{:.17g}", static_cast<double>(table.reals[k]));
        if (line.size() + v.size() > 118 || line.empty()) t += line, line = "\n ";
        line += " " + v + (k + 1 < n ? "," : "");
      }
      t += line + "\n};\n";
    }
    return t + "\n#endif\n";
  }

  int64_t constant_bytes() const {
    int64_t n = 0;
    for (const Table& t : tables_) n += t.bytes();
    return n;
  }

 private:
  static std::string literal(int64_t v) { return v == -2147483648LL ? "-2147483647 - 1" : std::to_string(v); }

  std::string checks() const {
    std::string t = fmt::format(
        "\nstatic int {}_check(const void *arena, const void *const inputs[], void *const outputs[])\n{{\n"
        "  int i;\n{}  if (!arena || !inputs || !outputs) return {}_NULL_POINTER;\n"
        "  if ((uintptr_t)arena & 15) return {}_NOT_ALIGNED;\n",
        name_, target_.level.empty() ? "" : fmt::format("  if ($P_level() < 0) return {}_NOT_SUPPORTED;\n", upper_),
        upper_, upper_);
    for (const char* list : {"inputs", "outputs"})
      t += fmt::format(
          "  for (i = 0; i < {0}_NUM_{2}; i++) {{\n    if (!{1}[i]) return {0}_NULL_POINTER;\n"
          "    if ((uintptr_t){1}[i] & 3) return {0}_NOT_ALIGNED;\n  }}\n",
          upper_, list, upper(list));
    return t + fmt::format("  return {}_OK;\n}}\n", upper_);
  }

  std::string reset() {
    std::string t;
    int64_t at = 0;
    for (size_t s = 0; s < m_.states.size(); ++s) {
      const Tensor& initial = m_.states[s].initial;
      auto* from = static_cast<const uint8_t*>(initial.data());
      auto bytes = static_cast<int64_t>(initial.nbytes());
      std::string value = std::to_string(bytes ? from[0] : 0);
      if (!std::all_of(from, from + bytes, [&](uint8_t v) { return v == from[0]; }))
        value = table({"uint8_t", {from, from + bytes}, {}, "state"}, s) + "[i]";
      t += fmt::format("  for (i = 0; i < {}; i++) a[{} + i] = {};\n", bytes, at, value);
      at += plan_.buffers[static_cast<size_t>(plan_.of_tensor[static_cast<size_t>(m_.states[s].tensor)])].bytes;
    }
    return fmt::format("\nvoid {}_reset(void *arena)\n{{\n  uint8_t *const a = arena;\n  int i;\n", name_) +
           "  if (!arena) return;\n" + t + "}\n";
  }

  void need(const std::string& helper) {
    if (!printed_helpers_.insert(helper).second) return;
    for (const std::string& h : helper_needs(helper)) need(h);
    helpers_ += helper_text(helper);
  }

  std::string pointer(int tensor, bool read) const {
    auto index = [&](const std::vector<int>& list) {
      return std::find(list.begin(), list.end(), tensor) - list.begin();
    };
    if (m_.is_input(tensor)) return fmt::format("inputs[{}]", index(m_.inputs));
    if (m_.is_output(tensor) && !m_.is_state(tensor)) return fmt::format("outputs[{}]", index(m_.outputs));
    int64_t offset = plan_.buffers[static_cast<size_t>(plan_.of_tensor[static_cast<size_t>(tensor)])].offset;
    return fmt::format("({}{} *)(a + {})", read ? "const " : "", c_name(m_.tensors[static_cast<size_t>(tensor)].type),
                       offset);
  }

  // Layers with the same numbers share a function.
  std::string function_of(const Prepared& p, size_t step, std::string& layers) {
    auto it = functions_.find(p.text);
    if (it != functions_.end()) return it->second;
    std::string name = fmt::format("{}_layer{}", name_, step), text = p.text;
    replace_all(text, "$FN", name);
    layers += fmt::format("\n/* {} */\n", p.kernel) + text;
    functions_[p.text] = name;
    return name;
  }

  std::string table(const Table& t, size_t step) {
    for (size_t i = 0; i < tables_.size(); ++i)
      if (tables_[i] == t) return table_names_[i];
    tables_.push_back(t);
    table_names_.push_back(fmt::format("{}_{}{}", name_, t.argument, step));
    return table_names_.back();
  }

  const Model& m_;
  const std::vector<Prepared>& prepared_;
  const ArenaPlan& plan_;
  const Target& target_;
  std::string name_, upper_, helpers_;
  std::set<std::string> printed_helpers_;
  std::map<std::string, std::string> functions_;
  std::vector<Table> tables_;
  std::vector<std::string> table_names_;
};

std::string makefile(const Target& target, const std::string& name, const LibraryFiles& library) {
  bool gcc = target.compiler.size() > 3 && target.compiler.ends_with("-gcc");
  std::string archiver = gcc ? target.compiler.substr(0, target.compiler.size() - 3) + "ar" : "ar";
  // Objects of the library lie in a folder of their own, in which its folders are.
  std::string calls, objects, include;
  if (!library.sources.empty()) {
    calls = fmt::format(
        "# What is called of CMSIS-NN; make CMSIS_NN_PATH=... takes another copy of the same release.\n"
        "CMSIS_NN_PATH ?= {}\nCMSIS_NN = {}\n\n",
        library.path, fmt::join(library.sources, " \\\n  "));
    objects = " $(CMSIS_NN:%.c=build/cmsis_nn/%.o)";
    include = " -isystem $(CMSIS_NN_PATH)/Include";
  }
  std::string rule = library.sources.empty() ? ""
                                             : "build/cmsis_nn/%.o: $(CMSIS_NN_PATH)/%.c\n\t@mkdir -p $(@D)\n"
                                               "\t$(CC) $(CFLAGS) -w -I$(CMSIS_NN_PATH)/Include -c $< -o $@\n\n";
  return fmt::format(
      "# Builds build/lib{0}.a for {1}.\nCC = {2}\nAR = {5}\n"
      "CFLAGS = {3}{4}-std=c99 -O2 -Wall -Wextra -ffunction-sections -fdata-sections\n\n"
      "{6}SOURCES = $(wildcard src/*.c)\nOBJECTS = $(SOURCES:src/%.c=build/%.o){7}\n\n"
      "build/lib{0}.a: $(OBJECTS)\n\t$(AR) rcs $@ $^\n\nbuild/%.o: src/%.c $(wildcard src/*.h) "
      "include/{0}.h\n\t@mkdir -p build\n"
      "\t$(CC) $(CFLAGS) -Iinclude{8} -c $< -o $@\n\n{9}"
      "# A program that runs the model once on zeros; for processors without an operating system it needs their "
      "start-up code.\n"
      "example: build/lib{0}.a\n\t$(CC) $(CFLAGS) -Iinclude example/main.c build/lib{0}.a -lm -o build/example\n\n"
      "clean:\n\trm -rf build\n\n.PHONY: clean example\n",
      name, target.name, target.compiler == "cc" ? "cc" : target.compiler, target.flags,
      target.flags.empty() ? "" : " ", archiver, calls, objects, include, rule);
}

std::string cmake(const std::string& name, const LibraryFiles& library) {
  std::string calls;
  if (!library.sources.empty())
    calls = fmt::format(
        "\n# What is called of CMSIS-NN.\nset(CMSIS_NN_PATH \"{1}\" CACHE PATH \"a copy of the same release of "
        "CMSIS-NN\")\nset({0}_calls\n  {2})\nlist(TRANSFORM {0}_calls PREPEND ${{CMSIS_NN_PATH}}/)\n"
        "set_source_files_properties(${{{0}_calls}} PROPERTIES COMPILE_OPTIONS -w)\n"
        "target_sources({0} PRIVATE ${{{0}_calls}})\n"
        "target_include_directories({0} SYSTEM PRIVATE ${{CMSIS_NN_PATH}}/Include)\n",
        name, library.path, fmt::join(library.sources, "\n  "));
  return fmt::format(
      "cmake_minimum_required(VERSION 3.13)\nproject({0} C)\n\n# add_subdirectory() this folder and link with {0}.\n"
      "file(GLOB {0}_sources ${{CMAKE_CURRENT_SOURCE_DIR}}/src/*.c)\nadd_library({0} STATIC ${{{0}_sources}})\n"
      "target_include_directories({0} PUBLIC include)\nset_target_properties({0} PROPERTIES C_STANDARD 99)\n"
      "target_compile_options({0} PRIVATE -O2 -ffunction-sections -fdata-sections)\n{1}",
      name, calls);
}

std::string example(const Model& m, const std::string& name) {
  std::string u = upper(name), declare, in, out;
  for (size_t i = 0; i < m.inputs.size(); ++i) in += fmt::format("{}arena + {}_INPUT{}_OFFSET", i ? ", " : "", u, i);
  for (size_t i = 0; i < m.outputs.size(); ++i)
    out += fmt::format("{}arena + {}_OUTPUT{}_OFFSET", i ? ", " : "", u, i);
  return fmt::format(
      "/* Runs {0} once, with inputs and outputs inside the arena. Returns the error code. */\n#include \"{0}.h\"\n\n"
      "static unsigned char arena[{1}_ARENA_BYTES] __attribute__((aligned(16)));\n\nint main(void)\n{{\n"
      "  const void *inputs[{1}_NUM_INPUTS] = {{{2}}};\n  void *outputs[{1}_NUM_OUTPUTS] = {{{3}}};\n"
      "  /* Write the input to arena + {1}_INPUT0_OFFSET here. */\n  return {0}_run(arena, inputs, outputs);\n}}\n",
      name, u, in, out);
}

void check_name(const std::string& name) {
  bool good = !name.empty() && std::isdigit(static_cast<unsigned char>(name[0])) == 0;
  for (char c : name)
    good = good &&
           (std::islower(static_cast<unsigned char>(c)) || std::isdigit(static_cast<unsigned char>(c)) || c == '_');
  SORUS_CHECK(good, ValueError,
              "codegen: expected --name to be a C identifier of lower-case letters, digits and _, found '{}'", name);
}

}  // namespace

Project generate(Model model, const Target& target, const GenerateOptions& options) {
  check_name(options.name);
  simplify(model);
  std::optional<CmsisNn> library;
  std::optional<CmsisKernels> calling;
  if (!options.cmsis_nn.empty()) {
    SORUS_CHECK(target.cmsis_nn, ValueError, "codegen: expected a Cortex-M target for --cmsis-nn, found {}",
                target.name);
    calling.emplace(library.emplace(options.cmsis_nn, *target.cmsis_nn), target.kernels());
  }
  const KernelSet& kernels = calling ? *calling : target.kernels();
  Project project;
  std::vector<Prepared> prepared;
  auto fits = [&] { return options.ram_limit == 0 || project.arena.bytes <= options.ram_limit; };
  auto try_groups = [&](const std::vector<int64_t>& groups) {
    for (int64_t group : groups) {
      PrepareOptions choose{options.size, group};
      prepared.clear();
      for (const Step& step : model.steps) prepared.push_back(kernels.prepare(model, step, choose));
      int64_t saved = 0;
      if (options.pack_weights)
        for (Prepared& p : prepared) saved += pack_tables(p);
      SORUS_CHECK(saved > 0 || !options.pack_weights, ValueError,
                  "codegen: expected weights that fit into 4 or 2 bits for --pack-weights, found none in {} steps; "
                  "sorus.quantization.quantize(..., weight_bits=4) makes them",
                  model.steps.size());
      project.arena = plan_arena(model, prepared);
      if (fits()) return true;
    }
    return false;
  };
  // Transposed convolutions pixel by pixel, and fewer pixels at a time, need less memory and more instructions; the
  // limit decides.
  struct Attempt {
    Model model;
    std::vector<int64_t> groups;
  };
  std::vector<Attempt> attempts{{model, {4, 2, 1}}};
  if (target.kernels != plain_kernels && !options.size && unfold_transposed(model))
    attempts.insert(attempts.begin(), {model, {4}});
  for (Attempt& attempt : attempts) {
    model = std::move(attempt.model);
    order_steps(model);
    if (try_groups(attempt.groups)) break;
  }
  SORUS_CHECK(fits(), ValueError,
              "codegen: expected an arena of at most {} bytes, the smallest found needs {} (no plan with these "
              "kernels needs less than {})",
              options.ram_limit, project.arena.bytes, project.arena.lower_bound);
  const std::string& name = options.name;
  Printer printer(model, prepared, project.arena, target, options);
  project.files.push_back({"include/" + name + ".h", printer.header()});
  project.files.push_back({"src/" + name + ".c", printer.source()});
  project.files.push_back({"src/" + name + "_data.h", printer.data()});
  project.constant_bytes = printer.constant_bytes();
  LibraryFiles used;
  if (library) {
    std::set<std::string> calls;
    for (const Prepared& p : prepared) calls.insert(p.calls.begin(), p.calls.end());
    used = {library->path(), library->sources(calls)};
  }
  project.files.push_back({"Makefile", makefile(target, name, used)});
  project.files.push_back({"CMakeLists.txt", cmake(name, used)});
  project.files.push_back({"example/main.c", example(model, name)});
  project.files.push_back(
      {"report.json", print_report(model, prepared, project.arena, target, options, project.constant_bytes, used)});
  return project;
}

}  // namespace sorus::device
