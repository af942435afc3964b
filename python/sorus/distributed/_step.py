"""Functions compiled for a mesh: which placements their tensors have."""

from __future__ import annotations

from typing import Any

from .device_mesh import DeviceMesh
from .tensor import Replicate, Shard, texts


class Places:
    """How the arguments and captured tensors of a recorded step lie.

    Marks (`distribute_tensor`) come first; then `inputs`, or along a `data` axis a cut of dimension 0 of every argument
    that has one; then ZeRO along the data axis:

    zero 1 and 2: what the step writes and does not differentiate by (the optimizer's state) is cut. Gradients are then
    reduced straight into these blocks. zero 3: parameters too; they are gathered when they are used.

    `stages` are lists of parameters: those that a stage of the pipeline reads and none before it.
    """

    def __init__(
        self, mesh: DeviceMesh, inputs: Any = None, data: str | None = None, zero: int = 0, stages: Any = None
    ) -> None:
        if zero not in (0, 1, 2, 3):
            raise ValueError(f"zero must be 0, 1, 2 or 3, not {zero}")
        if data is not None:
            mesh._axis(data)
        if zero and data is None:
            raise ValueError(f"zero={zero} needs the axis along which to cut: data='dp'")
        self.mesh, self.inputs, self.data, self.zero = mesh, inputs, data, zero
        self.stage_of: dict[int, int] = {}
        for number, parameters in enumerate(stages or ()):
            for p in parameters:
                if self.stage_of.setdefault(p.data_ptr(), number) != number:
                    raise ValueError(f"stages: a parameter of shape {tuple(p.shape)} is in two of them")

    def along_data(self, shape: Any, what: str, needed: bool) -> list:
        placements: list[Any] = [Replicate()] * self.mesh.ndim
        assert self.data is not None
        axis = self.mesh._axis(self.data)
        n = self.mesh.shape[axis]
        for dim, size in enumerate(shape):
            if size % n == 0 and size >= n:
                placements[axis] = Shard(dim)
                return placements
            if needed:
                break
        if needed and len(shape):
            raise ValueError(
                f"{what}: a batch of {shape[0]} cannot be split among {n} ranks along {self.data!r}; "
                f"give a multiple of {n}, or fewer ranks"
            )
        return placements

    def like(self, t: Any, written: bool) -> list | None:
        """What a step keeps beside a marked parameter, its moments, lies where most such parameters of its shape do."""
        if not written or t.dim() == 0:
            return None
        marks: list[Any] = [m[1] for m in self.mesh._marks.values() if tuple(m[0].shape) == tuple(t.shape)]
        return list(max(set(marks), key=lambda m: marks.count(m))) if marks else None

    def __call__(self, inputs: list, captures: list, parameters: list, written: list) -> tuple[list, list, list]:
        stored: list[Any] = []
        used: list[Any] = []
        for i, shape in enumerate(inputs):
            what = f"argument {i}"
            if self.inputs is not None:
                places = self.inputs[i] if i < len(self.inputs) else None
            else:
                places = self.along_data(shape, what, True) if self.data else None
            stored.append(texts(self.mesh, places, shape, what))
            used.append(None)
        for i, t in enumerate(captures):
            mark = self.mesh._marks.get(t.data_ptr())
            places = list(mark[1]) if mark and tuple(mark[0].shape) == tuple(t.shape) else self.like(t, written[i])
            reads = None
            state = written[i] and not parameters[i] and t.is_floating_point() and t.dim() > 0
            if (self.zero >= 1 and state) or (self.zero >= 3 and parameters[i]):
                assert self.data is not None
                axis = self.mesh._axis(self.data)
                cut = self.along_data(t.shape, f"captured tensor {i}", False)[axis]
                if places is None:
                    places = [Replicate()] * self.mesh.ndim
                if parameters[i]:
                    reads = list(places)
                if isinstance(places[axis], Replicate) and not any(p == cut for p in places):
                    places[axis] = cut
            stored.append(texts(self.mesh, places, t.shape, f"captured tensor {i}"))
            used.append(None if reads is None else texts(self.mesh, reads, t.shape, f"captured tensor {i}"))
        stages = [self.stage_of.get(t.data_ptr(), -1) if p else -1 for t, p in zip(captures, parameters, strict=True)]
        return stored, used, stages
