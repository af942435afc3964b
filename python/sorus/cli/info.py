"""sorus info: what this machine can do."""

from __future__ import annotations

import argparse
import json
import platform

EXAMPLES = """examples:
  sorus info                  a table
  sorus info --json           the same for programs
  sorus info --threads 1      what one thread reaches
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Shows the processor's features, the threads used, and the speed measured now."
    parser.epilog = EXAMPLES
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--threads", type=int, metavar="N", help="measure with N threads")
    parser.set_defaults(run=run)


def measure() -> dict:
    """What the table shows; takes about two seconds."""
    import sorus
    from sorus._core import _machine

    return {
        "version": sorus.__version__,
        "python": platform.python_version(),
        "processor": _machine.cpu_name(),
        "features": _machine.cpu_features(),
        "kernels": _machine.kernel_variant(),
        "threads": sorus.get_num_threads(),
        "gemm_float32_gflops": _machine.measure_gemm_gflops(sorus.float32),
        "gemm_bfloat16_gflops": _machine.measure_gemm_gflops(sorus.bfloat16),
        "memory_gb_per_s": _machine.measure_memory_gbs(),
        "cache": str(sorus.data.cache_folder()),
    }


def run(options: argparse.Namespace) -> int:
    import sorus

    if options.threads:
        sorus.set_num_threads(options.threads)
    found = measure()
    if options.json:
        print(json.dumps(found))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_row("Sorus", f"{found['version']}, Python {found['python']}")
    table.add_row("processor", found["processor"])
    table.add_row("features", " ".join(found["features"]))
    table.add_row("eager kernels", found["kernels"])
    table.add_row("threads", str(found["threads"]))
    table.add_row("matrix product, float32", f"{found['gemm_float32_gflops']:.0f} GFLOP/s")
    table.add_row("matrix product, bfloat16", f"{found['gemm_bfloat16_gflops']:.0f} GFLOP/s")
    table.add_row("memory", f"{found['memory_gb_per_s']:.1f} GB/s")
    table.add_row("cache", found["cache"])
    Console().print(table)
    return 0
