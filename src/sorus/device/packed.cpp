// Tables of few bits: packed in flash, unpacked in the arena (pack_tables in kernel.h).
#include <algorithm>

#include <fmt/format.h>

#include "sorus/device/kernel.h"

namespace sorus::device {
namespace {

constexpr int64_t kAlignment = 16;
constexpr int64_t kCall = 24;  // bytes of code that unpacking a table costs

int64_t aligned(int64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

/// The fewest of 2, 4 and 8 bits that hold all numbers.
int bits_of(const std::vector<int64_t>& numbers) {
  auto [low, high] = std::minmax_element(numbers.begin(), numbers.end());
  for (int bits : {2, 4})
    if (*low >= -(1 << (bits - 1)) && *high < 1 << (bits - 1)) return bits;
  return 8;
}

}  // namespace

int64_t pack_tables(Prepared& p) {
  int64_t saved = 0, end = aligned(p.scratch);
  std::string packed;
  for (Table& t : p.tables) {
    if (t.type != "int8_t" || t.integers.empty()) continue;
    int bits = bits_of(t.integers), many = 8 / bits;
    auto n = static_cast<int64_t>(t.integers.size()), bytes = (n + many - 1) / many;
    if (n - bytes <= kCall) continue;
    std::vector<int64_t> list(static_cast<size_t>(bytes), 0);
    for (int64_t i = 0; i < n; ++i)
      list[static_cast<size_t>(i / many)] |= (t.integers[static_cast<size_t>(i)] & ((1 << bits) - 1))
                                             << (i % many * bits);
    t.type = "uint8_t", t.integers = std::move(list), t.bits = bits, t.unpacked = n, t.place = end;
    end = aligned(end + n);
    saved += n - bytes;
    p.room = end;
    p.helpers.push_back(fmt::format("unpack{}", bits));
    p.instructions += static_cast<double>(n) * (bits == 4 ? 4 : 7);
    packed += fmt::format("{}{} of {} bits", packed.empty() ? ", " : " and ", t.argument, bits);
  }
  p.kernel += packed;
  return saved;
}

}  // namespace sorus::device
