#include "sorus/parallel/cluster/cluster.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "sorus/base/error.h"
#include "sorus/base/files.h"
#include "sorus/base/text.h"
#include "sorus/io/toml.h"

namespace sorus::parallel {
namespace {

// Reads members of one table and complains with line and name; what nobody asked for is an error.
class Table {
 public:
  using Kind = io::TomlValue::Kind;
  Table(const io::TomlValue& t, std::string file, std::string name)
      : t_(t), file_(std::move(file)), name_(std::move(name)) {}
  void finish() const {
    for (const auto& [key, value] : t_.members)
      if (!known_.contains(key))
        fail<FileError>("{}:{}: {} is not a field of {}", file_, value.line, quote(key),
                        name_.empty() ? "a cluster" : name_);
  }
  void get(const char* key, std::string& to) {
    if (const io::TomlValue* n = find(key, Kind::string, "text")) to = n->string;
  }
  void get(const char* key, double& to, double factor, double least = 0, double most = 1e30) {
    if (const io::TomlValue* n = find(key)) to = number(*n, key, least, most) * factor;
  }
  void get(const char* key, bool& to) {
    if (const io::TomlValue* n = find(key, Kind::boolean, "true or false")) to = n->boolean;
  }
  void get(const char* key, int64_t& to, int64_t least = 0) {
    if (const io::TomlValue* n = find(key, Kind::integer, "a whole number")) {
      to = n->integer;
      SORUS_CHECK(to >= least && to <= (int64_t{1} << 32), FileError, "{}: must be from {} to 2^32, not {}",
                  where(*n, key), least, to);
    }
  }
  void get(const char* key, std::vector<int64_t>& to) {
    if (const io::TomlValue* n = find(key, Kind::array, "a list of whole numbers")) {
      for (const io::TomlValue& e : n->items) {
        SORUS_CHECK(e.is(Kind::integer) && e.integer > 0 && e.integer <= (1 << 20), FileError,
                    "{}: expected a list of whole numbers from 1 to 2^20", where(e, key));
        to.push_back(e.integer);
      }
    }
  }
  const io::TomlValue* table(const char* key) { return find(key, Kind::table, "a table"); }
  /// All of [[key]].
  std::vector<io::TomlValue> tables(const char* key) {
    std::string expected = fmt::format("[[{}]] tables", key);
    const io::TomlValue* n = find(key, Kind::array, expected);
    if (!n) return {};
    for (const io::TomlValue& e : n->items) expect(e, key, Kind::table, expected);
    return n->items;
  }
  double number(const io::TomlValue& n, const std::string& key, double least, double most) {
    SORUS_CHECK(n.is_number(), FileError, "{}: expected a number", where(n, key));
    double v = n.number();
    SORUS_CHECK(std::isfinite(v) && v >= least && v <= most, FileError, "{}: must lie in [{}, {}], not {}",
                where(n, key), least, most, v);
    return v;
  }
  std::string where(const io::TomlValue& n, const std::string& key) const {
    return fmt::format("{}:{}: {}{}{}", file_, n.line, name_, name_.empty() ? "" : ".", key);
  }

 private:
  void expect(const io::TomlValue& n, const std::string& key, Kind kind, const std::string& expected) const {
    SORUS_CHECK(n.is(kind), FileError, "{}: expected {}", where(n, key), expected);
  }
  const io::TomlValue* find(const char* key) {
    known_.insert(key);
    return t_.find(key);
  }
  const io::TomlValue* find(const char* key, Kind kind, const std::string& expected) {
    const io::TomlValue* n = find(key);
    if (n) expect(*n, key, kind, expected);
    return n;
  }
  const io::TomlValue& t_;
  std::string file_, name_;
  std::set<std::string> known_;
};

}  // namespace

double Device::peak(std::string_view dtype) const {
  for (std::string_view wider : {std::string_view("f8"), std::string_view("f16"), std::string_view("bf16"),
                                 std::string_view("f32"), std::string_view("f64")}) {
    static constexpr std::string_view order[] = {"f8", "f16", "bf16", "f32", "f64"};
    auto rank = [&](std::string_view n) {
      return std::find(std::begin(order), std::end(order), n) - std::begin(order);
    };
    if (rank(wider) < rank(dtype)) continue;
    auto it = flops.find(std::string(wider));
    if (it != flops.end()) return it->second;
  }
  double most = 0;
  for (const auto& [n, f] : flops) most = std::max(most, f);
  return most;
}

int64_t Cluster::max_devices() const {
  int64_t n = 1;
  for (const Level& l : levels) {
    if (l.count == 0) return 0;
    n *= l.count;
  }
  return n;
}

std::vector<int64_t> Cluster::usable(int64_t wanted) const {
  std::set<int64_t> broken, slow;
  for (const Exception& e : exceptions) (e.factor == 0 ? broken : slow).insert(e.device);
  int64_t limit = max_devices(), unit = levels.empty() ? 1 : levels[0].count == 0 ? 1 : levels[0].count;
  int64_t all = limit ? limit : wanted + unit * static_cast<int64_t>(broken.size() + slow.size());
  // Whole units without a flaw first, then those with slow devices; broken devices never.
  std::vector<int64_t> out, late;
  for (int64_t first = 0; first < all; first += unit) {
    bool flawed = false;
    for (int64_t d = first; d < std::min(all, first + unit); ++d) flawed |= broken.contains(d) || slow.contains(d);
    for (int64_t d = first; d < std::min(all, first + unit); ++d)
      if (!broken.contains(d)) (flawed ? late : out).push_back(d);
  }
  out.insert(out.end(), late.begin(), late.end());
  if (static_cast<int64_t>(out.size()) > wanted) out.resize(static_cast<size_t>(wanted));
  return out;
}

Cluster Cluster::as_used(int64_t wanted) const {
  Cluster c = *this;
  if (exceptions.empty()) return c;
  std::vector<int64_t> list = usable(wanted);
  std::set<int64_t> used(list.begin(), list.end());
  SORUS_CHECK(static_cast<int64_t>(used.size()) == wanted, ValueError,
              "the cluster '{}' has {} devices that are not broken, {} are asked for", name, used.size(), wanted);
  std::map<std::string, double> slowest;
  for (const Exception& e : exceptions)
    if (used.contains(e.device)) {
      double& f = slowest.try_emplace(e.level, 1).first->second;
      f = std::min(f, e.factor);
    }
  for (const auto& [where, factor] : slowest) {
    for (Level& l : c.levels)
      if (l.name == where) l.bandwidth *= factor, l.shared_bandwidth *= factor;
    if (!where.empty()) continue;
    c.device.vector_flops *= factor;
    for (auto& [type, flops] : c.device.flops) flops *= factor;
  }
  return c;
}

void Cluster::check() const {
  SORUS_CHECK(device.memory_bytes > 0, ValueError, "cluster {}: device.memory_gb is missing", quote(name));
  SORUS_CHECK(device.memory_bandwidth > 0, ValueError, "cluster {}: device.memory_gb_per_s is missing", quote(name));
  SORUS_CHECK(!device.flops.empty(), ValueError, "cluster {}: device.tflops is missing", quote(name));
  SORUS_CHECK(!levels.empty(), ValueError, "cluster {}: there is no [[level]]", quote(name));
  double product = 1;
  for (size_t i = 0; i < levels.size(); ++i) {
    const Level& l = levels[i];
    SORUS_CHECK(l.count > 0 || i + 1 == levels.size(), ValueError,
                "cluster {}: level '{}': only the outermost level may be without 'count'", quote(name), l.name);
    product *= static_cast<double>(std::max<int64_t>(1, l.count));
    SORUS_CHECK(product < 1e9, ValueError, "cluster {}: more than a billion devices", quote(name));
    SORUS_CHECK(l.bandwidth > 0, ValueError, "cluster {}: level '{}': gb_per_s is missing", quote(name), l.name);
    double torus = 1;
    for (int64_t d : l.dims) torus *= static_cast<double>(d);
    SORUS_CHECK(l.dims.empty() || torus == static_cast<double>(l.count), ValueError,
                "cluster {}: level '{}': the dims of the torus have {} units, count says {}", quote(name), l.name,
                torus, l.count);
  }
  for (const Exception& e : exceptions) {
    bool found = e.level.empty();
    for (const Level& l : levels) found |= l.name == e.level;
    SORUS_CHECK(found, ValueError, "cluster {}: [[slow]] names the level '{}', which is not there", quote(name),
                e.level);
    SORUS_CHECK(max_devices() == 0 || e.device < max_devices(), ValueError,
                "cluster {}: [[slow]] names device {}, there are {}", quote(name), e.device, max_devices());
  }
}

Cluster parse_cluster(std::string_view text, const std::string& file) {
  io::TomlValue parsed = io::parse_toml(text, file);
  Cluster c;
  Table t(parsed, file, "");
  t.get("name", c.name);
  if (const io::TomlValue* inside = t.table("device")) {
    Table d(*inside, file, "device");
    d.get("name", c.device.name);
    d.get("memory_gb", c.device.memory_bytes, 1e9);
    d.get("memory_gb_per_s", c.device.memory_bandwidth, 1e9);
    d.get("vector_tflops", c.device.vector_flops, 1e12);
    if (const io::TomlValue* flops = d.table("tflops"))
      for (const auto& [k, value] : flops->members) {
        static const std::set<std::string> types = {"f8", "f16", "bf16", "f32", "f64"};
        SORUS_CHECK(types.contains(k), FileError, "{}: there are {}", d.where(value, "tflops." + k),
                    fmt::join(types, ", "));
        c.device.flops[k] = d.number(value, "tflops." + k, 1e-9, 1e12) * 1e12;
      }
    d.finish();
  }
  if (const io::TomlValue* inside = t.table("host")) {
    Table h(*inside, file, "host");
    h.get("memory_gb", c.host.memory_bytes, 1e9), h.get("gb_per_s", c.host.bandwidth, 1e9);
    h.get("memory_gb_per_s", c.host.memory_bandwidth, 1e9), h.get("tflops", c.host.flops, 1e12);
    h.finish();
  }
  if (const io::TomlValue* inside = t.table("efficiency")) {
    Table e(*inside, file, "efficiency");
    e.get("matrix", c.efficiency.matrix, 1, 1e-3, 1), e.get("matrix_size", c.efficiency.matrix_size, 1);
    e.get("composite", c.efficiency.composite, 1, 1e-3, 1), e.get("window_size", c.efficiency.window_size, 1);
    e.get("accumulate", c.efficiency.accumulate, 1);
    e.get("memory", c.efficiency.memory, 1, 1e-3, 1), e.get("network", c.efficiency.network, 1, 1e-3, 1);
    e.get("launch_us", c.efficiency.launch_s, 1e-6), e.get("spread", c.efficiency.spread, 1, 0, 1);
    e.finish();
  }
  for (const io::TomlValue& n : t.tables("level")) {
    Table l(n, file, "level");
    Level level;
    l.get("name", level.name), l.get("count", level.count, 1), l.get("gb_per_s", level.bandwidth, 1e9);
    l.get("latency_us", level.latency, 1e-6), l.get("shared_gb_per_s", level.shared_bandwidth, 1e9);
    l.get("torus", level.torus), l.get("dims", level.dims);
    level.torus |= !level.dims.empty();
    l.finish();
    c.levels.push_back(std::move(level));
  }
  for (const io::TomlValue& n : t.tables("slow")) {
    Table s(n, file, "slow");
    Exception e;
    s.get("device", e.device), s.get("level", e.level), s.get("factor", e.factor, 1, 0, 1);
    s.finish();
    c.exceptions.push_back(std::move(e));
  }
  t.finish();
  try {
    c.check();
  } catch (const ValueError& e) {
    fail<FileError>("{}: {}", file, e.what());
  }
  return c;
}

Cluster read_cluster(const std::string& path) { return parse_cluster(read_file(path, 1 << 24), path); }

std::string to_toml(const Cluster& c) {
  std::string s = fmt::format("name = {}\n\n[device]\nname = {}\nmemory_gb = {}\nmemory_gb_per_s = {}\ntflops = {{",
                              io::toml_quoted(c.name), io::toml_quoted(c.device.name), c.device.memory_bytes / 1e9,
                              c.device.memory_bandwidth / 1e9);
  const char* comma = " ";
  for (const auto& [type, flops] : c.device.flops)
    s += fmt::format("{}{} = {}", comma, type, flops / 1e12), comma = ", ";
  s += " }\n";
  if (c.device.vector_flops > 0) s += fmt::format("vector_tflops = {}\n", c.device.vector_flops / 1e12);
  s += fmt::format("\n[host]  # for each device\nmemory_gb = {}\ngb_per_s = {}\nmemory_gb_per_s = {}\ntflops = {}\n",
                   c.host.memory_bytes / 1e9, c.host.bandwidth / 1e9, c.host.memory_bandwidth / 1e9,
                   c.host.flops / 1e12);
  const Efficiency& e = c.efficiency;
  s += fmt::format(
      "\n[efficiency]\nmatrix = {:.4g}\nmatrix_size = {:.4g}\ncomposite = {:.4g}\nwindow_size = {:.4g}\naccumulate = "
      "{:.4g}\nmemory = "
      "{:.4g}\nnetwork = {:.4g}\nlaunch_us = "
      "{:.4g}\nspread = {:.4g}\n",
      e.matrix, e.matrix_size, e.composite, e.window_size, e.accumulate, e.memory, e.network, e.launch_s * 1e6,
      e.spread);
  for (const Level& l : c.levels) {
    s += fmt::format("\n[[level]]\nname = {}\n", io::toml_quoted(l.name));
    if (l.count) s += fmt::format("count = {}\n", l.count);
    s += fmt::format("gb_per_s = {}\nlatency_us = {}\n", l.bandwidth / 1e9, l.latency * 1e6);
    if (l.shared_bandwidth > 0) s += fmt::format("shared_gb_per_s = {}\n", l.shared_bandwidth / 1e9);
    if (l.torus)
      s += l.dims.empty() ? std::string("torus = true\n") : fmt::format("dims = [{}]\n", fmt::join(l.dims, ", "));
  }
  for (const Exception& x : c.exceptions)
    s += fmt::format("\n[[slow]]\ndevice = {}\nlevel = {}\nfactor = {}\n", x.device, io::toml_quoted(x.level),
                     x.factor);
  return s;
}

Cluster find_cluster(const std::string& given) {
  if (given.find('\n') != std::string::npos) return parse_cluster(given, "cluster");
  auto presets = preset_clusters();
  if (std::find(presets.begin(), presets.end(), given) != presets.end()) return preset_cluster(given);
  SORUS_CHECK(std::filesystem::exists(given), KeyError, "'{}' is neither a preset cluster ({}) nor a file", given,
              fmt::join(presets, ", "));
  return read_cluster(given);
}

}  // namespace sorus::parallel
