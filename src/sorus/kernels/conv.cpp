#include "sorus/kernels/conv.h"

#include <omp.h>

#include <vector>

#include "sorus/base/threads.h"
#include "sorus/kernels/element.h"
#include "sorus/kernels/onednn.h"

namespace sorus::kernels {
namespace {

using dnnl::memory;
using Dims = memory::dims;

int64_t product(const int64_t* sizes, int n) {
  int64_t p = 1;
  for (int i = 0; i < n; ++i) p *= sizes[i];
  return p;
}

void check(const ConvArgs& g) {
  SORUS_CHECK(g.spatial >= 1 && g.spatial <= 3, ValueError, "convolution: expected 1 to 3 spatial dimensions, got {}",
              g.spatial);
  SORUS_CHECK(g.groups >= 1 && g.in_channels % g.groups == 0 && g.out_channels % g.groups == 0, ValueError,
              "convolution: {} input and {} output channels cannot be split into {} groups", g.in_channels,
              g.out_channels, g.groups);
}

// ---- Plain loops: all types ----

/// Calls f(y_offset, x_offset, w_offset) for every term of one (batch, out channel): the definition, in any
/// dimension.
template <class F>
void each_term(const ConvArgs& g, int64_t b, int64_t o, F&& f) {
  int64_t xs = product(g.in, g.spatial), ys = product(g.out, g.spatial), ws = product(g.kernel, g.spatial);
  int64_t ic = g.in_channels / g.groups, group = o / (g.out_channels / g.groups);
  int64_t lo[3] = {1, 1, 1}, in[3] = {1, 1, 1}, kernel[3] = {1, 1, 1}, stride[3] = {1, 1, 1}, pad[3] = {},
          dil[3] = {1, 1, 1};
  for (int d = 0; d < g.spatial; ++d) {
    int e = 3 - g.spatial + d;
    lo[e] = g.out[d], in[e] = g.in[d], kernel[e] = g.kernel[d], stride[e] = g.stride[d], pad[e] = g.padding[d],
    dil[e] = g.dilation[d];
  }
  for (int64_t c = 0; c < ic; ++c) {
    int64_t x0 = (b * g.in_channels + group * ic + c) * xs, w0 = (o * ic + c) * ws,
            y0 = (b * g.out_channels + o) * ys;
    for (int64_t j0 = 0; j0 < kernel[0]; ++j0)
      for (int64_t j1 = 0; j1 < kernel[1]; ++j1)
        for (int64_t j2 = 0; j2 < kernel[2]; ++j2, ++w0)
          for (int64_t p0 = 0; p0 < lo[0]; ++p0) {
            int64_t x = p0 * stride[0] - pad[0] + j0 * dil[0];
            if (x < 0 || x >= in[0]) continue;
            for (int64_t p1 = 0; p1 < lo[1]; ++p1) {
              int64_t y = p1 * stride[1] - pad[1] + j1 * dil[1];
              if (y < 0 || y >= in[1]) continue;
              for (int64_t p2 = 0; p2 < lo[2]; ++p2) {
                int64_t z = p2 * stride[2] - pad[2] + j2 * dil[2];
                if (z < 0 || z >= in[2]) continue;
                f(y0 + (p0 * lo[1] + p1) * lo[2] + p2, x0 + (x * in[1] + y) * in[2] + z, w0);
              }
            }
          }
  }
}

template <DType T>
struct PlainConv {
  using E = typename ElementOf<T>::type;
  using C = typename ElementOf<T>::compute;

  static void forward(const ConvArgs& g, const E* x, const E* w, const E* bias, E* y) {
    int64_t ys = product(g.out, g.spatial);
    parallel_for(g.batch * g.out_channels, 1, [&](int64_t begin, int64_t end) {
      std::vector<C> sums(static_cast<size_t>(ys));
      for (int64_t t = begin; t < end; ++t) {
        int64_t b = t / g.out_channels, o = t % g.out_channels;
        std::fill(sums.begin(), sums.end(), bias ? element_cast<C>(bias[o]) : C(0));
        each_term(g, b, o, [&](int64_t yi, int64_t xi, int64_t wi) {
          sums[static_cast<size_t>(yi - t * ys)] += element_cast<C>(x[xi]) * element_cast<C>(w[wi]);
        });
        for (int64_t i = 0; i < ys; ++i) y[t * ys + i] = element_cast<E>(sums[static_cast<size_t>(i)]);
      }
    });
  }
  static void backward_data(const ConvArgs& g, const E* dy, const E* w, E* dx) {
    int64_t size = g.in_channels * product(g.in, g.spatial);
    parallel_for(g.batch, 1, [&](int64_t begin, int64_t end) {
      std::vector<C> sums(static_cast<size_t>(size));
      for (int64_t b = begin; b < end; ++b) {
        std::fill(sums.begin(), sums.end(), C(0));
        for (int64_t o = 0; o < g.out_channels; ++o)
          each_term(g, b, o, [&](int64_t yi, int64_t xi, int64_t wi) {
            sums[static_cast<size_t>(xi - b * size)] += element_cast<C>(dy[yi]) * element_cast<C>(w[wi]);
          });
        for (int64_t i = 0; i < size; ++i) dx[b * size + i] = element_cast<E>(sums[static_cast<size_t>(i)]);
      }
    });
  }
  static void backward_weights(const ConvArgs& g, const E* x, const E* dy, E* dw, E* db) {
    int64_t size = g.in_channels / g.groups * product(g.kernel, g.spatial), ys = product(g.out, g.spatial);
    parallel_for(g.out_channels, 1, [&](int64_t begin, int64_t end) {
      std::vector<C> sums(static_cast<size_t>(size));
      for (int64_t o = begin; o < end; ++o) {
        std::fill(sums.begin(), sums.end(), C(0));
        C bias = 0;
        for (int64_t b = 0; b < g.batch; ++b) {
          each_term(g, b, o, [&](int64_t yi, int64_t xi, int64_t wi) {
            sums[static_cast<size_t>(wi - o * size)] += element_cast<C>(dy[yi]) * element_cast<C>(x[xi]);
          });
          for (int64_t i = 0; i < ys; ++i) bias += element_cast<C>(dy[(b * g.out_channels + o) * ys + i]);
        }
        for (int64_t i = 0; i < size; ++i) dw[o * size + i] = element_cast<E>(sums[static_cast<size_t>(i)]);
        if (db) db[o] = element_cast<E>(bias);
      }
    });
  }
};

template <class F>
void plain(const ConvArgs& g, F&& f) {
  visit_dtype(g.type, [&]<DType T>() { f(PlainConv<T>{}); });
}

// ---- oneDNN: f32 and bf16 ----

// Starting threads for what is over in some ten microseconds costs more than it saves, on a busy machine much more.
bool is_small(const ConvArgs& g) {
  constexpr double kFewProducts = 1e6;
  double work = static_cast<double>(g.batch * g.out_channels) * static_cast<double>(g.in_channels / g.groups);
  return work * static_cast<double>(product(g.out, g.spatial) * product(g.kernel, g.spatial)) < kFewProducts;
}

/// oneDNN asks OpenMP how many threads there are, when it plans and when it runs.
class OneThread {
 public:
  explicit OneThread(bool wanted) : before_(wanted ? omp_get_max_threads() : 0) {
    if (before_ > 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ > 1) omp_set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

enum class Pass { forward, backward_data, backward_weights };

/// One argument: its dense layout as the caller has it, the layout the primitive wants, and the reorder between them.
struct Port {
  int arg = 0;
  memory::desc user, inner;
  bool output = false;
  dnnl::reorder reorder;  ///< empty if the layouts agree
};

struct ConvPlan {
  dnnl::primitive primitive;
  std::vector<Port> ports;
  memory::desc scratchpad;
};

ProblemKey key_of(const ConvArgs& g, Pass pass, bool bias) {
  ProblemKey key;
  for (int64_t v :
       {static_cast<int64_t>(pass), static_cast<int64_t>(bias), static_cast<int64_t>(g.type), int64_t{g.spatial},
        g.batch, g.in_channels, g.out_channels, g.groups, is_small(g) ? 1 : int64_t{num_threads()}})
    key.add(v);
  for (int d = 0; d < g.spatial; ++d)
    for (int64_t v : {g.in[d], g.out[d], g.kernel[d], g.stride[d], g.padding[d], g.dilation[d]}) key.add(v);
  return key;
}

memory::desc dense(const Dims& dims, memory::data_type type) {
  Dims strides(dims.size());
  int64_t s = 1;
  for (size_t i = dims.size(); i-- > 0;) strides[i] = s, s *= dims[i];
  return {dims, type, strides};
}

ConvPlan make_plan(const ConvArgs& g, Pass pass, bool bias) {
  auto spatial = static_cast<size_t>(g.spatial);
  Dims x{g.batch, g.in_channels}, y{g.batch, g.out_channels}, w, stride, dilation, low, high;
  if (g.groups > 1)
    w = {g.groups, g.out_channels / g.groups, g.in_channels / g.groups};
  else
    w = {g.out_channels, g.in_channels};
  for (size_t d = 0; d < spatial; ++d) {
    x.push_back(g.in[d]), y.push_back(g.out[d]), w.push_back(g.kernel[d]);
    stride.push_back(g.stride[d]), dilation.push_back(g.dilation[d] - 1), low.push_back(g.padding[d]);
    // The last rows of x that no window reaches count as negative padding.
    high.push_back((g.out[d] - 1) * g.stride[d] + g.dilation[d] * (g.kernel[d] - 1) + 1 - g.in[d] - g.padding[d]);
  }
  auto type = dnnl_type(g.type);
  auto any = [&](const Dims& dims) { return memory::desc(dims, type, memory::format_tag::any); };
  memory::desc b = bias ? memory::desc({g.out_channels}, type, memory::format_tag::a) : memory::desc();
  auto algorithm = dnnl::algorithm::convolution_direct;
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::convolution_forward::primitive_desc hint(
      {pass == Pass::forward ? dnnl::prop_kind::forward_inference : dnnl::prop_kind::forward_training, algorithm,
       any(x), any(w), pass == Pass::forward ? b : memory::desc(), any(y), stride, dilation, low, high},
      attr, dnnl_engine());
  ConvPlan plan;
  auto port = [&](int arg, const Dims& dims, const memory::desc& inner, bool output) {
    Port p{arg, dense(dims, type), inner, output, {}};
    if (p.user != p.inner) {
      dnnl::reorder::primitive_desc r(dnnl_engine(), output ? p.inner : p.user, dnnl_engine(),
                                      output ? p.user : p.inner);
      p.reorder = dnnl::reorder(r);
    }
    plan.ports.push_back(p);
  };
  if (pass == Pass::forward) {
    plan.primitive = dnnl::convolution_forward(hint);
    plan.scratchpad = hint.scratchpad_desc();
    port(DNNL_ARG_SRC, x, hint.src_desc(), false);
    port(DNNL_ARG_WEIGHTS, w, hint.weights_desc(), false);
    if (bias) port(DNNL_ARG_BIAS, {g.out_channels}, b, false);
    port(DNNL_ARG_DST, y, hint.dst_desc(), true);
  } else if (pass == Pass::backward_data) {
    dnnl::convolution_backward_data::primitive_desc pd(
        {algorithm, any(x), any(w), any(y), stride, dilation, low, high}, attr, dnnl_engine(), hint);
    plan.primitive = dnnl::convolution_backward_data(pd);
    plan.scratchpad = pd.scratchpad_desc();
    port(DNNL_ARG_DIFF_DST, y, pd.diff_dst_desc(), false);
    port(DNNL_ARG_WEIGHTS, w, pd.weights_desc(), false);
    port(DNNL_ARG_DIFF_SRC, x, pd.diff_src_desc(), true);
  } else {
    dnnl::convolution_backward_weights::primitive_desc pd(
        {algorithm, any(x), any(w), b, any(y), stride, dilation, low, high}, attr, dnnl_engine(), hint);
    plan.primitive = dnnl::convolution_backward_weights(pd);
    plan.scratchpad = pd.scratchpad_desc();
    port(DNNL_ARG_SRC, x, pd.src_desc(), false);
    port(DNNL_ARG_DIFF_DST, y, pd.diff_dst_desc(), false);
    port(DNNL_ARG_DIFF_WEIGHTS, w, pd.diff_weights_desc(), true);
    if (bias) port(DNNL_ARG_DIFF_BIAS, {g.out_channels}, b, true);
  }
  return plan;
}

/// `data` in the order of the plan's ports.
void run(const ConvPlan& plan, std::initializer_list<const void*> data) {
  thread_local Scratch scratch;
  auto round = [](size_t bytes) { return (bytes + 63) / 64 * 64; };
  size_t total = round(plan.scratchpad.get_size());
  for (const Port& p : plan.ports)
    if (p.reorder) total += round(p.inner.get_size());
  auto* at = static_cast<char*>(scratch.get(total));
  std::unordered_map<int, memory> args;
  args.emplace(DNNL_ARG_SCRATCHPAD, memory(plan.scratchpad, dnnl_engine(), at));
  at += round(plan.scratchpad.get_size());
  auto pointer = data.begin();
  for (const Port& p : plan.ports) {
    void* user = const_cast<void*>(*pointer++);
    if (!p.reorder) {
      args.emplace(p.arg, memory(p.user, dnnl_engine(), user));
      continue;
    }
    memory inner(p.inner, dnnl_engine(), at);
    at += round(p.inner.get_size());
    args.emplace(p.arg, inner);
    memory outer(p.user, dnnl_engine(), user);
    if (!p.output) p.reorder.execute(dnnl_stream(), outer, inner);
  }
  plan.primitive.execute(dnnl_stream(), args);
  pointer = data.begin();
  for (const Port& p : plan.ports) {
    void* user = const_cast<void*>(*pointer++);
    if (!p.reorder || !p.output) continue;
    memory inner = args.at(p.arg), outer(p.user, dnnl_engine(), user);
    p.reorder.execute(dnnl_stream(), inner, outer);
  }
}

PlanCache<ConvPlan>& cache() {
  static PlanCache<ConvPlan> plans;
  return plans;
}

bool use_onednn(const ConvArgs& g) {
  if (g.type != DType::f32 && g.type != DType::bf16) return false;
#if defined(__x86_64__)
  if (g.type == DType::bf16 && !__builtin_cpu_supports("avx512bw")) return false;
#endif
  return g.batch * g.in_channels * g.out_channels * product(g.in, g.spatial) * product(g.out, g.spatial) *
             product(g.kernel, g.spatial) !=
         0;
}

}  // namespace

int64_t conv_out_size(int64_t in, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  int64_t span = in + 2 * padding - dilation * (kernel - 1) - 1;
  return span < 0 ? 0 : span / stride + 1;
}

void conv_forward(const ConvArgs& g, const void* x, const void* w, const void* bias, void* y) {
  check(g);
  if (use_onednn(g)) {
    OneThread alone(is_small(g));
    const ConvPlan& plan =
        cache().find(key_of(g, Pass::forward, bias), [&] { return make_plan(g, Pass::forward, bias); });
    return bias ? run(plan, {x, w, bias, y}) : run(plan, {x, w, y});
  }
  plain(g, [&]<DType T>(PlainConv<T> k) {
    using E = typename ElementOf<T>::type;
    k.forward(g, static_cast<const E*>(x), static_cast<const E*>(w), static_cast<const E*>(bias), static_cast<E*>(y));
  });
}

void conv_backward_data(const ConvArgs& g, const void* grad_y, const void* w, void* grad_x) {
  check(g);
  if (use_onednn(g)) {
    OneThread alone(is_small(g));
    const ConvPlan& plan =
        cache().find(key_of(g, Pass::backward_data, false), [&] { return make_plan(g, Pass::backward_data, false); });
    return run(plan, {grad_y, w, grad_x});
  }
  plain(g, [&]<DType T>(PlainConv<T> k) {
    using E = typename ElementOf<T>::type;
    k.backward_data(g, static_cast<const E*>(grad_y), static_cast<const E*>(w), static_cast<E*>(grad_x));
  });
}

void conv_backward_weights(const ConvArgs& g, const void* x, const void* grad_y, void* grad_w, void* grad_bias) {
  check(g);
  if (use_onednn(g)) {
    OneThread alone(is_small(g));
    const ConvPlan& plan = cache().find(key_of(g, Pass::backward_weights, grad_bias),
                                        [&] { return make_plan(g, Pass::backward_weights, grad_bias); });
    return grad_bias ? run(plan, {x, grad_y, grad_w, grad_bias}) : run(plan, {x, grad_y, grad_w});
  }
  plain(g, [&]<DType T>(PlainConv<T> k) {
    using E = typename ElementOf<T>::type;
    k.backward_weights(g, static_cast<const E*>(x), static_cast<const E*>(grad_y), static_cast<E*>(grad_w),
                       static_cast<E*>(grad_bias));
  });
}

}  // namespace sorus::kernels
