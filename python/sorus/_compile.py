"""sorus.compile: a function, a module or a whole training step as one compiled graph."""

from __future__ import annotations

import functools
import types
from collections.abc import Sequence
from typing import Any

from . import _core

_SCALARS = (int, float, bool, str, bytes, complex, type(None), _core.dtype)
_OWN = ("sorus", "numpy", "builtins", "math")


def _is_constant(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return len(value) < 1000 and all(_is_constant(v) for v in value)
    if isinstance(value, dict):
        return len(value) < 1000 and all(_is_constant(v) for v in value.values())
    return isinstance(value, _SCALARS)


class _Guards:
    """The Python values that a function can read: closures, globals, and attributes of objects it reaches by name."""

    def __init__(self) -> None:
        self.found: list[tuple[Any, Any, Any]] = []
        self.modules: list[Any] = []
        self._seen: set[int] = set()

    def function(self, f: Any) -> None:
        if isinstance(f, functools.partial):
            self.function(f.func)
            return
        if isinstance(f, types.MethodType):
            self.value(f.__self__)
            f = f.__func__
        if not isinstance(f, types.FunctionType) or id(f) in self._seen:
            return
        self._seen.add(id(f))
        if (f.__module__ or "").split(".")[0] in _OWN:
            return
        names: set[str] = set()
        pending = [f.__code__]
        while pending:
            code = pending.pop()
            names.update(code.co_names)
            pending.extend(c for c in code.co_consts if isinstance(c, types.CodeType))
        for name in sorted(names):
            if name in f.__globals__:
                self.entry(f.__globals__, name, f.__globals__[name])
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            try:
                self.entry(cell, name, cell.cell_contents)
            except ValueError:  # not assigned yet
                continue

    def entry(self, holder: Any, name: str, value: Any) -> None:
        if _is_constant(value):
            # Lists and dictionaries may change in place: compare with what they hold now.
            kept = type(value)(value) if isinstance(value, (list, dict)) else value
            self.found.append((holder, name, kept))
        elif isinstance(value, types.FunctionType):
            self.found.append((holder, name, value))
            self.function(value)
        else:
            self.value(value)

    def value(self, value: Any) -> None:
        if id(value) in self._seen or isinstance(value, (types.ModuleType, type, _core.Tensor)):
            return
        self._seen.add(id(value))
        if isinstance(value, _core._nn.Module):
            self.modules.append(value)
            for _, child in value.named_children():
                self.value(child)
        if (type(value).__module__ or "").split(".")[0] in _OWN and not isinstance(value, _core._nn.Module):
            return
        attributes = getattr(value, "__dict__", None)
        if type(attributes) is dict:
            for name, v in attributes.items():
                if _is_constant(v) and not name.startswith("__"):
                    self.entry(attributes, name, v)
                elif isinstance(v, _core._nn.Module):
                    self.value(v)
        self.function(getattr(type(value), "forward", None) or getattr(type(value), "__call__", None))  # noqa: B004


def _find_guards(f: Any) -> tuple[list, list]:
    guards = _Guards()
    guards.function(f)
    return guards.found, guards.modules


class CompiledFunction(_core._Compiled):
    """What `sorus.compile` returns: call it like the function.

    It records the function when it is called with arguments of new types or constants, or when a Python value that it
    reads (a global, a closure, an attribute of a module) has changed, and runs the compiled graph otherwise.
    """

    def __init__(self, f: Any, mesh: Any = None, places: Any = None, options: dict | None = None) -> None:
        name = getattr(f, "__qualname__", type(f).__name__)
        if mesh is None:
            super().__init__(f, _find_guards, name)
        else:
            super().__init__(
                f, _find_guards, name, list(mesh.mesh_dim_names), list(mesh.shape), places, options or {}
            )
        functools.update_wrapper(self, f, updated=())

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def _newest(self) -> Any:
        found = self.recordings()
        if not found:
            raise RuntimeError("compile: call the function first: it is recorded with its first arguments")
        return found[-1]

    def graph(self, backward: bool = False) -> str:
        """The optimised graph of the newest recording, with the source line of every node."""
        return self._newest().graph(backward)

    def source(self, backward: bool = False) -> str:
        """The C text of its fused loops."""
        return self._newest().source(backward)

    def report(self, backward: bool = False) -> dict:
        """Counts of loops and kernels, bytes of the arena, seconds it took to compile."""
        return self._newest().report(backward)

    def predicted_wait(self, seconds: float, bytes_per_second: float) -> float:
        """Under a memory limit, after the first run: seconds in which a run that computes for `seconds` only waits for host memory,
        from which so many bytes come in a second. What comes in while another step of the graph computes is not counted."""
        return self._newest().predicted_wait(seconds, bytes_per_second)

    def rank_graph(self, rank: int = 0) -> str:
        """The graph of one rank of the mesh, with its collectives."""
        return self._newest().rank_graph(rank)

    def rank_program(self, rank: int = 0) -> str:
        """What one rank does in a step, one line each: segments of its graph, sums over micro-batches, messages."""
        return self._newest().rank_program(rank)

    def rank_memory(self, rank: int = 0) -> dict[str, int]:
        """Bytes of one rank when it is fullest, known before it runs: `captured` (its blocks of parameters and of the
        optimizer's state), `arena` (temporaries), `values` (arguments, activations, sums of gradients), `total`.

        Raises:
            ValueError: the rank runs in another process.
        """
        return self._newest().rank_memory(rank)

    def measured_memory(self, rank: int = 0) -> int:
        """Bytes that a rank held when it was fullest in the last run, counted as memory was given out: its blocks of parameters
        and optimizer state, and all tensors and messages of more than 512 bytes. 0 before the first run.

        Beside them, and in neither figure: working memory of kernels, which each thread keeps, and the buffers that ranks
        share to exchange messages.

        Raises:
            ValueError: the rank runs in another process.
        """
        return self._newest().measured_memory(rank)

    def gather(self) -> None:
        """Where ranks are processes: brings the whole of every captured tensor up to date here. All ranks call it."""
        for recording in self.recordings():
            recording.gather()

    def memory(self, backward: bool = False, limit: int = 20) -> str:
        """The arena that all temporaries share, and which of them are alive where it is fullest, by source line."""
        return memory_table(self._newest(), backward, limit)


def _size(count: int) -> str:
    return f"{count / 2**20:9.2f} MiB" if count >= 2**20 else f"{count / 2**10:9.2f} KiB"


def memory_table(recording: Any, backward: bool, limit: int) -> str:
    report = recording.report(backward)
    held = sum(size for _, _, size, _ in recording.peak(backward))
    lines = [
        f"arena {_size(report['arena_bytes']).strip()} for temporaries; alive at its peak {_size(held).strip()}:"
    ]
    groups: dict[tuple, list] = {}
    for name, kind, size, line in recording.peak(backward):
        group = groups.setdefault((name, kind, line), [0, 0])
        group[0] += 1
        group[1] += size
    rows = sorted(groups.items(), key=lambda item: -item[1][1])
    for (name, kind, line), (count, size) in rows[:limit]:
        lines.append(f"{_size(size)}  {count:4d} x {name} {kind}" + (f"  {line}" if line else ""))
    if len(rows) > limit:
        rest = sum(size for _, (_, size) in rows[limit:])
        lines.append(f"{_size(rest)}  ({len(rows) - limit} more)")
    return "\n".join(lines)


_MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def compile(
    model: Any = None,
    *,
    fullgraph: bool = True,
    dynamic: bool | None = None,
    backend: Any = None,
    mode: str | None = None,
    options: dict | None = None,
    disable: bool = False,
    mesh: Any = None,
    inputs: Any = None,
    data: str | Sequence[str] | None = None,
    context: str | None = None,
    zero: int = 0,
    micro_batches: int = 1,
    pipeline: int = 1,
    schedule: str = "1f1b",
    chunks: int = 1,
    recompute: bool = False,
    stages: Any = None,
) -> Any:
    """Compiles a function, a module, or a whole training step (forward, `backward()`, `step()`).

    Also a decorator. The first call with arguments of new shapes, types or constants records what the function does
    and compiles it; later calls run the compiled graph. Tensors that the function reads or writes beside its arguments
    (parameters, buffers, optimizer and generator state, `.grad`) are part of the recording and updated in place. Python
    code runs only while recording: a branch on the value of a tensor is an error that names the line, other side
    effects (print, append) happen once per recording.

    `disable` gives back the model as it is. `fullgraph`, `dynamic`, `backend`, `mode` and `options` are PyTorch's and
    change nothing: a function is always one graph, recorded for each signature, and there is one backend.

    Args:
        mesh: run the step on all ranks of a `sorus.distributed.DeviceMesh`. Tensors marked by
            `sorus.distributed.tensor.distribute_tensor` lie as marked, and all others follow. Gradients do not leave
            such a step: `.grad` is None after it.
        inputs: one list of placements for each tensor among the arguments.
        data: the axis of the mesh, or the axes, along which dimension 0 of every argument is cut, instead of `inputs`.
        context: the axis along which dimension 1 of every argument is cut, the sequence of tokens.
        zero: what else is cut along (the first axis of) `data` and along `context`: the optimizer's state (1, 2), and
            the parameters (3).
        micro_batches: parts of every argument's dimension 0 that are computed one after the other, in the memory of one.
        pipeline: ranks among which the function is cut into stages, beside those of the mesh.
        schedule: of the pipeline: "gpipe", "1f1b", "interleaved" or "zero-bubble".
        chunks: stages of a rank, for the interleaved schedule.
        recompute: stages make their activations again in the backward pass instead of keeping them.
        stages: where the pipeline is cut: for each stage the list of the parameters that it reads and none before it.
            A stage begins behind what reads the parameters of those before it, and not behind the first operator that
            reads one of its own; among these places where least goes across. By default stages take equal time.

    Raises:
        RuntimeError: the function needs the value of a tensor while it is recorded.
        ValueError: a tensor cannot be cut as asked, or PyTorch has no such `mode`.
    """
    if mode not in _MODES:
        raise ValueError(f"compile: mode must be one of {_MODES}, not {mode!r}")
    if model is None:
        return lambda f: compile(
            f, disable=disable, mesh=mesh, inputs=inputs, data=data, context=context, zero=zero, micro_batches=micro_batches, pipeline=pipeline,
            schedule=schedule, chunks=chunks, recompute=recompute, stages=stages,
        )  # fmt: skip
    if disable:
        return model
    options = {"micro_batches": micro_batches, "pipeline": pipeline, "schedule": schedule, "chunks": chunks,
               "recompute": recompute}  # fmt: skip
    if any(options[name] < 1 for name in ("micro_batches", "pipeline", "chunks")):
        raise ValueError(f"compile: micro_batches, pipeline and chunks must be at least 1, found {options}")
    if mesh is None and max(micro_batches, pipeline, chunks) > 1:
        from .distributed.device_mesh import DeviceMesh

        mesh = DeviceMesh("cpu", ())
    if mesh is not None:
        from .distributed._step import Places

        if not callable(model):
            raise TypeError(f"compile: expected a function or a module, found {type(model).__name__}")
        if stages is not None and len(stages) != pipeline * chunks:
            raise ValueError(f"compile: stages has {len(stages)} lists, a pipeline of {pipeline} with {chunks} chunks has "
                             f"{pipeline * chunks} stages")  # fmt: skip
        return CompiledFunction(model, mesh, Places(mesh, inputs, data, zero, stages, context), options)
    if inputs is not None or data or context or zero or stages is not None:
        raise ValueError("compile: inputs, data, context, zero and stages need a mesh")
    if isinstance(model, _core._nn.Module):
        from .nn._compiled import CompiledModule

        return CompiledModule(model)
    if not callable(model):
        raise TypeError(f"compile: expected a function or a module, found {type(model).__name__}")
    return CompiledFunction(model)
