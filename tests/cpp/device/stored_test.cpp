// Where values lie: orders of dimensions and what fills a tensor.
#include "sorus/device/stored.h"

#include <gtest/gtest.h>

namespace sorus::device {
namespace {

TEST(DeviceStored, AnOrderIsReadBackFromItsGeometry) {
  const Shape image{2, 3, 4, 5}, last{0, 2, 3, 1};
  Geometry g = ordered_geometry(image, last);
  EXPECT_EQ(g.strides, (Shape{60, 1, 15, 3}));
  EXPECT_EQ(order_of(g), last);
  EXPECT_EQ(reordered(g, last).strides, contiguous_strides(reordered(image, last)));
  EXPECT_TRUE(fills(g, last, 120));
  EXPECT_FALSE(fills(g, natural(4), 120));
}

TEST(DeviceStored, DimensionsOfOneElementLieNowhere) {
  Geometry g = ordered_geometry({1, 6, 1, 1}, {0, 2, 3, 1});
  EXPECT_EQ(order_of(g).back(), 1);
  EXPECT_TRUE(fills(g, natural(4), 6)) << "both orders are the same memory";
}

TEST(DeviceStored, APartOrAShiftFillsNothing) {
  Geometry row{{4}, {1}, 0};
  EXPECT_TRUE(fills(row, {0}, 4));
  EXPECT_FALSE(fills(row, {0}, 5));
  row.offset = 1;
  EXPECT_FALSE(fills(row, {0}, 4));
  EXPECT_FALSE(fills({{4}, {2}, 0}, {0}, 4));
  EXPECT_FALSE(fills({{4}, {0}, 0}, {0}, 4)) << "a number that is repeated";
}

}  // namespace
}  // namespace sorus::device
