"""Builds the C of an example for a target of `sorus codegen`, and runs it: as an image that boots under QEMU, or on this machine."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from sorus import codegen

HERE = Path(__file__).resolve().parent
UART = {"mps2-an385": 0x40004000, "mps2-an386": 0x40004000, "mps2-an500": 0x40004000, "mps3-an547": 0x59303000}
QEMU = "qemu-system-arm -nographic -monitor none -serial stdio -semihosting-config enable=on,target=native -M"


def usable(target: str) -> str:
    """The target, or where its compiler or emulator is missing, this machine."""
    found = next(t for t in codegen.targets() if t["name"] == target)
    if missing := codegen.verify_tools(found):
        print(f"not installed: {', '.join(missing)}; the C is built for this machine")
        return "x86"
    return target


def build(
    folder: Path,
    target: str,
    models: list[Path],
    sources: list[Path],
    ram_bytes: int = 0x40000,
    stack_bytes: int = 512,
) -> Path:
    """folder/image.elf from these sources, generated folders (`models`) and start-up code."""
    found = next(t for t in codegen.targets() if t["name"] == target)
    bare = bool(found["machine"])
    command = [found["compiler"], *shlex.split(found["flags"]), "-std=gnu99", "-O2", "-Wall", "-Wextra", "-Werror",
               "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"]  # fmt: skip
    for path in (folder, HERE / "board", *(m / "include" for m in models), *{s.parent for s in sources}):
        command += ["-I", str(path)]
    command += [str(s) for s in (*sources, *(c for m in models for c in sorted((m / "src").glob("*.c"))))]
    if bare:
        # The last definition of a symbol counts: less RAM than the board has.
        memory = {**dict(m.split("=") for m in found["memory"].split(",")), "ram_bytes": str(ram_bytes)}
        command += [f"-DUART={UART[found['machine']]:#x}u", "-fno-tree-loop-distribute-patterns", str(HERE / "board" / "boot.c"),
                    "--specs=nano.specs", "-nostartfiles", "-T", str(HERE / "board" / "board.ld"),
                    *(f"-Wl,--defsym={k}={v}" for k, v in {**memory, "stack_bytes": str(stack_bytes)}.items())]  # fmt: skip
    else:
        command.append(str(HERE / "board" / "host.c"))
    image = folder / "image.elf"
    subprocess.run([*command, "-lm", "-o", str(image)], check=True)
    return image


def run(image: Path, target: str) -> str:
    """What it prints."""
    found = next(t for t in codegen.targets() if t["name"] == target)
    command = (
        [*shlex.split(QEMU), found["machine"], "-kernel"]
        if found["machine"]
        else shlex.split((found["emulators"] or [""])[0])
    )
    done = subprocess.run(
        [*command, str(image)], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300
    )
    if done.returncode:
        raise RuntimeError(f"expected exit status 0 of {image}, found {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def sizes(image: Path, target: str) -> tuple[int, int]:
    """Bytes in flash and of data in RAM."""
    compiler = next(t for t in codegen.targets() if t["name"] == target)["compiler"]
    tool = re.sub(r"gcc$", "size", compiler)
    text, data, bss = subprocess.run([tool, str(image)], capture_output=True, text=True, check=True).stdout.split()[
        6:9
    ]
    return int(text) + int(data), int(data) + int(bss)
