// Models of any size without their memory: while a MetaScope is alive, tensors that are made are abstract and
// operators only work out shapes. A model built in one has its parameters, names and types, and nothing else, and can
// be traced.
//
//   std::shared_ptr<nn::Module> model;
//   {
//     MetaScope meta;
//     model = std::make_shared<nn::GPT>(config);   // a trillion parameters, in milliseconds
//   }
//   for (auto& [name, t] : model->named_parameters()) tracer.bind_input(t, name);
//
// What PyTorch calls the device "meta".
#pragma once

#include <memory>

#include "sorus/graph/call.h"
#include "sorus/tensor/meta.h"

namespace sorus {

class MetaScope {
 public:
  MetaScope();
  ~MetaScope();

 private:
  std::unique_ptr<Interpreter> interpreter_;
  AbstractScope abstract_;
  InterpreterScope scope_;
};

}  // namespace sorus
