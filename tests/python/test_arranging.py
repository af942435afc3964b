"""Functions of sorus._arranging beside NumPy's, and the operators that a comparison with PyTorch found wrong."""

import numpy as np
import pytest

import sorus

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def close(found, wanted):
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=2e-5, atol=1e-6)


def test_values_are_numpys():
    x = sorus.tensor(X)
    for k in range(-1, 4):
        close(sorus.rot90(x, k), np.rot90(X, k))
    close(sorus.cov(x), np.cov(X))
    close(sorus.cov(x[0]), np.cov(X[0]))
    f, a = np.array([1, 2, 1, 3]), np.array([0.5, 1.0, 2.0, 1.0])
    close(sorus.cov(x, fweights=sorus.tensor(f), aweights=sorus.tensor(a)), np.cov(X, fweights=f, aweights=a))
    close(sorus.corrcoef(x), np.corrcoef(X))
    close(sorus.trapezoid(x, dx=0.5), np.trapezoid(X, dx=0.5))
    close(sorus.trapezoid(x, x.cumsum(1)), np.trapezoid(X, np.cumsum(X, 1)))
    close(sorus.logaddexp2(x, x * 2), np.logaddexp2(X, X * 2))
    close(sorus.ldexp(x, sorus.tensor([1, 2, 3, 0])), X * np.array([2, 4, 8, 1]))
    close(sorus.diagflat(x[0], 1), np.diagflat(X[0], 1))
    assert sorus.block_diag(x, sorus.tensor(2.0), x[0]).shape == (5, 9)
    assert sorus.isreal(x).all() and (sorus.sgn(x) == x.sign()).all()


def test_parts_are_replaced_and_gradients_go_to_both():
    x, y = sorus.tensor(X, requires_grad=True), sorus.zeros(4, requires_grad=True)
    z = sorus.select_scatter(x, y, 0, 1)
    (z * 2).sum().backward()
    assert x.grad.tolist() == [[2.0] * 4, [0.0] * 4, [2.0] * 4] and y.grad.tolist() == [2.0] * 4
    assert sorus.slice_scatter(x, sorus.zeros(3, 2), 1, 0, 4, 2)[:, ::2].abs().sum() == 0
    with pytest.raises(RuntimeError, match=r"select_scatter: the part has the shape \(4,\), src \(3,\)"):
        sorus.select_scatter(x, sorus.zeros(3), 0, 1)


def test_an_index_named_twice_counts_once_in_the_gradient_of_the_value():
    x, v = sorus.zeros(2, 5, requires_grad=True), sorus.tensor(2.0, requires_grad=True)
    sorus.index_fill(x, -1, sorus.tensor([0, 1, 0]), v).sum().backward()
    assert v.grad == 4 and x.grad.tolist() == [[0.0, 0.0, 1.0, 1.0, 1.0]] * 2


def test_embedding_divides_the_gradient_by_how_often_a_row_is_named():
    w = sorus.tensor(X, requires_grad=True)
    rows = sorus.nn.functional.embedding(sorus.tensor([0, 2, 2]), w, scale_grad_by_freq=True)
    close(rows, X[[0, 2, 2]])
    rows.sum().backward()
    assert w.grad.tolist() == [[1.0] * 4, [0.0] * 4, [1.0] * 4]


def test_tensordot_sums_over_a_dimension_that_the_other_has_once():
    a, b = sorus.ones(1, 3), sorus.tensor(X)
    close(sorus.tensordot(a, b, ([0, 1], [1, 0])), X.sum())


def test_moments_of_everything_by_the_one_argument():
    x = sorus.tensor(X)
    close(sorus.var_mean(x, False)[0], X.var())
    close(sorus.std_mean(x, True)[0], X.std(ddof=1))


def test_cross_entropy_weighs_probabilities_and_smooths_them():
    logits = np.array([[0.5, -1.0, 2.0], [1.5, 0.0, -0.5]], np.float32)
    share = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], np.float32)
    weight = np.array([2.0, 0.5, 3.0], np.float32)
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    loss = sorus.nn.functional.cross_entropy
    x, w = sorus.tensor(logits, requires_grad=True), sorus.tensor(weight)
    smooth = share * 0.9 + 0.1 / 3
    each = -(logp * weight * smooth).sum(1)
    close(loss(x, sorus.tensor(share), w, reduction="none", label_smoothing=0.1), each)
    found = loss(x, sorus.tensor(share), w, label_smoothing=0.1)
    close(found, each.mean())
    found.backward()
    parts = weight * smooth / 2
    close(x.grad, np.exp(logp) * parts.sum(1, keepdims=True) - parts)
    # Of class indices the spread over all classes is weighed too, and an ignored sample counts nowhere.
    classes = np.array([2, 0])
    own, spread = -(weight * logp)[[0, 1], classes], -(weight * logp).mean(1)
    smoothed = 0.9 * own + 0.1 * spread
    close(loss(x, sorus.tensor(classes), w, label_smoothing=0.1), smoothed.sum() / weight[classes].sum())
    close(loss(x, sorus.tensor([2, -100]), w, label_smoothing=0.1), smoothed[0] / 3)
    with pytest.raises(ValueError, match=r"probabilities must have the same shape"):
        loss(x, sorus.tensor(share[:1]))
    with pytest.raises(ValueError, match=r"for 3 classes the weight must be \[3\]"):
        loss(x, sorus.tensor(share), w[:2])


def test_slices_are_ordered_as_numpy_orders_them():
    a = np.random.default_rng(1).integers(0, 2, (2, 2, 5))
    values, inverse, counts = sorus.unique(sorus.tensor(a), return_inverse=True, return_counts=True, dim=-1)
    wanted, places, times = np.unique(a, axis=-1, return_inverse=True, return_counts=True)
    assert (values.numpy() == wanted).all() and (inverse.numpy() == places.ravel()).all()
    assert (counts.numpy() == times).all()


def test_norms_of_half_types_keep_their_range():
    x = sorus.full((25,), 20.0, dtype=sorus.float16, requires_grad=True)  # the sum of powers is 4 million
    y = sorus.linalg.vector_norm(x, 4)
    y.backward()
    assert y.dtype is sorus.float16 and abs(y.item() - 20 * 25**0.25) < 0.05
    assert abs(x.grad.float() - 25**-0.75).max() < 1e-3


def test_the_gradient_of_a_norm_of_p_below_one_is_finite_at_zero():
    x = sorus.tensor([0.0, 4.0, -9.0], requires_grad=True)
    y = sorus.linalg.vector_norm(x, 0.5)  # (2 + 3)^2
    y.backward()
    close(y, 25.0)
    close(x.grad, [0.0, 5 / 2, -5 / 3])
    zero = sorus.zeros(3, requires_grad=True)
    sorus.linalg.vector_norm(zero, 0.5).backward()
    assert zero.grad.tolist() == [0.0] * 3


def test_edges_of_quantile_and_alpha_dropout():
    assert sorus.quantile(sorus.tensor(2.0), sorus.tensor([0.1, 0.5]), 0, True).tolist() == [2.0, 2.0]
    x = sorus.ones(4, requires_grad=True)
    y = sorus.nn.functional.alpha_dropout(x, 1.0, True)
    y.sum().backward()
    assert y.tolist() == x.grad.tolist() == [0.0] * 4
