// Collectives as operators of a graph. `parts` is the number of ranks in the group, so that the result's shape is
// known where no ranks are running; the kernel checks it.
#include <cstring>

#include "sorus/ops.h"
#include "sorus/parallel/comm/groups.h"
#include "sorus/tensor/copy.h"

namespace sorus::parallel {
namespace {

comm::Communicator& group_of(const Call& c, std::string_view name, int64_t parts) {
  comm::Communicator& g = comm::group(name);
  SORUS_CHECK(parts < 0 || g.size() == parts, ValueError,
              "{}: the group '{}' has {} ranks, the graph was made for {}", c.op.name(), name, g.size(), parts);
  return g;
}

// Sizes in front of a dimension, of it, and behind it.
struct Cut {
  int64_t outer = 1, size = 1, inner = 1;
  Cut(const Shape& s, int64_t dim) {
    for (size_t d = 0; d < s.size(); ++d)
      (static_cast<int64_t>(d) < dim ? outer : static_cast<int64_t>(d) == dim ? size : inner) *= s[d];
  }
};
// Between a tensor and its `parts` blocks along a dimension, one behind the other.
void pack(const std::byte* tensor, std::byte* blocks, const Cut& c, int64_t parts, size_t element) {
  int64_t row = c.size / parts * c.inner * static_cast<int64_t>(element);
  for (int64_t o = 0; o < c.outer; ++o)
    for (int64_t p = 0; p < parts; ++p)
      std::memcpy(blocks + (p * c.outer + o) * row, tensor + (o * parts + p) * row, static_cast<size_t>(row));
}
void unpack(const std::byte* blocks, std::byte* tensor, const Cut& c, int64_t parts, size_t element) {
  int64_t row = c.size / parts * c.inner * static_cast<int64_t>(element);
  for (int64_t o = 0; o < c.outer; ++o)
    for (int64_t p = 0; p < parts; ++p)
      std::memcpy(tensor + (o * parts + p) * row, blocks + (p * c.outer + o) * row, static_cast<size_t>(row));
}
std::byte* bytes(const Tensor& t) { return static_cast<std::byte*>(t.data()); }

TypesRule resized(int grows, int shrinks, int parts_at) {
  return [=](const TypeCall& c) -> std::vector<TensorType> {
    Shape s = c.input(0).shape;
    auto rank = static_cast<int64_t>(s.size());
    int64_t parts = c.attr(parts_at).to_int();
    SORUS_CHECK(parts >= 1, ValueError, "{}: a group has at least one rank, parts is {}", c.op.name(), parts);
    if (shrinks >= 0) {
      auto d = static_cast<size_t>(wrap_dim(c.attr(shrinks).to_int(), rank, c.op.name()));
      SORUS_CHECK(s[d] % parts == 0, ValueError, "{}: dimension {} of {} cannot be cut into {} equal blocks",
                  c.op.name(), d, to_string(s), parts);
      s[d] /= parts;
    }
    if (grows >= 0) s[static_cast<size_t>(wrap_dim(c.attr(grows).to_int(), rank, c.op.name()))] *= parts;
    return {{c.input(0).dtype, s, false}};
  };
}
int64_t dim_of(const Call& c, int at) { return wrap_dim(c.attr(at).to_int(), c.input(0).dim(), c.op.name()); }

const bool collectives = [] {
  op("all_reduce(input, op: str = 'sum', group: str = 'world')")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        return {{c.input(0).dtype, c.input(0).shape, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        group_of(c, c.attr(1).string(), -1)
            .all_reduce(c.input(0).data(), out[0].data(), out[0].numel(), out[0].dtype(),
                        comm::reduce_op_from_name(c.attr(0).string()));
      })
      .gradient([](const GradCall& c) -> TensorList {
        SORUS_CHECK(c.attrs[0].string() == "sum", NotImplementedError, "all_reduce: only sums have a gradient");
        return {call_one(c.op, {c.grad()}, c.attrs)};
      })
      .doc("Elements of all ranks of the group taken together; every rank has the result.");
  op("all_gather(input, dim: int, parts: int, group: str = 'world', after: Tensor? = none)")
      .types(resized(0, -1, 1))
      .kernel([](const Call& c, std::span<Tensor> out) {
        int64_t parts = c.attr(1).to_int(), dim = dim_of(c, 0);
        comm::Communicator& g = group_of(c, c.attr(2).string(), parts);
        auto n = static_cast<int64_t>(c.input(0).nbytes());
        Cut cut(out[0].sizes(), dim);
        if (cut.outer == 1) return g.all_gather(c.input(0).data(), out[0].data(), n);
        Tensor blocks = Tensor::empty({n * parts}, DType::u8);
        g.all_gather(c.input(0).data(), blocks.data(), n);
        unpack(bytes(blocks), bytes(out[0]), cut, parts, size_of(out[0].dtype()));
      })
      .gradient([](const GradCall& c) -> TensorList {
        static const OpDef& scatter = find_op("reduce_scatter");
        return {call_one(scatter, {c.grad()}, {c.attrs[0], c.attrs[1], Attr("sum"), c.attrs[2]}), Tensor()};
      })
      .doc(
          "The blocks of all `parts` ranks side by side along `dim`. Not before `after` is there: what was gathered "
          "is not "
          "kept for long, but gathered again where it is needed again.");
  op("reduce_scatter(input, dim: int, parts: int, op: str = 'sum', group: str = 'world')")
      .types(resized(-1, 0, 1))
      .kernel([](const Call& c, std::span<Tensor> out) {
        int64_t parts = c.attr(1).to_int(), dim = dim_of(c, 0);
        comm::Communicator& g = group_of(c, c.attr(3).string(), parts);
        comm::ReduceOp reduce = comm::reduce_op_from_name(c.attr(2).string());
        Cut cut(c.input(0).sizes(), dim);
        if (cut.outer == 1)
          return g.reduce_scatter(c.input(0).data(), out[0].data(), out[0].numel(), out[0].dtype(), reduce);
        Tensor blocks = Tensor::empty({static_cast<int64_t>(c.input(0).nbytes())}, DType::u8);
        pack(bytes(c.input(0)), bytes(blocks), cut, parts, size_of(out[0].dtype()));
        g.reduce_scatter(blocks.data(), out[0].data(), out[0].numel(), out[0].dtype(), reduce);
      })
      .gradient([](const GradCall& c) -> TensorList {
        static const OpDef& gather = find_op("all_gather");
        SORUS_CHECK(c.attrs[2].string() == "sum", NotImplementedError, "reduce_scatter: only sums have a gradient");
        return {call_one(gather, {c.grad(), Tensor()}, {c.attrs[0], c.attrs[1], c.attrs[3]})};
      })
      .doc("Rank r of `parts` has the r-th block along `dim` of what all_reduce gives.");
  op("all_to_all(input, split_dim: int, concat_dim: int, parts: int, group: str = 'world')")
      .types(resized(1, 0, 2))
      .kernel([](const Call& c, std::span<Tensor> out) {
        int64_t parts = c.attr(2).to_int(), split = dim_of(c, 0), join = dim_of(c, 1);
        comm::Communicator& g = group_of(c, c.attr(3).string(), parts);
        auto n = static_cast<int64_t>(c.input(0).nbytes());
        size_t element = size_of(out[0].dtype());
        Tensor sent = Tensor::empty({std::max<int64_t>(n, 1)}, DType::u8),
               got = Tensor::empty({std::max<int64_t>(n, 1)}, DType::u8);
        pack(bytes(c.input(0)), bytes(sent), Cut(c.input(0).sizes(), split), parts, element);
        g.all_to_all(sent.data(), got.data(), n / parts);
        unpack(bytes(got), bytes(out[0]), Cut(out[0].sizes(), join), parts, element);
      })
      .gradient([](const GradCall& c) -> TensorList {
        return {call_one(c.op, {c.grad()}, {c.attrs[1], c.attrs[0], c.attrs[2], c.attrs[3]})};
      })
      .doc("Block r along `split_dim` goes to rank r; what comes is joined along `concat_dim`.");
  return true;
}();

}  // namespace
}  // namespace sorus::parallel
