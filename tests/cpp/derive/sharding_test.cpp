// Sharding rules against experiments with shards, and costs.
#include "sorus/derive/sharding.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <random>

#include "sorus/derive/cost.h"
#include "sorus/graph/call.h"

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

TEST(Sharding, TheCheckerFindsWrongRulesOfSizesThatDoNotDivide) {
  const OpDef& bold = op("test_bold_dim(input, dim: int)")
                          .types([](const TypeCall& c) -> std::vector<TensorType> { return {c.input(0)}; })
                          .body([](const Call& c) -> TensorList {
                            return call(find_op("softmax"), c.inputs, {c.attr(0), Attr()});
                          })
                          .axes("input[a..; dim d] -> output[a..; dim d]");
  for (int64_t dim : {0, 1}) {
    auto wrong = check_sharding(bold, std::array{random_tensor({5, 7}, 1)}, {Attr(dim)});
    ASSERT_EQ(wrong.size(), 1u) << "along dimension " << dim;
    EXPECT_TRUE(wrong[0].starts_with("wrong") && wrong[0].ends_with(dim ? "1" : "0")) << wrong[0];
  }
}

TEST(Sharding, BlocksKnowWhereTheyBegin) {
  auto is_right = [](std::string_view name, const TensorList& in, Attrs attrs) {
    const OpDef& op = find_op(name);
    for (int parts : {2, 3})
      for (const std::string& p : check_sharding(op, in, attrs_of(op, attrs), parts))
        EXPECT_FALSE(p.starts_with("wrong")) << p;
  };
  Tensor rows = Tensor::of(std::vector<int64_t>{0, 6, 3, 6, 5, 2, 3, 0}, Shape{4, 2});
  Tensor from_end = Tensor::of(std::vector<int64_t>{0, 6, 3, -1, 5, 2, 3, 0}, Shape{4, 2});
  Tensor table = random_tensor({7, 5}, 1), grad = random_tensor({4, 2, 5}, 2);
  is_right("embedding", {rows, table}, {});
  is_right("embedding", {rows, random_tensor({3, 5}, 3)}, {Attr(), Attr(7), Attr(2)});  // a block of a block
  is_right("embedding_backward", {grad, rows}, {Attr(7)});
  is_right("gather", {random_tensor({7, 2}, 1), from_end}, {Attr(0)});
  is_right("gather", {random_tensor({4, 7}, 1), from_end}, {Attr(1)});
  is_right("scatter_add", {random_tensor({7, 2}, 1), from_end, random_tensor({4, 2}, 2)}, {Attr(0)});
  Tensor q = random_tensor({2, 5, 7, 3}, 1), k = random_tensor({2, 5, 7, 3}, 2), v = random_tensor({2, 5, 7, 4}, 3);
  for (bool causal : {false, true}) is_right("flash_attention", {q, k, v}, {Attr(causal), Attr(0.4)});
  // The factor of a table leaves partial sums, that of queries rows of the result.
  const TensorType types[] = {rows.type(), table.type()};
  const TensorType* in[] = {&types[0], &types[1]};
  const OpDef& embedding = find_op("embedding");
  ShardingRule rule = sharding_rule(TypeCall{embedding, in, attrs_of(embedding, {})});
  int f = rule.inputs[1][0];
  EXPECT_EQ(rule.factors[static_cast<size_t>(f)].kind, ShardFactor::Kind::sum);
  std::vector<ShardPart> parts;
  for (const ShardFactor& each : rule.factors) parts.push_back({0, each.size});
  parts[static_cast<size_t>(f)] = shard_part(7, 2, 1);
  Attrs shard = shard_attrs(TypeCall{embedding, in, attrs_of(embedding, {})}, rule, parts);
  EXPECT_EQ(shard[1].to_int(), 7);
  EXPECT_EQ(shard[2].to_int(), 4) << "the first of two blocks of seven has four rows";
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
