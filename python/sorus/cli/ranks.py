"""The processes of one training run: this one alone, or those that `sorus run` or mpirun started.

The step is cut among them by `sorus.compile`; what is left is that they decide alike. Rank 0 keeps the clock, hears
Ctrl-C and writes the files; the others do what it says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Ranks:
    def __init__(self) -> None:
        self.rank, self.size = 0, 1
        from sorus import distributed

        if not distributed.is_launched():
            return
        if not distributed.is_initialized():
            distributed.init_process_group()
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    @property
    def first(self) -> bool:
        return self.rank == 0

    def agree(self, *values: float) -> list[float]:
        """Rank 0's numbers, in every rank."""
        if self.size == 1:
            return list(values)
        import sorus
        from sorus import distributed

        numbers = sorus.tensor(values, dtype=sorus.float64)
        distributed.broadcast(numbers, 0)
        return numbers.tolist()

    def of_first(self, make: Callable[[], Any]) -> Any:
        """What rank 0 makes, in every rank."""
        if self.size == 1:
            return make()
        from sorus import distributed

        values = [make() if self.first else None]
        distributed.broadcast_object_list(values, 0)
        return values[0]
