"""Several ranks working together, with the names of torch.distributed: process groups, collectives, meshes, shards,
checkpoints."""

from .collectives import *
from .device_mesh import DeviceMesh, init_device_mesh
from .groups import *
from .groups import _group
from .objects import *
from .world import *


def __getattr__(name: str):
    if name in ("checkpoint", "fsdp", "tensor"):  # loaded when they are first used
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'sorus.distributed' has no attribute {name!r}")
