"""Helpers beside models: sorus.utils.data, checkpoint, memory. They are loaded when they are first used."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("data", "checkpoint", "memory"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
