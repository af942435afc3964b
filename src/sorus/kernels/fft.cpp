#include "sorus/kernels/fft.h"

#include <complex>
#include <memory>
#include <numbers>
#include <vector>

namespace sorus::kernels {
namespace {

// std::complex multiplies with a check for NaN in every product; transforms do not need it.
template <class R>
std::complex<R> times(std::complex<R> a, std::complex<R> b) {
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

/// What all lines of one length share: the factors of the length and the powers of its root of unity.
template <class R>
class Transform {
 public:
  using C = std::complex<R>;

  explicit Transform(int64_t n) : n_(n) {
    int64_t rest = n, largest = 1;
    for (int64_t p = 4; rest > 1;) {
      if (rest % p == 0) {
        factors_.push_back(p);
        largest = std::max(largest, p);
        rest /= p;
      } else {
        p = p == 4 ? 2 : p == 2 ? 3 : p + 2;
        if (p * p > rest && p > 4) p = rest;
      }
    }
    if (largest > kLargestFactor) {
      prepare_chirp();
      return;
    }
    roots_.resize(static_cast<size_t>(n));
    for (int64_t k = 0; k < n; ++k) roots_[static_cast<size_t>(k)] = root(k, n);
  }

  /// A scratch vector of this size belongs to every call of `forward`.
  size_t scratch() const { return inner_ ? static_cast<size_t>(2 * inner_->n_) : 0; }

  void forward(const C* in, C* out, C* scratch) const {
    if (inner_) return by_chirp(in, out, scratch);
    recurse(in, out, n_, 1, 0);
  }

 private:
  static constexpr int64_t kLargestFactor = 31;

  static C root(int64_t k, int64_t n) {
    double angle = -2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n);
    return {static_cast<R>(std::cos(angle)), static_cast<R>(std::sin(angle))};
  }

  // The transform of n elements `stride` apart: p transforms of every p-th one, put together by butterflies.
  void recurse(const C* in, C* out, int64_t n, int64_t stride, size_t level) const {
    if (n == 1) {
      out[0] = in[0];
      return;
    }
    int64_t p = factors_[level], m = n / p;
    for (int64_t r = 0; r < p; ++r) recurse(in + r * stride, out + r * m, m, stride * p, level + 1);
    C part[kLargestFactor];
    for (int64_t k = 0; k < m; ++k) {
      part[0] = out[k];
      for (int64_t r = 1; r < p; ++r) part[r] = times(out[r * m + k], roots_[static_cast<size_t>(r * k * stride)]);
      if (p == 2) {
        out[k] = part[0] + part[1];
        out[m + k] = part[0] - part[1];
      } else if (p == 4) {
        C a = part[0] + part[2], b = part[0] - part[2], c = part[1] + part[3], d = part[1] - part[3];
        C turned{d.imag(), -d.real()};
        out[k] = a + c;
        out[m + k] = b + turned;
        out[2 * m + k] = a - c;
        out[3 * m + k] = b - turned;
      } else {
        int64_t step = m * stride;  // roots of order p
        for (int64_t q = 0; q < p; ++q) {
          C sum = part[0];
          for (int64_t r = 1; r < p; ++r) sum += times(part[r], roots_[static_cast<size_t>(q * r % p * step)]);
          out[q * m + k] = sum;
        }
      }
    }
  }

  // Bluestein: j k = (j^2 + k^2 - (k - j)^2) / 2 makes of the sum a convolution, which has a friendlier length.
  void prepare_chirp() {
    int64_t length = 1;
    while (length < 2 * n_ - 1) length *= 2;
    inner_ = std::make_unique<Transform>(length);
    chirp_.resize(static_cast<size_t>(n_));
    for (int64_t k = 0; k < n_; ++k) chirp_[static_cast<size_t>(k)] = root(k * k % (2 * n_), 2 * n_);
    std::vector<C> filter(static_cast<size_t>(length));
    for (int64_t k = 0; k < n_; ++k)
      filter[static_cast<size_t>(k)] = filter[static_cast<size_t>((length - k) % length)] =
          std::conj(chirp_[static_cast<size_t>(k)]);
    filter_.resize(filter.size());
    inner_->forward(filter.data(), filter_.data(), nullptr);
  }

  void by_chirp(const C* in, C* out, C* scratch) const {
    int64_t length = inner_->n_;
    C *a = scratch, *b = scratch + length;
    for (int64_t k = 0; k < length; ++k) a[k] = k < n_ ? times(in[k], chirp_[static_cast<size_t>(k)]) : C(0);
    inner_->forward(a, b, nullptr);
    // The way back by the conjugate of the transform of the conjugate.
    for (int64_t k = 0; k < length; ++k) b[k] = std::conj(times(b[k], filter_[static_cast<size_t>(k)]));
    inner_->forward(b, a, nullptr);
    R scale = R(1) / static_cast<R>(length);
    for (int64_t k = 0; k < n_; ++k) out[k] = times(std::conj(a[k]) * scale, chirp_[static_cast<size_t>(k)]);
  }

  int64_t n_;
  std::vector<int64_t> factors_;
  std::vector<C> roots_;
  std::unique_ptr<Transform> inner_;
  std::vector<C> chirp_, filter_;
};

template <class R>
void transform_lines(std::span<const int64_t> shape, int dim, bool inverse, const void* in, Strides in_strides,
                     void* out, Strides out_strides) {
  using C = std::complex<R>;
  auto d = static_cast<size_t>(dim);
  int64_t n = shape[d], in_step = in_strides[d], out_step = out_strides[d];
  if (n == 0) return;
  const Transform<R> transform(n);
  for_each_line<2>(shape, dim, {in_strides, out_strides}, [&](const std::array<int64_t, 2>& at) {
    std::vector<C> line(static_cast<size_t>(2 * n) + transform.scratch());
    C *from = line.data(), *to = from + n;
    const C* x = static_cast<const C*>(in) + at[0];
    C* y = static_cast<C*>(out) + at[1];
    for (int64_t k = 0; k < n; ++k) from[k] = inverse ? std::conj(x[k * in_step]) : x[k * in_step];
    transform.forward(from, to, to + n);
    for (int64_t k = 0; k < n; ++k) y[k * out_step] = inverse ? std::conj(to[k]) : to[k];
  });
}

}  // namespace

void fft(DType type, std::span<const int64_t> shape, int dim, bool inverse, const void* in, Strides in_strides,
         void* out, Strides out_strides) {
  SORUS_CHECK(is_complex(type), TypeError, "fft: expected a complex type, got {}", name(type));
  if (type == DType::c64)
    transform_lines<float>(shape, dim, inverse, in, in_strides, out, out_strides);
  else
    transform_lines<double>(shape, dim, inverse, in, in_strides, out, out_strides);
}

}  // namespace sorus::kernels
