"""What a Module has beyond its C++ class: attributes that register themselves, calls with any arguments, hooks, copies.

The registry of parameters, buffers and children is the C++ object's. An instance's __dict__ holds the Python objects that
stand for them, so that `layer.weight is layer.weight`, and reading one is as fast as any attribute.
"""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from typing import Any

from .. import _core
from .._core import Tensor, _nn
from . import _computed
from .parameter import Parameter

Module = _nn.Module


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    __slots__ = ()

    def __repr__(self) -> str:
        return super().__repr__() if self.missing_keys or self.unexpected_keys else "<All keys matched successfully>"

    __str__ = __repr__


_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_state_dict_hooks")
_set = object.__setattr__


def _as_python(tensor: Tensor | None, is_parameter: bool) -> Tensor | None:
    if tensor is None or not is_parameter:
        return tensor
    parameter = Parameter.__new__(Parameter)
    Tensor.__init__(parameter, tensor)  # the same tensor, not a copy
    return parameter


def _stored(self: Module) -> list[tuple[str, bool, bool]]:
    """(name, is a parameter, persistent) of the tensors that the module holds; computed ones have no value of their own."""
    computed = self.__dict__.get("_computed", ())
    return [slot for slot in Module._tensors(self) if slot[0] not in computed]


def _getattr(self: Module, name: str) -> Any:
    if not name.startswith("__"):
        if name in self.__dict__.get("_computed", ()):
            return _computed.read(self, name)
        found = Module._find_tensor(self, name)
        if found is not None:
            value = _as_python(*found)
            if value is not None:
                _set(self, name, value)
            return value
        for child_name, child in Module._children(self):
            if child_name == name:
                _set(self, name, child)
                return child
    raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _check_begun(self: Module) -> None:
    if not _nn.is_begun(self):
        raise AttributeError(
            f"{type(self).__name__}.__init__: call super().__init__() before tensors or modules are set"
        )


def _setattr(self: Module, name: str, value: Any) -> None:
    if isinstance(value, (Module, Tensor)):
        _check_begun(self)
        if (rule := _computed.rule_of(self, name)) is not None:
            rule.assign(self, value)
            return
    if isinstance(value, Parameter):
        self.register_parameter(name, value)
    elif isinstance(value, Module):
        self.register_module(name, value)
    elif value is None or isinstance(value, Tensor):
        found = Module._find_tensor(self, name)
        if found is not None:
            if value is not None and found[1]:
                raise TypeError(f"cannot assign a Tensor as parameter {name!r} (a Parameter or None is expected)")
            Module._set_tensor(self, name, value)
            self.__dict__.pop(name, None)
            if value is not None:
                _set(self, name, value)
        elif value is None and any(name == n for n, _ in Module._children(self)):
            Module._register_module(self, name, None)
            _set(self, name, None)
        else:
            _set(self, name, value)
    elif _nn.is_begun(self) and (found := Module._find_tensor(self, name)) is not None:
        kind = "parameter" if found[1] else "buffer"
        raise TypeError(f"cannot assign {type(value).__name__!r} as {kind} {name!r} (a Tensor or None is expected)")
    else:
        _set(self, name, value)


def _delattr(self: Module, name: str) -> None:
    if Module._find_tensor(self, name) is not None or any(name == n for n, _ in Module._children(self)):
        Module._remove(self, name)
        self.__dict__.pop(name, None)
    else:
        object.__delattr__(self, name)


def register_parameter(self: Module, name: str, param: Parameter | None) -> None:
    """Trains `param` under `name`. KeyError for an empty name or one with a dot."""
    if param is not None and not isinstance(param, Parameter):
        raise TypeError(f"register_parameter: {name!r} must be a Parameter or None, not {type(param).__name__}")
    wanted = param is not None and param.requires_grad
    Module._register_parameter(self, name, param)
    self.__dict__.pop(name, None)
    if param is not None:
        if not wanted:
            param.requires_grad_(False)
        _set(self, name, param)


def register_buffer(self: Module, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
    """Keeps a tensor that is not trained; with `persistent` it is part of the state dictionary."""
    if tensor is not None and not isinstance(tensor, Tensor):
        raise TypeError(f"register_buffer: {name!r} must be a Tensor or None, not {type(tensor).__name__}")
    Module._register_buffer(self, name, tensor, persistent)
    self.__dict__.pop(name, None)
    if tensor is not None:
        _set(self, name, tensor)


def register_module(self: Module, name: str, module: Module | None) -> None:
    """Makes `module` a child under `name`. TypeError for what is no module."""
    if module is not None and not isinstance(module, Module):
        raise TypeError(f"{type(self).__name__}: {name!r} is a {type(module).__name__}, expected a Module")
    Module._register_module(self, name, module)
    _set(self, name, module)


def _call(self: Module, *args: Any, **kwargs: Any) -> Any:
    if "_hooked" in self.__dict__:
        return _call_with_hooks(self, args, kwargs)
    return self.forward(*args, **kwargs)


def _call_with_hooks(self: Module, args: tuple, kwargs: dict) -> Any:
    called: set[int] = set()
    output = None
    try:
        for hook, with_kwargs in list(self.__dict__.get("_forward_pre_hooks", {}).values()):
            if with_kwargs:
                result = hook(self, args, kwargs)
                if result is not None:
                    args, kwargs = result
            else:
                result = hook(self, args)
                if result is not None:
                    args = result if isinstance(result, tuple) else (result,)
        watched = None
        if self.__dict__.get("_backward_hooks") and _core.is_grad_enabled():
            from ._backward_hooks import Watched

            watched = Watched(self)
            args = watched.inputs(args)
        output = self.forward(*args, **kwargs)
        if watched is not None:
            output = watched.outputs(output)
        for number, (hook, with_kwargs, _) in list(self.__dict__.get("_forward_hooks", {}).items()):
            called.add(number)
            result = hook(self, args, kwargs, output) if with_kwargs else hook(self, args, output)
            if result is not None:
                output = result
    except BaseException:
        for number, (hook, with_kwargs, always) in list(self.__dict__.get("_forward_hooks", {}).items()):
            if not always or number in called:
                continue
            try:
                hook(self, args, kwargs, output) if with_kwargs else hook(self, args, output)
            except Exception as error:  # the first error is the one to be seen
                warnings.warn(
                    f"{type(self).__name__}: a forward hook failed after another error: {error}", stacklevel=3
                )
        raise
    return output


class _HookHandle:
    """`remove()` takes the hook off again; as a context manager it does so at the end."""

    _next = 0

    def __init__(self, hooks: OrderedDict, hook: Any, first: bool) -> None:
        _HookHandle._next += 1
        self._hooks, self.id = hooks, _HookHandle._next
        hooks[self.id] = hook
        if first:
            hooks.move_to_end(self.id, last=False)

    def remove(self) -> None:
        self._hooks.pop(self.id, None)

    def __enter__(self) -> _HookHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def _add_hook(self: Module, kind: str, hook: Any, first: bool) -> _HookHandle:
    hooks = self.__dict__.setdefault(kind, OrderedDict())
    if "_hooked" not in self.__dict__ and kind != "_state_dict_hooks":
        _set(self, "_hooked", True)
        self._route_calls(True)
    return _HookHandle(hooks, hook, first)


def register_forward_pre_hook(
    self: Module, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
) -> _HookHandle:
    """`hook(module, args)` runs before forward; what it returns (if not None) replaces the arguments."""
    return _add_hook(self, "_forward_pre_hooks", (hook, with_kwargs), prepend)


def register_forward_hook(
    self: Module, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
) -> _HookHandle:
    """`hook(module, args, output)` runs after forward; what it returns (if not None) replaces the output.

    With `always_call` it also runs where the call fails; there is no output then, unless a later hook failed.
    """
    return _add_hook(self, "_forward_hooks", (hook, with_kwargs, always_call), prepend)


def register_full_backward_hook(self: Module, hook: Callable, prepend: bool = False) -> _HookHandle:
    """`hook(module, grad_input, grad_output)` runs when the gradients of the module's inputs are there; what it returns
    (if not None) replaces them. Both are tuples with None where there is no gradient."""
    return _add_hook(self, "_backward_hooks", hook, prepend)


def children(self: Module) -> Iterator[Module]:
    """The modules directly below, each once."""
    return (module for _, module in self.named_children())


def named_children(self: Module) -> Iterator[tuple[str, Module]]:
    seen = set()
    for name, module in Module._children(self):
        if module is not None and id(module) not in seen:
            seen.add(id(module))
            yield name, module


def named_modules(
    self: Module, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True
) -> Iterator[tuple[str, Module]]:
    """This module under `prefix`, then all below it."""
    memo = set() if memo is None else memo
    if self in memo:
        return
    if remove_duplicate:
        memo.add(self)
    yield prefix, self
    for name, module in Module._children(self):
        if module is not None:
            yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)


def modules(self: Module) -> Iterator[Module]:
    return (module for _, module in self.named_modules())


def _named_tensors(
    self: Module, parameters: bool, prefix: str, recurse: bool, remove_duplicate: bool
) -> Iterator[tuple[str, Any]]:
    seen = set()
    for module_name, module in (
        self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
    ):
        for name, is_parameter, _ in _stored(module):
            if is_parameter != parameters:
                continue
            tensor = getattr(module, name)
            if tensor is None or (remove_duplicate and hash(tensor) in seen):
                continue
            seen.add(hash(tensor))
            yield f"{module_name}.{name}" if module_name else name, tensor


def named_parameters(
    self: Module, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
) -> Iterator[tuple[str, Parameter]]:
    """Names and parameters, each once (under the first of its names)."""
    return _named_tensors(self, True, prefix, recurse, remove_duplicate)


def parameters(self: Module, recurse: bool = True) -> Iterator[Parameter]:
    return (p for _, p in self.named_parameters(recurse=recurse))


def named_buffers(
    self: Module, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
) -> Iterator[tuple[str, Tensor]]:
    return _named_tensors(self, False, prefix, recurse, remove_duplicate)


def buffers(self: Module, recurse: bool = True) -> Iterator[Tensor]:
    return (b for _, b in self.named_buffers(recurse=recurse))


def state_dict(
    self: Module, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
) -> OrderedDict[str, Tensor]:
    """Parameters and persistent buffers by name; they share memory with the module."""
    out = OrderedDict() if destination is None else destination
    if keep_vars:
        for module_name, module in self.named_modules(prefix=prefix.removesuffix("."), remove_duplicate=False):
            for name, is_parameter, persistent in _stored(module):
                if (is_parameter or persistent) and getattr(module, name) is not None:
                    out[f"{module_name}.{name}" if module_name else name] = getattr(module, name)
        return out
    for name, tensor in Module._named_state(self):
        out[prefix + name] = tensor
    return out


def load_state_dict(self: Module, state_dict: Any, strict: bool = True, assign: bool = False) -> _IncompatibleKeys:
    """Copies tensors by name into this module; with `assign` they take the place of its own.

    RuntimeError lists the names that are missing or unexpected (if `strict`) and those whose shapes differ; then nothing
    was copied.
    """
    tensors = {}
    for name, value in dict(state_dict).items():
        if not isinstance(value, Tensor):
            raise TypeError(f"load_state_dict: {name!r} is not a Tensor but {type(value).__name__}")
        tensors[name] = value
    for path, module in self.named_modules():
        if hasattr(module, "take_shapes"):  # nn.Lazy...
            start = f"{path}." if path else ""
            own = {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
            module.take_shapes({n: t for n, t in own.items() if "." not in n})
    if not assign:
        return _IncompatibleKeys(*Module._load(self, tensors, strict))
    own = dict(Module._named_state(self))
    result = _IncompatibleKeys([n for n in own if n not in tensors], [n for n in tensors if n not in own])
    wrong = [
        f"size mismatch for {n}: the state has shape {tuple(tensors[n].shape)}, this module {tuple(t.shape)}"
        for n, t in own.items()
        if n in tensors and tensors[n].shape != t.shape
    ]
    if strict and result.missing_keys:
        wrong.insert(0, "Missing key(s) in state_dict: " + ", ".join(map(repr, result.missing_keys)))
    if strict and result.unexpected_keys:
        wrong.insert(0, "Unexpected key(s) in state_dict: " + ", ".join(map(repr, result.unexpected_keys)))
    if wrong:
        raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(wrong))
    for name in own:
        if name in tensors:
            path, _, last = name.rpartition(".")
            module = self.get_submodule(path)
            old = getattr(module, last)
            if isinstance(old, Parameter):
                new = tensors[name]
                setattr(module, last, new if isinstance(new, Parameter) else Parameter(new, old.requires_grad))
            else:
                setattr(module, last, tensors[name])
    return result


def get_submodule(self: Module, target: str) -> Module:
    """The module of a dotted name; AttributeError if there is none."""
    module = self
    for name in target.split(".") if target else []:
        module = getattr(module, name)
        if not isinstance(module, Module):
            raise AttributeError(f"`{name}` of {target!r} is not a Module")
    return module


def get_parameter(self: Module, target: str) -> Parameter:
    path, _, name = target.rpartition(".")
    parameter = getattr(self.get_submodule(path), name)
    if not isinstance(parameter, Parameter):
        raise AttributeError(f"`{target}` is not a Parameter")
    return parameter


def get_buffer(self: Module, target: str) -> Tensor:
    path, _, name = target.rpartition(".")
    return getattr(self.get_submodule(path), name)


def train(self: Module, mode: bool = True) -> Module:
    """Switches this module and all below it to training (dropout draws, batch norm learns its statistics)."""
    if not isinstance(mode, bool):
        raise ValueError("training mode is expected to be boolean")
    self.training = mode
    for module in self.children():
        module.train(mode)
    return self


def eval(self: Module) -> Module:
    return self.train(False)


def requires_grad_(self: Module, requires_grad: bool = True) -> Module:
    for p in self.parameters():
        p.requires_grad_(requires_grad)
    return self


def zero_grad(self: Module, set_to_none: bool = True) -> None:
    for p in self.parameters():
        if p.grad is not None:
            p.grad = None if set_to_none else _core.operators["zeros_like"](p.grad)


def apply(self: Module, fn: Callable[[Module], Any]) -> Module:
    """Calls `fn` with every module below, then with this one."""
    for module in self.children():
        module.apply(fn)
    fn(self)
    return self


def to(self: Module, *args: Any, **kwargs: Any) -> Module:
    """Converts floating-point parameters and buffers to a dtype; they stay the same objects. Devices: only "cpu"."""
    dtype = kwargs.get("dtype")
    for a in (*args, kwargs.get("device"), kwargs.get("tensor")):
        if isinstance(a, Tensor):
            dtype = a.dtype
        elif isinstance(a, _core.dtype):
            dtype = a
        elif isinstance(a, str) and not a.startswith("cpu"):
            raise RuntimeError(f"to: there is no device {a!r}; the only one is 'cpu'")
    if dtype is not None:
        Module._to(self, dtype)
    return self


def _converter(name: str, dtype: Any) -> Callable:
    def convert(self: Module) -> Module:
        Module._to(self, dtype)
        return self

    convert.__name__ = name
    convert.__doc__ = f"Converts floating-point parameters and buffers to {name}."
    return convert


def cpu(self: Module) -> Module:
    return self


def _get_name(self: Module) -> str:
    return type(self).__name__


def _repr(self: Module) -> str:
    def indented(text: str) -> str:
        return text.replace("\n", "\n  ")

    extra = self.extra_repr()
    extra_lines = extra.split("\n") if extra else []
    lines = [f"({name}): {indented(repr(module))}" for name, module in Module._children(self) if module is not None]
    text = self._get_name() + "("
    if extra_lines and not lines and len(extra_lines) == 1:
        return text + extra_lines[0] + ")"
    if extra_lines or lines:
        text += "\n  " + "\n  ".join([*extra_lines, *lines]) + "\n"
    return text + ")"


def _core_class(cls: type) -> Any:
    """The C++ class below a Python one."""
    return next(c for c in cls.__mro__ if c.__module__ == Module.__module__)


def _empty_like(cls: type[Module], arguments: tuple) -> Module:
    new = cls.__new__(cls)
    _core_class(cls).__init__(new, *arguments)
    return new


def _getstate(self: Module) -> dict[str, Any]:
    """Everything but the C++ object itself, which its constructor's arguments make again."""
    tensors = [
        (name, is_parameter, persistent, getattr(self, name)) for name, is_parameter, persistent in _stored(self)
    ]
    registered = {name for name, *_ in tensors} | {name for name, _ in Module._children(self)}
    plain = {k: v for k, v in self.__dict__.items() if k not in registered and k != "_hooked"}
    return {"tensors": tensors, "children": list(Module._children(self)), "plain": plain, "training": self.training}


def _setstate(self: Module, state: dict[str, Any]) -> None:
    for name, is_parameter, persistent, tensor in state["tensors"]:
        if is_parameter:
            self.register_parameter(name, tensor)
        else:
            self.register_buffer(name, tensor, persistent)
    for name, child in state["children"]:
        self.register_module(name, child)
    for name, value in state["plain"].items():
        _set(self, name, value)
    for name in state["plain"].get("_computed", ()):  # where the constructor has put a parameter
        Module._register_buffer(self, name, None, False)
        self.__dict__.pop(name, None)
    self.training = state["training"]
    if any(kind in self.__dict__ for kind in ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks")):
        _set(self, "_hooked", True)
        self._route_calls(True)


def _reduce(self: Module, protocol: int) -> tuple:
    return _empty_like, (type(self), self._arguments()), self.__getstate__()


def _deepcopy(self: Module, memo: dict) -> Module:
    new = _empty_like(type(self), self._arguments())
    memo[id(self)] = new
    new.__setstate__(copy.deepcopy(self.__getstate__(), memo))
    return new


def _extend() -> None:
    functions = [
        register_parameter,
        register_buffer,
        register_module,
        register_forward_pre_hook,
        register_forward_hook,
        register_full_backward_hook,
        children,
        named_children,
        named_modules,
        modules,
        named_parameters,
        parameters,
        named_buffers,
        buffers,
        state_dict,
        load_state_dict,
        get_submodule,
        get_parameter,
        get_buffer,
        train,
        eval,
        requires_grad_,
        zero_grad,
        apply,
        to,
        cpu,
        _get_name,
    ]
    for f in functions:
        setattr(Module, f.__name__, f)
    for name, dtype in [
        ("float", _core.float32),
        ("double", _core.float64),
        ("half", _core.float16),
        ("bfloat16", _core.bfloat16),
    ]:
        setattr(Module, name, _converter(name, dtype))
    Module.type = lambda self, dtype: self.to(dtype)
    Module.add_module = register_module
    special: dict[str, Any] = {
        "__setattr__": _setattr, "__getattr__": _getattr, "__delattr__": _delattr, "__call__": _call, "__repr__": _repr,
        "__getstate__": _getstate, "__setstate__": _setstate, "__reduce_ex__": _reduce, "__deepcopy__": _deepcopy,
    }  # fmt: skip
    for name, method in special.items():
        setattr(Module, name, method)
    Module._parameters = property(lambda self: {n: getattr(self, n) for n, p, _ in _stored(self) if p})
    Module._buffers = property(lambda self: {n: getattr(self, n) for n, p, _ in _stored(self) if not p})
    Module._modules = property(lambda self: OrderedDict(Module._children(self)))


_extend()
