// Reducer: averages the gradients of data-parallel ranks while the backward pass still runs.
//
//   ddp::Reducer reducer(world, model.parameters(), {});    // parameters of rank 0 go to all
//   backward(model.loss(mine));                             // every .grad is now the average over the ranks
//
// Gradients are collected in buckets, in the order in which a backward pass finds them (the reverse of the
// parameters'). A bucket lies in memory that all ranks share; as soon as its last gradient is there it is reduced on
// the communicator's thread. The end of the backward pass waits for the last ones. After Li et al., "PyTorch
// Distributed", VLDB 2020.
//
// While a graph is recorded the same buckets become calls of the operator all_reduce, so that compiled steps hold
// them.
#pragma once

#include "sorus/parallel/comm/communicator.h"

namespace sorus::ddp {

struct ReducerOptions {
  int64_t bucket_bytes = 25 << 20;       ///< of a bucket
  int64_t first_bucket_bytes = 1 << 20;  ///< small, so that communication starts early
  bool find_unused_parameters = false;   ///< a parameter without a gradient counts as zero
  bool gradient_as_bucket_view = false;  ///< `.grad` shows the bucket: nothing is copied back
  bool broadcast_parameters = true;      ///< from rank 0, at the start
};

class Reducer {
 public:
  /// `names` are for messages. ValueError if ranks have other parameters.
  Reducer(std::shared_ptr<comm::Communicator> group, TensorList parameters, std::vector<std::string> names,
          ReducerOptions options);
  ~Reducer();
  Reducer(const Reducer&) = delete;
  Reducer& operator=(const Reducer&) = delete;

  /// Before a forward pass: forgets a backward pass that ended with an error.
  void prepare();
  /// Off: gradients stay those of this rank, and add up.
  void set_sync(bool on);
  bool sync() const;
  /// Number of elements of each bucket.
  std::vector<int64_t> bucket_sizes() const;
  /// Buckets whose reduction had started before the end of the last backward pass.
  int64_t started_early() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sorus::ddp
