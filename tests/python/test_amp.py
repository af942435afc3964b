"""Loss scaling and autocast: what is compared with PyTorch is in test_functions.py; here compiled steps and errors."""

import pytest

import sorus
from sorus import nn


def make_training(compiled: bool):
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    with sorus.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(sorus.sin(sorus.arange(p.numel()) * 0.7 + i).reshape(p.shape) * 0.3)
    optimizer = sorus.optim.AdamW(model.parameters(), lr=0.01)
    scaler = sorus.amp.GradScaler("cpu", init_scale=2.0**14, growth_interval=2)
    loss_of = nn.CrossEntropyLoss()

    def step(x, y):
        with sorus.autocast("cpu", dtype=sorus.float16):
            loss = loss_of(model(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return model, optimizer, scaler, sorus.compile(step) if compiled else step


def test_compiled_steps_scale_as_eager_ones():
    histories = []
    for compiled in (False, True):
        model, optimizer, scaler, step = make_training(compiled)
        x = sorus.sin(sorus.arange(32 * 8) * 0.3).reshape(32, 8)
        y = sorus.arange(32) % 3
        seen = []
        for i in range(7):
            before = [p.detach().clone() for p in model.parameters()]
            loss = step(x * 1e6 if i == 3 else x, y)  # 1e6 is infinite in float16
            changed = not all(sorus.equal(a, p.detach()) for a, p in zip(before, model.parameters(), strict=True))
            assert changed == (i != 3)
            seen.append((loss.item() if i != 3 else 0.0, scaler.get_scale()))
        assert [s for _, s in seen] == [2.0**14, 2.0**15, 2.0**15, 2.0**14, 2.0**14, 2.0**15, 2.0**15]
        assert seen[-1][0] < seen[0][0]
        assert optimizer.state_dict()["state"][0]["step"].item() == 6
        histories.append(seen)
    assert sum(histories[0], ()) == pytest.approx(sum(histories[1], ()), rel=2e-3)


def test_states_and_errors():
    model, optimizer, scaler, step = make_training(False)
    step(sorus.ones(2, 8), sorus.tensor([0, 1]))
    other = sorus.amp.GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()
    with pytest.raises(RuntimeError, match="no gradients were unscaled"):
        scaler.update()
    (model(sorus.ones(1, 8)).sum() * 0).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.step(optimizer)
    optimizer.zero_grad()
    scaler.update(8.0)
    assert scaler.get_scale() == 8.0
    with pytest.raises(RuntimeError, match="no parameter of the optimizer has a gradient"):
        scaler.step(optimizer)
    with pytest.raises(ValueError, match="growth factor"):
        sorus.amp.GradScaler("cpu", growth_factor=1.0)
    with pytest.raises(RuntimeError, match="state is empty"):
        scaler.load_state_dict({})


def test_a_disabled_scaler_does_nothing():
    scaler = sorus.amp.GradScaler("cpu", enabled=False)
    x = sorus.ones(2)
    assert scaler.scale(x) is x and scaler.state_dict() == {} and scaler.get_scale() == 1.0
    scaler.update()


def test_autocast_nests_and_decorates():
    a = sorus.ones(2, 2)
    assert not sorus.is_autocast_enabled("cpu")
    with sorus.autocast("cpu", dtype=sorus.float16) as outer:
        assert sorus.get_autocast_dtype("cpu") is sorus.float16
        with outer, sorus.autocast("cpu", enabled=False):
            assert (a @ a).dtype is sorus.float32
        assert (a @ a).dtype is sorus.float16
    assert (a @ a).dtype is sorus.float32
    assert sorus.autocast("cpu")(lambda: (a @ a).dtype)() is sorus.bfloat16
    with pytest.raises(RuntimeError, match="no device 'cuda'"):
        sorus.autocast("cuda")
    with pytest.raises(ValueError, match="bfloat16 or float16"):
        sorus.autocast("cpu", dtype=sorus.int32)


def test_custom_functions_under_autocast():
    class Product(sorus.autograd.Function):
        @staticmethod
        @sorus.amp.custom_fwd(device_type="cpu")
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a @ b

        @staticmethod
        @sorus.amp.custom_bwd(device_type="cpu")
        def backward(ctx, grad):
            a, b = ctx.saved_tensors
            seen.append((grad @ b.t()).dtype)
            return grad.float() @ b.t(), a.t() @ grad.float()

    seen: list = []
    a = sorus.ones(2, 2, requires_grad=True)
    with sorus.autocast("cpu"):
        y = Product.apply(a, sorus.ones(2, 2))
    y.float().sum().backward()
    assert y.dtype is sorus.bfloat16 and seen == [sorus.bfloat16]
