// Writes FlatBuffers, enough to make small models in tests: a tree of tables, laid out parents first.
//
//   Flat model = Flat::table({{0, Flat::number<uint32_t>(3)}, {3, Flat::text("made in a test")}});
//   std::string file = flat_file(model, "TFL3");
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sorus::test {

struct Flat {
  enum class Kind { number, vector, table, tables } kind = Kind::number;
  std::string bytes;  // of a number, or of the elements of a vector
  size_t count = 0;
  std::map<int, Flat> fields;
  std::vector<Flat> items;

  template <class T>
  static Flat number(T v) {
    return {Kind::number, std::string(reinterpret_cast<const char*>(&v), sizeof(T)), 1, {}, {}};
  }
  template <class T>
  static Flat numbers(const std::vector<T>& v) {
    return {
        Kind::vector, std::string(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(T)), v.size(), {}, {}};
  }
  static Flat text(std::string_view s) { return {Kind::vector, std::string(s), s.size(), {}, {}}; }
  static Flat table(std::map<int, Flat> fields) { return {Kind::table, "", 0, std::move(fields), {}}; }
  static Flat tables(std::vector<Flat> items) { return {Kind::tables, "", items.size(), {}, std::move(items)}; }
};

inline std::string flat_file(const Flat& root, std::string_view identifier) {
  std::string out(8, '\0');
  std::memcpy(out.data() + 4, identifier.data(), 4);
  std::deque<std::pair<size_t, const Flat*>> open{{0, &root}};  // where an offset is missing, and to what
  auto align = [&](size_t n, size_t ahead = 0) {
    while ((out.size() + ahead) % n) out += '\0';
  };
  auto put = [&](auto v) { out.append(reinterpret_cast<const char*>(&v), sizeof(v)); };
  while (!open.empty()) {
    auto [from, flat] = open.front();
    open.pop_front();
    size_t at = 0;
    if (flat->kind == Flat::Kind::table) {
      std::string body(4, '\0');
      std::vector<uint16_t> places(flat->fields.empty() ? 0 : static_cast<size_t>(flat->fields.rbegin()->first) + 1,
                                   0);
      std::vector<std::pair<size_t, const Flat*>> children;
      for (const auto& [id, f] : flat->fields) {
        size_t size = f.kind == Flat::Kind::number ? f.bytes.size() : 4;
        while (body.size() % size) body += '\0';
        places[static_cast<size_t>(id)] = static_cast<uint16_t>(body.size());
        if (f.kind != Flat::Kind::number) children.emplace_back(body.size(), &f);
        body += f.kind == Flat::Kind::number ? f.bytes : std::string(4, '\0');
      }
      align(4);
      size_t vtable = out.size();
      put(static_cast<uint16_t>(4 + 2 * places.size()));
      put(static_cast<uint16_t>(body.size()));
      for (uint16_t p : places) put(p);
      align(8);
      at = out.size();
      auto back = static_cast<int32_t>(at - vtable);
      std::memcpy(body.data(), &back, 4);
      out += body;
      for (auto [where, child] : children) open.emplace_back(at + where, child);
    } else {
      align(16, 4);  // elements are aligned, the count stands before them
      at = out.size();
      put(static_cast<uint32_t>(flat->count));
      for (const Flat& f : flat->items) {
        open.emplace_back(out.size(), &f);
        put(uint32_t{0});
      }
      out += flat->bytes + '\0';
    }
    auto offset = static_cast<uint32_t>(at - from);
    std::memcpy(out.data() + from, &offset, 4);
  }
  return out;
}

}  // namespace sorus::test
