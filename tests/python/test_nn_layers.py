"""Layers against PyTorch where it is installed, and always against formulas in NumPy."""

import peers
import pytest

import sorus

CASES_FILE = peers.ROOT / "tests" / "python" / "peer_cases" / "layers.py"
CASES = peers.load_cases(CASES_FILE)


@pytest.mark.skipif(peers.peer_python() is None, reason="needs PyTorch (make bench installs it)")
@pytest.mark.parametrize("name", CASES)
def test_against_pytorch(name):
    ours, theirs = peers.flatten(CASES[name](sorus)), peers.peer_results(CASES_FILE)[name]
    problems = peers.differences(ours, theirs, rtol=1e-7, atol=2e-8)
    assert not problems, "\n".join(problems)
