// Collectives as operators of a graph. `parts` is the number of ranks in the group, so that the result's shape is
// known where no ranks are running; the kernel checks it.
#include <algorithm>
#include <numeric>
#include <optional>

#include "sorus/base/move_bytes.h"
#include "sorus/base/profile.h"
#include "sorus/ops.h"
#include "sorus/parallel/comm/groups.h"
#include "sorus/tensor/copy.h"
#include "sorus/tensor/memory_account.h"

namespace sorus::parallel {
namespace {

comm::Communicator& group_of(const Call& c, std::string_view name, int64_t parts) {
  comm::Communicator& g = comm::group(name);
  SORUS_CHECK(parts < 0 || g.size() == parts, ValueError,
              "{}: the group '{}' has {} ranks, the graph was made for {}", c.op.name(), name, g.size(), parts);
  return g;
}

// A dimension and its blocks: sizes in front of it and behind it, and how many elements of it each rank has. Equal
// blocks if the attribute `sizes` is none.
struct Cut {
  int64_t outer = 1, inner = 1;
  Shape sizes;
  Cut(const Shape& s, int64_t dim, int64_t parts, const Attr& given) {
    for (size_t d = 0; d < s.size(); ++d)
      if (static_cast<int64_t>(d) != dim) (static_cast<int64_t>(d) < dim ? outer : inner) *= s[d];
    sizes = given.is_none() ? Shape(static_cast<size_t>(parts), s[static_cast<size_t>(dim)] / parts) : given.ints();
  }
  int64_t of(int64_t size) const { return outer * size * inner; }  // elements of a block
  std::vector<int64_t> bytes(size_t element) const {
    std::vector<int64_t> out;
    for (int64_t n : sizes) out.push_back(of(n) * static_cast<int64_t>(element));
    return out;
  }
};
// Between a tensor and its blocks along a dimension, one behind the other, each in room for `room` elements of the
// dimension (0: as many as it has).
template <class Copy>
void each_row(const Cut& c, size_t element, int64_t room, Copy copy) {
  auto unit = c.inner * static_cast<int64_t>(element);
  int64_t whole = 0, block = 0, before = 0;
  for (int64_t n : c.sizes) whole += n;
  for (int64_t n : c.sizes) {
    for (int64_t o = 0; o < c.outer; ++o)
      copy((o * whole + before) * unit, (block + o * n) * unit, static_cast<size_t>(n * unit));
    before += n;
    block += c.outer * (room ? room : n);
  }
}
void pack(const std::byte* tensor, std::byte* blocks, const Cut& c, size_t element, int64_t room = 0) {
  each_row(c, element, room, [&](int64_t at, int64_t to, size_t n) { move_bytes(blocks + to, tensor + at, n); });
}
void unpack(const std::byte* blocks, std::byte* tensor, const Cut& c, size_t element) {
  each_row(c, element, 0, [&](int64_t at, int64_t from, size_t n) { move_bytes(tensor + at, blocks + from, n); });
}
// Rows in front of the dimension that go at once, where blocks are brought into a row for their way: so that the room
// that takes is bounded, and still in the cache when they are brought apart.
constexpr int64_t kAtOnce = int64_t{256} << 10;
int64_t rows_at_once(const Cut& c, size_t element) {
  int64_t row = c.inner * static_cast<int64_t>(element) * std::accumulate(c.sizes.begin(), c.sizes.end(), int64_t{0});
  return std::clamp<int64_t>(kAtOnce / std::max<int64_t>(row, 1), 1, std::max<int64_t>(c.outer, 1));
}
template <class Part>
void by_rows(const Cut& c, size_t element, Part part) {
  int64_t rows = rows_at_once(c, element);
  for (int64_t begin = 0; begin < c.outer; begin += rows) {
    Cut now = c;
    now.outer = std::min(rows, c.outer - begin);
    part(now, begin);
  }
}
std::byte* bytes(const Tensor& t) { return static_cast<std::byte*>(t.data()); }

// One dimension grows from a block to the whole, another shrinks from the whole to this rank's block. Behind the
// group stand the sizes of the blocks of each (none: equal ones), and the rank.
TypesRule resized(int grows, int shrinks, int parts_at, int grown_sizes, int shrunk_sizes) {
  return [=](const TypeCall& c) -> std::vector<TensorType> {
    Shape s = c.input(0).shape;
    auto rank = static_cast<int64_t>(s.size());
    int64_t parts = c.attr(parts_at).to_int();
    SORUS_CHECK(parts >= 1, ValueError, "{}: a group has at least one rank, parts is {}", c.op.name(), parts);
    int64_t me = c.attrs.back().to_int();
    SORUS_CHECK(me >= 0 && me < parts, ValueError, "{}: rank {} is not one of {}", c.op.name(), me, parts);
    auto sizes_of = [&](int at, size_t d, bool whole) -> const Shape* {
      const Attr& given = c.attr(at);
      if (given.is_none()) return nullptr;
      const Shape& sizes = given.ints();
      int64_t total = 0;
      for (int64_t n : sizes) total += n;
      SORUS_CHECK(
          static_cast<int64_t>(sizes.size()) == parts && s[d] == (whole ? total : sizes[static_cast<size_t>(me)]),
          ValueError, "{}: blocks of sizes {} are not those of dimension {} of {} at rank {} of {}", c.op.name(),
          to_string(sizes), d, to_string(s), me, parts);
      return &sizes;
    };
    Shape out = s;
    if (shrinks >= 0) {
      auto d = static_cast<size_t>(wrap_dim(c.attr(shrinks).to_int(), rank, c.op.name()));
      if (const Shape* sizes = sizes_of(shrunk_sizes, d, true)) {
        out[d] = (*sizes)[static_cast<size_t>(me)];
      } else {
        SORUS_CHECK(s[d] % parts == 0, ValueError, "{}: dimension {} of {} cannot be cut into {} equal blocks",
                    c.op.name(), d, to_string(s), parts);
        out[d] /= parts;
      }
    }
    if (grows >= 0) {
      auto d = static_cast<size_t>(wrap_dim(c.attr(grows).to_int(), rank, c.op.name()));
      if (const Shape* sizes = sizes_of(grown_sizes, d, false)) {
        out[d] = 0;
        for (int64_t n : *sizes) out[d] += n;
      } else {
        out[d] *= parts;
      }
    }
    return {{c.input(0).dtype, out, false}};
  };
}
int64_t dim_of(const Call& c, int at) { return wrap_dim(c.attr(at).to_int(), c.input(0).dim(), c.op.name()); }

int64_t dim_of(const TypeCall& c, int at) {
  return wrap_dim(c.attr(at).to_int(), static_cast<int64_t>(c.input(0).shape.size()), c.op.name());
}

// ---- what they move, and the room that the kernels below take for it

Exchange exchange(const TypeCall& c, Exchange::Kind kind, int64_t bytes, int64_t workspace = 0) {
  return {kind, c.attr("group").string(), bytes, workspace};
}
int64_t bytes_of_rows(const Cut& c, size_t element, int64_t size) {
  return rows_at_once(c, element) * c.inner * size * static_cast<int64_t>(element);
}
Exchange of_all_reduce(const TypeCall& c) { return exchange(c, Exchange::Kind::all_reduce, c.input(0).nbytes()); }
Exchange of_all_gather(const TypeCall& c) {
  TensorType out = infer_types(c)[0];
  Cut cut(out.shape, dim_of(c, 0), c.attr("parts").to_int(), c.attr("sizes"));
  int64_t whole = std::accumulate(cut.sizes.begin(), cut.sizes.end(), int64_t{0});
  return exchange(c, Exchange::Kind::all_gather, out.nbytes(),
                  cut.outer == 1 ? 0 : bytes_of_rows(cut, size_of(out.dtype), whole));
}
Exchange of_reduce_scatter(const TypeCall& c) {
  const TensorType& in = c.input(0);
  Cut cut(in.shape, dim_of(c, 0), c.attr("parts").to_int(), c.attr("sizes"));
  if (cut.outer == 1 && c.attr("sizes").is_none()) return exchange(c, Exchange::Kind::reduce_scatter, in.nbytes());
  int64_t room = *std::max_element(cut.sizes.begin(), cut.sizes.end());
  bool larger = infer_types(c)[0].shape[static_cast<size_t>(dim_of(c, 0))] != room;
  return exchange(c, Exchange::Kind::reduce_scatter, in.nbytes(),
                  bytes_of_rows(cut, size_of(in.dtype), room * static_cast<int64_t>(cut.sizes.size())) +
                      (larger ? bytes_of_rows(cut, size_of(in.dtype), room) : 0));
}
Exchange of_all_to_all(const TypeCall& c) {
  const TensorType& in = c.input(0);
  TensorType out = infer_types(c)[0];
  int64_t parts = c.attr("parts").to_int();
  Cut from(in.shape, dim_of(c, 0), parts, c.attr("split_sizes")),
      to(out.shape, dim_of(c, 1), parts, c.attr("concat_sizes"));
  return exchange(c, Exchange::Kind::all_to_all, in.nbytes(),
                  (from.outer > 1 ? in.nbytes() : 0) + (to.outer > 1 ? out.nbytes() : 0));
}

// On the thread that the communicator has for it, in the order of starting. The kernel finds its group there; it does
// not own it, as that thread is the group's.
std::function<void()> beside(const Call& c, std::span<Tensor> out, std::shared_ptr<const void> keep) {
  std::string name = c.attr("group").string();
  std::shared_ptr<MemoryAccount> account = MemoryAccount::current() ? *MemoryAccount::current() : nullptr;
  auto work = comm::group(name).start([&op = c.op, in = TensorList(c.inputs.begin(), c.inputs.end()), attrs = c.attrs,
                                       results = TensorList(out.begin(), out.end()), name, account,
                                       keep = std::move(keep)](comm::Communicator& group) mutable {
    auto groups =
        std::make_shared<comm::Groups>(std::shared_ptr<comm::Communicator>(std::shared_ptr<void>(), &group));
    groups->add(name, groups->world());
    comm::GroupScope scope(groups);
    std::optional<AccountScope> charged;
    if (account) charged.emplace(account);
    ProfileSpan span("beside", [&](ProfileEvent& e) {
      std::vector<TensorType> types;
      for (const Tensor& t : in) types.push_back(t.defined() ? t.type() : TensorType{});
      std::vector<const TensorType*> given;
      for (size_t i = 0; i < in.size(); ++i) given.push_back(in[i].defined() ? &types[i] : nullptr);
      e.name = op.name(), e.detail = types[0].to_string();
      e.bytes = static_cast<double>(op.exchange(TypeCall{op, given, attrs}).bytes);
    });
    op.kernel({op, in, attrs}, results);
  });
  return [work] { work->wait(); };
}

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
      .exchange(of_all_reduce, beside)
      .doc("Elements of all ranks of the group taken together; every rank has the result.");
  op("all_gather(input, dim: int, parts: int, group: str = 'world', after: Tensor? = none, *, sizes: int[]? = none, "
     "rank: int = 0)")
      .types(resized(0, -1, 1, 3, -1))
      .kernel([](const Call& c, std::span<Tensor> out) {
        int64_t parts = c.attr(1).to_int(), dim = dim_of(c, 0);
        comm::Communicator& g = group_of(c, c.attr(2).string(), parts);
        Cut cut(out[0].sizes(), dim, parts, c.attr(3));
        size_t element = size_of(out[0].dtype());
        auto gather = [&](const std::byte* from, void* to, const Cut& now) {
          if (c.attr(3).is_none())
            g.all_gather(from, to, now.bytes(element)[0]);
          else
            g.all_gather_v(from, to, now.bytes(element));
        };
        if (cut.outer == 1) return gather(bytes(c.input(0)), out[0].data(), cut);
        int64_t mine = c.input(0).numel() / std::max<int64_t>(cut.outer, 1);  // of a row
        int64_t whole = out[0].numel() / std::max<int64_t>(cut.outer, 1);
        auto at = [&](const Tensor& t, int64_t elements) {
          return bytes(t) + elements * static_cast<int64_t>(element);
        };
        Tensor blocks;
        by_rows(cut, element, [&](const Cut& now, int64_t begin) {
          if (!blocks.defined()) blocks = Tensor::empty({std::max<int64_t>(now.outer * whole, 1)}, out[0].dtype());
          gather(at(c.input(0), begin * mine), blocks.data(), now);
          unpack(bytes(blocks), at(out[0], begin * whole), now, element);
        });
      })
      .gradient([](const GradCall& c) -> TensorList {
        static const OpDef& scatter = find_op("reduce_scatter");
        return {
            call_one(scatter, {c.grad()}, {c.attrs[0], c.attrs[1], Attr("sum"), c.attrs[2], c.attrs[3], c.attrs[4]}),
            Tensor()};
      })
      .exchange(of_all_gather, beside)
      .doc(
          "The blocks of all `parts` ranks side by side along `dim`. Not before `after` is there: what was gathered "
          "is not kept for long, but gathered again where it is needed again. Blocks that differ have `sizes`, and "
          "this "
          "is that of `rank`.");
  op("reduce_scatter(input, dim: int, parts: int, op: str = 'sum', group: str = 'world', *, sizes: int[]? = none, "
     "rank: int = 0)")
      .types(resized(-1, 0, 1, -1, 4))
      .kernel([](const Call& c, std::span<Tensor> out) {
        int64_t parts = c.attr(1).to_int(), dim = dim_of(c, 0);
        comm::Communicator& g = group_of(c, c.attr(3).string(), parts);
        comm::ReduceOp reduce = comm::reduce_op_from_name(c.attr(2).string());
        Cut cut(c.input(0).sizes(), dim, parts, c.attr(4));
        if (cut.outer == 1 && c.attr(4).is_none())
          return g.reduce_scatter(c.input(0).data(), out[0].data(), out[0].numel(), out[0].dtype(), reduce);
        // On its way every block is as large as the largest.
        int64_t room = *std::max_element(cut.sizes.begin(), cut.sizes.end());
        size_t element = size_of(out[0].dtype());
        int64_t whole = c.input(0).numel() / std::max<int64_t>(cut.outer, 1);  // of a row
        int64_t own = out[0].numel() / std::max<int64_t>(cut.outer, 1);
        Tensor blocks, mine;
        by_rows(cut, element, [&](const Cut& now, int64_t begin) {
          int64_t count = now.of(room);
          if (!blocks.defined()) {
            blocks = Tensor::zeros(Shape{count * parts}, out[0].dtype());
            if (count != now.outer * own) mine = Tensor::empty({count}, out[0].dtype());
          }
          pack(bytes(c.input(0)) + begin * whole * static_cast<int64_t>(element), bytes(blocks), now, element, room);
          std::byte* to = bytes(out[0]) + begin * own * static_cast<int64_t>(element);
          g.reduce_scatter(blocks.data(), mine.defined() ? mine.data() : to, count, out[0].dtype(), reduce);
          if (mine.defined()) move_bytes(to, mine.data(), static_cast<size_t>(now.outer * own) * element);
        });
      })
      .gradient([](const GradCall& c) -> TensorList {
        static const OpDef& gather = find_op("all_gather");
        SORUS_CHECK(c.attrs[2].string() == "sum", NotImplementedError, "reduce_scatter: only sums have a gradient");
        return {call_one(gather, {c.grad(), Tensor()}, {c.attrs[0], c.attrs[1], c.attrs[3], c.attrs[4], c.attrs[5]})};
      })
      .exchange(of_reduce_scatter, beside)
      .doc(
          "Rank r of `parts` has the r-th block along `dim` of what all_reduce gives. Blocks that differ have "
          "`sizes`, "
          "and this one is that of `rank`.");
  op("all_to_all(input, split_dim: int, concat_dim: int, parts: int, group: str = 'world', *, "
     "split_sizes: int[]? = none, concat_sizes: int[]? = none, rank: int = 0)")
      .types(resized(1, 0, 2, 5, 4))
      .kernel([](const Call& c, std::span<Tensor> out) {
        int64_t parts = c.attr(2).to_int(), split = dim_of(c, 0), join = dim_of(c, 1);
        comm::Communicator& g = group_of(c, c.attr(3).string(), parts);
        auto n = static_cast<int64_t>(c.input(0).nbytes()), m = static_cast<int64_t>(out[0].nbytes());
        size_t element = size_of(out[0].dtype());
        Cut from(c.input(0).sizes(), split, parts, c.attr(4)), to(out[0].sizes(), join, parts, c.attr(5));
        // Blocks along the first dimension lie one behind the other already.
        Tensor sent = c.input(0), got = out[0];
        if (from.outer > 1) {
          sent = Tensor::empty({std::max<int64_t>(n, 1)}, DType::u8);
          pack(bytes(c.input(0)), bytes(sent), from, element);
        }
        if (to.outer > 1) got = Tensor::empty({std::max<int64_t>(m, 1)}, DType::u8);
        if (c.attr(4).is_none() && c.attr(5).is_none())
          g.all_to_all(sent.data(), got.data(), n / parts);
        else
          g.all_to_all_v(sent.data(), from.bytes(element), got.data(), to.bytes(element));
        if (to.outer > 1) unpack(bytes(got), bytes(out[0]), to, element);
      })
      .gradient([](const GradCall& c) -> TensorList {
        return {call_one(c.op, {c.grad()},
                         {c.attrs[1], c.attrs[0], c.attrs[2], c.attrs[3], c.attrs[5], c.attrs[4], c.attrs[6]})};
      })
      .exchange(of_all_to_all, beside)
      .doc(
          "Block r along `split_dim` goes to rank r; what comes is joined along `concat_dim`. Blocks that differ "
          "have "
          "sizes, and this is rank `rank`.");
  return true;
}();

}  // namespace
}  // namespace sorus::parallel
