// Eigenvalues and singular values of matrices (factor.h).
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "sorus/kernels/factor.h"

namespace sorus::kernels {
namespace {

using Complex = std::complex<double>;
constexpr double kEpsilon = std::numeric_limits<double>::epsilon();

inline double conjugate(double x) { return x; }
inline Complex conjugate(Complex x) { return std::conj(x); }
inline double real_part(double x) { return x; }
inline double real_part(Complex x) { return x.real(); }

// Householder's reflections from both sides make a Hermitian matrix tridiagonal; rows of `vectors` are the conjugates
// of the columns of their product, so that what follows turns neighbouring rows.
template <class T>
void tridiagonal(Matrix<T>& a, std::vector<double>& d, std::vector<double>& e, Matrix<T>& vectors) {
  int64_t n = a.rows;
  vectors = identity<T>(n);
  std::vector<T> v(static_cast<size_t>(n)), w(static_cast<size_t>(n));
  auto at = [](std::vector<T>& x, int64_t i) -> T& { return x[static_cast<size_t>(i)]; };
  for (int64_t k = 0; k + 1 < n; ++k) {
    double below = 0;
    for (int64_t i = k + 2; i < n; ++i) below += std::norm(a(i, k));
    if (below == 0) continue;
    double size = std::sqrt(below + std::norm(a(k + 1, k)));
    T phase = std::abs(a(k + 1, k)) > 0 ? a(k + 1, k) / std::abs(a(k + 1, k)) : T(1);
    for (int64_t i = k + 1; i < n; ++i) at(v, i) = a(i, k);
    at(v, k + 1) += phase * size;
    double scale = std::sqrt(2 / (below + std::norm(at(v, k + 1))));
    for (int64_t i = k + 1; i < n; ++i) at(v, i) *= scale;
    a(k + 1, k) = -phase * size;
    for (int64_t i = k + 2; i < n; ++i) a(i, k) = T(0);
    // A - v w^H - w v^H with w = A v - v (v^H A v) / 2, on the rest of the lower triangle.
    for (int64_t i = k + 1; i < n; ++i) at(w, i) = T(0);
    for (int64_t i = k + 1; i < n; ++i) {
      for (int64_t j = k + 1; j < i; ++j) {
        at(w, i) += a(i, j) * at(v, j);
        at(w, j) += conjugate(a(i, j)) * at(v, i);
      }
      at(w, i) += real_part(a(i, i)) * at(v, i);
    }
    T inner = T(0);
    for (int64_t i = k + 1; i < n; ++i) inner += conjugate(at(v, i)) * at(w, i);
    for (int64_t i = k + 1; i < n; ++i) at(w, i) -= at(v, i) * (inner / 2.0);
    for (int64_t i = k + 1; i < n; ++i)
      for (int64_t j = k + 1; j <= i; ++j) a(i, j) -= at(v, i) * conjugate(at(w, j)) + at(w, i) * conjugate(at(v, j));
    // vectors is Q^H; it becomes (Q H)^H = H Q^H.
    for (int64_t j = 0; j < n; ++j) at(w, j) = T(0);
    for (int64_t i = k + 1; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) at(w, j) += conjugate(at(v, i)) * vectors(i, j);
    for (int64_t i = k + 1; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) vectors(i, j) -= at(v, i) * at(w, j);
  }
  d.assign(static_cast<size_t>(n), 0);
  e.assign(static_cast<size_t>(n), 0);
  T phase = T(1);  // makes the elements below the diagonal real
  for (int64_t i = 0; i < n; ++i) {
    d[static_cast<size_t>(i)] = real_part(a(i, i));
    for (int64_t j = 0; j < n; ++j) vectors(i, j) *= conjugate(phase);
    if (i + 1 == n) break;
    double size = std::abs(a(i + 1, i));
    e[static_cast<size_t>(i)] = size;
    if (size > 0) phase *= a(i + 1, i) / size;
  }
}

// Implicit QR steps with Wilkinson's shift on a real symmetric tridiagonal matrix.
template <class T>
void diagonalize(std::vector<double>& d, std::vector<double>& e, Matrix<T>& vectors) {
  int64_t n = static_cast<int64_t>(d.size());
  auto D = [&](int64_t i) -> double& { return d[static_cast<size_t>(i)]; };
  auto E = [&](int64_t i) -> double& { return e[static_cast<size_t>(i)]; };
  int64_t high = n - 1;
  for (int64_t rounds = 0; high > 0 && rounds < 60 * n; ++rounds) {
    for (int64_t i = 0; i < high; ++i)
      if (std::abs(E(i)) <= kEpsilon * (std::abs(D(i)) + std::abs(D(i + 1)))) E(i) = 0;
    while (high > 0 && E(high - 1) == 0) --high;
    if (high == 0) break;
    int64_t low = high - 1;
    while (low > 0 && E(low - 1) != 0) --low;
    double half = (D(high - 1) - D(high)) / 2, b = E(high - 1);
    double shift = D(high) - b * b / (half + std::copysign(std::hypot(half, b), half));
    double x = D(low) - shift, z = E(low);
    for (int64_t k = low; k < high; ++k) {
      double r = std::hypot(x, z), c = r > 0 ? x / r : 1, s = r > 0 ? z / r : 0;
      if (k > low) E(k - 1) = r;
      double p = D(k), q = D(k + 1), f = E(k);
      D(k) = c * c * p + 2 * c * s * f + s * s * q;
      D(k + 1) = s * s * p - 2 * c * s * f + c * c * q;
      E(k) = c * s * (q - p) + (c * c - s * s) * f;
      if (k + 1 < high) {
        z = s * E(k + 1);
        E(k + 1) *= c;
        x = E(k);
      }
      T *a = vectors.row(k), *o = vectors.row(k + 1);
      for (int64_t j = 0; j < n; ++j) {
        T u = a[j], w = o[j];
        a[j] = c * u + s * w;
        o[j] = c * w - s * u;
      }
    }
  }
}

// Columns beyond `have` are filled with unit vectors orthogonal to all before (rows of `vectors` are the vectors).
template <class T>
void complete(Matrix<T>& vectors, int64_t have) {
  int64_t m = vectors.cols;
  std::vector<double> covered(static_cast<size_t>(m), 0);
  auto cover = [&](int64_t i) {
    for (int64_t j = 0; j < m; ++j) covered[static_cast<size_t>(j)] += std::norm(vectors(i, j));
  };
  for (int64_t i = 0; i < have; ++i) cover(i);
  for (int64_t i = have; i < vectors.rows; ++i) {
    int64_t best = std::min_element(covered.begin(), covered.end()) - covered.begin();
    for (int64_t j = 0; j < m; ++j) vectors(i, j) = T(j == best ? 1.0 : 0.0);
    for (int pass = 0; pass < 2; ++pass) {
      for (int64_t k = 0; k < i; ++k) {
        T inner = T(0);
        for (int64_t j = 0; j < m; ++j) inner += conjugate(vectors(k, j)) * vectors(i, j);
        for (int64_t j = 0; j < m; ++j) vectors(i, j) -= inner * vectors(k, j);
      }
      double size = 0;
      for (int64_t j = 0; j < m; ++j) size += std::norm(vectors(i, j));
      for (int64_t j = 0; j < m; ++j) vectors(i, j) /= std::sqrt(size);
    }
    cover(i);
  }
}

}  // namespace

template <class T>
void eigh(Matrix<T> a, std::vector<double>& values, Matrix<T>& v) {
  int64_t n = a.rows;
  std::vector<double> d, e;
  Matrix<T> vectors(0, 0);
  tridiagonal(a, d, e, vectors);
  diagonalize(d, e, vectors);
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t i, int64_t j) { return d[static_cast<size_t>(i)] < d[static_cast<size_t>(j)]; });
  values.resize(static_cast<size_t>(n));
  v = Matrix<T>(n, n);
  for (int64_t k = 0; k < n; ++k) {
    int64_t from = order[static_cast<size_t>(k)];
    values[static_cast<size_t>(k)] = d[static_cast<size_t>(from)];
    for (int64_t i = 0; i < n; ++i) v(i, k) = conjugate(vectors(from, i));
  }
}

// One-sided Jacobi: pairs of columns are turned until all are orthogonal; their lengths are the singular values,
// which come out accurate also where they are small.
template <class T>
void svd(const Matrix<T>& a, bool full, Matrix<T>& u, std::vector<double>& s, Matrix<T>& vh) {
  int64_t m = a.rows, n = a.cols;
  if (m < n) {
    Matrix<T> left(0, 0), right(0, 0);
    svd(adjoint(a), full, left, s, right);
    u = adjoint(right);
    vh = adjoint(left);
    return;
  }
  Matrix<T> w(n, m), v = identity<T>(n);  // rows are the columns
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) w(j, i) = a(i, j);
  bool turned = true;
  for (int sweep = 0; turned && sweep < 60; ++sweep) {
    turned = false;
    for (int64_t p = 0; p < n; ++p)
      for (int64_t q = p + 1; q < n; ++q) {
        T *x = w.row(p), *y = w.row(q);
        double xx = 0, yy = 0;
        T xy = T(0);
        for (int64_t i = 0; i < m; ++i) {
          xx += std::norm(x[i]);
          yy += std::norm(y[i]);
          xy += conjugate(x[i]) * y[i];
        }
        double size = std::abs(xy);
        if (!(size > kEpsilon * std::sqrt(xx * yy)) || size == 0) continue;
        turned = true;
        double zeta = (yy - xx) / (2 * size);
        double t = (zeta >= 0 ? 1 : -1) / (std::abs(zeta) + std::sqrt(1 + zeta * zeta));
        double c = 1 / std::sqrt(1 + t * t), sine = c * t;
        T phase = conjugate(xy) / size;  // y times it has a real product with x
        auto turn = [&](T* f, T* g, int64_t length) {
          for (int64_t i = 0; i < length; ++i) {
            T fi = f[i], gi = phase * g[i];
            f[i] = c * fi - sine * gi;
            g[i] = sine * fi + c * gi;
          }
        };
        turn(x, y, m);
        turn(v.row(p), v.row(q), n);
      }
  }
  std::vector<double> sizes;
  for (int64_t k = 0; k < n; ++k) {
    double sum = 0;
    for (int64_t i = 0; i < m; ++i) sum += std::norm(w(k, i));
    sizes.push_back(std::sqrt(sum));
  }
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
    return sizes[static_cast<size_t>(i)] > sizes[static_cast<size_t>(j)];
  });
  s.clear();
  Matrix<T> left(full ? m : n, m);
  vh = Matrix<T>(n, n);
  int64_t rank = 0;
  for (int64_t k = 0; k < n; ++k) {
    int64_t from = order[static_cast<size_t>(k)];
    double size = sizes[static_cast<size_t>(from)];
    s.push_back(size);
    for (int64_t i = 0; i < n; ++i) vh(k, i) = conjugate(v(from, i));
    if (!(size > 0)) continue;
    if (size > kEpsilon * s[0] * static_cast<double>(n)) {
      for (int64_t i = 0; i < m; ++i) left(k, i) = w(from, i) / size;
      rank = k + 1;
    }
  }
  complete(left, rank);  // vectors of zeros, and those beyond
  u = Matrix<T>(m, left.rows);
  for (int64_t k = 0; k < left.rows; ++k)
    for (int64_t i = 0; i < m; ++i) u(i, k) = left(k, i);
}

bool eig(Matrix<Complex> a, std::vector<Complex>& values, Matrix<Complex>& v) {
  int64_t n = a.rows;
  Matrix<Complex> q = identity<Complex>(n);
  // A rotation of rows (or columns) k and l by [c s; -conj(s) c].
  auto rotate_rows = [n](Matrix<Complex>& x, int64_t k, int64_t l, double c, Complex s, int64_t first) {
    for (int64_t j = first; j < n; ++j) {
      Complex f = x(k, j), g = x(l, j);
      x(k, j) = c * f + s * g;
      x(l, j) = c * g - std::conj(s) * f;
    }
  };
  auto rotate_columns = [](Matrix<Complex>& x, int64_t k, int64_t l, double c, Complex s, int64_t end) {
    for (int64_t i = 0; i < end; ++i) {
      Complex f = x(i, k), g = x(i, l);
      x(i, k) = c * f + std::conj(s) * g;
      x(i, l) = c * g - s * f;
    }
  };
  auto rotation = [](Complex f, Complex g, double& c, Complex& s) {
    double size = std::hypot(std::abs(f), std::abs(g));
    c = size > 0 ? std::abs(f) / size : 1;
    Complex phase = std::abs(f) > 0 ? f / std::abs(f) : Complex(1);
    s = size > 0 ? phase * std::conj(g) / size : Complex(0);
  };
  double c;
  Complex s;
  // To Hessenberg's form, element by element.
  for (int64_t k = 0; k + 2 < n; ++k)
    for (int64_t i = n - 1; i > k + 1; --i) {
      if (a(i, k) == 0.0) continue;
      rotation(a(i - 1, k), a(i, k), c, s);
      rotate_rows(a, i - 1, i, c, s, k);
      rotate_columns(a, i - 1, i, c, s, n);
      rotate_columns(q, i - 1, i, c, s, n);
      a(i, k) = 0;
    }
  // QR steps with Wilkinson's shift until nothing is left below the diagonal.
  int64_t high = n - 1;
  double whole = 0;
  for (const Complex& x : a.elements) whole = std::max(whole, std::abs(x));
  for (int64_t rounds = 0, since = 0; high > 0; ++rounds, ++since) {
    if (rounds > 60 * n || !std::isfinite(whole)) return false;
    int64_t low = high;
    while (low > 0) {
      double around = std::abs(a(low, low)) + std::abs(a(low - 1, low - 1));
      if (std::abs(a(low, low - 1)) <= kEpsilon * (around > 0 ? around : whole)) break;
      --low;
    }
    if (low > 0) a(low, low - 1) = 0;
    if (low == high) {
      --high;
      since = 0;
      continue;
    }
    Complex p = a(high - 1, high - 1), r = a(high, high), product = a(high - 1, high) * a(high, high - 1);
    Complex half = (p - r) / 2.0, root = std::sqrt(half * half + product);
    if (std::real(std::conj(half) * root) < 0) root = -root;
    Complex shift = std::abs(half + root) > 0 ? r - product / (half + root) : r;
    if (since % 10 == 9) shift = r + std::abs(a(high, high - 1));  // out of a circle
    Complex x = a(low, low) - shift, z = a(low + 1, low);
    for (int64_t k = low; k < high; ++k) {
      rotation(x, z, c, s);
      rotate_rows(a, k, k + 1, c, s, std::max<int64_t>(k - 1, 0));
      rotate_columns(a, k, k + 1, c, s, std::min(k + 3, high + 1));
      rotate_columns(q, k, k + 1, c, s, n);
      if (k > low) a(k + 1, k - 1) = 0;
      if (k + 1 < high) {
        x = a(k + 1, k);
        z = a(k + 2, k);
      }
    }
  }
  values.clear();
  for (int64_t i = 0; i < n; ++i) values.push_back(a(i, i));
  // Eigenvectors of the triangle by substitution, turned back by q.
  v = Matrix<Complex>(n, n);
  double least = std::max(whole * kEpsilon, std::numeric_limits<double>::min());
  std::vector<Complex> x(static_cast<size_t>(n));
  for (int64_t k = 0; k < n; ++k) {
    for (int64_t i = k; i >= 0; --i) {
      if (i == k) {
        x[static_cast<size_t>(i)] = 1;
        continue;
      }
      Complex sum = 0;
      for (int64_t j = i + 1; j <= k; ++j) sum += a(i, j) * x[static_cast<size_t>(j)];
      Complex gap = a(k, k) - a(i, i);
      x[static_cast<size_t>(i)] = sum / (std::abs(gap) < least ? Complex(least) : gap);
    }
    double size = 0;
    for (int64_t i = 0; i < n; ++i) {
      Complex sum = 0;
      for (int64_t j = 0; j <= k; ++j) sum += q(i, j) * x[static_cast<size_t>(j)];
      v(i, k) = sum;
      size += std::norm(sum);
    }
    for (int64_t i = 0; i < n; ++i) v(i, k) /= std::sqrt(size);
  }
  return true;
}

template void eigh(Matrix<double>, std::vector<double>&, Matrix<double>&);
template void eigh(Matrix<Complex>, std::vector<double>&, Matrix<Complex>&);
template void svd(const Matrix<double>&, bool, Matrix<double>&, std::vector<double>&, Matrix<double>&);
template void svd(const Matrix<Complex>&, bool, Matrix<Complex>&, std::vector<double>&, Matrix<Complex>&);

}  // namespace sorus::kernels
