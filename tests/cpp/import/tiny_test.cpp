// Four int8 models of MLPerf Tiny: all golden outputs, to the bit.
#include <gtest/gtest.h>

#include <cstdlib>

#include "sorus/base/files.h"
#include "sorus/import/model.h"
#include "sorus/run/compiled.h"
#include "sorus/run/execute.h"

namespace sorus::importer {
namespace {

namespace fs = std::filesystem;

struct Case {
  const char *file, *golden;
};

class Tiny : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const char* data = std::getenv("SORUS_DATA");
    if (!data || !fs::exists(fs::path(data) / "tiny"))
      GTEST_SKIP() << "SORUS_DATA does not name the folder with tiny/";
    folder = fs::path(data) / "tiny";
  }
  fs::path folder;
};
INSTANTIATE_TEST_SUITE_P(Models, Tiny,
                         testing::Values(Case{"kws_ref_model.tflite", "kws_ref_model.bin"},
                                         Case{"vww_96_int8.tflite", "vww_96_int8.bin"},
                                         Case{"pretrainedResnet_quant.tflite", "pretrainedResnet_quant.bin"},
                                         Case{"ad01_int8.tflite", "ad01_int8.bin"}));

TEST_P(Tiny, GivesTheGoldenOutputs) {
  ImportedModel m = import_model(folder / GetParam().file);
  std::string text = m.traced.graph.to_string();
  EXPECT_EQ(Graph::parse(text).to_string(), text);
  ASSERT_EQ(m.inputs.size(), 1u);
  ASSERT_EQ(m.outputs.size(), 1u);
  std::string golden = read_file(folder / "golden" / GetParam().golden);
  size_t bytes = static_cast<size_t>(numel(m.outputs[0].type.shape));
  ASSERT_EQ(golden.size(), 100 * bytes);
  uint32_t s = 1;
  for (size_t k = 0; k < 100; ++k) {
    Tensor x = Tensor::empty(m.inputs[0].type.shape, DType::i8);
    for (int64_t i = 0; i < x.numel(); ++i) {
      s = s * 1664525u + 1013904223u;
      x.data<int8_t>()[i] = static_cast<int8_t>(s >> 24);
    }
    Tensor y = run_traced(m.traced, std::array{x})[0];
    ASSERT_EQ(std::string_view(y.data<char>(), bytes), std::string_view(golden).substr(k * bytes, bytes))
        << "input " << k;
  }
}

}  // namespace
}  // namespace sorus::importer
