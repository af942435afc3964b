#include "sorus/parallel/checkpoint/sharded.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

#include "sorus/base/files.h"
#include "sorus/tensor/copy.h"

namespace sorus::checkpoint {
namespace fs = std::filesystem;
using io::Json;
namespace {

constexpr const char* kIndex = "index.json";
constexpr const char* kFormat = "sorus-sharded-1";

DType type_from(const std::string& text, const std::string& where) {
  try {
    return dtype_from_name(text);
  } catch (const TypeError&) {
    fail<FileError>("{}: there is no type '{}'", where, text);
  }
}

std::string file_of(int rank) { return fmt::format("rank-{:05d}.safetensors", rank); }

Json numbers(IntSpan shape) {
  Json out = Json::array();
  for (int64_t n : shape) out.push_back(n);
  return out;
}
Shape shape_from(const Json& value, const std::string& where) {
  SORUS_CHECK(value.is_array() && value.size() <= 64, FileError, "{}: expected a list of sizes, found {}", where,
              io::describe(value));
  Shape out;
  double elements = 1;
  for (const Json& n : value) {
    SORUS_CHECK(n.is_number_integer() && n >= 0 && n < (int64_t{1} << 48), FileError, "{}: expected a size, found {}",
                where, io::describe(n));
    out.push_back(n.get<int64_t>());
    elements *= static_cast<double>(std::max<int64_t>(out.back(), 1));
  }
  SORUS_CHECK(elements < 1e18, FileError, "{}: {} elements are too many", where, elements);
  return out;
}

// The part that two boxes share; empty sizes in between mean none.
bool overlap(IntSpan a, IntSpan a_shape, IntSpan b, IntSpan b_shape, Shape& start, Shape& shape) {
  start.clear(), shape.clear();
  for (size_t d = 0; d < a.size(); ++d) {
    int64_t from = std::max(a[d], b[d]), to = std::min(a[d] + a_shape[d], b[d] + b_shape[d]);
    if (to <= from) return false;
    start.push_back(from);
    shape.push_back(to - from);
  }
  return true;
}

// One box of one tensor and who holds it.
struct Held {
  Shape start, shape;
  std::vector<int> ranks;
  int writer = -1;
};
struct Whole {
  DType dtype = DType::f32;
  Shape shape;
  std::vector<Held> boxes;
};

std::string gather_text(comm::Communicator& group, const std::string& mine, std::vector<std::string>& all) {
  auto n = static_cast<int64_t>(mine.size());
  std::vector<int64_t> sizes(static_cast<size_t>(group.size()));
  group.all_gather(&n, sizes.data(), sizeof n);
  std::string joined;
  int64_t total = 0;
  for (int64_t s : sizes) total += s;
  joined.resize(static_cast<size_t>(total));
  group.all_gather_v(mine.data(), joined.data(), sizes);
  size_t at = 0;
  for (int64_t s : sizes) {
    all.push_back(joined.substr(at, static_cast<size_t>(s)));
    at += static_cast<size_t>(s);
  }
  return joined;
}

// Runs `f` at this rank; if it failed at any, all throw what the first of them said.
void together(comm::Communicator& group, const char* what, const std::function<void()>& f) {
  std::string error;
  try {
    f();
  } catch (const std::exception& e) {
    error = e.what();
  }
  std::vector<std::string> errors;
  gather_text(group, error, errors);
  for (size_t r = 0; r < errors.size(); ++r)
    if (!errors[r].empty()) fail<FileError>("{}: rank {}: {}", what, r, errors[r]);
}

std::map<std::string, Whole> collect(comm::Communicator& group, const std::vector<Piece>& pieces) {
  Json mine = Json::array();
  for (const Piece& p : pieces)
    mine.push_back({p.name, std::string(short_name(p.local.dtype())), numbers(p.whole), numbers(p.start),
                    numbers(p.local.sizes())});
  std::vector<std::string> all;
  gather_text(group, mine.dump(), all);
  std::map<std::string, Whole> tensors;
  for (int r = 0; r < group.size(); ++r)
    for (const Json& p : Json::parse(all[static_cast<size_t>(r)])) {
      auto name = p[0].get<std::string>();
      DType dtype = dtype_from_name(p[1].get<std::string>());
      Shape whole = shape_from(p[2], name), start = shape_from(p[3], name), shape = shape_from(p[4], name);
      auto [it, fresh] = tensors.try_emplace(name, Whole{dtype, whole, {}});
      SORUS_CHECK(it->second.dtype == dtype && it->second.shape == whole, ValueError,
                  "checkpoint: '{}' is a {} of shape {} at rank {}, others have a {} of {}", name, sorus::name(dtype),
                  sorus::to_string(whole), r, sorus::name(it->second.dtype), sorus::to_string(it->second.shape));
      bool inside = start.size() == whole.size() && shape.size() == whole.size();
      for (size_t d = 0; inside && d < whole.size(); ++d) inside = start[d] + shape[d] <= whole[d];
      SORUS_CHECK(inside, ValueError,
                  "checkpoint: rank {} has a box of shape {} at {} of '{}', which has the shape {}", r,
                  sorus::to_string(shape), sorus::to_string(start), name, sorus::to_string(whole));
      if (numel(shape) == 0 && numel(whole) != 0) continue;
      auto same = std::find_if(it->second.boxes.begin(), it->second.boxes.end(),
                               [&](const Held& h) { return h.start == start && h.shape == shape; });
      if (same == it->second.boxes.end())
        it->second.boxes.push_back({start, shape, {r}});
      else
        same->ranks.push_back(r);
    }
  for (auto& [name, t] : tensors) {
    int64_t filled = 0;
    Shape a, b;
    for (size_t i = 0; i < t.boxes.size(); ++i) {
      filled += numel(t.boxes[i].shape);
      for (size_t k = 0; k < i; ++k)
        SORUS_CHECK(!overlap(t.boxes[i].start, t.boxes[i].shape, t.boxes[k].start, t.boxes[k].shape, a, b) ||
                        numel(t.shape) == 0,
                    ValueError, "checkpoint: two boxes of '{}' overlap in part, at {} and {}", name,
                    sorus::to_string(t.boxes[i].start), sorus::to_string(t.boxes[k].start));
    }
    SORUS_CHECK(filled == numel(t.shape), ValueError, "checkpoint: the ranks hold {} of the {} elements of '{}'",
                filled, numel(t.shape), name);
  }
  return tensors;
}

// Large ones first, each to the holder that has the least to write.
void choose_writers(std::map<std::string, Whole>& tensors, int ranks) {
  std::vector<std::pair<int64_t, Held*>> order;
  for (auto& [name, t] : tensors)
    for (Held& h : t.boxes) order.emplace_back(numel(h.shape) * static_cast<int64_t>(size_of(t.dtype)), &h);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<int64_t> load(static_cast<size_t>(ranks), 0);
  for (auto& [bytes, h] : order) {
    h->writer = *std::min_element(h->ranks.begin(), h->ranks.end(), [&](int a, int b) {
      return load[static_cast<size_t>(a)] < load[static_cast<size_t>(b)];
    });
    load[static_cast<size_t>(h->writer)] += bytes;
  }
}

std::string key_of(const std::string& name, const Whole& t, const Held& h) {
  if (h.shape == t.shape) return name;
  std::string key = name + "@";
  for (size_t d = 0; d < h.start.size(); ++d) key += fmt::format("{}{}", d ? "," : "", h.start[d]);
  return key;
}

void sync_folder(const fs::path& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

// The folder that was written takes the place of the path, in one step where the system can exchange two names.
void put_in_place(const fs::path& written, const fs::path& path) {
  if (fs::exists(path)) {
    if (renameat2(AT_FDCWD, written.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) {
      fs::remove_all(written);
    } else {
      fs::path old = path.string() + ".old";
      fs::remove_all(old);
      fs::rename(path, old);
      fs::rename(written, path);
      fs::remove_all(old);
    }
  } else {
    fs::rename(written, path);
  }
  sync_folder(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

}  // namespace

void save(comm::Communicator& group, const fs::path& path, const std::vector<Piece>& pieces, const Json& state) {
  auto tensors = collect(group, pieces);
  choose_writers(tensors, group.size());
  uint64_t token = std::random_device{}();
  group.broadcast(&token, sizeof token, 0);
  fs::path folder = path.string() + fmt::format(".saving-{:08x}", token & 0xffffffff);
  auto clean = [&] {
    std::error_code ignored;
    if (group.rank() == 0) fs::remove_all(folder, ignored);
  };
  try {
    together(group, "checkpoint", [&] {
      if (group.rank() == 0) fs::create_directories(folder);
    });
    together(group, "checkpoint", [&] {
      io::TensorMap own;
      for (const auto& [name, t] : tensors)
        for (const Held& h : t.boxes) {
          if (h.writer != group.rank()) continue;
          for (const Piece& p : pieces)
            if (p.name == name && p.start == h.start && p.local.sizes() == h.shape)
              own.emplace(key_of(name, t, h), p.local.detach());
        }
      if (!own.empty()) io::save_safetensors(folder / file_of(group.rank()), own, {{"format", "pt"}});
    });
    together(group, "checkpoint", [&] {
      if (group.rank() != 0) return;
      Json index{{"format", kFormat}, {"state", state}, {"tensors", Json::object()}};
      for (const auto& [name, t] : tensors) {
        Json boxes = Json::array();
        for (const Held& h : t.boxes)
          boxes.push_back({{"file", file_of(h.writer)},
                           {"key", key_of(name, t, h)},
                           {"start", numbers(h.start)},
                           {"shape", numbers(h.shape)}});
        index["tensors"][name] = {
            {"dtype", std::string(short_name(t.dtype))}, {"shape", numbers(t.shape)}, {"boxes", boxes}};
      }
      write_file(folder / kIndex, index.dump(1) + "\n");
      sync_folder(folder);
      put_in_place(folder, path);
    });
  } catch (...) {
    clean();
    throw;
  }
}

Sharded Sharded::open(const fs::path& path) {
  Sharded out;
  out.path_ = path;
  out.files_ = std::make_shared<std::map<std::string, io::SafetensorsFile>>();
  fs::path file = path / kIndex;
  std::string where = file.string();
  SORUS_CHECK(fs::exists(file), FileError, "{}: there is no such file; a checkpoint of ranks is a folder with it",
              where);
  Json index = io::parse_json(read_file(file, size_t{1} << 30), where);
  SORUS_CHECK(io::string_member(index, "format", where) == kFormat, FileError,
              "{}: the format is '{}', expected '{}'", where, io::string_member(index, "format", where), kFormat);
  out.state_ = index.contains("state") ? index["state"] : Json();
  for (const auto& [name, t] : io::object_member(index, "tensors", where).items()) {
    std::string at = fmt::format("{}: tensor '{}'", where, name);
    Entry e{type_from(io::string_member(t, "dtype", at), at), shape_from(io::array_member(t, "shape", at), at), {}};
    for (const Json& b : io::array_member(t, "boxes", at)) {
      Box box{io::string_member(b, "file", at), io::string_member(b, "key", at),
              shape_from(io::array_member(b, "start", at), at), shape_from(io::array_member(b, "shape", at), at)};
      bool inside = box.start.size() == e.shape.size() && box.shape.size() == e.shape.size();
      for (size_t d = 0; inside && d < e.shape.size(); ++d) inside = box.start[d] + box.shape[d] <= e.shape[d];
      SORUS_CHECK(inside, FileError, "{}: a box of shape {} at {} is not inside the shape {}", at,
                  sorus::to_string(box.shape), sorus::to_string(box.start), sorus::to_string(e.shape));
      SORUS_CHECK(box.file.find('/') == box.file.npos && box.file != "..", FileError,
                  "{}: '{}' is not the name of a file beside the index", at, box.file);
      e.boxes.push_back(std::move(box));
    }
    out.entries_.emplace(name, std::move(e));
  }
  return out;
}

void Sharded::read(const std::string& name, IntSpan start, const Tensor& into) const {
  auto it = entries_.find(name);
  if (it == entries_.end()) {
    std::string known;
    int shown = 0;
    for (const auto& [n, e] : entries_)
      if (++shown <= 5) known += (known.empty() ? "" : ", ") + n;
    fail<KeyError>("{}: there is no tensor '{}' among {}: {}{}", path_.string(), name, entries_.size(), known,
                   shown > 5 ? ", ..." : "");
  }
  const Entry& e = it->second;
  bool inside = start.size() == e.shape.size() && into.sizes().size() == e.shape.size();
  for (size_t d = 0; inside && d < e.shape.size(); ++d)
    inside = start[d] >= 0 && start[d] + into.sizes()[d] <= e.shape[d];
  SORUS_CHECK(inside, ValueError, "{}: '{}' has the shape {}; a box of shape {} at {} is not inside it",
              path_.string(), name, sorus::to_string(e.shape), sorus::to_string(into.sizes()),
              sorus::to_string(Shape(start)));
  int64_t filled = 0;
  Shape from, shape;
  for (const Box& b : e.boxes) {
    if (!overlap(start, into.sizes(), b.start, b.shape, from, shape)) continue;
    auto file = files_->find(b.file);
    if (file == files_->end()) file = files_->emplace(b.file, io::SafetensorsFile::open(path_ / b.file)).first;
    Tensor saved = file->second.tensor(b.key);
    SORUS_CHECK(saved.sizes() == b.shape && saved.dtype() == e.dtype, FileError,
                "{}: '{}' is a {}, the index says {}{}", (path_ / b.file).string(), b.key, saved.type().to_string(),
                short_name(e.dtype), sorus::to_string(b.shape));
    auto part = [&](const Tensor& t, IntSpan origin) {
      Geometry g{shape, t.strides(), t.geometry().offset};
      for (size_t d = 0; d < shape.size(); ++d) g.offset += (from[d] - origin[d]) * t.strides()[d];
      return t.with_geometry(g);
    };
    copy_elements(part(into, start), part(saved, b.start));
    filled += numel(shape);
  }
  SORUS_CHECK(filled == into.numel(), FileError, "{}: the boxes of '{}' fill {} of {} elements", path_.string(), name,
              filled, into.numel());
  into.storage()->bump_version();
}

}  // namespace sorus::checkpoint
