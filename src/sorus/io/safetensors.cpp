#include "sorus/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "sorus/base/text.h"
#include "sorus/io/contiguous.h"
#include "sorus/io/json.h"
#include "sorus/tensor/host_memory.h"

static_assert(std::endian::native == std::endian::little, "safetensors and Sorus' memory agree on little endian");

namespace sorus::io {
namespace {

constexpr size_t kMaxHeader = 100'000'000;  // the limit of the reference implementation
constexpr size_t kAlignment = 64;

struct FormatType {
  const char* name;
  size_t size;
  std::optional<DType> dtype;
};
constexpr FormatType kTypes[] = {
    {"F64", 8, DType::f64},       {"F32", 4, DType::f32},      {"BF16", 2, DType::bf16},
    {"F16", 2, DType::f16},       {"I64", 8, DType::i64},      {"I32", 4, DType::i32},
    {"I16", 2, DType::i16},       {"I8", 1, DType::i8},        {"U8", 1, DType::u8},
    {"BOOL", 1, DType::boolean},  {"C64", 8, DType::c64},      {"U16", 2, std::nullopt},
    {"U32", 4, std::nullopt},     {"U64", 8, std::nullopt},    {"F8_E4M3", 1, std::nullopt},
    {"F8_E5M2", 1, std::nullopt}, {"F8_E8M0", 1, std::nullopt}};

const FormatType* find_type(std::string_view name) {
  auto found = std::ranges::find(kTypes, name, &FormatType::name);
  return found == std::end(kTypes) ? nullptr : found;
}

const char* name_in_format(DType dtype, const std::string& tensor) {
  for (const FormatType& t : kTypes)
    if (t.dtype == dtype) return t.name;
  fail<ValueError>("save_safetensors: '{}' is {}, which the format does not know; save real and imaginary part apart",
                   tensor, name(dtype));
}

/// A list of non-negative integers.
std::vector<uint64_t> read_sizes(const Json& list, const std::string& what, const std::string& where) {
  std::vector<uint64_t> sizes;
  for (const Json& size : list) {
    SORUS_CHECK(size.is_number_unsigned(), FileError, "{}: {}: expected non-negative integers, found {}", where, what,
                describe(size));
    sizes.push_back(size.get<uint64_t>());
  }
  return sizes;
}

SafetensorsFile::Entry read_entry(const Json& json, size_t data_size, const std::string& where) {
  SafetensorsFile::Entry entry;
  entry.format_type = string_member(json, "dtype", where);
  const FormatType* type = find_type(entry.format_type);
  SORUS_CHECK(type, FileError, "{}: unknown dtype {}", where, quote(entry.format_type));

  auto shape = read_sizes(array_member(json, "shape", where), "shape", where);
  // Zeros are left out of the product: strides are computed from the other sizes and must not overflow either.
  int64_t bytes = static_cast<int64_t>(type->size);
  bool empty = false;
  for (uint64_t size : shape) {
    empty |= size == 0;
    bool overflow =
        size > INT64_MAX || (size != 0 && __builtin_mul_overflow(bytes, static_cast<int64_t>(size), &bytes));
    SORUS_CHECK(!overflow, FileError, "{}: the sizes [{}] overflow", where, fmt::join(shape, ", "));
    entry.shape.push_back(static_cast<int64_t>(size));
  }
  if (empty) bytes = 0;

  auto offsets = read_sizes(array_member(json, "data_offsets", where), "data_offsets", where);
  SORUS_CHECK(offsets.size() == 2, FileError, "{}: data_offsets: expected 2 numbers, found {}", where,
              offsets.size());
  SORUS_CHECK(offsets[0] <= offsets[1] && offsets[1] <= data_size, FileError,
              "{}: data_offsets [{}, {}] reach outside the {} bytes of data in the file", where, offsets[0],
              offsets[1], data_size);
  SORUS_CHECK(offsets[1] - offsets[0] == static_cast<uint64_t>(bytes), FileError,
              "{}: {} of shape {} needs {} bytes, data_offsets [{}, {}] are {} bytes", where, entry.format_type,
              to_string(entry.shape), bytes, offsets[0], offsets[1], offsets[1] - offsets[0]);
  entry.begin = offsets[0];
  entry.end = offsets[1];
  return entry;
}

/// The format wants every byte of data to belong to exactly one tensor.
void check_coverage(const std::map<std::string, SafetensorsFile::Entry>& entries, size_t data_size,
                    const std::string& file) {
  std::vector<std::pair<const std::string*, const SafetensorsFile::Entry*>> order;
  for (auto& [name, entry] : entries) order.emplace_back(&name, &entry);
  std::ranges::sort(order, {}, [](auto& p) { return std::pair(p.second->begin, p.second->end); });
  size_t at = 0;
  const std::string* before = nullptr;
  for (auto& [name, entry] : order) {
    if (entry->begin < at)
      fail<FileError>("{}: tensor {}: its bytes from {} overlap those of {}, which end at {}", file, quote(*name),
                      entry->begin, quote(*before), at);
    SORUS_CHECK(entry->begin == at, FileError, "{}: tensor {}: expected to begin at byte {} of the data, found {}",
                file, quote(*name), at, entry->begin);
    at = entry->end;
    before = name;
  }
  SORUS_CHECK(at == data_size, FileError, "{}: the tensors need {} bytes of data, the file has {}", file, at,
              data_size);
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile result;
  result.file_ = MappedFile::open(path);
  std::string file = path.string();
  std::string_view text = result.file_->text();
  SORUS_CHECK(text.size() >= 8, FileError, "{}: not a safetensors file: {} bytes, expected at least 8", file,
              text.size());
  uint64_t header_size;
  std::memcpy(&header_size, text.data(), 8);
  SORUS_CHECK(header_size <= kMaxHeader, FileError,
              "{}: not a safetensors file: it claims a header of {} bytes, expected at most {}", file, header_size,
              kMaxHeader);
  SORUS_CHECK(header_size <= text.size() - 8, FileError,
              "{}: cut short: expected a header of {} bytes, the file has {} bytes after the first 8", file,
              header_size, text.size() - 8);
  SORUS_CHECK(header_size > 0 && text[8] == '{', FileError,
              "{}: not a safetensors file: the header must begin with '{{'", file);
  result.data_start_ = 8 + header_size;
  size_t data_size = text.size() - result.data_start_;

  Json header = parse_json(text.substr(8, header_size), file);
  for (auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      SORUS_CHECK(value.is_object(), FileError, "{}: __metadata__: expected an object, found {}", file,
                  describe(value));
      for (auto& [key, text_value] : value.items()) {
        SORUS_CHECK(text_value.is_string(), FileError, "{}: __metadata__ {}: expected a string, found {}", file,
                    quote(key), describe(text_value));
        result.metadata_[key] = text_value.get<std::string>();
      }
    } else {
      result.entries_[name] = read_entry(value, data_size, fmt::format("{}: tensor {}", file, quote(name)));
    }
  }
  check_coverage(result.entries_, data_size, file);
  return result;
}

Tensor SafetensorsFile::tensor(const std::string& name) const {
  auto found = entries_.find(name);
  if (found == entries_.end()) {
    std::vector<std::string> names;
    for (auto& [known, entry] : entries_) names.push_back(known);
    fail<KeyError>("{}: no tensor {}, it has {}", file_->path().string(), quote(name), abbreviated_list(names));
  }
  const Entry& entry = found->second;
  std::optional<DType> dtype = find_type(entry.format_type)->dtype;
  SORUS_CHECK(dtype, FileError, "{}: tensor {}: elements of type {} are not supported", file_->path().string(),
              quote(name), entry.format_type);
  std::byte* data = file_->bytes().data() + data_start_ + entry.begin;
  size_t bytes = entry.end - entry.begin;
  if (reinterpret_cast<uintptr_t>(data) % std::min<size_t>(size_of(*dtype), 8) != 0 || bytes == 0) {
    // Other writers need not align the data; ours does.
    Tensor copy = Tensor::empty(entry.shape, *dtype);
    if (bytes) std::memcpy(copy.data(), data, bytes);
    return copy;
  }
  auto storage = Storage::wrap(data, bytes, [keep = file_] {});
  return Tensor::from_storage(storage, {entry.shape, contiguous_strides(entry.shape), 0}, *dtype);
}

TensorMap SafetensorsFile::tensors() const {
  TensorMap result;
  for (auto& [name, entry] : entries_) result.emplace(name, tensor(name));
  return result;
}

TensorMap load_safetensors(const std::filesystem::path& path) { return SafetensorsFile::open(path).tensors(); }

void save_safetensors(const std::filesystem::path& path, const TensorMap& tensors, const Metadata& metadata) {
  std::vector<std::pair<const std::string*, const Tensor*>> order;
  for (auto& [name, tensor] : tensors) {
    SORUS_CHECK(tensor.defined(), ValueError, "save_safetensors: '{}' is not defined", name);
    SORUS_CHECK(name != "__metadata__" && is_valid_utf8(name), ValueError,
                "save_safetensors: a tensor cannot be named {}", quote(name));
    order.emplace_back(&name, &tensor);
  }
  // With the largest elements first, every tensor is aligned to its element size without holes.
  std::ranges::stable_sort(order, std::greater{}, [](auto& p) { return size_of(p.second->dtype()); });

  // Ordered, so that the header lists the tensors as they lie.
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t at = 0;
  for (auto& [name, tensor] : order) {
    size_t end = at + tensor->nbytes();
    header[*name] = {{"dtype", name_in_format(tensor->dtype(), *name)},
                     {"shape", tensor->sizes().to_vector()},
                     {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    fail<ValueError>("save_safetensors: the metadata for {} is not valid UTF-8", path.string());
  }
  text.resize((text.size() + 8 + kAlignment - 1) / kAlignment * kAlignment - 8, ' ');
  SORUS_CHECK(text.size() <= kMaxHeader, ValueError,
              "save_safetensors: {}: a header of {} bytes, at most {} are allowed", path.string(), text.size(),
              kMaxHeader);

  AtomicWriter out(path);
  uint64_t header_size = text.size();
  out.write(std::as_bytes(std::span(&header_size, 1)));
  out.write(text);
  for (auto& [name, tensor] : order) {
    out.write(bytes_of(contiguous(*tensor)));
    if (HostMemory* host = HostMemory::active()) host->settle();
  }
  out.commit();
}

}  // namespace sorus::io
