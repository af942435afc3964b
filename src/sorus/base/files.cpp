#include "sorus/base/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "sorus/base/error.h"

namespace sorus {
namespace fs = std::filesystem;
namespace {

constexpr size_t kBufferBytes = size_t{1} << 16;

/// A file descriptor that closes itself.
struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

/// Opens a regular file for reading and finds its size.
int open_regular(const fs::path& path, size_t& size) {
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  SORUS_CHECK(descriptor >= 0 || errno != ENOENT, MissingFileError, "{}: cannot open for reading: {}", path.string(),
              std::strerror(errno));
  SORUS_CHECK(descriptor >= 0, FileError, "{}: cannot open for reading: {}", path.string(), std::strerror(errno));
  struct stat info {};
  bool known = ::fstat(descriptor, &info) == 0;
  if (!known || !S_ISREG(info.st_mode)) {
    ::close(descriptor);
    fail<FileError>("{}: expected a file, found {}", path.string(),
                    known && S_ISDIR(info.st_mode) ? "a folder" : "something else");
  }
  size = static_cast<size_t>(info.st_size);
  return descriptor;
}

}  // namespace

Ref<MappedFile> MappedFile::open(const fs::path& path) {
  Ref<MappedFile> file(new MappedFile(path));
  Descriptor descriptor{open_regular(path, file->size_)};
  if (file->size_ == 0) return file;  // mmap refuses empty ranges
  void* data = ::mmap(nullptr, file->size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor.value, 0);
  SORUS_CHECK(data != MAP_FAILED, FileError, "{}: cannot map {} bytes: {}", path.string(), file->size_,
              std::strerror(errno));
  file->data_ = static_cast<std::byte*>(data);
  return file;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(data_, size_);
}

std::string read_file(const fs::path& path, size_t max_bytes) {
  size_t size = 0;
  Descriptor descriptor{open_regular(path, size)};
  SORUS_CHECK(size <= max_bytes, FileError, "{}: {} bytes, at most {} are expected here", path.string(), size,
              max_bytes);
  std::string content(size, '\0');
  for (size_t done = 0; done < size;) {
    ssize_t n = ::read(descriptor.value, content.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    SORUS_CHECK(n >= 0, FileError, "{}: cannot read: {}", path.string(), std::strerror(errno));
    SORUS_CHECK(n > 0, FileError, "{}: ended after {} bytes of {}", path.string(), done, size);
    done += static_cast<size_t>(n);
  }
  return content;
}

AtomicWriter::AtomicWriter(fs::path path) : path_(std::move(path)) {
  // Saving through a symbolic link replaces the file it names, not the link.
  std::error_code ignored;
  if (fs::is_symlink(path_, ignored)) {
    fs::path target = fs::weakly_canonical(path_, ignored);
    if (!ignored) path_ = target;
  }
  // A device or a pipe would be replaced by a file.
  fs::file_status there = fs::status(path_, ignored);
  SORUS_CHECK(!fs::exists(there) || fs::is_regular_file(there), FileError, "{}: expected a file to write, found {}",
              path_.string(), fs::is_directory(there) ? "a folder" : "something else");
  static std::atomic<unsigned> counter{0};
  temporary_ = path_;
  temporary_ += fmt::format(".tmp-{}-{}", ::getpid(), counter++);
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  SORUS_CHECK(descriptor_ >= 0, FileError, "{}: cannot create {}: {}", path_.string(), temporary_.filename().string(),
              std::strerror(errno));
  buffer_.reserve(kBufferBytes);
}

AtomicWriter::~AtomicWriter() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicWriter::write(std::span<const std::byte> bytes) {
  SORUS_CHECK(descriptor_ >= 0, FileError, "{}: written to after commit", path_.string());
  if (bytes.empty()) return;
  auto* data = reinterpret_cast<const char*>(bytes.data());
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() >= kBufferBytes) {
    write_through(data, bytes.size());
  } else {
    buffer_.append(data, bytes.size());
  }
}

void AtomicWriter::commit() {
  SORUS_CHECK(descriptor_ >= 0, FileError, "{}: committed twice", path_.string());
  flush();
  // A delayed "no space left" is reported by fsync or close at the latest; only then may the older file go.
  if (::fsync(descriptor_) != 0) fail_with_errno("cannot flush to disk");
  if (::close(std::exchange(descriptor_, -1)) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    int code = errno;
    ::unlink(temporary_.c_str());
    errno = code;
    fail_with_errno("cannot replace the file");
  }
  fs::path folder = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
  Descriptor directory{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  // Some file systems cannot sync folders; the new file is complete either way.
  if (directory.value >= 0) (void)!::fsync(directory.value);
}

void AtomicWriter::flush() {
  write_through(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void AtomicWriter::write_through(const char* data, size_t size) {
  while (size > 0) {
    ssize_t n = ::write(descriptor_, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_with_errno("cannot write");
    data += n;
    size -= static_cast<size_t>(n);
    written_ += static_cast<size_t>(n);
  }
}

void AtomicWriter::fail_with_errno(const char* what) {
  int code = errno;
  fail<FileError>("{}: {}: {} (after {} bytes; an older file of this name is unchanged)", path_.string(), what,
                  std::strerror(code), written_);
}

void write_file(const fs::path& path, std::string_view content) {
  AtomicWriter out(path);
  out.write(content);
  out.commit();
}

fs::path cache_folder() {
  if (const char* dir = std::getenv("SORUS_CACHE"); dir && *dir) return dir;
  if (const char* dir = std::getenv("XDG_CACHE_HOME"); dir && *dir) return fs::path(dir) / "sorus";
  const char* home = std::getenv("HOME");
  return fs::path(home && *home ? home : "/tmp") / ".cache" / "sorus";
}

}  // namespace sorus
