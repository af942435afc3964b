"""Transformations of functions: gradients, products with Jacobians, modules as pure functions.

    def loss(w, x):
        return ((x @ w) ** 2).sum()

    slope = sorus.func.grad(loss)(w, x)                 # like w
    value, slopes = sorus.func.value_and_grad(loss, argnums=(0, 1))(w, x)
    y, pull = sorus.func.vjp(f, x)                      # pull(v) is v times the Jacobian
    y, pushed = sorus.func.jvp(f, (x,), (t,))           # pushed is the Jacobian times t

They can be nested: the gradient of a gradient is grad(grad(f)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import _core
from ._core import Tensor
from .autograd import enable_grad
from .autograd import grad as _gradients

__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "stack_module_state",
    "value_and_grad",
    "vjp",
    "vmap",
]


# ---- nests of tuples, lists and dictionaries


def _leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for item in value.values() for t in _leaves(item)]
    if isinstance(value, (tuple, list)):
        return [t for item in value for t in _leaves(item)]
    return []


def _rebuild(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The same nest with the next tensors in the places of its own."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, dict):
        return type(value)((k, _rebuild(v, tensors)) for k, v in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_rebuild(v, tensors) for v in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_rebuild(v, tensors) for v in value)
    return value


def _map(f: Callable[..., Any], value: Any) -> Any:
    return _rebuild(value, iter([f(t) for t in _leaves(value)]))


def _variable(t: Tensor) -> Tensor:
    """A tensor to differentiate by that remembers where it came from, so that transformations can be nested."""
    if not (t.is_floating_point() or t.is_complex()):
        raise TypeError(f"func: only floating-point and complex tensors have gradients, this one is {t.dtype}")
    return _core.operators["clone"](t) if t.requires_grad else t.detach().requires_grad_(True)


_depth = 0


@contextmanager
def _transforming(*values: Any) -> Iterator[bool]:
    """Gradients are recorded inside; says whether the results must keep their history: inside of another transformation,
    or when an argument requires gradients itself."""
    global _depth
    keep = _depth > 0 or any(t.requires_grad for t in _leaves(values))
    _depth += 1
    try:
        with enable_grad():
            yield keep
    finally:
        _depth -= 1


def _result(value: Any, keep: bool) -> Any:
    return value if keep else _map(lambda t: t.detach() if t.requires_grad else t, value)


def _zeros_for(grads: Any, inputs: list[Tensor]) -> list[Tensor]:
    return [_core.operators["zeros_like"](x).detach() if g is None else g for g, x in zip(grads, inputs, strict=True)]


def _pull(outputs: list[Tensor], inputs: list[Tensor], cotangents: list[Tensor], keep: bool) -> list[Tensor]:
    """Cotangents times the Jacobian; the history of `outputs` stays."""
    chosen = [i for i, t in enumerate(outputs) if t.requires_grad]
    if not chosen:
        return _zeros_for([None] * len(inputs), inputs)
    grads = _gradients(
        [outputs[i] for i in chosen],
        inputs,
        [cotangents[i] for i in chosen],
        retain_graph=True,
        create_graph=keep,
        allow_unused=True,
    )
    return _zeros_for(grads, inputs)


def value_and_grad(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """A function that returns `(value, gradients)`, or `((value, aux), gradients)` with `has_aux`.

    `func` must return a tensor of one element (with `has_aux`, a pair of it and anything). Gradients have the structure of
    the arguments `argnums`; an argument that does not matter gets zeros. RuntimeError if the value is no single number.
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def transformed(*args: Any, **kwargs: Any) -> tuple:
        for n in numbers:
            if not -len(args) <= n < len(args):
                raise RuntimeError(f"grad: argnums {n} does not name one of the {len(args)} arguments")
        new = list(args)
        with _transforming(args, kwargs) as keep:
            variables = [_map(_variable, args[n]) for n in numbers]
            for n, v in zip(numbers, variables, strict=True):
                new[n] = v
            result = func(*new, **kwargs)
            value, aux = result if has_aux else (result, None)
            if not isinstance(value, Tensor) or value.numel() != 1:
                found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise RuntimeError(f"grad: the function must return a tensor of one element, got {found}")
            slopes = _pull([value], _leaves(variables), [_core.operators["ones_like"](value)], keep)
        slopes = _result(_rebuild(variables, iter(slopes)), keep)
        value, aux = _result(value, keep), _result(aux, keep)
        return ((value, aux) if has_aux else value), slopes[0] if isinstance(argnums, int) else tuple(slopes)

    return transformed


def grad(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """A function that returns the gradients of `func`, or `(gradients, aux)` with `has_aux`; see value_and_grad."""
    both = value_and_grad(func, argnums, has_aux)

    def transformed(*args: Any, **kwargs: Any) -> Any:
        value, slopes = both(*args, **kwargs)
        return (slopes, value[1]) if has_aux else slopes

    return transformed


def grad_and_value(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """As value_and_grad, the gradients first (PyTorch's order)."""
    both = value_and_grad(func, argnums, has_aux)

    def transformed(*args: Any, **kwargs: Any) -> tuple:
        value, slopes = both(*args, **kwargs)
        return slopes, value

    return transformed


def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """`(output, pull)`, or `(output, pull, aux)`: pull(v), with v like the output, returns v times the Jacobian, a
    tuple with a nest for each argument. RuntimeError if v has other shapes."""
    with _transforming(primals) as keep:
        variables = [_map(_variable, p) for p in primals]
        result = func(*variables)
    output, aux = result if has_aux else (result, None)
    outputs, inputs = _leaves(output), _leaves(variables)

    def pull(cotangents: Any, *more: Any) -> tuple:
        given = _leaves((cotangents, *more))
        if [t.shape for t in given] != [t.shape for t in outputs]:
            raise RuntimeError(
                f"vjp: expected cotangents of shapes {[tuple(t.shape) for t in outputs]}, got "
                f"{[tuple(t.shape) for t in given]}"
            )
        with _transforming(given) as keep_now:
            keep_now = keep_now or keep
            grads = _pull(outputs, inputs, given, keep_now)
        return tuple(_result(_rebuild(variables, iter(grads)), keep_now))

    shown = _result(output, keep)
    return (shown, pull, _result(aux, keep)) if has_aux else (shown, pull)


def jvp(func: Callable, primals: tuple, tangents: tuple, *, has_aux: bool = False) -> tuple:
    """`(output, pushed)`, or `(output, pushed, aux)`: the Jacobian times the tangents, which are like the primals.

    It is computed as the derivative of vjp by its cotangent, so every operator with a gradient can be pushed through.
    """
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise RuntimeError("jvp: primals and tangents must be tuples, one entry per argument")
    flat_tangents = _leaves(tangents)
    if [t.shape for t in flat_tangents] != [t.shape for t in _leaves(primals)]:
        raise RuntimeError(
            f"jvp: tangents of shapes {[tuple(t.shape) for t in flat_tangents]} do not fit primals of shapes "
            f"{[tuple(t.shape) for t in _leaves(primals)]}"
        )
    with _transforming(primals, tangents) as keep:
        variables = [_map(_variable, p) for p in primals]
        result = func(*variables)
        output, aux = result if has_aux else (result, None)
        outputs, inputs = _leaves(output), _leaves(variables)
        dummies = [_core.operators["zeros_like"](o).detach().requires_grad_(True) for o in outputs]
        pulled = _pull(outputs, inputs, dummies, True)
        pushed = _pull(pulled, dummies, flat_tangents, keep)
    pushed = _result(_rebuild(output, iter(pushed)), keep)
    output = _result(output, keep)
    return (output, pushed, _result(aux, keep)) if has_aux else (output, pushed)


def _basis(t: Tensor) -> Iterator[Tensor]:
    """All tensors like `t` with a single one."""
    n = t.numel()
    rows = _core.operators["zeros"]([n, n], dtype=t.dtype)
    for i in range(n):
        rows[i, i] = 1
    return (rows[i].reshape(tuple(t.shape)) for i in range(n))


def jacrev(func: Callable, argnums: int = 0) -> Callable:
    """The Jacobian [output.., input..] by one pull per element of the output."""

    def transformed(*args: Any) -> Tensor:
        at = lambda x: func(*(x if i == argnums else a for i, a in enumerate(args)))  # noqa: E731
        output, pull = vjp(at, args[argnums])
        rows = [pull(v)[0] for v in _basis(output)]
        return _core.operators["stack"](rows).reshape((*output.shape, *args[argnums].shape))

    return transformed


def jacfwd(func: Callable, argnums: int = 0) -> Callable:
    """The Jacobian [output.., input..] by one push per element of the input."""

    def transformed(*args: Any) -> Tensor:
        at = lambda x: func(*(x if i == argnums else a for i, a in enumerate(args)))  # noqa: E731
        columns = [jvp(at, (args[argnums],), (v,))[1] for v in _basis(args[argnums])]
        return _core.operators["stack"](columns, -1).reshape((*columns[0].shape, *args[argnums].shape))

    return transformed


def hessian(func: Callable, argnums: int = 0) -> Callable:
    """The second derivatives of a function of one element."""
    return jacrev(grad(func, argnums), argnums)


def vmap(
    func: Callable, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "different", *, chunk_size: Any = None
) -> Callable:
    """`func` over a dimension of its arguments (`None`: the same for all). It runs once for each element: what it saves is
    writing the loop; `chunk_size` is accepted and changes nothing. Each run draws its own random numbers."""
    if randomness not in ("different", "error"):
        raise NotImplementedError(
            f"vmap: every element draws its own random numbers, randomness={randomness!r} is not there"
        )

    def transformed(*args: Any) -> Any:
        dims = in_dims if isinstance(in_dims, (tuple, list)) else (in_dims,) * len(args)
        sizes = {t.shape[d] for a, d in zip(args, dims, strict=True) if d is not None for t in _leaves(a)}
        if len(sizes) != 1:
            raise ValueError(f"vmap: the mapped dimensions must have one size, got {sorted(sizes)}")
        results = [
            func(
                *(
                    a if d is None else _map(lambda t, d=d, i=i: t.select(d, i), a)
                    for a, d in zip(args, dims, strict=True)
                )
            )
            for i in range(sizes.pop())
        ]
        return gathered(results, out_dims)

    def gathered(results: list, out_dims: Any) -> Any:
        if isinstance(results[0], Tensor):
            return _core.operators["stack"](results, out_dims)
        if isinstance(results[0], dict):
            return {key: gathered([r[key] for r in results], out_dims) for key in results[0]}
        outs = out_dims if isinstance(out_dims, (tuple, list)) else (out_dims,) * len(results[0])
        return tuple(gathered([r[k] for r in results], d) for k, d in enumerate(outs))

    return transformed


def stack_module_state(models: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and buffers of modules of one kind, by name, stacked along a new first dimension: what `vmap` goes over."""
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: expected at least one model, got 0")
    if len({type(m) for m in models}) > 1 or len({m.training for m in models}) > 1:
        raise RuntimeError("stack_module_state: the models must be of one class, and all in training or none")
    stack = _core.operators["stack"]

    def stacked(all_of: list[dict], parameters: bool) -> dict[str, Tensor]:
        out = {}
        for name in all_of[0]:
            t = stack([each[name].detach() for each in all_of])
            out[name] = t.requires_grad_(all_of[0][name].requires_grad) if parameters else t
        return out

    return (stacked([dict(m.named_parameters()) for m in models], True),
            stacked([dict(m.named_buffers()) for m in models], False))  # fmt: skip


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: dict | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Calls a module with other tensors in the places of its parameters and buffers; afterwards it is as before.

    The tensors come by their dotted names, in one dictionary or several. With `tie_weights` a tensor given under one name
    stands for all names of what it replaces. KeyError for a name the module does not have; with `strict` also for one
    that is missing.
    """
    from .nn.module import Module

    dicts = (
        parameter_and_buffer_dicts
        if isinstance(parameter_and_buffer_dicts, (tuple, list))
        else [parameter_and_buffer_dicts]
    )
    given = {name: t for d in dicts for name, t in d.items()}
    places: dict[str, tuple[Any, str, Tensor]] = {}
    for prefix, owner in module.named_modules(remove_duplicate=False):
        for name, _, _ in Module._tensors(owner):
            value = getattr(owner, name)
            if value is not None:
                places[f"{prefix}.{name}" if prefix else name] = (owner, name, value)
    unknown, missing = [n for n in given if n not in places], [n for n in places if n not in given]
    if unknown or (strict and missing):
        raise KeyError(
            f"functional_call: {type(module).__name__} has no tensors {unknown}"
            if unknown
            else f"functional_call: the tensors {missing} of {type(module).__name__} are missing"
        )
    if tie_weights:
        by_tensor = {hash(places[n][2]): t for n, t in given.items()}
        given = {
            n: given[n] if n in given else by_tensor[hash(v)]
            for n, (_, _, v) in places.items()
            if n in given or hash(v) in by_tensor
        }
    args = () if args is None else args if isinstance(args, tuple) else (args,)

    def put(owner: Any, name: str, tensor: Tensor) -> None:
        Module._set_tensor(owner, name, tensor)
        owner.__dict__[name] = tensor

    try:
        for n, tensor in given.items():
            put(*places[n][:2], tensor)
        return module(*args, **(kwargs or {}))
    finally:
        for n in given:
            put(*places[n])
