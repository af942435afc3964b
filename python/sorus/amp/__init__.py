"""Training with halves: autocast, and scaling of the loss where float16 would lose small gradients (torch.amp)."""

from __future__ import annotations

from ..autograd import autocast
from .grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast(device_type)` does something here: on "cpu"."""
    return device_type == "cpu"


def custom_fwd(fwd=None, *, device_type: str = "cpu", cast_inputs=None):
    """Decorates `forward` of an autograd.Function; its inputs are cast to `cast_inputs` and autocast is off inside."""
    import functools

    from .. import _core

    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def inside(*args, **kwargs):
        active = _core._autocast_dtype()
        args[0]._autocast_dtype = active if cast_inputs is None else None
        if cast_inputs is None or active is None:
            return fwd(*args, **kwargs)

        def cast(value):
            return value.to(cast_inputs) if isinstance(value, _core.Tensor) and value.is_floating_point() else value

        with autocast(device_type, enabled=False):
            return fwd(*(cast(a) for a in args), **{k: cast(v) for k, v in kwargs.items()})

    return inside


def custom_bwd(bwd=None, *, device_type: str = "cpu"):
    """Decorates `backward` of an autograd.Function: autocast is there what it was in forward."""
    import functools

    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def inside(*args, **kwargs):
        dtype = getattr(args[0], "_autocast_dtype", None)
        with autocast(device_type, dtype=dtype, enabled=dtype is not None):
            return bwd(*args, **kwargs)

    return inside
