// A tensor and a view of it, from an installed Sorus.
#include <fmt/format.h>

#include "sorus/tensor/tensor.h"

int main() {
  sorus::Tensor table = sorus::Tensor::empty({2, 3}, sorus::DType::f32);
  for (int i = 0; i < 6; i++) table.data<float>()[i] = static_cast<float>(i);
  sorus::Tensor column = table.with_geometry({{2}, {3}, 1});
  fmt::print("the second column holds {} and {}\n", column.data<float>()[0], column.data<float>()[3]);
}
