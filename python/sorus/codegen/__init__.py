"""C for small devices: `generate` prints a model as a folder of C99, `verify` builds and runs that folder.

    import sorus
    from sorus import codegen

    project = codegen.generate("kws.tflite", target="cortex-m4", name="kws", out="out/kws")
    print(project["arena_bytes"])
    print(codegen.verify("kws.tflite", "out/kws", target="cortex-m4", name="kws"))

The same as the command `sorus codegen`. A module takes the place of a file, with an example of each of its inputs:

    codegen.generate(model.eval(), target="x86", name="digits", out="out/digits", example=sorus.zeros(1, 1, 28, 28))
"""

from __future__ import annotations

import json
import os
import pathlib

from .._core import _device
from .package import PACKAGES
from .package import package as packaged
from .report import html
from .source import Example, Model, source_of
from .verify import VerifyError, record, verify
from .verify import tools_missing as verify_tools

__all__ = ["PACKAGES", "VerifyError", "generate", "record", "targets", "verify", "verify_tools"]


def targets() -> list[dict]:
    """The targets, each with name, description, compiler, flags and how it runs on this machine."""
    return list(_device.targets())


def generate(
    model: Model,
    target: str,
    name: str,
    out: str | os.PathLike,
    optimize: str = "speed",
    ram_limit: int = 0,
    example: Example = None,
    package: str | None = None,
    pack_weights: bool = False,
    cmsis_nn: str | os.PathLike | None = None,
) -> dict:
    """Writes the folder `out` for `model` and returns its report.

    model: a file, or a module (or function) of tensors; then `example` is a tensor, or a tuple of them, with the shapes and
    types of its inputs.
    package: "arduino" writes a library folder for Arduino, "zephyr" a module for Zephyr, with an example each.
    pack_weights: weights that fit into 4 or 2 bits lie packed in flash and are unpacked into the arena before their layer.

    cmsis_nn: a folder of CMSIS-NN (release 4.1 or later), for Cortex-M. Layers that it computes to the bit as Sorus does become
    calls of it, and the folder's Makefile and CMakeLists.txt build what is called; the report says of the others why not.

    Raises ValueError for an unknown target, a name that is no C identifier, a RAM limit that cannot be kept, a package for a
    target with an operating system, or weights to be packed where none has few bits;
    NotImplementedError that lists the operators which have no form for devices.
    """
    if optimize not in ("speed", "size"):
        raise ValueError(f"codegen: expected optimize to be 'speed' or 'size', found '{optimize}'")
    if cmsis_nn is not None and package is not None:
        raise ValueError(
            f"codegen: expected either package or cmsis_nn, found both: {package} builds what lies in its folder"
        )
    library = "" if cmsis_nn is None else os.fspath(cmsis_nn)
    files = _device.generate(
        source_of(model, example), target, name, optimize == "size", ram_limit, library, pack_weights
    )
    report = json.loads(files["report.json"])
    files["report.html"] = html(report)
    if package is not None:
        files = packaged(package, files, target, name)
    folder = pathlib.Path(out)
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return report
