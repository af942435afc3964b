// Factorisations of matrices. All compute in double or complex double, whatever the tensors hold: small matrices are
// bound by calls, and single precision is what factorisations of larger ones suffer from.
//
// Matrices are contiguous and row-major. One call is one matrix; batches are split between threads by the caller.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

namespace sorus::kernels {

template <class T>
struct Matrix {
  int64_t rows = 0, cols = 0;
  std::vector<T> elements;
  Matrix(int64_t r, int64_t c) : rows(r), cols(c), elements(static_cast<size_t>(r * c)) {}
  T& operator()(int64_t i, int64_t j) { return elements[static_cast<size_t>(i * cols + j)]; }
  const T& operator()(int64_t i, int64_t j) const { return elements[static_cast<size_t>(i * cols + j)]; }
  T* row(int64_t i) { return elements.data() + i * cols; }
  const T* row(int64_t i) const { return elements.data() + i * cols; }
};

template <class T>
Matrix<T> identity(int64_t n) {
  Matrix<T> m(n, n);
  for (int64_t i = 0; i < n; ++i) m(i, i) = T(1);
  return m;
}
template <class T>
Matrix<T> adjoint(const Matrix<T>& a) {
  Matrix<T> out(a.cols, a.rows);
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < a.cols; ++j)
      if constexpr (requires(T v) { v.real(); })
        out(j, i) = std::conj(a(i, j));
      else
        out(j, i) = a(i, j);
  return out;
}

/// The lower triangle of a Hermitian matrix becomes its Cholesky factor, the upper one zeros. Returns 0, or the order
/// of the first leading minor that is not positive.
template <class T>
int64_t cholesky(Matrix<T>& a);

/// Rows are exchanged for the largest pivot: a = P L U, both in `a` (the diagonal of L is one). pivots[i] is the row
/// that step i exchanged with row i. Returns 0, or one more than the first pivot that is 0.
template <class T>
int64_t lu(Matrix<T>& a, std::vector<int64_t>& pivots);

/// x becomes the solution of a x = b, for the factors that `lu` leaves.
template <class T>
void lu_solve(const Matrix<T>& factors, const std::vector<int64_t>& pivots, Matrix<T>& x);

/// The lower triangle of a symmetric (or Hermitian) matrix becomes L, whose diagonal of ones is left out, and D of
/// blocks of one and two, a = P L D L^T P^T (L^H); the upper one zeros. pivots are LAPACK's: i + 1 for the row that
/// is exchanged, twice -(i + 1) for a block of two, whose second row is. Returns 0, or one more than the first place
/// where D is 0.
template <class T>
int64_t ldl(Matrix<T>& a, std::vector<int64_t>& pivots, bool hermitian);

/// x becomes the solution of a x = b, for the factors that `ldl` leaves.
template <class T>
void ldl_solve(const Matrix<T>& factors, const std::vector<int64_t>& pivots, bool hermitian, Matrix<T>& x);

/// x becomes the solution of a x = b for a triangular a, whose other triangle is not read.
template <class T>
void solve_triangular(const Matrix<T>& a, bool upper, bool unit, Matrix<T>& x);

/// a = q r by Householder's reflections; q has `columns` columns (at most a.rows), r as many rows.
template <class T>
void qr(Matrix<T> a, int64_t columns, Matrix<T>& q, Matrix<T>& r);

/// Eigenvalues (ascending) and eigenvectors (columns of v) of a Hermitian matrix, of which the lower triangle is
/// read.
template <class T>
void eigh(Matrix<T> a, std::vector<double>& values, Matrix<T>& v);

/// a = u diag(s) vh with s descending, of min(rows, cols) elements; u and vh are square if `full`, else they have as
/// many columns and rows.
template <class T>
void svd(const Matrix<T>& a, bool full, Matrix<T>& u, std::vector<double>& s, Matrix<T>& vh);

/// Eigenvalues and eigenvectors (columns of v, of length 1) of any square matrix. False if the iteration did not end.
/// Those of a real matrix that are not real come in pairs, the one in the upper half of the plane first.
bool eig(Matrix<std::complex<double>> a, std::vector<std::complex<double>>& values, Matrix<std::complex<double>>& v);
bool eig(Matrix<double> a, std::vector<std::complex<double>>& values, Matrix<std::complex<double>>& v);

}  // namespace sorus::kernels
