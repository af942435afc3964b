"""The state of random numbers: a seed and how often was drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._core import default_generator, get_rng_state, manual_seed, set_rng_state

__all__ = ["default_generator", "fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"]


def initial_seed() -> int:
    """The seed of the default generator."""
    return int(get_rng_state()[0].item())


def seed() -> int:
    """Seeds the default generator from the system and returns the seed."""
    import secrets

    value = secrets.randbits(62)
    manual_seed(value)
    return value


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True) -> Iterator[None]:
    """What is drawn inside does not change what is drawn afterwards."""
    state = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(state)
