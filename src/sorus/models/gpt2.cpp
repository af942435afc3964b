#include "sorus/models/gpt2.h"

#include "sorus/io/checkpoint.h"
#include "sorus/tensor/copy.h"

namespace sorus::models {
namespace fs = std::filesystem;
namespace {

using io::Json;
constexpr size_t kMaxConfig = size_t{1} << 24;
constexpr std::string_view kPrefix = "transformer.";

/// Conv1D of the transformers library multiplies from the right: [in, out].
bool is_transposed(std::string_view name) {
  for (std::string_view layer : {"attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"})
    if (name.ends_with(layer)) return true;
  return false;
}

/// Masks that old files store; attention here is causal without them.
bool is_mask(std::string_view name) { return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"); }

Tensor transposed(const Tensor& t, const std::string& where) {
  SORUS_CHECK(t.dim() == 2, FileError, "{}: expected two dimensions, found {}", where, to_string(t.sizes()));
  return t.with_geometry({{t.sizes()[1], t.sizes()[0]}, {t.strides()[1], t.strides()[0]}, t.geometry().offset});
}

int64_t size_member(const Json& config, const char* key, std::optional<int64_t> otherwise, const std::string& where) {
  if (otherwise && (!config.contains(key) || config[key].is_null())) return *otherwise;
  const Json& value = io::member(
      config, key, "a number from 1 to 2^31",
      [](const Json& v) { return v.is_number_unsigned() && v > 0 && v <= (int64_t{1} << 31); }, where);
  return value.get<int64_t>();
}

/// Fails unless the member is missing or one of the values that mean what the model here does.
void expect(const Json& config, const char* key, std::initializer_list<Json> right, const std::string& where) {
  if (!config.contains(key)) return;
  for (const Json& value : right)
    if (config[key] == value) return;
  fail<FileError>("{}: '{}' is {}, which is not supported, expected {}", where, key, config[key].dump(),
                  right.begin()->dump());
}

io::SafetensorsFile open_weights(const fs::path& folder) {
  fs::path path = folder / "model.safetensors";
  std::error_code error;
  SORUS_CHECK(fs::exists(path, error), FileError, "{}: no such file{}", path.string(),
              fs::exists(folder / "pytorch_model.bin", error)
                  ? "; pytorch_model.bin is a pickle, which is not read because it can run any code: convert it"
                  : "");
  return io::SafetensorsFile::open(path);
}

/// The sizes of the configuration are those of the file: no model is made that is larger than what is there.
void check_sizes(const nn::GPTConfig& c, const fs::path& folder) {
  io::SafetensorsFile file = open_weights(folder);
  auto expect = [&](const std::string& name, const Shape& shape) {
    std::string full = std::string(kPrefix) + name;
    auto found = file.entries().find(file.contains(full) ? full : name);
    std::string where = (folder / "model.safetensors").string();
    SORUS_CHECK(found != file.entries().end(), FileError, "{}: '{}' is missing, which config.json promises", where,
                name);
    SORUS_CHECK(found->second.shape == shape, FileError, "{}: '{}': expected {} by config.json, found {}", where,
                name, to_string(shape), to_string(found->second.shape));
  };
  expect("wte.weight", {c.vocab_size, c.n_embd});
  expect("wpe.weight", {c.block_size, c.n_embd});
  for (int64_t i = 0; i < c.n_layer; ++i) expect(fmt::format("h.{}.mlp.c_fc.weight", i), {c.n_embd, 4 * c.n_embd});
}

Json read_json(const fs::path& path) { return io::parse_json(read_file(path, kMaxConfig), path.string()); }

}  // namespace

nn::GPTConfig read_gpt2_config(const fs::path& folder) {
  std::string where = (folder / "config.json").string();
  Json config = read_json(folder / "config.json");
  SORUS_CHECK(config.is_object(), FileError, "{}: expected an object, found {}", where, io::describe(config));
  expect(config, "model_type", {"gpt2"}, where);
  expect(config, "activation_function", {"gelu_new", "gelu_pytorch_tanh"}, where);
  expect(config, "layer_norm_epsilon", {1e-5}, where);
  expect(config, "scale_attn_weights", {true}, where);
  expect(config, "scale_attn_by_inverse_layer_idx", {false}, where);
  expect(config, "add_cross_attention", {false}, where);
  expect(config, "tie_word_embeddings", {true}, where);
  nn::GPTConfig c;
  c.vocab_size = size_member(config, "vocab_size", {}, where);
  c.block_size = size_member(config, "n_positions", {}, where);
  c.n_layer = size_member(config, "n_layer", {}, where);
  c.n_head = size_member(config, "n_head", {}, where);
  c.n_embd = size_member(config, "n_embd", {}, where);
  SORUS_CHECK(c.n_embd % c.n_head == 0, FileError, "{}: 'n_embd' {} is not a multiple of 'n_head' {}", where,
              c.n_embd, c.n_head);
  int64_t inner = size_member(config, "n_inner", 4 * c.n_embd, where);
  SORUS_CHECK(inner == 4 * c.n_embd, FileError, "{}: 'n_inner' {} is not supported, expected 4 * n_embd = {}", where,
              inner, 4 * c.n_embd);
  if (config.contains("resid_pdrop")) {
    c.dropout = io::member(
                    config, "resid_pdrop", "a number in [0, 1)",
                    [](const Json& v) { return v.is_number() && v >= 0 && v < 1; }, where)
                    .get<double>();
  }
  check_sizes(c, folder);
  return c;
}

void load_gpt2_weights(nn::GPT& model, const fs::path& folder) {
  fs::path path = folder / "model.safetensors";
  io::TensorMap found, wanted;
  for (auto& [name, t] : open_weights(folder).tensors()) {
    std::string own = name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name;
    if (is_mask(own)) continue;
    Tensor as_here = is_transposed(own) ? transposed(t, path.string() + ": " + name) : t;
    SORUS_CHECK(found.emplace(own, as_here).second, FileError, "{}: {} is there twice, with and without '{}'",
                path.string(), own, kPrefix);
  }
  for (auto& [name, t] : model.state_dict()) wanted.emplace(name, t);

  // A head that is stored beside the embedding must be the embedding.
  if (auto head = found.find("lm_head.weight"); head != found.end()) {
    auto embedding = found.find("wte.weight");
    bool same = embedding != found.end() && embedding->second.type() == head->second.type() &&
                head->second.is_contiguous() && embedding->second.is_contiguous() &&
                std::memcmp(head->second.data(), embedding->second.data(), head->second.nbytes()) == 0;
    SORUS_CHECK(same, FileError, "{}: lm_head.weight differs from wte.weight; only a tied head is supported",
                path.string());
    found.erase(head);
  }
  std::string mismatch = io::describe_mismatch(wanted, found);
  SORUS_CHECK(mismatch.empty(), FileError, "{}: the tensors are not those of the model in config.json:{}",
              path.string(), mismatch);
  io::copy_tensors(found, wanted, path.string());
}

std::shared_ptr<nn::GPT> load_gpt2(const fs::path& folder) {
  auto model = std::make_shared<nn::GPT>(read_gpt2_config(folder));
  load_gpt2_weights(*model, folder);
  model->eval();
  return model;
}

void save_gpt2(const nn::GPT& model, const fs::path& folder) {
  const nn::GPTConfig& c = model.config();
  SORUS_CHECK(c.bias, ValueError, "save_gpt2: GPT-2's format has biases, this model has none");
  Json config{{"model_type", "gpt2"},
              {"architectures", {"GPT2LMHeadModel"}},
              {"vocab_size", c.vocab_size},
              {"n_positions", c.block_size},
              {"n_ctx", c.block_size},
              {"n_embd", c.n_embd},
              {"n_layer", c.n_layer},
              {"n_head", c.n_head},
              {"activation_function", "gelu_new"},
              {"layer_norm_epsilon", 1e-5},
              {"resid_pdrop", c.dropout},
              {"embd_pdrop", c.dropout},
              {"attn_pdrop", 0.0},
              {"tie_word_embeddings", true}};
  io::TensorMap tensors;
  for (auto& [name, t] : model.state_dict())
    tensors.emplace(std::string(kPrefix) + name, is_transposed(name) ? transposed(t, name) : t);
  std::error_code error;
  fs::create_directories(folder, error);
  SORUS_CHECK(!error, FileError, "{}: cannot make the folder: {}", folder.string(), error.message());
  io::save_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  write_file(folder / "config.json", config.dump(2) + "\n");
}

}  // namespace sorus::models
