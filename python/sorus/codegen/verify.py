"""Builds a generated folder for its target, runs it, and compares with Sorus's own execution of the same graph."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import shutil
import struct
import subprocess
import tempfile
from typing import Any

from .._core import _device
from .report import html
from .source import Example, Model, source_of

TOLERANCE = 1e-5  # of floats: relative to the largest expected output, absolute if that is below 1
HARNESS = pathlib.Path(__file__).parent / "harness"
SYSTEM = "qemu-system-arm -nographic -monitor none -serial none -semihosting-config enable=on,target=native -icount shift=0,sleep=off -M"


class VerifyError(RuntimeError):
    """The folder cannot be built or run: the message says which command failed and with what."""


def tools_missing(target: dict) -> list[str]:
    """Programs that verifying for this target needs and that are not installed."""
    wanted = [target["compiler"]]
    if target["machine"]:
        wanted.append("qemu-system-arm")
    elif target["emulators"] and target["emulators"][0]:
        wanted.append(shlex.split(target["emulators"][0])[0])
    return [w for w in wanted if shutil.which(w) is None]


def _run(command: list[str], cwd: pathlib.Path, timeout: float = 600) -> str:
    try:
        result = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise VerifyError(f"codegen --verify: no end after {timeout:.0f} s: {shlex.join(command)}") from None
    if result.returncode != 0:
        raise VerifyError(
            f"codegen --verify: expected exit status 0, found {result.returncode}: {shlex.join(command)}\n"
            f"{(result.stderr or result.stdout)[:2000]}"
        )
    return result.stdout


def _include(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Where the header is: a library of Arduino has it beside the sources."""
    return folder / ("include" if (folder / "include" / f"{name}.h").exists() else "src")


def _header(folder: pathlib.Path, name: str) -> dict[str, Any]:
    text = (_include(folder, name) / f"{name}.h").read_text()
    number = {m[1]: int(m[2]) for m in re.finditer(rf"#define {name.upper()}_(\w+) (\d+)\b", text)}

    def listed(kind: str, what: str) -> list[int]:
        return [number[f"{kind}{i}_{what}"] for i in range(number[f"NUM_{kind}S"])]

    facts: dict[str, Any] = {"arena": number["ARENA_BYTES"], "state": number.get("STATE_BYTES", 0)}
    for kind in ("INPUT", "OUTPUT"):
        facts[kind] = {what: listed(kind, what) for what in ("BYTES", "OFFSET")}
    return facts


def verify(
    model: Model,
    folder: str | os.PathLike,
    target: str,
    name: str,
    inputs: bytes | None = None,
    runs: int = 10,
    seed: int = 0,
    example: Example = None,
    outputs: str | os.PathLike | None = None,
    layers: bool = False,
) -> dict:
    """Facts of a generated folder on its target: whether all outputs equal Sorus's, bytes, instructions, stack.

    `inputs`: raw bytes of whole inferences, all inputs of one after the other; by default `runs` random ones. Float
    outputs may differ by 1e-5 of the largest (absolute if that is below 1); `largest_difference` says by how much they
    do. Where a target has several emulators the program runs under all of them, which all have to agree. A module as `model` needs its `example`, as in `generate`. `outputs`: a file that gets the raw outputs. `layers`: on boards the program is built and run once more, with a mark before each layer, for the instructions of each (`layer_instructions`, in the order of the report). Raises VerifyError where it cannot be built or run.
    """
    found = next((t for t in _device.targets() if t["name"] == target), None)
    if found is None:
        raise ValueError(
            f"codegen: there is no target '{target}'; targets are {', '.join(t['name'] for t in _device.targets())}"
        )
    if missing := tools_missing(found):
        raise VerifyError(
            f"codegen --verify: expected the programs of target {target} to be installed, did not find {', '.join(missing)} "
            "(on Debian scripts/setup.sh device installs them)"
        )
    graph = source_of(model, example)
    folder = pathlib.Path(folder).resolve()
    facts = _header(folder, name)
    sizes = {kind: sum(facts[kind]["BYTES"]) for kind in ("INPUT", "OUTPUT")}
    if inputs is None:
        inputs = _device.random_inputs(graph, runs, seed)
    if len(inputs) == 0 or len(inputs) % sizes["INPUT"]:
        raise ValueError(
            f"codegen --verify: expected a multiple of {sizes['INPUT']} bytes of inputs, found {len(inputs)}"
        )
    runs = len(inputs) // sizes["INPUT"]
    expected = _device.run(graph, inputs)
    with tempfile.TemporaryDirectory(prefix="sorus_verify_") as temporary:
        work = pathlib.Path(temporary)
        (work / "in.bin").write_bytes(inputs)
        lines = [
            f'#include "{name}.h"',
            f"#define MODEL_RUN {name}_run",
            f"#define ARENA {facts['arena']}",
            f"#define STATE {facts['state']}",
            f"#define MODEL_RESET(arena) {f'{name}_reset(arena)' if facts['state'] else '(void)0'}",
            f"#define RUNS {runs}",
        ]
        for kind in ("INPUT", "OUTPUT"):
            lines += [
                f"#define {kind}S {len(facts[kind]['BYTES'])}",
                f"#define {kind}_BYTES {sizes[kind]}",
                f"#define {kind}_SIZES {', '.join(map(str, facts[kind]['BYTES']))}",
                f"#define {kind}_OFFSETS {', '.join(map(str, facts[kind]['OFFSET']))}",
            ]
        (work / "model.h").write_text("\n".join(lines) + "\n")
        bare = bool(found["machine"])
        cc = [
            found["compiler"],
            *shlex.split(found["flags"]),
            # The program is linked statically; tables of addresses that a loader would fill in are not measured.
            *([] if bare else ["-fno-pie"]),
            "-I",
            str(_include(folder, name)),
            "-I",
            str(work),
            "-I",
            str(HARNESS),
        ]
        library = _report(folder).get("cmsis_nn")
        if library:
            cc += ["-isystem", str(pathlib.Path(library["path"]) / "Include")]
        objects = []
        for source in sorted((folder / "src").glob("*.c")):
            out = str(work / (source.stem + ".model.o"))
            strict = [
                "-std=c99",
                "-Wall",
                "-Wextra",
                "-pedantic",
                "-Werror",
                "-O2",
                "-ffunction-sections",
                "-fdata-sections",
            ]
            _run([*cc, *strict, "-c", str(source), "-o", out], work)
            objects.append(out)
        measured_objects = list(objects)
        if library:
            objects += _library(cc, library, work)
            measured_objects = [_linked(cc, objects, name, work)]
        for support in ("main.c", "board.c" if bare else "linux.c"):
            # The sanitizer of the stack would see main.c paint below its own frame.
            _run([*cc, "-std=gnu99", "-O1", "-c", str(HARNESS / support), "-o", str(work / (support + ".o"))], work)
            objects.append(str(work / (support + ".o")))
        link = ["-static", "-Wl,--gc-sections"]
        if bare:
            link = ["--specs=nano.specs", "-nostartfiles", "-T", str(HARNESS / "board.ld"), "-Wl,--gc-sections"]
            link += [f"-Wl,--defsym={symbol}" for symbol in found["memory"].split(",")]
        _run([*cc, *objects, *link, "-lm", "-o", "model.elf"], work)
        if bare:
            _run([*SYSTEM.split(), found["machine"], "-kernel", str(work / "model.elf")], work)
        else:
            _run([*shlex.split((found["emulators"] or [""])[0]), str(work / "model.elf")], work)
        found_outputs, measured = (work / "out.bin").read_bytes(), (work / "facts.bin").read_bytes()
        # Lesser processors go another way through the same program.
        lesser = [e for e in found["emulators"][1:] if shutil.which(shlex.split(e)[0])]
        elsewhere = []
        for emulator in lesser:
            _run([*shlex.split(emulator), str(work / "model.elf")], work)
            elsewhere.append((work / "out.bin").read_bytes())
        if outputs is not None:
            pathlib.Path(outputs).write_bytes(found_outputs)
        by_layer = _layers(cc, strict, objects, link, found, folder, name, runs, work) if layers and bare else []
        ticks, stack, errors, differing, outside = struct.unpack("<5Q", measured)
        size_tool = re.sub(r"gcc$", "size", found["compiler"]) if found["compiler"] != "cc" else "size"
        sized = _run([size_tool, *measured_objects], work).splitlines()[1:]
        text, data, bss = (sum(int(line.split()[i]) for line in sized) for i in range(3))
    n = sizes["OUTPUT"]
    far = [
        max(_device.difference(graph, one[i : i + n], expected[i : i + n]) for one in (found_outputs, *elsewhere))
        for i in range(0, runs * n, n)
    ]
    equal = sum(d <= TOLERANCE for d in far)
    good = equal == runs and not (errors or differing or outside or data or bss)
    result = {
        "target": target, "accepted": good, "inferences": runs, "equal": equal, "arena_bytes": facts["arena"],
        "flash_bytes": text + data, "static_ram_bytes": data + bss, "stack_bytes": stack, "errors": errors,
        "different_inside_arena": differing, "bytes_written_outside": outside,
    }  # fmt: skip
    if graph.has_floats:
        result["largest_difference"], result["tolerance"] = max(far), TOLERANCE
    if lesser:
        result["also_under"] = lesser
    if found["instructions_a_tick"]:
        result["instructions"] = round(ticks * found["instructions_a_tick"] / runs)
    if by_layer:
        result["layer_instructions"] = [round(t * found["instructions_a_tick"]) for t in by_layer]
    return result


def _report(folder: pathlib.Path) -> dict:
    path = folder / "report.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _library(cc: list[str], library: dict, work: pathlib.Path) -> list[str]:
    """Objects of what a folder calls of CMSIS-NN."""
    root, objects = pathlib.Path(library["path"]), []
    for source in library["sources"]:
        objects.append(str(work / (pathlib.Path(source).stem + ".library.o")))
        flags = ["-std=c99", "-w", "-O2", "-ffunction-sections", "-fdata-sections"]
        _run([*cc, *flags, "-I", str(root / "Include"), "-c", str(root / source), "-o", objects[-1]], work)
    return objects


def _linked(cc: list[str], objects: list[str], name: str, work: pathlib.Path) -> str:
    """One object of what a program that runs the model takes of these, to be measured."""
    kept = [f"-Wl,-u,{name}_{f}" for f in ("run", "run_in", "reset")]
    _run([*cc, "-r", "-nostdlib", "-Wl,--gc-sections", *kept, *objects, "-o", "whole.o"], work)
    return str(work / "whole.o")


def _layers(
    cc: list[str], strict: list[str], objects: list[str], link: list[str], target: dict, folder: pathlib.Path, name: str,
    runs: int, work: pathlib.Path,
) -> list[float]:  # fmt: skip
    """Ticks of each layer of one inference: the same program with a mark before each, less what marks take themselves."""
    source = (folder / "src" / f"{name}.c").read_text()
    head, body = source.split(f"\nint {name}_run(", 1)
    body, rest = body.split("\n}\n", 1)
    pieces = body.split("\n  /* ")  # the name of a layer stands before its call
    marked = pieces[0] + "".join(f"\n  sorus_mark({i});\n  /* {piece}" for i, piece in enumerate(pieces[1:]))
    count = len(pieces) - 1
    text = f"{head}\nvoid sorus_mark(int layer);\nint {name}_run({marked}\n}}\n{rest}"
    (work / "marked.c").write_text(text)
    define = f"-DLAYERS={count}"
    _run([*cc, *strict, "-I", str(folder / "src"), "-c", "marked.c", "-o", "marked.o"], work)
    _run([*cc, "-std=gnu99", "-O1", define, "-c", str(HARNESS / "main.c"), "-o", "marked_main.o"], work)
    kept = [o for o in objects if pathlib.Path(o).name not in (f"{name}.model.o", "main.c.o")]
    _run([*cc, "marked.o", "marked_main.o", *kept, *link, "-lm", "-o", "marked.elf"], work)
    _run([*SYSTEM.split(), target["machine"], "-kernel", str(work / "marked.elf")], work)
    ticks = struct.unpack(f"<{count + 1}Q", (work / "marks.bin").read_bytes())
    nothing = ticks[-1] / 256
    return [max(t / (2 * runs) - nothing, 0) for t in ticks[:-1]]


def record(folder: str | os.PathLike, facts: dict) -> None:
    """Writes what `verify` has measured into the folder's report.json and report.html."""
    path = pathlib.Path(folder) / "report.json"
    if not path.exists():  # packages have it among what is not built
        path = path.parent / "extras" / path.name
    report = json.loads(path.read_text())
    kept = ("inferences", "equal", "flash_bytes", "stack_bytes", "instructions", "largest_difference")
    report["measured"] = {key: facts[key] for key in kept if key in facts}
    for layer, instructions in zip(report["layers"], facts.get("layer_instructions", []), strict=False):
        layer["measured_instructions"] = instructions
    path.write_text(json.dumps(report, indent=2) + "\n")
    path.with_suffix(".html").write_text(html(report))
