// The C text that every printed file starts with: the functions that scalar operations are spelled with.
//
// They are static, inline and without branches, so that gcc vectorises the loops they stand in at -O3 without
// -ffast-math; NaN, infinities and overflow come out right. An operation that the table (graph/scalar_ops.cpp) spells
// sorus_NAME_TYPE exists in C if this text defines it; what it lacks is left to the interpreter.
#pragma once

#include <string_view>

namespace sorus {

std::string_view c_preamble();

}  // namespace sorus
