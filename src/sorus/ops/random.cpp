// Random numbers. They are counter-based: element i of a draw is a pure function of the key (seed and number of the
// draw, an int64 tensor of two) and of i, so results depend neither on threads nor on how a tensor is sharded.
// nn/random.h keeps the generators that hand out keys.
#include "sorus/base/threads.h"
#include "sorus/graph/scalar_reference.h"
#include "sorus/ops.h"

namespace sorus {
namespace {

TypesRule drawn_types = [](const TypeCall& c) -> std::vector<TensorType> {
  SORUS_CHECK(c.input(0).dtype == DType::i64 && c.input(0).shape == Shape{2}, TypeError,
              "{}: the key must be int64[2] (seed, draw), not {}", c.op.name(), c.input(0).to_string());
  DType t = c.attr(1).is_none() ? default_dtype() : c.attr(1).dtype();
  SORUS_CHECK(is_floating(t), TypeError, "{}: draws are floating point, not {}", c.op.name(), name(t));
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
  parallel_for(out.numel(), 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (t == DType::f64)
        out.data<double>()[i] = draw(key[0], key[1], i, true);
      else if (t == DType::f32)
        out.data<float>()[i] = static_cast<float>(draw(key[0], key[1], i, false));
      else if (t == DType::bf16)
        out.data<bfloat16>()[i] = bfloat16(static_cast<float>(draw(key[0], key[1], i, false)));
      else
        out.data<float16>()[i] = float16(static_cast<float>(draw(key[0], key[1], i, false)));
    }
  });
}

const bool random_ops = [] {
  op("rand_from(key: mask, size: int[], *, dtype: dtype? = none)")
      .types(drawn_types)
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
      .doc("Uniform numbers in [0, 1), from a key (seed, draw).");
  op("randn_from(key: mask, size: int[], *, dtype: dtype? = none)")
      .types(drawn_types)
      .kernel([](const Call& c, std::span<Tensor> out) {
        fill(c, out[0], [](int64_t k0, int64_t k1, int64_t i, bool) {
          double keys[3] = {static_cast<double>(k0), static_cast<double>(k1), static_cast<double>(i)};
          return scalar_reference::normal(keys);
        });
      })
      .not_differentiable()
      .random()
      .doc("Normal numbers of mean 0 and variance 1, from a key (seed, draw).");
  op("dropout_from(input, key: mask, p: float)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        SORUS_CHECK(c.input(1).dtype == DType::i64 && c.input(1).shape == Shape{2}, TypeError,
                    "dropout_from: the key must be int64[2] (seed, draw), not {}", c.input(1).to_string());
        SORUS_CHECK(is_floating(c.input(0).dtype), TypeError,
                    "dropout_from: the input must be floating point, not {}", name(c.input(0).dtype));
        return {{c.input(0).dtype, c.input(0).shape, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const int64_t* key = c.input(1).data<int64_t>();
        double p = c.attr(0).to_double(), scale = 1 / (1 - p);
        auto run = [&](const auto* x, auto* y) {
          using T = std::remove_cvref_t<decltype(*y)>;
          using C = std::conditional_t<std::is_same_v<T, double>, double, float>;
          auto threshold = static_cast<float>(p);
          auto factor = static_cast<C>(scale);
          parallel_for(out[0].numel(), 4096, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i)
              y[i] = uniform24(key[0], key[1], i) >= threshold ? T(static_cast<C>(x[i]) * factor) : T(C(0));
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
            return {dropout_from(c.grad(), c.input(1), c.attrs[0].to_double()), Tensor()};
          },
          "key")
      .doc("Zeroes elements with probability p, by the key's draw, and scales the others by 1 / (1 - p).");
  return true;
}();

}  // namespace
}  // namespace sorus
