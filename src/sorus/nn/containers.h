// Containers: modules that hold others under numbers or names.
#pragma once

#include "sorus/nn/module.h"

namespace sorus::nn {

/// Calls its modules one after another.
class Sequential : public Module {
 public:
  Sequential() = default;
  explicit Sequential(std::vector<std::shared_ptr<Module>> modules);
  void append(std::shared_ptr<Module> module);
  Tensor forward(const Tensor& input) override;
};

/// A list; who holds it calls its modules.
class ModuleList : public Module {
 public:
  ModuleList() = default;
  explicit ModuleList(std::vector<std::shared_ptr<Module>> modules);
  void append(std::shared_ptr<Module> module);
};

/// Modules by name, in the order of insertion.
class ModuleDict : public Module {};

}  // namespace sorus::nn
