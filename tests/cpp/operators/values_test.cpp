// Every operator that is registered: its values in all types, layouts and shapes against the reference, and compiled.
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "operators/reference.h"
#include "operators/samples.h"
#include "sorus/autodiff/tape.h"
#include "sorus/ops.h"
#include "sorus/run/compiled.h"
#include "sorus/run/execute.h"
#include "sorus/tensor/copy.h"

namespace sorus::harness {
namespace {

class EachOperator : public testing::TestWithParam<std::string> {
 protected:
  const OpDef& op() const { return find_op(GetParam()); }
  bool via_another() const { return tested_by(op()) != nullptr; }
};
INSTANTIATE_TEST_SUITE_P(Operators, EachOperator, testing::ValuesIn(operator_names()),
                         [](const auto& info) { return test_name(info.param); });

// The call's results, or the message of the error.
struct Outcome {
  TensorList out;
  std::string error;
};
template <class F>
Outcome attempt(F f) {
  try {
    return {f(), ""};
  } catch (const Error& e) {
    return {{}, e.what()};
  }
}

// What the same call gives in wide types: by the reference, or (no body, no notation) by the operator itself.
std::string compare_with_wide(const OpDef& op, TensorSpan inputs, const Attrs& attrs, const TensorList& found) {
  TensorList wide;
  bool boolean = false;
  for (const Tensor& t : inputs) {
    wide.push_back(t.defined() ? widened(t) : t);
    boolean |= t.defined() && t.dtype() == DType::boolean;
  }
  if (auto expected = reference(op, wide, attrs)) {
    for (size_t i = 0; i < found.size(); ++i) {
      // Integers wrap around in narrow types, and anything but zero is true.
      std::vector<std::complex<double>> e = (*expected)[i];
      if (!is_complex(found[i].dtype()))
        for (auto& v : e) v = v.real();
      if (!is_differentiable(found[i].dtype())) {
        Tensor t = Tensor::empty(found[i].sizes(), found[i].dtype()), w = Tensor::empty(found[i].sizes(), DType::i64);
        if (numel(found[i].sizes()) != static_cast<int64_t>(e.size()))
          return "another number of elements than the reference";
        for (size_t k = 0; k < e.size(); ++k) w.data<int64_t>()[k] = static_cast<int64_t>(e[k].real());
        copy_elements(t, w);
        e = elements(t);
      }
      if (std::string d = difference(found[i], e); !d.empty()) return "against the reference: " + d;
    }
    return "";
  }
  Outcome other = attempt([&] { return call(op, wide, attrs); });
  if (!other.error.empty() || has_free_values(op)) return "";
  for (size_t i = 0; i < found.size(); ++i) {
    DType t = found[i].dtype();
    // Composites of truth values round to 0 and 1 in between; numbers of another kind cannot be compared.
    bool comparable = is_differentiable(t) == is_differentiable(other.out[i].dtype()) && !boolean;
    if (std::string d = difference(found[i], elements(other.out[i]), 4); comparable && !d.empty())
      return "against the same in wide types: " + d;
  }
  return "";
}

TEST_P(EachOperator, HasACase) {
  EXPECT_FALSE(samples_of(op()).empty())
      << "operator " << GetParam() << " has no sample: none can be made from its definition\n  "
      << op().signature.to_string() << "\nAdd a line to tests/cpp/operators/sample_table.cpp.";
}

TEST_P(EachOperator, ValuesInAllTypes) {
  if (via_another()) return;
  for (const std::string& line : samples_of(op())) {
    Sample s = make_sample(op(), line);
    int worked = 0;
    for (int t = 0; t < kNumDTypes; ++t) {
      TensorList in = in_type(s, static_cast<DType>(t));
      Outcome o = attempt([&] { return call(op(), in, s.attrs); });
      if (!o.error.empty()) {
        EXPECT_NE(static_cast<DType>(t), DType::f64) << GetParam() << " " << line << ": " << o.error;
        continue;
      }
      ++worked;
      std::string problem = compare_with_wide(op(), in, s.attrs, o.out);
      EXPECT_EQ(problem, "") << GetParam() << " " << line << " in " << short_name(static_cast<DType>(t));
    }
    EXPECT_GT(worked, 0);
  }
}

TEST_P(EachOperator, LayoutsDoNotMatter) {
  if (via_another() || has_free_values(op())) return;
  for (const std::string& line : samples_of(op())) {
    Sample s = make_sample(op(), line);
    for (int layout = 1; layout < kLayouts; ++layout) {
      TensorList strided = in_layout(s.inputs, layout), packed;
      for (const Tensor& t : strided) packed.push_back(t.defined() ? clone(t) : t);
      Outcome a = attempt([&] { return call(op(), packed, s.attrs); });
      Outcome b = attempt([&] { return call(op(), strided, s.attrs); });
      if (op().base_inputs.empty() && GetParam().starts_with("as_strided") && !b.error.empty()) continue;
      ASSERT_EQ(a.error, b.error) << GetParam() << " " << line << ", layout " << layout;
      for (size_t i = 0; i < a.out.size(); ++i)
        EXPECT_EQ(difference(b.out[i], a.out[i]), "") << GetParam() << " " << line << ", layout " << layout;
    }
  }
}

// Letters of the samples become any sizes; where that is an error, it must be a clean one.
TEST_P(EachOperator, AnyShapes) {
  if (via_another()) return;
  for (const std::string& line : samples_of(op())) {
    std::string letters = letters_of(line);
    if (letters.empty()) continue;
    bool held = rc::check(GetParam() + " " + line, [&] {
      Sizes sizes;
      for (char c : letters) sizes[c] = *rc::gen::element<int64_t>(0, 1, 1, 2, 3, 5, 9, 17);
      Outcome s = attempt([&] {
        Sample sample = make_sample(op(), line, sizes);
        TensorList out = call(op(), sample.inputs, sample.attrs);
        std::string problem = compare_with_wide(op(), sample.inputs, sample.attrs, out);
        if (!problem.empty()) RC_FAIL(problem);
        return out;
      });
      RC_ASSERT(s.error.find("internal error") == std::string::npos);
    });
    EXPECT_TRUE(held) << GetParam() << " " << line;
  }
}

// ---- compiled ---------------------------------------------------------------------------------------------------

struct Case {
  std::string label;
  TensorList inputs;
  Attrs attrs;
  bool gradient = false;
};

// One case as a function of its defined inputs.
TensorList run_case(const OpDef& op, const Case& c, TensorSpan given) {
  TensorList in;
  size_t at = 0;
  for (const Tensor& t : c.inputs) in.push_back(t.defined() ? given[at++] : Tensor());
  if (!c.gradient) return call(op, in, c.attrs);
  TensorList sources, outputs, weights;
  for (size_t i = 0; i < in.size(); ++i) {
    if (!in[i].defined() || !is_differentiable(in[i].dtype())) continue;
    in[i] = in[i].detach();
    set_requires_grad(in[i], true);
    sources.push_back(in[i]);
  }
  for (const Tensor& y : call(op, in, c.attrs))
    if (is_differentiable(y.dtype()) && y.requires_grad()) {
      outputs.push_back(y);
      weights.push_back(full(y.sizes(), 0.75, y.dtype()));
    }
  TensorList found;
  if (!outputs.empty())
    for (const Tensor& g : gradients(outputs, sources, weights))
      if (g.defined()) found.push_back(g);
  return found;
}

std::vector<Case> cases_of(const OpDef& op) {
  std::vector<Case> out;
  bool first = true;
  for (const std::string& line : samples_of(op)) {
    auto add = [&](std::string label, TensorList inputs, const Attrs& attrs, bool gradient = false) {
      out.push_back({op.name() + " " + line + " " + label, std::move(inputs), attrs, gradient});
    };
    Sample s = make_sample(op, line);
    TensorList in = in_type(s, DType::f32);
    add("f32", in, s.attrs);
    if (op.differentiable && !op.random) add("gradient", in, s.attrs, true);
    if (first) {
      for (int layout = 1; layout < kLayouts; ++layout)
        add(fmt::format("layout {}", layout), in_layout(in, layout), s.attrs);
      for (int t = 0; t < kNumDTypes; ++t)
        if (static_cast<DType>(t) != DType::f32)
          add(std::string(short_name(static_cast<DType>(t))), in_type(s, static_cast<DType>(t)), s.attrs);
    }
    for (int64_t n : {0, 1, 9}) {
      Sizes sizes;
      for (char c : letters_of(line)) sizes[c] = n;
      if (sizes.empty()) break;
      Outcome made = attempt([&] {
        Sample sized = make_sample(op, line, sizes);
        add(fmt::format("sizes {}", n), in_type(sized, DType::f32), sized.attrs);
        return TensorList();
      });
    }
    first = false;
  }
  return out;
}

void check_compiled(const OpDef& op, std::span<const Case> cases, std::span<const TensorList> eager) {
  TensorList inputs;
  for (const Case& c : cases)
    for (const Tensor& t : c.inputs)
      if (t.defined()) inputs.push_back(t);
  auto all = [&](TensorSpan given) {
    TensorList out;
    size_t at = 0;
    for (const Case& c : cases) {
      size_t n = 0;
      for (const Tensor& t : c.inputs) n += t.defined();
      for (Tensor& t : run_case(op, c, given.subspan(at, n))) out.push_back(t);
      at += n;
    }
    return out;
  };
  TracedGraph traced = trace(all, inputs);
  traced.graph.verify();
  std::string text = traced.graph.to_string();
  EXPECT_EQ(Graph::parse(text).to_string(), text);
  CompiledGraph compiled(std::move(traced));
  EXPECT_EQ(compiled.report().without_compiler, "");
  for (int round = 0; round < 2; ++round) {
    TensorList found = compiled.run(inputs);
    size_t at = 0;
    for (size_t k = 0; k < cases.size(); ++k)
      for (const Tensor& e : eager[k]) {
        ASSERT_LT(at, found.size());
        const Tensor& f = found[at++];
        if (has_free_values(op)) {
          EXPECT_EQ(f.type(), e.type()) << cases[k].label;
          continue;
        }
        EXPECT_EQ(difference(f, e, 2), "") << "compiled, round " << round << ": " << cases[k].label;
      }
    EXPECT_EQ(at, found.size());
  }
}

TEST_P(EachOperator, CompiledIsEager) {
  if (via_another()) return;
  std::vector<Case> cases;
  std::vector<TensorList> eager;
  for (Case& c : cases_of(op())) {
    TensorList given;
    for (const Tensor& t : c.inputs)
      if (t.defined()) given.push_back(t);
    Outcome o = attempt([&] { return run_case(op(), c, given); });
    if (!o.error.empty()) {
      EXPECT_FALSE(c.gradient) << c.label << ": " << o.error;
      continue;
    }
    Outcome recorded = attempt([&] {
      trace([&](TensorSpan in) { return run_case(op(), c, in); }, given);
      return TensorList();
    });
    // What depends on values cannot be recorded, and the message names the way out.
    if (op().value_shaped || recorded.error.find("sorus.where") != std::string::npos) {
      EXPECT_NE(recorded.error.find("sorus.where"), std::string::npos) << c.label << ": '" << recorded.error << "'";
      continue;
    }
    EXPECT_EQ(recorded.error, "") << c.label;
    if (!recorded.error.empty()) continue;
    cases.push_back(std::move(c));
    eager.push_back(std::move(o.out));
  }
  if (cases.empty()) return;
  try {
    check_compiled(op(), cases, eager);
  } catch (const std::exception& e) {
    ADD_FAILURE() << GetParam() << " compiled: " << e.what();
    for (size_t k = 0; k < cases.size(); ++k) {  // which of them?
      SCOPED_TRACE(cases[k].label);
      EXPECT_NO_THROW(check_compiled(op(), {&cases[k], 1}, {&eager[k], 1}));
    }
  }
}

// ---- in place -----------------------------------------------------------------------------------------------------

TEST_P(EachOperator, InPlaceIsOutOfPlace) {
  if (via_another() || op().is_view() || has_free_values(op())) return;
  for (const std::string& line : samples_of(op())) {
    Sample s = make_sample(op(), line);
    if (s.inputs.empty() || !s.inputs[0].defined()) continue;
    Outcome expected = attempt([&] { return call(op(), s.inputs, s.attrs); });
    if (expected.out.size() != 1 || expected.out[0].sizes() != s.inputs[0].sizes() ||
        expected.out[0].dtype() != s.inputs[0].dtype())
      continue;
    for (int layout = 0; layout < 3; ++layout) {
      TensorList in = in_layout(s.inputs, layout);
      in[0] = in_layout(std::array{clone(s.inputs[0])}, layout)[0];
      call_into(op(), in, s.attrs, std::array{in[0]});
      EXPECT_EQ(difference(in[0], expected.out[0]), "")
          << GetParam() << " " << line << " in place, layout " << layout;
    }
    // A second input that shows the target's memory from its other end.
    for (size_t k = 1; k < s.inputs.size(); ++k) {
      if (!s.variable[k] || !s.variable[0] || s.inputs[k].sizes() != s.inputs[0].sizes() || s.inputs[0].dim() == 0)
        continue;
      TensorList in = s.inputs;
      in[0] = clone(s.inputs[0]);
      Geometry g = in[0].geometry();
      Tensor memory = Tensor::zeros(Shape{2 * in[0].numel()}, DType::f64);
      g.offset = 1;
      Tensor target = memory.with_geometry(g);
      g.offset = 0;
      Tensor shifted = memory.with_geometry(g);
      for (int64_t i = 0; i < memory.numel(); ++i)
        memory.data<double>()[i] = 0.4 + 0.05 * static_cast<double>(i % 20);
      in[0] = target;
      in[k] = shifted;
      TensorList apart = in;
      apart[0] = clone(target);
      apart[k] = clone(shifted);
      Outcome whole = attempt([&] { return call(op(), apart, s.attrs); });
      if (whole.out.size() != 1) continue;
      Outcome o = attempt([&] {
        call_into(op(), in, s.attrs, std::array{target});
        return TensorList{target};
      });
      if (!o.error.empty()) continue;
      EXPECT_EQ(difference(target, whole.out[0]), "")
          << GetParam() << " " << line << ": input " << k << " overlaps the target";
    }
  }
}

// ---- the table itself
// -----------------------------------------------------------------------------------------------

TEST(Samples, LinesOfTheTableBelongToOperators) {
  for (const std::string& name : table_names()) {
    const OpDef* op = find_op_or_null(name);
    EXPECT_TRUE(op) << "sample_table.cpp has lines for '" << name << "', which is no operator";
    if (!op) continue;
    for (const std::string& line : table_samples(name)) {
      if (line.starts_with("via ")) continue;
      EXPECT_NO_THROW(make_sample(*op, line)) << name;
    }
  }
}

TEST(Samples, ThoseTestedViaAnotherAreReachedByIt) {
  for (const OpDef* op : all_ops()) {
    const OpDef* base = tested_by(*op);
    if (!base) continue;
    Sample s = make_sample(*base, samples_of(*base)[0]);
    Case c{"", s.inputs, s.attrs, true};
    TracedGraph t = trace([&](TensorSpan in) { return run_case(*base, c, in); }, s.inputs);
    EXPECT_NE(t.graph.to_string().find("= " + op->name() + "("), std::string::npos)
        << op->name() << " is not in the gradient of " << base->name() << ":\n"
        << t.graph.to_string();
  }
}

}  // namespace
}  // namespace sorus::harness
