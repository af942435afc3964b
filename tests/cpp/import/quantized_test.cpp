// Quantised operators: kernels of composites against their bodies, and notes of quantisation in the text of graphs.
#include <gtest/gtest.h>

#include <cstring>

#include "operators/samples.h"
#include "sorus/graph/call.h"
#include "sorus/graph/graph.h"

namespace sorus {
namespace {

TEST(Quantized, KernelsGiveWhatBodiesGive) {
  int tried = 0;
  for (const OpDef* op : all_ops()) {
    if (!op->name().starts_with("quantized_") || !op->kernel || !op->body) continue;
    for (const std::string& line : harness::samples_of(*op))
      for (unsigned seed = 1; seed <= 5; ++seed) {
        harness::Sample s = harness::make_sample(*op, line, {}, seed);
        Tensor by_kernel = call_one(*op, s.inputs, s.attrs);
        Tensor by_body = op->body(Call{*op, s.inputs, s.attrs})[0];
        ASSERT_EQ(by_kernel.type(), by_body.type()) << op->name() << " " << line;
        Tensor packed = call_one(find_op("contiguous"), {by_body});
        EXPECT_EQ(std::memcmp(by_kernel.data(), packed.data(), packed.nbytes()), 0) << op->name() << " " << line;
        ++tried;
      }
  }
  EXPECT_GE(tried, 30);
}

TEST(Quantized, NotesAreReadBack) {
  Graph g("notes");
  Value x = g.add_input({DType::i8, Shape{2, 3}, false}, "x");
  x.set_quantization({{0.5, 0.25}, {3, -4}, 0});
  Value y{g.add(find_op("dequantize"), {x}, {Attr(0.5), Attr(3)}), 0};
  Value z{g.add(find_op("quantize"), {y}, {Attr(1.0), Attr(0), Attr(-128), Attr(127), Attr(DType::i8)}), 0};
  z.set_quantization({{1}, {0}, -1});
  g.set_outputs({z});
  g.verify();
  std::string text = g.to_string();
  EXPECT_NE(text.find("quantized(scale=[0.5, 0.25], zero_point=[3, -4], axis=0)"), std::string::npos) << text;
  Graph back = Graph::parse(text);
  EXPECT_EQ(back.to_string(), text);
  EXPECT_EQ(back.outputs()[0].quantization(), z.quantization());
  EXPECT_EQ(Value({back.inputs()[0], 0}).quantization(), x.quantization());
  EXPECT_THROW(Graph::parse("graph g(%0: i8[1] quantized(scale=[0.5], zero_point=[], axis=-1)) {\n  return %0\n}\n"),
               Error);
  x.set_quantization({{0.5, 0.25}, {3}, 0});
  EXPECT_THROW(g.verify(), Error);
}

}  // namespace
}  // namespace sorus
