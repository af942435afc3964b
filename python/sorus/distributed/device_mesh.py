"""Meshes of ranks with named axes, as in torch.distributed.device_mesh."""

from __future__ import annotations

import math
from typing import Any


class DeviceMesh:
    """Ranks arranged in a box with named axes; the last axis varies fastest.

    A mesh says nothing about machines. A step compiled for it (`sorus.compile(step, mesh=mesh)`) runs on one thread a
    rank if this process is alone, and on the processes of the job if there are as many as the mesh has ranks.

    Args:
        device_type: "cpu".
        mesh: the number of ranks along each axis.
        mesh_dim_names: one name an axis; "dim0", "dim1", ... by default.

    Raises:
        ValueError: sizes below 1, names that occur twice or do not fit the sizes.
    """

    def __init__(self, device_type: str, mesh: Any, *, mesh_dim_names: Any = None) -> None:
        if device_type != "cpu":
            raise ValueError(f"device mesh: there are CPUs only, device_type must be 'cpu', not {device_type!r}")
        shape = (mesh,) if isinstance(mesh, int) else tuple(int(n) for n in mesh)
        names = tuple(mesh_dim_names or (f"dim{i}" for i in range(len(shape))))
        if len(names) != len(shape):
            raise ValueError(f"device mesh: {len(names)} names {names} for {len(shape)} sizes {shape}")
        if any(n < 1 for n in shape):
            raise ValueError(f"device mesh: every axis needs at least one rank, the sizes are {shape}")
        if len(set(names)) != len(names) or not all(names):
            raise ValueError(f"device mesh: every axis needs a name of its own, the names are {names}")
        self.device_type = device_type
        self.shape = shape
        self.mesh_dim_names = names
        self._marks: dict[int, tuple[Any, tuple]] = {}
        self._root, self._axes = self, tuple(range(len(shape)))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def size(self, mesh_dim: int | str | None = None) -> int:
        """The number of ranks, of all or along one axis."""
        return math.prod(self.shape) if mesh_dim is None else self.shape[self._axis(mesh_dim)]

    def _axis(self, mesh_dim: int | str) -> int:
        if isinstance(mesh_dim, str):
            if mesh_dim not in self.mesh_dim_names:
                raise KeyError(f"device mesh: there is no axis {mesh_dim!r} among {self.mesh_dim_names}")
            return self.mesh_dim_names.index(mesh_dim)
        return range(self.ndim)[mesh_dim]

    def __getitem__(self, names: str | tuple[str, ...]) -> DeviceMesh:
        """The mesh of some axes: `mesh["tp"]`. What is marked on it is marked along these axes of the whole mesh."""
        names = (names,) if isinstance(names, str) else tuple(names)
        axes = [self._axis(name) for name in names]
        part = DeviceMesh(self.device_type, [self.shape[a] for a in axes], mesh_dim_names=names)
        part._root, part._axes = self._root, tuple(self._axes[a] for a in axes)
        return part

    def coordinate(self, rank: int) -> tuple[int, ...]:
        """Where a rank is along each axis."""
        if not 0 <= rank < self.size():
            raise IndexError(f"device mesh: there is no rank {rank} among {self.size()}")
        out = []
        for n in reversed(self.shape):
            out.append(rank % n)
            rank //= n
        return tuple(reversed(out))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeviceMesh) and (self.shape, self.mesh_dim_names) == (
            other.shape,
            other.mesh_dim_names,
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.mesh_dim_names))

    def __repr__(self) -> str:
        axes = ", ".join(f"{name}={n}" for name, n in zip(self.mesh_dim_names, self.shape))
        return f"DeviceMesh({self.device_type!r}, {axes})"


def init_device_mesh(device_type: str, mesh_shape: Any, *, mesh_dim_names: Any = None) -> DeviceMesh:
    """A mesh of that shape: `init_device_mesh("cpu", (2, 4), mesh_dim_names=("dp", "tp"))`."""
    return DeviceMesh(device_type, mesh_shape, mesh_dim_names=mesh_dim_names)
