"""Layers against PyTorch where it is installed, and always against formulas in NumPy."""

import peers
import pytest

import sorus
from sorus import nn

CASES_FILE = peers.ROOT / "tests" / "python" / "peer_cases" / "layers.py"
CASES = peers.load_cases(CASES_FILE)


@pytest.mark.skipif(peers.peer_python() is None, reason="needs PyTorch (make bench installs it)")
@pytest.mark.parametrize("name", CASES)
def test_against_pytorch(name):
    ours, theirs = peers.flatten(CASES[name](sorus)), peers.peer_results(CASES_FILE)[name]
    problems = peers.differences(ours, theirs, rtol=1e-7, atol=2e-8)
    assert not problems, "\n".join(problems)


def test_adaptive_softmax_in_a_graph_and_its_errors():
    layer = nn.AdaptiveLogSoftmaxWithLoss(32, 20, [4, 10])
    x, y = sorus.randn(6, 32), sorus.tensor([3, 19, 0, 12, 4, 9])
    eager, compiled = layer(x, y), sorus.compile(layer)(x, y)
    sorus.testing.assert_close(compiled.output, eager.output)
    sorus.testing.assert_close(eager.output, layer.log_prob(x).gather(1, y.unsqueeze(1)).squeeze(1))
    with pytest.raises(RuntimeError, match=r"should be in \[0, 19\], but values in range \[3, 20\]"):
        layer(x[:2], sorus.tensor([3, 20]))
    with pytest.raises(RuntimeError, match="same size in the batch"):
        layer(x, y[:3])
    with pytest.raises(ValueError, match="unique, positive integers"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 20, [10, 4])
    with pytest.raises(ValueError, match="input of 0 numbers"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10, 15])
