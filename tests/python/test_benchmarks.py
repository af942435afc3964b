"""The benchmark: its judgement of numbers, and that a line runs and is reported from end to end."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import claims  # noqa: E402
import lines  # noqa: E402
import machine  # noqa: E402
import measure  # noqa: E402
import report  # noqa: E402
from claims import Claim, Samples  # noqa: E402


def run(*arguments):
    return subprocess.run(
        [sys.executable, BENCHMARKS / "run.py", *arguments], capture_output=True, text=True, check=False
    )


def test_ratios_are_taken_round_by_round_against_the_best_peer():
    samples = {
        "sorus a": Samples([4.0, 4.0, 4.0], [1.0, 1.0, 1.0]),
        "sorus b": Samples([1.0, 2.0, 2.0], [4.0, 4.0, 4.0]),
        "slow": Samples([9.0, 9.0, 9.0], [9.0, 9.0, 9.0]),
        "fast": Samples([3.0, 3.0, 8.0], [5.0, 5.0, 5.0]),
    }
    claim = Claim("x", "x", ("sorus a", "sorus b", "sorus c"), ("slow", "fast"), least=1.5)
    idle = claims.judge(claim, samples, others=0.0)
    assert (idle["ours"], idle["peer"], idle["basis"]) == ("sorus b", "fast", "wall")
    assert idle["ratio"] == {"median": 3.0, "low": 1.5, "high": 4.0}
    assert idle["met"] is True
    busy = claims.judge(claim, samples, others=0.5)
    assert (busy["ours"], busy["peer"], busy["basis"]) == ("sorus a", "fast", "cpu")
    assert busy["ratio"]["median"] == 5.0


def test_claims_that_fail_and_claims_that_could_not_be_measured():
    samples = {"sorus": Samples([1.0], [1.0]), "peer": Samples([1.2], [1.2])}
    assert claims.judge(Claim("x", "x", ("sorus",), ("peer",), least=1.3), samples, 0.0)["met"] is False
    assert claims.judge(Claim("x", "x", ("sorus",), ("peer",), least=1.1, at_most=0.5), samples, 0.0)["met"] is False
    assert claims.judge(Claim("x", "x", ("sorus",), ("absent",), least=1.1), samples, 0.0)["met"] is None
    assert claims.judge(Claim("x", "x", ("absent",), ("peer",), least=1.1), samples, 0.0)["met"] is None


def test_training_must_agree_within_the_spread_of_seeds():
    def curves(*finals):
        return [[(0, 4.0), (10, final)] for final in finals]

    near = claims.judge_training("t", "t", {"a": curves(2.0, 2.1), "b": curves(2.01, 2.08)}, "a", "b")
    assert near["met"] is True
    far = claims.judge_training("t", "t", {"a": curves(2.0, 2.3), "b": curves(2.01, 2.08)}, "a", "b")
    assert far["met"] is False
    assert claims.judge_training("t", "t", {"a": curves(2.0)}, "a", "b")["met"] is None


def test_variants_that_cannot_be_the_best_run_no_rounds():
    typical = {"sorus eager": 4.0, "sorus compiled": 2.0, "torch eager": 50.0, "torch compiled": 9.0, "jax": 6.0}
    assert measure.hopeless(typical, seconds=1.0) == {"torch eager"}
    assert measure.hopeless(typical, seconds=60.0) == set()  # short enough to be measured well
    assert measure.hopeless({"sorus compiled": 9.0}, seconds=1.0) == set()


def test_a_failure_replaces_no_measurement_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    row = {"id": "mlp-eager", "line": "mlp", "unit": "s", "seconds": 12.0}
    for when, more in (("1", {"ours": "sorus eager"}), ("2", {})):
        report.save(tmp_path / f"{when}.json", {"when": when, "rows": [row | more]})
    assert [run["when"] for run, _ in report.newest_rows()] == ["1"]
    assert report.seconds_of_lines() == {"mlp": 12.0}


def test_the_flops_of_a_step_are_those_of_its_products():
    c = lines.PRESETS["gpt2"]
    assert c.parameters == 124_439_808 - (1024 - 256) * 768  # GPT-2's count, with its longer context
    matmul = 12 * 12 * 768 * 768 + 50257 * 768
    assert c.step_flops == pytest.approx(6 * 256 * (matmul + 12 * 256 * 768))


def test_watch_sees_the_cpu_that_others_use():
    watch = machine.Watch()
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    time.sleep(0.5)
    other.kill()
    other.wait()
    assert watch.others(0.0) * (machine.os.cpu_count() or 1) > 0.2
    assert machine.Watch().others(1e9) == 0.0


def test_quantities_are_readable():
    assert report.quantity(0.0123, "s") == "12.3 ms"
    assert report.quantity(3.46e-7, "s") == "0.346 us"
    assert report.quantity(3 * 2**20, "bytes") == "3 MiB"


def test_a_line_runs_from_end_to_end_without_peers():
    done = run("--only", "mlp", "--rounds", "2", "--seconds", "0.02", "--without-peers", "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == ["mlp-eager", "mlp-compiled"]
    for row in rows:
        assert row["failed"] == {}
        assert row["wall"]["median"] > 0
        assert row["same_numbers"] is True  # eager and compiled
        assert row["met"] is None  # nothing to compare with
    Path(BENCHMARKS.parent, done.stderr.splitlines()[-1].split("results in ")[1]).unlink()


def test_bad_arguments_are_explained():
    assert "there are import" in run("--only", "nonsense").stderr
    assert "--rounds must be at least 1" in run("--rounds", "0").stderr
    assert "examples:" in run("--help").stdout
