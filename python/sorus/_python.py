"""Small classes that only Python's side of a tensor needs."""

from __future__ import annotations


class device:
    """Where a tensor lies. There is one: the processor."""

    def __init__(self, type: str | device = "cpu", index: int | None = None) -> None:
        name = str(type)
        if name not in ("cpu", "cpu:0"):
            raise RuntimeError(f"there is no device {name!r}; the only one is 'cpu'")
        self.type, self.index = "cpu", None

    def __str__(self) -> str:
        return self.type

    def __repr__(self) -> str:
        return f"device(type={self.type!r})"

    def __eq__(self, other: object) -> bool:
        return str(other) == self.type

    def __hash__(self) -> int:
        return hash(self.type)


cpu_device = device()


class GradFn:
    """Names the operator that made a tensor."""

    def __init__(self, operator: str) -> None:
        self.operator = operator

    def name(self) -> str:
        return self.operator

    def __repr__(self) -> str:
        return f"<{self.operator}>"


class RemovableHandle:
    """What register_hook returns; `remove()` takes the hook off again."""

    def __init__(self, box: list) -> None:
        self._box = box

    def remove(self) -> None:
        self._box.clear()
