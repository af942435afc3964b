// Readers of data: tensors, checkpoints, images, tokenizers. They need no operators, so all that they call is built
// with the checks of memory.
#include "fuzz.h"
#include "sorus/base/files.h"
#include "sorus/data/images.h"
#include "sorus/data/tokenizer.h"
#include "sorus/io/checkpoint.h"
#include "sorus/io/idx.h"
#include "sorus/io/npy.h"

namespace {

using namespace sorus;
namespace fs = std::filesystem;
using fuzz::Reader;

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

}  // namespace

std::span<const sorus::fuzz::Reader> sorus::fuzz::readers() { return kReaders; }
