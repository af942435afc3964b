#include "sorus/device/kernel.h"

#include <algorithm>

#include "sorus/base/error.h"

namespace sorus::device {

int64_t Table::bytes() const {
  int64_t n = static_cast<int64_t>(integers.size() + reals.size());
  return type == "int8_t" || type == "uint8_t"     ? n
         : type == "int16_t" || type == "uint16_t" ? 2 * n
         : type == "int64_t" || type == "double"   ? 8 * n
                                                   : 4 * n;
}

Prepared with_dot(std::string_view helper, Prepared plain) {
  std::replace(plain.helpers.begin(), plain.helpers.end(), std::string("dot"), std::string(helper));
  return plain;
}

namespace {
bool name_char(char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

std::string_view name_at(std::string_view text, size_t at) {
  size_t end = at;
  while (end < text.size() && name_char(text[end])) ++end;
  while (end > at && text[end - 1] == '_') --end;  // $P_rescale: the name is P
  return text.substr(at, end - at);
}

const std::string& value_of(const Values& values, std::string_view name) {
  auto it = values.find(name);
  SORUS_CHECK(it != values.end(), Error, "device kernel: the constant ${} has no value", name);
  return it->second;
}
}  // namespace

std::string fill(std::string_view text, const Values& values) {
  std::string result;
  if (!text.empty() && text.front() == '\n') text.remove_prefix(1);
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    bool keep = true;
    while (!line.empty() && (line[0] == '?' || line[0] == '!')) {
      std::string_view name = name_at(line, 1);
      bool zero = value_of(values, name) == "0";
      keep = keep && (line[0] == '?') != zero;
      line.remove_prefix(name.size() + 1);
      if (!line.empty() && line[0] == ' ') line.remove_prefix(1);
    }
    if (!keep) continue;
    for (size_t i = 0; i < line.size(); ++i) {
      std::string_view name = line[i] == '$' ? name_at(line, i + 1) : std::string_view();
      if (name.empty()) {
        result += line[i];
      } else {
        bool prefix = name == "FN" || name == "P" || name.starts_with("FN_") || name.starts_with("P_");
        result += prefix ? "$" + std::string(name) : value_of(values, name);
        i += name.size();
      }
    }
    result += '\n';
  }
  return result;
}

Values window_values(const Window& w) {
  Values v;
  auto set = [&](const char* name, int64_t value) { v[name] = std::to_string(value); };
  set("B", w.batch), set("IH", w.in_h), set("IW", w.in_w), set("IC", w.in_c);
  set("OH", w.out_h), set("OW", w.out_w), set("OC", w.out_c), set("KH", w.kernel_h), set("KW", w.kernel_w);
  set("SH", w.stride_h), set("SW", w.stride_w), set("DH", w.dilation_h), set("DW", w.dilation_w);
  set("PT", w.pad_top), set("PL", w.pad_left), set("PAD", !w.inside());
  set("N", w.pixels()), set("TAPS", w.kernel_h * w.kernel_w);
  set("MANY", w.batch > 1), set("MANYROWS", w.batch * w.out_h > 1), set("MANYTAPS", w.kernel_h * w.kernel_w > 1);
  return v;
}

int64_t sliding_gap(const Window& w, int64_t element_bytes, int64_t group, bool reads_first) {
  int64_t n = w.pixels();
  // Lowest element that pixel p or a later one reads.
  std::vector<int64_t> lowest(static_cast<size_t>(n) + 1, w.batch * w.in_h * w.in_w * w.in_c);
  for (int64_t p = n; p-- > 0;) {
    int64_t b = p / (w.out_h * w.out_w), y = p / w.out_w % w.out_h, x = p % w.out_w;
    int64_t iy = std::max<int64_t>(y * w.stride_h - w.pad_top, 0),
            ix = std::max<int64_t>(x * w.stride_w - w.pad_left, 0);
    int64_t first = ((b * w.in_h + iy) * w.in_w + ix) * w.in_c;
    lowest[static_cast<size_t>(p)] = std::min(first, lowest[static_cast<size_t>(p) + 1]);
  }
  int64_t gap = -(int64_t{1} << 60);
  for (int64_t p = 0; p < n; p += group) {
    int64_t end = std::min(p + group, n);
    gap = std::max(gap, end * w.out_c - lowest[static_cast<size_t>(reads_first ? end : p)]);
  }
  // The last group is followed by no reads; its own result still has to lie in the arena, which the size says.
  return gap * element_bytes;
}

}  // namespace sorus::device
