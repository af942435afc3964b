"""Plans of tensor parallelism for modules, as in torch.distributed.tensor.parallel.

    parallelize_module(model, mesh["tp"], {"h.*.mlp.c_fc": ColwiseParallel(), "h.*.mlp.c_proj": RowwiseParallel()})

A style marks the parameters of a layer. What that means for the activations follows from the operators' rules.
"""

from __future__ import annotations

import fnmatch
from typing import Any

from ..device_mesh import DeviceMesh
from . import Placement, Replicate, Shard, distribute_tensor


class ParallelStyle:
    """Where the parameters of a layer lie along the one axis of a mesh."""

    def places(self, name: str, parameter: Any) -> Placement:
        raise NotImplementedError


class ColwiseParallel(ParallelStyle):
    """Output features are cut: weight [out, in] and bias [out] along dimension 0; of an embedding the features."""

    def places(self, name: str, parameter: Any) -> Placement:
        return Shard(0)


class RowwiseParallel(ParallelStyle):
    """Input features are cut: weight [out, in] along dimension 1. The bias is added after the sum, so it stays whole."""

    def places(self, name: str, parameter: Any) -> Placement:
        return Shard(1) if parameter.dim() > 1 else Replicate()


def parallelize_module(module: Any, device_mesh: DeviceMesh, parallelize_plan: Any) -> Any:
    """Marks the parameters of submodules; names may have wildcards. Returns the module.

    Raises:
        ValueError: a name fits no submodule, or a dimension is smaller than the number of ranks.
    """
    if device_mesh.ndim != 1:
        raise ValueError(f"parallelize_module: expected a mesh of one axis, such as mesh['tp'], found {device_mesh}")
    plan = {"": parallelize_plan} if isinstance(parallelize_plan, ParallelStyle) else dict(parallelize_plan)
    for pattern, style in plan.items():
        found = [child for name, child in module.named_modules() if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            raise ValueError(f"parallelize_module: no submodule is called {pattern!r}")
        for child in found:
            for name, parameter in child.named_parameters(recurse=False):
                distribute_tensor(parameter, device_mesh, [style.places(name, parameter)])
    return module
