"""Functions compiled for a mesh: which placements their tensors have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .device_mesh import DeviceMesh
from .tensor import Replicate, Shard, texts


class Places:
    """How the arguments and captured tensors of a recorded step lie.

    Marks (`distribute_tensor`) come first; then `inputs`, or along the `data` axes a cut of dimension 0 of every argument
    that has one, and along the `context` axis of dimension 1; then ZeRO along the first data axis and the context axis,
    whose ranks all have the same parameters:

    zero 1 and 2: what the step writes and does not differentiate by (the optimizer's state) is cut. Gradients are then
    reduced straight into these blocks. zero 3: parameters too; they are gathered when they are used.

    `stages` are lists of parameters: those that a stage of the pipeline reads and none before it.
    """

    def __init__(
        self,
        mesh: DeviceMesh,
        inputs: Any = None,
        data: str | Sequence[str] | None = None,
        zero: int = 0,
        stages: Any = None,
        context: str | None = None,
    ) -> None:
        if zero not in (0, 1, 2, 3):
            raise ValueError(f"zero must be 0, 1, 2 or 3, not {zero}")
        if zero and not data and not context:
            raise ValueError(f"zero={zero} needs the axis along which to cut: data='dp' or context='cp'")
        self.data = (data,) if isinstance(data, str) else tuple(data or ())
        for axis in (*self.data, *((context,) if context else ())):
            mesh._axis(axis)
        if context in self.data:
            raise ValueError(f"context: along {context!r} the batch is cut already")
        self.mesh, self.inputs, self.zero, self.context = mesh, inputs, zero, context
        self.stage_of: dict[int, int] = {}
        for number, parameters in enumerate(stages or ()):
            for p in parameters:
                if self.stage_of.setdefault(p.data_ptr(), number) != number:
                    raise ValueError(f"stages: a parameter of shape {tuple(p.shape)} is in two of them")

    def of_argument(self, shape: Any, what: str) -> list:
        placements: list[Any] = [Replicate()] * self.mesh.ndim
        cuts = [(self.data, 0, "batch"), ((self.context,) if self.context else (), 1, "sequence")]
        for axes, dim, name in cuts:
            if not axes or dim >= len(shape):
                continue
            n = math.prod(self.mesh.shape[self.mesh._axis(axis)] for axis in axes)
            if shape[dim] < n:
                raise ValueError(
                    f"{what}: a {name} of {shape[dim]} cannot be split among {n} ranks along {', '.join(map(repr, axes))}; "
                    f"give {n} or more, or fewer ranks"
                )
            for axis in axes:
                placements[self.mesh._axis(axis)] = Shard(dim)
        return placements

    def kept(self, shape: Any, places: list) -> list:
        """The same places with the cuts of what a step keeps, along each axis of ZeRO where it is whole: of the first
        dimension that divides, or else of the first that is large enough."""
        places, left = list(places), list(shape)
        marked = [p for p in places if not isinstance(p, Replicate)]
        for name in (*self.data[:1], *((self.context,) if self.context else ())):
            axis = self.mesh._axis(name)
            n = self.mesh.shape[axis]
            dims = [d for d, size in enumerate(left) if size >= n]
            dim = next((d for d in dims if left[d] % n == 0), dims[0] if dims else None)
            if dim is None or not isinstance(places[axis], Replicate) or Shard(dim) in marked:
                continue
            places[axis] = Shard(dim)
            left[dim] //= n
        return places

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
                places = self.of_argument(shape, what) if self.data or self.context else None
            stored.append(texts(self.mesh, places, shape, what))
            used.append(None)
        for i, t in enumerate(captures):
            mark = self.mesh._marks.get(t.data_ptr())
            places = list(mark[1]) if mark and tuple(mark[0].shape) == tuple(t.shape) else self.like(t, written[i])
            reads = None
            state = written[i] and not parameters[i] and t.is_floating_point() and t.dim() > 0
            if (self.zero >= 1 and state) or (self.zero >= 3 and parameters[i]):
                if places is None:
                    places = [Replicate()] * self.mesh.ndim
                if parameters[i]:
                    reads = list(places)
                places = self.kept(t.shape, places)
            stored.append(texts(self.mesh, places, t.shape, f"captured tensor {i}"))
            used.append(None if reads is None else texts(self.mesh, reads, t.shape, f"captured tensor {i}"))
        stages = [self.stage_of.get(t.data_ptr(), -1) if p else -1 for t, p in zip(captures, parameters, strict=True)]
        return stored, used, stages
