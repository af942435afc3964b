// Scalar bodies as C: the one printer of expressions, for eager kernels, compiled graphs and devices.
//
//   CBody body = print_c(parse_scalar("t = tanh(x); 1 - t * t", {"x"}), DType::f32, {"in0[i]"}, {});
//   // body.lines   {"const float t0 = in0[i];", "const float t1 = sorus_tanh_f32(t0);", ...}
//   // body.results {"t4"}
//
// Every distinct subexpression becomes one named value, so what a body shares is computed once. How arguments are
// loaded and results stored is the caller's: it hands in C expressions and gets back names.
#pragma once

#include <string>
#include <vector>

#include "sorus/graph/scalar.h"

namespace sorus {

struct CBody {
  std::vector<std::string> lines;
  std::vector<std::string> results;  ///< names; truth values are int
};

/// "float", "double", "int64_t", "double _Complex".
std::string c_type(DType compute);

/// True when every operation has a C spelling in this type (the preamble defines it).
bool printable(const ScalarFunction& f, DType compute);

/// `args`, `params`: C expressions of the compute type. Names of values start with `prefix`.
CBody print_c(const ScalarFunction& f, DType compute, const std::vector<std::string>& args,
              const std::vector<std::string>& params, const std::string& position = "",
              const std::string& prefix = "t");

}  // namespace sorus
