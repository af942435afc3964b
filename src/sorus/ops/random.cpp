// Random numbers. They are counter-based: element i of a draw is a pure function of the key (seed and number of the
// draw, an int64 tensor of two) and of i, so results depend neither on threads nor on how a tensor is sharded: a
// device that makes a block of a draw says of what shape it is a block (`whole`) and where it begins there (`start`).
// nn/random.h keeps the generators that hand out keys.
#include "sorus/base/threads.h"
#include "sorus/graph/scalar_reference.h"
#include "sorus/ops.h"

namespace sorus {
namespace {

// Attributes `at` and the next: the shape that `block` is a block of, and its first element's place there.
void check_place(const TypeCall& c, int at, const Shape& block) {
  const Attr &whole = c.attr(at), &start = c.attr(at + 1);
  SORUS_CHECK(whole.is_none() == start.is_none(), ValueError, "{}: whole and start are given together", c.op.name());
  if (whole.is_none()) return;
  const Shape &w = whole.ints(), &s = start.ints();
  bool fits = w.size() == block.size() && s.size() == block.size();
  for (size_t d = 0; fits && d < block.size(); ++d) fits = s[d] >= 0 && s[d] + block[d] <= w[d];
  SORUS_CHECK(fits, ValueError, "{}: {} from {} on is not a block of {}", c.op.name(), to_string(block), to_string(s),
              to_string(w));
}

// Calls f(i, position in the whole) for every element of a block.
template <class F>
void with_positions(const Call& c, int at, const Shape& block, F f) {
  int64_t n = numel(block);
  if (c.attr(at).is_none()) {
    parallel_for(n, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) f(i, i);
    });
    return;
  }
  const Shape &whole = c.attr(at).ints(), &start = c.attr(at + 1).ints();
  // Elements that follow each other in the block and in the whole: dimensions that are all there, and one more.
  size_t outer = block.size();
  int64_t run = 1;
  while (outer > 0) {
    --outer;
    run *= block[outer];
    if (block[outer] != whole[outer]) break;
  }
  Shape strides = contiguous_strides(whole);
  int64_t first = 0;
  for (size_t d = 0; d < block.size(); ++d) first += start[d] * strides[d];
  parallel_for(n, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      int64_t row = i / run, inside = i % run, position = first + inside;
      for (size_t d = outer; d-- > 0;) position += row % block[d] * strides[d], row /= block[d];
      for (int64_t last = std::min(end, i + run - inside); i < last; ++i) f(i, position++);
    }
  });
}

TypesRule drawn_types = [](const TypeCall& c) -> std::vector<TensorType> {
  SORUS_CHECK(c.input(0).dtype == DType::i64 && c.input(0).shape == Shape{2}, TypeError,
              "{}: the key must be int64[2] (seed, draw), not {}", c.op.name(), c.input(0).to_string());
  DType t = c.attr(1).is_none() ? default_dtype() : c.attr(1).dtype();
  SORUS_CHECK(is_floating(t), TypeError, "{}: draws are floating point, not {}", c.op.name(), name(t));
  check_place(c, 2, c.attr(0).ints());
  return {{t, c.attr(0).ints(), false}};
};

// f32 draws have 24 bits, so that none rounds up to 1.
float uniform24(int64_t key0, int64_t key1, int64_t position) {
  uint32_t w[4];
  scalar_reference::philox(key0, key1, position, w);
  return static_cast<float>(w[0] >> 8) * 0x1p-24f;
}

template <class Draw>
void fill(const Call& c, Tensor& out, Draw draw) {
  const int64_t* key = c.input(0).data<int64_t>();
  DType t = out.dtype();
  with_positions(c, 2, out.sizes(), [&](int64_t i, int64_t position) {
    if (t == DType::f64)
      out.data<double>()[i] = draw(key[0], key[1], position, true);
    else if (t == DType::f32)
      out.data<float>()[i] = static_cast<float>(draw(key[0], key[1], position, false));
    else if (t == DType::bf16)
      out.data<bfloat16>()[i] = bfloat16(static_cast<float>(draw(key[0], key[1], position, false)));
    else
      out.data<float16>()[i] = float16(static_cast<float>(draw(key[0], key[1], position, false)));
  });
}

constexpr const char* kDrawn = "key[k!] -> output[a..]; sized by size; placed by whole start";

const bool random_ops = [] {
  op("rand_from(key: mask, size: int[], *, dtype: dtype? = none, whole: int[]? = none, "
     "start: int[]? = none)")
      .types(drawn_types)
      .axes(kDrawn)
      .kernel([](const Call& c, std::span<Tensor> out) {
        // Halves have fewer bits: what would round to 1 becomes the number below it.
        double below = out[0].dtype() == DType::bf16 ? 1 - 0x1p-8 : out[0].dtype() == DType::f16 ? 1 - 0x1p-11 : 1.0;
        fill(c, out[0], [below](int64_t k0, int64_t k1, int64_t i, bool wide) {
          double keys[3] = {static_cast<double>(k0), static_cast<double>(k1), static_cast<double>(i)};
          return wide ? scalar_reference::uniform(keys) : std::min<double>(uniform24(k0, k1, i), below);
        });
      })
      .not_differentiable()
      .random()
      .doc("Uniform numbers in [0, 1), from a key (seed, draw); those of a block of `whole` that begins at `start`.");
  op("randn_from(key: mask, size: int[], *, dtype: dtype? = none, whole: int[]? = none, "
     "start: int[]? = none)")
      .types(drawn_types)
      .axes(kDrawn)
      .kernel([](const Call& c, std::span<Tensor> out) {
        fill(c, out[0], [](int64_t k0, int64_t k1, int64_t i, bool) {
          double keys[3] = {static_cast<double>(k0), static_cast<double>(k1), static_cast<double>(i)};
          return scalar_reference::normal(keys);
        });
      })
      .not_differentiable()
      .random()
      .doc(
          "Normal numbers of mean 0 and variance 1, from a key (seed, draw); those of a block of `whole` that begins "
          "at `start`.");
  op("dropout_from(input, key: mask, p: float, *, whole: int[]? = none, start: int[]? = none)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        SORUS_CHECK(c.input(1).dtype == DType::i64 && c.input(1).shape == Shape{2}, TypeError,
                    "dropout_from: the key must be int64[2] (seed, draw), not {}", c.input(1).to_string());
        SORUS_CHECK(is_floating(c.input(0).dtype), TypeError,
                    "dropout_from: the input must be floating point, not {}", name(c.input(0).dtype));
        check_place(c, 1, c.input(0).shape);
        return {{c.input(0).dtype, c.input(0).shape, false}};
      })
      .axes("input[a..], key[k!] -> output[a..]; placed by whole start")
      .kernel([](const Call& c, std::span<Tensor> out) {
        const int64_t* key = c.input(1).data<int64_t>();
        double p = c.attr(0).to_double(), scale = 1 / (1 - p);
        auto run = [&](const auto* x, auto* y) {
          using T = std::remove_cvref_t<decltype(*y)>;
          using C = std::conditional_t<std::is_same_v<T, double>, double, float>;
          auto threshold = static_cast<float>(p);
          auto factor = static_cast<C>(scale);
          with_positions(c, 1, out[0].sizes(), [&](int64_t i, int64_t position) {
            y[i] = uniform24(key[0], key[1], position) >= threshold ? T(static_cast<C>(x[i]) * factor) : T(C(0));
          });
        };
        void *x = c.input(0).data(), *y = out[0].data();
        switch (out[0].dtype()) {
          case DType::f64:
            return run(static_cast<double*>(x), static_cast<double*>(y));
          case DType::bf16:
            return run(static_cast<bfloat16*>(x), static_cast<bfloat16*>(y));
          case DType::f16:
            return run(static_cast<float16*>(x), static_cast<float16*>(y));
          default:
            return run(static_cast<float*>(x), static_cast<float*>(y));
        }
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            return {call_one(c.op, {c.grad(), c.input(1)}, c.attrs), Tensor()};
          },
          "key")
      .doc(
          "Zeroes elements with probability p, by the key's draw, and scales the others by 1 / (1 - p). `input` may "
          "be the "
          "block of a tensor of shape `whole` that begins at `start`.");
  return true;
}();

}  // namespace
}  // namespace sorus
