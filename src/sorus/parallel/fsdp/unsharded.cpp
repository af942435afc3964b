#include "sorus/parallel/fsdp/unsharded.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sorus/tensor/copy.h"

namespace sorus::fsdp {

Unsharded::Unsharded(std::shared_ptr<comm::Communicator> group, const Shape& whole, DType dtype)
    : group_(std::move(group)) {
  SORUS_CHECK(!whole.empty(), ValueError,
              "fully_shard: a parameter without dimensions cannot be cut into rows; give it the shape (1,)");
  int64_t ranks = group_->size(), all = whole[0];
  each_ = (all + ranks - 1) / ranks;
  first_ = std::min(all, each_ * group_->rank());
  rows_ = std::min(all, each_ * (group_->rank() + 1)) - first_;
  size_t bytes = static_cast<size_t>(numel(whole)) * size_of(dtype);
  row_bytes_ = all ? static_cast<int64_t>(bytes) / all : 0;
  // Pages of its own, so that they can be given back while the address stays.
  size_t mapped = std::max<size_t>(bytes, 1);
  void* p = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  SORUS_CHECK(p != MAP_FAILED, Error, "fully_shard: no memory for {} bytes: {}", bytes, std::strerror(errno));
  auto storage = Storage::wrap(p, bytes, [p, mapped] { munmap(p, mapped); });
  full_ = Tensor::from_storage(storage, {whole, contiguous_strides(whole), 0}, dtype);
}

void Unsharded::gather(const Tensor& shard) {
  std::vector<int64_t> bytes;
  for (int64_t r = 0; r < group_->size(); ++r)
    bytes.push_back((std::min(full_.size(0), each_ * (r + 1)) - std::min(full_.size(0), each_ * r)) * row_bytes_);
  SORUS_CHECK(shard.is_contiguous() && static_cast<int64_t>(shard.nbytes()) == rows_ * row_bytes_, ValueError,
              "fully_shard: this rank's rows are a {}, expected {} rows of {}", shard.type().to_string(), rows_,
              full_.type().to_string());
  group_->all_gather_v(shard.data(), full_.data(), bytes);
  gathered_ = true;
}

void Unsharded::release() {
  if (full_.nbytes() > 0) madvise(full_.data(), full_.nbytes(), MADV_DONTNEED);
  gathered_ = false;
}

Tensor Unsharded::reduce(const Tensor& grad) const {
  SORUS_CHECK(grad.sizes() == full_.sizes(), ValueError, "fully_shard: a gradient has the shape {}, its parameter {}",
              to_string(grad.sizes()), to_string(full_.sizes()));
  Shape padded = full_.sizes();
  padded[0] = each_ * group_->size();
  Tensor in = grad;
  if (!grad.is_contiguous() || padded[0] != full_.size(0)) {
    in = Tensor::zeros(padded, grad.dtype());
    copy_elements(in.with_geometry({full_.sizes(), in.strides(), 0}), grad);
  }
  padded[0] = each_;
  Tensor out = Tensor::empty(padded, grad.dtype());
  group_->reduce_scatter(in.data(), out.data(), out.numel(), out.dtype(), comm::ReduceOp::avg);
  if (rows_ == each_) return out;
  padded[0] = rows_;
  Tensor own = Tensor::empty(padded, grad.dtype());
  copy_elements(own, out.with_geometry({padded, out.strides(), 0}));
  return own;
}

}  // namespace sorus::fsdp
