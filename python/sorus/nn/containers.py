"""Containers. Sequential, ModuleList and ModuleDict are C++ classes; here is how they are used from Python."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .._core import _nn
from .module import Module
from .parameter import Parameter

Sequential, ModuleList, ModuleDict = _nn.Sequential, _nn.ModuleList, _nn.ModuleDict


def _child_names(self: Module) -> list[str]:
    return [name for name, _ in Module._children(self)]


def _position(self: Module, index: Any) -> str:
    names = _child_names(self)
    i = operator.index(index)
    if not -len(names) <= i < len(names):
        raise IndexError(f"index {i} is out of range for a {type(self).__name__} of {len(names)}")
    return names[i]


def _replace_all(self: Module, modules: Iterable[Module]) -> None:
    modules = list(modules)
    for name in _child_names(self):
        delattr(self, name)
    for i, module in enumerate(modules):
        self.register_module(str(i), module)


def _len(self: Module) -> int:
    return len(Module._children(self))


def _iter(self: Module) -> Iterator[Module]:
    return iter([module for _, module in Module._children(self)])


def _list_get(self: Any, index: Any) -> Module:
    if isinstance(index, slice):
        modules = list(self)[index]
        return type(self)(*modules) if isinstance(self, Sequential) else type(self)(modules)
    return getattr(self, _position(self, index))


def _list_set(self: Module, index: int, module: Module) -> None:
    self.register_module(_position(self, index), module)


def _list_del(self: Module, index: Any) -> None:
    modules = list(self)
    del modules[index]
    _replace_all(self, modules)


def append(self: Module, module: Module) -> Module:
    """Adds a module at the end."""
    self.register_module(str(len(self)), module)
    return self


def extend(self: Module, modules: Iterable[Module]) -> Module:
    for module in modules:
        self.append(module)
    return self


def insert(self: Module, index: int, module: Module) -> Module:
    modules = list(self)
    modules.insert(index, module)
    _replace_all(self, modules)
    return self


def pop(self: Any, index: int = -1) -> Module:
    module = self[index]
    del self[index]
    return module


def _list_add(self: Any, other: Iterable[Module]) -> Module:
    both = [*self, *other]
    return type(self)(*both) if isinstance(self, Sequential) else type(self)(both)


def _sequential_add_all(self: Module, *modules: Any) -> None:
    if len(modules) == 1 and isinstance(modules[0], Mapping):
        for name, module in modules[0].items():
            self.register_module(name, module)
    else:
        _list_add_all(self, modules)


def _list_add_all(self: Module, modules: Iterable[Module] | None = None) -> None:
    for i, module in enumerate(modules or ()):
        self.register_module(str(i), module)


def _sequential_forward(self: Module, input: Any) -> Any:
    for _, module in Module._children(self):
        input = module(input)
    return input


def _list_iadd(self: Module, other: Iterable[Module]) -> Module:
    return self.extend(other)


for _class in (Sequential, ModuleList):
    for _name, _f in [
        ("__len__", _len),
        ("__iter__", _iter),
        ("__getitem__", _list_get),
        ("__setitem__", _list_set),
        ("__delitem__", _list_del),
        ("__add__", _list_add),
        ("__iadd__", _list_iadd),
    ]:
        setattr(_class, _name, _f)
    for _f in (append, extend, insert, pop):
        setattr(_class, _f.__name__, _f)
Sequential._add_all, Sequential.forward = _sequential_add_all, _sequential_forward
ModuleList._add_all = _list_add_all


def _list_repr(self: Module) -> str:
    """Equal neighbours share a line: (0-3): 4 x Block(...)."""
    runs: list[list] = []
    for name, module in Module._children(self):
        text = repr(module)
        if runs and runs[-1][2] == text:
            runs[-1][1] = name
        else:
            runs.append([name, name, text])
    lines = []
    for first, last, text in runs:
        count = "" if first == last else f"{int(last) - int(first) + 1} x "
        label = f"({first})" if first == last else f"({first}-{last})"
        lines.append(f"  {label}: {count}" + text.replace("\n", "\n  "))
    return self._get_name() + "(" + ("\n" + "\n".join(lines) + "\n" if lines else "") + ")"


ModuleList.__repr__ = _list_repr  # type: ignore[method-assign, assignment]


class _Dict:
    """The methods of ModuleDict."""

    def _add_all(self, modules: Any = None) -> None:
        if modules:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        if key not in self:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self: Any, key: str, module: Module) -> None:
        self.register_module(key, module)

    def __delitem__(self, key: str) -> None:
        delattr(self, key)

    def __len__(self: Any) -> int:
        return len(Module._children(self))

    def __iter__(self: Any) -> Iterator[str]:
        return iter(_child_names(self))

    def __contains__(self: Any, key: object) -> bool:
        return key in _child_names(self)

    def clear(self: Any) -> None:
        for name in _child_names(self):
            delattr(self, name)

    def pop(self, key: str) -> Module:
        module = self[key]
        del self[key]
        return module

    def keys(self: Any) -> list[str]:
        return _child_names(self)

    def values(self: Any) -> list[Module]:
        return [module for _, module in Module._children(self)]

    def items(self: Any) -> list[tuple[str, Module]]:
        return list(Module._children(self))

    def get(self, key: str, default: Any = None) -> Any:
        return self.get(key, default)

    def update(self, modules: Any) -> None:
        for key, module in modules.items() if hasattr(modules, "items") else modules:
            self[key] = module


for _name, _f in vars(_Dict).items():
    if callable(_f):
        setattr(ModuleDict, _name, _f)


def _parameter(value: Any) -> Any:
    from .._core import Tensor

    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


class ParameterList(Module):
    """A list of parameters; tensors become parameters."""

    def __init__(self, values: Iterable = ()) -> None:
        super().__init__()
        self._size = 0
        self.extend(values or ())

    def append(self, value: Any) -> ParameterList:
        setattr(self, str(self._size), _parameter(value))
        self._size += 1
        return self

    def extend(self, values: Iterable) -> ParameterList:
        for value in values:
            self.append(value)
        return self

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator:
        return (self[i] for i in range(self._size))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)([self[i] for i in range(*index.indices(self._size))])
        i = operator.index(index)
        if not -self._size <= i < self._size:
            raise IndexError(f"index {i} is out of range for a ParameterList of {self._size}")
        return getattr(self, str(i % self._size))

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, str(operator.index(index) % self._size), _parameter(value))

    def extra_repr(self) -> str:
        return "\n".join(
            f"({i}): Parameter containing: [{p.dtype} of size {tuple(p.shape)}]" for i, p in enumerate(self)
        )


class ParameterDict(Module):
    """Parameters by name; tensors become parameters."""

    def __init__(self, values: Any = None) -> None:
        super().__init__()
        object.__setattr__(self, "_names", [])
        self.update(values or {})

    def __getitem__(self, key: str) -> Any:
        if key not in self._names:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self._names:
            self._names.append(key)
        setattr(self, key, _parameter(value))

    def __delitem__(self, key: str) -> None:
        self._names.remove(key)
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def keys(self) -> list[str]:
        return list(self._names)

    def values(self) -> list:
        return [self[k] for k in self._names]

    def items(self) -> list[tuple[str, Any]]:
        return [(k, self[k]) for k in self._names]

    def update(self, values: Any) -> None:
        for key, value in values.items() if hasattr(values, "items") else values:
            self[key] = value

    def extra_repr(self) -> str:
        return "\n".join(
            f"({k}): Parameter containing: [{p.dtype} of size {tuple(p.shape)}]" for k, p in self.items()
        )
