// The operations of a communicator on tensors, in PyTorch's forms: results are written into tensors that are there.
//
//   auto work = comm::all_reduce(world, grad, ReduceOp::avg, /*async=*/true);
//   ...;
//   work->wait();
//
// With `async` they run on the communicator's thread and keep their tensors alive; without, they are done on return
// and the result is null. Tensors need not be contiguous. Gradients do not flow through them; the operators of
// parallel/sharding do that.
#pragma once

#include "sorus/parallel/comm/communicator.h"

namespace sorus::comm {

using WorkRef = std::shared_ptr<Work>;

WorkRef all_reduce(Communicator& c, const Tensor& t, ReduceOp op = ReduceOp::sum, bool async = false);
WorkRef reduce(Communicator& c, const Tensor& t, int root, ReduceOp op = ReduceOp::sum, bool async = false);
WorkRef broadcast(Communicator& c, const Tensor& t, int root, bool async = false);
/// out[r] gets what rank r has; sizes may differ between ranks as long as all agree on them.
WorkRef all_gather(Communicator& c, TensorSpan out, const Tensor& in, bool async = false);
/// `out` has size() times the elements of `in`.
WorkRef all_gather_into(Communicator& c, const Tensor& out, const Tensor& in, bool async = false);
WorkRef reduce_scatter(Communicator& c, const Tensor& out, TensorSpan in, ReduceOp op = ReduceOp::sum,
                       bool async = false);
/// `in` has size() times the elements of `out`.
WorkRef reduce_scatter_from(Communicator& c, const Tensor& out, const Tensor& in, ReduceOp op = ReduceOp::sum,
                            bool async = false);
WorkRef all_to_all(Communicator& c, TensorSpan out, TensorSpan in, bool async = false);
/// `out` and `in` are cut along their first dimension; empty sizes mean equal parts.
WorkRef all_to_all_single(Communicator& c, const Tensor& out, const Tensor& in, IntSpan out_sizes, IntSpan in_sizes,
                          bool async = false);
/// `in` is read at the root only and has one tensor for each rank.
WorkRef scatter(Communicator& c, const Tensor& out, TensorSpan in, int root, bool async = false);
WorkRef gather(Communicator& c, TensorSpan out, const Tensor& in, int root, bool async = false);
/// Never null. `t` must live until `wait`.
WorkRef isend(Communicator& c, const Tensor& t, int to, int tag = 0);
WorkRef irecv(Communicator& c, const Tensor& t, int from, int tag = 0);

}  // namespace sorus::comm
