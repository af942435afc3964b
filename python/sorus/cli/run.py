"""sorus run: starts a script once for each rank on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import CommandError

EXAMPLES = """examples:
  sorus run -n 4 train.py --steps 100       four processes; train.py calls sorus.distributed.init_process_group()
  sorus run -n 2 --prefix train.py          every line begins with the rank that wrote it
  sorus run -n 4 -m package.train           a module
  sorus run -n 2 --threads 1 train.py       one computing thread for each rank

Each rank finds RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT in its environment. A rank that fails, is killed
or hangs ends all within seconds, and so does Ctrl-C; nothing is left running. For several machines: mpirun.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Start a Python script once for each rank on this machine."
    parser.epilog = EXAMPLES
    parser.add_argument("-n", "--ranks", "--nproc-per-node", type=int, default=None, metavar="N",
                        help="number of ranks (one a core)")  # fmt: skip
    parser.add_argument("-m", "--module", action="store_true", help="SCRIPT is a module, as with python -m")
    parser.add_argument("--prefix", action="store_true", help="begin every line of output with its rank")
    parser.add_argument("--threads", type=int, metavar="N", help="computing threads of each rank (an equal share)")
    parser.add_argument("--port", type=int, metavar="N", help="of the meeting point (a free one)")
    parser.add_argument("--grace", type=float, default=5.0, metavar="SECONDS",
                        help="that other ranks have to end after one has failed (5)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print how it ended as one JSON object, last")
    parser.add_argument("script", metavar="SCRIPT", help="a Python file")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="what it gets")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import os

    from sorus.launch import Launcher

    ranks = options.ranks if options.ranks is not None else len(os.sched_getaffinity(0))
    if ranks < 1:
        raise CommandError(f"-n {ranks}: at least one rank is needed")
    if options.threads is not None and options.threads < 1:
        raise CommandError(f"--threads {options.threads}: at least one is needed")
    if not options.module and not Path(options.script).is_file():
        raise CommandError(f"{options.script}: there is no such file")
    command = [sys.executable, *(["-m"] if options.module else []), options.script, *options.arguments]
    launcher = Launcher(command, ranks, prefix=options.prefix, threads=options.threads, port=options.port,
                        grace=options.grace)  # fmt: skip
    status = launcher.run()
    if launcher.failure:
        print(f"sorus run: {launcher.failure}", file=sys.stderr)
    if options.json:
        print(json.dumps({"status": status, "ranks": ranks, "failure": launcher.failure}))
    return status
