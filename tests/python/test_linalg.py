"""sorus.linalg against NumPy, and its gradients against finite differences."""

import numpy as np
import pytest
from sorus.autograd import gradcheck

import sorus
from sorus import linalg

REAL, COMPLEX = sorus.float64, sorus.complex128


def draw(*shape, dtype=REAL, seed=0):
    r = np.random.default_rng(seed)
    x = r.standard_normal(shape)
    return sorus.tensor(x + 1j * r.standard_normal(shape) if dtype is COMPLEX else x)


def positive(n, dtype=REAL, batch=(2,)):
    x = draw(*batch, n, n, dtype=dtype)
    return x @ x.adjoint() + sorus.eye(n, dtype=dtype)


def close(a, b, tolerance=1e-9):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [REAL, COMPLEX])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 40])
def test_factorisations_give_the_matrix_back(dtype, n):
    a, p, one = draw(2, n, n, dtype=dtype), positive(n, dtype), np.eye(n)
    close(linalg.cholesky(p) @ linalg.cholesky(p).adjoint(), p)
    close(linalg.cholesky(p, upper=True).adjoint() @ linalg.cholesky(p, upper=True), p)
    order, lower, upper = linalg.lu(a)
    close(order @ lower @ upper, a)
    q, r = linalg.qr(a)
    close(q @ r, a)
    close(q.adjoint() @ q, np.broadcast_to(one, (2, n, n)))
    close(r.tril(-1), np.zeros((2, n, n)))
    w, v = linalg.eigh(p)
    close(w, np.linalg.eigvalsh(p.numpy()), 1e-8)
    close(v @ (w.unsqueeze(-1) * v.adjoint()), p, 1e-8)
    u, s, vh = linalg.svd(a)
    close(s, np.linalg.svd(a.numpy(), compute_uv=False))
    close(u @ (s.unsqueeze(-1) * vh), a)
    w, v = linalg.eig(a)
    close(a.to(COMPLEX) @ v, v * w.unsqueeze(-2), 1e-8)


@pytest.mark.parametrize("dtype", [REAL, COMPLEX])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_matrices_that_are_not_square(dtype, shape):
    a = draw(2, *shape, dtype=dtype)
    for full in (True, False):
        u, s, vh = linalg.svd(a, full)
        k = min(shape)
        assert u.shape == (2, shape[0], shape[0] if full else k) and vh.shape == (
            2,
            shape[1] if full else k,
            shape[1],
        )
        close(u[..., :k] @ (s.unsqueeze(-1) * vh[..., :k, :]), a)
        close(u.adjoint() @ u, np.broadcast_to(np.eye(u.shape[-1]), (2, u.shape[-1], u.shape[-1])))
        close(vh @ vh.adjoint(), np.broadcast_to(np.eye(vh.shape[-2]), (2, vh.shape[-2], vh.shape[-2])))
    q, r = linalg.qr(a, "complete")
    assert q.shape == (2, shape[0], shape[0])
    close(q @ r, a)
    order, lower, upper = linalg.lu(a)
    close(order @ lower @ upper, a)
    close(linalg.pinv(a), np.linalg.pinv(a.numpy()))


@pytest.mark.parametrize("dtype", [REAL, COMPLEX])
def test_solutions(dtype):
    a, b = draw(2, 4, 4, dtype=dtype), draw(2, 4, 3, dtype=dtype, seed=1)
    close(linalg.solve(a, b), np.linalg.solve(a.numpy(), b.numpy()))
    close(linalg.solve(a, b.transpose(-2, -1), left=False) @ a, b.transpose(-2, -1))
    close(linalg.inv(a), np.linalg.inv(a.numpy()))
    close(linalg.det(a), np.linalg.det(a.numpy()))
    sign, size = linalg.slogdet(a)
    close(sign, np.linalg.slogdet(a.numpy())[0])
    close(size, np.linalg.slogdet(a.numpy())[1])
    factors = linalg.lu_factor(a)
    for adjoint in (False, True):
        close((a.adjoint() if adjoint else a) @ linalg.lu_solve(factors[0], factors[1], b, adjoint=adjoint), b)
    p = positive(4, dtype)
    close(p @ sorus.cholesky_solve(b, linalg.cholesky(p)), b)
    close(sorus.cholesky_inverse(linalg.cholesky(p)), np.linalg.inv(p.numpy()))
    close(linalg.solve_triangular(a, b, upper=True), np.linalg.solve(np.triu(a.numpy()), b.numpy()))
    close(linalg.matrix_power(a, 5), np.linalg.matrix_power(a.numpy(), 5), 1e-8)
    close(linalg.matrix_power(a, -2), np.linalg.matrix_power(a.numpy(), -2), 1e-8)
    tall = draw(6, 3, dtype=dtype)
    close(linalg.lstsq(tall, tall @ b[0, :3]).solution, b[0, :3])


def test_pairs_of_eigenvalues_begin_with_the_upper_half():
    w = linalg.eigvals(draw(20, 6, 6)).numpy()
    pairs = np.argwhere(w.imag != 0)  # real ones are real to the bit
    assert 0 < len(pairs) < w.size
    for (row, first), (_, second) in zip(pairs[::2], pairs[1::2], strict=True):
        assert w[row, first].imag > 0
        assert w[row, first] == w[row, second].conj()
    a = draw(6, 6)
    close(linalg.eigvals(a), np.linalg.eigvals(a.numpy()), 1e-9)  # in LAPACK's order


@pytest.mark.parametrize("matrix", [
    [[0, 0], [1, 0]], [[2, 0, 0], [1, 2, 0], [1, 1, 2]], [[0, 1], [-1, 0]], [[1, 1], [1, 1]],
    [[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], [[1e200, 1], [1, -1e200]], [[0, 0], [0, 0]], [[3]],
])  # fmt: skip
def test_eigenvalues_of_matrices_without_a_basis_of_eigenvectors(matrix):
    a = np.array(matrix, dtype=float)
    w, v = (x.numpy() for x in linalg.eig(sorus.tensor(a)))
    close((np.abs(v) ** 2).sum(0), np.ones(len(a)), 1e-9)
    close(a @ v / np.abs(a).max(initial=1), v * w / np.abs(a).max(initial=1), 1e-9)


def test_matrix_exponential():
    theta = 0.7
    turn = sorus.tensor([[0.0, -theta], [theta, 0.0]], dtype=REAL)
    close(sorus.matrix_exp(turn), [[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]], 1e-13)
    close(sorus.matrix_exp(turn * 50), [[np.cos(35), -np.sin(35)], [np.sin(35), np.cos(35)]], 1e-12)


@pytest.mark.parametrize("ord", ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
def test_norms(ord):
    a = draw(3, 4, 5)
    expected = [np.linalg.norm(m, ord) for m in a.numpy()]
    close(linalg.matrix_norm(a, ord), expected)
    close(linalg.norm(a[0], ord), expected[0])
    assert linalg.matrix_norm(a, ord, (0, 2), keepdim=True).shape == (1, 4, 1)
    close(linalg.cond(a[..., :4], ord), [np.linalg.cond(m, ord) for m in a[..., :4].numpy()], 1e-8)
    if isinstance(ord, str):
        close(a.norm(ord, (1, 2)), expected)


def test_rank_and_products():
    low = draw(5, 2) @ draw(2, 5, seed=1)
    assert linalg.matrix_rank(low).item() == 2 and linalg.matrix_rank(sorus.eye(3)).item() == 3
    close(low @ linalg.pinv(low) @ low, low)
    parts = [draw(2, 7), draw(7, 3, seed=1), draw(3, 5, seed=2), draw(5, seed=3)]
    close(linalg.multi_dot(parts), parts[0] @ parts[1] @ parts[2] @ parts[3])
    close(linalg.vander(sorus.tensor([2, 3]), N=4), [[1, 2, 4, 8], [1, 3, 9, 27]])
    a = draw(4, 6)
    assert linalg.tensorinv(a.reshape(4, 6)[:, :4].reshape(4, 2, 2), 1).shape == (2, 2, 4)


def test_tolerances_for_each_matrix():
    a = sorus.tensor([[[4.0, 0], [0, 1]], [[4, 0], [0, 3]]], dtype=REAL)
    expected = [[[0.25, 0], [0, 0]], [[0.25, 0], [0, 1 / 3]]]
    close(linalg.pinv(a, rtol=0.5), expected)
    close(linalg.pinv(a, atol=sorus.tensor([2.0, 1.0])), expected)
    assert linalg.pinv(a[:0], rtol=sorus.tensor(1.0)).shape == (0, 2, 2)
    close(linalg.pinv(a[0], rtol=sorus.tensor(1.0)), np.zeros((2, 2)))  # none is above the largest
    assert linalg.matrix_rank(a, rtol=0.5).tolist() == [1, 2]


def check(f, *inputs):
    assert gradcheck(f, tuple(x.detach().requires_grad_() for x in inputs))


def test_gradients():
    a, b, p = draw(2, 3, 3), draw(2, 3, 2, seed=1), positive(3)
    wide = draw(2, 3, 5, seed=4)
    check(lambda x: linalg.cholesky((x + x.adjoint()) / 2), p)
    check(lambda x: linalg.eigvalsh(x + x.adjoint()), a)
    check(lambda x: linalg.eigh(x + x.adjoint()).eigenvectors.abs(), a)
    check(lambda x: [y.abs() for y in linalg.svd(x, False)], wide)
    check(lambda x: [y.abs() for y in linalg.svd(x, False)], wide.transpose(1, 2))
    check(lambda x: linalg.qr(x), a)
    check(lambda x: linalg.qr(x), wide)
    check(lambda x: linalg.qr(x), wide.transpose(1, 2))
    check(lambda x: linalg.lu(x)[1:], a)
    check(linalg.solve, a, b)
    check(linalg.inv, a)
    check(linalg.det, a)
    check(lambda x: linalg.slogdet(x).logabsdet, a)
    check(linalg.pinv, wide)
    check(sorus.matrix_exp, a)
    check(lambda x: [y.abs() for y in linalg.eig(x)], a)
    check(lambda x: linalg.matrix_norm(x, "nuc"), wide)
    check(lambda x: linalg.pinv(x @ x[..., :2, :].transpose(-2, -1) @ x[..., :2, :]), wide)  # of rank 2


def test_gradients_of_gradients():
    def slope(f):
        def g(x):
            (y,) = sorus.autograd.grad(f(x), x, create_graph=True)
            return y

        return g

    a, p = draw(3, 3), positive(3, batch=())
    check(slope(lambda x: linalg.cholesky((x + x.adjoint()) / 2).sum()), p)
    check(slope(lambda x: linalg.eigvalsh(x + x.adjoint()).pow(3).sum()), a)
    check(slope(lambda x: linalg.svdvals(x).pow(3).sum()), a)
    check(slope(lambda x: linalg.inv(x).sum()), a)
    check(slope(lambda x: linalg.slogdet(x).logabsdet), a)
    check(slope(lambda x: linalg.qr(x).R.square().sum()), a)


def test_complex_gradients():
    """Of real functions of the two parts of complex matrices."""
    re, im = draw(3, 3), draw(3, 3, seed=1)
    i = sorus.tensor(1j, dtype=COMPLEX)

    def of(f):
        return lambda x, y: f(x.to(COMPLEX) + y.to(COMPLEX) * i)

    check(of(lambda x: linalg.cholesky(x @ x.adjoint()).abs()), re, im)
    check(of(lambda x: linalg.eigh(x + x.adjoint()).eigenvectors.abs()), re, im)
    check(of(lambda x: linalg.svdvals(x)), re, im)
    check(of(lambda x: [y.abs() for y in linalg.qr(x)]), re, im)
    check(of(lambda x: linalg.slogdet(x).sign.real), re, im)
    check(of(lambda x: linalg.det(x).abs()), re, im)
    check(of(lambda x: linalg.eig(x).eigenvalues.abs()), re, im)

    def part(x):
        u, _, vh = linalg.svd(x, False)
        return (u[:, :1] @ vh[:1]).abs()  # does not depend on the phases of the vectors

    check(of(part), re, im)


def test_errors_name_the_matrix():
    bad = sorus.eye(3).expand(2, 3, 3).clone()
    bad[1, 2, 2] = -1
    with pytest.raises(linalg.LinAlgError, match=r"batch element 1\): the leading minor of order 3"):
        linalg.cholesky(bad)
    assert linalg.cholesky_ex(bad).info.tolist() == [0, 3]
    with pytest.raises(linalg.LinAlgError, match="singular, pivot 2 is 0"):
        linalg.solve(sorus.ones(2, 2), sorus.ones(2))
    with pytest.raises(linalg.LinAlgError, match="singular"):
        linalg.inv(sorus.zeros(2, 2))
    with pytest.raises(RuntimeError, match="expected square matrices, got shape"):
        linalg.det(sorus.ones(2, 3))
    with pytest.raises(TypeError, match="expected float32, float64 or complex"):
        linalg.det(sorus.ones(2, 2, dtype=sorus.int64))
    with pytest.raises(RuntimeError, match="mode must be"):
        linalg.qr(sorus.ones(2, 2), "half")
    with pytest.raises(RuntimeError, match="ord must be"):
        linalg.matrix_norm(sorus.ones(2, 2), 3)


@pytest.mark.parametrize("dtype", [REAL, COMPLEX])
@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_factors_of_matrices_that_are_not_definite(dtype, hermitian, n):
    a = draw(3, n, n, dtype=dtype)
    lower, turned = a.tril(-1), a.tril(-1).mH if hermitian else a.tril(-1).mT
    middle = a.diagonal(dim1=-2, dim2=-1).diag_embed()
    whole = lower + turned + (middle.real.to(dtype) if hermitian and dtype is COMPLEX else middle)
    whole[0].diagonal().zero_()  # each pivot is a block of two, or the matrix is singular
    b = draw(3, n, 2, dtype=dtype)
    made = linalg.ldl_factor_ex(whole, hermitian=hermitian)
    assert made.pivots.dtype is sorus.int32 and made.info.tolist() == [n % 2 if n == 1 else 0, 0, 0]
    assert not bool(made.LD.triu(1).any()) and (n == 1 or bool((made.pivots[0] < 0).any()))
    x = linalg.ldl_solve(made.LD, made.pivots, b, hermitian=hermitian)
    close((whole @ x)[1:], b[1:], 1e-8)
    if n > 1:
        close((whole @ x)[0], b[0], 1e-8)
        close(linalg.ldl_solve(made.LD[1], made.pivots[1], b, hermitian=hermitian)[1], x[1])
    with pytest.raises(linalg.LinAlgError, match=r"ldl_factor \(batch element 1\): block 2 of D is 0"):
        linalg.ldl_factor_ex(sorus.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]), check_errors=True)
    with pytest.raises(RuntimeError, match="do not fit"):
        linalg.ldl_solve(made.LD, made.pivots, b[:, :0])


@pytest.mark.parametrize("shape", [(9, 6), (2, 5, 12)])
def test_parts_of_low_rank(shape):
    a = draw(*shape[:-1], 3) @ draw(*shape[:-2], 3, shape[-1], seed=1)
    u, s, v = sorus.svd_lowrank(a, q=4)
    close(u @ s.diag_embed() @ v.mT, a, 1e-9)
    close(s[..., :3], linalg.svdvals(a)[..., :3], 1e-9)
    away = a - a.mean(-2, keepdim=True)
    close(sorus.pca_lowrank(a, q=3).S, linalg.svdvals(away)[..., :3], 1e-9)
    close(sorus.svd_lowrank(a, 3, M=a * 0.5).S, s[..., :3] / 2, 1e-9)
    with pytest.raises(ValueError, match="q must be between 0 and"):
        sorus.svd_lowrank(a, q=20)
