"""A module whose forward is compiled."""

from __future__ import annotations

from typing import Any

from .. import _compile
from . import Module


class CompiledModule(Module):
    """Runs `module` compiled; everything else is the module's. In a state_dict names begin with `_orig_mod.`."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self._orig_mod = module
        self._function = _compile.CompiledFunction(module.forward)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in ("_orig_mod", "_function"):
            raise AttributeError(name)
        return getattr(self._orig_mod, name)

    def graph(self, backward: bool = False) -> str:
        return self._function.graph(backward)

    def source(self, backward: bool = False) -> str:
        return self._function.source(backward)

    def report(self, backward: bool = False) -> dict:
        return self._function.report(backward)

    def memory(self, backward: bool = False, limit: int = 20) -> str:
        return self._function.memory(backward, limit)

    def recordings(self) -> list:
        return self._function.recordings()
