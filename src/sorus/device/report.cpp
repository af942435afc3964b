// report.json: what a layer costs, the arena over time, what was done to the graph.
#include <nlohmann/json.hpp>

#include "sorus/device/project.h"

namespace sorus::device {

std::string print_report(const Model& model, const std::vector<Prepared>& prepared, const ArenaPlan& plan,
                         const Target& target, const GenerateOptions& options, int64_t constant_bytes,
                         const LibraryFiles& library) {
  using nlohmann::ordered_json;
  ordered_json r;
  r["name"] = options.name;
  r["target"] = target.name;
  r["arena_bytes"] = plan.bytes;
  r["state_bytes"] = plan.state_bytes;
  r["arena_lower_bound"] = plan.lower_bound;
  r["arena_proved_optimal"] = plan.optimal;
  r["arena_choices_tried"] = plan.nodes;
  r["layer_wise_bytes"] = plan.layer_bound;
  r["constant_bytes"] = constant_bytes;
  int64_t macs = 0;
  double instructions = 0;
  r["layers"] = ordered_json::array();
  for (size_t s = 0; s < model.steps.size(); ++s) {
    const Step& step = model.steps[s];
    ordered_json l;
    int64_t flash = 0, ram = 0;
    int64_t n = std::visit(
        [](const auto& form) -> int64_t {
          if constexpr (requires { form.macs(); })
            return form.macs();
          else
            return 0;
        },
        static_cast<const DeviceForm::variant&>(step.form));
    for (const Table& t : prepared[s].tables) flash += t.bytes();
    for (const ArenaBuffer& b : plan.buffers)
      if (b.first <= static_cast<int>(s) && b.last >= static_cast<int>(s)) ram = std::max(ram, b.offset + b.bytes);
    l["name"] = step.name;
    l["kernel"] = prepared[s].kernel;
    l["output"] = model.tensors[static_cast<size_t>(step.output)].dims;
    l["macs"] = n;
    l["constant_bytes"] = flash;
    l["arena_bytes"] = ram;
    l["scratch_bytes"] = std::max(prepared[s].scratch, prepared[s].room);
    l["estimated_instructions"] = static_cast<int64_t>(prepared[s].instructions);
    std::vector<std::string> notes = step.notes;
    notes.insert(notes.end(), prepared[s].notes.begin(), prepared[s].notes.end());
    l["notes"] = notes;
    macs += n;
    instructions += prepared[s].instructions;
    r["layers"].push_back(l);
  }
  r["macs"] = macs;
  r["estimated_instructions"] = static_cast<int64_t>(instructions);
  r["buffers"] = ordered_json::array();
  for (const ArenaBuffer& b : plan.buffers)
    r["buffers"].push_back({{"name", b.name},
                            {"bytes", b.bytes},
                            {"offset", b.offset},
                            {"first", b.first},
                            {"last", b.last},
                            {"kind", b.tensor < 0                ? "scratch"
                                     : model.is_state(b.tensor)  ? "state"
                                     : model.is_input(b.tensor)  ? "input"
                                     : model.is_output(b.tensor) ? "output"
                                                                 : "tensor"}});
  if (!library.path.empty()) r["cmsis_nn"] = {{"path", library.path}, {"sources", library.sources}};
  r["notes"] = model.notes;
  return r.dump(2) + "\n";
}

}  // namespace sorus::device
