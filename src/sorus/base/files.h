// Files: reading by memory map, and writing so that a crash never leaves half a file.
//
//   auto file = MappedFile::open("model.safetensors");    // shared; a tensor may keep it alive
//   std::span<std::byte> bytes = file->bytes();
//
//   AtomicWriter out("model.safetensors");                // writes model.safetensors.tmp-<pid>-<n> beside it
//   out.write(bytes);
//   out.commit();                                         // fsync, rename, fsync of the folder
//
// Until `commit` returns, whoever opens the path sees the older file, complete; an AtomicWriter that is destroyed
// without a commit (an exception, a full disk) removes its temporary. Every error is a FileError that starts with the
// path.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "sorus/base/error.h"
#include "sorus/base/ref.h"

namespace sorus {

/// There is no file of that name: FileNotFoundError in Python.
class MissingFileError : public FileError {
  using FileError::FileError;
};

/// A view of a whole file. The pages are loaded when touched and shared with other processes. Writing to them is
/// allowed and stays private to this process (copy on write), so that a tensor on a mapped file behaves like any
/// other. A file that another program truncates while it is mapped cannot be guarded against: touching lost pages is
/// SIGBUS.
class MappedFile : public RefCounted {
 public:
  static Ref<MappedFile> open(const std::filesystem::path& path);
  ~MappedFile() override;

  std::span<std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  explicit MappedFile(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// The whole file as a string; refuses files of more than `max_bytes`.
std::string read_file(const std::filesystem::path& path, size_t max_bytes = SIZE_MAX);

/// Writes a file that appears complete or not at all.
class AtomicWriter {
 public:
  explicit AtomicWriter(std::filesystem::path path);
  ~AtomicWriter();
  AtomicWriter(const AtomicWriter&) = delete;
  AtomicWriter& operator=(const AtomicWriter&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();
  size_t bytes_written() const { return written_ + buffer_.size(); }

 private:
  void flush();
  void write_through(const char* data, size_t size);
  [[noreturn]] void fail_with_errno(const char* what);

  std::filesystem::path path_, temporary_;
  std::string buffer_;
  size_t written_ = 0;
  int descriptor_ = -1;
};

/// `AtomicWriter` for a content at hand.
void write_file(const std::filesystem::path& path, std::string_view content);

/// Where what can be made again is kept: $SORUS_CACHE, else $XDG_CACHE_HOME/sorus, else ~/.cache/sorus. It need not
/// exist yet.
std::filesystem::path cache_folder();

}  // namespace sorus
