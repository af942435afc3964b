#include "sorus/kernels/factor.h"

#include <algorithm>
#include <cmath>

namespace sorus::kernels {
namespace {

inline double conjugate(double x) { return x; }
inline std::complex<double> conjugate(std::complex<double> x) { return std::conj(x); }
inline double real_part(double x) { return x; }
inline double real_part(std::complex<double> x) { return x.real(); }
// By which LAPACK chooses pivots.
inline double size_of(double x) { return std::abs(x); }
inline double size_of(std::complex<double> x) { return std::abs(x.real()) + std::abs(x.imag()); }

}  // namespace

template <class T>
int64_t cholesky(Matrix<T>& a) {
  int64_t n = a.rows;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      T sum = a(i, j);
      for (int64_t k = 0; k < j; ++k) sum -= a(i, k) * conjugate(a(j, k));
      if (i > j) {
        a(i, j) = sum / a(j, j);
      } else {
        if (!(real_part(sum) > 0)) return i + 1;
        a(i, i) = std::sqrt(real_part(sum));
      }
    }
    for (int64_t j = i + 1; j < n; ++j) a(i, j) = T(0);
  }
  return 0;
}

template <class T>
int64_t lu(Matrix<T>& a, std::vector<int64_t>& pivots) {
  int64_t steps = std::min(a.rows, a.cols), singular = 0;
  pivots.assign(static_cast<size_t>(steps), 0);
  for (int64_t k = 0; k < steps; ++k) {
    int64_t best = k;
    for (int64_t i = k + 1; i < a.rows; ++i)
      if (size_of(a(i, k)) > size_of(a(best, k))) best = i;
    pivots[static_cast<size_t>(k)] = best;
    if (best != k) std::swap_ranges(a.row(k), a.row(k) + a.cols, a.row(best));
    if (a(k, k) == T(0)) {
      if (singular == 0) singular = k + 1;
      continue;
    }
    for (int64_t i = k + 1; i < a.rows; ++i) {
      T factor = a(i, k) /= a(k, k);
      if (factor == T(0)) continue;
      T *to = a.row(i), *from = a.row(k);
      for (int64_t j = k + 1; j < a.cols; ++j) to[j] -= factor * from[j];
    }
  }
  return singular;
}

template <class T>
void solve_triangular(const Matrix<T>& a, bool upper, bool unit, Matrix<T>& x) {
  int64_t n = x.rows;
  for (int64_t step = 0; step < n; ++step) {
    int64_t i = upper ? n - 1 - step : step;
    T* to = x.row(i);
    for (int64_t k = upper ? i + 1 : 0; k < (upper ? n : i); ++k) {
      T factor = a(i, k);
      const T* from = x.row(k);
      for (int64_t j = 0; j < x.cols; ++j) to[j] -= factor * from[j];
    }
    if (unit) continue;
    for (int64_t j = 0; j < x.cols; ++j) to[j] /= a(i, i);
  }
}

template <class T>
void lu_solve(const Matrix<T>& factors, const std::vector<int64_t>& pivots, Matrix<T>& x) {
  for (size_t i = 0; i < pivots.size(); ++i)
    if (auto k = static_cast<int64_t>(i); pivots[i] != k)
      std::swap_ranges(x.row(k), x.row(k) + x.cols, x.row(pivots[i]));
  solve_triangular(factors, false, true, x);
  solve_triangular(factors, true, false, x);
}

template <class T>
void qr(Matrix<T> a, int64_t columns, Matrix<T>& q, Matrix<T>& r) {
  int64_t m = a.rows, n = a.cols, steps = std::min(m, n);
  std::vector<std::vector<T>> reflectors;  // I - v v^H, |v|^2 = 2
  std::vector<T> row;
  auto reflect = [&](const std::vector<T>& v, int64_t from, Matrix<T>& to, int64_t first) {
    if (v.empty()) return;
    row.assign(static_cast<size_t>(to.cols), T(0));
    for (int64_t i = from; i < m; ++i)
      for (int64_t j = first; j < to.cols; ++j)
        row[static_cast<size_t>(j)] += conjugate(v[static_cast<size_t>(i - from)]) * to(i, j);
    for (int64_t i = from; i < m; ++i)
      for (int64_t j = first; j < to.cols; ++j)
        to(i, j) -= v[static_cast<size_t>(i - from)] * row[static_cast<size_t>(j)];
  };
  for (int64_t k = 0; k < steps; ++k) {
    double below = 0, size;
    for (int64_t i = k + 1; i < m; ++i) below += std::norm(a(i, k));
    std::vector<T> v;
    if (below > 0 || real_part(a(k, k)) != a(k, k)) {
      size = std::sqrt(below + std::norm(a(k, k)));
      T phase = std::abs(a(k, k)) > 0 ? a(k, k) / std::abs(a(k, k)) : T(1);
      // a column x becomes -phase |x| e: v is x + phase |x| e, scaled.
      for (int64_t i = k; i < m; ++i) v.push_back(a(i, k));
      v[0] += phase * size;
      double length = below + std::norm(v[0]), scale = std::sqrt(2 / length);
      for (T& x : v) x *= scale;
      reflect(v, k, a, k);
      for (int64_t i = k + 1; i < m; ++i) a(i, k) = T(0);
    }
    reflectors.push_back(std::move(v));
  }
  r = Matrix<T>(columns, n);
  for (int64_t i = 0; i < columns; ++i)
    for (int64_t j = i; j < n; ++j) r(i, j) = a(i, j);
  q = Matrix<T>(m, columns);
  for (int64_t i = 0; i < columns; ++i) q(i, i) = T(1);
  for (int64_t k = steps; k-- > 0;) reflect(reflectors[static_cast<size_t>(k)], k, q, 0);
  // LAPACK's diagonal of R is real; so is this one, up to rounding that is cut off here.
  for (int64_t i = 0; i < std::min(columns, n); ++i) {
    if (T d = r(i, i); real_part(d) != d) {
      T phase = d / std::abs(d);
      for (int64_t j = i; j < n; ++j) r(i, j) *= conjugate(phase);
      r(i, i) = real_part(r(i, i));
      for (int64_t j = 0; j < m; ++j) q(j, i) *= phase;
    }
  }
}

#define SORUS_FACTORS(T)                                                             \
  template int64_t cholesky(Matrix<T>&);                                             \
  template int64_t lu(Matrix<T>&, std::vector<int64_t>&);                            \
  template void lu_solve(const Matrix<T>&, const std::vector<int64_t>&, Matrix<T>&); \
  template void solve_triangular(const Matrix<T>&, bool, bool, Matrix<T>&);          \
  template void qr(Matrix<T>, int64_t, Matrix<T>&, Matrix<T>&);
SORUS_FACTORS(double)
SORUS_FACTORS(std::complex<double>)
#undef SORUS_FACTORS

}  // namespace sorus::kernels
