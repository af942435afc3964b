// Samples: what an operator is tried with, as one line of text.
//
//   "f[a,b] f[b] none dim=[1] keepdim=true"
//
// Tensors come first, in the order of the signature, then attributes by name (those with a default may be left out).
// A tensor is a kind of values and a shape:
//
//   f  between -2 and 2        p  between 0.3 and 2      u  between -0.9 and 0.9     q  between 1.1 and 3
//   o  between 0.1 and 0.9
//   b  truth values            i6 integers below 6, as int64; also in: below the size n; w6: from 2 on
//   s8, u8, s16  any number of these types; s32: between -2^19 and 2^19
//   k  a key for random numbers, int64[2]                none  an optional tensor that is not given
//
// f, p, u, q and o are what changes its type in the tests of types, and what gradients are asked for. Single letters
// in shapes and attributes are sizes; tests choose them (2 to 5 by default, 0, 1 and others in turn).
//
// The word "phase" says that complex results are free up to numbers of size one, as eigenvectors are; finite
// differences of such results mean nothing, so derivatives are then tried for real numbers only.
//
// Operators with `each`, with simple index notation, or of tensors alone get their samples from their definition; all
// others have lines in sample_table.cpp. The line "via NAME" says that an operator is tested as part of the gradient
// of another one (its inputs are results that only that one makes); a test looks whether that is so.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sorus/graph/op.h"

namespace sorus::harness {

using Sizes = std::map<char, int64_t>;

struct Sample {
  std::string text;
  TensorList inputs;           ///< f64 where the kind is a real one
  std::vector<bool> variable;  ///< of each input: whether its kind is f, p, u, q or o
  Attrs attrs;
  bool free_phase = false;  ///< "phase" in the line
};

/// Lines of the table for an operator; nothing if it has none.
std::vector<std::string> table_samples(const std::string& name);
/// The operator behind "via NAME", or null.
const OpDef* tested_by(const OpDef& op);
/// Lines of the table, or made from the definition. Empty means: this operator has no case.
const std::vector<std::string>& samples_of(const OpDef& op);
/// Throws a ValueError if the line does not fit the signature.
Sample make_sample(const OpDef& op, const std::string& text, const Sizes& sizes = {}, unsigned seed = 1);
/// The letters in a line.
std::string letters_of(const std::string& text);
/// All names in the table, so that a test can tell lines without an operator.
std::vector<std::string> table_names();
/// Whether nothing is promised about the values (memory that was not written, draws).
bool has_free_values(const OpDef& op);

/// The sample with its variable tensors in another type: integers and truth values stay away from 0 where the sample
/// does, complex numbers get an imaginary part.
TensorList in_type(const Sample& s, DType t);

/// The same values in other layouts: 0 as it is, 1 transposed, 2 every second element behind an offset, 3 the first
/// dimension longer than one shown from one place (its values are those of its first element).
inline constexpr int kLayouts = 4;
TensorList in_layout(TensorSpan inputs, int layout);

/// The operators that are registered when the program starts, as parameters of tests.
std::vector<std::string> operator_names();
std::string test_name(const std::string& op);

}  // namespace sorus::harness
