#include "sorus/device/cmsis_nn.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>

#include <fmt/format.h>

#include "sorus/base/error.h"
#include "sorus/base/files.h"

namespace sorus::device {
namespace {

namespace fs = std::filesystem;

bool word_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// The name that begins here, if it is one of the library's.
std::string_view name_at(std::string_view text, size_t at) {
  size_t end = at;
  while (end < text.size() && word_char(text[end])) ++end;
  std::string_view name = text.substr(at, end - at);
  return name.starts_with("arm_") ? name : std::string_view();
}

// Whether parentheses that begin here are followed by the body of a function.
bool defines(std::string_view text, size_t at) {
  if (at >= text.size() || text[at] != '(') return false;
  size_t close = text.find(')', at);
  if (close == std::string_view::npos) return false;
  size_t next = text.find_first_not_of(" \t\r\n", close + 1);
  return next != std::string_view::npos && text[next] == '{';
}

// Functions are defined in lines that begin with their type; static ones are nobody else's.
bool begins_definition(std::string_view text, size_t at) {
  size_t line = text.rfind('\n', at);
  line = line == std::string_view::npos ? 0 : line + 1;
  return std::isalpha(static_cast<unsigned char>(text[line])) != 0 && text.substr(line, 6) != "static";
}

std::string without_includes(const std::string& text) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    std::string_view line = std::string_view(text).substr(at, end - at);
    if (!line.starts_with("#include")) result += line;
    at = end;
  }
  return result;
}

const char* const kAsk = R"(
#include <stdint.h>
int64_t sorus_conv(const int32_t *v)
{
  const cmsis_nn_conv_params params = {.stride = {.h = v[9], .w = v[10]}, .dilation = {.h = v[11], .w = v[12]}, .padding = {.h = v[13], .w = v[14]}};
  const cmsis_nn_dims in = {v[0], v[1], v[2], v[3]}, filter = {v[6], v[7], v[8], v[3]}, out = {v[0], v[4], v[5], v[6]};
  return arm_convolve_wrapper_s8_get_buffer_size%(&params, &in, &filter, &out);
}
int64_t sorus_depthwise(const int32_t *v)
{
  const cmsis_nn_dw_conv_params params = {.ch_mult = v[6] / v[3], .stride = {.h = v[9], .w = v[10]}, .dilation = {.h = v[11], .w = v[12]}, .padding = {.h = v[13], .w = v[14]}};
  const cmsis_nn_dims in = {v[0], v[1], v[2], v[3]}, filter = {1, v[7], v[8], v[6]}, out = {v[0], v[4], v[5], v[6]};
  return arm_depthwise_conv_wrapper_s8_get_buffer_size%(&params, &in, &filter, &out);
}
int64_t sorus_mean(const int32_t *v) { return arm_avgpool_s8_get_buffer_size%(v[5], v[3]); }
)";

}  // namespace

CmsisNn::CmsisNn(const std::string& path, const std::string& core) {
  fs::path root = fs::absolute(path).lexically_normal();
  path_ = root.string();
  if (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  SORUS_CHECK(fs::exists(root / "Include" / "arm_nnfunctions.h") && fs::exists(root / "Source"), ValueError,
              "codegen: expected a copy of CMSIS-NN for --cmsis-nn, with Include/arm_nnfunctions.h and Source, found "
              "neither in {}",
              path);
  for (const auto& entry : fs::recursive_directory_iterator(root / "Source")) {
    if (entry.path().extension() != ".c") continue;
    std::string file = fs::relative(entry.path(), root).generic_string(), text = read_file(entry.path());
    for (size_t at = 0; at < text.size(); ++at) {
      if (!word_char(text[at])) continue;
      std::string_view name = name_at(text, at);
      if (!name.empty()) {
        words_[file].insert(std::string(name));
        if (defines(text, at + name.size()) && begins_definition(text, at)) file_of_[std::string(name)] = file;
      }
      while (at < text.size() && word_char(text[at])) ++at;
    }
  }
  std::set<std::string> asked;
  for (const char* name : {"arm_convolve_wrapper_s8", "arm_depthwise_conv_wrapper_s8", "arm_avgpool_s8"}) {
    asked.insert(fmt::format("{}_get_buffer_size{}", name, core));
    SORUS_CHECK(has(fmt::format("{}_get_buffer_size{}", name, core)), ValueError,
                "codegen: expected a CMSIS-NN of release 4.1 or later, which has {}_get_buffer_size{}, found none in "
                "{}",
                name, core, path_);
  }
  std::string text = fmt::format(
      "#include \"{0}/Include/arm_nnfunctions.h\"\n#include \"{0}/Include/"
      "arm_nnsupportfunctions.h\"\n",
      path_);
  for (const std::string& file : sources(asked)) text += without_includes(read_file(root / file));
  for (const char* c = kAsk; *c; ++c) text += *c == '%' ? core : std::string(1, *c);
  // What the headers say belongs to the key under which the object is kept.
  for (const char* header : {"arm_nnsupportfunctions.h", "arm_nn_types.h"})
    text += fmt::format("/* {:x} */\n", std::hash<std::string>()(read_file(root / "Include" / header)));
  std::string why;
  rooms_ = NativeCode::build({text}, &why);
  SORUS_CHECK(rooms_, Error,
              "codegen: the functions of CMSIS-NN in {} that say how much room it needs cannot be built: {}", path_,
              why);
}

std::vector<std::string> CmsisNn::sources(const std::set<std::string>& functions) const {
  std::set<std::string> files;
  std::vector<std::string> open;
  auto need = [&](const std::string& name) {
    auto it = file_of_.find(name);
    if (it != file_of_.end() && files.insert(it->second).second) open.push_back(it->second);
  };
  for (const std::string& name : functions) need(name);
  while (!open.empty()) {
    std::string file = open.back();
    open.pop_back();
    for (const std::string& word : words_.at(file)) need(word);
  }
  return {files.begin(), files.end()};
}

int64_t CmsisNn::ask(const char* function, const Window& w) const {
  std::array<int32_t, 15> v{};
  int64_t from[] = {w.batch,    w.in_h,     w.in_w,     w.in_c,       w.out_h,      w.out_w,   w.out_c,   w.kernel_h,
                    w.kernel_w, w.stride_h, w.stride_w, w.dilation_h, w.dilation_w, w.pad_top, w.pad_left};
  std::transform(std::begin(from), std::end(from), v.begin(), [](int64_t n) { return static_cast<int32_t>(n); });
  auto* f = reinterpret_cast<int64_t (*)(const int32_t*)>(rooms_->symbol(function));
  return f(v.data());
}

}  // namespace sorus::device
