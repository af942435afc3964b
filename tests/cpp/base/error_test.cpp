#include "sorus/base/error.h"

#include <gtest/gtest.h>

namespace sorus {
namespace {

TEST(Error, MessageReachesTheCaller) {
  try {
    SORUS_CHECK(1 + 1 == 3, ValueError, "expected {}, found {}", 3, 2);
    FAIL() << "nothing was thrown";
  } catch (const ValueError& e) {
    EXPECT_NE(std::string(e.what()).find("expected 3, found 2"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace sorus
