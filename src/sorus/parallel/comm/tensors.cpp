#include "sorus/parallel/comm/tensors.h"

#include <algorithm>

#include "sorus/base/move_bytes.h"
#include "sorus/tensor/copy.h"

namespace sorus::comm {
namespace {

Tensor packed(const Tensor& t) {
  SORUS_CHECK(t.defined(), TypeError, "a tensor is missing");
  if (t.is_contiguous()) return t;
  Tensor out = Tensor::empty(t.sizes(), t.dtype());
  copy_elements(out, t);
  return out;
}
// What an operation wrote into `from`, which is `t` itself if that is contiguous.
void put_back(const Tensor& t, const Tensor& from) {
  if (!from.is(t)) copy_elements(t, from);
  t.storage()->bump_version();
}
void check_writable(const Tensor& t, const char* what) {
  SORUS_CHECK(t.defined(), TypeError, "{}: a tensor is missing", what);
  SORUS_CHECK(t.storage()->writable(), Error, "{}: cannot write into read-only memory", what);
}
void check_count(const char* what, int64_t found, int64_t expected, const char* of) {
  SORUS_CHECK(found == expected, ValueError, "{}: {} has {} elements, expected {}", what, of, found, expected);
}
void check_types(const char* what, const Tensor& a, const Tensor& b) {
  SORUS_CHECK(a.dtype() == b.dtype(), TypeError, "{}: input and output have the types {} and {}", what,
              name(a.dtype()), name(b.dtype()));
}

WorkRef run(Communicator& c, bool async, std::function<void(Communicator&)> f) {
  if (async) return c.start(std::move(f));
  f(c);
  return nullptr;
}

// Tensors one behind the other as bytes, and their sizes.
struct Joined {
  Tensor bytes;
  std::vector<int64_t> sizes;
};
Joined joined(TensorSpan parts, bool copy) {
  Joined j;
  int64_t total = 0;
  for (const Tensor& t : parts) {
    j.sizes.push_back(static_cast<int64_t>(t.nbytes()));
    total += j.sizes.back();
  }
  j.bytes = Tensor::empty({std::max<int64_t>(total, 1)}, DType::u8);
  auto* at = static_cast<std::byte*>(j.bytes.data());
  for (size_t i = 0; copy && i < parts.size(); ++i) {
    move_bytes(at, packed(parts[i]).data(), parts[i].nbytes());
    at += j.sizes[i];
  }
  return j;
}
void spread(const Joined& j, TensorSpan out) {
  const auto* at = static_cast<const std::byte*>(j.bytes.data());
  for (size_t i = 0; i < out.size(); ++i) {
    Tensor to = out[i].is_contiguous() ? out[i] : Tensor::empty(out[i].sizes(), out[i].dtype());
    move_bytes(to.data(), at, out[i].nbytes());
    put_back(out[i], to);
    at += j.sizes[i];
  }
}
// Whether they lie one behind the other in memory already.
bool in_a_row(TensorSpan parts) {
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].is_contiguous()) return false;
    if (i > 0 && static_cast<std::byte*>(parts[i].data()) !=
                     static_cast<std::byte*>(parts[i - 1].data()) + parts[i - 1].nbytes())
      return false;
  }
  return !parts.empty();
}
TensorList list(TensorSpan tensors) { return {tensors.begin(), tensors.end()}; }
void check_list(const char* what, TensorSpan tensors, const Communicator& c) {
  SORUS_CHECK(tensors.size() == static_cast<size_t>(c.size()), ValueError, "{}: {} tensors for a group of {} ranks",
              what, tensors.size(), c.size());
}

}  // namespace

WorkRef all_reduce(Communicator& c, const Tensor& t, ReduceOp op, bool async) {
  check_writable(t, "all_reduce");
  return run(c, async, [t, op](Communicator& g) {
    Tensor p = packed(t);
    g.all_reduce(p.data(), p.numel(), p.dtype(), op);
    put_back(t, p);
  });
}

WorkRef reduce(Communicator& c, const Tensor& t, int root, ReduceOp op, bool async) {
  check_writable(t, "reduce");
  return run(c, async, [t, op, root](Communicator& g) {
    Tensor p = packed(t);
    g.reduce(p.data(), p.data(), p.numel(), p.dtype(), op, root);
    if (g.rank() == root) put_back(t, p);
  });
}

WorkRef broadcast(Communicator& c, const Tensor& t, int root, bool async) {
  check_writable(t, "broadcast");
  return run(c, async, [t, root](Communicator& g) {
    Tensor p = packed(t);
    g.broadcast(p.data(), static_cast<int64_t>(p.nbytes()), root);
    if (g.rank() != root) put_back(t, p);
  });
}

WorkRef all_gather(Communicator& c, TensorSpan out, const Tensor& in, bool async) {
  check_list("all_gather", out, c);
  for (const Tensor& t : out) {
    check_writable(t, "all_gather");
    check_types("all_gather", t, in);
  }
  check_count("all_gather", in.numel(), out[static_cast<size_t>(c.rank())].numel(), "the input");
  return run(c, async, [out = list(out), in](Communicator& g) {
    Tensor p = packed(in);
    bool direct = in_a_row(out);
    Joined j = direct ? Joined{out[0], {}} : joined(out, false);
    if (direct)
      for (const Tensor& t : out) j.sizes.push_back(static_cast<int64_t>(t.nbytes()));
    g.all_gather_v(p.data(), j.bytes.data(), j.sizes);
    if (direct)
      out[0].storage()->bump_version();
    else
      spread(j, out);
  });
}

WorkRef all_gather_into(Communicator& c, const Tensor& out, const Tensor& in, bool async) {
  check_writable(out, "all_gather_into_tensor");
  check_types("all_gather_into_tensor", out, in);
  check_count("all_gather_into_tensor", out.numel(), in.numel() * c.size(), "the output");
  return run(c, async, [out, in](Communicator& g) {
    Tensor p = packed(in), to = out.is_contiguous() ? out : Tensor::empty(out.sizes(), out.dtype());
    g.all_gather(p.data(), to.data(), static_cast<int64_t>(p.nbytes()));
    put_back(out, to);
  });
}

WorkRef reduce_scatter(Communicator& c, const Tensor& out, TensorSpan in, ReduceOp op, bool async) {
  check_list("reduce_scatter", in, c);
  check_writable(out, "reduce_scatter");
  for (const Tensor& t : in) {
    check_types("reduce_scatter", out, t);
    check_count("reduce_scatter", t.numel(), out.numel(), "an input");
  }
  return run(c, async, [out, in = list(in), op](Communicator& g) {
    Tensor to = out.is_contiguous() ? out : Tensor::empty(out.sizes(), out.dtype());
    Tensor all = in_a_row(in) ? in[0] : joined(in, true).bytes;
    g.reduce_scatter(all.data(), to.data(), to.numel(), to.dtype(), op);
    put_back(out, to);
  });
}

WorkRef reduce_scatter_from(Communicator& c, const Tensor& out, const Tensor& in, ReduceOp op, bool async) {
  check_writable(out, "reduce_scatter_tensor");
  check_types("reduce_scatter_tensor", out, in);
  check_count("reduce_scatter_tensor", in.numel(), out.numel() * c.size(), "the input");
  return run(c, async, [out, in, op](Communicator& g) {
    Tensor p = packed(in), to = out.is_contiguous() ? out : Tensor::empty(out.sizes(), out.dtype());
    g.reduce_scatter(p.data(), to.data(), to.numel(), to.dtype(), op);
    put_back(out, to);
  });
}

WorkRef all_to_all(Communicator& c, TensorSpan out, TensorSpan in, bool async) {
  check_list("all_to_all", out, c);
  check_list("all_to_all", in, c);
  for (const Tensor& t : out) check_writable(t, "all_to_all");
  return run(c, async, [out = list(out), in = list(in)](Communicator& g) {
    Joined from = joined(in, true), to = joined(out, false);
    g.all_to_all_v(from.bytes.data(), from.sizes, to.bytes.data(), to.sizes);
    spread(to, out);
  });
}

WorkRef all_to_all_single(Communicator& c, const Tensor& out, const Tensor& in, IntSpan out_sizes, IntSpan in_sizes,
                          bool async) {
  check_writable(out, "all_to_all_single");
  check_types("all_to_all_single", out, in);
  auto sizes = [&](const Tensor& t, IntSpan rows, const char* which) {
    std::vector<int64_t> bytes;
    int64_t total = t.dim() > 0 ? t.size(0) : 1, row = total ? static_cast<int64_t>(t.nbytes()) / total : 0, sum = 0;
    SORUS_CHECK(rows.empty() ? total % c.size() == 0 : rows.size() == static_cast<size_t>(c.size()), ValueError,
                "all_to_all_single: the {} of {} rows cannot be cut for {} ranks{}", which, total, c.size(),
                rows.empty() ? "; say the sizes" : "");
    for (int r = 0; r < c.size(); ++r) {
      int64_t n = rows.empty() ? total / c.size() : rows[static_cast<size_t>(r)];
      bytes.push_back(n * row);
      sum += n;
    }
    SORUS_CHECK(sum == total, ValueError, "all_to_all_single: the sizes of the {} add up to {}, it has {} rows",
                which, sum, total);
    return bytes;
  };
  return run(c, async,
             [out, in, to_sizes = sizes(out, out_sizes, "output"),
              from_sizes = sizes(in, in_sizes, "input")](Communicator& g) {
               Tensor p = packed(in), to = out.is_contiguous() ? out : Tensor::empty(out.sizes(), out.dtype());
               g.all_to_all_v(p.data(), from_sizes, to.data(), to_sizes);
               put_back(out, to);
             });
}

WorkRef scatter(Communicator& c, const Tensor& out, TensorSpan in, int root, bool async) {
  check_writable(out, "scatter");
  if (c.rank() == root) {
    check_list("scatter", in, c);
    for (const Tensor& t : in) {
      check_types("scatter", out, t);
      check_count("scatter", t.numel(), out.numel(), "an input");
    }
  }
  return run(c, async, [out, in = list(in), root](Communicator& g) {
    Tensor to = out.is_contiguous() ? out : Tensor::empty(out.sizes(), out.dtype()), all;
    if (g.rank() == root) all = in_a_row(in) ? in[0] : joined(in, true).bytes;
    g.scatter(all.defined() ? all.data() : nullptr, to.data(), static_cast<int64_t>(to.nbytes()), root);
    put_back(out, to);
  });
}

WorkRef gather(Communicator& c, TensorSpan out, const Tensor& in, int root, bool async) {
  if (c.rank() == root) {
    check_list("gather", out, c);
    for (const Tensor& t : out) {
      check_writable(t, "gather");
      check_types("gather", t, in);
      check_count("gather", t.numel(), in.numel(), "an output");
    }
  }
  return run(c, async, [out = list(out), in, root](Communicator& g) {
    Tensor p = packed(in);
    Joined to;
    if (g.rank() == root) to = joined(out, false);
    g.gather(p.data(), to.bytes.defined() ? to.bytes.data() : nullptr, static_cast<int64_t>(p.nbytes()), root);
    if (g.rank() == root) spread(to, out);
  });
}

namespace {
// Keeps the tensors of a message, and puts what came into one that is not contiguous.
class Message final : public Work {
 public:
  Message(WorkRef work, Tensor packed, Tensor target)
      : work_(std::move(work)), packed_(std::move(packed)), target_(std::move(target)) {}
  bool is_completed() override { return work_->is_completed(); }
  void wait() override {
    work_->wait();
    if (!target_.defined()) return;
    put_back(target_, packed_);
    target_ = Tensor();
  }

 private:
  WorkRef work_;
  Tensor packed_, target_;
};
}  // namespace

WorkRef isend(Communicator& c, const Tensor& t, int to, int tag) {
  Tensor p = packed(t);
  WorkRef work = c.isend(p.data(), static_cast<int64_t>(p.nbytes()), to, tag);
  return std::make_shared<Message>(std::move(work), p, Tensor());
}

WorkRef irecv(Communicator& c, const Tensor& t, int from, int tag) {
  check_writable(t, "recv");
  Tensor p = t.is_contiguous() ? t : Tensor::empty(t.sizes(), t.dtype());
  WorkRef work = c.irecv(p.data(), static_cast<int64_t>(p.nbytes()), from, tag);
  return std::make_shared<Message>(std::move(work), p, t);
}

}  // namespace sorus::comm
