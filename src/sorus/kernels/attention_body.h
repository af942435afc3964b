// Included after attention_tiles.h, once for each instruction set: attention of one head, block by block. A block is
// 64 queries by 64 keys; on the diagonal of a causal one, keys go by in groups of as many as a vector has lanes, and
// the vectors of queries that see none of them are left out.

template <class T>
struct Attention {
  using S = typename T::S;

  static const char* at(DType type, const void* base, const AttentionStrides& s, int64_t b, int64_t h, int64_t i) {
    return static_cast<const char*>(base) + (b * s.batch + h * s.head + i * s.token) * (type == DType::f32 ? 4 : 2);
  }
  static char* at(DType type, void* base, const AttentionStrides& s, int64_t b, int64_t h, int64_t i) {
    return const_cast<char*>(at(type, static_cast<const void*>(base), s, b, h, i));
  }
  static int64_t least(int64_t x, int64_t y) { return x < y ? x : y; }
  static int64_t pad(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
  static int64_t row_bytes(const AttentionArgs& g, const AttentionStrides& s) { return bytes(g, s.token); }
  static int64_t bytes(const AttentionArgs& g, int64_t numbers) { return numbers * (g.type == DType::f32 ? 4 : 2); }

  /// Cuts scratch into aligned pieces; without memory it only counts.
  struct Pieces {
    char* base;
    int64_t used = 0;
    template <class P>
    void take(P*& p, int64_t words) {
      p = reinterpret_cast<P*>(base + used);
      used += pad(words * 4, 64) + 64;  // the 64 keep equal blocks off equal cache sets
    }
  };

  // ---- One block ----

  struct Block {
    const AttentionArgs& g;
    int64_t b, h, i0, m, j0, n;
    bool diagonal;
    int64_t vectors() const { return (m + kLanes - 1) / kLanes; }
  };

  /// Calls F<N>(first key, number of keys, first vector, ...) for what a block has to compute.
  template <class F, class... Args>
  static void each_part(const Block& k, F f, Args... args) {
    const int64_t nv = k.vectors(), step = k.diagonal ? kLanes : k.n;
    for (int64_t j = 0; j < k.n; j += step) f(j, least(step, k.n - j), j / kLanes * k.diagonal, nv, args...);
  }

  static void part_product(int64_t j, int64_t n, int64_t v, int64_t nv, const S* a, int64_t a_stride, const S* b,
                           int64_t steps, float* c) {
    product<T, true>(a + j * a_stride, a_stride, b + v * kLanes, kQueries, n, steps, Steps::all, nv - v,
                     c + j * kQueries + v * kLanes, kQueries, false);
  }
  static void part_max(int64_t j, int64_t n, int64_t v, int64_t nv, const float* s, float* top) {
    s += j * kQueries;
    for (; v + 4 <= nv; v += 4) scores_max<4>(s + v * kLanes, n, top + v * kLanes);
    for (; v < nv; ++v) scores_max<1>(s + v * kLanes, n, top + v * kLanes);
  }
  static void part_exp(int64_t j, int64_t n, int64_t v, int64_t nv, float* s, float factor, const float* shift,
                       float* total, S* pairs) {
    s += j * kQueries, pairs += j / T::kGroup * kQueries;
    hide(j, n, v, T::kGroup == 1 ? reinterpret_cast<S*>(s) : pairs, T::kGroup);
    for (; v + 2 <= nv; v += 2)
      scores_exp<T, 2>(s + v * kLanes, n, factor, shift + v * kLanes, total + v * kLanes, pairs + v * kLanes);
    for (; v < nv; ++v)
      scores_exp<T, 1>(s + v * kLanes, n, factor, shift + v * kLanes, total + v * kLanes, pairs + v * kLanes);
  }
  static void part_gradient(int64_t j, int64_t n, int64_t v, int64_t nv, float* s, float* ds, float factor,
                            const float* shift, const float* delta, S* p_rows, S* ds_rows, S* ds_pairs) {
    s += j * kQueries, ds += j * kQueries;
    const int64_t half = j / T::kGroup * kQueries;
    p_rows += half, ds_rows += half, ds_pairs += half;
    if (T::kGroup == 1) {
      hide(j, n, v, reinterpret_cast<S*>(s), 1), hide(j, n, v, reinterpret_cast<S*>(ds), 1);
    } else {
      hide(j, n, v, ds_pairs, 2);
      for (int64_t i = 0; i < n; ++i)
        zero(p_rows + i * kQueries / 2, v * kLanes / 2), zero(ds_rows + i * kQueries / 2, v * kLanes / 2);
    }
    for (; v < nv; ++v) {
      const int64_t w = v * kLanes / T::kGroup;
      scores_gradient<T, 1>(s + v * kLanes, ds + v * kLanes, n, factor, shift + v * kLanes, delta + v * kLanes,
                            p_rows + w, ds_rows + w, ds_pairs + v * kLanes);
    }
  }
  /// Zeros for the vectors below `v`, which products of neighbouring rows read.
  static void hide(int64_t, int64_t n, int64_t v, S* x, int64_t group) {
    for (int64_t i = 0; v > 0 && i < n; i += group) zero(x + i / group * kQueries, v * kLanes);
  }

  /// Scores^T = K Q^T with masks; returns the factor still to apply, the logarithm's base included.
  static float scores(const Block& k, const S* keys, const S* queries, int64_t words, float* s) {
    const int64_t steps = (k.g.head_dim + T::kGroup - 1) / T::kGroup;
    each_part(k, part_product, keys, words, queries, steps, s);
    float factor = static_cast<float>(k.g.scale * 1.4426950408889634);
    const int64_t seen = k.g.q_start + k.i0 - k.j0;  // keys of the block that its first query sees, less one
    const bool askew = k.g.causal && !k.diagonal && seen < k.n - 1;
    if (k.g.mask || !(factor > 0)) {  // hidden scores are -inf, which only a positive factor keeps
      add_mask(k, factor, s);
      factor = 1;
    }
    if (askew)
      for (int64_t j = 0; j < k.n; ++j)
        for (int64_t i = 0; i < k.m && j > seen + i; ++i) s[j * kQueries + i] = -__builtin_inff();
    if (k.diagonal)
      for (int64_t j = 1; j < k.n; ++j)
        for (int64_t i = j / kLanes * kLanes; i < j; ++i) s[j * kQueries + i] = -__builtin_inff();
    return factor;
  }
  static void add_mask(const Block& k, float factor, float* s) {
    const AttentionArgs& g = k.g;
    for (int64_t i = 0; i < k.m; ++i) {
      const int64_t at =
          k.b * g.mask_stride[0] + k.h * g.mask_stride[1] + (k.i0 + i) * g.mask_stride[2] + k.j0 * g.mask_stride[3];
      for (int64_t j = 0; j < k.n; ++j) {
        float& x = s[j * kQueries + i];
        x *= factor;
        if (!g.mask) continue;
        const int64_t from = at + j * g.mask_stride[3];
        if (g.mask_type == DType::boolean)
          x = static_cast<const bool*>(g.mask)[from] ? x : -__builtin_inff();
        else if (g.mask_type == DType::f64)
          x += static_cast<float>(static_cast<const double*>(g.mask)[from]) * 1.44269504f;
        else
          x += element(g.mask_type, g.mask, from) * 1.44269504f;
      }
    }
  }

  /// Keys that queries [i0, i0 + m) may see.
  static int64_t limit(const AttentionArgs& g, int64_t i0, int64_t m) {
    return g.causal ? least(g.kv_len, g.q_start + i0 + m) : g.kv_len;
  }
  /// Whether a block lies on the diagonal, its first query at its first key. Blocks of a sequence that begin
  /// elsewhere meet the diagonal askew: their scores are hidden one by one.
  static bool on_diagonal(const AttentionArgs& g, int64_t i0, int64_t j0) {
    return g.causal && g.q_start % kKeys == 0 && j0 >= g.q_start + i0;
  }

  static void store_scaled(const AttentionArgs& g, const float* x, int64_t n, float factor, void* to) {
    float block[kLanes];
    const int64_t size = g.type == DType::f32 ? 4 : 2;
    for (int64_t j = 0; j < n; j += kLanes) {
      vf y = load<vf>(x + j) * factor;
      char* out = static_cast<char*>(to) + j * size;
      if (n - j >= kLanes && g.type == DType::f32) {
        store<vf>(reinterpret_cast<float*>(out), y);
      } else if (n - j >= kLanes && g.type == DType::bf16) {
        store<vh>(reinterpret_cast<uint16_t*>(out), narrow(y));
      } else {
        store<vf>(block, y);
        store_row(g.type, block, least(kLanes, n - j), kLanes, out);
      }
    }
  }

  // ---- Forward ----

  struct ForwardScratch {
    S *k, *v, *v_pairs, *q, *qt, *p;
    float *s, *o, *top, *sum;
  };
  static int64_t lay_out(const AttentionArgs& g, char* base, ForwardScratch& f) {
    Pieces m{base};
    const int64_t dw = words_of<T>(g.head_dim), vw = words_of<T>(g.value_dim), vp = words_of<F32>(g.value_dim);
    m.take(f.k, g.kv_len * dw), m.take(f.v, g.kv_len * vw),
        m.take(f.v_pairs, T::kGroup == 2 ? (g.kv_len + 1) / 2 * vp : 0);
    m.take(f.q, kQueries * dw), m.take(f.qt, kQueries * dw), m.take(f.p, T::kGroup == 2 ? kQueries * kKeys / 2 : 0);
    m.take(f.s, kQueries * kKeys), m.take(f.o, kQueries * vp), m.take(f.top, kQueries), m.take(f.sum, kQueries);
    return m.used;
  }

  static void forward(const AttentionArgs& g, const AttentionTask& task, void* memory) {
    ForwardScratch f;
    lay_out(g, static_cast<char*>(memory), f);
    const int64_t kvh = task.kv_head, group = g.heads / g.kv_heads, blocks = (g.q_len + kQueries - 1) / kQueries;
    const bool one_head = task.first / blocks == (task.last - 1) / blocks;
    const int64_t keys = limit(g, 0, one_head ? least(g.q_len, ((task.last - 1) % blocks + 1) * kQueries) : g.q_len);
    copy_rows<T>(g.type, at(g.type, g.k, g.k_stride, task.batch, kvh, 0), row_bytes(g, g.k_stride), keys, g.head_dim,
                 f.k);
    copy_rows<T>(g.type, at(g.type, g.v, g.v_stride, task.batch, kvh, 0), row_bytes(g, g.v_stride), keys, g.value_dim,
                 f.v);
    const S* v = pair_rows<T>(f.v, keys, g.value_dim, f.v_pairs);
    for (int64_t unit = task.first; unit < task.last; ++unit) {
      const int64_t h = kvh * group + unit / blocks, i0 = unit % blocks * kQueries, m = least(kQueries, g.q_len - i0);
      forward_rows(g, task.batch, h, i0, m, v, f);
    }
  }

  static void forward_rows(const AttentionArgs& g, int64_t b, int64_t h, int64_t i0, int64_t m, const S* v,
                           const ForwardScratch& f) {
    const int64_t dw = words_of<T>(g.head_dim), vp = words_of<F32>(g.value_dim), keys = limit(g, i0, m);
    copy_rows<T>(g.type, at(g.type, g.q, g.q_stride, b, h, i0), row_bytes(g, g.q_stride), m, g.head_dim, f.q);
    transpose_rows(f.q, m, dw, f.qt);
    for (int i = 0; i < kQueries; ++i) f.top[i] = -__builtin_inff(), f.sum[i] = 0;
    for (int64_t j0 = 0; j0 < keys; j0 += kKeys) {
      Block k{g, b, h, i0, m, j0, least(kKeys, keys - j0), on_diagonal(g, i0, j0)};
      float factor = scores(k, f.k + j0 * dw, f.qt, dw, f.s);
      float shift[kQueries];
      raise_top(k, f, factor, vp, shift);
      each_part(k, part_exp, f.s, factor, shift, f.sum, f.p);
      const S* p = T::kGroup == 2 ? f.p : reinterpret_cast<const S*>(f.s);
      product<T, false>(p, kQueries, v + j0 / T::kGroup * vp, vp, m, (k.n + T::kGroup - 1) / T::kGroup,
                        k.diagonal ? Steps::upto : Steps::all, vp / kLanes, f.o, vp, j0 > 0);
    }
    float* lse = g.lse ? static_cast<float*>(g.lse) + (b * g.heads + h) * g.q_len + i0 : nullptr;
    for (int64_t i = 0; i < m; ++i) {
      const float sum = f.sum[i];
      if (sum == 0) zero(f.o + i * vp, vp);  // nothing seen; 0 * inf may be there
      store_scaled(g, f.o + i * vp, g.value_dim, sum == 0 ? 0 : 1 / sum, at(g.type, g.o, g.o_stride, b, h, i0 + i));
      if (lse) lse[i] = sum == 0 ? -__builtin_inff() : f.top[i] * 0.69314718f + __builtin_logf(sum);
    }
  }

  /// The running maximum need not be the maximum: results are the same as long as 2^(s - top) stays in range. So sums
  /// and O are scaled again only when it grows by much, that is, hardly ever after the first block.
  static void raise_top(const Block& k, const ForwardScratch& f, float& factor, int64_t vp, float* shift) {
    constexpr float kSlack = 8, kExact = 1 << 24;
    float top[kQueries];
    for (int i = 0; i < kQueries; ++i) top[i] = -__builtin_inff();
    each_part(k, part_max, f.s, top);
    bool grows = false, huge = false;
    for (int i = 0; i < kQueries; ++i) {
      top[i] *= factor;
      grows |= top[i] > f.top[i] + kSlack;
      huge |= top[i] > kExact || (top[i] < -kExact && top[i] != -__builtin_inff());
    }
    // `top` is rounded: of huge scores by more than an exponent holds. Rounded likewise, they differ from it exactly.
    if (huge && factor != 1) {
      for (int64_t j = 0; j < k.n * kQueries; ++j) f.s[j] *= factor;
      factor = 1;
    }
    if (grows || k.j0 == 0) {
      for (int64_t i = 0; i < kQueries; ++i) {
        const float old = f.top[i], now = top[i] > old ? top[i] : old;
        f.top[i] = now;
        if (k.j0 == 0 || now == old || i >= k.m) continue;
        const float scale = old == -__builtin_inff() ? 0 : __builtin_exp2f(old - now);
        f.sum[i] *= scale;
        for (int64_t d = 0; d < vp; d += kLanes) store<vf>(f.o + i * vp + d, load<vf>(f.o + i * vp + d) * scale);
      }
    }
    for (int i = 0; i < kQueries; ++i) shift[i] = f.top[i] == -__builtin_inff() ? 0 : f.top[i];
  }

  // ---- Backward ----

  struct BackwardScratch {
    S *k, *v, *k_pairs, *q, *go, *qt, *got, *q_pairs, *go_pairs, *p_rows, *ds_rows, *ds_pairs;
    float *s, *ds, *dq, *dk, *dv;
  };
  static int64_t lay_out(const AttentionArgs& g, char* base, BackwardScratch& f) {
    Pieces m{base};
    const int64_t dw = words_of<T>(g.head_dim), vw = words_of<T>(g.value_dim), dp = words_of<F32>(g.head_dim),
                  vp = words_of<F32>(g.value_dim);
    const int64_t pairs = T::kGroup == 2 ? 1 : 0;
    m.take(f.k, g.kv_len * dw), m.take(f.v, g.kv_len * vw), m.take(f.k_pairs, pairs * ((g.kv_len + 1) / 2 * dp));
    m.take(f.q, kQueries * dw), m.take(f.go, kQueries * vw), m.take(f.qt, kQueries * dw),
        m.take(f.got, kQueries * vw);
    m.take(f.q_pairs, pairs * kQueries / 2 * dp), m.take(f.go_pairs, pairs * kQueries / 2 * vp);
    m.take(f.p_rows, pairs * kQueries * kKeys / 2), m.take(f.ds_rows, pairs * kQueries * kKeys / 2);
    m.take(f.ds_pairs, pairs * kQueries * kKeys / 2), m.take(f.s, kQueries * kKeys), m.take(f.ds, kQueries * kKeys);
    m.take(f.dq, kQueries * dp), m.take(f.dk, g.kv_len * dp), m.take(f.dv, g.kv_len * vp);
    return m.used;
  }

  static void backward(const AttentionArgs& g, const AttentionGradArgs& r, const AttentionTask& task, void* memory) {
    BackwardScratch f;
    lay_out(g, static_cast<char*>(memory), f);
    const int64_t kvh = task.kv_head, group = g.heads / g.kv_heads, blocks = (g.q_len + kQueries - 1) / kQueries;
    const int64_t dp = words_of<F32>(g.head_dim), vp = words_of<F32>(g.value_dim);
    if (task.partial) f.dk = task.partial, f.dv = task.partial + g.kv_len * dp;
    copy_rows<T>(g.type, at(g.type, g.k, g.k_stride, task.batch, kvh, 0), row_bytes(g, g.k_stride), g.kv_len,
                 g.head_dim, f.k);
    copy_rows<T>(g.type, at(g.type, g.v, g.v_stride, task.batch, kvh, 0), row_bytes(g, g.v_stride), g.kv_len,
                 g.value_dim, f.v);
    const S* k = pair_rows<T>(f.k, g.kv_len, g.head_dim, f.k_pairs);
    zero(f.dk, g.kv_len * dp), zero(f.dv, g.kv_len * vp);
    for (int64_t unit = task.first; unit < task.last; ++unit) {
      const int64_t h = kvh * group + unit / blocks, i0 = unit % blocks * kQueries, m = least(kQueries, g.q_len - i0);
      backward_rows(g, r, task.batch, h, i0, m, k, f);
    }
    if (!task.partial) store_keys(g, r, task.batch, kvh, 0, g.kv_len, f.dk, f.dv);
  }
  static void store_keys(const AttentionArgs& g, const AttentionGradArgs& r, int64_t b, int64_t kvh, int64_t first,
                         int64_t last, const float* dk, const float* dv) {
    const int64_t dp = words_of<F32>(g.head_dim), vp = words_of<F32>(g.value_dim);
    for (int64_t j = first; j < last; ++j) {
      store_scaled(g, dk + j * dp, g.head_dim, static_cast<float>(g.scale),
                   at(g.type, r.grad_k, r.grad_k_stride, b, kvh, j));
      store_scaled(g, dv + j * vp, g.value_dim, 1, at(g.type, r.grad_v, r.grad_v_stride, b, kvh, j));
    }
  }

  static void backward_rows(const AttentionArgs& g, const AttentionGradArgs& r, int64_t b, int64_t h, int64_t i0,
                            int64_t m, const S* k_pairs, const BackwardScratch& f) {
    const int64_t dw = words_of<T>(g.head_dim), vw = words_of<T>(g.value_dim), dp = words_of<F32>(g.head_dim),
                  vp = words_of<F32>(g.value_dim);
    const int64_t keys = limit(g, i0, m), size = g.type == DType::f32 ? 4 : 2;
    const char* go = at(g.type, r.grad_o, r.grad_o_stride, b, h, i0);
    const char* o = at(g.type, g.o, g.o_stride, b, h, i0);
    fetch_rows(o, row_bytes(g, g.o_stride), m, bytes(g, g.value_dim));  // for delta; meanwhile others are copied
    copy_rows<T>(g.type, at(g.type, g.q, g.q_stride, b, h, i0), row_bytes(g, g.q_stride), m, g.head_dim, f.q);
    copy_rows<T>(g.type, go, row_bytes(g, r.grad_o_stride), m, g.value_dim, f.go);
    transpose_rows(f.q, m, dw, f.qt);
    transpose_rows(f.go, m, vw, f.got);
    const S *q = pair_rows<T>(f.q, m, g.head_dim, f.q_pairs), *dout = pair_rows<T>(f.go, m, g.value_dim, f.go_pairs);
    float shift[kQueries], delta[kQueries];
    for (int64_t i = 0; i < kQueries; ++i) {  // queries that see nothing, or do not exist, get P = 0
      const float lse =
          i < m ? static_cast<const float*>(g.lse)[(b * g.heads + h) * g.q_len + i0 + i] : -__builtin_inff();
      shift[i] = lse == -__builtin_inff() ? __builtin_inff() : lse * 1.44269504f;
      delta[i] =
          i < m ? row_dot(g.type, go + i * r.grad_o_stride.token * size, o + i * g.o_stride.token * size, g.value_dim)
                : 0;
    }
    const int64_t q_steps = (m + T::kGroup - 1) / T::kGroup;
    for (int64_t j0 = 0; j0 < keys; j0 += kKeys) {
      Block k{g, b, h, i0, m, j0, least(kKeys, keys - j0), on_diagonal(g, i0, j0)};
      float factor = scores(k, f.k + j0 * dw, f.qt, dw, f.s);
      each_part(k, part_product, f.v + j0 * vw, vw, f.got, (g.value_dim + T::kGroup - 1) / T::kGroup, f.ds);
      each_part(k, part_gradient, f.s, f.ds, factor, shift, delta, f.p_rows, f.ds_rows, f.ds_pairs);
      const bool dot = T::kGroup == 2;
      const S *p = dot ? f.p_rows : reinterpret_cast<const S*>(f.s),
              *ds = dot ? f.ds_rows : reinterpret_cast<const S*>(f.ds);
      const S* ds_columns = dot ? f.ds_pairs : ds;
      const Steps from = k.diagonal ? Steps::from : Steps::all, upto = k.diagonal ? Steps::upto : Steps::all;
      product<T, true>(p, kQueries / T::kGroup, dout, vp, k.n, q_steps, from, vp / kLanes, f.dv + j0 * vp, vp, true);
      product<T, true>(ds, kQueries / T::kGroup, q, dp, k.n, q_steps, from, dp / kLanes, f.dk + j0 * dp, dp, true);
      product<T, false>(ds_columns, kQueries, k_pairs + j0 / T::kGroup * dp, dp, m, (k.n + T::kGroup - 1) / T::kGroup,
                        upto, dp / kLanes, f.dq, dp, j0 > 0);
    }
    for (int64_t i = 0; i < m; ++i)
      store_scaled(g, f.dq + i * dp, g.head_dim, static_cast<float>(g.scale),
                   at(g.type, r.grad_q, r.grad_q_stride, b, h, i0 + i));
  }
};

#if SORUS_GEMM_BF16
bool attends_by_dot(const AttentionArgs& g) { return g.type == DType::bf16; }
using AttentionHalf = Attention<Dot>;
#else
bool attends_by_dot(const AttentionArgs&) { return false; }
using AttentionHalf = Attention<F32>;
#endif

int64_t attention_scratch(const AttentionArgs& g, bool backward) {
  Attention<F32>::ForwardScratch f;
  Attention<F32>::BackwardScratch r;
  AttentionHalf::ForwardScratch fh;
  AttentionHalf::BackwardScratch rh;
  if (attends_by_dot(g))
    return backward ? AttentionHalf::lay_out(g, nullptr, rh) : AttentionHalf::lay_out(g, nullptr, fh);
  return backward ? Attention<F32>::lay_out(g, nullptr, r) : Attention<F32>::lay_out(g, nullptr, f);
}
void attention_forward_task(const AttentionArgs& g, const AttentionTask& task, void* memory) {
  TilesInUse tiles;
  if (attends_by_dot(g))
    AttentionHalf::forward(g, task, memory);
  else
    Attention<F32>::forward(g, task, memory);
}
void attention_backward_task(const AttentionArgs& g, const AttentionGradArgs& r, const AttentionTask& task,
                             void* memory) {
  TilesInUse tiles;
  if (attends_by_dot(g))
    AttentionHalf::backward(g, r, task, memory);
  else
    Attention<F32>::backward(g, r, task, memory);
}
int64_t attention_partial(const AttentionArgs& g) {
  return g.kv_len * (words_of<F32>(g.head_dim) + words_of<F32>(g.value_dim));
}
void attention_join(const AttentionArgs& g, const AttentionGradArgs& r, int64_t b, int64_t kvh, int64_t first,
                    int64_t last, float* partials, int64_t count) {
  const int64_t dp = words_of<F32>(g.head_dim), vp = words_of<F32>(g.value_dim), size = attention_partial(g);
  for (int64_t i = 1; i < count; ++i)
    for (int64_t part = 0; part < 2; ++part) {
      const int64_t width = part ? vp : dp, from = (part ? g.kv_len * dp : 0) + first * width,
                    to = from + (last - first) * width;
      for (int64_t j = from; j < to; j += kLanes)
        store<vf>(partials + j, load<vf>(partials + j) + load<vf>(partials + i * size + j));
    }
  Attention<F32>::store_keys(g, r, b, kvh, first, last, partials, partials + g.kv_len * dp);
}
