"""sorus.compile: the same numbers as eager, recorded again exactly when something it relied on has changed."""

import json
import os
import subprocess
import sys

import pytest

import sorus
from sorus import nn

scale = 2.0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 5)
        self.b = nn.Linear(5, 3)
        self.factor = 1.5

    def forward(self, x):
        return self.b(sorus.tanh(self.a(x))) * self.factor


def close(a, b, tolerance=1e-5):
    return bool((a.detach() - b.detach()).abs().max() <= tolerance)


def test_training_step_gives_the_numbers_of_eager():
    losses = []
    for compiled in (False, True):
        sorus.manual_seed(0)
        net = Net()
        optimizer = sorus.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

        def step(x, y, net=net, optimizer=optimizer):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            return {"loss": loss.detach(), "twice": [loss * 2, "text"]}

        f = sorus.compile(step) if compiled else step
        x, y = sorus.randn(4, 6), sorus.tensor([0, 2, 1, 1])
        run = [f(x, y) for _ in range(5)]
        assert run[0]["twice"][1] == "text"
        assert close(run[0]["twice"][0], run[0]["loss"] * 2)
        losses.append([r["loss"].item() for r in run])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert losses[1][-1] < losses[1][0]


def test_gradients_flow_through_a_compiled_module():
    net = Net()
    compiled = sorus.compile(net)
    x = sorus.randn(4, 6)
    net(x).sum().backward()
    expected = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    compiled(x).sum().backward()
    for p, g in zip(net.parameters(), expected, strict=True):
        assert close(p.grad, g)


def test_records_again_when_a_value_it_read_has_changed():
    global scale

    @sorus.compile
    def f(x, power=2):
        return (x * scale) ** power

    x = sorus.ones(3)
    assert f(x).tolist() == [4.0] * 3
    assert f(x, power=3).tolist() == [8.0] * 3
    assert len(f.recordings()) == 2
    scale = 3.0
    assert f(x).tolist() == [9.0] * 3
    scale = 2.0
    assert f(x).tolist() == [4.0] * 3
    assert len(f.recordings()) == 3


def test_attributes_and_training_mode_are_guards():
    net = Net()
    f = sorus.compile(net.forward)
    x = sorus.randn(2, 6)
    before = f(x)
    net.factor = 3.0
    assert close(f(x), before * 2)
    net.eval()
    f(x)
    assert len(f.recordings()) == 3


def test_a_branch_on_a_value_names_the_way_out():
    @sorus.compile
    def f(x):
        if x.sum() > 0:
            return x
        return -x

    with pytest.raises(RuntimeError, match=r"sorus\.where"):
        f(sorus.ones(2))


def test_in_place_and_views():
    @sorus.compile
    def f(x):
        y = x.clone()
        y[1:] += 1
        y[0] = 7
        return y, x.t()

    x = sorus.zeros(3, 2)
    y, t = f(x)
    assert y.tolist() == [[7, 7], [1, 1], [1, 1]]
    assert list(t.shape) == [2, 3]


def test_graph_shows_lines():
    @sorus.compile
    def f(x):
        return x.exp() * 2

    with pytest.raises(RuntimeError, match="call the function first"):
        f.graph()
    f(sorus.ones(2))
    assert "exp(" in f.graph() and "test_compile.py" in f.graph()
    assert "sorus_loop0" in f.source()
    assert f.report()["loops"] == 1


SCRIPT = """
import sorus
sorus.manual_seed(0)
x = sorus.randn(8, 16)
f = sorus.compile(lambda x: sorus.softmax(x * 2, 1).sum(0))
print([round(v, 5) for v in f(x).tolist()])
print(f.report()["from_cache"], bool(f.report()["without_compiler"]))
"""


def run_script(**environment):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    values, state = done.stdout.splitlines()
    return values, state, done.stderr


def test_code_is_built_once_and_found_by_the_next_process(tmp_path):
    first = run_script(SORUS_CACHE=str(tmp_path))
    second = run_script(SORUS_CACHE=str(tmp_path))
    assert first[1] == "False False" and second[1] == "True False"
    assert first[0] == second[0]
    for shared_object in tmp_path.glob("*.so"):  # a damaged file is built again
        shared_object.write_bytes(b"not code")
    assert run_script(SORUS_CACHE=str(tmp_path))[:2] == first[:2]


def test_without_a_compiler_kernels_run_and_it_is_said_once(tmp_path):
    values, state, said = run_script(SORUS_CACHE=str(tmp_path), SORUS_CC="no-such-compiler")
    assert state == "False True"
    assert said.count("no-such-compiler") == 1
    assert json.loads(values) == pytest.approx(json.loads(run_script(SORUS_CACHE=str(tmp_path))[0]), abs=2e-5)


def test_memory_report_names_what_holds_the_peak():
    f = sorus.compile(lambda x: ((x @ x.t()) @ x).sum())
    f(sorus.randn(64, 64))
    assert "KiB for temporaries" in f.memory() and "test_compile.py" in f.memory()


@pytest.mark.parametrize("view", [lambda t: t, lambda t: t.transpose(0, 1), lambda t: t.flip(0), lambda t: t[:, :2]])
def test_sums_of_rows_are_read_where_their_view_shows(view):
    # A sum over the last dimension stays in the loop of its reader only if both mean the same row.
    x, y = sorus.randn(3, 3, 5), sorus.randn(3, 3)

    def f(x, y):
        sums = (x * 2).sum(-1)
        return view(sums) * view(y).contiguous()

    assert sorus.allclose(sorus.compile(f)(x, y), f(x, y), rtol=1e-5, atol=1e-5)
