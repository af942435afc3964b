// What threads make is charged to the account that they name, until it is gone.
#include "sorus/tensor/memory_account.h"

#include <gtest/gtest.h>

#include <thread>

#include "sorus/tensor/tensor.h"

namespace sorus {
namespace {

TEST(MemoryAccount, CountsWhatItsThreadMakesUntilItIsGone) {
  auto mine = std::make_shared<MemoryAccount>(), inner = std::make_shared<MemoryAccount>();
  Tensor before = Tensor::empty({1000}, DType::f32), kept;
  {
    AccountScope scope(mine);
    Tensor gone = Tensor::empty({3000}, DType::f32), small = Tensor::empty({100}, DType::f32);
    kept = Tensor::empty({1000}, DType::f32);
    Tensor view = kept.detach();  // the same memory
    EXPECT_EQ(mine->held(), 16000);
    {
      AccountScope other(inner);
      Tensor there = Tensor::empty({200}, DType::f32);
      EXPECT_EQ(inner->held(), 800);
    }
    std::thread([] { Tensor::empty({5000}, DType::f32); }).join();
    before = Tensor();  // somebody else's
  }
  EXPECT_EQ(mine->held(), 4000);
  EXPECT_EQ(mine->peak(), 16000);
  EXPECT_EQ(inner->held(), 0);
  mine->reset_peak();
  EXPECT_EQ(mine->peak(), 4000);
  std::thread([&] { kept = Tensor(); }).join();  // whoever drops it
  EXPECT_EQ(mine->held(), 0);
  Tensor after = Tensor::empty({1000}, DType::f32);
  EXPECT_EQ(mine->held(), 0);
}

}  // namespace
}  // namespace sorus
