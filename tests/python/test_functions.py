"""Functions of tensors against PyTorch where it is installed; what they refuse."""

import math

import numpy as np
import peers
import pytest

import sorus

FILES = [peers.ROOT / "tests" / "python" / "peer_cases" / f"{name}.py" for name in ("functions", "special")]
CASES = {(file, name): f for file in FILES for name, f in peers.load_cases(file).items()}


@pytest.mark.skipif(peers.peer_python() is None, reason="needs PyTorch (make bench installs it)")
@pytest.mark.parametrize("file, name", CASES, ids=[name for _, name in CASES])
def test_against_pytorch(file, name):
    ours, theirs = peers.flatten(CASES[file, name](sorus)), peers.peer_results(file)[name]
    assert ours.keys() == theirs.keys()
    problems = []
    for key, expected in theirs.items():
        found = ours[key]
        if expected.dtype.kind == "U":
            same = str(expected) == str(found)
        else:
            exact = expected.dtype.kind not in "fc"
            tolerance = 0 if exact else 1e-9 if expected.dtype == np.float64 else 2e-6
            same = (expected.dtype == found.dtype and expected.shape == found.shape
                    and np.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=not exact))  # fmt: skip
        if not same:
            problems.append(
                f"{key}: expected {expected.dtype} {expected.shape} {expected}, found {found.dtype} {found.shape} {found}"
            )
    assert not problems, "\n".join(problems)


def test_draws_have_the_right_shares():
    sorus.manual_seed(0)
    weights = sorus.tensor([0.0, 1.0, 3.0])
    counts = sorus.bincount(sorus.multinomial(weights, 20000, replacement=True), minlength=3)
    assert counts[0] == 0 and abs(counts[2].item() / 20000 - 0.75) < 0.02
    rows = sorus.multinomial(weights.expand(500, 3), 2)
    assert all(sorted(r) == [1, 2] for r in rows.tolist())
    assert sorted(sorus.randperm(100).tolist()) == list(range(100))
    assert abs(sorus.bernoulli(sorus.full((20000,), 0.3)).mean().item() - 0.3) < 0.02
    assert abs(sorus.empty(20000).exponential_(2.0).mean().item() - 0.5) < 0.02
    assert sorus.empty(1000, dtype=sorus.int64).random_(5).unique().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: sorus.multinomial(sorus.tensor([1.0, -1.0]), 1), "weights must be finite, not negative"),
    (lambda: sorus.multinomial(sorus.tensor([1.0, 0.0]), 2), "fewer than 2 weights above zero"),
    (lambda: sorus.flip(sorus.ones(2, 2), [0, 0]), "occurs twice"),
    (lambda: sorus.topk(sorus.ones(3), 4), "k must lie between 0 and 3"),
    (lambda: sorus.nn.functional.interpolate(sorus.ones(1, 1, 4), size=2, mode="bilinear"), "mode must be"),
    (lambda: sorus.nn.functional.interpolate(sorus.ones(1, 1, 4, 4), size=2, antialias=True), "for images and the modes"),
    (lambda: sorus.quantile(sorus.ones(3), 0.5, interpolation="odd"), "unknown interpolation 'odd'"),
    (lambda: sorus.split(sorus.ones(5), [2, 2]), "do not add up to 5"),
    (lambda: sorus.div(sorus.ones(1), 2, rounding_mode="up"), "rounding_mode"),
    (lambda: sorus.nn.functional.conv2d(sorus.ones(1, 1, 4, 4), sorus.ones(1, 1, 2, 2), stride=2, padding="same"), "stride of 1"),
    (lambda: sorus.ones(2, device="cuda"), "no device 'cuda'"),
    (lambda: sorus.tensor([1.0], device="cuda:0"), "no device 'cuda:0'"),
    (lambda: sorus.rand(2, device="cuda"), "no device 'cuda'"),
    (lambda: sorus.ones(2).cuda(), "no GPU"),
    (lambda: sorus.nn.functional.cross_entropy(sorus.ones(2, 3), sorus.tensor([5, 1])), "cross_entropy.* 5 "),
    (lambda: sorus.distributions.Categorical(), "either probs or logits"),
])  # fmt: skip
def test_errors(call, message):
    with pytest.raises((RuntimeError, ValueError, IndexError, NotImplementedError), match=message):
        call()


def test_limits_of_types():
    assert sorus.finfo(sorus.float16).max == 65504 and sorus.finfo(sorus.float32).eps == np.finfo(np.float32).eps
    assert sorus.iinfo(sorus.int64).max == 2**63 - 1 and sorus.iinfo(sorus.uint8).min == 0
    with pytest.raises(TypeError, match="iinfo is for integers"):
        sorus.finfo(sorus.int32)


def test_second_names_are_the_same_functions():
    x = sorus.tensor([-1.5, 2.0])
    assert sorus.equal(sorus.multiply(x, 2), x * 2) and sorus.equal(x.clip(max=1), x.clamp(max=1))
    assert sorus.equal(sorus.concat([x, x]), sorus.cat([x, x])) and sorus.equal(x.absolute(), x.abs())
    assert sorus.equal(sorus.linalg.vector_norm(x), x.norm())


def test_names_and_texts_of_types():
    x = sorus.ones(2)
    assert x.type() == "torch.FloatTensor" and x.type(sorus.float64).dtype is sorus.float64
    assert x.type("torch.LongTensor").dtype is sorus.int64
    with pytest.raises(ValueError, match=r"no type 'torch\.OddTensor'"):
        x.type("torch.OddTensor")


def test_types_of_truth_values_and_integers():
    yes = sorus.tensor([True, False])
    assert (yes + yes).dtype is sorus.bool and yes.add(yes, alpha=2).tolist() == [True, False]
    assert (yes + 1).dtype is sorus.int64
    assert yes.square().dtype is sorus.int64 and sorus.tensor([3], dtype=sorus.int16).square().dtype is sorus.int16
    assert yes.masked_fill(~yes, 10).tolist() == [True, True]
    assert sorus.tensor([1, 2]).masked_fill(yes, 2.7).tolist() == [2, 2]
    assert yes[:1].sum_to_size(()).dtype is yes[0].sum_to_size(()).dtype is sorus.int64
    assert sorus.addr(yes[0], yes, yes, beta=3, alpha=2).dtype is sorus.bool
    with pytest.raises(TypeError, match="masked_fill: a complex value does not fit"):
        sorus.ones(2).masked_fill(yes, 1j)
    x = sorus.tensor([[[1, 2], [3, 5]]])
    assert sorus.baddbmm(x, x, x, beta=0.5, alpha=2.9).tolist() == (2 * (x @ x)).tolist()
    for dtype in (sorus.int64, sorus.float32):
        assert sorus.nn.functional.avg_pool2d(x.to(dtype), 2).dtype is dtype
    assert sorus.nn.functional.avg_pool2d(-x, 2).tolist() == [[[-2]]]
    assert sorus.tanhshrink(sorus.tensor([0, 1])).dtype is sorus.float32


@pytest.mark.parametrize("dtype", ["bool", "int64", "float32", "complex64"])
def test_any_and_all_of_nothing(dtype):
    x = sorus.zeros(2, 0, dtype=getattr(sorus, dtype))
    assert not x.any() and x.all()
    assert x.any(1).tolist() == [False, False] and x.all(1).tolist() == [True, True]


def test_integers_between_fractions():
    assert sorus.arange(2.1, -2.9, -1.0, dtype=sorus.int64).tolist() == [2, 1, 0, -1]
    assert sorus.linspace(4.3, -3, 3, dtype=sorus.int64).tolist() == [4, 0, -3]
    assert sorus.logspace(1, 1.9, 3, dtype=sorus.int64).tolist() == [10, 10, 10]
    with pytest.raises(ValueError, match="step must not be 0"):
        sorus.arange(0, 3, 0.5, dtype=sorus.int64)


def test_a_tensor_is_a_tensor_before_it_is_a_number():
    x = sorus.tensor([3, 9])
    assert sorus.max(x, sorus.tensor(6)).tolist() == [6, 9]
    assert sorus.max(x, 0).values.item() == 9
    assert x.sum(sorus.tensor(0)).item() == 12  # where no overload has a tensor there


def test_complex_angles_and_conjugates():
    z = sorus.tensor([1 + 2j, -3j])
    assert z.angle().dtype is sorus.float32 and z.angle().tolist() == pytest.approx([1.1071487, -1.5707964])
    assert sorus.resolve_conj(z).tolist() == z.tolist()
    assert sorus.isreal(sorus.tensor([1j, 2 + 0j])).tolist() == [False, True]
    w = sorus.logaddexp(z, z.flip(0)).exp()
    np.testing.assert_allclose(w.numpy(), np.exp(z.numpy()) + np.exp(z.numpy()[::-1]), rtol=1e-5)


def test_running_products_with_zeros():
    x = sorus.tensor([2.0, 0.0, 3.0, 0.0], dtype=sorus.float64, requires_grad=True)
    y = x.cumprod(0)
    assert y.tolist() == [2, 0, 0, 0]
    y.sum().backward()
    assert x.grad.tolist() == [1, 2 * (1 + 3), 0, 0]
    assert sorus.autograd.gradcheck(lambda t: t.cumprod(0), (x,))
    assert sorus.tensor([True, True]).cumprod(0).dtype is sorus.int64


def test_running_logarithms_of_sums():
    x = sorus.tensor([-np.inf, 1000.0, 1000.0], requires_grad=True)
    y = sorus.logcumsumexp(x, 0)
    assert y.tolist() == pytest.approx([-np.inf, 1000, 1000 + np.log(2)])
    y[2].backward()
    assert x.grad.tolist() == pytest.approx([0, 0.5, 0.5], abs=1e-4)  # as exact as float32 is at 1000


def test_running_logarithms_of_complex_sums():
    z = sorus.tensor([1 + 3j, 2 - 3j, 0.5j], dtype=sorus.complex128)
    np.testing.assert_allclose(sorus.logcumsumexp(z, 0).exp().numpy(), np.cumsum(np.exp(z.numpy())), rtol=1e-12)
    parts = [t.requires_grad_() for t in (z.real.clone(), z.imag.clone())]
    i = sorus.tensor(1j, dtype=sorus.complex128)
    assert sorus.autograd.gradcheck(
        lambda x, y: sorus.logcumsumexp(x.to(sorus.complex128) + y.to(sorus.complex128) * i, 0).abs(), parts)  # fmt: skip


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize(
    "reduce, f", [("sum", np.sum), ("prod", np.prod), ("mean", np.mean), ("amax", np.max), ("amin", np.min)]
)
def test_scatter_reduce(reduce, f, include_self):
    x, src, index = np.array([2.0, 3.0, 5.0]), np.array([0.0, 7.0, -1.0, 0.0]), [0, 0, 2, 2]
    expected = []
    for k, own in enumerate(x):
        met = [s for s, i in zip(src, index, strict=True) if i == k]
        expected.append(f([*met, own] if include_self or not met else met))
    place = sorus.tensor(index)
    a, b = (sorus.tensor(v, dtype=sorus.float64, requires_grad=True) for v in (x, src))
    assert sorus.scatter_reduce(a, 0, place, b, reduce, include_self=include_self).tolist() == expected
    apart = sorus.tensor([0.25, 7.0, -1.0, 0.0], dtype=sorus.float64, requires_grad=True)  # no ties
    assert sorus.autograd.gradcheck(
        lambda u, v: sorus.scatter_reduce(u, 0, place, v, reduce, include_self=include_self), (a, apart))  # fmt: skip


def test_scatter_refuses_other_reductions():
    with pytest.raises(ValueError, match="reduce must be 'add' or 'multiply', not 'mean'"):
        sorus.zeros(3).scatter(0, sorus.tensor([1]), sorus.ones(1), reduce="mean")
    with pytest.raises(ValueError, match="'amax' or 'amin', not 'most'"):
        sorus.scatter_reduce(sorus.zeros(3), 0, sorus.tensor([1]), sorus.ones(1), "most")


def test_negative_norms_at_zero():
    x = sorus.zeros(3, requires_grad=True)
    y = sorus.linalg.vector_norm(x, -0.5)
    y.backward()
    assert y.item() == 0 and x.grad.tolist() == [0, 0, 0]


def test_special_functions():
    s, x = (
        sorus.special,
        sorus.tensor([-200.0, -31.0, -29.0, -1.0, 0.0, 3.0], dtype=sorus.float64, requires_grad=True),
    )
    share = [math.erfc(-v / math.sqrt(2)) / 2 for v in x.tolist()]
    assert s.ndtr(x).tolist() == pytest.approx(share, rel=1e-12)
    logs = [math.log(v) for v in share[1:]]
    assert s.log_ndtr(x).tolist()[1:] == pytest.approx(logs, rel=1e-9)
    assert s.log_ndtr(x).tolist()[0] == pytest.approx(-20000 - math.log(200 * math.sqrt(2 * math.pi)), rel=1e-8)
    assert sorus.autograd.gradcheck(s.log_ndtr, (x,))
    assert s.ndtri(s.ndtr(x[3:])).tolist() == pytest.approx([-1, 0, 3], abs=1e-12)
    assert s.entr(sorus.tensor([-1.0, 0.0, 2.0])).tolist() == pytest.approx([-math.inf, 0, -2 * math.log(2)])
    assert s.xlog1py(0, sorus.tensor([-1.0, math.nan])).tolist() == pytest.approx([0, math.nan], nan_ok=True)
    assert s.xlog1py(sorus.tensor(2.0), 1).item() == pytest.approx(2 * math.log(2))
    assert s.multigammaln(sorus.tensor(3.0), 2).item() == pytest.approx(
        math.log(math.pi) / 2 + math.lgamma(3) + math.lgamma(2.5))  # fmt: skip
    with pytest.raises(RuntimeError, match="p must be positive"):
        sorus.mvlgamma(sorus.ones(2), 0)


def test_special_functions_say_what_they_cannot():
    a, x = sorus.tensor([2.0], requires_grad=True), sorus.tensor([0.7], requires_grad=True)
    for f in (sorus.igamma, sorus.special.zeta):
        with pytest.raises(NotImplementedError, match="there is no gradient by 'input'"):
            f(a, x).sum().backward()
    # What PyTorch lacks: gradients of Bessel functions and polynomials, of any order.
    d = sorus.float64
    p = sorus.tensor([0.4, 1.7, 3.1], dtype=d, requires_grad=True)
    s = sorus.special
    for f in (s.bessel_j0, s.bessel_j1, s.bessel_y1, s.modified_bessel_k1, s.scaled_modified_bessel_k0, s.airy_ai,
              lambda t: s.legendre_polynomial_p(t, sorus.tensor([2, 3, 4]))):  # fmt: skip
        assert sorus.autograd.gradcheck(f, (p,)) and sorus.autograd.gradgradcheck(f, (p,))


@pytest.mark.parametrize("dtype, error", [(sorus.bfloat16, 0.06), (sorus.float16, 0.008)])
def test_scores_beside_a_mask_are_not_rounded(dtype, error):
    sorus.manual_seed(0)
    q, k, v, mask = (
        (sorus.randn(*shape) * 6).to(dtype) for shape in ((2, 3, 4, 8), (2, 3, 6, 8), (2, 3, 6, 8), (4, 6))
    )
    attention = sorus.nn.functional.scaled_dot_product_attention
    exact = attention(q.double(), k.double(), v.double(), mask.double())
    assert (attention(q, k, v, mask).double() - exact).abs().max().item() < error


def test_places_and_bags_refuse_what_does_not_fit():
    with pytest.raises(RuntimeError, match="put: 2 indices for 3 elements"):
        sorus.put(sorus.zeros(4), sorus.tensor([0, 1]), sorus.zeros(3))
    with pytest.raises(IndexError, match="outside of the 4 elements"):
        sorus.put(sorus.zeros(4), sorus.tensor([4]), sorus.zeros(1))
    with pytest.raises(ValueError, match="outside of the 6 elements"):
        sorus.unravel_index(sorus.tensor([6]), (2, 3))
    with pytest.raises(RuntimeError, match="at least one bin"):
        sorus.histogram(sorus.zeros(3), 0)
    with pytest.raises(RuntimeError, match="requires gradients"):
        sorus.zeros(3, requires_grad=True).resize_(2)
    weight, bag = sorus.zeros(5, 2), sorus.nn.functional.embedding_bag
    with pytest.raises(ValueError, match="flat input needs"):
        bag(sorus.tensor([1, 2]), weight)
    with pytest.raises(ValueError, match="begin with 0 and end within the 2 indices"):
        bag(sorus.tensor([1, 2]), weight, sorus.tensor([1]))
    with pytest.raises(NotImplementedError, match="for mode 'sum'"):
        bag(sorus.tensor([[1, 2]]), weight, per_sample_weights=sorus.ones(1, 2))
    with pytest.raises(RuntimeError, match="expected two tensors of float32 or of float64"):
        sorus.complex(sorus.zeros(2), sorus.zeros(2, dtype=sorus.float64))


@pytest.mark.parametrize("precision, error", [("high", 1e-4), ("medium", 1e-2), ("highest", 1e-6)])
def test_float32_matmul_precision(precision, error):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal((96, 160)).astype(np.float32) for _ in range(2))
    expected = x.astype(np.float64) @ w.T
    sorus.set_float32_matmul_precision(precision)
    try:
        assert sorus.get_float32_matmul_precision() == precision
        found = sorus.nn.functional.linear(sorus.from_numpy(x), sorus.from_numpy(w)).numpy()
    finally:
        sorus.set_float32_matmul_precision("highest")
    assert np.abs(found - expected).max() < error * np.abs(expected).max()
    with pytest.raises(ValueError, match="'highest', 'high' or 'medium', not 'low'"):
        sorus.set_float32_matmul_precision("low")


def test_random_numbers_of_tensors_are_recorded_and_checked():
    chance = sorus.full([64], 0.5)
    for f in (sorus.bernoulli, lambda p: sorus.normal(0.0, p)):
        sorus.manual_seed(3)
        eager = f(chance)
        sorus.manual_seed(3)
        np.testing.assert_array_equal(sorus.compile(f)(chance).numpy(), eager.numpy())
        with pytest.raises(RuntimeError, match="must"):
            f(chance - 1)


def test_einsum_with_lists_of_dimensions():
    a, b = sorus.randn(2, 3, 4), sorus.randn(5, 4)
    sorus.testing.assert_close(sorus.einsum(a, [0, 1, 2], b, [3, 2], [0, 3, 1]), sorus.einsum("abc,dc->adb", a, b))
    sorus.testing.assert_close(sorus.einsum(a, [..., 2], b, [3, 2]), sorus.einsum("...c,dc", [a, b]))
    sorus.testing.assert_close(sorus.einsum(a, [0, 30, 2], [30]), a.sum([0, 2]))
    with pytest.raises(ValueError, match="behind each tensor, got tensor"):
        sorus.einsum(a, b)
    with pytest.raises(ValueError, match=r"got \[0, 1, 99\]"):
        sorus.einsum(a, [0, 1, 99])


def test_places_are_int64():
    places = sorus.unravel_index(sorus.tensor([0, 255], dtype=sorus.uint8), (20, 15))
    assert [p.dtype for p in places] == [sorus.int64] * 2 and [p.tolist() for p in places] == [[0, 17], [0, 0]]
