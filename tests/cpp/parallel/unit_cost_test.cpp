#include "sorus/parallel/cost/unit_cost.h"

#include <gtest/gtest.h>

#include "parallel/decoders.h"
#include "sorus/parallel/cost/operator_cost.h"

namespace sorus::parallel {
namespace {

TEST(UnitCost, TransformerActivationsAreThoseOfKorthikanti) {
  // Korthikanti et al. 2022, table 2, for a layer of 16-bit numbers.
  models::DecoderConfig c{.layers = 2, .hidden = 1024, .heads = 16, .vocab = 1024, .context = 512};
  c.fused_attention = false, c.dropout = 0.1;
  DType before = default_dtype();
  set_default_dtype(DType::f16);
  const int64_t b = 4;
  Model m = trace_decoder(c, b);
  set_default_dtype(before);
  Chain chain = fold(m);
  Cluster cluster = preset_cluster("dgx-a100");
  UnitCosts costs(m, chain, cluster, {.keeps_dropout_masks = true});
  double sbh = static_cast<double>(c.context * b * c.hidden), as_h = 16.0 * 512 / 1024;
  auto sum = [&](int64_t t, bool sequence, int64_t parts, auto member) {
    double s = 0;
    for (int type : {1, 2}) s += costs.get({type, parts, t, sequence, {t, 1}}).*member;
    return s;
  };
  EXPECT_NEAR(sum(1, false, 1, &UnitCost::saved) / sbh, 34 + 5 * as_h, 0.5);
  EXPECT_NEAR(sum(8, false, 1, &UnitCost::saved) / sbh, 10 + 24.0 / 8 + 5 * as_h / 8, 0.5);
  EXPECT_NEAR(sum(8, true, 1, &UnitCost::saved) / sbh, (34 + 5 * as_h) / 8, 0.5);
  EXPECT_NEAR(sum(8, true, 1, &UnitCost::saved_selective) / sbh, 34.0 / 8, 0.3);
  EXPECT_NEAR(sum(8, false, 1, &UnitCost::saved_selective) / sbh, 10 + 24.0 / 8, 0.3);
  EXPECT_NEAR(sum(8, true, 4, &UnitCost::saved) / sbh, (34 + 5 * as_h) / 8 / 4, 0.2);  // a quarter of the batch
  EXPECT_NEAR(sum(8, false, 1, &UnitCost::parameters), 12.0 * 1024 * 1024 / 8, 20000);
  // Megatron's way of splitting a layer, found from the sharding rules: two all-reduces a layer and direction.
  double all_reduce = collective_time(cluster, Collective::all_reduce, sbh * 2, {8, 1});
  for (bool sequence : {false, true}) {
    EXPECT_NEAR(sum(8, sequence, 1, &UnitCost::forward_comm), 2 * all_reduce, all_reduce * 0.01);
    EXPECT_NEAR(sum(8, sequence, 1, &UnitCost::backward_comm), 2 * all_reduce, all_reduce * 0.01);
  }
  // 6 operations a parameter and token, and the products of attention: 72 B s h^2 (1 + s/6h) forward and backward.
  double h = static_cast<double>(c.hidden), s = static_cast<double>(c.context);
  EXPECT_NEAR(sum(1, false, 1, &UnitCost::flops) / (72 * b * s * h * h * (1 + s / (6 * h))), 1, 0.01);
}

OperatorCost cost_of_call(const char* name, const std::vector<TensorType>& types, const Attrs& attrs,
                          const std::vector<char>& read) {
  std::vector<const TensorType*> inputs;
  for (const TensorType& t : types) inputs.push_back(t.shape.empty() ? nullptr : &t);
  return operator_cost(find_op(name), inputs, attrs, std::vector<char>(types.size(), 1), read);
}

TEST(OperatorCost, WhatAttentionKeepsForItselfHasNoGradient) {
  TensorType x{DType::f32, Shape{2, 4, 256, 64}, false};
  OperatorCost c = cost_of_call("flash_attention", {x, x, x}, {Attr(true), Attr(0.125), Attr(int64_t{0})}, {1, 0});
  // Two products forward; five backward, since the scores are made again.
  ASSERT_EQ(c.backward.size(), 1u);
  EXPECT_DOUBLE_EQ(c.backward[0].flops, 2.5 * c.forward[0].flops);
  EXPECT_TRUE(c.forward[0].composite && c.backward[0].composite);
  OperatorCost both = cost_of_call("flash_attention", {x, x, x}, {Attr(true), Attr(0.125), Attr(int64_t{0})}, {1, 1});
  EXPECT_GT(both.backward.size(), 1u) << "whoever reads the logarithms of the sums wants their gradient";
}

TEST(OperatorCost, ConvolutionsAreProductsUnderAWindow) {
  TensorType x{DType::f32, Shape{8, 64, 14, 14}, false}, w{DType::f32, Shape{128, 64, 1, 1}, false};
  Attr two_ones(Shape{1, 1}), two_zeros(Shape{0, 0});
  OperatorCost c =
      cost_of_call("conv2d", {x, w, TensorType{}}, {two_ones, two_zeros, two_ones, Attr(int64_t{1})}, {1});
  ASSERT_EQ(c.backward.size(), 2u);
  EXPECT_TRUE(c.forward[0].window && c.backward[0].window && c.backward[1].window);
  TensorType a{DType::f32, Shape{64, 32}, false}, b{DType::f32, Shape{32, 16}, false};
  OperatorCost product = cost_of_call("mm", {a, b}, {}, {1});
  EXPECT_TRUE(product.forward[0].matrix);
  EXPECT_FALSE(product.forward[0].window || product.forward[0].composite);
  Cluster cluster = preset_cluster("dgx-a100");
  double before = kernel_time(cluster, c.forward[0], "f32", "f32");
  cluster.efficiency.window_size = 8;
  EXPECT_GT(kernel_time(cluster, c.forward[0], "f32", "f32"), before);
}

TEST(OperatorCost, ProductsOfEightBitsLeaveAttentionInSixteen) {
  Cluster cluster = preset_cluster("dgx-h100");
  KernelWork large{.flops = 1e12, .bytes = 1e6, .matrix = true};
  EXPECT_LT(kernel_time(cluster, large, "bf16", "f8"), 0.6 * kernel_time(cluster, large, "bf16", "bf16"));
  large.composite = true;
  EXPECT_DOUBLE_EQ(kernel_time(cluster, large, "bf16", "f8"), kernel_time(cluster, large, "bf16", "bf16"));
}

TEST(UnitCost, ExpertsAreDealtOutByTwoAllToAlls) {
  models::DecoderConfig c{.layers = 2, .hidden = 256, .heads = 4, .vocab = 512, .context = 128};
  c.experts = 8, c.top_k = 2;
  const int64_t b = 4;
  Model m = trace_decoder(c, b);
  Chain chain = fold(m);
  Cluster cluster = preset_cluster("dgx-a100");
  UnitCosts costs(m, chain, cluster);
  EXPECT_EQ(costs.experts(), 8);
  int type = -1;
  for (size_t i = 0; i < chain.types.size(); ++i)
    if (chain.types[i].count == 2 && costs.get({static_cast<int>(i), 1, 1, false, {1, 1}, 2}).experts > 0)
      type = static_cast<int>(i);
  ASSERT_GE(type, 0);
  for (int64_t tensor : {1, 2}) {
    UnitCost alone = costs.get({type, 1, tensor, false, {tensor, 1}});
    UnitCost dealt = costs.get({type, 1, tensor, false, {tensor, 1}, 4});
    double all = 8.0 * 2 * 256 * 1024 / static_cast<double>(tensor);  // elements of the two matrices of each expert
    EXPECT_EQ(alone.experts, 0);
    EXPECT_DOUBLE_EQ(dealt.experts, all / 4);
    EXPECT_NEAR(alone.parameters - dealt.parameters, all * 3 / 4, 1);
    // There and back: a place for every choice of every token; each rank works on as much as before.
    double bytes = static_cast<double>(b * c.context * c.top_k * c.hidden) * 4;
    double once = collective_time(cluster, Collective::all_to_all, bytes, {4, tensor});
    double least = 2 * once / static_cast<double>(tensor) * 0.9;
    EXPECT_GT(dealt.forward_comm - alone.forward_comm, least);
    EXPECT_LT(dealt.forward_comm - alone.forward_comm, 2 * once * 1.001);
    EXPECT_NEAR(dealt.backward_comm - alone.backward_comm, dealt.forward_comm - alone.forward_comm, once * 1e-6);
    if (tensor == 1) {
      EXPECT_NEAR(dealt.forward_comm - alone.forward_comm, 2 * once, once * 1e-6);
    }
    EXPECT_DOUBLE_EQ(alone.forward, dealt.forward);
    EXPECT_DOUBLE_EQ(alone.saved, dealt.saved);
    ASSERT_EQ(dealt.expert_parameters.size(), 2U);
    EXPECT_EQ(dealt.expert_parameters[0].dim, 0U);
  }
  // More ranks than experts: the tensor axis splits something else.
  EXPECT_NEAR(costs.get({type, 1, 8, false, {8, 1}, 8}).experts, 2.0 * 256 * 1024 / 8, 1);
}

TEST(UnitCost, TokensAreDealtOutAmongTheContextAxis) {
  models::DecoderConfig c{.layers = 2, .hidden = 256, .heads = 8, .kv_heads = 2, .vocab = 512, .context = 1024};
  const int64_t b = 2;
  Cluster cluster = preset_cluster("dgx-a100");
  cluster.efficiency.launch_s = 0;
  for (bool fused : {true, false}) {
    c.fused_attention = fused;
    Model m = trace_decoder(c, b);
    Chain chain = fold(m);
    UnitCosts costs(m, chain, cluster, {.balanced_context = true});
    EXPECT_EQ(costs.tokens(), c.context);
    auto unit = [&](int type, int64_t context, int64_t tensor = 1) {
      return costs.get({type, 1, tensor, false, {tensor, 1}, 1, context});
    };
    for (int type = 0; type < static_cast<int>(chain.types.size()); ++type) {
      UnitCost alone = unit(type, 1), part = unit(type, 4);
      EXPECT_DOUBLE_EQ(part.parameters, alone.parameters);
      EXPECT_NEAR(part.flops * 4, alone.flops, alone.flops * 1e-9) << fused << type;
      EXPECT_NEAR(part.saved * 4, alone.saved, alone.saved * 0.01) << fused << type;
      EXPECT_DOUBLE_EQ(part.output * 4, alone.output);
    }
    // Keys and values of all tokens go round: two of the eight heads' width each, there and with their gradients
    // back. Little of that is hidden behind so small an attention.
    int attention = 1;
    UnitCost alone = unit(attention, 1), part = unit(attention, 4);
    double once = collective_time(cluster, Collective::all_gather,
                                  static_cast<double>(b * c.context * c.hidden) / 4 * 4, {4, 1});
    EXPECT_EQ(alone.forward_comm, 0);
    EXPECT_GT(part.forward_comm, 2 * once * kExposed * 0.99);
    EXPECT_LE(part.forward_comm, 2 * once * 1.001);
    EXPECT_GT(part.backward_comm, part.forward_comm);
    EXPECT_LT(unit(attention, 4, 2).forward_comm,
              2 * once + 4 * collective_time(cluster, Collective::all_reduce, 1 << 21, {2, 1}));
    EXPECT_EQ(unit(2, 4).forward_comm, 0) << "the feed forward part looks at its own tokens";
  }
}

TEST(UnitCost, TheLastBlockOfACausalSequenceLooksAtTheMost) {
  models::DecoderConfig c{.layers = 2, .hidden = 256, .heads = 4, .vocab = 512, .context = 4096};
  Model m = trace_decoder(c, 1);
  Chain chain = fold(m);
  Cluster cluster = preset_cluster("dgx-a100");
  UnitCosts equal(m, chain, cluster, {.balanced_context = true}), blocks(m, chain, cluster);
  UnitRequest r{1, 1, 1, false, {1, 1}, 1, 4};
  EXPECT_GT(blocks.get(r).forward, equal.get(r).forward);
  EXPECT_EQ(blocks.get({2, 1, 1, false, {1, 1}, 1, 4}).forward, equal.get({2, 1, 1, false, {1, 1}, 1, 4}).forward);
}

TEST(UnitCost, PlacesAtExpertsAreAPartOfTheBatch) {
  models::DecoderConfig c{.layers = 2, .hidden = 256, .heads = 4, .vocab = 512, .context = 128};
  c.experts = 8, c.top_k = 2;
  Model m = trace_decoder(c, 4);
  Chain chain = fold(m);
  Cluster cluster = preset_cluster("dgx-a100");
  UnitCosts costs(m, chain, cluster, {.balanced_context = true});
  // Of the unit with the experts. (Counting places takes products of a constant size beside it, a thousandth of
  // these.)
  size_t most = 0;
  auto flops = [&](size_t type, int64_t parts, int64_t context) {
    return costs.get({static_cast<int>(type), parts, 1, false, {1, 1}, 1, context}).flops;
  };
  for (size_t type = 0; type < chain.types.size(); ++type)
    if (flops(type, 1, 1) > flops(most, 1, 1)) most = type;
  EXPECT_NEAR(flops(most, 4, 1) * 4 / flops(most, 1, 1), 1, 0.01);
  EXPECT_NEAR(flops(most, 1, 4) * 4 / flops(most, 1, 1), 1, 0.01);
}

}  // namespace
}  // namespace sorus::parallel
