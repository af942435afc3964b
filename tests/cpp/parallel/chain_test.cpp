#include "sorus/parallel/space/chain.h"

#include <gtest/gtest.h>

#include "parallel/decoders.h"

namespace sorus::parallel {
namespace {

TEST(Chain, BlocksAreFoundAndFolded) {
  Model m = trace_decoder({.layers = 6, .hidden = 64, .heads = 4, .vocab = 128, .context = 16}, 2);
  Chain c = fold(m);
  EXPECT_EQ(c.types.size(), 4u);
  ASSERT_EQ(c.units.size(), 14u);
  EXPECT_EQ(c.units[1].name, "blocks.0");
  EXPECT_EQ(c.units[3].type, c.units[1].type);
  EXPECT_EQ(c.types[1].count, 6);
  for (size_t i = 1; i < c.units.size(); ++i) EXPECT_EQ(c.units[i].first, c.units[i - 1].end);
}

TEST(Chain, ATrillionParametersAreTracedWithoutMemory) {
  Model m = trace_decoder({.layers = 128, .hidden = 25600, .heads = 160, .vocab = 51200, .context = 2048}, 1);
  EXPECT_NEAR(m.parameter_count(), 1.008e12, 2e9);
  EXPECT_EQ(fold(m).types.size(), 4u);
}

}  // namespace
}  // namespace sorus::parallel
