// Unsharded: a parameter whose rows lie at several ranks, and its whole for as long as it is needed.
//
//   Unsharded w(world, {1000, 512}, DType::f32);
//   w.gather(mine);              // all ranks: the whole is there, at the same address as ever
//   ... forward ...
//   w.release();                 // its pages go back to the system; what the tape saved of it stays valid,
//   w.gather(mine);              // since the same values come back before they are read
//   Tensor g = w.reduce(grad);   // this rank's rows of the average gradient
//
// Rank r has rows [r * ceil(n / ranks), ...), as torch.chunk cuts. After Rajbhandari et al., "ZeRO", 2020, stage 3.
#pragma once

#include "sorus/parallel/comm/communicator.h"

namespace sorus::fsdp {

class Unsharded {
 public:
  /// `whole` has at least one dimension (ValueError).
  Unsharded(std::shared_ptr<comm::Communicator> group, const Shape& whole, DType dtype);

  /// A leaf of the whole's shape. It must not be read between `release` and `gather`.
  const Tensor& full() const { return full_; }
  int64_t first_row() const { return first_; }
  int64_t rows() const { return rows_; }
  void gather(const Tensor& shard);
  void release();
  bool is_gathered() const { return gathered_; }
  /// The average over ranks, of the own rows. All ranks call it.
  Tensor reduce(const Tensor& grad) const;

 private:
  std::shared_ptr<comm::Communicator> group_;
  Tensor full_;
  int64_t each_ = 0, first_ = 0, rows_ = 0, row_bytes_ = 0;
  bool gathered_ = false;
};

}  // namespace sorus::fsdp
