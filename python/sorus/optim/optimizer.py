"""What all optimizers share in Python: parameter groups, state and hooks in PyTorch's form.

The algorithms are C++ classes (sorus::optim); a group writes into them. A subclass of Optimizer that defines `step`
itself needs nothing of that: its groups are plain dictionaries.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any

from .. import _core
from .._core import Tensor

# Settings that are several numbers in Python; those that are one of a few words; those that are true or false, or whole
# numbers; those that say how PyTorch computes, not what.
_TUPLES = {
    "betas": ("beta1", "beta2"),
    "etas": ("eta_minus", "eta_plus"),
    "step_sizes": ("step_size_min", "step_size_max"),
    "eps": ("eps1", "eps2"),
    "ns_coefficients": ("ns_a", "ns_b", "ns_c"),
}
_WORDS = {"adjust_lr_fn": (None, "original", "match_rms_adamw")}
_FLAGS = {"amsgrad", "maximize", "nesterov", "decoupled_weight_decay"}
_WHOLE = {"ns_steps"}
_WITHOUT_EFFECT = {"foreach", "capturable", "differentiable", "fused"}


def _number(name: str, value: Any) -> float:
    if isinstance(value, Tensor):
        value = value.item()
    if isinstance(value, (int, float)):
        return float(value)
    raise TypeError(f"optimizer: {name} must be a number, not {type(value).__name__}")


def _to_settings(values: dict[str, Any]) -> dict[str, float]:
    """The numbers that the C++ class knows: NaN for None, tuples split, words by their place."""
    settings = {}
    for name, value in values.items():
        if name in _WITHOUT_EFFECT or name in ("params", "param_names", "initial_lr"):
            continue
        if name in _WORDS:
            if value not in _WORDS[name]:
                raise ValueError(f"optimizer: {name} must be one of {_WORDS[name]}, not {value!r}")
            settings[name] = float(_WORDS[name].index(value))
        elif isinstance(value, (tuple, list)):
            names = _TUPLES.get(name, ())
            if len(value) != len(names):
                raise ValueError(f"optimizer: {name} must be {len(names) or 'no tuple of'} numbers, not {value!r}")
            settings |= {n: math.nan if v is None else _number(name, v) for n, v in zip(names, value)}
        else:
            settings[name] = _number(name, value)
    return settings


class ParamGroup(MutableMapping):
    """A group of a C++ optimizer as a dictionary: what is read and written are the settings the next step uses."""

    def __init__(self, core: Any, index: int, params: list[Tensor], extra: dict[str, Any]):
        self._core, self._index, self._extra = core, index, {"params": params, **extra}

    def _settings(self) -> dict[str, Any]:
        numbers = dict(self._core.settings(self._index))
        for whole, names in _TUPLES.items():
            if names[0] in numbers:
                parts = (numbers.pop(name) for name in names)
                numbers[whole] = tuple(None if math.isnan(v) else v for v in parts)
        for name, value in numbers.items():
            if name in _WORDS:
                numbers[name] = _WORDS[name][int(value)]
            elif name in _FLAGS:
                numbers[name] = bool(value)
            elif name in _WHOLE:
                numbers[name] = int(value)
        return numbers

    def __getitem__(self, name: str) -> Any:
        if name in self._extra:
            return self._extra[name]
        return self._settings()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        known = self._core.settings(self._index)
        if name in known or (name in _TUPLES and _TUPLES[name][0] in known):
            for setting, number in _to_settings({name: value}).items():
                self._core.set(self._index, setting, number)
        else:
            self._extra[name] = value

    def __delitem__(self, name: str) -> None:
        del self._extra[name]

    def __iter__(self) -> Iterator[str]:
        yield "params"
        yield from self._settings()
        yield from (name for name in self._extra if name != "params")

    def __len__(self) -> int:
        return len(self._extra) + len(self._settings())

    def __repr__(self) -> str:
        return repr(dict(self))


def _groups(params: Iterable) -> list[dict[str, Any]]:
    """Tensors, pairs of name and tensor, or dictionaries with `params`; one dictionary per group."""
    if isinstance(params, Tensor):
        raise TypeError("optimizer: params must be an iterable of tensors or of dictionaries, not one tensor")
    items = list(params)
    if not items:
        raise ValueError("optimizer: got an empty parameter list")
    if not isinstance(items[0], (dict, MutableMapping)):
        items = [{"params": items}]
    groups = []
    for group in items:
        if not isinstance(group, (dict, MutableMapping)) or "params" not in group:
            raise ValueError(f"optimizer: a group must be a dictionary with 'params', found {repr(group)[:80]}")
        group = dict(group)
        given = group["params"]
        if isinstance(given, set):
            raise TypeError("optimizer: params must be in an order; a set has none")
        given = [given] if isinstance(given, Tensor) else list(given)
        if given and isinstance(given[0], tuple):
            group["param_names"] = [name for name, _ in given]
            given = [tensor for _, tensor in given]
        for p in given:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer: can only train tensors, not {type(p).__name__}")
        group["params"] = given
        groups.append(group)
    return groups


class Optimizer:
    """Base of all optimizers. A subclass in Python passes its parameters and defaults on and defines `step`, with
    `self.param_groups` (a list of dictionaries) and `self.state` (a dictionary per parameter)."""

    _core: Any = None

    def __init__(self, params: Iterable, defaults: dict[str, Any]) -> None:
        self.defaults = dict(defaults)
        self.param_groups: list[Any] = []
        self._pre_hooks: list[Callable] = []
        self._post_hooks: list[Callable] = []
        if self._core is None:
            self.state: Any = defaultdict(dict)
        for group in _groups(params):
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Trains more parameters; settings that are left out are the defaults."""
        (group,) = _groups([param_group])
        own = {id(p) for g in self.param_groups for p in g["params"]}
        for p in group["params"]:
            if id(p) in own:
                raise ValueError("optimizer: a parameter appears in more than one group")
            own.add(id(p))
        for name, value in self.defaults.items():
            group.setdefault(name, value)
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients; `set_to_none=False` fills them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if set_to_none:
                    p.grad = None
                else:
                    p.grad = _core.operators["zeros_like"](p.grad)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Changes the parameters. `closure` computes the loss again first, and it is returned."""
        raise NotImplementedError(f"{type(self).__name__}: step is not defined")

    def register_step_pre_hook(self, hook: Callable) -> _Handle:
        """`hook(optimizer, args, kwargs)` is called before each step."""
        return _Handle(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> _Handle:
        """`hook(optimizer, args, kwargs)` is called after each step."""
        return _Handle(self._post_hooks, hook)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _hooked(cls.__dict__["step"])  # type: ignore[method-assign]

    def _numbered(self) -> list[tuple[int, Tensor]]:
        return list(enumerate(p for g in self.param_groups for p in g["params"]))

    def state_dict(self) -> dict[str, Any]:
        """`{"state": {number: {name: tensor}}, "param_groups": [...]}`; parameters are numbered in order."""
        state = {i: dict(self.state[p]) for i, p in self._numbered() if p in self.state}
        groups, start = [], 0
        for group in self.param_groups:
            count = len(group["params"])
            groups.append(
                {**{k: v for k, v in group.items() if k != "params"}, "params": list(range(start, start + count))}
            )
            start += count
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copies what `state_dict` returned, from an optimizer of the same groups. Raises ValueError if they differ."""
        given = state_dict["param_groups"]
        if len(given) != len(self.param_groups):
            raise ValueError(
                f"optimizer: the state has {len(given)} parameter groups, this optimizer {len(self.param_groups)}"
            )
        for i, (old, new) in enumerate(zip(self.param_groups, given, strict=True)):
            if len(old["params"]) != len(new["params"]):
                raise ValueError(
                    f"optimizer: group {i} of the state has {len(new['params'])} parameters, "
                    f"this optimizer's {len(old['params'])}"
                )
        numbers = [n for group in given for n in group["params"]]
        position = {n: i for i, n in enumerate(numbers)}
        self._load_state({position[n]: s for n, s in state_dict["state"].items()}, given)

    def _step_unless(self, skip: Tensor) -> None:
        """A step that changes nothing where the 0-d truth value `skip` holds: for steps that are recorded."""
        self._core.step(skip)

    def _load_state(self, state: dict[int, dict[str, Any]], groups: list[dict[str, Any]]) -> None:
        for old, new in zip(self.param_groups, groups, strict=True):
            old.update({k: v for k, v in new.items() if k != "params"})
        self.state.clear()
        for i, p in self._numbered():
            if i in state:
                self.state[p] = {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in state[i].items()}

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


class _Handle:
    def __init__(self, hooks: list, hook: Callable):
        self._hooks, self._hook = hooks, hook
        hooks.append(hook)

    def remove(self) -> None:
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)


def _hooked(step: Callable) -> Callable:
    if getattr(step, "_hooked", False):
        return step

    def hooked(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        for hook in self._pre_hooks:
            hook(self, args, kwargs)
        result = step(self, *args, **kwargs)
        for hook in self._post_hooks:
            hook(self, args, kwargs)
        return result

    hooked.__doc__ = step.__doc__
    hooked.__name__ = "step"
    hooked._hooked = True  # type: ignore[attr-defined]
    return hooked


class _State(MutableMapping):
    """The state of a C++ optimizer by parameter; it is read here and written by load_state_dict."""

    def __init__(self, optimizer: CoreOptimizer):
        self._optimizer = optimizer

    def _all(self) -> dict[int, dict[str, Tensor]]:
        out: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self._optimizer._core.state_dict().items():
            kind, number, rest = name.split(".", 2)
            if kind == "state":
                out.setdefault(int(number), {})[rest] = tensor.float() if rest == "step" else tensor
        return out

    def __getitem__(self, parameter: Tensor) -> dict[str, Tensor]:
        for i, p in self._optimizer._numbered():
            if p is parameter:
                return self._all().get(i, {})
        raise KeyError("optimizer: this tensor is not one of its parameters")

    def __contains__(self, parameter: object) -> bool:
        return any(p is parameter for _, p in self._optimizer._numbered())

    def __setitem__(self, parameter: Tensor, value: Any) -> None:
        raise TypeError("optimizer: the state belongs to the C++ optimizer; load_state_dict writes it")

    def __delitem__(self, parameter: Tensor) -> None:
        raise TypeError("optimizer: the state belongs to the C++ optimizer; load_state_dict writes it")

    def __iter__(self) -> Iterator[Tensor]:
        return (p for _, p in self._optimizer._numbered())

    def __len__(self) -> int:
        return len(self._optimizer._numbered())


class CoreOptimizer(Optimizer):
    """An optimizer whose algorithm is a C++ class."""

    def __init__(self, core_class: Any, params: Iterable, defaults: dict[str, Any]) -> None:
        groups = _groups(params)
        self._core = core_class([(g["params"], _to_settings(g)) for g in groups], _to_settings(defaults))
        super().__init__(groups, defaults)
        self.state = _State(self)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        (group,) = _groups([param_group])
        index = len(self.param_groups)
        if index == self._core.num_groups():
            self._core.add_group((group["params"], _to_settings(group)))
        known = self._core.settings(index)
        extra = {k: v for k, v in self.defaults.items() if k in _WITHOUT_EFFECT}
        extra |= {k: v for k, v in group.items() if k not in known and k not in _TUPLES and k != "params"}
        self.param_groups.append(ParamGroup(self._core, index, group["params"], extra))

    @property
    def lr(self) -> float:
        """The learning rate of the first group; writing it sets that of all groups."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: Any) -> None:
        for group in self.param_groups:
            group["lr"] = value

    def zero_grad(self, set_to_none: bool = True) -> None:
        if set_to_none:
            self._core.zero_grad()
        else:
            super().zero_grad(set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            before = _core._set_grad_enabled(True)
            try:
                loss = closure()
            finally:
                _core._set_grad_enabled(before)
        self._core.step()
        return loss

    def _step_unless(self, skip: Tensor) -> None:
        """A step that changes nothing where the 0-d truth value `skip` holds: for steps that are recorded."""
        self._core.step(skip)

    def _load_state(self, state: dict[int, dict[str, Any]], groups: list[dict[str, Any]]) -> None:
        for old, new in zip(self.param_groups, groups, strict=True):
            old.update({k: v for k, v in new.items() if k != "params"})
        # PyTorch leaves out the state of parameters that were never stepped; here it is there, as it begins.
        flat = {}
        own_state = self._core.state_dict()
        for name, initial in self._core.initial_state_dict().items():
            kind, number, rest = name.split(".", 2)
            value = state.get(int(number), {}).get(rest) if kind == "state" else own_state[name]
            if value is None:
                value = initial
            flat[name] = value if isinstance(value, Tensor) else _core.tensor(value)
        for i, entry in state.items():
            for rest, value in entry.items():
                if f"state.{i}.{rest}" not in flat and value is not None:
                    raise ValueError(
                        f"optimizer: the state of parameter {i} has '{rest}', which this optimizer has not"
                    )
        self._core.load_state_dict(flat)
