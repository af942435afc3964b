#include "sorus/device/model.h"

#include <algorithm>

namespace sorus::device {

int64_t bytes_of(Element e) {
  switch (e) {
    case Element::i64:
      return 8;
    case Element::i32:
    case Element::f32:
      return 4;
    case Element::i16:
      return 2;
    default:
      return 1;
  }
}

int64_t DeviceTensor::elements() const {
  int64_t n = 1;
  for (int64_t d : dims) n *= d;
  return n;
}

bool Model::is_input(int tensor) const { return std::find(inputs.begin(), inputs.end(), tensor) != inputs.end(); }
bool Model::is_output(int tensor) const {
  return std::find(outputs.begin(), outputs.end(), tensor) != outputs.end() || is_state(tensor);
}
bool Model::is_state(int tensor) const {
  return std::any_of(states.begin(), states.end(), [&](const State& s) { return s.tensor == tensor; });
}

std::vector<size_t> Model::readers(int tensor) const {
  std::vector<size_t> list;
  for (size_t s = 0; s < steps.size(); ++s)
    if (std::find(steps[s].inputs.begin(), steps[s].inputs.end(), tensor) != steps[s].inputs.end()) list.push_back(s);
  return list;
}

int Model::writer(int tensor) const {
  for (size_t s = 0; s < steps.size(); ++s)
    if (steps[s].output == tensor) return static_cast<int>(s);
  return -1;
}

}  // namespace sorus::device
