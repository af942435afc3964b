"""Programs as users of PyTorch write them, with the import changed and nothing else: eager and compiled, against PyTorch's
losses from the same weights."""

import numpy as np
import peers
import pytest

import sorus

PROGRAMS = {
    name: (file, f)
    for file in sorted((peers.ROOT / "tests" / "python" / "peer_cases").glob("programs*.py"))
    for name, f in peers.load_cases(file).items()
}


@pytest.mark.skipif(peers.peer_python() is None, reason="needs PyTorch (make bench installs it)")
@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_same_losses(name, mode):
    steps = []

    def compiled(f):
        steps.append(sorus.compile(f))
        return steps[-1]

    file, program = PROGRAMS[name]
    ours = peers.flatten(program(sorus, *([compiled] if mode == "compiled" else [])))
    theirs = peers.peer_results(file)[name]
    assert ours.keys() == theirs.keys()
    for key, expected in theirs.items():
        assert ours[key].shape == expected.shape, key
        np.testing.assert_allclose(ours[key], expected, rtol=2e-4, atol=2e-5, err_msg=key)
    assert mode == "eager" or steps
