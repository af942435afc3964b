"""Calls functions with hostile arguments, in a process that may crash: test_hostile_calls.py runs it.

    calls.py TRIALS FIRST LAST JOURNAL

TRIALS calls of each function with a place in [FIRST, LAST) of the sorted list. JOURNAL always begins with the number of
the call that is being made, and says which it is; a call that takes more than SECONDS of the processor ends the process. Prints a line for every call that ended in an unfit exception: one that
is Sorus' own mistake, or that a person cannot act on. Without arguments: prints how many functions there are.
"""

from __future__ import annotations

import inspect
import itertools
import os
import re
import resource
import signal
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from arguments import Arguments
from sorus._core import _registry

import sorus

MODULES = (
    "sorus", "sorus.linalg", "sorus.fft", "sorus.special", "sorus.signal.windows", "sorus.nn.functional", "sorus.nn.init", "sorus.nn",
    "sorus.nn.utils", "sorus.func", "sorus.autograd", "sorus.distributions", "sorus.optim.lr_scheduler",
)  # fmt: skip
# They change the process, or wait for somebody.
LEFT_OUT = re.compile(
    r"set_|use_|seed|manual_seed|load|save|compile|profile|enable_|detect_|no_grad|inference_mode|autocast"
)
MEMORY, SECONDS = 3 << 29, 30


class Function:
    """One function, the types of its parameters, and the positions of tensors with the ranks that fit."""

    def __init__(
        self, name: str, call: Callable, parameters: list[tuple[str, str]], ranks: tuple[int, ...] | None = None
    ) -> None:
        self.name, self.call, self.parameters, self.ranks = name, call, parameters, ranks


RANKS = (2, 1, 3, 4, 0)


def of_operators() -> Iterator[Function]:
    for name in _registry.names():
        facts = _registry.facts(name)
        call = sorus.operators.get(facts["base"])
        if call is None:
            continue
        inside = facts["signature"].partition("(")[2].rpartition(")")[0].replace("*, ", "")
        parameters = []
        for part in re.split(r", (?=\w+(?::|,| =|$))", inside) if inside else []:
            parameter, _, type = part.partition(":")
            parameters.append((parameter.strip(), type.partition("=")[0].strip() or "Tensor"))
        tensors = sum(type.startswith(("Tensor", "mask")) for _, type in parameters)
        fitting = (
            ranks for ranks in itertools.product(RANKS, repeat=tensors) if _registry.example(name, list(ranks))
        )
        yield Function(name, call, parameters, next(fitting, None) if tensors < 5 else None)


def of_modules() -> Iterator[Function]:
    for module_name in MODULES:
        module = __import__(module_name, fromlist=["_"])
        for name, call in sorted(vars(module).items()):
            if (
                name.startswith("_")
                or LEFT_OUT.match(name)
                or isinstance(call, types.ModuleType)
                or not callable(call)
            ):
                continue
            if type(call).__name__ == "Operator":
                continue
            try:
                parameters = list(inspect.signature(call).parameters.values())
            except (TypeError, ValueError):
                parameters = [inspect.Parameter(f"a{i}", inspect.Parameter.POSITIONAL_ONLY) for i in range(4)]
            kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
            given = [(p.name, str(p.annotation)) for p in parameters if p.kind not in kinds]
            yield Function(f"{module_name}.{name}", call, given)


def of_tensors() -> Iterator[Function]:
    def set_item(x: Any, index: Any, value: Any) -> None:
        x[index] = value

    yield Function("getitem", lambda x, index: x[index], [("x", "Tensor"), ("index", "Any")])
    yield Function("getitem", lambda x, *index: x[index], [("x", "Tensor"), ("index", "Any"), ("index", "Any")])
    yield Function("setitem", set_item, [("x", "Tensor"), ("index", "Any"), ("value", "Any")])
    for name in sorted(vars(sorus.Tensor)):
        method = getattr(sorus.Tensor, name)
        if (not name.startswith("_") or name.startswith("__r")) and callable(method) and name not in sorus.operators:
            yield Function(f"Tensor.{name}", method, [("self", "Tensor"), ("a", "Any"), ("b", "Any"), ("c", "Any")])


def functions() -> list[Function]:
    return [*of_operators(), *of_modules(), *of_tensors()]


def plausible(a: Arguments, function: Function) -> list[Any]:
    """Tensors of the ranks that fit, small numbers, for the parameters before the first that is left to its default."""
    ranks = iter(function.ranks or ())
    values: list[Any] = []
    for _, type in function.parameters:
        if type.startswith(("Tensor", "mask", "list[Tensor", "typing.Any", "Any")):
            kind = "int64" if type.startswith("mask") else "float32"
            values.append(a.tensor((4,) * next(ranks, 2), kind))
            if type.startswith("Tensor[]"):
                values[-1] = [values[-1]]
        elif type.startswith(("int[", "tuple")):
            values.append([1] * int((re.findall(r"\d+", type) or ["2"])[0]))
        elif type.startswith("bool"):
            values.append(a.random.random() < 0.5)
        elif type.startswith("int"):
            values.append(a.random.choice([0, 1, 2]))
        else:
            values.append(a.hostile(type))
    return values


def draw(a: Arguments, function: Function) -> list[Any]:
    types = [type for _, type in function.parameters]
    way = a.random.random()
    if way < 0.2 or not types:
        return [a.hostile(type) for type in types]
    values = plausible(a, function)
    for _ in range(a.random.choice([0, 1, 1, 1, 2])):
        place = a.random.randrange(len(values))
        values[place] = a.hostile(types[place])
    if a.random.random() < 0.4:  # the others keep their defaults
        values = values[: a.random.randrange(len(values)) + 1]
    if a.random.random() < 0.05:
        values.append(a.any())
    return values


def shown(value: Any) -> str:
    if isinstance(value, sorus.Tensor):
        return f"{str(value.dtype).rpartition('.')[2]}{list(value.shape)}"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value[:6]))}]"
    return repr(value)[:40]


def use(result: Any) -> None:
    """Goes on with what came back: reads all of it, and asks for gradients."""
    for tensor in result if isinstance(result, (tuple, list)) else [result]:
        if isinstance(tensor, sorus.Tensor) and tensor.numel() < 1 << 20:
            if tensor.requires_grad:
                total = tensor.sum()
                (total.real if total.is_complex() else total).backward()
            tensor.detach().clone()


def unfit(error: BaseException) -> str | None:
    """What is wrong with an exception that a user sees."""
    if isinstance(error, MemoryError):
        return None
    text = str(error)
    if isinstance(error, (SystemError, AssertionError, UnboundLocalError)) or "internal error" in text:
        return "is a mistake of Sorus"
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return "ends the program"
    if re.match(r"vector::|basic_string|std::|map::at|bad_|array::", text) or "nanobind" in text:
        return "says nothing of the call"
    return None if text.strip() else "says nothing"


def main() -> None:
    every = functions()
    if len(sys.argv) == 1:
        print(len(every))
        return
    trials, first, last = map(int, sys.argv[1:4])
    journal = os.open(sys.argv[4], os.O_RDWR | os.O_CREAT)
    warnings.simplefilter("ignore")
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in range(first, min(last, len(every) * trials)):
        function, trial = every[number // trials], number % trials
        a = Arguments(f"{function.name} {trial}")
        values = draw(a, function)
        call = f"{function.name}({', '.join(map(shown, values))})"
        os.pwrite(journal, f"{number} {call[:900]}".encode(errors="replace").ljust(1000)[:1000], 0)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # SIGPROF ends the process, wherever it is
        try:
            use(function.call(*values))
        except BaseException as error:
            if why := unfit(error):
                print(f"{number} {call}: {type(error).__name__} {why}: {str(error)[:200]}", flush=True)


if __name__ == "__main__":
    main()
