"""sorus codegen: a trained model as C for a device."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import time
from typing import Any

from . import CommandError

EXAMPLES = """examples:
  sorus codegen kws.tflite --target cortex-m4 --name kws --out out/kws
  sorus codegen kws.tflite --target cortex-m4 --name kws --out out/kws --verify
                              builds it, runs it under QEMU and compares with Sorus
  sorus codegen kws.tflite --target cortex-m3 --name kws --out out/kws --optimize size --ram-limit 9000
  sorus codegen kws.tflite --target cortex-m4 --name kws --out out/kws --package arduino
  sorus codegen --list-targets
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Prints a model as a folder of C99 that needs no engine, no malloc and no global state."
    parser.epilog = EXAMPLES
    parser.add_argument("model", nargs="?", help="a .tflite, .onnx or .ms file")
    parser.add_argument("--target", help="what it is for; --list-targets shows all")
    parser.add_argument("--name", help="prefix of every symbol and of the header: a C identifier in lower case")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--optimize", choices=("speed", "size"), default="speed", help="unrolled or small loops (speed)"
    )
    parser.add_argument(
        "--ram-limit", type=int, default=0, metavar="BYTES", help="arena at most; kernels take less scratch"
    )
    parser.add_argument(
        "--pack-weights",
        action="store_true",
        help="weights of 4 or 2 bits lie packed in flash, unpacked in the arena",
    )
    parser.add_argument("--package", choices=("arduino", "zephyr"), help="a library of Arduino or a module of Zephyr")
    parser.add_argument(
        "--cmsis-nn", type=pathlib.Path, metavar="PATH",
        help="call CMSIS-NN from this folder where it can, on Cortex-M (CMSIS_NN_PATH)",
    )  # fmt: skip
    parser.add_argument("--verify", action="store_true", help="build and run it, and compare with Sorus")
    parser.add_argument(
        "--inputs", type=pathlib.Path, metavar="FILE", help="raw bytes of the inputs for --verify (random)"
    )
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="random inferences for --verify (10)")
    parser.add_argument("--list-targets", action="store_true", help="show the targets and stop")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def list_targets(as_json: bool) -> int:
    from sorus import codegen as device

    found = [t | {"missing": device.verify_tools(t)} for t in device.targets()]
    if as_json:
        print(json.dumps(found))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for column in ("target", "for", "compiler", "runs here"):
        table.add_column(column)
    for t in found:
        runs = (
            f"no: {', '.join(t['missing'])} not installed"
            if t["missing"]
            else t["machine"] or (t["emulators"] or [""])[0] or "natively"
        )
        table.add_row(t["name"], t["description"], f"{t['compiler']} {t['flags']}".strip(), runs)
    Console().print(table)
    return 0


def run(options: argparse.Namespace) -> int:
    if options.list_targets:
        return list_targets(options.json)
    for name in ("model", "target", "name", "out"):
        if getattr(options, name) is None:
            flag = "MODEL" if name == "model" else f"--{name}"
            raise CommandError(f"expected {flag}, found none; for example: {EXAMPLES.splitlines()[1].strip()}")
    from sorus import codegen as device

    library = options.cmsis_nn
    if library is None and options.package is None and options.target.startswith("cortex-m"):
        library = os.environ.get("CMSIS_NN_PATH") or None
    began = time.monotonic()
    report = device.generate(
        options.model, options.target, options.name, options.out, options.optimize, options.ram_limit,
        package=options.package, pack_weights=options.pack_weights, cmsis_nn=library,
    )  # fmt: skip
    result: dict[str, Any] = {"out": str(options.out), "seconds": round(time.monotonic() - began, 2)}
    for key in (
        "arena_bytes",
        "arena_lower_bound",
        "arena_proved_optimal",
        "constant_bytes",
        "macs",
        "estimated_instructions",
    ):
        result[key] = report[key]
    if options.verify:
        inputs = options.inputs.read_bytes() if options.inputs else None
        result["verify"] = device.verify(
            options.model, options.out, options.target, options.name, inputs=inputs, runs=options.runs, layers=True
        )
        device.record(options.out, result["verify"])
    if options.json:
        print(json.dumps(result))
    else:
        show(report, result)
    return 0 if not options.verify or result["verify"]["accepted"] else 1


def show(report: dict, result: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    proof = (
        "proved least with these kernels"
        if result["arena_proved_optimal"]
        else f"bound {result['arena_lower_bound']:,}"
    )
    table = Table(show_header=False, box=None)
    table.add_row("folder", f"{result['out']}, in {result['seconds']} s")
    table.add_row("arena", f"{result['arena_bytes']:,} bytes ({proof})")
    table.add_row("constants", f"{result['constant_bytes']:,} bytes")
    table.add_row(
        "work", f"{result['macs']:,} multiply-accumulates, about {result['estimated_instructions']:,} instructions"
    )
    for note in report["notes"]:
        table.add_row("", note)
    if facts := result.get("verify"):
        within = ""
        if "largest_difference" in facts:
            within = f" within {facts['tolerance']:.0e}, the farthest {facts['largest_difference']:.1e} away"
        table.add_row("verified", f"{facts['equal']} of {facts['inferences']} inferences equal Sorus's own{within}")
        table.add_row("flash", f"{facts['flash_bytes']:,} bytes, stack {facts['stack_bytes']:,} bytes")
        if "instructions" in facts:
            table.add_row("instructions", f"{facts['instructions']:,} an inference")
        for key in ("errors", "different_inside_arena", "bytes_written_outside", "static_ram_bytes"):
            if facts[key]:
                table.add_row("[red]wrong[/red]", f"{key.replace('_', ' ')}: {facts[key]}")
    console.print(table)
