"""What compiled functions are told (torch.compiler): whether something is being recorded, and what is not to be."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from . import _core


def is_compiling() -> bool:
    """Whether sorus.compile is recording what runs now."""
    return _core._is_recording()


def is_dynamo_compiling() -> bool:
    """The same."""
    return is_compiling()


def disable(fn: Callable | None = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """A decorator: RuntimeError where the function is called inside of a compiled one, which has no way around it; it says
    `reason` if that is given. Outside it changes nothing."""
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)

    @functools.wraps(fn)
    def called(*args: Any, **kwargs: Any) -> Any:
        if is_compiling():
            raise RuntimeError(f"compiler.disable: {getattr(fn, '__name__', fn)!s} is not to be compiled"
                               f"{': ' + reason if reason else ''}; call it outside of the compiled function")  # fmt: skip
        return fn(*args, **kwargs)

    return called
