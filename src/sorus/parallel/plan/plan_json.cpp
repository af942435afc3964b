// Plans as JSON, both ways. Members that are missing have the defaults of plan.h; members that are unknown are
// errors, since a misspelt "zero" would otherwise train without it.

#include <set>

#include "sorus/base/files.h"
#include "sorus/io/json.h"
#include "sorus/parallel/plan/plan.h"

namespace sorus::parallel {
namespace {

using io::Json;

constexpr const char* kFormat = "sorus-plan";
constexpr int kVersion = 1;
constexpr std::string_view kMarkKinds[] = {"parameter", "input", "node"};

// Reads the members of one object; whatever nobody asked for is an error at the end.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    SORUS_CHECK(object.is_object(), FileError, "{}: expected an object, found {}", where_, io::describe(object));
  }
  void finish() const {
    for (const auto& [key, value] : object_.items())
      SORUS_CHECK(known_.contains(key), FileError, "{}: {} is not a member of the format", where_, quote(key));
  }
  const std::string& where() const { return where_; }

  void get(const char* key, std::string& to) {
    if (const Json* v = find(key, "a string", [](const Json& j) { return j.is_string(); }))
      to = v->get<std::string>();
  }
  void get(const char* key, bool& to) {
    if (const Json* v = find(key, "true or false", [](const Json& j) { return j.is_boolean(); })) to = v->get<bool>();
  }
  void get(const char* key, double& to) {
    if (const Json* v = find(key, "a number", [](const Json& j) { return j.is_number(); })) to = v->get<double>();
  }
  template <std::integral T>
  void get(const char* key, T& to) {
    const Json* v = find(key, "a whole number", [](const Json& j) {
      return j.is_number_unsigned() ? std::is_unsigned_v<T> || j.get<uint64_t>() <= INT64_MAX : j.is_number_integer();
    });
    if (!v) return;
    if constexpr (std::is_unsigned_v<T>) {
      to = v->get<T>();
    } else {
      auto wide = v->get<int64_t>();
      SORUS_CHECK(wide <= std::numeric_limits<T>::max() && wide >= std::numeric_limits<T>::min(), FileError,
                  "{}: '{}': {} is too large", where_, key, wide);
      to = static_cast<T>(wide);
    }
  }
  template <class E>
  void get(const char* key, E& to, E (*parse)(std::string_view)) {
    std::string text;
    get(key, text);
    if (text.empty()) return;
    try {
      to = parse(text);
    } catch (const ValueError& e) {
      fail<FileError>("{}: '{}': {}", where_, key, e.what());
    }
  }
  const Json* array(const char* key) {
    return find(key, "an array", [](const Json& j) { return j.is_array(); });
  }
  const Json* object(const char* key) {
    return find(key, "an object", [](const Json& j) { return j.is_object(); });
  }

 private:
  template <class Predicate>
  const Json* find(const char* key, const char* expected, Predicate is_right) {
    known_.insert(key);
    auto it = object_.find(key);
    if (it == object_.end() || it->is_null()) return nullptr;
    SORUS_CHECK(is_right(*it), FileError, "{}: '{}': expected {}, found {}", where_, key, expected,
                io::describe(*it));
    return &*it;
  }
  const Json& object_;
  std::string where_;
  std::set<std::string> known_;
};

template <class T, class F>
void read_list(Reader& r, const char* key, std::vector<T>& to, F read) {
  const Json* list = r.array(key);
  if (!list) return;
  for (size_t i = 0; i < list->size(); ++i) {
    Reader item((*list)[i], fmt::format("{}: {}[{}]", r.where(), key, i));
    T value;
    read(item, value);
    item.finish();
    to.push_back(std::move(value));
  }
}

void read_object(Reader& r, const char* key, const auto& read) {
  if (const Json* object = r.object(key)) {
    Reader inside(*object, fmt::format("{}: {}", r.where(), key));
    read(inside);
    inside.finish();
  }
}

int64_t integer(const Json& j, const std::string& where) {
  SORUS_CHECK(j.is_number_integer() && (!j.is_number_unsigned() || j.get<uint64_t>() <= INT64_MAX), FileError,
              "{}: expected a whole number, found {}", where, io::describe(j));
  return j.get<int64_t>();
}

void read_memory(Reader& r, StageMemory& m) {
  r.get("parameters", m.parameters), r.get("gradients", m.gradients), r.get("optimizer", m.optimizer);
  r.get("activations", m.activations), r.get("buffers", m.buffers);
  double total;  // for the reader; it is the sum
  r.get("total", total);
}

void read_stage(Reader& r, PlanStage& s) {
  r.get("first_node", s.first_node), r.get("end_node", s.end_node), r.get("from", s.from), r.get("to", s.to);
  if (const Json* names = r.array("parameters"))
    for (const Json& n : *names) {
      SORUS_CHECK(n.is_string(), FileError, "{}: 'parameters': expected a string, found {}", r.where(),
                  io::describe(n));
      s.parameters.push_back(n.get<std::string>());
    }
  r.get("device", s.device), r.get("recompute", s.recompute, recompute_kind);
  r.get("recompute_layers", s.recompute_layers);
  if (const Json* ranges = r.array("recomputed"))
    for (const Json& pair : *ranges) {
      SORUS_CHECK(pair.is_array() && pair.size() == 2, FileError, "{}: 'recomputed': expected [first, end], found {}",
                  r.where(), io::describe(pair));
      s.recomputed.emplace_back(integer(pair[0], r.where()), integer(pair[1], r.where()));
    }
  read_object(r, "memory_bytes", [&](Reader& m) { read_memory(m, s.memory); });
  r.get("forward_s", s.forward_s), r.get("backward_s", s.backward_s);
}

void read_mark(Reader& r, Mark& m) {
  std::string of = "parameter";
  r.get("of", of);
  size_t kind = 0;
  while (kind < 3 && kMarkKinds[kind] != of) ++kind;
  SORUS_CHECK(kind < 3, FileError, "{}: 'of': expected {}, found {}", r.where(), fmt::join(kMarkKinds, ", "),
              quote(of));
  m.of = static_cast<Mark::Of>(kind);
  r.get("name", m.name), r.get("index", m.index), r.get("output", m.output);
  if (const Json* on = r.object("on"))
    for (const auto& [axis, text] : on->items()) {
      SORUS_CHECK(text.is_string(), FileError, "{}: 'on': expected a placement, found {}", r.where(),
                  io::describe(text));
      try {
        m.on[axis] = AxisPlacement::parse(text.get<std::string>());
      } catch (const ValueError& e) {
        fail<FileError>("{}: 'on': {}", r.where(), e.what());
      }
    }
}

Json memory_json(const StageMemory& m) {
  return {{"parameters", m.parameters},   {"gradients", m.gradients}, {"optimizer", m.optimizer},
          {"activations", m.activations}, {"buffers", m.buffers},     {"total", m.total()}};
}

}  // namespace

std::string to_json(const Plan& p) {
  nlohmann::ordered_json j;
  j["format"] = kFormat, j["version"] = kVersion;
  j["model"] = p.model, j["cluster"] = p.cluster, j["summary"] = p.to_string();
  j["graph_hash"] = p.graph_hash, j["devices"] = p.devices;
  j["mesh"] = Json::array();
  for (const PlanAxis& a : p.mesh)
    j["mesh"].push_back({{"name", a.name},
                         {"kind", name(a.kind)},
                         {"size", a.size},
                         {"level", a.level},
                         {"collective", a.collective}});
  if (!p.device_of_rank.empty()) j["device_of_rank"] = p.device_of_rank;
  j["global_batch"] = p.global_batch, j["micro_batch"] = p.micro_batch, j["micro_batches"] = p.micro_batches;
  j["schedule"] = name(p.schedule), j["chunks"] = p.chunks, j["zero"] = p.zero;
  j["sequence_parallel"] = p.sequence_parallel, j["overlap"] = p.overlap, j["bucket_bytes"] = p.bucket_bytes;
  j["offload"] = {{"optimizer", p.offload.optimizer},
                  {"parameters", p.offload.parameters},
                  {"activations", p.offload.activations},
                  {"host_update", p.offload.host_update}};
  j["stages"] = Json::array();
  for (const PlanStage& s : p.stages) {
    nlohmann::ordered_json stage{{"first_node", s.first_node},
                                 {"end_node", s.end_node},
                                 {"from", s.from},
                                 {"to", s.to},
                                 {"device", s.device},
                                 {"recompute", name(s.recompute)},
                                 {"recompute_layers", s.recompute_layers}};
    if (!s.parameters.empty()) stage["parameters"] = s.parameters;
    if (!s.recomputed.empty()) stage["recomputed"] = s.recomputed;
    stage["memory_bytes"] = memory_json(s.memory);
    stage["forward_s"] = s.forward_s, stage["backward_s"] = s.backward_s;
    j["stages"].push_back(std::move(stage));
  }
  j["marks"] = Json::array();
  for (const Mark& m : p.marks) {
    nlohmann::ordered_json on = Json::object();
    for (const auto& [axis, placement] : m.on) on[axis] = placement.to_string();
    nlohmann::ordered_json mark{{"of", kMarkKinds[static_cast<size_t>(m.of)]}, {"name", m.name}};
    if (m.of != Mark::Of::parameter) mark["index"] = m.index, mark["output"] = m.output;
    mark["on"] = std::move(on);
    j["marks"].push_back(std::move(mark));
  }
  const PlanTime& t = p.time;
  j["time_s"] = {{"step", t.step},
                 {"lower_bound", t.lower_bound},
                 {"compute", t.compute},
                 {"recompute", t.recompute},
                 {"communication", t.communication},
                 {"bubble", t.bubble},
                 {"optimizer", t.optimizer},
                 {"offload", t.offload},
                 {"search", t.search}};
  j["memory_bytes"] = p.memory_bytes, j["notes"] = p.notes;
  return j.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

Plan plan_from_json(std::string_view text, const std::string& file) {
  Json json = io::parse_json(text, file);
  Reader r(json, file);
  std::string format, summary;
  int version = 0;
  r.get("format", format), r.get("version", version), r.get("summary", summary);
  SORUS_CHECK(format == kFormat, FileError, "{}: not a plan: 'format' is {}, expected '{}'", file, quote(format),
              kFormat);
  SORUS_CHECK(version == kVersion, FileError, "{}: version {} of the plan format; this Sorus reads {}", file, version,
              kVersion);
  Plan p;
  r.get("model", p.model), r.get("cluster", p.cluster), r.get("graph_hash", p.graph_hash),
      r.get("devices", p.devices);
  read_list(r, "mesh", p.mesh, [](Reader& a, PlanAxis& axis) {
    a.get("name", axis.name), a.get("kind", axis.kind, axis_kind), a.get("size", axis.size);
    a.get("level", axis.level), a.get("collective", axis.collective);
  });
  if (const Json* devices = r.array("device_of_rank"))
    for (const Json& d : *devices) p.device_of_rank.push_back(integer(d, file + ": device_of_rank"));
  r.get("global_batch", p.global_batch), r.get("micro_batch", p.micro_batch), r.get("micro_batches", p.micro_batches);
  r.get("schedule", p.schedule, schedule_kind), r.get("chunks", p.chunks), r.get("zero", p.zero);
  r.get("sequence_parallel", p.sequence_parallel), r.get("overlap", p.overlap), r.get("bucket_bytes", p.bucket_bytes);
  read_object(r, "offload", [&](Reader& o) {
    o.get("optimizer", p.offload.optimizer), o.get("parameters", p.offload.parameters);
    o.get("activations", p.offload.activations), o.get("host_update", p.offload.host_update);
  });
  read_list(r, "stages", p.stages, read_stage);
  read_list(r, "marks", p.marks, read_mark);
  read_object(r, "time_s", [&](Reader& t) {
    t.get("step", p.time.step), t.get("lower_bound", p.time.lower_bound), t.get("compute", p.time.compute);
    t.get("recompute", p.time.recompute), t.get("communication", p.time.communication),
        t.get("bubble", p.time.bubble);
    t.get("optimizer", p.time.optimizer), t.get("offload", p.time.offload), t.get("search", p.time.search);
  });
  r.get("memory_bytes", p.memory_bytes);
  if (const Json* notes = r.array("notes"))
    for (const Json& n : *notes) {
      SORUS_CHECK(n.is_string(), FileError, "{}: notes: expected a string, found {}", file, io::describe(n));
      p.notes.push_back(n.get<std::string>());
    }
  r.finish();
  try {
    p.check();
  } catch (const ValueError& e) {
    fail<FileError>("{}: {}", file, e.what());
  }
  return p;
}

Plan read_plan(const std::string& path) { return plan_from_json(read_file(path, size_t{1} << 30), path); }
void write_plan(const Plan& plan, const std::string& path) { write_file(path, to_json(plan)); }

}  // namespace sorus::parallel
