// Eigenvalues of real matrices in real arithmetic (factor.h): real ones are real to the last bit, the others come in
// exact pairs, in the order in which Francis's double steps find them, which is that of LAPACK.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

#include "sorus/kernels/factor.h"

namespace sorus::kernels {
namespace {

using Complex = std::complex<double>;
constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
constexpr double kTiny = std::numeric_limits<double>::min() / kEpsilon;

// a = z t z^T with z orthogonal and t triangular but for blocks of two, whose eigenvalues are conjugate.
class RealSchur {
 public:
  explicit RealSchur(Matrix<double> a) : n_(a.rows), t_(std::move(a)), z_(identity<double>(n_)) {}

  bool run() {
    for (double x : t_.elements)
      if (!std::isfinite(x)) return false;
    hessenberg();
    int64_t last = n_ - 1;
    for (int since = 0, rounds = 0; last > 0; ++since, ++rounds) {
      if (rounds > 60 * n_) return false;
      int64_t first = start_of_block(last);
      if (first > 0) t_(first, first - 1) = 0;
      if (first >= last - 1) {
        if (first == last - 1) split_pair(first);
        last = first - 1;
        since = 0;
        continue;
      }
      step(first, last, since);
    }
    return true;
  }

  const Matrix<double>& triangle() const { return t_; }
  const Matrix<double>& basis() const { return z_; }
  bool begins_pair(int64_t k) const { return k + 1 < n_ && t_(k + 1, k) != 0; }
  /// The eigenvalue at a place that begins a pair is the one in the upper half of the plane.
  Complex value(int64_t k) const {
    return begins_pair(k) ? Complex(t_(k, k), std::sqrt(std::abs(t_(k, k + 1))) * std::sqrt(std::abs(t_(k + 1, k))))
                          : Complex(t_(k, k));
  }

 private:
  // I - tau v v^T with v[0] = 1 takes x to a multiple of the first unit vector; x becomes v, but x[0] that multiple.
  static double reflector(std::span<double> x) {
    double rest = 0;
    for (size_t i = 1; i < x.size(); ++i) rest = std::hypot(rest, x[i]);
    if (rest == 0) return 0;
    double length = -std::copysign(std::hypot(x[0], rest), x[0]), tau = (length - x[0]) / length;
    for (size_t i = 1; i < x.size(); ++i) x[i] /= x[0] - length;
    x[0] = length;
    return tau;
  }

  // Rows (columns) from `at` on are reflected, in the columns (rows) [begin, end).
  static void reflect_rows(Matrix<double>& m, std::span<const double> v, double tau, int64_t at, int64_t begin,
                           int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      double sum = m(at, j);
      for (size_t i = 1; i < v.size(); ++i) sum += v[i] * m(at + static_cast<int64_t>(i), j);
      m(at, j) -= tau * sum;
      for (size_t i = 1; i < v.size(); ++i) m(at + static_cast<int64_t>(i), j) -= tau * sum * v[i];
    }
  }
  static void reflect_columns(Matrix<double>& m, std::span<const double> v, double tau, int64_t at, int64_t begin,
                              int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double* row = m.row(i) + at;
      double sum = row[0];
      for (size_t j = 1; j < v.size(); ++j) sum += v[j] * row[j];
      row[0] -= tau * sum;
      for (size_t j = 1; j < v.size(); ++j) row[j] -= tau * sum * v[j];
    }
  }

  void hessenberg() {
    std::vector<double> v;
    for (int64_t k = 0; k + 2 < n_; ++k) {
      v.clear();
      for (int64_t i = k + 1; i < n_; ++i) v.push_back(t_(i, k));
      double tau = reflector(v);
      for (int64_t i = k + 1; i < n_; ++i) t_(i, k) = i == k + 1 ? v[0] : 0;
      reflect_rows(t_, v, tau, k + 1, k + 1, n_);
      reflect_columns(t_, v, tau, k + 1, 0, n_);
      reflect_columns(z_, v, tau, k + 1, 0, n_);
    }
  }

  // Where the block that ends at `last` begins: above it the element below the diagonal is as good as 0, by the
  // criterion of Ahues and Tisseur (LAPACK working note 122), which looks at the neighbours too.
  int64_t start_of_block(int64_t last) const {
    for (int64_t k = last; k > 0; --k) {
      double below = std::abs(t_(k, k - 1));
      if (below <= kTiny) return k;
      double around = std::abs(t_(k - 1, k - 1)) + std::abs(t_(k, k));
      if (around == 0) {
        if (k > 1) around += std::abs(t_(k - 1, k - 2));
        if (k < n_ - 1) around += std::abs(t_(k + 1, k));
      }
      if (below > kEpsilon * around) continue;
      double above = std::abs(t_(k - 1, k)), here = std::abs(t_(k, k)), gap = std::abs(t_(k - 1, k - 1) - t_(k, k));
      double more = std::max(below, above), less = std::min(below, above);
      double large = std::max(here, gap), small = std::min(here, gap), sum = large + more;
      if (less * (more / sum) <= std::max(kTiny, kEpsilon * (small * (large / sum)))) return k;
    }
    return 0;
  }

  // The shifts: eigenvalues of the last two rows, or something else every tenth time, out of a circle.
  std::array<Complex, 2> shifts(int64_t first, int64_t last, int since) const {
    double a = t_(last - 1, last - 1), b = t_(last - 1, last), c = t_(last, last - 1), d = t_(last, last);
    if (since > 0 && since % 10 == 0) {
      bool at_start = since % 20 == 10;
      int64_t at = at_start ? first : last - 2;
      double size = std::abs(t_(at + 1, at)) + std::abs(t_(at + 2, at + 1));
      a = d = 0.75 * size + (at_start ? t_(first, first) : t_(last, last));
      b = -0.4375 * size;
      c = size;
    }
    double size = std::abs(a) + std::abs(b) + std::abs(c) + std::abs(d);
    if (size == 0) return {};
    double middle = (a + d) / (2 * size), det = (a / size - middle) * (d / size - middle) - b / size * (c / size);
    double root = std::sqrt(std::abs(det));
    if (det >= 0) return {Complex(middle, root) * size, Complex(middle, -root) * size};
    double one = (middle + root) * size, other = (middle - root) * size;
    double near = std::abs(one - d) <= std::abs(other - d) ? one : other;
    return {near, near};
  }

  // One double step on the block, which begins where two small elements below the diagonal follow each other.
  void step(int64_t first, int64_t last, int since) {
    auto [p, q] = shifts(first, last, since);
    std::array<double, 3> v{};
    int64_t begin = last - 2;
    for (;; --begin) {
      double a = t_(begin, begin), below = t_(begin + 1, begin), next = t_(begin + 1, begin + 1);
      double size = std::abs(a - q.real()) + std::abs(q.imag()) + std::abs(below), part = below / size;
      v = {part * t_(begin, begin + 1) + (a - p.real()) * ((a - q.real()) / size) - p.imag() * (q.imag() / size),
           part * (a + next - p.real() - q.real()), part * t_(begin + 2, begin + 1)};
      double sum = std::abs(v[0]) + std::abs(v[1]) + std::abs(v[2]);
      for (double& x : v) x /= sum;
      if (begin == first) break;
      double around = std::abs(t_(begin - 1, begin - 1)) + std::abs(a) + std::abs(next);
      if (std::abs(t_(begin, begin - 1)) * (std::abs(v[1]) + std::abs(v[2])) <= kEpsilon * std::abs(v[0]) * around)
        break;
    }
    for (int64_t k = begin; k < last; ++k) {
      size_t rows = static_cast<size_t>(std::min<int64_t>(3, last - k + 1));
      if (k > begin)
        for (size_t i = 0; i < rows; ++i) v[i] = t_(k + static_cast<int64_t>(i), k - 1);
      std::span<double> part(v.data(), rows);
      double tau = reflector(part);
      if (k > begin)
        for (size_t i = 0; i < rows; ++i) t_(k + static_cast<int64_t>(i), k - 1) = i == 0 ? v[0] : 0;
      else if (begin > first)
        t_(k, k - 1) *= 1 - tau;
      reflect_rows(t_, part, tau, k, k, n_);
      reflect_columns(t_, part, tau, k, 0, std::min(k + 4, last + 1));
      reflect_columns(z_, part, tau, k, 0, n_);
    }
  }

  // A block of two is made triangular if its eigenvalues are real, else of equal elements on the diagonal.
  void split_pair(int64_t k) {
    double a = t_(k, k), b = t_(k, k + 1), c = t_(k + 1, k), d = t_(k + 1, k + 1);
    if (c == 0) return;
    double half = (a - d) / 2, scale = std::max({std::abs(half), std::abs(b), std::abs(c)});
    double discriminant = half / scale * half + b / scale * c;  // over scale
    if (discriminant >= 4 * kEpsilon * scale || (discriminant >= 0 && b != 0 && half == 0 && (b > 0) == (c > 0))) {
      double root = half + std::copysign(std::sqrt(scale) * std::sqrt(discriminant), half);  // the larger one, less d
      turn(k, root, c);
      t_(k + 1, k) = 0;
      t_(k, k) = d + root;
      t_(k + 1, k + 1) = d - b / root * c;
      return;
    }
    double sum = b + c, size = std::hypot(sum, 2 * half);
    if (half != 0) {
      // The rotation by an angle with tan(2 angle) = -2 half / sum makes the diagonal equal.
      double cosine = std::sqrt((1 + std::abs(sum) / size) / 2);
      turn(k, cosine, -half / (size * cosine) * (sum < 0 ? -1 : 1));
    }
    double middle = (t_(k, k) + t_(k + 1, k + 1)) / 2;
    t_(k, k) = t_(k + 1, k + 1) = middle;
    double above = t_(k, k + 1), below = t_(k + 1, k);
    if (below == 0 || (above != 0 && (above > 0) != (below > 0))) return;
    // Two numbers that are equal, or nearly so, are real after all.
    turn(k, std::sqrt(std::abs(above)), std::copysign(std::sqrt(std::abs(below)), below));
    t_(k + 1, k) = 0;
  }

  // Rows and columns k and k + 1 are turned so that (x, y) becomes a multiple of the first.
  void turn(int64_t k, double x, double y) {
    double r = std::hypot(x, y), c = x / r, s = y / r;
    auto both = [&](double& f, double& g) {
      double h = c * f + s * g;
      g = c * g - s * f;
      f = h;
    };
    for (int64_t j = k; j < n_; ++j) both(t_(k, j), t_(k + 1, j));
    for (int64_t i = 0; i < std::min(k + 2, n_); ++i) both(t_(i, k), t_(i, k + 1));
    for (int64_t i = 0; i < n_; ++i) both(z_(i, k), z_(i, k + 1));
  }

  int64_t n_;
  Matrix<double> t_, z_;
};

// x with (t - value) x = 0 from the eigenvalue's place upwards: blocks of one or two are solved one after the other.
std::vector<Complex> triangle_vector(const RealSchur& schur, int64_t k, Complex value, double least) {
  const Matrix<double>& t = schur.triangle();
  std::vector<Complex> x(static_cast<size_t>(t.rows));
  auto X = [&](int64_t i) -> Complex& { return x[static_cast<size_t>(i)]; };
  int64_t end = k + 1;
  X(k) = 1;
  if (schur.begins_pair(k)) {
    double above = t(k, k + 1);
    bool wide = std::abs(above) >= std::abs(t(k + 1, k));
    X(k) = wide ? 1.0 : above / value.imag();
    X(k + 1) = Complex(0, wide ? value.imag() / above : 1.0);
    end = k + 2;
  }
  auto right = [&](int64_t i) {
    Complex sum = 0;
    for (int64_t j = k; j < end; ++j) sum -= t(i, j) * X(j);
    return sum;
  };
  std::vector<Complex> b(static_cast<size_t>(k));
  for (int64_t i = 0; i < k; ++i) b[static_cast<size_t>(i)] = right(i);
  for (int64_t i = k - 1; i >= 0; --i) {
    bool pair = i > 0 && schur.begins_pair(i - 1);
    if (pair) {
      Complex p = t(i - 1, i - 1) - value, q = t(i, i) - value, det = p * q - t(i - 1, i) * t(i, i - 1);
      if (std::abs(det) < least * least) det = least * least;
      Complex f = b[static_cast<size_t>(i - 1)], g = b[static_cast<size_t>(i)];
      X(i - 1) = (q * f - t(i - 1, i) * g) / det;
      X(i) = (p * g - t(i, i - 1) * f) / det;
    } else {
      Complex gap = t(i, i) - value;
      X(i) = b[static_cast<size_t>(i)] / (std::abs(gap) < least ? Complex(least) : gap);
    }
    int64_t top = pair ? i - 1 : i;
    for (int64_t r = 0; r < top; ++r)
      for (int64_t j = top; j <= i; ++j) b[static_cast<size_t>(r)] -= t(r, j) * X(j);
    i = top;
  }
  return x;
}

}  // namespace

bool eig(Matrix<double> a, std::vector<Complex>& values, Matrix<Complex>& v) {
  int64_t n = a.rows;
  double whole = 0;
  for (double x : a.elements) whole = std::max(whole, std::abs(x));
  RealSchur schur(std::move(a));
  if (!schur.run()) return false;
  const Matrix<double>& z = schur.basis();
  double least = std::max(whole * kEpsilon, std::numeric_limits<double>::min());
  values.assign(static_cast<size_t>(n), 0);
  v = Matrix<Complex>(n, n);
  for (int64_t k = 0; k < n; ++k) {
    Complex value = values[static_cast<size_t>(k)] = schur.value(k);
    std::vector<Complex> x = triangle_vector(schur, k, value, least);
    double size = 0, largest = -1;
    Complex phase = 1;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) v(i, k) += z(i, j) * x[static_cast<size_t>(j)];
      double length = std::norm(v(i, k));
      size += length;
      if (length > largest) largest = length, phase = v(i, k);
    }
    bool pair = schur.begins_pair(k);
    // Of a pair the largest element is made real, without a change of sign, as LAPACK does.
    Complex turned = std::conj(phase) / std::copysign(std::abs(phase), phase.real());
    Complex unit = (pair ? turned : Complex(1)) / std::sqrt(size);
    for (int64_t i = 0; i < n; ++i) v(i, k) *= unit;
    if (!pair) continue;
    values[static_cast<size_t>(k + 1)] = std::conj(value);
    for (int64_t i = 0; i < n; ++i) v(i, k + 1) = std::conj(v(i, k));
    ++k;
  }
  return true;
}

}  // namespace sorus::kernels
