"""Several ranks working together, with the names of torch.distributed: process groups and collectives."""

from .distributed_c10d import *  # noqa: F401, F403
from .distributed_c10d import _group, group  # noqa: F401
from .device_mesh import DeviceMesh, init_device_mesh  # noqa: F401
