"""Weights that are computed from others: norms, parametrizations, pruning; sequences of different lengths; see peers.py."""

# mypy: ignore-errors

import importlib
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from layers import fill, numbers


def train(torch, module, x, steps=2, names=True):
    """The output, then weights after some steps of gradient descent."""
    opt = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    outs = []
    for i in range(steps):
        opt.zero_grad()
        y = module(x + i)
        (y * numbers(torch, *y.shape, start=i)).sum().backward()
        opt.step()
        outs.append(y)
    module.eval()
    out = {"outs": outs, "last": module(x), "weight": module.weight}
    if names:
        out["names"] = ",".join(module.state_dict())
        out["parameters"] = ",".join(n for n, _ in module.named_parameters())
    return out


def layer(torch, make, wrap):
    return train(torch, fill(torch, wrap(make().double())), numbers(torch, 4, 6))


def case_norms(torch):
    nn, new = torch.nn, torch.nn.utils.parametrizations
    linear = partial(nn.Linear, 6, 3)
    image = numbers(torch, 2, 3, 5, 5)
    conv = fill(torch, new.weight_norm(nn.Conv2d(3, 4, 3).double()))
    deconv = fill(torch, new.spectral_norm(nn.ConvTranspose2d(3, 4, 3).double(), n_power_iterations=2))
    old = torch.nn.utils
    return {
        "weight_norm": layer(torch, linear, new.weight_norm),
        "weight_norm_whole": layer(torch, linear, partial(new.weight_norm, dim=None)),
        "spectral_norm": layer(torch, linear, new.spectral_norm),
        "conv": train(torch, conv, image),
        "deconv": train(torch, deconv, image),
        "old_weight_norm": layer(torch, linear, old.weight_norm),
        "removed": layer(torch, linear, lambda m: old.remove_weight_norm(old.weight_norm(m))),
        "removed_parametrization": layer(
            torch, linear, lambda m: old.parametrize.remove_parametrizations(new.weight_norm(m), "weight")
        ),
    }


def case_orthogonal(torch):
    nn, orthogonal = torch.nn, torch.nn.utils.parametrizations.orthogonal
    out = {}
    for n, k in ((4, 4), (6, 3), (3, 6)):
        for how in ("matrix_exp", "cayley", "householder"):
            m = orthogonal(nn.Linear(k, n, bias=False).double(), orthogonal_map=how, use_trivialization=False) if (
                how == "householder") else None  # fmt: skip
            if m is None:
                m = nn.Linear(k, n, bias=False).double()
                with torch.no_grad():
                    m.weight.copy_(torch.eye(max(n, k), dtype=torch.float64)[:n, :k])
                orthogonal(m, orthogonal_map=how)
                # The base of what is not square is drawn.
                if n != k:
                    with torch.no_grad():
                        m.parametrizations.weight[0].base.copy_(torch.eye(max(n, k), dtype=torch.float64))
            original = m.parametrizations.weight.original
            with torch.no_grad():
                original.copy_(numbers(torch, *original.shape) if how != "householder" else
                               numbers(torch, *original.shape) + 2 * torch.eye(n, k, dtype=torch.float64))  # fmt: skip
            w = m.weight
            (w * numbers(torch, n, k, start=3)).sum().backward()
            product = w @ w.T if n < k else w.T @ w
            out[f"{n}x{k} {how}"] = [product, original.grad] if how == "householder" else [w, original.grad]
    return out


def case_parametrize(torch):
    nn, P = torch.nn, torch.nn.utils.parametrize

    class Symmetric(nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, a):
            return a.triu()

    class Doubled(nn.Module):
        def forward(self, x):
            return 2 * x

        def right_inverse(self, a):
            return a / 2

    m = nn.Linear(5, 5).double()
    P.register_parametrization(m, "weight", Symmetric())
    P.register_parametrization(m, "weight", Doubled())
    m.weight = torch.eye(5, dtype=torch.float64)
    out = {"assigned": m.weight, "original": m.parametrizations.weight.original}
    fill(torch, m)
    out["trained"] = train(torch, m, numbers(torch, 2, 5))
    out["is"] = str([P.is_parametrized(m), P.is_parametrized(m, "weight"), P.is_parametrized(m, "bias")])
    with P.cached():
        out["same"] = str(m.weight is m.weight)
    P.remove_parametrizations(m, "weight")
    out["after"] = [m.weight, ",".join(n for n, _ in m.named_parameters()), str(P.is_parametrized(m))]
    return out


def case_prune(torch):
    nn, prune = torch.nn, importlib.import_module(f"{torch.__name__}.nn.utils.prune")
    linear = partial(nn.Linear, 6, 4)

    def twice(m):
        prune.l1_unstructured(m, "weight", 5)
        prune.ln_structured(m, "weight", 0.5, n=2, dim=1)
        return prune.l1_unstructured(m, "weight", amount=0.25)

    def filled(f):
        m = linear().double()
        with torch.no_grad():
            m.weight.copy_(numbers(torch, 4, 6))
            m.bias.copy_(numbers(torch, 4))
        return train(torch, f(m), numbers(torch, 3, 6))

    a, b = fill(torch, linear().double()), fill(torch, nn.Conv2d(2, 3, 2).double())
    prune.global_unstructured([(a, "weight"), (b, "weight")], prune.L1Unstructured, amount=0.4)
    mask = (numbers(torch, 4, 6) > 0).double()
    kept = nn.Sequential(fill(torch, linear().double()))
    state = [str(prune.is_pruned(kept))]
    prune.custom_from_mask(kept[0], "weight", mask)
    state.append(str(prune.is_pruned(kept)))
    prune.remove(kept[0], "weight")
    state += [str(prune.is_pruned(kept)), ",".join(n for n, _ in kept.named_parameters())]
    return {
        "l1": filled(lambda m: prune.l1_unstructured(m, "weight", amount=0.3)),
        "structured": filled(lambda m: prune.ln_structured(m, "weight", amount=2, n=1, dim=0)),
        "twice": filled(twice),
        "global": [a.weight, b.weight, a.weight_mask, b.weight_mask],
        "removed": [kept[0].weight, *state],
    }


def case_packed(torch):
    nn, rnn = torch.nn, torch.nn.utils.rnn
    x, out = numbers(torch, 5, 4, 3), {}
    for lengths, ordered in (([5, 3, 3, 1], True), ([2, 5, 1, 4], False)):
        for make in (nn.LSTM, nn.GRU, nn.RNN):
            m = fill(torch, make(3, 2, num_layers=2, bidirectional=True).double())
            given = x.clone().requires_grad_()
            h = numbers(torch, 4, 4, 2, start=2)
            packed = rnn.pack_padded_sequence(given, torch.tensor(lengths), enforce_sorted=ordered)
            y, state = m(packed, (h, h + 1) if make is nn.LSTM else h)
            padded, found = rnn.pad_packed_sequence(y, padding_value=-1.0, total_length=6)
            (padded * numbers(torch, *padded.shape)).sum().backward()
            out[f"{make.__name__} {lengths}"] = [y.data, y.batch_sizes, y.sorted_indices, padded, found, list(state),
                                                given.grad, [p.grad for p in m.parameters()]]  # fmt: skip
    return out


def case_lazy(torch):
    nn, out = torch.nn, {}
    x = numbers(torch, 2, 4, 6, 6)
    net = nn.Sequential(nn.LazyConv2d(4, 3, groups=2), nn.LazyBatchNorm2d(), nn.ReLU(), nn.LazyConvTranspose2d(2, 2),
                        nn.LazyInstanceNorm2d(affine=True), nn.Flatten(), nn.LazyLinear(3))  # fmt: skip
    out["waits"] = str(net[-1].has_uninitialized_params())
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    net = net.double()
    net(x)
    fill(torch, net)
    y = net(x)
    (y * numbers(torch, *y.shape)).sum().backward()
    opt.step()
    out["after"] = [y, dict(net.state_dict()), repr(net)]
    return out
