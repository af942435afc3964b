"""sorus import: what is in a model file of another framework."""

from __future__ import annotations

import argparse
import json

EXAMPLES = """examples:
  sorus import model.tflite                 inputs, outputs, operators, sizes
  sorus import model.onnx --json            the same for programs
  sorus import model.ms --graph             also the graph that it becomes, one line a node
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = ("Reads a model of TensorFlow Lite, ONNX or MindSpore Lite and shows what is in it. Fails if it has "
                          "operators that cannot be converted, and lists all of them.")  # fmt: skip
    parser.epilog = EXAMPLES
    parser.add_argument("model", metavar="MODEL", help="a .tflite, .onnx or .ms file; its content tells which it is")
    parser.add_argument("--graph", action="store_true", help="print the graph too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def describe(path: str) -> dict:
    """What the table shows."""
    from pathlib import Path

    from .._core import _import

    model = _import.import_model(Path(path))

    def ports(given: list[dict]) -> list[dict]:
        return [{**p, "dtype": str(p["dtype"]).removeprefix("sorus.")} for p in given]

    weights = [t for _, t in model.weights]
    return {
        "file": path,
        "format": model.format,
        "inputs": ports(model.inputs),
        "outputs": ports(model.outputs),
        "operators": dict(model.operators),
        "parameters": sum(t.numel() for t in weights),
        "weight_bytes": sum(t.numel() * t.element_size() for t in weights),
        "macs": int(model.macs),
        "states": model.states,
        "graph": model.graph(),
    }


def meaning(port: dict) -> str:
    if not port["scale"]:
        return ""
    if len(port["scale"]) > 1:
        return f"{len(port['scale'])} scales"
    return f"{port['scale'][0]:.6g} * (q - {port['zero_point'][0]})" if port["zero_point"][0] >= 0 else (
        f"{port['scale'][0]:.6g} * (q + {-port['zero_point'][0]})")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    found = describe(options.model)
    graph = found.pop("graph")
    if options.json:
        print(json.dumps({**found, "graph": graph} if options.graph else found))
        return 0
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"{found['file']}: {found['format']}", highlight=False, markup=False)
    table = Table("", "name", "type", "shape", "stands for", box=None)
    for kind in ("inputs", "outputs"):
        for p in found[kind]:
            table.add_row(kind[:-1], p["name"], p["dtype"], " x ".join(map(str, p["shape"])), meaning(p))
    console.print(table)
    table = Table("operator", "count", box=None)
    for name, count in sorted(found["operators"].items(), key=lambda item: -item[1]):
        table.add_row(name, str(count))
    console.print(table)
    console.print(f"{found['parameters']:,} parameters in {found['weight_bytes']:,} bytes, {found['macs']:,} "
                  f"multiply-accumulates", highlight=False)  # fmt: skip
    if found["states"]:
        console.print(f"states from run to run: {', '.join(found['states'])}", highlight=False, markup=False)
    if options.graph:
        print(graph)
    return 0
