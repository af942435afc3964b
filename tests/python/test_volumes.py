"""Convolution and pooling of volumes against sums written out; what else nn.functional makes of several operators."""

import itertools
import math

import numpy as np
import pytest
from sorus.autograd import gradcheck

import sorus
from sorus.nn import functional as F


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def convolved(x, w, stride, padding, dilation, groups):
    x = np.pad(x, [(0, 0), (0, 0)] + [(p, p) for p in padding])
    out, per_group = w.shape[0], w.shape[1]
    size = [(n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip(x.shape[2:], w.shape[2:], stride, dilation, strict=True)]  # fmt: skip
    y = np.zeros((x.shape[0], out, *size))
    for o in range(out):
        first = o // (out // groups) * per_group
        for tap in itertools.product(*map(range, w.shape[2:])):
            cut = tuple(slice(t * d, t * d + s * (n - 1) + 1, s)
                        for t, d, s, n in zip(tap, dilation, stride, size, strict=True))  # fmt: skip
            part = x[:, first : first + per_group][(slice(None), slice(None), *cut)]
            y[:, o] += np.einsum("nc...,c->n...", part, w[(o, slice(None), *tap)])
    return y


@pytest.mark.parametrize("stride, padding, dilation, groups",
                         [((1, 1, 1), (0, 0, 0), (1, 1, 1), 1), ((2, 1, 2), (1, 0, 1), (1, 2, 1), 2)])  # fmt: skip
def test_convolution(stride, padding, dilation, groups):
    x, w = draw(2, 4, 6, 7, 5), draw(4, 4 // groups, 3, 2, 3, seed=1)
    expected = convolved(x, w, stride, padding, dilation, groups)
    a, b, bias = sorus.tensor(x), sorus.tensor(w), sorus.tensor(draw(4, seed=2))
    y = F.conv3d(a, b, bias, stride, padding, dilation, groups)
    np.testing.assert_allclose(y.numpy(), expected + bias.numpy()[:, None, None, None], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(F.conv3d(a[0], b, None, stride, padding, dilation, groups).numpy(), expected[0],
                               rtol=1e-10, atol=1e-10)  # fmt: skip
    # The transpose is the gradient.
    a.requires_grad_()
    g = sorus.tensor(draw(*expected.shape, seed=3))
    (F.conv3d(a, b, None, stride, padding, dilation, groups) * g).sum().backward()
    back = [n - ((m - 1) * s - 2 * p + d * (k - 1) + 1) for n, m, s, p, d, k in
            zip(x.shape[2:], expected.shape[2:], stride, padding, dilation, w.shape[2:], strict=True)]  # fmt: skip
    z = F.conv_transpose3d(g, b, None, stride, padding, back, groups, dilation)
    np.testing.assert_allclose(z.numpy(), a.grad.numpy(), rtol=1e-10, atol=1e-10)


def test_convolution_keeps_the_size():
    x = sorus.tensor(draw(1, 2, 5, 4, 6))
    assert F.conv3d(x, sorus.tensor(draw(3, 2, 4, 3, 2)), padding="same").shape == (1, 3, 5, 4, 6)
    with pytest.raises(ValueError, match="padding='same' needs a stride of 1"):
        F.conv3d(x, sorus.tensor(draw(3, 2, 4, 3, 2)), stride=2, padding="same")
    with pytest.raises(ValueError, match="input has size 2 in dimension 1, expected 3"):
        F.conv3d(x, sorus.tensor(draw(3, 3, 1, 1, 1)))


def test_pooling():
    x = draw(2, 3, 6, 4, 8)
    windows = x.reshape(2, 3, 3, 2, 2, 2, 4, 2)
    a = sorus.tensor(x)
    y, places = F.max_pool3d(a, 2, return_indices=True)
    np.testing.assert_array_equal(y.numpy(), windows.max((3, 5, 7)))
    np.testing.assert_array_equal(a.reshape(2, 3, -1).gather(2, places.reshape(2, 3, -1)).numpy(),
                                  y.reshape(2, 3, -1).numpy())  # fmt: skip
    again = F.max_unpool3d(y, places, 2)
    np.testing.assert_array_equal(F.max_pool3d(again.abs(), 2).numpy(), y.abs().numpy())
    np.testing.assert_allclose(F.avg_pool3d(a, 2).numpy(), windows.mean((3, 5, 7)))
    np.testing.assert_allclose(F.avg_pool3d(a, 2, divisor_override=3).numpy(), windows.sum((3, 5, 7)) / 3)
    np.testing.assert_allclose(F.adaptive_avg_pool3d(a, (3, 2, 4)).numpy(), windows.mean((3, 5, 7)))
    corner = F.avg_pool3d(sorus.ones(1, 1, 2, 2, 2), 3, padding=1, count_include_pad=False)
    np.testing.assert_allclose(corner.numpy(), np.ones((1, 1, 1, 1, 1)))
    assert F.avg_pool3d(sorus.ones(1, 2, 2, 2, dtype=sorus.int64), 2).dtype is sorus.int64
    assert gradcheck(lambda t: F.max_pool3d(t, 2, 1), (sorus.tensor(x[:1, :1, :3], requires_grad=True),))


def ways(log_probs, target, blank=0):
    """Minus the logarithm of the probability of a target, over all sequences of labels."""
    total = -math.inf
    for path in itertools.product(range(log_probs.shape[1]), repeat=log_probs.shape[0]):
        if [c for c, _ in itertools.groupby(path) if c != blank] == list(target):
            total = np.logaddexp(total, sum(log_probs[t, c] for t, c in enumerate(path)))
    return -total


def test_ctc_loss():
    x = sorus.tensor(draw(4, 3, 3)).log_softmax(-1)
    targets, lengths, steps = [[1, 2], [1, 1], [2, 0]], [2, 2, 1], [4, 4, 3]
    expected = [ways(x.numpy()[: steps[i], i], targets[i][: lengths[i]]) for i in range(3)]
    padded = sorus.tensor(targets)
    y = F.ctc_loss(x, padded, steps, lengths, reduction="none")
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-10)
    flat = sorus.tensor([1, 2, 1, 1, 2])
    np.testing.assert_allclose(F.ctc_loss(x, flat, steps, lengths, reduction="sum").item(), sum(expected))
    mean = np.mean([e / n for e, n in zip(expected, lengths, strict=True)])
    np.testing.assert_allclose(F.ctc_loss(x, padded, sorus.tensor(steps), sorus.tensor(lengths)).item(), mean)
    assert gradcheck(lambda t: F.ctc_loss(t, padded, steps, lengths), (x.detach().requires_grad_(),))
    short = F.ctc_loss(x, padded, [1, 1, 1], lengths, reduction="none")  # two labels in one step
    assert short.tolist()[:2] == [math.inf, math.inf]
    assert F.ctc_loss(x, padded, [1, 1, 1], lengths, reduction="none", zero_infinity=True).tolist()[:2] == [0, 0]
    with pytest.raises(RuntimeError, match=r"input lengths \[5\] must be within the 4 steps"):
        F.ctc_loss(x[:, :1], padded[:1], [5], [2])


def test_distances_and_margins():
    x = draw(4, 3)
    expected = [np.abs(x[i] - x[j]).sum() for i in range(4) for j in range(i + 1, 4)]
    np.testing.assert_allclose(F.pdist(sorus.tensor(x), 1).numpy(), expected)
    scores, labels = np.array([0.1, 0.2, 0.4, 0.8]), [3, 0, -1, 1]
    expected = sum(max(0, 1 - (scores[y] - scores[i])) for y in (3, 0) for i in (1, 2)) / 4
    loss = F.multilabel_margin_loss(sorus.tensor(scores), sorus.tensor(labels))
    np.testing.assert_allclose(loss.item(), expected)


def test_attention_with_a_mask_in_half_types():
    q, k, v = (sorus.tensor(9 * draw(1, 2, 5, 8, seed=i)) for i in range(3))
    mask = sorus.ones(5, 5, dtype=sorus.bool).tril()
    half = [t.to(sorus.bfloat16) for t in (q, k, v)]
    wide = [t.to(sorus.float64) for t in half]
    exact = F.scaled_dot_product_attention(wide[0], wide[1], wide[2], mask)
    y = F.scaled_dot_product_attention(half[0], half[1], half[2], mask)
    assert y.dtype is sorus.bfloat16
    np.testing.assert_allclose(y.to(sorus.float64).numpy(), exact.numpy(), atol=0.15)
