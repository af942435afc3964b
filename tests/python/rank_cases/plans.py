"""Random plans at ranks that are processes: losses and weights are those of one device.

mpirun -n 4 python plans.py
mpirun -n 3 python plans.py --rounds 20 --first 1000    # others, from this seed on
"""

from __future__ import annotations

import argparse
import math
import random
from typing import Any

import sorus.distributed as dist
from sorus.distributed import DeviceMesh
from sorus.distributed.tensor import Replicate, Shard, distribute_tensor

import sorus
from sorus import nn
from sorus.models import GPT
from sorus.nn import functional as F


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.Conv2d(6, 6, 3, padding=1),
        )
        self.norm, self.head = nn.GroupNorm(2, 6), nn.Linear(6, 5)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.two(F.relu(self.one(x))))
        return self.head(x.mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.cell, self.head = nn.Embedding(11, 8), nn.LSTM(8, 10, batch_first=True), nn.Linear(10, 11)

    def forward(self, ids):
        return self.head(self.cell(self.table(ids))[0]).transpose(1, 2)


class Mixture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(6, 3)
        self.up, self.down = nn.Parameter(sorus.randn(3, 6, 12) * 0.3), nn.Parameter(sorus.randn(3, 12, 6) * 0.3)

    def forward(self, x):
        share = self.gate(x).softmax(-1)
        y = F.gelu(x.unsqueeze(0) @ self.up) @ self.down
        return x + (y * share.transpose(0, 1).unsqueeze(-1)).sum(0)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.low, self.last = (
            nn.Conv2d(2, 6, 3, padding=1),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.Conv2d(12, 2, 3, padding=1),
        )
        self.up = nn.ConvTranspose2d(6, 6, 2, stride=2)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.last(sorus.cat([x, self.up(F.relu(self.low(F.max_pool2d(x, 2))))], 1))


def ids(shape, below: int, shift: int):
    return ((sorus.arange(math.prod(shape)) * 7 + shift) % below).reshape(shape)


# Batches and widths that do not divide by two are on purpose.
MODELS = {
    "gpt": (lambda: GPT(23, 7, 2, 3, 12, 0.0), lambda m, x, y: m.loss(x, y),
            lambda i: (ids((5, 7), 23, i), ids((5, 7), 23, i + 3))),
    "resnet": (ResNet, lambda m, x, y: F.cross_entropy(m(x), y), lambda i: (sorus.randn(6, 3, 6, 6), ids((6,), 5, i))),
    "lstm": (Recurrent, lambda m, x, y: F.cross_entropy(m(x), y), lambda i: (ids((6, 4), 11, i), ids((6, 4), 11, i + 1))),
    "mixture": (Mixture, lambda m, x, y: F.mse_loss(m(x), y), lambda i: (sorus.randn(9, 6), sorus.randn(9, 6))),
    "unet": (UNet, lambda m, x, y: F.mse_loss(m(x), y), lambda i: (sorus.randn(5, 2, 6, 6), sorus.randn(5, 2, 6, 6))),
}  # fmt: skip


def train(name: str, mesh: Any = None, prepare: Any = None, steps: int = 2, **how: Any):
    make, loss_of, batch = MODELS[name]
    sorus.manual_seed(1)
    model = make()
    if prepare:
        how |= prepare(model, batch(0)) or {}
    optimizer = sorus.optim.AdamW(model.parameters(), lr=0.02)

    def step(x, y):
        optimizer.zero_grad()
        loss = loss_of(model, x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    step = sorus.compile(step, **({"mesh": mesh} if mesh is not None else {}), **how)
    losses = []
    for i in range(steps):
        sorus.manual_seed(i)
        losses.append(step(*batch(i)).item())
    if hasattr(step, "gather") and (mesh is not None or how):
        step.gather()
    return losses, [p.detach().clone() for p in model.parameters()]


def random_places(r: random.Random, mesh: DeviceMesh, shape) -> list:
    places: list[Any] = [Replicate()] * mesh.ndim
    left = list(shape)
    for axis in range(mesh.ndim):
        if not left or r.random() < 0.3:
            continue
        dim = r.randrange(len(left))
        if left[dim] >= mesh.shape[axis]:
            left[dim] //= mesh.shape[axis]
            places[axis] = Shard(dim)
    return places


def random_plan(seed: int, mesh: DeviceMesh):
    def prepare(model, batch):
        r = random.Random(seed)
        for p in model.parameters():
            distribute_tensor(p, mesh, random_places(r, mesh, p.shape))
        return {"inputs": [random_places(r, mesh, t.shape) for t in batch]}

    return prepare


def same(found, one, what: str) -> None:
    for a, b in zip(found[0], one[0], strict=True):
        assert abs(a - b) <= 1e-5 * abs(b), f"{what}: losses {found[0]} instead of {one[0]}"
    for i, (a, b) in enumerate(zip(found[1], one[1], strict=True)):
        assert (a - b).abs().max().item() < 1e-3, f"{what}: parameter {i}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="of all models")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    dist.init_process_group()
    n = dist.get_world_size()
    shapes: list[tuple[tuple[int, ...], tuple[str, ...]]] = [((n,), ("a",))]
    if n == 4:
        shapes.append(((2, 2), ("a", "b")))
    for number, name in enumerate(MODELS):
        one = train(name)
        for round in range(options.rounds):
            for place, (shape, axes) in enumerate(shapes):
                mesh = DeviceMesh("cpu", shape, mesh_dim_names=axes)
                seed = options.first + 100 * round + 10 * number + place
                same(train(name, mesh, random_plan(seed, mesh)), one, f"{name} on {mesh}, seed {seed}")
    one = train("gpt")
    mesh = DeviceMesh("cpu", (n,), mesh_dim_names=("cp",))
    same(train("gpt", mesh, context="cp"), one, "a split sequence")
    mesh = DeviceMesh("cpu", (n,), mesh_dim_names=("dp",))
    same(train("gpt", mesh, data="dp", zero=3), one, "ZeRO 3 of a batch that does not divide")
    dist.destroy_process_group()
    print("plans: equal", flush=True)


if __name__ == "__main__":
    main()
