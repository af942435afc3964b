// Sharding rules against experiments with shards, and costs.
#include "sorus/derive/sharding.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <random>

#include "sorus/derive/cost.h"

namespace sorus {
namespace {

Tensor random_tensor(std::initializer_list<int64_t> shape, unsigned seed) {
  Tensor x = Tensor::empty(shape, DType::f64);
  std::mt19937 r(seed);
  std::normal_distribution<double> d;
  for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = d(r);
  return x;
}
Attrs attrs_of(const OpDef& op, Attrs first) {
  for (int i = static_cast<int>(first.size()); i < op.signature.attrs; ++i)
    first.push_back(op.signature.attr_param(i).default_value);
  return first;
}
void check(std::string_view name, const TensorList& in, Attrs attrs = {}) {
  const OpDef& op = find_op(name);
  for (int parts : {2, 3}) {
    auto problems = check_sharding(op, in, attrs_of(op, attrs), parts);
    EXPECT_TRUE(problems.empty()) << fmt::format("{}", fmt::join(problems, "\n"));
  }
}

TEST(Sharding, RulesAreNeitherWrongNorMissing) {
  check("matmul_batched", {random_tensor({6, 6, 12}, 1), random_tensor({12, 6}, 2)});
  check("bmm", {random_tensor({6, 6, 12}, 1), random_tensor({6, 12, 6}, 2)});
  check("sum", {random_tensor({6, 12}, 1)}, {Attr(Shape{1})});
  check("amax", {random_tensor({6, 12}, 1)}, {Attr(Shape{0})});
  check("exp", {random_tensor({6, 12}, 1)});
  check("mul", {random_tensor({6, 12}, 1), random_tensor({12}, 2)});
}

TEST(Sharding, TheCheckerFindsWrongAndMissingRules) {
  const OpDef& shy = op("test_shy(input)").each("exp(input)").axes("input[a!] -> output[a!]");
  const OpDef& bold = op("test_bold(input)").index("y[] = max(k) input[k]").axes("input[k] -> output[]+k");
  auto missing = check_sharding(shy, std::array{random_tensor({6}, 1)}, {});
  ASSERT_EQ(missing.size(), 1u);
  EXPECT_TRUE(missing[0].starts_with("missing")) << missing[0];
  auto wrong = check_sharding(bold, std::array{random_tensor({6}, 1)}, {});
  ASSERT_EQ(wrong.size(), 1u);
  EXPECT_TRUE(wrong[0].starts_with("wrong")) << wrong[0];
}

TEST(Sharding, RulesAsText) {
  TensorType a{DType::f32, {2, 3}, false}, b{DType::f32, {3, 4}, false};
  const TensorType* in[] = {&a, &b};
  EXPECT_EQ(sharding_rule(TypeCall{find_op("mm"), in, {}}).to_string(), "([m, k], [k, n]) -> ([m, n]); sum k");
}

TEST(Cost, OfAProduct) {
  TensorType a{DType::f32, {2, 3}, false}, b{DType::f32, {3, 4}, false};
  const TensorType* in[] = {&a, &b};
  Cost c = cost_of(TypeCall{find_op("mm"), in, {}});
  EXPECT_EQ(c.flops, 2.0 * 2 * 3 * 4);
  EXPECT_EQ(c.bytes, 4.0 * (6 + 12 + 8));
}

}  // namespace
}  // namespace sorus
