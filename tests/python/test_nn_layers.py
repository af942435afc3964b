"""Layers against PyTorch where it is installed, and always against formulas in NumPy."""

import numpy as np
import peers
import pytest

import sorus

CASES_FILE = peers.ROOT / "tests" / "python" / "peer_cases" / "layers.py"
CASES = peers.load_cases(CASES_FILE)


@pytest.mark.skipif(peers.peer_python() is None, reason="needs PyTorch (make bench installs it)")
@pytest.mark.parametrize("name", CASES)
def test_against_pytorch(name):
    ours, theirs = peers.flatten(CASES[name](sorus)), peers.peer_results(CASES_FILE)[name]
    problems = [f"missing: {k}" for k in theirs if k not in ours] + [
        f"unexpected: {k}" for k in ours if k not in theirs
    ]
    for key in theirs.keys() & ours.keys():
        expected, found = theirs[key], ours[key]
        if expected.dtype.kind == "U":
            if str(expected) != str(found):
                problems.append(f"{key}: expected\n{expected}\nfound\n{found}")
        elif expected.shape != found.shape:
            problems.append(f"{key}: expected shape {expected.shape}, found {found.shape}")
        elif not np.allclose(found, expected, rtol=1e-7, atol=2e-8, equal_nan=True):
            problems.append(f"{key}: differs by {np.abs(found - expected).max()}")
    assert not problems, "\n".join(sorted(problems))
