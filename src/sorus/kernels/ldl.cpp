// Symmetric and Hermitian matrices that are not definite, by Bunch and Kaufman's choice of pivots (factor.h).
#include <algorithm>
#include <array>
#include <cmath>

#include "sorus/kernels/factor.h"

namespace sorus::kernels {
namespace {

using Complex = std::complex<double>;

double magnitude(double x) { return std::abs(x); }
double magnitude(Complex x) { return std::abs(x.real()) + std::abs(x.imag()); }  // as LAPACK compares
double turned(double x, bool) { return x; }
Complex turned(Complex x, bool hermitian) { return hermitian ? std::conj(x) : x; }
double diagonal(double x, bool) { return x; }
Complex diagonal(Complex x, bool hermitian) { return hermitian ? Complex(x.real()) : x; }

// (x, y) times the inverse of the block [a b; c d], which `size` keeps in range.
template <class T>
std::array<T, 2> over_block(T x, T y, T a, T b, T c, T d) {
  double size = std::max(magnitude(b), magnitude(c));
  T p = a / size, q = d / size, r = b / size, s = c / size, det = (p * q - r * s) * size;
  return {(x * q - y * s) / det, (y * p - x * r) / det};
}

// Whether a step takes two rows, and the row that its last one is exchanged with.
template <class T>
std::pair<bool, int64_t> pivot_of(const Matrix<T>& a, int64_t k, bool hermitian) {
  const double alpha = (1 + std::sqrt(17.0)) / 8;
  int64_t n = a.rows, at = k;
  double here = magnitude(diagonal(a(k, k), hermitian)), below = 0;
  for (int64_t i = k + 1; i < n; ++i)
    if (magnitude(a(i, k)) > below) below = magnitude(a(i, k)), at = i;
  if (here >= alpha * below) return {false, k};
  double row = 0;
  for (int64_t j = k; j < n; ++j)
    if (j != at) row = std::max(row, magnitude(a(at, j)));
  if (here >= alpha * below * (below / row)) return {false, k};
  return {magnitude(diagonal(a(at, at), hermitian)) < alpha * row, at};
}

}  // namespace

template <class T>
int64_t ldl(Matrix<T>& a, std::vector<int64_t>& pivots, bool hermitian) {
  int64_t n = a.rows, singular = 0;
  pivots.assign(static_cast<size_t>(n), 0);
  for (int64_t i = 0; i < n; ++i) {  // the lower triangle says all
    a(i, i) = diagonal(a(i, i), hermitian);
    for (int64_t j = 0; j < i; ++j) a(j, i) = turned(a(i, j), hermitian);
  }
  for (int64_t k = 0, step = 1; k < n; k += step) {
    auto [two, with] = pivot_of(a, k, hermitian);
    step = two ? 2 : 1;
    int64_t last = k + step - 1;
    for (int64_t i = k; i <= last; ++i) pivots[static_cast<size_t>(i)] = two ? -with - 1 : with + 1;
    if (with != last) {
      std::swap_ranges(a.row(last) + k, a.row(last) + n, a.row(with) + k);
      for (int64_t i = k; i < n; ++i) std::swap(a(i, last), a(i, with));
    }
    if (!two && a(k, k) == T(0)) {
      if (singular == 0) singular = k + 1;
      continue;
    }
    for (int64_t i = last + 1; i < n; ++i) {
      T x = a(i, k), y = two ? a(i, k + 1) : T(0), f = x / a(k, k), g = T(0);
      if (two) {
        auto both = over_block(x, y, a(k, k), a(k, k + 1), a(k + 1, k), a(k + 1, k + 1));
        f = both[0], g = both[1];
      }
      for (int64_t j = last + 1; j < n; ++j) a(i, j) -= f * a(k, j) + (two ? g * a(k + 1, j) : T(0));
      a(i, i) = diagonal(a(i, i), hermitian);
      a(i, k) = f;
      if (two) a(i, k + 1) = g;
    }
  }
  for (int64_t i = 0; i < n; ++i) std::fill(a.row(i) + i + 1, a.row(i) + n, T(0));
  return singular;
}

template <class T>
void ldl_solve(const Matrix<T>& f, const std::vector<int64_t>& pivots, bool hermitian, Matrix<T>& x) {
  int64_t n = f.rows;
  auto pivot = [&](int64_t k) { return pivots[static_cast<size_t>(k)]; };
  auto exchange = [&](int64_t k) {
    int64_t with = std::clamp<int64_t>(std::abs(pivot(k)) - 1, 0, n - 1);
    if (with != k) std::swap_ranges(x.row(k), x.row(k) + x.cols, x.row(with));
  };
  auto subtract = [&](int64_t to, int64_t from, T times) {
    for (int64_t j = 0; j < x.cols; ++j) x(to, j) -= times * x(from, j);
  };
  std::vector<int64_t> starts;
  for (int64_t k = 0, step = 1; k < n; k += step) {
    step = pivot(k) < 0 && k + 1 < n ? 2 : 1;
    starts.push_back(k);
    int64_t last = k + step - 1;
    exchange(last);
    for (int64_t i = last + 1; i < n; ++i)
      for (int64_t c = k; c <= last; ++c) subtract(i, c, f(i, c));
    for (int64_t j = 0; j < x.cols; ++j) {
      if (step == 1) {
        x(k, j) /= f(k, k);
        continue;
      }
      // Columns: the transposed block.
      T below = f(k + 1, k), above = turned(below, hermitian);
      auto both = over_block(x(k, j), x(k + 1, j), f(k, k), below, above, f(k + 1, k + 1));
      x(k, j) = both[0], x(k + 1, j) = both[1];
    }
  }
  for (auto it = starts.rbegin(); it != starts.rend(); ++it) {
    int64_t last = it == starts.rbegin() ? n - 1 : *(it - 1) - 1;
    for (int64_t i = last + 1; i < n; ++i)
      for (int64_t c = *it; c <= last; ++c) subtract(c, i, turned(f(i, c), hermitian));
    exchange(last);
  }
}

template int64_t ldl(Matrix<double>&, std::vector<int64_t>&, bool);
template int64_t ldl(Matrix<Complex>&, std::vector<int64_t>&, bool);
template void ldl_solve(const Matrix<double>&, const std::vector<int64_t>&, bool, Matrix<double>&);
template void ldl_solve(const Matrix<Complex>&, const std::vector<int64_t>&, bool, Matrix<Complex>&);

}  // namespace sorus::kernels
