"""Every public function with arguments of no use to it: an exception that a person can act on, or a result; never a crash,
a read or write outside of an input's memory, or a loop without end. See hostile_calls/calls.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CALLS = Path(__file__).parent / "hostile_calls" / "calls.py"
PARTS = 4
TRIALS = int(os.environ.get("SORUS_HOSTILE_TRIALS", "6"))
"""Calls of each function; more of them look further."""


def run(*arguments: str) -> subprocess.CompletedProcess:
    # malloc fills what it gives and takes back, so that nothing is right by chance.
    environment = {**os.environ, "MALLOC_PERTURB_": "165", "OMP_NUM_THREADS": "2"}
    return subprocess.run([sys.executable, str(CALLS), *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("part", range(PARTS))
def test_calls_end_in_results_or_exceptions(part: int, tmp_path: Path) -> None:
    calls = int(run().stdout) * TRIALS
    first, last = calls * part // PARTS, calls * (part + 1) // PARTS
    journal = tmp_path / "journal"
    found: list[str] = []
    while first < last and len(found) < 50:
        child = run(str(TRIALS), str(first), str(last), str(journal))
        found += child.stdout.splitlines()
        if child.returncode == 0:
            break
        number, _, call = journal.read_text().strip().partition(" ")
        assert number, child.stderr
        found.append(f"{call}: ended by {child.returncode}: {child.stderr.strip()[-300:]}")
        first = int(number) + 1  # and on behind it
    assert not found, "\n".join(found)
