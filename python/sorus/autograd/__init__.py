"""Gradients: switches, gradients of anything with respect to anything, and functions with their own rule."""

from __future__ import annotations

import functools
from typing import Any

from .. import _core
from .._core import Tensor


class _Switch:
    """A context manager that is a decorator too."""

    def __call__(self, f):
        @functools.wraps(f)
        def inside(*args, **kwargs):
            with type(self)(*self._arguments()):
                return f(*args, **kwargs)

        return inside

    def __enter__(self) -> Any:
        raise NotImplementedError

    def __exit__(self, *_: Any) -> None:
        raise NotImplementedError

    def _arguments(self) -> tuple:
        return ()


class _GradMode(_Switch):
    mode = True

    def __enter__(self) -> None:
        self._before = _core._set_grad_enabled(self.mode)

    def __exit__(self, *error: object) -> None:
        _core._set_grad_enabled(self._before)


class no_grad(_GradMode):
    """Nothing inside is recorded for gradients."""

    mode = False

    def __new__(cls, f=None):
        return cls()(f) if callable(f) else super().__new__(cls)


class inference_mode(no_grad):
    """The same as no_grad."""


class enable_grad(_GradMode):
    """Gradients are recorded again inside a no_grad."""

    def __new__(cls, f=None):
        return cls()(f) if callable(f) else super().__new__(cls)


class set_grad_enabled(_GradMode):
    """Takes effect at once; as a context manager it is undone at the end."""

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self._before = _core._set_grad_enabled(self.mode)

    def __enter__(self) -> None:
        _core._set_grad_enabled(self.mode)

    def _arguments(self) -> tuple:
        return (self.mode,)


class autocast(_Switch):
    """Matrix products, convolutions and attention inside compute in bfloat16 (or `dtype`, float16), losses in float32,
    as PyTorch's list for the CPU says; everything else in the type of its inputs. May be nested and be a decorator.

    RuntimeError for another device, ValueError for another type.
    """

    def __init__(self, device_type: str = "cpu", dtype=None, enabled: bool = True, cache_enabled: bool | None = None):
        if not isinstance(device_type, str):
            device_type, dtype = "cpu", device_type
        if device_type != "cpu":
            raise RuntimeError(f"autocast: there is no device {device_type!r}; the only one is 'cpu'")
        self.device_type = device_type
        self.dtype = dtype if dtype is not None else _core.bfloat16
        self.enabled = enabled
        if enabled and self.dtype not in (_core.bfloat16, _core.float16):
            raise ValueError(f"autocast: dtype must be bfloat16 or float16, not {self.dtype}")
        self._before: list = []

    def __enter__(self) -> autocast:
        self._before.append(_core._autocast_dtype())
        _core._set_autocast_dtype(self.dtype if self.enabled else None)
        return self

    def __exit__(self, *error: object) -> None:
        _core._set_autocast_dtype(self._before.pop())

    def _arguments(self) -> tuple:
        return self.device_type, self.dtype, self.enabled


def is_autocast_enabled(device_type: str = "cpu") -> bool:
    return device_type == "cpu" and _core._autocast_dtype() is not None


def get_autocast_dtype(device_type: str = "cpu"):
    """The type in which products compute inside of `autocast(device_type)`."""
    return _core._autocast_dtype() or _core.bfloat16


class set_detect_anomaly:
    """Stops with the first operator that makes a NaN of numbers: in forward (where a gradient is recorded) or in backward.

    RuntimeError with the operator and its line. PyTorch's looks at gradients only.
    """

    def __init__(self, mode: bool = True, check_nan: bool = True) -> None:
        _core._set_anomaly_mode(mode)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        _core._set_anomaly_mode(False)


detect_anomaly = set_detect_anomaly


def grad(
    outputs,
    inputs,
    grad_outputs=None,
    retain_graph=None,
    create_graph=False,
    allow_unused=None,
    is_grads_batched=False,
    materialize_grads=False,
    only_inputs=True,
) -> tuple[Tensor, ...]:
    """The gradients of the weighted sum of `outputs` with respect to `inputs`."""
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    retain = create_graph if retain_graph is None else retain_graph
    grads = _core._gradients(outputs, inputs, () if grad_outputs is None else grad_outputs, retain, create_graph)
    if materialize_grads:
        grads = [_core.operators["zeros_like"](x) if g is None else g for g, x in zip(grads, inputs, strict=True)]
    elif not allow_unused and any(g is None for g in grads):
        raise RuntimeError("grad: an input was not used in the outputs; allow_unused=True gives None for it")
    return tuple(grads)


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False) -> None:
    tensors = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
    grads = grad_tensors if isinstance(grad_tensors, (tuple, list)) else (grad_tensors,) * len(tensors)
    for i, (t, g) in enumerate(zip(tensors, grads, strict=True)):
        t.backward(g, retain_graph or create_graph or i + 1 < len(tensors), create_graph)


class FunctionCtx:
    """What forward leaves for backward."""

    needs_input_grad: tuple[bool, ...] = ()
    _like: Any

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        self.saved_tensors = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        pass

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Inputs that forward changed in place; their version counts that by itself."""

    def set_materialize_grads(self, value: bool) -> None:
        self._materialize = value

    _materialize = True
    saved_tensors: tuple[Tensor | None, ...] = ()


class Function:
    """A function with a gradient of its own: subclass with static methods `forward(ctx, ...)` and `backward(ctx, ...)`."""

    @staticmethod
    def forward(ctx: FunctionCtx, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("Function: forward is not written")

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Any) -> None:
        """Where this is written, forward takes no ctx, and what it leaves for backward is saved here."""
        raise NotImplementedError("Function: setup_context is not written")

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Any) -> Any:
        raise NotImplementedError("Function: backward is not written")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        ctx = FunctionCtx()
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        shape: list = []

        apart = cls.setup_context is not Function.setup_context

        def forward():
            if apart:
                out = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, out)
            else:
                out = cls.forward(ctx, *args, **kwargs)
            shape.append(isinstance(out, (tuple, list)))
            outs = tuple(out) if shape[0] else (out,)
            ctx._like = [o.detach() for o in outs]
            return outs

        def backward(grads):
            zeros = _core.operators["zeros_like"]
            if ctx._materialize:
                grads = [zeros(o) if g is None else g for g, o in zip(grads, ctx._like, strict=True)]
            given = cls.backward(ctx, *grads)
            given = given if isinstance(given, tuple) else (given,)
            return [given[i] if i < len(given) else None for i in places]

        outs = _core._custom_function([args[i] for i in places], forward, backward, cls.__name__)
        return tuple(outs) if shape[0] else outs[0]


def once_differentiable(backward):
    """Marks a `backward` of a Function whose results cannot be differentiated again: an error if somebody does."""

    @functools.wraps(backward)
    def once(ctx, *grads):
        with no_grad():
            out = backward(ctx, *grads)
        if not _core.is_grad_enabled() or not any(isinstance(g, Tensor) and g.requires_grad for g in grads):
            return out

        class Once(Function):
            @staticmethod
            def forward(ctx, given, *grads):
                return given.clone()

            @staticmethod
            def backward(ctx, *_):
                raise RuntimeError(
                    f"backward: {backward.__qualname__} is marked once_differentiable: its results have no gradient"
                )

        wrapped = [t if t is None else Once.apply(t, *grads) for t in (out if isinstance(out, tuple) else (out,))]
        return tuple(wrapped) if isinstance(out, tuple) else wrapped[0]

    return once


def Variable(data: Tensor, requires_grad: bool = False) -> Tensor:
    """A tensor: variables and tensors are one since long."""
    return data.detach().requires_grad_() if requires_grad else data


from . import functional  # noqa: E402
from .check import gradcheck, gradgradcheck  # noqa: E402
