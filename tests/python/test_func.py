"""sorus.func against derivatives known in closed form; checkpoints; functions with their own gradient."""

import numpy as np
import pytest
from sorus.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    stack_module_state,
    value_and_grad,
    vjp,
    vmap,
)
from sorus.utils.checkpoint import checkpoint, checkpoint_sequential

import sorus
from sorus import nn

X = np.linspace(0.2, 1.4, 6)


def x():
    return sorus.tensor(X, dtype=sorus.float64)


def test_grad_and_its_gradient():
    f = lambda t: (t**3).sum()  # noqa: E731
    np.testing.assert_allclose(grad(f)(x()).numpy(), 3 * X**2)
    second = grad(lambda t: grad(f)(t).sum())
    np.testing.assert_allclose(second(x()).numpy(), 6 * X)
    np.testing.assert_allclose(grad(lambda t: second(t).sum())(x()).numpy(), np.full(6, 6.0))
    assert not grad(f)(x()).requires_grad


def test_value_and_grad_of_several_nested_arguments():
    def f(params, scale, *, shift):
        y = params["w"] * scale + params["b"][0] * shift
        return (y * y).sum(), y

    params = {"w": x(), "b": [x() * 2]}
    (value, aux), (slopes, by_scale) = value_and_grad(f, argnums=(0, 1), has_aux=True)(params, x(), shift=3.0)
    y = X * X + 6 * X
    np.testing.assert_allclose(aux.numpy(), y)
    assert value.item() == pytest.approx((y * y).sum())
    np.testing.assert_allclose(slopes["w"].numpy(), 2 * y * X)
    np.testing.assert_allclose(slopes["b"][0].numpy(), 6 * y)
    np.testing.assert_allclose(by_scale.numpy(), 2 * y * X)
    slope, value = grad_and_value(lambda t: (t * t).sum())(x())
    np.testing.assert_allclose(slope.numpy(), 2 * X)
    unused = grad(lambda a, b: a.sum(), argnums=1)(x(), x())
    assert (unused == 0).all()


def test_inner_closures_over_outer_variables():
    # d/da of d/db (a^2 b^3) = 6 a b^2
    b = x() + 1
    mixed = grad(lambda a: grad(lambda t: (a**2 * t**3).sum())(b).sum())(x())
    np.testing.assert_allclose(mixed.numpy(), 6 * X * (X + 1) ** 2)


def test_gradients_flow_to_what_requires_them():
    w = x().requires_grad_(True)
    grad(lambda t: (t**3).sum())(w).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 6 * X)


def test_vjp_and_jvp():
    f = lambda t, u: (t.sin() * u, (t * u).sum())  # noqa: E731
    u, v, w = X[::-1].copy(), np.cos(X), 0.7
    out, pull = vjp(f, x(), sorus.tensor(u))
    np.testing.assert_allclose(out[0].numpy(), np.sin(X) * u)
    by_t, by_u = pull((sorus.tensor(v), sorus.tensor(w, dtype=sorus.float64)))
    np.testing.assert_allclose(by_t.numpy(), v * np.cos(X) * u + w * u)
    np.testing.assert_allclose(by_u.numpy(), v * np.sin(X) + w * X)
    out, pushed = jvp(f, (x(), sorus.tensor(u)), (sorus.tensor(v), sorus.tensor(X)))
    np.testing.assert_allclose(pushed[0].numpy(), np.cos(X) * u * v + np.sin(X) * X)
    assert pushed[1].item() == pytest.approx((v * u + X * X).sum())
    assert (jvp(lambda t: sorus.ones_like(t), (x(),), (x(),))[1] == 0).all()


def test_jacobians_and_hessian():
    m = np.arange(12.0).reshape(2, 6)
    f = lambda t: sorus.tensor(m) @ (t * t)  # noqa: E731
    expected = m * 2 * X
    np.testing.assert_allclose(jacrev(f)(x()).numpy(), expected)
    np.testing.assert_allclose(jacfwd(f)(x()).numpy(), expected)
    np.testing.assert_allclose(
        hessian(lambda t: (t**3).sum() + t[0] * t[1])(x()).numpy(),
        np.diag(6 * X) + np.eye(6)[[1, 0, 2, 3, 4, 5]] * (np.arange(6) < 2)[:, None],
    )


def test_vmap_runs_over_a_dimension():
    a, b = np.arange(6.0).reshape(3, 2), np.arange(2.0)
    out = vmap(lambda s, t: (s * t).sum(), in_dims=(0, None))(sorus.tensor(a), sorus.tensor(b))
    np.testing.assert_allclose(out.numpy(), a @ b)
    per_sample = vmap(grad(lambda t: (t**2).sum()))(sorus.tensor(a))
    np.testing.assert_allclose(per_sample.numpy(), 2 * a)


def test_functional_call_replaces_and_restores():
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    net[2].weight = nn.Parameter(net[2].weight.detach())
    before = net(sorus.ones([1, 3], dtype=sorus.float64)).item()
    params = {n: p.detach() for n, p in net.named_parameters()}
    inputs = sorus.ones([4, 3], dtype=sorus.float64)
    loss = lambda p: (functional_call(net, p, (inputs,)) ** 2).sum()  # noqa: E731
    slopes = grad(loss)(params)
    (net(inputs) ** 2).sum().backward()
    for n, p in net.named_parameters():
        np.testing.assert_allclose(slopes[n].numpy(), p.grad.numpy())
    zero = functional_call(net, {n: p * 0 for n, p in params.items()}, inputs)
    assert (zero == 0).all() and net(sorus.ones([1, 3], dtype=sorus.float64)).item() == before
    with pytest.raises(KeyError, match=r"no tensors \['nothing'\]"):
        functional_call(net, {"nothing": inputs}, inputs)
    with pytest.raises(KeyError, match="are missing"):
        functional_call(net, {"0.weight": params["0.weight"]}, inputs, strict=True)


def test_functional_call_of_tied_weights():
    net = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    net["b"].weight = net["a"].weight

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, t):
            return self.net["b"](self.net["a"](t))

    eye2 = sorus.tensor([[2.0, 0.0], [0.0, 2.0]])
    out = functional_call(Both(), {"net.a.weight": eye2}, (sorus.ones([1, 2]),))
    assert out.tolist() == [[4.0, 4.0]]
    assert functional_call(Both(), {"net.a.weight": eye2}, (sorus.ones([1, 2]),), tie_weights=False).tolist() != [
        [4.0, 4.0]
    ]


def test_what_makes_no_sense_is_said():
    with pytest.raises(RuntimeError, match=r"must return a tensor of one element, got shape \(6,\)"):
        grad(lambda t: t * 2)(x())
    with pytest.raises(RuntimeError, match="argnums 2 does not name one of the 1"):
        grad(lambda t: t.sum(), argnums=2)(x())
    with pytest.raises(TypeError, match="only floating-point"):
        grad(lambda t: t.sum())(sorus.tensor([1, 2]))
    with pytest.raises(RuntimeError, match="tangents of shapes"):
        jvp(lambda t: t, (x(),), (sorus.ones([2]),))
    with pytest.raises(RuntimeError, match="expected cotangents of shapes"):
        vjp(lambda t: t, x())[1](sorus.ones([2]))


def net():
    sorus.manual_seed(5)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.4), nn.GELU(), nn.Linear(8, 4), nn.Dropout(0.2), nn.Tanh())


@pytest.mark.parametrize(
    "run",
    [
        lambda m, t: checkpoint(m, t, use_reentrant=False),
        lambda m, t: checkpoint(lambda u: m(u), t),
        lambda m, t: checkpoint(m.forward, t),
        lambda m, t: checkpoint_sequential(m, 2, t, use_reentrant=False),
        lambda m, t: checkpoint_sequential(m, 4, t),
    ],
)
def test_checkpoint_gives_the_same_gradients_and_draws(run):
    plain, saved = net(), net()
    saved.load_state_dict(plain.state_dict())
    inputs, again = sorus.randn(3, 4).requires_grad_(True), None
    again = inputs.detach().clone().requires_grad_(True)
    sorus.manual_seed(9)
    expected = plain(inputs)
    expected.sum().backward()
    after = sorus.rand(2).tolist()
    sorus.manual_seed(9)
    found = run(saved, again)
    assert (found == expected).all()
    assert sorus.rand(2).tolist() == after
    state = sorus.get_rng_state()
    found.sum().backward()
    assert (sorus.get_rng_state() == state).all()
    assert (again.grad == inputs.grad).all()
    for p, q in zip(plain.parameters(), saved.parameters(), strict=True):
        assert (p.grad == q.grad).all()


def test_checkpoint_keeps_nothing_and_computes_again():
    calls = []

    def f(t):
        calls.append(t.requires_grad)
        return t.sin() * 2

    t = x().requires_grad_(True)
    y = checkpoint(f, t, use_reentrant=False)
    y.sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), 2 * np.cos(X))
    assert len(calls) == 2
    with sorus.no_grad():
        checkpoint(f, t)
    assert len(calls) == 3


def test_function_with_its_own_gradient():
    class Clipped(sorus.autograd.Function):
        @staticmethod
        def forward(ctx, t, low):
            ctx.save_for_backward(t)
            ctx.low = low
            return t.clamp(min=low)

        @staticmethod
        def backward(ctx, g):
            (t,) = ctx.saved_tensors
            return g * 10 * (t > ctx.low), None

    t = x().requires_grad_(True)
    Clipped.apply(t, 0.5).sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), 10.0 * (X > 0.5))


def test_forked_random_numbers():
    sorus.manual_seed(1)
    a = sorus.rand(3)
    sorus.manual_seed(1)
    with sorus.random.fork_rng():
        sorus.rand(100)
    assert (sorus.rand(3) == a).all() and sorus.random.initial_seed() == 1


def test_models_of_one_kind_side_by_side():
    models = [nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval() for _ in range(3)]
    params, buffers = stack_module_state(models)
    assert params["0.weight"].shape == (3, 2, 3) and params["0.weight"].requires_grad
    assert buffers["1.running_mean"].shape == (3, 2)
    given = sorus.randn(4, 3)
    both = vmap(lambda p, b: functional_call(models[0], (p, b), (given,)), chunk_size=2)(params, buffers)
    sorus.testing.assert_close(both, sorus.stack([m(given) for m in models]))
    both.sum().backward()
    assert params["0.bias"].grad.shape == (3, 2)
    with pytest.raises(RuntimeError, match="of one class"):
        stack_module_state([nn.Linear(1, 1), nn.ReLU()])
    with pytest.raises(NotImplementedError, match="randomness='same'"):
        vmap(sorus.sin, randomness="same")
