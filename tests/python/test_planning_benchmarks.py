"""The benchmarks of the planner's parts: that they read the published formats and check what they are given."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, BENCHMARKS / script, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def write_problem(path):
    path.write_text("id,lower,upper,size,alignment\nb1,0,3,4,1\nb2,3,9,4,2\nb3,0,9,4,1\nb4,9,21,4,1\nb5,0,21,4,4\n")
    return path


def test_memory_planner_places_buffers_below_the_capacity(tmp_path):
    problem = write_problem(tmp_path / "small.12.csv")
    done = run("memory_planner.py", problem, "--output", tmp_path / "placed.csv")
    assert done.returncode == 0, done.stderr
    assert "solved" in done.stdout
    rows = [line.split(",") for line in (tmp_path / "placed.csv").read_text().split()]
    assert rows[0] == ["id", "lower", "upper", "size", "offset"]
    placed = [tuple(map(int, row[1:])) for row in rows[1:]]
    assert max(offset + size for _, _, size, offset in placed) == 12
    for i, (first, end, size, offset) in enumerate(placed):
        for other_first, other_end, other_size, other in placed[:i]:
            apart = offset + size <= other or other + other_size <= offset
            assert apart or end <= other_first or other_end <= first
    assert "impossible" in run("memory_planner.py", problem, "--capacity", "11").stdout
    assert " 12 bytes, at least           12" in run("memory_planner.py", problem, "--least").stdout


def test_memory_planner_refuses_other_files(tmp_path):
    problem = tmp_path / "small.12.csv"
    problem.write_text("id,lower,upper,size,gaps\nb1,0,3,4,\n")
    assert "expected columns" in run("memory_planner.py", problem).stderr
    problem.write_text("id,lower,upper,size\nb1,0,3,many\n")
    assert "small.12.csv:2" in run("memory_planner.py", problem).stderr
    assert "--capacity" in run("memory_planner.py", write_problem(tmp_path / "unnamed.csv")).stderr
