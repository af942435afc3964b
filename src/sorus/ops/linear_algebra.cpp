// Factorisations and solutions for batches of matrices, the last two dimensions. sorus.linalg makes its functions of
// these. Gradients are written with the same operators, so they have gradients again.
#include <algorithm>

#include "sorus/base/threads.h"
#include "sorus/kernels/element.h"
#include "sorus/kernels/factor.h"
#include "sorus/ops.h"

namespace sorus {
namespace {

using kernels::Matrix;
using Complex = std::complex<double>;

// ---- types

int64_t rows_of(const Shape& s) { return s[s.size() - 2]; }
int64_t cols_of(const Shape& s) { return s[s.size() - 1]; }

const TensorType& matrices(const TypeCall& c, int slot = 0) {
  const TensorType& x = c.input(slot);
  SORUS_CHECK(is_differentiable(x.dtype) && !is_half(x.dtype), TypeError,
              "{}: expected float32, float64 or complex, got {}", c.op.name(), name(x.dtype));
  SORUS_CHECK(x.shape.size() >= 2, Error, "{}: expected a matrix or a batch of them, got shape {}", c.op.name(),
              to_string(x.shape));
  return x;
}
const TensorType& square(const TypeCall& c) {
  const TensorType& x = matrices(c);
  SORUS_CHECK(rows_of(x.shape) == cols_of(x.shape), Error, "{}: expected square matrices, got shape {}", c.op.name(),
              to_string(x.shape));
  return x;
}
/// The batch of `x` with other last dimensions.
TensorType shaped(const TensorType& x, std::initializer_list<int64_t> last, DType t) {
  Shape s(x.shape.begin(), x.shape.end() - 2);
  for (int64_t n : last) s.push_back(n);
  return {t, s, false};
}
TensorType shaped(const TensorType& x, std::initializer_list<int64_t> last) { return shaped(x, last, x.dtype); }
/// b of a x = b.
const TensorType& right_sides(const TypeCall& c) {
  const TensorType &a = square(c), &b = matrices(c, 1);
  SORUS_CHECK(b.shape == shaped(a, {cols_of(a.shape), cols_of(b.shape)}).shape && a.dtype == b.dtype, Error,
              "{}: {} does not fit the matrices {}", c.op.name(), b.to_string(), a.to_string());
  return b;
}

// ---- kernels

/// One matrix of a batch in double precision.
template <class T>
Matrix<T> load(const Tensor& t, int64_t batch, int64_t rows, int64_t cols) {
  Matrix<T> m(rows, cols);
  kernels::visit_dtype(t.dtype(), [&]<DType D>() {
    using E = typename kernels::ElementOf<D>::type;
    const E* p = static_cast<const E*>(t.data()) + batch * rows * cols;
    for (int64_t i = 0; i < rows * cols; ++i)
      m.elements[static_cast<size_t>(i)] =
          kernels::element_cast<T>(kernels::element_cast<typename kernels::ElementOf<D>::compute>(p[i]));
  });
  return m;
}
template <class T>
Matrix<T> load(const Tensor& t, int64_t batch) {
  return load<T>(t, batch, t.size(-2), t.size(-1));
}
template <class T>
void store(const std::vector<T>& values, Tensor& t, int64_t batch) {
  auto n = static_cast<int64_t>(values.size());
  kernels::visit_dtype(t.dtype(), [&]<DType D>() {
    using E = typename kernels::ElementOf<D>::type;
    E* p = static_cast<E*>(t.data()) + batch * n;
    for (int64_t i = 0; i < n; ++i) p[i] = kernels::element_cast<E>(values[static_cast<size_t>(i)]);
  });
}

/// Calls f(zero of the compute type, batch) for all matrices of a batch.
template <class F>
void for_matrices(const Tensor& x, F&& f) {
  int64_t size = x.size(-1) * x.size(-2), batches = 1;
  for (int64_t i = 0; i + 2 < x.dim(); ++i) batches *= x.size(i);
  int64_t work = size * std::max<int64_t>(1, std::min(x.size(-1), x.size(-2)));
  parallel_for(batches, std::max<int64_t>(1, 20000 / std::max<int64_t>(1, work)), [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      if (is_complex(x.dtype()))
        f(Complex(0), b);
      else
        f(0.0, b);
    }
  });
}

/// The Hermitian part, which is what the operators on Hermitian matrices are functions of.
template <class T>
Matrix<T> hermitian(const Tensor& t, int64_t batch) {
  Matrix<T> m = load<T>(t, batch), a = kernels::adjoint(m);
  for (size_t i = 0; i < m.elements.size(); ++i) m.elements[i] = 0.5 * (m.elements[i] + a.elements[i]);
  return m;
}

// ---- parts of gradients

Tensor mh(const Tensor& t) { return adjoint(t); }
Tensor row(const Tensor& t) { return unsqueeze(t, -2); }
Tensor column(const Tensor& t) { return unsqueeze(t, -1); }
Tensor matrix_of(const Tensor& d) { return diag_embed(d); }
Tensor diagonal_of(const Tensor& m) { return diagonal(m, 0, -2, -1); }
/// x a^{-1} for a triangular a.
Tensor right_solve(const Tensor& x, const Tensor& a, bool upper) {
  return mh(triangular_solution(mh(a), mh(x), !upper, false));
}
/// Differences v[j] - v[i], with ones on the diagonal.
Tensor gaps(const Tensor& v) {
  Tensor one = eye(v.size(-1), std::nullopt, DType::boolean);
  return where(one, Tensor::weak_scalar(1.0), row(v) - column(v));
}
/// x / y, and 0 where x is 0: what does not depend on vectors of equal values has no need of their distance.
Tensor share(const Tensor& x, const Tensor& y) {
  Tensor none = eq(x, Tensor::weak_scalar(0.0));
  return where(none, Tensor::weak_scalar(0.0), x / where(none, Tensor::weak_scalar(1.0), y));
}
Tensor off_diagonal(const Tensor& m) {
  return where(eye(m.size(-1), std::nullopt, DType::boolean), Tensor::weak_scalar(0.0), m);
}
Tensor as_type_of(const Tensor& t, const Tensor& like) {
  return is_complex(t.dtype()) && !is_complex(like.dtype()) ? real_part(t) : to(t, like.dtype());
}

/// g a^{-H}: how a determinant's logarithm changes with the matrix.
Tensor inverse_adjoint(const Tensor& a, const Tensor& g) {
  return solution(mh(a), column(column(g)) * eye(a.size(-1), std::nullopt, a.dtype()))[0];
}

Tensor qr_back(const Tensor& q, const Tensor& r, const Tensor& gq, const Tensor& gr) {
  Tensor m = matmul(r, mh(gr)) - matmul(mh(gq), q), low = tril(m, -1), d = diagonal_of(m);
  Tensor middle = low + mh(low) + matrix_of(is_complex(d.dtype()) ? to(real_part(d), d.dtype()) : d);
  return right_solve(gq + matmul(q, middle), mh(r), false);
}

const bool factorisations = [] {
  op("cholesky_factor(input) -> factor, info")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType& x = square(c);
        return {x, shaped(x, {}, DType::i32)};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        for_matrices(c.input(0), [&]<class T>(T, int64_t b) {
          Matrix<T> a = hermitian<T>(c.input(0), b);
          int64_t failed = kernels::cholesky(a);
          store(a.elements, out[0], b);
          out[1].data<int32_t>()[b] = static_cast<int32_t>(failed);
        });
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Tensor& l = c.output(0);
            Tensor m = tril(matmul(mh(l), c.grad(0))), phi = m - matrix_of(diagonal_of(m) * 0.5);
            Tensor s = right_solve(triangular_solution(mh(l), phi, true, false), l, false);
            return {(s + mh(s)) * 0.5};
          },
          "factor")
      .axes("input[b.., m!, n!] -> factor[b.., m!, n!], info[b..]")
      .doc(
          "The lower Cholesky factor of the Hermitian part; `info` is 0, or the order of the first leading minor "
          "that "
          "is not positive.");

  op("triangular_solution(a, b, upper: bool, unit: bool = false)")
      .types([](const TypeCall& c) -> std::vector<TensorType> { return {right_sides(c)}; })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& a = c.input(0);
        for_matrices(a, [&]<class T>(T, int64_t b) {
          Matrix<T> x = load<T>(c.input(1), b);
          kernels::solve_triangular(load<T>(a, b), c.attr(0).to_bool(), c.attr(1).to_bool(), x);
          store(x.elements, out[0], b);
        });
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            bool upper = c.attrs[0].to_bool(), unit = c.attrs[1].to_bool();
            Tensor gb = triangular_solution(mh(c.input(0)), c.grad(), !upper, unit), ga;
            if (c.needs[0]) {
              Tensor g = neg(matmul(gb, mh(c.output())));
              ga = upper ? triu(g, unit ? 1 : 0) : tril(g, unit ? -1 : 0);
            }
            return {ga, gb};
          },
          "a output")
      .axes("a[b.., m!, n!], b[b.., m!, k] -> output[b.., m!, k]")
      .doc("x with a x = b for a triangular a, of which the other triangle is not read.");

  op("lu_factors(input) -> factors, permutation, pivots, info")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType& x = matrices(c);
        int64_t m = rows_of(x.shape), k = std::min(m, cols_of(x.shape));
        return {x, shaped(x, {m}, DType::i64), shaped(x, {k}, DType::i32), shaped(x, {}, DType::i32)};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& x = c.input(0);
        for_matrices(x, [&]<class T>(T, int64_t b) {
          Matrix<T> a = load<T>(x, b);
          std::vector<int64_t> pivots, permutation(static_cast<size_t>(x.size(-2)));
          int64_t failed = kernels::lu(a, pivots);
          for (size_t i = 0; i < permutation.size(); ++i) permutation[i] = static_cast<int64_t>(i);
          for (size_t i = 0; i < pivots.size(); ++i) {
            std::swap(permutation[i], permutation[static_cast<size_t>(pivots[i])]);
            ++pivots[i];  // counted from 1, as LAPACK does
          }
          store(a.elements, out[0], b);
          store(permutation, out[1], b);
          store(pivots, out[2], b);
          out[3].data<int32_t>()[b] = static_cast<int32_t>(failed);
        });
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Tensor &f = c.output(0), &g = c.grad(0);
            int64_t rows = f.size(-2), cols = f.size(-1), k = std::min(rows, cols);
            Tensor square_part = narrow(narrow(f, -2, 0, k), -1, 0, k), g1 = narrow(narrow(g, -2, 0, k), -1, 0, k);
            Tensor lower = tril(square_part, -1) + eye(k, std::nullopt, f.dtype()), upper = triu(square_part);
            Tensor low = matmul(mh(lower), tril(g1, -1)), high = matmul(triu(g1), mh(upper)), beyond;
            // What is beyond the square is a product with the inverse of one triangle, which has a part in its
            // gradient.
            if (cols > k) {
              beyond = narrow(g, -1, k, cols - k);
              low = low - matmul(beyond, mh(narrow(f, -1, k, cols - k)));
              beyond = triangular_solution(mh(lower), beyond, true, true);
            } else if (rows > k) {
              beyond = narrow(g, -2, k, rows - k);
              high = high - matmul(mh(narrow(f, -2, k, rows - k)), beyond);
              beyond = right_solve(beyond, mh(upper), false);
            }
            Tensor m = triangular_solution(mh(lower), tril(low, -1) + triu(high), true, true);
            m = right_solve(m, mh(upper), false);
            if (beyond.defined()) m = cat(TensorList{m, beyond}, cols > k ? -1 : -2);
            Tensor place = expand(column(c.output(1)), m.sizes());
            return {scatter_add(zeros(m.sizes(), m.dtype()), -2, place, m)};
          },
          "factors permutation")
      .axes("input[b.., m!, n!] -> factors[b.., m!, n!], permutation[b.., m!], pivots[b.., k!], info[b..]")
      .doc(
          "L (below the diagonal, with ones on it) and U of the rows in the order `permutation`; `info` is 0, or one "
          "more than the place of the first pivot that is 0.");

  op("ldl_factors(input, hermitian: bool = false) -> factors, pivots, info")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType& x = square(c);
        return {x, shaped(x, {rows_of(x.shape)}, DType::i32), shaped(x, {}, DType::i32)};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& x = c.input(0);
        for_matrices(x, [&]<class T>(T, int64_t b) {
          Matrix<T> a = load<T>(x, b);
          std::vector<int64_t> pivots;
          out[2].data<int32_t>()[b] = static_cast<int32_t>(kernels::ldl(a, pivots, c.attr(0).to_bool()));
          store(a.elements, out[0], b);
          store(pivots, out[1], b);
        });
      })
      .not_differentiable()
      .axes("input[b.., m!, n!] -> factors[b.., m!, n!], pivots[b.., m!], info[b..]")
      .doc(
          "L and blocks D of one or two rows of a symmetric or Hermitian matrix, of which the lower triangle is "
          "read; "
          "`info` is 0, or one more than the first place where D is 0.");

  op("ldl_solution(factors, pivots: Tensor, b, hermitian: bool = false)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType &f = square(c), &p = c.input(1), &b = c.input(2);
        bool fits = b.shape.size() == f.shape.size() && p.shape.size() + 1 == f.shape.size();
        for (size_t i = 0; fits && i < f.shape.size(); ++i)
          fits = (i + 1 == f.shape.size() || f.shape[i] == b.shape[i]) &&
                 (i >= p.shape.size() || p.shape[i] == f.shape[i]);
        SORUS_CHECK(fits, Error, "linalg.ldl_solve: factors {}, pivots {} and right sides {} do not fit",
                    to_string(f.shape), to_string(p.shape), to_string(b.shape));
        SORUS_CHECK(is_integral(p.dtype) && f.dtype == b.dtype, TypeError,
                    "linalg.ldl_solve: expected whole numbers as pivots and right sides of the factors' type {}, got "
                    "{} and {}",
                    name(f.dtype), name(p.dtype), name(b.dtype));
        return {b};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& f = c.input(0);
        Tensor pivots = contiguous(to(c.input(1), DType::i64));
        for_matrices(f, [&]<class T>(T, int64_t b) {
          int64_t n = f.size(-1);
          const int64_t* p = pivots.data<int64_t>() + b * n;
          Matrix<T> x = load<T>(c.input(2), b);
          kernels::ldl_solve(load<T>(f, b), std::vector<int64_t>(p, p + n), c.attr(0).to_bool(), x);
          store(x.elements, out[0], b);
        });
      })
      .not_differentiable()
      .axes("factors[b.., m!, n!], pivots[b.., m!], b[b.., m!, k] -> output[b.., m!, k]")
      .doc("x with a x = b, for what `ldl_factors` has made of a.");

  op("solution(a, b) -> x, info")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType &a = square(c), &b = right_sides(c);
        return {b, shaped(a, {}, DType::i32)};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& a = c.input(0);
        for_matrices(a, [&]<class T>(T, int64_t b) {
          Matrix<T> f = load<T>(a, b), x = load<T>(c.input(1), b);
          std::vector<int64_t> pivots;
          out[1].data<int32_t>()[b] = static_cast<int32_t>(kernels::lu(f, pivots));
          kernels::lu_solve(f, pivots, x);
          store(x.elements, out[0], b);
        });
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            Tensor gb = solution(mh(c.input(0)), c.grad(0))[0];
            return {c.needs[0] ? neg(matmul(gb, mh(c.output(0)))) : Tensor(), gb};
          },
          "a x")
      .axes("a[b.., m!, n!], b[b.., m!, k] -> x[b.., m!, k], info[b..]")
      .doc("x with a x = b; `info` is 0, or one more than the place of a pivot that is 0: then x is not finite.");

  op("determinant(input)")
      .types([](const TypeCall& c) -> std::vector<TensorType> { return {shaped(square(c), {})}; })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& x = c.input(0);
        for_matrices(x, [&]<class T>(T, int64_t b) {
          Matrix<T> a = load<T>(x, b);
          std::vector<int64_t> pivots;
          kernels::lu(a, pivots);
          T product = T(1);
          for (int64_t i = 0; i < a.rows; ++i) product *= pivots[static_cast<size_t>(i)] == i ? a(i, i) : -a(i, i);
          store(std::vector<T>{product}, out[0], b);
        });
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Tensor& a = c.input(0);
            Tensor g = c.grad() * conj(c.output());
            return {inverse_adjoint(a, g)};
          },
          "input output")
      .axes("input[b.., m!, n!] -> output[b..]");

  op("log_determinant(input) -> sign, logabsdet")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType& x = square(c);
        return {shaped(x, {}), shaped(x, {}, real_of(x.dtype))};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& x = c.input(0);
        for_matrices(x, [&]<class T>(T, int64_t b) {
          Matrix<T> a = load<T>(x, b);
          std::vector<int64_t> pivots;
          kernels::lu(a, pivots);
          T sign = T(1);
          double sum = 0;
          for (int64_t i = 0; i < a.rows; ++i) {
            double size = std::abs(a(i, i));
            sum += std::log(size);
            sign *= size == 0 ? T(0) : a(i, i) / size * (pivots[static_cast<size_t>(i)] == i ? 1.0 : -1.0);
          }
          store(std::vector<T>{sign}, out[0], b);
          store(std::vector<double>{sum}, out[1], b);
        });
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Tensor& a = c.input(0);
            Tensor g = c.grad(1).defined() ? to(c.grad(1), a.dtype()) : zeros(c.output(0).sizes(), a.dtype());
            // The sign of a real matrix does not change; that of a complex one turns with the trace of a^{-1} da.
            if (is_complex(a.dtype()) && c.grad(0).defined())
              g = g - to(imag_part(conj(c.grad(0)) * c.output(0)), a.dtype()) *
                          Tensor::weak_scalar(Scalar(Complex(0, 1)));
            return {inverse_adjoint(a, g)};
          },
          "input sign")
      .axes("input[b.., m!, n!] -> sign[b..], logabsdet[b..]");

  op("qr_factors(input, full: bool = false) -> q, r")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType& x = matrices(c);
        int64_t m = rows_of(x.shape), n = cols_of(x.shape), k = c.attr(0).to_bool() ? m : std::min(m, n);
        return {shaped(x, {m, k}), shaped(x, {k, n})};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& x = c.input(0);
        for_matrices(x, [&]<class T>(T, int64_t b) {
          Matrix<T> q(0, 0), r(0, 0);
          kernels::qr(load<T>(x, b), out[0].size(-1), q, r);
          store(q.elements, out[0], b);
          store(r.elements, out[1], b);
        });
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Tensor &q = c.output(0), &r = c.output(1);
            int64_t m = q.size(-2), n = r.size(-1), k = q.size(-1);
            SORUS_CHECK(
                k <= n, NotImplementedError,
                "linalg.qr: there is no gradient of the complete form where there are more rows than columns");
            Tensor gq = c.grad(0).defined() ? c.grad(0) : zeros(q.sizes(), q.dtype());
            Tensor gr = c.grad(1).defined() ? c.grad(1) : zeros(r.sizes(), r.dtype());
            if (m >= n) return {qr_back(q, r, gq, triu(gr))};
            // The columns beyond the square are products with q.
            Tensor r1 = narrow(r, -1, 0, k), r2 = narrow(r, -1, k, n - k);
            Tensor g1 = triu(narrow(gr, -1, 0, k)), g2 = narrow(gr, -1, k, n - k);
            Tensor first = qr_back(q, r1, gq + matmul(matmul(q, r2), mh(g2)), g1);
            return {cat(TensorList{first, matmul(q, g2)}, -1)};
          },
          "q r")
      .axes("input[b.., m!, n!] -> q[b.., m!, k!], r[b.., k!, n!]")
      .doc("Orthonormal columns and a triangle whose product is the input.");

  op("eigh_parts(input) -> eigenvalues, eigenvectors")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType& x = square(c);
        return {shaped(x, {rows_of(x.shape)}, real_of(x.dtype)), x};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        for_matrices(c.input(0), [&]<class T>(T, int64_t b) {
          std::vector<double> values;
          Matrix<T> v(0, 0);
          kernels::eigh(hermitian<T>(c.input(0), b), values, v);
          store(values, out[0], b);
          store(v.elements, out[1], b);
        });
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Tensor &w = c.output(0), &v = c.output(1);
            Tensor middle;
            if (c.grad(1).defined()) middle = off_diagonal(share(matmul(mh(v), c.grad(1)), gaps(w)));
            if (c.grad(0).defined()) {
              Tensor d = matrix_of(to(c.grad(0), v.dtype()));
              middle = middle.defined() ? middle + d : d;
            }
            Tensor g = matmul(matmul(v, middle), mh(v));
            return {(g + mh(g)) * 0.5};
          },
          "eigenvalues eigenvectors")
      .axes("input[b.., m!, n!] -> eigenvalues[b.., n!], eigenvectors[b.., m!, n!]")
      .doc("Ascending eigenvalues and the eigenvectors (columns) of the Hermitian part.");

  op("svd_parts(input, full: bool = false) -> u, s, vh")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType& x = matrices(c);
        int64_t m = rows_of(x.shape), n = cols_of(x.shape), k = std::min(m, n);
        bool full = c.attr(0).to_bool();
        return {shaped(x, {m, full ? m : k}), shaped(x, {k}, real_of(x.dtype)), shaped(x, {full ? n : k, n})};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& x = c.input(0);
        for_matrices(x, [&]<class T>(T, int64_t b) {
          Matrix<T> u(0, 0), vh(0, 0);
          std::vector<double> s;
          kernels::svd(load<T>(x, b), c.attr(0).to_bool(), u, s, vh);
          store(u.elements, out[0], b);
          store(s, out[1], b);
          store(vh.elements, out[2], b);
        });
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Tensor& s = c.output(1);
            int64_t m = c.output(0).size(-2), n = c.output(2).size(-1), k = s.size(-1);
            // What is beyond the singular values is free to turn; a loss that depends on it has no gradient.
            Tensor u = narrow(c.output(0), -1, 0, k), vh = narrow(c.output(2), -2, 0, k), v = mh(vh), middle, gu, gv;
            DType t = u.dtype();
            auto add_to = [&](const Tensor& x) { middle = middle.defined() ? middle + x : x; };
            auto skew = [](const Tensor& x) { return x - mh(x); };
            Tensor sc = to(s, t), gap = to(gaps(s * s), t);
            if (c.grad(1).defined()) add_to(matrix_of(to(c.grad(1), t)));
            if (c.grad(0).defined()) {
              gu = narrow(c.grad(0), -1, 0, k);
              Tensor x = matmul(mh(u), gu), turn = skew(x);
              add_to(off_diagonal(share(turn, gap)) * row(sc));
              if (is_complex(t) && c.grad(2).defined()) add_to(matrix_of(share(diagonal_of(turn), sc * 2.0)));
            }
            if (c.grad(2).defined()) {
              gv = mh(narrow(c.grad(2), -2, 0, k));
              add_to(column(sc) * off_diagonal(share(skew(matmul(vh, gv)), gap)));
            }
            Tensor g = matmul(matmul(u, middle), vh);
            if (gu.defined() && m > k) g = g + matmul(share(gu - matmul(u, matmul(mh(u), gu)), row(sc)), vh);
            if (gv.defined() && n > k) g = g + matmul(u, mh(share(gv - matmul(v, matmul(vh, gv)), row(sc))));
            return {g};
          },
          "u s vh")
      .axes("input[b.., m!, n!] -> u[b.., m!, j!], s[b.., k!], vh[b.., l!, n!]")
      .doc("Singular values, descending, with the vectors on both sides: u diag(s) vh is the input.");

  op("pseudo_inverse(input, atol: float = 0.0, rtol: float = 0.0)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType& x = matrices(c);
        return {shaped(x, {cols_of(x.shape), rows_of(x.shape)})};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& x = c.input(0);
        for_matrices(x, [&]<class T>(T, int64_t b) {
          Matrix<T> u(0, 0), vh(0, 0), y(x.size(-1), x.size(-2));
          std::vector<double> s;
          kernels::svd(load<T>(x, b), false, u, s, vh);
          double least = s.empty() ? 0 : std::max(c.attr(0).to_double(), c.attr(1).to_double() * s[0]);
          Matrix<T> v = kernels::adjoint(vh), uh = kernels::adjoint(u);
          for (int64_t k = 0; k < static_cast<int64_t>(s.size()) && s[static_cast<size_t>(k)] > least; ++k)
            for (int64_t i = 0; i < y.rows; ++i)
              for (int64_t j = 0; j < y.cols; ++j) y(i, j) += v(i, k) * uh(k, j) / s[static_cast<size_t>(k)];
          store(y.elements, out[0], b);
        });
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            // For matrices of one rank (Golub, Pereyra 1973); the two projections are on what the matrix does not
            // reach.
            const Tensor &a = c.input(0), &p = c.output();
            Tensor gh = mh(c.grad()), ph = mh(p);
            auto rest = [](const Tensor& m) { return eye(m.size(-1), std::nullopt, m.dtype()) - m; };
            Tensor left = matmul(matmul(rest(matmul(a, p)), gh), matmul(p, ph));
            Tensor right = matmul(matmul(ph, p), matmul(gh, rest(matmul(p, a))));
            return {left + right - matmul(ph, matmul(c.grad(), ph))};
          },
          "input output")
      .axes("input[b.., m!, n!] -> output[b.., n!, m!]")
      .doc("The Moore-Penrose inverse; singular values up to max(atol, rtol times the largest) count as 0.");

  op("eig_parts(input) -> eigenvalues, eigenvectors")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType& x = square(c);
        DType t = complex_of(x.dtype);
        return {shaped(x, {rows_of(x.shape)}, t), shaped(x, {rows_of(x.shape), cols_of(x.shape)}, t)};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& x = c.input(0);
        for_matrices(x, [&]<class T>(T, int64_t b) {
          std::vector<Complex> values;
          Matrix<Complex> v(0, 0);
          SORUS_CHECK(kernels::eig(load<T>(x, b), values, v), Error,
                      "linalg.eig: the iteration did not end for matrix {}; are its elements finite?", b);
          store(values, out[0], b);
          store(v.elements, out[1], b);
        });
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Tensor &w = c.output(0), &v = c.output(1);
            Tensor middle, d = c.grad(0).defined() ? matrix_of(c.grad(0)) : Tensor();
            if (c.grad(1).defined()) {
              Tensor x = matmul(mh(v), c.grad(1));
              Tensor along = matmul(mh(v), v) * row(to(real_part(diagonal_of(x)), v.dtype()));
              middle = off_diagonal((x - along) / conj(gaps(w)));
            }
            middle = !middle.defined() ? d : d.defined() ? middle + d : middle;
            return {as_type_of(solution(mh(v), matmul(middle, mh(v)))[0], c.input(0))};
          },
          "eigenvalues eigenvectors")
      .axes("input[b.., m!, n!] -> eigenvalues[b.., n!], eigenvectors[b.., m!, n!]")
      .doc("Eigenvalues and eigenvectors (columns of length 1) of any square matrix, both complex.");
  return true;
}();

}  // namespace
}  // namespace sorus
