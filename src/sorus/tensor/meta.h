// Tensors without memory on demand: while an AbstractScope is alive on this thread, Tensor::empty gives abstract
// tensors.
#pragma once

namespace sorus {

class AbstractScope {
 public:
  AbstractScope();
  ~AbstractScope();
  AbstractScope(const AbstractScope&) = delete;
  AbstractScope& operator=(const AbstractScope&) = delete;

 private:
  bool previous_;
};

}  // namespace sorus
