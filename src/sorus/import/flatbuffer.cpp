#include "sorus/import/flatbuffer.h"

namespace sorus::importer {

void FlatTable::broken(size_t at) const {
  fail<FileError>("{}: damaged: an offset at byte {} points outside of the {} bytes of the file", file_, at,
                  all_.size());
}

FlatTable FlatTable::root(std::string_view bytes, std::string_view identifier, std::string_view file) {
  SORUS_CHECK(bytes.size() >= 8, FileError, "{}: {} bytes are too few for a model", file, bytes.size());
  SORUS_CHECK(identifier.empty() || bytes.substr(4, 4) == identifier, FileError,
              "{}: expected the letters '{}' at byte 4", file, identifier);
  FlatTable start;
  start.all_ = bytes;
  start.file_ = file;
  return {bytes, file, start.target(0)};
}

FlatTable::FlatTable(std::string_view all, std::string_view file, size_t at) : all_(all), file_(file), table_(at) {
  auto back = static_cast<int64_t>(at) - load<int32_t>(at);
  if (back < 0 || back > static_cast<int64_t>(all_.size())) broken(at);
  vtable_ = static_cast<size_t>(back);
  vtable_size_ = load<uint16_t>(vtable_);
  table_size_ = load<uint16_t>(vtable_ + 2);
  if (vtable_size_ < 4 || vtable_ + vtable_size_ > all_.size() || table_ + table_size_ > all_.size()) broken(vtable_);
}

// Where a field lies; 0 if it is left out.
size_t FlatTable::place(int field, size_t size) const {
  size_t entry = 4 + 2 * static_cast<size_t>(field);
  if (!table_ || entry + 2 > vtable_size_) return 0;
  uint16_t offset = load<uint16_t>(vtable_ + entry);
  if (offset == 0) return 0;
  if (offset + size > table_size_) broken(vtable_ + entry);
  return table_ + offset;
}

FlatTable::Elements FlatTable::elements(int field, size_t size) const {
  size_t at = place(field, 4);
  if (at == 0) return {};
  size_t vector = target(at), count = load<uint32_t>(vector), begin = vector + 4;
  if (count > (all_.size() - begin) / size) broken(vector);
  return {begin, all_.substr(begin, count * size)};
}

FlatTable FlatTable::table(int field) const {
  size_t at = place(field, 4);
  return at == 0 ? FlatTable() : FlatTable(all_, file_, target(at));
}

std::vector<FlatTable> FlatTable::tables(int field) const {
  Elements e = elements(field, 4);
  std::vector<FlatTable> out;
  for (size_t i = 0; i < e.bytes.size(); i += 4) out.push_back(FlatTable(all_, file_, target(e.at + i)));
  return out;
}

}  // namespace sorus::importer
