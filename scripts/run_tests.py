"""Runs the C++ tests (ctest) and the Python tests (pytest); the last line counts both.

    .venv/bin/python scripts/run_tests.py [--build build] [--only cpp|python] [options of pytest]

The exit status is 0 only if no test failed and both runners finished. Test data are in the folder SORUS_DATA names.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PYTEST_FOUND_NO_TESTS = 5


class Counts(NamedTuple):
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def read_junit(report: Path) -> tuple[Counts, list[str]]:
    """The counts of a JUnit file and the names of what failed; ctest and pytest both write one."""
    if not report.exists():
        return Counts(), []
    passed, skipped, failed = 0, 0, []
    for case in ElementTree.parse(report).iter("testcase"):
        if any(case.find(kind) is not None for kind in ("failure", "error")):
            failed.append(f"{case.get('classname') or ''}::{case.get('name')}")
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return Counts(passed, len(failed), skipped), failed


def run(name: str, command: list[str], report: Path, fine: set[int]) -> tuple[Counts, list[str]]:
    print(f"== {name}", flush=True)
    report.unlink(missing_ok=True)
    # Several test processes share the cores: threads that spin while they wait would slow each other tenfold.
    environment = {"OMP_WAIT_POLICY": "passive", "SORUS_BUILD": str(report.parent), **os.environ}
    status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    counts, failed = read_junit(report)
    if status not in fine and not failed:
        failed = [f"{name} itself ended with status {status}"]
        counts = counts._replace(failed=1)
    return counts, failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="the build folder")
    parser.add_argument("--only", choices=["cpp", "python"], help="leave out the other half")
    options, pytest_options = parser.parse_known_args()

    build = (ROOT / options.build).resolve()
    results = {}
    if options.only != "python":
        report = build / "ctest.xml"
        command = ["ctest", "--test-dir", str(build), "--output-on-failure", "--progress", "-j", str(os.cpu_count())]
        results["C++"] = run("ctest", [*command, "--output-junit", str(report)], report, {0})
    if options.only != "cpp":
        report = build / "pytest.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *pytest_options]
        results["Python"] = run("pytest", command, report, {0, PYTEST_FOUND_NO_TESTS})

    print()
    for language, (counts, failed) in results.items():
        print(f"{language}: {counts}")
        for test in failed:
            print(f"  FAILED {test}")
    total = Counts(*(sum(column) for column in zip(*(counts for counts, _ in results.values()))))
    print(f"\n{total}")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
