"""The benchmarks of the planner's parts: that they read the published formats and check what they are given."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

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


def random_problem(random):
    """A small problem of the contest's format, with its limit between the least and the most memory."""
    count = random.randint(3, 7)
    sizes = [random.randint(1, 4) for _ in range(count)]
    ends = sorted({tuple(sorted(random.sample(range(count), 2))) for _ in range(count)})
    nodes = {
        "intervals": [[begin := random.randint(0, 8), begin + random.randint(1, 6)] for _ in range(count)],
        "costs": [[random.randint(0, 99) for _ in range(k)] for k in sizes],
        "usages": [[random.randint(1, 50) for _ in range(k)] for k in sizes],
    }
    edges = {"nodes": ends, "costs": [[random.randint(0, 99) for _ in range(sizes[a] * sizes[b])] for a, b in ends]}
    least = max(
        sum(min(u) for u, (begin, end) in zip(nodes["usages"], nodes["intervals"], strict=True) if begin <= t < end)
        for t in range(16)
    )
    return {"name": "random-Z", "nodes": nodes, "edges": edges, "usage_limit": int(least * 1.2) + 1}


def solved_by_milp(highspy, problem):
    """The least cost by an independent solver: a variable for each strategy and for each pair of an edge."""
    solver = highspy.Highs()
    solver.silent()
    nodes, edges = problem["nodes"], problem["edges"]
    pick = [[solver.addBinary() for _ in costs] for costs in nodes["costs"]]
    total = sum(
        c * x for costs, row in zip(nodes["costs"], pick, strict=True) for c, x in zip(costs, row, strict=True)
    )
    for row in pick:
        solver.addConstr(sum(row) == 1)
    for (a, b), costs in zip(edges["nodes"], edges["costs"], strict=True):
        pair = [[solver.addBinary() for _ in pick[b]] for _ in pick[a]]
        total += sum(c * x for c, x in zip(costs, (x for row in pair for x in row), strict=True))
        for x, row in zip(pick[a], pair, strict=True):
            solver.addConstr(sum(row) == x)
        for x, column in zip(pick[b], zip(*pair, strict=True), strict=True):
            solver.addConstr(sum(column) == x)
    for t in range(16):
        alive = [v for v, (begin, end) in enumerate(nodes["intervals"]) if begin <= t < end]
        if alive:
            usages = [u * x for v in alive for u, x in zip(nodes["usages"][v], pick[v], strict=True)]
            solver.addConstr(sum(usages) <= problem["usage_limit"])
    solver.minimize(total)
    assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return round(solver.getObjectiveValue())


def test_strategies_against_an_integer_program(tmp_path):
    highspy = pytest.importorskip("highspy", reason="the oracle, HiGHS, comes with scripts/setup.sh")
    random = Random(7)
    files, best = [], []
    for i in range(12):
        problem = random_problem(random)
        files.append(tmp_path / f"{i}.json")
        files[-1].write_text(json.dumps({"problem": problem}))
        best.append(solved_by_milp(highspy, problem))
    done = run("strategies.py", *files, "--seconds", "0.05")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    found = [int(line.split("cost")[1].split()[0].replace(",", "")) for line in lines]
    assert all("nodes  fits" in line for line in lines)
    assert all(f >= b for f, b in zip(found, best, strict=True)), (found, best)
    assert sum(f == b for f, b in zip(found, best, strict=True)) >= 11, (found, best)


def test_strategies_counts_points_like_the_contest(tmp_path):
    problem = random_problem(Random(3))
    (tmp_path / "p.json").write_text(json.dumps({"problem": problem}))
    (tmp_path / "results.csv").write_text("TEAM #,Y,Z\nteam01,5,400000\nteam02,,100\n")
    done = run("strategies.py", tmp_path / "p.json", "--seconds", "0.05", "--results", tmp_path / "results.csv")
    assert done.returncode == 0, done.stderr
    cost = int(done.stdout.split("cost")[1].split()[0].replace(",", ""))
    assert f"points {100 / cost:.4f}" in done.stdout


def test_ranks_hold_what_was_planned():
    done = run("rank_memory.py", "--only", "mixture", "--steps", "1", "--json")
    assert done.returncode == 0, done.stderr
    *rows, total = map(json.loads, done.stdout.splitlines())
    assert total["plans"] == len(rows) == 8
    for row in rows:
        for rank in row["ranks"]:
            # What may have to wait at its sender is planned for, and may be taken at once.
            waits = 0.1 if "1f1b" in row["plan"] else 0.02
            assert -0.02 <= rank["planned"] / rank["measured"] - 1 <= waits, row


def test_a_limited_step_is_equal_and_its_moves_are_predicted():
    done = run("offload.py", "--into", "host", "--layers", "2", "--width", "128", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["equal"] and row["held"] > 3 * row["limit"] >= 3 * row["peak_resident"]
    assert 0 <= row["moved_ahead_bytes"] <= row["moved_bytes"] and row["cpu"]["predicted_slowdown"] > 1
