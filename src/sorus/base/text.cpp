#include "sorus/base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace sorus {

char32_t next_codepoint(std::string_view text, size_t& at) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char lead = byte(at++);
  if (lead < 0x80) return lead;
  int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  if (lead < 0xC2 || lead > 0xF4 || text.size() - at < static_cast<size_t>(more)) return kInvalidCodepoint;
  char32_t c = lead & (0x3F >> more);
  for (int i = 0; i < more; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return kInvalidCodepoint;
    c = c << 6 | (byte(at + i) & 0x3F);
  }
  constexpr char32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
  if (c < kSmallest[more] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return kInvalidCodepoint;
  at += static_cast<size_t>(more);
  return c;
}

void append_utf8(std::string& to, char32_t c) {
  if (c < 0x80) {
    to += static_cast<char>(c);
    return;
  }
  int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  constexpr int kLead[] = {0, 0xC0, 0xE0, 0xF0};
  to += static_cast<char>(kLead[more] | (c >> (6 * more)));
  for (int i = more - 1; i >= 0; --i) to += static_cast<char>(0x80 | ((c >> (6 * i)) & 0x3F));
}

size_t valid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    uint64_t eight;
    if (text.size() - at >= 8 && (std::memcpy(&eight, text.data() + at, 8), (eight & 0x8080808080808080) == 0)) {
      at += 8;
      continue;
    }
    size_t start = at;
    if (next_codepoint(text, at) == kInvalidCodepoint) return start;
  }
  return at;
}

std::string sanitize_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    size_t valid = valid_utf8_prefix(text);
    out += text.substr(0, valid);
    if (valid == text.size()) break;
    out += "\xEF\xBF\xBD";
    text.remove_prefix(valid + 1);
  }
  return out;
}

bool is_white_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string quote(std::string_view text, size_t limit) {
  std::string out = "'";
  for (size_t at = 0; at < text.size();) {
    if (out.size() > limit) {
      out += "...";
      break;
    }
    size_t start = at;
    char32_t c = next_codepoint(text, at);
    if (c == kInvalidCodepoint || c < 0x20 || c == 0x7F) {
      out += c == '\n' ? "\\n" : fmt::format("\\x{:02x}", static_cast<unsigned char>(text[start]));
    } else {
      out += text.substr(start, at - start);
    }
  }
  return out + "'";
}

std::string abbreviated_list(std::span<const std::string> items, size_t limit) {
  std::string out;
  size_t shown = items.size() <= limit + 1 ? items.size() : limit;  // "and 1 more" is no shorter than the one
  for (size_t i = 0; i < shown; ++i) out += (i ? ", " : "") + items[i];
  if (shown < items.size()) out += fmt::format(" and {} more", items.size() - shown);
  return out;
}

std::string human_bytes(uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  constexpr const char* kUnits[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  while (value >= 999.5 && unit < std::size(kUnits) - 1) value /= 1000, ++unit;
  return value < 9.95 ? fmt::format("{:.1f} {}", value, kUnits[unit]) : fmt::format("{:.0f} {}", value, kUnits[unit]);
}

std::string ContentHash::hex() const { return fmt::format("{:016x}{:016x}", high, low); }

ContentHash content_hash(std::string_view bytes, uint64_t seed) {
  // Two chains of 64x64 -> 128 bit products, each folded to 64 bits.
  auto fold = [](uint64_t a, uint64_t b) {
    auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  uint64_t a = mix_bits(seed ^ 0x9e3779b97f4a7c15), b = mix_bits(seed + bytes.size() + 0xc2b2ae3d27d4eb4f);
  const char* p = bytes.data();
  size_t left = bytes.size();
  auto step = [&](uint64_t x, uint64_t y) {
    a = fold(a ^ x ^ 0xa0761d6478bd642f, y ^ 0xe7037ed1a0b428db) + (a << 1 | a >> 63);
    b = fold(b ^ y ^ 0x8ebc6af09c88c6e3, x ^ 0x589965cc75374cc3) + (b << 1 | b >> 63);
  };
  for (; left >= 16; left -= 16, p += 16) {
    uint64_t x, y;
    std::memcpy(&x, p, 8);
    std::memcpy(&y, p + 8, 8);
    step(x, y);
  }
  uint64_t tail[2] = {0, 0};
  if (left) std::memcpy(tail, p, left);
  step(tail[0], tail[1]);
  return {mix_bits(a ^ (b << 32 | b >> 32)), mix_bits(b + a + bytes.size())};
}

}  // namespace sorus
