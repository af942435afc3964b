// Coverage-guided fuzzing of every reader of files, with libFuzzer: `make fuzz` builds it once for each reader.
// A reader answers a file with a value or with a FileError; anything else (another exception, a crash, memory that
// grows without bound) is a bug. tests/cpp has mutational fuzzing of the same readers, in every test run.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "sorus/base/files.h"
#include "sorus/data/images.h"
#include "sorus/data/tokenizer.h"
#include "sorus/io/checkpoint.h"
#include "sorus/io/idx.h"
#include "sorus/io/npy.h"

namespace {

using namespace sorus;
namespace fs = std::filesystem;

volatile int64_t sink;
void touch(const Tensor& t) {
  if (t.numel() == 0) return;
  int64_t sum = 0;
  // A tensor of a file may have any strides, but only inside the file.
  for (int64_t d = 0, at = 0; d <= t.dim(); ++d) {
    sum += t.data<unsigned char>()[at * static_cast<int64_t>(size_of(t.dtype()))];
    if (d < t.dim()) at += (t.sizes()[static_cast<size_t>(d)] - 1) * t.strides()[static_cast<size_t>(d)];
  }
  sink = sum;
}

struct Reader {
  const char* name;
  void (*read)(const fs::path&);
  void (*write_seed)(const fs::path&);
};

const Reader kReaders[] = {
    {"safetensors",
     [](const fs::path& p) {
       for (auto& [name, t] : io::load_safetensors(p)) touch(t);
     },
     [](const fs::path& p) {
       io::save_safetensors(
           p, {{"a", Tensor::zeros(Shape{2, 3}, DType::f32)}, {"b", Tensor::zeros(Shape{0}, DType::u8)}},
           {{"k", "v"}});
     }},
    {"checkpoint",
     [](const fs::path& p) {
       for (auto& [name, t] : io::load_checkpoint(p).tensors) touch(t);
     },
     [](const fs::path& p) {
       io::save_checkpoint(p,
                           {{{"a", Tensor::zeros(Shape{2}, DType::f32)}}, {{"step", 3}, {"list", {1.5, nullptr}}}});
     }},
    {"npy", [](const fs::path& p) { touch(io::load_npy(p)); },
     [](const fs::path& p) {
       io::save_npy(p, Tensor::zeros(Shape{2, 3}, DType::f32));
     }},
    {"idx", [](const fs::path& p) { touch(io::load_idx(p)); },
     [](const fs::path& p) { write_file(p, std::string("\0\0\x08\x02\0\0\0\x02\0\0\0\x01xy", 14)); }},
    {"cifar", [](const fs::path& p) { touch(data::read_cifar({p}, 1, 0, 10).images); },
     [](const fs::path& p) { write_file(p, std::string(3073, '\3')); }},
    {"tokenizer",
     [](const fs::path& p) {
       auto tokenizer = data::load_tokenizer(p);
       try {
         tokenizer->encode("some text, 12 \n");
       } catch (const ValueError&) {  // a vocabulary need not have every byte
       }
     },
     [](const fs::path& p) {
       std::string_view text = "some text, some more";
       data::BpeTokenizer::train(std::span(&text, 1), {.vocab_size = 262, .special_tokens = {"<|end|>"}})->save(p);
     }},
};

const Reader& chosen() {
  static const Reader& reader = []() -> const Reader& {
    const char* wanted = std::getenv("READER");
    for (auto& r : kReaders)
      if (wanted && std::string_view(wanted) == r.name) return r;
    std::abort();  // scripts/fuzz.sh names one
  }();
  return reader;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  if (const char* folder = std::getenv("WRITE_SEED")) {
    chosen().write_seed(fs::path(folder) / "seed");
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int file = memfd_create("input", 0);
  static const fs::path path = fmt::format("/proc/self/fd/{}", file);
  if (ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  try {
    chosen().read(path);
  } catch (const FileError&) {
  }
  return 0;
}
