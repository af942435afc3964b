#include "sorus/nn/containers.h"

namespace sorus::nn {

Sequential::Sequential(std::vector<std::shared_ptr<Module>> modules) {
  for (auto& m : modules) append(std::move(m));
}
void Sequential::append(std::shared_ptr<Module> module) {
  register_module(std::to_string(children().size()), std::move(module));
}
Tensor Sequential::forward(const Tensor& input) {
  Tensor x = input;
  for (auto& [name, child] : children()) x = (*child)(x);
  return x;
}

ModuleList::ModuleList(std::vector<std::shared_ptr<Module>> modules) {
  for (auto& m : modules) append(std::move(m));
}
void ModuleList::append(std::shared_ptr<Module> module) {
  register_module(std::to_string(children().size()), std::move(module));
}

}  // namespace sorus::nn
