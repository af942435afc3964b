"""Imports and helpers where programs written for PyTorch look for them."""

import importlib
import pickle

import numpy as np
import pytest
from sorus.testing import make_tensor
from sorus.utils.data import DataLoader, TensorDataset

import sorus
from sorus import nn

PATHS = [
    "nn.modules:Module", "nn.modules.linear:Linear", "nn.modules.conv:_ConvNd", "nn.modules.batchnorm:_BatchNorm",
    "nn.modules.loss:_Loss", "nn.modules.utils:_pair", "nn.modules.container:ModuleList", "nn.utils.clip_grad:clip_grad_norm_",
    "nn.parameter:UninitializedParameter", "nn.parallel:DataParallel", "nn.attention:sdpa_kernel", "optim.adamw:AdamW",
    "distributions.multivariate_normal:MultivariateNormal", "autograd.function:once_differentiable",
    "utils.data.distributed:DistributedSampler", "utils.data.dataloader:default_collate", "utils.data.dataset:Dataset",
    "utils.data.sampler:BatchSampler", "backends.cudnn:benchmark", "backends.cuda.matmul:allow_tf32", "compiler:disable",
    "multiprocessing:spawn", "multiprocessing:Queue",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_imports(path: str) -> None:
    module, name = path.split(":")
    assert hasattr(importlib.import_module(f"sorus.{module}"), name)


def test_paths_lead_to_the_thing_itself() -> None:
    Linear = importlib.import_module("sorus.nn.modules.linear").Linear
    Adam = importlib.import_module("sorus.optim.adam").Adam
    assert Linear is nn.Linear and Adam is sorus.optim.Adam
    assert pickle.loads(pickle.dumps(Linear)) is nn.Linear
    with pytest.raises(ImportError, match="Nothing"):
        exec("from sorus.nn.modules.linear import Nothing")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("sorus.nn.modules.nothing")


def test_families() -> None:
    batchnorm, conv = (importlib.import_module(f"sorus.nn.modules.{name}") for name in ("batchnorm", "conv"))
    _BatchNorm, _NormBase, _ConvNd = batchnorm._BatchNorm, batchnorm._NormBase, conv._ConvNd
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ConvTranspose1d(2, 2, 1), nn.Linear(2, 2))
    assert [isinstance(m, _ConvNd) for m in net] == [True, False, True, False]
    assert [isinstance(m, _BatchNorm) for m in net] == [False, True, False, False]
    assert isinstance(nn.InstanceNorm2d(2), _NormBase) and issubclass(nn.BatchNorm3d, _BatchNorm)
    wrapped = nn.DataParallel(nn.Linear(2, 3))
    assert list(wrapped.state_dict()) == ["module.weight", "module.bias"] and wrapped(sorus.ones(1, 2)).shape == (
        1,
        3,
    )


@pytest.mark.parametrize(("drop", "count", "rest"), [(False, 4, {0}), (True, 3, set())])
def test_ranks_read_different_samples(drop: bool, count: int, rest: set) -> None:
    data = TensorDataset(sorus.arange(10))
    samplers = [nn_sampler(data, rank, drop) for rank in range(3)]
    epochs = []
    for epoch in range(2):
        for s in samplers:
            s.set_epoch(epoch)
        read = [
            [i for (batch,) in DataLoader(data, batch_size=2, sampler=s) for i in batch.tolist()] for s in samplers
        ]
        assert [len(r) for r in read] == [count] * 3 == [len(s) for s in samplers]
        together = [i for r in read for i in r]
        assert len(set(together)) == (9 if drop else 10)
        epochs.append(together)
    assert epochs[0] != epochs[1]
    plain = [list(nn_sampler(data, rank, drop, shuffle=False)) for rank in range(3)]
    assert plain[1] == [1, 4, 7, *([0] if not drop else [])] and plain[0][0] == 0
    with pytest.raises(ValueError, match=r"rank 3 is not in \[0, 3\)"):
        nn_sampler(data, 3, drop)


def nn_sampler(data, rank: int, drop: bool, **options):
    return sorus.utils.data.DistributedSampler(data, 3, rank, drop_last=drop, seed=5, **options)


def test_make_tensor() -> None:
    t = make_tensor(3, 4, dtype=sorus.float64, low=1, high=2, requires_grad=True)
    assert t.requires_grad and t.shape == (3, 4) and bool(((t >= 1) & (t < 2)).all())
    assert not make_tensor((3, 4), dtype=sorus.float32, noncontiguous=True).is_contiguous()
    assert make_tensor(5, dtype=sorus.float32, low=0, high=1e-45, exclude_zero=True).min().item() > 0
    assert make_tensor(50, dtype=sorus.uint8, exclude_zero=True).min().item() > 0
    assert set(np.unique(make_tensor(50, dtype=sorus.bool).numpy())) == {False, True}


def test_what_is_not_to_be_compiled() -> None:
    @sorus.compiler.disable(reason="it reads a file")
    def inside(x):
        return x + 1

    assert inside(sorus.ones(1)).item() == 2
    with pytest.raises(RuntimeError, match="inside is not to be compiled: it reads a file"):
        sorus.compile(lambda x: inside(x))(sorus.ones(1))
    seen = []

    def step(x):
        seen.append(sorus.compiler.is_compiling())
        return x * 2

    sorus.compile(step)(sorus.ones(1))
    assert seen[0] and not sorus.compiler.is_compiling()


def test_gradients_that_have_none() -> None:
    class Square(sorus.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @sorus.autograd.once_differentiable
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

    x = sorus.tensor([3.0], requires_grad=True)
    Square.apply(x).sum().backward()
    assert x.grad.item() == 6
    up = sorus.tensor([2.0], requires_grad=True)
    (g,) = sorus.autograd.grad(Square.apply(x), x, up, create_graph=True)
    assert g.item() == 12
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


def work(rank: int, path: str) -> None:
    if rank == 1 and path.endswith("broken"):
        raise SystemExit(3)
    with open(f"{path}.{rank}", "w") as f:
        f.write(str(sorus.ones(2).sum().item() + rank))


def test_spawn(tmp_path) -> None:
    sorus.multiprocessing.spawn(work, args=(str(tmp_path / "out"),), nprocs=2)
    assert [(tmp_path / f"out.{rank}").read_text() for rank in range(2)] == ["2.0", "3.0"]
    with pytest.raises(sorus.multiprocessing.ProcessRaisedException, match=r"process 1 .* status 3"):
        sorus.multiprocessing.spawn(work, args=(str(tmp_path / "broken"),), nprocs=2)
