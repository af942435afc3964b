// npy: one array in a file, as NumPy writes it (versions 1, 2 and 3 of the format).
//
//   Tensor x = io::load_npy("x.npy");
//   io::save_npy("y.npy", x);
//
// Little-endian arrays are mapped, not read (see safetensors.h); those in Fortran order become tensors with such
// strides. Big-endian ones are read and swapped. Structured and object arrays, and types that Sorus lacks, are
// errors.
#pragma once

#include <filesystem>

#include "sorus/tensor/tensor.h"

namespace sorus::io {

Tensor load_npy(const std::filesystem::path& path);
/// Written atomically. bfloat16 has no name in NumPy (ValueError).
void save_npy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace sorus::io
