#include "sorus/run/each.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "sorus/base/threads.h"
#include "sorus/emit/eager_kernels.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

constexpr int kMaxOperands = 16;
constexpr size_t kMaxParams = 16;
constexpr int64_t kBlock = 1024;

// Elements that are worth a thread: starting one costs as much as some ten microseconds of work.
int64_t grain_of(const ScalarFunction& f, int64_t total) {
  constexpr int64_t kFew = 16384, kMany = 65536;
  if (total < 2 * kFew || total >= 4 * kMany) return kFew;  // either way: counting operations is not free
  return flops(f) < 8 ? kMany : kFew;
}

// Attributes as an array of the compute type.
size_t pack_params(const Call& call, DType compute, std::byte* out) {
  size_t n = 0, size = size_of(compute);
  for (const Attr& a : call.attrs) {
    SORUS_ASSERT(n < kMaxParams);
    std::byte* to = out + n++ * size;
    std::memset(to, 0, size);
    if (!a.is_scalar()) continue;
    switch (compute) {
      case DType::f32: {
        float v = static_cast<float>(a.to_double());
        std::memcpy(to, &v, size);
        break;
      }
      case DType::f64: {
        double v = a.to_double();
        std::memcpy(to, &v, size);
        break;
      }
      case DType::i64: {
        int64_t v = a.to_int();
        std::memcpy(to, &v, size);
        break;
      }
      default: {
        std::complex<double> v = a.scalar().to_complex();
        std::memcpy(to, &v, size);
      }
    }
  }
  return n;
}

struct Operand {
  std::byte* base;
  DType type;
  bool direct;      // contiguous in the inner dimension and already of the kernel's type
  int64_t stride;   // inner, in elements
  int64_t element;  // bytes
};

// The type in which the inputs meet, if that is plain to see: all alike, beside numbers that do not promote it.
std::optional<DType> common_type(TensorSpan inputs) {
  std::optional<DType> t;
  bool numbers = false;
  for (const Tensor& in : inputs) {
    if (in.impl()->weak) {
      if (is_complex(in.dtype())) return {};
      numbers = true;
    } else if (t && *t != in.dtype()) {
      return {};
    } else {
      t = in.dtype();
    }
  }
  if (numbers && t && !is_floating(*t)) return {};
  return t;
}

DType computed_in(const Call& call, const ScalarFunction& f, DType out) {
  if (auto t = common_type(call.inputs); t && is_differentiable(*t)) return compute_type(*t);
  std::array<TensorType, kMaxOperands> types;
  std::array<const TensorType*, kMaxOperands> pointers{};
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    types[i] = call.inputs[i].type();
    pointers[i] = &types[i];
  }
  return body_type(TypeCall{call.op, {pointers.data(), call.inputs.size()}, call.attrs}, f, out);
}

template <class T>
int64_t first_zero(const void* data, int64_t n) {
  const T* p = static_cast<const T*>(data);
  return std::find(p, p + n, T(0)) - p;
}

// In whole numbers nothing stands for the result of a division by 0.
[[gnu::noinline]] void check_divisors(const Call& call, std::span<const int> divisors) {
  for (int slot : divisors) {
    Tensor t = call.input(slot);
    if (!t.is_contiguous()) {
      t = Tensor::empty(t.sizes(), t.dtype());
      copy_elements(t, call.input(slot));
    }
    size_t size = size_of(t.dtype());
    int64_t n = t.numel(), at = size == 8   ? first_zero<int64_t>(t.data(), n)
                                : size == 4 ? first_zero<int32_t>(t.data(), n)
                                : size == 2 ? first_zero<int16_t>(t.data(), n)
                                            : first_zero<int8_t>(t.data(), n);
    if (at == n) continue;
    Shape place(t.sizes().size());
    for (size_t d = place.size(); d-- > 0; at /= t.sizes()[d]) place[d] = at % t.sizes()[d];
    std::string types;
    for (const Tensor& in : call.inputs) types += (types.empty() ? "" : ", ") + in.type().to_string();
    fail(
        "{}({}): ZeroDivisionError: '{}' is 0{}, and whole numbers have no infinity; divide floating-point numbers, "
        "or replace the zeros",
        call.op.name(), types, call.op.signature.params[static_cast<size_t>(slot)].name,
        place.empty() ? "" : " at " + to_string(place));
  }
}

bool is_identity(const ScalarFunction& f) {
  return f.results.size() == 1 && f.args.size() == 1 && f.results[0]->kind == ScalarNode::Kind::argument;
}

// Buffers of one thread, kept for the next call.
std::byte* scratch(size_t bytes) {
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<std::byte, Free> memory;
  thread_local size_t size = 0;
  if (bytes > size) {
    memory.reset(static_cast<std::byte*>(std::aligned_alloc(64, bytes)));
    SORUS_CHECK(memory, Error, "out of memory: {} bytes asked for", bytes);
    size = bytes;
  }
  return memory.get();
}

// Operands in order beside numbers (an optimizer's learning rate): each number is spread over a block once.
void run_with_numbers(const EachKernel& kernel, DType compute, std::span<const Operand> ops, size_t outputs,
                      int64_t total, int64_t grain, const void* params) {
  size_t room = (static_cast<size_t>(std::min(total, kBlock)) * size_of(compute) + 63) / 64 * 64;
  parallel_for(total, grain, [&](int64_t begin, int64_t end) {
    std::byte* buffer = scratch(ops.size() * room);
    int64_t longest = std::min(end - begin, kBlock);
    std::array<void*, 2 * kMaxOperands> at;
    for (size_t i = 0; i < ops.size(); ++i) {
      at[i] = ops[i].direct ? ops[i].base + begin * ops[i].element : buffer + i * room;
      if (!ops[i].direct) convert_strided(compute, at[i], 1, ops[i].type, ops[i].base, 0, longest);
    }
    for (int64_t b = begin; b < end; b += kBlock) {
      kernel(std::min(kBlock, end - b), at.data(), at.data() + outputs, params, b);
      for (size_t i = 0; i < ops.size(); ++i)
        if (ops[i].direct) at[i] = static_cast<std::byte*>(at[i]) + kBlock * ops[i].element;
    }
  });
}

}  // namespace

DType body_type(const TypeCall& call, const ScalarFunction& f, DType out) {
  DType meet = promoted_type(call);
  // That of the result, for the square root of integers.
  if (!f.results[0]->is_boolean && is_differentiable(out) && !is_differentiable(meet)) meet = out;
  return compute_type(meet);
}

void run_each(const Call& call, std::span<Tensor> out) {
  const ScalarFunction& f = *call.op.each;
  int64_t total = out[0].numel();
  if (total == 0) return;
  if (is_identity(f)) return copy_elements(out[0], call.inputs[0]);
  size_t inputs = call.inputs.size(), outputs = out.size(), operands = inputs + outputs;
  SORUS_ASSERT(operands <= kMaxOperands);
  DType compute = computed_in(call, f, out[0].dtype());
  const EachKernel kernel = find_each_kernel(f, compute);
  if (auto divisors = kernel.divisors(); !divisors.empty()) check_divisors(call, divisors);
  alignas(16) std::byte params[kMaxParams * 16];
  pack_params(call, compute, params);

  std::array<Operand, kMaxOperands> ops;
  bool flat = true, in_order = true;  // in order: one run of elements, or one element for all
  for (size_t i = 0; i < operands; ++i) {
    const Tensor& t = i < outputs ? out[i] : call.inputs[i - outputs];
    DType native = i < outputs && f.results[i]->is_boolean ? DType::boolean : compute;
    ops[i] = {static_cast<std::byte*>(t.data()), t.dtype(), t.dtype() == native, 1,
              static_cast<int64_t>(size_of(t.dtype()))};
    bool same = t.is_contiguous() && t.sizes() == out[0].sizes();
    if (!same && t.numel() == 1) ops[i].stride = 0;
    in_order &= same || ops[i].stride == 0;
    flat &= ops[i].direct && same;
  }
  if (flat) {
    parallel_for(total, grain_of(f, total), [&](int64_t b, int64_t e) {
      std::array<void*, kMaxOperands> o;
      std::array<const void*, kMaxOperands> in;
      for (size_t i = 0; i < outputs; ++i) o[i] = ops[i].base + b * ops[i].element;
      for (size_t i = 0; i < inputs; ++i) in[i] = ops[outputs + i].base + b * ops[outputs + i].element;
      kernel(e - b, o.data(), in.data(), params, b);
    });
    return;
  }

  bool only_numbers = in_order;  // beside what lies in order
  for (size_t i = 0; i < operands && in_order; ++i) {
    ops[i].direct &= ops[i].stride == 1;
    only_numbers &= ops[i].direct || (ops[i].stride == 0 && i >= outputs);
  }
  if (only_numbers) {
    run_with_numbers(kernel, compute, {ops.data(), operands}, outputs, total, grain_of(f, total), params);
    return;
  }

  LoopPlan plan;
  if (in_order) {
    plan.sizes.push_back(total);
  } else {
    std::vector<Shape> strides;
    strides.reserve(operands);
    for (const Tensor& t : out) strides.push_back(t.strides());
    for (const Tensor& t : call.inputs) strides.push_back(broadcast_strides(t.sizes(), t.strides(), out[0].sizes()));
    plan = plan_loop(out[0].sizes(), strides);
    for (size_t i = 0; i < operands; ++i) ops[i].stride = plan.strides[i].back();
  }
  int64_t inner = plan.inner(), rows = total / inner;
  for (size_t i = 0; i < operands; ++i) ops[i].direct &= ops[i].stride == 1;
  // Work is cut into blocks of a row; a row index and a block index make one counter, so that few long rows and many
  // short ones are both shared out evenly.
  int64_t blocks = (inner + kBlock - 1) / kBlock;
  size_t buffer_bytes = static_cast<size_t>(std::min(inner, kBlock)) * size_of(compute);
  buffer_bytes = (buffer_bytes + 63) / 64 * 64;
  parallel_for(
      rows * blocks, std::max<int64_t>(1, grain_of(f, total) / std::min(inner, kBlock)), [&](int64_t b, int64_t e) {
        std::byte* buffers = scratch(operands * buffer_bytes);
        std::array<int64_t, kMaxOperands> offsets{};
        std::array<void*, kMaxOperands> o;
        std::array<const void*, kMaxOperands> in;
        std::array<const std::byte*, kMaxOperands> filled{};  // a broadcast element is spread once, not per block
        for (int64_t i = b; i < e; ++i) {
          int64_t row = i / blocks, start = i % blocks * kBlock, n = std::min(kBlock, inner - start);
          if (rows > 1) row_offsets(plan, row, {offsets.data(), operands});
          for (size_t k = 0; k < operands; ++k) {
            std::byte* p = ops[k].base + (offsets[k] + start * ops[k].stride) * ops[k].element;
            std::byte* buffer = buffers + k * buffer_bytes;
            if (k < outputs) {
              o[k] = ops[k].direct ? p : buffer;
            } else if (ops[k].direct) {
              in[k - outputs] = p;
            } else {
              in[k - outputs] = buffer;
              if (ops[k].stride == 0 && filled[k] == p) continue;
              convert_strided(compute, buffer, 1, ops[k].type, p, ops[k].stride,
                              ops[k].stride == 0 ? std::min(inner, kBlock) : n);
              filled[k] = ops[k].stride == 0 ? p : nullptr;
            }
          }
          kernel(n, o.data(), in.data(), params, row * inner + start);
          for (size_t k = 0; k < outputs; ++k) {
            if (ops[k].direct) continue;
            DType native = f.results[k]->is_boolean ? DType::boolean : compute;
            convert_strided(ops[k].type, ops[k].base + (offsets[k] + start * ops[k].stride) * ops[k].element,
                            ops[k].stride, native, o[k], 1, n);
          }
        }
      });
}

}  // namespace sorus
