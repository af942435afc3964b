"""Weights that are computed from others, sequences of different lengths, layers that learn their size: against PyTorch
where it is installed, in compiled steps, and in copies."""

import copy
import pickle

import numpy as np
import peers
import pytest
from sorus.nn.utils import parametrizations, parametrize, prune, rnn

import sorus
from sorus import nn

CASES_FILE = peers.ROOT / "tests" / "python" / "peer_cases" / "weights.py"
CASES = peers.load_cases(CASES_FILE)


@pytest.mark.skipif(peers.peer_python() is None, reason="needs PyTorch (make bench installs it)")
@pytest.mark.parametrize("name", CASES)
def test_against_pytorch(name):
    problems = peers.differences(
        peers.flatten(CASES[name](sorus)), peers.peer_results(CASES_FILE)[name], rtol=1e-7, atol=2e-8
    )
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    "wrap",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        lambda m: prune.l1_unstructured(m, "weight", 0.5),
    ],
    ids=["weight_norm", "spectral_norm", "orthogonal", "old_weight_norm", "old_spectral_norm", "prune"],
)
def test_in_compiled_steps_and_copies(wrap):
    sorus.manual_seed(3)
    one = wrap(nn.Linear(4, 4))
    two = copy.deepcopy(one)
    x = sorus.randn(5, 4)

    def step_of(model):
        opt = sorus.optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            opt.zero_grad()
            loss = (model(x) ** 2).sum() + (model(x * 2) ** 3).mean()
            loss.backward()
            opt.step()
            return loss

        return step

    eager, compiled = step_of(one), sorus.compile(step_of(two))
    for _ in range(3):
        np.testing.assert_allclose(eager(x).item(), compiled(x).item(), rtol=1e-5)
    for (n, a), (m, b) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
        assert n == m
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)
    two.eval()
    kept = two(x).detach().numpy()
    assert "weight" not in dict(two.named_parameters()) and "weight" not in dict(two.named_buffers())
    if wrap in (nn.utils.weight_norm, nn.utils.spectral_norm):
        third = pickle.loads(pickle.dumps(two))
        np.testing.assert_allclose(third(x).detach().numpy(), kept, rtol=1e-6)
    with pytest.raises(ValueError, match="sizes differ"):
        two(sorus.randn(5, 3))
    np.testing.assert_allclose(two(x).detach().numpy(), kept, rtol=1e-6)


def test_what_cannot_be_computed_is_refused():
    m = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="no parameter or buffer 'weigth'"):
        parametrize.register_parametrization(m, "weigth", nn.Identity())
    with pytest.raises(ValueError, match="say unsafe=True"):
        parametrize.register_parametrization(m, "weight", nn.Flatten(0))
    with pytest.raises(ValueError, match="no parametrization of 'weight'"):
        parametrize.remove_parametrizations(m, "weight")
    parametrize.register_parametrization(m, "weight", nn.Tanh())
    with pytest.raises(RuntimeError, match="Tanh has no right_inverse"):
        m.weight = sorus.ones(2, 3)
    with pytest.raises(ValueError, match="not found in Linear"):
        nn.utils.remove_weight_norm(m, "bias")
    with pytest.raises(ValueError, match="has to be pruned before"):
        prune.remove(m, "bias")
    with pytest.raises(ValueError, match="amount=9 is more than the 2"):
        prune.l1_unstructured(m, "bias", 9)
    with pytest.raises(ValueError, match="expected a matrix"):
        parametrizations.orthogonal(m, "bias")


def test_orthogonal_weights():
    sorus.manual_seed(0)
    for n, k in ((5, 5), (7, 3), (3, 7)):
        m = parametrizations.orthogonal(nn.Linear(k, n).double())
        w = m.weight.detach()
        one = (w.T @ w if n >= k else w @ w.T).numpy()
        np.testing.assert_allclose(one, np.eye(min(n, k)), atol=1e-12)
        m.weight = sorus.eye(max(n, k), dtype=sorus.float64)[:n, :k]
        np.testing.assert_allclose(m.weight.detach().numpy(), np.eye(max(n, k))[:n, :k], atol=1e-12)


def test_packed_sequences_refuse_what_does_not_fit():
    x = sorus.randn(4, 2, 3)
    with pytest.raises(ValueError, match="3 lengths for a batch of 2"):
        rnn.pack_padded_sequence(x, [4, 3, 1])
    with pytest.raises(ValueError, match="must be between 1 and 4"):
        rnn.pack_padded_sequence(x, [5, 1])
    with pytest.raises(RuntimeError, match="enforce_sorted=False"):
        rnn.pack_padded_sequence(x, [2, 4])
    packed = rnn.pack_padded_sequence(x, [4, 2])
    with pytest.raises(ValueError, match="total_length of 3 is less than 4"):
        rnn.pad_packed_sequence(packed, total_length=3)
    with pytest.raises(ValueError, match="expected rows of 5 features"):
        nn.LSTM(5, 2)(packed)
    with pytest.raises(ValueError, match="expected a state of shape"):
        nn.GRU(3, 2)(packed, sorus.zeros(1, 3, 2))
    with pytest.raises(TypeError, match="expected a Tensor or a PackedSequence, got list"):
        nn.GRU(3, 2)([x])
    y, _ = nn.GRU(3, 2)(packed)
    assert isinstance(y, rnn.PackedSequence) and y.double().data.dtype is sorus.float64


def test_layers_that_learn_their_size():
    net = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2, bias=False))
    assert isinstance(net[0], nn.Linear) and isinstance(net[0].weight, nn.UninitializedParameter)
    opt = sorus.optim.Adam(net.parameters(), lr=0.1)
    net(sorus.randn(3, 5)).sum().backward()
    before = net[2].weight.detach().clone()
    opt.step()
    assert net[0].weight.shape == (4, 5) and net[2].weight.shape == (2, 4)
    assert bool((net[2].weight != before).any()) and "LazyLinear" not in repr(net)
    twin = copy.deepcopy(net)
    x = sorus.randn(2, 5)
    np.testing.assert_array_equal(twin(x).detach().numpy(), net(x).detach().numpy())
    assert nn.LazyConv3d(2, 1)(sorus.randn(3, 4, 4, 4)).shape == (2, 4, 4, 4)
    norm = nn.LazyBatchNorm1d().double()
    norm(sorus.randn(4, 3, dtype=sorus.float64))
    assert {t.dtype for t in norm.state_dict().values()} == {sorus.float64, sorus.int64}


def test_layers_that_learn_their_size_take_it_from_a_state_that_is_loaded():
    def make():
        return nn.Sequential(nn.LazyConv1d(4, 3), nn.LazyBatchNorm1d(), nn.Flatten(), nn.LazyLinear(2))

    trained, fresh, assigned = make(), make(), make()
    x = sorus.randn(5, 3, 8)
    trained(x)
    for net, assign in ((fresh, False), (assigned, True)):
        assert not net.load_state_dict(trained.state_dict(), assign=assign).missing_keys
        assert net[0].weight.shape == (4, 3, 3) and net[1].running_mean.shape == (4,)
        sorus.testing.assert_close(net.eval()(x), trained.eval()(x))
        assert net[3].in_features == 24 and "Lazy" not in repr(net)
    part = make()
    part.load_state_dict({"0.weight": trained[0].weight.detach()}, strict=False)
    assert sorus.equal(part[0].weight, trained[0].weight) and part[0].bias.shape == (0,)
    assert part(x).shape == (5, 2) and part[0].bias.shape == (4,) and sorus.equal(part[0].weight, trained[0].weight)
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict"):
        make().load_state_dict({"0.weight": trained[0].weight})
