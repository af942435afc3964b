"""The speeds of this machine: the best of several measurements, kept, and measured again when they are doubted."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from sorus.cli import machine, planned


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What the next measurements find, the first one first."""
    results: list[dict] = []
    names = ("gemm_float32_gflops", "gemm_bfloat16_gflops", "memory_gb_per_s")

    def next_one() -> dict:
        speed, others = results.pop(0)
        return dict.fromkeys(names, speed) | {"others": others, "rounds": 2, "measured": "2026-01-01T00:00:00"}

    monkeypatch.setattr(machine, "measure", next_one)
    monkeypatch.setattr(machine, "_file", lambda: tmp_path / "cache" / "machine.json")
    return results


def test_speeds_are_measured_once_and_again_when_asked(measured: list) -> None:
    measured += [(100.0, 0.0), (120.0, 0.0), (50.0, 0.6), (110.0, 0.0)]
    assert [machine.speeds()["memory_gb_per_s"] for _ in range(2)] == [100.0, 100.0]
    assert machine.speeds(again=True)["memory_gb_per_s"] == 120.0
    disturbed = machine.speeds(again=True)
    assert disturbed["memory_gb_per_s"] == 120.0, "others took most of the machine: the faster one stays"
    assert "while others took 60% of the machine" in machine.how(disturbed)
    assert machine.speeds(again=True)["memory_gb_per_s"] == 110.0, "the machine was quiet: it has become slower"


def test_a_damaged_file_is_measured_anew(measured: list) -> None:
    measured += [(1.0, 0.0), (2.0, 0.0)]
    machine.speeds()
    machine._file().write_text(machine._file().read_text()[:20])
    assert machine.speeds()["memory_gb_per_s"] == 2.0


def test_constants_are_kept_through_measurements(measured: list) -> None:
    measured += [(100.0, 0.0), (200.0, 0.0)]
    assert machine.speeds()["constants"] == machine.TYPICAL
    machine.keep_constants(machine.TYPICAL | {"memory": 2})
    found = machine.speeds(again=True)
    assert found["constants"]["memory"] == 2 and "memory_gb_per_s = 400" in machine.toml(found)


def test_a_step_far_from_its_prediction_has_the_machine_measured_again(measured: list) -> None:
    measured += [(10.0, 0.9), (100.0, 0.0)]
    machine.speeds()
    report = {"step_time_s": 0.5}
    assert planned.measured_again(0.4, report, lambda: pytest.fail("near enough")) is None
    again = planned.measured_again(0.06, report, lambda: {"step_time_s": 5 / machine.speeds()["memory_gb_per_s"]})
    assert again == {"step_time_s": 0.05}


def test_the_load_of_others_is_what_the_cores_did_beside_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with machine.Load() as load:
        time.sleep(0.05)
    assert 0 <= load.others <= 1.2, "of this machine"
    wall, ours, cores = iter((0.0, 2.0)), iter((7.0, 8.0)), iter((100.0, 103.0))
    clocks = SimpleNamespace(perf_counter=lambda: next(wall), process_time=lambda: next(ours))
    monkeypatch.setattr(machine, "time", clocks)
    monkeypatch.setattr(machine, "core_seconds", lambda: next(cores))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    with machine.Load() as load:
        pass
    assert load.others == pytest.approx((3.0 - 1.0) / (2.0 * 4))


def test_ranks_that_take_turns_take_longer_but_fill_the_bubble() -> None:
    report = {"step_time_s": 1.0, "time": {"bubble": 0.25}}
    assert planned.turns(report, 2, 2) == 1
    assert planned.turns(report, 4, 2) == pytest.approx(1.5)
    assert planned.turns(report | {"time": {"bubble": 0.6}}, 4, 2) == 1, "one rank at a time anyhow"


def test_the_best_of_several_short_measurements_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from sorus._core import _machine

    found = iter([10.0, 30.0, 20.0, 29.0, 30.0, 30.0, *[30.0] * 20])
    monkeypatch.setattr(machine, "PAUSE", 0)
    fake = SimpleNamespace(measure_gemm_gflops=lambda dtype: 1.0, measure_memory_gbs=lambda: next(found))
    for name in ("measure_gemm_gflops", "measure_memory_gbs"):
        monkeypatch.setattr(_machine, name, getattr(fake, name))
    result = machine.measure()
    assert result["memory_gb_per_s"] == 30.0 and 3 <= result["rounds"] <= machine.ROUNDS
    assert json.dumps(result)
