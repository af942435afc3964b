// idx: arrays as the MNIST files hold them, plain or compressed by gzip.
//
//   Tensor images = io::load_idx("train-images-idx3-ubyte.gz");      // u8[60000, 28, 28]
//
// The header is not trusted: no more memory is taken than the data that is there can fill.
#pragma once

#include <filesystem>

#include "sorus/tensor/tensor.h"

namespace sorus::io {

Tensor load_idx(const std::filesystem::path& path);

}  // namespace sorus::io
