// Kernels that call CMSIS-NN, where the user has it (cmsis_nn.h).
#pragma once

#include "sorus/device/cmsis_nn.h"
#include "sorus/device/kernel.h"

namespace sorus::device {

/// A kernel set in front of a target's own: what the library computes as Sorus does, to the bit, becomes a call;
/// every other step is left to the other set, with a note that says why.
class CmsisKernels : public KernelSet {
 public:
  CmsisKernels(const CmsisNn& library, const KernelSet& own) : library_(library), own_(own) {}
  Prepared prepare(const Model& model, const Step& step, const PrepareOptions& options) const override;

 private:
  const CmsisNn& library_;
  const KernelSet& own_;
};

}  // namespace sorus::device
