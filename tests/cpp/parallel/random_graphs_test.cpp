// Random graphs of the registry's operators, with their gradients, on random layouts against one device.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <sstream>

#include "operators/reference.h"
#include "operators/samples.h"
#include "sorus/autodiff/tape.h"
#include "sorus/ops.h"
#include "sorus/parallel/runtime/parallel_step.h"
#include "sorus/run/execute.h"

namespace sorus::parallel {
namespace {

// A call of the random program: an input is a value made before (its number) or a tensor of the sample.
struct Step {
  const OpDef* op;
  harness::Sample sample;
  std::vector<int> from;
};

struct Program {
  TensorList inputs;
  std::vector<Step> steps;

  // The sum over everything that was made, and its gradient with respect to the inputs.
  TensorList run(TensorSpan given) const {
    TensorList values(given.begin(), given.end());
    for (Tensor& t : values) set_requires_grad(t, true);
    Tensor total;
    for (const Step& s : steps) {
      TensorList in = s.sample.inputs;
      for (size_t i = 0; i < in.size(); ++i)
        if (s.from[i] >= 0) in[i] = values[static_cast<size_t>(s.from[i])];
      for (const Tensor& y : call(*s.op, in, s.sample.attrs)) {
        if (!is_floating(y.dtype())) continue;
        values.push_back(tanh(y * 0.5));  // bounded, so that nothing overflows on the way
        Tensor part = mean(values.back());
        total = total.defined() ? total + part : part;
      }
    }
    TensorList out{total};
    for (const Tensor& g : gradients(std::array{total}, given))
      if (g.defined()) out.push_back(g);
    return out;
  }
};

// Operators with a gradient whose values have no steps: there rounding decides.
bool is_smooth(const OpDef& op) {
  for (const char* steps : {"floor", "ceil", "round", "trunc", "sign", "remainder", "fmod", "pow", "prod", "norm",
                            "std", "var", "masked_select", "cast"})
    if (op.name().find(steps) != std::string::npos) return false;
  if (op.name() == "to") return false;          // sums in narrow types round before they are added up
  for (int i = 0; i < op.signature.attrs; ++i)  // collectives are the partitioner's to place
    if (op.signature.attr_param(i).name == "group") return false;
  return op.differentiable && !op.value_shaped && !op.random && !harness::has_free_values(op) &&
         !harness::tested_by(op);
}

Program random_program(std::mt19937& r, const std::vector<const OpDef*>& ops) {
  Program p;
  for (int i = 0; i < 3; ++i) {
    Tensor t = Tensor::empty({12, 12}, DType::f64);
    for (int64_t k = 0; k < t.numel(); ++k)
      t.data<double>()[k] = std::sin(0.37 * static_cast<double>(k * (i + 1)) + static_cast<double>(r() % 7));
    p.inputs.push_back(t);
  }
  std::vector<Shape> shapes(3, Shape{12, 12});
  while (p.steps.size() < 8) {
    const OpDef* op = ops[r() % ops.size()];
    const std::vector<std::string>& lines = harness::samples_of(*op);
    if (lines.empty()) continue;
    const std::string& line = lines[r() % lines.size()];
    harness::Sizes sizes;
    for (char c : harness::letters_of(line)) sizes[c] = 12;
    Step s{op, harness::make_sample(*op, line, sizes, static_cast<unsigned>(r())), {}};
    std::istringstream words(line);
    bool uses = false;
    for (const Tensor& t : s.sample.inputs) {
      std::string word;
      words >> word;
      std::vector<int> fits;
      for (size_t v = 0; v < shapes.size(); ++v)
        if (word[0] == 'f' && t.defined() && t.sizes() == shapes[v]) fits.push_back(static_cast<int>(v));
      s.from.push_back(fits.empty() ? -1 : fits[r() % fits.size()]);
      uses = uses || s.from.back() >= 0;
    }
    if (!uses) continue;
    try {
      TensorList in = s.sample.inputs;
      for (size_t i = 0; i < in.size(); ++i)
        if (s.from[i] >= 0) in[i] = Tensor::zeros(shapes[static_cast<size_t>(s.from[i])], DType::f64);
      for (const Tensor& y : call(*op, in, s.sample.attrs))
        if (is_floating(y.dtype())) shapes.push_back(y.sizes());
    } catch (const Error&) {
      continue;
    }
    p.steps.push_back(std::move(s));
  }
  return p;
}

TEST(RandomGraphs, AreOnRanksWhatTheyAreOnOneDevice) {
  std::vector<const OpDef*> ops;
  for (const OpDef* op : all_ops())
    if (is_smooth(*op) && !op->name().starts_with("test_")) ops.push_back(op);  // other tests' are wrong on purpose
  std::vector<DeviceMesh> meshes{DeviceMesh({"a"}, {2}), DeviceMesh({"a", "b"}, {2, 2}),
                                 DeviceMesh({"a", "b"}, {3, 2})};
  int compared = 0;
  // Others with --gtest_random_seed=N.
  unsigned first = 100 * static_cast<unsigned>(testing::GTEST_FLAG(random_seed));
  for (unsigned seed = first; seed < first + 100; ++seed) {
    std::mt19937 r(seed);
    Program program = random_program(r, ops);
    std::string names;
    for (const Step& s : program.steps) names += (names.empty() ? "" : ", ") + s.op->name();
    TensorList expected =
        run_traced(trace([&](TensorSpan in) { return program.run(in); }, program.inputs), program.inputs);
    bool finite = true;
    for (const Tensor& t : expected)
      for (auto v : harness::elements(t)) finite = finite && std::isfinite(v.real());
    if (!finite) continue;
    TracedGraph traced = trace([&](TensorSpan in) { return program.run(in); }, program.inputs);
    const DeviceMesh& mesh = meshes[seed % meshes.size()];
    Request q;
    q.mesh = mesh;
    for (int i = 0; i < 3; ++i) {
      Layout l = replicated(mesh);
      for (int a = 0; a < mesh.axes(); ++a)
        if (r() % 4) l[static_cast<size_t>(a)] = Shard(static_cast<int>(r() % 2));
      q.inputs[i] = l;
    }
    ParallelStep step(std::move(traced), q, {.compiled = false});
    TensorList found = step.run(program.inputs);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t o = 0; o < found.size(); ++o) {
      auto a = harness::elements(found[o]), b = harness::elements(expected[o]);
      double largest = 1e-3;
      for (auto v : b) largest = std::max(largest, std::abs(v));
      for (size_t k = 0; k < a.size(); ++k)
        if (!(std::abs(a[k] - b[k]) <= 1e-5 * largest)) {
          ADD_FAILURE() << "seed " << seed << ", result " << o << ", element " << k << ": " << a[k].real()
                        << " instead of " << b[k].real() << "\nof " << names << "\non " << mesh.to_string();
          break;
        }
    }
    ++compared;
  }
  EXPECT_GE(compared, 80) << "too many of the programs are not finite";
}

}  // namespace
}  // namespace sorus::parallel
