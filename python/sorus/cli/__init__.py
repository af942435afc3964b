"""The command `sorus`. One file for each of its commands; `sorus COMMAND --help` shows examples."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

COMMANDS = {
    "train": ("train_gpt", "train a model; `sorus train gpt` trains a language model on text"),
    "generate": ("generate", "write text with a trained model, or with a GPT-2 folder"),
    "run": ("run", "start a script once for each rank on this machine"),
    "plan": ("plan", "find how to run a training step on a cluster: the fastest plan that fits, with a proof"),
    "simulate": ("simulate", "predict training steps on clusters: seconds and memory"),
    "calibrate": ("calibrate", "write a cluster file: measured on this machine, or fitted to measured steps"),
    "import": ("import_model", "what is in a model file (.tflite, .onnx, .ms), and what of it cannot be converted"),
    "codegen": ("codegen", "print a model as C for a small device, and check it there"),
    "info": ("info", "what this machine can do: processor, threads, measured speed"),
}


class CommandError(Exception):
    """A mistake of the user: shown as one message, without a traceback."""


def number(kind: type, least: float, most: float | None = None) -> Callable[[str], Any]:
    """The type of an argument that is a number from `least` to `most` (or to the largest there is)."""
    if most is None:
        most = 2**63 - 1 if kind is int else sys.float_info.max

    def parse(text: str) -> Any:
        value = kind(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        if not value <= most:
            raise argparse.ArgumentTypeError(f"{text} is more than {most}")
        return value

    parse.__name__ = kind.__name__
    return parse


def build_parser(wanted: str | None = None) -> argparse.ArgumentParser:
    """The parser; only the module of the command that is wanted is loaded."""
    parser = argparse.ArgumentParser(
        prog="sorus", description="Sorus: one model, written once, runs anywhere.",
        epilog="sorus COMMAND --help shows examples of each command.",
    )  # fmt: skip
    parser.add_argument("--version", action="store_true", help="show the version and stop")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        if wanted in (None, name):
            importlib.import_module(f".{module}", __name__).configure(command)
    return parser


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    parser = build_parser(next((a for a in argv if a in COMMANDS), ""))
    options = parser.parse_args(argv)
    if options.version:
        import sorus

        print(sorus.__version__)
        return 0
    if options.command is None:
        parser.print_help()
        return 0
    try:
        return options.run(options) or 0
    except CommandError as error:
        print(f"sorus {options.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, RuntimeError, TypeError, MemoryError) as error:
        if os.environ.get("SORUS_TRACEBACK"):
            raise
        print(f"sorus {options.command}: {error}", file=sys.stderr)
        return 1
