"""Tensors with a place on a mesh, as in torch.distributed.tensor.

    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    distribute_tensor(model.fc.weight, mesh, [Replicate(), Shard(0)])      # a mark
    step = sorus.compile(step, mesh=mesh, inputs=[[Shard(0), Replicate()]] * 2)

The program stays that of one device, and a DTensor holds the whole tensor. Marks say how a compiled step cuts it among the
ranks; how everything else lies follows from the operators' sharding rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..._core import Tensor
from ..device_mesh import DeviceMesh, init_device_mesh


class Placement:
    """How a tensor lies along one axis of a mesh."""

    def is_shard(self, dim: int | None = None) -> bool:
        return isinstance(self, Shard) and dim in (None, self.dim)

    def is_replicate(self) -> bool:
        return isinstance(self, Replicate)

    def _text(self, rank: int) -> str:
        raise NotImplementedError

    def is_partial(self) -> bool:
        return isinstance(self, Partial)


@dataclass(frozen=True)
class Replicate(Placement):
    """Every rank has all of it."""

    def _text(self, rank: int) -> str:
        return "R"


@dataclass(frozen=True)
class Shard(Placement):
    """Dimension `dim` is cut into blocks, one a rank. Where that does not divide, the first ranks have one more: 10 rows among
    4 are 3, 3, 2 and 2."""

    dim: int

    def _text(self, rank: int) -> str:
        if not -rank <= self.dim < rank:
            raise ValueError(f"Shard({self.dim}): the tensor has {rank} dimensions")
        return f"S({self.dim % rank})"


@dataclass(frozen=True)
class Partial(Placement):
    """Every rank has a summand of each element ("sum"), or a factor ("product"), or a candidate ("max", "min")."""

    reduce_op: str = "sum"

    def _text(self, rank: int) -> str:
        return f"P({self.reduce_op})"


def texts(mesh: DeviceMesh, placements: Any, shape: Any, what: str) -> list[str]:
    """Placements as the partitioner reads them, after a look whether they fit."""
    placements = [Replicate()] * mesh.ndim if placements is None else list(placements)
    if len(placements) != mesh.ndim:
        raise ValueError(f"{what}: {len(placements)} placements for the {mesh.ndim} axes of {mesh}")
    parts = [1] * len(shape)
    out = []
    for axis, p in enumerate(placements):
        if not isinstance(p, Placement):
            raise TypeError(f"{what}: expected Shard, Replicate or Partial, found {p!r}")
        out.append(p._text(len(shape)))
        if isinstance(p, Shard):
            parts[p.dim] *= mesh.shape[axis]
            if 0 < shape[p.dim] < parts[p.dim]:
                raise ValueError(
                    f"{what}: dimension {p.dim} of size {shape[p.dim]} cannot be cut into {parts[p.dim]} blocks, as {p} on "
                    f"{mesh} asks; {parts[p.dim]} or more would do"
                )
    return out


class DTensor(Tensor):
    """A whole tensor that knows how it is to lie on a mesh; made by `distribute_tensor`."""

    def __init__(self, tensor: Tensor, device_mesh: DeviceMesh, placements: Any) -> None:
        super().__init__(tensor)
        self.device_mesh = device_mesh
        self.placements = tuple(placements)

    def full_tensor(self) -> Tensor:
        """The whole tensor, without a place."""
        return Tensor(self)

    def to_local(self, rank: int = 0) -> Tensor:
        """The block of a rank.

        Raises:
            ValueError: a placement is partial: there is no block of the values themselves.
        """
        part = Tensor(self)
        for axis, p in enumerate(self.placements):
            if isinstance(p, Partial):
                raise ValueError(f"to_local: the tensor is partial along {self.device_mesh.mesh_dim_names[axis]!r}")
            if isinstance(p, Shard):
                each, more = divmod(part.shape[p.dim], self.device_mesh.shape[axis])
                at = self.device_mesh.coordinate(rank)[axis]
                part = part.narrow(p.dim, at * each + min(at, more), each + (at < more))
        return part

    def redistribute(self, device_mesh: DeviceMesh | None = None, placements: Any = None) -> DTensor:
        """The same tensor in another place."""
        return distribute_tensor(self, device_mesh or self.device_mesh, placements)

    def __repr__(self) -> str:
        return f"DTensor({super().__repr__()}, {self.device_mesh}, {self.placements})"


def distribute_tensor(tensor: Tensor, device_mesh: DeviceMesh, placements: Any = None) -> DTensor:
    """Marks how a tensor lies in the steps compiled for the mesh; everything by default is replicated.

    The mark belongs to the tensor's memory, so a parameter need not be replaced by what is returned.

    Raises:
        ValueError: a dimension that does not exist, or that has fewer elements than there are ranks.
    """
    placements = [Replicate()] * device_mesh.ndim if placements is None else list(placements)
    texts(device_mesh, placements, tensor.shape, "distribute_tensor")
    root = device_mesh._root
    known = root._marks.get(tensor.data_ptr())
    whole = list(known[1]) if known and known[0].shape == tensor.shape else [Replicate()] * root.ndim
    for axis, p in zip(device_mesh._axes, placements):
        whole[axis] = p
    texts(root, whole, tensor.shape, "distribute_tensor")
    root._marks[tensor.data_ptr()] = (tensor, tuple(whole))
    return DTensor(tensor, device_mesh, placements)


def distribute_module(module: Any, device_mesh: DeviceMesh, partition_fn: Any = None) -> Any:
    """Calls `partition_fn(name, submodule, device_mesh)` for every submodule, to mark its parameters; returns the module."""
    if partition_fn is not None:
        for name, child in module.named_modules():
            partition_fn(name, child, device_mesh)
    return module
